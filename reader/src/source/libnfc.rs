//! `libnfc:CONNSTRING`: readers through the system's libnfc (feature `libnfc`).
//!
//! libnfc finds the card, sends RATS and exchanges APDUs; its chip's firmware does ISO-DEP. Its buffers have a fixed size that it does
//! not check: an APDU that does not fit is refused here, before libnfc sees it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nfc1::target_info::{Iso14443a, TargetInfo};
use nfc1::{BaudRate, Context, Device, Error, Modulation, ModulationType, Property, Timeout};
use tapdoor_link::stop::{Backoff, Stop};
use tapdoor_link::{CardLink, Limits, LinkError, LinkErrorKind};

use super::firmware::atr;
use super::{
    ANSWER_TIMEOUT, Activation, CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError, SourceErrorKind, SourceEvent,
    no_observer,
};

const LAYER: &str = "libnfc";
/// Pause between two searches.
const INTERVAL: Duration = Duration::from_millis(100);
/// A card that was not found so many times in a row has gone.
const MISSES: u32 = 3;
/// libnfc's name for a device has room for so many bytes.
const CONNSTRING: usize = 1023;
/// So many bytes are copied into a buffer of 264 behind two of its own.
const LONGEST: usize = 262;
/// The same of its driver for an ACR122 at PC/SC, which writes Lc as one byte.
const LONGEST_ACR122: usize = 252;

/// What is looked for.
const TYPE_A: Modulation = Modulation {
    modulation_type: ModulationType::Iso14443a,
    baud_rate: BaudRate::Baud106,
};

/// The device, and the context that it needs for as long as it lives: fields are dropped in this order.
struct Opened {
    device: Device,
    _context: Context,
}

impl Opened {
    fn new(connstring: &str) -> Result<Self, SourceError> {
        let failed = |detail: String| SourceError::new(SourceErrorKind::Libnfc, LAYER, detail);
        if connstring.len() > CONNSTRING || connstring.bytes().any(|byte| byte == 0) {
            return Err(failed(format!("a device's name of {} bytes", connstring.len())));
        }
        let mut context = Context::new().map_err(|e| failed(e.to_string()))?;
        let opened = if connstring.is_empty() {
            context.open()
        } else {
            context.open_with_connstring(connstring)
        };
        let mut device = opened.map_err(|e| failed(format!("cannot open \"{connstring}\": {e}")))?;
        device.initiator_init().map_err(|e| failed(format!("{connstring}: {e}")))?;
        // Else a search lasts until a card comes, and nothing can end it.
        let mut set = |property, value| {
            device
                .set_property_bool(property, value)
                .map_err(|e| failed(format!("{connstring}: {e}")))
        };
        set(Property::InfiniteSelect, false)?;
        set(Property::EasyFraming, true)?;
        set(Property::AutoIso144434, true)?;
        Ok(Self { device, _context: context })
    }

