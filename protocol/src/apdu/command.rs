//! Command APDUs (ISO/IEC 7816-3 12.1.3; CLA as in ISO/IEC 7816-4 5.1.1
//! and, for proprietary classes, as in GlobalPlatform Card Specification 11.1.4).

use alloc::vec::Vec;

use iso7816::command::class::Class;
use iso7816::command::writer::{SerializationError, Writer};
use iso7816::command::{CommandBuilder, CommandView, ExpectedLen, Instruction};

use super::ApduError;

/// Most data bytes of any APDU: extended Lc FFFF.
pub const MAX_DATA: usize = 65_535;
/// Most response bytes that an Le can ask for: extended Le 0000.
pub const MAX_NE: u32 = 65_536;
/// Most data bytes of an APDU in short form: Lc FF.
pub const MAX_SHORT_DATA: usize = 255;
/// Most response bytes that a short Le can ask for: Le 00.
pub const MAX_SHORT_NE: u32 = 256;

/// Length of CLA INS P1 P2.
const HEADER: usize = 4;
/// The bit of CLA that says "more commands of this chain follow" (b5).
const CHAINING: u8 = 0x10;

/// A command APDU, its data borrowed.
///
/// All seven cases (1, 2S, 3S, 4S, 2E, 3E, 4E) are read and written. Any CLA except FF is carried, the reserved
/// ones 20 to 3F and any INS included: whether a card knows them is for the card to say.
///
/// `parse` after `encode` gives the same command, except that [`extended`](Self::extended) then says which form
/// was used.
///
/// ```
/// use tapdoor_protocol::apdu::Command;
///
/// let select = Command::new(0x00, 0xA4, 0x04, 0x00).data(&[0xA0, 0x00, 0x00, 0x01, 0x51]).ne(256);
/// let bytes = select.encode()?;
/// assert_eq!(bytes, [0x00, 0xA4, 0x04, 0x00, 0x05, 0xA0, 0x00, 0x00, 0x01, 0x51, 0x00]);
/// assert_eq!(Command::parse(&bytes)?, select);
/// # Ok::<(), tapdoor_protocol::apdu::ApduError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// Class: range, chaining, secure messaging, logical channel. Not FF.
    pub cla: u8,
    /// Instruction.
    pub ins: u8,
    /// First parameter.
    pub p1: u8,
    /// Second parameter.
    pub p2: u8,
    /// Data field, 0 to 65535 bytes.
    pub data: &'a [u8],
    /// How many response bytes are expected at most: 0 (no Le) to 65536.
    pub ne: u32,
    /// The lengths were, or must be, encoded in the extended form. Longer data or a greater Ne than the short form
    /// can say are encoded in the extended form in any case; without data and Ne there is only one form.
    pub extended: bool,
}

impl<'a> Command<'a> {
    /// A command without data and without Le (case 1).
    #[must_use]
    pub const fn new(cla: u8, ins: u8, p1: u8, p2: u8) -> Self {
        Self {
            cla,
            ins,
            p1,
            p2,
            data: &[],
            ne: 0,
            extended: false,
        }
    }

    /// The same command with this data field, at most 65535 bytes (checked by [`encode`](Self::encode)).
    #[must_use]
    pub const fn data(mut self, data: &'a [u8]) -> Self {
        self.data = data;
        self
    }

    /// The same command expecting at most `ne` response bytes, 0 (no Le) to 65536 (checked by [`encode`](Self::encode)).
    #[must_use]
    pub const fn ne(mut self, ne: u32) -> Self {
        self.ne = ne;
        self
    }

    /// The same command, to be encoded with extended lengths even where short ones would do.
    #[must_use]
    pub const fn force_extended(mut self) -> Self {
        self.extended = true;
        self
    }

