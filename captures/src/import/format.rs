//! [`Format`]: what each format is called, and how its files are recognised.

use super::{at, lines};
use crate::read::{Problem, ReadError};

/// A format of trace, log or script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Our own tape.
    Tape,
    /// pcapng: link type 264, or GSMTAP over UDP.
    Pcapng,
    /// pcap, likewise.
    Pcap,
    /// pcapng with GSMTAP; on reading the same as [`Self::Pcapng`].
    Gsmtap,
    /// Proxmark3's binary trace.
    Pm3Trace,
    /// Proxmark3's `trace list`.
    Pm3Text,
    /// Log of apdu4j and GlobalPlatformPro, old and new.
    Apdu4j,
    /// apdu4j's `.dump`.
    Dump,
    /// pcscd with `--apdu`.
    Pcscd,
    /// OpenSC's debug log, old and new.
    OpenSc,
    /// What opensc-tool and opensc-explorer print.
    OpenScTool,
    /// libnfc's debug log.
    Libnfc,
    /// nfcpy's debug log.
    Nfcpy,
    /// NCI packets in an Android log, or in that of linux_libnfc-nci.
    Nci,
    /// nfc-laboratory's JSON.
    NfcLaboratory,
    /// Hexadecimal lines with arrows, as Home Key and Aliro logs have them.
    Arrows,
    /// Commands in hexadecimal, for scriptor.
    Scriptor,
    /// Our own script; written only.
    Door,
    /// A tape as one JSON document.
    Json,
    /// A table; written only.
    Csv,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::Tape,
        Self::Pcapng,
        Self::Pcap,
        Self::Gsmtap,
        Self::Pm3Trace,
        Self::Pm3Text,
        Self::Apdu4j,
        Self::Dump,
        Self::Pcscd,
        Self::OpenSc,
        Self::OpenScTool,
        Self::Libnfc,
        Self::Nfcpy,
        Self::Nci,
        Self::NfcLaboratory,
        Self::Arrows,
        Self::Scriptor,
        Self::Door,
        Self::Json,
        Self::Csv,
    ];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tape => "tape",
            Self::Pcapng => "pcapng",
            Self::Pcap => "pcap",
            Self::Gsmtap => "gsmtap",
            Self::Pm3Trace => "pm3-trace",
            Self::Pm3Text => "pm3-text",
            Self::Apdu4j => "apdu4j",
            Self::Dump => "dump",
            Self::Pcscd => "pcscd",
            Self::OpenSc => "opensc",
            Self::OpenScTool => "opensc-tool",
            Self::Libnfc => "libnfc",
            Self::Nfcpy => "nfcpy",
            Self::Nci => "nci",
            Self::NfcLaboratory => "nfc-laboratory",
            Self::Arrows => "arrows",
            Self::Scriptor => "scriptor",
            Self::Door => "door",
            Self::Json => "json",
            Self::Csv => "csv",
        }
    }

    /// The format of this name, or of another name by which it is known.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let known = match name {
            "gppro" | "globalplatformpro" => "apdu4j",
            "pm3" | "proxmark3" => "pm3-trace",
            "pm3-list" => "pm3-text",
            "android" | "nxp" => "nci",
            "nfcgate" => "pcapng",
            "homekey" | "aliro" => "arrows",
            "script" => "scriptor",
            other => other,
        };
        Self::ALL.into_iter().find(|format| format.name() == known)
    }

    /// Whether files of it can be read.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        !matches!(self, Self::Door | Self::Csv)
    }

    /// Whether files of it can be written.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        matches!(
            self,
            Self::Tape | Self::Pcapng | Self::Gsmtap | Self::Dump | Self::Pm3Trace | Self::Scriptor | Self::Door | Self::Json | Self::Csv
        )
    }

    /// The format to write that a file's name asks for.
    #[must_use]
    pub fn of_name(path: &str) -> Option<Self> {
        let (_, ending) = path.rsplit_once('.')?;
        Some(match ending.to_ascii_lowercase().as_str() {
            "tape" | "jsonl" => Self::Tape,
            "pcapng" | "pcap" => Self::Pcapng,
            "trace" => Self::Pm3Trace,
            "dump" => Self::Dump,
            "script" | "scriptor" => Self::Scriptor,
            "door" => Self::Door,
            "json" => Self::Json,
            "csv" => Self::Csv,
            _ => return None,
        })
    }

    /// What a file of this format consists of, for messages.
    pub(crate) const fn expected(self) -> &'static str {
        match self {
            Self::Tape => "one event, {\"t\":NANOSECONDS,\"layer\":NAME,...}",
            Self::Pcapng | Self::Pcap | Self::Gsmtap => "a packet of link type 264, or GSMTAP over UDP",
            Self::Pm3Trace => "a record of a Proxmark3 trace",
            Self::Pm3Text => "a row of a Proxmark3 listing, START | END | Rdr or Tag | DATA | CRC | ANNOTATION",
            Self::Apdu4j => "a log of apdu4j or GlobalPlatformPro, A>> (4+0008) 00A40400 ... and A<< (0018+2) (26ms) ...",
            Self::Dump => "a line of hexadecimal digits, commands and answers in turn, or # and a remark",
            Self::Pcscd => "a log of pcscd --apdu, MICROSECONDS APDU: 00 A4 ... and MICROSECONDS SW: ...",
            Self::OpenSc => "an OpenSC debug log, Outgoing APDU (N bytes): and Incoming APDU (N bytes):",
            Self::OpenScTool => "Sending: 00 A4 ... and Received (SW1=0x90, SW2=0x00)",
            Self::Libnfc => "a debug log of libnfc, TX: and RX: with bytes",
            Self::Nfcpy => "a debug log of nfcpy, >>> and <<< with bytes",
            Self::Nci => "a log with NCI packets, NxpNciX and NxpNciR: len = N > ...",
            Self::NfcLaboratory => "a frame of nfc-laboratory, {\"frameType\":258,\"frameData\":\"52\",...}",
            Self::Arrows => "an arrow and hexadecimal digits, --> 00a40400... or <-- 9000, or # or * and a remark",
            Self::Scriptor => "a command in hexadecimal, reset, or # and a remark",
            Self::Door => "a step of a script",
            Self::Json => "an event, {\"t\":NANOSECONDS,\"layer\":NAME,...}",
            Self::Csv => "a row",
        }
    }
}

