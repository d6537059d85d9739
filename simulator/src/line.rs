//! The serial line of a simulated chip: a [`Line`], and [`Pty`], which other programs open like a serial port.

use std::io;
use std::time::Duration;

/// A line of bytes to a host.
pub trait Line {
    /// Waits at most `time` for bytes; 0 means that none came. What is read replaces the front of `buffer`.
    ///
    /// # Errors
    /// The line is gone.
    fn read(&mut self, buffer: &mut [u8], time: Duration) -> io::Result<usize>;

    /// Sends all of it. A host that does not take it in reasonable time loses it.
    ///
    /// # Errors
    /// The line is gone.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

#[cfg(unix)]
pub use self::unix::Pty;

#[cfg(unix)]
mod unix {
    use std::fs;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::fs::{Mode, OFlags};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
    use tapdoor_link::stop::{Stop, StopGuard};

    use super::Line;

    /// How long a host may leave bytes unread.
    const UNREAD: Duration = Duration::from_secs(2);

    /// A new pseudo-terminal, raw in both directions, with a symlink to it. The link goes when this is dropped.
    pub struct Pty {
        master: OwnedFd,
        // Held open, so that a host that closes its end does not hang up the line for the next one.
        _slave: OwnedFd,
        woken: OwnedFd,
        path: PathBuf,
        device: PathBuf,
        _guard: StopGuard,
    }

    impl Pty {
        /// Opens one and makes `path` a symlink to it; a symlink that leads nowhere is replaced. Waiting ends when `stop` does.
        ///
        /// # Errors
        /// There is a file at `path`, or the system has no more terminals.
        pub fn open(path: &Path, stop: &Stop) -> io::Result<Self> {
            let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
            grantpt(&master)?;
            unlockpt(&master)?;
            let name = ptsname(&master, Vec::new())?;
            let device = PathBuf::from(std::ffi::OsStr::from_bytes(name.as_bytes()));
            let slave = rustix::fs::open(&device, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
            let mut settings = tcgetattr(&slave)?;
            settings.make_raw();
            tcsetattr(&slave, OptionalActions::Now, &settings)?;
            let flags = rustix::fs::fcntl_getfl(&master)?;
            rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
            rustix::io::fcntl_setfd(&master, rustix::io::FdFlags::CLOEXEC)?;
            // The end of the pipe that is closed wakes the one who waits at the other.
            let (woken, wake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            let wake = std::sync::Mutex::new(Some(wake));
            let guard = stop.on_stop(move || {
                if let Ok(mut wake) = wake.lock() {
                    wake.take();
                }
            });
            if fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink()) && fs::metadata(path).is_err() {
                fs::remove_file(path)?;
            }
            std::os::unix::fs::symlink(&device, path)?;
            Ok(Self {
                master,
                _slave: slave,
                woken,
                path: path.to_owned(),
                device,
                _guard: guard,
            })
        }

        /// The device itself, to which the symlink leads.
        #[must_use]
        pub fn device(&self) -> &Path {
            &self.device
        }

        /// Whether `flags` came before `time` was over.
        fn wait(&self, flags: PollFlags, time: Duration) -> io::Result<bool> {
            let mut fds = [PollFd::new(&self.master, flags), PollFd::new(&self.woken, PollFlags::IN)];
            let time = Timespec::try_from(time).map_err(|_| io::ErrorKind::InvalidInput)?;
            match poll(&mut fds, Some(&time)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            if !fds[1].revents().is_empty() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            Ok(fds[0].revents().intersects(flags | PollFlags::HUP | PollFlags::ERR))
        }
    }

    impl Line for Pty {
        fn read(&mut self, buffer: &mut [u8], time: Duration) -> io::Result<usize> {
            if !self.wait(PollFlags::IN, time)? {
                return Ok(0);
            }
            match rustix::io::read(&self.master, buffer) {
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => Ok(count),
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => Ok(0),
                Err(e) => Err(e.into()),
            }
        }

        fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
            while !bytes.is_empty() {
                match rustix::io::write(&self.master, bytes) {
                    Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
                    Err(rustix::io::Errno::INTR) => {}
                    Err(rustix::io::Errno::AGAIN) => {
                        if !self.wait(PollFlags::OUT, UNREAD)? {
                            return Ok(());
                        }
                    }
                    Err(e) => return Err(e.into()),
                }
            }
            Ok(())
        }
    }

    impl Drop for Pty {
        fn drop(&mut self) {
            // Only if it is still ours.
            if fs::read_link(&self.path).is_ok_and(|target| target == self.device) {
                let _ = fs::remove_file(&self.path);
            }
        }
    }
}
