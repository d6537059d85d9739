//! What an answer must look like: `6F..8409{aid}{rp:16}...`.

use std::sync::Arc;

/// A pattern over bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(pub Vec<Piece>);

/// A piece of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Just these bytes.
    Bytes(Vec<u8>),
    /// `..`: one byte, whatever it is.
    Any,
    /// `...`: all that follows, even if nothing does.
    Rest,
    /// `{NAME:N}`: N bytes, which NAME becomes.
    Capture(Arc<str>, usize),
    /// `{NAME:*}`: all that follows, which NAME becomes.
    CaptureRest(Arc<str>),
    /// `{NAME}`: the bytes that NAME is.
    Value(Arc<str>),
    /// `{#NAME}`: how many bytes NAME has, in one byte.
    Length(Arc<str>),
}

/// Where a pattern and bytes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// Offset in the bytes.
    pub at: usize,
    /// What is wrong there.
    pub what: String,
}

/// Why text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Which character of the text, from 0.
    pub at: usize,
    /// What was found there.
    pub found: String,
    /// What was expected.
    pub expected: &'static str,
}

/// Most bytes that one capture takes.
const MAX_CAPTURE: usize = 65_536;

impl Pattern {
    /// Reads one word of a pattern and appends it. Never panics.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn push(&mut self, word: &str) -> Result<(), PatternError> {
        let characters: Vec<char> = word.chars().collect();
        let mut at = 0;
        while let Some(&c) = characters.get(at) {
            let error = |found: String, expected| Err(PatternError { at, found, expected });
            if self.is_closed() {
                return error("something behind the rest".into(), "nothing behind ... or {NAME:*}");
            }
            match c {
                '.' => {
                    let dots = characters[at..].iter().take_while(|c| **c == '.').count();
                    // `....` is two bytes; an odd dot more is the rest, at the end.
                    if dots == 1 {
                        return error("one dot".into(), ".. for any byte, ... for the rest");
                    }
                    let any = if dots % 2 == 0 { dots / 2 } else { dots / 2 - 1 };
                    self.0.extend(std::iter::repeat_n(Piece::Any, any));
                    if dots % 2 == 1 {
                        self.0.push(Piece::Rest);
                    }
                    at += dots;
                }
                '{' => {
                    let Some(length) = characters[at..].iter().position(|c| *c == '}') else {
                        return error("a brace that is not closed".into(), "{NAME} or {NAME:N}");
                    };
                    let inside: String = characters[at + 1..at + length].iter().collect();
                    match Self::braces(&inside) {
                        Some(piece) => self.0.push(piece),
                        None => {
                            return error(
                                format!("{{{inside}}}"),
                                "{NAME}, {#NAME}, {NAME:N} with N from 1 to 65536, or {NAME:*}",
                            );
                        }
                    }
                    at += length + 1;
                }
                c => {
                    let digits = (c.to_digit(16), characters.get(at + 1).and_then(|c| c.to_digit(16)));
                    let (Some(high), Some(low)) = digits else {
                        let shown: String = characters[at..].iter().take(2).collect();
                        return error(format!("\"{shown}\""), "two hexadecimal digits, .., ..., {NAME} or {NAME:N}");
                    };
                    let byte = u8::try_from(high << 4 | low).unwrap_or(0);
                    match self.0.last_mut() {
                        Some(Piece::Bytes(bytes)) => bytes.push(byte),
                        _ => self.0.push(Piece::Bytes(vec![byte])),
                    }
                    at += 2;
                }
            }
        }
        Ok(())
    }

    fn braces(inside: &str) -> Option<Piece> {
        if let Some((name, length)) = inside.split_once(':') {
            let name = super::parse::name(name)?;
            return match length {
                "*" => Some(Piece::CaptureRest(name)),
                n => match n.parse() {
                    Ok(n @ 1..=MAX_CAPTURE) => Some(Piece::Capture(name, n)),
                    _ => None,
                },
            };
        }
        match inside.strip_prefix('#') {
            Some(name) => super::parse::name(name).map(Piece::Length),
            None => super::parse::name(inside).map(Piece::Value),
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.0.last(), Some(Piece::Rest | Piece::CaptureRest(_)))
    }

    /// Matches `bytes` whole. `value` gives the bytes of a name, `capture` takes what names become, in order; a name that was captured can be
    /// used further on in the same pattern, so `capture` is called as soon as its bytes are known.
    ///
    /// # Errors
    /// [`Mismatch`] at the first byte that does not fit. What was captured before it stays captured.
    pub fn matches<E: From<Mismatch>>(&self, bytes: &[u8], values: &mut dyn Values<E>) -> Result<(), E> {
        let mut at = 0;
        for piece in &self.0 {
            let rest = bytes.get(at..).unwrap_or_default();
            let too_short = |wanted: usize| Mismatch {
                at: bytes.len(),
                what: format!(
                    "the answer ends after {} bytes, {wanted} more are expected there",
                    rest.len().min(bytes.len())
                ),
            };
            match piece {
                Piece::Bytes(expected) => at += literal(expected, rest, at)?,
                Piece::Value(name) => at += literal(&values.get(name)?, rest, at)?,
                Piece::Length(name) => {
                    let length = values.get(name)?.len();
                    at += literal(&[u8::try_from(length).unwrap_or(u8::MAX)], rest, at)?;
                }
                Piece::Any if rest.is_empty() => return Err(too_short(1).into()),
                Piece::Any => at += 1,
                Piece::Rest => at = bytes.len(),
                Piece::Capture(name, length) => {
                    let Some(taken) = rest.get(..*length) else {
                        return Err(too_short(length - rest.len()).into());
                    };
                    values.set(name, taken);
                    at += length;
                }
                Piece::CaptureRest(name) => {
                    values.set(name, rest);
                    at = bytes.len();
                }
            }
        }
        if at < bytes.len() {
            let what = format!("{} bytes more than expected", bytes.len() - at);
            return Err(Mismatch { at, what }.into());
        }
        Ok(())
    }
}

