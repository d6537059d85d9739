//! `libnfc:CONNSTRING`: the phone on a real PN532 through the system's libnfc (feature `libnfc`).
//!
//! The command path (UM0701-02 7.3.14 to 7.3.17): the SAK says ISO-DEP and the chip is a PN532, so libnfc's `nfc_target_init` sends
//! SetParameters with "ISO/IEC 14443-4 PICC" and TgInitAsTarget with "passive only" and "PICC only"; `nfc_target_receive_bytes` is
//! TgGetData, `nfc_target_send_bytes` TgSetData. Anticollision, RATS, blocks, chaining, S(WTX) and S(DESELECT) are the chip's own, and so
//! is the ATS but for its historical bytes. Other chips leave ISO-DEP to their host, which libnfc does not do: they are refused.
//!
//! Traps of libnfc 1.8, round which this goes: it copies a response into a buffer of 264 bytes without a look; after a target was released
//! it has forgotten the target and reads through a null pointer, so nothing is received or sent until the next init; when a wait ends by
//! its time, what comes in the 50 ms after that is thrown away, so waits are long.

use std::time::Duration;

use nfc1::target_info::{Iso14443a, TargetInfo};
use nfc1::{BaudRate, Context, Device, Error, Mode, Modulation, ModulationType, Target, Timeout};

use super::target::{TargetChip, TargetError};

/// libnfc's name for a device has room for so many bytes.
const CONNSTRING: usize = 1023;
/// The longest data of a frame to the chip (UM0701-02 7.3.16), which libnfc's buffer has room for, too.
const LONGEST: usize = 262;
/// libnfc's own buffer for what the chip says.
const BUFFER: usize = 264;
/// ATS without TL: the chip takes its historical byte, the one that many phones have.
const ATS: [u8; 5] = [0x75, 0x33, 0x92, 0x03, 0x80];

/// A device that is open, and the context that it needs for as long as it lives: fields are dropped in this order.
pub struct LibnfcTarget {
    device: Device,
    _context: Context,
    // Whether a session is on: without one libnfc must not be asked for data.
    is_active: bool,
}

impl LibnfcTarget {
    /// Opens the device with this name (`pn532_uart:/dev/ttyUSB0`); the first one that libnfc finds if it is empty.
    ///
    /// # Errors
    /// [`TargetError::Lost`]: no such device; [`TargetError::Unable`]: it cannot be a card.
    pub fn open(connstring: &str) -> Result<Self, TargetError> {
        if connstring.len() > CONNSTRING || connstring.bytes().any(|byte| byte == 0) {
            return Err(TargetError::Unable(format!("a device's name of {} bytes", connstring.len())));
        }
        let mut context = Context::new().map_err(|e| TargetError::Lost(e.to_string()))?;
        let opened = if connstring.is_empty() {
            context.open()
        } else {
            context.open_with_connstring(connstring)
        };
        let mut device = opened.map_err(|e| TargetError::Lost(format!("cannot open \"{connstring}\": {e}")))?;
        let name = device.name().to_owned();
        if name.to_ascii_lowercase().contains("acr122") {
            return Err(TargetError::Unable(format!("{name}: {ACR122}")));
        }
        match device.get_supported_modulation(Mode::Target) {
            Ok(known) if known.contains(&ModulationType::Iso14443a) => {}
            Ok(_) => return Err(TargetError::Unable(format!("{name} cannot be a type A card"))),
            Err(e) => return Err(TargetError::Lost(format!("{name}: {e}"))),
        }
        Ok(Self {
            device,
            _context: context,
            is_active: false,
        })
    }

    /// What libnfc calls the device.
    #[must_use]
    pub fn name(&self) -> &str {
        self.device.name()
    }

    fn ended(&mut self, error: Error) -> TargetError {
        self.is_active = false;
        match error {
            Error::Timeout => TargetError::Silent,
            Error::TargetReleased => TargetError::Released,
            Error::NotImplemented | Error::DeviceNotSupported => TargetError::Unable(format!(
                "{}: {error}; only a PN532 speaks ISO-DEP as a card by itself",
                self.device.name()
            )),
            Error::RfTransmissionError | Error::InvalidArgument | Error::Chip | Error::BufferOverflow => {
                TargetError::Broken(error.to_string())
            }
            _ => TargetError::Lost(error.to_string()),
        }
    }
}

/// Why an ACR122U is refused.
pub const ACR122: &str = "an ACR122U cannot be a card: its controller does not let the PN532 be a target; take a PN532 on a serial line, `libnfc:pn532_uart:PATH`";

impl TargetChip for LibnfcTarget {
    fn listen(&mut self, uid: [u8; 3], time: Duration) -> Result<(), TargetError> {
        let mut card = Iso14443a {
            // libnfc has them the other way round than the air.
            atqa: [0x00, 0x04],
            sak: 0x20,
            uid: [0; 10],
            uid_len: 4,
            ats: [0; 254],
            ats_len: ATS.len(),
        };
        let [a, b, c] = uid;
        card.uid[..4].copy_from_slice(&[0x08, a, b, c]);
        card.ats[..ATS.len()].copy_from_slice(&ATS);
        let target = Target {
            target_info: TargetInfo::Iso14443a(card),
            modulation: Modulation {
                modulation_type: ModulationType::Iso14443a,
                baud_rate: BaudRate::Undefined,
            },
        };
        match self.device.target_init(&target, BUFFER, Timeout::Duration(time)) {
            Ok(_) => {
                self.is_active = true;
                Ok(())
            }
            Err(e) => Err(self.ended(e)),
        }
    }

    fn receive(&mut self, time: Duration) -> Result<Vec<u8>, TargetError> {
        if !self.is_active {
            return Err(TargetError::Released);
        }
        match self.device.target_receive_bytes(BUFFER, Timeout::Duration(time)) {
            // An empty block is no command, and neither is what some drivers call success.
            Ok(command) if command.is_empty() => {
                self.is_active = false;
                Err(TargetError::Broken("a command of no bytes".into()))
            }
            Ok(command) => Ok(command),
            // Its buffer was too small; the chip still waits for a response.
            Err(Error::Chip | Error::BufferOverflow) => Err(TargetError::TooLong),
            Err(e) => Err(self.ended(e)),
        }
    }

    fn send(&mut self, response: &[u8], time: Duration) -> Result<(), TargetError> {
        if !self.is_active {
            return Err(TargetError::Released);
        }
        if response.len() > LONGEST {
            return Err(TargetError::Broken(format!("a response of {} bytes", response.len())));
        }
        self.device
            .target_send_bytes(response, Timeout::Duration(time))
            .map_err(|e| self.ended(e))
    }

    fn rest(&mut self) {
        self.is_active = false;
        // A device that is gone has ended being a card.
        let _ = self.device.idle();
    }

    fn longest(&self) -> usize {
        LONGEST
    }
}
