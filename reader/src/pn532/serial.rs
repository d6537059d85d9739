//! A serial port, or a pty that plays one, as a [`Line`].

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::termios::{self, OptionalActions, QueueSelector};

use super::hsu::Line;

/// What a PN532 has after a reset.
pub const DEFAULT_BAUD: u32 = 115_200;
/// How long a line may refuse to take bytes.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// A serial line in raw mode, 8N1, held for this process alone.
#[derive(Debug)]
pub struct SerialLine {
    file: File,
}

impl SerialLine {
    /// Opens `path`.
    ///
    /// # Errors
    /// `WouldBlock` if another program holds it; whatever else ails the file.
    pub fn open(path: &Path, baud: u32) -> io::Result<Self> {
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(i32::try_from(flags.bits()).unwrap_or(0))
            .open(path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let mut settings = termios::tcgetattr(&file).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "this is no serial line"))?;
        settings.make_raw();
        settings.set_speed(baud)?;
        termios::tcsetattr(&file, OptionalActions::Now, &settings)?;
        termios::tcflush(&file, QueueSelector::IFlush)?;
        Ok(Self { file })
    }

    /// Waits until the line is ready for `what`; says whether it is.
    fn wait(&self, what: PollFlags, timeout: Duration) -> io::Result<bool> {
        let end = Instant::now() + timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let time = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            };
            match poll(&mut [PollFd::new(&self.file, what)], Some(&time)) {
                Ok(0) => return Ok(false),
                Ok(_) => return Ok(true),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
}

impl Line for SerialLine {
    fn send(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(PollFlags::OUT, SEND_TIMEOUT)? {
                        return Err(io::Error::new(io::ErrorKind::TimedOut, "nobody takes the bytes at the other end"));
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        loop {
            match self.file.read(buffer) {
                // With nothing to read a serial line says WouldBlock, so this is a hang-up.
                Ok(0) => return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other end has hung up")),
                Ok(count) => return Ok(count),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if timeout.is_zero() || !self.wait(PollFlags::IN, timeout)? {
                        return Ok(0);
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }
}
