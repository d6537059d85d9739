//! `tapdoor probe`.

use std::fs::File;
use std::io::{BufReader, Seek};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tapdoor_captures::decode::Field;
use tapdoor_captures::{Header, SharedTape, TapeReader, TapeWriter};
use tapdoor_link::stop::Stop;
use tapdoor_link::{Attended, LinkError, LinkErrorKind, Recorder, attend_and_hear};
use tapdoor_reader::source::ANSWER_TIMEOUT;
use tapdoor_workbench::probe::air::{Air, Frames};
use tapdoor_workbench::probe::applications::{Application, State};
use tapdoor_workbench::probe::{Finding, probe, uid};

use super::{Outcome, ready, tape_of, wait_for_card};
use crate::args::ProbeArgs;
use crate::failure::{DEVICE, DONE, Failure, INTERRUPTED};
use crate::out::{DIM, GOOD, Out, WARN, paint};

/// What is learned on the way, for the last line.
#[derive(Default)]
struct Sum {
    present: usize,
    asked: usize,
    ours: usize,
    android: bool,
    random: bool,
}

/// Runs the command.
pub fn run(args: &ProbeArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let mut source = args.reader.reader.open(None, Duration::ZERO)?;
    let info = source.describe();
    out.event(&ready(&info), || format!("{} {} ({})", label("reader"), info.name, info.driver))?;
    let record = |atr| {
        let tape = args.record.as_ref().map(|path| tape_of(path, &info, atr, args.show_secrets));
        tape.transpose()
    };
    // Where there are frames, the search is on the tape. Where there are none, the ATR heads it: it is all that tells how the card was found.
    let frames = if info.mode == "raw" { record(None)? } else { None };
    // Frames are looked at in the end, on a tape of our own if the user wants none.
    let own = if info.mode == "raw" && frames.is_none() {
        own_tape()?
    } else {
        None
    };
    source.record_frames(frames.clone().or_else(|| own.as_ref().map(|(tape, _)| tape.clone())));
    let Some(session) = wait_for_card(source.as_mut(), args.wait, stop)? else {
        return Ok(INTERRUPTED);
    };
    let atr = session.atr.clone();
    let recorded = match frames {
        Some(tape) => Some(tape),
        None => record(atr.clone())?,
    };
    let epoch = recorded.as_ref().map_or_else(Instant::now, |t| t.lock().epoch());
    let link = Recorder::new(session.link, recorded, epoch);
    // Raw links and libnfc lead to the card itself.
    let reader = info.mode != "raw" && info.driver != "libnfc";
    let activation = session.activation;
    let mut sum = Sum::default();
    let mut written = Ok(());
    let mut hear = |finding: Finding| {
        if written.is_ok() {
            written = show(&finding, args.show_secrets, &mut sum, out);
        }
    };
    let work = move |link: &mut Attended<_>, tell: &dyn Fn(Finding)| probe(link, atr.as_deref(), reader, &activation, tell);
    let outcome = attend_and_hear(link, ANSWER_TIMEOUT, stop, work, &mut hear);
    written?;
    let failed = |e: LinkError| {
        let code = if e.kind == LinkErrorKind::Cancelled { INTERRUPTED } else { DEVICE };
        Failure::new(code, e)
    };
    outcome.map_err(|abandoned| failed(abandoned.error))?.1.map_err(failed)?;
    let file = match (&args.record, own) {
        (Some(path), _) => File::open(path).ok(),
        (None, Some((_, file))) => Some(file),
        (None, None) => None,
    };
    if let Some(air) = file.and_then(air) {
        show(&Finding::Air(air), args.show_secrets, &mut sum, out)?;
    }
    let verdict = sum.verdict();
    let event = json!({"event": "summary", "what": verdict, "android": sum.android, "applications": sum.present, "ours": sum.ours, "asked": sum.asked});
    out.event(&event, || format!("{} {}", label("so"), paint(GOOD, verdict)))?;
    Ok(DONE)
}

/// A tape that nobody sees, and the file to read it from.
fn own_tape() -> Result<Option<(SharedTape, File)>, Failure> {
    // Without a place for files there are no frames to speak of; the rest goes on.
    let Ok(file) = tempfile::tempfile() else { return Ok(None) };
    let reader = file.try_clone()?;
    let writer = TapeWriter::with_sink(file, &Header::now(super::TOOL))?;
    Ok(Some((SharedTape::new(writer), reader)))
}

/// What the frames of a tape tell.
fn air(mut file: File) -> Option<Air> {
    file.rewind().ok()?;
    let mut frames = Frames::default();
    for event in TapeReader::new(BufReader::new(file)).ok()? {
        frames.add(&event.ok()?);
    }
    frames.finish()
}

impl Sum {
    fn verdict(&self) -> &'static str {
        match (self.android, self.ours, self.present) {
            (true, 0, _) => {
                "an Android phone with host card emulation, without a door application: install the bridge app, or let a server install one"
            }
            (true, ..) => "an Android phone with host card emulation and a door application",
            (false, 0, 0) if self.random => {
                "a phone or card without an application that is known here; if it is a phone, unlock it and tap again"
            }
            (false, 0, 0) => "a card without an application that is known here",
            (false, 0, _) => "a card without a door application of ours",
            (false, ..) => "a phone (or card) with a door application",
        }
    }
}

