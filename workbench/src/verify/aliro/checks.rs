//! Every value of a recorded Aliro tap that can be recomputed, one by one: certificate, signatures, cryptogram, and with the session keys what was
//! enciphered.

use tapdoor_protocol::aliro::auth::{Named, parse_cryptogram_text};
use tapdoor_protocol::aliro::exchange::{ExchangeCommand, ExchangeResponse};
use tapdoor_protocol::aliro::reader::Entry;
use tapdoor_protocol::aliro::schedule::{DEVICE_USAGE, READER_USAGE};
use tapdoor_protocol::aliro::{Auth0Command, Auth0Response, Auth1Command, Auth1Response, Bitmap, Certificate, ControlFlow, PublicKey, ins};
use tapdoor_protocol::crypto::sign;

use super::keys::{Keys, Pair};
use super::messages::{Message, Transaction};
use super::transcript::{Channel, Transcript};
use crate::verify::checks::{Check, Found, wrong};

/// Why a standard phase is not opened.
pub(super) const NO_EPHEMERAL: &str = "Aliro, standard phase: session keys need an ephemeral private key of either side, which both forget with the tap. What follows AUTH1 (the device's signature, EXCHANGE, Kpersistent) is not proven. A lock that records with --show-secrets puts its own on the tape; --key gives one";
/// Why a fast phase is not opened.
pub(super) const NO_PERSISTENT: &str = "Aliro, fast phase: the lock recognised the cryptogram, and the Kpersistent for it is not here. It is in the lock's store (which one owner at a time can read), on a tape that holds the standard phase before and was recorded with --show-secrets, or given by --key";

/// What today's lock is handed for one AUTH0, as it was then.
#[derive(Clone)]
pub(super) struct Drawn {
    pub(super) transaction: [u8; 16],
    pub(super) ephemeral: PublicKey,
    /// An ephemeral private key of either side, if there is one.
    pub(super) private: Option<Pair>,
    /// The reader's signature, where there was one and it is right.
    pub(super) signature: Option<[u8; 64]>,
    /// Whether the lock went on to AUTH1: it had no Kpersistent for this cryptogram.
    pub(super) to_auth1: bool,
    /// Whether it went on to EXCHANGE at once: it had one.
    pub(super) to_exchange: bool,
}

impl Drawn {
    /// Where the tape has none.
    pub(super) fn stand_in() -> Option<Self> {
        let mut private = [0; 32];
        private[31] = 1;
        let pair = Pair::new(&private)?;
        Some(Self {
            transaction: [0; 16],
            ephemeral: pair.public,
            private: Some(pair),
            signature: None,
            to_auth1: false,
            to_exchange: false,
        })
    }
}

/// What came out of a tap.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) checks: Vec<Check>,
    pub(super) unproven: Vec<String>,
    pub(super) drawn: Vec<Drawn>,
}

/// What the lock's chip drew in this tap, if the tape holds it.
#[derive(Default)]
pub(super) struct Taped {
    pub(super) transactions: Vec<[u8; 16]>,
    pub(super) ephemerals: Vec<Pair>,
}

impl Taped {
    pub(super) fn new(drawn: &[Vec<u8>]) -> Self {
        Self {
            transactions: drawn.iter().filter_map(|drawn| drawn.as_slice().try_into().ok()).collect(),
            ephemerals: drawn
                .iter()
                .filter_map(|drawn| Pair::new(drawn.as_slice().try_into().ok()?))
                .collect(),
        }
    }
}

/// Where a transaction is.
struct Walk<'a> {
    keys: &'a mut Keys,
    taped: &'a Taped,
    out: &'a mut Checked,
    transcript: Option<Transcript>,
    certificate: Option<Certificate>,
    channel: Option<Channel>,
}

/// Goes through one transaction.
pub(super) fn check(keys: &mut Keys, taped: &Taped, transaction: &Transaction, out: &mut Checked) {
    let mut walk = Walk {
        keys,
        taped,
        out,
        transcript: None,
        certificate: None,
        channel: None,
    };
    for (place, message) in transaction.messages.iter().enumerate() {
        match message.ins {
            ins::AUTH0 => walk.auth0(transaction, place, message),
            ins::LOAD_CERT => walk.certificate(&message.data, message.sent),
            ins::AUTH1 => walk.auth1(message),
            ins::EXCHANGE => walk.exchange(message),
            ins::CONTROL_FLOW => walk.control_flow(message),
            _ => {}
        }
    }
}

