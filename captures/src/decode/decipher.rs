//! What is enciphered in Aliro transactions, where the keys are given (docs/aliro.md). It follows the APDUs by itself: chains, answers in parts.

use std::fmt;
use std::sync::Arc;

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro::auth::{Auth0Command, Auth0Response};
use tapdoor_protocol::aliro::exchange::ExchangeResponse;
use tapdoor_protocol::aliro::recognition::Recognition;
use tapdoor_protocol::aliro::schedule::Transcript;
use tapdoor_protocol::aliro::vault::kdh;
use tapdoor_protocol::aliro::{Bitmap, PublicKey, ReaderStatus, ins};
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::crypto::{gcm_open, hkdf_sha256};
use tapdoor_protocol::tlv;

use super::Field;
use crate::event::{Direction, Event};

/// Most bytes that are collected of a chain or an answer.
const MOST: usize = 65_536;
/// Random draws of a lock's chip that are kept: its ephemeral key is the last but one, or near.
const MOST_DRAWN: usize = 4;
/// Kpersistent that are kept of a tape.
const MOST_LEARNT: usize = 64;

/// What opens enciphered parts of Aliro transactions. All are tried.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AliroKeys {
    /// Ephemeral private keys of either side: open what follows AUTH1.
    pub ephemerals: Vec<[u8; 32]>,
    /// Kpersistent: open fast transactions.
    pub kpersistent: Vec<[u8; 32]>,
    /// Reader group identifier keys.
    pub group_keys: Vec<PublicKey>,
    /// Credentials, for the fast phase.
    pub credentials: Vec<PublicKey>,
}

impl fmt::Debug for AliroKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AliroKeys({} ephemeral, {} Kpersistent)",
            self.ephemerals.len(),
            self.kpersistent.len()
        )
    }
}

/// Keys and counters of a channel that was found.
#[derive(Clone)]
struct Channel {
    reader: [u8; 32],
    device: [u8; 32],
    sent: u32,
    received: u32,
}

/// What was seen of a transaction.
#[derive(Clone, Default)]
pub(super) struct Transaction {
    keys: Arc<AliroKeys>,
    /// Keys of the tape itself, the last first.
    drawn: Vec<[u8; 32]>,
    learnt: Vec<[u8; 32]>,
    selected: bool,
    /// The instruction that is to be answered; none for SELECT of the expedited phase.
    asked: Option<u8>,
    a5: Vec<u8>,
    auth0: Option<Auth0Command>,
    response: Option<Auth0Response>,
    channel: Option<Channel>,
    chain: Vec<u8>,
    parts: Vec<u8>,
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Transaction(channel: {})", self.channel.is_some())
    }
}

fn nonce(from_device: bool, counter: u32) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[7] = u8::from(from_device);
    nonce[8..].copy_from_slice(&counter.to_be_bytes());
    nonce
}

const AUTH1_ANSWER: [(u32, &str); 7] = [
    (0x4E, "key slot"),
    (0x5A, "credential"),
    (0x9E, "device signature"),
    (0x4B, "private mailbox"),
    (0x5E, "signalling"),
    (0x91, "credential signed"),
    (0x92, "revocation signed"),
];
const EXCHANGE: [(u32, &str); 9] = [
    (0xBA, "mailbox"),
    (0xAE, "notify"),
    (0x97, "reader status"),
    (0x98, "make URSK available"),
    (0x81, "update document"),
    (0x8C, "atomic"),
    (0x87, "read"),
    (0x8A, "write"),
    (0x95, "set"),
];

/// Data objects by name; words behind those that have a meaning.
fn named(bytes: &[u8], table: &[(u32, &str)]) -> Vec<Field> {
    let mut fields = Vec::new();
    for object in tlv::iter(bytes) {
        let Ok(object) = object else {
            fields.push(Field::new("not data objects", hex::encode(bytes)));
            break;
        };
        if object.tag.0 == 0xBA {
            fields.extend(named(object.value, table));
            continue;
        }
        let name = table.iter().find(|(tag, _)| *tag == object.tag.0);
        let name = name.map_or_else(|| format!("tag {:02x}", object.tag.0), |(_, name)| (*name).to_owned());
        let words = match (object.tag.0, object.value) {
            (0x5E, &[a, b]) => {
                let words: Vec<&str> = Bitmap(u16::from_be_bytes([a, b])).words().collect();
                if words.is_empty() {
                    String::new()
                } else {
                    format!(" ({})", words.join(", "))
                }
            }
            (0x97, &[a, b]) => format!(" ({})", ReaderStatus(u16::from_be_bytes([a, b])).meaning()),
            _ => String::new(),
        };
        fields.push(Field::new(name, hex::encode(object.value) + &words));
    }
    fields
}

