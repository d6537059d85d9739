//! Structured logs (tracing). What is written: what happened to which job, lock and masked phone, and why something was refused. What is never
//! written: keys, tokens, identities, bodies.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Sends logs to standard error, as text or as one JSON object a line. `RUST_LOG` goes before `level`. Does nothing if logs go somewhere already.
pub fn init(json: bool, level: tracing::Level) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(format!("{},rustls=warn,hyper=warn", level.as_str().to_lowercase())));
    let builder = fmt::Subscriber::builder().with_env_filter(filter).with_writer(std::io::stderr);
    let result = if json {
        tracing::subscriber::set_global_default(builder.json().flatten_event(true).finish())
    } else {
        tracing::subscriber::set_global_default(builder.with_ansi(std::io::stderr().is_terminal()).finish())
    };
    // Somebody else collects them, as in tests.
    drop(result);
}
