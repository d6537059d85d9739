//! The host of a test USIM, in the lock's chip (docs/protocol.md section 6).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::decode_imsi;
use crate::aka::{Algorithm, Auts, Rand, sequence};
use crate::apdu::{Command, Response};
use crate::crypto;
use crate::door::{BeginData, LockStep, Outcome, Reason, Verdict};
use crate::ids::LockId;
use crate::status::StatusWord;
use crate::tlv;
use crate::vault::{KeyRef, Peer, Vault};

/// First bytes of every USIM's AID (TS 101 220).
const USIM_PREFIX: &[u8] = &[0xA0, 0x00, 0x00, 0x00, 0x87, 0x10, 0x02];
/// EF.DIR is not read further than this, whatever a card says.
const MAX_DIR_RECORDS: u8 = 16;
/// GET RESPONSE after one command is not repeated more often than this.
const MAX_PARTS: u8 = 8;

/// A subscriber that was found, and the state of its authentication.
#[derive(Debug)]
struct Subscriber {
    peer: Peer,
    key: KeyRef,
    algorithm: Algorithm,
}

#[derive(Debug)]
struct Challenge {
    subscriber: Subscriber,
    rand: Rand,
    xres: Vec<u8>,
    session: KeyRef,
    resynchronised: bool,
}

/// What was sent last.
#[derive(Debug)]
enum State {
    Idle,
    SelectPartial,
    SelectDir,
    ReadDir { record: u8 },
    SelectFull,
    Verify,
    SelectImsi,
    ReadImsi,
    Authenticate(Challenge),
}

/// The USIM host application in the lock's chip.
#[derive(Debug)]
pub struct Host {
    lock: LockId,
    pin: Option<String>,
    clock: u32,
    state: State,
    /// The last command, for 6Cxx, and what 61xx brought so far.
    sent: Vec<u8>,
    received: Vec<u8>,
    parts: u8,
}

impl Host {
    /// The host in this lock; `pin` for cards that ask for one (4 to 8 digits).
    #[must_use]
    pub fn new(lock: LockId, pin: Option<String>) -> Self {
        Self {
            lock,
            pin,
            clock: 0,
            state: State::Idle,
            sent: Vec::new(),
            received: Vec::new(),
            parts: 0,
        }
    }

    /// BEGIN: the clock in, the first SELECT out.
    ///
    /// # Errors
    /// 6A80 for data that are not BEGIN's.
    pub fn begin<V: Vault>(&mut self, vault: &mut V, data: &[u8]) -> Result<LockStep, StatusWord> {
        self.reset(vault);
        self.clock = BeginData::parse(data).ok_or(StatusWord::WRONG_DATA)?.clock;
        self.state = State::SelectPartial;
        self.send(Command::new(0x00, 0xA4, 0x04, 0x04).data(USIM_PREFIX).ne(256))
    }

    /// NEXT: the card's answer in, the next command or the verdict out. Follows 61xx and 6Cxx itself.
    ///
    /// # Errors
    /// 6985 without BEGIN, and what the vault refuses.
    pub fn next<V: Vault>(&mut self, vault: &mut V, answer: &[u8]) -> Result<LockStep, StatusWord> {
        if matches!(self.state, State::Idle) {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        }
        let Ok(response) = Response::parse(answer) else {
            return Ok(self.refuse(vault, Reason::CardError, "the card answered without a status word"));
        };
        match response.sw.sw1() {
            0x61 | 0x6C if self.parts >= MAX_PARTS => {
                return Ok(self.refuse(vault, Reason::CardError, "the card asks for GET RESPONSE without end"));
            }
            0x61 => {
                self.parts += 1;
                self.received.extend_from_slice(response.data);
                let le = response.sw.sw2();
                return Ok(LockStep::Transmit {
                    command: Vec::from([0x00, 0xC0, 0x00, 0x00, le]),
                    phone: None,
                });
            }
            0x6C => {
                self.parts += 1;
                if let Ok(command) = Command::parse(&self.sent) {
                    let le = response.sw.sw2();
                    let command = command.ne(if le == 0 { 256 } else { u32::from(le) }).encode();
                    return Ok(LockStep::Transmit {
                        command: command.map_err(|_| StatusWord::NO_DIAGNOSIS)?,
                        phone: None,
                    });
                }
            }
            _ => {}
        }
        let mut data = core::mem::take(&mut self.received);
        data.extend_from_slice(response.data);
        self.advance(vault, &data, response.sw)
    }

