//! A [`Card`] over TCP in vpcd's framing: as the client of a vpcd ([`serve_vpcd`]) or listening ([`VpcdCardListener`]).

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::path::Path;
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tapdoor_link::stop::{Backoff, Stop};
use tapdoor_link::vpcd::{Frames, Request, encode};

use super::Card;
use super::target::TargetError;

/// How long a peer may rest inside a message; between messages it may rest for ever.
pub const MESSAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a card that left the field stays away, so that pcscd (which looks every 400 ms) sees it go.
const AWAY: Duration = Duration::from_millis(900);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// Status word for "no precise diagnosis": the answer when the card's own cannot be sent.
const NO_DIAGNOSIS: [u8; 2] = [0x6F, 0x00];

/// What to do when there is no vpcd to connect to.
#[derive(Clone, Debug)]
pub struct Reconnect {
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Give up when no connection came about for this long; `None`: never.
    pub give_up: Option<Duration>,
    /// Connect again after a connection has ended (pcscd was started again). Otherwise that ends the service.
    pub again: bool,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            backoff: Backoff::default(),
            give_up: None,
            again: true,
        }
    }
}

/// What happens while a card is served, for logs and for `ready` lines.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeEvent<'a> {
    /// No connection yet; tried again silently. Told once for a series of failures.
    Waiting(&'a io::Error),
    /// A reader is there.
    Connected(SocketAddr),
    /// A driver has opened the simulated reader at this path.
    Driver(&'a Path),
    /// A reader has activated the card through a chip that is a target.
    Activated,
    /// The chip's device is lost, and opened again when it is back. Told once.
    DeviceLost(&'a TargetError),
    /// A session of a target ended badly, or went on as the text says.
    Trouble(&'a TargetError),
    /// The reader powers the card.
    PowerOn,
    /// The reader cuts the power.
    PowerOff,
    /// The reader resets the card.
    Reset,
    /// The card left the field, in the middle of a command or behind its answer.
    CardLeft,
    /// The peer broke the protocol or the connection; the text says how.
    PeerError(&'a io::Error),
    /// The card gave a response that the protocol cannot carry, of this length; 6F00 was sent.
    BadResponse(usize),
    /// The reader is gone.
    Disconnected,
}

/// Why a service ended before it was asked to stop.
#[derive(Debug)]
#[non_exhaustive]
pub enum ServeError {
    /// The address cannot be resolved.
    Address(String, io::Error),
    /// No connection within the time to give up, or the connection ended and [`Reconnect::again`] is off.
    Connect(String, io::Error),
    /// Listening failed.
    Listen(String, io::Error),
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address, e) => {
                write!(
                    f,
                    "vpcd: {address} is no address: {e}; write HOST:PORT, for instance 127.0.0.1:35963"
                )
            }
            Self::Connect(address, e) => {
                write!(
                    f,
                    "vpcd: no reader at {address}: {e}; start pcscd with vpcd, or `tapdoor lock --reader vpcd-listen:{address}`"
                )
            }
            Self::Listen(address, e) => write!(f, "vpcd: cannot listen on {address}: {e}; choose another port (0: any)"),
        }
    }
}

impl std::error::Error for ServeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Address(_, e) | Self::Connect(_, e) | Self::Listen(_, e) => Some(e),
        }
    }
}

