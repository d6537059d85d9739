//! TS 33.102 Annex C: which sequence numbers are accepted, and which comes next. docs/protocol.md section 5: one sequence per lock.
//!
//! [`Array`] is a USIM's memory, [`PerLock`] a phone's in profile P, [`Generator`] the home side of both. All three are plain values:
//! the caller stores what they turn into **before** it answers, and must not remember what it could not store.

use alloc::vec::Vec;

use super::Sqn;
use crate::ids::LockId;

/// How far a SEQ may be above the highest accepted one (TS 33.102 C.2.1): a protection against wrapping.
pub const DELTA: u64 = 1 << 28;

/// The length of a SEQ where it is stored, in bytes.
const SEQ: usize = 6;

/// A SEQ in six bytes.
fn seq_to_bytes(seq: u64) -> [u8; SEQ] {
    let [_, _, a, b, c, d, e, f] = seq.to_be_bytes();
    [a, b, c, d, e, f]
}

/// `None` for a number of more than 43 bits.
fn seq_from_bytes(bytes: &[u8; SEQ]) -> Option<u64> {
    let [a, b, c, d, e, f] = *bytes;
    Some(u64::from_be_bytes([0, 0, a, b, c, d, e, f])).filter(|seq| *seq <= Sqn::MAX_SEQ)
}

/// A USIM's array of the highest SEQ accepted for each IND (TS 33.102 C.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Array {
    seq_ms: [u64; Self::ENTRIES],
    age_limit: Option<u64>,
}

impl Array {
    /// The number of INDs.
    pub const ENTRIES: usize = 1 << Sqn::IND_BITS;

    /// The length of [`Array::to_bytes`].
    pub const BYTES: usize = Self::ENTRIES * SEQ;

    /// A USIM that has accepted nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            seq_ms: [0; Self::ENTRIES],
            age_limit: None,
        }
    }

    /// A USIM that has accepted `seq` under every IND.
    #[must_use]
    pub const fn starting(seq: u64) -> Self {
        let seq = if seq > Sqn::MAX_SEQ { Sqn::MAX_SEQ } else { seq };
        Self {
            seq_ms: [seq; Self::ENTRIES],
            age_limit: None,
        }
    }

    /// With the age limit L (TS 33.102 C.2.2): a SEQ that lies L or more below the highest accepted one is refused even if its IND never
    /// saw it. The limit is configuration and no part of [`Array::to_bytes`].
    #[must_use]
    pub const fn with_age_limit(mut self, limit: Option<u64>) -> Self {
        self.age_limit = limit;
        self
    }

    /// The highest SEQ accepted so far, over all INDs.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.seq_ms.into_iter().max().unwrap_or(0)
    }

    /// Whether this SQN is fresh. Nothing changes.
    ///
    /// # Errors
    /// SQN_MS for AUTS when it is not: the highest SEQ accepted so far, with the IND that was asked for.
    pub fn check(&self, sqn: Sqn) -> Result<(), Sqn> {
        let (seq, highest) = (sqn.seq(), self.highest());
        let jump = seq.saturating_sub(highest) > DELTA;
        let aged = self.age_limit.is_some_and(|limit| highest > seq && highest - seq >= limit);
        let seen = seq <= self.seq_ms[usize::from(sqn.ind())];
        if jump || aged || seen {
            // Nothing above 43 bits gets into the array, and an IND out of an SQN has 5.
            Err(Sqn::new(highest, sqn.ind()).unwrap_or(sqn))
        } else {
            Ok(())
        }
    }

    /// Remembers an SQN that was accepted. What is remembered never falls.
    pub fn accept(&mut self, sqn: Sqn) {
        let entry = &mut self.seq_ms[usize::from(sqn.ind())];
        *entry = sqn.seq().max(*entry);
    }

    /// The 32 SEQs by IND, six bytes each.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (to, seq) in bytes.as_chunks_mut::<SEQ>().0.iter_mut().zip(self.seq_ms) {
            *to = seq_to_bytes(seq);
        }
        bytes
    }

    /// Reads what [`Array::to_bytes`] made, without an age limit; `None` for another length or a SEQ of more than 43 bits.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let mut array = Self::new();
        for (seq, bytes) in array.seq_ms.iter_mut().zip(bytes.as_chunks::<SEQ>().0) {
            *seq = seq_from_bytes(bytes)?;
        }
        Some(array)
    }
}

impl Default for Array {
    fn default() -> Self {
        Self::new()
    }
}

