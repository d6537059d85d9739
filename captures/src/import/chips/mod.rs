//! Logs of what a program said to a reader's chip: libnfc, nfcpy, Android's NCI. CCID and PN532 layers are unwrapped down to frames and
//! APDUs; each layer is kept as events of its own (`ccid`, `pn532`, `nci`), `out` from the host.

mod nci;
mod pn532;

use super::Out;
use super::lines::{LineFormat, Wrong, hex_bytes, hex_line};
pub(crate) use nci::Nci;
use pn532::Wire;

/// libnfc with `LIBNFC_LOG_LEVEL=3`.
#[derive(Default)]
pub(crate) struct Libnfc {
    wire: Wire,
    begun: bool,
    /// The line under way: to the chip or from it. Lines that a mail has wrapped go on.
    held: Option<(bool, Vec<u8>)>,
}

impl Libnfc {
    /// Bytes to the chip or from it; up to libnfc 1.5 nothing stands before them but a blank.
    fn bytes(&mut self, to: bool, hex: &str, out: &mut Out) -> Result<(), Wrong> {
        self.finish(out);
        if !hex.trim().is_empty() {
            self.held = Some((to, hex_line(hex)?));
        }
        Ok(())
    }

    fn finish(&mut self, out: &mut Out) {
        match self.held.take() {
            Some((true, bytes)) => self.wire.sends(&bytes, out),
            Some((false, bytes)) => self.wire.receives(&bytes, out),
            None => {}
        }
    }
}

impl LineFormat for Libnfc {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        if !std::mem::replace(&mut self.begun, true) {
            let _ = out.header.extra.insert("clock", &"none");
        }
        if let Some(hex) = line.trim_start().strip_prefix("TX:") {
            return self.bytes(true, hex, out);
        }
        if let Some(hex) = line.trim_start().strip_prefix("RX:") {
            return self.bytes(false, hex, out);
        }
        let Some((_, rest)) = line.split_once("libnfc.") else {
            match (&mut self.held, hex_bytes(line.as_bytes())) {
                (Some((_, held)), Some(more)) if held.len() < 1 << 16 => held.extend_from_slice(&more),
                _ => self.finish(out),
            }
            return Ok(());
        };
        self.finish(out);
        let mut words = rest.splitn(3, [' ', '\t']).skip(1);
        let text = words.next().into_iter().chain(words.next()).collect::<Vec<_>>().join(" ");
        let text = text.trim();
        match (text.strip_prefix("TX:"), text.strip_prefix("RX:")) {
            (Some(hex), _) => self.bytes(true, hex, out),
            (_, Some(hex)) => self.bytes(false, hex, out),
            _ => {
                if out.header.reader.is_none()
                    && let Some((name, _)) = text.strip_prefix('"').and_then(|text| text.split_once('"'))
                    && text.ends_with("has been claimed.")
                {
                    out.header.reader = Some(name.to_owned());
                }
                Ok(())
            }
        }
    }

    fn end(&mut self, out: &mut Out) -> Result<(), Wrong> {
        self.finish(out);
        Ok(())
    }
}

/// The time of `508 ms [nfc.clf.transport] ..`: nfcpy's examples with `--reltime`.
fn reltime(line: &str) -> Option<u64> {
    let (number, _) = line.trim_start().split_once(" ms [")?;
    number.parse::<u64>().ok()?.checked_mul(1_000_000)
}

/// nfcpy with `-d nfc.clf`.
#[derive(Default)]
pub(crate) struct Nfcpy {
    wire: Wire,
    begun: bool,
}

impl LineFormat for Nfcpy {
    fn line(&mut self, line: &str, out: &mut Out) -> Result<(), Wrong> {
        let time = reltime(line);
        if let Some(time) = time {
            self.wire.t = time;
        }
        if !std::mem::replace(&mut self.begun, true) && time.is_none() {
            let _ = out.header.extra.insert("clock", &"none");
        }
        let Some((_, rest)) = line.split_once("nfc.clf.transport") else {
            if out.header.firmware.is_none()
                && let Some((_, name)) = line.split_once("initialize ACR122U")
            {
                out.header.firmware = Some(format!("ACR122U{}", name.trim()));
            }
            return Ok(());
        };
        let rest = rest.trim_start_matches([']', ':', ' ']);
        let (to, hex) = match (rest.strip_prefix(">>>"), rest.strip_prefix("<<<")) {
            (Some(hex), _) => (true, hex),
            (_, Some(hex)) => (false, hex),
            _ => return Ok(()),
        };
        if hex.trim().is_empty() {
            return Ok(());
        }
        let bytes = hex_line(hex)?;
        match to {
            true => self.wire.sends(&bytes, out),
            false => self.wire.receives(&bytes, out),
        }
        Ok(())
    }
}
