//! Data objects in a given order, each at most once, with unknown ones among them.

use crate::tlv::{self, Tag, TlvError};

/// Why bytes are not what a command or an answer should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Not data objects.
    #[error(transparent)]
    Tlv(#[from] TlvError),
    /// A zero byte where a tag should be: Aliro has no padding.
    #[error("a byte 00 stands where a tag should")]
    Padding,
    /// Twice, or after one that comes later.
    #[error("object {tag} is there twice or in the wrong place")]
    Order {
        /// Which.
        tag: Tag,
    },
    /// Not there.
    #[error("object {tag} is missing")]
    Missing {
        /// Which.
        tag: Tag,
    },
    /// There, but must not be.
    #[error("object {tag} must not be there")]
    Unexpected {
        /// Which.
        tag: Tag,
    },
    /// Of another length.
    #[error("object {tag} has {got} bytes, which it must not")]
    Length {
        /// Which.
        tag: Tag,
        /// How many bytes it has.
        got: usize,
    },
    /// A value that the standard does not know, or a point that is not on the curve.
    #[error("object {tag} has a value that is none")]
    Value {
        /// Which.
        tag: Tag,
    },
}

/// A data object and its bytes as they stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Object<'a> {
    pub(super) tag: u32,
    pub(super) value: &'a [u8],
    pub(super) raw: &'a [u8],
}

/// Reads the next object; `None` at the end.
pub(super) fn next<'a>(rest: &mut &'a [u8]) -> Result<Option<Object<'a>>, WireError> {
    let bytes = *rest;
    match bytes.first() {
        None => return Ok(None),
        Some(0) => return Err(WireError::Padding),
        Some(_) => {}
    }
    let (object, after) = tlv::read(bytes)?;
    *rest = after;
    let raw = bytes.get(..bytes.len() - after.len()).unwrap_or(bytes);
    Ok(Some(Object {
        tag: object.tag.0,
        value: object.value,
        raw,
    }))
}

/// The known objects, in their order; unknown ones are skipped.
pub(super) fn scan<'a, const N: usize>(mut bytes: &'a [u8], known: [u32; N]) -> Result<[Option<Object<'a>>; N], WireError> {
    let mut found = [None; N];
    let mut from = 0;
    while let Some(object) = next(&mut bytes)? {
        let Some(place) = known.iter().position(|tag| *tag == object.tag) else {
            continue;
        };
        if place < from {
            return Err(WireError::Order { tag: Tag(object.tag) });
        }
        if let Some(slot) = found.get_mut(place) {
            *slot = Some(object);
        }
        from = place + 1;
    }
    Ok(found)
}

/// The value of an object that must be there with this length.
pub(super) fn exactly<const N: usize>(tag: u32, object: Option<Object<'_>>) -> Result<[u8; N], WireError> {
    let object = object.ok_or(WireError::Missing { tag: Tag(tag) })?;
    object.value.try_into().map_err(|_| WireError::Length {
        tag: Tag(tag),
        got: object.value.len(),
    })
}

/// The value of an object that may be missing and has at most so many bytes.
pub(super) fn at_most(object: Option<Object<'_>>, most: usize) -> Result<Option<Object<'_>>, WireError> {
    match object {
        Some(object) if object.value.len() > most => Err(WireError::Length {
            tag: Tag(object.tag),
            got: object.value.len(),
        }),
        other => Ok(other),
    }
}
