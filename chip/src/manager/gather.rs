//! STORE DATA (GlobalPlatform Card 11.11): blocks of whole BER-TLV objects, gathered until the last one and then stored in one transaction.
//!
//! Blocks are numbered from 0 modulo 256; block 0 begins anew, any other that is not the next one is answered 6985. Whatever is refused drops all
//! blocks so far, and for an application INSTALL [for personalization] must come again.

use tapdoor_protocol::globalplatform::command::{Format, StoreData};
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;

use super::Session;
use super::list::ListEdit;
use super::personal::Personal;
use crate::card::Card;

/// Blocks so far.
pub(super) struct Gathered {
    /// The number of the next block.
    next: u8,
    what: What,
}

enum What {
    /// For an application.
    Personal(Personal),
    /// For the lock's list.
    List(ListEdit),
}

impl Session {
    pub(super) fn store_data(&mut self, card: &mut Card, block: &StoreData<'_>) -> Result<(), StatusWord> {
        let target = self.target.take();
        let gathered = self.gathered.take();
        if block.format == Format::Dgi {
            return Err(StatusWord::FUNCTION_NOT_SUPPORTED);
        }
        let mut gathered = match (gathered, block.number) {
            (Some(gathered), number) if gathered.next == number => gathered,
            (_, 0) => Gathered {
                next: 0,
                what: match target {
                    Some(id) => What::Personal(Personal::new(id)),
                    None => What::List(ListEdit::default()),
                },
            },
            _ => return Err(StatusWord::CONDITIONS_NOT_SATISFIED),
        };
        gathered.next = gathered.next.wrapping_add(1);
        let keys = self.channel.keys()?;
        for object in tlv::iter(block.data) {
            let object = object.map_err(|_| StatusWord::WRONG_DATA)?;
            match &mut gathered.what {
                What::Personal(personal) => personal.take(object, keys)?,
                What::List(edit) => edit.take(card, object, keys)?,
            }
        }
        if !block.last {
            (self.target, self.gathered) = (target, Some(gathered));
            return Ok(());
        }
        match gathered.what {
            What::Personal(personal) => personal.store(card),
            What::List(edit) => edit.store(card),
        }
    }
}
