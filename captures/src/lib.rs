//! The tape: everything that passed between a door and a phone, one JSON object a line.
//!
//! `docs/formats.md` describes the format for people and for other programs. In short: a [`Header`], then one [`Event`] a line;
//! fields and layers that this crate does not know are kept, secrets are masked on the way in, and a tape that was cut off
//! anywhere can be read up to there.
//!
//! | module | what |
//! |---|---|
//! | [`header`] | [`Header`], the first line |
//! | [`event`] | [`Event`], every other line |
//! | [`extra`] | [`Extra`], the fields nobody here knows |
//! | [`mod@write`] | [`TapeWriter`], which survives a kill; [`SharedTape`] for several links onto one tape |
//! | [`field`] | [`FieldTape`]: the frames of a field as they are |
//! | [`frames`] | [`FrameTape`]: the frames of a lock's reader, without searches in vain, and with secrets masked |
//! | [`mask`] | [`Masker`]: which bytes are secrets |
//! | [`read`] | [`TapeReader`], streaming and bounded |
//! | [`mod@import`] | [`Import`]: other programs' files as events, recognised from their content |
//! | [`mod@export`] | events as other programs' files, and what was lost |
//! | [`rf`] | frames: CRC, ISO-DEP blocks, and [`Assembler`], which makes APDUs of them |
//! | [`decode`] | [`Decoder`]: what an event means |
//! | [`volatile`] | which fields are fresh in every tap |
//! | [`mod@diff`] | two sessions compared by what they mean |
//! | [`redact`] | secrets and identities taken out |
//! | [`show`] | a tape as text or JSON, for people and programs |
//!
//! ```
//! use std::time::Instant;
//! use tapdoor_captures::{Header, TapeReader, TapeWriter};
//! use tapdoor_link::{CardLink, Recorder, Scripted};
//!
//! let mut tape = TapeWriter::with_sink(Vec::new(), &Header::now("example 1.0"))?;
//! tape.tap(1);
//! let epoch = tape.epoch();
//! let card = Scripted::new().answer([0x6A, 0x82]);
//! let mut link = Recorder::new(card, tape, epoch);
//! link.transmit(&[0x00, 0xA4, 0x04, 0x00], &mut Vec::new())?;
//!
//! let (_, tape) = link.into_parts();
//! let bytes = tape.into_sink();
//! let events = TapeReader::new(bytes.as_slice())?.collect::<Result<Vec<_>, _>>()?;
//! assert_eq!(events[1].data.as_deref(), Some(&[0x6A, 0x82][..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod decode;
pub mod diff;
pub mod event;
pub mod export;
pub mod extra;
pub mod field;
pub mod frames;
pub mod header;
pub mod import;
pub mod mask;
pub mod read;
pub mod redact;
pub mod rf;
pub mod show;
pub mod volatile;
pub mod write;

pub use decode::{Decoded, Decoder};
pub use event::{Crc, Direction, Event, Layer, Mask};
pub use extra::Extra;
pub use field::FieldTape;
pub use frames::FrameTape;
pub use header::{Header, TapeMode};
pub use import::{Format, Import};
pub use mask::{MaskPolicy, Masker};
pub use read::{Cut, Events, ReadError, TapeReader};
pub use rf::Assembler;
pub use show::{Filter, Style};
pub use write::{CreateError, SharedTape, TapeWriter};
