//! Places with a radio field: simulated readers that other people's programs take for real ones.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

use tapdoor_hce_card::radio::{Appearance, Pace, RadioCard};
use tapdoor_hce_card::serve::udp::UdpCard;
use tapdoor_hce_card::serve::vpcd::{Reconnect, ServeEvent, serve_vpcd};
use tapdoor_link::stop::Stop;
use tapdoor_simulator::acr122u::socket::{Socket, SocketEvent};
use tapdoor_simulator::acr122u::{Acr122u, Quirks};
use tapdoor_simulator::field::{Carried, Field, Hand};
use tapdoor_simulator::line::Pty;
use tapdoor_simulator::pn532::target::Antenna;
use tapdoor_simulator::pn532::{Pn532, hsu};

use super::acr122u::Acr122uCard;
use super::{Carry, Failed, SILENCE, ServeSpec, failed};
use crate::sim::SharedPhone;

/// A place that is open.
pub(super) enum Opened {
    Pn532(Pty, PathBuf, Carry, Option<Pty>),
    Ifd(Socket, PathBuf, Carry),
    VpcdAcr122u(String),
    Udp(UdpCard),
}

impl Opened {
    pub(super) fn open(spec: &ServeSpec, stop: &Stop) -> Result<Self, Failed> {
        let place = spec.to_string();
        match spec {
            ServeSpec::Pn532(path, carry, peer) => {
                let cure = "choose a path where there is no file";
                let pty = Pty::open(path, stop).map_err(|e| failed(&place, &e, cure))?;
                let peer = peer.as_ref().map(|path| Pty::open(path, stop)).transpose();
                Ok(Self::Pn532(pty, path.clone(), *carry, peer.map_err(|e| failed(&place, &e, cure))?))
            }
            ServeSpec::Ifd(path, carry) => match Socket::bind(path) {
                Ok(socket) => Ok(Self::Ifd(socket, path.clone(), *carry)),
                Err(e) => Err(failed(&place, &e, "choose a path where there is no file")),
            },
            ServeSpec::Udp(address) => match UdpCard::bind(address) {
                Ok(socket) => Ok(Self::Udp(socket)),
                Err(e) => Err(failed(&place, &e, "choose another port (0: any)")),
            },
            ServeSpec::VpcdAcr122u(address) => Ok(Self::VpcdAcr122u(address.clone())),
            ServeSpec::Vpcd(_) | ServeSpec::TcpListen(_) | ServeSpec::Libnfc(_) => {
                Err(failed(&place, &"no place with a field", "use another form"))
            }
        }
    }

    pub(super) fn listen(&self) -> Option<SocketAddr> {
        match self {
            Self::Udp(socket) => Some(socket.local_addr()),
            _ => None,
        }
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Pn532(_, path, ..) | Self::Ifd(_, path, _) => Some(path.clone()),
            Self::VpcdAcr122u(_) | Self::Udp(_) => None,
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Pn532(_, path, ..) | Self::Ifd(_, path, _) => path.display().to_string(),
            Self::VpcdAcr122u(address) => address.clone(),
            Self::Udp(socket) => socket.local_addr().to_string(),
        }
    }

    pub(super) fn serve(self, phone: SharedPhone, stop: &Stop, observe: &mut dyn FnMut(ServeEvent<'_>)) -> Result<(), Failed> {
        let name = self.name();
        // A phone that hangs must not hang its reader for longer than that.
        phone.lock().waited_for(stop, SILENCE);
        match self {
            Self::Pn532(mut pty, _, carry, peer) => {
                let (mut field, hand) = field_with(phone);
                carried(carry, hand, stop);
                let antenna = Antenna::default();
                if peer.is_some() {
                    field.place(Box::new(antenna.card()));
                }
                thread::scope(|scope| {
                    if let Some(mut line) = peer {
                        // The second chip has nobody in its own field.
                        scope.spawn(move || hsu::serve(&mut Pn532::new(Field::new()).with_antenna(antenna), &mut line, stop));
                    }
                    hsu::serve(&mut Pn532::new(field), &mut pty, stop).map_err(|e| failed(&name, &e, "start again"))
                })
            }
            Self::Ifd(socket, path, carry) => {
                let (field, hand) = field_with(phone);
                carried(carry, hand, stop);
                let (told, events) = mpsc::channel();
                let reader = Acr122u::new(field, Quirks::default());
                thread::scope(|scope| {
                    let serving = scope.spawn(move || {
                        socket.serve(reader, stop, &|event| {
                            let _ = told.send(event);
                        })
                    });
                    // Ends when the socket's thread does, which has the sender.
                    for event in events {
                        match event {
                            SocketEvent::Connected => observe(ServeEvent::Driver(&path)),
                            SocketEvent::Disconnected => observe(ServeEvent::Disconnected),
                        }
                    }
                    match serving.join() {
                        Ok(Err(e)) if !stop.is_stopped() => Err(failed(&name, &e, "start again")),
                        Err(_) => Err(failed(&name, &"the simulated reader panicked", "report it")),
                        _ => Ok(()),
                    }
                })
            }
            Self::VpcdAcr122u(address) => {
                let (field, hand) = field_with(phone);
                hand.hold(true);
                let mut card = Acr122uCard::new(Acr122u::new(field, Quirks::default()));
                serve_vpcd(&address, &mut card, stop, &Reconnect::default(), observe).map_err(|e| failed(&name, &e, "start again"))
            }
            Self::Udp(socket) => {
                let mut card = RadioCard::new(phone, Appearance::default(), Pace::Live);
                socket.serve(&mut card, stop, observe).map_err(|e| failed(&name, &e, "start again"))
            }
        }
    }
}

/// A field with a phone, which is outside until the hand carries it in.
fn field_with(phone: SharedPhone) -> (Field, Hand) {
    let (card, hand) = Carried::new(RadioCard::new(phone, Appearance::default(), Pace::Live));
    let mut field = Field::new();
    field.place(Box::new(card));
    (field, hand)
}

/// Carries the phone into the field when its time comes, and out again.
fn carried(carry: Carry, hand: Hand, stop: &Stop) {
    let stop = stop.clone();
    thread::spawn(move || {
        if stop.sleep(carry.after) {
            return;
        }
        hand.hold(true);
        if let Some(stay) = carry.stay
            && !stop.sleep(stay)
        {
            hand.hold(false);
        }
    });
}
