//! `tapdoor redact`.

use serde_json::json;
use tapdoor_captures::redact::Redactor;
use tapdoor_captures::{Events, Format};
use tapdoor_protocol::crypto::cmac128;

use super::{Outcome, convert, input};
use crate::args::RedactArgs;
use crate::failure::{DEVICE, DONE, Failure, USAGE};
use crate::out::Out;

/// Runs the command.
pub fn run(args: &RedactArgs, out: &mut Out) -> Outcome {
    let to = match (&args.to, Format::of_name(&args.output.display().to_string())) {
        (None, None) => Format::Tape,
        _ => convert::target(&args.output, args.to.as_deref())?,
    };
    if args.output.as_os_str() == "-" && out.is_json() {
        return Err(Failure::new(
            USAGE,
            "with --json stdout holds JSON events: name a file instead of -",
        ));
    }
    let secret = match &args.secret {
        Some(text) => cmac128(b"tapdoor redact 1", &[text.as_bytes()]),
        None => {
            let mut secret = [0; 16];
            getrandom::fill(&mut secret).map_err(|error| Failure::new(DEVICE, format!("no randomness: {error}")))?;
            secret
        }
    };
    let events = input::open(&args.input, input::format(args.from.as_deref())?, out)?;
    let mut redactor = Redactor::new(events, secret);
    let report = convert::write(Borrowed(&mut redactor), to, &args.input, &args.output)?;
    for loss in report.losses.list() {
        out.warn(&format!("lost: {} ({})", loss.what, loss.count));
    }
    if let Some(cut) = report.cut {
        out.warn(&format!("{}: {cut}", args.input.display()));
    }
    let replaced = redactor.replaced();
    if args.output.as_os_str() != "-" {
        let event = json!({"event": "redacted", "in": args.input, "out": args.output, "events": report.events,
            "values": replaced.values, "places": replaced.places, "losses": report.losses.list()});
        out.event(&event, || {
            format!(
                "{} events; {} values replaced in {} places",
                report.events, replaced.values, replaced.places
            )
        })?;
    }
    Ok(DONE)
}

/// Lent, so that its counts can be asked for afterwards.
struct Borrowed<'a, E>(&'a mut Redactor<E>);

impl<E: Events> Events for Borrowed<'_, E> {
    fn header(&self) -> &tapdoor_captures::Header {
        self.0.header()
    }

    fn next_event(&mut self) -> Option<Result<tapdoor_captures::Event, tapdoor_captures::ReadError>> {
        self.0.next_event()
    }

    fn cut(&self) -> Option<tapdoor_captures::Cut> {
        self.0.cut()
    }
}
