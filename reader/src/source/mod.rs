//! Where cards come from: [`CardSource`], the seam of a reader that cards come to.

pub mod acr122u_raw;
pub mod firmware;
#[cfg(feature = "libnfc")]
pub mod libnfc;
pub mod pcsc;
pub mod pn532;
pub mod radio;
pub mod udp;
pub mod vpcd_listen;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tapdoor_captures::SharedTape;
use tapdoor_link::card::CardLink;
use tapdoor_link::stop::Stop;

/// A reader that cards come to.
///
/// The order of calls is `wait_card`, exchanges on the session, dropping the session, `wait_removal`. Without
/// `wait_removal` in between, `wait_card` gives a card that still lies there again, from a clean start.
pub trait CardSource: Send {
    /// What this reader is.
    fn describe(&self) -> ReaderInfo;

    /// Blocks until a card is there and held for this program alone. What fails while it waits (the reader is
    /// unplugged, its service ends) is told to the observer and outlasted.
    ///
    /// # Errors
    /// `Cancelled` by `stop`; `Busy` if another program keeps the card: `wait_removal` and another `wait_card` go on.
    fn wait_card(&mut self, stop: &Stop) -> Result<Session, SourceError>;

    /// Blocks until the card of the last `wait_card` is gone, or another has taken its place unseen.
    ///
    /// # Errors
    /// `Cancelled` by `stop`.
    fn wait_removal(&mut self, stop: &Stop) -> Result<(), SourceError>;

    /// Who is told what happens while this source waits.
    fn set_observer(&mut self, observer: Observer);

    /// From now on frames go onto this tape, or onto none, for sources that have frames. A session that has begun is recorded from here.
    fn record_frames(&mut self, tape: Option<SharedTape>) {
        let _ = tape;
    }
}

/// What a reader is, for the user and for the first line of a tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderInfo {
    /// The reader's name.
    pub name: String,
    /// What drives it: `pcsc`, `vpcd`, ...
    pub driver: &'static str,
    /// The firmware's name for itself, where known.
    pub firmware: Option<String>,
    /// How it is used, in the words of the tape: `pcsc`, `raw`, `sim`.
    pub mode: &'static str,
    /// Where it listens, if it is one that is connected to.
    pub listen: Option<std::net::SocketAddr>,
    /// Whether it is an ACR122U or says so: short APDUs only, and it understands the pseudo-APDUs for LED and buzzer.
    pub is_acr122: bool,
}

/// The transmission protocol of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Characters, with 61xx and 6Cxx to be handled by the caller (contact cards).
    T0,
    /// Blocks; contactless readers announce it too.
    T1,
}

/// How the card is kept from other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// No other program can be connected.
    Exclusive,
    /// Another program is connected too, and waits for the end of our transaction.
    Transaction,
}

/// How long a card may take for an answer, unless set otherwise.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A card that is there and held. Dropping it ends the hold.
///
/// An exchange may last for as long as reader and card please; [`tapdoor_link::attend()`] is for those who cannot wait so long.
pub struct Session {
    /// The way to the card.
    pub link: Box<dyn CardLink + Send>,
    /// The answer to reset.
    pub atr: Option<Vec<u8>>,
    /// The transmission protocol.
    pub protocol: Protocol,
    /// How it is held.
    pub hold: Hold,
    /// What the activation told of it.
    pub activation: Activation,
}

/// What whoever activated a card learned of it. Behind PC/SC that is the reader's firmware, which keeps it to itself: there both are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Activation {
    /// Its identifier: UID of type A, PUPI of type B.
    pub uid: Option<Vec<u8>>,
    /// Its answer to select (type A), as it came, from TL on.
    pub ats: Option<Vec<u8>>,
}

impl Session {
    /// Whether the ATR is the one that PC/SC part 3 gives to contactless cards (`3B 8n 80 01 ..`).
    #[must_use]
    pub fn is_contactless(&self) -> bool {
        self.atr.as_deref().is_some_and(is_contactless)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("atr", &self.atr)
            .field("protocol", &self.protocol)
            .field("hold", &self.hold)
            .field("activation", &self.activation)
            .finish_non_exhaustive()
    }
}

/// Whether `atr` is the one that PC/SC part 3 makes up for a contactless card.
#[must_use]
pub fn is_contactless(atr: &[u8]) -> bool {
    matches!(atr, [0x3B, t0, 0x80, 0x01, ..] if t0 & 0xF0 == 0x80)
}

/// What kind of failure of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SourceErrorKind {
    /// The service that owns the readers (pcscd) does not run.
    NoService,
    /// The service runs and has no reader.
    NoReader,
    /// None of the readers is the one asked for.
    NoMatch,
    /// More than one reader, and none was named.
    Ambiguous,
    /// Not allowed to use the service.
    Permission,
    /// Another program keeps the card.
    Busy,
    /// The reader or the service fails in another way.
    Reader,
    /// The address cannot be listened on.
    Listen,
    /// There is no such address.
    Address,
    /// The serial line cannot be opened, or no PN532 answers at its other end.
    Serial,
    /// libnfc cannot open the device, or it has failed.
    Libnfc,
    /// Not allowed to use the serial line.
    SerialPermission,
    /// The reader is used in a way that its driver does not allow.
    NotAllowed,
    /// Somebody asked to stop.
    Cancelled,
}

