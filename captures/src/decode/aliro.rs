//! Aliro's commands and answers by name, and what is enciphered, where the keys are given (docs/aliro.md).

use std::fmt;
use std::sync::Arc;

use tapdoor_protocol::aliro::auth::{Auth0Command, Auth0Response};
use tapdoor_protocol::aliro::certificate::Certificate;
use tapdoor_protocol::aliro::exchange::ExchangeResponse;
use tapdoor_protocol::aliro::schedule::Transcript;
use tapdoor_protocol::aliro::vault::{kdh, open_cryptogram};
use tapdoor_protocol::aliro::{Bitmap, ControlFlow, PublicKey, ReaderStatus, ins};
use tapdoor_protocol::crypto::ecies::SecretScalar;
use tapdoor_protocol::crypto::{gcm_open, hkdf_sha256};
use tapdoor_protocol::tlv;

use super::Field;
use super::view::{Held, View};

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
    pub(super) keys: Arc<AliroKeys>,
    a5: Vec<u8>,
    auth0: Option<Auth0Command>,
    response: Option<Auth0Response>,
    channel: Option<Channel>,
    chain: Held,
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

const AUTH0: [(u32, &str); 7] = [
    (0x41, "parameters"),
    (0x42, "policy"),
    (0x5C, "version"),
    (0x87, "reader ephemeral"),
    (0x4C, "transaction"),
    (0x4D, "reader"),
    (0xB1, "vendor"),
];
const AUTH0_ANSWER: [(u32, &str); 3] = [(0x86, "device ephemeral"), (0x9D, "cryptogram"), (0xB2, "vendor")];
const AUTH1: [(u32, &str); 3] = [(0x41, "parameters"), (0x9E, "reader signature"), (0x90, "certificate")];
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
fn named(view: View<'_>, table: &[(u32, &str)]) -> Vec<Field> {
    let mut fields = Vec::new();
    for object in tlv::iter(view.bytes()) {
        let Ok(object) = object else {
            fields.extend(view.field("not data objects"));
            break;
        };
        let value = view.find(object.value);
        if object.tag.0 == 0xBA {
            fields.extend(named(value, table));
            continue;
        }
        let name = table.iter().find(|(tag, _)| *tag == object.tag.0);
        let name = name.map_or_else(|| format!("tag {:02x}", object.tag.0), |(_, name)| (*name).to_owned());
        let words = match (object.tag.0, object.value) {
            (0x41, [0]) if name == "parameters" => " (standard, or key slot)".to_owned(),
            (0x41, [1]) if name == "parameters" => " (fast, or public key)".to_owned(),
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
        fields.push(Field::new(name, value.hex() + &words));
    }
    fields
}

/// The same for what was deciphered.
fn deciphered(plain: &[u8], table: &[(u32, &str)]) -> Vec<Field> {
    let held = Held::new(plain, &[]);
    let mut fields = vec![Field::new("deciphered", format!("{} bytes", plain.len()))];
    fields.extend(named(held.view(), table));
    fields
}

impl Transaction {
    /// SELECT was answered: a new transaction.
    pub(super) fn selected(&mut self, data: View<'_>) -> Vec<Field> {
        *self = Self {
            keys: Arc::clone(&self.keys),
            ..Self::default()
        };
        let Some(template) = tlv::find(data.bytes(), 0x6F) else {
            return data.field("data");
        };
        // The bytes of the A5 as they stand, which keys are bound to.
        let mut rest = template;
        while let Ok((object, after)) = tlv::read(rest) {
            if object.tag.0 == 0xA5 {
                self.a5 = rest.get(..rest.len() - after.len()).unwrap_or_default().to_vec();
                let table = [(0x80, "type"), (0x5C, "versions"), (0x7F66, "lengths"), (0xB3, "descriptor")];
                return named(data.find(object.value), &table);
            }
            rest = after;
        }
        data.field("data")
    }

    /// A command after SELECT; `None` for one that is not Aliro's.
    pub(super) fn command(&mut self, code: u8, data: View<'_>, chained: bool) -> Option<(String, Vec<Field>)> {
        let name = match code {
            ins::AUTH0 => "AUTH0",
            ins::AUTH1 => "AUTH1",
            ins::LOAD_CERT => "LOAD CERT",
            ins::EXCHANGE => "EXCHANGE",
            ins::CONTROL_FLOW => "CONTROL FLOW",
            _ => return None,
        };
        self.chain.extend(data);
        if chained {
            return Some((name.into(), Vec::new()));
        }
        let chain = std::mem::take(&mut self.chain);
        let view = chain.view();
        let fields = match code {
            ins::AUTH0 => {
                self.auth0 = Auth0Command::parse(view.bytes()).ok();
                (self.response, self.channel) = (None, None);
                named(view, &AUTH0)
            }
            ins::AUTH1 => named(view, &AUTH1),
            ins::LOAD_CERT => certificate(view),
            ins::EXCHANGE => self.exchange(view),
            _ => {
                let words = match ControlFlow::parse(view.bytes()) {
                    Ok(ControlFlow { s2: 0, .. }) => "failed, no information",
                    Ok(ControlFlow { s2: 0x27, .. }) => "failed, protocol version not supported",
                    _ => "of unknown form",
                };
                let mut fields = vec![Field::new("meaning", words)];
                fields.extend(named(view, &[(0x41, "S1"), (0x42, "S2"), (0x43, "domain data")]));
                fields
            }
        };
        Some((name.into(), fields))
    }

    /// The answer to the command with this instruction byte.
    pub(super) fn answer(&mut self, code: u8, data: View<'_>) -> Vec<Field> {
        match code {
            ins::AUTH0 => {
                let fast = self.auth0.as_ref().is_some_and(Auth0Command::is_fast);
                self.response = Auth0Response::parse(data.bytes(), fast).ok();
                let mut fields = named(data, &AUTH0_ANSWER);
                if let Some(plain) = self.fast() {
                    fields.extend(deciphered(&plain, &AUTH1_ANSWER));
                }
                fields
            }
            ins::AUTH1 => match self.standard(data.bytes()) {
                Some(plain) => deciphered(&plain, &AUTH1_ANSWER),
                None => data.field("enciphered"),
            },
            ins::EXCHANGE => match self.opened(true, data.bytes()).as_deref().map(ExchangeResponse::parse) {
                Some(Some(response)) => {
                    let mut fields: Vec<Field> = response.reads.iter().map(|read| Field::new("read", hex::encode(read))).collect();
                    let words = if response.status == 0 { "done" } else { "refused" };
                    fields.push(Field::new("B1 B2", format!("{:04x} ({words})", response.status)));
                    fields
                }
                _ => data.field("enciphered"),
            },
            _ => data.field("data"),
        }
    }

    fn exchange(&mut self, view: View<'_>) -> Vec<Field> {
        match self.opened(false, view.bytes()) {
            Some(plain) => deciphered(&plain, &EXCHANGE),
            None => view.field("enciphered"),
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
            for kpersistent in &self.keys.kpersistent {
                for credential in &self.keys.credentials {
                    let Some(plain) = open_cryptogram(kpersistent, credential, &salt, &info, &cryptogram) else {
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
            for ephemeral in &self.keys.ephemerals {
                let own = SecretScalar(*ephemeral);
                for public in [&transcript.device, &transcript.auth0.ephemeral] {
                    let Some(kdh) = kdh(&own, public, &transcript.auth0.transaction) else {
                        continue;
                    };
                    let mut okm = [[0; 32]; 2];
                    hkdf_sha256(&*kdh, &[&salt], &[&info], okm.as_flattened_mut());
                    let [reader, device] = okm;
                    if let Some(plain) = gcm_open(&device, &nonce(true, 1), sealed) {
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

fn certificate(view: View<'_>) -> Vec<Field> {
    match Certificate::parse(view.bytes()) {
        Ok(certificate) => {
            let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let f = &certificate.fields;
            vec![
                Field::new("serial", hex::encode(&f.serial)),
                Field::new("issuer", words(&f.issuer)),
                Field::new("valid", format!("{} to {}", words(&f.not_before), words(&f.not_after))),
                Field::new("subject", words(&f.subject)),
                Field::new("key", hex::encode(certificate.key.0)),
            ]
        }
        Err(_) => view.field("not profile0000"),
    }
}
