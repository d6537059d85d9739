//! Values of the headers (GPC Amendment B 3.4, 3.5).

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use crate::aid::Aid;
use crate::ids::{LockId, PhoneId};

/// How a script went, as the agent reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScriptStatus {
    /// It was run; what became of its commands is in the response script.
    Ok,
    /// The targeted application is not there.
    UnknownApplication,
    /// The targeted application is no security domain.
    NotASecurityDomain,
    /// The server may not administer the targeted application.
    SecurityError,
}

impl ScriptStatus {
    /// The header's value.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::UnknownApplication => "unknown-application",
            Self::NotASecurityDomain => "not-a-security-domain",
            Self::SecurityError => "security-error",
        }
    }

    /// From the header's value; `None` for any other.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ok, Self::UnknownApplication, Self::NotASecurityDomain, Self::SecurityError]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

impl fmt::Display for ScriptStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Who asks: `//tapdoor/phone/<16 hexadecimal digits>` or `//tapdoor/lock/<16 hexadecimal digits>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminFrom {
    /// A phone's agent.
    Phone(PhoneId),
    /// A lock's agent, for the lock's own chip.
    Lock(LockId),
}

/// A header value that names nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("X-Admin-From is not //tapdoor/phone/ or //tapdoor/lock/ with 16 hexadecimal digits: correct the agent's identity")]
pub struct ParseAdminFromError;

impl FromStr for AdminFrom {
    type Err = ParseAdminFromError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |_| ParseAdminFromError;
        if let Some(id) = text.strip_prefix("//tapdoor/phone/") {
            return id.parse().map(Self::Phone).map_err(wrong);
        }
        let id = text.strip_prefix("//tapdoor/lock/").ok_or(ParseAdminFromError)?;
        id.parse().map(Self::Lock).map_err(wrong)
    }
}

impl fmt::Display for AdminFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Phone(id) => write!(f, "//tapdoor/phone/{id}"),
            Self::Lock(id) => write!(f, "//tapdoor/lock/{id}"),
        }
    }
}

/// The value of [`super::TARGETED_APPLICATION`]: `//aid/<RID>/<PIX>`, upper-case hexadecimal digits. An AID of 5 bytes has no PIX and ends in `/`.
#[must_use]
pub fn targeted_application(aid: &Aid) -> String {
    let bytes = aid.as_bytes();
    let (rid, pix) = bytes.split_at(bytes.len().min(5));
    format!("//aid/{}/{}", hex::encode_upper(rid), hex::encode_upper(pix))
}

/// The AID of such a value, in digits of either case; `None` unless it is one of 5 to 16 bytes, the RID having 5.
#[must_use]
pub fn parse_targeted_application(text: &str) -> Option<Aid> {
    let (rid, pix) = text.strip_prefix("//aid/")?.split_once('/')?;
    if rid.len() != 10 {
        return None;
    }
    format!("{rid}{pix}").parse().ok()
}