impl Walk<'_> {
    fn push(&mut self, name: &'static str, exchange: usize, found: Found) {
        self.out.checks.push(Check { name, exchange, found });
    }

    fn unproven(&mut self, what: &str) {
        if !self.out.unproven.iter().any(|known| known == what) {
            self.out.unproven.push(what.to_owned());
        }
    }

    fn refused(&mut self, name: &'static str, message: &Message) {
        if let Some(sw) = message.refused() {
            self.push(name, message.answered, Found::Told(format!("the phone answered {sw}")));
        }
    }

    fn entry(&self, credential: &PublicKey) -> Option<&Entry> {
        self.keys.config.credentials.iter().find(|entry| entry.key == *credential)
    }

    fn name(&self, credential: &PublicKey) -> String {
        self.entry(credential).map_or_else(
            || "a credential that is not on lock.toml's list".into(),
            |entry| format!("phone {}", entry.phone.masked()),
        )
    }

    fn auth0(&mut self, transaction: &Transaction, place: usize, message: &Message) {
        (self.transcript, self.certificate, self.channel) = (None, None, None);
        let auth0 = match Auth0Command::parse(&message.data) {
            Ok(auth0) => auth0,
            Err(error) => {
                let found = Found::Told(format!("AUTH0 is not what it should be: {error}"));
                return self.push("reader id", message.sent, found);
            }
        };
        let expected = self.keys.config.identifier;
        let found = match auth0.reader == expected {
            true => Found::Right("this reader".into()),
            false => wrong(&expected.0, &auth0.reader.0),
        };
        self.push("reader id", message.sent, found);
        if !self.taped.transactions.is_empty() {
            let found = match self.taped.transactions.contains(&auth0.transaction) {
                true => Found::Right("as the lock's chip drew it".into()),
                false => wrong(&[], &auth0.transaction),
            };
            self.push("transaction id", message.sent, found);
        }
        let next = transaction.after(place).map(|message| message.ins);
        let mut drawn = Drawn {
            transaction: auth0.transaction,
            ephemeral: auth0.ephemeral,
            private: None,
            signature: None,
            to_auth1: matches!(next, Some(ins::AUTH1 | ins::LOAD_CERT)),
            to_exchange: next == Some(ins::EXCHANGE),
        };
        let answer = message.done().and_then(|data| Auth0Response::parse(data, auth0.is_fast()).ok());
        self.refused("AUTH0 answer", message);
        if let Some(answer) = answer {
            let device = answer.ephemeral;
            let mut known = self.taped.ephemerals.iter().chain(&self.keys.ephemerals);
            drawn.private = known.find(|pair| pair.public == auth0.ephemeral || pair.public == device).cloned();
            self.transcript = Some(Transcript {
                group_key: self.keys.config.group_key,
                a5: transaction.a5.clone(),
                auth0,
                answer,
            });
            self.cryptogram(message.answered, &drawn);
        }
        self.out.drawn.push(drawn);
    }

    fn cryptogram(&mut self, exchange: usize, drawn: &Drawn) {
        let Some(transcript) = self.transcript.as_ref().filter(|t| t.answer.cryptogram.is_some()) else {
            return;
        };
        let hit = self.keys.persistent().find_map(|known| {
            let (text, channel) = transcript.fast(&known.key, &known.credential)?;
            Some((known.credential, text, channel))
        });
        let Some((credential, text, channel)) = hit else {
            let count = self.keys.persistent().count();
            let found = Found::Told(format!(
                "none of {count} Kpersistent opens it: random bytes, or of a key that is not here"
            ));
            self.push("cryptogram", exchange, found);
            if drawn.to_exchange {
                self.unproven(NO_PERSISTENT);
            }
            return;
        };
        let who = self.name(&credential);
        let found = match parse_cryptogram_text(&text) {
            Ok((bitmap, _)) => Found::Right(format!("{who}{}", signalling(bitmap))),
            Err(error) => Found::Told(format!("{who}; it holds something else: {error}")),
        };
        self.push("cryptogram", exchange, found);
        self.channel = Some(channel);
    }

    fn certificate(&mut self, bytes: &[u8], exchange: usize) {
        let found = match Certificate::parse(bytes) {
            Ok(certificate) => {
                let found = match certificate.is_signed_by(&self.keys.config.group_key) {
                    true if certificate.key == self.keys.reader.public => Found::Right("of this reader, by its issuer".into()),
                    true => Found::Right("by this group's issuer, of another reader".into()),
                    false => wrong(&[], &certificate.signature),
                };
                self.certificate = Some(certificate);
                found
            }
            Err(error) => Found::Told(error.to_string()),
        };
        self.push("certificate", exchange, found);
    }

    fn auth1(&mut self, message: &Message) {
        self.channel = None;
        let command = match Auth1Command::parse(&message.data) {
            Ok(command) => command,
            Err(error) => {
                let found = Found::Told(format!("AUTH1 is not what it should be: {error}"));
                return self.push("reader signature", message.sent, found);
            }
        };
        if let Some(certificate) = &command.certificate {
            self.certificate(certificate, message.sent);
        }
        let Some(transcript) = self.transcript.clone() else { return };
        let key = self.certificate.as_ref().map_or(self.keys.config.group_key, |c| c.key);
        let right = sign::verify(&key.0, &transcript.signed(READER_USAGE), &command.signature);
        let found = match right {
            true => Found::Right("over this transaction".into()),
            false => wrong(&[], &command.signature),
        };
        self.push("reader signature", message.sent, found);
        self.refused("AUTH1 answer", message);
        let drawn = self.out.drawn.last_mut();
        let private = drawn.and_then(|drawn| {
            drawn.signature = (right && key == self.keys.reader.public).then_some(command.signature);
            drawn.private.clone()
        });
        let Some(sealed) = message.done() else { return };
        let Some(private) = private else {
            return self.unproven(NO_EPHEMERAL);
        };
        let other = match private.public == transcript.auth0.ephemeral {
            true => transcript.answer.ephemeral,
            false => transcript.auth0.ephemeral,
        };
        let Some(kdh) = private.agree(&other, &transcript.auth0.transaction) else {
            return;
        };
        let mut channel = transcript.standard(&kdh);
        let opened = channel.open(true, sealed);
        self.channel = Some(channel);
        let Some(plain) = opened else {
            return self.push("AUTH1 answer", message.answered, wrong(&[], sealed));
        };
        let response = match Auth1Response::parse(&plain, command.form) {
            Ok(response) => response,
            Err(error) => {
                let found = Found::Told(format!("it opens, and is not what it should be: {error}"));
                return self.push("AUTH1 answer", message.answered, found);
            }
        };
        let found = Found::Right(format!("opens{}", signalling(response.bitmap)));
        self.push("AUTH1 answer", message.answered, found);
        let credential = match response.named {
            Named::Key(key) => Some(key),
            Named::Slot(slot) => {
                let mut listed = self.keys.config.credentials.iter().map(|entry| entry.key);
                listed.find(|key| key.slot() == slot)
            }
        };
        let Some(credential) = credential else {
            let found = Found::Told("its key slot is of no credential in lock.toml".into());
            return self.push("device signature", message.answered, found);
        };
        if !sign::verify(&credential.0, &transcript.signed(DEVICE_USAGE), &response.signature) {
            return self.push("device signature", message.answered, wrong(&[], &response.signature));
        }
        let found = Found::Right(self.name(&credential));
        self.push("device signature", message.answered, found);
        if self.entry(&credential).is_some() {
            let persistent = transcript.persistent(&kdh, &credential);
            self.keys.learn(credential, &persistent);
        }
    }

    fn exchange(&mut self, message: &Message) {
        let Some(mut channel) = self.channel.take() else { return };
        let found = match channel.open(false, &message.data) {
            None => wrong(&[], &message.data),
            Some(plain) => match ExchangeCommand::parse(&plain) {
                Ok(command) => Found::Right(said(&command)),
                Err(error) => Found::Told(format!("it opens, and is not what it should be: {error}")),
            },
        };
        self.push("EXCHANGE", message.sent, found);
        self.refused("EXCHANGE answer", message);
        if let Some(sealed) = message.done() {
            let found = match channel.open(true, sealed) {
                None => wrong(&[], sealed),
                Some(plain) => match ExchangeResponse::parse(&plain) {
                    Some(response) if response.status == 0 => Found::Right(format!("done, {} reads", response.reads.len())),
                    Some(response) => Found::Told(format!("the phone refused it: {:04x}", response.status)),
                    None => Found::Told("it opens, and is not what it should be".into()),
                },
            };
            self.push("EXCHANGE answer", message.answered, found);
        }
        self.channel = Some(channel);
    }

    fn control_flow(&mut self, message: &Message) {
        let found = match ControlFlow::parse(&message.data) {
            Ok(flow) => Found::Told(format!("failure, S2 {:02x}", flow.s2)),
            Err(error) => Found::Told(format!("it is not what it should be: {error}")),
        };
        self.push("CONTROL FLOW", message.sent, found);
    }
}

fn signalling(bitmap: Bitmap) -> String {
    let words: Vec<&str> = bitmap.words().collect();
    match words.is_empty() {
        true => String::new(),
        false => format!("; {}", words.join(", ")),
    }
}

fn said(command: &ExchangeCommand) -> String {
    let mut parts = Vec::new();
    if let Some(mailbox) = &command.mailbox {
        parts.push(format!("{} mailbox operations", mailbox.operations.len()));
    }
    if let Some(status) = command.status {
        parts.push(format!("reader status {:04x} ({})", status.0, status.meaning()));
    }
    if parts.is_empty() {
        parts.push("something else".into());
    }
    parts.join(", ")
}
