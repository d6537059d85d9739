//! NFC-DEP with a target in the field (UM0701-02 7.3.3, 7.3.4, 7.3.6): InJumpForDEP, InJumpForPSL, InATR.
//!
//! Passive communication only: there is no second field here, so an active target is never heard.

use tapdoor_link::field::{FieldLink, converse};
use tapdoor_protocol::pn532::{Answer, Code, DepAnswer, DepMode, ErrorCode, Jump, Modulation};
use tapdoor_protocol::rf::frame::BitRate;
use tapdoor_protocol::rf::nfc_dep::initiator::{Attach, Initiator, NfcDepError, Wishes};
use tapdoor_protocol::rf::nfc_dep::pdu::Atr;
use tapdoor_protocol::rf::time::Ticks;

use super::cards::Kind;
use super::{Outcome, Pn532, UnderWay};

/// Code of the longest unit that the chip takes: 254 bytes.
const LR: u8 = 3;
/// SENSF_REQ for NFC-DEP, without its length byte: system code FFFF as hosts that give none have it.
const SENSF_REQ: [u8; 5] = [0x00, 0xFF, 0xFF, 0x00, 0x00];
/// The identifier of a chip whose host gives none.
const NFCID3: [u8; 10] = [0x01, 0xFE, 0, 0, 0, 0, 0, 0, 0, 0];

/// A jump that goes on until a target comes.
#[derive(Clone, Debug)]
pub(super) struct JumpOrder {
    code: Code,
    modulation: Modulation,
    passive: Vec<u8>,
    nfcid3: Option<[u8; 10]>,
    general: Vec<u8>,
}

impl<L: FieldLink> Pn532<L> {
    pub(super) fn jump(&mut self, code: Code, jump: &Jump<'_>, answer: &mut Vec<u8>) -> Outcome {
        self.set_field(true);
        self.forget();
        let modulation = match (jump.mode, jump.rate) {
            (DepMode::Passive, 0) => Modulation::A106,
            (DepMode::Passive, 1) => Modulation::Felica212,
            (DepMode::Passive, 2) => Modulation::Felica424,
            (DepMode::Active, 0..=2) => {
                let failed = self.noted(Err(ErrorCode::NoField));
                Answer::Jumped(code, Err(failed)).encode(answer);
                return Outcome::Answered;
            }
            _ => return Outcome::Syntax,
        };
        let passive = match modulation {
            Modulation::A106 => jump.passive.unwrap_or_default(),
            _ => jump.passive.unwrap_or(&SENSF_REQ),
        };
        let order = JumpOrder {
            code,
            modulation,
            passive: passive.to_vec(),
            nfcid3: jump.nfcid3,
            general: jump.general.to_vec(),
        };
        for _ in 0..=self.settings.passive_retries.min(self.settings.atr_retries) {
            if let Some(result) = self.jump_once(&order) {
                return self.jumped(code, result, answer);
            }
        }
        if self.settings.passive_retries == 0xFF {
            self.under_way = Some(UnderWay::Jump(Box::new(order)));
            return Outcome::Busy;
        }
        self.jumped(code, Err(ErrorCode::Timeout), answer)
    }

    pub(super) fn jump_on(&mut self, order: Box<JumpOrder>, answer: &mut Vec<u8>) -> Outcome {
        match self.jump_once(&order) {
            Some(result) => self.jumped(order.code, result, answer),
            None => {
                self.link.pause(Ticks::from_millis(1));
                self.under_way = Some(UnderWay::Jump(order));
                Outcome::Busy
            }
        }
    }

    /// `None`: nobody is there.
    fn jump_once(&mut self, order: &JumpOrder) -> Option<Result<Atr, ErrorCode>> {
        if self.search_plain(order.modulation, &order.passive) == 0 {
            return None;
        }
        Some(self.attach(0, order.nfcid3, &order.general))
    }

    fn jumped(&mut self, code: Code, result: Result<Atr, ErrorCode>, answer: &mut Vec<u8>) -> Outcome {
        let status = self.noted(result.as_ref().map(|_| ()).map_err(|e| *e));
        match &result {
            Ok(atr) => Answer::Jumped(code, Ok(described(1, atr))).encode(answer),
            Err(_) => {
                self.forget();
                Answer::Jumped(code, Err(status)).encode(answer);
            }
        }
        Outcome::Answered
    }

    pub(super) fn attribute(&mut self, number: u8, nfcid3: Option<[u8; 10]>, general: &[u8], answer: &mut Vec<u8>) {
        let result = match self.wake(number) {
            Ok(place) => self.attach(place, nfcid3, general),
            Err(error) => Err(error),
        };
        let status = self.noted(result.as_ref().map(|_| ()).map_err(|e| *e));
        Answer::Atr(result.as_ref().map(|atr| described(0, atr)).map_err(|_| status)).encode(answer);
    }

    /// ATR with the target at this place, which is then talked to by NFC-DEP.
    fn attach(&mut self, place: usize, nfcid3: Option<[u8; 10]>, general: &[u8]) -> Result<Atr, ErrorCode> {
        let target = self.targets[place].as_mut().ok_or(ErrorCode::Context)?;
        let Kind::Plain { rate, .. } = target.kind else {
            return Err(ErrorCode::Context);
        };
        if rate == BitRate::Kbps106 && !target.has_nfc_dep() {
            return Err(ErrorCode::Protocol);
        }
        let wishes = Wishes {
            nfcid3: target.nfcid3().or(nfcid3).unwrap_or(NFCID3),
            did: 0,
            lr: LR,
            rate,
            general: general.to_vec(),
        };
        match converse(&mut self.link, &mut Attach::new(wishes, rate), &mut self.rx) {
            Ok(Ok((atr, initiator))) => {
                target.kind = Kind::NfcDep(initiator);
                Ok(atr)
            }
            Ok(Err(error)) => Err(dep_error(&error)),
            Err(error) => Err(super::error_code(&error)),
        }
    }

    /// Information to a target and back.
    pub(super) fn dep_exchange(
        link: &mut L,
        rx: &mut tapdoor_protocol::rf::frame::RxFrame,
        initiator: &mut Initiator,
        data: &[u8],
        back: &mut Vec<u8>,
    ) -> Result<(), ErrorCode> {
        match converse(link, &mut initiator.exchange(data, back), rx) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(dep_error(&error)),
            Err(error) => Err(super::error_code(&error)),
        }
    }
}

fn described(target: u8, atr: &Atr) -> DepAnswer<'_> {
    DepAnswer {
        target,
        nfcid3: atr.nfcid3,
        did: atr.did,
        send_rates: atr.bs,
        receive_rates: atr.br,
        timeout: atr.to.unwrap_or(0),
        pp: (atr.lr & 3) << 4 | u8::from(!atr.general.is_empty()) << 1,
        general: &atr.general,
    }
}

fn dep_error(error: &NfcDepError) -> ErrorCode {
    match error {
        NfcDepError::Protocol { .. } => ErrorCode::Protocol,
        NfcDepError::TooLong => ErrorCode::RfOverflow,
        NfcDepError::Lost { .. } | NfcDepError::Waiting { .. } => ErrorCode::Timeout,
        _ => ErrorCode::Protocol,
    }
}
