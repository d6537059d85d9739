//! `tapdoor lock`.

use std::io::IsTerminal;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use tapdoor_agent::{AgentEvent, DownloadEvent};
use tapdoor_link::stop::{Stop, StopGuard};
use tapdoor_protocol::aka::Algorithm;
use tapdoor_reader::calibrate::Calibration;
use tapdoor_reader::config::Method;
use tapdoor_reader::download::Downloads;
use tapdoor_reader::{Lock, LockConfig, LockEvent, Tap, TapVerdict};
use tapdoor_workbench::open::ReaderSpec;

use super::{Outcome, ready, tape};
use crate::args::{Expect, LockArgs};
use crate::failure::{DEVICE, DONE, Failure, REFUSED, USAGE};
use crate::out::{BAD, DIM, GOOD, Out, WARN, ms, paint};

/// Runs the command.
pub fn run(args: &LockArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let mut config = LockConfig::load(&args.config)?;
    if !args.method.is_empty() {
        config.methods = methods(&args.method, &config)?;
    }
    let enough = args.calibrate.or(args.count).or(args.once.then_some(1));
    let downloads = downloads(args, &mut config)?;
    // A simulated phone taps as fast as it can when taps are counted, and like a person otherwise.
    let pause = if enough.is_some() { Duration::ZERO } else { Duration::from_secs(1) };
    let mut source = args.reader.reader.open(Some(&args.config), pause)?;
    let verbose = out.is_verbose();
    source.set_observer(Arc::new(move |event| {
        // Losses are always told; the rest with -v.
        if verbose || !matches!(event, tapdoor_reader::source::SourceEvent::CardMute(_)) {
            eprintln!("{event}");
        }
    }));
    let info = source.describe();
    let tape = args.record.as_ref().map(|path| tape(path, &info, args.show_secrets)).transpose()?;
    if let Some(tape) = &tape {
        source.record_frames(Some(tape.clone()));
    }
    let mut lock = match &tape {
        Some(tape) if args.show_secrets => Lock::in_the_open(config, tape.clone())?,
        _ => Lock::new(config)?,
    };
    if let Some(tape) = tape {
        lock.record(tape);
    }
    if let Some(downloads) = downloads {
        lock.download_from(downloads);
    }
    out.event(&ready(&info), || {
        let place = info.listen.map_or(String::new(), |l| format!(", listening on {l}"));
        format!("ready: {} ({}{place}). Tap.", info.name, info.driver)
    })?;

    let mut state = State {
        taps: 0,
        good: 0,
        last_error: false,
        calibration: Calibration::default(),
        failure: None,
    };
    let administered = administration(&lock, stop);
    let mut bar = Bar::new(out);
    let result = lock.run(source.as_mut(), stop, &mut |event| match event {
        LockEvent::Trouble(text) => {
            out.warn(text);
            true
        }
        LockEvent::Download(event) => {
            bar.show(event);
            let told = match event {
                DownloadEvent::Progress { .. } | DownloadEvent::Other => Ok(()),
                _ => out.event(&download_value(event), || download_line(event)),
            };
            if let Err(error) = told {
                state.failure = Some(error.into());
            }
            true
        }
        LockEvent::Tap { number, tap } => {
            bar.clear();
            state.count(tap, args.expect);
            let told = out.event(&value(number, tap, args.show_secrets), || line(number, tap, args.show_secrets));
            if let Err(error) = told {
                state.failure = Some(error.into());
                return false;
            }
            tap.warnings.iter().for_each(|warning| out.warn(&warning.to_string()));
            enough.is_none_or(|n| state.taps < n)
        }
    });
    drop(administered);
    if let Some(failure) = state.failure {
        return Err(failure);
    }
    result?;
    if args.calibrate.is_some() {
        return proposal(&state.calibration, out);
    }
    Ok(match (state.good == state.taps, state.last_error) {
        (true, _) => DONE,
        // One tap that came to no decision: reader or card failed.
        (false, true) if args.once => DEVICE,
        (false, _) => REFUSED,
    })
}

struct State {
    taps: u64,
    good: u64,
    last_error: bool,
    calibration: Calibration,
    failure: Option<Failure>,
}

impl State {
    fn count(&mut self, tap: &Tap, expect: Expect) {
        let opened = tap.verdict == TapVerdict::Open;
        self.taps += 1;
        self.good += u64::from(opened == (expect == Expect::Open));
        self.last_error = tap.verdict == TapVerdict::Error;
        self.calibration.add(tap);
    }
}

