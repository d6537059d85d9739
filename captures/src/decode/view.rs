//! Bytes together with which of them are masked.

use std::ops::Range;

use super::Field;
use super::words::with_hex;
use crate::event::Mask;

/// Owned bytes, and for each whether it is masked. Without a mask there are no marks.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    hidden: Vec<bool>,
}

/// For each of `length` bytes whether it is masked; empty when none is.
pub(super) fn marks(length: usize, masks: &[Mask]) -> Vec<bool> {
    if masks.is_empty() {
        return Vec::new();
    }
    let mut hidden = vec![false; length];
    for mask in masks {
        // A tape can say anything: what is outside is left alone.
        let end = mask.offset.saturating_add(mask.length).min(length);
        if let Some(part) = hidden.get_mut(mask.offset..end) {
            part.fill(true);
        }
    }
    hidden
}

impl Held {
    pub(super) const fn new() -> Self {
        Self {
            bytes: Vec::new(),
            hidden: Vec::new(),
        }
    }

    pub(super) fn view(&self, brief: bool) -> View<'_> {
        View::new(&self.bytes, &self.hidden, brief)
    }

    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.hidden.clear();
    }

    pub(super) fn extend(&mut self, view: View<'_>) {
        if !view.hidden.is_empty() {
            self.hidden.resize(self.bytes.len(), false);
            self.hidden.extend_from_slice(view.hidden);
        }
        self.bytes.extend_from_slice(view.bytes);
        if !self.hidden.is_empty() {
            self.hidden.resize(self.bytes.len(), false);
        }
    }
}

/// A part of some bytes. A brief one makes no fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    bytes: &'a [u8],
    hidden: &'a [bool],
    brief: bool,
}

impl<'a> View<'a> {
    pub(super) const fn new(bytes: &'a [u8], hidden: &'a [bool], brief: bool) -> Self {
        Self { bytes, hidden, brief }
    }

    pub(super) const fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub(super) const fn len(self) -> usize {
        self.bytes.len()
    }

    /// Whether nobody wants to know what is inside.
    pub(super) const fn is_brief(self) -> bool {
        self.brief
    }

    /// A part; empty where it is not inside.
    pub(super) fn range(self, range: Range<usize>) -> Self {
        Self {
            bytes: self.bytes.get(range.clone()).unwrap_or_default(),
            hidden: self.hidden.get(range).unwrap_or_default(),
            brief: self.brief,
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
        self.hex_behind("")
    }

    /// The same with words before it.
    pub(super) fn hex_behind(self, words: &str) -> String {
        if self.hidden.is_empty() {
            return with_hex(words, self.bytes);
        }
        let mut text = String::with_capacity(words.len() + 2 * self.len());
        text.push_str(words);
        for (at, byte) in self.bytes.iter().enumerate() {
            match self.hidden.get(at) {
                Some(true) => text.push_str("**"),
                _ => text.push_str(&with_hex("", &[*byte])),
            }
        }
        text
    }

    /// One field, or none when there are no bytes.
    pub(super) fn field(self, name: &str) -> Vec<Field> {
        match self.len() {
            0 => Vec::new(),
            _ if self.brief => Vec::new(),
            _ => vec![Field::new(name, self.hex())],
        }
    }

    /// Fields of fixed lengths, and what is left; when the bytes do not suffice, as far as they go.
    pub(super) fn split(self, parts: &[(&str, usize)]) -> Vec<Field> {
        if self.brief {
            return Vec::new();
        }
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
