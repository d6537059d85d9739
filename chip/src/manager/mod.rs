//! The card manager: the issuer security domain (GlobalPlatform Card 7, 9, 11; SCP03 by Amendment D).
//!
//! | command | when (GlobalPlatform Card table 11-1) | secure channel |
//! |---|---|---|
//! | GET DATA | always | no |
//! | GET STATUS | not TERMINATED | yes, if the chip has keys |
//! | SET STATUS | not TERMINATED | C-MAC |
//! | INSTALL, LOAD, STORE DATA, DELETE, PUT KEY | OP_READY, INITIALIZED, SECURED | C-MAC |
//!
//! 6985 in another state, 6982 without the secure channel. A chip without keys has no content management: 6D00. A chip with keys is SECURED
//! unless SET STATUS has said otherwise.
//!
//! **Failed authentications.** Each INITIALIZE UPDATE counts as failed until its host has proved itself; the count is kept in the store with the
//! sequence counter. From [`FIELD_FAILURES`] on, INITIALIZE UPDATE from the field is answered 6983, so that a stranger's reader can neither
//! guess on nor use up the sequence counter. By the wire it is answered all the same, and one success there starts the count anew.
//!
//! **What ends a secure channel**: SELECT, power off (in the field) or reset (by the wire), a command that is not protected as agreed (6982),
//! INITIALIZE UPDATE, PUT KEY in the other conversation. An unfinished load or STORE DATA ends with it, and it is as if it had never begun.

mod channel;
mod data;
mod delete;
mod gather;
mod install;
mod list;
mod load;
mod personal;
mod put_key;
mod state;

use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::globalplatform::command::{Management, ins};
use tapdoor_protocol::globalplatform::registry::life_cycle;
use tapdoor_protocol::globalplatform::scp03::{self, is_protected};
use tapdoor_protocol::status::StatusWord;

use self::channel::{Authority, Channel};
use self::gather::Gathered;
use self::load::Load;
use crate::card::Card;
use crate::registry::AppId;

/// Failed authentications after which the field may not try any more.
pub(crate) const FIELD_FAILURES: u32 = 1000;

/// One conversation with the card manager.
#[derive(Default)]
pub(crate) struct Session {
    wired: bool,
    channel: Channel,
    /// Where GET STATUS [next] goes on: P1 and how many were listed.
    status: Option<(u8, usize)>,
    load: Option<Load>,
    /// Whom STORE DATA is for; the card manager itself when there is none.
    target: Option<AppId>,
    gathered: Option<Gathered>,
    rekeyed: bool,
}

impl Session {
    /// The one by the wire.
    pub(crate) fn wired() -> Self {
        Self {
            wired: true,
            ..Self::default()
        }
    }

    /// Ends all that goes on.
    fn end(&mut self) {
        *self = Self {
            wired: self.wired,
            rekeyed: self.rekeyed,
            ..Self::default()
        };
    }

    /// Whether PUT KEY has changed key sets since the last call.
    pub(crate) fn take_rekeyed(&mut self) -> bool {
        std::mem::take(&mut self.rekeyed)
    }

    /// SELECT: everything begins anew. Writes the FCI, if it is wanted.
    pub(crate) fn select(&mut self, card: &Card, wanted: bool, out: &mut Vec<u8>) -> StatusWord {
        self.end();
        if card.managed.state == life_cycle::CARD_TERMINATED {
            return StatusWord::NOT_FOUND;
        }
        if wanted {
            out.extend(data::fci(&card.managed));
        }
        match card.managed.state {
            // Selected, and the card is locked (GlobalPlatform Card 11.9.3.2).
            life_cycle::CARD_LOCKED => StatusWord(0x6283),
            _ => StatusWord::OK,
        }
    }

    /// A command other than SELECT: writes the answer's data, which are none with an error.
    pub(crate) fn process(&mut self, card: &mut Card, command: &Command<'_>, out: &mut Vec<u8>) -> StatusWord {
        let sw = self.dispatch(card, command, out).unwrap_or_else(|sw| sw);
        if !is_protected(sw) {
            out.clear();
        }
        sw
    }

