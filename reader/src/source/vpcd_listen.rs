//! Being what vpcd is: card programs (vicc, jCardSim, opcard, `tapdoor phone`) connect, without any pcscd.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tapdoor_link::card::{CardLink, Limits, LinkError, LinkErrorKind};
use tapdoor_link::stop::{Backoff, Stop, StopGuard};
use tapdoor_link::vpcd::{Frames, GET_ATR, POWER_OFF, POWER_ON, encode};

use super::{
    ANSWER_TIMEOUT, Activation, CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError, SourceErrorKind, SourceEvent,
    no_observer,
};

const LAYER: &str = "vpcd";
/// How long a card program may take for its ATR.
const ATR_TIMEOUT: Duration = Duration::from_secs(2);
/// What a card program may send unasked while it waits to be taken away.
const MOST_UNASKED: usize = 1 << 20;

/// A virtual reader that card programs connect to over TCP, one at a time: the others wait their turn.
pub struct VpcdListen {
    listener: TcpListener,
    local: SocketAddr,
    answer_timeout: Duration,
    observer: Observer,
    /// The connection of the card that lies here.
    card: Option<TcpStream>,
}

impl std::fmt::Debug for VpcdListen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VpcdListen")
            .field("local", &self.local)
            .field("card", &self.card)
            .finish_non_exhaustive()
    }
}

impl VpcdListen {
    /// Listens on `address` (HOST:PORT); port 0 is any free one.
    ///
    /// # Errors
    /// `Listen` if the address is taken, not of this machine or no address.
    pub fn bind(address: &str) -> Result<Self, SourceError> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            let local = listener.local_addr()?;
            Ok(Self {
                listener,
                local,
                answer_timeout: ANSWER_TIMEOUT,
                observer: no_observer(),
                card: None,
            })
        });
        bound.map_err(|e| SourceError::new(SourceErrorKind::Listen, LAYER, format!("cannot listen on {address}: {e}")))
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// How long a card may take for an answer (10 s unless set).
    pub fn set_answer_timeout(&mut self, timeout: Duration) {
        self.answer_timeout = timeout.max(Duration::from_millis(1));
    }

    fn accept(&self, stop: &Stop) -> Result<TcpStream, SourceError> {
        let local = self.local;
        // Only a connection ends a blocked accept() on every system.
        let _wake = stop.on_stop(move || {
            let _ = TcpStream::connect_timeout(&reachable(local), Duration::from_secs(1));
        });
        let mut backoff = Backoff::default();
        loop {
            if stop.is_stopped() {
                return Err(SourceError::cancelled(LAYER));
            }
            let accepted = self.listener.accept();
            if stop.is_stopped() {
                return Err(SourceError::cancelled(LAYER));
            }
            match accepted {
                Ok((stream, _)) => return Ok(stream),
                // A peer that gave up, or no descriptor left: the listener itself is sound.
                Err(e) => {
                    (self.observer)(&SourceEvent::CardRejected(format!("accept: {e}")));
                    let _ = backoff.pause(stop);
                }
            }
        }
    }

    /// Powers the card on the other end of `stream` and asks for its ATR.
    fn power_up(&self, stream: TcpStream, stop: &Stop) -> Result<(Session, TcpStream), LinkError> {
        let broken = |e: io::Error| LinkError::new(LinkErrorKind::CardGone, LAYER, e.to_string());
        stream.set_nodelay(true).map_err(broken)?;
        stream.set_write_timeout(Some(self.answer_timeout)).map_err(broken)?;
        // A card program whose machine vanished would lie here for ever.
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_secs(60))
            .with_interval(Duration::from_secs(10));
        SockRef::from(&stream).set_tcp_keepalive(&keepalive).map_err(broken)?;
        let kept = stream.try_clone().map_err(broken)?;
        let wake = wake_by_shutdown(&stream, stop).map_err(broken)?;
        let mut link = VpcdLink {
            stream,
            frames: Frames::new(),
            out: Vec::new(),
            timeout: self.answer_timeout,
            set: None,
            broken: false,
        };
        let mut atr = Vec::new();
        link.send(&[POWER_ON])?;
        link.send(&[GET_ATR])?;
        link.receive(ATR_TIMEOUT, &mut atr)?;
        drop(wake);
        if atr.len() < 2 || atr.len() > 33 {
            return Err(LinkError::new(
                LinkErrorKind::Malformed,
                LAYER,
                format!("an ATR of {} bytes", atr.len()),
            ));
        }
        Ok((
            Session {
                link: Box::new(link),
                atr: Some(atr),
                protocol: Protocol::T1,
                hold: Hold::Exclusive,
                activation: Activation::default(),
            },
            kept,
        ))
    }
}

