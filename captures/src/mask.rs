//! [`Masker`]: which bytes of a session are secrets and identities, and stay off the tape unless they are asked for.
//!
//! | kind | what | where |
//! |---|---|---|
//! | `ck`, `ik`, `kc` | session keys of a USIM | the answer to AUTHENTICATE with P2 80 or 81, to A0 88, and NEXT to a lock's chip |
//! | `pin` | PINs and PUKs | VERIFY, CHANGE, RESET, ENABLE, DISABLE, and a VERIFY that a lock's chip asks for |
//! | `imsi`, `iccid`, `msisdn`, `tmsi` | the subscriber | READ and UPDATE of EF_IMSI, EF_ICCID, EF_MSISDN, EF_LOCI and their like; NEXT with their content |
//! | `identity` | the phone | the plain form of GET IDENTITY, in REQUEST and its answer; EF_IMPI, EF_IMPU |
//! | `phone-id` | the phone's subscription | C5 in the answers of a lock's chip |
//! | `key` | other keys | GBA answers; EF_Keys and its like; STORE DATA and PUT KEY in the clear |
//!
//! It follows what is selected, command chaining, and GET RESPONSE, so a key is found when it comes in two parts. Where an answer
//! has not the form it should have, more is masked rather than less. Frames go through [`crate::FrameTape`],
//! which puts the APDUs in them together for it.

use std::ops::Range;

use tapdoor_protocol::apdu::Command;

/// What is kept off the tape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MaskPolicy {
    /// Secrets and identities.
    #[default]
    Secrets,
    /// Nothing: the tape holds the keys and must be guarded like them.
    Nothing,
}

/// Bytes to be masked, in one command or response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Where they begin.
    pub offset: usize,
    /// How many.
    pub length: usize,
    /// What they are.
    pub kind: &'static str,
}

impl Span {
    const fn range(self) -> Range<usize> {
        self.offset..self.offset + self.length
    }
}

/// Puts zeros in the place of what is masked.
pub fn blank(bytes: &mut [u8], spans: &[Span]) {
    for span in spans {
        if let Some(secret) = bytes.get_mut(span.range()) {
            secret.fill(0);
        }
    }
}

/// Follows one session, command by command, and says what to mask.
#[derive(Clone, Debug, Default)]
pub struct Masker {
    policy: MaskPolicy,
    place: Place,
    /// Where the SELECT that is under way leads.
    going: Option<Place>,
    /// Header and chaining of the last command.
    last: Option<([u8; 4], bool)>,
    command: Scan,
    answer: Scan,
    /// The session with the phone, as a lock's chip has it: its C1s ask, the NEXTs bring the answers.
    phone: Option<Box<Self>>,
    spans: Vec<Span>,
}

/// What is selected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    directory: Directory,
    file: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Directory {
    #[default]
    Unknown,
    Master,
    Usim,
    Other,
}

