//! PUT KEY (GPC 11.8; for AES keys Amendment D 7.2, for elliptic curve keys Amendment E).

use alloc::vec::Vec;

use super::{apdu, expect, ins};
use crate::apdu::{ApduError, Command};
use crate::globalplatform::lv;
use crate::globalplatform::scp03::{Keys, Scp03Error, key_check_value};
use crate::status::StatusWord;
use zeroize::Zeroizing;

/// Key types (GPC table 11-16).
pub mod key_type {
    /// AES, 16, 24 or 32 bytes.
    pub const AES: u8 = 0x88;
    /// Public key of an elliptic curve, uncompressed point.
    pub const EC_PUBLIC: u8 = 0xB0;
    /// Reference to the parameters of an elliptic curve: 00 is P-256.
    pub const EC_PARAMETERS: u8 = 0xF0;
}

/// One component of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyComponent<'a> {
    /// See [`key_type`].
    pub kind: u8,
    /// The value. Of an AES key: the key's length in one byte (some hosts leave it out), then the key enciphered with Key-DEK.
    pub data: &'a [u8],
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyData<'a> {
    /// Its components, at least one.
    pub components: Vec<KeyComponent<'a>>,
    /// The key check value. May be empty.
    pub check: &'a [u8],
}

impl KeyData<'_> {
    /// The AES key, deciphered with Key-DEK of `keys`, if its check value (which must be there) is right.
    ///
    /// # Errors
    /// The status word to answer with: 6A80 for another kind of key, a wrong length, or a wrong check value.
    pub fn aes(&self, keys: &Keys) -> Result<Zeroizing<Vec<u8>>, StatusWord> {
        let wrong = StatusWord::WRONG_DATA;
        let [KeyComponent { kind: key_type::AES, data }] = self.components[..] else {
            return Err(wrong);
        };
        let (length, cipher) = match (data.len(), data.split_first()) {
            // Whole blocks: a host that leaves the length out, as yubikit does. With it there is always one byte more.
            (16 | 32, _) => (data.len(), data),
            (_, Some((&length, cipher))) => (usize::from(length), cipher),
            (_, None) => return Err(wrong),
        };
        if !matches!(length, 16 | 24 | 32) || cipher.len() != length.next_multiple_of(16) {
            return Err(wrong);
        }
        let mut key = keys.dek_decrypt(cipher).map_err(|_| wrong)?;
        key.truncate(length);
        let check = key_check_value(&key).ok_or(wrong)?;
        if !crate::crypto::equal(&check, self.check) {
            return Err(wrong);
        }
        Ok(key)
    }

    /// The public key, if it is one of P-256: an uncompressed point of 65 bytes. It is not checked to be on the curve.
    #[must_use]
    pub fn p256(&self) -> Option<&[u8; 65]> {
        let (point, parameters) = self.components.split_first()?;
        let known = parameters
            .iter()
            .all(|component| component.kind == key_type::EC_PARAMETERS && matches!(component.data, [0] | []));
        let point: &[u8; 65] = point.data.try_into().ok().filter(|_| point.kind == key_type::EC_PUBLIC)?;
        (known && parameters.len() <= 1 && point[0] == 0x04).then_some(point)
    }
}

/// PUT KEY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutKey<'a> {
    /// The version number of the keys to be replaced, 0 for new ones (P1).
    pub replaces: u8,
    /// The identifier of the first key; the others count up (P2).
    pub kid: u8,
    /// The version number of the new keys.
    pub kvn: u8,
    /// The keys.
    pub keys: Vec<KeyData<'a>>,
}

impl<'a> PutKey<'a> {
    /// Reads the command.
    ///
    /// # Errors
    /// 6E00, 6D00; 6A86 for P1 with more commands announced; 6A80 for data, and for several keys where P2 announces one.
    pub fn parse(command: &Command<'a>) -> Result<Self, StatusWord> {
        expect(command, ins::PUT_KEY)?;
        if command.p1 & 0x80 != 0 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let wrong = StatusWord::WRONG_DATA;
        let (&kvn, mut rest) = command.data.split_first().ok_or(wrong)?;
        let mut keys = Vec::new();
        while !rest.is_empty() {
            let (key, next) = read_key(rest).ok_or(wrong)?;
            keys.push(key);
            rest = next;
        }
        let several = command.p2 & 0x80 != 0;
        let last = usize::from(command.p2 & 0x7F) + keys.len();
        if keys.is_empty() || keys.len() > 1 && !several || last > 0x80 || !(1..=0x7F).contains(&kvn) {
            return Err(wrong);
        }
        Ok(Self {
            replaces: command.p1,
            kid: command.p2 & 0x7F,
            kvn,
            keys,
        })
    }

