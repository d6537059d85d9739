//! [`Extra`]: the fields of a line that this crate does not know, kept as they were written.

use std::fmt;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// Fields by name, in the order in which they were written, each value as its JSON text.
///
/// The text and not a parsed value, so that a number too large or too precise for us comes out as it went in.
#[derive(Clone, Default)]
pub struct Extra {
    fields: Vec<(String, Box<RawValue>)>,
}

impl Extra {
    /// No fields.
    #[must_use]
    pub const fn new() -> Self {
        Self { fields: Vec::new() }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Names and JSON texts, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (name.as_str(), value.get()))
    }

    /// The JSON text of the first field of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find_map(|(n, value)| (n == name).then_some(value))
    }

    /// The first field of this name if it is a string, unescaped.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).and_then(|value| serde_json::from_str(value).ok())
    }

    /// Adds a field, or puts another value in the place of the first one of this name.
    ///
    /// A name which the format gives a meaning, such as `data`, is not written to a tape: use the field of that name.
    ///
    /// # Errors
    /// When `value` cannot be said in JSON, for instance a map whose keys are not strings.
    pub fn insert(&mut self, name: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        let value = to_raw_value(value)?;
        match self.fields.iter_mut().find(|(n, _)| n == name) {
            Some(field) => field.1 = value,
            None => self.fields.push((name.to_owned(), value)),
        }
        Ok(())
    }

    /// Keeps a field that was read, even a second one of the same name.
    pub(crate) fn push(&mut self, name: String, value: Box<RawValue>) {
        self.fields.push((name, value));
    }

    /// Appends `,"name":value` for each field whose name is not among `known`.
    pub(crate) fn encode_into(&self, known: &[&str], out: &mut Vec<u8>) {
        for (name, value) in self.iter().filter(|(name, _)| !known.contains(name)) {
            out.push(b',');
            json_string(name, out);
            out.push(b':');
            // A line break can only stand between the tokens of a value, where a space says the same.
            out.extend(value.bytes().map(|byte| match byte {
                b'\n' | b'\r' => b' ',
                byte => byte,
            }));
        }
    }
}

impl PartialEq for Extra {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Extra {}

impl fmt::Debug for Extra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Appends a JSON string.
pub(crate) fn json_string(text: &str, out: &mut Vec<u8>) {
    // Writing a string into a vector cannot fail.
    let _ = serde_json::to_writer(&mut *out, text);
}

/// The two lower-case hexadecimal digits of each byte.
pub(crate) const HEX: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = [digits[at >> 4], digits[at & 15]];
        at += 1;
    }
    table
};

/// Appends lower-case hexadecimal digits.
pub(crate) fn hex_into(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    let (pairs, _) = out[start..].as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = HEX[usize::from(*byte)];
    }
}

/// Appends a decimal number.
pub(crate) fn decimal_into(mut number: u64, out: &mut Vec<u8>) {
    if number < 10 {
        out.push(b'0' + number as u8);
        return;
    }
    let mut digits = [0; 20];
    let mut at = digits.len();
    while number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_and_line_breaks_do_not_get_onto_a_line() {
        let mut extra = Extra::new();
        extra.insert("data", &1).unwrap();
        extra.insert("x", &"a\nb").unwrap();
        extra.push("y".into(), RawValue::from_string("[1,\r\n2]".into()).unwrap());
        let mut out = Vec::new();
        extra.encode_into(&["data"], &mut out);
        assert_eq!(out, br#","x":"a\nb","y":[1,  2]"#);
        assert_eq!(extra.text("x").as_deref(), Some("a\nb"));
        assert_eq!((extra.text("y"), extra.get("z")), (None, None));
    }

    #[test]
    fn inserting_again_replaces_in_place() {
        let mut extra = Extra::new();
        extra.insert("a", &1).unwrap();
        extra.insert("b", &2).unwrap();
        extra.insert("a", &3).unwrap();
        assert!(extra.iter().eq([("a", "3"), ("b", "2")]));
    }

    #[test]
    fn numbers_and_digits() {
        let mut out = Vec::new();
        for number in [0, 9, 10, u64::MAX] {
            out.clear();
            decimal_into(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
        }
        let all: Vec<u8> = (0..=255).collect();
        out.clear();
        hex_into(&all, &mut out);
        assert_eq!(out, hex::encode(&all).as_bytes());
    }
}
