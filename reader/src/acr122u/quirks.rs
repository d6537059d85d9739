//! The reader's own pseudo-APDUs, and the ways in which readers answer them otherwise than the manual says.

use tapdoor_link::{CardLink, LinkError};

/// Asks for the firmware's name, `ACR122U2xx`. The answer has no status word; text is what tells it from an error.
///
/// # Errors
/// [`LinkError`] of the connection. `None` if the reader has no name for itself, or gave another command's answer.
pub fn firmware(link: &mut dyn CardLink) -> Result<Option<String>, LinkError> {
    let mut answer = Vec::with_capacity(16);
    link.transmit(&[0xFF, 0x00, 0x48, 0x00, 0x00], &mut answer)?;
    // Some drivers add the status word that the reader leaves out.
    if let [name @ .., 0x90, 0x00] = answer.as_slice() {
        answer.truncate(name.len());
    }
    let text = String::from_utf8(answer)
        .ok()
        .filter(|text| text.starts_with("ACR") && text.chars().all(|c| c.is_ascii_graphic()));
    Ok(text)
}

/// The PICC operating parameter: which cards the reader's own firmware looks for.
///
/// In raw mode it must look for none, or it works on the PN532 while we do. What was found is put back at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings(pub u8);

impl Settings {
    /// After power-up: everything.
    pub const DEFAULT: Self = Self(0xFF);
    /// Bit 7: automatic polling.
    pub const POLLING: u8 = 0x80;

    /// Asks for it. An answer is `90 xx` by the manual, and on some readers `xx` alone; one that cannot be understood is taken for the
    /// default.
    ///
    /// # Errors
    /// [`LinkError`] of the connection.
    pub fn read(link: &mut dyn CardLink) -> Result<Self, LinkError> {
        let mut answer = Vec::with_capacity(8);
        link.transmit(&[0xFF, 0x00, 0x50, 0x00, 0x00], &mut answer)?;
        Ok(match answer.as_slice() {
            [value] | [0x90, value] | [value, 0x90, 0x00] => Self(*value),
            _ => Self::DEFAULT,
        })
    }

    /// The same without automatic polling.
    #[must_use]
    pub const fn without_polling(self) -> Self {
        Self(self.0 & !Self::POLLING)
    }

    /// Sets it. What the reader answers differs (`90 xx`, `xx`, `90 00`, even `63 00`) and is not looked at.
    ///
    /// # Errors
    /// [`LinkError`] of the connection.
    pub fn write(self, link: &mut dyn CardLink) -> Result<(), LinkError> {
        link.transmit(&[0xFF, 0x00, 0x51, self.0, 0x00], &mut Vec::with_capacity(8))
    }
}
