//! Text to steps. Errors name file, line, column and what was expected; nothing here panics or reads files.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tapdoor_protocol::door::Reason;

use super::lex::{self, Word};
use super::pattern::Pattern;
use super::syntax::{Comparison, Condition, Expect, Kind, Part, Place, Script, Step, SwPattern, Text, Value};

/// How deep blocks may stand in each other.
const MAX_DEPTH: usize = 16;
/// Most bytes of `random N`.
const MAX_RANDOM: usize = 65_535;
/// The longest time that may be waited or compared with.
const MAX_SECONDS: f64 = 86_400.0;

/// What `auth` and `skip .. method` take; which method each word is, the step `auth` knows.
pub(crate) const METHODS: [&str; 6] = ["challenge-response", "aka", "usim", "aliro", "aka-milenage", "aka-tuak"];

const STEPS: &str = "a step: select, apdu, expect, let, default, reset, auth, wait, include, for, skip, test, note or fail";
const EXPECTS: &str = "sw, data, tag, no tag, length, time, open, fail, equal or different";

/// What is wrong with a script, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where.
    pub place: Place,
    /// What was found there.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { file, line, column } = &self.place;
        write!(f, "{file}:{line}:{column}: found {}; expected {}", self.found, self.expected)
    }
}

impl std::error::Error for ParseError {}

/// What `include` says, for whoever fetches files: the step's place, and the name. Errors are those of the included text.
pub type Include<'a> = dyn FnMut(&Place, &str) -> Result<Vec<Step>, super::LoadError> + 'a;

/// Reads a script. `include` gives the steps of another.
///
/// # Errors
/// [`super::LoadError`]: the first thing that is wrong.
pub fn parse(name: &Arc<str>, text: &str, include: &mut Include<'_>) -> Result<Script, super::LoadError> {
    let tokens = tokens(name, text)?;
    let mut parser = Parser {
        file: name.clone(),
        lines: text.lines().map(|line| line.trim().into()).collect(),
        tokens,
        at: 0,
        include,
    };
    let steps = parser.block(0)?;
    Ok(Script { name: name.clone(), steps })
}

/// A word, or the end of a step.
struct Token {
    line: usize,
    word: Option<Word>,
}

fn tokens(file: &Arc<str>, text: &str) -> Result<Vec<Token>, ParseError> {
    let mut tokens = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (number, line) in text.lines().enumerate() {
        let line_number = number + 1;
        let steps = lex::words(line).map_err(|e| ParseError {
            place: Place {
                file: file.clone(),
                line: line_number,
                column: e.column,
            },
            found: e.found.into(),
            expected: e.expected.into(),
        })?;
        for words in steps {
            tokens.extend(words.into_iter().map(|word| Token {
                line: line_number,
                word: Some(word),
            }));
            tokens.push(Token {
                line: line_number,
                word: None,
            });
        }
    }
    Ok(tokens)
}

struct Parser<'a, 'b> {
    file: Arc<str>,
    lines: Vec<Arc<str>>,
    tokens: Vec<Token>,
    at: usize,
    include: &'a mut Include<'b>,
}

/// The words of one step.
struct Words<'a> {
    file: &'a Arc<str>,
    line: usize,
    /// Column behind the last word.
    end: usize,
    words: std::slice::Iter<'a, Word>,
}

impl Parser<'_, '_> {
    fn block(&mut self, depth: usize) -> Result<Vec<Step>, super::LoadError> {
        let mut steps = Vec::new();
        loop {
            let Some(token) = self.tokens.get(self.at) else {
                if depth > 0 {
                    let line = self.lines.len().max(1);
                    return Err(self.error(line, 1, "the end of the script", "} for the block that is open").into());
                }
                return Ok(steps);
            };
            let line = token.line;
            match &token.word {
                None => self.at += 1,
                Some(word) if is(word, "}") => {
                    if depth == 0 {
                        let column = word.column;
                        return Err(self.error(line, column, "} without a block", STEPS).into());
                    }
                    self.at += 1;
                    return Ok(steps);
                }
                Some(_) => steps.push(self.step(depth)?),
            }
        }
    }

