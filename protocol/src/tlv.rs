//! BER-TLV data objects (ISO/IEC 8825-1 8.1, as used by ISO/IEC 7816-4 5.2.2).
//!
//! - Tags have 1 to 3 bytes, lengths are definite and have 1 to 4 bytes (short, 81, 82, 83).
//! - Reading accepts lengths that are longer than need be (`81 05`) and tag numbers that are (`9F 05`), because cards
//!   send them. Writing always uses the shortest length.
//! - Bytes 00 before, between and after data objects are skipped, as 7816-4 says.
//! - Nothing here descends into constructed objects by itself, so the depth of a nesting costs no stack: call [`iter`] or
//!   [`find`] on a value.

use alloc::vec::Vec;
use core::fmt;
use core::iter::FusedIterator;

/// A tag as the number that its bytes make: `Tag(0x84)`, `Tag(0x7F66)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u32);

impl Tag {
    /// Whether the value is made of data objects again (b6 of the first byte).
    #[must_use]
    pub fn is_constructed(self) -> bool {
        self.bytes().0[0] & 0x20 != 0
    }

    /// The tag's bytes: the array and where in it the tag ends.
    fn bytes(self) -> ([u8; 4], usize) {
        // Tag(0) has one byte, too.
        let length = (4 - self.0.leading_zeros() as usize / 8).max(1);
        let mut bytes = self.0.to_be_bytes();
        bytes.rotate_left(4 - length);
        (bytes, length)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:0width$X}", self.0, width = self.bytes().1 * 2)
    }
}

/// A data object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Its tag.
    pub tag: Tag,
    /// Its value; up to FFFFFF bytes.
    pub value: &'a [u8],
}

/// Why bytes are not a data object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlvError {
    /// No bytes, or padding only.
    #[error("a data object was expected, but there is nothing left: the template is shorter than it should be")]
    Empty,
    /// The bytes end within a tag.
    #[error("the bytes end within the tag that begins with {first:02X}: the object is cut off")]
    TagCutOff {
        /// The tag's first byte.
        first: u8,
    },
    /// A tag of more than 3 bytes.
    #[error("the tag that begins with {first:02X} has more than 3 bytes: this is not BER-TLV of a card")]
    TagTooLong {
        /// The tag's first byte.
        first: u8,
    },
    /// The bytes end before or within the length.
    #[error("the bytes end within the length of object {tag}: the object is cut off")]
    LengthCutOff {
        /// The object's tag.
        tag: Tag,
    },
    /// Indefinite length (80).
    #[error("object {tag} has an indefinite length (80), which ISO 7816-4 excludes: write its length")]
    Indefinite {
        /// The object's tag.
        tag: Tag,
    },
    /// A length of more than 3 bytes after the first (84 and above).
    #[error("the length of object {tag} begins with {first:02X}; 81, 82 and 83 are supported: this is not BER-TLV of a card")]
    LengthTooLong {
        /// The object's tag.
        tag: Tag,
        /// The length's first byte.
        first: u8,
    },
    /// Fewer bytes than the length says.
    #[error("object {tag} should have {length} bytes of value, {present} are left: the object is cut off or its length is wrong")]
    ValueCutOff {
        /// The object's tag.
        tag: Tag,
        /// What its length says.
        length: usize,
        /// How many bytes there are.
        present: usize,
    },
}

/// Reads the first data object of `bytes` and gives it with what follows it.
///
/// # Errors
/// [`TlvError`]; it is [`TlvError::Empty`] if there is nothing but padding.
pub fn read(bytes: &[u8]) -> Result<(Tlv<'_>, &[u8]), TlvError> {
    let (tag, rest) = read_tag(skip_padding(bytes))?;
    let (length, rest) = read_length(tag, rest)?;
    match rest.split_at_checked(length) {
        Some((value, rest)) => Ok((Tlv { tag, value }, rest)),
        None => Err(TlvError::ValueCutOff {
            tag,
            length,
            present: rest.len(),
        }),
    }
}

/// The data objects of `bytes` one after another, at this level only. Ends after the first error.
#[must_use]
pub fn iter(bytes: &[u8]) -> Iter<'_> {
    Iter { rest: bytes }
}

