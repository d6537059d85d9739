//! Two sessions compared by what they mean: commands and states are aligned, fresh values (see [`crate::volatile`]) are compared by their
//! length only, and what differs truly is said: commands, status words, fields, the card, the verdict.
//!
//! Taps are compared one after the other, so memory is bounded by the largest tap; one of more than [`MAX_STEPS`] exchanges is compared in
//! pieces.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use tapdoor_protocol::aid;

use crate::decode::{Decoded, Decoder, Field};
use crate::event::{Direction, Event, Layer};
use crate::header::Header;
use crate::read::{Events, ReadError};
use crate::rf::{Assembler, Scouted};
use crate::volatile::is_volatile;

/// Most exchanges that are aligned at once.
pub const MAX_STEPS: usize = 2000;

/// Something that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Which tap, counted in the order of the first file, from 1.
    pub tap: u64,
    /// `command`, `status`, `field`, `card`, `verdict`, `only-a` or `only-b`.
    pub kind: &'static str,
    /// Which exchange of the tap in the first file, from 1; of `only-b` in the second one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exchange: Option<u64>,
    /// Which command, in words.
    pub step: String,
    /// Which field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What the first file has.
    pub a: Option<String>,
    /// What the second one has.
    pub b: Option<String>,
}

/// How long one command took in both files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Stage {
    /// Which tap.
    pub tap: u64,
    /// Which command, in words.
    pub step: String,
    /// Milliseconds in the first file.
    pub a_ms: f64,
    /// Milliseconds in the second one.
    pub b_ms: f64,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Finding {
    /// A difference.
    Difference(Difference),
    /// The times of a command that both have.
    Stage(Stage),
}

/// How much was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Taps in either file.
    pub taps: u64,
    /// Exchanges that both have.
    pub steps: u64,
    /// Differences.
    pub differences: u64,
}

/// Which file could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum DiffError {
    /// The first.
    #[error("{0}")]
    A(ReadError),
    /// The second.
    #[error("{0}")]
    B(ReadError),
}

/// An exchange, or a verdict.
#[derive(Clone, Debug, Default)]
struct Step {
    name: String,
    /// Which exchange of its tap, from 1; 0 for a verdict.
    number: u64,
    /// CLA INS P1 P2, and of SELECT its data too.
    key: Vec<u8>,
    sent: Vec<Field>,
    answered: Option<(String, Vec<Field>)>,
    t: u64,
    end: u64,
    verdict: bool,
}

impl Step {
    fn place(&self) -> (&str, u64) {
        (&self.name, self.number)
    }
}

/// A tap, or a piece of one.
#[derive(Debug, Default)]
struct Tap {
    steps: Vec<Step>,
    /// What the card is: ATQA, SAK, ATS, UID, ..
    card: BTreeMap<String, String>,
}

/// Reads a file tap by tap.
struct Taps<E> {
    events: Scouted<E>,
    decoder: Decoder,
    assembler: Assembler,
    waiting: VecDeque<Event>,
    tap: Option<u64>,
    /// Exchanges of this tap so far.
    count: u64,
    /// A command that was not answered yet, when a piece ended.
    open: bool,
    done: bool,
}

impl<E: Events> Taps<E> {
    fn new(events: E) -> Self {
        let events = Scouted::new(events);
        let mut assembler = Assembler::new();
        if events.own_apdus() {
            assembler.own_apdus();
        }
        Self {
            events,
            decoder: Decoder::new(),
            assembler,
            waiting: VecDeque::new(),
            tap: None,
            count: 0,
            open: false,
            done: false,
        }
    }