/// The methods that these words name.
pub fn methods(words: &[String], config: &LockConfig) -> Result<Vec<Method>, Failure> {
    let mut out = Vec::new();
    for word in words {
        let method = Method::WORDS
            .iter()
            .find(|(name, _)| name == word)
            .map(|(_, method)| *method)
            .ok_or_else(|| {
                let all: Vec<&str> = Method::WORDS.iter().map(|(name, _)| *name).collect();
                Failure::new(
                    USAGE,
                    format!("\"{word}\" is no method of this version; they are {}", all.join(", ")),
                )
            })?;
        if method == Method::Aliro && config.aliro.is_none() {
            let detail = "method aliro: lock.toml has no section [aliro]; `tapdoor aliro reader` makes one";
            return Err(Failure::new(USAGE, detail));
        }
        let has_key = |entry: &tapdoor_chip::ListEntry| match config.algorithm {
            Algorithm::Milenage => entry.milenage.is_some(),
            Algorithm::Tuak => entry.tuak.is_some(),
        };
        if method == Method::Aka && !config.personalisation.list.iter().all(has_key) {
            let name = config.algorithm.name();
            return Err(Failure::new(
                USAGE,
                format!("method aka: a phone in the list has no `{name}` key; add it in lock.toml"),
            ));
        }
        out.push(method);
    }
    Ok(out)
}

/// The way to the server, if there is one: the command line's, else lock.toml's.
fn downloads(args: &LockArgs, config: &mut LockConfig) -> Result<Option<Downloads>, Failure> {
    // A phone that is simulated in this process, or on a tape, has no agent that a server could reach.
    let played = matches!(args.reader.reader, ReaderSpec::Sim(_) | ReaderSpec::Tape(_)) && args.server.is_none();
    if args.no_server || played {
        config.server = None;
    }
    if let (Some(url), None) = (&args.server, &config.server) {
        let detail = format!(
            "{} has no [server], so the lock has no name that a server knows; `tapdoor init` and `tapdoor server add-lock` write one (asked for: {url})",
            args.config.display()
        );
        return Err(Failure::new(USAGE, detail));
    }
    let Some(server) = &mut config.server else { return Ok(None) };
    if let Some(url) = &args.server {
        server.place.url.clone_from(url);
    }
    if let Some(ca) = &args.ca {
        server.place.ca = Some(ca.clone());
    }
    if server.place.url.is_empty() {
        return Ok(None);
    }
    let downloads = Downloads::new(config.id, server).map_err(|e| Failure::new(USAGE, e))?;
    Ok(Some(downloads))
}

/// Ends the thread that serves the lock's own chip between taps.
struct Administered {
    stop: Stop,
    thread: Option<thread::JoinHandle<()>>,
    _with_the_command: StopGuard,
}

impl Drop for Administered {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn administration(lock: &Lock, stop: &Stop) -> Option<Administered> {
    let administration = lock.administration()?;
    let own = Stop::new();
    let (ended, running) = (own.clone(), own.clone());
    let thread = thread::Builder::new().name("updates".to_owned()).spawn(move || {
        let observe = |event: &AgentEvent| match event {
            AgentEvent::Connected => eprintln!("the server may change this lock between taps"),
            AgentEvent::Ran { commands, .. } => eprintln!("the server changed this lock: {commands} commands"),
            AgentEvent::Lost(error) => eprintln!("{error}; trying again"),
            _ => {}
        };
        if let Err(error) = administration.run(&running, &observe) {
            eprintln!("{error}; this lock is not changed by the server any more, and goes on as it is");
        }
    });
    Some(Administered {
        _with_the_command: stop.on_stop(move || ended.stop()),
        stop: own,
        thread: thread.ok(),
    })
}

/// The progress of a download, for people at a terminal.
struct Bar(Option<ProgressBar>);

impl Bar {
    fn new(out: &Out) -> Self {
        Self((!out.is_json() && std::io::stderr().is_terminal()).then(ProgressBar::hidden))
    }

