//! [`EscapeLink`]: pseudo-APDUs to a reader without a card, by a direct connection and `SCardControl`.
//!
//! The driver must allow it: libccid does so only with `ifdDriverOptions` 0x0001 in its Info.plist, Windows with `EscapeCommandEnable` in
//! the registry, and vpcd never does.

use std::ffi::CString;

use pcsc::{Card, Context, Error, Protocols, Scope, ShareMode};
use tapdoor_link::{CardLink, Limits, LinkError, LinkErrorKind};

const LAYER: &str = "pcsc";

/// The control codes of escape commands: libccid's own, and the one that drivers share with Windows.
const CODES: &[u16] = if cfg!(target_os = "windows") { &[3500] } else { &[1, 3500] };

/// Why there is no such connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EscapeError {
    /// The driver does not carry escape commands, or not without a card.
    #[error("the reader's driver carries no escape commands ({0})")]
    NotAllowed(String),
    /// Another program has the reader for itself.
    #[error("another program has the reader for itself")]
    Busy,
    /// The reader or its service.
    #[error("{0}")]
    Reader(String),
}

/// A direct connection to a reader. Dropping it ends it.
pub struct EscapeLink {
    card: Option<Card>,
    code: u16,
    buffer: Box<[u8]>,
}

impl EscapeLink {
    /// Connects to the reader with this name, and asks for its firmware's name to see whether escape commands pass.
    ///
    /// # Errors
    /// [`EscapeError`].
    pub fn connect(name: &str) -> Result<Self, EscapeError> {
        let reader = |e: Error| match e {
            Error::SharingViolation => EscapeError::Busy,
            e => EscapeError::Reader(e.to_string()),
        };
        let context = Context::establish(Scope::User).map_err(reader)?;
        let name = CString::new(name).map_err(|e| EscapeError::Reader(e.to_string()))?;
        let card = context.connect(&name, ShareMode::Direct, Protocols::UNDEFINED).map_err(reader)?;
        let mut link = Self {
            card: Some(card),
            code: 0,
            buffer: vec![0; 600].into_boxed_slice(),
        };
        let mut last = String::new();
        for code in CODES {
            link.code = *code;
            match super::firmware(&mut link) {
                Ok(_) => return Ok(link),
                Err(e) => last = e.detail,
            }
        }
        Err(EscapeError::NotAllowed(last))
    }
}

/// Asks a reader of this name one pseudo-APDU after another: by escape commands, or where its driver carries none by the card that lies on it.
///
/// # Errors
/// [`EscapeError`]: `NotAllowed` when there is neither way.
pub fn ask(name: &str, commands: &[Vec<u8>]) -> Result<Vec<Result<Vec<u8>, LinkError>>, EscapeError> {
    let refused = match EscapeLink::connect(name) {
        Ok(mut link) => {
            let mut answer = |command: &Vec<u8>| {
                let mut response = Vec::new();
                link.transmit(command, &mut response).map(|()| response)
            };
            return Ok(commands.iter().map(&mut answer).collect());
        }
        Err(EscapeError::NotAllowed(why)) => why,
        Err(error) => return Err(error),
    };
    let reader = |e: Error| match e {
        Error::SharingViolation => EscapeError::Busy,
        Error::NoSmartcard | Error::RemovedCard | Error::UnpoweredCard | Error::UnresponsiveCard => {
            EscapeError::NotAllowed(refused.clone())
        }
        e => EscapeError::Reader(e.to_string()),
    };
    let context = Context::establish(Scope::User).map_err(reader)?;
    let name = CString::new(name).map_err(|e| EscapeError::Reader(e.to_string()))?;
    let card = context.connect(&name, ShareMode::Shared, Protocols::ANY).map_err(reader)?;
    let mut buffer = vec![0; 600];
    let mut answer = |command: &Vec<u8>| {
        let answer = card.transmit(command, &mut buffer).map(<[u8]>::to_vec);
        answer.map_err(|e| LinkError::new(LinkErrorKind::Reader, LAYER, e.to_string()).during(command))
    };
    let answers = commands.iter().map(&mut answer).collect();
    // What fails here has ended already.
    let _ = card.disconnect(pcsc::Disposition::LeaveCard);
    Ok(answers)
}

impl CardLink for EscapeLink {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        response.clear();
        let gone = || LinkError::new(LinkErrorKind::Reader, LAYER, "the connection has ended");
        let card = self.card.as_ref().ok_or_else(gone)?;
        match card.control(pcsc::ctl_code(self.code.into()), command, &mut self.buffer) {
            Ok(answer) => {
                response.extend_from_slice(answer);
                Ok(())
            }
            Err(e) => {
                let kind = match e {
                    Error::Timeout => LinkErrorKind::Timeout,
                    Error::SharingViolation => LinkErrorKind::Busy,
                    _ => LinkErrorKind::Reader,
                };
                Err(LinkError::new(kind, LAYER, format!("escape command: {e}")).during(command))
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits::SHORT
    }
}

impl Drop for EscapeLink {
    fn drop(&mut self) {
        if let Some(card) = self.card.take() {
            // What fails here has ended already.
            let _ = card.disconnect(pcsc::Disposition::LeaveCard);
        }
    }
}