    fn next(&mut self) -> Result<Option<Tap>, ReadError> {
        let mut tap = Tap::default();
        let mut any = false;
        while !self.done {
            let event = match self.waiting.pop_front() {
                Some(event) => event,
                None => match self.events.next_event() {
                    Some(event) => event?,
                    None => {
                        self.done = true;
                        break;
                    }
                },
            };
            let begins = event.tap.is_some() && event.tap != self.tap && self.tap.is_some();
            if begins {
                self.count = 0;
            }
            if (begins || tap.steps.len() >= MAX_STEPS && !self.open) && any {
                self.tap = event.tap.or(self.tap);
                self.waiting.push_front(event);
                return Ok(Some(tap));
            }
            self.tap = event.tap.or(self.tap);
            any |= self.take(&event, &mut tap);
        }
        Ok(any.then_some(tap))
    }

    fn take(&mut self, event: &Event, tap: &mut Tap) -> bool {
        let made = self.assembler.feed(event);
        let decoded = self.decoder.decode(event);
        match event.layer {
            Layer::Rf => {
                if let Some(made) = made {
                    return self.exchange(&made, decoded, tap);
                }
                if event.dir == Some(Direction::In) {
                    card(&decoded, tap);
                }
                false
            }
            Layer::Apdu => self.exchange(event, decoded, tap),
            Layer::Lock => {
                let fields: Vec<_> = decoded
                    .fields
                    .into_iter()
                    .filter(|field| matches!(field.name.as_str(), "verdict" | "reason" | "method"))
                    .collect();
                if fields.iter().all(|field| field.name != "verdict") {
                    return false;
                }
                tap.steps.push(Step {
                    name: "verdict".into(),
                    key: b"verdict".to_vec(),
                    sent: fields,
                    verdict: true,
                    ..Step::default()
                });
                true
            }
            _ => false,
        }
    }

    fn exchange(&mut self, apdu: &Event, decoded: Decoded, tap: &mut Tap) -> bool {
        let Some(data) = &apdu.data else {
            return false;
        };
        match apdu.dir {
            Some(Direction::Out) => {
                let select = matches!(data.as_slice(), [_, 0xA4, ..]);
                self.open = true;
                self.count += 1;
                tap.steps.push(Step {
                    number: self.count,
                    name: plain_name(&decoded.name),
                    key: if select { data.clone() } else { data[..data.len().min(4)].to_vec() },
                    sent: decoded.fields,
                    t: apdu.t,
                    end: apdu.t,
                    ..Step::default()
                });
                true
            }
            Some(Direction::In) => {
                self.open = false;
                let Some(step) = tap.steps.last_mut().filter(|step| step.answered.is_none() && !step.verdict) else {
                    return false;
                };
                step.end = apdu.t;
                let sw = decoded
                    .sw
                    .map_or_else(|| "none".to_owned(), |sw| format!("{:04x} {}", sw.0, sw.meaning()));
                step.answered = Some((sw, decoded.fields));
                true
            }
            None => false,
        }
    }
}

/// A command's name without the block that carried it.
fn plain_name(name: &str) -> String {
    match name.split_once(' ') {
        Some((block, rest)) if block.starts_with("I(") => rest.to_owned(),
        _ => name.to_owned(),
    }
}

fn card(decoded: &Decoded, tap: &mut Tap) {
    if matches!(&*decoded.name, "ATQA" | "SAK" | "ATS" | "ATQB" | "SENSF_RES" | "UID part") && tap.card.len() < 64 {
        for field in &decoded.fields {
            // A random UID says nothing.
            let random = field.name == "UID part" && field.value.starts_with("08");
            if !random && field.name != "IDm" && field.name != "PUPI" {
                tap.card.insert(format!("{} {}", decoded.name, field.name), field.value.clone());
            }
        }
    }
}

/// Compares two files; each finding is given as it is made.
///
/// # Errors
/// When one of them cannot be read to its end.
pub fn diff<A: Events, B: Events>(a: A, b: B, mut found: impl FnMut(Finding)) -> Result<Totals, DiffError> {
    let (mut a, mut b) = (Taps::new(a), Taps::new(b));
    let mut totals = Totals::default();
    loop {
        let (left, right) = (a.next().map_err(DiffError::A)?, b.next().map_err(DiffError::B)?);
        if left.is_none() && right.is_none() {
            return Ok(totals);
        }
        totals.taps += 1;
        let (left, right) = (left.unwrap_or_default(), right.unwrap_or_default());
        let mut pair = Pair {
            tap: totals.taps,
            totals: &mut totals,
            found: &mut found,
        };
        pair.cards(&left, &right);
        pair.steps(&left.steps, &right.steps);
    }
}

