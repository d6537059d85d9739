//! Commands and answers as text: apdu4j's dump, scriptor's script, and our own `.door`.

use std::io::{self, Write};

use tapdoor_protocol::apdu::Command;

use super::pairs::{Found, Pairs, one_line};
use super::{Exporter, Losses, event_losses, header_losses};
use crate::decode::Decoder;
use crate::event::Event;
use crate::header::Header;
use crate::volatile;

fn bytes(event: &Event) -> &[u8] {
    event.data.as_deref().unwrap_or_default()
}

/// apdu4j's dump: pairs, with times in milliseconds.
pub(crate) struct Dump<W> {
    out: W,
    pairs: Pairs,
    tap: Option<u64>,
    /// When the last answer was in; the dump knows no other times.
    last: u64,
}

impl<W: Write> Dump<W> {
    pub(crate) fn new(mut out: W, header: &Header, losses: &mut Losses) -> io::Result<Self> {
        header_losses(header, &["created", "tool", "reader", "atr", "protocol"], losses);
        let created = header
            .created
            .as_deref()
            .and_then(|created| created.parse::<jiff::Timestamp>().ok());
        if created.is_some() || header.tool.is_some() {
            let when = created.unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC);
            let when = jiff::fmt::rfc2822::to_string(&when).unwrap_or_default();
            writeln!(
                out,
                "# Generated on {when} by {}",
                one_line(header.tool.as_deref().unwrap_or("tapdoor"))
            )?;
            if created.is_some_and(|created| created.subsec_nanosecond() != 0) {
                losses.add("the part of the first second in which the recording began");
            }
        }
        if let Some(reader) = &header.reader {
            writeln!(out, "# Using {}", one_line(reader))?;
        }
        // Both must be there for a dump to be replayed.
        let atr = match &header.atr {
            Some(atr) => hex::encode_upper(atr),
            None => {
                losses.add("no ATR on the tape: 3B80800101 stands in its place");
                "3B80800101".into()
            }
        };
        let protocol = header.extra.text("protocol").unwrap_or_else(|| "T=1".into());
        writeln!(out, "# ATR: {atr}\n# PROTOCOL: {}\n#", one_line(&protocol))?;
        Ok(Self {
            out,
            pairs: Pairs::default(),
            tap: None,
            last: 0,
        })
    }
}

impl<W: Write> Exporter for Dump<W> {
    fn own_apdus(&mut self) {
        self.pairs.own_apdus();
    }

    fn event(&mut self, event: &Event, losses: &mut Losses) -> io::Result<()> {
        if event.tap.is_some() && event.tap != self.tap {
            if self.tap.is_some() || event.tap != Some(1) {
                losses.add("where one tap ends and the next begins");
            }
            self.tap = event.tap;
        }
        match self.pairs.take(event, losses) {
            Found::Pair(command, answer) if bytes(&command).len() < 4 || bytes(&answer).len() < 2 => {
                losses.add("exchanges that are no APDUs");
                Ok(())
            }
            Found::Pair(command, answer) => {
                event_losses(&command, &[], losses);
                event_losses(&answer, &["from"], losses);
                if command.t != self.last {
                    losses.add("times between an answer and the next command");
                }
                self.last = answer.t;
                let time = answer.t.saturating_sub(command.t);
                if time % 1_000_000 != 0 {
                    losses.add("parts of milliseconds");
                }
                let (command, answer) = (hex::encode_upper(bytes(&command)), hex::encode_upper(bytes(&answer)));
                writeln!(self.out, "# Sent\n{command}\n# Received in {}ms\n{answer}", time / 1_000_000)
            }
            Found::Lonely(_) => {
                losses.add("commands without an answer");
                Ok(())
            }
            Found::Note => {
                event_losses(event, &["text"], losses);
                match &event.text {
                    Some(text) => writeln!(self.out, "# {}", one_line(text)),
                    None => Ok(()),
                }
            }
            Found::Nothing => Ok(()),
        }
    }

    fn finish(&mut self, losses: &mut Losses) -> io::Result<()> {
        if self.pairs.last().is_some() {
            losses.add("commands without an answer");
        }
        Ok(())
    }
}

/// scriptor: commands alone.
pub(crate) struct Scriptor<W> {
    out: W,
    pairs: Pairs,
    tap: Option<u64>,
    /// The tape came from a script, and has neither answers nor times.
    script: bool,
}

impl<W: Write> Scriptor<W> {
    pub(crate) fn new(out: W, header: &Header, losses: &mut Losses) -> io::Result<Self> {
        header_losses(header, &[], losses);
        Ok(Self {
            out,
            pairs: Pairs::default(),
            tap: None,
            script: header.extra.get("answers") == Some("false"),
        })
    }