    /// Reads a command APDU; all of `bytes` must be used up.
    ///
    /// # Errors
    /// [`ApduError`] when there are fewer than 4 bytes, CLA is FF, or the length fields fit none of the seven cases.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ApduError> {
        let Some((&[cla, ins, p1, p2], body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(ApduError::TooShort { length: bytes.len() });
        };
        class(cla)?;
        let Ok(view) = CommandView::try_from(bytes) else {
            return Err(misfit(body));
        };
        // iso7816 takes `00 0000 LeLe` for case 4E with no data, which the standard does not know.
        if view.extended && view.data().is_empty() && body.len() > 3 {
            return Err(misfit(body));
        }
        // At most 65536, so the conversion cannot fail.
        let ne = u32::try_from(view.expected()).unwrap_or(MAX_NE);
        Ok(Self {
            cla,
            ins,
            p1,
            p2,
            data: view.data(),
            ne,
            extended: view.extended,
        })
    }

    /// The bytes of the command, short form where it will do and [`extended`](Self::extended) is not set.
    ///
    /// # Errors
    /// [`ApduError`] when CLA is FF, the data is longer than 65535 bytes or Ne is above 65536.
    pub fn encode(&self) -> Result<Vec<u8>, ApduError> {
        let mut out = Vec::new();
        self.encode_into(&mut out)?;
        Ok(out)
    }

    /// As [`encode`](Self::encode), replacing the content of `out`: a buffer can serve many commands.
    ///
    /// # Errors
    /// As [`encode`](Self::encode); `out` is empty then.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), ApduError> {
        out.clear();
        // Everything that the builder would assert or truncate is excluded here.
        let class = class(self.cla)?;
        if self.data.len() > MAX_DATA {
            return Err(ApduError::DataTooLong { length: self.data.len() });
        }
        let le = match u16::try_from(self.ne) {
            Ok(ne) => ExpectedLen::Ne(ne),
            Err(_) if self.ne == MAX_NE => ExpectedLen::Max,
            Err(_) => return Err(ApduError::NeTooLarge { ne: self.ne }),
        };
        let ins = Instruction::from(self.ins);
        let mut builder = CommandBuilder::new(class, ins, self.p1, self.p2, self.data, le);
        if self.extended {
            builder = builder.force_extended();
        }
        let announced = builder.required_len();
        out.reserve_exact(announced);
        let result = builder.serialize_into(&mut Appender(out));
        let written = out.len();
        if result.is_err() || written != announced {
            out.clear();
            return Err(ApduError::Encoder { written, announced });
        }
        Ok(())
    }

    /// Whether more commands of the same chain follow: b5 of CLA, in interindustry and proprietary classes.
    ///
    /// A proprietary class may give b5 another meaning. DESFire's wrapping does (CLA 90 throughout); GlobalPlatform
    /// and Aliro do not.
    #[must_use]
    pub const fn is_chained(&self) -> bool {
        !matches!(self.cla, 0x20..=0x3F | 0xFF) && self.cla & CHAINING != 0
    }

    /// CLA without the chaining bit: the same for all commands of a chain.
    #[must_use]
    pub const fn plain_cla(&self) -> u8 {
        if self.is_chained() { self.cla & !CHAINING } else { self.cla }
    }

    /// The logical channel, 0 to 19. It is 0 for classes that cannot name one (20 to 3F, A0 to BF, FF).
    #[must_use]
    pub const fn channel(&self) -> u8 {
        match Layout::of(self.cla) {
            Layout::First => self.cla & 0x03,
            Layout::Further => 4 + (self.cla & 0x0F),
            Layout::Opaque => 0,
        }
    }

    /// Whether CLA announces secure messaging of any kind; false for classes that cannot (20 to 3F, A0 to BF, FF).
    #[must_use]
    pub const fn secure_messaging(&self) -> bool {
        match Layout::of(self.cla) {
            Layout::First => self.cla & 0x0C != 0,
            Layout::Further => self.cla & 0x20 != 0,
            Layout::Opaque => false,
        }
    }

    /// The command as a chain of commands with at most `max_data` data bytes each (ISO/IEC 7816-4 5.1.1.1).
    ///
    /// All but the last have b5 of CLA set and no Le; the last has CLA and Le of this command. A command that needs no
    /// splitting comes out alone. With `max_data` up to 255 every part is a short APDU: the extended form is dropped and
    /// Ne limited to 256, what is beyond comes by 61xx. A `max_data` of 0 counts as 1.
    ///
    /// CLA EF has no chained form (it would be FF): [`encode`](Self::encode) says so.
    pub fn split(self, max_data: usize) -> impl Iterator<Item = Command<'a>> + Clone {
        let max_data = max_data.clamp(1, MAX_DATA);
        let short = max_data <= MAX_SHORT_DATA;
        let mut rest = Some(self.data);
        core::iter::from_fn(move || {
            let data = rest.take()?;
            let mut part = self;
            if short {
                part.extended = false;
                part.ne = part.ne.min(MAX_SHORT_NE);
            }
            if let Some((now, later)) = data.split_at_checked(max_data)
                && !later.is_empty()
            {
                rest = Some(later);
                part.data = now;
                part.cla |= CHAINING;
                part.ne = 0;
            } else {
                part.data = data;
            }
            Some(part)
        })
    }
}