/// The value of the first object with this tag, at this level only; `None` also if something before it is malformed.
#[must_use]
pub fn find(bytes: &[u8], tag: u32) -> Option<&[u8]> {
    iter(bytes)
        .map_while(Result::ok)
        .find(|object| object.tag.0 == tag)
        .map(|object| object.value)
}

/// Appends a data object, its length in the shortest form.
///
/// The tag's bytes are written as they stand in the number, so `tag` must be one that [`read`] could have given: not 0, which
/// would be padding, and at most 3 bytes. A value above FFFFFF bytes is written with the longer length it needs, which [`read`]
/// refuses.
pub fn write(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    let (bytes, length) = Tag(tag).bytes();
    out.extend_from_slice(&bytes[..length]);
    let length = value.len().to_be_bytes();
    let zeros = length.iter().take_while(|byte| **byte == 0).count();
    match &length[zeros..] {
        [] => out.push(0),
        [short @ 0..=0x7F] => out.push(*short),
        long => {
            // At most 8 bytes: the size of a usize.
            out.push(0x80 | long.len() as u8);
            out.extend_from_slice(long);
        }
    }
    out.extend_from_slice(value);
}

/// Iterator over data objects, see [`iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = Result<Tlv<'a>, TlvError>;

    fn next(&mut self) -> Option<Self::Item> {
        match read(self.rest) {
            Ok((object, rest)) => {
                self.rest = rest;
                Some(Ok(object))
            }
            Err(error) => {
                self.rest = &[];
                (error != TlvError::Empty).then_some(Err(error))
            }
        }
    }
}

impl FusedIterator for Iter<'_> {}

fn skip_padding(bytes: &[u8]) -> &[u8] {
    let padding = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[padding..]
}

/// Reads a tag; padding has been skipped.
fn read_tag(bytes: &[u8]) -> Result<(Tag, &[u8]), TlvError> {
    let (&first, rest) = bytes.split_first().ok_or(TlvError::Empty)?;
    if first & 0x1F != 0x1F {
        return Ok((Tag(first.into()), rest));
    }
    // b8 of each further byte says that another follows.
    let number = |bytes: &[u8]| bytes.iter().fold(u32::from(first), |n, b| n << 8 | u32::from(*b));
    match *rest {
        [second @ 0..=0x7F, ref rest @ ..] => Ok((Tag(number(&[second])), rest)),
        [second, third @ 0..=0x7F, ref rest @ ..] => Ok((Tag(number(&[second, third])), rest)),
        [_, _, ..] => Err(TlvError::TagTooLong { first }),
        [_] | [] => Err(TlvError::TagCutOff { first }),
    }
}

