//! A simulated PN532 without a phone: for programs that want the chip, above all as a target.
//!
//! What is near its antenna: nothing, another simulated PN532 (either can be the reader of the other), or whoever sends frames over UDP in
//! nfcpy's format, as a reader does.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::thread;

use tapdoor_hce_card::serve::udp::UdpCard;
use tapdoor_hce_card::serve::vpcd::ServeEvent;
use tapdoor_link::stop::Stop;
use tapdoor_simulator::Field;
use tapdoor_simulator::line::Pty;
use tapdoor_simulator::pn532::target::Antenna;
use tapdoor_simulator::pn532::{Pn532, hsu};

use crate::address::{Port, is_host_port};
use crate::serve::{Failed, failed};

/// What is near a chip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Near {
    /// `udp:HOST:PORT`: a reader that sends to this address.
    Udp(String),
    /// `pn532:PATH`: another simulated chip.
    Pn532(PathBuf),
}

/// Not something that can be near.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" cannot be near a chip; write udp:HOST:PORT (port 0: any) or pn532:PATH")]
pub struct NearError(String);

impl FromStr for Near {
    type Err = NearError;

    fn from_str(text: &str) -> Result<Self, NearError> {
        match text.split_once(':') {
            Some(("udp", address)) if is_host_port(address, Port::Any) => Ok(Self::Udp(address.into())),
            Some(("pn532", path)) if !path.is_empty() => Ok(Self::Pn532(path.into())),
            _ => Err(NearError(text.into())),
        }
    }
}

enum Opened {
    Nothing,
    Udp(UdpCard),
    Pn532(Pty),
}

/// A chip that is open, and nobody uses it yet.
pub struct Chip {
    line: Pty,
    path: PathBuf,
    near: Opened,
}

impl Chip {
    /// A chip on a new pseudo-terminal, with `path` a symlink to it.
    ///
    /// # Errors
    /// [`Failed`]: the file or the port is taken.
    pub fn open(path: &Path, near: Option<&Near>, stop: &Stop) -> Result<Self, Failed> {
        let line = |path: &Path| {
            let cure = "choose a path where there is no file";
            Pty::open(path, stop).map_err(|e| failed(&path.display().to_string(), &e, cure))
        };
        Ok(Self {
            line: line(path)?,
            path: path.to_owned(),
            near: match near {
                None => Opened::Nothing,
                Some(Near::Udp(address)) => {
                    let cure = "choose another port (0: any)";
                    Opened::Udp(UdpCard::bind(address).map_err(|e| failed(address, &e, cure))?)
                }
                Some(Near::Pn532(path)) => Opened::Pn532(line(path)?),
            },
        })
    }

    /// Where a reader's frames are heard.
    #[must_use]
    pub fn listen(&self) -> Option<SocketAddr> {
        match &self.near {
            Opened::Udp(socket) => Some(socket.local_addr()),
            Opened::Nothing | Opened::Pn532(_) => None,
        }
    }

    /// Serves its line until `stop`.
    ///
    /// # Errors
    /// [`Failed`] when a line or the socket is gone.
    pub fn serve(self, stop: &Stop, observe: &mut dyn FnMut(ServeEvent<'_>)) -> Result<(), Failed> {
        let Self { mut line, path, near } = self;
        let name = path.display().to_string();
        let gone = |e: std::io::Error| failed(&name, &e, "start again");
        let antenna = Antenna::default();
        let mut field = Field::new();
        match near {
            Opened::Nothing => hsu::serve(&mut Pn532::new(field), &mut line, stop).map_err(gone),
            Opened::Udp(socket) => thread::scope(|scope| {
                let mut card = antenna.card();
                let chip = scope.spawn(move || {
                    let outcome = hsu::serve(&mut Pn532::new(field).with_antenna(antenna), &mut line, stop);
                    stop.stop();
                    outcome
                });
                let heard = socket.serve(&mut card, stop, observe).map_err(|e| failed(&name, &e, "start again"));
                stop.stop();
                ended(chip.join(), &name)?.map_err(gone)?;
                heard
            }),
            Opened::Pn532(mut other) => thread::scope(|scope| {
                let its = Antenna::default();
                field.place(Box::new(its.card()));
                let mut its_field = Field::new();
                its_field.place(Box::new(antenna.card()));
                let chip = scope.spawn(move || {
                    let outcome = hsu::serve(&mut Pn532::new(its_field).with_antenna(its), &mut other, stop);
                    stop.stop();
                    outcome
                });
                let outcome = hsu::serve(&mut Pn532::new(field).with_antenna(antenna), &mut line, stop).map_err(gone);
                stop.stop();
                ended(chip.join(), &name)?.map_err(gone)?;
                outcome
            }),
        }
    }
}

fn ended<T>(joined: thread::Result<T>, name: &str) -> Result<T, Failed> {
    joined.map_err(|_| failed(name, &"the simulated chip panicked", "report it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_near() {
        assert_eq!("udp:127.0.0.1:0".parse(), Ok(Near::Udp("127.0.0.1:0".into())));
        assert_eq!("pn532:/tmp/b".parse(), Ok(Near::Pn532("/tmp/b".into())));
        for bad in ["", "udp:", "udp:5", "pn532:", "phone", "sim:"] {
            let error = bad.parse::<Near>().unwrap_err().to_string();
            assert!(error.contains("udp:HOST:PORT"), "{error}");
        }
    }
}