/// Events that are in memory.
struct Held(Header, std::vec::IntoIter<Event>);

impl Events for Held {
    fn header(&self) -> &Header {
        &self.0
    }

    fn next_event(&mut self) -> Option<Result<Event, ReadError>> {
        self.1.next().map(Ok)
    }
}

/// Compares two sessions that are in memory.
pub fn sessions(a: Vec<Event>, b: Vec<Event>, found: impl FnMut(Finding)) -> Totals {
    let held = |events: Vec<Event>| Held(Header::default(), events.into_iter());
    // Events in memory are never unreadable.
    diff(held(a), held(b), found).unwrap_or_default()
}

struct Pair<'a, F> {
    tap: u64,
    totals: &'a mut Totals,
    found: &'a mut F,
}

impl<F: FnMut(Finding)> Pair<'_, F> {
    fn differs(&mut self, kind: &'static str, (step, number): (&str, u64), field: Option<&str>, a: Option<&str>, b: Option<&str>) {
        self.totals.differences += 1;
        (self.found)(Finding::Difference(Difference {
            tap: self.tap,
            kind,
            exchange: (number > 0).then_some(number),
            step: step.to_owned(),
            field: field.map(str::to_owned),
            a: a.map(str::to_owned),
            b: b.map(str::to_owned),
        }));
    }

    fn cards(&mut self, a: &Tap, b: &Tap) {
        // A tape without frames does not say what the card is.
        if a.card.is_empty() || b.card.is_empty() {
            return;
        }
        for (name, value) in &a.card {
            let other = b.card.get(name);
            if other != Some(value) {
                self.differs("card", ("activation", 0), Some(name), Some(value), other.map(String::as_str));
            }
        }
        for (name, value) in b.card.iter().filter(|(name, _)| !a.card.contains_key(*name)) {
            self.differs("card", ("activation", 0), Some(name), None, Some(value));
        }
    }

    fn steps(&mut self, a: &[Step], b: &[Step]) {
        for (left, right) in align(a, b) {
            match (left.map(|at| &a[at]), right.map(|at| &b[at])) {
                (Some(left), Some(right)) => self.both(left, right),
                (Some(left), None) => self.differs("only-a", left.place(), None, Some(&summary(left)), None),
                (None, Some(right)) => self.differs("only-b", right.place(), None, None, Some(&summary(right))),
                (None, None) => {}
            }
        }
    }

    fn both(&mut self, a: &Step, b: &Step) {
        self.totals.steps += 1;
        if a.key != b.key {
            let text = |step: &Step| match aid_of(step) {
                Some(aid) => aid,
                None => hex::encode(&step.key),
            };
            self.differs("command", a.place(), None, Some(&text(a)), Some(&text(b)));
        }
        let kind = if a.verdict { "verdict" } else { "field" };
        self.fields(kind, a.place(), &a.sent, &b.sent);
        match (&a.answered, &b.answered) {
            (Some((sw_a, fields_a)), Some((sw_b, fields_b))) if sw_a != sw_b => {
                self.differs("status", a.place(), None, Some(sw_a), Some(sw_b));
                // A refusal has no proof, which goes without saying.
                let kept = |fields: &[Field], others: &[Field]| {
                    let stays = |field: &&Field| !is_volatile(&field.name) || others.iter().any(|other| other.name == field.name);
                    fields.iter().filter(stays).cloned().collect::<Vec<_>>()
                };
                self.fields("field", a.place(), &kept(fields_a, fields_b), &kept(fields_b, fields_a));
            }
            (Some((_, fields_a)), Some((_, fields_b))) => self.fields("field", a.place(), fields_a, fields_b),
            (None, None) => {}
            (left, right) => {
                let text =
                    |answer: &Option<(String, Vec<Field>)>| answer.as_ref().map_or_else(|| "no answer".to_owned(), |(sw, _)| sw.clone());
                self.differs("status", a.place(), None, Some(&text(left)), Some(&text(right)));
            }
        }
        if !a.verdict {
            let ms = |step: &Step| step.end.saturating_sub(step.t) as f64 / 1e6;
            (self.found)(Finding::Stage(Stage {
                tap: self.tap,
                step: a.name.clone(),
                a_ms: ms(a),
                b_ms: ms(b),
            }));
        }
    }

    fn fields(&mut self, kind: &'static str, step: (&str, u64), a: &[Field], b: &[Field]) {
        // Fields have an order, and some stand more than once.
        let mut rest: Vec<&Field> = b.iter().collect();
        for field in a {
            let Some(at) = rest.iter().position(|other| other.name == field.name) else {
                self.differs(kind, step, Some(&field.name), Some(&field.value), None);
                continue;
            };
            let other = rest.remove(at);
            let same = match is_volatile(&field.name) {
                true => field.value.len() == other.value.len(),
                // Zeros stand where something was masked.
                false => field.value == other.value || masked_alike(&field.value, &other.value),
            };
            if !same {
                self.differs(kind, step, Some(&field.name), Some(&field.value), Some(&other.value));
            }
        }
        for field in rest {
            self.differs(kind, step, Some(&field.name), None, Some(&field.value));
        }
    }
}

