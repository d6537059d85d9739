//! Wrapping and unwrapping in an open session (Amendment D 6.2.4 to 6.2.7).

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::block::{pad, unpad};
use super::keys::Session;
use super::{Level, Mode, Scp03Error, is_protected};
use crate::apdu::{Command, MAX_SHORT_DATA, Response};
use crate::crypto::equal;
use crate::status::StatusWord;

/// The MAC chaining value and the encryption counter, which both ends advance in the same way.
#[derive(Clone, Copy, Default)]
pub(super) struct Chain {
    mac: [u8; 16],
    counter: u64,
}

impl fmt::Debug for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Chain(command {})", self.counter)
    }
}

/// The class byte that is authenticated: as sent, with channel 0 in place of any other.
const fn class(cla: u8) -> u8 {
    if cla & 0x40 == 0 { cla & !0x03 | 0x04 } else { cla & 0x90 | 0x04 }
}

impl Chain {
    /// The C-MAC over a command whose data field (as sent, but without the MAC) is `data`. The chaining value becomes that MAC.
    fn command_mac(&mut self, session: &Session, command: &Command<'_>, data: &[u8]) {
        let length = data.len() + session.mode.length();
        let [high, low] = (length as u16).to_be_bytes();
        let extended = [0, high, low];
        // Lc as it is sent, the MAC counted in.
        let lc: &[u8] = if command.extended || length > MAX_SHORT_DATA || command.ne > 256 {
            &extended
        } else {
            &extended[2..]
        };
        let header = [class(command.cla), command.ins, command.p1, command.p2];
        self.mac = session.mac.mac([&self.mac[..], &header, lc, data].into_iter());
    }

    /// The command with its MAC behind `data`; Le as it was.
    pub(super) fn authenticated(&mut self, session: &Session, command: &Command<'_>, data: &[u8]) -> Result<Vec<u8>, Scp03Error> {
        self.command_mac(session, command, data);
        let mac = &self.mac[..session.mode.length()];
        let field = [data, mac].concat();
        let secure = if command.cla & 0x40 == 0 { 0x04 } else { 0x20 };
        let wrapped = Command {
            cla: command.cla | secure,
            data: &field,
            ..*command
        };
        Ok(wrapped.encode()?)
    }

    /// The data field without its MAC, if the MAC is right. The chaining value is advanced only then.
    pub(super) fn verify<'a>(&mut self, session: &Session, command: &Command<'a>) -> Option<&'a [u8]> {
        let length = command.data.len().checked_sub(session.mode.length())?;
        let (data, mac) = command.data.split_at(length);
        let mut next = *self;
        next.command_mac(session, command, data);
        equal(mac, &next.mac[..mac.len()]).then(|| {
            *self = next;
            data
        })
    }

    /// The ICV of the command with this counter, or, with `answer`, of the answer to it.
    fn icv(&self, session: &Session, answer: bool) -> [u8; 16] {
        let mut block = u128::from(self.counter).to_be_bytes();
        if answer {
            block[0] = 0x80;
        }
        session.enc.block(block)
    }

    /// The R-MAC over a data field as sent, and its status word.
    fn response_mac(&self, session: &Session, data: &[u8], sw: StatusWord) -> [u8; 16] {
        session.rmac.mac([&self.mac[..], data, &sw.to_bytes()].into_iter())
    }
}

/// What the host keeps of a command until its answer is there. It belongs to the channel that gave it and is good for one answer.
#[derive(Debug)]
pub struct Ticket {
    chain: Chain,
}

/// A place between two commands of a session, see [`Channel::rewind`].
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    chain: Chain,
}

impl Ticket {
    /// The place behind its command.
    #[must_use]
    pub const fn mark(&self) -> Mark {
        Mark { chain: self.chain }
    }
}

/// A wrapped command and the ticket for its answer.
#[derive(Debug)]
pub struct Wrapped {
    /// The C-APDU to send.
    pub command: Vec<u8>,
    /// For [`Channel::unwrap`].
    pub ticket: Ticket,
}

/// The host's end of a session.
#[derive(Debug)]
pub struct Channel {
    session: Option<Session>,
    level: Level,
    mode: Mode,
    chain: Chain,
}