/// The names of the formats that can be read, for a message.
pub(crate) fn readable() -> String {
    let names: Vec<_> = Format::ALL
        .iter()
        .filter(|format| format.is_readable())
        .map(|format| format.name())
        .collect();
    format!("one of {}", names.join(", "))
}

fn unknown(found: impl Into<String>) -> ReadError {
    let problem = Problem::Foreign {
        found: found.into(),
        expected: format!("{} (--from NAME says which it is)", readable()),
    };
    at(1, 1, 0, problem)
}

/// Which format a file has that begins with these bytes.
///
/// # Errors
/// When it is none that is known.
pub fn recognise(prefix: &[u8]) -> Result<Format, ReadError> {
    match prefix {
        [] => return Err(unknown("the file is empty")),
        [0x0A, 0x0D, 0x0D, 0x0A, ..] => return Ok(Format::Pcapng),
        [0xD4, 0xC3, 0xB2, 0xA1, ..] | [0xA1, 0xB2, 0xC3, 0xD4, ..] | [0x4D, 0x3C, 0xB2, 0xA1, ..] | [0xA1, 0xB2, 0x3C, 0x4D, ..] => {
            return Ok(Format::Pcap);
        }
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => return Err(utf16()),
        _ if is_utf16(prefix) => return Err(utf16()),
        _ => {}
    }
    let text = prefix.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(prefix);
    if let Some(format) = json(text) {
        return Ok(format);
    }
    // The last line may be cut off by the end of what is looked at.
    let mut best = None;
    let mut plain = Plain::default();
    for line in text.split(|byte| *byte == b'\n') {
        let coloured = line.contains(&0x1B).then(|| String::from_utf8_lossy(line));
        let plain_text = coloured.as_ref().map(|line| lines::uncoloured(line));
        let line = plain_text.as_ref().map_or(line, |line| line.as_bytes());
        if let Some(found) = lines::signature(line) {
            if found.is_certain() {
                return Ok(found.format());
            }
            best = best.or(Some(found.format()));
        }
        plain.line(line);
    }
    // A trace without text in it: records of a Proxmark3.
    if is_binary(text) {
        return match super::proxmark::looks_like_a_trace(prefix) {
            true => Ok(Format::Pm3Trace),
            false => Err(binary_rubbish(prefix)),
        };
    }
    best.or_else(|| plain.format()).ok_or_else(|| {
        let first = text.split(|byte| *byte == b'\n').find(|line| !line.trim_ascii().is_empty());
        unknown(format!(
            "\"{}\" is of no format that is known",
            lines::shown(first.unwrap_or_default())
        ))
    })
}

