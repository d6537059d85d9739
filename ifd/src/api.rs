//! The functions that pcscd calls: version 3 of pcsc-lite's IFD handler interface (its public header, `ifdhandler.h`).
//!
//! pcscd calls them by name, from several threads. Buffers and lengths are pcscd's; each is checked for null before use, and no more is
//! written than the length allows. A panic would end pcscd, so every body runs inside [`guarded`].
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_int, c_long, c_uchar, c_ulong, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::reader::{Failure, Reader, socket_of};
use crate::wire;

// pcsc-lite's types. On macOS they are others, and there pcscd is Apple's.
type Dword = c_ulong;
type ResponseCode = c_long;

const IFD_SUCCESS: ResponseCode = 0;
const IFD_ERROR_TAG: ResponseCode = 600;
const IFD_ERROR_VALUE_READ_ONLY: ResponseCode = 602;
const IFD_PROTOCOL_NOT_SUPPORTED: ResponseCode = 607;
const IFD_ERROR_POWER_ACTION: ResponseCode = 608;
const IFD_COMMUNICATION_ERROR: ResponseCode = 612;
const IFD_RESPONSE_TIMEOUT: ResponseCode = 613;
const IFD_NOT_SUPPORTED: ResponseCode = 614;
const IFD_ICC_PRESENT: ResponseCode = 615;
const IFD_ICC_NOT_PRESENT: ResponseCode = 616;
const IFD_NO_SUCH_DEVICE: ResponseCode = 617;
const IFD_ERROR_INSUFFICIENT_BUFFER: ResponseCode = 618;

const IFD_POWER_UP: Dword = 500;
const IFD_POWER_DOWN: Dword = 501;
const IFD_RESET: Dword = 502;

const TAG_IFD_ATR: Dword = 0x0303;
const TAG_IFD_SLOT_THREAD_SAFE: Dword = 0x0FAC;
const TAG_IFD_THREAD_SAFE: Dword = 0x0FAD;
const TAG_IFD_SLOTS_NUMBER: Dword = 0x0FAE;
const TAG_IFD_SIMULTANEOUS_ACCESS: Dword = 0x0FAF;
const TAG_IFD_POLLING_THREAD_KILLABLE: Dword = 0x0FB1;
const TAG_IFD_STOP_POLLING_THREAD: Dword = 0x0FB2;
const TAG_IFD_POLLING_THREAD_WITH_TIMEOUT: Dword = 0x0FB3;
const SCARD_ATTR_VENDOR_NAME: Dword = 0x0001_0100;
const SCARD_ATTR_VENDOR_IFD_TYPE: Dword = 0x0001_0101;
const SCARD_ATTR_VENDOR_IFD_VERSION: Dword = 0x0001_0102;
const SCARD_ATTR_MAXINPUT: Dword = 0x0007_A007;
const SCARD_ATTR_ICC_PRESENCE: Dword = 0x0008_0300;
const SCARD_ATTR_ATR_STRING: Dword = 0x0009_0303;

/// `SCARD_CTL_CODE` of pcsc-lite on Linux.
const fn control_code(code: Dword) -> Dword {
    0x4200_0000 + code
}
const CM_IOCTL_GET_FEATURE_REQUEST: Dword = control_code(3400);
/// Escape as libccid has it, and as ACS's own driver has it.
const ESCAPE: [Dword; 2] = [control_code(1), control_code(3500)];
const FEATURE_CCID_ESC_COMMAND: u8 = 0x13;

/// How many readers one copy of the driver serves at a time.
const READERS: u8 = 16;
/// Longest ATR, ISO/IEC 7816-3.
const MAX_ATR: usize = 33;
/// The longest short C-APDU: what this reader takes.
const MAX_INPUT: u32 = 261;

/// `SCARD_IO_HEADER`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IoHeader {
    protocol: Dword,
    length: Dword,
}