/// A phone's memory in profile P (docs/protocol.md section 5): the highest SEQ accepted from each of the 64 locks used last, and a floor
/// for all the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PerLock {
    floor: u64,
    /// Most recently used first.
    locks: Vec<(LockId, u64)>,
}

impl PerLock {
    /// How many locks are remembered.
    pub const ENTRIES: usize = 64;

    /// Lock id and SEQ.
    const ENTRY: usize = 8 + SEQ;

    /// A phone that has accepted nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            floor: 0,
            locks: Vec::new(),
        }
    }

    /// The SEQ that this lock has to exceed.
    #[must_use]
    pub fn highest(&self, lock: LockId) -> u64 {
        self.locks
            .iter()
            .find(|(known, _)| *known == lock)
            .map_or(self.floor, |(_, seq)| *seq)
    }

    /// Whether this SEQ from this lock is fresh. Nothing changes.
    ///
    /// # Errors
    /// The SEQ that was not exceeded (or was exceeded by more than [`DELTA`]) when it is not: SEQ of the SQN_MS for AUTS.
    pub fn check(&self, lock: LockId, seq: u64) -> Result<(), u64> {
        let highest = self.highest(lock);
        if seq > highest && seq - highest <= DELTA && seq <= Sqn::MAX_SEQ {
            Ok(())
        } else {
            Err(highest)
        }
    }

    /// Remembers a SEQ that was accepted from this lock, as the lock used last; the lock used least recently may be forgotten for it, into
    /// the floor. What is remembered of a lock never falls.
    pub fn accept(&mut self, lock: LockId, seq: u64) {
        let seq = seq.min(Sqn::MAX_SEQ).max(self.highest(lock));
        self.locks.retain(|(known, _)| *known != lock);
        self.locks.insert(0, (lock, seq));
        if self.locks.len() > Self::ENTRIES {
            let forgotten = self.locks.pop().map_or(0, |(_, seq)| seq);
            self.floor = self.floor.max(forgotten);
        }
    }

    /// The floor (6 bytes), then lock id (8) and SEQ (6) of each lock, the one used last first.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SEQ + self.locks.len() * Self::ENTRY);
        bytes.extend_from_slice(&seq_to_bytes(self.floor));
        for (lock, seq) in &self.locks {
            bytes.extend_from_slice(&lock.0);
            bytes.extend_from_slice(&seq_to_bytes(*seq));
        }
        bytes
    }

    /// Reads what [`PerLock::to_bytes`] made; `None` for anything else: another length, a SEQ of more than 43 bits, more than 64 locks or the
    /// same lock twice.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (floor, rest) = bytes.split_first_chunk::<SEQ>()?;
        let (entries, []) = rest.as_chunks::<{ Self::ENTRY }>() else {
            return None;
        };
        if entries.len() > Self::ENTRIES {
            return None;
        }
        let mut locks: Vec<(LockId, u64)> = Vec::with_capacity(entries.len() + 1);
        for entry in entries {
            let (lock, seq) = entry.split_first_chunk::<8>()?;
            let lock = LockId(*lock);
            if locks.iter().any(|(known, _)| *known == lock) {
                return None;
            }
            locks.push((lock, seq_from_bytes(seq.first_chunk()?)?));
        }
        Some(Self {
            floor: seq_from_bytes(floor)?,
            locks,
        })
    }
}

/// The home side's state for one subscriber (TS 33.102 C.1.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The SEQ used last.
    pub last: u64,
    /// How far the subscriber's time is from the home's: SEQ is about GLC + DIF.
    pub dif: i64,
}

impl State {
    /// `last`, then `dif` in two's complement, eight bytes each.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.last) << 64 | u128::from(self.dif as u64)).to_be_bytes()
    }

    /// Reads what [`State::to_bytes`] made; `None` for another length or a SEQ of more than 43 bits.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (last, dif) = bytes.split_first_chunk::<8>()?;
        let state = Self {
            last: u64::from_be_bytes(*last),
            dif: i64::from_be_bytes(dif.try_into().ok()?),
        };
        (state.last <= Sqn::MAX_SEQ).then_some(state)
    }
}

/// No SEQ is left below 2^43, or the clock is beyond it. The state stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sequence numbers are exhausted, or the clock is out of range")]
pub struct Exhausted;

/// Sequence numbers by time (TS 33.102 C.1.1.3): SEQ = max(GLC + DIF, last + 1), where GLC is [`Generator::glc`].
#[derive(Clone, Copy, Debug)]
pub struct Generator;

