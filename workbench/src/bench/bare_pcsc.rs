//! The bare SCardTransmit loop that `bench link` is compared with, straight on the C library.
//!
//! It is the only unsafe code of this crate: a safe wrapper would be part of what is to be measured.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::ptr;
use std::time::{Duration, Instant};

use pcsc_sys::{
    DWORD, LONG, SCARD_IO_REQUEST, SCARD_LEAVE_CARD, SCARD_PROTOCOL_T0, SCARD_PROTOCOL_T1, SCARD_S_SUCCESS, SCARD_SCOPE_SYSTEM,
    SCARD_SHARE_EXCLUSIVE, SCARDCONTEXT, SCARDHANDLE, SCardConnect, SCardDisconnect, SCardEstablishContext, SCardReleaseContext,
    SCardTransmit,
};

use super::BenchError;

fn check(call: &'static str, code: LONG) -> Result<(), BenchError> {
    // Codes are 32 bits wide on every platform.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    if code == SCARD_S_SUCCESS {
        Ok(())
    } else {
        Err(BenchError::Bare { call, code: code as u32 })
    }
}

/// Sends `command` `count` times to the card in `reader`, and says how long that took; connecting is not counted, nor are `warm_up` more
/// before that.
pub fn run(reader: &str, command: &[u8], warm_up: u32, count: u32) -> Result<Duration, BenchError> {
    let name = CString::new(reader).map_err(|_| BenchError::Bare {
        call: "reader name",
        code: 0,
    })?;
    let mut context: SCARDCONTEXT = 0;
    // SAFETY: the context is a valid place to write to; the reserved pointers may be null.
    check("SCardEstablishContext", unsafe {
        SCardEstablishContext(SCARD_SCOPE_SYSTEM, ptr::null(), ptr::null(), &raw mut context)
    })?;
    let result = with_context(context, &name, command, warm_up, count);
    // SAFETY: the context was established above and is released once.
    unsafe { SCardReleaseContext(context) };
    result
}

fn with_context(context: SCARDCONTEXT, name: &CString, command: &[u8], warm_up: u32, count: u32) -> Result<Duration, BenchError> {
    let (mut card, mut protocol): (SCARDHANDLE, DWORD) = (0, 0);
    // SAFETY: the name ends with NUL and outlives the call; handle and protocol are valid places to write to.
    check("SCardConnect", unsafe {
        SCardConnect(
            context,
            name.as_ptr(),
            SCARD_SHARE_EXCLUSIVE,
            SCARD_PROTOCOL_T0 | SCARD_PROTOCOL_T1,
            &raw mut card,
            &raw mut protocol,
        )
    })?;
    let result = with_card(card, protocol, command, warm_up, count);
    // SAFETY: the card was connected above and is disconnected once.
    unsafe { SCardDisconnect(card, SCARD_LEAVE_CARD) };
    result
}

fn with_card(card: SCARDHANDLE, protocol: DWORD, command: &[u8], warm_up: u32, count: u32) -> Result<Duration, BenchError> {
    #[allow(clippy::cast_possible_truncation)]
    let request = SCARD_IO_REQUEST {
        dwProtocol: protocol as _,
        cbPciLength: size_of::<SCARD_IO_REQUEST>() as _,
    };
    let mut buffer = vec![0u8; 65_546];
    let mut started = Instant::now();
    for n in 0..warm_up + count {
        if n == warm_up {
            started = Instant::now();
        }
        #[allow(clippy::cast_possible_truncation)]
        let (sent, mut received) = (command.len() as DWORD, buffer.len() as DWORD);
        // SAFETY: command and buffer are valid for the lengths given; the I/O request is initialised; no answer header is asked for.
        let code = unsafe {
            SCardTransmit(
                card,
                &raw const request,
                command.as_ptr(),
                sent,
                ptr::null_mut(),
                buffer.as_mut_ptr(),
                &raw mut received,
            )
        };
        check("SCardTransmit", code)?;
    }
    Ok(started.elapsed())
}
