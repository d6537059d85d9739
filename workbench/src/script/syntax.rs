//! What a script is made of.

use std::sync::Arc;
use std::time::Duration;

use tapdoor_protocol::door::Reason;
use tapdoor_protocol::status::StatusWord;

use super::pattern::Pattern;

/// A script that was read, with everything that it includes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// The file, or `suite:NAME`.
    pub name: Arc<str>,
    /// Its steps.
    pub steps: Vec<Step>,
}

/// Where a step stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, or `suite:NAME`.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Where.
    pub place: Place,
    /// As it was written, for reports.
    pub text: Arc<str>,
    /// What.
    pub kind: Kind,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `test NAME`: the steps up to the next one are a test case of this name.
    Test(Text),
    /// `select AID [p2 XX]`
    Select {
        /// The AID in hexadecimal, or a name.
        aid: Text,
        /// P2.
        p2: u8,
    },
    /// `apdu HEX`
    Apdu(Text),
    /// `expect ...`
    Expect(Expect),
    /// `let NAME = VALUE`, `default NAME = VALUE`
    Let {
        /// Which.
        name: Arc<str>,
        /// What it becomes.
        value: Value,
        /// `default NAME = VALUE`: only if it is nothing yet.
        only_new: bool,
    },
    /// `reset`
    Reset,
    /// `auth [METHOD]`
    Auth(Text),
    /// `wait card [TIME]`
    WaitCard(Option<Duration>),
    /// `wait removal [TIME]`
    WaitRemoval(Option<Duration>),
    /// `wait TIME`
    Pause(Duration),
    /// `note TEXT`
    Note(Text),
    /// `fail TEXT`
    Fail(Text),
    /// `include FILE`, with what was in it.
    Include(Vec<Step>),
    /// `for NAME in VALUE.. { .. }`
    For {
        /// Which name.
        name: Arc<str>,
        /// What it is, one after the other.
        values: Vec<Text>,
        /// What is done each time.
        body: Vec<Step>,
    },
    /// `skip unless CONDITION`, `skip if CONDITION`, `skip`
    Skip {
        /// Skips when the condition is so.
        when: bool,
        /// The condition.
        condition: Condition,
    },
}

/// What `expect` judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// `expect sw 9000 61xx`
    Sw(Vec<SwPattern>),
    /// `expect data PATTERN`
    Data(Pattern),
    /// `expect tag PATH [PATTERN]`
    Tag {
        /// The path, from the outside.
        path: Vec<u32>,
        /// Its content, if that matters.
        value: Option<Pattern>,
    },
    /// `expect no tag PATH`
    NoTag(Vec<u32>),
    /// `expect length < 20`
    Length(Comparison, usize),
    /// `expect time < 50ms`
    Time(Comparison, Duration),
    /// `expect open`
    Open,
    /// `expect fail CODE`
    Fail(Reason),
    /// `expect equal A B`
    Equal(Text, Text),
    /// `expect different A B`
    Different(Text, Text),
}

/// How two quantities are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    AtMost,
    /// `=`
    Equal,
    /// `>=`
    AtLeast,
    /// `>`
    More,
}

impl Comparison {
    /// As it is written.
    pub const ALL: [(&'static str, Self); 5] = [
        ("<=", Self::AtMost),
        (">=", Self::AtLeast),
        ("<", Self::Less),
        (">", Self::More),
        ("=", Self::Equal),
    ];

    /// Whether it holds.
    pub fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::Equal => left == right,
            Self::AtLeast => left >= right,
            Self::More => left > right,
        }
    }

    /// As it is written.
    #[must_use]
    pub fn sign(self) -> &'static str {
        Self::ALL.iter().find(|(_, c)| *c == self).map_or("=", |(sign, _)| sign)
    }
}

/// What a name is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Hexadecimal or a word, values filled in.
    Text(Text),
    /// `data` or `data[FROM..TO]`: bytes of the last answer, status word not among them.
    Data {
        /// The first one.
        from: usize,
        /// Behind the last one.
        to: Option<usize>,
    },
    /// `sw`
    Sw,
    /// `tag PATH`: its content in the last answer.
    Tag(Vec<u32>),
    /// `random N`
    Random(usize),
}

/// What `skip` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always so.
    Always,
    /// `method NAME`: it is among the methods of lock.toml.
    Method(Text),
    /// `application AID`: SELECT is not answered 6A82.
    Application(Text),
    /// `config`: there is a lock.toml.
    Config,
    /// `set NAME`: the name has a value.
    Set(Arc<str>),
    /// `reader KIND`: pcsc, sim, ...
    Reader(Text),
    /// `empty`: the last answer has no data.
    Empty,
    /// `sw PATTERN`: of the last answer.
    Sw(SwPattern),
}

/// Text in which values are filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<Part>);

/// A part of [`Text`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// As it stands.
    Plain(String),
    /// `{NAME}`
    Value(Arc<str>),
    /// `{#NAME}`: how many bytes it has, in one byte.
    Length(Arc<str>),
}

impl Text {
    /// The text, if nothing is filled in.
    #[must_use]
    pub fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [] => Some(""),
            [Part::Plain(text)] => Some(text),
            _ => None,
        }
    }
}

/// Four digits of a status word, `x` for any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwPattern {
    value: u16,
    mask: u16,
}

impl SwPattern {
    /// Reads four hexadecimal digits, `x` or `X` for any.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.chars().count() != 4 {
            return None;
        }
        let (mut value, mut mask) = (0, 0);
        for c in text.chars() {
            let (digit, known) = match c {
                'x' | 'X' => (0, 0),
                c => (u16::try_from(c.to_digit(16)?).ok()?, 0xF),
            };
            value = value << 4 | digit;
            mask = mask << 4 | known;
        }
        Some(Self { value, mask })
    }

    /// Whether this one is meant.
    #[must_use]
    pub fn matches(self, sw: StatusWord) -> bool {
        sw.0 & self.mask == self.value
    }
}

impl std::fmt::Display for SwPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for shift in [12, 8, 4, 0] {
            if self.mask >> shift & 0xF == 0 {
                f.write_str("x")?;
            } else {
                write!(f, "{:X}", self.value >> shift & 0xF)?;
            }
        }
        Ok(())
    }
}