impl Masker {
    /// A session in which nothing is known to be selected.
    #[must_use]
    pub fn new(policy: MaskPolicy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// What it looks for.
    #[must_use]
    pub const fn policy(&self) -> MaskPolicy {
        self.policy
    }

    /// Another card, or the same one reset: nothing is known to be selected.
    pub fn reset(&mut self) {
        *self = Self {
            spans: std::mem::take(&mut self.spans),
            ..Self::new(self.policy)
        };
    }

    /// What to mask in this command. Commands and responses take turns; a command whose answer was lost may be followed by another.
    pub fn command(&mut self, command: &[u8]) -> &[Span] {
        self.spans.clear();
        if self.policy == MaskPolicy::Nothing {
            return &self.spans;
        }
        let Some(&[cla, ins, p1, p2]) = command.first_chunk::<4>() else {
            self.last = None;
            self.answer = Scan::Nothing;
            return &self.spans;
        };
        if ins == 0xC0 {
            return &self.spans; // GET RESPONSE: the answer goes on
        }
        let header = Command::new(cla, ins, p1, p2);
        let chained = header.is_chained();
        let plain = [header.plain_cla(), ins, p1, p2];
        let body = body(command);
        let data = &command[body.clone()];
        if self.last != Some((plain, true)) {
            self.going = None;
            self.command = Scan::Nothing;
            self.answer = Scan::Nothing;
            self.classify(header, data);
        }
        self.last = Some((plain, chained));
        if let ([0x80, 0x12, ..], false, Some(phone)) = (plain, chained, &mut self.phone) {
            for span in phone.response(data) {
                let offset = body.start + span.offset;
                self.spans.push(Span { offset, ..*span });
            }
            return &self.spans;
        }
        // What NEXT and REQUEST carry ends with a status word.
        let inner = matches!(plain, [0x80, 0x12 | 0x14, ..]) && !chained;
        let end = data.len().saturating_sub(if inner { 2 } else { 0 });
        self.command.feed(&data[..end], body.start, &mut self.spans);
        &self.spans
    }

    /// What to mask in the response to the command that was given last.
    pub fn response(&mut self, response: &[u8]) -> &[Span] {
        self.spans.clear();
        if let Some((data, &[sw1, _])) = response.split_last_chunk::<2>() {
            self.answer.feed(data, 0, &mut self.spans);
            if !matches!(sw1, 0x61 | 0x6C | 0x9F) {
                self.answer = Scan::Nothing;
            }
            let going = self.going.take();
            if matches!(sw1, 0x90 | 0x91 | 0x61..=0x63 | 0x9F) {
                self.place = going.unwrap_or(self.place);
            }
            match (self.last, asked(data)) {
                (Some(([0x80, 0x10, ..], false)), Some(command)) => {
                    self.phone = Some(Box::default());
                    self.ask(command);
                }
                (Some(([0x80, 0x12, ..], false)), Some(command)) => self.ask(command),
                _ => self.phone = None,
            }
        }
        &self.spans
    }

    /// The lock's chip wants this to be sent to the phone.
    fn ask(&mut self, command: &[u8]) {
        if let Some(phone) = &mut self.phone {
            let _ = phone.command(command);
        }
    }

    /// Sets the scanners for the command and its answer.
    fn classify(&mut self, header: Command<'_>, data: &[u8]) {
        let Command { ins, p1, p2, .. } = header;
        let cla = header.plain_cla();
        let proprietary = cla & 0x80 != 0 && cla != 0xA0;
        match ins {
            0xA4 => self.going = Some(self.destination(p1, data)),
            0x20 | 0x21 | 0x24 | 0x26 | 0x28 | 0x2C => self.command = Scan::from("pin", 0),
            0x88 | 0x89 if cla == 0xA0 => self.answer = Scan::from("kc", 4),
            0x88 | 0x89 => {
                self.answer = match p2 {
                    0x80 => Scan::Aka(Aka::Start { gsm: true }),
                    0x81 => Scan::Aka(Aka::Start { gsm: false }),
                    0x82..=0xFF => Scan::from("key", 2),
                    _ => Scan::Nothing,
                };
            }
            0xB0..=0xB3 | 0xD6 | 0xD7 | 0xDC | 0xDD => {
                let scan = self.file(ins, p1, p2).map_or(Scan::Nothing, |kind| Scan::from(kind, 0));
                if ins < 0xC0 {
                    self.answer = scan;
                } else {
                    self.command = scan;
                }
            }
            0xCA if proprietary && (p1, p2) == (0, 0) => self.answer = Scan::IDENTITY,
            0xE2 | 0xD8 if proprietary && !header.secure_messaging() => {
                self.command = Scan::from("key", 0);
            }
            0x10 if proprietary => self.answer = Scan::Chip(Chip::default()),
            0x12 if proprietary => {
                if carries_keys(data) {
                    self.command = Scan::Aka(Aka::Start { gsm: false });
                }
                self.answer = Scan::Chip(Chip::default());
            }
            0x14 if proprietary => {
                self.command = Scan::IDENTITY;
                self.answer = Scan::Chip(Chip::default());
            }
            _ => {}
        }
    }

    /// Where a SELECT leads.
    fn destination(&self, p1: u8, data: &[u8]) -> Place {
        const USIM: [u8; 7] = [0xA0, 0x00, 0x00, 0x00, 0x87, 0x10, 0x02];
        if p1 == 0x04 {
            let usim = data.starts_with(&USIM) || USIM.starts_with(data);
            let directory = if usim { Directory::Usim } else { Directory::Other };
            return Place { directory, file: None };
        }
        let (path, _) = data.as_chunks::<2>();
        let from = match p1 {
            0x00 | 0x08 if path.len() != 1 => Directory::Master,
            0x03 | 0x08 => Directory::Unknown,
            _ => self.place.directory,
        };
        let start = Place {
            directory: from,
            file: None,
        };
        path.iter().fold(start, |place, id| match u16::from_be_bytes(*id) {
            0x3F00 => Place {
                directory: Directory::Master,
                file: None,
            },
            0x7FFF => Place {
                directory: Directory::Usim,
                file: None,
            },
            0x7F00..=0x7FFE | 0x5F00..=0x5FFF => Place {
                directory: Directory::Unknown,
                file: None,
            },
            file => Place { file: Some(file), ..place },
        })
    }

    /// What the file that a READ or UPDATE goes to holds.
    fn file(&mut self, ins: u8, p1: u8, p2: u8) -> Option<&'static str> {
        let short = match ins {
            0xB0 | 0xD6 if p1 & 0x80 != 0 => p1 & 0x1F,
            0xB2 | 0xB3 | 0xDC | 0xDD => p2 >> 3,
            _ => 0,
        };
        let named = u16::from_be_bytes([p1, p2]);
        if short != 0 {
            let directory = self.place.directory;
            self.place.file = match short {
                0x02 if !matches!(directory, Directory::Usim | Directory::Other) => Some(0x2FE2),
                0x07..=0x09 if !matches!(directory, Directory::Master | Directory::Other) => Some(0x6F00 | u16::from(short)),
                _ => None,
            };
        } else if matches!(ins, 0xB1 | 0xD7) && named > 0xFF {
            self.place.file = Some(named);
        }
        match self.place.file? {
            0x2FE2 => Some("iccid"),
            0x6F07 => Some("imsi"),
            0x6F40 => Some("msisdn"),
            0x6F02 | 0x6F04 => Some("identity"),
            0x6F7E | 0x6F73 | 0x6FE3 => Some("tmsi"),
            0x6F08 | 0x6F09 | 0x6FE4 | 0x4F20 | 0x4F52 => Some("key"),
            _ => None,
        }
    }
}

