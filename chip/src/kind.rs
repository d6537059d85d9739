//! What an application is: its program, its life cycle, its privileges (GlobalPlatform Card 5.3, 6.6.1).

/// The built-in applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Challenge-response, phone half.
    ChallengeResponse,
    /// AKA profile P, phone half.
    Aka,
    /// A test USIM.
    Usim,
    /// The phone's identity.
    Identity,
    /// Challenge-response, lock half.
    ChallengeResponseLock,
    /// AKA profile P, lock half.
    AkaLock,
    /// AKA profile U, lock half.
    UsimHost,
    /// The request, lock half.
    RequestLock,
    /// Aliro, user device.
    Aliro,
    /// Aliro, reader.
    AliroLock,
}

impl Kind {
    const ALL: [(Self, &'static str); 10] = [
        (Self::ChallengeResponse, "challenge-response"),
        (Self::Aka, "aka"),
        (Self::Usim, "usim"),
        (Self::Identity, "identity"),
        (Self::ChallengeResponseLock, "challenge-response-lock"),
        (Self::AkaLock, "aka-lock"),
        (Self::UsimHost, "usim-host"),
        (Self::RequestLock, "request-lock"),
        (Self::Aliro, "aliro"),
        (Self::AliroLock, "aliro-lock"),
    ];

    /// The name in the store.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The kind with this name, if there is one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(kind, _)| *kind)
    }
}

/// Whether an application was made selectable once, be it locked now: then it stands in the place of a personalised one of the same AID.
pub(crate) fn made_selectable(state: LifeCycle) -> bool {
    state.0 & 0x04 != 0
}

/// Life cycle of an application (GlobalPlatform Card table 11-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LifeCycle(pub u8);

impl LifeCycle {
    /// Made, but cannot be selected yet.
    pub const INSTALLED: Self = Self(0x03);
    /// Can be selected.
    pub const SELECTABLE: Self = Self(0x07);
    /// Has its personal data (an application-specific state).
    pub const PERSONALISED: Self = Self(0x0F);

    /// Locked (bit 8), or installed without being selectable: SELECT does not find it.
    #[must_use]
    pub fn is_selectable(self) -> bool {
        self.0 & 0x80 == 0 && self.0 & 0x07 == 0x07
    }
}

/// Privileges of an application (GlobalPlatform Card 6.6.1), first byte only.
pub mod privilege {
    /// Implicitly selected after a reset (Card Reset / Default Selected).
    pub const DEFAULT_SELECTED: u8 = 0x04;
    /// A security domain.
    pub const SECURITY_DOMAIN: u8 = 0x80;
}