impl Generator {
    /// 2025-01-01 00:00:00 UTC, in seconds since 1970-01-01 UTC: where GLC is 0.
    pub const EPOCH: u64 = 1_735_689_600;

    /// GLC for a time in seconds since 1970-01-01 UTC. A time before the epoch counts as the epoch.
    #[must_use]
    pub const fn glc(unix_seconds: u64) -> u64 {
        unix_seconds.saturating_sub(Self::EPOCH)
    }

    /// The next SEQ, and the state to be stored durably before it is used. Without a state, the subscriber is new.
    ///
    /// # Errors
    /// [`Exhausted`] when the SEQ would have more than 43 bits: it never wraps.
    pub fn next(glc: u64, state: impl Into<Option<State>>) -> Result<(u64, State), Exhausted> {
        let state = state.into().unwrap_or_default();
        let timed = i128::from(glc) + i128::from(state.dif);
        let seq = timed.max(i128::from(state.last) + 1);
        match u64::try_from(seq) {
            Ok(seq) if seq <= Sqn::MAX_SEQ => Ok((seq, State { last: seq, ..state })),
            _ => Err(Exhausted),
        }
    }

    /// The state after an AUTS with a right MAC-S: DIF becomes SEQ_MS + 1 - GLC, so that the next SEQ is SEQ_MS + 1.
    ///
    /// If the subscriber would accept what comes after `last` anyway, `last` stays and nothing is used twice (TS 33.102 6.3.5);
    /// otherwise `last` becomes SEQ_MS, also when that is lower: the subscriber refuses all that lies more than [`DELTA`] above it.
    #[must_use]
    pub fn resynchronise(seq_ms: u64, glc: u64, state: impl Into<Option<State>>) -> State {
        let seq_ms = seq_ms.min(Sqn::MAX_SEQ);
        let last = state.into().unwrap_or_default().last;
        let acceptable = last > seq_ms && last - seq_ms < DELTA && last < Sqn::MAX_SEQ;
        let dif = i128::from(seq_ms) + 1 - i128::from(glc);
        State {
            last: if acceptable { last } else { seq_ms },
            dif: dif.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::collection::vec as many;
    use proptest::prelude::*;

    const A: LockId = LockId([1; 8]);
    const B: LockId = LockId([2; 8]);

    fn sqn(seq: u64, ind: u8) -> Sqn {
        Sqn::new(seq, ind).unwrap()
    }

    #[test]
    fn exactly_delta_is_accepted() {
        let mut array = Array::new();
        assert_eq!(array.check(sqn(DELTA, 3)), Ok(()));
        assert_eq!(array.check(sqn(DELTA + 1, 3)), Err(sqn(0, 3)));
        array.accept(sqn(5, 1));
        assert_eq!(array.check(sqn(DELTA + 5, 3)), Ok(()));
        assert_eq!(array.check(sqn(DELTA + 6, 3)), Err(sqn(5, 3)));

        let mut phone = PerLock::new();
        assert_eq!(phone.check(A, 0), Err(0));
        assert_eq!(phone.check(A, DELTA), Ok(()));
        assert_eq!(phone.check(A, DELTA + 1), Err(0));
        phone.accept(A, Sqn::MAX_SEQ);
        assert_eq!(phone.check(A, Sqn::MAX_SEQ + 1), Err(Sqn::MAX_SEQ));
        assert_eq!(phone.check(A, u64::MAX), Err(Sqn::MAX_SEQ));
    }

    #[test]
    fn an_older_seq_is_accepted_at_another_ind() {
        let mut array = Array::new();
        array.accept(sqn(100, 0));
        assert_eq!(array.check(sqn(67, 1)), Ok(()));
        let array = array.with_age_limit(Some(32));
        assert_eq!(array.check(sqn(68, 1)), Err(sqn(100, 1)));
        assert_eq!(array.check(sqn(69, 1)), Ok(()));
    }

    #[test]
    fn locks_are_apart() {
        let mut phone = PerLock::new();
        phone.accept(A, 1000);
        assert_eq!(phone.check(A, 1000), Err(1000));
        assert_eq!(phone.check(A, 1001), Ok(()));
        assert_eq!(phone.check(B, 1), Ok(()));
        phone.accept(A, 5);
        assert_eq!(phone.highest(A), 1000, "never falls");
    }

    #[test]
    fn the_least_recently_used_lock_is_forgotten_into_the_floor() {
        let lock = |n: u64| LockId(n.to_be_bytes());
        let mut phone = PerLock::new();
        for n in 0..64 {
            phone.accept(lock(n), 1000 - n);
        }
        phone.accept(lock(0), 2000);
        assert_eq!(phone.highest(lock(99)), 0, "64 are remembered");
        phone.accept(lock(64), 7);
        assert_eq!(phone.highest(lock(1)), 999, "the floor: lock 1 was forgotten");
        assert_eq!(phone.highest(lock(99)), 999);
        assert_eq!(phone.check(lock(1), 999), Err(999));
        assert_eq!(phone.highest(lock(0)), 2000);
        assert_eq!(phone.highest(lock(64)), 7, "its own SEQ, not the floor");
        phone.accept(lock(65), 1001);
        assert_eq!(phone.highest(lock(2)), 999, "the floor never falls");
        assert_eq!(phone.to_bytes().len(), 6 + 64 * 14);
        assert_eq!(PerLock::from_bytes(&phone.to_bytes()), Some(phone));
    }

    #[test]
    fn what_is_not_a_memory() {
        let entry = |id: u8, seq: [u8; 6]| [&[id; 8][..], &seq].concat();
        let floor = vec![0; 6];
        assert_eq!(PerLock::from_bytes(&[]), None);
        assert_eq!(PerLock::from_bytes(&floor), Some(PerLock::new()));
        assert_eq!(PerLock::from_bytes(&[floor.clone(), vec![0]].concat()), None);
        assert_eq!(PerLock::from_bytes(&[0xFF; 6]), None, "44 bits and more");
        assert_eq!(PerLock::from_bytes(&[floor.clone(), entry(1, [8, 0, 0, 0, 0, 0])].concat()), None);
        assert!(PerLock::from_bytes(&[floor.clone(), entry(1, [7, 0, 0, 0, 0, 0])].concat()).is_some());
        assert_eq!(
            PerLock::from_bytes(&[floor.clone(), entry(1, [0; 6]), entry(1, [0; 6])].concat()),
            None
        );
        let many = |n: u8| (0..n).fold(floor.clone(), |bytes, id| [bytes, entry(id, [0; 6])].concat());
        assert!(PerLock::from_bytes(&many(64)).is_some());
        assert_eq!(PerLock::from_bytes(&many(65)), None);
        assert_eq!(Array::from_bytes(&[0; 191]), None);
        assert_eq!(Array::from_bytes(&[0xFF; 192]), None);
        assert_eq!(Array::from_bytes(&[0; 192]), Some(Array::new()));
    }

    #[test]
    fn time_leads_unless_it_stands_still() {
        let (seq, state) = Generator::next(100, None).unwrap();
        assert_eq!((seq, state), (100, State { last: 100, dif: 0 }));
        assert_eq!(Generator::next(100, state).unwrap().0, 101);
        assert_eq!(Generator::next(50, state).unwrap().0, 101, "a clock set back");
        assert_eq!(Generator::next(200, state).unwrap().0, 200);
        assert_eq!(Generator::next(0, None).unwrap().0, 1, "0 is never fresh");
        assert_eq!(Generator::glc(0), 0);
        assert_eq!(Generator::glc(Generator::EPOCH + 7), 7);
    }

    #[test]
    fn resynchronised() {
        // The phone is ahead.
        let state = Generator::resynchronise(5000, 100, State { last: 100, dif: 0 });
        assert_eq!(state, State { last: 5000, dif: 4901 });
        assert_eq!(Generator::next(100, state).unwrap().0, 5001);
        assert_eq!(Generator::next(160, state).unwrap().0, 5061);
        // The home is further ahead than the phone allows: it comes down.
        let state = Generator::resynchronise(7, 2 * DELTA, State { last: 2 * DELTA, dif: 0 });
        assert_eq!(Generator::next(2 * DELTA, state).unwrap().0, 8);
        // The home is ahead and would be accepted: nothing is used twice.
        let state = Generator::resynchronise(7, 100, State { last: 100, dif: 0 });
        assert_eq!(Generator::next(100, state).unwrap().0, 101);
        // At the end of all numbers.
        let state = Generator::resynchronise(Sqn::MAX_SEQ, 0, None);
        assert_eq!(Generator::next(0, state), Err(Exhausted));
    }

    #[test]
    fn never_wraps() {
        let last = |last| State { last, dif: 0 };
        assert_eq!(Generator::next(0, last(Sqn::MAX_SEQ - 1)).unwrap().0, Sqn::MAX_SEQ);
        assert_eq!(Generator::next(0, last(Sqn::MAX_SEQ)), Err(Exhausted));
        assert_eq!(Generator::next(0, last(u64::MAX)), Err(Exhausted));
        assert_eq!(Generator::next(u64::MAX, None), Err(Exhausted));
        assert_eq!(Generator::next(u64::MAX, State { last: 0, dif: i64::MAX }), Err(Exhausted));
        assert_eq!(Generator::next(0, State { last: 9, dif: i64::MIN }).unwrap().0, 10);
        assert_eq!(Generator::resynchronise(0, u64::MAX, None).dif, i64::MIN);
        assert_eq!(
            Generator::resynchronise(u64::MAX, 0, None),
            State {
                last: Sqn::MAX_SEQ,
                dif: 1 << 43
            }
        );
    }

    fn seqs() -> impl Strategy<Value = u64> {
        prop_oneof![0..200u64, 0..=Sqn::MAX_SEQ]
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in many(any::<u8>(), 0..1000)) {
            if let Some(phone) = PerLock::from_bytes(&bytes) {
                prop_assert_eq!(phone.to_bytes(), &bytes[..]);
            }
            if let Some(array) = Array::from_bytes(&bytes) {
                prop_assert_eq!(&array.to_bytes()[..], &bytes[..]);
            }
            if let Some(state) = State::from_bytes(&bytes) {
                prop_assert_eq!(&state.to_bytes()[..], &bytes[..]);
            }
        }

        #[test]
        fn bytes_of_the_right_length(bytes: [u8; 16], entries in many((any::<[u8; 8]>(), seqs()), 0..70), floor in seqs(), all in many(seqs(), 32)) {
            if let Some(state) = State::from_bytes(&bytes) {
                prop_assert_eq!(state.to_bytes(), bytes);
            }
            let mut phone = seq_to_bytes(floor).to_vec();
            for (lock, seq) in &entries {
                phone.extend_from_slice(lock);
                phone.extend_from_slice(&seq_to_bytes(*seq));
            }
            let read = PerLock::from_bytes(&phone);
            prop_assert_eq!(read.is_some(), entries.len() <= 64);
            if let Some(read) = read {
                prop_assert_eq!(read.to_bytes(), phone);
            }
            let array: Vec<u8> = all.into_iter().flat_map(seq_to_bytes).collect();
            prop_assert_eq!(Array::from_bytes(&array).map(|a| a.to_bytes().to_vec()), Some(array));
        }

        /// Whatever is accepted is never accepted again, stored and read back in between.
        #[test]
        fn accepted_once(taps in many((any::<u8>(), 0..64u64), 0..300)) {
            let mut phone = PerLock::new();
            let mut array = Array::new();
            let mut done = Vec::new();
            for (id, seq) in taps {
                let lock = LockId([id; 8]);
                if phone.check(lock, seq).is_ok() {
                    phone.accept(lock, seq);
                    prop_assert!(!done.contains(&(lock, seq)));
                    done.push((lock, seq));
                    prop_assert!(phone.check(lock, seq).is_err());
                }
                phone = PerLock::from_bytes(&phone.to_bytes()).unwrap();
                let sqn = sqn(seq, id % 32);
                let age = array.clone().with_age_limit(Some(16));
                prop_assert!(array.check(sqn).is_ok() || age.check(sqn).is_err());
                if array.check(sqn).is_ok() {
                    array.accept(sqn);
                    prop_assert_eq!(array.check(sqn), Err(Sqn::new(array.highest(), sqn.ind()).unwrap()));
                }
                array = Array::from_bytes(&array.to_bytes()).unwrap();
            }
        }

        /// After any AUTS the phone accepts what comes next, whatever the home side thought before.
        #[test]
        fn one_resynchronisation_is_enough(seq_ms in 0..Sqn::MAX_SEQ, glc in prop_oneof![0..1u64 << 33, 0..1u64 << 63], last in seqs(), dif: i64) {
            let state = Generator::resynchronise(seq_ms, glc, State { last, dif });
            let (seq, after) = Generator::next(glc, state).unwrap();
            let mut phone = PerLock::new();
            phone.accept(A, seq_ms);
            prop_assert_eq!(phone.check(A, seq), Ok(()));
            prop_assert_eq!(after.last, seq);
            prop_assert_eq!(State::from_bytes(&after.to_bytes()), Some(after));
            if let Ok((following, _)) = Generator::next(glc, after) {
                prop_assert_eq!(following, seq + 1);
            }
        }
    }
}
