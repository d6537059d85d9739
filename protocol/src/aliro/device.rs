//! The user device's state machine: SELECT, AUTH0, LOAD CERT, AUTH1, EXCHANGE, CONTROL FLOW.
//!
//! Commands come whole: chains assembled, GET RESPONSE answered elsewhere. Any error ends the session: its keys are wiped, and only SELECT and
//! CONTROL FLOW are answered 9000 from then on. A reader of an unknown group gets the same AUTH0 answer as any other (in FAST a random cryptogram),
//! and learns no more than that its AUTH1 fails.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::auth::{Named, Timestamps, cryptogram_text};
use super::certificate::Certificate;
use super::channel::{Channel, ChannelError, Side};
use super::exchange::{ExchangeCommand, ExchangeResponse};
use super::mailbox::{self, Collected, Permissions};
use super::schedule::{DEVICE_USAGE, READER_USAGE, Transcript};
use super::select::{Fci, Lengths};
use super::status::{Bitmap, ControlFlow};
use super::vault::AliroVault;
use super::{Auth0Command, Auth0Response, Auth1Command, Auth1Response, KeyForm, PublicKey, ins};
use crate::apdu::Command;
use crate::door::{Event, Reason, Verdict};
use crate::status::StatusWord;
use crate::vault::{KeyRef, VaultError};

/// The command is not what the standard says.
const NOT_COMPLIANT: StatusWord = StatusWord(0x6701);
/// Certificate cannot be decoded, or the reader's key is not known.
const NO_READER_KEY: StatusWord = StatusWord(0x6400);
/// Class.
const WRONG_CLASS: StatusWord = StatusWord(0x6800);
/// Another command in an atomic session.
const ATOMIC_SESSION: StatusWord = StatusWord(0x6900);
/// Not in this state, or no such command.
const WRONG_STATE: StatusWord = StatusWord::INS_NOT_SUPPORTED;

/// Most Kpersistent that a device remembers: at least 16 must be.
pub const REMEMBERED: usize = 64;

/// A reader group that the device knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Reader group identifier.
    pub identifier: [u8; 16],
    /// Reader group identifier key: the readers' own, or their issuer's.
    pub key: PublicKey,
    /// Number of the credential that is used there.
    pub credential: u8,
}

/// A credential of the device. Its private key is the vault's of the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Its public key.
    pub key: PublicKey,
    /// Bytes of its mailbox, 0 for none.
    pub mailbox: u16,
    /// What readers may do with the mailbox.
    pub permissions: Permissions,
    /// Of its documents.
    pub timestamps: Timestamps,
}

/// What a user device is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceConfig {
    /// Versions it speaks.
    pub versions: Vec<u16>,
    /// Extended lengths, if it takes them.
    pub lengths: Option<Lengths>,
    /// User device descriptor (tag B3).
    pub descriptor: Option<Vec<u8>>,
    /// Vendor extension of the AUTH0 answer: the value of B2.
    pub vendor: Option<Vec<u8>>,
    /// Signalling bits besides those of the mailbox, which follow from what is there.
    pub bitmap: Bitmap,
    /// Groups, in the order in which they are looked at.
    pub groups: Vec<Group>,
    /// Credentials by number.
    pub credentials: Vec<Credential>,
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            versions: Vec::from([super::VERSION_1_0]),
            lengths: None,
            descriptor: None,
            vendor: None,
            bitmap: Bitmap(0),
            groups: Vec::new(),
            credentials: Vec::new(),
        }
    }
}

