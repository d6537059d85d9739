//! A driver (IFD handler, version 3) by which pcscd sees the simulated ACR122U of `tapdoor phone --serve ifd:SOCKET`.
//!
//! | module | what |
//! |---|---|
//! | `api` | the functions that pcscd calls; the only file with unsafe code |
//! | `reader` | a reader behind a socket: requests, waiting, time limits |
//! | `wire` | what is said on the socket; the same file as in tapdoor-link |
//!
//! pcscd finds it by a file in its configuration folder:
//!
//! ```text
//! FRIENDLYNAME "ACS ACR122U PICC Interface"
//! DEVICENAME /dev/null:/run/tapdoor-reader
//! LIBPATH /usr/local/lib/libtapdoor_ifd.so
//! CHANNELID 0
//! ```
//!
//! The device is the path of the socket. pcscd wants the part before the first colon to be a file that exists, so that the form with
//! `/dev/null:` works before there is a socket. The reader may come after pcscd, go, and come back: pcscd (without libudev's help, which
//! only USB devices get) lists it all the time, as empty before it first comes, and as failing after it went.

// Nothing of the crate can be imported by other crates; what pcscd calls is found by name.
#![cfg(unix)]

mod api;
mod reader;
#[path = "../../link/src/ifd.rs"]
mod wire;
