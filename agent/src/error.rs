//! What can go wrong between a chip and its server.

/// Why the server cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// The address is none that can be used.
    #[error("server address \"{url}\": {detail}")]
    Address {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        detail: &'static str,
    },
    /// The certificate of the server's authority.
    #[error("{path}: {detail}; `tapdoor server init` makes one, ca.crt")]
    Authority {
        /// Where it should be.
        path: String,
        /// What happened.
        detail: String,
    },
    /// The chip has no key to prove whose it is.
    #[error("the chip has no agent key (k-agent), so it cannot prove to the server whose it is")]
    NoKey,
    /// No connection, or it was lost.
    #[error("{url}: {detail}; is the server running, and is this its address?")]
    Connection {
        /// What was asked for.
        url: String,
        /// What happened, down to the cause.
        detail: String,
    },
    /// The server refuses.
    #[error("the server refuses: {code} (HTTP {status}): {message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The server's word for it.
        code: String,
        /// In words.
        message: String,
    },
    /// The server does not speak as it should.
    #[error("the server's answer is not what was agreed: {0}; are agent and server of the same version?")]
    Answer(String),
    /// The asynchronous machinery or a thread.
    #[error("cannot start: {0}")]
    Start(String),
    /// Somebody asked to stop.
    #[error("stopped")]
    Stopped,
}

impl AgentError {
    pub(crate) fn connection(url: &str, error: &dyn std::error::Error) -> Self {
        // The causes tell the certificate from the cable.
        let mut detail = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !detail.contains(&text) {
                detail.push_str(": ");
                detail.push_str(&text);
            }
            source = cause.source();
        }
        Self::Connection {
            url: url.to_owned(),
            detail,
        }
    }

    /// Whether trying again may help: the connection, a server in trouble, a session that the server forgot.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connection { .. } | Self::Answer(_) => true,
            Self::Refused { status, .. } => matches!(status, 404 | 408 | 409 | 429 | 500..=599),
            _ => false,
        }
    }
}
