//! Words of a line, with their columns.
//!
//! A word ends at white space; what stands between double quotes or between braces is of one word. `#` outside of both begins a comment, `;`
//! ends a step as a line break does, and `{` and `}` alone are words that begin and end a block.

/// A piece of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its text; quotes are taken away.
    pub text: String,
    /// Where it begins, in characters, from 1.
    pub column: usize,
    /// Whether it stood in quotes, so that nothing in it has a meaning.
    pub quoted: bool,
}

/// What is wrong with a line before its words mean anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LexError {
    /// Where, in characters, from 1.
    pub column: usize,
    /// What was found.
    pub found: &'static str,
    /// What was expected.
    pub expected: &'static str,
}

/// The words of one line, as steps: `;` divides them. Never panics.
///
/// # Errors
/// A quote or a brace that is not closed in the line, and a control character.
pub fn words(line: &str) -> Result<Vec<Vec<Word>>, LexError> {
    let mut steps = vec![Vec::new()];
    let mut characters = line.chars().enumerate().map(|(n, c)| (n + 1, c)).peekable();
    while let Some(&(column, c)) = characters.peek() {
        match c {
            '#' => break,
            c if c.is_whitespace() => {
                characters.next();
            }
            ';' => {
                characters.next();
                steps.push(Vec::new());
            }
            _ => {
                let word = word(column, &mut characters)?;
                // A block ends without `;` before its brace.
                if let Some(last) = steps.last_mut() {
                    last.push(word);
                }
            }
        }
    }
    steps.retain(|step| !step.is_empty());
    Ok(steps)
}

/// How many blocks this text leaves open; 0 where a line cannot be read, which is said when it is parsed.
#[must_use]
pub fn open_blocks(text: &str) -> usize {
    let mut open = 0_usize;
    for line in text.lines() {
        let Ok(steps) = words(line) else { return 0 };
        for word in steps.iter().flatten().filter(|word| !word.quoted) {
            match word.text.as_str() {
                "{" => open += 1,
                "}" => open = open.saturating_sub(1),
                _ => {}
            }
        }
    }
    open
}

fn word(column: usize, characters: &mut std::iter::Peekable<impl Iterator<Item = (usize, char)>>) -> Result<Word, LexError> {
    let mut word = Word {
        text: String::new(),
        column,
        quoted: false,
    };
    while let Some(&(at, c)) = characters.peek() {
        match c {
            c if c.is_whitespace() => break,
            ';' | '#' => break,
            '"' => {
                characters.next();
                word.quoted = true;
                loop {
                    match characters.next() {
                        Some((_, '"')) => break,
                        Some((_, c)) => word.text.push(c),
                        None => {
                            return Err(LexError {
                                column: at,
                                found: "a quote that is not closed",
                                expected: "another \" in the same line",
                            });
                        }
                    }
                }
            }
            '{' => {
                characters.next();
                // A brace with white space behind it begins a block.
                if characters.peek().is_none_or(|(_, next)| next.is_whitespace()) {
                    if word.text.is_empty() && !word.quoted {
                        word.text.push('{');
                        return Ok(word);
                    }
                    return Err(LexError {
                        column: at,
                        found: "a brace with nothing behind it",
                        expected: "white space before { where a block begins, or {NAME}",
                    });
                }
                word.text.push('{');
                loop {
                    match characters.next() {
                        Some((_, '}')) => break,
                        Some((_, c)) if c.is_alphanumeric() || "_-:#*.".contains(c) => word.text.push(c),
                        _ => {
                            return Err(LexError {
                                column: at,
                                found: "a brace that is not closed",
                                expected: "{NAME} for a value, {NAME:N} to capture, or \"{ \" where a block begins",
                            });
                        }
                    }
                }
                word.text.push('}');
            }
            '}' => {
                if word.text.is_empty() && !word.quoted {
                    characters.next();
                    word.text.push('}');
                    return Ok(word);
                }
                break;
            }
            c if c.is_control() => {
                return Err(LexError {
                    column: at,
                    found: "a control character",
                    expected: "plain text",
                });
            }
            c => {
                characters.next();
                word.text.push(c);
            }
        }
    }
    Ok(word)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts(line: &str) -> Vec<Vec<String>> {
        let steps = words(line).unwrap();
        steps.into_iter().map(|s| s.into_iter().map(|w| w.text).collect()).collect()
    }

    #[test]
    fn words_blocks_and_comments() {
        assert_eq!(texts("  select {aid} # the door"), [["select", "{aid}"]]);
        assert_eq!(
            texts("for x in A B { reset; apdu {x} }").concat(),
            ["for", "x", "in", "A", "B", "{", "reset", "apdu", "{x}", "}"]
        );
        assert_eq!(texts("note \"a # b; {c}\""), [["note", "a # b; {c}"]]);
        assert_eq!(texts("expect data 00{rp:16}..{t}"), [["expect", "data", "00{rp:16}..{t}"]]);
        assert!(texts("# nothing").is_empty());
        assert_eq!(words("a  bc").unwrap()[0][1].column, 4);
        assert_eq!(words("é \"x\"").unwrap()[0][1].column, 3);
    }

    #[test]
    fn what_is_not_closed() {
        for (line, column) in [
            ("note \"a", 6),
            ("apdu 00{x", 8),
            ("apdu {x y}", 6),
            ("apdu 00{ x", 8),
            ("a\u{1}", 2),
        ] {
            assert_eq!(words(line).unwrap_err().column, column, "{line:?}");
        }
    }
}
