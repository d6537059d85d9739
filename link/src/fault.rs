//! [`Faulty`]: faults on purpose, the same ones every time, from a [`FaultPlan`].

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{CardLink, Limits, LinkError, LinkErrorKind};

/// How a lost APDU shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// As [`LinkErrorKind::Timeout`].
    #[default]
    Timeout,
    /// As [`LinkErrorKind::CardGone`].
    Gone,
}

impl Loss {
    const fn kind(self) -> LinkErrorKind {
        match self {
            Self::Timeout => LinkErrorKind::Timeout,
            Self::Gone => LinkErrorKind::CardGone,
        }
    }
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The card never sees the command.
    DropCommand(Loss),
    /// The card acts, and its answer is lost.
    DropAnswer(Loss),
    /// The card is gone, from this exchange on; it does not see this command.
    Tear,
    /// Flips one bit of the answer: bit 0 is the highest of the first byte. Counts round again behind the last bit.
    Corrupt {
        /// Which bit.
        bit: usize,
    },
    /// Cuts the answer to its first bytes. Below two bytes it is no answer any more: [`LinkErrorKind::Malformed`].
    Truncate {
        /// How many bytes are left.
        len: usize,
    },
    /// The card acts, and these bytes take the place of its answer. Fewer than two: [`LinkErrorKind::Malformed`].
    Replace {
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The card gets the command twice; the second answer counts.
    Duplicate,
    /// Waits before the command is sent.
    Delay(Duration),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lost = |f: &mut fmt::Formatter<'_>, name, loss: &Loss| match loss {
            Loss::Timeout => f.write_str(name),
            Loss::Gone => write!(f, "{name}=gone"),
        };
        match self {
            Self::DropCommand(loss) => lost(f, "drop-command", loss),
            Self::DropAnswer(loss) => lost(f, "drop-answer", loss),
            Self::Tear => f.write_str("tear"),
            Self::Corrupt { bit } => write!(f, "corrupt={bit}"),
            Self::Truncate { len } => write!(f, "truncate={len}"),
            Self::Replace { bytes } => {
                f.write_str("replace=")?;
                bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Duplicate => f.write_str("duplicate"),
            Self::Delay(time) => match time.subsec_nanos() % 1_000_000 {
                0 => write!(f, "delay={}ms", time.as_millis()),
                _ => write!(f, "delay={}us", time.as_micros()),
            },
        }
    }
}

/// Which faults happen at which exchange.
///
/// Its text is a list of `EXCHANGE:FAULT`, separated by commas; exchanges count from 1, and one can have several faults, which
/// happen in the order of the text:
///
/// | fault | what |
/// |---|---|
/// | `drop-command`, `drop-command=gone` | the card never sees it: time-out, or card gone |
/// | `drop-answer`, `drop-answer=gone` | the card acts, its answer is lost |
/// | `tear` | the card is gone from here on |
/// | `corrupt=BIT` | one bit of the answer flipped, 0 is the highest of the first byte |
/// | `truncate=LEN` | the answer cut to LEN bytes |
/// | `replace=HEX` | another answer |
/// | `duplicate` | the command reaches the card twice |
/// | `delay=TIME` | first waits: `5ms`, `200us`, `2s` |
///
/// ```
/// use tapdoor_link::FaultPlan;
///
/// let plan: FaultPlan = "2:tear, 3:corrupt=17".parse()?;
/// assert_eq!(plan.to_string(), "2:tear,3:corrupt=17");
/// let error = "2:tear,3:corrpt=17".parse::<FaultPlan>().unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "`3:corrpt=17`: no such fault; one of drop-command, drop-answer, tear, corrupt, truncate, replace, duplicate, delay"
/// );
/// # Ok::<(), tapdoor_link::fault::FaultPlanError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    entries: Vec<(u64, Fault)>,
}

impl FaultPlan {
    /// No faults.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new() }
    }

    /// Adds a fault at an exchange, counted from 1.
    #[must_use]
    pub fn at(mut self, exchange: u64, fault: Fault) -> Self {
        self.entries.push((exchange, fault));
        self
    }

    /// Whether no fault will ever happen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn of(&self, exchange: u64) -> impl Iterator<Item = &Fault> {
        self.entries
            .iter()
            .filter_map(move |(at, fault)| (*at == exchange).then_some(fault))
    }
}

impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().enumerate().try_for_each(|(index, (exchange, fault))| {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{exchange}:{fault}")
        })
    }
}

