//! Today's lock over recorded answers: its own tap loop and its own chip, with the recorded randomness, clock and sequence number.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tapdoor_captures::Mask;
use tapdoor_chip::random::RandomSource;
use tapdoor_chip::store::{Change, Content};
use tapdoor_chip::{Chip, ChipError, ChipLink, Personalisation, Store, StoreError};
use tapdoor_link::{CardLink, Limits, LinkError, LinkErrorKind, Mode};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::freshness::State;
use tapdoor_protocol::door::Reason;
use tapdoor_protocol::identity::Request;
use tapdoor_protocol::vault::VaultError;
use tapdoor_reader::policy::Caps;
use tapdoor_reader::tap::{self, Fetch, Host, NoDownload};
use tapdoor_reader::{Control, LockConfig, Tap};

use super::aliro::{AliroLock, ChipOfThen};
use super::checks::Checked;
use crate::recorded::{RecordedExchange, RecordedTap};

/// Where today's lock leaves the tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// In which exchange of the tap, from 1.
    pub exchange: usize,
    /// What the tape has there, in hexadecimal.
    pub then: String,
    /// What today's lock sends, in hexadecimal.
    pub now: String,
    /// In words.
    pub what: String,
}

/// What chip, store and test share.
#[derive(Default)]
struct Shared {
    randoms: VecDeque<Vec<u8>>,
    records: HashMap<(Aid, Vec<u8>), Vec<u8>>,
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Shared>>);

impl Memory {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives what the lock drew then.
struct Recorded(Memory);

impl RandomSource for Recorded {
    fn fill(&mut self, out: &mut [u8]) -> Result<(), VaultError> {
        out.fill(0);
        // Where the tape has nothing the lock asks more than it did then; the difference is told by the command that it makes of it.
        if let Some(drawn) = self.0.lock().randoms.pop_front()
            && let Some(place) = out.get_mut(..drawn.len())
        {
            place.copy_from_slice(&drawn);
        }
        Ok(())
    }
}

/// A store without a disk.
struct InMemory {
    personalisation: Personalisation,
    memory: Memory,
}

impl Store for InMemory {
    fn personalisation(&mut self) -> Result<Personalisation, StoreError> {
        Ok(self.personalisation.clone())
    }

    fn content(&mut self) -> Result<Content, StoreError> {
        Ok(Content::default())
    }

    fn personalise(&mut self, personalisation: &Personalisation) -> Result<(), StoreError> {
        self.personalisation = personalisation.clone();
        Ok(())
    }

    fn number(&mut self) -> Result<[u8; 8], StoreError> {
        Ok([0; 8])
    }

    fn record(&mut self, aid: &Aid, name: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.memory.lock().records.get(&(*aid, name.to_vec())).cloned())
    }

    fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let mut memory = self.memory.lock();
        for change in changes {
            if let Change::Record { aid, name, value } = change {
                memory.records.insert((*aid, name.clone()), value.clone());
            }
        }
        Ok(())
    }
}

/// Today's lock.
pub struct Today {
    chip: Chip,
    memory: Memory,
}

impl Today {
    /// The lock of this configuration.
    ///
    /// # Errors
    /// [`ChipError`].
    pub fn new(config: &LockConfig) -> Result<Self, ChipError> {
        let memory = Memory::default();
        let store = InMemory {
            personalisation: config.personalisation.clone(),
            memory: memory.clone(),
        };
        Ok(Self {
            chip: Chip::open_with(Box::new(store), Box::new(Recorded(memory.clone())))?,
            memory,
        })
    }