    fn advance<V: Vault>(&mut self, vault: &mut V, data: &[u8], sw: StatusWord) -> Result<LockStep, StatusWord> {
        let ok = sw.is_ok() || sw.sw1() == 0x91;
        match core::mem::replace(&mut self.state, State::Idle) {
            State::Idle => Err(StatusWord::CONDITIONS_NOT_SATISFIED),
            State::SelectPartial if sw == StatusWord::NOT_FOUND => {
                self.state = State::SelectDir;
                self.send(Command::new(0x00, 0xA4, 0x08, 0x0C).data(&[0x2F, 0x00]))
            }
            State::SelectPartial | State::SelectFull if ok => self.selected(),
            State::SelectDir if ok => self.read_dir(1),
            State::SelectPartial | State::SelectDir | State::SelectFull => {
                Ok(self.refuse(vault, Reason::AppMissing, &format!("no USIM on this card (SELECT: {sw})")))
            }
            State::ReadDir { record } if ok => {
                let aid = tlv::find(data, 0x61)
                    .and_then(|entry| tlv::find(entry, 0x4F))
                    .filter(|aid| aid.starts_with(USIM_PREFIX));
                match aid {
                    Some(aid) => {
                        self.state = State::SelectFull;
                        self.send(Command::new(0x00, 0xA4, 0x04, 0x04).data(aid).ne(256))
                    }
                    None if record < MAX_DIR_RECORDS => self.read_dir(record + 1),
                    None => Ok(self.refuse(vault, Reason::AppMissing, "EF.DIR names no USIM")),
                }
            }
            State::ReadDir { .. } => Ok(self.refuse(vault, Reason::AppMissing, &format!("EF.DIR names no USIM ({sw})"))),
            State::Verify if ok => self.select_imsi(),
            State::Verify => Ok(self.refuse(
                vault,
                Reason::CardError,
                &format!("the card refused the PIN ({sw}); it was tried once only"),
            )),
            State::SelectImsi if ok => {
                self.state = State::ReadImsi;
                self.send(Command::new(0x00, 0xB0, 0x00, 0x00).ne(9))
            }
            State::ReadImsi if ok => self.imsi(vault, data),
            State::SelectImsi | State::ReadImsi if sw == StatusWord::SECURITY_STATUS => {
                Ok(self.refuse(vault, Reason::Policy, "EF_IMSI needs the PIN: configure it"))
            }
            State::SelectImsi | State::ReadImsi => Ok(self.refuse(vault, Reason::CardError, &format!("EF_IMSI cannot be read ({sw})"))),
            State::Authenticate(challenge) => self.judge(vault, challenge, data, sw),
        }
    }

    fn selected(&mut self) -> Result<LockStep, StatusWord> {
        let Some(pin) = self.pin.clone() else { return self.select_imsi() };
        let mut padded = [0xFF; 8];
        for (slot, digit) in padded.iter_mut().zip(pin.bytes()) {
            *slot = digit;
        }
        self.state = State::Verify;
        self.send(Command::new(0x00, 0x20, 0x00, 0x01).data(&padded))
    }

    fn select_imsi(&mut self) -> Result<LockStep, StatusWord> {
        self.state = State::SelectImsi;
        self.send(Command::new(0x00, 0xA4, 0x00, 0x04).data(&[0x6F, 0x07]).ne(256))
    }

    fn read_dir(&mut self, record: u8) -> Result<LockStep, StatusWord> {
        self.state = State::ReadDir { record };
        self.send(Command::new(0x00, 0xB2, record, 0x04).ne(256))
    }

    fn imsi<V: Vault>(&mut self, vault: &mut V, file: &[u8]) -> Result<LockStep, StatusWord> {
        let Some(imsi) = decode_imsi(file) else {
            return Ok(self.refuse(vault, Reason::CardError, "EF_IMSI holds no IMSI"));
        };
        let Some((peer, key, algorithm)) = vault.find_subscriber(&imsi)? else {
            return Ok(self.refuse(vault, Reason::UnknownPhone, "this USIM's IMSI is not on the list"));
        };
        if peer.not_after != 0 && peer.not_after <= self.clock {
            return Ok(Outcome {
                control_flow: None,
                ..Outcome::refused(Reason::NotEntitled, Some(peer.phone), "the list entry has ended")
            }
            .into());
        }
        self.challenge(vault, Subscriber { peer, key, algorithm }, false)
    }