/// Why a source gives no card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceError {
    /// What kind of failure.
    pub kind: SourceErrorKind,
    /// Which layer speaks: `pcsc`, `vpcd`, ...
    pub layer: &'static str,
    /// What happened, in words.
    pub detail: String,
    /// The readers that are there, where that helps.
    pub readers: Vec<String>,
}

impl SourceError {
    /// A failure.
    pub fn new(kind: SourceErrorKind, layer: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            layer,
            detail: detail.into(),
            readers: Vec::new(),
        }
    }

    /// Somebody asked to stop.
    #[must_use]
    pub fn cancelled(layer: &'static str) -> Self {
        Self::new(SourceErrorKind::Cancelled, layer, "stopped")
    }

    /// What the person at the desk can do about it.
    #[must_use]
    pub fn cure(&self) -> &'static str {
        match self.kind {
            SourceErrorKind::NoService if cfg!(target_os = "linux") => {
                "start the smart card service: `sudo systemctl start pcscd.socket`, or `sudo pcscd` without systemd (package pcscd)"
            }
            SourceErrorKind::NoService => "start the smart card service of this system",
            SourceErrorKind::NoReader if cfg!(target_os = "linux") => {
                "plug the reader in; if it is, the kernel's NFC driver may hold it: `sudo modprobe -r pn533_usb`, then `tapdoor doctor`"
            }
            SourceErrorKind::NoReader => "plug the reader in; `tapdoor doctor` says what stands in its way",
            SourceErrorKind::NoMatch | SourceErrorKind::Ambiguous => "name a part of one reader's name: `--reader pcsc:FRAGMENT`",
            SourceErrorKind::Permission if cfg!(target_os = "linux") => {
                "allow this user to use pcscd: a polkit rule for org.debian.pcsc-lite.access_pcsc, or the group that owns /run/pcscd/pcscd.comm"
            }
            SourceErrorKind::Permission => "allow this user to use the smart card service",
            SourceErrorKind::Busy => "close the other program that uses this reader (a browser, gpg's scdaemon, pcsc_scan)",
            SourceErrorKind::Reader => "unplug the reader and plug it in again; `tapdoor readers` shows what is there",
            SourceErrorKind::Listen => "choose another port (0: any free one), or end the program that has it",
            SourceErrorKind::Address => "write HOST:PORT",
            SourceErrorKind::Serial => {
                "check path, wiring (TX to RX) and the board's switches (HSU); a simulated one: `tapdoor phone --serve pn532:PATH`"
            }
            SourceErrorKind::Libnfc => {
                "`nfc-scan-device -v` lists what libnfc finds; a reader that pcscd or the kernel holds (pn533_usb) is not free for it"
            }
            SourceErrorKind::SerialPermission => "let this user use serial lines: `sudo adduser $USER dialout`, then log in again",
            SourceErrorKind::NotAllowed => "set ifdDriverOptions to 0x0001 in /etc/libccid_Info.plist and restart pcscd, or use `pcsc:`",
            SourceErrorKind::Cancelled => "start the command again",
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer, self.detail)?;
        if !self.readers.is_empty() {
            write!(f, " (there are: {})", self.readers.join(", "))?;
        }
        write!(f, "; {}", self.cure())
    }
}

impl std::error::Error for SourceError {}

/// What happens while a source waits. None of it ends the waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceEvent {
    /// The service of the readers cannot be reached (any more); tried again until it can.
    ServiceLost(SourceError),
    /// It can be reached again.
    ServiceBack,
    /// The reader is not there (any more).
    ReaderLost(SourceError),
    /// A reader that fits is there (again), under this name.
    ReaderBack(String),
    /// Something is on the reader, and it does not answer as a card; the text says how.
    CardMute(String),
    /// A card program connected and was dropped; the text says why.
    CardRejected(String),
}

impl fmt::Display for SourceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceLost(e) | Self::ReaderLost(e) => write!(f, "{e}; waiting for it"),
            Self::ServiceBack => f.write_str("the smart card service is back"),
            Self::ReaderBack(name) => write!(f, "the reader is there: {name}"),
            Self::CardMute(detail) => write!(f, "a card that does not answer: {detail}; take it away and tap again"),
            Self::CardRejected(detail) => write!(f, "a card program was dropped: {detail}"),
        }
    }
}

/// Who is told of [`SourceEvent`]s, on the thread that waits.
pub type Observer = Arc<dyn Fn(&SourceEvent) + Send + Sync>;

/// The observer that ignores everything.
#[must_use]
pub fn no_observer() -> Observer {
    Arc::new(|_| ())
}

#[cfg(test)]
mod tests {
    use super::is_contactless;

    #[test]
    fn contactless_atrs() {
        assert!(is_contactless(&[0x3B, 0x80, 0x80, 0x01, 0x01]));
        assert!(is_contactless(&[0x3B, 0x8A, 0x80, 0x01, 0, 0]));
        assert!(!is_contactless(&[0x3B, 0x9F, 0x96, 0x80, 0x1F]));
        assert!(!is_contactless(&[0x3F, 0x80, 0x80, 0x01]));
        assert!(!is_contactless(&[]));
    }
}
