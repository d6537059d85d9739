//! A reader behind a socket. No call takes longer than its time limit, and nothing that the other side sends can do more than fail.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// How long a wait lasts while there is no reader to wait at: that often a new one is looked for.
const LOOK: Duration = Duration::from_millis(250);

/// One reader. Its socket is looked for again and again: it may come after pcscd does, and come back after it went.
pub(crate) struct Reader {
    path: PathBuf,
    commands: Mutex<Option<UnixStream>>,
    events: Mutex<Option<Arc<UnixStream>>>,
    // Whether there has been a reader at all. One that never was has no card; one that went is an error.
    was_there: AtomicBool,
    // No more waiting: pcscd closes the reader.
    closed: AtomicBool,
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
    /// The reader whose socket is, or will be, at `path`.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            commands: Mutex::new(None),
            events: Mutex::new(None),
            was_there: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            known: Mutex::new(false),
            atr: Mutex::new(Vec::new()),
        }
    }

    fn connect(&self) -> Result<UnixStream, Failure> {
        let stream = UnixStream::connect(&self.path).map_err(|_| Failure::Unplugged)?;
        stream.set_write_timeout(Some(GRACE)).map_err(|_| Failure::Unplugged)?;
        self.was_there.store(true, Ordering::SeqCst);
        Ok(stream)
    }

    fn command(&self, kind: u8, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut slot = lock(&self.commands);
        let stream = match slot.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let result = exchange(&stream, kind, body, ANSWER);
        match result {
            Ok(answer) => {
                *slot = Some(stream);
                Ok(answer)
            }
            Err(Trouble::Said(failure)) => {
                *slot = Some(stream);
                Err(failure)
            }
            Err(Trouble::Broken(e)) => {
                // An answer that came later would be taken for the next command's.
                let _ = stream.shutdown(Shutdown::Both);
                Err(if is_timeout(&e) { Failure::Timeout } else { Failure::Unplugged })
            }
        }
    }

    /// Whether a card is in the field.
    pub(crate) fn presence(&self) -> Result<bool, Failure> {
        let present = match self.command(wire::PRESENCE, &[]) {
            Ok(answer) => answer.first().is_some_and(|&b| b != 0),
            Err(Failure::Unplugged) if !self.was_there.load(Ordering::SeqCst) => false,
            Err(failure) => return Err(failure),
        };
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
    pub(crate) fn wait(&self, time: Duration) {
        let stream = {
            let mut events = lock(&self.events);
            match &*events {
                Some(stream) => Some(Arc::clone(stream)),
                None => self.connect().ok().map(|stream| Arc::clone(events.insert(Arc::new(stream)))),
            }
        };
        let Some(stream) = stream else {
            let end = Instant::now() + time.min(LOOK);
            while !self.closed.load(Ordering::SeqCst) && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(20));
            }
            return;
        };
        if self.closed.load(Ordering::SeqCst) {
            return;
        }
        let known = *lock(&self.known);
        let milliseconds = u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
        let result = exchange(&stream, wire::WAIT, &wire::wait(known, milliseconds), time.saturating_add(GRACE));
        if matches!(result, Err(Trouble::Broken(_))) {
            let _ = stream.shutdown(Shutdown::Both);
            *lock(&self.events) = None;
        }
    }

    /// Ends a [`Reader::wait`] in another thread, and all that would follow.
    pub(crate) fn stop_waiting(&self) {
        self.closed.store(true, Ordering::SeqCst);
        if let Some(stream) = &*lock(&self.events) {
            let _ = stream.shutdown(Shutdown::Both);
        }
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

    /// A reader that answers each request by the next of `answers` (raw bytes), and then hangs up for good.
    fn against(name: &str, answers: Vec<Vec<u8>>) -> Reader {
        let path = std::env::temp_dir().join(format!("tapdoor-ifd-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let reader = Reader::new(path.clone());
        *lock(&reader.commands) = Some(reader.connect().unwrap());
        let (mut commands, _) = listener.accept().unwrap();
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
    }

    #[test]
    fn a_reader_that_never_was_has_no_card_and_comes_later() {
        let path = std::env::temp_dir().join(format!("tapdoor-ifd-{}-later", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let reader = Reader::new(path.clone());
        assert_eq!(reader.presence(), Ok(false));
        assert_eq!(reader.power(wire::POWER_UP), Err(Failure::Unplugged));
        let listener = UnixListener::bind(&path).unwrap();
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; HEADER]).unwrap();
            stream.write_all(&message(wire::OK, &[1])).unwrap();
        });
        assert_eq!(reader.presence(), Ok(true));
        serving.join().unwrap();
        std::fs::remove_file(&path).unwrap();
        // Now it has been there, and is gone.
        assert_eq!(reader.presence(), Err(Failure::Unplugged));
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
        let reader = Reader::new(path.clone());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| reader.wait(Duration::from_secs(60)));
            let (mut stream, _) = listener.accept().unwrap();
            // The question is there, so the other thread waits for its answer.
            stream.read_exact(&mut [0; HEADER + 5]).unwrap();
            reader.stop_waiting();
            waiting.join().unwrap();
        });
        let _ = std::fs::remove_file(&path);
        // Closed readers are not waited at.
        reader.wait(Duration::from_secs(60));
    }
}