/// Where the data of a command is. When its lengths do not agree: all that follows the header and one byte.
fn body(command: &[u8]) -> Range<usize> {
    let end = command.len();
    match command.get(4..).unwrap_or_default() {
        [] | [_] => end..end,
        [0, high, low, rest @ ..] => {
            let lc = usize::from(u16::from_be_bytes([*high, *low]));
            match rest.len().checked_sub(lc) {
                _ if rest.is_empty() => end..end,
                Some(0 | 2) => 7..7 + lc,
                _ => 5..end,
            }
        }
        [lc, rest @ ..] => match rest.len().checked_sub(usize::from(*lc)) {
            Some(0 | 1) => 5..5 + usize::from(*lc),
            _ => 5..end,
        },
    }
}

/// The C-APDU that a lock's chip asks for, if it came in one part.
fn asked(data: &[u8]) -> Option<&[u8]> {
    match data {
        [0xC1, 0x81, length, rest @ ..] | [0xC1, length @ ..=0x7F, rest @ ..] => rest.get(..usize::from(*length)),
        _ => None,
    }
}

/// Whether these bytes are exactly a USIM's success with keys, and a status word: `DB len RES len CK len IK [len Kc] SW`.
fn carries_keys(data: &[u8]) -> bool {
    let Some((&[0xDB], mut rest)) = data.split_first_chunk::<1>() else {
        return false;
    };
    let mut lengths = Vec::with_capacity(4);
    while rest.len() > 2 {
        let Some((_, after)) = rest[1..].split_at_checked(usize::from(rest[0])) else {
            return false;
        };
        lengths.push(rest[0]);
        rest = after;
    }
    rest.len() == 2 && matches!(lengths[..], [4..=16, 16, 16] | [4..=16, 16, 16, 8])
}

