//! Managing a chip from outside (GlobalPlatform Card Specification v2.3.1, "GPC" in this module): codecs and state machines, no I/O.
//!
//! | module | what | standard |
//! |---|---|---|
//! | [`scp03`] | the secure channel, both ends | GPC Amendment D v1.2 |
//! | [`command`] | INSTALL, LOAD, STORE DATA, DELETE, PUT KEY, SET STATUS, GET STATUS, GET DATA: builders and parsers | GPC 11 |
//! | [`registry`] | life cycles, privileges, and what GET STATUS and GET DATA answer | GPC 5, 6.6, 11.3, 11.4, appendix H |
//! | [`load_file`] | load files, their signatures and their blocks | GPC 11.6.2, appendix C |
//! | [`script`] | expanded command and response scripts | ETSI TS 102 226 5.2 |
//! | [`remote_admin`] | administration over HTTP: names, and the server's side of a job | GPC Amendment B |

pub mod command;
pub mod load_file;
mod lv;
pub mod registry;
pub mod remote_admin;
pub mod scp03;
pub mod script;
