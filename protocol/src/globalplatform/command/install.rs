//! INSTALL in its kinds (GPC 11.5).

use alloc::vec::Vec;

use super::{apdu, expect, ins};
use crate::aid::Aid;
use crate::apdu::{ApduError, Command};
use crate::globalplatform::lv;
use crate::globalplatform::registry::Privileges;
use crate::status::StatusWord;
use crate::tlv;

const FOR_LOAD: u8 = 0x02;
const FOR_INSTALL: u8 = 0x04;
const MAKE_SELECTABLE: u8 = 0x08;
const EXTRADITION: u8 = 0x10;
const PERSONALIZATION: u8 = 0x20;
const REGISTRY_UPDATE: u8 = 0x40;

/// INSTALL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Install<'a> {
    /// P1 02: LOAD follows.
    ForLoad(InstallForLoad<'a>),
    /// P1 04: make an instance, not yet selectable.
    ForInstall(InstallForInstall<'a>),
    /// P1 0C: make an instance that can be selected at once.
    ForInstallAndMakeSelectable(InstallForInstall<'a>),
    /// P1 08: let an instance be selected. `elf` and `module` are empty in most commands.
    ForMakeSelectable(InstallForInstall<'a>),
    /// P1 10: give an application or ELF to another security domain.
    ForExtradition(Extradition<'a>),
    /// P1 20: STORE DATA that follow are for this application.
    ForPersonalization(Aid),
    /// P1 40: change an entry of the registry.
    ForRegistryUpdate(RegistryUpdate<'a>),
}

/// INSTALL [for load] (GPC table 11-45).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallForLoad<'a> {
    /// AID of the executable load file.
    pub elf: Aid,
    /// The security domain it shall belong to; the one that gets the command if `None`.
    pub security_domain: Option<Aid>,
    /// Load file data block hash: of the value of C4. Empty: none.
    pub hash: &'a [u8],
    /// Load parameters, see [`LoadParameters`]. May be empty.
    pub parameters: &'a [u8],
    /// Load token. May be empty.
    pub token: &'a [u8],
}

/// INSTALL [for install] and [for make selectable] (GPC tables 11-46, 11-47).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallForInstall<'a> {
    /// AID of the executable load file.
    pub elf: Option<Aid>,
    /// AID of the module in it.
    pub module: Option<Aid>,
    /// AID by which the instance is selected.
    pub application: Aid,
    /// What it may do.
    pub privileges: Privileges,
    /// Install parameters: `C9{..}` and `EF{..}`. Empty for [for make selectable].
    pub parameters: &'a [u8],
    /// Install token. May be empty.
    pub token: &'a [u8],
}

impl<'a> InstallForInstall<'a> {
    /// The application specific parameters: the value of C9, empty if there is none. `None` if the parameters are malformed.
    #[must_use]
    pub fn application_parameters(&self) -> Option<&'a [u8]> {
        for object in tlv::iter(self.parameters) {
            let object = object.ok()?;
            if object.tag.0 == 0xC9 {
                return Some(object.value);
            }
        }
        Some(&[])
    }
}

/// INSTALL [for extradition] (GPC table 11-48).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extradition<'a> {
    /// To whom.
    pub security_domain: Aid,
    /// What: an application or an executable load file.
    pub object: Aid,
    /// Extradition parameters. May be empty.
    pub parameters: &'a [u8],
    /// Token. May be empty.
    pub token: &'a [u8],
}

/// INSTALL [for registry update] (GPC table 11-49).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistryUpdate<'a> {
    /// The new security domain, if that shall change.
    pub security_domain: Option<Aid>,
    /// The application; the security domain that gets the command if `None`.
    pub application: Option<Aid>,
    /// The new privileges, if they shall change.
    pub privileges: Option<Privileges>,
    /// Registry update parameters. May be empty.
    pub parameters: &'a [u8],
    /// Token. May be empty.
    pub token: &'a [u8],
}