/// A text that is no [`FaultPlan`]: which entry, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}`: {reason}")]
pub struct FaultPlanError {
    /// The entry, as it was written.
    pub entry: String,
    /// What is wrong with it, and what was expected.
    pub reason: &'static str,
}

impl FromStr for FaultPlan {
    type Err = FaultPlanError;

    fn from_str(text: &str) -> Result<Self, FaultPlanError> {
        if text.trim().is_empty() {
            return Ok(Self::new());
        }
        let entries = text.split(',').map(|entry| {
            let entry = entry.trim();
            parse_entry(entry).map_err(|reason| FaultPlanError {
                entry: entry.to_owned(),
                reason,
            })
        });
        Ok(Self {
            entries: entries.collect::<Result<_, _>>()?,
        })
    }
}

fn parse_entry(entry: &str) -> Result<(u64, Fault), &'static str> {
    let (exchange, fault) = entry.split_once(':').ok_or("expected EXCHANGE:FAULT, as in 2:tear")?;
    let exchange = match exchange.trim().parse() {
        Ok(0) | Err(_) => return Err("expected the number of an exchange, from 1, before the colon"),
        Ok(exchange) => exchange,
    };
    let (name, value) = match fault.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (fault.trim(), None),
    };
    let number = |reason| value.and_then(|v| v.parse().ok()).ok_or(reason);
    let nothing = |fault| match value {
        None => Ok(fault),
        Some(_) => Err("this fault takes no value"),
    };
    let loss = || match value {
        None | Some("timeout") => Ok(Loss::Timeout),
        Some("gone") => Ok(Loss::Gone),
        Some(_) => Err("expected nothing, =timeout or =gone"),
    };
    let fault = match name {
        "drop-command" => Fault::DropCommand(loss()?),
        "drop-answer" => Fault::DropAnswer(loss()?),
        "tear" => nothing(Fault::Tear)?,
        "duplicate" => nothing(Fault::Duplicate)?,
        "corrupt" => Fault::Corrupt {
            bit: number("expected the number of a bit, as in corrupt=17")?,
        },
        "truncate" => Fault::Truncate {
            len: number("expected a length in bytes, as in truncate=5")?,
        },
        "replace" => Fault::Replace {
            bytes: value.and_then(unhex).ok_or("expected hexadecimal bytes, as in replace=6a82")?,
        },
        "delay" => Fault::Delay(
            value
                .and_then(duration)
                .ok_or("expected a time with its unit, as in delay=50ms, delay=200us or delay=2s")?,
        ),
        _ => {
            return Err("no such fault; one of drop-command, drop-answer, tear, corrupt, truncate, replace, duplicate, delay");
        }
    };
    Ok((exchange, fault))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

pub(crate) fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let number = number.parse().ok()?;
    match unit.trim() {
        "us" => Some(Duration::from_micros(number)),
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        _ => None,
    }
}

/// A link with faults in it.
///
/// An exchange without a fault is passed on untouched and unallocated.
pub struct Faulty<L> {
    link: L,
    plan: FaultPlan,
    exchange: u64,
    torn: bool,
    sleep: Box<dyn FnMut(Duration) + Send>,
}

impl<L: CardLink> Faulty<L> {
    /// Faults as planned; [`Fault::Delay`] really waits.
    pub fn new(link: L, plan: FaultPlan) -> Self {
        Self {
            link,
            plan,
            exchange: 0,
            torn: false,
            sleep: Box::new(std::thread::sleep),
        }
    }
}

impl<L> Faulty<L> {
    /// Has `sleep` called for [`Fault::Delay`], for tests that do not wait.
    #[must_use]
    pub fn with_sleep(mut self, sleep: impl FnMut(Duration) + Send + 'static) -> Self {
        self.sleep = Box::new(sleep);
        self
    }

    /// Counts from exchange 1 again and puts a torn card back, as for the next tap.
    pub fn restart(&mut self) {
        self.exchange = 0;
        self.torn = false;
    }

    /// How many exchanges there were.
    #[must_use]
    pub const fn exchanges(&self) -> u64 {
        self.exchange
    }

    /// The link below, free of faults.
    pub const fn inner_mut(&mut self) -> &mut L {
        &mut self.link
    }

    /// Gives the link back.
    pub fn into_inner(self) -> L {
        self.link
    }
}

impl<L: fmt::Debug> fmt::Debug for Faulty<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty")
            .field("link", &self.link)
            .field("plan", &self.plan)
            .field("exchange", &self.exchange)
            .field("torn", &self.torn)
            .finish_non_exhaustive()
    }
}

