//! Applications by name: short names for those that one selects all the time, and those of the registry.

use tapdoor_protocol::aid::{self, Aid};

/// Short names.
const SHORT: [(&str, &[u8]); 10] = [
    ("challenge-response", Aid::CHALLENGE_RESPONSE.as_bytes()),
    ("aka", Aid::AKA.as_bytes()),
    ("identity", Aid::IDENTITY.as_bytes()),
    ("usim", Aid::USIM_PREFIX.as_bytes()),
    ("aliro", Aid::ALIRO_EXPEDITED.as_bytes()),
    ("aliro-step-up", Aid::ALIRO_STEP_UP.as_bytes()),
    ("card-manager", Aid::CARD_MANAGER.as_bytes()),
    ("android-hce", Aid::ANDROID_HCE.as_bytes()),
    ("ppse", b"2PAY.SYS.DDF01"),
    ("ndef", &[0xD2, 0x76, 0x00, 0x00, 0x85, 0x01, 0x01]),
];

/// The name of a registry entry as one word: lower case, `-` for what is neither letter nor digit.
fn slug(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            out.push(c.to_ascii_lowercase());
        } else if !out.ends_with('-') && !out.is_empty() {
            out.push('-');
        }
    }
    out.truncate(out.trim_end_matches('-').len());
    out
}

/// Every name with its AID, the short ones first.
pub fn all() -> impl Iterator<Item = (String, Aid)> {
    let short = SHORT
        .iter()
        .filter_map(|(name, bytes)| Some(((*name).to_owned(), Aid::new(bytes)?)));
    short.chain(aid::registry().map(|entry| (slug(entry.name), entry.aid)))
}

/// The AID that is meant: hexadecimal digits (1 to 16 bytes), or a name. `None` for anything else.
#[must_use]
pub fn aid(text: &str) -> Option<Aid> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return text.parse().ok();
    }
    all().find(|(name, _)| name == text).map(|(_, aid)| aid)
}

/// The short names, for messages.
#[must_use]
pub fn short() -> String {
    SHORT.map(|(name, _)| name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name_and_by_digits() {
        assert_eq!(aid("aka"), Some(Aid::AKA));
        assert_eq!(aid("f0544150444f4f5201"), Some(Aid::CHALLENGE_RESPONSE));
        assert_eq!(aid("visa").map(|a| a.to_string()), Some("a0000000031010".to_owned()));
        assert_eq!(aid("no such"), None);
        assert_eq!(aid(""), None);
        assert_eq!(aid("f05"), None);
        assert!(all().all(|(name, _)| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')));
    }
}
