//! The loop over cards that come and go: one tap each, whatever happens to the reader in between.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use tapdoor_chip::SqliteStore;
use tapdoor_link::stop::Stop;
use tapdoor_link::{CardLink, LinkErrorKind, Scripted};
use tapdoor_protocol::door::Reason;
use tapdoor_reader::source::{Activation, CardSource, Hold, Observer, Protocol, ReaderInfo, Session, SourceError, SourceErrorKind};
use tapdoor_reader::{Lock, LockConfig, LockEvent, TapVerdict};

/// What the source does at each `wait_card`.
enum Turn {
    Card(Scripted),
    Busy,
}

struct Turns {
    turns: Vec<Turn>,
    removals: u32,
}

impl CardSource for Turns {
    fn describe(&self) -> ReaderInfo {
        ReaderInfo {
            name: "test".into(),
            driver: "test",
            firmware: None,
            mode: "sim",
            listen: None,
            is_acr122: false,
        }
    }

    fn wait_card(&mut self, _: &Stop) -> Result<Session, SourceError> {
        match self.turns.pop() {
            Some(Turn::Card(card)) => {
                let link: Box<dyn CardLink + Send> = Box::new(card);
                Ok(Session {
                    link,
                    atr: None,
                    protocol: Protocol::T1,
                    hold: Hold::Exclusive,
                    activation: Activation::default(),
                })
            }
            Some(Turn::Busy) => Err(SourceError::new(SourceErrorKind::Busy, "test", "another program")),
            None => Err(SourceError::cancelled("test")),
        }
    }

    fn wait_removal(&mut self, _: &Stop) -> Result<(), SourceError> {
        self.removals += 1;
        Ok(())
    }

    fn set_observer(&mut self, _: Observer) {}
}

fn reset() -> Scripted {
    Scripted::new().fail(LinkErrorKind::CardReset)
}

fn stranger() -> Scripted {
    Scripted::new().answer([0x6A, 0x82]).answer([0x6A, 0x82]).answer([0x6A, 0x82])
}

/// Runs the loop over these turns: (taps as verdict and reason, troubles, removals waited for, lines of the door's log).
fn run(mut turns: Vec<Turn>) -> (Vec<(TapVerdict, Option<Reason>)>, usize, u32, usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock.toml");
    let text = "id = \"0101010101010101\"\n[door]\nlog = \"door.log\"\n";
    let config = LockConfig::parse(Path::new(&path), text).unwrap();
    let mut lock = Lock::with_store(config, Box::new(SqliteStore::in_memory().unwrap())).unwrap();
    turns.reverse();
    let mut source = Turns { turns, removals: 0 };
    let (mut taps, mut troubles) = (Vec::new(), 0);
    let end = lock.run(&mut source, &Stop::new(), &mut |event| {
        match event {
            LockEvent::Tap { tap, .. } => taps.push((tap.verdict, tap.reason)),
            LockEvent::Trouble(_) => troubles += 1,
            LockEvent::Download(_) => panic!("there is no server"),
        }
        true
    });
    assert_eq!(end.unwrap_err().kind, SourceErrorKind::Cancelled);
    let log = std::fs::read_to_string(folder.path().join("door.log")).unwrap_or_default();
    (taps, troubles, source.removals, log.lines().count())
}

const MISSING: (TapVerdict, Option<Reason>) = (TapVerdict::Refused, Some(Reason::AppMissing));

#[test]
fn a_card_that_was_reset_is_tried_again_as_the_same_tap() {
    let (taps, _, removals, log) = run(vec![Turn::Card(reset()), Turn::Card(stranger())]);
    assert_eq!((taps, removals, log), (vec![MISSING], 1, 1), "one tap, one line in the door's log");
}

#[test]
fn but_only_once() {
    let (taps, _, removals, log) = run(vec![Turn::Card(reset()), Turn::Card(reset()), Turn::Card(stranger())]);
    assert_eq!(
        (taps, removals, log),
        (vec![(TapVerdict::Error, Some(Reason::Torn)), MISSING], 2, 2)
    );
}

#[test]
fn a_reader_that_another_program_has_is_waited_for() {
    let (taps, troubles, removals, _) = run(vec![Turn::Busy, Turn::Card(stranger())]);
    assert_eq!((taps, troubles, removals), (vec![MISSING], 1, 2));
}
