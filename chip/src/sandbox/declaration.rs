//! The custom section `tapdoor`: what the author of a module says that it is (docs/applets.md).
//!
//! BER-TLV: `80{ABI version(1)} 4F{ELF AID} 81{version(2)}` and for every executable module
//! `E1{4F{module AID} 82{entry(1)} 83{role(1)} 84{name, UTF-8}}`. Roles: 1 phone half, 2 lock half.

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::tlv;

use super::{SandboxError, abi};

/// Most modules in one code.
const MODULES: usize = 16;
/// Longest name, in bytes.
const NAME: usize = 32;

/// An executable module: one of the programs in a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleInfo {
    /// Its AID.
    pub aid: Aid,
    /// The number by which the code knows it.
    pub entry: u8,
    /// Whether it is the lock's half of a method, which needs the lock's list.
    pub lock_half: bool,
    /// Its name, for people; at most 32 bytes.
    pub name: String,
}

/// The whole section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// AID of the executable load file.
    pub elf: Aid,
    /// Its version: major, minor.
    pub version: [u8; 2],
    /// What is in it; at least one.
    pub modules: Vec<ModuleInfo>,
}

impl Declaration {
    /// Reads the section. Never panics.
    ///
    /// # Errors
    /// [`SandboxError::Declaration`], [`SandboxError::Abi`].
    pub fn parse(bytes: &[u8]) -> Result<Self, SandboxError> {
        let wrong = SandboxError::Declaration;
        let mut abi_version = None;
        let mut elf = None;
        let mut version = None;
        let mut modules: Vec<ModuleInfo> = Vec::new();
        for object in tlv::iter(bytes) {
            let object = object.map_err(|_| wrong("not BER-TLV"))?;
            match (object.tag.0, object.value) {
                (0x80, &[v]) if abi_version.is_none() => abi_version = Some(v),
                (0x4F, value) if elf.is_none() => elf = application_aid(value),
                (0x81, &[major, minor]) if version.is_none() => version = Some([major, minor]),
                (0xE1, value) => {
                    let module = module(value).ok_or(wrong("a module without AID (5 to 16 bytes), entry, role or name"))?;
                    if modules.iter().any(|m| m.aid == module.aid || m.entry == module.entry) {
                        return Err(wrong("two modules with the same AID or entry"));
                    }
                    if modules.len() == MODULES {
                        return Err(wrong("more than 16 modules"));
                    }
                    modules.push(module);
                }
                _ => return Err(wrong("an object that is unknown, of the wrong length, or there twice")),
            }
        }
        match abi_version.ok_or(wrong("the version of the interface (tag 80) is missing"))? {
            abi::VERSION => {}
            got => return Err(SandboxError::Abi { got }),
        }
        if modules.is_empty() {
            return Err(wrong("no module (tag E1)"));
        }
        Ok(Self {
            elf: elf.ok_or(wrong("the AID of the load file (tag 4F, 5 to 16 bytes) is missing"))?,
            version: version.ok_or(wrong("the version (tag 81, 2 bytes) is missing"))?,
            modules,
        })
    }
}

/// An AID that can name an application: 5 to 16 bytes (ISO/IEC 7816-5).
fn application_aid(bytes: &[u8]) -> Option<Aid> {
    Aid::new(bytes).filter(|_| bytes.len() >= 5)
}

fn module(bytes: &[u8]) -> Option<ModuleInfo> {
    let (&[entry], &[role]) = (tlv::find(bytes, 0x82)?, tlv::find(bytes, 0x83)?) else {
        return None;
    };
    let name = tlv::find(bytes, 0x84).filter(|name| name.len() <= NAME)?;
    Some(ModuleInfo {
        aid: application_aid(tlv::find(bytes, 0x4F)?)?,
        entry,
        lock_half: match role {
            1 => false,
            2 => true,
            _ => return None,
        },
        name: String::from_utf8(name.to_vec()).ok()?,
    })
}
