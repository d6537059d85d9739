//! P-256 keys in files: PEM (PKCS#8, SEC 1, SubjectPublicKeyInfo; RFC 7468, RFC 5915, RFC 5958), JWK (RFC 7517, 7518) and hexadecimal digits.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tapdoor_protocol::aliro::PublicKey;
use tapdoor_protocol::crypto::agree::public_uncompressed;
use tapdoor_protocol::crypto::ecies::SecretScalar;
use zeroize::Zeroizing;

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// None of the formats.
    #[error("this is no key file: PEM (PRIVATE KEY, EC PRIVATE KEY, PUBLIC KEY), a JWK, 64 hexadecimal digits (private) or 130 (public)")]
    Format,
    /// Another kind of key.
    #[error("this is no P-256 key: {0}")]
    Kind(&'static str),
    /// The public half does not belong to the private one.
    #[error("the file's public key does not belong to its private key")]
    Mismatch,
    /// A public key where a private one is needed.
    #[error("this is a public key; the private key is needed here")]
    PublicOnly,
}

/// How a key is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFormat {
    /// PKCS#8 or SubjectPublicKeyInfo in PEM.
    Pem,
    /// JSON Web Key.
    Jwk,
    /// Hexadecimal digits: the scalar, or the uncompressed point.
    Hex,
}

/// A key of a file.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    private: Option<Zeroizing<[u8; 32]>>,
    /// Its public half.
    pub public: PublicKey,
}

impl std::fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyFile({:?}, private: {})", self.public, self.private.is_some())
    }
}

/// SEQUENCE { ecPublicKey, P-256 }.
const ALGORITHM: [u8; 21] = [
    0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07,
];
/// OBJECT IDENTIFIER P-256.
const P256: [u8; 10] = [0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07];

impl KeyFile {
    /// Of a private key.
    ///
    /// # Errors
    /// [`KeyError::Kind`] for a scalar that is none.
    pub fn from_private(private: &[u8; 32]) -> Result<Self, KeyError> {
        let public = public_uncompressed(&SecretScalar(*private)).map(PublicKey);
        Ok(Self {
            private: Some(Zeroizing::new(*private)),
            public: public.ok_or(KeyError::Kind("the private key is 0 or not below the order of the group"))?,
        })
    }

    /// Of a public key.
    #[must_use]
    pub const fn from_public(public: PublicKey) -> Self {
        Self { private: None, public }
    }

    /// The private key.
    ///
    /// # Errors
    /// [`KeyError::PublicOnly`].
    pub fn private(&self) -> Result<&[u8; 32], KeyError> {
        self.private.as_deref().ok_or(KeyError::PublicOnly)
    }

    /// Whether the private key is there.
    #[must_use]
    pub const fn is_private(&self) -> bool {
        self.private.is_some()
    }