    fn error(&self, line: usize, column: usize, found: impl Into<String>, expected: impl Into<String>) -> ParseError {
        ParseError {
            place: Place {
                file: self.file.clone(),
                line,
                column,
            },
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// Takes the words of a step: up to its end, or to a brace.
    fn take(&mut self) -> (usize, Vec<Word>) {
        let line = self.tokens.get(self.at).map_or(1, |token| token.line);
        let mut words = Vec::new();
        while let Some(Token { word: Some(word), .. }) = self.tokens.get(self.at) {
            if is(word, "{") || is(word, "}") {
                break;
            }
            words.push(word.clone());
            self.at += 1;
        }
        (line, words)
    }

    fn step(&mut self, depth: usize) -> Result<Step, super::LoadError> {
        let (line, words) = self.take();
        let Some(first) = words.first() else {
            let column = self.tokens.get(self.at).and_then(|t| t.word.as_ref()).map_or(1, |w| w.column);
            return Err(self.error(line, column, "{ without a for", STEPS).into());
        };
        let place = Place {
            file: self.file.clone(),
            line,
            column: first.column,
        };
        let text = self.lines.get(line - 1).cloned().unwrap_or_else(|| "".into());
        let last = words.last().map_or(1, |w| w.column + w.text.chars().count());
        let file = self.file.clone();
        let mut rest = Words {
            file: &file,
            line,
            end: last,
            words: words.get(1..).unwrap_or_default().iter(),
        };
        let kind = match first.text.as_str() {
            _ if first.quoted => return Err(rest.wrong(first, STEPS).into()),
            "for" => return self.for_loop(place, text, rest, depth),
            "include" => {
                let word = rest.next("a file, or suite:NAME")?;
                rest.done("nothing more")?;
                Kind::Include((self.include)(&rest.place(word.column), &word.text)?)
            }
            _ => rest.simple(first)?,
        };
        if let Some(Token { line, word: Some(word) }) = self.tokens.get(self.at)
            && is(word, "{")
        {
            return Err(self
                .error(*line, word.column, "{", "the end of the step; only for has a block")
                .into());
        }
        Ok(Step { place, text, kind })
    }

    fn for_loop(&mut self, place: Place, text: Arc<str>, mut rest: Words<'_>, depth: usize) -> Result<Step, super::LoadError> {
        const FORM: &str = "for NAME in VALUE.. { STEPS }";
        let name = rest.name(FORM)?;
        rest.keyword("in", FORM)?;
        let values = rest.by_ref().map(|word| rest_text(&place, word)).collect::<Result<Vec<_>, _>>()?;
        let (line, column) = self.tokens.get(self.at).map_or((place.line, rest.end), |t| {
            (t.line, t.word.as_ref().map_or(rest.end, |word| word.column))
        });
        if depth == MAX_DEPTH {
            return Err(self
                .error(
                    line,
                    column,
                    "a block in a block in a block",
                    format!("at most {MAX_DEPTH} of them"),
                )
                .into());
        }
        match self.tokens.get(self.at).and_then(|t| t.word.as_ref()) {
            Some(word) if is(word, "{") => self.at += 1,
            _ => return Err(self.error(line, column, "no {", FORM).into()),
        }
        let body = self.block(depth + 1)?;
        Ok(Step {
            place,
            text,
            kind: Kind::For { name, values, body },
        })
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a Word;

    fn next(&mut self) -> Option<&'a Word> {
        self.words.next()
    }
}

impl<'a> Words<'a> {
    fn error(&self, column: usize, found: impl Into<String>, expected: impl Into<String>) -> ParseError {
        ParseError {
            place: Place {
                file: self.file.clone(),
                line: self.line,
                column,
            },
            found: found.into(),
            expected: expected.into(),
        }
    }

    fn wrong(&self, word: &Word, expected: impl Into<String>) -> ParseError {
        self.error(word.column, format!("\"{}\"", shorten(&word.text)), expected)
    }

    fn next(&mut self, expected: &str) -> Result<&'a Word, ParseError> {
        self.words
            .next()
            .ok_or_else(|| self.error(self.end, "the end of the step", expected))
    }

    fn keyword(&mut self, keyword: &str, expected: &str) -> Result<(), ParseError> {
        let word = self.next(expected)?;
        if is(word, keyword) {
            Ok(())
        } else {
            Err(self.wrong(word, expected))
        }
    }

    fn done(&mut self, expected: &str) -> Result<(), ParseError> {
        match self.words.next() {
            None => Ok(()),
            Some(word) => Err(self.wrong(word, expected)),
        }
    }

    fn name(&mut self, expected: &str) -> Result<Arc<str>, ParseError> {
        let word = self.next(expected)?;
        name(&word.text).ok_or_else(|| self.wrong(word, format!("a name (a letter, then letters, digits, - and _): {expected}")))
    }

    fn place(&self, column: usize) -> Place {
        Place {
            file: self.file.clone(),
            line: self.line,
            column,
        }
    }

    fn text(&mut self, expected: &str) -> Result<Text, ParseError> {
        let word = self.next(expected)?;
        rest_text(&self.place(word.column), word)
    }

    /// A method by its name; which one a value names is known later.
    fn method(&mut self) -> Result<Text, ParseError> {
        let expected = format!("one of {}", METHODS.join(", "));
        let word = self.next(&expected)?;
        let text = rest_text(&self.place(word.column), word)?;
        match text.0.as_slice() {
            [Part::Plain(name)] if !METHODS.contains(&name.as_str()) => Err(self.wrong(word, expected)),
            _ => Ok(text),
        }
    }

    /// The words that are left.
    fn left(&mut self) -> std::slice::Iter<'a, Word> {
        std::mem::replace(&mut self.words, [].iter())
    }

