//! A phone on a chip in target mode: the chip speaks ISO/IEC 14443-3 and -4, and hands over one APDU after the other.
//!
//! [`TargetChip`] is what such a chip can do; [`serve`] has it listen, again and again. A session ends when the reader deselects the phone
//! or its field goes, when the reader says nothing for [`PATIENCE`], when something breaks in the air, or when the phone leaves; each time
//! the chip begins to listen anew. A chip that is lost is opened again.

use std::fmt;
use std::time::Duration;

use tapdoor_link::stop::{Backoff, Stop};

use super::Card;
use super::parts::Parts;
use super::vpcd::ServeEvent;

/// How long the chip listens before it is asked whether to go on: no longer than a program has for its end.
pub const LISTEN: Duration = Duration::from_millis(1500);
/// How long a reader may say nothing between two APDUs. The field that goes is told at once; this is for one that stays.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long the chip may take for sending a response.
const SEND: Duration = Duration::from_secs(2);
/// A phone that taps by itself waits so long for the reader's good-bye.
const GOOD_BYE: Duration = Duration::from_millis(500);
/// How long it then stays away, so that every reader sees it go.
const AWAY: Duration = Duration::from_millis(900);
/// What is said to a command that did not come whole: wrong length.
const WRONG_LENGTH: [u8; 2] = [0x67, 0x00];
/// What is said for a response that is none: no precise diagnosis.
const FAILED: [u8; 2] = [0x6F, 0x00];

/// What comes in the way of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetError {
    /// Nobody came, or nothing was said, within the time.
    Silent,
    /// The reader has deselected the phone, or its field is gone.
    Released,
    /// The command is longer than the chip's driver has room for.
    TooLong,
    /// Something broke in the air: the session is over.
    Broken(String),
    /// The device does not answer: it may be opened again.
    Lost(String),
    /// This device cannot be a card, now or later.
    Unable(String),
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent => f.write_str("the reader said nothing more"),
            Self::Released => f.write_str("the reader has let go"),
            Self::TooLong => f.write_str("a command that is longer than the chip's driver has room for; 6700 was said"),
            Self::Broken(detail) | Self::Lost(detail) | Self::Unable(detail) => f.write_str(detail),
        }
    }
}

impl std::error::Error for TargetError {}

/// A chip that can be a type A card with ISO-DEP.
pub trait TargetChip {
    /// Listens as 08 and these three bytes until a reader has activated the card, for `time` at most.
    ///
    /// # Errors
    /// [`TargetError::Silent`]: nobody came.
    fn listen(&mut self, uid: [u8; 3], time: Duration) -> Result<(), TargetError>;

    /// The next C-APDU of the session.
    ///
    /// # Errors
    /// All of [`TargetError`]. After [`TargetError::TooLong`] a response may be sent; after any other the session is over.
    fn receive(&mut self, time: Duration) -> Result<Vec<u8>, TargetError>;

    /// Sends an R-APDU of at most [`Self::longest`] bytes.
    ///
    /// # Errors
    /// All of [`TargetError`]: the session is over.
    fn send(&mut self, response: &[u8], time: Duration) -> Result<(), TargetError>;

    /// Is a card no longer.
    fn rest(&mut self);

    /// The longest R-APDU.
    fn longest(&self) -> usize;
}

