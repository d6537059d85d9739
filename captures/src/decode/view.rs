//! Bytes together with which of them are masked.

use std::ops::Range;

use super::Field;
use crate::event::Mask;

/// Owned bytes, and for each whether it is masked.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    hidden: Vec<bool>,
}

impl Held {
    pub(super) fn new(bytes: &[u8], masks: &[Mask]) -> Self {
        let mut hidden = vec![false; bytes.len()];
        for mask in masks {
            // A tape can say anything: what is outside is left alone.
            let end = mask.offset.saturating_add(mask.length).min(bytes.len());
            if let Some(part) = hidden.get_mut(mask.offset..end) {
                part.fill(true);
            }
        }
        Self {
            bytes: bytes.to_vec(),
            hidden,
        }
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            bytes: &self.bytes,
            hidden: &self.hidden,
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.hidden.clear();
    }

    pub(super) fn extend(&mut self, view: View<'_>) {
        self.bytes.extend_from_slice(view.bytes);
        self.hidden.extend_from_slice(view.hidden);
    }
}

/// A part of [`Held`] bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    bytes: &'a [u8],
    hidden: &'a [bool],
}

impl<'a> View<'a> {
    pub(super) const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub(super) const fn len(self) -> usize {
        self.bytes.len()
    }

    /// A part; empty where it is not inside.
    pub(super) fn range(self, range: Range<usize>) -> Self {
        Self {
            bytes: self.bytes.get(range.clone()).unwrap_or_default(),
            hidden: self.hidden.get(range).unwrap_or_default(),
        }
    }

    /// The part that `inner`, a slice of these very bytes, is.
    pub(super) fn find(self, inner: &[u8]) -> Self {
        let at = (inner.as_ptr() as usize).wrapping_sub(self.bytes.as_ptr() as usize);
        match at.checked_add(inner.len()) {
            Some(end) => self.range(at..end),
            None => self.range(0..0),
        }
    }

    /// Hexadecimal digits, `**` for a masked byte.
    pub(super) fn hex(self) -> String {
        let mut text = String::with_capacity(2 * self.len());
        for (byte, hidden) in self.bytes.iter().zip(self.hidden) {
            if *hidden {
                text.push_str("**");
            } else {
                for digit in [byte >> 4, byte & 15] {
                    text.push(char::from_digit(digit.into(), 16).unwrap_or('?'));
                }
            }
        }
        text
    }

    /// One field, or none when there are no bytes.
    pub(super) fn field(self, name: &str) -> Vec<Field> {
        match self.len() {
            0 => Vec::new(),
            _ => vec![Field::new(name, self.hex())],
        }
    }

    /// Fields of fixed lengths, and what is left; when the bytes do not suffice, as far as they go.
    pub(super) fn split(self, parts: &[(&str, usize)]) -> Vec<Field> {
        let mut fields = Vec::with_capacity(parts.len());
        let mut at = 0;
        for (name, length) in parts {
            let end = (at + length).min(self.len());
            if end > at {
                let short = if end - at < *length { " (cut short)" } else { "" };
                let value = self.range(at..end).hex() + short;
                fields.push(Field::new(*name, value));
            }
            at = end;
        }
        fields.extend(self.range(at..self.len()).field("more"));
        fields
    }
}