impl Channel {
    pub(super) fn new(session: Session, level: Level, chain: Chain) -> Self {
        let mode = session.mode;
        Self {
            session: Some(session),
            level,
            mode,
            chain,
        }
    }

    /// The level that was agreed.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// S8 or S16.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether the session goes on. It does not after a wrong answer.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Most plain data bytes for a short command: what to split LOAD and STORE DATA at.
    #[must_use]
    pub const fn max_command_data(&self) -> usize {
        self.level.max_command_data(self.mode)
    }

    /// Wraps a plain command. The order of wrapping is the order in which the card must get the commands.
    ///
    /// # Errors
    /// [`Scp03Error::Ended`], [`Scp03Error::Class`], [`Scp03Error::CommandTooLong`] for a short command that would become an extended one,
    /// and [`Scp03Error::Apdu`]. The session goes on as if this command had not been.
    pub fn wrap(&mut self, command: &Command<'_>) -> Result<Wrapped, Scp03Error> {
        let session = self.session.as_ref().ok_or(Scp03Error::Ended)?;
        let mut chain = self.chain;
        chain.counter = chain.counter.checked_add(1).ok_or(Scp03Error::Ended)?;
        let bytes = if self.level.c_mac() {
            if command.secure_messaging() || matches!(command.cla, 0x20..=0x3F | 0xA0..=0xBF | 0xFF) {
                return Err(Scp03Error::Class { cla: command.cla });
            }
            let (length, most) = (command.data.len(), self.max_command_data());
            if length > most && !command.extended && command.ne <= 256 {
                return Err(Scp03Error::CommandTooLong { length, most });
            }
            if self.level.c_enc() && !command.data.is_empty() {
                let mut data = Vec::with_capacity(length + 16);
                data.extend_from_slice(command.data);
                pad(&mut data);
                session.enc.cbc_encrypt(chain.icv(session, false), &mut data);
                chain.authenticated(session, command, &data)?
            } else {
                chain.authenticated(session, command, command.data)?
            }
        } else {
            command.encode()?
        };
        self.chain = chain;
        Ok(Wrapped {
            command: bytes,
            ticket: Ticket { chain },
        })
    }

    /// Unwraps the R-APDU that answers the command with this ticket, and gives the plain R-APDU.
    ///
    /// An error status word comes back as it is and proves nothing (see the module's text).
    ///
    /// # Errors
    /// [`Scp03Error::Ended`], [`Scp03Error::Apdu`], and for an answer that is not the card's: [`Scp03Error::NoResponseMac`],
    /// [`Scp03Error::ResponseMac`], [`Scp03Error::ResponsePadding`], [`Scp03Error::DataWithError`]. All but the first end the session.
    pub fn unwrap(&mut self, ticket: Ticket, response: &[u8]) -> Result<Vec<u8>, Scp03Error> {
        let session = self.session.as_ref().ok_or(Scp03Error::Ended)?;
        let plain = opened(session, self.level, &ticket.chain, response);
        if plain.is_err() {
            self.session = None;
        }
        plain
    }

    /// Goes on behind the command of this mark: those wrapped after it were never run, because their script ended with that command.
    ///
    /// The next commands are then wrapped with counters that were used before. The card runs at most one command of each counter, and the
    /// R-MAC of its answer tells which; of the contents no more is given away than whether they begin with the same blocks. Use it where the
    /// commands that were not run only read.
    pub fn rewind(&mut self, mark: Mark) {
        self.chain = mark.chain;
    }

    /// Ends the session; the keys are overwritten.
    pub fn end(&mut self) {
        self.session = None;
    }
}

