//! `server add-lock` and `add-phone`: registered at the server, and their files made.

use serde_json::{Map, Value, json};
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_server::registry::{Identifier, IdentifierKind};
use tapdoor_workbench::site::{self, LockFile, PhoneFile};

use super::Outcome;
use super::api::Api;
use super::files::Site;
use crate::args::{AddLockArgs, AddPhoneArgs};
use crate::failure::{DEVICE, DONE, Failure, INPUT};
use crate::out::Out;

/// The identifiers of the command line, checked.
fn identifiers(given: &[(IdentifierKind, &Option<String>)]) -> Result<Vec<Identifier>, Failure> {
    given
        .iter()
        .filter_map(|(kind, text)| text.as_ref().map(|text| Identifier::parse(*kind, text)))
        .collect::<Result<_, _>>()
        .map_err(|e| Failure::new(INPUT, format!("--{e}")))
}

/// The identifier of the command line, or a new one.
fn id(given: Option<&String>) -> Result<[u8; 8], Failure> {
    match given {
        Some(text) => text
            .parse::<PhoneId>()
            .map(|id| id.0)
            .map_err(|e| Failure::new(INPUT, format!("--id: {e}"))),
        None => site::identifier().map_err(|e| Failure::new(DEVICE, e)),
    }
}

fn body(id: [u8; 8], identifiers: &[Identifier]) -> Map<String, Value> {
    let mut body = Map::new();
    body.insert("id".into(), json!(PhoneId(id).to_string()));
    for identifier in identifiers {
        body.insert(identifier.kind().word().into(), json!(identifier.whole()));
    }
    body
}

/// `{"kvn", "enc", "mac", "dek"}` of a new chip.
fn chip(keys: &tapdoor_chip::ScpKeys) -> Value {
    json!({"kvn": keys.kvn, "enc": hex::encode(keys.enc.expose()), "mac": hex::encode(keys.mac.expose()), "dek": hex::encode(keys.dek.expose())})
}

/// By kind, as they may be shown.
fn shown(identifiers: &[Identifier], whole: bool) -> Map<String, Value> {
    let text = |i: &Identifier| {
        let masked = i.to_string();
        let masked = masked.split_once(' ').map_or("", |(_, value)| value).to_owned();
        if whole { i.whole() } else { masked }
    };
    identifiers.iter().map(|i| (i.kind().word().into(), json!(text(i)))).collect()
}

/// `server add-lock`.
pub fn add_lock(args: &AddLockArgs, site: &Site, api: impl FnOnce() -> Result<Api, Failure>, out: &mut Out) -> Outcome {
    let identifiers = identifiers(&[
        (IdentifierKind::Mac, &args.mac),
        (IdentifierKind::Iccid, &args.iccid),
        (IdentifierKind::Imsi, &args.imsi),
        (IdentifierKind::Msisdn, &args.msisdn),
    ])?;
    let id = id(args.id.as_ref())?;
    let mut body = body(id, &identifiers);
    body.insert("system".into(), json!(args.system));
    body.insert("groups".into(), json!(args.group));
    if let Some(window) = &args.window {
        body.insert("window".into(), json!(window));
    }
    let file = match &args.public_key {
        Some(key) => {
            body.insert("public_key".into(), json!(key));
            None
        }
        None => {
            let mut file = site.file(args.out.as_deref(), "lock")?;
            let random = |e| Failure::new(DEVICE, e);
            let (signing, keys) = (site::scalar().map_err(random)?, site::chip_keys().map_err(random)?);
            body.insert("public_key".into(), json!(site::public_key(&signing).map(hex::encode)));
            body.insert("chip".into(), chip(&keys));
            let first = identifiers.first().map(|i| (i.kind().word(), i.whole()));
            let (kind, value) = first.unwrap_or_default();
            let text = LockFile {
                id: LockId(id),
                store: &file.chip(),
                signing: &signing,
                usim: false,
                aliro: false,
                identifier: (kind, &value),
                agent: &site.agent(id),
                chip: &keys,
                providers: &site.providers,
                url: &site.url,
                ca: &site.ca(&file.path),
            };
            file.fill(&text.text())?;
            Some(file)
        }
    };
    let api = api()?;
    warn_system(&api, &args.system, out)?;
    api.post(&["v1", "locks"], &Value::Object(body))?;
    let path = file.map(|file| file.keep().display().to_string());
    let lock = LockId(id);
    out.event(
        &json!({"event": "lock-added", "lock": lock.to_string(), "identifiers": shown(&identifiers, args.show_secrets), "system": args.system,
            "groups": args.group, "path": path}),
        || match &path {
            Some(path) => format!("lock {lock} is registered; its configuration, with its keys, is {path}"),
            None => format!("lock {lock} is registered"),
        },
    )?;
    Ok(DONE)
}

/// A lock of a system that is not there can be registered, and gets no application.
fn warn_system(api: &Api, name: &str, out: &Out) -> Result<(), Failure> {
    let systems = api.get(&["v1", "systems"], &[])?;
    let known = systems
        .as_array()
        .is_some_and(|all| all.iter().any(|s| s.get("name").and_then(Value::as_str) == Some(name)));
    if !known {
        out.warn(&format!(
            "there is no system \"{name}\" yet, so its phones get no application: add it with `server add-system`"
        ));
    }
    Ok(())
}

/// `server add-phone`.
pub fn add_phone(args: &AddPhoneArgs, site: &Site, api: impl FnOnce() -> Result<Api, Failure>, out: &mut Out) -> Outcome {
    let identifiers = identifiers(&[
        (IdentifierKind::Imei, &args.imei),
        (IdentifierKind::Iccid, &args.iccid),
        (IdentifierKind::Imsi, &args.imsi),
        (IdentifierKind::Msisdn, &args.msisdn),
    ])?;
    let id = id(args.id.as_ref())?;
    let mut body = body(id, &identifiers);
    body.insert("user_authenticated".into(), json!(args.user_authenticated));
    let file = if args.no_file {
        None
    } else {
        let mut file = site.file(args.out.as_deref(), "phone")?;
        let keys = site::chip_keys().map_err(|e| Failure::new(DEVICE, e))?;
        body.insert("chip".into(), chip(&keys));
        let (kind, digits) = identifiers.first().map(|i| (i.kind().word(), i.whole())).unwrap_or_default();
        let text = PhoneFile {
            id: PhoneId(id),
            store: &file.chip(),
            aliro: false,
            k_ph: None,
            identity: (kind, &digits),
            agent: &site.agent(id),
            server_key: &site.server_key,
            chip: &keys,
            providers: &site.providers,
            url: &site.url,
            ca: &site.ca(&file.path),
        };
        file.fill(&text.text())?;
        Some(file)
    };
    api()?.post(&["v1", "phones"], &Value::Object(body))?;
    let path = file.map(|file| file.keep().display().to_string());
    let phone = PhoneId(id);
    let phone = if args.show_secrets { phone.to_string() } else { phone.masked() };
    out.event(
        &json!({"event": "phone-added", "phone": phone, "identifiers": shown(&identifiers, args.show_secrets), "path": path}),
        || match &path {
            Some(path) => format!("phone {phone} is registered; its configuration, with its keys, is {path}"),
            None => format!("phone {phone} is registered"),
        },
    )?;
    Ok(DONE)
}