/// A transaction from AUTH0 on.
#[derive(Debug)]
struct Session {
    auth0: Auth0Command,
    ephemeral: PublicKey,
    /// Until AUTH1.
    private: Option<KeyRef>,
    vendor: Vec<u8>,
    group: Option<Group>,
    certificate: Option<Certificate>,
    channel: Option<Channel>,
    /// AUTH1 was done, or EXCHANGE began: AUTH1 is not taken any more.
    authenticated: bool,
    /// The reader has proved itself, and the host was told.
    told: bool,
    collected: Option<Collected>,
    ursk: bool,
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

#[derive(Debug)]
enum State {
    /// Before SELECT, and after the end of a transaction.
    Ended,
    Selected,
    Open(Box<Session>),
}

/// The user device.
#[derive(Debug)]
pub struct Device {
    config: DeviceConfig,
    fci: Fci,
    state: State,
}

fn mailbox_record(key: &PublicKey) -> [u8; 9] {
    let mut name = [b'M'; 9];
    name[1..].copy_from_slice(&key.slot().0);
    name
}

impl Device {
    /// A device that was not selected yet.
    #[must_use]
    pub fn new(config: DeviceConfig) -> Self {
        let fci = Fci::new(&config.versions, config.lengths, config.descriptor.as_deref());
        Self {
            config,
            fci,
            state: State::Ended,
        }
    }

    /// Its configuration.
    #[must_use]
    pub const fn config(&self) -> &DeviceConfig {
        &self.config
    }

    /// SELECT of the expedited phase: the FCI. The session before it ends.
    pub fn select<V: AliroVault>(&mut self, vault: &mut V) -> Vec<u8> {
        self.end(vault);
        self.state = State::Selected;
        self.fci.encode()
    }

    /// Ends the session: an error elsewhere, another application, power.
    pub fn end<V: AliroVault>(&mut self, vault: &mut V) {
        if let State::Open(session) = core::mem::replace(&mut self.state, State::Ended) {
            session.end(vault);
        }
    }

