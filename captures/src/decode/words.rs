//! Names put together by hand: the formatting machinery of the standard library would be half of the cost of a line.

use std::borrow::Cow;

use tapdoor_protocol::status::StatusWord;

use crate::extra::{decimal_into, hex_into};

/// What an event is called.
pub(crate) type Name = Cow<'static, str>;

/// Words and two hexadecimal digits a byte behind them.
pub(super) fn with_hex(words: &str, bytes: &[u8]) -> String {
    // Room for a name behind it.
    let mut text = Vec::with_capacity(words.len() + 2 * bytes.len() + if words.is_empty() { 0 } else { 40 });
    text.extend_from_slice(words.as_bytes());
    hex_into(bytes, &mut text);
    // Words and digits are text.
    String::from_utf8(text).unwrap_or_default()
}

/// Two parts.
pub(super) fn joined(words: &str, more: &str) -> Name {
    let mut text = String::with_capacity(words.len() + more.len());
    text.push_str(words);
    text.push_str(more);
    text.into()
}

/// Words, a decimal number, and more words.
pub(crate) fn with_number(words: &str, number: u64, more: &str) -> Name {
    let mut text = Vec::with_capacity(words.len() + 20 + more.len());
    text.extend_from_slice(words.as_bytes());
    decimal_into(number, &mut text);
    text.extend_from_slice(more.as_bytes());
    Name::Owned(String::from_utf8(text).unwrap_or_default())
}

/// Two numbers among words.
pub(crate) fn with_numbers(words: [&str; 3], numbers: [u64; 2]) -> Name {
    let mut text = Vec::with_capacity(words.iter().map(|words| words.len()).sum::<usize>() + 24);
    for (words, number) in words.iter().zip(numbers) {
        text.extend_from_slice(words.as_bytes());
        decimal_into(number, &mut text);
    }
    text.extend_from_slice(words[2].as_bytes());
    Name::Owned(String::from_utf8(text).unwrap_or_default())
}

/// A status word and its meaning. The usual one is not looked up.
pub(super) fn status(sw: StatusWord) -> Name {
    if sw == StatusWord::OK {
        return "9000 done".into();
    }
    let meaning = sw.meaning();
    let mut text = Vec::with_capacity(5 + meaning.len());
    hex_into(&sw.0.to_be_bytes(), &mut text);
    text.push(b' ');
    text.extend_from_slice(meaning.as_bytes());
    Name::Owned(String::from_utf8(text).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_standard_library_writes_it() {
        for number in [0, 7, 10, 4711, u64::MAX] {
            assert_eq!(with_number("a ", number, " b"), format!("a {number} b"));
        }
        assert_eq!(with_numbers(["a ", " b ", " c"], [12, 0]), "a 12 b 0 c");
        assert_eq!(with_hex("x ", &[0x00, 0xAF, 0x10]), "x 00af10");
        let sw = StatusWord(0x6A82);
        assert_eq!(status(sw), format!("{:04x} {}", sw.0, sw.meaning()));
    }
}
