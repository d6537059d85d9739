//! The FCI of a door application (docs/protocol.md section 3; ISO/IEC 7816-4 5.3.3):
//! `6F{84{AID} A5{80{version} 81{RP} 82{T}}}`.

use alloc::vec::Vec;

use crate::tlv;

/// What a door application says of itself when it is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fci {
    /// Tag 80, 1 byte.
    pub version: u8,
    /// Tag 81: the phone's challenge.
    pub rp: [u8; 16],
    /// Tag 82: by which a lock that holds K_id recognises the phone.
    pub t: [u8; 16],
}

impl Fci {
    /// Reads an FCI without its status word. Tags in any order, unknown ones ignored; of a repeated tag the first counts.
    /// `None` if a template or one of the three fields is missing or has another length. Never panics.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let proprietary = tlv::find(tlv::find(bytes, 0x6F)?, 0xA5)?;
        let &[version] = tlv::find(proprietary, 0x80)? else { return None };
        Some(Self {
            version,
            rp: tlv::find(proprietary, 0x81)?.try_into().ok()?,
            t: tlv::find(proprietary, 0x82)?.try_into().ok()?,
        })
    }

    /// The content of template A5.
    #[must_use]
    pub fn proprietary(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(39);
        tlv::write(&mut out, 0x80, &[self.version]);
        tlv::write(&mut out, 0x81, &self.rp);
        tlv::write(&mut out, 0x82, &self.t);
        out
    }
}

/// `6F{84{AID} A5{proprietary}}`; the A5 is left out when there is nothing in it.
#[must_use]
pub fn template(aid: &[u8], proprietary: &[u8]) -> Vec<u8> {
    let mut inner = Vec::with_capacity(4 + aid.len() + proprietary.len());
    tlv::write(&mut inner, 0x84, aid);
    if !proprietary.is_empty() {
        tlv::write(&mut inner, 0xA5, proprietary);
    }
    let mut out = Vec::with_capacity(inner.len() + 2);
    tlv::write(&mut out, 0x6F, &inner);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn round_trip(rp: [u8; 16], t: [u8; 16], version: u8) {
            let fci = Fci { version, rp, t };
            prop_assert_eq!(Fci::parse(&template(b"\xF0TAPDOOR\x01", &fci.proprietary())), Some(fci));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            let _ = Fci::parse(&bytes);
        }
    }

    #[test]
    fn a_field_of_another_length_is_no_fci() {
        let mut a5 = Vec::new();
        tlv::write(&mut a5, 0x80, &[1]);
        tlv::write(&mut a5, 0x81, &[0; 15]);
        tlv::write(&mut a5, 0x82, &[0; 16]);
        assert_eq!(Fci::parse(&template(b"\xF0TAPDOOR\x01", &a5)), None);
    }
}
