//! `tapdoor replay`.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tapdoor_hce_card::PhoneConfig;
use tapdoor_hce_card::serve::vpcd::{Reconnect, ServeEvent, VpcdCardListener, serve_vpcd};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::door::Verdict;
use tapdoor_reader::{LockConfig, TapVerdict};
use tapdoor_workbench::desk::{Desk, DeskError};
use tapdoor_workbench::recorded::RecordedTap;
use tapdoor_workbench::replay::device::Device;
use tapdoor_workbench::replay::keys::Tools;
use tapdoor_workbench::replay::lock::Replayed;
use tapdoor_workbench::replay::{How, Player, ReplayError, SharedPlayer, TapeSource, Told, lock, taps};
use tapdoor_workbench::script::OwnLock;
use tapdoor_workbench::serve::ServeSpec;

use super::lock::methods;
use super::{Outcome, ready};
use crate::args::{ReplayArgs, Side};
use crate::failure::{DEVICE, DONE, Failure, INPUT, INTERRUPTED, REFUSED, USAGE};
use crate::out::{BAD, DIM, GOOD, Out, WARN, paint};

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        Self::new(INPUT, error)
    }
}

impl From<DeskError> for Failure {
    fn from(error: DeskError) -> Self {
        let code = if error.is_stopped() { INTERRUPTED } else { DEVICE };
        Self::new(code, error)
    }
}

/// Runs the command.
pub fn run(args: &ReplayArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let (mut recorded, cut) = taps(&args.file)?;
    if let Some(cut) = cut {
        out.warn(&format!("{}: {cut}", args.file.display()));
    }
    if let Some(number) = args.tap {
        recorded.retain(|tap| tap.number == Some(number));
        if recorded.is_empty() {
            return Err(Failure::new(
                INPUT,
                format!("{}: no card answers in tap {number}", args.file.display()),
            ));
        }
    }
    match (args.side, &args.serve) {
        (Side::Lock, _) => as_lock(args, &recorded, out, stop),
        (Side::Card, Some(serve)) => show_card(args, serve, recorded, out, stop),
        (Side::Card, None) => as_card(args, recorded, out, stop),
    }
}

fn player(args: &ReplayArgs, recorded: Vec<RecordedTap>) -> Result<Player, Failure> {
    let mut player = Player::new(recorded).strict(args.strict);
    if args.strict {
        return Ok(player);
    }
    if let Some(path) = &args.config {
        player = player.with_keys(Tools::new(&LockConfig::load(path)?));
    }
    let beside = || Some(args.config.as_ref()?.with_file_name("phone.toml")).filter(|path| path.exists());
    let Some(path) = args.phone.clone().or_else(beside) else {
        return Ok(player);
    };
    match Device::new(&PhoneConfig::load(&path)?) {
        Some(device) => Ok(player.with_device(device)?),
        None if args.phone.is_some() => {
            let detail = format!(
                "{}: this phone has no Aliro credential; `tapdoor aliro credential` makes one",
                path.display()
            );
            Err(Failure::new(USAGE, detail))
        }
        None => Ok(player),
    }
}

/// Today's lock, with the methods that were asked for.
fn own_lock(args: &ReplayArgs) -> Result<Option<OwnLock>, Failure> {
    let Some(path) = &args.config else { return Ok(None) };
    let mut config = LockConfig::load(path)?;
    if !args.method.is_empty() {
        config.methods = methods(&args.method, &config)?;
    }
    Ok(Some(OwnLock::new(config)?))
}

fn name(tap: &RecordedTap, index: usize) -> u64 {
    tap.number.unwrap_or(index as u64 + 1)
}