/// Whether two values are the same wherever neither is masked.
fn masked_alike(a: &str, b: &str) -> bool {
    a.len() == b.len() && (a.contains('*') || b.contains('*')) && a.bytes().zip(b.bytes()).all(|(a, b)| a == b || a == b'*' || b == b'*')
}

fn aid_of(step: &Step) -> Option<String> {
    match step.key.as_slice() {
        [_, 0xA4, 0x04, _, length, rest @ ..] => {
            let aid = rest.get(..usize::from(*length))?;
            let name = aid::name_of(aid).map(|name| format!(", {name}")).unwrap_or_default();
            Some(format!("{}{name}", hex::encode(aid)))
        }
        _ => None,
    }
}

fn summary(step: &Step) -> String {
    match &step.answered {
        Some((sw, _)) => format!("{} answered {sw}", step.name),
        None => step.name.clone(),
    }
}

/// How well two exchanges match; 0 for not at all.
fn likeness(a: &Step, b: &Step) -> u32 {
    if a.key == b.key {
        return 4;
    }
    match (a.key.as_slice(), b.key.as_slice()) {
        // The same header, or another file or application.
        (a, b) if a.len() >= 4 && b.len() >= 4 && a[..4] == b[..4] => 2,
        (a, b) if a.len() >= 4 && b.len() >= 4 && a[1] == b[1] => 1,
        _ => 0,
    }
}