    fn show(&mut self, event: &DownloadEvent) {
        let Some(bar) = &self.0 else { return };
        if let DownloadEvent::Progress { done, total } = event {
            if bar.is_hidden() {
                bar.set_draw_target(ProgressDrawTarget::stderr());
                if let Ok(style) = ProgressStyle::with_template("  downloading {bar:40} {pos}/{len} commands, {elapsed}") {
                    bar.set_style(style);
                }
            }
            bar.set_length(*total);
            bar.set_position(*done);
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
            bar.reset();
        }
    }
}

fn download_value(event: &DownloadEvent) -> Value {
    match event {
        DownloadEvent::Accepted { job } => json!({"event": "download", "state": "accepted", "job": job}),
        DownloadEvent::Waiting => json!({"event": "download", "state": "waiting"}),
        DownloadEvent::Progress { done, total } => json!({"event": "download", "state": "progress", "done": done, "total": total}),
        DownloadEvent::LockUpdated => json!({"event": "download", "state": "lock-updated"}),
        DownloadEvent::LockUnchanged => json!({"event": "download", "state": "lock-unchanged"}),
        DownloadEvent::Installed { application, version, ms } => {
            json!({"event": "download", "state": "installed", "application": application, "version": version, "server_ms": ms})
        }
        DownloadEvent::Failed { code, message } => json!({"event": "download", "state": "failed", "code": code, "detail": message}),
        _ => json!({"event": "download", "state": "other"}),
    }
}

fn download_line(event: &DownloadEvent) -> String {
    match event {
        DownloadEvent::Accepted { .. } => "  the phone lacks the application; the server sends it".to_owned(),
        DownloadEvent::Waiting => "  the phone is not connected to the server yet; waiting".to_owned(),
        DownloadEvent::LockUpdated => "  this lock has the phone on its list now".to_owned(),
        DownloadEvent::LockUnchanged => "  the server has no keys of this lock's chip: its list is lock.toml's".to_owned(),
        DownloadEvent::Installed { application, version, .. } => format!("  application {application} {version} is on the phone"),
        DownloadEvent::Failed { code, message } => format!("  {}: {message} ({code})", paint(BAD, "no download")),
        _ => String::new(),
    }
}

fn value(number: u64, tap: &Tap, show_secrets: bool) -> Value {
    json!({
        "event": "tap",
        "tap": number,
        "verdict": tap.verdict.name(),
        "method": tap.method.map(|m| m.name()),
        "phone": tap.phone.map(|p| if show_secrets { p.to_string() } else { p.masked() }),
        "reason": tap.reason.map(|r| r.name()),
        "detail": tap.detail,
        "apdus": tap.apdus,
        "ms": {"total": ms(tap.total), "select": ms(tap.select), "authenticate": ms(tap.authenticate), "download": tap.download.map(ms)},
        "downloaded": tap.download.is_some(),
        "warnings": tap.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}

fn line(number: u64, tap: &Tap, show_secrets: bool) -> String {
    let verdict = match tap.verdict {
        TapVerdict::Open => paint(GOOD, "OPEN"),
        TapVerdict::Refused => paint(BAD, "REFUSED"),
        TapVerdict::Error => paint(WARN, "ERROR"),
    };
    let phone = tap
        .phone
        .map_or_else(|| "-".to_owned(), |p| if show_secrets { p.to_string() } else { p.masked() });
    let method = tap.method.map_or("-", |m| m.name());
    let time = format!("{:.1} ms", tap.total.as_secs_f64() * 1e3);
    let mut text = format!("tap {number}: {verdict}  {method}  phone {phone}  {} APDUs  {time}", tap.apdus);
    if let Some(download) = tap.download {
        text.push_str(&format!("  application downloaded in {:.0} ms", download.as_secs_f64() * 1e3));
    }
    if let Some(reason) = tap.reason {
        text.push_str(&format!(
            "\n  {}: {}\n  {}",
            reason.name(),
            tap.detail,
            paint(DIM, format!("try: {}", reason.cure()))
        ));
    }
    text
}

fn proposal(calibration: &Calibration, out: &mut Out) -> Outcome {
    let (Some((answer, tap)), Some(text)) = (calibration.caps_ms(), calibration.proposal()) else {
        return Err(Failure::new(REFUSED, "no tap opened, so there is nothing to calibrate by"));
    };
    let event = json!({
        "event": "calibration",
        "taps": calibration.taps,
        "slowest": {"answer": ms(calibration.answer), "tap": ms(calibration.tap)},
        "answer-cap-ms": answer,
        "tap-cap-ms": tap,
    });
    out.event(&event, || {
        format!("\nFrom {} taps that opened; for lock.toml:\n\n{text}", calibration.taps)
    })?;
    Ok(DONE)
}
