//! The card in the reader's field: the microcontroller's polling, power, and the ATR that PC/SC gives to contactless cards
//! (PC/SC part 3, 3.1.3.2.3).

use tapdoor_link::field::FieldLink;
use tapdoor_protocol::pn532::{Answer, Code, Command, Listed, Modulation, Parameters, RfItem};
use tapdoor_protocol::rf::iso14443::dep::ats::Ats;

use super::Acr122u;

const AUTO_POLLING: u8 = 0x80;
const AUTO_ATS: u8 = 0x40;
const POLLED: [(u8, Modulation); 4] = [
    (0x01, Modulation::A106),
    (0x02, Modulation::B106),
    (0x08, Modulation::Felica212),
    (0x10, Modulation::Felica424),
];
/// A card with identifier and nothing else known of it, as PC/SC part 3 describes storage cards: RID of PC/SC, standard, card name.
const STORAGE: [u8; 12] = [0x80, 0x4F, 0x0C, 0xA0, 0x00, 0x00, 0x03, 0x06, 0x03, 0x00, 0x00, 0x00];

/// A card that the reader has found.
#[derive(Clone, Debug)]
pub(super) struct Card {
    uid: Vec<u8>,
    ats: Vec<u8>,
    atr: Vec<u8>,
    modulation: Modulation,
    is_powered: bool,
}

impl Card {
    pub(super) fn uid(&self) -> &[u8] {
        &self.uid
    }

    pub(super) fn ats(&self) -> &[u8] {
        &self.ats
    }

    pub(super) const fn is_powered(&self) -> bool {
        self.is_powered
    }

    fn new(listed: &Listed<'_>, modulation: Modulation) -> Self {
        let (uid, ats, historical) = match listed {
            Listed::A { uid, ats: Some(ats), .. } => {
                let historical = Ats::parse(ats).map(|ats| ats.historical).unwrap_or_default();
                (uid.to_vec(), ats.to_vec(), Some(historical))
            }
            Listed::A { uid, .. } => (uid.to_vec(), Vec::new(), None),
            // Application data, protocol info and MBLI take the historical bytes' place.
            Listed::B { atqb, .. } => {
                let mut historical = atqb[5..].to_vec();
                historical.push(0);
                (atqb[1..5].to_vec(), Vec::new(), Some(historical))
            }
            Listed::Felica { nfcid2, .. } => (nfcid2.to_vec(), Vec::new(), None),
            Listed::Jewel { id, .. } => (id.to_vec(), Vec::new(), None),
        };
        let standard = if modulation == Modulation::A106 { 0x03 } else { 0x11 };
        let historical = historical.unwrap_or_else(|| {
            let mut storage = STORAGE.to_vec();
            storage[8] = standard;
            storage.extend_from_slice(&[0, 0, 0]);
            storage
        });
        Self {
            uid,
            ats,
            atr: atr(&historical),
            modulation,
            is_powered: true,
        }
    }
}

/// 3B 8N 80 01, at most 15 historical bytes, TCK.
fn atr(historical: &[u8]) -> Vec<u8> {
    let historical = &historical[..historical.len().min(15)];
    let mut atr = vec![0x3B, 0x80 | u8::try_from(historical.len()).unwrap_or(0), 0x80, 0x01];
    atr.extend_from_slice(historical);
    atr.push(atr[1..].iter().fold(0, |sum, byte| sum ^ byte));
    atr
}

impl<L: FieldLink> Acr122u<L> {
    /// Looks at the field, as the microcontroller does all the time: whether a card is there.
    ///
    /// With polling switched off nothing is looked at, and what was there stays.
    pub fn present(&mut self) -> bool {
        let is_there = match &self.card {
            _ if self.picc & AUTO_POLLING == 0 => return self.card.is_some(),
            None => self.find(&[]),
            Some(card) if card.is_powered => self.is_alive(),
            Some(card) => {
                // It was halted; it is woken, and halted again.
                let (uid, modulation) = (card.uid.clone(), card.modulation);
                let is_there = modulation != Modulation::A106 || self.list(modulation, &uid, false).is_some();
                self.ask(&Command::InRelease(0));
                is_there
            }
        };
        if !is_there {
            // The next look finds whoever is there, whatever state it was left in.
            self.card = None;
            self.field(false);
        }
        self.led = if is_there { 0x02 } else { 0x00 };
        is_there
    }

