//! The pseudo-APDUs, as ACS's API has them: CLA FF.

/// A command to the reader itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudo<'a> {
    /// FF CA 00 00: the card's identifier.
    Uid {
        /// As many bytes are wanted; 0 all.
        le: u8,
    },
    /// FF CA 01 00: the card's ATS.
    Ats {
        /// As many bytes are wanted; 0 all.
        le: u8,
    },
    /// FF 00 00 00: a command for the chip, D4 and so on.
    Direct(&'a [u8]),
    /// FF 00 40: LEDs and buzzer.
    Led {
        /// P2: final states in bits 0 (red) and 1 (green), masks in bits 2 and 3, blinking in bits 4 to 7.
        control: u8,
    },
    /// FF 00 41: how long the chip may take, in 5 s.
    Timeout,
    /// FF 00 48: the firmware's version.
    Firmware,
    /// FF 00 50: the PICC operating parameter.
    GetParameter,
    /// FF 00 51: the PICC operating parameter is to be this.
    SetParameter(u8),
    /// FF 00 52: whether the buzzer sounds when a card comes.
    Buzzer,
    /// One of them, with a length that it does not have.
    WrongLength,
    /// CLA FF and nothing of the above.
    Unknown,
}

impl<'a> Pseudo<'a> {
    /// Reads a command; `None` if its class is not FF, so that it is for the card. Takes every length. Never panics.
    #[must_use]
    pub const fn parse(command: &'a [u8]) -> Option<Self> {
        let [0xFF, rest @ ..] = command else { return None };
        Some(match rest {
            [0xCA, 0x00, 0x00, le] => Self::Uid { le: *le },
            [0xCA, 0x01, 0x00, le] => Self::Ats { le: *le },
            [0xCA, ..] => Self::Unknown,
            [0x00, 0x00, 0x00, lc, data @ ..] => {
                if *lc as usize == data.len() {
                    Self::Direct(data)
                } else {
                    Self::WrongLength
                }
            }
            [0x00, 0x40, control, 0x04, _, _, _, _] => Self::Led { control: *control },
            [0x00, 0x40, ..] => Self::WrongLength,
            [0x00, 0x41, _, 0x00] => Self::Timeout,
            [0x00, 0x48, 0x00, 0x00] => Self::Firmware,
            [0x00, 0x50, 0x00, 0x00] => Self::GetParameter,
            [0x00, 0x51, value, 0x00] => Self::SetParameter(*value),
            [0x00, 0x52, _, 0x00] => Self::Buzzer,
            _ => Self::Unknown,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_manuals_commands() {
        assert_eq!(Pseudo::parse(&[0xFF, 0xCA, 0, 0, 0]), Some(Pseudo::Uid { le: 0 }));
        assert_eq!(Pseudo::parse(&[0xFF, 0xCA, 1, 0, 4]), Some(Pseudo::Ats { le: 4 }));
        assert_eq!(Pseudo::parse(&[0xFF, 0, 0, 0, 2, 0xD4, 0x02]), Some(Pseudo::Direct(&[0xD4, 0x02])));
        assert_eq!(Pseudo::parse(&[0xFF, 0, 0, 0, 3, 0xD4, 0x02]), Some(Pseudo::WrongLength));
        assert_eq!(
            Pseudo::parse(&[0xFF, 0, 0x40, 0xD0, 4, 5, 5, 2, 1]),
            Some(Pseudo::Led { control: 0xD0 })
        );
        assert_eq!(Pseudo::parse(&[0xFF, 0, 0x48, 0, 0]), Some(Pseudo::Firmware));
        assert_eq!(Pseudo::parse(&[0xFF, 0, 0x50, 0, 0]), Some(Pseudo::GetParameter));
        assert_eq!(Pseudo::parse(&[0xFF, 0, 0x51, 0x7F, 0]), Some(Pseudo::SetParameter(0x7F)));
        assert_eq!(Pseudo::parse(&[0xFF, 0, 0x41, 1, 0]), Some(Pseudo::Timeout));
        assert_eq!(Pseudo::parse(&[0xFF, 0, 0x52, 0, 0]), Some(Pseudo::Buzzer));
        assert_eq!(Pseudo::parse(&[0xFF, 0xB0, 0, 4, 16]), Some(Pseudo::Unknown));
        assert_eq!(Pseudo::parse(&[0xFF]), Some(Pseudo::Unknown));
        assert_eq!(Pseudo::parse(&[0x00, 0xA4, 4, 0]), None);
        assert_eq!(Pseudo::parse(&[]), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(command in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Pseudo::parse(&command);
            let mut ff = command;
            ff.insert(0, 0xFF);
            prop_assert!(Pseudo::parse(&ff).is_some());
        }
    }
}
