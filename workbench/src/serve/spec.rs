//! The text of a SERVE.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::address::{Port, is_host_port};

/// When the phone is in the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carry {
    /// It comes so much later than the field.
    pub after: Duration,
    /// It leaves again after this time; `None`: it stays.
    pub stay: Option<Duration>,
}

/// Where a phone is to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServeSpec {
    /// As a card, at the vpcd of this address.
    Vpcd(String),
    /// As a card, listening for whoever speaks as vpcd does.
    TcpListen(String),
    /// On a simulated ACR122U, at the vpcd of this address.
    VpcdAcr122u(String),
    /// Before a simulated PN532 whose line this path leads to. With a second path there is a second chip, which can be a target in the
    /// first one's field.
    Pn532(PathBuf, Carry, Option<PathBuf>),
    /// On a simulated ACR122U that our own PC/SC driver finds by this socket.
    Ifd(PathBuf, Carry),
    /// At a UDP socket.
    Udp(String),
    /// On a real PN532 that libnfc has under this name.
    Libnfc(String),
}

/// All of them, for people.
const FORMS: &str = "write vpcd:HOST:PORT[,as=acr122u], tcp-listen:HOST:PORT, pn532:PATH, ifd:SOCKET, udp:HOST:PORT or libnfc:CONNSTRING";
/// Why an ACR122U is refused.
const ACR122: &str = "an ACR122U cannot be a card (its controller does not let the PN532 be a target); take a PN532 on a serial line, libnfc:pn532_uart:PATH";
const NO_LIBNFC: &str = "this build has no libnfc; build with `--features libnfc` (libnfc-dev and libclang-dev are needed), or show the phone to a simulated reader, pn532:PATH";

/// What is wrong with the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--serve {text}: {detail}")]
pub struct SpecError {
    text: String,
    detail: String,
}

impl FromStr for ServeSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let wrong = |detail: String| SpecError {
            text: text.to_owned(),
            detail,
        };
        let (kind, rest) = text.split_once(':').ok_or_else(|| wrong(FORMS.into()))?;
        if kind == "libnfc" {
            return match rest {
                _ if !cfg!(feature = "libnfc") => Err(wrong(NO_LIBNFC.into())),
                name if name.starts_with("acr122") => Err(wrong(ACR122.into())),
                name => Ok(Self::Libnfc(name.into())),
            };
        }
        let mut parts = rest.split(',');
        let place = parts.next().unwrap_or_default();
        let mut carry = Carry::default();
        let mut is_acr122u = false;
        let mut peer = None;
        let has_field = matches!(kind, "pn532" | "ifd");
        if !matches!(kind, "vpcd" | "tcp-listen" | "udp" | "pn532" | "ifd") {
            return Err(wrong(FORMS.into()));
        }
        for option in parts {
            match option.split_once('=').unwrap_or((option, "")) {
                ("as", "acr122u") if kind == "vpcd" => is_acr122u = true,
                ("peer", path) if kind == "pn532" && !path.is_empty() => peer = Some(PathBuf::from(path)),
                ("after", time) if has_field => {
                    carry.after = seconds(time).ok_or_else(|| wrong(format!("`{option}`: write seconds, such as after=1.5")))?
                }
                ("stay", time) if has_field => {
                    carry.stay = Some(seconds(time).ok_or_else(|| wrong(format!("`{option}`: write seconds, such as stay=2")))?)
                }
                _ => {
                    let known = match kind {
                        "vpcd" => "as=acr122u",
                        "pn532" => "after=SECONDS, stay=SECONDS, peer=PATH",
                        _ if has_field => "after=SECONDS, stay=SECONDS",
                        _ => "none",
                    };
                    return Err(wrong(format!("option `{option}` is not known here (known: {known})")));
                }
            }
        }
        let address = |port| {
            if is_host_port(place, port) {
                Ok(place.to_owned())
            } else {
                Err(wrong(format!("write {kind}:HOST:PORT, for instance {kind}:127.0.0.1:35963")))
            }
        };
        let path = || {
            if place.is_empty() {
                Err(wrong(format!("write {kind}:PATH")))
            } else {
                Ok(PathBuf::from(place))
            }
        };
        match kind {
            "vpcd" if is_acr122u => address(Port::Known).map(Self::VpcdAcr122u),
            "vpcd" => address(Port::Known).map(Self::Vpcd),
            "tcp-listen" => address(Port::Any).map(Self::TcpListen),
            "udp" => address(Port::Any).map(Self::Udp),
            "pn532" => Ok(Self::Pn532(path()?, carry, peer)),
            "ifd" => Ok(Self::Ifd(path()?, carry)),
            _ => Err(wrong(FORMS.into())),
        }
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.parse().ok()?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= Duration::from_secs(86_400))
}