fn deciphered(plain: &[u8], table: &[(u32, &str)]) -> Vec<Field> {
    let mut fields = vec![Field::new("deciphered", format!("{} bytes", plain.len()))];
    fields.extend(named(plain, table));
    fields
}

impl Transaction {
    /// With these keys; none without any.
    pub(super) fn new(keys: &AliroKeys) -> Option<Box<Self>> {
        // Without keys at first: the tape itself may hold some.
        (!keys.group_keys.is_empty()).then(|| {
            Box::new(Self {
                keys: Arc::new(keys.clone()),
                ..Self::default()
            })
        })
    }

    /// What the lock's chip drew at random, on a tape that holds it: its ephemeral key among it.
    pub(super) fn drawn(&mut self, event: &Event) {
        let drawn = event.extra.text("random").and_then(|digits| hex::decode(digits).ok());
        if let Some(Ok(key)) = drawn.map(<[u8; 32]>::try_from) {
            self.drawn.truncate(MOST_DRAWN - 1);
            self.drawn.insert(0, key);
        }
    }

    /// The Kpersistent that this standard transaction leaves behind, for the fast ones that follow.
    fn learn(&mut self, transcript: &Transcript, kdh: &[u8; 32], plain: &[u8]) {
        let named = |credential: &&PublicKey| match (tlv::find(plain, 0x5A), tlv::find(plain, 0x4E)) {
            (Some(key), _) => credential.0 == key,
            (None, Some(slot)) => credential.slot().0 == slot,
            _ => false,
        };
        let Some(credential) = self.keys.credentials.iter().find(named) else {
            return;
        };
        let (salt, info) = transcript.remembering(credential);
        let mut key = [0; 32];
        hkdf_sha256(kdh, &[&salt], &[&info], &mut key);
        if !self.learnt.contains(&key) {
            self.learnt.truncate(MOST_LEARNT - 1);
            self.learnt.insert(0, key);
        }
    }

    /// An APDU: what it says beyond what can be seen.
    pub(super) fn feed(&mut self, dir: Direction, data: &[u8]) -> Vec<Field> {
        match dir {
            Direction::Out => self.command(data),
            Direction::In => self.answered(data),
        }
    }

