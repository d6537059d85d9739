//! How a lock finds out which phone speaks, and whether it may go on (docs/protocol.md section 3).

use alloc::collections::VecDeque;
use alloc::format;

use super::{Fci, Outcome, Reason, VERSION};
use crate::status::StatusWord;
use crate::vault::{Method, Peer, Vault};

/// The challenges this lock saw last. A phone never repeats one, so a repeated one is a recording.
#[derive(Clone, Debug, Default)]
pub struct RecentChallenges {
    seen: VecDeque<[u8; 16]>,
}

impl RecentChallenges {
    /// How many are remembered.
    pub const CAPACITY: usize = 64;

    /// Whether RP was seen before; it is remembered from now on.
    pub fn seen_before(&mut self, rp: &[u8; 16]) -> bool {
        if self.seen.contains(rp) {
            return true;
        }
        if self.seen.len() == Self::CAPACITY {
            self.seen.pop_front();
        }
        self.seen.push_back(*rp);
        false
    }
}

/// A phone that may go on to AUTHENTICATE.
#[derive(Clone, Copy, Debug)]
pub struct Recognised {
    /// Its list entry.
    pub peer: Peer,
    /// Its challenge.
    pub rp: [u8; 16],
}

/// Reads an FCI and decides who speaks. The inner error is the verdict that ends the tap.
///
/// # Errors
/// The status word of a vault that fails.
pub fn recognise<V: Vault>(
    vault: &mut V,
    recent: &mut RecentChallenges,
    aid: &[u8],
    method: Method,
    fci: &[u8],
    clock: u32,
) -> Result<Result<Recognised, Outcome>, StatusWord> {
    let Some(fci) = Fci::parse(fci) else {
        return Ok(Err(Outcome::refused(
            Reason::CardError,
            None,
            "SELECT was answered without version, RP and T (tags 80, 81, 82 in 6F/A5)",
        )));
    };
    if fci.version != VERSION {
        let evidence = format!("the application speaks version {:02x}, this lock {VERSION:02x}", fci.version);
        return Ok(Err(Outcome::refused(Reason::CardError, None, evidence)));
    }
    let mut message = [0; 2 + 16 + 16];
    message[0] = 0x01;
    message[1] = VERSION;
    let end = 2 + aid.len().min(16);
    message[2..end].copy_from_slice(&aid[..end - 2]);
    message[end..end + 16].copy_from_slice(&fci.rp);
    let Some(peer) = vault.find_peer(&message[..end + 16], &fci.t)? else {
        return Ok(Err(Outcome::refused(
            Reason::UnknownPhone,
            None,
            "no list entry gives the phone's T",
        )));
    };
    // Only a recognised phone's challenge is remembered, so that strangers cannot wash the memory out.
    if recent.seen_before(&fci.rp) {
        return Ok(Err(Outcome::refused(
            Reason::Replay,
            Some(peer.phone),
            "RP was used before: this is a recording",
        )));
    }
    if peer.not_after != 0 && peer.not_after <= clock {
        let evidence = format!("the list entry ended {} s ago", clock - peer.not_after);
        return Ok(Err(Outcome::refused(Reason::NotEntitled, Some(peer.phone), evidence)));
    }
    if peer.weakest > method {
        let evidence = format!("this phone must use {} or stronger, not {}", peer.weakest.name(), method.name());
        return Ok(Err(Outcome::refused(Reason::Policy, Some(peer.phone), evidence)));
    }
    Ok(Ok(Recognised { peer, rp: fci.rp }))
}