    fn dispatch(&mut self, card: &mut Card, command: &Command<'_>, out: &mut Vec<u8>) -> Result<StatusWord, StatusWord> {
        let managed = card.managed.is_managed();
        match (command.cla, command.ins) {
            (0x80, scp03::INITIALIZE_UPDATE) if managed => return self.initialize_update(card, command, out),
            (_, scp03::EXTERNAL_AUTHENTICATE) if managed => return self.external_authenticate(card, command),
            _ => {}
        }
        if command.secure_messaging() || self.channel.is_open() {
            return self.protected(card, command, out);
        }
        self.manage(card, command, Authority::None, out)
    }

    /// A command within a secure channel, or one that should be.
    fn protected(&mut self, card: &mut Card, command: &Command<'_>, out: &mut Vec<u8>) -> Result<StatusWord, StatusWord> {
        let (plain, authority) = match self.channel.unwrap(command) {
            Ok(unwrapped) => unwrapped,
            Err(sw) => {
                self.end();
                return Err(sw);
            }
        };
        let plain = Command::parse(&plain).map_err(|_| StatusWord::WRONG_LENGTH)?;
        let sw = self.manage(card, &plain, authority, out).unwrap_or_else(|sw| sw);
        if sw == StatusWord::NO_DIAGNOSIS {
            // The store failed: nothing is known of this session's end of the chain any more.
            self.end();
            return Err(sw);
        }
        Ok(self.channel.wrap(out, sw))
    }

    /// A plain command with what its sender may do.
    fn manage(
        &mut self,
        card: &mut Card,
        command: &Command<'_>,
        authority: Authority,
        out: &mut Vec<u8>,
    ) -> Result<StatusWord, StatusWord> {
        match (command.cla, command.ins) {
            (0x80, _) | (0x00, ins::GET_DATA | ins::GET_DATA_ODD) => {}
            (0x00, _) => return Err(StatusWord::INS_NOT_SUPPORTED),
            _ => return Err(StatusWord::CLA_NOT_SUPPORTED),
        }
        permitted(card, command.ins, authority)?;
        match Management::parse(command)? {
            Management::GetData(request) => data::get_data(&card.managed, &card.entries, &request, out).map(|()| StatusWord::OK),
            Management::GetStatus(request) => {
                let most = self.channel.room();
                data::get_status(card, &mut self.status, &request, command.p1, most, out)
            }
            Management::SetStatus(request) => state::set_status(card, &request).map(|()| StatusWord::OK),
            Management::Install(request) => self.install(card, &request, out).map(|()| StatusWord::OK),
            Management::Load(block) => self.load_block(card, &block, out).map(|()| StatusWord::OK),
            Management::Delete(request) => delete::delete(card, &request, self.channel.kvn(), out).map(|()| StatusWord::OK),
            Management::StoreData(block) => self.store_data(card, &block).map(|()| StatusWord::OK),
            Management::PutKey(request) => self.put_key(card, &request, out).map(|()| StatusWord::OK),
            _ => Err(StatusWord::INS_NOT_SUPPORTED),
        }
    }
}

/// Whether a command may be given, by the state of the card and what its sender has proved.
fn permitted(card: &Card, instruction: u8, authority: Authority) -> Result<(), StatusWord> {
    let managed = &card.managed;
    let needed = match instruction {
        ins::GET_DATA | ins::GET_DATA_ODD => return Ok(()),
        ins::GET_STATUS if !managed.is_managed() => return Ok(()),
        ins::GET_STATUS => Authority::Authenticated,
        ins::SET_STATUS | ins::INSTALL | ins::LOAD | ins::STORE_DATA | ins::DELETE | ins::PUT_KEY if managed.is_managed() => {
            Authority::Protected
        }
        _ => return Err(StatusWord::INS_NOT_SUPPORTED),
    };
    if authority < needed {
        return Err(StatusWord::SECURITY_STATUS);
    }
    let highest = match instruction {
        ins::GET_STATUS | ins::SET_STATUS => life_cycle::CARD_LOCKED,
        _ => life_cycle::CARD_SECURED,
    };
    if managed.state > highest {
        return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
    }
    Ok(())
}