    fn command(&mut self, bytes: &[u8]) -> Vec<Field> {
        let Ok(command) = Command::parse(bytes) else {
            return Vec::new();
        };
        if command.ins == 0xC0 {
            return Vec::new();
        }
        self.parts.clear();
        if (command.cla, command.ins, command.p1) == (0x00, 0xA4, 0x04) {
            *self = Self {
                keys: Arc::clone(&self.keys),
                drawn: std::mem::take(&mut self.drawn),
                learnt: std::mem::take(&mut self.learnt),
                selected: command.data == Aid::ALIRO_EXPEDITED.as_bytes(),
                ..Self::default()
            };
            return Vec::new();
        }
        if self.chain.len() + command.data.len() > MOST {
            self.chain.clear();
        }
        self.chain.extend_from_slice(command.data);
        if !self.selected || command.is_chained() {
            return Vec::new();
        }
        let data = std::mem::take(&mut self.chain);
        self.asked = Some(command.ins);
        match command.ins {
            ins::AUTH0 => {
                self.auth0 = Auth0Command::parse(&data).ok();
                (self.response, self.channel) = (None, None);
                Vec::new()
            }
            ins::EXCHANGE => match self.opened(false, &data) {
                Some(plain) => deciphered(&plain, &EXCHANGE),
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    fn answered(&mut self, bytes: &[u8]) -> Vec<Field> {
        let Some((data, sw)) = bytes.split_last_chunk::<2>() else {
            return Vec::new();
        };
        if self.parts.len() + data.len() > MOST {
            self.parts.clear();
        }
        self.parts.extend_from_slice(data);
        if !self.selected || !self.chain.is_empty() || sw[0] == 0x61 {
            return Vec::new();
        }
        let data = std::mem::take(&mut self.parts);
        match self.asked {
            None => {
                self.chosen(&data);
                Vec::new()
            }
            Some(ins::AUTH0) => {
                let fast = self.auth0.as_ref().is_some_and(Auth0Command::is_fast);
                self.response = Auth0Response::parse(&data, fast).ok();
                self.fast().map(|plain| deciphered(&plain, &AUTH1_ANSWER)).unwrap_or_default()
            }
            Some(ins::AUTH1) => self
                .standard(&data)
                .map(|plain| deciphered(&plain, &AUTH1_ANSWER))
                .unwrap_or_default(),
            Some(ins::EXCHANGE) => match self.opened(true, &data).as_deref().map(ExchangeResponse::parse) {
                Some(Some(response)) => {
                    let mut fields: Vec<Field> = response.reads.iter().map(|read| Field::new("read", hex::encode(read))).collect();
                    let words = if response.status == 0 { "done" } else { "refused" };
                    fields.push(Field::new("B1 B2", format!("{:04x} ({words})", response.status)));
                    fields
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// SELECT was answered: the bytes of the A5 as they stand, which keys are bound to.
    fn chosen(&mut self, data: &[u8]) {
        let mut rest = tlv::find(data, 0x6F).unwrap_or_default();
        while let Ok((object, after)) = tlv::read(rest) {
            if object.tag.0 == 0xA5 {
                self.a5 = rest.get(..rest.len() - after.len()).unwrap_or_default().to_vec();
            }
            rest = after;
        }
    }

    /// The next message of the channel. Its counter goes up in any case.
    fn opened(&mut self, from_device: bool, sealed: &[u8]) -> Option<Vec<u8>> {
        let channel = self.channel.as_mut()?;
        let (key, counter) = if from_device {
            (&channel.device, &mut channel.received)
        } else {
            (&channel.reader, &mut channel.sent)
        };
        let opened = gcm_open(key, &nonce(from_device, *counter), sealed);
        *counter = counter.saturating_add(1);
        opened
    }

    fn transcripts(&self) -> Vec<Transcript> {
        let (Some(auth0), Some(response)) = (&self.auth0, &self.response) else {
            return Vec::new();
        };
        let with = |group_key: &PublicKey| Transcript {
            group_key: *group_key,
            auth0: auth0.clone(),
            a5: self.a5.clone(),
            device: response.ephemeral,
            vendor: response.vendor.clone(),
        };
        self.keys.group_keys.iter().map(with).collect()
    }

    fn fast(&mut self) -> Option<Vec<u8>> {
        let cryptogram = self.response.as_ref()?.cryptogram?;
        for transcript in self.transcripts() {
            let (salt, info) = transcript.recognition();
            let recognition = Recognition::new(&salt, &info, &cryptogram);
            for kpersistent in self.learnt.iter().chain(&self.keys.kpersistent) {
                for credential in &self.keys.credentials {
                    let Some(plain) = recognition.open(kpersistent, credential) else {
                        continue;
                    };
                    let mut okm = [[0; 32]; 3];
                    hkdf_sha256(kpersistent, &[&salt, credential.x()], &[&info], okm.as_flattened_mut());
                    let [_, reader, device] = okm;
                    self.channel = Some(Channel {
                        reader,
                        device,
                        sent: 1,
                        received: 1,
                    });
                    return Some(plain);
                }
            }
        }
        None
    }

    fn standard(&mut self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.channel = None;
        for transcript in self.transcripts() {
            let (salt, info) = transcript.agreement();
            for ephemeral in self.drawn.clone().iter().chain(self.keys.clone().ephemerals.iter()) {
                let own = SecretScalar(*ephemeral);
                for public in [&transcript.device, &transcript.auth0.ephemeral] {
                    let Some(kdh) = kdh(&own, public, &transcript.auth0.transaction) else {
                        continue;
                    };
                    let mut okm = [[0; 32]; 2];
                    hkdf_sha256(&*kdh, &[&salt], &[&info], okm.as_flattened_mut());
                    let [reader, device] = okm;
                    if let Some(plain) = gcm_open(&device, &nonce(true, 1), sealed) {
                        self.learn(&transcript, &kdh, &plain);
                        self.channel = Some(Channel {
                            reader,
                            device,
                            sent: 1,
                            received: 2,
                        });
                        return Some(plain);
                    }
                }
            }
        }
        None
    }
}