static OPEN: Mutex<BTreeMap<Dword, Arc<Reader>>> = Mutex::new(BTreeMap::new());

fn open() -> MutexGuard<'static, BTreeMap<Dword, Arc<Reader>>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn with(lun: Dword, work: impl FnOnce(&Reader) -> ResponseCode) -> ResponseCode {
    guarded(|| {
        let reader = open().get(&lun).cloned();
        reader.map_or(IFD_NO_SUCH_DEVICE, |reader| work(&reader))
    })
}

/// A panic stops here: unwinding into pcscd would end it.
fn guarded(work: impl FnOnce() -> ResponseCode) -> ResponseCode {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(IFD_COMMUNICATION_ERROR)
}

fn code(failure: Failure) -> ResponseCode {
    match failure {
        Failure::Unplugged => IFD_NO_SUCH_DEVICE,
        Failure::NoCard => IFD_ICC_NOT_PRESENT,
        Failure::Timeout => IFD_RESPONSE_TIMEOUT,
        Failure::Refused => IFD_COMMUNICATION_ERROR,
    }
}

/// The caller's bytes.
///
/// # Safety
/// `data` is null, or `length` bytes can be read there for as long as the slice is used.
unsafe fn bytes<'a>(data: *const c_uchar, length: Dword) -> &'a [u8] {
    match usize::try_from(length) {
        // SAFETY: as the caller promises.
        Ok(length) if !data.is_null() && length <= wire::MAX_BODY + 1 => unsafe { std::slice::from_raw_parts(data, length) },
        _ => &[],
    }
}

/// Writes `from` and its length, if there is room for all of it.
///
/// # Safety
/// `length` is null or valid for reading and writing; `to` is null or has room for as many bytes as `room` says.
unsafe fn put(from: &[u8], to: *mut c_uchar, room: Dword, length: *mut Dword) -> ResponseCode {
    if to.is_null() || length.is_null() {
        return IFD_COMMUNICATION_ERROR;
    }
    let fits = usize::try_from(room).is_ok_and(|room| from.len() <= room);
    // SAFETY: `length` is not null, and `to` has room for `from` where it fits; the reader's answer overlaps nothing of pcscd's.
    unsafe {
        *length = if fits { from.len() as Dword } else { 0 };
        if fits {
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
        }
    }
    if fits { IFD_SUCCESS } else { IFD_ERROR_INSUFFICIENT_BUFFER }
}

/// Opens the reader whose socket `device` names.
///
/// # Safety
/// `device` is null or a C string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn IFDHCreateChannelByName(lun: Dword, device: *const c_char) -> ResponseCode {
    if device.is_null() {
        return IFD_COMMUNICATION_ERROR;
    }
    // SAFETY: not null, and a C string as pcscd promises.
    let Ok(device) = unsafe { CStr::from_ptr(device) }.to_str() else {
        return IFD_COMMUNICATION_ERROR;
    };
    guarded(|| {
        open().insert(lun, Arc::new(Reader::new(socket_of(device))));
        IFD_SUCCESS
    })
}

/// A channel by number: this driver has none.
#[unsafe(no_mangle)]
pub extern "C" fn IFDHCreateChannel(_lun: Dword, _channel: Dword) -> ResponseCode {
    IFD_NO_SUCH_DEVICE
}

/// Closes the reader.
#[unsafe(no_mangle)]
pub extern "C" fn IFDHCloseChannel(lun: Dword) -> ResponseCode {
    guarded(|| {
        let reader = open().remove(&lun);
        reader.map_or(IFD_NO_SUCH_DEVICE, |reader| {
            reader.stop_waiting();
            IFD_SUCCESS
        })
    })
}