    /// All that is left, with one space between words.
    fn sentence(&mut self) -> Result<Text, ParseError> {
        let mut out = Text::default();
        for word in self.left() {
            if !out.0.is_empty() {
                out.0.push(Part::Plain(" ".into()));
            }
            out.0.extend(rest_text(&self.place(word.column), word)?.0);
        }
        Ok(out)
    }

    /// All that is left is hexadecimal digits, in which values may be filled in.
    fn hex(&mut self, expected: &str) -> Result<Text, ParseError> {
        let mut out = Text::default();
        let (mut digits, mut any) = (0, false);
        let mut last = self.end;
        for word in self.left() {
            any = true;
            last = word.column;
            let text = rest_text(&self.place(word.column), word)?;
            for part in text.0 {
                if let Part::Plain(plain) = &part {
                    if let Some(at) = plain.chars().position(|c| !c.is_ascii_hexdigit() && c != ':') {
                        let column = word.column + if word.text.starts_with(plain.as_str()) { at } else { 0 };
                        return Err(self.error(column, format!("\"{}\"", shorten(&word.text)), expected));
                    }
                    digits += plain.chars().filter(char::is_ascii_hexdigit).count();
                } else if digits % 2 != 0 {
                    return Err(self.error(word.column, "an odd number of digits before a value", expected));
                }
                out.0.push(part);
            }
        }
        if !any {
            return Err(self.error(self.end, "the end of the step", expected));
        }
        if digits % 2 != 0 {
            return Err(self.error(last, "an odd number of hexadecimal digits", expected));
        }
        Ok(out)
    }

    fn time(&mut self, expected: &str) -> Result<Duration, ParseError> {
        let word = self.next(expected)?;
        time(&word.text).ok_or_else(|| self.wrong(word, expected))
    }

    fn comparison(&mut self, expected: &str) -> Result<(Comparison, String, usize), ParseError> {
        let word = self.next(expected)?;
        let found = Comparison::ALL
            .iter()
            .find_map(|(sign, c)| Some((*c, word.text.strip_prefix(sign)?)));
        let Some((comparison, rest)) = found else {
            return Err(self.wrong(word, expected));
        };
        // The quantity may stand right behind the sign.
        if rest.is_empty() {
            let word = self.next(expected)?;
            return Ok((comparison, word.text.clone(), word.column));
        }
        Ok((comparison, rest.to_owned(), word.column))
    }