    /// Looks once.
    fn find(&mut self) -> Result<Option<Iso14443a>, Error> {
        match self.device.initiator_select_passive_target(&TYPE_A) {
            // An empty field is no error to libnfc: the card stays as it was given, without a UID.
            Ok(target) => Ok(match target.target_info {
                TargetInfo::Iso14443a(card) if card.uid_len > 0 => Some(card),
                _ => None,
            }),
            Err(Error::Timeout | Error::TargetReleased | Error::RfTransmissionError) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Every card forgets what it was doing.
    fn reset_field(&mut self) -> Result<(), Error> {
        for on in [false, true] {
            self.device.set_property_bool(Property::ActivateField, on)?;
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Whether a card is there, in a field that was off for a moment; RATS is not sent.
    fn is_there(&mut self) -> Result<bool, Error> {
        self.reset_field()?;
        self.device.set_property_bool(Property::AutoIso144434, false)?;
        let found = self.find();
        self.device.set_property_bool(Property::AutoIso144434, true)?;
        Ok(found?.is_some())
    }
}

type Slot = Arc<Mutex<Option<Opened>>>;

fn take(slot: &Slot) -> Option<Opened> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn put(slot: &Slot, opened: Opened) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
}

/// A card in libnfc's hands. Dropping it deselects the card and gives the device back.
struct LibnfcLink {
    opened: Option<Opened>,
    slot: Slot,
    limits: Limits,
}

impl CardLink for LibnfcLink {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        let fail = |kind, detail: String| Err(LinkError::new(kind, LAYER, detail).during(command));
        let Some(opened) = &mut self.opened else {
            return fail(LinkErrorKind::CardGone, "the session is over".to_owned());
        };
        if command.is_empty() || command.len() > self.limits.command {
            let detail = format!(
                "a command of {} bytes, where libnfc has room for {}",
                command.len(),
                self.limits.command
            );
            return fail(LinkErrorKind::TooLong, detail);
        }
        match opened
            .device
            .initiator_transceive_bytes(command, self.limits.response, Timeout::Duration(ANSWER_TIMEOUT))
        {
            Ok(answer) if answer.len() < 2 => {
                let detail = format!("an answer of {} bytes, shorter than a status word", answer.len());
                fail(LinkErrorKind::Malformed, detail)
            }
            Ok(answer) => {
                response.extend_from_slice(&answer);
                Ok(())
            }
            Err(e) => {
                let kind = match e {
                    Error::Timeout => LinkErrorKind::Timeout,
                    Error::TargetReleased | Error::RfTransmissionError => LinkErrorKind::CardGone,
                    Error::BufferOverflow => LinkErrorKind::Malformed,
                    Error::OperationAborted => LinkErrorKind::Cancelled,
                    _ => LinkErrorKind::Reader,
                };
                let text = if e == Error::BufferOverflow {
                    format!(
                        "an answer of more than {} bytes, which libnfc has no room for; ask for less (Le)",
                        self.limits.response
                    )
                } else {
                    e.to_string()
                };
                fail(kind, text)
            }
        }
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

impl Drop for LibnfcLink {
    fn drop(&mut self) {
        if let Some(mut opened) = self.opened.take() {
            // A card that has gone does not answer.
            let _ = opened.device.initiator_deselect_target();
            put(&self.slot, opened);
        }
    }
}

/// A reader through libnfc.
pub struct LibnfcSource {
    connstring: String,
    /// The device's name for itself.
    name: String,
    slot: Slot,
    observer: Observer,
    tap: bool,
    told_lost: bool,
}

impl LibnfcSource {
    /// Opens the device with this name (`pn532_uart:/dev/ttyUSB0`, `acr122_usb:001:004`); the first one that libnfc finds if it is empty.
    ///
    /// # Errors
    /// `Libnfc`.
    pub fn open(connstring: &str) -> Result<Self, SourceError> {
        let opened = Opened::new(connstring)?;
        let name = opened.device.name().to_owned();
        let slot = Slot::default();
        put(&slot, opened);
        Ok(Self {
            connstring: connstring.to_owned(),
            name,
            slot,
            observer: no_observer(),
            tap: false,
            told_lost: false,
        })
    }

    /// What its driver copies without a look at the length.
    fn limits(&self) -> Limits {
        let longest = if self.connstring.starts_with("acr122_pcsc") {
            LONGEST_ACR122
        } else {
            LONGEST
        };
        Limits {
            command: longest,
            response: longest,
        }
    }

    fn opened(&mut self, stop: &Stop) -> Result<Opened, SourceError> {
        let mut backoff = Backoff::default();
        loop {
            if stop.is_stopped() {
                return Err(SourceError::cancelled(LAYER));
            }
            if let Some(opened) = take(&self.slot) {
                return Ok(opened);
            }
            match Opened::new(&self.connstring) {
                Ok(opened) => {
                    if std::mem::take(&mut self.told_lost) {
                        (self.observer)(&SourceEvent::ReaderBack(self.name.clone()));
                    }
                    return Ok(opened);
                }
                Err(e) => {
                    self.lose(e);
                    let _ = backoff.pause(stop);
                }
            }
        }
    }

    fn lose(&mut self, e: SourceError) {
        if !std::mem::replace(&mut self.told_lost, true) {
            (self.observer)(&SourceEvent::ReaderLost(e));
        }
    }

    fn failed(&self, e: Error) -> SourceError {
        SourceError::new(SourceErrorKind::Libnfc, LAYER, format!("{}: {e}", self.name))
    }
}

impl CardSource for LibnfcSource {
    fn describe(&self) -> ReaderInfo {
        ReaderInfo {
            name: self.name.clone(),
            driver: "libnfc",
            firmware: None,
            mode: "pcsc",
            listen: None,
            is_acr122: false,
        }
    }

    fn wait_card(&mut self, stop: &Stop) -> Result<Session, SourceError> {
        self.tap = false;
        let (mut told, mut fresh) = (false, true);
        loop {
            let mut opened = self.opened(stop)?;
            // A card that an earlier session left is halted.
            let reset = if std::mem::take(&mut fresh) { opened.reset_field() } else { Ok(()) };
            match reset.and_then(|()| opened.find()) {
                Ok(Some(card)) if card.sak & 0x20 != 0 => {
                    self.tap = true;
                    let ats = card.ats.get(..card.ats_len).unwrap_or_default();
                    // libnfc leaves TL out.
                    let mut whole = vec![ats.len() as u8 + 1];
                    whole.extend_from_slice(ats);
                    let link = LibnfcLink {
                        opened: Some(opened),
                        slot: Arc::clone(&self.slot),
                        limits: self.limits(),
                    };
                    return Ok(Session {
                        link: Box::new(link),
                        atr: Some(atr(&whole)),
                        protocol: Protocol::T1,
                        hold: Hold::Exclusive,
                        activation: Activation {
                            uid: card.uid.get(..card.uid_len).map(<[u8]>::to_vec),
                            ats: Some(whole),
                        },
                    });
                }
                Ok(found) => {
                    put(&self.slot, opened);
                    if let Some(card) = found
                        && !std::mem::replace(&mut told, true)
                    {
                        let detail = format!("a type A card without ISO-DEP (SAK {:02x})", card.sak);
                        (self.observer)(&SourceEvent::CardMute(detail));
                    }
                    told &= found.is_some();
                }
                Err(e) => {
                    drop(opened);
                    let e = self.failed(e);
                    self.lose(e);
                }
            }
            if stop.sleep(INTERVAL) {
                return Err(SourceError::cancelled(LAYER));
            }
        }
    }

    fn wait_removal(&mut self, stop: &Stop) -> Result<(), SourceError> {
        let mut misses = 0;
        while self.tap && misses < MISSES {
            if stop.sleep(INTERVAL) {
                return Err(SourceError::cancelled(LAYER));
            }
            let Some(mut opened) = take(&self.slot) else { break };
            match opened.is_there() {
                Ok(true) => misses = 0,
                Ok(false) => misses += 1,
                Err(e) => {
                    drop(opened);
                    let e = self.failed(e);
                    self.lose(e);
                    break;
                }
            }
            put(&self.slot, opened);
        }
        self.tap = false;
        Ok(())
    }

    fn set_observer(&mut self, observer: Observer) {
        self.observer = observer;
    }
}
