//! The reader's state machine: from the FCI to a verdict, one APDU at a time.
//!
//! It makes chains and follows 61xx itself, within bounds. A failure with a working channel ends with EXCHANGE and a reader status, one without with
//! CONTROL FLOW; either stands in [`Outcome::control_flow`], to be sent once the verdict is known. Success ends with EXCHANGE and a reader status
//! within the tap; when that one is not answered the verdict stands, for the proof was complete before.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::auth::{Named, parse_cryptogram_text};
use super::channel::{Channel, ChannelError, Side};
use super::exchange::{ExchangeCommand, ExchangeResponse, MailboxRequest, Operation};
use super::fields::WireError;
use super::schedule::{DEVICE_USAGE, READER_USAGE, Transcript};
use super::select::Fci;
use super::status::{Bitmap, ControlFlow, ReaderStatus};
use super::vault::AliroVault;
use super::{Auth0Command, Auth0Response, Auth1Command, Auth1Response, KeyForm, KeySlot, PublicKey, ReaderIdentifier, ins};
use crate::apdu::{Command, Response};
use crate::crypto::sign;
use crate::door::{BeginData, LockStep, Outcome, Reason, Verdict};
use crate::ids::PhoneId;
use crate::status::StatusWord;
use crate::vault::{KeyRef, Slot, VaultError};

/// Most bytes of one answer, whatever the number of its parts.
const LONGEST_ANSWER: usize = 20 * 1024;
/// Most parts of one answer.
const MOST_PARTS: u32 = 100;
/// Data in one short command.
const SHORT_DATA: usize = 255;

/// Where the reader's certificate goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Into a LOAD CERT of its own.
    LoadCert,
    /// Into AUTH1, tag 90.
    Auth1,
}

/// A credential that may open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name under which its taps are reported.
    pub phone: PhoneId,
    /// Its public key.
    pub key: PublicKey,
    /// Seconds since 1970-01-01 UTC from which it no longer holds; 0 = never ends.
    pub not_after: u32,
    /// Was withdrawn: it is known, and refused.
    pub revoked: bool,
}

/// What a reader is made of. Its private key is the vault's [`Slot::Signing`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderConfig {
    /// Which reader of which group.
    pub identifier: ReaderIdentifier,
    /// Reader group identifier key: its own public key, or its issuer's.
    pub group_key: PublicKey,
    /// Compressed certificate, for readers that have one.
    pub certificate: Option<(Vec<u8>, Placement)>,
    /// Versions it speaks, best first.
    pub versions: Vec<u16>,
    /// Whether the fast phase is tried.
    pub fast: bool,
    /// Authentication policy, 1 to 3.
    pub policy: u8,
    /// How credentials name themselves.
    pub form: KeyForm,
    /// Vendor extension of AUTH0: the value of B1.
    pub vendor: Option<Vec<u8>>,
    /// What is done to the mailbox before the end, one EXCHANGE each.
    pub mailbox: Vec<MailboxRequest>,
    /// Reader status of success.
    pub status: ReaderStatus,
    /// How many Kpersistent are remembered at most.
    pub remembered: u16,
    /// Credentials that may open.
    pub credentials: Vec<Entry>,
}

impl ReaderConfig {
    /// A reader without certificate that tries the fast phase, asks for key slots and knows no credential yet.
    #[must_use]
    pub fn new(identifier: ReaderIdentifier, group_key: PublicKey) -> Self {
        Self {
            identifier,
            group_key,
            certificate: None,
            versions: Vec::from([super::VERSION_1_0]),
            fast: true,
            policy: 1,
            form: KeyForm::Slot,
            vendor: None,
            mailbox: Vec::new(),
            status: ReaderStatus::UNSECURED,
            remembered: 4096,
            credentials: Vec::new(),
        }
    }
}

/// Which answer is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    Auth0,
    LoadCert,
    Auth1,
    /// The mailbox request of this number.
    Mailbox(usize),
    Status,
}