    /// A command other than SELECT: the answer's data go to `out`, what happened to `events`.
    ///
    /// # Errors
    /// The status word to answer with. The session has ended then.
    pub fn process<V: AliroVault>(
        &mut self,
        vault: &mut V,
        command: &Command<'_>,
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<(), StatusWord> {
        let result = self.execute(vault, command, out, events);
        if result.is_err() {
            out.clear();
            self.end(vault);
        }
        result
    }

    fn execute<V: AliroVault>(
        &mut self,
        vault: &mut V,
        command: &Command<'_>,
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<(), StatusWord> {
        if (command.cla, command.ins, command.p1, command.p2) == (0x00, 0xCA, 0x7F, 0x68) {
            return Err(StatusWord::DATA_NOT_FOUND);
        }
        match (command.cla, command.ins) {
            (0x80, ins::AUTH0 | ins::AUTH1 | ins::LOAD_CERT | ins::EXCHANGE | ins::CONTROL_FLOW) => {}
            (_, ins::AUTH0 | ins::AUTH1 | ins::LOAD_CERT | ins::EXCHANGE | ins::CONTROL_FLOW) => return Err(WRONG_CLASS),
            // ENVELOPE is the step-up phase's.
            _ => return Err(WRONG_STATE),
        }
        if (command.p1, command.p2) != (0, 0) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        if command.ins == ins::CONTROL_FLOW {
            self.end(vault);
            let reason = match ControlFlow::parse(command.data) {
                Ok(flow) if flow.s2 == ControlFlow::VERSION.s2 => Reason::Policy,
                _ => Reason::CardError,
            };
            events.push(Event::Verdict(Verdict::Refused(reason)));
            return Ok(());
        }
        if let State::Open(session) = &self.state
            && session.collected.is_some()
            && command.ins != ins::EXCHANGE
        {
            return Err(ATOMIC_SESSION);
        }
        match (command.ins, &self.state) {
            (ins::AUTH0, State::Selected) => {}
            (ins::LOAD_CERT | ins::AUTH1, State::Open(session)) if !session.authenticated => {}
            (ins::EXCHANGE, State::Open(session)) if session.channel.is_some() => {}
            _ => return Err(WRONG_STATE),
        }
        if command.ne == 0 {
            return Err(NOT_COMPLIANT);
        }
        match command.ins {
            ins::AUTH0 => self.auth0(vault, command.data, out),
            ins::LOAD_CERT => self.load_certificate(command.data),
            ins::AUTH1 => self.auth1(vault, command.data, out, events),
            _ => self.exchange(vault, command.data, out, events),
        }
    }

    fn auth0<V: AliroVault>(&mut self, vault: &mut V, data: &[u8], out: &mut Vec<u8>) -> Result<(), StatusWord> {
        let auth0 = Auth0Command::parse(data).map_err(|_| NOT_COMPLIANT)?;
        if !self.config.versions.contains(&auth0.version) {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        }
        let identifier = auth0.reader.group();
        let group = self.config.groups.iter().find(|group| group.identifier == identifier).cloned();
        let mut vendor = Vec::new();
        if let Some(value) = &self.config.vendor {
            crate::tlv::write(&mut vendor, 0xB2, value);
        }
        let (private, ephemeral) = vault.agreement_key()?;
        let mut session = Session {
            auth0,
            ephemeral,
            private: Some(private),
            vendor,
            group,
            certificate: None,
            channel: None,
            authenticated: false,
            told: false,
            collected: None,
            ursk: false,
        };
        let cryptogram = match session.auth0.is_fast() {
            true => self.cryptogram(vault, &mut session),
            false => Ok(None),
        };
        let answer = cryptogram.map(|cryptogram| Auth0Response {
            ephemeral,
            cryptogram,
            vendor: session.vendor.clone(),
        });
        // Kept also when that failed: the session's keys are wiped with it.
        self.state = State::Open(Box::new(session));
        out.extend(answer?.encode());
        Ok(())
    }

    /// The cryptogram, and the channel with it; random bytes for a reader that has nothing to expect.
    fn cryptogram<V: AliroVault>(&self, vault: &mut V, session: &mut Session) -> Result<Option<[u8; 64]>, StatusWord> {
        if let Some((group, credential)) = self.parties(session)
            && let Some(kpersistent) = vault.remembered(&remembered_name(session, credential))?
        {
            let made = self.known_cryptogram(vault, session, group, credential, kpersistent);
            vault.forget(kpersistent);
            let (cryptogram, channel) = made?;
            session.channel = Some(channel);
            return Ok(Some(cryptogram));
        }
        let mut random = [0; 64];
        vault.random(&mut random)?;
        Ok(Some(random))
    }

    fn known_cryptogram<V: AliroVault>(
        &self,
        vault: &mut V,
        session: &Session,
        group: &Group,
        credential: &Credential,
        kpersistent: KeyRef,
    ) -> Result<([u8; 64], Channel), StatusWord> {
        let text = cryptogram_text(self.bitmap(vault, credential)?, &credential.timestamps);
        let (key, keys) = self.transcript(session, group).fast(vault, kpersistent, &credential.key)?;
        let sealed = vault.gcm_seal(key, &[0; 12], &text);
        vault.forget(key);
        let channel = Channel::new(Side::Device, keys);
        match sealed.map(|sealed| <[u8; 64]>::try_from(sealed.as_slice())) {
            Ok(Ok(cryptogram)) => Ok((cryptogram, channel)),
            Ok(Err(_)) => {
                channel.end(vault);
                Err(StatusWord::NO_DIAGNOSIS)
            }
            Err(error) => {
                channel.end(vault);
                Err(error.into())
            }
        }
    }

    fn transcript(&self, session: &Session, group: &Group) -> Transcript {
        Transcript {
            group_key: group.key,
            auth0: session.auth0.clone(),
            a5: self.fci.a5.clone(),
            device: session.ephemeral,
            vendor: session.vendor.clone(),
        }
    }

    /// The group of the session's reader, and the credential that is used there.
    fn parties<'a>(&'a self, session: &Session) -> Option<(&'a Group, &'a Credential)> {
        let identifier = session.group.as_ref()?.identifier;
        let group = self.config.groups.iter().find(|group| group.identifier == identifier)?;
        Some((group, self.config.credentials.get(usize::from(group.credential))?))
    }

    fn load_certificate(&mut self, data: &[u8]) -> Result<(), StatusWord> {
        let certificate = Certificate::parse(data).map_err(|_| NOT_COMPLIANT)?;
        if let State::Open(session) = &mut self.state {
            session.certificate = Some(certificate);
        }
        Ok(())
    }

    fn auth1<V: AliroVault>(&mut self, vault: &mut V, data: &[u8], out: &mut Vec<u8>, events: &mut Vec<Event>) -> Result<(), StatusWord> {
        let command = Auth1Command::parse(data).map_err(|_| NOT_COMPLIANT)?;
        let State::Open(session) = &self.state else {
            return Err(WRONG_STATE);
        };
        let (group, credential) = self.parties(session).ok_or(NO_READER_KEY)?;
        let in_command = match &command.certificate {
            Some(bytes) => Some(Certificate::parse(bytes).map_err(|_| NO_READER_KEY)?),
            None => None,
        };
        let certificate = in_command.as_ref().or(session.certificate.as_ref());
        let reader_key = match certificate {
            Some(certificate) if !vault.verify(&group.key, &certificate.tbs(&group.key), &certificate.signature) => {
                return Err(StatusWord::SECURITY_STATUS);
            }
            Some(certificate) => &certificate.key,
            None => &group.key,
        };
        let transcript = self.transcript(session, group);
        if !vault.verify(reader_key, &transcript.signed(READER_USAGE), &command.signature) {
            return Err(StatusWord::SECURITY_STATUS);
        }
        // The reader is one that we know: from here on it is told who we are.
        let signing = vault.credential_key(group.credential)?;
        let signature = vault.sign(signing, &transcript.signed(DEVICE_USAGE))?;
        let answer = Auth1Response {
            named: match command.form {
                KeyForm::Slot => Named::Slot(credential.key.slot()),
                KeyForm::PublicKey => Named::Key(credential.key),
            },
            signature,
            private: None,
            bitmap: self.bitmap(vault, credential)?,
            timestamps: credential.timestamps,
        };
        let private = session.private.ok_or(WRONG_STATE)?;
        let (kdh, keys) = transcript.standard(vault, private, &session.auth0.ephemeral)?;
        let mut channel = Channel::new(Side::Device, keys);
        let sealed = seal_and_remember(
            vault,
            &transcript,
            kdh,
            credential,
            &remembered_name(session, credential),
            &mut channel,
            &answer,
        );
        let event = Event::AliroReader {
            reader: session.auth0.reader.0,
            fast: false,
        };
        let State::Open(session) = &mut self.state else {
            return Err(WRONG_STATE);
        };
        if let Some(fast) = session.channel.replace(channel) {
            fast.end(vault);
        }
        if let Some(key) = session.private.take() {
            vault.forget(key);
        }
        session.authenticated = true;
        session.told = true;
        out.extend(sealed?);
        events.push(event);
        Ok(())
    }

    fn exchange<V: AliroVault>(
        &mut self,
        vault: &mut V,
        data: &[u8],
        out: &mut Vec<u8>,
        events: &mut Vec<Event>,
    ) -> Result<(), StatusWord> {
        let State::Open(session) = &mut self.state else {
            return Err(WRONG_STATE);
        };
        let channel = session.channel.as_mut().ok_or(WRONG_STATE)?;
        let plain = channel.open(vault, data).map_err(channel_status)?;
        session.authenticated = true;
        if !session.told {
            session.told = true;
            events.push(Event::AliroReader {
                reader: session.auth0.reader.0,
                fast: true,
            });
        }
        let response = match ExchangeCommand::parse(&plain) {
            Ok(command) => self.carry_out(vault, &command, events)?,
            Err(_) => {
                session.collected = None;
                ExchangeResponse::ERROR
            }
        };
        let State::Open(session) = &mut self.state else {
            return Err(WRONG_STATE);
        };
        let channel = session.channel.as_mut().ok_or(WRONG_STATE)?;
        out.extend(channel.seal(vault, &response.encode()).map_err(channel_status)?);
        Ok(())
    }

    fn carry_out<V: AliroVault>(
        &mut self,
        vault: &mut V,
        command: &ExchangeCommand,
        events: &mut Vec<Event>,
    ) -> Result<ExchangeResponse, StatusWord> {
        let State::Open(session) = &self.state else {
            return Err(WRONG_STATE);
        };
        let key = self
            .parties(session)
            .map(|(_, credential)| (credential.key, credential.permissions, credential.mailbox));
        let (key, permissions, size) = key.ok_or(WRONG_STATE)?;
        let State::Open(session) = &mut self.state else {
            return Err(WRONG_STATE);
        };
        // There is no document to update, and the URSK is given once.
        if command.update || (command.ursk && session.ursk) {
            session.collected = None;
            return Ok(ExchangeResponse::ERROR);
        }
        let mut response = ExchangeResponse::OK;
        if let Some(request) = &command.mailbox {
            if size == 0 {
                return Ok(ExchangeResponse::ERROR);
            }
            let content = content(vault, &key, size)?;
            let Some(done) = mailbox::execute(&content, permissions, &mut session.collected, request) else {
                return Ok(ExchangeResponse::ERROR);
            };
            if let Some(changed) = &done.changed {
                vault.store(&mailbox_record(&key), changed)?;
            }
            response = done.response;
        }
        session.ursk |= command.ursk;
        if let Some(status) = command.status {
            events.push(Event::ReaderStatus(status.0));
            events.push(Event::Verdict(status.reason().map_or(Verdict::Open, Verdict::Refused)));
        }
        Ok(response)
    }

    fn bitmap<V: AliroVault>(&self, vault: &mut V, credential: &Credential) -> Result<Bitmap, VaultError> {
        let mut bits = self.config.bitmap.0 & !(Bitmap::MAILBOX_DATA | Bitmap::MAILBOX_READ | Bitmap::MAILBOX_WRITE);
        if credential.mailbox > 0 {
            if credential.permissions.read {
                bits |= Bitmap::MAILBOX_READ;
            }
            if credential.permissions.write {
                bits |= Bitmap::MAILBOX_WRITE;
            }
            if content(vault, &credential.key, credential.mailbox)?.iter().any(|byte| *byte != 0) {
                bits |= Bitmap::MAILBOX_DATA;
            }
        }
        Ok(Bitmap(bits))
    }
}

/// Seals the answer to AUTH1 and remembers Kpersistent; Kdh is gone afterwards.
fn seal_and_remember<V: AliroVault>(
    vault: &mut V,
    transcript: &Transcript,
    kdh: KeyRef,
    credential: &Credential,
    name: &[u8],
    channel: &mut Channel,
    answer: &Auth1Response,
) -> Result<Vec<u8>, StatusWord> {
    let kpersistent = transcript.persistent(vault, kdh, &credential.key)?;
    let kept = vault.remember(name, kpersistent, REMEMBERED);
    vault.forget(kpersistent);
    kept?;
    channel.seal(vault, &answer.encode()).map_err(channel_status)
}

/// By whole reader identifier and credential, so that readers of one group never share a key.
fn remembered_name(session: &Session, credential: &Credential) -> [u8; 40] {
    let mut name = [0; 40];
    name[..32].copy_from_slice(&session.auth0.reader.0);
    name[32..].copy_from_slice(&credential.key.slot().0);
    name
}

/// What the mailbox holds: zeros until something is written.
fn content<V: AliroVault>(vault: &mut V, key: &PublicKey, size: u16) -> Result<Vec<u8>, VaultError> {
    let mut content = vault.load(&mailbox_record(key))?.unwrap_or_default();
    content.resize(usize::from(size), 0);
    Ok(content)
}

fn channel_status(error: ChannelError) -> StatusWord {
    match error {
        ChannelError::Tag => StatusWord::SECURITY_STATUS,
        ChannelError::UsedUp => WRONG_STATE,
        ChannelError::Vault(error) => error.into(),
    }
}
