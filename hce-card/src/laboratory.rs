//! Laboratory switches: how a phone misbehaves for a test.

use std::str::FromStr;
use std::time::Duration;

use tapdoor_protocol::aid::Aid;

/// One switch, as it is written after `--lab` and in phone.toml.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Switch {
    /// `missing` or `missing-app`: no door application at all; `missing=NAME` or `missing=AID`: not this one.
    Missing(Option<Aid>),
    /// `wrong-key`: recognised, but all that is derived for locks is wrong.
    WrongKey,
    /// `slow=MS`: every answer takes that much longer.
    Slow(Duration),
    /// `silent` or `silent=N`: no answer to the Nth APDU of a tap and later ones.
    Silent(u64),
    /// `tear` or `tear=N`: gone at the Nth APDU of a tap.
    Tear(u64),
    /// `answer=HEX`: this instead of every answer.
    Answer(Vec<u8>),
}

/// Text that is no switch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is no laboratory switch; they are missing[=challenge-response|aka|aliro|identity|AID], wrong-key, slow=MILLISECONDS, silent[=N], tear[=N], answer=HEX"
)]
pub struct SwitchError(pub String);

impl FromStr for Switch {
    type Err = SwitchError;

    fn from_str(text: &str) -> Result<Self, SwitchError> {
        let bad = || SwitchError(text.into());
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        let count = |value: Option<&str>| match value.map(str::parse) {
            None => Ok(1),
            Some(Ok(n)) if n > 0 => Ok(n),
            Some(_) => Err(bad()),
        };
        Ok(match (name, value) {
            ("missing" | "missing-app", None) => Self::Missing(None),
            ("missing", Some("challenge-response")) => Self::Missing(Some(Aid::CHALLENGE_RESPONSE)),
            ("missing", Some("aka")) => Self::Missing(Some(Aid::AKA)),
            ("missing", Some("aliro")) => Self::Missing(Some(Aid::ALIRO_EXPEDITED)),
            ("missing", Some("identity")) => Self::Missing(Some(Aid::IDENTITY)),
            ("missing", Some(aid)) => Self::Missing(Some(aid.parse().map_err(|_| bad())?)),
            ("wrong-key", None) => Self::WrongKey,
            ("slow", Some(ms)) => Self::Slow(Duration::from_millis(ms.parse().map_err(|_| bad())?)),
            ("silent", value) => Self::Silent(count(value)?),
            ("tear", value) => Self::Tear(count(value)?),
            ("answer", Some(hex)) => Self::Answer(hex::decode(hex).map_err(|_| bad())?),
            _ => return Err(bad()),
        })
    }
}

/// All switches that are on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Laboratory {
    /// Every door application is missing.
    pub nothing: bool,
    /// These are missing.
    pub missing: Vec<Aid>,
    /// Keys for locks are wrong.
    pub wrong_key: bool,
    /// Added to every answer.
    pub slow: Duration,
    /// Silent from this APDU of a tap on.
    pub silent: Option<u64>,
    /// Gone from this APDU of a tap on.
    pub tear: Option<u64>,
    /// Instead of every answer.
    pub answer: Option<Vec<u8>>,
}

impl Laboratory {
    /// Turns a switch on.
    pub fn set(&mut self, switch: Switch) {
        match switch {
            Switch::Missing(None) => self.nothing = true,
            Switch::Missing(Some(aid)) => self.missing.push(aid),
            Switch::WrongKey => self.wrong_key = true,
            Switch::Slow(time) => self.slow = time,
            Switch::Silent(n) => self.silent = Some(n),
            Switch::Tear(n) => self.tear = Some(n),
            Switch::Answer(bytes) => self.answer = Some(bytes),
        }
    }

    /// Whether no switch makes the phone wait.
    #[must_use]
    pub const fn is_prompt(&self) -> bool {
        self.slow.is_zero() && self.silent.is_none()
    }

    /// Whether any switch is on.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn switches_are_read_and_others_refused() {
        assert_eq!("missing=aka".parse(), Ok(Switch::Missing(Some(Aid::AKA))));
        assert_eq!("slow=20".parse(), Ok(Switch::Slow(Duration::from_millis(20))));
        assert_eq!("tear".parse(), Ok(Switch::Tear(1)));
        assert_eq!("answer=6f00".parse(), Ok(Switch::Answer(vec![0x6F, 0x00])));
        for bad in [
            "",
            "slow",
            "slow=x",
            "tear=0",
            "tear=-1",
            "wrong-key=1",
            "answer=6f0",
            "missing=zz",
            "fly",
        ] {
            assert!(bad.parse::<Switch>().is_err(), "{bad}");
        }
    }
}