#[derive(Debug)]
struct Session {
    clock: u32,
    a5: Vec<u8>,
    lengths: Option<super::select::Lengths>,
    auth0: Auth0Command,
    private: Option<KeyRef>,
    device: Option<Auth0Response>,
    channel: Option<Channel>,
    phone: Option<PhoneId>,
    bitmap: Bitmap,
    awaited: Awaited,
    /// Parts of the command that are still to be sent, the last first.
    parts: Vec<Vec<u8>>,
    answer: Vec<u8>,
    rounds: u32,
    starved: bool,
    evidence: String,
}

impl Session {
    fn end<V: AliroVault>(self, vault: &mut V) {
        if let Some(key) = self.private {
            vault.forget(key);
        }
        if let Some(channel) = self.channel {
            channel.end(vault);
        }
    }
}

/// The reader in the lock's chip.
#[derive(Debug)]
pub struct Reader {
    config: ReaderConfig,
    slots: BTreeMap<KeySlot, usize>,
    session: Option<Session>,
}

/// Why a transaction fails, and how that is said to the device.
struct Failure {
    reason: Reason,
    evidence: String,
    end: End,
}

enum End {
    /// EXCHANGE with this status, on the channel.
    Status(ReaderStatus),
    /// CONTROL FLOW.
    Flow(ControlFlow),
    /// The lock's own chip failed: this status word.
    Own(StatusWord),
}

impl Failure {
    fn flow(evidence: impl Into<String>) -> Self {
        Self {
            reason: Reason::CardError,
            evidence: evidence.into(),
            end: End::Flow(ControlFlow::FAILURE),
        }
    }

    fn status(status: ReaderStatus, evidence: impl Into<String>) -> Self {
        Self {
            reason: status.reason().unwrap_or(Reason::CardError),
            evidence: evidence.into(),
            end: End::Status(status),
        }
    }
}

impl From<VaultError> for Failure {
    fn from(error: VaultError) -> Self {
        Self::from(StatusWord::from(error))
    }
}

impl From<StatusWord> for Failure {
    fn from(sw: StatusWord) -> Self {
        Self {
            reason: Reason::CardError,
            evidence: String::new(),
            end: End::Own(sw),
        }
    }
}