/// How the bits of a class byte are used.
enum Layout {
    /// 000CSScc, and 100CSScc as in GlobalPlatform: channels 0 to 3.
    First,
    /// 01SCcccc, and 11SCcccc as in GlobalPlatform: channels 4 to 19.
    Further,
    /// Reserved (001x), proprietary without a known layout (101x, GSM's A0 for one), or invalid (FF).
    Opaque,
}

impl Layout {
    const fn of(cla: u8) -> Self {
        match cla {
            0x00..=0x1F | 0x80..=0x9F => Self::First,
            0x40..=0x7F | 0xC0..=0xFE => Self::Further,
            0x20..=0x3F | 0xA0..=0xBF | 0xFF => Self::Opaque,
        }
    }
}

/// The class for iso7816, which refuses FF and nothing else.
fn class(cla: u8) -> Result<Class, ApduError> {
    Class::from_byte(cla).map_err(|_| ApduError::Class { cla })
}

/// Says what is wrong with the bytes after a header, given that something is.
fn misfit(body: &[u8]) -> ApduError {
    match *body {
        [0, high, low, ref rest @ ..] => match u16::from_be_bytes([high, low]) {
            0 => ApduError::ZeroLc { present: rest.len() },
            lc => ApduError::ExtendedLength { lc, present: rest.len() },
        },
        [0, second] => ApduError::Leftover { second },
        [lc, ref rest @ ..] => ApduError::ShortLength { lc, present: rest.len() },
        // No body is case 1, never a misfit.
        [] => ApduError::TooShort { length: HEADER },
    }
}

/// iso7816 writes into `Vec` only with its `std` feature.
struct Appender<'v>(&'v mut Vec<u8>);