/// The load parameters field: system parameters `EF{C6, C7, C8}` (GPC table 11-50), and our own `CD{version}` beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadParameters {
    /// C6: bytes of non-volatile memory for code.
    pub code_size: Option<u32>,
    /// C7: bytes of volatile memory.
    pub volatile: Option<u32>,
    /// C8: bytes of non-volatile memory for data.
    pub non_volatile: Option<u32>,
    /// CD (proprietary): the version of the load file, major and minor.
    pub version: Option<[u8; 2]>,
}

impl LoadParameters {
    /// Reads the field. Objects with other tags are passed over. `None` for malformed ones.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut out = Self::default();
        for object in tlv::iter(bytes) {
            let object = object.ok()?;
            match object.tag.0 {
                0xEF => {
                    for object in tlv::iter(object.value) {
                        let object = object.ok()?;
                        let size = || (object.value.len() <= 4).then(|| object.value.iter().fold(0, |n, b| n << 8 | u32::from(*b)));
                        match object.tag.0 {
                            0xC6 => out.code_size = Some(size()?),
                            0xC7 => out.volatile = Some(size()?),
                            0xC8 => out.non_volatile = Some(size()?),
                            _ => {}
                        }
                    }
                }
                0xCD => out.version = Some(object.value.try_into().ok()?),
                _ => {}
            }
        }
        Some(out)
    }

    /// The field. Sizes up to FFFF have 2 bytes, others 4.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut system = Vec::new();
        for (tag, size) in [(0xC6, self.code_size), (0xC7, self.volatile), (0xC8, self.non_volatile)] {
            let Some(size) = size else { continue };
            match u16::try_from(size) {
                Ok(size) => tlv::write(&mut system, tag, &size.to_be_bytes()),
                Err(_) => tlv::write(&mut system, tag, &size.to_be_bytes()),
            }
        }
        let mut out = Vec::new();
        if !system.is_empty() {
            tlv::write(&mut out, 0xEF, &system);
        }
        if let Some(version) = self.version {
            tlv::write(&mut out, 0xCD, &version);
        }
        out
    }
}

/// An AID field, or an empty one.
fn maybe(field: &[u8]) -> Result<Option<Aid>, StatusWord> {
    if field.is_empty() {
        return Ok(None);
    }
    aid(field).map(Some)
}

/// An AID field: 5 to 16 bytes (ISO/IEC 7816-5).
fn aid(field: &[u8]) -> Result<Aid, StatusWord> {
    match field.len() {
        5..=16 => Aid::new(field).ok_or(StatusWord::WRONG_DATA),
        _ => Err(StatusWord::WRONG_DATA),
    }
}

fn bytes(aid: Option<&Aid>) -> &[u8] {
    aid.map_or(&[], Aid::as_bytes)
}

