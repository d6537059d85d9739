//! `tapdoor phone`.

mod agent;

use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use serde_json::{Value, json};
use tapdoor_chip::ChipEvent;
use tapdoor_hce_card::serve::vpcd::{Reconnect, ServeEvent, VpcdCardListener, serve_vpcd};
use tapdoor_hce_card::{Phone, PhoneConfig};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::aliro::ReaderStatus;
use tapdoor_protocol::door::Event;
use tapdoor_protocol::door::Verdict;
use tapdoor_workbench::sim::SharedPhone;

use super::Outcome;
use crate::args::PhoneArgs;
use crate::failure::{DEVICE, Failure, INTERRUPTED, USAGE};
use crate::out::{BAD, GOOD, Out, paint};

/// A SERVE of the command line.
enum Serve {
    Vpcd(String),
    Listen(VpcdCardListener),
}

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
    let serves = args.serve.iter().map(|text| serve(text)).collect::<Result<Vec<_>, _>>()?;
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
    for (serve, text) in serves.into_iter().zip(&args.serve) {
        let mut ready = json!({"event": "ready", "serve": text, "phone": name});
        let place = match &serve {
            Serve::Vpcd(address) => address.clone(),
            Serve::Listen(listener) => listener.local_addr().to_string(),
        };
        if matches!(serve, Serve::Listen(_)) {
            ready["listen"] = json!(place);
        }
        out.event(&ready, || format!("ready: phone {name} at {place}"))?;
        let (mut card, stop, send, failure) = (phone.clone(), stop.clone(), send.clone(), Arc::clone(&failure));
        thread::spawn(move || {
            let mut observe = |event: ServeEvent<'_>| {
                if let Some(line) = serve_event(&event, &place) {
                    let _ = send.send(Some(line));
                }
            };
            let result = match serve {
                Serve::Vpcd(address) => serve_vpcd(&address, &mut card, &stop, &Reconnect::default(), &mut observe),
                Serve::Listen(listener) => listener.serve(&mut card, &stop, &mut observe),
            };
            if let Err(error) = result {
                failure
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .get_or_insert(Failure::new(DEVICE, error));
                stop.stop();
            }
        });
    }
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
    match failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(failure) => Err(failure),
        None => Ok(INTERRUPTED),
    }
}

fn serve(text: &str) -> Result<Serve, Failure> {
    let usage = |detail: String| Failure::new(USAGE, detail);
    let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
    match kind {
        "vpcd" | "tcp-listen" if rest.contains(',') => Err(usage(format!(
            "--serve {text}: `{}` comes with the radio and is not in this version",
            rest.split_once(',').map_or("", |(_, o)| o)
        ))),
        "vpcd" if rest.contains(':') => Ok(Serve::Vpcd(rest.into())),
        "tcp-listen" if rest.contains(':') => VpcdCardListener::bind(rest).map(Serve::Listen).map_err(|e| Failure::new(DEVICE, e)),
        "pn532" | "udp" | "libnfc" | "ifd" => Err(usage(format!("--serve {kind}: comes with the radio and is not in this version"))),
        _ => Err(usage(format!("--serve {text}: write vpcd:HOST:PORT or tcp-listen:HOST:PORT"))),
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