/// Tells about the reader.
///
/// # Safety
/// `length` is null or valid; `value` is null or has room for `*length` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn IFDHGetCapabilities(lun: Dword, tag: Dword, length: *mut Dword, value: *mut c_uchar) -> ResponseCode {
    if length.is_null() {
        return IFD_COMMUNICATION_ERROR;
    }
    // SAFETY: not null, and valid as pcscd promises.
    let room = unsafe { *length };
    with(lun, |reader| {
        let answer = match tag {
            TAG_IFD_ATR | SCARD_ATTR_ATR_STRING => reader.atr(),
            TAG_IFD_SIMULTANEOUS_ACCESS => vec![READERS],
            TAG_IFD_THREAD_SAFE | TAG_IFD_SLOTS_NUMBER => vec![1],
            TAG_IFD_SLOT_THREAD_SAFE | TAG_IFD_POLLING_THREAD_KILLABLE => vec![0],
            TAG_IFD_POLLING_THREAD_WITH_TIMEOUT => ((wait_for_event as extern "C" fn(Dword, c_int) -> ResponseCode) as usize)
                .to_ne_bytes()
                .into(),
            TAG_IFD_STOP_POLLING_THREAD => ((stop_waiting as extern "C" fn(Dword) -> ResponseCode) as usize)
                .to_ne_bytes()
                .into(),
            SCARD_ATTR_VENDOR_NAME => b"ACS".into(),
            SCARD_ATTR_VENDOR_IFD_TYPE => b"ACR122U PICC Interface".into(),
            SCARD_ATTR_VENDOR_IFD_VERSION => 0x0207_0000_u32.to_ne_bytes().into(),
            SCARD_ATTR_MAXINPUT => MAX_INPUT.to_ne_bytes().into(),
            SCARD_ATTR_ICC_PRESENCE => vec![if reader.presence() == Ok(true) { 2 } else { 0 }],
            _ => return IFD_ERROR_TAG,
        };
        // SAFETY: `length` is not null, and `value` has room for the bytes that pcscd said.
        unsafe { put(&answer, value, room, length) }
    })
}

/// Nothing can be set.
///
/// # Safety
/// Touches nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn IFDHSetCapabilities(_lun: Dword, tag: Dword, _length: Dword, _value: *mut c_uchar) -> ResponseCode {
    match tag {
        TAG_IFD_ATR | TAG_IFD_SLOTS_NUMBER => IFD_ERROR_VALUE_READ_ONLY,
        _ => IFD_NOT_SUPPORTED,
    }
}

/// The protocol: a contactless card is shown as T=1, and nothing is negotiated.
#[unsafe(no_mangle)]
pub extern "C" fn IFDHSetProtocolParameters(
    _lun: Dword,
    protocol: Dword,
    _flags: c_uchar,
    _pts1: c_uchar,
    _pts2: c_uchar,
    _pts3: c_uchar,
) -> ResponseCode {
    // SCARD_PROTOCOL_T0 and SCARD_PROTOCOL_T1.
    if matches!(protocol, 1 | 2) {
        IFD_SUCCESS
    } else {
        IFD_PROTOCOL_NOT_SUPPORTED
    }
}

/// Powers the card up or down, or resets it.
///
/// # Safety
/// `length` is null or valid; `atr` is null or has room for 33 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn IFDHPowerICC(lun: Dword, action: Dword, atr: *mut c_uchar, length: *mut Dword) -> ResponseCode {
    let kind = match action {
        IFD_POWER_UP => wire::POWER_UP,
        IFD_POWER_DOWN => wire::POWER_DOWN,
        IFD_RESET => wire::RESET,
        _ => return IFD_NOT_SUPPORTED,
    };
    with(lun, |reader| match reader.power(kind) {
        // SAFETY: pcscd's buffer for an ATR has the length of the longest.
        Ok(answer) => unsafe { put(&answer, atr, MAX_ATR as Dword, length) },
        Err(Failure::Unplugged) => IFD_NO_SUCH_DEVICE,
        Err(_) => IFD_ERROR_POWER_ACTION,
    })
}

