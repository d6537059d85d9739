//! `tapdoor server`: the application management server, and its administration.

mod admin;
mod api;
mod chips;
mod claim;
mod files;
mod show;

use std::path::Path;

use serde_json::json;
use tapdoor_link::stop::Stop;
use tapdoor_server::ca::{self, CaError};
use tapdoor_server::{Server, ServerConfig, logs};
use tokio::sync::Notify;

use self::api::Api;
use self::claim::{Claim, Claimed};
use super::Outcome;
use crate::args::{LogLevel, ServerArgs, ServerCommand, ServerInitArgs};
use crate::failure::{DEVICE, DONE, Failure, INPUT, INTERRUPTED, USAGE};
use crate::out::Out;

/// Runs the command.
pub fn run(args: &ServerArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let Some(command) = &args.command else {
        return serve(args, out, stop);
    };
    if args.listen.is_some() || args.log.is_some() {
        return Err(Failure::new(
            USAGE,
            "--listen and --log are for the server itself; leave them out here",
        ));
    }
    if let ServerCommand::Init(init) = command {
        return certificates(init, out);
    }
    let config = ServerConfig::load(&args.config)?;
    let site = files::Site::new(&config, &args.config, args.ca.as_deref());
    // Checked before anything is opened.
    match command {
        ServerCommand::AddLock(a) => return chips::add_lock(a, &site, || Api::open(config, &args.config, args.ca.as_deref()), out),
        ServerCommand::AddPhone(a) => return chips::add_phone(a, &site, || Api::open(config, &args.config, args.ca.as_deref()), out),
        _ => {}
    }
    let api = Api::open(config, &args.config, args.ca.as_deref())?;
    match command {
        ServerCommand::AddSystem(a) => admin::add_system(a, &api, out),
        ServerCommand::AddProvider(a) => admin::add_provider(a, &api, out),
        ServerCommand::AddApp(a) => admin::add_app(a, &api, out),
        ServerCommand::Grant(a) => admin::grant(a, &api, out),
        ServerCommand::Revoke(a) => admin::revoke(a, &api, out),
        ServerCommand::RevokeLock(a) => admin::revoke_chip("locks", &a.lock, &api, out),
        ServerCommand::RevokePhone(a) => admin::revoke_chip("phones", &a.phone, &api, out),
        ServerCommand::Push(a) => admin::push(a, &api, out),
        ServerCommand::Status(a) => show::status(a, &api, out),
        ServerCommand::Jobs(a) => show::jobs(a, &api, out),
        ServerCommand::Init(_) | ServerCommand::AddLock(_) | ServerCommand::AddPhone(_) => Ok(DONE),
    }
}

/// Be the server, until somebody interrupts.
fn serve(args: &ServerArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let mut config = ServerConfig::load(&args.config)?;
    if let Some(listen) = args.listen {
        config
            .listen_on(listen)
            .map_err(|e| Failure::new(USAGE, format!("--listen {listen}: {e}")))?;
    }
    logs::init(out.is_json(), level(args.log, out));
    let claim = match Claim::take(&config, &args.config)? {
        Claimed::Ours(claim) => claim,
        Claimed::Running(url) => {
            return Err(Failure::new(
                USAGE,
                format!("{}: a server with this store runs already, at {url}", args.config.display()),
            ));
        }
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|e| Failure::new(DEVICE, e))?;
    let stopped = std::sync::Arc::new(Notify::new());
    let waker = stopped.clone();
    let _wake = stop.on_stop(move || waker.notify_one());
    runtime.block_on(async {
        let server = Server::start(config).await?;
        let url = api::url(server.tls, server.addr);
        claim.announce(&url)?;
        out.event(
            &json!({"event": "ready", "listen": server.addr.to_string(), "url": url, "tls": server.tls}),
            || format!("ready: {url}"),
        )?;
        stopped.notified().await;
        server.stop();
        server.join().await;
        Ok(INTERRUPTED)
    })
}

fn level(asked: Option<LogLevel>, out: &Out) -> tracing::Level {
    match asked {
        Some(LogLevel::Error) => tracing::Level::ERROR,
        Some(LogLevel::Warn) => tracing::Level::WARN,
        Some(LogLevel::Info) => tracing::Level::INFO,
        Some(LogLevel::Debug) => tracing::Level::DEBUG,
        Some(LogLevel::Trace) => tracing::Level::TRACE,
        None if out.is_verbose() => tracing::Level::DEBUG,
        None if out.is_quiet() => tracing::Level::WARN,
        None => tracing::Level::INFO,
    }
}

/// `server init`.
fn certificates(args: &ServerInitArgs, out: &mut Out) -> Outcome {
    let made = ca::init(&args.dir, &args.name).map_err(|e| {
        let code = match &e {
            CaError::Exists(_) | CaError::NoName => USAGE,
            CaError::Certificate(_) => INPUT,
            CaError::File { .. } | CaError::Random => DEVICE,
        };
        Failure::new(code, e)
    })?;
    let show = |path: &Path| path.display().to_string();
    let files = [&made.ca_certificate, &made.ca_key, &made.certificate, &made.key, &made.admin_token].map(|path| show(path));
    out.event(
        &json!({"event": "server-init", "path": show(&args.dir), "files": files, "names": args.name}),
        || {
            format!(
                "{}\n\nInto server.toml, if it is in this folder:\n  admin-token = \"...\"   # the line in {}\n\n  [tls]\n  certificate = \"{}\"\n  key = \"{}\"\n\n\
                 Give {} to phones and locks (`ca`). Keep {} away from the server.",
                files.join("\n"),
                ca::ADMIN_TOKEN,
                ca::SERVER_CERTIFICATE,
                ca::SERVER_KEY,
                ca::CA_CERTIFICATE,
                ca::CA_KEY,
            )
        },
    )?;
    Ok(DONE)
}
