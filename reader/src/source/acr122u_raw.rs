//! `acr122u-raw:FRAGMENT`: the PN532 inside an ACR122U, with our own polling and ISO-DEP.
//!
//! Where the reader's driver carries escape commands, cards are looked for by ourselves, and nothing but the reader need be there
//! ([`Escape`]). Where it does not (vpcd; libccid unless it is told to), the reader's firmware looks for cards, and once there is one the
//! same commands go through its connection ([`ThroughCard`]).
//!
//! Either way the firmware's polling is switched off while we work, and put back as it was at the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tapdoor_captures::{FrameTape, SharedTape};
use tapdoor_link::field::{FieldLink, FieldRecorder};
use tapdoor_link::stop::Stop;
use tapdoor_link::{CardLink, Limits, LinkError, attend};
use tapdoor_protocol::rf::frame::RxFrame;
use tapdoor_protocol::rf::polling::Found;

use super::pcsc::{PcscSource, choose, list_readers};
use super::radio::{
    self, Frames, Polling, Radio, RadioLink, RadioSource, Recorded, activation, atr, describe_found, record, round, tell_tape,
};
use super::{
    ANSWER_TIMEOUT, CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError, SourceErrorKind, SourceEvent, no_observer,
};
use crate::acr122u::{AcrPort, EscapeError, EscapeLink, Settings, firmware};
use crate::pn532::raw::State;
use crate::pn532::{AnyPort, Chip, ChipError, RawField};

const LAYER: &str = "acr122u";

/// A way to the reader on which its own polling is off for as long as this lives.
struct Quiet<L: CardLink> {
    link: L,
    settings: Settings,
    /// Whether to put back what was found.
    restore: bool,
}

impl<L: CardLink> Quiet<L> {
    fn new(mut link: L) -> Result<Self, LinkError> {
        let settings = Settings::read(&mut link)?;
        settings.without_polling().write(&mut link)?;
        Ok(Self {
            link,
            settings,
            restore: true,
        })
    }
}

impl<L: CardLink> CardLink for Quiet<L> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        self.link.transmit(command, response)
    }

    fn limits(&self) -> Limits {
        self.link.limits()
    }
}

impl<L: CardLink> Drop for Quiet<L> {
    fn drop(&mut self) {
        if self.restore {
            // A reader that has gone is as it comes back.
            let _ = self.settings.write(&mut self.link);
        }
    }
}

impl<L: CardLink + Send + 'static> Radio for RawField<AcrPort<L>> {
    fn reader_command(&mut self, command: &[u8], response: &mut Vec<u8>) -> Option<Result<(), LinkError>> {
        Some(self.chip_mut().port_mut().link_mut().transmit(command, response))
    }
}

/// A reader by escape commands.
pub struct Escape {
    fragment: String,
    name: String,
    firmware: Option<String>,
}

impl Escape {
    fn new(fragment: &str) -> Self {
        Self {
            fragment: fragment.to_owned(),
            name: String::new(),
            firmware: None,
        }
    }

    fn connect(&mut self) -> Result<EscapeLink, SourceError> {
        let names = list_readers()?.into_iter().map(|reader| reader.name).collect();
        self.name = choose(&self.fragment, &self.name, names)?;
        EscapeLink::connect(&self.name).map_err(|e| {
            let kind = match e {
                EscapeError::NotAllowed(_) => SourceErrorKind::NotAllowed,
                EscapeError::Busy => SourceErrorKind::Busy,
                EscapeError::Reader(_) => SourceErrorKind::Reader,
            };
            SourceError::new(kind, LAYER, format!("{}: {e}", self.name))
        })
    }

    fn chip(&mut self) -> Result<Chip<AcrPort<QuietEscape>>, SourceError> {
        let mut link = self.connect()?;
        self.firmware = firmware(&mut link).map_err(|e| failed(&self.name, &e))?;
        let link = Quiet::new(link).map_err(|e| failed(&self.name, &e))?;
        let mut chip = Chip::new(AcrPort::new(QuietEscape(link)));
        chip.start(false).map_err(|e| failed(&self.name, &e))?;
        Ok(chip)
    }
}

fn failed(name: &str, e: &impl std::fmt::Display) -> SourceError {
    SourceError::new(SourceErrorKind::Reader, LAYER, format!("{name}: {e}"))
}

impl radio::Device for Escape {
    type Radio = RawField<AcrPort<QuietEscape>>;

    fn open(&mut self, epoch: Instant) -> Result<Self::Radio, SourceError> {
        Ok(RawField::new(self.chip()?, epoch))
    }

    fn describe(&self) -> ReaderInfo {
        info(&self.name, self.firmware.as_deref())
    }

    fn layer(&self) -> &'static str {
        LAYER
    }
}

/// A direct connection on which the reader's own polling is off. The field goes off when it ends.
pub struct QuietEscape(Quiet<EscapeLink>);

impl CardLink for QuietEscape {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        self.0.transmit(command, response)
    }

    fn limits(&self) -> Limits {
        self.0.limits()
    }
}

impl Drop for QuietEscape {
    fn drop(&mut self) {
        // Else the card would stay activated, and the firmware's own search would not find it.
        let _ = self
            .0
            .transmit(&[0xFF, 0x00, 0x00, 0x00, 0x04, 0xD4, 0x32, 0x01, 0x00], &mut Vec::with_capacity(8));
    }
}

fn info(name: &str, firmware: Option<&str>) -> ReaderInfo {
    ReaderInfo {
        name: name.to_owned(),
        driver: "acr122u",
        firmware: firmware.map(str::to_owned),
        mode: "raw",
        listen: None,
        is_acr122: true,
    }
}

