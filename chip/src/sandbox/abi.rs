//! The interface between a downloaded applet and the chip (docs/applets.md): names and types of the functions, what they cost, error numbers.
//!
//! Every parameter and every result is an i32. A function never gets a pointer of the chip: pointers are offsets into the applet's own memory.

use core::fmt;

use tapdoor_protocol::vault::VaultError;

/// Version of the interface.
pub const VERSION: u8 = 1;

/// The module from which everything is imported, and the name of the custom section.
pub const MODULE: &str = "tapdoor";

/// Most parameters of a host function.
pub const MOST_PARAMETERS: usize = 8;

/// Longest piece of memory that a host function takes or gives, in bytes.
pub const LONGEST: usize = 32 * 1024;

/// Fuel for every byte that a host function takes or gives.
pub const FUEL_PER_BYTE: u64 = 4;

/// Results below zero.
pub mod code {
    /// No such key, or it may not be used so.
    pub const NO_KEY: i32 = -1;
    /// The chip's store failed.
    pub const STORE: i32 = -2;
    /// No random numbers.
    pub const RANDOM: i32 = -3;
    /// A limit is reached: transient keys, length of a record.
    pub const FULL: i32 = -4;
    /// Nothing there: no such record or list entry, or a tag, MAC-A or MAC-S that is wrong.
    pub const NONE: i32 = -5;
}

/// The number for a vault's refusal.
pub(super) fn refusal(error: VaultError) -> i32 {
    match error {
        VaultError::NoKey => code::NO_KEY,
        VaultError::Random => code::RANDOM,
        VaultError::Full => code::FULL,
        // What the vault may learn to say one day is a failure of the chip to an applet of today.
        _ => code::STORE,
    }
}

macro_rules! functions {
    ($($(#[$doc:meta])* $variant:ident = $name:literal ($($parameter:literal),*) $fuel:literal;)*) => {
        /// A host function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Function {
            $($(#[$doc])* $variant,)*
        }

        impl Function {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its name in the import section.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The names of its parameters, in order.
            #[must_use]
            pub const fn parameters(self) -> &'static [&'static str] {
                match self { $(Self::$variant => &[$($parameter),*],)* }
            }

            /// What one call costs, besides [`FUEL_PER_BYTE`].
            #[must_use]
            pub const fn fuel(self) -> u64 {
                match self { $(Self::$variant => $fuel,)* }
            }
        }
    };
}

functions! {
    /// Copies the command to `at`: CLA INS P1 P2, Ne in 4 bytes, the data. Nothing during `select` and `deselect`.
    Input = "input" ("at", "capacity") 500;
    /// Copies the instance's parameters.
    Parameters = "parameters" ("at", "capacity") 500;
    /// Copies the instance's AID.
    Aid = "aid" ("at", "capacity") 500;
    /// Appends to the answer's data.
    Output = "output" ("data", "length") 500;
    /// Tells the program around the chip: kind 1, lock id(8) and clock(4); kind 2, the verdict's number(1);
    /// kind 3, nothing: an application is being downloaded.
    Event = "event" ("kind", "data", "length") 500;
    /// Fills with unpredictable bytes.
    Random = "random" ("at", "length") 1_000;
    /// The reference of the personalised key in a slot.
    Key = "key" ("slot", "key_out") 500;
    /// Derives up to 4 transient keys.
    Derive = "derive" ("parent", "label", "label_length", "context", "context_length", "lengths", "count", "keys_out") 4_000;
    /// Wipes a transient key.
    Forget = "forget" ("key") 500;
    /// AES-CMAC.
    Cmac = "cmac" ("key", "data", "length", "mac_out") 2_000;
    /// CCM-16, sealing.
    CcmSeal = "ccm_seal" ("key", "associated", "associated_length", "plain", "plain_length", "at", "capacity") 2_000;
    /// CCM-16, opening.
    CcmOpen = "ccm_open" ("key", "associated", "associated_length", "sealed", "sealed_length", "at", "capacity") 2_000;
    /// The list entry whose K_id gives a tag.
    FindPeer = "find_peer" ("data", "length", "tag", "peer_out") 50_000;
    /// The test subscriber with an IMSI.
    FindSubscriber = "find_subscriber" ("imsi", "length", "subscriber_out") 5_000;
    /// The reference of a list entry's key.
    PeerKey = "peer_key" ("peer", "which", "key_out") 500;
    /// AKA, home side: AUTN, XRES, session.
    AkaVector = "aka_vector" ("key", "algorithm", "rand", "sqn", "at", "capacity") 20_000;
    /// AKA, USIM side: SQN, RES, session.
    AkaOpen = "aka_open" ("key", "algorithm", "rand", "autn", "at", "capacity") 20_000;
    /// AKA, USIM side: AUTS.
    AkaAuts = "aka_auts" ("key", "algorithm", "rand", "sqn", "auts_out") 20_000;
    /// AKA, home side: SQN out of AUTS.
    AkaResynchronise = "aka_resynchronise" ("key", "algorithm", "rand", "auts", "sqn_out") 20_000;
    /// SRES and Kc of a test subscriber.
    AkaGsm = "aka_gsm" ("key", "algorithm", "rand", "triplet_out") 20_000;
    /// CK and IK of a test subscriber's session.
    RevealSession = "reveal_session" ("session", "keys_out") 500;
    /// A new P-256 key pair for one ECIES encryption.
    Ephemeral = "ephemeral" ("pair_out") 200_000;
    /// ECIES, TS 33.501 profile B.
    EciesSeal = "ecies_seal" ("ephemeral", "recipient", "recipient_length", "plain", "plain_length", "at", "capacity") 400_000;
    /// ECDSA P-256 with SHA-256.
    Sign = "sign" ("key", "message", "length", "signature_out") 400_000;
    /// Reads a record.
    Load = "load" ("name", "name_length", "at", "capacity") 10_000;
    /// Writes a record.
    Store = "store" ("name", "name_length", "value", "value_length") 10_000;
}

impl Function {
    /// The function with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|f| f.name() == name)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
