//! What all door applications share (docs/protocol.md sections 2, 3, 7 and 9).

pub mod control_flow;
pub mod fci;
pub mod keys;
pub mod lock;
pub mod phone;
pub mod recognise;

pub use control_flow::{ControlFlow, Reason, Verdict};
pub use fci::Fci;
pub use lock::{BeginData, LockStep, Outcome};
pub use phone::{Event, PhoneMethod};
pub use recognise::{RecentChallenges, Recognised, recognise};

use crate::ids::{LockId, PhoneId};
use crate::status::StatusWord;
use crate::vault::VaultError;

/// The version of the door applications' formulas, tag 80 of the FCI.
pub const VERSION: u8 = 1;

/// List entry flag: the user must be authenticated on the phone.
pub const REQUIRE_USER: u8 = 0x01;
/// Phone flag (bit 31): the user was authenticated.
pub const USER_AUTHENTICATED: u32 = 0x8000_0000;

/// Instruction bytes of the door applications, class 80.
pub mod ins {
    /// BEGIN, to a lock half.
    pub const BEGIN: u8 = 0x10;
    /// NEXT, to a lock half.
    pub const NEXT: u8 = 0x12;
    /// REQUEST, to the request application.
    pub const REQUEST: u8 = 0x14;
    /// CONTROL FLOW, to a phone half.
    pub const CONTROL_FLOW: u8 = 0x3C;
    /// AUTHENTICATE, to a phone half and to a USIM.
    pub const AUTHENTICATE: u8 = 0x88;
    /// GET IDENTITY, to the identity application.
    pub const GET_IDENTITY: u8 = 0xCA;
}

/// What a vault's refusal looks like from outside the chip.
impl From<VaultError> for StatusWord {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::NoKey => Self::CONDITIONS_NOT_SATISFIED,
            VaultError::Full => Self::NOT_ENOUGH_MEMORY,
            VaultError::Store | VaultError::Random => Self::NO_DIAGNOSIS,
        }
    }
}

/// The names and values that both sides bind into their session keys, in the order of docs/protocol.md.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// RP, the phone's challenge.
    pub rp: &'a [u8; 16],
    /// RL (challenge-response) or RAND (AKA): the lock's challenge.
    pub challenge: &'a [u8; 16],
    /// The lock.
    pub lock: LockId,
    /// The phone.
    pub phone: PhoneId,
    /// AID of the phone's application.
    pub aid: &'a [u8],
}

impl Binding<'_> {
    /// RP || challenge || lock id || phone id || version || AID, as parts of a KDF context.
    #[must_use]
    pub fn context(&self) -> [&[u8]; 6] {
        [self.rp, self.challenge, &self.lock.0, &self.phone.0, &[VERSION], self.aid]
    }
}