fn literal(expected: &[u8], rest: &[u8], at: usize) -> Result<usize, Mismatch> {
    for (n, expected) in expected.iter().enumerate() {
        let what = match rest.get(n) {
            Some(got) if got == expected => continue,
            Some(got) => format!("expected {expected:02X}, got {got:02X}"),
            None => format!("expected {expected:02X}, and the answer ends here"),
        };
        return Err(Mismatch { at: at + n, what });
    }
    Ok(expected.len())
}

/// Names and what they are.
pub trait Values<E> {
    /// The bytes of a name.
    ///
    /// # Errors
    /// It has none.
    fn get(&self, name: &str) -> Result<Vec<u8>, E>;

    /// A name becomes these bytes.
    fn set(&mut self, name: &Arc<str>, bytes: &[u8]);
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02X}")),
            Piece::Any => f.write_str(".."),
            Piece::Rest => f.write_str("..."),
            Piece::Capture(name, n) => write!(f, "{{{name}:{n}}}"),
            Piece::CaptureRest(name) => write!(f, "{{{name}:*}}"),
            Piece::Value(name) => write!(f, "{{{name}}}"),
            Piece::Length(name) => write!(f, "{{#{name}}}"),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Map(BTreeMap<String, Vec<u8>>);

    impl Values<Mismatch> for Map {
        fn get(&self, name: &str) -> Result<Vec<u8>, Mismatch> {
            self.0.get(name).cloned().ok_or(Mismatch {
                at: 0,
                what: "no value".into(),
            })
        }
        fn set(&mut self, name: &Arc<str>, bytes: &[u8]) {
            self.0.insert(name.to_string(), bytes.to_vec());
        }
    }

    fn pattern(text: &str) -> Pattern {
        let mut pattern = Pattern::default();
        text.split(' ').for_each(|word| pattern.push(word).unwrap());
        pattern
    }

    fn at(text: &str, hex: &str) -> Result<Map, usize> {
        let mut map = Map::default();
        pattern(text).matches(&hex::decode(hex).unwrap(), &mut map).map_err(|m| m.at)?;
        Ok(map)
    }

    #[test]
    fn matching() {
        assert!(at("6F .. 84", "6f1184").is_ok());
        assert_eq!(at("6F .. 84", "6f1185").err(), Some(2));
        assert_eq!(at("6F", "6f00").err(), Some(1));
        assert_eq!(at("6F00", "6f").err(), Some(1));
        assert!(at("6F...", "6f").is_ok() && at("6F...", "6f0102").is_ok());
        assert!(at("......6F", "0102036f").is_ok());
        assert!(at("6F.....", "6f01").is_ok() && at("6F.....", "6f").is_err());
        assert_eq!(at("{a:2}FF{b:*}", "0102ff0304").unwrap().0["b"], [3, 4]);
        assert!(at("{a:2}{a}", "01020102").is_ok());
        assert_eq!(at("{a:2}{a}", "01020103").err(), Some(3));
        assert!(at("{a:2}{#a}", "010202").is_ok());
        assert_eq!(at("{a:4}", "0102").err(), Some(2));
    }

    #[test]
    fn bad_patterns() {
        for (text, position) in [
            ("6", 0),
            ("6F.", 2),
            ("zz", 0),
            ("{", 0),
            ("{a:0}", 0),
            ("{a:99999}", 0),
            ("...00", 3),
            ("{1a}", 0),
        ] {
            assert_eq!(Pattern::default().push(text).unwrap_err().at, position, "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text: String, bytes: Vec<u8>) {
            let mut pattern = Pattern::default();
            if pattern.push(&text).is_ok() {
                let _ = pattern.matches(&bytes, &mut Map::default());
            }
        }

        #[test]
        fn bytes_match_themselves_and_round_trip(bytes in proptest::collection::vec(any::<u8>(), 1..50)) {
            let pattern = pattern(&hex::encode(&bytes));
            prop_assert!(pattern.matches(&bytes, &mut Map::default()).is_ok());
            prop_assert_eq!(pattern.to_string(), hex::encode_upper(&bytes));
        }
    }
}