    /// Reads a file's text, whichever the format. Never panics.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        if text.starts_with('{') {
            return Self::from_jwk(text);
        }
        if let Some(rest) = text.find("-----BEGIN ").and_then(|at| text.get(at + 11..)) {
            return Self::from_pem(text, rest);
        }
        let bytes = Zeroizing::new(hex::decode(text).map_err(|_| KeyError::Format)?);
        match bytes.len() {
            32 => Self::from_private(bytes.as_slice().try_into().map_err(|_| KeyError::Format)?),
            65 => PublicKey::new(&bytes)
                .map(Self::from_public)
                .ok_or(KeyError::Kind("no point of the curve")),
            _ => Err(KeyError::Format),
        }
    }

    fn from_jwk(text: &str) -> Result<Self, KeyError> {
        let value: Value = serde_json::from_str(text).map_err(|_| KeyError::Format)?;
        if value["kty"] != "EC" || value["crv"] != "P-256" {
            return Err(KeyError::Kind("kty must be EC and crv P-256"));
        }
        let part = |name: &str| -> Result<Option<Zeroizing<[u8; 32]>>, KeyError> {
            let Some(text) = value.get(name).and_then(Value::as_str) else {
                return Ok(None);
            };
            let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyError::Format)?);
            let bytes: [u8; 32] = bytes
                .as_slice()
                .try_into()
                .map_err(|_| KeyError::Kind("x, y and d have 32 bytes"))?;
            Ok(Some(Zeroizing::new(bytes)))
        };
        let public = match (part("x")?, part("y")?) {
            (Some(x), Some(y)) => Some([&[4][..], x.as_slice(), y.as_slice()].concat()),
            _ => None,
        };
        Self::whole(part("d")?, public.as_deref())
    }

    fn from_pem(text: &str, label: &str) -> Result<Self, KeyError> {
        // Whole PEM files may hold more than one object (EC PARAMETERS before an EC PRIVATE KEY): the first one that is a key counts.
        let (name, _) = label.split_once("-----").ok_or(KeyError::Format)?;
        if name == "EC PARAMETERS" {
            let rest = text.split_once("-----END EC PARAMETERS-----").ok_or(KeyError::Format)?.1;
            return Self::parse(rest);
        }
        let body = label.split_once("-----").ok_or(KeyError::Format)?.1;
        let body = body.split_once(&format!("-----END {name}-----")).ok_or(KeyError::Format)?.0;
        let digits: Zeroizing<String> = Zeroizing::new(body.split_whitespace().collect());
        let der = Zeroizing::new(STANDARD.decode(digits.as_bytes()).map_err(|_| KeyError::Format)?);
        let mut rest = open(&der, 0x30).ok_or(KeyError::Format)?.0;
        match name {
            "PUBLIC KEY" => {
                let point = rest
                    .strip_prefix(&ALGORITHM[..])
                    .ok_or(KeyError::Kind("its algorithm is another"))?;
                let point = open(point, 0x03).and_then(|(bits, _)| bits.strip_prefix(&[0]));
                Self::whole(None, Some(point.ok_or(KeyError::Format)?))
            }
            "PRIVATE KEY" => {
                rest = rest.strip_prefix(&[0x02, 0x01, 0x00]).ok_or(KeyError::Format)?;
                rest = rest
                    .strip_prefix(&ALGORITHM[..])
                    .ok_or(KeyError::Kind("its algorithm is another"))?;
                let inner = open(rest, 0x04).ok_or(KeyError::Format)?.0;
                Self::from_sec1(open(inner, 0x30).ok_or(KeyError::Format)?.0)
            }
            "EC PRIVATE KEY" => Self::from_sec1(rest),
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Kind("it is enciphered; `openssl pkcs8 -in FILE` deciphers it")),
            _ => Err(KeyError::Format),
        }
    }

    /// The content of an ECPrivateKey.
    fn from_sec1(bytes: &[u8]) -> Result<Self, KeyError> {
        let rest = bytes.strip_prefix(&[0x02, 0x01, 0x01]).ok_or(KeyError::Format)?;
        let (private, mut rest) = open(rest, 0x04).ok_or(KeyError::Format)?;
        let private: [u8; 32] = private.try_into().map_err(|_| KeyError::Kind("the private key has not 32 bytes"))?;
        if let Some((parameters, after)) = open(rest, 0xA0) {
            if parameters != P256 {
                return Err(KeyError::Kind("its curve is another"));
            }
            rest = after;
        }
        let public = open(rest, 0xA1)
            .and_then(|(bits, _)| open(bits, 0x03))
            .and_then(|(bits, _)| bits.strip_prefix(&[0]));
        Self::whole(Some(Zeroizing::new(private)), public)
    }

    fn whole(private: Option<Zeroizing<[u8; 32]>>, public: Option<&[u8]>) -> Result<Self, KeyError> {
        let point = |bytes: &[u8]| PublicKey::new(bytes).ok_or(KeyError::Kind("no point of the curve in its uncompressed form"));
        match (private, public) {
            (Some(private), None) => Self::from_private(&private),
            (None, Some(public)) => point(public).map(Self::from_public),
            (Some(private), Some(public)) => {
                let key = Self::from_private(&private)?;
                if key.public == point(public)? {
                    Ok(key)
                } else {
                    Err(KeyError::Mismatch)
                }
            }
            (None, None) => Err(KeyError::Format),
        }
    }

    /// The private key as a file's text; the public one if there is no private one, or if `public_only`.
    #[must_use]
    pub fn text(&self, format: KeyFormat, public_only: bool) -> Zeroizing<String> {
        let private = self.private.as_deref().filter(|_| !public_only);
        let public = self.public.0;
        Zeroizing::new(match format {
            KeyFormat::Hex => format!("{}\n", private.map_or_else(|| hex::encode(public), hex::encode)),
            KeyFormat::Jwk => {
                let (x, y) = public[1..].split_at(32);
                let mut jwk = json!({"kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y)});
                if let Some(private) = private {
                    jwk["d"] = json!(URL_SAFE_NO_PAD.encode(private));
                }
                format!("{jwk}\n")
            }
            KeyFormat::Pem => {
                let bits = [&[0x00][..], &public].concat();
                match private {
                    None => pem("PUBLIC KEY", &wrap(0x30, &[&ALGORITHM[..], &wrap(0x03, &bits)].concat())),
                    Some(private) => {
                        let point = wrap(0xA1, &wrap(0x03, &bits));
                        let key = Zeroizing::new([&[0x02, 0x01, 0x01][..], &wrap(0x04, private), &point].concat());
                        let inner = Zeroizing::new(wrap(0x04, &wrap(0x30, &key)));
                        let der = Zeroizing::new(wrap(0x30, &[&[0x02, 0x01, 0x00], &ALGORITHM[..], &inner].concat()));
                        pem("PRIVATE KEY", &der)
                    }
                }
            }
        })
    }
}

/// A DER object of this tag, of less than 256 bytes, and what follows.
fn open(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match *bytes {
        [first, length @ 0..=0x7F, ref rest @ ..] | [first, 0x81, length, ref rest @ ..] if first == tag => (usize::from(length), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A DER object of at most 255 bytes.
fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len() as u8;
    let header: &[u8] = if length < 0x80 { &[tag, length] } else { &[tag, 0x81, length] };
    [header, content].concat()
}

fn pem(label: &str, der: &[u8]) -> String {
    let digits = STANDARD.encode(der);
    let lines: Vec<&str> = digits
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Made by `openssl ecparam -name prime256v1 -genkey -noout`, and by `openssl pkcs8 -topk8 -nocrypt` and `openssl ec -pubout` of it.
    const SEC1: &str = include_str!("../../tests/keys/ec.pem");
    const PKCS8: &str = include_str!("../../tests/keys/pkcs8.pem");
    const PUBLIC: &str = include_str!("../../tests/keys/public.pem");
    /// RFC 7515 A.3.
    const JWK: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;

    #[test]
    fn what_openssl_wrote() {
        let key = KeyFile::parse(SEC1).unwrap();
        assert!(key.is_private());
        assert_eq!(KeyFile::parse(PKCS8), Ok(key.clone()));
        assert_eq!(KeyFile::parse(PUBLIC), Ok(KeyFile::from_public(key.public)));
        assert_eq!(key.text(KeyFormat::Pem, false).as_str(), PKCS8);
        assert_eq!(key.text(KeyFormat::Pem, true).as_str(), PUBLIC);
    }

    #[test]
    fn every_format_is_read_again() {
        let key = KeyFile::parse(JWK).unwrap();
        for format in [KeyFormat::Pem, KeyFormat::Jwk, KeyFormat::Hex] {
            assert_eq!(KeyFile::parse(&key.text(format, false)), Ok(key.clone()));
            assert_eq!(KeyFile::parse(&key.text(format, true)), Ok(KeyFile::from_public(key.public)));
        }
        assert_eq!(KeyFile::from_public(key.public).private(), Err(KeyError::PublicOnly));
        assert!(!format!("{key:?}").contains("8e9b109e"));
    }

    #[test]
    fn what_is_no_key() {
        for bad in [
            "",
            "00",
            "{",
            "{}",
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN X-----\nAA==\n-----END X-----",
            &"00".repeat(32),
            &"ff".repeat(32),
        ] {
            assert!(KeyFile::parse(bad).is_err(), "{bad}");
        }
        let other = JWK.replace("jpsQ", "jpsR");
        assert_eq!(KeyFile::parse(&other), Err(KeyError::Mismatch));
        assert!(matches!(KeyFile::parse(&JWK.replace("P-256", "P-384")), Err(KeyError::Kind(_))));
        for cut in 0..PKCS8.len() - 2 {
            assert!(KeyFile::parse(&PKCS8[..cut]).is_err());
        }
    }
}
