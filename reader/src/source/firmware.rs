//! Cards found and driven by a PN532's own firmware (mode A).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tapdoor_link::stop::{Backoff, Stop};
use tapdoor_link::{CardLink, Limits, LinkError, LinkErrorKind};
use tapdoor_protocol::pn532::{Answer, Modulation};

use super::pn532::is_lost;
use super::{
    ANSWER_TIMEOUT, Activation, CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError, SourceErrorKind, SourceEvent,
    no_observer,
};
use crate::pn532::{Chip, ChipError, FirmwareCard, Port};

/// Pause between two searches.
const INTERVAL: Duration = Duration::from_millis(100);
/// A card that was not found so many times in a row has gone.
const MISSES: u32 = 3;

/// What opens a chip, and again after it was lost.
pub trait Device: Send {
    /// What carries its commands.
    type Port: Port + Send + 'static;

    /// Opens it, with RATS by the firmware.
    ///
    /// # Errors
    /// [`SourceError`], with its cure.
    fn open(&mut self) -> Result<Chip<Self::Port>, SourceError>;

    /// What it is.
    fn describe(&self) -> ReaderInfo;

    /// Which layer speaks.
    fn layer(&self) -> &'static str;
}

type Slot<P> = Arc<Mutex<Option<Chip<P>>>>;

fn take<P>(slot: &Slot<P>) -> Option<Chip<P>> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn put<P>(slot: &Slot<P>, chip: Chip<P>) {
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(chip);
}

/// The ATR that PC/SC part 3 makes up from an ATS (from TL on).
pub(super) fn atr(ats: &[u8]) -> Vec<u8> {
    let interface = ats.get(1).map_or(0, |t0| (t0 >> 4 & 7).count_ones() as usize);
    let historical = ats.get(2 + interface..).unwrap_or_default();
    let historical = &historical[..historical.len().min(15)];
    let mut atr = vec![0x3B, 0x80 | historical.len() as u8, 0x80, 0x01];
    atr.extend_from_slice(historical);
    let tck = atr.iter().skip(1).fold(0, |sum, byte| sum ^ byte);
    atr.push(tck);
    atr
}

/// A card in the firmware's hands. Dropping it releases the card and gives the chip back.
struct FirmwareLink<P: Port> {
    card: Option<FirmwareCard<P>>,
    slot: Slot<P>,
}

impl<P: Port> CardLink for FirmwareLink<P> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        match &mut self.card {
            Some(card) => card.transmit(command, response),
            None => Err(LinkError::new(LinkErrorKind::CardGone, "pn532", "the session is over").during(command)),
        }
    }

    fn limits(&self) -> Limits {
        Limits::EXTENDED
    }
}

impl<P: Port> Drop for FirmwareLink<P> {
    fn drop(&mut self) {
        if let Some(card) = self.card.take() {
            let mut chip = card.into_chip();
            let _ = chip.release();
            put(&self.slot, chip);
        }
    }
}

/// A reader whose firmware does everything up to the APDU.
pub struct FirmwareSource<D: Device> {
    device: D,
    slot: Slot<D::Port>,
    observer: Observer,
    tap: bool,
    told_lost: bool,
}

impl<D: Device> FirmwareSource<D> {
    /// Opens the chip.
    ///
    /// # Errors
    /// [`SourceError`] of the device.
    pub fn open(mut device: D) -> Result<Self, SourceError> {
        let slot = Slot::default();
        put(&slot, device.open()?);
        Ok(Self {
            device,
            slot,
            observer: no_observer(),
            tap: false,
            told_lost: false,
        })
    }

    fn chip(&mut self, stop: &Stop) -> Result<Chip<D::Port>, SourceError> {
        let mut backoff = Backoff::default();
        loop {
            if stop.is_stopped() {
                return Err(SourceError::cancelled(self.device.layer()));
            }
            if let Some(chip) = take(&self.slot) {
                return Ok(chip);
            }
            match self.device.open() {
                Ok(chip) => {
                    if std::mem::take(&mut self.told_lost) {
                        (self.observer)(&SourceEvent::ReaderBack(self.device.describe().name));
                    }
                    return Ok(chip);
                }
                Err(e) => {
                    if !std::mem::replace(&mut self.told_lost, true) {
                        (self.observer)(&SourceEvent::ReaderLost(e));
                    }
                    let _ = backoff.pause(stop);
                }
            }
        }
    }

