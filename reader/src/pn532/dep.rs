//! NFC-DEP by the chip's firmware, both roles (UM0701-02 7.3.3 InJumpForDEP, 7.3.8 InDataExchange, 7.3.11 InRelease; 7.3.14 TgInitAsTarget,
//! 7.3.16 TgGetData, 7.3.17 TgSetData, 7.3.18 TgSetMetaData).

use std::time::Duration;

use tapdoor_protocol::pn532::{DepMode, ErrorCode, Jump, Parameters, TargetSetup};
use tapdoor_protocol::rf::felica::{NFC_DEP_PREFIX, SYSTEM_ANY};
use tapdoor_protocol::rf::frame::BitRate;
use tapdoor_protocol::rf::nfc_dep::pdu::Atr;

use super::chip::{Chip, ChipError};
use super::port::Port;

/// How long one exchange may take: the longest response waiting time is 4.95 s, and a target may ask for more.
const EXCHANGE: Duration = Duration::from_secs(10);
/// An initiator that is silent for so long has gone.
const PATIENCE: Duration = Duration::from_secs(3);
/// SENSF_REQ from its command code on: any system.
const SENSF_REQ: [u8; 5] = [0x00, 0xFF, 0xFF, 0x00, 0x00];
/// SENS_RES, low byte first, and SEL_RES of a target that knows NFC-DEP and nothing else.
const SENS_RES: [u8; 2] = [0x01, 0x01];
const SEL_RES: u8 = 0x40;
/// How the session began, in TgInitAsTarget's answer: NFC-DEP.
const MODE_DEP: u8 = 0x04;

/// An initiator in a session with a target.
#[derive(Debug)]
pub struct DepInitiator<P> {
    chip: Chip<P>,
    number: u8,
    general: Vec<u8>,
}

impl<P: Port> DepInitiator<P> {
    /// Looks once for a target at `rate` (106, 212 or 424 kbit/s, passive) and sends it ATR_REQ with `general`; `None` if nobody is there.
    /// At 106 kbit/s `nfcid3` is ours; at the others it begins with the target's NFCID2, and the chip makes it.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn find(mut chip: Chip<P>, rate: BitRate, nfcid3: [u8; 10], general: &[u8]) -> Result<Option<Self>, ChipError> {
        let is_a = rate == BitRate::Kbps106;
        let jump = Jump {
            mode: DepMode::Passive,
            rate: rate.divisor_code(),
            passive: (!is_a).then_some(&SENSF_REQ),
            nfcid3: is_a.then_some(nfcid3),
            general: general.get(..48).unwrap_or(general),
        };
        let found = chip.jump_for_dep(&jump)?.map(|target| (target.target, target.general.to_vec()));
        Ok(found.map(|(number, general)| Self { chip, number, general }))
    }

    /// The target's general bytes.
    #[must_use]
    pub fn general(&self) -> &[u8] {
        &self.general
    }

    /// Sends `data`; what comes back, at most `most` bytes, replaces the content of `received`.
    ///
    /// # Errors
    /// [`ChipError`]: the session is over.
    pub fn exchange(&mut self, data: &[u8], most: usize, received: &mut Vec<u8>) -> Result<(), ChipError> {
        received.clear();
        self.chip.converse(self.number, data, most, EXCHANGE, received)
    }

    /// RLS, and gives the chip back.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn release(mut self) -> Result<Chip<P>, ChipError> {
        self.chip.release()?;
        Ok(self.chip)
    }
}

/// A target that waits for initiators.
#[derive(Debug)]
pub struct DepTarget<P> {
    chip: Chip<P>,
    nfcid1: [u8; 3],
    nfcid2: [u8; 8],
    general: Vec<u8>,
}

/// What an initiator said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// The data is there.
    Data,
    /// The session is over: DSL, RLS, or the initiator's field has gone.
    Over,
}

impl<P: Port> DepTarget<P> {
    /// A chip after [`Chip::start`]. `id`, which should be random, is part of its identifiers: NFCID1 08 and the first three bytes, NFCID2
    /// 01FE and all of them.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn new(mut chip: Chip<P>, id: [u8; 6], general: &[u8]) -> Result<Self, ChipError> {
        chip.set_parameters(Parameters(Parameters::AUTOMATIC_ATR_RES))?;
        let [a, b, c, d, e, f] = id;
        let [p, q] = NFC_DEP_PREFIX;
        Ok(Self {
            chip,
            nfcid1: [a, b, c],
            nfcid2: [p, q, a, b, c, d, e, f],
            general: general.get(..47).unwrap_or(general).to_vec(),
        })
    }

    /// Waits at most `wait` for an initiator, at any rate. Gives its general bytes; `None` when nobody came.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn wait(&mut self, wait: Duration) -> Result<Option<Vec<u8>>, ChipError> {
        let mut felica = [0xFF; 18];
        let [s0, s1] = SYSTEM_ANY.to_be_bytes();
        felica.iter_mut().zip(self.nfcid2).for_each(|(to, from)| *to = from);
        felica.iter_mut().skip(16).zip([s0, s1]).for_each(|(to, from)| *to = from);
        let mut nfcid3 = [0; 10];
        nfcid3.iter_mut().zip(self.nfcid2).for_each(|(to, from)| *to = from);
        let setup = TargetSetup {
            mode: TargetSetup::PASSIVE_ONLY | TargetSetup::DEP_ONLY,
            sens_res: SENS_RES,
            nfcid1: self.nfcid1,
            sel_res: SEL_RES,
            felica,
            nfcid3,
            general: &self.general,
            historical: &[],
        };
        let Some((mode, command)) = self.chip.init_as_target(&setup, wait)? else {
            return Ok(None);
        };
        // LEN, D4 00, and what ATR_REQ says. A session of another kind is none for us.
        match (mode & MODE_DEP != 0, command) {
            (true, [_, 0xD4, 0x00, body @ ..]) => Ok(Some(Atr::parse(false, body).map_or_else(Vec::new, |atr| atr.general))),
            _ => Ok(None),
        }
    }

    /// Waits for what the initiator sends, at most `most` bytes, which replaces the content of `data`.
    ///
    /// # Errors
    /// [`ChipError`]: chip or line fail.
    pub fn receive(&mut self, most: usize, data: &mut Vec<u8>) -> Result<Said, ChipError> {
        data.clear();
        over(self.chip.target_receive(most, PATIENCE, data))
    }

    /// Answers with `data`.
    ///
    /// # Errors
    /// [`ChipError`]: chip or line fail.
    pub fn send(&mut self, data: &[u8]) -> Result<Said, ChipError> {
        over(self.chip.target_send(data, PATIENCE))
    }
}

/// A session that ended is no failure of the chip.
fn over(outcome: Result<(), ChipError>) -> Result<Said, ChipError> {
    match outcome {
        Ok(()) => Ok(Said::Data),
        Err(ChipError::Failed {
            error: ErrorCode::Released | ErrorCode::Timeout | ErrorCode::NoField | ErrorCode::DepState | ErrorCode::Protocol,
            ..
        }) => Ok(Said::Over),
        Err(ChipError::Port(e)) if e.kind == super::PortErrorKind::Silent => Ok(Said::Over),
        Err(e) => Err(e),
    }
}
