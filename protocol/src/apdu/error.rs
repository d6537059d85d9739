//! What can be wrong with an APDU (ISO/IEC 7816-3 12.1.3).

use crate::status::StatusWord;

/// Why bytes are not an APDU, a command cannot be encoded, or an answer cannot be completed.
///
/// Each message names the bytes or lengths that were seen and what to do about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApduError {
    /// Fewer than the 4 bytes of a header.
    #[error("a command APDU begins with 4 bytes (CLA INS P1 P2), only {length} are here: complete the header")]
    TooShort {
        /// How many bytes there are.
        length: usize,
    },
    /// CLA FF, which ISO/IEC 7816-4 excludes and PC/SC uses for commands to the reader itself.
    #[error("CLA {cla:02X} is not a class of any card: correct the first byte, or send a reader's pseudo-APDU to the reader as raw bytes")]
    Class {
        /// The class byte.
        cla: u8,
    },
    /// A short Lc is followed neither by its data nor by its data and one Le byte.
    #[error(
        "Lc {lc:02X} calls for {lc} data bytes and at most one Le byte, but {present} bytes follow it: correct Lc, or begin with 00 for extended lengths"
    )]
    ShortLength {
        /// The Lc byte, 01 to FF.
        lc: u8,
        /// How many bytes follow it.
        present: usize,
    },
    /// 00 after the header, then a single byte: too much for a short Le, too little for extended lengths.
    #[error(
        "00 {second:02X} after the header is neither a short Le (one byte) nor extended lengths (three bytes or more): remove one byte"
    )]
    Leftover {
        /// The byte after the 00.
        second: u8,
    },
    /// An extended Lc is followed neither by its data nor by its data and two Le bytes.
    #[error("extended Lc {lc:04X} calls for {lc} data bytes and none or two Le bytes, but {present} bytes follow it: correct Lc")]
    ExtendedLength {
        /// Lc, 0001 to FFFF.
        lc: u16,
        /// How many bytes follow it.
        present: usize,
    },
    /// Extended Lc 0000 with something after it.
    #[error("extended Lc 0000 may not be followed by anything, but {present} bytes follow it: leave Lc out when there is no data")]
    ZeroLc {
        /// How many bytes follow it.
        present: usize,
    },
    /// More data than an extended Lc can say.
    #[error("{length} data bytes do not fit into one APDU (65535 at most): split the command into a chain")]
    DataTooLong {
        /// How many data bytes there are.
        length: usize,
    },
    /// A greater Ne than an extended Le can say.
    #[error("Ne {ne} is more than an Le can say (65536 at most): ask for less")]
    NeTooLarge {
        /// The Ne.
        ne: u32,
    },
    /// The encoder failed or wrote another number of bytes than it announced. Not known to happen.
    #[error("the encoder wrote {written} bytes of an APDU of {announced}: this is a defect of tapdoor, please report it")]
    Encoder {
        /// How many bytes it wrote.
        written: usize,
        /// How many bytes it announced.
        announced: usize,
    },
    /// Fewer than the 2 bytes of a status word.
    #[error("a response APDU ends with 2 bytes of status word, only {length} are here: the card was torn away or the link cut the answer")]
    ResponseTooShort {
        /// How many bytes there are.
        length: usize,
    },
    /// An answer in parts grew beyond what is collected.
    #[error(
        "the card sent {length} bytes in answer to one command, more than the {limit} that are collected: stop, this card does not end"
    )]
    AnswerTooLong {
        /// How many bytes there would be.
        length: usize,
        /// How many are collected at most.
        limit: usize,
    },
    /// An answer took more exchanges than are allowed.
    #[error("the card still answers {sw} after {rounds} exchanges for one command: stop, this card does not end")]
    TooManyRounds {
        /// How many exchanges there were.
        rounds: usize,
        /// The last status word.
        sw: StatusWord,
    },
    /// The card promises data and does not give any.
    #[error("the card announces more data ({sw}) for the second time without sending any: stop, GET RESPONSE leads nowhere with this card")]
    NoProgress {
        /// The last status word.
        sw: StatusWord,
    },
    /// A response was handed to an exchange that had already ended.
    #[error("{length} more bytes were given to an exchange that had ended: begin a new one for every command")]
    Finished {
        /// How many bytes were given.
        length: usize,
    },
}