    /// The plain C-APDU.
    ///
    /// # Errors
    /// [`ApduError`] for more data than a command holds.
    pub fn encode(&self) -> Result<Vec<u8>, ApduError> {
        let mut data = Vec::new();
        data.push(self.kvn);
        for key in &self.keys {
            for component in &key.components {
                data.push(component.kind);
                lv::write(&mut data, component.data);
            }
            lv::write(&mut data, key.check);
        }
        let several = if self.keys.len() > 1 { 0x80 } else { 0 };
        apdu(ins::PUT_KEY, self.replaces, self.kid | several, &data)
    }

    /// The C-APDU that puts a whole key set (key identifiers 1, 2, 3) under `kvn`, enciphered with Key-DEK of the keys in use.
    ///
    /// # Errors
    /// [`Scp03Error`]; not for keys that [`Keys::new`] accepted.
    pub fn key_set(in_use: &Keys, new: &Keys, kvn: u8, replaces: u8) -> Result<Vec<u8>, Scp03Error> {
        let mut values = Vec::with_capacity(3);
        for key in new.in_order() {
            let length = key.len();
            let mut plain = Zeroizing::new(key.to_vec());
            plain.resize(length.next_multiple_of(16), 0);
            let mut value = alloc::vec![length as u8];
            value.extend(in_use.dek_encrypt(&plain)?);
            values.push((value, key_check_value(key).ok_or(Scp03Error::KeyLength { length })?));
        }
        let keys = values.iter().map(|(data, check)| KeyData {
            components: alloc::vec![KeyComponent { kind: key_type::AES, data }],
            check,
        });
        let command = PutKey {
            replaces,
            kid: 1,
            kvn,
            keys: keys.collect(),
        };
        Ok(command.encode()?)
    }

    /// The C-APDU that puts one P-256 public key, as for DAP verification (key version number 73).
    ///
    /// # Errors
    /// [`ApduError`]; not known to happen.
    pub fn p256(point: &[u8; 65], kid: u8, kvn: u8, replaces: u8) -> Result<Vec<u8>, ApduError> {
        let component = |kind, data| KeyComponent { kind, data };
        let command = PutKey {
            replaces,
            kid,
            kvn,
            keys: alloc::vec![KeyData {
                components: alloc::vec![component(key_type::EC_PUBLIC, &point[..]), component(key_type::EC_PARAMETERS, &[0])],
                check: &[],
            }],
        };
        command.encode()
    }

    /// What a card answers: the version number and the check values it was given.
    #[must_use]
    pub fn answer(&self) -> Vec<u8> {
        let mut out = alloc::vec![self.kvn];
        self.keys.iter().for_each(|key| out.extend_from_slice(key.check));
        out
    }
}

/// Components (their type has b8 set), then the check value with its length.
fn read_key(bytes: &[u8]) -> Option<(KeyData<'_>, &[u8])> {
    let mut components = Vec::new();
    let mut rest = bytes;
    loop {
        let (&first, after) = rest.split_first()?;
        let kind = (first & 0x80 != 0).then_some(first);
        let (length, after) = if kind.is_some() {
            lv::read_length(after)?
        } else {
            (usize::from(first), after)
        };
        let (data, after) = after.split_at_checked(length)?;
        rest = after;
        match kind {
            // FF announces the extended format, which is not supported.
            Some(0xFF) => return None,
            Some(kind) => components.push(KeyComponent { kind, data }),
            None if components.is_empty() => return None,
            None => return Some((KeyData { components, check: data }, rest)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn an_aes_key_with_and_without_its_length() {
        let keys = Keys::new(&[1; 16], &[2; 16], &[3; 16]).unwrap();
        for length in [16, 24, 32] {
            let key = alloc::vec![0x5A; length];
            let mut padded = key.clone();
            padded.resize(length.next_multiple_of(16), 0);
            let cipher = keys.dek_encrypt(&padded).unwrap();
            let check = key_check_value(&key).unwrap();
            let read = |data: &[u8]| {
                let components = alloc::vec![KeyComponent { kind: key_type::AES, data }];
                let key = KeyData { components, check: &check };
                key.aes(&keys).map(|key| key.to_vec())
            };
            let with = [&[length as u8][..], &cipher].concat();
            assert_eq!(read(&with).as_ref(), Ok(&key));
            assert_eq!(read(&with[..with.len() - 1]), Err(StatusWord::WRONG_DATA));
            // Of one with 24 bytes nobody can tell then, and its check value says so.
            assert_eq!(read(&cipher).is_ok(), length != 24);
            assert_eq!(read(&cipher[1..]), Err(StatusWord::WRONG_DATA));
            assert_eq!(read(&[]), Err(StatusWord::WRONG_DATA));
        }
    }
}
