//! Which readers the service has, which one is meant, and why the service cannot be reached.

use std::time::Duration;

use pcsc::{Context, Error, ReaderState, Scope, State};

use super::LAYER;
use crate::source::{SourceError, SourceErrorKind};

/// Whether a reader of this name is an ACR122U, or wants to be taken for one.
#[must_use]
pub fn is_acr122(name: &str) -> bool {
    name.to_ascii_uppercase().contains("ACR122")
}

/// A reader as the service sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderStatus {
    /// The reader's name.
    pub name: String,
    /// Whether a card is there.
    pub present: bool,
    /// Whether that card does not answer.
    pub mute: bool,
    /// Whether a program is connected to the card.
    pub in_use: bool,
    /// Whether that program has it for itself.
    pub exclusive: bool,
    /// The card's answer to reset.
    pub atr: Option<Vec<u8>>,
}

/// Every reader of the service, with its state; none is no error.
///
/// # Errors
/// `NoService`, `Permission` or `Reader`.
pub fn list_readers() -> Result<Vec<ReaderStatus>, SourceError> {
    let context = Context::establish(Scope::User).map_err(service_error)?;
    let names = context.list_readers_owned().map_err(service_error)?;
    let mut states: Vec<_> = names.into_iter().map(|name| ReaderState::new(name, State::UNAWARE)).collect();
    if states.is_empty() {
        return Ok(Vec::new());
    }
    match context.get_status_change(Duration::from_secs(1), &mut states) {
        // A reader that went away meanwhile: the others were not filled in.
        Ok(()) | Err(Error::Timeout | Error::UnknownReader) => {}
        Err(e) => return Err(service_error(e)),
    }
    let status = |state: &ReaderState| {
        let event = state.event_state();
        ReaderStatus {
            name: state.name().to_string_lossy().into_owned(),
            present: event.contains(State::PRESENT),
            mute: event.contains(State::MUTE),
            in_use: event.intersects(State::INUSE | State::EXCLUSIVE),
            exclusive: event.contains(State::EXCLUSIVE),
            atr: Some(state.atr()).filter(|atr| !atr.is_empty()).map(<[u8]>::to_vec),
        }
    };
    Ok(states.iter().map(status).collect())
}

/// Which of the readers `names` is meant; `last` is the name under which it was seen before.
pub(crate) fn choose(fragment: &str, last: &str, names: Vec<String>) -> Result<String, SourceError> {
    if names.is_empty() {
        return Err(SourceError::new(
            SourceErrorKind::NoReader,
            LAYER,
            "the smart card service has no reader",
        ));
    }
    if let Some(name) = names.iter().find(|name| *name == last) {
        return Ok(name.clone());
    }
    let wanted = fragment.to_lowercase();
    let exact = names.iter().find(|name| name.to_lowercase() == wanted);
    if let Some(name) = exact.or_else(|| names.iter().find(|name| name.to_lowercase().contains(&wanted))) {
        if !fragment.is_empty() || names.len() == 1 {
            return Ok(name.clone());
        }
        let mut e = SourceError::new(
            SourceErrorKind::Ambiguous,
            LAYER,
            format!("{} readers, and none was named", names.len()),
        );
        e.readers = names;
        return Err(e);
    }
    let mut e = SourceError::new(SourceErrorKind::NoMatch, LAYER, format!("no reader's name contains \"{fragment}\""));
    e.readers = names;
    Err(e)
}

/// Tells a service that does not run from one that may not be used.
pub(super) fn service_error(e: Error) -> SourceError {
    let kind = match e {
        Error::NoService | Error::ServiceStopped | Error::InvalidHandle | Error::CommError | Error::Shutdown => {
            let (kind, detail) = diagnose();
            return SourceError::new(kind, LAYER, format!("{e}: {detail}"));
        }
        Error::NoReadersAvailable | Error::ReaderUnavailable | Error::UnknownReader => SourceErrorKind::NoReader,
        Error::SecurityViolation | Error::NoAccess => SourceErrorKind::Permission,
        Error::SharingViolation => SourceErrorKind::Busy,
        Error::Cancelled => SourceErrorKind::Cancelled,
        _ => SourceErrorKind::Reader,
    };
    SourceError::new(kind, LAYER, e.to_string())
}

/// Why pcscd cannot be reached: its library has one code for all reasons, its socket tells them apart.
#[cfg(all(unix, not(target_os = "macos")))]
fn diagnose() -> (SourceErrorKind, String) {
    use std::io::ErrorKind;
    use std::os::unix::net::UnixStream;

    let path = std::env::var_os("PCSCLITE_CSOCK_NAME").unwrap_or_else(|| "/run/pcscd/pcscd.comm".into());
    let path = std::path::Path::new(&path);
    let shown = path.display();
    match UnixStream::connect(path) {
        Ok(_) => (SourceErrorKind::NoService, format!("pcscd at {shown} hung up; it may be starting")),
        Err(e) if e.kind() == ErrorKind::PermissionDenied => (SourceErrorKind::Permission, format!("{shown}: {e}")),
        Err(e) if e.kind() == ErrorKind::NotFound => (SourceErrorKind::NoService, format!("pcscd does not run: there is no {shown}")),
        Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
            (SourceErrorKind::NoService, format!("pcscd has died and left {shown} behind"))
        }
        Err(e) => (SourceErrorKind::NoService, format!("{shown}: {e}")),
    }
}

#[cfg(not(all(unix, not(target_os = "macos"))))]
fn diagnose() -> (SourceErrorKind, String) {
    (SourceErrorKind::NoService, "the smart card service does not run".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(fragment: &str, last: &str, names: &[&str]) -> Result<String, SourceErrorKind> {
        choose(fragment, last, names.iter().map(|&name| name.to_owned()).collect()).map_err(|e| e.kind)
    }

    #[test]
    fn which_reader() {
        let two = ["ACS ACR122U PICC Interface 00 00", "ACS ACR122U PICC Interface 00 01"];
        assert_eq!(pick("", "", &[]), Err(SourceErrorKind::NoReader));
        assert_eq!(pick("x", "", &two), Err(SourceErrorKind::NoMatch));
        assert_eq!(pick("", "", &two), Err(SourceErrorKind::Ambiguous));
        assert_eq!(pick("", "", &two[..1]).unwrap(), two[0]);
        assert_eq!(pick("acr122u", "", &two).unwrap(), two[0]);
        assert_eq!(pick("00 01", "", &two).unwrap(), two[1]);
        assert_eq!(pick("acr", two[1], &two).unwrap(), two[1], "the one it was before");
        assert_eq!(pick("", two[1], &two).unwrap(), two[1]);
        assert_eq!(
            pick("acr", "ACS ACR122U PICC Interface 01 00", &two).unwrap(),
            two[0],
            "plugged in again"
        );
        assert_eq!(
            pick("reader", "", &["Other reader 2", "Reader"]).unwrap(),
            "Reader",
            "a whole name before a part"
        );
    }

    #[test]
    fn a_refused_choice_lists_the_readers() {
        let e = choose("x", "", vec!["A".to_owned(), "B".to_owned()]).unwrap_err();
        assert!(e.to_string().contains("A, B"), "{e}");
        assert!(e.to_string().contains("pcsc:FRAGMENT"), "{e}");
    }

    #[test]
    fn acr122_names() {
        assert!(is_acr122("ACS ACR122U PICC Interface 00 00"));
        assert!(is_acr122("acs acr122"));
        assert!(!is_acr122("ACS ACR1252 1S CL Reader"));
    }
}