impl CardSource for VpcdListen {
    fn describe(&self) -> ReaderInfo {
        ReaderInfo {
            name: format!("vpcd-listen {}", self.local),
            driver: "vpcd",
            firmware: None,
            mode: "sim",
            listen: Some(self.local),
            is_acr122: false,
        }
    }

    fn wait_card(&mut self, stop: &Stop) -> Result<Session, SourceError> {
        loop {
            let (stream, old) = match self.card.take() {
                Some(stream) => (stream, true),
                None => (self.accept(stop)?, false),
            };
            match self.power_up(stream, stop) {
                Ok((session, kept)) => {
                    self.card = Some(kept);
                    return Ok(session);
                }
                Err(_) if stop.is_stopped() => return Err(SourceError::cancelled(LAYER)),
                // A card of an earlier session that has gone meanwhile was no failure.
                Err(e) if old && e.kind == LinkErrorKind::CardGone => {}
                Err(e) => (self.observer)(&SourceEvent::CardRejected(format!("no ATR: {}", e.detail))),
            }
        }
    }

    fn wait_removal(&mut self, stop: &Stop) -> Result<(), SourceError> {
        let Some(mut stream) = self.card.take() else { return Ok(()) };
        let Ok(_wake) = wake_by_shutdown(&stream, stop) else {
            return Ok(());
        };
        let mut unasked = 0;
        let mut buffer = [0; 512];
        if stream.set_read_timeout(None).is_err() {
            return Ok(());
        }
        loop {
            match stream.read(&mut buffer) {
                _ if stop.is_stopped() => return Err(SourceError::cancelled(LAYER)),
                Ok(0) => return Ok(()),
                Ok(count) if unasked + count > MOST_UNASKED => {
                    (self.observer)(&SourceEvent::CardRejected("it talks without being asked".to_owned()));
                    return Ok(());
                }
                Ok(count) => unasked += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Ok(()),
            }
        }
    }

    fn set_observer(&mut self, observer: Observer) {
        self.observer = observer;
    }
}

/// Ends reads from `stream` when somebody asks to stop.
fn wake_by_shutdown(stream: &TcpStream, stop: &Stop) -> io::Result<StopGuard> {
    let handle = stream.try_clone()?;
    Ok(stop.on_stop(move || {
        let _ = handle.shutdown(Shutdown::Both);
    }))
}

