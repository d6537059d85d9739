//! A chip on its agent's wire, timed by kind of command (GlobalPlatform Card table 11-1, Amendment D 7).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tapdoor_agent::WiredChip;
use tapdoor_protocol::globalplatform::command::ins;
use tapdoor_protocol::globalplatform::scp03::{EXTERNAL_AUTHENTICATE, INITIALIZE_UPDATE};

use super::store::Spent;

/// What a chip did for its administration, by kind.
#[derive(Clone, Default)]
pub(super) struct Work {
    /// INITIALIZE UPDATE, EXTERNAL AUTHENTICATE.
    pub open: Spent,
    /// INSTALL [for load], LOAD.
    pub load: Spent,
    /// INSTALL [for install and make selectable]: the module is checked and an instance made.
    pub install: Spent,
    /// STORE DATA.
    pub personalise: Spent,
    /// The rest.
    pub other: Spent,
    /// Load files that came whole: last blocks that were answered 9000.
    pub loaded: Arc<AtomicU64>,
}

/// The chip on its wire.
#[derive(Clone)]
pub(super) struct Timed<C> {
    pub chip: C,
    pub work: Work,
}

impl<C: WiredChip> WiredChip for Timed<C> {
    fn reset(&self) {
        self.chip.reset();
    }

    fn process(&self, command: &[u8], response: &mut Vec<u8>) {
        let (code, p1) = match command {
            [_, code, p1, ..] => (*code, *p1),
            _ => (0, 0),
        };
        let spent = match code {
            INITIALIZE_UPDATE | EXTERNAL_AUTHENTICATE => &self.work.open,
            ins::LOAD => &self.work.load,
            // GlobalPlatform Card 11.5.2.1: b2 of P1 is [for load].
            ins::INSTALL if p1 & 0x02 != 0 => &self.work.load,
            ins::INSTALL => &self.work.install,
            ins::STORE_DATA => &self.work.personalise,
            _ => &self.work.other,
        };
        spent.on(|| self.chip.process(command, response));
        if code == ins::LOAD && p1 & 0x80 != 0 && response.ends_with(&[0x90, 0x00]) {
            self.work.loaded.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn proof(&self, challenge: &[u8; 16], id: &[u8; 8]) -> Option<[u8; 16]> {
        self.chip.proof(challenge, id)
    }
}
