//! Reader and user device as the parameters of an application on a chip (BER-TLV), both ways. Private keys are not among them.
//!
//! ```text
//! device: 80 versions  [81 command(2) response(2)]  [82 descriptor]  [83 vendor]  84 bitmap(2)
//!         A1 { 80 group identifier(16)  81 key(65)  82 credential(1) }*
//!         A2 { 80 key(65)  81 mailbox(2)  82 permissions(1)  [83 time(20)]  [84 time(20)] }*
//! reader: 80 identifier(32)  81 group key(65)  [82 certificate  83 placement(1)]  84 versions  85 fast(1)  86 policy(1)  87 form(1)
//!         [88 vendor]  89 status(2)  8A remembered(2)  8B mailbox request*  A2 { 80 phone(8)  81 key(65)  82 not after(4)  83 revoked(1)
//!         [84 not before(4)] }*
//! ```

use alloc::vec::Vec;

use super::auth::Timestamps;
use super::device::{Credential, Group};
use super::exchange::ExchangeCommand;
use super::mailbox::Permissions;
use super::reader::{Entry, Placement};
use super::select::Lengths;
use super::{Bitmap, DeviceConfig, KeyForm, PublicKey, ReaderConfig, ReaderIdentifier, ReaderStatus};
use crate::ids::PhoneId;
use crate::tlv;

const READ: u8 = 1;
const WRITE: u8 = 2;

fn versions(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|version| version.to_be_bytes()).collect()
}

fn parse_versions(bytes: &[u8]) -> Vec<u16> {
    bytes
        .chunks_exact(2)
        .filter_map(|version| Some(u16::from_be_bytes(version.try_into().ok()?)))
        .collect()
}

fn word(bytes: Option<&[u8]>) -> Option<u16> {
    Some(u16::from_be_bytes(bytes?.try_into().ok()?))
}

fn byte(bytes: Option<&[u8]>) -> Option<u8> {
    match bytes {
        Some(&[byte]) => Some(byte),
        _ => None,
    }
}

/// Points were checked when the parameters were made.
fn key(bytes: Option<&[u8]>) -> Option<PublicKey> {
    Some(PublicKey(bytes?.try_into().ok()?))
}

fn group(out: &mut Vec<u8>, tag: u32, objects: &[(u32, &[u8])]) {
    let mut inner = Vec::with_capacity(96);
    objects.iter().for_each(|(tag, value)| tlv::write(&mut inner, *tag, value));
    tlv::write(out, tag, &inner);
}

impl DeviceConfig {
    /// The parameters.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + 96 * (self.groups.len() + self.credentials.len()));
        tlv::write(&mut out, 0x80, &versions(&self.versions));
        if let Some(lengths) = self.lengths {
            tlv::write(&mut out, 0x81, &versions(&[lengths.command, lengths.response]));
        }
        for (tag, value) in [(0x82, &self.descriptor), (0x83, &self.vendor)] {
            if let Some(value) = value {
                tlv::write(&mut out, tag, value);
            }
        }
        tlv::write(&mut out, 0x84, &self.bitmap.0.to_be_bytes());
        for g in &self.groups {
            group(&mut out, 0xA1, &[(0x80, &g.identifier), (0x81, &g.key.0), (0x82, &[g.credential])]);
        }
        for c in &self.credentials {
            let permissions = if c.permissions.read { READ } else { 0 } | if c.permissions.write { WRITE } else { 0 };
            let (size, permissions) = (c.mailbox.to_be_bytes(), [permissions]);
            let mut objects: Vec<(u32, &[u8])> = Vec::from([(0x80, &c.key.0[..]), (0x81, &size), (0x82, &permissions)]);
            for (tag, time) in [(0x83, &c.timestamps.credential), (0x84, &c.timestamps.revocation)] {
                if let Some(time) = time {
                    objects.push((tag, time));
                }
            }
            group(&mut out, 0xA2, &objects);
        }
        out
    }

    /// Reads the parameters; `None` when they are not whole. Never panics.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut groups, mut credentials) = (Vec::new(), Vec::new());
        for object in tlv::iter(bytes) {
            let object = object.ok()?;
            let find = |tag| tlv::find(object.value, tag);
            match object.tag.0 {
                0xA1 => groups.push(Group {
                    identifier: find(0x80)?.try_into().ok()?,
                    key: key(find(0x81))?,
                    credential: byte(find(0x82))?,
                }),
                0xA2 => {
                    let permissions = byte(find(0x82))?;
                    let time = |tag| find(tag).and_then(|time| <[u8; 20]>::try_from(time).ok());
                    credentials.push(Credential {
                        key: key(find(0x80))?,
                        mailbox: word(find(0x81))?,
                        permissions: Permissions {
                            read: permissions & READ != 0,
                            write: permissions & WRITE != 0,
                        },
                        timestamps: Timestamps {
                            credential: time(0x83),
                            revocation: time(0x84),
                        },
                    });
                }
                _ => {}
            }
        }
        Some(Self {
            versions: parse_versions(tlv::find(bytes, 0x80)?),
            lengths: match tlv::find(bytes, 0x81).map(parse_versions).as_deref() {
                Some(&[command, response]) => Some(Lengths { command, response }),
                _ => None,
            },
            descriptor: tlv::find(bytes, 0x82).map(<[u8]>::to_vec),
            vendor: tlv::find(bytes, 0x83).map(<[u8]>::to_vec),
            bitmap: Bitmap(word(tlv::find(bytes, 0x84))?),
            groups,
            credentials,
        })
    }
}

