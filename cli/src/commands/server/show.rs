//! `server status` and `jobs`: what the server knows, for people and for programs.

use serde_json::{Value, json};

use super::Outcome;
use super::api::Api;
use crate::args::{JobsArgs, StatusArgs};
use crate::failure::{DONE, Failure};
use crate::out::{Out, event};

/// The last four digits of a phone's identifier.
fn masked(id: &str) -> String {
    format!("..{}", id.get(id.len().saturating_sub(4)..).unwrap_or_default())
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value.get(field).and_then(Value::as_str).unwrap_or("-")
}

/// Replaces the field by its masked form.
fn mask(value: &mut Value, field: &str) {
    if let Some(Value::String(id)) = value.get_mut(field) {
        *id = masked(id);
    }
}

/// A lock or a phone as an event; a phone's identifier only if it may be shown.
pub fn chip(name: &str, mut value: Value, whole: bool) -> Value {
    if name.starts_with("phone") && !whole {
        mask(&mut value, "id");
    }
    event(name, value)
}

fn identifiers(value: &Value) -> String {
    let all = value.get("identifiers").and_then(Value::as_object);
    let all = all
        .into_iter()
        .flatten()
        .map(|(kind, v)| format!("{kind} {}", v.as_str().unwrap_or("-")));
    all.collect::<Vec<_>>().join(", ")
}

fn marks(value: &Value) -> String {
    [("connected", ", connected"), ("revoked", ", out of service")]
        .iter()
        .filter(|(field, _)| value.get(field) == Some(&Value::Bool(true)))
        .map(|(_, mark)| *mark)
        .collect()
}

fn each(api: &Api, path: &str, query: &[(&str, &str)], out: &mut Out, show: impl Fn(Value) -> (Value, String)) -> Result<(), Failure> {
    if let Value::Array(all) = api.get(&["v1", path], query)? {
        for value in all {
            let (value, text) = show(value);
            out.event(&value, || text)?;
        }
    }
    Ok(())
}

/// `server status`.
pub fn status(args: &StatusArgs, api: &Api, out: &mut Out) -> Outcome {
    let mut status = api.get(&["v1", "status"], &[])?;
    status["running"] = json!(api.running);
    status["url"] = json!(api.url());
    if !api.running {
        // Of the moment for which it was started.
        status["uptime"] = Value::Null;
    }
    out.event(&event("status", status.clone()), || people(&status))?;
    if !args.all {
        return Ok(DONE);
    }
    let whole = args.show_secrets;
    let query: &[(&str, &str)] = if whole { &[("identities", "true")] } else { &[] };
    each(api, "systems", &[], out, |v| {
        let text = format!(
            "system {}: {}, {}",
            text(&v, "name"),
            text(&v, "application"),
            text(&v, "lock_application")
        );
        (event("system", v), text)
    })?;
    each(api, "applications", &[], out, |v| {
        let text = format!(
            "application {} {} for {}s, {}",
            text(&v, "name"),
            text(&v, "version"),
            text(&v, "half"),
            text(&v, "aid")
        );
        (event("application", v), text)
    })?;
    each(api, "locks", query, out, |v| {
        let line = format!("lock {} ({}), {}{}", text(&v, "id"), identifiers(&v), text(&v, "system"), marks(&v));
        (chip("lock", v, whole), line)
    })?;
    each(api, "phones", query, out, |v| {
        let v = chip("phone", v, whole);
        let line = format!("phone {} ({}){}", text(&v, "id"), identifiers(&v), marks(&v));
        (v, line)
    })?;
    each(api, "grants", &[], out, |mut v| {
        if !whole {
            mask(&mut v, "phone");
        }
        let target = match (v.get("lock").and_then(Value::as_str), v.get("group").and_then(Value::as_str)) {
            (Some(lock), _) => format!("lock {lock}"),
            (None, group) => format!("group {}", group.unwrap_or("-")),
        };
        let state = if v.get("good") == Some(&Value::Bool(true)) {
            ""
        } else {
            ", not good now"
        };
        let line = format!("grant: phone {} opens {target}{state}", text(&v, "phone"));
        (event("grant", v), line)
    })?;
    Ok(DONE)
}

fn people(status: &Value) -> String {
    let number = |path: &str| status.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let place = status.get("url").and_then(Value::as_str).map_or_else(
        || "no server runs; this is its store".to_owned(),
        |url| format!("running at {url} for {} s", number("/uptime")),
    );
    format!(
        "{place}\n{} locks ({} connected), {} phones ({} connected), {} grants, {} versions of applications\n\
         jobs: {} queued, {} running, {} done, {} failed",
        number("/locks"),
        number("/connected/locks"),
        number("/phones"),
        number("/connected/phones"),
        number("/grants"),
        number("/applications"),
        number("/jobs/queued"),
        number("/jobs/running"),
        number("/jobs/done"),
        number("/jobs/failed"),
    )
}

/// `server jobs`.
pub fn jobs(args: &JobsArgs, api: &Api, out: &mut Out) -> Outcome {
    if let Some(id) = args.job {
        let (value, line) = job(api.get(&["v1", "jobs", &id.to_string()], &[])?, args.show_secrets);
        out.event(&value, || line)?;
        for past in value.get("history").and_then(Value::as_array).into_iter().flatten() {
            out.text(&format!("  {} {} {}", text(past, "at"), text(past, "state"), text(past, "detail")))?;
        }
        return Ok(DONE);
    }
    let limit = args.limit.to_string();
    let mut query = vec![("limit", limit.as_str())];
    for (name, given) in [("state", &args.state), ("lock", &args.lock), ("phone", &args.phone)] {
        query.extend(given.as_deref().map(|value| (name, value)));
    }
    each(api, "jobs", &query, out, |v| job(v, args.show_secrets))?;
    Ok(DONE)
}

fn job(mut value: Value, whole: bool) -> (Value, String) {
    if !whole {
        if let Some(Value::String(chip)) = value.get_mut("chip")
            && let Some(id) = chip.strip_prefix("phone/")
        {
            *chip = format!("phone/{}", masked(id));
        }
        if let Some(entry) = value.pointer_mut("/kind/entry") {
            mask(entry, "phone");
        }
    }
    let kind = value.get("kind").map(Value::to_string).unwrap_or_default();
    let id = value.get("id").and_then(Value::as_i64).unwrap_or_default();
    let mut line = format!("job {id} {} {}: {kind}", text(&value, "chip"), text(&value, "state"));
    if let Some(message) = value.get("message").and_then(Value::as_str) {
        line = format!("{line}: {message}");
    }
    (event("job", value), line)
}