    /// Runs one tap; Aliro by the reader that has the randomness of then.
    pub(super) fn run(
        &mut self,
        config: &LockConfig,
        tap: &RecordedTap,
        checked: &Checked,
        mut aliro: Option<&mut AliroLock>,
        clock: u32,
    ) -> (Tap, Option<Difference>) {
        {
            let mut shared = self.memory.lock();
            shared.randoms.clone_from(&checked.randoms);
            shared.records.clear();
            if let Some((application, phone, sqn)) = &checked.sqn {
                // The next number is the recorded one, whatever the clock says.
                let state = State {
                    last: sqn.seq().saturating_sub(1),
                    dif: -(1 << 50),
                };
                let name = [&b"q"[..], &phone.0].concat();
                shared.records.insert((*application, name), state.to_bytes().to_vec());
            }
        }
        let mut phone = Phone {
            exchanges: tap.deciding(),
            at: 0,
            difference: None,
            caps: (config.caps.mode == Mode::Refuse && !tap.download).then_some(config.caps),
            total: Duration::ZERO,
        };
        let mut pause = |_| true;
        let mut fetch = |_: &Request| -> Result<(), NoDownload> {
            let then = tap.verdict.as_ref();
            match then
                .and_then(|v| v.reason.as_deref())
                .and_then(|name| Reason::ALL.into_iter().find(|r| r.name() == name))
            {
                // What the server did then is not judged here.
                Some(reason) if then.is_some_and(|v| v.verdict == "refused") && !tap.goes_on() => Err(NoDownload {
                    reason,
                    detail: "as the tape tells".into(),
                }),
                _ => Ok(()),
            }
        };
        let mut host = Host::alone(&mut pause);
        if tap.download {
            host.fetch = Some(&mut fetch as &mut Fetch<'_>);
        }
        let chip = ChipOfThen::new(ChipLink::new(&mut self.chip), aliro.as_deref_mut());
        let now = tap::run(config, &mut Control::new(chip), &mut phone, clock, host);
        let (at, mut difference) = (phone.at, phone.difference);
        if aliro.is_some_and(|aliro| aliro.lacks().is_some()) {
            // It ends here because a key is not at hand, which says nothing of the tape.
            return (now, difference);
        }
        if let (None, Some(left)) = (&difference, tap.deciding().get(at))
            && left.command.first() != Some(&0xFF)
        {
            difference = Some(Difference {
                exchange: at + 1,
                then: hex::encode(&left.command),
                now: String::new(),
                what: format!("today's lock is done ({}) where it went on then", now.verdict.name()),
            });
        }
        if let Some(flow) = difference.is_none().then(|| told(tap, &now)).flatten() {
            difference = Some(flow);
        }
        (now, difference)
    }
}

impl RecordedTap {
    /// Whether applications were selected again after GET IDENTITY: the download came about.
    fn goes_on(&self) -> bool {
        let asked = self.exchanges.iter().position(|e| e.command.get(1) == Some(&0xCA));
        asked.is_some_and(|at| self.exchanges.iter().skip(at).any(|e| e.command.get(1) == Some(&0xA4)))
    }
}

/// CONTROL FLOW after the verdict.
fn told(tap: &RecordedTap, now: &Tap) -> Option<Difference> {
    let number = tap.before_verdict?;
    let then = tap.exchanges.get(number).filter(|e| e.command.get(1) == Some(&0x3C))?;
    let now = now.control_flow.as_deref().unwrap_or_default();
    (then.command != now).then(|| Difference {
        exchange: number + 1,
        then: hex::encode(&then.command),
        now: hex::encode(now),
        what: "CONTROL FLOW is another".into(),
    })
}

/// The phone of a tape.
struct Phone<'a> {
    exchanges: &'a [RecordedExchange],
    at: usize,
    difference: Option<Difference>,
    /// Today's caps, where they refuse: the answers of a tape come at once, so the guard cannot see how slow they were.
    caps: Option<Caps>,
    total: Duration,
}

impl Phone<'_> {
    /// What the guard would have said.
    fn guard(&mut self, exchange: &RecordedExchange, command: &[u8]) -> Result<(), LinkError> {
        let took = Duration::from_nanos(exchange.back.saturating_sub(exchange.out));
        self.total += took;
        match &self.caps {
            Some(caps) if took > caps.answer || self.total > caps.tap => {
                let detail = format!("the answer took {took:?} then, and all of them {:?}: beyond the caps", self.total);
                Err(LinkError::new(LinkErrorKind::Timeout, "relay-guard", detail).during(command))
            }
            _ => Ok(()),
        }
    }
}

impl CardLink for Phone<'_> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        // What a reader is told about its LEDs is no business of the phone.
        while self.exchanges.get(self.at).is_some_and(|e| e.command.first() == Some(&0xFF)) {
            self.at += 1;
        }
        let Some(exchange) = self.exchanges.get(self.at) else {
            self.differs(String::new(), command, "today's lock goes on where the tape ends");
            return Err(LinkError::new(LinkErrorKind::CardGone, "tape", "the recorded tap ends here").during(command));
        };
        if !same(&exchange.command, command, &exchange.command_mask) {
            self.differs(hex::encode(&exchange.command), command, "today's lock sends another command");
        }
        self.at += 1;
        match &exchange.answer {
            Some(Ok(answer)) if answer.len() >= 2 => {
                self.guard(exchange, command)?;
                response.extend_from_slice(answer);
                Ok(())
            }
            Some(Err(kind)) => Err(LinkError::new(*kind, "tape", "as the tape tells").during(command)),
            Some(Ok(_)) => Err(LinkError::new(LinkErrorKind::Malformed, "tape", "the recorded answer has no status word").during(command)),
            None => Err(LinkError::new(LinkErrorKind::CardGone, "tape", "the tape has no answer to this").during(command)),
        }
    }

    fn limits(&self) -> Limits {
        Limits::EXTENDED
    }
}

impl Phone<'_> {
    fn differs(&mut self, then: String, now: &[u8], what: &str) {
        let exchange = self.at + 1;
        self.difference.get_or_insert_with(|| Difference {
            exchange,
            then,
            now: hex::encode(now),
            what: what.into(),
        });
    }
}

/// Whether two commands are the same where nothing was masked.
fn same(then: &[u8], now: &[u8], mask: &[Mask]) -> bool {
    if mask.is_empty() {
        return then == now;
    }
    let masked = |at: usize| mask.iter().any(|m| (m.offset..m.offset.saturating_add(m.length)).contains(&at));
    then.len() == now.len() && then.iter().zip(now).enumerate().all(|(at, (a, b))| a == b || masked(at))
}