impl Reader {
    /// The reader. Of credentials with the same key the first counts.
    #[must_use]
    pub fn new(config: ReaderConfig) -> Self {
        let mut slots = BTreeMap::new();
        for (index, entry) in config.credentials.iter().enumerate() {
            slots.entry(entry.key.slot()).or_insert(index);
        }
        Self {
            config,
            slots,
            session: None,
        }
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &ReaderConfig {
        &self.config
    }

    /// Forgets a tap that was not finished.
    pub fn reset<V: AliroVault>(&mut self, vault: &mut V) {
        if let Some(session) = self.session.take() {
            session.end(vault);
        }
    }

    /// BEGIN: the device's FCI in, AUTH0 or a verdict out.
    ///
    /// # Errors
    /// 6A80 for data that are not BEGIN's, and what the vault refuses.
    pub fn begin<V: AliroVault>(&mut self, vault: &mut V, data: &[u8]) -> Result<LockStep, StatusWord> {
        self.reset(vault);
        let begin = BeginData::parse(data).ok_or(StatusWord::WRONG_DATA)?;
        let started = self.start(vault, &begin);
        self.step(vault, started)
    }

    /// NEXT: the device's answer in, the next command or the verdict out. An empty answer says that there was none.
    ///
    /// # Errors
    /// 6985 without BEGIN, and what the vault refuses.
    pub fn next<V: AliroVault>(&mut self, vault: &mut V, answer: &[u8]) -> Result<LockStep, StatusWord> {
        if self.session.is_none() {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        }
        let taken = self.take(vault, answer);
        self.step(vault, taken)
    }

    /// Turns a failure into a verdict, with what is to be said to the device.
    fn step<V: AliroVault>(&mut self, vault: &mut V, result: Result<LockStep, Failure>) -> Result<LockStep, StatusWord> {
        let failure = match result {
            Ok(LockStep::Done(outcome)) => {
                self.reset(vault);
                return Ok(LockStep::Done(outcome));
            }
            Ok(step) => return Ok(step),
            Err(failure) => failure,
        };
        let session = self.session.as_mut();
        let phone = session.as_ref().and_then(|session| session.phone);
        let command = match failure.end {
            End::Own(sw) => {
                self.reset(vault);
                return Err(sw);
            }
            End::Flow(flow) => flow.command(),
            End::Status(status) => match session.and_then(|s| s.channel.as_mut()).map(|channel| seal(channel, vault, status)) {
                Some(Ok(command)) => command,
                _ => ControlFlow::FAILURE.command(),
            },
        };
        self.reset(vault);
        Ok(LockStep::Done(Outcome {
            verdict: Verdict::Refused(failure.reason),
            phone,
            flags: None,
            control_flow: Some(command),
            evidence: failure.evidence,
        }))
    }

    fn start<V: AliroVault>(&mut self, vault: &mut V, begin: &BeginData<'_>) -> Result<LockStep, Failure> {
        let fci = Fci::parse(begin.fci).map_err(|e| Failure::flow(format!("the answer to SELECT is no FCI of Aliro: {e}")))?;
        let Some(version) = self.config.versions.iter().find(|version| fci.versions.contains(version)) else {
            return Err(Failure {
                end: End::Flow(ControlFlow::VERSION),
                ..Failure::flow(format!("no common protocol version: the phone speaks {:04x?}", fci.versions))
            });
        };
        let mut transaction = [0; 16];
        vault.random(&mut transaction)?;
        let (private, ephemeral) = vault.agreement_key()?;
        let mut vendor = Vec::new();
        if let Some(value) = &self.config.vendor {
            crate::tlv::write(&mut vendor, 0xB1, value);
        }
        let auth0 = Auth0Command {
            parameters: u8::from(self.config.fast),
            policy: self.config.policy,
            version: *version,
            ephemeral,
            transaction,
            reader: self.config.identifier,
            vendor,
        };
        let data = auth0.encode();
        let session = self.session.insert(Session {
            clock: begin.clock,
            a5: fci.a5,
            lengths: fci.lengths,
            auth0,
            private: Some(private),
            device: None,
            channel: None,
            phone: None,
            bitmap: Bitmap(0),
            awaited: Awaited::Auth0,
            parts: Vec::new(),
            answer: Vec::new(),
            rounds: 0,
            starved: false,
            evidence: String::new(),
        });
        send(session, Awaited::Auth0, ins::AUTH0, &data)
    }

    /// Collects the answer; when it is whole, goes on.
    fn take<V: AliroVault>(&mut self, vault: &mut V, answer: &[u8]) -> Result<LockStep, Failure> {
        let session = self.session.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        // Whatever comes now, or nothing: the proof is complete, and the device was told.
        if session.awaited == Awaited::Status && session.parts.is_empty() {
            return Ok(finish(vault, session, answer));
        }
        let awaited = session.awaited;
        let Ok(response) = Response::parse(answer) else {
            return Err(Failure {
                reason: Reason::Torn,
                ..Failure::flow(format!("no answer to {}", name(awaited)))
            });
        };
        if !session.parts.is_empty() {
            if !response.sw.is_ok() {
                return Err(refused(awaited, response.sw));
            }
            return next_part(session);
        }
        if response.sw.sw1() == 0x61 {
            session.rounds += 1;
            if session.rounds > MOST_PARTS || (response.data.is_empty() && session.starved) {
                return Err(Failure::flow(format!("the answer to {} does not come to an end", name(awaited))));
            }
            session.starved = response.data.is_empty();
            collect(session, response.data)?;
            let left = match response.sw.sw2() {
                0 => 256,
                left => u32::from(left),
            };
            let command = Command::new(0x00, 0xC0, 0x00, 0x00)
                .ne(left)
                .encode()
                .map_err(|_| StatusWord::NO_DIAGNOSIS)?;
            return Ok(LockStep::Transmit {
                command,
                phone: session.phone,
            });
        }
        if !response.sw.is_ok() {
            return Err(refused(awaited, response.sw));
        }
        collect(session, response.data)?;
        let data = core::mem::take(&mut session.answer);
        match awaited {
            Awaited::Auth0 => self.auth0(vault, &data),
            Awaited::LoadCert => self.send_auth1(vault),
            Awaited::Auth1 => self.auth1(vault, &data),
            Awaited::Mailbox(index) => self.mailbox(vault, index, &data),
            Awaited::Status => Err(StatusWord::NO_DIAGNOSIS.into()),
        }
    }

    fn auth0<V: AliroVault>(&mut self, vault: &mut V, data: &[u8]) -> Result<LockStep, Failure> {
        let session = self.session.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let response = Auth0Response::parse(data, session.auth0.is_fast())
            .map_err(|e| Failure::flow(format!("the answer to AUTH0 is not what it should be: {e}")))?;
        let cryptogram = response.cryptogram;
        session.device = Some(response);
        if let Some(cryptogram) = cryptogram
            && self.fast(vault, &cryptogram)?
        {
            return self.authenticated(vault);
        }
        match &self.config.certificate {
            Some((certificate, Placement::LoadCert)) => {
                let session = self.session.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
                send(session, Awaited::LoadCert, ins::LOAD_CERT, certificate)
            }
            _ => self.send_auth1(vault),
        }
    }

    /// Whether the cryptogram is one of a credential that we remember.
    fn fast<V: AliroVault>(&mut self, vault: &mut V, cryptogram: &[u8; 64]) -> Result<bool, Failure> {
        let (session, transcript) = parties(&mut self.session, &self.config)?;
        let (salt, info) = transcript.recognition();
        let Some(hit) = vault.find_cryptogram(&salt, &info, cryptogram)? else {
            return Ok(false);
        };
        let keys = transcript.fast(vault, hit.kpersistent, &hit.credential);
        vault.forget(hit.kpersistent);
        let (key, keys) = keys?;
        vault.forget(key);
        session.channel = Some(Channel::new(Side::Reader, keys));
        let Some(entry) = self
            .slots
            .get(&hit.credential.slot())
            .and_then(|index| self.config.credentials.get(*index))
        else {
            vault.forget_remembered(&hit.credential.0)?;
            return Err(Failure::status(
                ReaderStatus::CREDENTIAL_NOT_FOUND,
                "fast: the phone's credential was taken off this reader's list",
            ));
        };
        check(entry, session.clock, "fast")?;
        session.phone = Some(entry.phone);
        let (bitmap, _) = parse_cryptogram_text(&hit.text).map_err(|e| {
            Failure::status(
                ReaderStatus::INVALID_FORMAT,
                format!("fast: the cryptogram holds something else: {e}"),
            )
        })?;
        session.bitmap = bitmap;
        session.evidence = "fast: the cryptogram is that of a remembered credential".into();
        Ok(true)
    }

    fn send_auth1<V: AliroVault>(&mut self, vault: &mut V) -> Result<LockStep, Failure> {
        let (session, transcript) = parties(&mut self.session, &self.config)?;
        let key = vault.key(Slot::Signing)?;
        let signature = vault.sign(key, &transcript.signed(READER_USAGE))?;
        let command = Auth1Command {
            form: self.config.form,
            signature,
            certificate: match &self.config.certificate {
                Some((certificate, Placement::Auth1)) => Some(certificate.clone()),
                _ => None,
            },
        };
        send(session, Awaited::Auth1, ins::AUTH1, &command.encode())
    }

    fn auth1<V: AliroVault>(&mut self, vault: &mut V, data: &[u8]) -> Result<LockStep, Failure> {
        let (session, transcript) = parties(&mut self.session, &self.config)?;
        let private = session.private.take().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let agreed = transcript.standard(vault, private, &transcript.device);
        vault.forget(private);
        let (kdh, keys) = agreed?;
        let mut channel = Channel::new(Side::Reader, keys);
        let opened = channel.open(vault, data);
        session.channel = Some(channel);
        let checked = match opened {
            Ok(plain) => answered(&self.config, &self.slots, session, &transcript, &plain),
            Err(ChannelError::Vault(error)) => Err(error.into()),
            Err(_) => Err(Failure {
                reason: Reason::WrongKey,
                ..Failure::flow("the answer to AUTH1 does not open under the agreed keys")
            }),
        };
        let entry = match checked {
            Ok(entry) => entry,
            Err(failure) => {
                vault.forget(kdh);
                return Err(failure);
            }
        };
        let kpersistent = transcript.persistent(vault, kdh, &entry.key)?;
        let kept = vault.remember(&entry.key.0, kpersistent, usize::from(self.config.remembered));
        vault.forget(kpersistent);
        kept?;
        session.phone = Some(entry.phone);
        session.evidence = "standard: both signatures are right".into();
        self.authenticated(vault)
    }

    /// The device has proved itself: the mailbox, then the status. The step-up phase would come in here.
    fn authenticated<V: AliroVault>(&mut self, vault: &mut V) -> Result<LockStep, Failure> {
        let session = self.session.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        if let Some(key) = session.private.take() {
            vault.forget(key);
        }
        let mut wanted = 0;
        for operation in self.config.mailbox.iter().flat_map(|request| &request.operations) {
            wanted |= match operation {
                Operation::Read { .. } => Bitmap::MAILBOX_READ,
                _ => Bitmap::MAILBOX_WRITE,
            };
        }
        if self.config.mailbox.is_empty() {
            return self.send_status(vault);
        }
        if !session.bitmap.has(wanted) {
            session
                .evidence
                .push_str("; the phone does not offer this mailbox, which was left alone");
            return self.send_status(vault);
        }
        self.send_mailbox(vault, 0)
    }

    fn send_mailbox<V: AliroVault>(&mut self, vault: &mut V, index: usize) -> Result<LockStep, Failure> {
        let Some(request) = self.config.mailbox.get(index) else {
            return self.send_status(vault);
        };
        let session = self.session.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let command = ExchangeCommand::mailbox(request.clone());
        send_exchange(vault, session, Awaited::Mailbox(index), &command)
    }

    fn mailbox<V: AliroVault>(&mut self, vault: &mut V, index: usize, data: &[u8]) -> Result<LockStep, Failure> {
        let session = self.session.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let channel = session.channel.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let plain = match channel.open(vault, data) {
            Ok(plain) => plain,
            Err(ChannelError::Vault(error)) => return Err(error.into()),
            Err(error) => return Err(Failure::flow(format!("EXCHANGE: {error}"))),
        };
        let response = ExchangeResponse::parse(&plain).ok_or_else(|| Failure::flow("the answer to EXCHANGE is not what it should be"))?;
        if response.status != 0 {
            let evidence = format!("the phone refused a mailbox operation ({:04x})", response.status);
            return Err(Failure::flow(evidence));
        }
        let request = self.config.mailbox.get(index);
        let wanted = request
            .into_iter()
            .flat_map(|request| &request.operations)
            .filter_map(|operation| match operation {
                Operation::Read { length, .. } => Some(usize::from(*length)),
                _ => None,
            });
        if !wanted.eq(response.reads.iter().map(Vec::len)) {
            return Err(Failure::flow("the phone answers other mailbox reads than were asked for"));
        }
        for read in &response.reads {
            session.evidence.push_str("; mailbox ");
            read.iter()
                .take(64)
                .for_each(|byte| session.evidence.push_str(&format!("{byte:02x}")));
            if read.len() > 64 {
                session.evidence.push_str(&format!(".. ({} bytes)", read.len()));
            }
        }
        self.send_mailbox(vault, index + 1)
    }

    fn send_status<V: AliroVault>(&mut self, vault: &mut V) -> Result<LockStep, Failure> {
        let session = self.session.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        send_exchange(vault, session, Awaited::Status, &ExchangeCommand::status(self.config.status))
    }
}

/// The session and what keys depend on, once the device has answered AUTH0.
fn parties<'a>(session: &'a mut Option<Session>, config: &ReaderConfig) -> Result<(&'a mut Session, Transcript), Failure> {
    let session = session.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
    let device = session.device.as_ref().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
    let transcript = Transcript {
        group_key: config.group_key,
        auth0: session.auth0.clone(),
        a5: session.a5.clone(),
        device: device.ephemeral,
        vendor: device.vendor.clone(),
    };
    Ok((session, transcript))
}

