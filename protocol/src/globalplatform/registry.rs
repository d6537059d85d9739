//! Life cycles, privileges, and the answers to GET STATUS and GET DATA (GPC 5, 6.6, 11.3.3, 11.4.3, appendix H).
//!
//! What is read ignores data objects with other tags, because cards add their own.

use alloc::vec::Vec;
use core::fmt;

use super::command::Subset;
use super::lv;
use crate::aid::Aid;
use crate::tlv;

/// Life cycle states (GPC tables 11-3 to 11-6).
pub mod life_cycle {
    /// Executable load file: LOADED.
    pub const LOADED: u8 = 0x01;
    /// Application: INSTALLED, not selectable.
    pub const INSTALLED: u8 = 0x03;
    /// Application: SELECTABLE.
    pub const SELECTABLE: u8 = 0x07;
    /// Security domain: PERSONALIZED; for applications b4 to b7 are their own.
    pub const PERSONALIZED: u8 = 0x0F;
    /// Application: the bit that locks it (INSTALLED and locked is 83).
    pub const LOCKED: u8 = 0x80;
    /// Card: OP_READY.
    pub const CARD_OP_READY: u8 = 0x01;
    /// Card: INITIALIZED.
    pub const CARD_INITIALIZED: u8 = 0x07;
    /// Card: SECURED.
    pub const CARD_SECURED: u8 = 0x0F;
    /// Card: CARD_LOCKED.
    pub const CARD_LOCKED: u8 = 0x7F;
    /// Card: TERMINATED.
    pub const CARD_TERMINATED: u8 = 0xFF;
}

/// Privileges (GPC table 6-1, 11-7 to 11-9): three bytes, of which the last two may be left out when they are 0.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Privileges(pub [u8; 3]);

impl Privileges {
    /// None.
    pub const NONE: Self = Self([0; 3]);
    /// It is a security domain.
    pub const SECURITY_DOMAIN: Self = Self([0x80, 0, 0]);
    /// A security domain that verifies DAPs which name it.
    pub const DAP_VERIFICATION: Self = Self([0xC0, 0, 0]);
    /// A security domain that deletes and loads for others.
    pub const DELEGATED_MANAGEMENT: Self = Self([0xA0, 0, 0]);
    /// May lock the card.
    pub const CARD_LOCK: Self = Self([0x10, 0, 0]);
    /// May terminate the card.
    pub const CARD_TERMINATE: Self = Self([0x08, 0, 0]);
    /// Card reset: selected when the card starts.
    pub const CARD_RESET: Self = Self([0x04, 0, 0]);
    /// May change the card holder's PIN.
    pub const CVM_MANAGEMENT: Self = Self([0x02, 0, 0]);
    /// A security domain that verifies the DAP of every load.
    pub const MANDATED_DAP: Self = Self([0xC1, 0, 0]);
    /// Authorized management.
    pub const AUTHORIZED_MANAGEMENT: Self = Self([0, 0x40, 0]);
    /// Global delete.
    pub const GLOBAL_DELETE: Self = Self([0, 0x10, 0]);
    /// Global lock.
    pub const GLOBAL_LOCK: Self = Self([0, 0x08, 0]);
    /// Global registry.
    pub const GLOBAL_REGISTRY: Self = Self([0, 0x04, 0]);

    /// From 1 or 3 bytes; `None` for another number of them.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        match *bytes {
            [a] => Some(Self([a, 0, 0])),
            [a, b, c] => Some(Self([a, b, c])),
            _ => None,
        }
    }

    /// 1 byte if that says it all, otherwise 3.
    #[must_use]
    pub fn encode(&self) -> &[u8] {
        match self.0 {
            [_, 0, 0] => &self.0[..1],
            _ => &self.0,
        }
    }

    /// Whether all of `wanted` are there.
    #[must_use]
    pub fn contains(self, wanted: Self) -> bool {
        self.0.iter().zip(wanted.0).all(|(have, want)| have & want == want)
    }

    /// These and those.
    #[must_use]
    pub const fn with(self, Self([x, y, z]): Self) -> Self {
        let Self([a, b, c]) = self;
        Self([a | x, b | y, c | z])
    }
}

impl fmt::Debug for Privileges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = self.0;
        write!(f, "Privileges({a:02X}{b:02X}{c:02X})")
    }
}

/// One entry of the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 4F: whose entry it is.
    pub aid: Aid,
    /// 9F70: life cycle state.
    pub life_cycle: u8,
    /// C5: privileges; load files have none.
    pub privileges: Option<Privileges>,
    /// C4: the load file of an application.
    pub elf: Option<Aid>,
    /// CE: the version of a load file.
    pub version: Option<Vec<u8>>,
    /// 84: the modules of a load file.
    pub modules: Vec<Aid>,
    /// CC: the security domain it belongs to.
    pub security_domain: Option<Aid>,
}