    fn tags(&mut self, expected: &str) -> Result<Vec<u32>, ParseError> {
        let word = self.next(expected)?;
        let tags: Option<Vec<u32>> = word.text.split('/').map(tag).collect();
        tags.ok_or_else(|| self.wrong(word, expected))
    }

    fn pattern(&mut self) -> Result<Pattern, ParseError> {
        let mut pattern = Pattern::default();
        for word in self.left() {
            pattern
                .push(&word.text)
                .map_err(|e| self.error(word.column + e.at, e.found, e.expected))?;
        }
        Ok(pattern)
    }

    fn simple(&mut self, first: &Word) -> Result<Kind, ParseError> {
        let kind = match first.text.as_str() {
            "test" => Kind::Test(self.some_sentence("test NAME")?),
            "note" => Kind::Note(self.sentence()?),
            "fail" => Kind::Fail(self.some_sentence("fail WHY")?),
            "select" => self.select()?,
            "apdu" => Kind::Apdu(self.hex("an APDU in hexadecimal, {NAME} for a value, {#NAME} for its length")?),
            "expect" => Kind::Expect(self.expect()?),
            "let" | "default" => {
                const FORM: &str = "NAME = VALUE";
                let name = self.name(FORM)?;
                self.keyword("=", FORM)?;
                Kind::Let {
                    name,
                    value: self.value()?,
                    only_new: first.text == "default",
                }
            }
            "reset" => Kind::Reset,
            "auth" => match self.words.as_slice() {
                [] => Kind::Auth(Text::default()),
                _ => Kind::Auth(self.method()?),
            },
            "wait" => self.wait()?,
            "skip" => self.skip()?,
            _ => return Err(self.wrong(first, STEPS)),
        };
        self.done("the end of the step")?;
        Ok(kind)
    }

    fn some_sentence(&mut self, expected: &str) -> Result<Text, ParseError> {
        let sentence = self.sentence()?;
        if sentence.0.is_empty() {
            return Err(self.error(self.end, "the end of the step", expected));
        }
        Ok(sentence)
    }

    fn select(&mut self) -> Result<Kind, ParseError> {
        const FORM: &str = "select AID, or select AID p2 XX; an AID is 5 to 16 bytes in hexadecimal, or a name such as aka";
        let word = self.next(FORM)?;
        let aid = rest_text(&self.place(word.column), word)?;
        if let Some(plain) = aid.plain()
            && crate::names::aid(plain).is_none()
        {
            return Err(self.wrong(word, format!("an AID in hexadecimal or one of {}", crate::names::short())));
        }
        let p2 = match self.words.next() {
            None => 0,
            Some(word) if is(word, "p2") => {
                let word = self.next(FORM)?;
                match hex::decode(&word.text).as_deref() {
                    Ok([p2]) => *p2,
                    _ => return Err(self.wrong(word, "P2: two hexadecimal digits")),
                }
            }
            Some(word) => return Err(self.wrong(word, FORM)),
        };
        Ok(Kind::Select { aid, p2 })
    }