/// Whether a credential still holds.
fn check(entry: &Entry, clock: u32, phase: &str) -> Result<(), Failure> {
    if entry.revoked {
        return Err(Failure::status(
            ReaderStatus::NOT_TRUSTED,
            format!("{phase}: the phone's credential is revoked"),
        ));
    }
    if entry.not_after != 0 && clock >= entry.not_after {
        return Err(Failure::status(
            ReaderStatus::EXPIRED,
            format!("{phase}: the phone's credential has expired"),
        ));
    }
    Ok(())
}

/// The credential that answered AUTH1, if all is right.
fn answered<'a>(
    config: &'a ReaderConfig,
    slots: &BTreeMap<KeySlot, usize>,
    session: &mut Session,
    transcript: &Transcript,
    plain: &[u8],
) -> Result<&'a Entry, Failure> {
    let response = Auth1Response::parse(plain, config.form).map_err(|error| {
        let status = match error {
            WireError::Missing { tag } | WireError::Unexpected { tag } => match tag.0 {
                0x4E => ReaderStatus::NO_KEY_SLOT,
                0x5A => ReaderStatus::NO_PUBLIC_KEY,
                0x9E => ReaderStatus::NO_SIGNATURE,
                _ => ReaderStatus::INVALID_FORMAT,
            },
            WireError::Value { .. } => ReaderStatus::INVALID_CONTENT,
            _ => ReaderStatus::INVALID_FORMAT,
        };
        Failure::status(status, format!("the answer to AUTH1 is not what it should be: {error}"))
    })?;
    session.bitmap = response.bitmap;
    let slot = match &response.named {
        Named::Slot(slot) => *slot,
        Named::Key(key) => key.slot(),
    };
    let entry = slots.get(&slot).and_then(|index| config.credentials.get(*index));
    let entry = entry.filter(|entry| !matches!(&response.named, Named::Key(key) if *key != entry.key));
    let Some(entry) = entry else {
        return Err(Failure::status(
            ReaderStatus::CREDENTIAL_NOT_FOUND,
            "standard: the phone's credential is not on this reader's list",
        ));
    };
    if !sign::verify(&entry.key.0, &transcript.signed(DEVICE_USAGE), &response.signature) {
        return Err(Failure::status(
            ReaderStatus::INVALID_SIGNATURE,
            "standard: the phone's signature is wrong",
        ));
    }
    // From here on we know who it is.
    session.phone = Some(entry.phone);
    check(entry, session.clock, "standard")?;
    Ok(entry)
}

