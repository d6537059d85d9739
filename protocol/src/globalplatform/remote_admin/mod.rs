//! Remote administration over HTTP (GPC Amendment B v1.1.3, "SCP81", here over TLS with certificates): its names, and the server's side of a job.
//!
//! The chip's agent POSTs to the server, without body at first. Each answer 200 has a command script for the chip as its body, and in
//! [`NEXT_URI`] where the response script is to be POSTed to, verbatim. 204 ends the session.
//!
//! [`AdminSession`] decides what stands in the scripts; HTTP is the caller's.

mod job;
mod names;
mod plan;
mod session;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;

pub use self::job::{InstallJob, Instance, Job, JobError, MAX_BLOCK};
pub use self::names::{AdminFrom, ParseAdminFromError, ScriptStatus, parse_targeted_application, targeted_application};
pub use self::session::{AdminError, AdminSession, AdminStep, DEFAULT_SCRIPT_LIMIT, Progress, Report};

/// Header of every message: which protocol.
pub const PROTOCOL: &str = "X-Admin-Protocol";
/// Its value.
pub const PROTOCOL_VALUE: &str = "globalplatform-remote-admin/1.0";
/// Header of requests: who asks, see [`AdminFrom`].
pub const FROM: &str = "X-Admin-From";
/// Header of requests with a response script: how the script went, see [`ScriptStatus`].
pub const SCRIPT_STATUS: &str = "X-Admin-Script-Status";
/// Header of requests: `true` when the agent goes on after a lost connection.
pub const RESUME: &str = "X-Admin-Resume";
/// Header of answers: where the response script goes. Echoed verbatim, query included.
pub const NEXT_URI: &str = "X-Admin-Next-URI";
/// Header of answers: whom the script is for, see [`targeted_application`].
pub const TARGETED_APPLICATION: &str = "X-Admin-Targeted-Application";
/// Content type of command scripts.
pub const COMMANDS: &str = "application/vnd.globalplatform.card-content-mgt;version=1.0";
/// Content type of response scripts.
pub const RESPONSES: &str = "application/vnd.globalplatform.card-content-mgt-response;version=1.0";
/// Content type of command scripts for remote file and applet management (ETSI TS 102 226).
pub const ETSI_COMMANDS: &str = "application/vnd.etsi.scp.command-data;version=1.0";
/// Content type of their response scripts.
pub const ETSI_RESPONSES: &str = "application/vnd.etsi.scp.response-data;version=1.0";

/// Whether a Content-Type header is `expected` (one of the constants above): case and blanks around `;` do not matter.
#[must_use]
pub fn is_content_type(header: &str, expected: &str) -> bool {
    let parts = |text: &str| {
        text.split(';')
            .map(|part| alloc::string::String::from(part.trim()))
            .collect::<alloc::vec::Vec<_>>()
    };
    let (header, expected) = (parts(header), parts(expected));
    header.len() == expected.len() && header.iter().zip(&expected).all(|(a, b)| a.eq_ignore_ascii_case(b))
}