/// Finds secrets byte by byte, so that it does not matter where an answer is cut into parts.
#[derive(Clone, Debug, Default)]
enum Scan {
    #[default]
    Nothing,
    /// All but the first bytes.
    From {
        kind: &'static str,
        skip: usize,
    },
    Aka(Aka),
    /// GET IDENTITY: form, kind, length, digits, CMAC.
    Identity {
        at: usize,
        plain: bool,
    },
    Chip(Chip),
}

impl Scan {
    const IDENTITY: Self = Self::Identity { at: 0, plain: false };

    const fn from(kind: &'static str, skip: usize) -> Self {
        Self::From { kind, skip }
    }

    fn feed(&mut self, bytes: &[u8], base: usize, spans: &mut Vec<Span>) {
        if matches!(self, Self::Nothing) {
            return;
        }
        for (offset, byte) in (base..).zip(bytes) {
            let Some(kind) = self.step(*byte) else {
                continue;
            };
            match spans.last_mut() {
                Some(span) if span.kind == kind && span.range().end == offset => span.length += 1,
                _ => spans.push(Span { offset, length: 1, kind }),
            }
        }
    }

    fn step(&mut self, byte: u8) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::From { kind, skip } => match skip.checked_sub(1) {
                Some(less) => {
                    *skip = less;
                    None
                }
                None => Some(*kind),
            },
            Self::Aka(aka) => aka.step(byte),
            Self::Identity { at, plain } => identity(byte, at, plain),
            Self::Chip(chip) => chip.step(byte),
        }
    }
}

fn identity(byte: u8, at: &mut usize, plain: &mut bool) -> Option<&'static str> {
    if *at == 0 {
        *plain = byte == 0x01;
    }
    let secret = *plain && *at > 2;
    *at += 1;
    secret.then_some("identity")
}

/// `DB len RES len CK len IK [len Kc]`, or in GSM context `len SRES len Kc`.
#[derive(Clone, Debug)]
enum Aka {
    Start {
        gsm: bool,
    },
    /// The length of this field is next.
    Length(usize),
    Field {
        index: usize,
        left: u8,
    },
    /// Not what it should be: the rest is masked.
    Broken,
    /// Not a success, or the end.
    End,
}

/// Names and lengths of the fields; RES is not a secret once it was sent.
const FIELDS: [(Option<&str>, Range<u8>); 4] = [(None, 4..17), (Some("ck"), 16..17), (Some("ik"), 16..17), (Some("kc"), 8..9)];

impl Aka {
    fn step(&mut self, byte: u8) -> Option<&'static str> {
        let (next, kind) = match *self {
            Self::Start { gsm } => match byte {
                0xDB => (Self::Length(0), None),
                // SRES is RES, and Kc follows at once.
                4 if gsm => (Self::Field { index: 4, left: 4 }, None),
                _ => (Self::End, None),
            },
            Self::Length(index) => match FIELDS.get(index) {
                Some((_, lengths)) if lengths.contains(&byte) => (Self::Field { index, left: byte }, None),
                Some(_) => (Self::Broken, None),
                None => (Self::End, None),
            },
            Self::Field { index, left } => {
                let kind = FIELDS.get(index).and_then(|(kind, _)| *kind);
                let next = match (left, index) {
                    (0 | 1, 4) => Self::Length(3),
                    (0 | 1, _) => Self::Length(index + 1),
                    _ => Self::Field { index, left: left - 1 },
                };
                (next, kind)
            }
            Self::Broken => (Self::Broken, Some("key")),
            Self::End => (Self::End, None),
        };
        *self = next;
        kind
    }
}

/// The answer of a lock's chip: a list of TLV objects with tags of one byte.
#[derive(Clone, Debug, Default)]
enum Chip {
    #[default]
    Tag,
    Length {
        tag: u8,
    },
    LongLength {
        tag: u8,
        bytes: u8,
        length: usize,
    },
    Value {
        tag: u8,
        left: usize,
        at: usize,
        secret: bool,
    },
}

