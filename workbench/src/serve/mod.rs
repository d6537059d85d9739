//! Where a phone is shown: the forms of `tapdoor phone --serve`.
//!
//! | form | the phone stands |
//! |---|---|
//! | `vpcd:HOST:PORT` | behind vpcd, as a card |
//! | `vpcd:HOST:PORT,as=acr122u` | behind vpcd, on a whole simulated ACR122U |
//! | `tcp-listen:HOST:PORT` | as with vpcd, listening |
//! | `pn532:PATH` | in front of a simulated PN532 on a new pseudo-terminal, PATH a symlink to it |
//! | `ifd:SOCKET` | on a simulated ACR122U behind our own PC/SC driver |
//! | `udp:HOST:PORT` | at the end of a UDP socket, frames in nfcpy's format |
//! | `libnfc:CONNSTRING` | on a real PN532 in target mode (cargo feature `libnfc`) |
//!
//! Where there is a field, `after=SECONDS` lets the phone come so much later, and `stay=SECONDS` takes it away again.

#[cfg(unix)]
mod acr122u;
#[cfg(unix)]
mod radio;
mod spec;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[cfg(feature = "libnfc")]
use tapdoor_hce_card::serve::libnfc::LibnfcTarget;
#[cfg(feature = "libnfc")]
use tapdoor_hce_card::serve::target::serve as serve_target;
use tapdoor_hce_card::serve::vpcd::{Reconnect, ServeError, ServeEvent, VpcdCardListener, serve_vpcd};
use tapdoor_link::stop::Stop;

pub use self::spec::{Carry, ServeSpec, SpecError};
use crate::sim::SharedPhone;

/// How long a phone that hangs is waited for.
const SILENCE: Duration = Duration::from_secs(10);
/// What to do where libnfc has no chip for a phone.
#[cfg(feature = "libnfc")]
const NO_CHIP: &str = "connect a PN532 on a serial line and name it, libnfc:pn532_uart:PATH; `nfc-scan-device` lists what libnfc sees";

/// Why a phone could not be shown, or not any longer.
#[derive(Debug)]
pub struct Failed {
    place: String,
    detail: String,
    cure: &'static str,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.place, self.detail, self.cure)
    }
}

impl std::error::Error for Failed {}

enum Kind {
    Vpcd(String),
    Listen(VpcdCardListener),
    #[cfg(unix)]
    Radio(radio::Opened),
    #[cfg(feature = "libnfc")]
    Libnfc(String, LibnfcTarget),
}

/// A place that is open, and nobody is there yet.
pub struct Place {
    kind: Kind,
    /// Where it is, for people.
    pub name: String,
    /// What it listens on, if it does.
    pub listen: Option<SocketAddr>,
    /// The file by which others find it, if there is one.
    pub path: Option<PathBuf>,
}

impl Place {
    /// Opens the place.
    ///
    /// # Errors
    /// [`Failed`]: the port or the file is taken, or this system has no such thing.
    pub fn open(spec: &ServeSpec, stop: &Stop) -> Result<Self, Failed> {
        let simple = |kind, name: &str| Self {
            kind,
            name: name.to_owned(),
            listen: None,
            path: None,
        };
        match spec {
            ServeSpec::Vpcd(address) => Ok(simple(Kind::Vpcd(address.clone()), address)),
            ServeSpec::TcpListen(address) => {
                let listener = VpcdCardListener::bind(address).map_err(|e| failed(address, &e, "choose another port (0: any)"))?;
                let local = listener.local_addr();
                Ok(Self {
                    listen: Some(local),
                    ..simple(Kind::Listen(listener), &local.to_string())
                })
            }
            #[cfg(feature = "libnfc")]
            ServeSpec::Libnfc(connstring) => {
                let target = LibnfcTarget::open(connstring).map_err(|e| failed(&spec.to_string(), &e, NO_CHIP))?;
                let name = target.name().to_owned();
                Ok(simple(Kind::Libnfc(connstring.clone(), target), &name))
            }
            #[cfg(unix)]
            other => {
                let opened = radio::Opened::open(other, stop)?;
                Ok(Self {
                    listen: opened.listen(),
                    path: opened.path(),
                    name: opened.name(),
                    kind: Kind::Radio(opened),
                })
            }
            #[cfg(not(unix))]
            _ => {
                let _ = stop;
                Err(Failed {
                    place: spec.to_string(),
                    detail: "there is no such thing on this system".into(),
                    cure: "use vpcd: or tcp-listen:",
                })
            }
        }
    }

    /// Shows the phone there until `stop`.
    ///
    /// # Errors
    /// [`Failed`] when the place is gone for good.
    pub fn serve(self, mut phone: SharedPhone, stop: &Stop, observe: &mut dyn FnMut(ServeEvent<'_>)) -> Result<(), Failed> {
        let name = self.name;
        let told = |e: ServeError| failed(&name, &e, "start again when it is there");
        match self.kind {
            Kind::Vpcd(address) => serve_vpcd(&address, &mut phone, stop, &Reconnect::default(), observe).map_err(told),
            Kind::Listen(listener) => listener.serve(&mut phone, stop, observe).map_err(told),
            #[cfg(unix)]
            Kind::Radio(opened) => opened.serve(phone, stop, observe),
            #[cfg(feature = "libnfc")]
            Kind::Libnfc(connstring, target) => {
                // A phone that hangs must not hang its chip for longer than that.
                phone.lock().waited_for(stop, SILENCE);
                serve_target(target, &mut || LibnfcTarget::open(&connstring), &mut phone, stop, observe)
                    .map_err(|e| failed(&name, &e, NO_CHIP))
            }
        }
    }
}

pub(crate) fn failed(place: &str, error: &dyn fmt::Display, cure: &'static str) -> Failed {
    Failed {
        place: place.to_owned(),
        detail: error.to_string(),
        cure,
    }
}