impl<L: CardLink> CardLink for Faulty<L> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        self.exchange += 1;
        let exchange = self.exchange;
        let fail = |response: &mut Vec<u8>, kind, what: &str| {
            response.clear();
            let detail = format!("{what} at exchange {exchange}, as planned");
            Err(LinkError::new(kind, "fault", detail).during(command))
        };
        let mut twice = false;
        for fault in self.plan.of(exchange) {
            match fault {
                Fault::Delay(time) => (self.sleep)(*time),
                Fault::Tear => self.torn = true,
                Fault::DropCommand(loss) => {
                    return fail(response, loss.kind(), "the command was lost");
                }
                Fault::Duplicate => twice = true,
                _ => {}
            }
        }
        if self.torn {
            return fail(response, LinkErrorKind::CardGone, "the card was torn away");
        }
        if twice {
            self.link.transmit(command, response)?;
        }
        self.link.transmit(command, response)?;
        for fault in self.plan.of(exchange) {
            match fault {
                Fault::DropAnswer(loss) => {
                    return fail(response, loss.kind(), "the answer was lost");
                }
                Fault::Corrupt { bit } => {
                    let bit = bit % (response.len() * 8).max(1);
                    if let Some(byte) = response.get_mut(bit / 8) {
                        *byte ^= 0x80 >> (bit % 8);
                    }
                }
                Fault::Truncate { len } => response.truncate(*len),
                Fault::Replace { bytes } => bytes.clone_into(response),
                _ => {}
            }
        }
        match response.len() {
            0 | 1 => fail(response, LinkErrorKind::Malformed, "the answer was shorter than a status word"),
            _ => Ok(()),
        }
    }

    fn limits(&self) -> Limits {
        self.link.limits()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use proptest::prelude::*;

    use super::*;
    use crate::Scripted;

    type Outcome = Result<Vec<u8>, LinkErrorKind>;

    /// What each of three commands gives, and what the card saw.
    fn run(plan: &str) -> ([Outcome; 3], Vec<Vec<u8>>) {
        let card = (1..=6).fold(Scripted::new(), |card, n| card.answer([n, 0x90, 0x00]));
        let mut link = Faulty::new(card, plan.parse().unwrap());
        let outcomes = [1, 2, 3].map(|n| {
            let mut response = vec![0xEE];
            match link.transmit(&[n], &mut response) {
                Ok(()) => Ok(response),
                Err(error) => {
                    assert!(response.is_empty());
                    assert_eq!(error.command, Some(vec![n]));
                    Err(error.kind)
                }
            }
        });
        (outcomes, link.into_inner().sent().to_vec())
    }

    fn answer(n: u8) -> Outcome {
        Ok(vec![n, 0x90, 0x00])
    }

    #[test]
    fn lost_commands_do_not_reach_the_card_and_lost_answers_did() {
        use LinkErrorKind::{CardGone, Timeout};
        let (outcomes, sent) = run("1:drop-command,2:drop-command=gone");
        assert_eq!(outcomes, [Err(Timeout), Err(CardGone), answer(1)]);
        assert_eq!(sent, [[3]]);
        let (outcomes, sent) = run("1:drop-answer=gone,2:drop-answer=timeout");
        assert_eq!(outcomes, [Err(CardGone), Err(Timeout), answer(3)]);
        assert_eq!(sent, [[1], [2], [3]]);
    }

    #[test]
    fn a_torn_card_stays_away_until_the_restart() {
        let (outcomes, sent) = run("2:tear");
        let gone = || Err(LinkErrorKind::CardGone);
        assert_eq!(outcomes, [answer(1), gone(), gone()]);
        assert_eq!(sent, [[1]]);

        let card = Scripted::new().answer([0x90, 0x00]);
        let mut link = Faulty::new(card, FaultPlan::new().at(2, Fault::Tear));
        link.exchange = 1;
        assert!(link.transmit(&[0], &mut Vec::new()).is_err());
        link.restart();
        assert!(link.transmit(&[0], &mut Vec::new()).is_ok());
        assert_eq!(link.exchanges(), 1);
    }

    #[test]
    fn answers_are_changed_as_planned() {
        let malformed = || Err(LinkErrorKind::Malformed);
        let (outcomes, _) = run("1:corrupt=0,2:corrupt=23,3:corrupt=24");
        let changed = [[0x81, 0x90, 0], [2, 0x90, 1], [0x83, 0x90, 0]];
        assert_eq!(outcomes, changed.map(|bytes| Ok(bytes.to_vec())));
        let (outcomes, _) = run("1:truncate=2,2:truncate=1,3:truncate=0");
        assert_eq!(outcomes, [Ok(vec![1, 0x90]), malformed(), malformed()]);
        let (outcomes, sent) = run("1:replace=6A82,2:replace=,3:replace=9000,3:corrupt=15");
        assert_eq!(outcomes, [Ok(vec![0x6A, 0x82]), malformed(), Ok(vec![0x90, 1])]);
        assert_eq!(sent.len(), 3);
    }

    #[test]
    fn a_duplicate_reaches_the_card_twice_and_shifts_nothing() {
        let (outcomes, sent) = run("2:duplicate");
        assert_eq!(outcomes, [answer(1), answer(3), answer(4)]);
        assert_eq!(sent, [[1], [2], [2], [3]]);
    }

    #[test]
    fn a_delay_waits_before_the_command() {
        let (slept, sleeps) = mpsc::channel();
        let card = Scripted::new().answer([0x90, 0x00]);
        let plan = "1:delay=50ms,1:delay=2s".parse().unwrap();
        let mut link = Faulty::new(card, plan).with_sleep(move |time| {
            let _ = slept.send(time);
        });
        link.transmit(&[0], &mut Vec::new()).unwrap();
        let sleeps: Vec<_> = sleeps.try_iter().collect();
        assert_eq!(sleeps, [Duration::from_millis(50), Duration::from_secs(2)]);
    }

    #[test]
    fn bad_plans_say_which_entry_and_why() {
        for (plan, entry, reason) in [
            ("tear", "tear", "EXCHANGE:FAULT"),
            ("1:tear,,2:tear", "", "EXCHANGE:FAULT"),
            ("0:tear", "0:tear", "from 1"),
            ("x:tear", "x:tear", "from 1"),
            ("1:tear=3", "1:tear=3", "no value"),
            ("1:corrupt", "1:corrupt", "corrupt=17"),
            ("1:corrupt=-1", "1:corrupt=-1", "corrupt=17"),
            ("1:truncate=x", "1:truncate=x", "truncate=5"),
            ("1:replace=6a8", "1:replace=6a8", "hexadecimal"),
            ("1:replace=+1", "1:replace=+1", "hexadecimal"),
            ("1:delay=50", "1:delay=50", "unit"),
            ("1:drop-answer=x", "1:drop-answer=x", "=gone"),
            ("1:explode", "1:explode", "no such fault"),
        ] {
            let error = plan.parse::<FaultPlan>().unwrap_err();
            assert_eq!(error.entry, entry, "{plan}");
            assert!(error.reason.contains(reason), "{plan}: {error}");
        }
        assert!(" ".parse::<FaultPlan>().unwrap().is_empty());
    }

    fn fault() -> impl Strategy<Value = Fault> {
        let loss = || prop_oneof![Just(Loss::Timeout), Just(Loss::Gone)];
        prop_oneof![
            loss().prop_map(Fault::DropCommand),
            loss().prop_map(Fault::DropAnswer),
            Just(Fault::Tear),
            Just(Fault::Duplicate),
            any::<usize>().prop_map(|bit| Fault::Corrupt { bit }),
            any::<usize>().prop_map(|len| Fault::Truncate { len }),
            any::<Vec<u8>>().prop_map(|bytes| Fault::Replace { bytes }),
            any::<u64>().prop_map(|us| Fault::Delay(Duration::from_micros(us))),
        ]
    }

    proptest! {
        #[test]
        fn plans_read_as_they_are_written(entries in proptest::collection::vec((1u64.., fault()), 0..8)) {
            let plan = FaultPlan { entries };
            prop_assert_eq!(plan.to_string().parse::<FaultPlan>(), Ok(plan));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in "[0-9:,=a-z é-]{0,40}") {
            let _ = text.parse::<FaultPlan>();
        }

        #[test]
        fn no_plan_makes_the_link_panic_or_give_less_than_a_status_word(
            entries in proptest::collection::vec((1u64..4, fault()), 0..8),
        ) {
            let card = (0..9).fold(Scripted::new(), |card, n| card.answer([n, 0x90, 0x00]));
            let mut link = Faulty::new(card, FaultPlan { entries }).with_sleep(|_| {});
            for n in 1..4 {
                let mut response = vec![1];
                let outcome = link.transmit(&[n], &mut response);
                prop_assert_eq!(outcome.is_ok(), response.len() >= 2);
                prop_assert_eq!(outcome.is_err(), response.is_empty());
            }
        }
    }
}