impl Entry {
    /// An entry with nothing but its AID and state.
    #[must_use]
    pub const fn new(aid: Aid, life_cycle: u8) -> Self {
        Self {
            aid,
            life_cycle,
            privileges: None,
            elf: None,
            version: None,
            modules: Vec::new(),
            security_domain: None,
        }
    }

    /// The E3 template (GPC table 11-36).
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut inner = Vec::new();
        tlv::write(&mut inner, 0x4F, self.aid.as_bytes());
        tlv::write(&mut inner, 0x9F70, &[self.life_cycle]);
        if let Some(privileges) = &self.privileges {
            tlv::write(&mut inner, 0xC5, privileges.encode());
        }
        if let Some(elf) = &self.elf {
            tlv::write(&mut inner, 0xC4, elf.as_bytes());
        }
        if let Some(version) = &self.version {
            tlv::write(&mut inner, 0xCE, version);
        }
        for module in &self.modules {
            tlv::write(&mut inner, 0x84, module.as_bytes());
        }
        if let Some(domain) = &self.security_domain {
            tlv::write(&mut inner, 0xCC, domain.as_bytes());
        }
        let mut out = Vec::with_capacity(inner.len() + 3);
        tlv::write(&mut out, 0xE3, &inner);
        out
    }

    /// The old form (GPC tables 11-34 and 11-35): AID with its length, life cycle, privileges (1 byte, 00 for load files), and for
    /// [`Subset::LoadFilesAndModules`] the number of modules and each AID with its length. At most 255 modules are written.
    #[must_use]
    pub fn encode_old(&self, subset: Subset) -> Vec<u8> {
        let mut out = Vec::new();
        lv::write(&mut out, self.aid.as_bytes());
        let [privileges, ..] = self.privileges.unwrap_or_default().0;
        out.extend_from_slice(&[self.life_cycle, privileges]);
        if subset == Subset::LoadFilesAndModules {
            let count = self.modules.len().min(255);
            out.push(count as u8);
            self.modules
                .iter()
                .take(count)
                .for_each(|module| lv::write(&mut out, module.as_bytes()));
        }
        out
    }
}

/// Reads the answer to GET STATUS in TLV form; several answers may have been put together. `None` if it is malformed.
#[must_use]
pub fn parse_status(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut out = Vec::new();
    for object in tlv::iter(bytes) {
        let object = object.ok()?;
        if object.tag.0 == 0xE3 {
            out.push(entry(object.value)?);
        }
    }
    Some(out)
}

fn entry(bytes: &[u8]) -> Option<Entry> {
    let mut aid = None;
    let mut out = Entry::new(Aid::CARD_MANAGER, 0);
    for object in tlv::iter(bytes) {
        let object = object.ok()?;
        let value = object.value;
        match object.tag.0 {
            0x4F => aid = Some(Aid::new(value)?),
            // Cards answer one byte; some add the state of the contactless interface as a second.
            0x9F70 => out.life_cycle = *value.first()?,
            0xC5 => out.privileges = Some(Privileges::parse(value)?),
            0xC4 => out.elf = Some(Aid::new(value)?),
            0xCE => out.version = Some(value.to_vec()),
            0x84 => out.modules.push(Aid::new(value)?),
            0xCC => out.security_domain = Some(Aid::new(value)?),
            _ => {}
        }
    }
    out.aid = aid?;
    Some(out)
}

/// Reads the answer to GET STATUS in the old form. `None` if it is malformed.
#[must_use]
pub fn parse_status_old(bytes: &[u8], subset: Subset) -> Option<Vec<Entry>> {
    fn aid(bytes: &[u8]) -> Option<(Aid, &[u8])> {
        let (&length, rest) = bytes.split_first()?;
        let (aid, rest) = rest.split_at_checked(length.into())?;
        Some((Aid::new(aid)?, rest))
    }
    let mut out = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let (name, after) = aid(rest)?;
        let (&[state, privileges], after) = after.split_first_chunk()?;
        rest = after;
        let mut entry = Entry::new(name, state);
        match subset {
            Subset::IssuerSecurityDomain | Subset::Applications => entry.privileges = Some(Privileges([privileges, 0, 0])),
            Subset::LoadFiles => {}
            Subset::LoadFilesAndModules => {
                let (&count, mut after) = rest.split_first()?;
                for _ in 0..count {
                    let (module, next) = aid(after)?;
                    entry.modules.push(module);
                    after = next;
                }
                rest = after;
            }
        }
        out.push(entry);
    }
    Some(out)
}

/// One key of the key information template E0 (GPC 11.3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    /// Key identifier.
    pub kid: u8,
    /// Key version number.
    pub kvn: u8,
    /// Type and length in bytes of each component, at least one; see [`super::command::key_type`].
    pub components: Vec<(u8, u8)>,
}

