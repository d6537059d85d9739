//! The registry of applications (GlobalPlatform Card 6.6) and selection by full or partial AID (ISO/IEC 7816-4 11.1.1).

use tapdoor_protocol::aid::Aid;

use crate::applet::Applet;
use crate::kind::LifeCycle;

/// An application and its registry data.
pub struct Entry {
    /// Its AID.
    pub aid: Aid,
    /// Its state.
    pub life_cycle: LifeCycle,
    /// Its privileges.
    pub privileges: u8,
    /// The program.
    pub applet: Box<dyn Applet>,
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