fn utf16() -> ReadError {
    at(
        1,
        1,
        0,
        Problem::Foreign {
            found: "text in UTF-16".into(),
            expected: "UTF-8: iconv -f UTF-16 -t UTF-8 FILE makes it".into(),
        },
    )
}

fn binary_rubbish(prefix: &[u8]) -> ReadError {
    let first: Vec<_> = prefix.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    unknown(format!("the bytes {} are of no format that is known", first.join(" ")))
}

/// Text in UTF-16 without a mark at its beginning: a zero in every other byte.
fn is_utf16(prefix: &[u8]) -> bool {
    let (mut low, mut high, mut all) = (0usize, 0usize, 0usize);
    for [a, b] in prefix.as_chunks::<2>().0.iter().take(512) {
        let text = |byte: &u8| byte.is_ascii_graphic() || byte.is_ascii_whitespace();
        low += usize::from(*a == 0 && text(b));
        high += usize::from(*b == 0 && text(a));
        all += 1;
    }
    all > 4 && (low * 10 > all * 9 || high * 10 > all * 9)
}

/// A control character that text does not have.
pub(crate) const fn is_control(byte: u8) -> bool {
    byte < 0x20 && !matches!(byte, b'\n' | b'\r' | b'\t' | 0x0C | 0x1B)
}

fn is_binary(prefix: &[u8]) -> bool {
    prefix.iter().take(1 << 16).any(|byte| is_control(*byte))
}

fn json(text: &[u8]) -> Option<Format> {
    let text = text.trim_ascii_start();
    if !text.starts_with(b"{") {
        return None;
    }
    let has = |word: &[u8], within: usize| {
        text.get(..text.len().min(within))?
            .windows(word.len())
            .position(|window| window == word)
    };
    match (has(b"\"tape\"", 1 << 16), has(b"\"frames\"", 1 << 16), has(b"\"events\"", 1 << 18)) {
        (Some(_), _, Some(_)) if !first_line(text) => Some(Format::Json),
        (Some(_), None, _) => Some(Format::Tape),
        (Some(tape), Some(frames), _) if tape < frames => Some(Format::Tape),
        (_, Some(_), _) => Some(Format::NfcLaboratory),
        // A tape that was cut within its header, and whatever else is JSON: the tape's reader says what is wrong.
        _ => Some(Format::Tape),
    }
}

/// Whether the first line is an object of its own, as in JSON Lines.
fn first_line(text: &[u8]) -> bool {
    let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
    line.ends_with(b"}") && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok() && !line.starts_with(b"{\"tape\":{")
}

/// Files of hexadecimal lines: a script, or a dump.
#[derive(Default)]
struct Plain {
    lines: usize,
    hex: usize,
    other: usize,
    answers: usize,
    reset: bool,
    dump: bool,
}

impl Plain {
    fn line(&mut self, line: &[u8]) {
        let line = line.trim_ascii();
        match line {
            [] => return,
            [b'#', rest @ ..] => {
                let rest = rest.trim_ascii_start();
                self.dump |= rest.starts_with(b"ATR:") || rest.starts_with(b"PROTOCOL:");
                return;
            }
            _ if line.starts_with(b"```") || line.eq_ignore_ascii_case(b"exit") => return,
            _ if line.eq_ignore_ascii_case(b"reset") => {
                self.reset = true;
                return;
            }
            _ => {}
        }
        self.lines += 1;
        match lines::hex_bytes(line.strip_suffix(b"\\").unwrap_or(line)) {
            Some(bytes) => {
                self.hex += 1;
                // Every second line ends like an answer, and the first does not.
                let answer = matches!(bytes.as_slice(), [.., 0x90 | 0x61..=0x6F, _]) && (bytes.len() == 2 || self.hex.is_multiple_of(2));
                self.answers += usize::from(answer);
            }
            None => self.other += 1,
        }
    }

    const fn format(&self) -> Option<Format> {
        // The last line may be cut off.
        if self.dump {
            return Some(Format::Dump);
        }
        if self.hex == 0 && !self.reset || self.other > 1 {
            return None;
        }
        if !self.reset && self.hex >= 2 && self.answers * 2 >= self.hex - self.hex % 2 {
            return Some(Format::Dump);
        }
        Some(Format::Scriptor)
    }
}