impl Chip {
    fn step(&mut self, byte: u8) -> Option<&'static str> {
        let value = |tag, length| match length {
            0 => Self::Tag,
            left => Self::Value {
                tag,
                left,
                at: 0,
                secret: false,
            },
        };
        let (next, kind) = match *self {
            Self::Tag => (Self::Length { tag: byte }, None),
            Self::Length { tag } => match byte {
                0x81..=0x83 => (
                    Self::LongLength {
                        tag,
                        bytes: byte - 0x80,
                        length: 0,
                    },
                    None,
                ),
                length => (value(tag, usize::from(length)), None),
            },
            Self::LongLength { tag, bytes, length } => {
                let length = length << 8 | usize::from(byte);
                match bytes {
                    0 | 1 => (value(tag, length), None),
                    _ => (
                        Self::LongLength {
                            tag,
                            bytes: bytes - 1,
                            length,
                        },
                        None,
                    ),
                }
            }
            Self::Value { tag, left, at, mut secret } => {
                // C3: 01 || lock id(8) || nonce(16) || clock(4) || length(2) || identity.
                const IDENTITY: usize = 31;
                let kind = match tag {
                    0xC1 => {
                        secret |= at == 1 && byte == 0x20;
                        (secret && at > 4).then_some("pin")
                    }
                    0xC3 => {
                        secret |= at == IDENTITY && byte == 0x01;
                        (secret && at > IDENTITY + 2).then_some("identity")
                    }
                    0xC5 => Some("phone-id"),
                    _ => None,
                };
                let next = match left {
                    0 | 1 => Self::Tag,
                    _ => Self::Value {
                        tag,
                        left: left - 1,
                        at: at + 1,
                        secret,
                    },
                };
                (next, kind)
            }
        };
        *self = next;
        kind
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Found = Vec<(usize, usize, &'static str)>;

    fn found(spans: &[Span]) -> Found {
        spans.iter().map(|s| (s.offset, s.length, s.kind)).collect()
    }

    fn hex(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    /// Runs a session of commands and answers in turn, and gives what is masked in each.
    fn session(lines: &[&str]) -> Vec<Found> {
        let mut masker = Masker::default();
        let mut turn = |(n, line): (usize, &&str)| match n % 2 {
            0 => found(masker.command(&hex(line))),
            _ => found(masker.response(&hex(line))),
        };
        lines.iter().enumerate().map(&mut turn).collect()
    }

    fn keys() -> String {
        format!("10{}10{}", "C1".repeat(16), "1C".repeat(16))
    }

    fn authenticate(cla: &str, p2: &str) -> String {
        format!("{cla}8800{p2}22 10{} 10{} 00", "AA".repeat(16), "BB".repeat(16))
    }

    #[test]
    fn a_usims_keys() {
        let three_g = authenticate("00", "81");
        let answer = format!("DB08 0102030405060708 {} 08 0505050505050505 9000", keys());
        let all = vec![(11, 16, "ck"), (28, 16, "ik"), (45, 8, "kc")];
        assert_eq!(session(&[&three_g, &answer]), [vec![], all.clone()]);
        let gsm = authenticate("00", "80");
        assert_eq!(session(&[&gsm, &answer])[1], all);
        assert_eq!(session(&[&gsm, "04 01020304 08 0505050505050505 9000"])[1], [(6, 8, "kc")]);
        assert_eq!(session(&["A088000010 AA", "01020304 0505050505050505 9000"])[1], [(4, 8, "kc")]);
        assert_eq!(session(&[&authenticate("00", "84"), "DB 04 01020304 9000"])[1], [(2, 4, "key")]);
    }

    #[test]
    fn keys_that_come_in_parts_at_every_cut() {
        let authenticate = authenticate("00", "81");
        let whole = hex(&format!("DB08 0102030405060708 {} 08 0505050505050505", keys()));
        let mut expected = whole.clone();
        for keys in [11..27, 28..44, 45..53] {
            expected[keys].fill(0);
        }
        let mut masker = Masker::default();
        for cut in 0..=whole.len() {
            let mut blanked = Vec::new();
            masker.command(&hex(&authenticate));
            for (part, sw) in [(&[][..], [0x61, 0x35]), (&whole[..cut], [0x61, 1]), (&whole[cut..], [0x90, 0])] {
                let mut bytes = [part, &sw].concat();
                let spans = masker.response(&bytes).to_vec();
                blank(&mut bytes, &spans);
                blanked.extend_from_slice(&bytes[..part.len()]);
                assert!(masker.command(&[0x00, 0xC0, 0x00, 0x00, 0x20]).is_empty());
            }
            assert_eq!(blanked, expected, "cut at {cut}");
        }
    }

    #[test]
    fn a_wrong_le_in_between_does_not_lose_the_thread() {
        let answer = format!("DB04 01020304 {} 9000", keys());
        let lines = [&*authenticate("00", "81"), "6128", "00C0000000", "6C28", "00C0000028", &answer];
        assert_eq!(session(&lines)[5], [(7, 16, "ck"), (24, 16, "ik")]);
    }

    #[test]
    fn a_broken_answer_is_masked_more_not_less() {
        let c = authenticate("00", "81");
        assert_eq!(session(&[&c, "DB FF 01020304 9000"])[1], [(2, 4, "key")]);
        assert_eq!(session(&[&c, "DB 04 01020304 11 0101 9000"])[1], [(7, 2, "key")]);
        assert_eq!(session(&[&c, "DC 0E 0102030405060708090A0B0C0D0E 9000"])[1], []);
        assert_eq!(session(&[&c, "9862"])[1], []);
    }

    #[test]
    fn profile_p_has_no_keys_on_the_air() {
        let command = format!("80880000 28 {} 00", "AA".repeat(40));
        assert_eq!(session(&[&command, "DB08 0102030405060708 9000"]), [vec![], vec![]]);
        // TP is random and may begin as it likes.
        let tp = format!("DB04{} 9000", "11".repeat(18));
        assert_eq!(session(&[&command, &tp])[1], []);
    }

    #[test]
    fn pins() {
        assert_eq!(session(&["00200001 08 31323334FFFFFFFF"])[0], [(5, 8, "pin")]);
        assert_eq!(session(&["00200001 000002 3132"])[0], [(7, 2, "pin")]);
        assert_eq!(session(&["002C0001 10 31323334FFFFFFFF31323334FFFFFFFF"])[0], [(5, 16, "pin")]);
        assert_eq!(
            session(&["00200001 09 31323334"])[0],
            [(5, 4, "pin")],
            "a wrong length hides it too"
        );
        assert_eq!(session(&["00200001"])[0], [], "asking for the tries left");
        let chain = ["10200001 02 3132", "9000", "00200001 02 3334", "9000"];
        assert_eq!(session(&chain)[2], [(5, 2, "pin")]);
    }

    #[test]
    fn the_subscriber_by_file_id_and_by_short_id() {
        let imsi = "080910100000000000 9000";
        let lines = ["00A4000402 6F07 00", "621C 9000", "00B0000009", imsi];
        assert_eq!(session(&lines)[3], [(0, 9, "imsi")]);
        let lines = ["00A4080402 2FE2", "9000", "00B000000A", "98 9000"];
        assert_eq!(session(&lines)[3], [(0, 1, "iccid")]);
        let lines = ["00A40804 04 7FFF6F40", "9000", "00B201041C", "AABB 9000"];
        assert_eq!(session(&lines)[3], [(0, 2, "msisdn")]);
        assert_eq!(session(&["00B0870009", imsi])[1], [(0, 9, "imsi")]);
        assert_eq!(session(&["00B082000A", imsi])[1], [(0, 9, "iccid")]);
        assert_eq!(session(&["00B16F0700", imsi])[1], [(0, 9, "imsi")]);
        // A SELECT that failed selects nothing.
        let lines = ["00A4000402 6F07", "6A82", "00B0000009", imsi];
        assert_eq!(session(&lines)[3], []);
        // In another application the same short identifier is something else.
        let lines = ["00A4040007 A0000003974254 00", "9000", "00B0870009", imsi];
        assert_eq!(session(&lines)[3], []);
        assert_eq!(
            session(&["00A4000402 6F07", "9000", "00D6000002 0809", "9000"])[2],
            [(5, 2, "imsi")]
        );
    }

    #[test]
    fn the_phones_identity_in_its_plain_form() {
        let ask = format!("80CA000018 {} 00", "11".repeat(24));
        let plain = format!("01 01 03 313233 {} 9000", "CC".repeat(16));
        let sealed = format!("00 {} 9000", "02".repeat(33));
        assert_eq!(session(&[&ask, &plain])[1], [(3, 19, "identity")]);
        assert_eq!(session(&[&ask, &sealed])[1], []);
        // The same on its way through the lock's chip.
        let request = format!("8014000018 {plain}");
        let signed = format!("C3 29 01{} 000A 0101033132334444 4444 C4 02 0101 9000", "22".repeat(28));
        assert_eq!(session(&[&request, &signed]), [[(8, 19, "identity")], [(36, 7, "identity")]]);
    }

    #[test]
    fn the_locks_chip() {
        let keys = keys();
        let next = format!("8012000034 DB08 0102030405060708 {keys} 9000");
        let next = next.replace("8012000034", "801200002E");
        assert_eq!(session(&[&next])[0], [(16, 16, "ck"), (33, 16, "ik")]);
        assert_eq!(session(&["801200000C DB08 0102030405060708 9000"])[0], []);
        // The subscriber, on the way from the phone to the chip.
        let imsi = [
            "801000000690046B0323F200",
            "C10D 00A4040407A000000087100200 9000",
            "8012000002 9000",
            "C108 00A40004026F0700 9000",
            "8012000002 9000",
            "C105 00B0000009 9000",
            "801200000B 080910101017823011 9000",
        ];
        assert_eq!(session(&imsi)[6], [(5, 9, "imsi")]);
        let verify = "C1 0D 0020000108 31323334FFFFFFFF C5 08 0102030405060708 9000";
        assert_eq!(
            session(&["801000000690040000000000", verify])[1],
            [(7, 8, "pin"), (17, 8, "phone-id")]
        );
        assert_eq!(session(&["80E2000003 010203"])[0], [(5, 3, "key")]);
        assert_eq!(session(&["84E2000003 010203"])[0], [], "enciphered by SCP03");
    }

    #[test]
    fn after_a_reset_nothing_is_taken_for_granted() {
        let mut masker = Masker::default();
        masker.command(&hex("00A4040007 A0000003974254 00"));
        masker.response(&hex("9000"));
        masker.reset();
        masker.command(&hex("00B0870009"));
        assert_eq!(found(masker.response(&hex("0809 9000"))), [(0, 2, "imsi")]);
    }

    #[test]
    fn nothing_masks_nothing() {
        let mut masker = Masker::new(MaskPolicy::Nothing);
        assert!(masker.command(&hex("0020000104 31323334")).is_empty());
        assert!(masker.response(&hex("9000")).is_empty());
    }

    proptest! {
        #[test]
        fn spans_are_in_order_and_inside(
            lines in proptest::collection::vec(
                (proptest::sample::select(vec![0x10, 0x12, 0x14, 0x20, 0x88, 0xA4, 0xB0, 0xB1, 0xC0, 0xCA, 0xE2]),
                 proptest::collection::vec(any::<u8>(), 0..40),
                 proptest::collection::vec(any::<u8>(), 0..70)), 1..8),
        ) {
            let mut masker = Masker::default();
            for (ins, mut command, response) in lines {
                if let Some(byte) = command.get_mut(1) {
                    *byte = ins;
                }
                for (spans, bytes) in [(masker.command(&command).to_vec(), &command), (masker.response(&response).to_vec(), &response)] {
                    let mut end = 0;
                    for span in spans {
                        prop_assert!(span.offset >= end && span.length > 0);
                        end = span.range().end;
                    }
                    prop_assert!(end <= bytes.len());
                }
            }
        }
    }
}