/// An address of this machine at which something bound to `local` can be reached.
fn reachable(mut local: SocketAddr) -> SocketAddr {
    if local.ip().is_unspecified() {
        local.set_ip(match local.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    local
}

/// A card program on the other end of a connection. Dropping it cuts the card's power and leaves the connection.
struct VpcdLink {
    stream: TcpStream,
    frames: Frames,
    out: Vec<u8>,
    timeout: Duration,
    /// The receive time-out that the socket has.
    set: Option<Duration>,
    /// The stream cannot be trusted any more: a late answer would pass for the next one.
    broken: bool,
}

impl VpcdLink {
    fn send(&mut self, body: &[u8]) -> Result<(), LinkError> {
        if self.broken {
            return Err(LinkError::new(
                LinkErrorKind::CardGone,
                LAYER,
                "the connection was given up after an earlier failure",
            ));
        }
        if !encode(body, &mut self.out) {
            return Err(LinkError::new(
                LinkErrorKind::TooLong,
                LAYER,
                format!("{} bytes do not fit a message of at most 65535", body.len()),
            ));
        }
        if !self.frames.is_empty() {
            return Err(self.give_up(
                LinkErrorKind::Malformed,
                "the card program sent something without being asked".to_owned(),
            ));
        }
        let sent = self.stream.write_all(&self.out);
        sent.map_err(|e| self.give_up(LinkErrorKind::CardGone, format!("cannot send: {e}")))
    }

    /// Receives one message into `body`, within `timeout` altogether.
    fn receive(&mut self, timeout: Duration, body: &mut Vec<u8>) -> Result<(), LinkError> {
        let begun = Instant::now();
        let mut left = timeout;
        loop {
            if self.set != Some(left) {
                if let Err(e) = self.stream.set_read_timeout(Some(left)) {
                    return Err(self.give_up(LinkErrorKind::CardGone, e.to_string()));
                }
                self.set = Some(left);
            }
            acknowledge_at_once(&self.stream);
            match self.stream.read(self.frames.space()) {
                Ok(0) if self.frames.is_empty() => return Err(self.give_up(LinkErrorKind::CardGone, "the card program hung up".to_owned())),
                Ok(0) => {
                    let detail = format!(
                        "the card program hung up {} bytes before the end of its answer",
                        self.frames.missing()
                    );
                    return Err(self.give_up(LinkErrorKind::CardGone, detail));
                }
                Ok(count) => self.frames.filled(count),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => return Err(self.late(timeout)),
                Err(e) => return Err(self.give_up(LinkErrorKind::CardGone, e.to_string())),
            }
            if let Some(message) = self.frames.message() {
                body.extend_from_slice(message);
                return Ok(());
            }
            // A part has come: the rest has what is left of the time.
            left = timeout.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Err(self.late(timeout));
            }
        }
    }

    fn late(&mut self, timeout: Duration) -> LinkError {
        let detail = match (self.frames.is_empty(), self.frames.body_length()) {
            (true, _) => format!("no answer within {timeout:?}"),
            (false, Some(length)) => {
                format!(
                    "the answer was to have {length} bytes, {} of them did not come within {timeout:?}",
                    self.frames.missing()
                )
            }
            (false, None) => format!("half of the answer's length came within {timeout:?}, and no more"),
        };
        self.give_up(LinkErrorKind::Timeout, detail)
    }

    /// The card is taken from the reader: the next session begins with a new connection.
    fn give_up(&mut self, kind: LinkErrorKind, detail: String) -> LinkError {
        self.broken = true;
        let _ = self.stream.shutdown(Shutdown::Both);
        LinkError::new(kind, LAYER, detail)
    }
}

impl CardLink for VpcdLink {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        if command.len() < 2 {
            // It would be taken for a request to the card's power supply.
            let detail = format!("a command of {} bytes cannot be expressed here", command.len());
            return Err(LinkError::new(LinkErrorKind::TooLong, LAYER, detail).during(command));
        }
        let result = self.send(command).and_then(|()| self.receive(self.timeout, response));
        result.map_err(|e| e.during(command))?;
        if response.len() < 2 {
            let detail = format!("an answer of {} bytes, shorter than a status word", response.len());
            response.clear();
            return Err(LinkError::new(LinkErrorKind::Malformed, LAYER, detail).during(command));
        }
        Ok(())
    }

    fn limits(&self) -> Limits {
        // The whole of extended length but for the last 9 bytes of command and 3 of response.
        Limits {
            command: 0xFFFF,
            response: 0xFFFF,
        }
    }
}

impl Drop for VpcdLink {
    fn drop(&mut self) {
        if !self.broken {
            let _ = self.send(&[POWER_OFF]);
        }
    }
}