/// Pairs of places: the alignment whose likenesses add up to most.
fn align(a: &[Step], b: &[Step]) -> Vec<(Option<usize>, Option<usize>)> {
    // What both begin with needs no table.
    let same = a.iter().zip(b).take_while(|(a, b)| likeness(a, b) == 4).count();
    let (rest_a, rest_b) = (&a[same..], &b[same..]);
    let (rows, columns) = (rest_a.len(), rest_b.len());
    let width = columns + 1;
    let mut table = vec![0u16; (rows + 1) * width];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            let like = likeness(&rest_a[row], &rest_b[column]) as u16;
            let diagonal = if like > 0 {
                table[(row + 1) * width + column + 1].saturating_add(like)
            } else {
                0
            };
            table[row * width + column] = diagonal.max(table[(row + 1) * width + column]).max(table[row * width + column + 1]);
        }
    }
    let mut pairs: Vec<_> = (0..same).map(|at| (Some(at), Some(at))).collect();
    let (mut row, mut column) = (0, 0);
    while row < rows && column < columns {
        let here = table[row * width + column];
        let like = likeness(&rest_a[row], &rest_b[column]) as u16;
        if like > 0 && here == table[(row + 1) * width + column + 1].saturating_add(like) {
            pairs.push((Some(same + row), Some(same + column)));
            (row, column) = (row + 1, column + 1);
        } else if here == table[(row + 1) * width + column] {
            pairs.push((Some(same + row), None));
            row += 1;
        } else {
            pairs.push((None, Some(same + column)));
            column += 1;
        }
    }
    pairs.extend((row..rows).map(|at| (Some(same + at), None)));
    pairs.extend((column..columns).map(|at| (None, Some(same + at))));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::TapeReader;

    fn compare(a: &str, b: &str) -> Vec<String> {
        let tape = |lines: &str| {
            let events = lines.lines().enumerate().map(|(n, line)| {
                let (dir, data) = line.split_once(' ').unwrap();
                let dir = if dir == ">" { "out" } else { "in" };
                format!(
                    "{{\"t\":{n},\"layer\":\"apdu\",\"dir\":\"{dir}\",\"data\":\"{}\",\"tap\":1}}\n",
                    data.replace(' ', "")
                )
            });
            format!("{{\"tape\":1}}\n{}", events.collect::<String>())
        };
        let (a, b) = (tape(a), tape(b));
        let mut found = Vec::new();
        let totals = diff(
            TapeReader::new(a.as_bytes()).unwrap(),
            TapeReader::new(b.as_bytes()).unwrap(),
            |finding| {
                if let Finding::Difference(d) = finding {
                    found.push(format!("{} {} {:?} {:?} {:?}", d.kind, d.step, d.field, d.a, d.b));
                }
            },
        )
        .unwrap();
        assert_eq!(totals.differences as usize, found.len());
        found
    }

    const SELECT: &str = "> 00a4040009f0544150444f4f520100";

    fn tap(fresh: &str, sw: &str) -> String {
        let fci = format!(
            "6f34 8409f0544150444f4f5201 a527 800101 8110{} 8210{}",
            fresh.repeat(16),
            fresh.repeat(16)
        );
        format!(
            "{SELECT}\n< {fci} 9000\n> 808800002c {}{}{}\n< {sw}",
            fresh.repeat(16),
            "11".repeat(8),
            fresh.repeat(20)
        )
    }

    #[test]
    fn fresh_values_are_no_difference() {
        assert_eq!(compare(&tap("aa", "9000"), &tap("bb", "9000")), [""; 0]);
    }

    #[test]
    fn status_words_and_fields_are() {
        let found = compare(&tap("aa", "9000"), &tap("bb", "6982"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("status AUTHENTICATE, challenge-response"), "{found:?}");
        let found = compare(&tap("aa", "9000"), &tap("aa", "9000").replace("800101", "800102"));
        assert_eq!(
            found,
            ["field SELECT f0544150444f4f5201, Tapdoor challenge-response Some(\"version\") Some(\"01\") Some(\"02\")"]
        );
    }

    #[test]
    fn what_only_one_has_is_found_and_the_rest_stays_aligned() {
        let more = format!("> 00b0000004\n< 6d00\n{}", tap("bb", "9000"));
        let found = compare(&tap("aa", "9000"), &more);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("only-b READ BINARY"), "{found:?}");
        let found = compare(&more, &tap("aa", "9000"));
        assert!(found[0].starts_with("only-a READ BINARY"), "{found:?}");
    }

    #[test]
    fn another_application_is_another_command() {
        let found = compare("> 00a4040007d276000085010100\n< 9000", "> 00a4040007a000000087100200\n< 9000");
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("command SELECT"), "{found:?}");
    }
}