/// Connects to the vpcd at `address` and is its card until `stop`.
///
/// # Errors
/// [`ServeError`] as `reconnect` has it; never because of what the peer sends.
pub fn serve_vpcd(
    address: &str,
    card: &mut dyn Card,
    stop: &Stop,
    reconnect: &Reconnect,
    observe: &mut dyn FnMut(ServeEvent<'_>),
) -> Result<(), ServeError> {
    let mut connection = Connection::default();
    let mut backoff = reconnect.backoff.clone();
    let mut since = Instant::now();
    let mut told = false;
    while !stop.is_stopped() {
        match connect(address) {
            Ok(stream) => {
                backoff.reset();
                told = false;
                let peer = stream.peer_addr();
                let end = connection.serve(stream, peer, card, stop, observe);
                if stop.is_stopped() {
                    break;
                }
                if end == End::CardLeft {
                    if stop.sleep(AWAY) {
                        break;
                    }
                } else if !reconnect.again {
                    return Ok(());
                } else if backoff.pause(stop) {
                    // Also when a peer accepts and hangs up at once, again and again.
                    break;
                }
                since = Instant::now();
            }
            Err(ServeError::Connect(_, e)) if reconnect.give_up.is_none_or(|most| since.elapsed() < most) => {
                if !told {
                    observe(ServeEvent::Waiting(&e));
                    told = true;
                }
                if backoff.pause(stop) {
                    break;
                }
            }
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn connect(address: &str) -> Result<TcpStream, ServeError> {
    let addresses = address.to_socket_addrs().map_err(|e| {
        if e.kind() == io::ErrorKind::InvalidInput {
            ServeError::Address(address.to_owned(), e)
        } else {
            // A name server that is not up yet is worth another attempt.
            ServeError::Connect(address.to_owned(), e)
        }
    })?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for candidate in addresses {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            // The kernel may connect a socket to itself when nobody listens on an ephemeral port.
            Ok(stream) if stream.local_addr().ok() != stream.peer_addr().ok() => return Ok(stream),
            Ok(_) => last = io::ErrorKind::ConnectionRefused.into(),
            Err(e) => last = e,
        }
    }
    Err(ServeError::Connect(address.to_owned(), last))
}

/// A card that readers connect to, for bridges that cannot listen themselves (an Android app, for instance).
#[derive(Debug)]
pub struct VpcdCardListener {
    listener: TcpListener,
    local: SocketAddr,
}

impl VpcdCardListener {
    /// Listens on `address`; port 0 is any free one.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn bind(address: &str) -> Result<Self, ServeError> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            let local = listener.local_addr()?;
            Ok(Self { listener, local })
        });
        bound.map_err(|e| ServeError::Listen(address.to_owned(), e))
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Is the card of one peer after the other until `stop`.
    ///
    /// # Errors
    /// [`ServeError::Listen`] if listening fails; never because of what a peer sends.
    pub fn serve(&self, card: &mut dyn Card, stop: &Stop, observe: &mut dyn FnMut(ServeEvent<'_>)) -> Result<(), ServeError> {
        let mut connection = Connection::default();
        let mut backoff = Backoff::default();
        let local = self.local;
        // Only a connection ends a blocked accept() on every system.
        let _wake = stop.on_stop(move || {
            let _ = TcpStream::connect_timeout(&reachable(local), CONNECT_TIMEOUT);
        });
        while !stop.is_stopped() {
            match self.listener.accept() {
                Ok(_) if stop.is_stopped() => break,
                Ok((stream, peer)) => {
                    backoff.reset();
                    connection.serve(stream, Ok(peer), card, stop, observe);
                }
                Err(e) if is_passing(&e) => {
                    observe(ServeEvent::PeerError(&e));
                    if backoff.pause(stop) {
                        break;
                    }
                }
                Err(e) => return Err(ServeError::Listen(local.to_string(), e)),
            }
        }
        Ok(())
    }
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

/// Whether accept() may work again later: the peer gave up, or descriptors or memory ran out.
fn is_passing(e: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted, OutOfMemory, TimedOut, WouldBlock};
    matches!(e.kind(), ConnectionAborted | ConnectionReset | Interrupted | OutOfMemory | TimedOut | WouldBlock)
        // EMFILE and ENFILE have no kind.
        || matches!(e.raw_os_error(), Some(23 | 24))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Peer,
    CardLeft,
}

/// The buffers of a connection, used again for the next.
#[derive(Default)]
struct Connection {
    frames: Frames,
    response: Vec<u8>,
    out: Vec<u8>,
}

impl Connection {
    fn serve(
        &mut self,
        stream: TcpStream,
        peer: io::Result<SocketAddr>,
        card: &mut dyn Card,
        stop: &Stop,
        observe: &mut dyn FnMut(ServeEvent<'_>),
    ) -> End {
        let handle = match prepare(&stream) {
            Ok(handle) => handle,
            Err(e) => {
                observe(ServeEvent::PeerError(&e));
                return End::Peer;
            }
        };
        let _wake = stop.on_stop(move || {
            let _ = handle.shutdown(Shutdown::Both);
        });
        if let Ok(peer) = peer {
            observe(ServeEvent::Connected(peer));
        }
        self.frames.clear();
        let result = self.exchange(&stream, card, observe);
        card.power_off();
        let end = match result {
            Ok(end) => end,
            Err(e) => {
                if !stop.is_stopped() {
                    observe(ServeEvent::PeerError(&e));
                }
                End::Peer
            }
        };
        let _ = stream.shutdown(Shutdown::Both);
        observe(ServeEvent::Disconnected);
        end
    }

    fn exchange(&mut self, mut stream: &TcpStream, card: &mut dyn Card, observe: &mut dyn FnMut(ServeEvent<'_>)) -> io::Result<End> {
        // When the message began of which only a part is there.
        let mut begun: Option<Instant> = None;
        loop {
            acknowledge_at_once(stream);
            match stream.read(self.frames.space()) {
                Ok(0) if self.frames.is_empty() => return Ok(End::Peer),
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the reader hung up in the middle of a message",
                    ));
                }
                Ok(count) => self.frames.filled(count),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // Nobody is late between messages: the receive time-out is for those who stop inside one.
                Err(e) if is_timeout(&e) && begun.is_none() => {}
                Err(e) if is_timeout(&e) => return Err(late()),
                // Hanging up hard is hanging up: vpcd does so when pcscd is killed.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset && self.frames.is_empty() => return Ok(End::Peer),
                Err(e) => return Err(e),
            }
            while let Some(body) = self.frames.message() {
                begun = None;
                let mut leaving = false;
                self.response.clear();
                match Request::parse(body) {
                    Request::Empty | Request::Unknown(_) => continue,
                    Request::PowerOff => {
                        card.power_off();
                        observe(ServeEvent::PowerOff);
                        continue;
                    }
                    Request::PowerOn => {
                        card.power_on();
                        observe(ServeEvent::PowerOn);
                        continue;
                    }
                    Request::Reset => {
                        card.reset();
                        observe(ServeEvent::Reset);
                        continue;
                    }
                    // pcscd asks again and again whether the card is still there.
                    Request::GetAtr if card.is_leaving() => {
                        observe(ServeEvent::CardLeft);
                        return Ok(End::CardLeft);
                    }
                    Request::GetAtr => self.response.extend_from_slice(card.atr()),
                    Request::Apdu(command) => {
                        card.process(command, &mut self.response);
                        if self.response.is_empty() {
                            observe(ServeEvent::CardLeft);
                            return Ok(End::CardLeft);
                        }
                        if self.response.len() < 2 {
                            observe(ServeEvent::BadResponse(self.response.len()));
                            self.response.clear();
                            self.response.extend_from_slice(&NO_DIAGNOSIS);
                        }
                        leaving = card.is_leaving();
                    }
                }
                if !encode(&self.response, &mut self.out) {
                    observe(ServeEvent::BadResponse(self.response.len()));
                    let _ = encode(&NO_DIAGNOSIS, &mut self.out);
                }
                stream.write_all(&self.out)?;
                if leaving {
                    observe(ServeEvent::CardLeft);
                    return Ok(End::CardLeft);
                }
            }
            if !self.frames.is_empty() && begun.get_or_insert_with(Instant::now).elapsed() > MESSAGE_TIMEOUT {
                return Err(late());
            }
        }
    }
}

/// Options of a fresh connection, and a second handle for the one who ends it.
fn prepare(stream: &TcpStream) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(MESSAGE_TIMEOUT))?;
    stream.set_write_timeout(Some(MESSAGE_TIMEOUT))?;
    // A peer whose machine vanished would hold the place for ever.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(10));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)?;
    stream.try_clone()
}

fn is_timeout(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the reader stopped in the middle of a message")
}

/// vpcd sends length and body in two writes and waits (Nagle) for the acknowledgement of the first, which Linux would
/// delay by 44 ms. The option holds for a moment only, so it is set before every receive.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn acknowledge_at_once(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_quickack(true);
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn acknowledge_at_once(_: &TcpStream) {}
