//! `tapdoor phone`.

mod agent;

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tapdoor_chip::ChipEvent;
use tapdoor_hce_card::serve::vpcd::ServeEvent;
use tapdoor_hce_card::{Phone, PhoneConfig};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::aliro::ReaderStatus;
use tapdoor_protocol::door::Event;
use tapdoor_protocol::door::Verdict;
use tapdoor_workbench::serve::{Place, ServeSpec};
use tapdoor_workbench::sim::SharedPhone;

use super::Outcome;
use crate::args::PhoneArgs;
use crate::failure::{DEVICE, Failure, INTERRUPTED, USAGE};
use crate::out::{BAD, GOOD, Out, paint};

/// How long the places have for putting away what they made.
const LEAVING: Duration = Duration::from_secs(2);

/// One event, for programs and for people.
type Line = (Value, String);

/// Runs the command.
pub fn run(args: &PhoneArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let mut config = PhoneConfig::load(&args.config)?;
    args.lab.iter().cloned().for_each(|switch| config.laboratory.set(switch));
    if config.laboratory.is_on() {
        out.warn("laboratory switches are on: this phone misbehaves on purpose");
    }
    let id = config.id;
    let server = agent::server(args, config.server.clone())?;
    let specs = args.serve.iter().map(|text| text.parse()).collect::<Result<Vec<ServeSpec>, _>>();
    let specs = specs.map_err(|e| Failure::new(USAGE, e))?;
    let places = specs.iter().map(|spec| Place::open(spec, stop)).collect::<Result<Vec<_>, _>>();
    let places = places.map_err(|e| Failure::new(DEVICE, e))?;
    // Several threads serve, one writes: lines stay whole and in order.
    let (send, lines) = mpsc::channel::<Option<Line>>();
    let sender = send.clone();
    let phone = Phone::new(config)?
        .stopped_by(stop)
        .tapping_again(args.retap)
        .observed_by(Box::new(move |event| {
            let _ = sender.send(Some(chip_event(event)));
        }));
    let phone = SharedPhone::new(phone);
    let name = if args.show_secrets { id.to_string() } else { id.masked() };
    let failure: Arc<Mutex<Option<Failure>>> = Arc::default();
    // Whoever serves holds a sender; when all have ended, so has the channel.
    let (serving, served) = mpsc::channel::<()>();
    for (place, text) in places.into_iter().zip(&args.serve) {
        let mut ready = json!({"event": "ready", "serve": text, "phone": name});
        if let Some(listen) = place.listen {
            ready["listen"] = json!(listen.to_string());
        }
        if let Some(path) = &place.path {
            ready["path"] = json!(path);
        }
        out.event(&ready, || format!("ready: phone {name} at {}", place.name))?;
        let (phone, stop, send, failure) = (phone.clone(), stop.clone(), send.clone(), Arc::clone(&failure));
        let serving = serving.clone();
        thread::spawn(move || {
            let at = place.name.clone();
            let mut observe = |event: ServeEvent<'_>| {
                if let Some(line) = serve_event(&event, &at) {
                    let _ = send.send(Some(line));
                }
            };
            let result = place.serve(phone, &stop, &mut observe);
            if let Err(error) = result {
                failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(Failure::new(DEVICE, error));
                stop.stop();
            }
            drop(serving);
        });
    }
    drop(serving);
    if let Some(server) = server {
        agent::spawn(server, id, phone, stop, send.clone());
    }
    // The phone's observer holds a sender as long as the phone lives, so the end is told by the stop.
    let end = send;
    let _guard = stop.on_stop(move || {
        let _ = end.send(None);
    });
    while let Ok(Some((value, text))) = lines.recv() {
        out.event(&value, || text)?;
    }
    // Sockets and symlinks go with their threads. One that hangs in its phone is not waited for.
    let _ = served.recv_timeout(LEAVING);
    match failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(failure) => Err(failure),
        None => Ok(INTERRUPTED),
    }
}

fn chip_event(event: &ChipEvent) -> Line {
    match event.event {
        Event::Authenticated { lock, clock } => (
            json!({"event": "authenticated", "aid": event.aid.to_string(), "lock": lock.to_string(), "clock": (clock != 0).then_some(clock)}),
            format!("lock {lock} proved itself"),
        ),
        Event::AliroReader { reader, fast } => {
            let (group, sub) = reader.split_at(16);
            let phase = if fast { "fast" } else { "standard" };
            (
                json!({"event": "authenticated", "aid": event.aid.to_string(), "reader-group": hex::encode(group), "reader-sub": hex::encode(sub), "phase": phase}),
                format!(
                    "reader {} of group {} proved itself ({phase})",
                    hex::encode(sub),
                    hex::encode(group)
                ),
            )
        }
        Event::ReaderStatus(status) => (
            json!({"event": "reader-status", "status": format!("{status:04x}"), "meaning": ReaderStatus(status).meaning()}),
            format!("reader status {}", ReaderStatus(status)),
        ),
        Event::Downloading => (
            json!({"event": "downloading", "aid": event.aid.to_string()}),
            "the lock asks the server for the application that this phone lacks".to_owned(),
        ),
        Event::Verdict(Verdict::Open) => (
            json!({"event": "verdict", "verdict": "open", "reason": null}),
            format!("the lock says: {}", paint(GOOD, "opened")),
        ),
        Event::Verdict(Verdict::Refused(reason)) => (
            json!({"event": "verdict", "verdict": "refused", "reason": reason.name()}),
            format!(
                "the lock says: {} ({}); try: {}",
                paint(BAD, "refused"),
                reason.name(),
                reason.cure()
            ),
        ),
    }
}

fn serve_event(event: &ServeEvent<'_>, place: &str) -> Option<Line> {
    Some(match event {
        ServeEvent::Waiting(error) => (
            json!({"event": "waiting", "at": place, "detail": error.to_string()}),
            format!("no reader at {place} yet ({error}); trying again"),
        ),
        ServeEvent::Connected(peer) => (
            json!({"event": "connected", "at": place, "peer": peer.to_string()}),
            format!("in the field at {place}"),
        ),
        ServeEvent::Driver(path) => (
            json!({"event": "connected", "at": place, "peer": path}),
            format!("a driver has opened the reader at {place}"),
        ),
        ServeEvent::Activated => (
            json!({"event": "connected", "at": place, "peer": "a reader's field"}),
            format!("in the field at {place}"),
        ),
        ServeEvent::DeviceLost(error) => (
            json!({"event": "waiting", "at": place, "detail": error.to_string()}),
            format!("{place} is lost ({error}); trying again"),
        ),
        ServeEvent::Trouble(error) => (
            json!({"event": "trouble", "at": place, "detail": error.to_string()}),
            format!("{place}: {error}"),
        ),
        ServeEvent::Disconnected => (
            json!({"event": "disconnected", "at": place}),
            format!("out of the field at {place}"),
        ),
        ServeEvent::PeerError(error) => (
            json!({"event": "trouble", "at": place, "detail": error.to_string()}),
            format!("{place}: {error}"),
        ),
        ServeEvent::BadResponse(length) => (
            json!({"event": "trouble", "at": place, "detail": format!("an answer of {length} bytes cannot be sent")}),
            format!("{place}: an answer of {length} bytes cannot be sent; 6F00 was"),
        ),
        _ => return None,
    })
}
