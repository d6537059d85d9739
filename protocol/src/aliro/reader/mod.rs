//! The reader's state machine: from the FCI to a verdict, one APDU at a time.
//!
//! It makes chains and follows 61xx itself, within bounds. A failure with a working channel ends with EXCHANGE and a reader status, one without with
//! CONTROL FLOW; either stands in [`Outcome::control_flow`], to be sent once the verdict is known. Success ends with EXCHANGE and a reader status
//! within the tap.
//!
//! The door opens only after both sides have proved themselves. In the standard phase that is so once AUTH1 was answered, and what becomes of the
//! status changes nothing any more. In the fast phase the device has proved itself by its cryptogram, and the first EXCHANGE is the reader's proof:
//! it must be answered as by a device that could open it.
//!
//! What the lock's own chip or door cannot do is said by status 0026: in place of success where the chip cannot store, after it where the door does
//! not move.

mod config;
mod failure;
mod sending;

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

pub use self::config::{Entry, Placement, ReaderConfig};
use self::failure::{End, Failure, check, name, refused};
use self::sending::{collect, get_response, next_part, seal, send, send_exchange};
use super::auth::{Named, parse_cryptogram_text};
use super::channel::{Channel, ChannelError, Side};
use super::exchange::{ExchangeCommand, ExchangeResponse, Operation};
use super::fields::WireError;
use super::recognition::Recognition;
use super::schedule::{DEVICE_USAGE, READER_USAGE, Transcript};
use super::select::Fci;
use super::status::{Bitmap, ControlFlow, ReaderStatus};
use super::vault::AliroVault;
use super::{Auth0Command, Auth0Response, Auth1Command, Auth1Response, KeySlot, ins};
use crate::apdu::Response;
use crate::door::{BeginData, LockStep, Outcome, Reason, Verdict};
use crate::ids::PhoneId;
use crate::status::StatusWord;
use crate::vault::{KeyRef, Slot};

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
    /// The device has accepted this reader's proof.
    mutual: bool,
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
        let channel = session.and_then(|session| session.channel.as_mut());
        let command = match failure.end {
            End::Flow(flow) => flow.command(),
            End::Status(status) => match channel.map(|channel| seal(channel, vault, status)) {
                Some(Ok(command)) => command,
                _ => ControlFlow::FAILURE.command(),
            },
            End::Own(sw) => match channel.map(|channel| seal(channel, vault, ReaderStatus::HARDWARE)) {
                Some(Ok(command)) => command,
                _ => {
                    self.reset(vault);
                    return Err(sw);
                }
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

    /// What the last step wanted to store could not be stored, and its command does not leave the chip: what is said in its place. `None` where
    /// there is no channel to say it on.
    pub fn unstored<V: AliroVault>(&mut self, vault: &mut V) -> Option<LockStep> {
        let session = self.session.as_mut()?;
        session.channel.as_mut()?.withdraw();
        let evidence = "the lock's own chip cannot store what it must remember";
        self.step(vault, Err(Failure::status(ReaderStatus::HARDWARE, evidence))).ok()
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
            mutual: false,
            evidence: String::new(),
        });
        send(session, Awaited::Auth0, ins::AUTH0, &data)
    }

    /// Collects the answer; when it is whole, goes on.
    fn take<V: AliroVault>(&mut self, vault: &mut V, answer: &[u8]) -> Result<LockStep, Failure> {
        let session = self.session.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        // Not followed by GET RESPONSE: there are phones that say 61xx here and nothing more.
        if session.awaited == Awaited::Status && session.parts.is_empty() {
            return finish(vault, session, answer);
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
            return get_response(session, response.data, response.sw.sw2());
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
        let Some(hit) = vault.find_cryptogram(&Recognition::new(&salt, &info, cryptogram))? else {
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
            Ok(plain) => answered(vault, &self.config, &self.slots, session, &transcript, &plain),
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
        // It answers AUTH1 only when this reader's signature is right.
        session.mutual = true;
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
        session.mutual = true;
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

/// The credential that answered AUTH1, if all is right.
fn answered<'a, V: AliroVault>(
    vault: &mut V,
    config: &'a ReaderConfig,
    slots: &BTreeMap<KeySlot, usize>,
    session: &mut Session,
    transcript: &Transcript,
    plain: &[u8],
) -> Result<&'a Entry, Failure> {
    let response = Auth1Response::parse(plain, config.form).map_err(|error| {
        let status = match error {
            WireError::Missing { tag } => match tag.0 {
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
    if !vault.verify(&entry.key, &transcript.signed(DEVICE_USAGE), &response.signature) {
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

/// The end, once the status was sent. Where the device has accepted this reader's proof before, the door opens whatever comes now, or nothing.
fn finish<V: AliroVault>(vault: &mut V, session: &mut Session, answer: &[u8]) -> Result<LockStep, Failure> {
    let confirmed = confirmed(vault, session, answer);
    let mut evidence = core::mem::take(&mut session.evidence);
    match confirmed {
        Ok(true) => {}
        Err(failure) if !session.mutual => return Err(failure),
        _ => evidence.push_str("; the phone did not confirm the reader status"),
    }
    // Should the door not move: there may be a second status.
    let channel = session.channel.as_mut();
    let stuck = channel.and_then(|channel| seal(channel, vault, ReaderStatus::HARDWARE).ok());
    Ok(LockStep::Done(Outcome {
        verdict: Verdict::Open,
        phone: session.phone,
        flags: None,
        control_flow: stuck,
        evidence,
    }))
}

/// Whether the device says that it has taken the reader status. 9000 without data and 61xx do not say so, but neither comes from a device that could
/// not open the command.
fn confirmed<V: AliroVault>(vault: &mut V, session: &mut Session, answer: &[u8]) -> Result<bool, Failure> {
    const UNPROVED: &str = "fast: the phone has not shown that it accepts this reader";
    let Ok(response) = Response::parse(answer) else {
        return Err(Failure {
            reason: Reason::Torn,
            ..Failure::flow(format!("{UNPROVED}: no answer to EXCHANGE"))
        });
    };
    if response.sw.sw1() == 0x61 || (response.sw.is_ok() && response.data.is_empty()) {
        return Ok(false);
    }
    if !response.sw.is_ok() {
        let failure = refused(Awaited::Status, response.sw);
        return Err(Failure {
            evidence: format!("{UNPROVED}: {}", failure.evidence),
            ..failure
        });
    }
    let channel = session.channel.as_mut().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
    let wrong = |reason, detail| Failure {
        reason,
        ..Failure::flow(format!("{UNPROVED}: the answer to EXCHANGE {detail}"))
    };
    let plain = match channel.open(vault, response.data) {
        Ok(plain) => plain,
        Err(ChannelError::Vault(error)) => return Err(error.into()),
        Err(_) => return Err(wrong(Reason::WrongKey, "does not open under the fast phase's keys")),
    };
    match ExchangeResponse::parse(&plain) {
        Some(ExchangeResponse { status: 0, .. }) => Ok(true),
        _ => Err(wrong(Reason::CardError, "does not say 0000")),
    }
}