/// The recorded card to today's lock, in this process.
fn as_card(args: &ReplayArgs, recorded: Vec<RecordedTap>, out: &mut Out, stop: &Stop) -> Outcome {
    let Some(mut lock) = own_lock(args)? else {
        return Err(Failure::new(
            USAGE,
            "which lock? --config lock.toml runs today's lock in this process, --serve vpcd:HOST:PORT shows the card to another",
        ));
    };
    let source = TapeSource::of(args.file.display().to_string(), player(args, recorded.clone())?);
    let shared = source.player();
    let mut desk = Desk::new(Box::new(source), Duration::from_secs(1), stop);
    let (mut same, mut unknown) = (0, 0);
    for (index, tap) in recorded.iter().enumerate() {
        desk.reset()?;
        let before = shared.lock().unknown();
        let Some(now) = lock.tap("", &mut desk) else { continue };
        if stop.is_stopped() {
            return Ok(INTERRUPTED);
        }
        let missing = shared.lock().unknown() - before;
        unknown += missing;
        let reason = now.reason.map(|r| r.name());
        let decision = tap
            .verdict
            .as_ref()
            .map(|then| then.verdict == now.verdict.name() && then.reason.as_deref() == reason);
        let good = decision != Some(false) && !(args.strict && missing > 0);
        same += u64::from(good);
        let event = json!({"event": "replay", "as": "card", "tap": name(tap, index), "then": tap.verdict.as_ref().map(|v| json!({"verdict": v.verdict, "reason": v.reason})), "now": {"verdict": now.verdict.name(), "reason": reason, "detail": now.detail}, "same_decision": decision, "unknown_commands": missing, "ok": good});
        out.event(&event, || {
            let mut text = decision_line(tap, index, now.verdict, reason, decision);
            text.push_str(&format!("\n  {}", paint(DIM, &now.detail)));
            if missing > 0 {
                text.push_str(&format!(
                    "\n  {} {missing} commands of the lock are not on the tape",
                    paint(WARN, "unknown:")
                ));
            }
            text
        })?;
    }
    summary(same, recorded.len() as u64, unknown, out)
}

fn decision_line(tap: &RecordedTap, index: usize, verdict: TapVerdict, reason: Option<&str>, same: Option<bool>) -> String {
    let now = reason.map_or_else(|| verdict.name().to_owned(), |reason| format!("{} ({reason})", verdict.name()));
    let number = name(tap, index);
    match (same, &tap.verdict) {
        (Some(true), _) => format!("tap {number}: {} {now}, then and now", paint(GOOD, "same decision:")),
        (Some(false), Some(then)) => format!("tap {number}: {} then {then}, now {now}", paint(BAD, "other decision:")),
        _ => format!(
            "tap {number}: {} {now}; the tape does not say what was decided then",
            paint(WARN, "now:")
        ),
    }
}

fn summary(same: u64, all: u64, unknown: u64, out: &mut Out) -> Outcome {
    let event =
        json!({"event": "summary", "taps": all, "same": same, "different": all - same, "unknown_commands": unknown, "ok": same == all});
    out.event(&event, || {
        let style = if same == all { GOOD } else { BAD };
        paint(style, format!("{all} taps: {same} as recorded, {} not", all - same))
    })?;
    Ok(if same == all { DONE } else { REFUSED })
}

/// The recorded card where another program's lock finds it.
fn show_card(args: &ReplayArgs, serve: &str, recorded: Vec<RecordedTap>, out: &mut Out, stop: &Stop) -> Outcome {
    let spec: ServeSpec = serve.parse().map_err(|e| Failure::new(USAGE, e))?;
    let (send, lines) = mpsc::channel::<Option<(Value, String)>>();
    let told = send.clone();
    let watcher = Arc::new(move |event: &Told| {
        let _ = told.send(Some(told_lines(event)));
    });
    let mut card = SharedPlayer::new(player(args, recorded)?.watched_by(watcher));
    let listener = match &spec {
        ServeSpec::TcpListen(address) => Some(VpcdCardListener::bind(address).map_err(|e| Failure::new(DEVICE, e))?),
        ServeSpec::Vpcd(_) => None,
        _ => {
            return Err(Failure::new(
                USAGE,
                "a recorded card is shown at vpcd:HOST:PORT or tcp-listen:HOST:PORT",
            ));
        }
    };
    let mut event = json!({"event": "ready", "serve": serve});
    if let Some(listener) = &listener {
        event["listen"] = json!(listener.local_addr().to_string());
    }
    out.event(&event, || format!("ready: {} at {serve}", args.file.display()))?;
    let (end, own) = (send.clone(), stop.clone());
    let played = card.clone();
    let thread = thread::spawn(move || {
        let mut observe = |event: ServeEvent<'_>| {
            if let ServeEvent::Waiting(error) = &event {
                let _ = send.send(Some((
                    json!({"event": "waiting", "detail": error.to_string()}),
                    format!("no reader there yet ({error}); trying again"),
                )));
            }
        };
        let result = match (listener, &spec) {
            (Some(listener), _) => listener.serve(&mut card, &own, &mut observe),
            (None, ServeSpec::Vpcd(address)) => serve_vpcd(address, &mut card, &own, &Reconnect::default(), &mut observe),
            _ => Ok(()),
        };
        let _ = send.send(None);
        result
    });
    let _guard = stop.on_stop(move || {
        let _ = end.send(None);
    });
    while let Ok(Some((value, text))) = lines.recv() {
        out.event(&value, || text)?;
    }
    if !stop.is_stopped()
        && let Ok(Err(error)) = thread.join()
    {
        return Err(Failure::new(DEVICE, error));
    }
    Ok(if args.strict && played.lock().unknown() > 0 {
        REFUSED
    } else {
        INTERRUPTED
    })
}