impl fmt::Display for ServeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vpcd(address) => write!(f, "vpcd:{address}"),
            Self::TcpListen(address) => write!(f, "tcp-listen:{address}"),
            Self::VpcdAcr122u(address) => write!(f, "vpcd:{address},as=acr122u"),
            Self::Pn532(path, ..) => write!(f, "pn532:{}", path.display()),
            Self::Ifd(path, _) => write!(f, "ifd:{}", path.display()),
            Self::Udp(address) => write!(f, "udp:{address}"),
            Self::Libnfc(name) => write!(f, "libnfc:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> ServeSpec {
        text.parse().unwrap()
    }

    #[test]
    fn every_form() {
        assert_eq!(spec("vpcd:127.0.0.1:35963"), ServeSpec::Vpcd("127.0.0.1:35963".into()));
        assert_eq!(spec("vpcd:localhost:1,as=acr122u"), ServeSpec::VpcdAcr122u("localhost:1".into()));
        assert_eq!(spec("tcp-listen:[::1]:0"), ServeSpec::TcpListen("[::1]:0".into()));
        assert_eq!(spec("udp:127.0.0.1:54321"), ServeSpec::Udp("127.0.0.1:54321".into()));
        assert_eq!(spec("pn532:/tmp/x"), ServeSpec::Pn532("/tmp/x".into(), Carry::default(), None));
        assert_eq!(
            spec("pn532:/x,peer=/y"),
            ServeSpec::Pn532("/x".into(), Carry::default(), Some("/y".into()))
        );
        if cfg!(feature = "libnfc") {
            assert_eq!(spec("libnfc:pn532_uart:/dev/x"), ServeSpec::Libnfc("pn532_uart:/dev/x".into()));
            assert_eq!(spec("libnfc:"), ServeSpec::Libnfc(String::new()));
        }
        let carry = Carry {
            after: Duration::from_millis(1500),
            stay: Some(Duration::from_secs(2)),
        };
        assert_eq!(spec("ifd:/run/x,after=1.5,stay=2"), ServeSpec::Ifd("/run/x".into(), carry));
    }

    #[test]
    fn what_is_no_form_says_why() {
        for (text, part) in [
            ("", "write vpcd"),
            ("serial:/dev/x", "write vpcd"),
            ("serial:/dev/x,after=1", "write vpcd"),
            ("vpcd", "write vpcd"),
            ("vpcd:", "HOST:PORT"),
            ("vpcd:vpcd:127.0.0.1:35963", "HOST:PORT"),
            ("vpcd:127.0.0.1:0", "HOST:PORT"),
            ("vpcd:127.0.0.1:65536,as=acr122u", "HOST:PORT"),
            ("tcp-listen:here:", "HOST:PORT"),
            ("udp:udp:127.0.0.1:5", "HOST:PORT"),
            (
                "libnfc:acr122_usb:001:002",
                if cfg!(feature = "libnfc") {
                    "cannot be a card"
                } else {
                    "--features libnfc"
                },
            ),
            ("vpcd:x", "HOST:PORT"),
            ("vpcd:127.0.0.1:1,as=other", "as=acr122u"),
            ("vpcd:127.0.0.1:1,after=1", "as=acr122u"),
            ("udp:127.0.0.1:1,after=1", "none"),
            ("pn532:", "pn532:PATH"),
            ("pn532:/x,after=soon", "seconds"),
            ("ifd:/x,stay=-1", "seconds"),
            ("ifd:/x,stay=nan", "seconds"),
        ] {
            let error = text.parse::<ServeSpec>().unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
