//! What truly differs between the answer of then and the answer of now.
//!
//! Challenges, proofs and other values that are new with every tap are no difference: where both answers have the same shape, only what a
//! command's meaning fixes is compared.

use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::door::ins;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::tlv;

/// Most objects that are compared in one answer.
const MAX_OBJECTS: usize = 256;

/// What differs, in words; empty if nothing does.
#[must_use]
pub fn answers(command: &[u8], then: &[u8], now: &[u8]) -> Vec<String> {
    let mut out = Vec::new();
    let (Some((a, sw_a)), Some((b, sw_b))) = (then.split_last_chunk::<2>(), now.split_last_chunk::<2>()) else {
        return vec!["one of the answers has no status word".into()];
    };
    let (sw_a, sw_b) = (StatusWord::from(*sw_a), StatusWord::from(*sw_b));
    if sw_a != sw_b {
        out.push(format!(
            "status word {sw_a} ({}) then, {sw_b} ({}) now",
            sw_a.meaning(),
            sw_b.meaning()
        ));
    }
    if a == b {
        return out;
    }
    let ins = Command::parse(command).map_or(0, |c| c.ins);
    let mut left = MAX_OBJECTS;
    if let (Some(_), Some(_)) = (objects(a), objects(b)) {
        objects_differ(a, b, "", ins, &mut left, &mut out);
    } else if a.len() != b.len() {
        out.push(format!("{} bytes then, {} now", a.len(), b.len()));
    } else if !is_fresh(ins) {
        out.push(format!("data {} then, {} now", hex::encode(a), hex::encode(b)));
    }
    out
}

/// Whether what a command brings is new each time.
fn is_fresh(ins: u8) -> bool {
    matches!(ins, ins::AUTHENTICATE | ins::GET_IDENTITY | 0x80..=0x82 | 0x84 | 0x86 | 0x50 | 0xC9)
}

/// The objects, if the bytes are whole BER-TLV.
fn objects(bytes: &[u8]) -> Option<Vec<(u32, &[u8])>> {
    if bytes.is_empty() {
        return None;
    }
    tlv::iter(bytes).map(|object| object.ok().map(|o| (o.tag.0, o.value))).collect()
}

fn objects_differ(a: &[u8], b: &[u8], path: &str, ins: u8, left: &mut usize, out: &mut Vec<String>) {
    let (Some(a), Some(b)) = (objects(a), objects(b)) else { return };
    for (tag, value) in &a {
        if *left == 0 {
            return;
        }
        *left -= 1;
        let name = format!("{path}{tag:02X}");
        let Some((_, other)) = b.iter().find(|(t, _)| t == tag) else {
            out.push(format!("tag {name} is gone"));
            continue;
        };
        if value == other {
            continue;
        }
        if tlv::Tag(*tag).is_constructed() && objects(value).is_some() && objects(other).is_some() {
            objects_differ(value, other, &format!("{name}/"), ins, left, out);
            continue;
        }
        // A proof, or RP and T of a door application's FCI.
        let fresh = is_fresh(ins) || (ins == 0xA4 && path == "6F/A5/" && matches!(tag, 0x81 | 0x82));
        if value.len() != other.len() {
            out.push(format!("tag {name}: {} bytes then, {} now", value.len(), other.len()));
        } else if !fresh {
            out.push(format!("tag {name}: {} then, {} now", hex::encode(value), hex::encode(other)));
        }
    }
    for (tag, _) in b.iter().filter(|(tag, _)| !a.iter().any(|(t, _)| t == tag)) {
        out.push(format!("tag {path}{tag:02X} is new"));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    const SELECT: [u8; 6] = [0x00, 0xA4, 0x04, 0x00, 0x01, 0xA0];

    fn fci(version: u8, rp: u8) -> Vec<u8> {
        let mut a5 = vec![0x80, 1, version, 0x81, 4];
        a5.extend([rp; 4]);
        let mut out = vec![0x6F, u8::try_from(a5.len() + 2).unwrap(), 0xA5, u8::try_from(a5.len()).unwrap()];
        out.extend(a5);
        out.extend([0x90, 0x00]);
        out
    }

    #[test]
    fn fresh_values_are_no_difference() {
        assert!(answers(&SELECT, &fci(1, 1), &fci(1, 2)).is_empty());
        assert_eq!(answers(&SELECT, &fci(1, 1), &fci(2, 2)), ["tag 6F/A5/80: 01 then, 02 now"]);
        assert!(answers(&[0x80, 0x88, 0, 0], &[1, 2, 0x90, 0], &[3, 4, 0x90, 0]).is_empty());
        assert_eq!(answers(&[0x00, 0xB0, 0, 0], &[1, 2, 0x90, 0], &[3, 4, 0x90, 0]).len(), 1);
        assert_eq!(answers(&SELECT, &[0x90, 0], &[0x6A, 0x82]).len(), 1);
    }

    proptest! {
        #[test]
        fn never_panics_and_nothing_differs_from_itself(command: Vec<u8>, a: Vec<u8>, b: Vec<u8>) {
            let _ = answers(&command, &a, &b);
            let a = [&a[..], &[0x90, 0x00]].concat();
            prop_assert!(answers(&command, &a, &a).is_empty());
        }
    }
}
