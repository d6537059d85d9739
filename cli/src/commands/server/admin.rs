//! `server add-system`, `add-provider`, `add-app`, `grant`, `revoke`, `revoke-lock`, `revoke-phone`, `push`.

use reqwest::Method;
use serde_json::{Value, json};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::crypto::sign;
use tapdoor_protocol::globalplatform::load_file::LoadFile;
use zeroize::Zeroizing;

use super::api::Api;
use super::{Outcome, show};
use crate::args::{AddAppArgs, AddProviderArgs, AddSystemArgs, GrantArgs, Half, PushArgs, RevokeArgs};
use crate::failure::{DONE, Failure, INPUT, USAGE};
use crate::out::{Out, event};

/// `server add-system`.
pub fn add_system(args: &AddSystemArgs, api: &Api, out: &mut Out) -> Outcome {
    let body = json!({"name": args.name, "application": args.application, "lock_application": args.lock_application});
    let system = api.post(&["v1", "systems"], &body)?;
    out.event(&event("system-set", system), || {
        format!(
            "system {}: phones get {}, locks get {}",
            args.name,
            args.application.as_deref().unwrap_or("nothing"),
            args.lock_application.as_deref().unwrap_or("nothing")
        )
    })?;
    Ok(DONE)
}

/// `server add-provider`.
pub fn add_provider(args: &AddProviderArgs, api: &Api, out: &mut Out) -> Outcome {
    let provider = api.post(&["v1", "providers"], &json!({"name": args.name, "key": args.key}))?;
    out.event(&event("provider-set", provider), || {
        format!("applications of {} must be signed under this key", args.name)
    })?;
    Ok(DONE)
}

fn unreadable(path: &std::path::Path) -> impl Fn(std::io::Error) -> Failure + '_ {
    move |e| Failure::new(INPUT, format!("{}: {e}", path.display()))
}

/// `server add-app`.
pub fn add_app(args: &AddAppArgs, api: &Api, out: &mut Out) -> Outcome {
    let content = std::fs::read(&args.file).map_err(unreadable(&args.file))?;
    let load_file = match &args.sign {
        None => content,
        Some(path) => {
            let text = Zeroizing::new(std::fs::read_to_string(path).map_err(unreadable(path))?);
            let bytes = hex::decode(text.trim()).map(Zeroizing::new);
            let key = bytes
                .ok()
                .and_then(|bytes| <[u8; 32]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new));
            let signed = key.and_then(|key| LoadFile::signed(&content, Aid::CARD_MANAGER, |hash| sign::sign(&key, hash)));
            signed.ok_or_else(|| {
                Failure::new(
                    INPUT,
                    format!("{}: is no P-256 private key of 64 hexadecimal digits", path.display()),
                )
            })?
        }
    };
    let body = json!({
        "name": args.name,
        "version": args.version,
        "provider": args.provider,
        "half": match args.half { Half::Phone => "phone", Half::Lock => "lock" },
        "elf": args.elf,
        "module": args.module,
        "aid": args.aid,
        "peer": args.peer,
        "parameters": args.parameters,
        "load_file": hex::encode(load_file),
    });
    let application = api.post(&["v1", "applications"], &body)?;
    out.event(&event("application-added", application), || {
        format!("{} {} can be sent", args.name, args.version)
    })?;
    Ok(DONE)
}

fn told(name: &str, what: &str, answer: &Value, out: &mut Out) -> Outcome {
    let jobs = answer.get("jobs").and_then(Value::as_array).map_or(0, Vec::len);
    out.event(&event(name, answer.clone()), || match jobs {
        0 => what.to_owned(),
        1 => format!("{what}; one chip is to be told"),
        n => format!("{what}; {n} chips are to be told"),
    })?;
    Ok(DONE)
}

/// `server grant`.
pub fn grant(args: &GrantArgs, api: &Api, out: &mut Out) -> Outcome {
    let body = json!({"phone": args.phone, "lock": args.lock, "group": args.group, "until": args.until, "weakest": args.weakest,
        "user_authenticated": args.user_authenticated});
    let answer = api.post(&["v1", "grants"], &body)?;
    told("granted", "granted", &answer, out)
}

/// `server revoke`.
pub fn revoke(args: &RevokeArgs, api: &Api, out: &mut Out) -> Outcome {
    let body = json!({"phone": args.phone, "lock": args.lock, "group": args.group});
    let answer = api.post(&["v1", "revoke"], &body)?;
    told("revoked", "taken back", &answer, out)
}

/// `server revoke-lock` and `revoke-phone`: `kind` is the folder in the API.
pub fn revoke_chip(kind: &str, name: &str, api: &Api, out: &mut Out) -> Outcome {
    let answer = api.call(Method::DELETE, &["v1", kind, name], &[], None)?;
    let what = if kind == "locks" { "lock" } else { "phone" };
    out.event(&show::chip(&format!("{what}-revoked"), answer, false), || {
        format!("this {what} is out of service")
    })?;
    Ok(DONE)
}

/// `server push`.
pub fn push(args: &PushArgs, api: &Api, out: &mut Out) -> Outcome {
    let to = args
        .to
        .split_once(':')
        .filter(|(kind, name)| ["lock", "phone", "group", "system"].contains(kind) && !name.is_empty());
    let Some((kind, name)) = to else {
        return Err(Failure::new(USAGE, "--to: write lock:LOCK, phone:PHONE, group:NAME or system:NAME"));
    };
    let body = json!({"application": args.app, "version": args.version, "list": args.list, "delete": args.delete, "to": {kind: name},
        "when": if args.window { "window" } else { "now" }});
    let answer = api.post(&["v1", "push"], &body)?;
    told("pushed", "queued", &answer, out)
}