    fn challenge<V: Vault>(&mut self, vault: &mut V, subscriber: Subscriber, resynchronised: bool) -> Result<LockStep, StatusWord> {
        let ind = self.lock.0[7] & 0x1F;
        let sqn = sequence::next(vault, subscriber.peer.phone, self.clock, ind)?;
        let mut rand = [0; 16];
        vault.random(&mut rand)?;
        let rand = Rand(rand);
        let vector = vault.aka_vector(subscriber.key, subscriber.algorithm, &rand, sqn)?;
        let mut data = [0x10; 34];
        data[1..17].copy_from_slice(&rand.0);
        data[18..].copy_from_slice(&vector.autn.0);
        let phone = Some(subscriber.peer.phone);
        self.state = State::Authenticate(Challenge {
            subscriber,
            rand,
            xres: vector.xres,
            session: vector.session,
            resynchronised,
        });
        match self.send(Command::new(0x00, 0x88, 0x00, 0x81).data(&data).ne(256))? {
            LockStep::Transmit { command, .. } => Ok(LockStep::Transmit { command, phone }),
            done @ LockStep::Done(_) => Ok(done),
        }
    }

    fn judge<V: Vault>(&mut self, vault: &mut V, challenge: Challenge, data: &[u8], sw: StatusWord) -> Result<LockStep, StatusWord> {
        vault.forget(challenge.session);
        let phone = Some(challenge.subscriber.peer.phone);
        let refused = |reason, evidence: &str| {
            Ok(LockStep::Done(Outcome {
                control_flow: None,
                ..Outcome::refused(reason, phone, evidence)
            }))
        };
        if sw == StatusWord::AUTHENTICATION_FAILED {
            return refused(Reason::WrongKey, "the USIM says that AUTN's MAC is wrong (9862)");
        }
        if !(sw.is_ok() || sw.sw1() == 0x91) {
            return refused(Reason::CardError, &format!("AUTHENTICATE was answered with {sw}"));
        }
        match data {
            [0xDB, length, rest @ ..] if rest.len() >= usize::from(*length) => {
                let res = &rest[..usize::from(*length)];
                if !crypto::equal(res, &challenge.xres) {
                    return refused(Reason::WrongKey, "RES is not the expected one");
                }
                let evidence = format!("AUTN and RES are right (USIM, {})", challenge.subscriber.algorithm.name());
                Ok(Outcome {
                    verdict: Verdict::Open,
                    phone,
                    flags: None,
                    control_flow: None,
                    evidence,
                }
                .into())
            }
            [0xDC, 14, auts @ ..] if auts.len() == 14 => {
                let auts = Auts(auts.try_into().map_err(|_| StatusWord::NO_DIAGNOSIS)?);
                let subscriber = challenge.subscriber;
                let Some(sqn_ms) = vault.aka_resynchronise(subscriber.key, subscriber.algorithm, &challenge.rand, &auts)? else {
                    return refused(Reason::WrongKey, "AUTS has a wrong MAC-S");
                };
                if challenge.resynchronised {
                    return refused(
                        Reason::ResyncFailed,
                        &format!("the USIM refused the sequence number twice (SEQ_MS {})", sqn_ms.seq()),
                    );
                }
                sequence::resynchronise(vault, subscriber.peer.phone, self.clock, sqn_ms)?;
                self.challenge(vault, subscriber, true)
            }
            _ => refused(
                Reason::CardError,
                &format!("AUTHENTICATE was answered with {} bytes that are neither DB nor DC", data.len()),
            ),
        }
    }

    fn send(&mut self, command: Command<'_>) -> Result<LockStep, StatusWord> {
        command.encode_into(&mut self.sent).map_err(|_| StatusWord::NO_DIAGNOSIS)?;
        self.received.clear();
        self.parts = 0;
        Ok(LockStep::Transmit {
            command: self.sent.clone(),
            phone: None,
        })
    }

    fn refuse<V: Vault>(&mut self, vault: &mut V, reason: Reason, evidence: &str) -> LockStep {
        self.reset(vault);
        // A USIM knows no CONTROL FLOW.
        Outcome {
            control_flow: None,
            ..Outcome::refused(reason, None, evidence)
        }
        .into()
    }

    /// Forgets a tap that was not finished.
    pub fn reset<V: Vault>(&mut self, vault: &mut V) {
        if let State::Authenticate(challenge) = core::mem::replace(&mut self.state, State::Idle) {
            vault.forget(challenge.session);
        }
        self.received.clear();
        self.sent.clear();
        self.parts = 0;
    }
}
