//! The scenes with a server: the application comes to the phone during the tap, or does not, and why.

use std::time::Duration;

use serde_json::json;
use tapdoor_link::stop::Stop;
use tapdoor_protocol::door::Reason;
use tapdoor_protocol::vault;
use tapdoor_reader::TapVerdict;
use tapdoor_reader::updates::Updates;

use super::network::Network;
use super::{Found, Scene};

/// Seconds of a day.
const DAY: u64 = 86_400;

pub(super) const SCENES: [(&str, &str, TapVerdict, Scene); 8] = [
    (
        "download-during-tap",
        "the phone has no application: the server installs it, and the same tap opens",
        TapVerdict::Open,
        |stage| {
            let network = Network::start(&stage.folder)?;
            let (mut lock, phone) = (network.lock(|_| ())?, network.phone(1)?);
            let first = phone.tap(&mut lock);
            let second = phone.tap(&mut lock);
            let took = first.download;
            let mut found = Found::of(first, None, None);
            found.ok &= took.is_some() && second.verdict == TapVerdict::Open && second.download.is_none() && second.apdus == 2;
            if let Some(took) = took {
                found.detail = format!("{}; the download took {:.0} ms of it", found.detail, took.as_secs_f64() * 1e3);
            }
            Ok(found)
        },
    ),
    (
        "server-down",
        "the application is there and the server is not: the tap opens, as fast as before",
        TapVerdict::Open,
        |stage| {
            let mut network = Network::start(&stage.folder)?;
            let (mut lock, phone) = (network.lock(|_| ())?, network.phone(1)?);
            let first = phone.tap(&mut lock);
            let with = phone.tap(&mut lock);
            network.stop();
            let without = phone.tap(&mut lock);
            let detail = format!(
                "with the server {:.2} ms, without it {:.2} ms",
                with.total.as_secs_f64() * 1e3,
                without.total.as_secs_f64() * 1e3
            );
            let mut found = Found::of(without, None, Some(2));
            found.detail = detail;
            found.ok &= first.verdict == TapVerdict::Open && with.verdict == TapVerdict::Open;
            Ok(found)
        },
    ),
    (
        "server-down-application-missing",
        "neither the application nor the server is there: refused, with the reason",
        TapVerdict::Refused,
        |stage| {
            let mut network = Network::start(&stage.folder)?;
            let (mut lock, phone) = (network.lock(|_| ())?, network.phone(1)?);
            network.stop();
            Ok(Found::of(phone.tap(&mut lock), Some(Reason::ServerError), None))
        },
    ),
    (
        "not-entitled",
        "a phone of the site that may not open this lock: nothing is installed",
        TapVerdict::Refused,
        |stage| {
            let network = Network::start(&stage.folder)?;
            let (mut lock, phone) = (network.lock(|_| ())?, network.phone(2)?);
            let body = json!({"phone": phone.id, "lock": lock.config().id.to_string()});
            network.api(reqwest::Method::POST, "/v1/revoke", Some(&body))?;
            Ok(Found::of(phone.tap(&mut lock), Some(Reason::NotEntitled), None))
        },
    ),
    (
        "unregistered-lock",
        "a lock that the server does not know asks in vain",
        TapVerdict::Refused,
        |stage| {
            let network = Network::start(&stage.folder)?;
            let mut lock = network.lock(|config| {
                if let Some(server) = &mut config.server {
                    server.name = ("mac", "02:00:00:00:00:01".to_owned());
                }
            })?;
            let phone = network.phone(1)?;
            let mut found = Found::of(phone.tap(&mut lock), Some(Reason::ServerError), None);
            found.ok &= found.detail.contains("lock-unregistered");
            Ok(found)
        },
    ),
    (
        "another-system",
        "the same request from a locker brings the locker's application, and another method",
        TapVerdict::Open,
        |stage| {
            let network = Network::start(&stage.folder)?;
            let (mut lock, phone) = (network.lock(|_| ())?, network.phone(1)?);
            let path = format!("/v1/locks/{}", lock.config().id);
            network.api(reqwest::Method::PATCH, &path, Some(&json!({"system": "locker"})))?;
            let tap = phone.tap(&mut lock);
            let (method, downloaded) = (tap.method, tap.download.is_some());
            let mut found = Found::of(tap, None, None);
            found.ok &= method == Some(vault::Method::Aka) && downloaded;
            Ok(found)
        },
    ),
    (
        "method-swapped",
        "another application is pushed to the phone: the next tap opens by another method",
        TapVerdict::Open,
        |stage| {
            let network = Network::start(&stage.folder)?;
            let (mut lock, phone) = (network.lock(|_| ())?, network.phone(1)?);
            let before = phone.tap(&mut lock);
            let to = json!({"phone": phone.id});
            let mut jobs = network.push(&json!({"application": "aka", "to": to}))?;
            jobs.extend(network.push(&json!({"delete": "F0544150444F4F52A1", "to": to}))?);
            let pushed = network.wait_for(&jobs)?;
            let after = phone.tap(&mut lock);
            let method = after.method;
            // The first SELECT finds nothing now.
            let mut found = Found::of(after, None, Some(3));
            found.ok &= pushed && before.method == Some(vault::Method::ChallengeResponse) && method == Some(vault::Method::Aka);
            Ok(found)
        },
    ),
    (
        "lock-updated-at-night",
        "the lock's own application comes from the server, in its maintenance window and not before",
        TapVerdict::Open,
        |stage| {
            let network = Network::start(&stage.folder)?;
            let (mut lock, phone) = (
                network.lock(|config| {
                    if let Some(server) = &mut config.server {
                        server.updates = Updates::Always;
                    }
                })?,
                network.phone(1)?,
            );
            let id = lock.config().id.to_string();
            let window = json!({"window": "02:00-04:00"});
            network.api(reqwest::Method::PATCH, &format!("/v1/locks/{id}"), Some(&window))?;
            let before = phone.tap(&mut lock);
            let jobs = network.push(&json!({"application": "challenge-response-lock", "to": {"lock": id}, "when": "window"}))?;
            let at = |hour: u64| i64::try_from((hour * 3600 + DAY - network.clock.now() % DAY) % DAY).unwrap_or_default();
            network.clock.jump(at(12));
            let noon = served(&lock, || {
                std::thread::sleep(Duration::from_millis(100));
                jobs.iter()
                    .map(|job| Ok(network.state(job)? == "queued"))
                    .collect::<Result<Vec<_>, super::DemoError>>()
            })?;
            network.clock.jump(at(3));
            let night = served(&lock, || network.wait_for(&jobs))?;
            let mut found = Found::of(phone.tap(&mut lock), None, Some(2));
            found.ok &= before.verdict == TapVerdict::Open && noon.iter().all(|waits| *waits) && night;
            found.detail = format!("nothing at noon, done at three; {}", found.detail);
            Ok(found)
        },
    ),
];

/// Does `scene` while the server may change the lock between taps.
fn served<T>(lock: &tapdoor_reader::Lock, scene: impl FnOnce() -> Result<T, super::DemoError>) -> Result<T, super::DemoError> {
    let stop = Stop::new();
    let thread = lock.administration().map(|administration| {
        let stop = stop.clone();
        std::thread::spawn(move || administration.run(&stop, &|_| ()))
    });
    let outcome = scene();
    stop.stop();
    if let Some(thread) = thread {
        let _ = thread.join();
    }
    outcome
}