    fn lose(&mut self, e: &ChipError) {
        if !std::mem::replace(&mut self.told_lost, true) {
            let lost = SourceError::new(SourceErrorKind::Serial, self.device.layer(), e.to_string());
            (self.observer)(&SourceEvent::ReaderLost(lost));
        }
    }
}

/// Whether any type A card is there, in a field that was off for a moment.
fn is_there<P: Port>(chip: &mut Chip<P>) -> Result<bool, ChipError> {
    chip.field(false)?;
    std::thread::sleep(Duration::from_millis(5));
    chip.set_automatic_rats(false)?;
    let found = match chip.list(Modulation::A106, &[]) {
        Ok(Answer::Listed { count, .. }) => count > 0,
        Ok(_) => false,
        Err(e) if e.is_harmless() => true,
        Err(e) => return Err(e),
    };
    chip.release()?;
    chip.set_automatic_rats(true)?;
    Ok(found)
}

impl<D: Device> CardSource for FirmwareSource<D> {
    fn describe(&self) -> ReaderInfo {
        self.device.describe()
    }

    fn wait_card(&mut self, stop: &Stop) -> Result<Session, SourceError> {
        self.tap = false;
        let mut told = false;
        loop {
            let mut chip = self.chip(stop)?;
            if let Err(e) = chip.field(false).and_then(|()| chip.field(true)) {
                drop(chip);
                self.lose(&e);
                if stop.sleep(INTERVAL) {
                    return Err(SourceError::cancelled(self.device.layer()));
                }
                continue;
            }
            std::thread::sleep(Duration::from_millis(5));
            match FirmwareCard::find(chip, ANSWER_TIMEOUT) {
                Ok(card) => {
                    self.tap = true;
                    let atr = atr(card.ats());
                    let (uid, ats) = (card.uid().to_vec(), card.ats().to_vec());
                    let link = FirmwareLink {
                        card: Some(card),
                        slot: Arc::clone(&self.slot),
                    };
                    return Ok(Session {
                        link: Box::new(link),
                        atr: Some(atr),
                        protocol: Protocol::T1,
                        hold: Hold::Exclusive,
                        activation: Activation {
                            uid: Some(uid),
                            ats: Some(ats),
                        },
                    });
                }
                Err((_, Some(e))) if is_lost(&e) => self.lose(&e),
                Err((chip, trouble)) => {
                    put(&self.slot, chip);
                    if let Some(e) = &trouble
                        && !told
                    {
                        (self.observer)(&SourceEvent::CardMute(e.to_string()));
                    }
                    told = trouble.is_some();
                }
            }
            if stop.sleep(INTERVAL) {
                return Err(SourceError::cancelled(self.device.layer()));
            }
        }
    }

    fn wait_removal(&mut self, stop: &Stop) -> Result<(), SourceError> {
        let mut misses = 0;
        while self.tap && misses < MISSES {
            if stop.sleep(INTERVAL) {
                return Err(SourceError::cancelled(self.device.layer()));
            }
            let Some(mut chip) = take(&self.slot) else { break };
            match is_there(&mut chip) {
                Ok(true) => misses = 0,
                Ok(false) => misses += 1,
                Err(e) => {
                    drop(chip);
                    self.lose(&e);
                    break;
                }
            }
            put(&self.slot, chip);
        }
        self.tap = false;
        Ok(())
    }

    fn set_observer(&mut self, observer: Observer) {
        self.observer = observer;
    }
}

#[cfg(test)]
mod tests {
    use super::atr;

    #[test]
    fn an_ats_as_an_atr() {
        assert_eq!(atr(&[5, 0x78, 0x80, 0x70, 2]), [0x3B, 0x80, 0x80, 0x01, 0x01]);
        assert_eq!(
            atr(&[7, 0x78, 0x80, 0x70, 2, 0xAA, 0xBB]),
            [0x3B, 0x82, 0x80, 0x01, 0xAA, 0xBB, 0x12]
        );
        assert_eq!(atr(&[]), [0x3B, 0x80, 0x80, 0x01, 0x01]);
        assert_eq!(atr(&[2, 0x70]), [0x3B, 0x80, 0x80, 0x01, 0x01]);
    }
}