    /// The card that is there is powered, or reset: its ATR.
    pub fn power_on(&mut self) -> Option<Vec<u8>> {
        self.stale = None;
        if self.card.is_none() && !self.present() {
            return None;
        }
        let card = self.card.as_ref()?;
        let (uid, modulation, was_powered) = (card.uid.clone(), card.modulation, card.is_powered);
        if was_powered {
            self.ask(&Command::InRelease(0));
        }
        let found = match modulation {
            Modulation::A106 => self.list(modulation, &uid, true),
            _ => None,
        };
        self.card = found;
        if self.card.is_none() {
            // A card that does not wake up may do so in a new field.
            self.field(false);
            self.find(&[]);
        }
        self.card.as_ref().map(|card| card.atr.clone())
    }

    /// The card's power is cut: it is halted.
    pub fn power_off(&mut self) {
        if let Some(card) = &mut self.card
            && card.is_powered
        {
            card.is_powered = false;
            self.ask(&Command::InRelease(0));
        }
    }

    /// The ATR of the card that is there.
    #[must_use]
    pub fn atr(&self) -> Option<&[u8]> {
        self.card.as_ref().map(|card| card.atr.as_slice())
    }

    fn field(&mut self, on: bool) {
        self.ask(&Command::RfConfiguration(RfItem::Field { auto_rfca: false, on }));
    }

    /// Whether the active card answers.
    fn is_alive(&mut self) -> bool {
        let answer = self.ask(&Command::Diagnose {
            test: 0x06,
            parameters: &[],
        });
        match self
            .card
            .as_ref()
            .map(|card| card.ats.is_empty() && card.modulation != Modulation::B106)
        {
            // Cards without ISO-DEP are found again instead.
            Some(true) => {
                self.field(false);
                self.find(&[])
            }
            Some(false) => answer.is_some_and(|answer| matches!(Answer::parse(Code::Diagnose, &answer), Ok(Answer::Diagnose([0])))),
            None => false,
        }
    }

    /// Polls once for every technology that is switched on.
    fn find(&mut self, uid: &[u8]) -> bool {
        for (bit, modulation) in POLLED {
            if self.picc & bit != 0
                && let Some(card) = self.list(modulation, uid, true)
            {
                self.card = Some(card);
                return true;
            }
        }
        false
    }

    fn list(&mut self, modulation: Modulation, uid: &[u8], rats: bool) -> Option<Card> {
        let rats = rats && self.picc & AUTO_ATS != 0;
        let flags = Parameters::AUTOMATIC_ATR_RES | if rats { Parameters::AUTOMATIC_RATS } else { 0 };
        self.ask(&Command::SetParameters(Parameters(flags)));
        self.ask(&Command::RfConfiguration(RfItem::MaxRetries {
            atr: 0xFF,
            psl: 0x01,
            passive: 0x00,
        }));
        let initiator: &[u8] = match modulation {
            Modulation::B106 => &[0x00],
            Modulation::Felica212 | Modulation::Felica424 => &[0x00, 0xFF, 0xFF, 0x01, 0x00],
            _ => uid,
        };
        let answer = self.ask(&Command::InListPassiveTarget {
            most: 1,
            modulation,
            initiator,
        })?;
        let listed = Answer::parse(Code::InListPassiveTarget, &answer).ok()?;
        let targets = listed.targets(modulation, rats).ok()?;
        targets.first().map(|listed| Card::new(listed, modulation))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atrs() {
        assert_eq!(atr(&[]), [0x3B, 0x80, 0x80, 0x01, 0x01]);
        assert_eq!(atr(&[0x80]), [0x3B, 0x81, 0x80, 0x01, 0x80, 0x80]);
        assert_eq!(atr(&[0; 40]).len(), 20);
        let card = Card::new(
            &Listed::A {
                target: 1,
                sens_res: [0, 4],
                sel_res: 8,
                uid: &[1, 2, 3, 4],
                ats: None,
            },
            Modulation::A106,
        );
        // A storage card, as every PC/SC reader shows it.
        assert_eq!(
            card.atr[..13],
            [0x3B, 0x8F, 0x80, 0x01, 0x80, 0x4F, 0x0C, 0xA0, 0x00, 0x00, 0x03, 0x06, 0x03]
        );
        assert_eq!(card.atr.len(), 20);
        assert_eq!(card.atr[1..].iter().fold(0, |a, b| a ^ b), 0);
    }
}