fn read_length(tag: Tag, bytes: &[u8]) -> Result<(usize, &[u8]), TlvError> {
    let (&first, rest) = bytes.split_first().ok_or(TlvError::LengthCutOff { tag })?;
    let count = match first {
        0..=0x7F => return Ok((first.into(), rest)),
        0x80 => return Err(TlvError::Indefinite { tag }),
        0x81..=0x83 => usize::from(first & 0x7F),
        _ => return Err(TlvError::LengthTooLong { tag, first }),
    };
    let (length, rest) = rest.split_at_checked(count).ok_or(TlvError::LengthCutOff { tag })?;
    Ok((length.iter().fold(0, |n, byte| n << 8 | usize::from(*byte)), rest))
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    #[test]
    fn an_fci() {
        let fci = hex::decode("6f158409a000000909acce5501a508800200005c020100").unwrap();
        let (template, rest) = read(&fci).unwrap();
        assert_eq!((template.tag, rest), (Tag(0x6F), &[][..]));
        assert_eq!(find(template.value, 0x84), Some(&fci[4..13]));
        let inner = find(template.value, 0xA5).unwrap();
        assert_eq!(find(inner, 0x5C), Some(&[1, 0][..]));
        assert_eq!(find(inner, 0x84), None);
    }

    #[test]
    fn tags() {
        let rows: [(&[u8], u32, &str, bool); 6] = [
            (&[0x84], 0x84, "84", false),
            (&[0x05], 0x05, "05", false),
            (&[0xA5], 0xA5, "A5", true),
            (&[0x9F, 0x20], 0x9F20, "9F20", false),
            (&[0xBF, 0x0C], 0xBF0C, "BF0C", true),
            (&[0x7F, 0x81, 0x66], 0x7F8166, "7F8166", true),
        ];
        for (bytes, number, text, constructed) in rows {
            let object = [bytes, &[1, 0xEE, 0x55]].concat();
            let (tlv, rest) = read(&object).unwrap();
            assert_eq!((tlv.tag, tlv.value, rest), (Tag(number), &[0xEE][..], &[0x55][..]));
            assert_eq!(tlv.tag.to_string(), text);
            assert_eq!(tlv.tag.is_constructed(), constructed);
            let mut out = Vec::new();
            write(&mut out, number, &[0xEE]);
            assert_eq!(out, object[..object.len() - 1]);
        }
    }

    #[test]
    fn lengths_are_written_short_and_read_long() {
        for (length, written) in [
            (0, vec![0]),
            (0x7F, vec![0x7F]),
            (0x80, vec![0x81, 0x80]),
            (0xFF, vec![0x81, 0xFF]),
            (0x100, vec![0x82, 1, 0]),
            (0xFFFF, vec![0x82, 0xFF, 0xFF]),
            (0x1_0000, vec![0x83, 1, 0, 0]),
        ] {
            let value = vec![7; length];
            let mut out = Vec::new();
            write(&mut out, 0x53, &value);
            assert_eq!(out[1..=written.len()], written);
            assert_eq!(
                read(&out),
                Ok((
                    Tlv {
                        tag: Tag(0x53),
                        value: &value
                    },
                    &[][..]
                ))
            );
        }
        for long in [&[0x81, 1][..], &[0x82, 0, 1], &[0x83, 0, 0, 1]] {
            let object = [&[0x53], long, &[7]].concat();
            assert_eq!(find(&object, 0x53), Some(&[7][..]));
        }
    }

    #[test]
    fn padding_is_skipped() {
        let bytes = [0, 0, 0x80, 1, 5, 0, 0x81, 0, 0, 0];
        let tags: Vec<_> = iter(&bytes).map(|object| object.unwrap().tag.0).collect();
        assert_eq!(tags, [0x80, 0x81]);
        assert_eq!(iter(&[0; 9]).count(), 0);
        assert_eq!(read(&[0; 9]), Err(TlvError::Empty));
        assert_eq!(read(&[]), Err(TlvError::Empty));
    }

    #[test]
    fn malformed_objects_are_named() {
        let tag = Tag(0x80);
        let rows: [(&[u8], TlvError); 11] = [
            (&[0x9F], TlvError::TagCutOff { first: 0x9F }),
            (&[0x9F, 0x81], TlvError::TagCutOff { first: 0x9F }),
            (&[0x9F, 0x81, 0x81, 1, 0], TlvError::TagTooLong { first: 0x9F }),
            (&[0x80], TlvError::LengthCutOff { tag }),
            (&[0x80, 0x81], TlvError::LengthCutOff { tag }),
            (&[0x80, 0x83, 0, 0], TlvError::LengthCutOff { tag }),
            (&[0x80, 0x80, 0, 0], TlvError::Indefinite { tag }),
            (&[0x80, 0x84, 0, 0, 0, 0], TlvError::LengthTooLong { tag, first: 0x84 }),
            (&[0x80, 0xFF], TlvError::LengthTooLong { tag, first: 0xFF }),
            (
                &[0x80, 2, 1],
                TlvError::ValueCutOff {
                    tag,
                    length: 2,
                    present: 1,
                },
            ),
            (
                &[0x80, 0x83, 0xFF, 0xFF, 0xFF],
                TlvError::ValueCutOff {
                    tag,
                    length: 0xFF_FFFF,
                    present: 0,
                },
            ),
        ];
        for (bytes, error) in rows {
            assert_eq!(read(bytes), Err(error));
            assert_eq!(iter(bytes).collect::<Vec<_>>(), [Err(error)]);
        }
    }

    #[test]
    fn nothing_is_found_behind_a_malformed_object() {
        let bytes = [0x81, 1, 7, 0x82, 0x80, 0x83, 1, 9];
        assert_eq!(find(&bytes, 0x81), Some(&[7][..]));
        assert_eq!(find(&bytes, 0x83), None);
        assert_eq!(iter(&bytes).count(), 2);
    }
}
