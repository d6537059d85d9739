//! [`attend`]: work with a card that may fall silent for ever, without waiting for ever.
//!
//! Some calls to a reader have no time-out and cannot be cancelled: `SCardTransmit` lasts for as long as driver and card please. So the
//! work runs on a thread of its own, and who asked for it waits, for each answer, no longer than was agreed. A silent card costs that
//! thread; what it shares with others it must not touch any more when it wakes up, and [`Attention`] tells it so.
//!
//! The hand-over between threads is paid once for the whole work. An exchange only notes its command and when it began.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use zeroize::Zeroize;

use crate::stop::Stop;
use crate::{CardLink, Limits, LinkError, LinkErrorKind};

/// How long an answer that is due may still take when somebody has asked to stop, so that a tap is not torn by that.
const LAST_ANSWER: Duration = Duration::from_millis(300);
const LAYER: &str = "reader";

#[derive(Default)]
struct State {
    /// When the exchange that is under way began.
    since: Option<Instant>,
    command: Vec<u8>,
    exchanges: u64,
    abandoned: bool,
}

impl Drop for State {
    fn drop(&mut self) {
        // A command can hold a PIN.
        self.command.zeroize();
    }
}

/// What the worker and who waits for it both see.
#[derive(Clone, Default)]
pub struct Attention(Arc<Mutex<State>>);

impl Attention {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nobody waits for this work any more: it must leave alone what others use.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.lock().abandoned
    }
}

/// A link whose exchanges somebody watches.
pub struct Attended<L> {
    link: L,
    attention: Attention,
}

impl<L> Attended<L> {
    /// A link that nobody watches, for where one that is watched is wanted.
    #[must_use]
    pub fn unwatched(link: L) -> Self {
        Self {
            link,
            attention: Attention::default(),
        }
    }

    /// The link below; what is sent on it directly is not watched.
    pub const fn inner_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Tells whether this work was abandoned.
    #[must_use]
    pub fn attention(&self) -> Attention {
        self.attention.clone()
    }
}

fn nobody_waits() -> LinkError {
    LinkError::new(LinkErrorKind::Timeout, LAYER, "the answer came when nobody waited for it any more")
}

impl<L: CardLink> CardLink for Attended<L> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        {
            let mut state = self.attention.lock();
            if state.abandoned {
                return Err(nobody_waits().during(command));
            }
            state.command.clear();
            state.command.extend_from_slice(command);
            state.exchanges += 1;
            state.since = Some(Instant::now());
        }
        let outcome = self.link.transmit(command, response);
        let mut state = self.attention.lock();
        state.since = None;
        if state.abandoned {
            response.clear();
            return Err(nobody_waits().during(command));
        }
        outcome
    }

    fn limits(&self) -> Limits {
        self.link.limits()
    }
}

/// The work was given up.
#[derive(Clone, Debug)]
pub struct Abandoned {
    /// Why, with the command that was not answered.
    pub error: LinkError,
    /// That command; empty if it was not in an exchange.
    pub command: Vec<u8>,
    /// Exchanges begun, that one included.
    pub exchanges: u64,
    /// When that exchange began.
    pub since: Instant,
}

enum News<T, N> {
    Done(T),
    /// Something that the worker tells on the way.
    Told(N),
    Stop,
    /// The worker is gone and has said nothing: it panicked.
    Gone,
}

/// Says so, whichever way the worker ends.
struct Farewell<T, N>(mpsc::Sender<News<T, N>>);

impl<T, N> Drop for Farewell<T, N> {
    fn drop(&mut self) {
        let _ = self.0.send(News::Gone);
    }
}

/// Does `work` with `link` on a thread of its own, and waits until it is done or a card has not answered for `patience`.
///
/// `stop` does not end the work, only the patience: an answer that is due may take 0.3 s more.
///
/// # Errors
/// [`Abandoned`]: the thread is left behind with the link, which it drops when its call returns.
pub fn attend<L, T, F>(link: L, patience: Duration, stop: &Stop, work: F) -> Result<(L, T), Abandoned>
where
    L: CardLink + Send + 'static,
    T: Send + 'static,
    F: FnOnce(&mut Attended<L>) -> T + Send + 'static,
{
    let work = move |link: &mut Attended<L>, _: &dyn Fn(())| work(link);
    attend_and_hear(link, patience, stop, work, &mut |()| ())
}

/// The same with work that tells something on the way: `hear` is called with it, on this thread.
///
/// # Errors
/// As [`attend`].
pub fn attend_and_hear<L, T, N, F>(link: L, patience: Duration, stop: &Stop, work: F, hear: &mut dyn FnMut(N)) -> Result<(L, T), Abandoned>
where
    L: CardLink + Send + 'static,
    T: Send + 'static,
    N: Send + 'static,
    F: FnOnce(&mut Attended<L>, &dyn Fn(N)) -> T + Send + 'static,
{
    let attention = Attention::default();
    let (news, inbox) = mpsc::channel();
    let stopped = news.clone();
    let mut attended = Attended {
        link,
        attention: attention.clone(),
    };
    let begun = Instant::now();
    let worker = move || {
        let news = Farewell(news);
        let value = work(&mut attended, &|told| {
            let _ = news.0.send(News::Told(told));
        });
        let _ = news.0.send(News::Done((attended.link, value)));
    };
    if let Err(e) = thread::Builder::new().name("card".to_owned()).spawn(worker) {
        let error = LinkError::new(LinkErrorKind::Reader, LAYER, format!("no thread for the card: {e}"));
        return Err(abandon(&attention, error, begun));
    }
    let _wake = stop.on_stop(move || {
        let _ = stopped.send(News::Stop);
    });
    let (mut patience, mut from, mut left) = (patience, begun, patience);
    loop {
        match inbox.recv_timeout(left) {
            Ok(News::Done(done)) => return Ok(done),
            Ok(News::Told(told)) => hear(told),
            Ok(News::Stop) => {
                (patience, from) = (patience.min(LAST_ANSWER), Instant::now());
                left = patience;
            }
            Ok(News::Gone) | Err(mpsc::RecvTimeoutError::Disconnected) => {
                let error = LinkError::new(LinkErrorKind::Reader, LAYER, "the card's thread has ended");
                return Err(abandon(&attention, error, begun));
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let mut state = attention.lock();
                let waited = state.since.map(|since| since.max(from).elapsed());
                match waited {
                    Some(waited) if waited >= patience => {
                        // Under the same lock, so that an answer that comes now finds this decided.
                        state.abandoned = true;
                        drop(state);
                        let (kind, detail) = if stop.is_stopped() {
                            (LinkErrorKind::Cancelled, "stopped while the card was silent".to_owned())
                        } else {
                            (
                                LinkErrorKind::Timeout,
                                format!("no answer within {patience:?}; the card was given up"),
                            )
                        };
                        return Err(abandon(&attention, LinkError::new(kind, LAYER, detail), begun));
                    }
                    Some(waited) => left = patience - waited,
                    None => left = patience,
                }
            }
        }
    }
}

