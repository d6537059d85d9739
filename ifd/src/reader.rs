//! A reader behind a socket. No call takes longer than its time limit, and nothing that the other side sends can do more than fail.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::wire::{self, HEADER};

/// How long the reader may take for a command: longer than any card may (ISO 14443-4 allows 4.9 s, and S(WTX) again and again).
const ANSWER: Duration = Duration::from_secs(60);
/// How long it may take beyond the time that it was asked to wait.
const GRACE: Duration = Duration::from_secs(2);

/// What a reader answers when it does not do as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The socket is gone, or speaks something else: the reader was unplugged.
    Unplugged,
    /// No card is in the field.
    NoCard,
    /// No answer in time.
    Timeout,
    /// The reader does not do that.
    Refused,
}

/// One reader.
pub(crate) struct Reader {
    commands: Mutex<Option<UnixStream>>,
    events: UnixStream,
    // What the polling thread was told last.
    known: Mutex<bool>,
    atr: Mutex<Vec<u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The path of the socket in a DEVICENAME: what follows the first colon, or all of it.
pub(crate) fn socket_of(device: &str) -> PathBuf {
    Path::new(device.split_once(':').map_or(device, |(_, path)| path)).to_owned()
}

impl Reader {
    /// Connects twice: for commands, and for events.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let commands = UnixStream::connect(path)?;
        let events = UnixStream::connect(path)?;
        for stream in [&commands, &events] {
            stream.set_write_timeout(Some(GRACE))?;
        }
        commands.set_read_timeout(Some(ANSWER))?;
        Ok(Self {
            commands: Mutex::new(Some(commands)),
            events,
            known: Mutex::new(false),
            atr: Mutex::new(Vec::new()),
        })
    }

    fn command(&self, kind: u8, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut slot = lock(&self.commands);
        let Some(stream) = slot.as_ref() else {
            return Err(Failure::Unplugged);
        };
        exchange(stream, kind, body, ANSWER).map_err(|trouble| match trouble {
            Trouble::Said(failure) => failure,
            Trouble::Broken(e) => {
                // An answer that came later would be taken for the next command's.
                if let Some(stream) = slot.take() {
                    let _ = stream.shutdown(Shutdown::Both);
                }
                if is_timeout(&e) { Failure::Timeout } else { Failure::Unplugged }
            }
        })
    }

    /// Whether a card is in the field.
    pub(crate) fn presence(&self) -> Result<bool, Failure> {
        let present = self.command(wire::PRESENCE, &[])?.first().is_some_and(|&b| b != 0);
        *lock(&self.known) = present;
        Ok(present)
    }

    /// Powers or resets the card; gives its ATR.
    pub(crate) fn power(&self, kind: u8) -> Result<Vec<u8>, Failure> {
        lock(&self.atr).clear();
        let atr = self.command(kind, &[])?;
        lock(&self.atr).clone_from(&atr);
        Ok(atr)
    }

    /// The ATR of the card that is powered; empty if none is.
    pub(crate) fn atr(&self) -> Vec<u8> {
        lock(&self.atr).clone()
    }

    /// A command for the card.
    pub(crate) fn transmit(&self, apdu: &[u8]) -> Result<Vec<u8>, Failure> {
        self.command(wire::TRANSMIT, apdu)
    }

    /// A command for the reader itself.
    pub(crate) fn escape(&self, command: &[u8]) -> Result<Vec<u8>, Failure> {
        self.command(wire::ESCAPE, command)
    }

    /// Blocks until the presence is another than was told last, or until `time` is over.
    pub(crate) fn wait(&self, time: Duration) -> Result<(), Failure> {
        let known = *lock(&self.known);
        let milliseconds = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let most = time.saturating_add(GRACE);
        match exchange(&self.events, wire::WAIT, &wire::wait(known, milliseconds), most) {
            Ok(_) => Ok(()),
            Err(Trouble::Said(failure)) => Err(failure),
            Err(Trouble::Broken(_)) => Err(Failure::Unplugged),
        }
    }

    /// Ends a [`Reader::wait`] in another thread, and all that would follow.
    pub(crate) fn stop_waiting(&self) {
        let _ = self.events.shutdown(Shutdown::Both);
    }
}

