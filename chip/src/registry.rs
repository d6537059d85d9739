//! The registry of applications (GlobalPlatform Card 6.6) and selection by full or partial AID (ISO/IEC 7816-4 11.1.1).

use tapdoor_protocol::aid::Aid;

use crate::applet::Applet;
use crate::kind::{Kind, LifeCycle};

/// The chip's own number of an application. It is never given again while the chip runs, and an application whose session must end
/// (upgraded, personalised, locked) gets a new one: whoever still holds the old number holds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(pub(crate) u64);

/// Where an application comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in, filled by personalisation.
    Personalised(Kind),
    /// Made of a load file.
    Downloaded {
        /// AID of the load file.
        load_file: Aid,
        /// AID of the module in it.
        module: Aid,
        /// Whether it has got personal data.
        personalised: bool,
        /// Its parameters, BER-TLV.
        parameters: Vec<u8>,
    },
}

/// An application and its registry data.
pub struct Entry {
    /// The chip's number of it.
    pub id: AppId,
    /// Its AID.
    pub aid: Aid,
    /// Its state.
    pub life_cycle: LifeCycle,
    /// Its privileges.
    pub privileges: u8,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether it is a lock half and may use the list.
    pub may_use_list: bool,
    /// The program.
    pub applet: Box<dyn Applet>,
}

impl Entry {
    /// Whether it was made of a load file.
    #[must_use]
    pub fn is_downloaded(&self) -> bool {
        matches!(self.origin, Origin::Downloaded { .. })
    }

    /// Whether it was made of a load file and has got personal data.
    #[must_use]
    pub fn is_personalised(&self) -> bool {
        matches!(self.origin, Origin::Downloaded { personalised: true, .. })
    }

    /// AID of the load file that it was made of.
    #[must_use]
    pub fn load_file(&self) -> Option<&Aid> {
        match &self.origin {
            Origin::Downloaded { load_file, .. } => Some(load_file),
            Origin::Personalised(_) => None,
        }
    }
}

/// Finds an application for SELECT. `after` is the place of the last one for "next"; `None` for "first".
/// For "first" an exact match wins over the order of installation.
#[must_use]
pub fn find(entries: &[Entry], aid: &[u8], after: Option<usize>) -> Option<usize> {
    let selectable = |entry: &Entry| entry.life_cycle.is_selectable();
    match after {
        None => entries
            .iter()
            .position(|e| selectable(e) && e.aid.as_bytes() == aid)
            .or_else(|| entries.iter().position(|e| selectable(e) && e.aid.as_bytes().starts_with(aid))),
        Some(last) => entries
            .iter()
            .enumerate()
            .skip(last + 1)
            .find(|(_, e)| selectable(e) && e.aid.as_bytes().starts_with(aid))
            .map(|(index, _)| index),
    }
}