fn name(awaited: Awaited) -> &'static str {
    match awaited {
        Awaited::Auth0 => "AUTH0",
        Awaited::LoadCert => "LOAD CERT",
        Awaited::Auth1 => "AUTH1",
        Awaited::Mailbox(_) | Awaited::Status => "EXCHANGE",
    }
}

/// A status word other than 9000: the channel, if there was one, is gone.
fn refused(awaited: Awaited, sw: StatusWord) -> Failure {
    let reason = match (awaited, sw.0) {
        (Awaited::LoadCert | Awaited::Auth1, 0x6400 | 0x6982) => Reason::WrongKey,
        _ => Reason::CardError,
    };
    let what = match (awaited, sw.0) {
        (Awaited::Auth1, 0x6982) => ": the phone refuses this reader's signature or certificate",
        (Awaited::Auth1, 0x6400) => ": the phone does not know this reader's group, or cannot read its certificate",
        _ => "",
    };
    Failure {
        reason,
        ..Failure::flow(format!("{} was answered with {sw}{what}", name(awaited)))
    }
}

fn collect(session: &mut Session, data: &[u8]) -> Result<(), Failure> {
    if session.answer.len().saturating_add(data.len()) > LONGEST_ANSWER {
        let evidence = format!("the answer to {} has more than {LONGEST_ANSWER} bytes", name(session.awaited));
        return Err(Failure::flow(evidence));
    }
    session.answer.extend_from_slice(data);
    Ok(())
}