enum Trouble {
    Said(Failure),
    Broken(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(e: io::Error) -> Self {
        Self::Broken(e)
    }
}

fn exchange(mut stream: &UnixStream, kind: u8, body: &[u8], most: Duration) -> Result<Vec<u8>, Trouble> {
    let mut message = Vec::new();
    if !wire::encode(kind, body, &mut message) {
        return Err(Trouble::Said(Failure::Refused));
    }
    stream.write_all(&message)?;
    let end = Instant::now() + most;
    let mut header = [0; HEADER];
    read_until(stream, &mut header, end)?;
    let Some((kind, length)) = wire::header(header) else {
        return Err(io::Error::from(io::ErrorKind::InvalidData).into());
    };
    let mut answer = vec![0; length];
    read_until(stream, &mut answer, end)?;
    match kind {
        wire::OK => Ok(answer),
        wire::NO_CARD => Err(Trouble::Said(Failure::NoCard)),
        wire::TIMEOUT => Err(Trouble::Said(Failure::Timeout)),
        wire::REFUSED => Err(Trouble::Said(Failure::Refused)),
        _ => Err(io::Error::from(io::ErrorKind::InvalidData).into()),
    }
}

/// Fills `buffer`, however slowly the bytes trickle, before `end`.
fn read_until(mut stream: &UnixStream, mut buffer: &mut [u8], end: Instant) -> io::Result<()> {
    while !buffer.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = buffer.split_at_mut(count).1,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A reader that answers each request by the next of `answers` (raw bytes), and then hangs up.
    fn against(name: &str, answers: Vec<Vec<u8>>) -> Reader {
        let path = std::env::temp_dir().join(format!("tapdoor-ifd-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let reader = Reader::open(&path).unwrap();
        let (mut commands, _) = listener.accept().unwrap();
        let (events, _) = listener.accept().unwrap();
        let _ = std::fs::remove_file(&path);
        thread::spawn(move || {
            for answer in answers {
                let mut header = [0; HEADER];
                if commands.read_exact(&mut header).is_err() {
                    return;
                }
                let (_, length) = wire::header(header).unwrap();
                commands.read_exact(&mut vec![0; length]).unwrap();
                commands.write_all(&answer).unwrap();
            }
            drop(events);
        });
        reader
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        assert!(wire::encode(kind, body, &mut out));
        out
    }

    #[test]
    fn device_names() {
        assert_eq!(socket_of("/run/x"), Path::new("/run/x"));
        assert_eq!(socket_of("/dev/null:/run/x"), Path::new("/run/x"));
        assert_eq!(socket_of(""), Path::new(""));
    }

    #[test]
    fn commands_and_what_fails() {
        let reader = against(
            "commands",
            vec![
                message(wire::OK, &[1]),
                message(wire::OK, &[0x3B, 0x80, 0x80, 0x01, 0x01]),
                message(wire::OK, &[0x90, 0x00]),
                message(wire::NO_CARD, &[]),
                message(wire::TIMEOUT, &[]),
                message(wire::REFUSED, &[]),
            ],
        );
        assert_eq!(reader.presence(), Ok(true));
        assert_eq!(reader.power(wire::POWER_UP), Ok(vec![0x3B, 0x80, 0x80, 0x01, 0x01]));
        assert_eq!(reader.atr(), [0x3B, 0x80, 0x80, 0x01, 0x01]);
        assert_eq!(reader.transmit(&[0, 0xA4, 4, 0]), Ok(vec![0x90, 0]));
        assert_eq!(reader.transmit(&[0, 0xA4, 4, 0]), Err(Failure::NoCard));
        assert_eq!(reader.power(wire::RESET), Err(Failure::Timeout));
        assert!(reader.atr().is_empty());
        assert_eq!(reader.escape(&[0xFF]), Err(Failure::Refused));
        // The reader has hung up.
        assert_eq!(reader.presence(), Err(Failure::Unplugged));
        assert_eq!(reader.presence(), Err(Failure::Unplugged));
        assert_eq!(reader.wait(Duration::from_secs(5)), Err(Failure::Unplugged));
    }

    #[test]
    fn nonsense_is_a_reader_that_is_gone() {
        for nonsense in [vec![0xFF; 9], message(0x11, &[1, 2]), vec![wire::OK, 0, 0, 0, 9, 1]] {
            let reader = against("nonsense", vec![nonsense]);
            assert_eq!(reader.presence(), Err(Failure::Unplugged));
            assert_eq!(reader.transmit(&[0; 5]), Err(Failure::Unplugged));
        }
    }

    #[test]
    fn too_long_a_command_is_not_sent() {
        let reader = against("long", vec![message(wire::OK, &[0])]);
        assert_eq!(reader.transmit(&vec![0; wire::MAX_BODY + 1]), Err(Failure::Refused));
        assert_eq!(reader.presence(), Ok(false));
    }

    #[test]
    fn a_wait_can_be_ended() {
        let path = std::env::temp_dir().join(format!("tapdoor-ifd-{}-wait", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let reader = Reader::open(&path).unwrap();
        let _ends = (listener.accept().unwrap(), listener.accept().unwrap());
        let _ = std::fs::remove_file(&path);
        thread::scope(|scope| {
            let waiting = scope.spawn(|| reader.wait(Duration::from_secs(60)));
            reader.stop_waiting();
            assert_eq!(waiting.join().unwrap(), Err(Failure::Unplugged));
        });
    }
}