impl<'a> Install<'a> {
    /// Reads the command.
    ///
    /// # Errors
    /// 6E00, 6D00; 6A86 for a P1 or P2 of no known meaning (the combined form of all steps in one is not supported); 6A80 for data.
    pub fn parse(command: &Command<'a>) -> Result<Self, StatusWord> {
        expect(command, ins::INSTALL)?;
        if command.p2 != 0 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let wrong = StatusWord::WRONG_DATA;
        if command.p1 == FOR_LOAD {
            let [elf, domain, hash, parameters, token] = lv::fields(command.data).ok_or(wrong)?;
            return Ok(Self::ForLoad(InstallForLoad {
                elf: aid(elf)?,
                security_domain: maybe(domain)?,
                hash,
                parameters,
                token,
            }));
        }
        let six = || lv::fields::<6>(command.data).ok_or(wrong);
        match command.p1 {
            p1 if p1 & !(FOR_INSTALL | MAKE_SELECTABLE) == 0 && p1 != 0 => {
                let [elf, module, application, privileges, parameters, token] = six()?;
                let (elf, module) = (maybe(elf)?, maybe(module)?);
                if p1 & FOR_INSTALL != 0 && elf.is_none() {
                    return Err(wrong);
                }
                let install = InstallForInstall {
                    elf,
                    module,
                    application: aid(application)?,
                    privileges: Privileges::parse(privileges).ok_or(wrong)?,
                    parameters,
                    token,
                };
                Ok(match p1 {
                    FOR_INSTALL => Self::ForInstall(install),
                    MAKE_SELECTABLE => Self::ForMakeSelectable(install),
                    _ => Self::ForInstallAndMakeSelectable(install),
                })
            }
            EXTRADITION => {
                let [domain, empty, object, privileges, parameters, token] = six()?;
                if !(empty.is_empty() && privileges.is_empty()) {
                    return Err(wrong);
                }
                Ok(Self::ForExtradition(Extradition {
                    security_domain: aid(domain)?,
                    object: aid(object)?,
                    parameters,
                    token,
                }))
            }
            PERSONALIZATION => {
                let [a, b, application, privileges, parameters, token] = six()?;
                if [a, b, privileges, parameters, token].iter().any(|field| !field.is_empty()) {
                    return Err(wrong);
                }
                Ok(Self::ForPersonalization(aid(application)?))
            }
            REGISTRY_UPDATE => {
                let [domain, empty, application, privileges, parameters, token] = six()?;
                if !empty.is_empty() {
                    return Err(wrong);
                }
                let privileges = match privileges {
                    [] => None,
                    some => Some(Privileges::parse(some).ok_or(wrong)?),
                };
                Ok(Self::ForRegistryUpdate(RegistryUpdate {
                    security_domain: maybe(domain)?,
                    application: maybe(application)?,
                    privileges,
                    parameters,
                    token,
                }))
            }
            _ => Err(StatusWord::INCORRECT_P1_P2),
        }
    }

    /// The plain C-APDU.
    ///
    /// # Errors
    /// [`ApduError`] when the fields do not fit into a command.
    pub fn encode(&self) -> Result<Vec<u8>, ApduError> {
        let mut data = Vec::new();
        let mut put = |fields: &[&[u8]]| fields.iter().for_each(|field| lv::write(&mut data, field));
        let p1 = match self {
            Self::ForLoad(load) => {
                let domain = bytes(load.security_domain.as_ref());
                put(&[load.elf.as_bytes(), domain, load.hash, load.parameters, load.token]);
                FOR_LOAD
            }
            Self::ForInstall(install) | Self::ForInstallAndMakeSelectable(install) | Self::ForMakeSelectable(install) => {
                put(&[
                    bytes(install.elf.as_ref()),
                    bytes(install.module.as_ref()),
                    install.application.as_bytes(),
                    install.privileges.encode(),
                    install.parameters,
                    install.token,
                ]);
                match self {
                    Self::ForInstall(_) => FOR_INSTALL,
                    Self::ForMakeSelectable(_) => MAKE_SELECTABLE,
                    _ => FOR_INSTALL | MAKE_SELECTABLE,
                }
            }
            Self::ForExtradition(to) => {
                put(&[
                    to.security_domain.as_bytes(),
                    &[],
                    to.object.as_bytes(),
                    &[],
                    to.parameters,
                    to.token,
                ]);
                EXTRADITION
            }
            Self::ForPersonalization(application) => {
                put(&[&[], &[], application.as_bytes(), &[], &[], &[]]);
                PERSONALIZATION
            }
            Self::ForRegistryUpdate(update) => {
                put(&[
                    bytes(update.security_domain.as_ref()),
                    &[],
                    bytes(update.application.as_ref()),
                    update.privileges.as_ref().map_or(&[], |p| p.encode()),
                    update.parameters,
                    update.token,
                ]);
                REGISTRY_UPDATE
            }
        };
        apdu(ins::INSTALL, p1, 0, &data)
    }
}