/// The next part of a command.
fn next_part(session: &mut Session) -> Result<LockStep, Failure> {
    let command = session.parts.pop().ok_or(StatusWord::NO_DIAGNOSIS)?;
    Ok(LockStep::Transmit {
        command,
        phone: session.phone,
    })
}

/// A command: short, as long as the device takes it, or as a chain. Every part has Le 00, as the reference reader has it.
fn send(session: &mut Session, awaited: Awaited, ins: u8, data: &[u8]) -> Result<LockStep, Failure> {
    session.awaited = awaited;
    (session.rounds, session.starved) = (0, false);
    session.answer.clear();
    session.parts.clear();
    let command = Command::new(0x80, ins, 0, 0).data(data);
    // Header, three bytes of Lc, two of Le.
    let extended = session
        .lengths
        .filter(|lengths| data.len() > SHORT_DATA && data.len() + 9 <= usize::from(lengths.command));
    let encoded = match extended {
        Some(lengths) => Vec::from([command
            .ne(u32::from(lengths.response).saturating_sub(2).max(1))
            .force_extended()
            .encode()]),
        None if data.is_empty() => Vec::from([command.ne(256).encode()]),
        None => {
            let chunks = data.chunks(SHORT_DATA);
            let last = chunks.len();
            let part = |(number, chunk)| {
                let cla = if number + 1 == last { 0x80 } else { 0x90 };
                Command::new(cla, ins, 0, 0).data(chunk).ne(256).encode()
            };
            chunks.enumerate().map(part).collect()
        }
    };
    for command in encoded.into_iter().rev() {
        session.parts.push(command.map_err(|_| StatusWord::NO_DIAGNOSIS)?);
    }
    next_part(session)
}

