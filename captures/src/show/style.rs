//! Colour, or none.

use tapdoor_protocol::status::StatusWord;

/// Whether the output is coloured. The caller decides, because the caller knows where it goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Text alone.
    #[default]
    Plain,
    /// With ANSI escape sequences.
    Ansi,
}

/// What a piece of text is, and so how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Plain,
    Heading,
    Faint,
    Arrow,
    Good,
    Bad,
}

impl Role {
    /// How a status word looks: good, or an error.
    pub(super) const fn of(sw: StatusWord) -> Self {
        match sw.sw1() {
            0x90 | 0x91 | 0x61..=0x63 | 0x9F => Self::Good,
            _ => Self::Bad,
        }
    }
}

impl Style {
    pub(super) fn paint(self, role: Role, text: &str) -> String {
        let code = match (self, role) {
            (Self::Plain, _) | (_, Role::Plain) => return text.to_owned(),
            (Self::Ansi, Role::Heading) => "1",
            (Self::Ansi, Role::Faint) => "2",
            (Self::Ansi, Role::Arrow) => "36",
            (Self::Ansi, Role::Good) => "32",
            (Self::Ansi, Role::Bad) => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}
