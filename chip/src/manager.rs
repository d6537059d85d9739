//! The card manager: GET DATA and GET STATUS (GlobalPlatform Card 11.3, 11.4).
//!
//! Content management behind SCP03 is not here yet. Until it is, GET STATUS is answered without a secure channel as long as the chip is not
//! SECURED: what it lists can be found out with SELECT as well.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::fci;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;

use crate::kind::{LifeCycle, privilege};

/// What the card manager says of one application.
#[derive(Clone, Copy, Debug)]
pub struct Listed {
    /// AID.
    pub aid: Aid,
    /// State.
    pub life_cycle: LifeCycle,
    /// Privileges.
    pub privileges: u8,
}

/// The card's own life cycle (GlobalPlatform Card table 11-6): OP_READY.
const OP_READY: u8 = 0x01;
/// An answer to GET STATUS is cut after this many bytes and continued by "next".
const STATUS_PART: usize = 240;

/// The card manager.
#[derive(Debug)]
pub struct Manager {
    /// Card image number, unique to the chip.
    number: [u8; 8],
    /// Where GET STATUS [next] goes on: P1 and how many were listed.
    status: Option<(u8, usize)>,
}

impl Manager {
    /// The manager of the chip with this number.
    #[must_use]
    pub fn new(number: [u8; 8]) -> Self {
        Self { number, status: None }
    }

    /// Power is gone, or comes: GET STATUS begins anew.
    pub fn reset(&mut self) {
        self.status = None;
    }

    /// SELECT: FCI with security domain management data (73) and the longest command data (9F65).
    #[must_use]
    pub fn select(&mut self, aid: &Aid) -> Vec<u8> {
        self.status = None;
        let mut a5 = Vec::with_capacity(64);
        tlv::write(&mut a5, 0x73, &recognition());
        tlv::write(&mut a5, 0x9F65, &[0xFF]);
        fci::template(aid.as_bytes(), &a5)
    }

    /// GET DATA, GET STATUS.
    ///
    /// # Errors
    /// The status word to answer with; 6310 comes with data.
    pub fn process(&mut self, listed: &[Listed], command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        match (command.cla, command.ins) {
            (0x00 | 0x80, 0xCA) => self.get_data(listed, command, out),
            (0x80, 0xF2) => self.get_status(listed, command, out),
            (0x00 | 0x80, _) => Err(StatusWord::INS_NOT_SUPPORTED),
            _ => Err(StatusWord::CLA_NOT_SUPPORTED),
        }
    }

    fn get_data(&self, listed: &[Listed], command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        match u16::from_be_bytes([command.p1, command.p2]) {
            // Issuer identification number: none is assigned, so the value is empty.
            0x0042 => tlv::write(out, 0x42, &[]),
            0x0045 => tlv::write(out, 0x45, &self.number),
            0x0066 => {
                let mut inner = Vec::with_capacity(48);
                tlv::write(&mut inner, 0x73, &recognition());
                tlv::write(out, 0x66, &inner);
            }
            0x2F00 => {
                for application in listed {
                    let mut inner = Vec::with_capacity(18);
                    tlv::write(&mut inner, 0x4F, application.aid.as_bytes());
                    tlv::write(out, 0x61, &inner);
                }
            }
            _ => return Err(StatusWord::DATA_NOT_FOUND),
        }
        Ok(())
    }

    fn get_status(&mut self, listed: &[Listed], command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        let start = match (command.p2, self.status) {
            (0x00 | 0x02, _) => 0,
            (0x01 | 0x03, Some((p1, listed))) if p1 == command.p1 => listed,
            (0x01 | 0x03, _) => return Err(StatusWord::CONDITIONS_NOT_SATISFIED),
            _ => return Err(StatusWord::INCORRECT_P1_P2),
        };
        self.status = None;
        let criterion = match tlv::read(command.data) {
            Ok((object, _)) if object.tag.0 == 0x4F => object.value,
            _ => return Err(StatusWord::WRONG_DATA),
        };
        let manager = Listed {
            aid: Aid::CARD_MANAGER,
            life_cycle: LifeCycle(OP_READY),
            privileges: privilege::SECURITY_DOMAIN,
        };
        let candidates: Vec<Listed> = match command.p1 {
            0x80 => vec![manager],
            0x40 => listed.to_vec(),
            // Executable load files come with downloading.
            0x20 | 0x10 => Vec::new(),
            _ => return Err(StatusWord::INCORRECT_P1_P2),
        };
        let matching: Vec<Listed> = candidates.into_iter().filter(|l| l.aid.as_bytes().starts_with(criterion)).collect();
        if matching.is_empty() {
            return Err(StatusWord::DATA_NOT_FOUND);
        }
        for (index, application) in matching.iter().enumerate().skip(start) {
            let mut entry = Vec::with_capacity(32);
            if command.p2 & 0x02 != 0 {
                tlv::write(&mut entry, 0x4F, application.aid.as_bytes());
                tlv::write(&mut entry, 0x9F70, &[application.life_cycle.0]);
                tlv::write(&mut entry, 0xC5, &[application.privileges, 0x00, 0x00]);
                let inner = core::mem::take(&mut entry);
                tlv::write(&mut entry, 0xE3, &inner);
            } else {
                let aid = application.aid.as_bytes();
                entry.push(u8::try_from(aid.len()).unwrap_or(0));
                entry.extend_from_slice(aid);
                entry.extend_from_slice(&[application.life_cycle.0, application.privileges]);
            }
            if out.len() + entry.len() > STATUS_PART {
                self.status = Some((command.p1, index));
                return Err(StatusWord::MORE_DATA_AVAILABLE);
            }
            out.extend_from_slice(&entry);
        }
        Ok(())
    }
}

/// Card recognition data, content of template 73 (GlobalPlatform Card H.2): OIDs of GlobalPlatform, of the version 2.3.1 and of identification.
fn recognition() -> Vec<u8> {
    const GLOBALPLATFORM: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xFC, 0x6B, 0x01];
    const VERSION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xFC, 0x6B, 0x02, 0x02, 0x03, 0x01];
    const IDENTIFICATION: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xFC, 0x6B, 0x03];
    let mut out = Vec::with_capacity(40);
    tlv::write(&mut out, 0x06, GLOBALPLATFORM);
    for (tag, oid) in [(0x60, VERSION), (0x63, IDENTIFICATION)] {
        let mut inner = Vec::with_capacity(12);
        tlv::write(&mut inner, 0x06, oid);
        tlv::write(&mut out, tag, &inner);
    }
    out
}
