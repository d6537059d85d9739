//! A test USIM: EF.DIR, EF_ICCID, EF_IMSI, PIN, AUTHENTICATE (TS 102 221 11.1, 13; TS 31.102 4.2, 7.1.2).

use alloc::string::String;
use alloc::vec::Vec;

use super::{encode_iccid, encode_imsi};
use crate::aka::freshness::Array;
use crate::aka::{Algorithm, Autn, Rand};
use crate::apdu::Command;
use crate::crypto;
use crate::status::StatusWord;
use crate::tlv;
use crate::vault::{Slot, Vault};

/// The record of SEQ_MS by IND.
const SEQUENCE_RECORD: &[u8] = b"seq";
/// The record of the PIN's remaining tries.
const TRIES_RECORD: &[u8] = b"pin";
const PIN_TRIES: u8 = 3;

const MF: u16 = 0x3F00;
const ADF: u16 = 0x7FFF;
const EF_DIR: u16 = 0x2F00;
const EF_ICCID: u16 = 0x2FE2;
const EF_IMSI: u16 = 0x6F07;

/// What a USIM is personalised with, besides its keys.
#[derive(Clone, Debug)]
pub struct Profile {
    /// MILENAGE or TUAK.
    pub algorithm: Algorithm,
    /// 18 to 20 digits.
    pub iccid: String,
    /// 1 to 15 digits.
    pub imsi: String,
    /// 4 to 8 digits, if the application asks for a PIN.
    pub pin: Option<String>,
    /// Whether DB answers carry Kc too (service 27).
    pub kc: bool,
    /// SEQ that counts as accepted under every IND when the USIM is new.
    pub start: u64,
    /// The age limit L of TS 33.102 C.2.2, if there is one.
    pub age_limit: Option<u64>,
}

/// The USIM application with the few files that an authentication needs.
#[derive(Debug)]
pub struct Usim {
    profile: Profile,
    /// The current directory: MF or the USIM's ADF.
    directory: u16,
    /// The current elementary file.
    file: Option<u16>,
    verified: bool,
}