fn told_lines(told: &Told) -> (Value, String) {
    let verdict = told.verdict.map(|v| match v {
        Verdict::Open => "open".to_owned(),
        Verdict::Refused(reason) => reason.name().to_owned(),
    });
    let value = json!({"event": "answered", "tap": told.tap, "exchange": told.exchange, "how": told.how.name(), "c": hex::encode(&told.command), "r": hex::encode(&told.answer), "lock_says": verdict});
    let style = if told.how == How::Unknown { BAD } else { DIM };
    let said = verdict.map_or(String::new(), |v| format!("\n  the lock says: {v}"));
    let text = format!(
        "{} {}\n{} {} {}{said}",
        paint(DIM, ">"),
        hex::encode(&told.command),
        paint(DIM, "<"),
        hex::encode(&told.answer),
        paint(style, told.how.name())
    );
    (value, text)
}

/// The recorded lock to a live card.
fn as_lock(args: &ReplayArgs, recorded: &[RecordedTap], out: &mut Out, stop: &Stop) -> Outcome {
    let Some(reader) = &args.reader else {
        return Err(Failure::new(
            USAGE,
            "which card? give --reader READER, as in --reader pcsc:, or set TAPDOOR_READER",
        ));
    };
    let mut own = own_lock(args)?;
    let source = reader.open(args.config.as_deref(), Duration::ZERO)?;
    let mut desk = Desk::new(source, Duration::from_secs(args.wait), stop);
    let info = desk.info().clone();
    out.event(&ready(&info), || format!("ready: {} ({})", info.name, info.driver))?;
    let mut same = 0;
    for (index, tap) in recorded.iter().enumerate() {
        let replayed = lock::replay(tap, &mut desk, own.as_mut())?;
        same += u64::from(replayed.is_same());
        out.event(&replayed_value(&replayed, tap, index), || replayed_text(&replayed, tap, index))?;
    }
    summary(same, recorded.len() as u64, 0, out)
}

fn replayed_value(replayed: &Replayed, tap: &RecordedTap, index: usize) -> Value {
    json!({
        "event": "replay",
        "as": "lock",
        "tap": name(tap, index),
        "sent": replayed.sent,
        "then": tap.verdict.as_ref().map(|v| json!({"verdict": v.verdict, "reason": v.reason})),
        "now": replayed.now.as_ref().map(|(verdict, reason, detail)| json!({"verdict": verdict.name(), "reason": reason.map(|r| r.name()), "detail": detail})),
        "same_decision": replayed.same_decision,
        "changed": replayed.changed.iter().map(|c| json!({"exchange": c.exchange, "c": hex::encode(&c.command), "what": c.what})).collect::<Vec<_>>(),
        "remarks": replayed.remarks,
        "ok": replayed.is_same(),
    })
}

fn replayed_text(replayed: &Replayed, tap: &RecordedTap, index: usize) -> String {
    let mut text = match &replayed.now {
        Some((verdict, reason, detail)) => {
            let line = decision_line(tap, index, *verdict, reason.map(|r| r.name()), replayed.same_decision);
            format!("{line}\n  {}", paint(DIM, detail))
        }
        None => {
            let word = if replayed.changed.is_empty() {
                paint(GOOD, "same answers")
            } else {
                paint(BAD, "other answers")
            };
            format!("tap {}: {word}, {} commands sent", name(tap, index), replayed.sent)
        }
    };
    for changed in &replayed.changed {
        let place = changed.exchange.map_or("a new exchange".to_owned(), |n| format!("exchange {n}"));
        text.push_str(&format!(
            "\n  {} {place}, {}",
            paint(BAD, "differs:"),
            hex::encode(&changed.command)
        ));
        for what in &changed.what {
            text.push_str(&format!("\n    {what}"));
        }
    }
    for remark in &replayed.remarks {
        text.push_str(&format!("\n  {} {remark}", paint(WARN, "remark:")));
    }
    text
}