fn opened(session: &Session, level: Level, chain: &Chain, response: &[u8]) -> Result<Vec<u8>, Scp03Error> {
    let Response { data, sw } = Response::parse(response)?;
    let length = data.len();
    if !level.r_mac() {
        return Ok(response.to_vec());
    }
    if !is_protected(sw) {
        return match length {
            0 => Ok(response.to_vec()),
            _ => Err(Scp03Error::DataWithError { sw, length }),
        };
    }
    let size = session.mode.length();
    let Some((data, mac)) = length.checked_sub(size).and_then(|length| data.split_at_checked(length)) else {
        return Err(Scp03Error::NoResponseMac { sw, length });
    };
    if !equal(mac, &chain.response_mac(session, data, sw)[..size]) {
        return Err(Scp03Error::ResponseMac { sw });
    }
    let mut plain = data.to_vec();
    if level.r_enc() && !plain.is_empty() {
        let length = plain.len();
        session.enc.cbc_decrypt(chain.icv(session, true), &mut plain);
        if !length.is_multiple_of(16) || !unpad(&mut plain) {
            return Err(Scp03Error::ResponsePadding { length });
        }
    }
    plain.extend_from_slice(&sw.to_bytes());
    Ok(plain)
}

/// The card's end of a session. Hand it every command that is for the security domain, in the order in which they come.
#[derive(Debug)]
pub struct CardChannel {
    session: Option<Session>,
    level: Level,
    mode: Mode,
    chain: Chain,
}

impl CardChannel {
    pub(super) fn new(session: Session, level: Level, chain: Chain) -> Self {
        let mode = session.mode;
        Self {
            session: Some(session),
            level,
            mode,
            chain,
        }
    }

    /// The level that was agreed.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// Whether the session goes on. It does not after a command that was not the host's.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.session.is_some()
    }

    /// Most plain data bytes of an answer that stays a short one.
    #[must_use]
    pub const fn max_response_data(&self) -> usize {
        self.level.max_response_data(self.mode)
    }

    /// Unwraps a command and gives the plain C-APDU, secure messaging bit taken out of CLA; wiped when dropped, since it may hold keys.
    ///
    /// # Errors
    /// The status word to answer with: 6982 when the command has no MAC, a wrong one, or was not enciphered as the level says (the session is
    /// over and its keys are overwritten), 6985 when the session was over before.
    pub fn unwrap(&mut self, command: &Command<'_>) -> Result<Zeroizing<Vec<u8>>, StatusWord> {
        let session = self.session.as_ref().ok_or(StatusWord::CONDITIONS_NOT_SATISFIED)?;
        let plain = received(session, self.level, &mut self.chain, command);
        if plain.is_none() {
            self.session = None;
        }
        plain.ok_or(StatusWord::SECURITY_STATUS)
    }

    /// Wraps the answer to the command that was unwrapped last. An error status word goes alone, data given with it are dropped.
    ///
    /// When the session has ended, nothing can be protected: only a status word is given, and 9000 and warnings become 6982.
    #[must_use]
    pub fn wrap(&mut self, data: &[u8], sw: StatusWord) -> Vec<u8> {
        let Some(session) = self.session.as_ref() else {
            let sw = if is_protected(sw) { StatusWord::SECURITY_STATUS } else { sw };
            return sw.to_bytes().to_vec();
        };
        if !self.level.r_mac() {
            return [data, &sw.to_bytes()].concat();
        }
        if !is_protected(sw) {
            return sw.to_bytes().to_vec();
        }
        let mut out = Vec::with_capacity(data.len() + 34);
        out.extend_from_slice(data);
        if self.level.r_enc() && !data.is_empty() {
            pad(&mut out);
            session.enc.cbc_encrypt(self.chain.icv(session, true), &mut out);
        }
        let mac = self.chain.response_mac(session, &out, sw);
        out.extend_from_slice(&mac[..session.mode.length()]);
        out.extend_from_slice(&sw.to_bytes());
        out
    }

    /// Ends the session; the keys are overwritten.
    pub fn end(&mut self) {
        self.session = None;
    }
}