fn abandon(attention: &Attention, error: LinkError, begun: Instant) -> Abandoned {
    let mut state = attention.lock();
    state.abandoned = true;
    let (command, since) = match state.since {
        Some(since) => (state.command.clone(), since),
        None => (Vec::new(), begun),
    };
    Abandoned {
        error: if command.is_empty() { error } else { error.during(&command) },
        command,
        exchanges: state.exchanges,
        since,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Scripted;

    /// Answers when it is let go.
    struct Slow {
        go: mpsc::Receiver<()>,
        dropped: mpsc::Sender<Result<(), LinkErrorKind>>,
    }

    impl CardLink for Slow {
        fn transmit(&mut self, _: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
            let _ = self.go.recv();
            response.extend_from_slice(&[0x90, 0x00]);
            Ok(())
        }
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            let _ = self.dropped.send(Ok(()));
        }
    }

    #[test]
    fn the_link_comes_back_with_what_the_work_made() {
        let card = Scripted::new().answer([0x90, 0x00]).answer([0x6A, 0x82]);
        let (mut link, first) = attend(card, Duration::from_secs(60), &Stop::new(), |link| {
            let mut response = Vec::new();
            link.transmit(&[0, 0xA4, 4, 0], &mut response).map(|()| response)
        })
        .unwrap();
        assert_eq!(first.unwrap(), [0x90, 0x00]);
        let mut response = Vec::new();
        link.transmit(&[0, 0xA4, 4, 0], &mut response).unwrap();
        assert_eq!(response, [0x6A, 0x82]);
    }

    #[test]
    fn a_silent_card_is_given_up_and_its_late_answer_reaches_nobody() {
        let (go, gate) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let link = Slow {
            go: gate,
            dropped: tell.clone(),
        };
        let abandoned = attend(link, Duration::from_millis(30), &Stop::new(), move |link| {
            let mut response = Vec::new();
            let outcome = link.transmit(&[0x80, 0x88, 0, 0], &mut response);
            assert!(response.is_empty());
            let _ = tell.send(Err(outcome.unwrap_err().kind));
            let again = link.transmit(&[0x80, 0x88, 0, 0], &mut response);
            let _ = tell.send(Err(again.unwrap_err().kind));
            assert!(link.attention().is_abandoned());
        })
        .map(|_| ())
        .unwrap_err();
        assert_eq!((abandoned.error.kind, abandoned.exchanges), (LinkErrorKind::Timeout, 1));
        assert_eq!(abandoned.command, [0x80, 0x88, 0, 0]);
        assert!(abandoned.error.to_string().contains("80880000"), "{}", abandoned.error);
        assert!(told.try_recv().is_err(), "still inside the call");
        go.send(()).unwrap();
        let late: Vec<_> = (0..3).map(|_| told.recv().unwrap()).collect();
        assert_eq!(
            late,
            [Err(LinkErrorKind::Timeout), Err(LinkErrorKind::Timeout), Ok(())],
            "then the card is given back"
        );
    }

    #[test]
    fn a_stop_leaves_an_answer_that_is_due_a_moment() {
        let (go, gate) = mpsc::channel();
        let (tell, _told) = mpsc::channel();
        let link = Slow { go: gate, dropped: tell };
        let stop = Stop::new();
        let stopper = stop.clone();
        let outcome = attend(link, Duration::from_secs(60), &stop, move |link| {
            stopper.stop();
            go.send(()).unwrap();
            link.transmit(&[0, 0xA4, 4, 0], &mut Vec::new())
        });
        assert!(matches!(outcome, Ok((_, Ok(())))));

        let (_go, gate) = mpsc::channel::<()>();
        let (tell, _told) = mpsc::channel();
        let link = Slow { go: gate, dropped: tell };
        let stop = Stop::new();
        let stopper = stop.clone();
        let begun = Instant::now();
        let outcome = attend(link, Duration::from_secs(60), &stop, move |link| {
            stopper.stop();
            link.transmit(&[0, 0xA4, 4, 0], &mut Vec::new())
        });
        assert_eq!(outcome.map(|_| ()).unwrap_err().error.kind, LinkErrorKind::Cancelled);
        assert!(begun.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn work_that_panics_is_an_error() {
        let outcome = attend(Scripted::new(), Duration::from_secs(60), &Stop::new(), |_| {
            std::panic::resume_unwind(Box::new("x"))
        })
        .map(|(_, ())| ());
        assert_eq!(outcome.unwrap_err().error.kind, LinkErrorKind::Reader);
    }
}