/// A card program that sends length and body in two writes waits (Nagle) for the acknowledgement of the first, which
/// Linux would delay by 44 ms. The option holds for a moment only, so it is set before every receive.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge_at_once(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_quickack(true);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge_at_once(_: &TcpStream) {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};
    use std::thread;

    const ATR: [u8; 5] = tapdoor_link::vpcd::CONTACTLESS_ATR;

    fn listen() -> (VpcdListen, SocketAddr) {
        let source = VpcdListen::bind("127.0.0.1:0").unwrap();
        let address = source.local_addr();
        (source, address)
    }

    fn message(body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(encode(body, &mut out));
        out
    }

    /// Connects, expects power on and the request for the ATR, and answers it.
    fn card(address: SocketAddr) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        let mut start = [0; 6];
        stream.read_exact(&mut start).unwrap();
        assert_eq!(start, [0, 1, 1, 0, 1, 4]);
        stream.write_all(&message(&ATR)).unwrap();
        stream
    }

    /// Takes one command of 5 bytes.
    fn command(stream: &mut TcpStream) {
        let mut command = [0; 7];
        stream.read_exact(&mut command).unwrap();
        assert_eq!(command, [0, 5, 0, 0xA4, 4, 0, 0]);
    }

    const SELECT: [u8; 5] = [0, 0xA4, 4, 0, 0];

    /// One SELECT against a card that goes on as `peer` has it.
    fn exchange(peer: impl FnOnce(TcpStream) + Send + 'static) -> (Result<(), LinkError>, Vec<u8>, Result<(), LinkError>) {
        let (mut source, address) = listen();
        source.set_answer_timeout(Duration::from_millis(200));
        let peer = thread::spawn(move || {
            let mut stream = card(address);
            command(&mut stream);
            peer(stream);
        });
        let stop = Stop::new();
        let mut session = source.wait_card(&stop).unwrap();
        assert_eq!(session.atr.as_deref(), Some(&ATR[..]));
        let mut response = vec![1, 2, 3];
        let first = session.link.transmit(&SELECT, &mut response);
        let again = session.link.transmit(&SELECT, &mut Vec::new());
        drop(session);
        peer.join().unwrap();
        source.wait_removal(&stop).unwrap();
        (first, response, again)
    }

    fn kind(result: Result<(), LinkError>) -> Option<LinkErrorKind> {
        result.err().map(|e| e.kind)
    }

    #[test]
    fn an_answer_in_pieces() {
        let (first, response, _) = exchange(|mut stream| {
            for byte in message(&[0x6A, 0x82]) {
                stream.write_all(&[byte]).unwrap();
                thread::sleep(Duration::from_millis(5));
            }
        });
        first.unwrap();
        assert_eq!(response, [0x6A, 0x82]);
    }

    #[test]
    fn a_peer_that_promises_and_hangs() {
        for part in [&[][..], &[0], &[0, 9], &[0, 9, 1, 2]] {
            let (first, response, again) = exchange(move |mut stream| {
                stream.write_all(part).unwrap();
                // Until we are hung up on.
                let _ = stream.read(&mut [0; 9]);
            });
            assert_eq!(kind(first), Some(LinkErrorKind::Timeout), "{part:?}");
            assert_eq!(
                kind(again),
                Some(LinkErrorKind::CardGone),
                "a late answer must not pass for the next"
            );
            assert!(response.is_empty());
        }
    }

    #[test]
    fn a_peer_that_dribbles() {
        let (first, ..) = exchange(|mut stream| {
            let _ = stream.write_all(&[0, 200]);
            while stream.write_all(&[1]).is_ok() {
                thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(kind(first), Some(LinkErrorKind::Timeout));
    }

    #[test]
    fn a_peer_that_hangs_up() {
        for part in [&[][..], &[0], &[0, 9, 1]] {
            let (first, response, _) = exchange(move |mut stream| stream.write_all(part).unwrap());
            assert_eq!(kind(first), Some(LinkErrorKind::CardGone), "{part:?}");
            assert!(response.is_empty());
        }
    }

    #[test]
    fn an_answer_shorter_than_a_status_word() {
        for part in [&[][..], &[0x90]] {
            let (first, response, again) = exchange(move |mut stream| {
                stream.write_all(&message(part)).unwrap();
                command(&mut stream);
                stream.write_all(&message(&[0x90, 0])).unwrap();
            });
            assert_eq!(kind(first), Some(LinkErrorKind::Malformed));
            assert!(response.is_empty());
            again.unwrap();
        }
    }

    #[test]
    fn two_answers_to_one_command() {
        let (first, _, again) = exchange(|mut stream| {
            stream.write_all(&[message(&[0x90, 0]), message(&[0x6A, 0x82])].concat()).unwrap();
            let _ = stream.read(&mut [0; 9]);
        });
        first.unwrap();
        assert_eq!(kind(again), Some(LinkErrorKind::Malformed));
    }

    #[test]
    fn what_cannot_be_expressed_is_not_sent() {
        let (mut source, address) = listen();
        let peer = thread::spawn(move || {
            let mut stream = card(address);
            command(&mut stream);
            stream.write_all(&message(&[0x90, 0])).unwrap();
            let mut rest = Vec::new();
            let mut off = [0; 3];
            stream.read_exact(&mut off).unwrap();
            assert_eq!(off, [0, 1, 0]);
            stream.shutdown(Shutdown::Write).unwrap();
            stream.read_to_end(&mut rest).unwrap();
            assert!(rest.is_empty());
        });
        let stop = Stop::new();
        let mut session = source.wait_card(&stop).unwrap();
        let mut response = Vec::new();
        for length in [0, 1, 65_536] {
            assert_eq!(
                kind(session.link.transmit(&vec![0; length], &mut response)),
                Some(LinkErrorKind::TooLong)
            );
        }
        session.link.transmit(&SELECT, &mut response).unwrap();
        drop(session);
        source.wait_removal(&stop).unwrap();
        peer.join().unwrap();
    }

    #[test]
    fn a_card_without_atr_is_dropped_and_the_next_taken() {
        let (mut source, address) = listen();
        let events = Arc::new(Mutex::new(Vec::new()));
        source.set_observer(Arc::new({
            let events = Arc::clone(&events);
            move |event: &SourceEvent| events.lock().unwrap().push(event.to_string())
        }));
        let mute = TcpStream::connect(address).unwrap();
        drop(TcpStream::connect(address).unwrap());
        let good = thread::spawn(move || card(address));
        let begun = Instant::now();
        let session = source.wait_card(&Stop::new()).unwrap();
        assert!(begun.elapsed() >= ATR_TIMEOUT && begun.elapsed() < ATR_TIMEOUT * 2);
        assert_eq!(events.lock().unwrap().len(), 2);
        drop((session, mute, good.join().unwrap()));
    }

    #[test]
    fn a_card_that_lies_there_is_powered_again() {
        let (mut source, address) = listen();
        let peer = thread::spawn(move || {
            let mut stream = card(address);
            let mut again = [0; 9];
            stream.read_exact(&mut again).unwrap();
            assert_eq!(again, [0, 1, 0, 0, 1, 1, 0, 1, 4]);
            stream.write_all(&message(&ATR)).unwrap();
            let _ = stream.read(&mut again);
        });
        let stop = Stop::new();
        drop(source.wait_card(&stop).unwrap());
        drop(source.wait_card(&stop).unwrap());
        peer.join().unwrap();
        source.wait_removal(&stop).unwrap();
    }

    #[test]
    fn stop_ends_every_wait() {
        fn stopped_within(wait: impl FnOnce(&Stop) -> SourceErrorKind) {
            let stop = Stop::new();
            let stopper = thread::spawn({
                let stop = stop.clone();
                move || {
                    thread::sleep(Duration::from_millis(150));
                    let begun = Instant::now();
                    stop.stop();
                    begun
                }
            });
            assert_eq!(wait(&stop), SourceErrorKind::Cancelled);
            assert!(stopper.join().unwrap().elapsed() < Duration::from_millis(100));
        }
        let (mut source, address) = listen();
        stopped_within(|stop| source.wait_card(stop).unwrap_err().kind);
        // The connection that ended the wait is in the queue, hung up; a mute card comes after it.
        let mute = TcpStream::connect(address).unwrap();
        stopped_within(|stop| source.wait_card(stop).unwrap_err().kind);
        drop(mute);
        let peer = thread::spawn(move || card(address));
        drop(source.wait_card(&Stop::new()).unwrap());
        let _stream = peer.join().unwrap();
        stopped_within(|stop| source.wait_removal(stop).unwrap_err().kind);
    }
}