/// Shows `card` by the chip that `open` gives, beginning with `first`, until `stop`.
///
/// # Errors
/// [`TargetError::Unable`].
pub fn serve<C: TargetChip>(
    first: C,
    open: &mut dyn FnMut() -> Result<C, TargetError>,
    card: &mut dyn Card,
    stop: &Stop,
    observe: &mut dyn FnMut(ServeEvent<'_>),
) -> Result<(), TargetError> {
    let mut chip = Some(first);
    let mut backoff = Backoff::default();
    let mut told = false;
    while !stop.is_stopped() {
        let outcome = match &mut chip {
            Some(open) => listen(open, card, stop, observe),
            None => open().map(|opened| {
                chip = Some(opened);
                told = false;
            }),
        };
        match outcome {
            Ok(()) => backoff.reset(),
            Err(unable @ TargetError::Unable(_)) => return Err(unable),
            Err(error) => {
                chip = None;
                if !std::mem::replace(&mut told, true) {
                    observe(ServeEvent::DeviceLost(&error));
                }
                let _ = backoff.pause(stop);
            }
        }
    }
    if let Some(chip) = &mut chip {
        chip.rest();
    }
    Ok(())
}

/// Listens once, and serves the session that comes of it. An error is the device's.
fn listen<C: TargetChip>(
    chip: &mut C,
    card: &mut dyn Card,
    stop: &Stop,
    observe: &mut dyn FnMut(ServeEvent<'_>),
) -> Result<(), TargetError> {
    match chip.listen(identifier(), LISTEN) {
        Ok(()) => {}
        Err(lost @ (TargetError::Lost(_) | TargetError::Unable(_))) => return Err(lost),
        Err(TargetError::Silent | TargetError::Released) => return Ok(()),
        Err(error) => {
            observe(ServeEvent::Trouble(&error));
            return Ok(());
        }
    }
    observe(ServeEvent::Activated);
    card.power_on();
    let end = session(chip, card, stop, observe);
    card.power_off();
    observe(ServeEvent::Disconnected);
    match end {
        Ok(()) => {
            // It left by itself.
            chip.rest();
            let _ = stop.sleep(AWAY);
            Ok(())
        }
        Err(TargetError::Released) => Ok(()),
        Err(lost @ (TargetError::Lost(_) | TargetError::Unable(_))) => Err(lost),
        Err(error) => {
            chip.rest();
            observe(ServeEvent::Trouble(&error));
            Ok(())
        }
    }
}

/// One session. `Ok`: the phone left.
fn session<C: TargetChip>(
    chip: &mut C,
    card: &mut dyn Card,
    stop: &Stop,
    observe: &mut dyn FnMut(ServeEvent<'_>),
) -> Result<(), TargetError> {
    let mut parts = Parts::default();
    let mut response = Vec::new();
    loop {
        match chip.receive(PATIENCE) {
            Ok(command) => {
                response.clear();
                if !parts.answer(&command, &mut response) {
                    card.process(&command, &mut response);
                    match response.len() {
                        // It was carried away in the middle of the command.
                        0 => return Ok(()),
                        1 => {
                            observe(ServeEvent::BadResponse(1));
                            response.clear();
                            response.extend_from_slice(&FAILED);
                        }
                        _ => parts.cut(&mut response, chip.longest()),
                    }
                }
            }
            Err(error @ TargetError::TooLong) => {
                observe(ServeEvent::Trouble(&error));
                response.clear();
                response.extend_from_slice(&WRONG_LENGTH);
            }
            Err(error) => return Err(error),
        }
        chip.send(&response, SEND)?;
        if card.is_leaving() {
            // Whatever the reader says now, the phone is on its way.
            let _ = chip.receive(GOOD_BYE);
            return Ok(());
        }
        if stop.is_stopped() {
            return Ok(());
        }
    }
}

/// Three random bytes, others each time, as phones have them (ISO/IEC 14443-3 6.5.4).
fn identifier() -> [u8; 3] {
    let mut bytes = [0; 3];
    // Without randomness the identifier is a constant, which breaks nothing: readers must not rely on it.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A chip that follows a script, one list of steps for each time it listens, and stops at its end.
    #[derive(Clone)]
    struct Scripted {
        sessions: Arc<Mutex<VecDeque<Vec<Step>>>>,
        now: Vec<Step>,
        said: Arc<Mutex<Vec<String>>>,
        stop: Stop,
    }

    #[derive(Clone)]
    enum Step {
        Command(Vec<u8>),
        Fails(TargetError),
        SendFails(TargetError),
    }

    impl Scripted {
        fn say(&self, what: impl Into<String>) {
            self.said.lock().unwrap().push(what.into());
        }
    }

    impl TargetChip for Scripted {
        fn listen(&mut self, _: [u8; 3], _: Duration) -> Result<(), TargetError> {
            let Some(mut steps) = self.sessions.lock().unwrap().pop_front() else {
                self.stop.stop();
                return Err(TargetError::Silent);
            };
            self.say("listens");
            if let Some(Step::Fails(error)) = steps.first() {
                return Err(error.clone());
            }
            steps.reverse();
            self.now = steps;
            Ok(())
        }

        fn receive(&mut self, _: Duration) -> Result<Vec<u8>, TargetError> {
            match self.now.pop() {
                Some(Step::Command(command)) => Ok(command),
                Some(Step::Fails(error)) => Err(error),
                _ => Err(TargetError::Released),
            }
        }

        fn send(&mut self, response: &[u8], _: Duration) -> Result<(), TargetError> {
            if let Some(Step::SendFails(error)) = self.now.last() {
                return Err(error.clone());
            }
            assert!(response.len() <= self.longest());
            self.say(match response {
                [.., a, b] if response.len() > 4 => format!("{} bytes {a:02x}{b:02x}", response.len()),
                _ => hex::encode(response),
            });
            Ok(())
        }

        fn rest(&mut self) {
            self.say("rests");
        }

        fn longest(&self) -> usize {
            262
        }
    }

    /// Answers with as many bytes as the command's first two say, and 9000; leaves after FF.
    #[derive(Default)]
    struct Echo {
        powered: bool,
        leaves: bool,
    }

    impl Card for Echo {
        fn power_on(&mut self) {
            assert!(!std::mem::replace(&mut self.powered, true));
        }

        fn power_off(&mut self) {
            self.powered = false;
        }

        fn reset(&mut self) {}

        fn atr(&self) -> &[u8] {
            &[]
        }

        fn process(&mut self, command: &[u8], response: &mut Vec<u8>) {
            assert!(self.powered);
            match command {
                [0xEE, ..] => {}
                [0xDD, ..] => response.push(1),
                [high, low, ..] => {
                    response.resize(usize::from(u16::from_be_bytes([*high, *low])), 7);
                    response.extend_from_slice(&[0x90, 0x00]);
                }
                _ => {
                    self.leaves = true;
                    response.extend_from_slice(&[0x90, 0x01]);
                }
            }
        }

        fn is_leaving(&mut self) -> bool {
            std::mem::take(&mut self.leaves)
        }
    }

    /// What the chip did, and what was observed, for these sessions. The chip can be opened again twice.
    fn run(sessions: Vec<Vec<Step>>) -> (Vec<String>, Vec<String>, Result<(), TargetError>) {
        let stop = Stop::new();
        let chip = Scripted {
            sessions: Arc::new(Mutex::new(sessions.into())),
            now: Vec::new(),
            said: Arc::default(),
            stop: stop.clone(),
        };
        let again = chip.clone();
        let mut failures = 2;
        let mut open = || {
            again.say("opens");
            failures -= 1;
            if failures == 1 {
                Err(TargetError::Lost("still away".into()))
            } else {
                Ok(again.clone())
            }
        };
        let mut events = Vec::new();
        let said = Arc::clone(&chip.said);
        let mut card = Echo::default();
        let result = serve(chip, &mut open, &mut card, &stop, &mut |event| events.push(format!("{event:?}")));
        assert!(!card.powered);
        let said = said.lock().unwrap().clone();
        (said, events, result)
    }

    fn command(bytes: &[u8]) -> Step {
        Step::Command(bytes.to_vec())
    }

    #[test]
    fn sessions_follow_each_other() {
        let (said, events, result) = run(vec![
            vec![command(&[0, 1]), command(&[0, 2])],
            vec![Step::Fails(TargetError::Silent)],
            vec![command(&[0, 3])],
        ]);
        assert_eq!(result, Ok(()));
        assert_eq!(
            said,
            ["listens", "079000", "07079000", "listens", "listens", "5 bytes 9000", "rests"]
        );
        assert_eq!(events, ["Activated", "Disconnected", "Activated", "Disconnected"]);
    }

    #[test]
    fn what_breaks_a_session_does_not_break_the_next() {
        for error in [TargetError::Silent, TargetError::Broken("a torn frame".into())] {
            let (said, events, _) = run(vec![
                vec![Step::Fails(error.clone())],
                vec![command(&[0, 0]), Step::Fails(error.clone())],
                vec![command(&[0, 1])],
            ]);
            assert_eq!(said, ["listens", "listens", "9000", "rests", "listens", "079000", "rests"]);
            assert!(events.iter().any(|event| event.starts_with("Trouble")), "{events:?}");
        }
        let send = Step::SendFails(TargetError::Released);
        let (said, _, _) = run(vec![vec![command(&[0, 0]), send], vec![command(&[0, 1])]]);
        assert_eq!(said, ["listens", "listens", "079000", "rests"]);
    }

    #[test]
    fn a_device_that_is_lost_is_opened_again() {
        let lost = Step::Fails(TargetError::Lost("unplugged".into()));
        let (said, events, result) = run(vec![vec![command(&[0, 0]), lost], vec![command(&[0, 1])]]);
        assert_eq!(result, Ok(()));
        assert_eq!(said, ["listens", "9000", "opens", "opens", "listens", "079000", "rests"]);
        // Told once.
        assert_eq!(events.iter().filter(|event| event.starts_with("DeviceLost")).count(), 1);
        let unable = TargetError::Unable("no PN532".into());
        let (_, _, result) = run(vec![vec![Step::Fails(unable.clone())]]);
        assert_eq!(result, Err(unable));
    }

    #[test]
    fn lengths() {
        // The longest whole one; then one in parts, fetched; then one whose rest is not wanted.
        let (said, events, _) = run(vec![vec![
            command(&[1, 4]),
            command(&[2, 0]),
            command(&[0, 0xC0, 0, 0, 0]),
            command(&[0, 0xC0, 0, 0, 0]),
            command(&[1, 5]),
            command(&[0, 0]),
            command(&[0, 0xC0, 0, 0, 0]),
        ]]);
        // 512 bytes are 255, 255 and 2. The last command is the phone's own to answer: there is nothing left.
        assert_eq!(
            said[1..8],
            [
                "262 bytes 9000",
                "257 bytes 61ff",
                "257 bytes 6102",
                "07079000",
                "257 bytes 6106",
                "9000",
                "194 bytes 9000"
            ]
        );
        assert_eq!(events.len(), 2);
        let (said, events, _) = run(vec![
            vec![Step::Fails(TargetError::Silent)],
            vec![
                command(&[0, 0]),
                Step::Fails(TargetError::TooLong),
                command(&[0, 2]),
                command(&[0xDD, 1]),
            ],
        ]);
        assert_eq!(said, ["listens", "listens", "9000", "6700", "07079000", "6f00", "rests"]);
        assert_eq!(events, ["Activated", "Trouble(TooLong)", "BadResponse(1)", "Disconnected"]);
    }

    #[test]
    fn a_phone_that_leaves() {
        let (said, _, _) = run(vec![
            vec![command(&[0xEE, 0]), command(&[0, 0])],
            vec![command(&[1]), command(&[0, 0])],
            vec![command(&[0xDD, 0])],
        ]);
        assert_eq!(said, ["listens", "rests", "listens", "9001", "rests", "listens", "6f00", "rests"]);
    }
}