fn send_exchange<V: AliroVault>(
    vault: &mut V,
    session: &mut Session,
    awaited: Awaited,
    command: &ExchangeCommand,
) -> Result<LockStep, Failure> {
    let channel = session.channel.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
    let sealed = channel.seal(vault, &command.encode()).map_err(own)?;
    send(session, awaited, ins::EXCHANGE, &sealed)
}

fn own(error: ChannelError) -> Failure {
    match error {
        ChannelError::Vault(error) => error.into(),
        other => Failure::flow(format!("{other}")),
    }
}

/// EXCHANGE with a status, to be sent after the verdict.
fn seal<V: AliroVault>(channel: &mut Channel, vault: &mut V, status: ReaderStatus) -> Result<Vec<u8>, ()> {
    let sealed = channel.seal(vault, &ExchangeCommand::status(status).encode()).map_err(|_| ())?;
    Command::new(0x80, ins::EXCHANGE, 0, 0)
        .data(&sealed)
        .ne(256)
        .encode()
        .map_err(|_| ())
}

/// The door opens. What the device made of the status is told, no more.
fn finish<V: AliroVault>(vault: &mut V, session: &mut Session, answer: &[u8]) -> LockStep {
    let mut evidence = core::mem::take(&mut session.evidence);
    let taken = match Response::parse(answer) {
        Ok(response) if response.sw.is_ok() => {
            let opened = session.channel.as_mut().and_then(|channel| channel.open(vault, response.data).ok());
            matches!(
                opened.as_deref().and_then(ExchangeResponse::parse),
                Some(ExchangeResponse { status: 0, .. })
            )
        }
        _ => false,
    };
    if !taken {
        evidence.push_str("; the phone did not confirm the reader status");
    }
    LockStep::Done(Outcome {
        verdict: Verdict::Open,
        phone: session.phone,
        flags: None,
        control_flow: None,
        evidence,
    })
}