impl Writer for Appender<'_> {
    type Error = SerializationError;

    fn write(&mut self, data: &[u8]) -> Result<usize, Self::Error> {
        self.0.extend_from_slice(data);
        Ok(data.len())
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    #[test]
    fn class_bits() {
        // (CLA, chained, plain, channel, secure messaging)
        let rows = [
            (0x00, false, 0x00, 0, false),
            (0x03, false, 0x03, 3, false),
            (0x10, true, 0x00, 0, false),
            (0x04, false, 0x04, 0, true),
            (0x1E, true, 0x0E, 2, true),
            (0x40, false, 0x40, 4, false),
            (0x5F, true, 0x4F, 19, false),
            (0x6F, false, 0x6F, 19, true),
            (0x71, true, 0x61, 5, true),
            (0x80, false, 0x80, 0, false),
            (0x84, false, 0x84, 0, true),
            (0x91, true, 0x81, 1, false),
            (0xA0, false, 0xA0, 0, false),
            (0xB0, true, 0xA0, 0, false),
            (0xC3, false, 0xC3, 7, false),
            (0xE0, false, 0xE0, 4, true),
            (0x20, false, 0x20, 0, false),
            (0x3F, false, 0x3F, 0, false),
            (0xFF, false, 0xFF, 0, false),
        ];
        for (cla, chained, plain, channel, sm) in rows {
            let command = Command::new(cla, 0xA4, 0, 0);
            assert_eq!(command.is_chained(), chained, "{cla:02X}");
            assert_eq!(command.plain_cla(), plain, "{cla:02X}");
            assert_eq!(command.channel(), channel, "{cla:02X}");
            assert_eq!(command.secure_messaging(), sm, "{cla:02X}");
        }
    }

    #[test]
    fn every_class_but_ff_is_carried() {
        for cla in 0..=0xFE {
            let bytes = [cla, 0x88, 1, 2, 1, 3, 0];
            let command = Command::parse(&bytes).unwrap();
            assert_eq!((command.cla, command.ne), (cla, 256));
            assert_eq!(command.encode().unwrap(), bytes);
        }
        let ff = ApduError::Class { cla: 0xFF };
        assert_eq!(Command::parse(&[0xFF, 0, 0, 0, 0]), Err(ff));
        assert_eq!(Command::new(0xFF, 0, 0, 0).encode(), Err(ff));
    }

    #[test]
    fn limits() {
        let most = vec![0x5A; MAX_DATA];
        let command = Command::new(0, 0xD6, 0, 0).data(&most).ne(MAX_NE);
        let bytes = command.encode().unwrap();
        assert_eq!(bytes.len(), 4 + 3 + MAX_DATA + 2);
        assert_eq!(Command::parse(&bytes), Ok(command.force_extended()));

        let more = vec![0; MAX_DATA + 1];
        let mut out = vec![1, 2, 3];
        assert_eq!(
            Command::new(0, 0xD6, 0, 0).data(&more).encode_into(&mut out),
            Err(ApduError::DataTooLong { length: 65_536 })
        );
        assert!(out.is_empty());
        for ne in [65_537, u32::MAX] {
            let command = Command::new(0, 0xB0, 0, 0).ne(ne);
            assert_eq!(command.encode(), Err(ApduError::NeTooLarge { ne }));
        }
    }

    #[test]
    fn misfits_are_named() {
        let rows: [(&[u8], ApduError); 8] = [
            (&[], ApduError::TooShort { length: 0 }),
            (&[0, 0xA4, 4], ApduError::TooShort { length: 3 }),
            (&[0, 0xA4, 4, 0, 0, 0x20], ApduError::Leftover { second: 0x20 }),
            (&[0, 0xA4, 4, 0, 2, 1], ApduError::ShortLength { lc: 2, present: 1 }),
            (&[0, 0xA4, 4, 0, 2, 1, 2, 0, 0], ApduError::ShortLength { lc: 2, present: 4 }),
            (&[0, 0xA4, 4, 0, 0, 0, 0, 1, 0], ApduError::ZeroLc { present: 2 }),
            (&[0, 0xA4, 4, 0, 0, 0, 0, 1, 0, 7], ApduError::ZeroLc { present: 3 }),
            (&[0, 0xA4, 4, 0, 0, 0, 2, 1, 2, 0], ApduError::ExtendedLength { lc: 2, present: 3 }),
        ];
        for (bytes, error) in rows {
            assert_eq!(Command::parse(bytes), Err(error));
        }
    }

    #[test]
    fn a_buffer_is_reused() {
        let mut out = vec![9; 40];
        Command::new(0x80, 0xF2, 0x20, 0x02).encode_into(&mut out).unwrap();
        assert_eq!(out, [0x80, 0xF2, 0x20, 0x02]);
    }

    #[test]
    fn split_keeps_header_data_and_le() {
        let data: Vec<u8> = (0..600u16).map(|i| i as u8).collect();
        let whole = Command::new(0x80, 0xE2, 1, 2).data(&data).ne(MAX_NE);
        let parts: Vec<_> = whole.split(255).collect();
        let shape: Vec<_> = parts.iter().map(|p| (p.cla, p.data.len(), p.ne, p.extended)).collect();
        let expected = [(0x90, 255, 0, false), (0x90, 255, 0, false), (0x80, 90, 256, false)];
        assert_eq!(shape, expected);
        assert_eq!(parts.iter().flat_map(|p| p.data).count(), 600);

        // Whole blocks leave no empty last command; no data is one command.
        assert_eq!(whole.data(&data[..510]).split(255).count(), 2);
        assert_eq!(whole.data(&[]).split(255).count(), 1);
        assert_eq!(whole.data(&data[..3]).split(0).count(), 3);
        // A receiver of extended APDUs keeps them.
        let last = whole.split(400).last().unwrap();
        assert_eq!((last.data.len(), last.ne), (200, MAX_NE));
        assert!(whole.split(usize::MAX).eq([whole]));
    }
}