impl KeyInfo {
    /// The C0 object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut value = alloc::vec![self.kid, self.kvn];
        self.components
            .iter()
            .for_each(|(kind, length)| value.extend_from_slice(&[*kind, *length]));
        let mut out = Vec::new();
        tlv::write(&mut out, 0xC0, &value);
        out
    }

    /// The template E0.
    #[must_use]
    pub fn template(keys: &[Self]) -> Vec<u8> {
        let inner: Vec<u8> = keys.iter().flat_map(Self::encode).collect();
        let mut out = Vec::new();
        tlv::write(&mut out, 0xE0, &inner);
        out
    }

    /// Reads C0 objects, in their template or without it. `None` if they are malformed; keys in the extended form (FF) are passed over.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Vec<Self>> {
        let bytes = tlv::find(bytes, 0xE0).unwrap_or(bytes);
        let mut out = Vec::new();
        for object in tlv::iter(bytes) {
            let object = object.ok()?;
            if object.tag.0 != 0xC0 {
                continue;
            }
            let (&[kid, kvn], rest) = object.value.split_first_chunk()?;
            if rest.first() == Some(&0xFF) {
                continue;
            }
            let (pairs, []) = rest.as_chunks::<2>() else { return None };
            if pairs.is_empty() {
                return None;
            }
            let components = pairs.iter().map(|[kind, length]| (*kind, *length)).collect();
            out.push(Self { kid, kvn, components });
        }
        Some(out)
    }
}

/// FF21: how much room there is (ETSI TS 102 226 8.2.1.7.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CardResources {
    /// 81: installed applications.
    pub applications: u32,
    /// 82: free non-volatile memory, bytes.
    pub non_volatile: u32,
    /// 83: free volatile memory, bytes.
    pub volatile: u32,
}

impl CardResources {
    /// The data object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut inner = Vec::new();
        for (tag, number) in [(0x81, self.applications), (0x82, self.non_volatile), (0x83, self.volatile)] {
            let bytes = number.to_be_bytes();
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count().min(3);
            tlv::write(&mut inner, tag, &bytes[zeros..]);
        }
        let mut out = Vec::new();
        tlv::write(&mut out, 0xFF21, &inner);
        out
    }

    /// Reads it. `None` if something is missing or has more than 4 bytes.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let inner = tlv::find(bytes, 0xFF21)?;
        let number = |tag| {
            let value = tlv::find(inner, tag).filter(|value| value.len() <= 4)?;
            Some(value.iter().fold(0, |n, byte| n << 8 | u32::from(*byte)))
        };
        Some(Self {
            applications: number(0x81)?,
            non_volatile: number(0x82)?,
            volatile: number(0x83)?,
        })
    }
}

/// 1.2.840.114283: GlobalPlatform.
const GLOBALPLATFORM: [u8; 6] = [0x2A, 0x86, 0x48, 0x86, 0xFC, 0x6B];

/// 66: card recognition data (GPC appendix H.2), as far as they tell how to talk to the card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardRecognition {
    /// The version of the Card Specification, one number each: 2, 3, 1.
    pub version: Vec<u8>,
    /// Secure channel protocols and their parameter i. Values up to 7F can be written.
    pub protocols: Vec<(u8, u8)>,
}

impl CardRecognition {
    /// The data object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let oid = |arc: u8, more: &[u8]| {
            let mut out = Vec::new();
            tlv::write(&mut out, 0x06, &[&GLOBALPLATFORM[..], &[arc], more].concat());
            out
        };
        let mut inner = oid(1, &[]);
        tlv::write(&mut inner, 0x60, &oid(2, &self.version));
        tlv::write(&mut inner, 0x63, &oid(3, &[]));
        for (protocol, i) in &self.protocols {
            tlv::write(&mut inner, 0x64, &oid(4, &[*protocol, *i]));
        }
        let mut recognition = Vec::new();
        tlv::write(&mut recognition, 0x73, &inner);
        let mut out = Vec::new();
        tlv::write(&mut out, 0x66, &recognition);
        out
    }

    /// Reads it. `None` without the template or without a version.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let inner = tlv::find(tlv::find(bytes, 0x66)?, 0x73)?;
        let arc = |value: &[u8], arc: u8| -> Option<Vec<u8>> {
            let oid = tlv::find(value, 0x06)?.strip_prefix(&GLOBALPLATFORM)?;
            Some(oid.strip_prefix(&[arc])?.to_vec())
        };
        let version = arc(tlv::find(inner, 0x60)?, 2)?;
        let mut protocols = Vec::new();
        for object in tlv::iter(inner) {
            let object = object.ok()?;
            if object.tag.0 == 0x64
                && let [protocol, i] = arc(object.value, 4)?[..]
            {
                protocols.push((protocol, i));
            }
        }
        Some(Self { version, protocols })
    }
}