    fn expect(&mut self) -> Result<Expect, ParseError> {
        const TIME: &str = "expect time < 50ms; the signs are < <= = >= >, the units us, ms, s";
        const LENGTH: &str = "expect length < N; the signs are < <= = >= >";
        const TAG: &str = "tags in hexadecimal from the outside, as 6F/A5/80";
        let word = self.next(EXPECTS)?;
        Ok(match word.text.as_str() {
            "sw" => {
                const SW: &str = "four hexadecimal digits, x for any, as 9000 or 61xx";
                let mut patterns = Vec::new();
                for word in self.left() {
                    // "9000 or 61xx" reads better.
                    if is(word, "or") && !patterns.is_empty() {
                        continue;
                    }
                    match SwPattern::parse(&word.text) {
                        Some(pattern) => patterns.push(pattern),
                        None => return Err(self.wrong(word, SW)),
                    }
                }
                if patterns.is_empty() {
                    return Err(self.error(self.end, "the end of the step", SW));
                }
                Expect::Sw(patterns)
            }
            "data" => Expect::Data(self.pattern()?),
            "tag" => {
                let path = self.tags(TAG)?;
                let value = match self.words.as_slice() {
                    [] => None,
                    _ => Some(self.pattern()?),
                };
                Expect::Tag { path, value }
            }
            "no" => {
                self.keyword("tag", "expect no tag PATH")?;
                Expect::NoTag(self.tags(TAG)?)
            }
            "length" => {
                let (comparison, quantity, column) = self.comparison(LENGTH)?;
                let length = quantity
                    .parse()
                    .map_err(|_| self.error(column, format!("\"{}\"", shorten(&quantity)), LENGTH))?;
                Expect::Length(comparison, length)
            }
            "time" => {
                let (comparison, quantity, column) = self.comparison(TIME)?;
                let limit = time(&quantity).ok_or_else(|| self.error(column, format!("\"{}\"", shorten(&quantity)), TIME))?;
                Expect::Time(comparison, limit)
            }
            "open" => Expect::Open,
            "fail" => {
                let word = self.next("a reason, such as wrong-key")?;
                let reason = Reason::ALL.into_iter().find(|r| r.name() == word.text);
                Expect::Fail(reason.ok_or_else(|| {
                    let all: Vec<&str> = Reason::ALL.iter().map(|r| r.name()).collect();
                    self.wrong(word, format!("one of {}", all.join(", ")))
                })?)
            }
            "equal" => Expect::Equal(self.text("expect equal A B")?, self.text("expect equal A B")?),
            "different" => Expect::Different(self.text("expect different A B")?, self.text("expect different A B")?),
            _ => return Err(self.wrong(word, EXPECTS)),
        })
    }

    fn value(&mut self) -> Result<Value, ParseError> {
        const FORM: &str = "a value: hexadecimal, a word, data, data[FROM..TO], sw, tag PATH or random N";
        let Some(word) = self.words.as_slice().first() else {
            return Err(self.error(self.end, "the end of the step", FORM));
        };
        match word.text.as_str() {
            _ if word.quoted => self.sentence().map(Value::Text),
            "sw" => {
                self.words.next();
                Ok(Value::Sw)
            }
            "tag" => {
                self.words.next();
                Ok(Value::Tag(self.tags("tags in hexadecimal from the outside, as 6F/A5/80")?))
            }
            "random" => {
                self.words.next();
                let word = self.next("how many bytes")?;
                match word.text.parse() {
                    Ok(n @ 1..=MAX_RANDOM) => Ok(Value::Random(n)),
                    _ => Err(self.wrong(word, format!("a number from 1 to {MAX_RANDOM}"))),
                }
            }
            text if text == "data" || text.starts_with("data[") => {
                self.words.next();
                range(text.strip_prefix("data").unwrap_or_default()).ok_or_else(|| self.wrong(word, "data, data[FROM..TO] or data[FROM..]"))
            }
            text if is_hex(text) => self.hex(FORM).map(Value::Text),
            _ => self.sentence().map(Value::Text),
        }
    }

    fn wait(&mut self) -> Result<Kind, ParseError> {
        const FORM: &str = "wait card, wait removal, or wait TIME as in wait 200ms; a TIME behind card or removal is the limit";
        let word = self.next(FORM)?;
        let limit = |words: &mut Self| match words.words.as_slice() {
            [] => Ok(None),
            _ => words.time(FORM).map(Some),
        };
        match word.text.as_str() {
            "card" => Ok(Kind::WaitCard(limit(self)?)),
            "removal" => Ok(Kind::WaitRemoval(limit(self)?)),
            text => time(text).map(Kind::Pause).ok_or_else(|| self.wrong(word, FORM)),
        }
    }