fn received(session: &Session, level: Level, chain: &mut Chain, command: &Command<'_>) -> Option<Zeroizing<Vec<u8>>> {
    chain.counter = chain.counter.checked_add(1)?;
    if !level.c_mac() {
        return command.encode().ok().map(Zeroizing::new);
    }
    if !command.secure_messaging() {
        return None;
    }
    let data = chain.verify(session, command)?;
    let mut plain = Zeroizing::new(data.to_vec());
    if level.c_enc() && !plain.is_empty() {
        if !plain.len().is_multiple_of(16) {
            return None;
        }
        session.enc.cbc_decrypt(chain.icv(session, false), &mut plain);
        if !unpad(&mut plain) {
            return None;
        }
    }
    let secure = if command.cla & 0x40 == 0 { 0x04 } else { 0x20 };
    let plain = Command {
        cla: command.cla & !secure,
        data: &plain,
        ..*command
    };
    plain.encode().ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::globalplatform::scp03::SessionKeys;

    fn bytes(text: &str) -> Vec<u8> {
        hex::decode(text).unwrap()
    }

    fn session(enc: &str, mac: &str, rmac: &str) -> Session {
        let keys = SessionKeys {
            enc: bytes(enc),
            mac: bytes(mac),
            rmac: bytes(rmac),
        };
        Session::from_session_keys(&keys, Mode::S8).unwrap()
    }

    /// From the tests of github.com/scenee/scp03_dart at 9f65643 ("generateResponse 2"): the 13th command of a session at level 33.
    #[test]
    fn an_answer_in_the_middle_of_a_session() {
        const ENC: &str = "a9ddad7cd6d95b78c2e6aaddfaac4ac8";
        let session = session(ENC, ENC, "310b1300c81f42261fb29c49f9dce181");
        let chain = Chain {
            mac: bytes("55b62562c7369e257ff3d1fa5ed33867").try_into().unwrap(),
            counter: 13,
        };
        let protected = bytes("97aa718d7e2b8324da972c97bfc5dc5d34b8422527eb5ff89000");
        let plain = bytes("d30d6950686f6e652031312050726f9000");
        assert_eq!(opened(&session, Level::FULL, &chain, &protected), Ok(plain.clone()));
        let mut card = CardChannel::new(session, Level::FULL, chain);
        assert_eq!(card.wrap(&plain[..15], StatusWord::OK), protected);
    }

    /// From the same tests ("payload"): the cipher of the first command, and a MAC over it without a header.
    #[test]
    fn the_cipher_of_the_first_command() {
        const ENC: &str = "f0804c706ed866c2ae6394155336fa89";
        let session = session(ENC, "d96dc9ac79a10e8905c9d3ff6ffd2cc3", ENC);
        let chain = Chain { mac: [0; 16], counter: 1 };
        let mut data = [1, 2, 3, 4].to_vec();
        pad(&mut data);
        session.enc.cbc_encrypt(chain.icv(&session, false), &mut data);
        assert_eq!(hex::encode(&data), "d68c2784fab4904abe7c443ea94f3a63");
        let mac = session.mac.mac([&chain.mac[..], &data].into_iter());
        assert_eq!(hex::encode(&mac[..8]), "06f279048ca232f9");
    }

    /// What only a host with the keys can do: a right MAC over data that are not enciphered as the level says.
    #[test]
    fn right_mac_and_wrong_padding() {
        const KEY: &str = "f0804c706ed866c2ae6394155336fa89";
        for data in [&[1, 2, 3][..], &[0; 16], &[0; 32]] {
            let at_host = session(KEY, KEY, KEY);
            let plain = Command::new(0x80, 0xE2, 0, 0);
            let wrapped = Chain::default().authenticated(&at_host, &plain, data).unwrap();
            let mut card = CardChannel::new(session(KEY, KEY, KEY), Level::C_ENC, Chain::default());
            let answer = card.unwrap(&Command::parse(&wrapped).unwrap()).map(|_| ());
            assert_eq!(answer, Err(StatusWord::SECURITY_STATUS), "{data:?}");
            assert!(!card.is_open());
            // And at the host.
            let chain = Chain { mac: [3; 16], counter: 1 };
            let mac = at_host.rmac.mac([&chain.mac[..], data, &[0x90, 0x00]].into_iter());
            let answer = [data, &mac[..8], &[0x90, 0x00]].concat();
            let length = data.len();
            assert_eq!(
                opened(&at_host, Level::FULL, &chain, &answer),
                Err(Scp03Error::ResponsePadding { length })
            );
        }
    }
}