fn label(text: &str) -> String {
    paint(DIM, format!("{text:<12}"))
}

fn show(finding: &Finding, show_secrets: bool, sum: &mut Sum, out: &mut Out) -> Result<(), Failure> {
    let mut value = serde_json::to_value(finding).map_err(|e| Failure::new(DEVICE, e))?;
    let mut hide = |field: &str, by: Value| {
        if !show_secrets && let Some(place) = value.get_mut(field) {
            *place = by;
        }
    };
    let text = match finding {
        Finding::Atr(atr) => Some(format!("{} {}: {}", label("ATR"), hex::encode(&atr.atr), atr.meaning)),
        Finding::Uid(uid) => {
            sum.random = uid.kind == uid::Kind::Random;
            let masked = uid.masked();
            hide("uid", json!(masked));
            let shown = if show_secrets { hex::encode(&uid.uid) } else { masked };
            let maker = uid.maker.map(|maker| format!(" (a chip of {maker})")).unwrap_or_default();
            Some(format!("{} {shown}: {}{maker}", label("UID"), uid.meaning))
        }
        Finding::Ats(ats) => Some(format!("{} {}: {}", label("ATS"), hex::encode(&ats.ats), ats.meaning)),
        Finding::Android(android) => {
            sum.android = android.answers;
            let answer = if android.answers {
                paint(GOOD, "yes: host card emulation is on")
            } else {
                format!("no ({}): not an Android phone, or it is locked, or NFC is off", android.sw)
            };
            Some(format!("{} {answer} ({:.1} ms)", label("Android"), android.ms))
        }
        Finding::Application(application) => {
            hide("data", Value::Null);
            hide("fields", json!(named(application)));
            let present = matches!(application.state, State::Present | State::Blocked);
            sum.asked += 1;
            sum.present += usize::from(present);
            sum.ours += usize::from(present && application.ours);
            let style = match application.state {
                State::Present => GOOD,
                State::Blocked | State::Unclear => WARN,
                State::Absent => DIM,
            };
            // What is not there is worth a line only if a lock would ask for it.
            (present || application.ours || application.state == State::Unclear).then(|| {
                let state = paint(style, format!("{} {:<8}", application.sw, word(application.state)));
                let time = match &application.times {
                    Some(times) => format!("{:.1} ms, {:.1} to {:.1}", times.p50_ms, times.min_ms, times.max_ms),
                    None => format!("{:.1} ms", application.ms),
                };
                let mut text = format!(
                    "{} {state} {:<32} {} ({time})",
                    label("application"),
                    application.aid,
                    application.name
                );
                let shown = if show_secrets {
                    application.fields.clone()
                } else {
                    named(application)
                };
                for field in shown {
                    text.push_str(&format!("\n{:13}{:<32} {}", "", field.name, field.value));
                }
                text
            })
        }
        Finding::Times(times) => Some(format!(
            "{} {} answers: first {:.1} ms, median {:.1} ms, 95 % within {:.1} ms, longest {:.1} ms",
            label("times"),
            times.answers,
            times.first_ms,
            times.p50_ms,
            times.p95_ms,
            times.max_ms
        )),
        Finding::Air(air) => Some(frames(air)),
    };
    out.json(&value)?;
    if let Some(text) = text {
        out.text(&text)?;
    }
    Ok(())
}

/// The fields of an FCI, without the values of tags that have no name here: some cards have their serial number in one.
fn named(application: &Application) -> Vec<Field> {
    let mut fields = application.fields.clone();
    for field in &mut fields {
        // `6f/84 DF name` has a name, `6f/a5/c5` has none; what is no TLV is `data`.
        if field.name == "data" || !field.name.contains(' ') && field.name.contains('/') {
            field.value = format!("{} bytes", field.value.len() / 2);
        }
    }
    fields
}

/// What the frames tell, in three lines at most.
fn frames(air: &Air) -> String {
    let delay = &air.delay;
    let mut text = format!(
        "{} {}; answers begin after {:.2} ms (median; {:.2} to {:.2} ms), the way to the reader and back included",
        label("frames"),
        air.frames,
        delay.p50_ms,
        delay.min_ms,
        delay.max_ms
    );
    if let (Some(announced), Some(used)) = (air.announced_ms, air.used_percent) {
        text.push_str(&format!(
            "\n{} {announced:.1} ms announced (FWT); the longest answer used {used:.0} % of it",
            label("waiting")
        ));
    }
    if air.extensions > 0 {
        let multipliers: Vec<String> = air.multipliers.iter().map(u8::to_string).collect();
        text.push_str(&format!(
            "\n{} {} S(WTX), multipliers {}, {:.1} ms granted",
            label("extensions"),
            air.extensions,
            multipliers.join(", "),
            air.granted_ms
        ));
    }
    if air.repeated > 0 {
        text.push_str(&format!("\n{} asked for {} times: R(NAK)", label("repetitions"), air.repeated));
    }
    text
}

const fn word(state: State) -> &'static str {
    match state {
        State::Present => "there",
        State::Blocked => "blocked",
        State::Absent => "absent",
        State::Unclear => "unclear",
    }
}