    fn skip(&mut self) -> Result<Kind, ParseError> {
        const FORM: &str = "skip, skip unless CONDITION or skip if CONDITION; conditions are method NAME, application AID, config, set NAME, reader KIND, sw PATTERN, empty";
        let when = match self.words.next() {
            None => {
                return Ok(Kind::Skip {
                    when: true,
                    condition: Condition::Always,
                });
            }
            Some(word) if is(word, "unless") => false,
            Some(word) if is(word, "if") => true,
            Some(word) => return Err(self.wrong(word, FORM)),
        };
        let word = self.next(FORM)?;
        let condition = match word.text.as_str() {
            "method" => Condition::Method(self.method()?),
            "application" => Condition::Application(self.text(FORM)?),
            "config" => Condition::Config,
            "empty" => Condition::Empty,
            "set" => Condition::Set(self.name(FORM)?),
            "reader" => Condition::Reader(self.text(FORM)?),
            "sw" => {
                let word = self.next(FORM)?;
                Condition::Sw(SwPattern::parse(&word.text).ok_or_else(|| self.wrong(word, "four hexadecimal digits, x for any"))?)
            }
            _ => return Err(self.wrong(word, FORM)),
        };
        Ok(Kind::Skip { when, condition })
    }
}

fn is(word: &Word, text: &str) -> bool {
    !word.quoted && word.text == text
}

fn is_hex(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_hexdigit() || c == ':') && text.chars().filter(char::is_ascii_hexdigit).count().is_multiple_of(2)
}

fn shorten(text: &str) -> String {
    let mut out: String = text.chars().take(40).collect();
    if out.len() < text.len() {
        out.push_str("..");
    }
    out
}

/// A name: a letter, then letters, digits, `-` and `_`. `None` if it is none.
#[must_use]
pub fn name(text: &str) -> Option<Arc<str>> {
    let mut characters = text.chars();
    let first = characters.next()?;
    let good = first.is_ascii_alphabetic() && characters.all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') && text.len() <= 64;
    good.then(|| text.into())
}

/// Time as it is written: `50ms`, `1.5s`, `200us`.
#[must_use]
pub fn time(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "s" => 1.0,
        "ms" => 1e-3,
        "us" => 1e-6,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * factor;
    (0.0..=MAX_SECONDS).contains(&seconds).then(|| Duration::from_secs_f64(seconds))
}

fn tag(text: &str) -> Option<u32> {
    let good = matches!(text.len(), 2 | 4 | 6) && text.bytes().all(|b| b.is_ascii_hexdigit());
    u32::from_str_radix(text, 16).ok().filter(|_| good)
}

fn range(text: &str) -> Option<Value> {
    if text.is_empty() {
        return Some(Value::Data { from: 0, to: None });
    }
    let (from, to) = text.strip_prefix('[')?.strip_suffix(']')?.split_once("..")?;
    let from = if from.is_empty() { 0 } else { from.parse().ok()? };
    let to = if to.is_empty() {
        None
    } else {
        Some(to.parse().ok().filter(|to| *to >= from)?)
    };
    Some(Value::Data { from, to })
}

/// Text with `{NAME}` and `{#NAME}` in it; what was in quotes stays as it is but for those.
fn rest_text(place: &Place, word: &Word) -> Result<Text, ParseError> {
    let mut out = Text::default();
    let mut rest = word.text.as_str();
    while let Some(open) = rest.find('{') {
        let (plain, after) = rest.split_at(open);
        let inside = after.find('}').and_then(|close| after.get(1..close).map(|inside| (inside, close)));
        let part = inside.and_then(|(inside, close)| {
            let part = match inside.strip_prefix('#') {
                Some(inside) => Part::Length(name(inside)?),
                None => Part::Value(name(inside)?),
            };
            Some((part, close))
        });
        let Some((part, close)) = part else {
            if word.quoted {
                // Braces in a sentence need not be names.
                let (brace, after) = rest.split_at(open + 1);
                out.0.push(Part::Plain(brace.into()));
                rest = after;
                continue;
            }
            return Err(ParseError {
                place: Place {
                    column: word.column,
                    ..place.clone()
                },
                found: format!("\"{}\"", shorten(&word.text)),
                expected: "{NAME} for a value or {#NAME} for its length".into(),
            });
        };
        if !plain.is_empty() {
            out.0.push(Part::Plain(plain.into()));
        }
        out.0.push(part);
        rest = after.get(close + 1..).unwrap_or_default();
    }
    if !rest.is_empty() || (out.0.is_empty() && word.quoted) {
        out.0.push(Part::Plain(rest.into()));
    }
    Ok(out)
}