    fn command(&mut self, command: &Event, losses: &mut Losses) -> io::Result<()> {
        event_losses(command, &["from"], losses);
        if !self.script {
            losses.add("times");
        }
        let digits: Vec<_> = bytes(command).iter().map(|byte| format!("{byte:02X}")).collect();
        writeln!(self.out, "{}", digits.join(" "))
    }
}

impl<W: Write> Exporter for Scriptor<W> {
    fn own_apdus(&mut self) {
        self.pairs.own_apdus();
    }

    fn event(&mut self, event: &Event, losses: &mut Losses) -> io::Result<()> {
        let found = self.pairs.take(event, losses);
        // The command that is held belongs to the tap before.
        if let Found::Lonely(command) = &found {
            self.command(command, losses)?;
        }
        if event.tap.is_some() && event.tap != self.tap {
            if !matches!(found, Found::Lonely(_))
                && let Some(command) = self.pairs.last()
            {
                // A remark or the new tap's first command came before it was answered.
                if command.tap == event.tap {
                    writeln!(self.out, "reset")?;
                    self.tap = event.tap;
                }
                self.command(&command, losses)?;
            }
            if event.tap != self.tap {
                writeln!(self.out, "reset")?;
                self.tap = event.tap;
            }
        }
        match found {
            Found::Pair(command, _) => {
                losses.add("answers");
                self.command(&command, losses)
            }
            Found::Note => {
                if let Some(command) = self.pairs.last() {
                    self.command(&command, losses)?;
                }
                event_losses(event, &["text"], losses);
                match &event.text {
                    Some(text) => writeln!(self.out, "# {}", one_line(text)),
                    None => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, losses: &mut Losses) -> io::Result<()> {
        match self.pairs.last() {
            Some(command) => self.command(&command, losses),
            None => Ok(()),
        }
    }
}

/// Our own script: each command, and what its answer is expected to be. What differs from tap to tap may be any byte.
pub(crate) struct Door<W> {
    out: W,
    pairs: Pairs,
    tap: Option<u64>,
    decoder: Decoder,
}

impl<W: Write> Door<W> {
    pub(crate) fn new(mut out: W, header: &Header, losses: &mut Losses) -> io::Result<Self> {
        header_losses(header, &["created", "tool"], losses);
        let created = header.created.as_deref().map(|created| format!(", recorded {created}"));
        writeln!(out, "# Made from a tape{}.", one_line(&created.unwrap_or_default()))?;
        Ok(Self {
            out,
            pairs: Pairs::default(),
            tap: None,
            decoder: Decoder::new(),
        })
    }

    fn command(&mut self, command: &Event) -> io::Result<()> {
        if command.tap.is_some() && command.tap != self.tap {
            if self.tap.is_some() {
                writeln!(self.out, "\nreset")?;
            }
            self.tap = command.tap;
        }
        let decoded = self.decoder.decode(command);
        writeln!(self.out, "\n# {}", one_line(&decoded.name))?;
        let data = bytes(command);
        match Command::parse(data) {
            // Exactly what `select` sends.
            Ok(parsed)
                if data.starts_with(&[0x00, 0xA4, 0x04, 0x00])
                    && parsed.ne == 256
                    && !parsed.data.is_empty()
                    && data.len() == 6 + parsed.data.len() =>
            {
                writeln!(self.out, "select {}", hex::encode(parsed.data))
            }
            _ => writeln!(self.out, "apdu {}", hex::encode(data)),
        }
    }
}

impl<W: Write> Exporter for Door<W> {
    fn own_apdus(&mut self) {
        self.pairs.own_apdus();
    }

    fn event(&mut self, event: &Event, losses: &mut Losses) -> io::Result<()> {
        match self.pairs.take(event, losses) {
            Found::Pair(command, answer) => {
                losses.add("times");
                event_losses(&command, &["from"], losses);
                self.command(&command)?;
                let decoded = self.decoder.decode(&answer);
                let whole = bytes(&answer);
                let Some((data, sw)) = whole.split_last_chunk::<2>() else {
                    losses.add("answers without a status word");
                    return Ok(());
                };
                if !data.is_empty() {
                    let wild = volatile::bytes(&decoded, data, &answer.mask);
                    let digits: Vec<_> = data
                        .iter()
                        .zip(wild)
                        .map(|(byte, wild)| if wild { "..".to_owned() } else { format!("{byte:02x}") })
                        .collect();
                    writeln!(self.out, "expect data {}", digits.concat())?;
                }
                writeln!(self.out, "expect sw {}", hex::encode(sw))
            }
            Found::Lonely(command) => {
                losses.add("commands without an answer: nothing is expected");
                self.command(&command)
            }
            Found::Note => {
                losses.add("remarks");
                Ok(())
            }
            Found::Nothing => Ok(()),
        }
    }

    fn finish(&mut self, losses: &mut Losses) -> io::Result<()> {
        match self.pairs.last() {
            Some(command) => {
                losses.add("commands without an answer: nothing is expected");
                self.command(&command)
            }
            None => Ok(()),
        }
    }
}
