//! Bytes and decisions of doors that open with a phone, without any I/O.
//!
//! Everything here is a function or a state machine that is handed bytes, time and randomness and hands back bytes, a step or a verdict.
//! There are no sockets, clocks or random numbers in this crate, and nothing in it panics on input.
//!
//! | module | what | standard |
//! |---|---|---|
//! | [`apdu`] | command and response APDUs, chaining, GET RESPONSE | ISO/IEC 7816-3 12.1, 7816-4 5 |
//! | [`tlv`] | BER-TLV | ISO/IEC 8825-1, 7816-4 5.2.2 |
//! | [`status`] | status words and what they mean | ISO/IEC 7816-4, TS 102 221, TS 31.102, GlobalPlatform |
//! | [`aid`] | application identifiers and who uses them | ISO/IEC 7816-5 |
//! | [`ids`] | phone and lock identifiers | docs/protocol.md 1 |
//! | [`crypto`] | AES-CMAC, CCM, key derivation, ECIES, ECDSA | NIST SP 800-38B, -38C, -108, ANSI X9.63, TS 33.501 Annex C |
//! | [`vault`] | the keys by reference, which every method is generic over | |
//! | [`door`] | what all door applications share: FCI, verdicts, CONTROL FLOW, lock commands | docs/protocol.md 2, 3, 7, 9 |
//! | [`challenge_response`] | mutual authentication with AES-CCM | ISO/IEC 9798-2, docs/protocol.md 4 |
//! | [`aka`] | MILENAGE, TUAK, AUTN, AUTS, profiles P and U | TS 33.102, 35.206, 35.231, 31.102 |
//! | [`aliro`] | Aliro 1.0, expedited phase, reader and user device | CSA Aliro 1.0, docs/aliro.md |
//! | [`globalplatform`] | SCP03, card content management, load files, remote scripts | GPC v2.3.1, Amendments B and D, ETSI TS 102 226 |
//! | [`rf`] | the radio: ISO/IEC 14443, ISO-DEP, FeliCa, NFC-DEP; frames and their time on air | ISO/IEC 14443-3 and -4, 18092 |
//! | [`pn532`] | frames, commands and answers of the PN532, host and chip | UM0701-02 |
//! | [`identity`] | the phone's identity, enciphered to the server, and the lock's signed request | TS 33.501 Annex C |
#![no_std]
extern crate alloc;

pub mod aid;
pub mod aka;
pub mod aliro;
pub mod apdu;
pub mod challenge_response;
pub mod crypto;
pub mod door;
pub mod globalplatform;
pub mod identity;
pub mod ids;
pub mod pn532;
pub mod rf;

pub mod status;
pub mod tlv;
pub mod vault;