/// A C-APDU to the card.
///
/// # Safety
/// `tx` is null or has `tx_length` bytes; `rx_length` is null or valid; `rx` is null or has room for `*rx_length` bytes; `received` is
/// null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn IFDHTransmitToICC(
    lun: Dword,
    send: IoHeader,
    tx: *const c_uchar,
    tx_length: Dword,
    rx: *mut c_uchar,
    rx_length: *mut Dword,
    received: *mut IoHeader,
) -> ResponseCode {
    if rx_length.is_null() {
        return IFD_COMMUNICATION_ERROR;
    }
    // SAFETY: not null, and valid as pcscd promises.
    let room = unsafe { *rx_length };
    // SAFETY: as pcscd promises.
    let command = unsafe { bytes(tx, tx_length) };
    // SAFETY: not null.
    unsafe { *rx_length = 0 };
    with(lun, |reader| match reader.transmit(command) {
        Ok(answer) => {
            if !received.is_null() {
                // SAFETY: not null, and valid as pcscd promises.
                unsafe { (*received).protocol = send.protocol };
            }
            // SAFETY: as pcscd promises.
            unsafe { put(&answer, rx, room, rx_length) }
        }
        Err(failure) => code(failure),
    })
}

/// SCardControl: which features there are, and the escape command.
///
/// # Safety
/// `tx` is null or has `tx_length` bytes; `rx` is null or has room for `room` bytes; `returned` is null or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn IFDHControl(
    lun: Dword,
    control: Dword,
    tx: *const c_uchar,
    tx_length: Dword,
    rx: *mut c_uchar,
    room: Dword,
    returned: *mut Dword,
) -> ResponseCode {
    if returned.is_null() {
        return IFD_COMMUNICATION_ERROR;
    }
    // SAFETY: not null.
    unsafe { *returned = 0 };
    // SAFETY: as pcscd promises.
    let command = unsafe { bytes(tx, tx_length) };
    with(lun, |reader| {
        let answer = if control == CM_IOCTL_GET_FEATURE_REQUEST {
            let [a, b, c, d] = u32::try_from(ESCAPE[0]).unwrap_or_default().to_be_bytes();
            Ok(vec![FEATURE_CCID_ESC_COMMAND, 4, a, b, c, d])
        } else if ESCAPE.contains(&control) {
            reader.escape(command)
        } else {
            return IFD_NOT_SUPPORTED;
        };
        match answer {
            // SAFETY: as pcscd promises.
            Ok(answer) => unsafe { put(&answer, rx, room, returned) },
            Err(failure) => code(failure),
        }
    })
}

/// Whether a card is in the field.
#[unsafe(no_mangle)]
pub extern "C" fn IFDHICCPresence(lun: Dword) -> ResponseCode {
    with(lun, |reader| match reader.presence() {
        Ok(true) => IFD_ICC_PRESENT,
        Ok(false) => IFD_ICC_NOT_PRESENT,
        Err(failure) => code(failure),
    })
}

/// pcscd's thread for events calls this in place of sleeping between two looks at the reader.
extern "C" fn wait_for_event(lun: Dword, milliseconds: c_int) -> ResponseCode {
    let time = Duration::from_millis(u64::try_from(milliseconds).unwrap_or(0));
    // Never an error: pcscd would end the thread, and not see the reader come back.
    with(lun, |reader| {
        reader.wait(time);
        IFD_SUCCESS
    })
}

/// Ends [`wait_for_event`].
extern "C" fn stop_waiting(lun: Dword) -> ResponseCode {
    with(lun, |reader| {
        reader.stop_waiting();
        IFD_SUCCESS
    })
}

// The types are those that pcscd calls with.
const _: unsafe extern "C" fn(Dword, Dword, *mut Dword, *mut c_uchar) -> ResponseCode = IFDHGetCapabilities;
const _: () = assert!(size_of::<usize>() == size_of::<*const c_void>());