impl Usim {
    /// A USIM with this profile.
    #[must_use]
    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            directory: MF,
            file: None,
            verified: false,
        }
    }

    /// Power on: MF is current and no PIN is verified.
    pub fn reset(&mut self) {
        self.directory = MF;
        self.file = None;
        self.verified = false;
    }

    /// SELECT by AID: the ADF becomes current. The answer is the FCP template, unless P2 says none.
    pub fn select(&mut self, aid: &[u8], p2: u8, out: &mut Vec<u8>) {
        self.directory = ADF;
        self.file = None;
        if p2 & 0x0C != 0x0C {
            self.fcp(ADF, Some(aid), out);
        }
    }

    /// All other commands. The answer's data go to `out`.
    ///
    /// # Errors
    /// The status word to answer with.
    pub fn process<V: Vault>(&mut self, vault: &mut V, aid: &[u8], command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        if command.cla != 0x00 {
            return Err(StatusWord::CLA_NOT_SUPPORTED);
        }
        match command.ins {
            0xA4 => self.select_file(aid, command, out),
            0xB0 => self.read_binary(command, out),
            0xB2 => self.read_record(aid, command, out),
            0x20 => self.verify(vault, command),
            0x88 => self.authenticate(vault, command, out),
            _ => Err(StatusWord::INS_NOT_SUPPORTED),
        }
    }

    fn select_file(&mut self, aid: &[u8], command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        let want_fcp = match command.p2 {
            0x04 | 0x00 => true,
            0x0C => false,
            _ => return Err(StatusWord::INCORRECT_P1_P2),
        };
        let path: Vec<u16> = match command.data.len() {
            0 if command.p1 == 0 => Vec::from([MF]),
            n if n % 2 == 0 && n <= 8 => command.data.chunks_exact(2).map(|p| u16::from_be_bytes([p[0], p[1]])).collect(),
            _ => return Err(StatusWord::WRONG_LENGTH),
        };
        let start = match command.p1 {
            0x00 if path.len() == 1 => self.directory,
            0x08 => MF,
            0x09 => self.directory,
            0x00 => return Err(StatusWord::WRONG_LENGTH),
            _ => return Err(StatusWord::INCORRECT_P1_P2),
        };
        let (mut directory, mut file) = (start, None);
        for id in path {
            if file.is_some() {
                return Err(StatusWord::NOT_FOUND);
            }
            (directory, file) = match id {
                MF => (MF, None),
                ADF => (ADF, None),
                EF_DIR | EF_ICCID if directory == MF => (MF, Some(id)),
                EF_IMSI if directory == ADF => (ADF, Some(id)),
                // By file identifier the MF's files can be reached from below too (TS 102 221 8.4.1: MF's immediate children).
                EF_DIR | EF_ICCID if command.p1 == 0 => (MF, Some(id)),
                _ => return Err(StatusWord::NOT_FOUND),
            };
        }
        self.directory = directory;
        self.file = file;
        if want_fcp {
            self.fcp(file.unwrap_or(directory), Some(aid), out);
        }
        Ok(())
    }

    /// FCP template 62 (TS 102 221 11.1.1.3).
    fn fcp(&self, file: u16, aid: Option<&[u8]>, out: &mut Vec<u8>) {
        let mut inner = Vec::with_capacity(48);
        match file {
            MF | ADF => {
                tlv::write(&mut inner, 0x82, &[0x78, 0x21]);
                if file == MF {
                    tlv::write(&mut inner, 0x83, &MF.to_be_bytes());
                } else if let Some(aid) = aid {
                    tlv::write(&mut inner, 0x84, aid);
                }
                let enabled = if self.profile.pin.is_some() { 0x80 } else { 0x00 };
                tlv::write(&mut inner, 0xC6, &[0x90, 0x01, enabled, 0x83, 0x01, 0x01]);
            }
            EF_DIR => {
                let record = self.dir_record(aid.unwrap_or(&[]));
                let length = u8::try_from(record.len()).unwrap_or(0);
                tlv::write(&mut inner, 0x82, &[0x42, 0x21, 0x00, length, 0x01]);
                tlv::write(&mut inner, 0x83, &EF_DIR.to_be_bytes());
                tlv::write(&mut inner, 0x80, &[0x00, length]);
            }
            _ => {
                tlv::write(&mut inner, 0x82, &[0x41, 0x21]);
                tlv::write(&mut inner, 0x83, &file.to_be_bytes());
                tlv::write(&mut inner, 0x80, &[0x00, if file == EF_IMSI { 9 } else { 10 }]);
            }
        }
        tlv::write(&mut inner, 0x8A, &[0x05]);
        tlv::write(out, 0x62, &inner);
    }

    fn dir_record(&self, aid: &[u8]) -> Vec<u8> {
        let mut inner = Vec::with_capacity(32);
        tlv::write(&mut inner, 0x4F, aid);
        tlv::write(&mut inner, 0x50, b"USIM");
        let mut record = Vec::with_capacity(40);
        tlv::write(&mut record, 0x61, &inner);
        record
    }

    fn read_binary(&self, command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        if command.p1 & 0x80 != 0 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let content: Vec<u8> = match self.file {
            Some(EF_ICCID) => encode_iccid(&self.profile.iccid).ok_or(StatusWord::NO_DIAGNOSIS)?.into(),
            Some(EF_IMSI) => {
                self.check_pin()?;
                encode_imsi(&self.profile.imsi).ok_or(StatusWord::NO_DIAGNOSIS)?.into()
            }
            Some(_) => return Err(StatusWord(0x6981)),
            None => return Err(StatusWord(0x6986)),
        };
        let offset = usize::from(command.p1) << 8 | usize::from(command.p2);
        let rest = content.get(offset..).filter(|r| !r.is_empty()).ok_or(StatusWord(0x6B00))?;
        let wanted = match command.ne {
            0 | 256 | 65_536 => rest.len(),
            n => usize::try_from(n).unwrap_or(usize::MAX),
        };
        match rest.get(..wanted) {
            Some(part) => out.extend_from_slice(part),
            None => return Err(StatusWord(0x6C00 | u16::try_from(rest.len()).unwrap_or(0))),
        }
        Ok(())
    }

    fn read_record(&self, aid: &[u8], command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        match self.file {
            Some(EF_DIR) => {}
            Some(_) => return Err(StatusWord(0x6981)),
            None => return Err(StatusWord(0x6986)),
        }
        if command.p2 != 0x04 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        if command.p1 != 1 {
            return Err(StatusWord::RECORD_NOT_FOUND);
        }
        out.extend_from_slice(&self.dir_record(aid));
        Ok(())
    }

    fn tries<V: Vault>(vault: &mut V) -> Result<u8, StatusWord> {
        Ok(vault.load(TRIES_RECORD)?.and_then(|r| r.first().copied()).unwrap_or(PIN_TRIES))
    }

    /// VERIFY PIN (TS 102 221 11.1.9). The try is taken away, durably, before the digits are compared.
    fn verify<V: Vault>(&mut self, vault: &mut V, command: &Command<'_>) -> Result<(), StatusWord> {
        if (command.p1, command.p2) != (0x00, 0x01) {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        let Some(pin) = self.profile.pin.clone() else {
            return Err(StatusWord::REFERENCE_DATA_NOT_USABLE);
        };
        let tries = Self::tries(vault)?;
        let retries = |n: u8| StatusWord(0x63C0 | u16::from(n));
        if command.data.is_empty() {
            return Err(if tries == 0 { StatusWord::PIN_BLOCKED } else { retries(tries) });
        }
        if command.data.len() != 8 {
            return Err(StatusWord::WRONG_LENGTH);
        }
        if tries == 0 {
            return Err(StatusWord::PIN_BLOCKED);
        }
        let mut padded = [0xFF; 8];
        for (slot, digit) in padded.iter_mut().zip(pin.bytes()) {
            *slot = digit;
        }
        let right = crypto::equal(&padded, command.data);
        vault.store(TRIES_RECORD, &[if right { PIN_TRIES } else { tries - 1 }])?;
        self.verified = right;
        if right { Ok(()) } else { Err(retries(tries - 1)) }
    }

    fn check_pin(&self) -> Result<(), StatusWord> {
        if self.profile.pin.is_some() && !self.verified {
            Err(StatusWord::SECURITY_STATUS)
        } else {
            Ok(())
        }
    }

    fn authenticate<V: Vault>(&mut self, vault: &mut V, command: &Command<'_>, out: &mut Vec<u8>) -> Result<(), StatusWord> {
        if command.p1 != 0 {
            return Err(StatusWord::INCORRECT_P1_P2);
        }
        if self.directory != ADF {
            return Err(StatusWord::CONDITIONS_NOT_SATISFIED);
        }
        self.check_pin()?;
        let subscriber = vault.key(Slot::TestSubscriber)?;
        match (command.p2, command.data) {
            (0x81, [0x10, data @ ..]) if data.len() == 33 && data[16] == 0x10 => {
                let rand = Rand(data[..16].try_into().map_err(|_| StatusWord::WRONG_LENGTH)?);
                let autn = Autn(data[17..].try_into().map_err(|_| StatusWord::WRONG_LENGTH)?);
                self.context_3g(vault, subscriber, &rand, &autn, out)
            }
            // The GSM context (TS 31.102 7.1.2.1): SRES and Kc.
            (0x80, [0x10, data @ ..]) if data.len() == 16 => {
                let rand = Rand(data.try_into().map_err(|_| StatusWord::WRONG_LENGTH)?);
                let (sres, kc) = vault.aka_gsm(subscriber, self.profile.algorithm, &rand)?;
                out.push(4);
                out.extend_from_slice(&sres);
                out.push(8);
                out.extend_from_slice(&kc);
                Ok(())
            }
            (0x80 | 0x81, data) if data.len() != if command.p2 == 0x81 { 34 } else { 17 } => Err(StatusWord::WRONG_LENGTH),
            (0x80 | 0x81, _) => Err(StatusWord::WRONG_DATA),
            (0x82 | 0x84, _) => Err(StatusWord(0x9864)),
            _ => Err(StatusWord::INCORRECT_P1_P2),
        }
    }

    fn context_3g<V: Vault>(
        &self,
        vault: &mut V,
        subscriber: crate::vault::KeyRef,
        rand: &Rand,
        autn: &Autn,
        out: &mut Vec<u8>,
    ) -> Result<(), StatusWord> {
        let algorithm = self.profile.algorithm;
        let Some(opened) = vault.aka_open(subscriber, algorithm, rand, autn)? else {
            return Err(StatusWord::AUTHENTICATION_FAILED);
        };
        let array = match vault.load(SEQUENCE_RECORD)? {
            Some(bytes) => Array::from_bytes(&bytes).ok_or(StatusWord::NO_DIAGNOSIS)?,
            None => Array::starting(self.profile.start),
        };
        let mut array = array.with_age_limit(self.profile.age_limit);
        if let Err(sqn_ms) = array.check(opened.sqn) {
            vault.forget(opened.session);
            let auts = vault.aka_auts(subscriber, algorithm, rand, sqn_ms)?;
            out.extend_from_slice(&[0xDC, 14]);
            out.extend_from_slice(&auts.0);
            return Ok(());
        }
        array.accept(opened.sqn);
        vault.store(SEQUENCE_RECORD, &array.to_bytes())?;
        let revealed = vault.reveal_session(opened.session);
        vault.forget(opened.session);
        let (ck, ik) = revealed?;
        out.extend_from_slice(&[0xDB, u8::try_from(opened.res.len()).unwrap_or(0)]);
        out.extend_from_slice(&opened.res);
        out.push(16);
        out.extend_from_slice(&ck);
        out.push(16);
        out.extend_from_slice(&ik);
        if self.profile.kc {
            // c3: Kc = CK1 ^ CK2 ^ IK1 ^ IK2 (TS 33.102 6.8.1.2).
            out.push(8);
            out.extend((0..8).map(|i| ck[i] ^ ck[i + 8] ^ ik[i] ^ ik[i + 8]));
        }
        Ok(())
    }
}