type Link = Box<dyn CardLink + Send>;
type CardRadio = RawField<AcrPort<Quiet<Link>>>;

/// A reader through the connection of a card that its firmware has found.
pub struct ThroughCard {
    pcsc: PcscSource,
    polling: Polling,
    epoch: Instant,
    frames: Frames,
    observer: Observer,
    firmware: Option<String>,
}

/// What came of a search by way of a card's connection.
struct Search {
    state: State,
    settings: Settings,
    firmware: Option<String>,
    found: Result<Option<Found>, String>,
}

/// Takes the reader over and looks for the card once.
fn search(link: &mut dyn CardLink, polling: &Polling, epoch: Instant, frames: &Frames) -> Result<Search, ChipError> {
    let gone = |e: LinkError| ChipError::Port(crate::pn532::PortError::new(crate::pn532::PortErrorKind::Gone, e));
    let name = firmware(link).map_err(gone)?;
    let mut quiet = Quiet::new(link).map_err(gone)?;
    let settings = quiet.settings;
    let mut chip = Chip::new(AcrPort::new(&mut quiet));
    chip.start(false)?;
    let mut radio = FieldRecorder::new(RawField::new(chip, epoch), Arc::clone(frames));
    tell_tape(frames, FrameTape::search);
    let mut rx = RxFrame::new();
    let found = (|| {
        // The firmware has activated the card: without field it forgets that.
        radio.set_field(false)?;
        radio.pause(tapdoor_protocol::rf::time::FIELD_OFF);
        radio.set_field(true)?;
        let plan = polling.plan(&radio.abilities());
        round(&mut radio, &plan, true, &mut rx)
    })();
    let found = match found {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(e)) => Err(e.to_string()),
        Err(e) => Err(e.to_string()),
    };
    let (radio, _) = radio.into_parts();
    let (_, state) = radio.into_parts();
    // The session that follows puts it back; without one it is done now.
    quiet.restore = !matches!(found, Ok(Some(_)));
    Ok(Search {
        state,
        settings,
        firmware: name,
        found,
    })
}

impl ThroughCard {
    fn tell_mute(&self, detail: String) {
        (self.observer)(&SourceEvent::CardMute(detail));
    }
}

impl CardSource for ThroughCard {
    fn describe(&self) -> ReaderInfo {
        info(&self.pcsc.describe().name, self.firmware.as_deref())
    }

    fn wait_card(&mut self, stop: &Stop) -> Result<Session, SourceError> {
        loop {
            let session = self.pcsc.wait_card(stop)?;
            let (polling, epoch) = (self.polling.clone(), self.epoch);
            let frames = Arc::clone(&self.frames);
            let patience = ANSWER_TIMEOUT + Duration::from_millis(500);
            let work = move |link: &mut tapdoor_link::Attended<Link>| search(link, &polling, epoch, &frames);
            let detail = match attend(session.link, patience, stop, work) {
                Ok((link, Ok(search))) => {
                    self.firmware = search.firmware;
                    match search.found {
                        Ok(Some(found)) => {
                            let link = Quiet {
                                link,
                                settings: search.settings,
                                restore: true,
                            };
                            let radio = RawField::resume(Chip::new(AcrPort::new(link)), search.state);
                            let recorded: Recorded<CardRadio> = FieldRecorder::new(radio, Arc::clone(&self.frames));
                            match RadioLink::new(recorded, &found, true, drop) {
                                Ok(link) => {
                                    return Ok(Session {
                                        link: Box::new(link),
                                        atr: Some(atr(&found)),
                                        protocol: Protocol::T1,
                                        hold: Hold::Exclusive,
                                        activation: activation(&found),
                                    });
                                }
                                Err(_) => describe_found(&found),
                            }
                        }
                        Ok(None) => "the reader's firmware sees a card, and our own search finds none".to_owned(),
                        Err(detail) => detail,
                    }
                }
                Ok((_, Err(e))) => e.to_string(),
                Err(_) if stop.is_stopped() => return Err(SourceError::cancelled(LAYER)),
                Err(abandoned) => abandoned.error.to_string(),
            };
            self.tell_mute(detail);
            self.pcsc.wait_removal(stop)?;
        }
    }

    fn wait_removal(&mut self, stop: &Stop) -> Result<(), SourceError> {
        self.pcsc.wait_removal(stop)
    }

    fn set_observer(&mut self, observer: Observer) {
        self.pcsc.set_observer(Arc::clone(&observer));
        self.observer = observer;
    }

    fn record_frames(&mut self, tape: Option<SharedTape>) {
        record(&self.frames, tape, self.epoch);
    }
}

/// The chip of the reader whose name contains `fragment`, by escape commands, for other uses than a card.
///
/// # Errors
/// As [`open`]; `NotAllowed` where the reader's driver carries no escape commands.
pub fn open_chip(fragment: &str) -> Result<Chip<AnyPort>, SourceError> {
    let chip = Escape::new(fragment).chip()?;
    Ok(Chip::new(Box::new(chip.into_port())))
}

/// Opens the reader whose name contains `fragment`, without a card if its driver allows that, else through cards.
///
/// # Errors
/// As `pcsc:` readers; `Busy` if another program has it for itself.
pub fn open(fragment: &str, polling: Polling) -> Result<Box<dyn CardSource>, SourceError> {
    match RadioSource::open(Escape::new(fragment), polling.clone()) {
        Ok(source) => Ok(Box::new(source)),
        Err(e) if e.kind == SourceErrorKind::NotAllowed => Ok(Box::new(ThroughCard {
            pcsc: PcscSource::open(fragment)?,
            polling,
            epoch: Instant::now(),
            frames: Frames::default(),
            observer: no_observer(),
            firmware: None,
        })),
        Err(e) => Err(e),
    }
}