impl ReaderConfig {
    /// The parameters.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + 96 * self.credentials.len());
        tlv::write(&mut out, 0x80, &self.identifier.0);
        tlv::write(&mut out, 0x81, &self.group_key.0);
        if let Some((certificate, placement)) = &self.certificate {
            tlv::write(&mut out, 0x82, certificate);
            tlv::write(&mut out, 0x83, &[u8::from(*placement == Placement::Auth1)]);
        }
        tlv::write(&mut out, 0x84, &versions(&self.versions));
        tlv::write(&mut out, 0x85, &[u8::from(self.fast)]);
        tlv::write(&mut out, 0x86, &[self.policy]);
        tlv::write(&mut out, 0x87, &[u8::from(self.form == KeyForm::PublicKey)]);
        if let Some(vendor) = &self.vendor {
            tlv::write(&mut out, 0x88, vendor);
        }
        tlv::write(&mut out, 0x89, &self.status.0.to_be_bytes());
        tlv::write(&mut out, 0x8A, &self.remembered.to_be_bytes());
        for request in &self.mailbox {
            tlv::write(&mut out, 0x8B, &ExchangeCommand::mailbox(request.clone()).encode());
        }
        for c in &self.credentials {
            let (not_after, revoked, not_before) = (c.not_after.to_be_bytes(), [u8::from(c.revoked)], c.not_before.to_be_bytes());
            group(
                &mut out,
                0xA2,
                &[
                    (0x80, &c.phone.0),
                    (0x81, &c.key.0),
                    (0x82, &not_after),
                    (0x83, &revoked),
                    (0x84, &not_before),
                ],
            );
        }
        out
    }

    /// Reads the parameters; `None` when they are not whole. Never panics.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (mut mailbox, mut credentials) = (Vec::new(), Vec::new());
        for object in tlv::iter(bytes) {
            let object = object.ok()?;
            match object.tag.0 {
                0x8B => mailbox.push(ExchangeCommand::parse(object.value).ok()?.mailbox?),
                0xA2 => {
                    let find = |tag| tlv::find(object.value, tag);
                    credentials.push(Entry {
                        phone: PhoneId::from_slice(find(0x80)?)?,
                        key: key(find(0x81))?,
                        not_before: match find(0x84) {
                            Some(time) => u32::from_be_bytes(time.try_into().ok()?),
                            None => 0,
                        },
                        not_after: u32::from_be_bytes(find(0x82)?.try_into().ok()?),
                        revoked: byte(find(0x83))? != 0,
                    });
                }
                _ => {}
            }
        }
        let find = |tag| tlv::find(bytes, tag);
        Some(Self {
            identifier: ReaderIdentifier(find(0x80)?.try_into().ok()?),
            group_key: key(find(0x81))?,
            certificate: match (find(0x82), byte(find(0x83))) {
                (Some(certificate), Some(placement)) => Some((
                    certificate.to_vec(),
                    if placement == 1 { Placement::Auth1 } else { Placement::LoadCert },
                )),
                _ => None,
            },
            versions: parse_versions(find(0x84)?),
            fast: byte(find(0x85))? != 0,
            policy: byte(find(0x86))?,
            form: if byte(find(0x87))? == 1 {
                KeyForm::PublicKey
            } else {
                KeyForm::Slot
            },
            vendor: find(0x88).map(<[u8]>::to_vec),
            mailbox,
            status: ReaderStatus(word(find(0x89))?),
            remembered: word(find(0x8A))?,
            credentials,
        })
    }
}
