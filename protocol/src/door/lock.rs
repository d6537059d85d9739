//! What passes between the lock's control side and its chip: BEGIN, NEXT and their answers (docs/protocol.md section 9).

use alloc::string::String;
use alloc::vec::Vec;

use super::{Reason, Verdict};
use crate::ids::PhoneId;
use crate::tlv;

/// The data of BEGIN: `90{clock(4)}` and the phone's FCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeginData<'a> {
    /// Seconds since 1970-01-01 UTC.
    pub clock: u32,
    /// The FCI as received, `6F..`, without status word; empty for profile U.
    pub fci: &'a [u8],
}

impl<'a> BeginData<'a> {
    /// Reads BEGIN's data: the first object must be `90` with 4 bytes, all that follows is the FCI. Never panics.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (clock, fci) = tlv::read(bytes).ok()?;
        if clock.tag.0 != 0x90 {
            return None;
        }
        Some(Self {
            clock: u32::from_be_bytes(clock.value.try_into().ok()?),
            fci,
        })
    }

    /// Writes BEGIN's data.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(6 + self.fci.len());
        tlv::write(&mut out, 0x90, &self.clock.to_be_bytes());
        out.extend_from_slice(self.fci);
        out
    }
}

/// How a tap ended, as the lock's chip sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Open, or why not.
    pub verdict: Verdict,
    /// The phone, if it was recognised.
    pub phone: Option<PhoneId>,
    /// The phone's flags, if it proved them.
    pub flags: Option<u32>,
    /// The CONTROL FLOW command to send once the door has moved. Aliro, which tells of success within the tap: the command to send if the door
    /// was to open and did not.
    pub control_flow: Option<Vec<u8>>,
    /// What was seen, for people.
    pub evidence: String,
}

impl Outcome {
    /// A refusal with its evidence; CONTROL FLOW plain, except where docs/protocol.md says that nothing more is sent.
    #[must_use]
    pub fn refused(reason: Reason, phone: Option<PhoneId>, evidence: impl Into<String>) -> Self {
        let silent = matches!(reason, Reason::UnknownPhone | Reason::Replay);
        Self {
            verdict: Verdict::Refused(reason),
            phone,
            flags: None,
            control_flow: (!silent).then(|| super::ControlFlow::plain(reason)),
            evidence: evidence.into(),
        }
    }
}

/// What the control side does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockStep {
    /// Send this C-APDU to the phone and give its answer to NEXT.
    Transmit {
        /// The C-APDU.
        command: Vec<u8>,
        /// The phone, once it is recognised.
        phone: Option<PhoneId>,
    },
    /// The tap is decided.
    Done(Outcome),
}

impl From<Outcome> for LockStep {
    fn from(outcome: Outcome) -> Self {
        Self::Done(outcome)
    }
}

impl LockStep {
    /// The answer to BEGIN or NEXT.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        match self {
            Self::Transmit { command, phone } => {
                tlv::write(&mut out, 0xC1, command);
                if let Some(phone) = phone {
                    tlv::write(&mut out, 0xC5, &phone.0);
                }
            }
            Self::Done(outcome) => {
                tlv::write(&mut out, 0xC2, &[outcome.verdict.code()]);
                if let Some(phone) = &outcome.phone {
                    tlv::write(&mut out, 0xC5, &phone.0);
                }
                if let Some(flags) = outcome.flags {
                    tlv::write(&mut out, 0xC6, &flags.to_be_bytes());
                }
                if let Some(command) = &outcome.control_flow {
                    tlv::write(&mut out, 0xC7, command);
                }
                if !outcome.evidence.is_empty() {
                    tlv::write(&mut out, 0xC9, outcome.evidence.as_bytes());
                }
            }
        }
        out
    }

    /// Reads the answer to BEGIN or NEXT. `None` when it is neither a command nor a verdict. Never panics.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let phone = match tlv::find(bytes, 0xC5) {
            Some(id) => Some(PhoneId::from_slice(id)?),
            None => None,
        };
        if let Some(command) = tlv::find(bytes, 0xC1) {
            return Some(Self::Transmit {
                command: command.to_vec(),
                phone,
            });
        }
        let &[code] = tlv::find(bytes, 0xC2)? else { return None };
        let flags = match tlv::find(bytes, 0xC6) {
            Some(flags) => Some(u32::from_be_bytes(flags.try_into().ok()?)),
            None => None,
        };
        Some(Self::Done(Outcome {
            verdict: Verdict::from_code(code)?,
            phone,
            flags,
            control_flow: tlv::find(bytes, 0xC7).map(<[u8]>::to_vec),
            evidence: tlv::find(bytes, 0xC9)
                .map(|text| String::from_utf8_lossy(text).into_owned())
                .unwrap_or_default(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = LockStep::parse(&bytes);
            let _ = BeginData::parse(&bytes);
        }

        #[test]
        fn steps_round_trip(command: Vec<u8>, id: Option<[u8; 8]>, code in 0u8..12, flags: Option<u32>, evidence: String, flow: Option<Vec<u8>>) {
            let phone = id.map(PhoneId);
            let transmit = LockStep::Transmit { command, phone };
            prop_assert_eq!(LockStep::parse(&transmit.encode()), Some(transmit));
            let done = LockStep::Done(Outcome { verdict: Verdict::from_code(code).unwrap(), phone, flags, control_flow: flow, evidence });
            prop_assert_eq!(LockStep::parse(&done.encode()), Some(done));
        }

        #[test]
        fn begin_round_trips(clock: u32, fci: Vec<u8>) {
            let begin = BeginData { clock, fci: &fci };
            let encoded = begin.encode();
            prop_assert_eq!(BeginData::parse(&encoded), Some(begin));
        }
    }
}
