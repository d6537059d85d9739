//! What comes to a chip after its personalisation, and the changes that bring it there (GlobalPlatform Card 6.6, 7, 9).
//!
//! It is kept beside the personalisation and survives a new one.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::vault::Slot;

use crate::kind::LifeCycle;
use crate::personalise::{ListEntry, ScpKeys, Secret};

/// An executable load file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFile {
    /// Its AID.
    pub aid: Aid,
    /// Its version: major, minor.
    pub version: [u8; 2],
    /// SHA-256 of its code.
    pub hash: [u8; 32],
    /// The security domain that it belongs to.
    pub domain: Aid,
    /// The WebAssembly module.
    pub code: Vec<u8>,
}

/// An application made of a load file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its AID.
    pub aid: Aid,
    /// AID of its load file.
    pub load_file: Aid,
    /// AID of its module in there.
    pub module: Aid,
    /// Its state.
    pub life_cycle: LifeCycle,
    /// Whether it has got personal data.
    pub personalised: bool,
    /// Its privileges.
    pub privileges: u8,
    /// Its parameters, BER-TLV.
    pub parameters: Vec<u8>,
    /// Its keys.
    pub keys: Vec<(Slot, Secret)>,
}

/// What the server said of one phone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Which phone.
    pub phone: PhoneId,
    /// Its entry; none when it was taken off the list, whatever the personalisation says.
    pub entry: Option<ListEntry>,
}

/// All that came after personalisation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Content {
    /// The next SCP03 sequence counter.
    pub sequence: u32,
    /// How many authentications failed since the last one that did not.
    pub failures: u32,
    /// The card's own life cycle state, if SET STATUS has changed it.
    pub life_cycle: Option<u8>,
    /// SCP03 key sets that came by PUT KEY. When there is one, the personalised one is not used.
    pub key_sets: Vec<ScpKeys>,
    /// Providers' keys that came by PUT KEY: key identifier, and uncompressed point.
    pub dap_keys: Vec<(u8, Vec<u8>)>,
    /// Load files, in the order in which they came.
    pub load_files: Vec<LoadFile>,
    /// Applications made of them, in the order in which they were made.
    pub instances: Vec<Instance>,
    /// States of personalised applications that SET STATUS has changed.
    pub life_cycles: Vec<(Aid, LifeCycle)>,
    /// What was said of the list.
    pub list: Vec<Delivered>,
}

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// An applet's record gets a new value.
    Record {
        /// Whose.
        aid: Aid,
        /// Its name within the applet.
        name: Vec<u8>,
        /// Its value.
        value: Vec<u8>,
    },
    /// The SCP03 sequence counter moves on.
    Sequence {
        /// The one to be used next.
        next: u32,
        /// How many authentications have failed since the last one that did not.
        failures: u32,
    },
    /// The card's own life cycle state.
    CardLifeCycle(u8),
    /// A load file is there, in place of the one of the same AID if there was one.
    LoadFile(LoadFile),
    /// A load file is gone.
    NoLoadFile(Aid),
    /// An application is there, with just these keys. Records under its AID stay.
    Instance(Instance),
    /// An application is gone, with its keys and records.
    NoInstance(Aid),
    /// The state of an application, personalised or downloaded.
    LifeCycle(Aid, LifeCycle),
    /// An SCP03 key set is there, in place of the ones with this key version number and with its own.
    KeySet {
        /// The new one.
        keys: ScpKeys,
        /// Which it replaces besides.
        replaces: Option<u8>,
    },
    /// An SCP03 key set is gone.
    NoKeySet(u8),
    /// A provider's key is there: key identifier, uncompressed point.
    DapKey(u8, Vec<u8>),
    /// A provider's key is gone.
    NoDapKey(u8),
    /// A phone is on the list with this entry, or off it.
    List(Delivered),
}
