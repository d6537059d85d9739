//! The reader behind our own PC/SC driver: a Unix socket on which [`tapdoor_link::ifd`] is spoken.
//!
//! Each connection has a thread. Commands take turns at the reader, which looks at its field between them. Whoever waits for a card is
//! told as soon as a look shows another state.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tapdoor_link::field::FieldLink;
use tapdoor_link::ifd::{self, HEADER};
use tapdoor_link::stop::Stop;

use super::{Acr122u, Reply};

/// How often the reader looks at its field.
const LOOK: Duration = Duration::from_millis(100);
/// How long a driver may rest within a message, or leave an answer unread.
const WITHIN: Duration = Duration::from_secs(5);
/// So many connections at a time: a driver makes two.
const CONNECTIONS: usize = 32;
/// How long one [`ifd::WAIT`] lasts at the most.
const LONGEST: Duration = Duration::from_secs(60);

/// What happens at the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEvent {
    /// A driver is there.
    Connected,
    /// The last driver is gone.
    Disconnected,
}

/// The socket, on which nobody is served yet. Its file goes when this is dropped.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`. A socket there on which nobody listens is replaced.
    ///
    /// # Errors
    /// There is another file, or somebody listens.
    pub fn bind(path: &Path) -> io::Result<Self> {
        let listener = match UnixListener::bind(path) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse && is_dead(path) => {
                std::fs::remove_file(path)?;
                UnixListener::bind(path)?
            }
            other => other?,
        };
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves the reader until `stop`.
    ///
    /// # Errors
    /// Those of listening; never because of what a driver sends.
    pub fn serve<L: FieldLink + Send>(&self, reader: Acr122u<L>, stop: &Stop, observe: &(dyn Fn(SocketEvent) + Sync)) -> io::Result<()> {
        let shared = Shared {
            reader: Mutex::new(reader),
            presence: Mutex::new(false),
            changed: Condvar::new(),
            connections: Arc::default(),
        };
        let connections = Arc::clone(&shared.connections);
        let path = self.path.clone();
        let _wake = stop.on_stop(move || {
            for (_, stream) in lock(&connections).iter() {
                let _ = stream.shutdown(Shutdown::Both);
            }
            // Only a connection ends a blocked accept().
            let _ = UnixStream::connect(&path);
        });
        let shared = &shared;
        thread::scope(|scope| {
            scope.spawn(move || shared.look_around(stop));
            let mut number = 0_u64;
            let result = loop {
                let stream = match self.listener.accept() {
                    Ok(_) if stop.is_stopped() => break Ok(()),
                    Ok((stream, _)) => stream,
                    Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                    Err(e) => break Err(e),
                };
                number += 1;
                let Ok(handle) = stream.try_clone() else { continue };
                let is_first = {
                    let mut connections = lock(&shared.connections);
                    if connections.len() >= CONNECTIONS {
                        continue;
                    }
                    connections.push((number, handle));
                    connections.len() == 1
                };
                if is_first {
                    observe(SocketEvent::Connected);
                }
                scope.spawn(move || {
                    // What a driver does wrong ends its connection, and that is all.
                    let _ = shared.converse(&stream, stop);
                    let _ = stream.shutdown(Shutdown::Both);
                    let is_last = {
                        let mut connections = lock(&shared.connections);
                        connections.retain(|(n, _)| *n != number);
                        connections.is_empty()
                    };
                    if is_last && !stop.is_stopped() {
                        lock(&shared.reader).power_off();
                        observe(SocketEvent::Disconnected);
                    }
                });
            };
            if result.is_err() {
                // The other threads have nothing to do without a listener.
                stop.stop();
            }
            shared.changed.notify_all();
            result
        })
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Whether nobody listens at the socket.
fn is_dead(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket())
        && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Shared<L> {
    reader: Mutex<Acr122u<L>>,
    presence: Mutex<bool>,
    changed: Condvar,
    connections: Arc<Mutex<Vec<(u64, UnixStream)>>>,
}

impl<L: FieldLink> Shared<L> {
    fn look_around(&self, stop: &Stop) {
        loop {
            let present = lock(&self.reader).present();
            self.note(present);
            if stop.sleep(LOOK) {
                self.changed.notify_all();
                return;
            }
        }
    }

    fn note(&self, present: bool) {
        let mut presence = lock(&self.presence);
        if *presence != present {
            *presence = present;
            self.changed.notify_all();
        }
    }

    fn converse(&self, mut stream: &UnixStream, stop: &Stop) -> io::Result<()> {
        stream.set_write_timeout(Some(WITHIN))?;
        let mut out = Vec::new();
        let mut body = Vec::new();
        while !stop.is_stopped() {
            // Between messages a driver may rest for ever.
            stream.set_read_timeout(None)?;
            let mut header = [0; HEADER];
            let (first, rest) = header.split_at_mut(1);
            stream.read_exact(first)?;
            stream.set_read_timeout(Some(WITHIN))?;
            stream.read_exact(rest)?;
            let Some((kind, length)) = ifd::header(header) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            body.clear();
            body.resize(length, 0);
            stream.read_exact(&mut body)?;
            let (kind, answer) = self.answer(kind, &body, stop);
            if !ifd::encode(kind, &answer, &mut out) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            stream.write_all(&out)?;
        }
        Ok(())
    }

    fn answer(&self, kind: u8, body: &[u8], stop: &Stop) -> (u8, Vec<u8>) {
        match kind {
            ifd::PRESENCE => {
                // A new look, so that a card that has just left is not announced.
                let present = lock(&self.reader).present();
                self.note(present);
                (ifd::OK, vec![u8::from(present)])
            }
            ifd::POWER_UP | ifd::RESET => match lock(&self.reader).power_on() {
                Some(atr) => (ifd::OK, atr),
                None => (ifd::NO_CARD, Vec::new()),
            },
            ifd::POWER_DOWN => {
                lock(&self.reader).power_off();
                (ifd::OK, Vec::new())
            }
            ifd::TRANSMIT => reply(lock(&self.reader).transmit(body)),
            ifd::ESCAPE => reply(lock(&self.reader).escape(body)),
            ifd::WAIT => match ifd::parse_wait(body) {
                Some((known, milliseconds)) => {
                    let time = Duration::from_millis(milliseconds.into()).min(LONGEST);
                    (ifd::OK, vec![u8::from(self.wait(known, time, stop))])
                }
                None => (ifd::REFUSED, Vec::new()),
            },
            _ => (ifd::REFUSED, Vec::new()),
        }
    }

    /// Blocks until the presence is not `known`, or until the time is over.
    fn wait(&self, known: bool, time: Duration, stop: &Stop) -> bool {
        let end = Instant::now() + time;
        let mut presence = lock(&self.presence);
        while *presence == known && !stop.is_stopped() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            presence = self.changed.wait_timeout(presence, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        *presence
    }
}

fn reply(reply: Reply) -> (u8, Vec<u8>) {
    match reply {
        Reply::Answer(answer) => (ifd::OK, answer),
        Reply::NoCard => (ifd::NO_CARD, Vec::new()),
        Reply::Mute => (ifd::TIMEOUT, Vec::new()),
        Reply::TooLong => (ifd::REFUSED, Vec::new()),
    }
}
