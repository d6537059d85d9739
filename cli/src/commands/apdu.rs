//! `tapdoor apdu`: exactly these bytes, and exactly what came back.

use std::time::{Duration, Instant};

use serde_json::json;
use tapdoor_link::stop::Stop;
use tapdoor_link::{Attended, CardLink, LinkError, LinkErrorKind, Recorder, attend};
use tapdoor_protocol::apdu::Response;
use tapdoor_protocol::status::StatusWord;
use tapdoor_reader::source::ANSWER_TIMEOUT;

use super::{Outcome, ready, tape, wait_for_card};
use crate::args::ApduArgs;
use crate::failure::{DEVICE, DONE, Failure, INPUT, INTERRUPTED, REFUSED, USAGE};
use crate::out::{BAD, DIM, GOOD, Out, ms, paint};

/// Runs the command.
pub fn run(args: &ApduArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let apdus = args.apdus.iter().map(|text| bytes(text)).collect::<Result<Vec<_>, _>>()?;
    let patterns = args.sw.iter().map(|text| Pattern::parse(text)).collect::<Result<Vec<_>, _>>()?;
    let mut source = args.reader.reader.open(None, Duration::ZERO)?;
    let info = source.describe();
    let recorded = args.record.as_ref().map(|path| tape(path, &info, args.show_secrets)).transpose()?;
    if let Some(tape) = &recorded {
        source.record_frames(Some(tape.clone()));
    }
    if info.listen.is_some() {
        out.event(&ready(&info), || format!("ready: {}", info.name))?;
    }
    let Some(session) = wait_for_card(source.as_mut(), args.wait, stop)? else {
        return Ok(INTERRUPTED);
    };
    let epoch = recorded.as_ref().map_or_else(Instant::now, |t| t.lock().epoch());
    let mut link = Recorder::new(session.link, recorded, epoch);
    let mut matched = true;
    for command in &apdus {
        if stop.is_stopped() {
            return Ok(INTERRUPTED);
        }
        let failed = |e: LinkError| {
            let code = match e.kind {
                LinkErrorKind::TooLong => USAGE,
                LinkErrorKind::Cancelled => INTERRUPTED,
                _ => DEVICE,
            };
            Failure::new(code, e)
        };
        let sent = command.clone();
        let exchange = move |link: &mut Attended<_>| {
            let mut response = Vec::with_capacity(300);
            let started = Instant::now();
            link.transmit(&sent, &mut response).map(|()| (response, started.elapsed()))
        };
        let (back, outcome) = attend(link, ANSWER_TIMEOUT, stop, exchange).map_err(|abandoned| failed(abandoned.error))?;
        link = back;
        let (response, time) = outcome.map_err(failed)?;
        let sw = Response::parse(&response).map_err(|e| Failure::new(DEVICE, e))?.sw;
        let ok = patterns.is_empty() || patterns.iter().any(|p| p.matches(sw));
        matched &= ok;
        let (c, r) = (hex::encode(command), hex::encode(&response));
        let event = json!({"event": "apdu", "c": c, "r": r, "sw": sw.to_string(), "meaning": sw.meaning(), "ms": ms(time)});
        out.event(&event, || {
            let style = if ok && (sw.is_ok() || !patterns.is_empty()) { GOOD } else { BAD };
            let data = &r[..r.len().saturating_sub(4)];
            let mut text = format!(
                "{} {c}\n{} {data}{}{} {}",
                paint(DIM, ">"),
                paint(DIM, "<"),
                if data.is_empty() { "" } else { " " },
                paint(style, sw),
                paint(DIM, format!("{} ({:.1} ms)", sw.meaning(), time.as_secs_f64() * 1e3))
            );
            if !ok {
                text.push_str(&format!("\n  expected {}, got {sw}", args.sw.join(" or ")));
            }
            text
        })?;
    }
    Ok(if matched { DONE } else { REFUSED })
}

/// Hexadecimal digits, spaces and colons between bytes allowed.
fn bytes(text: &str) -> Result<Vec<u8>, Failure> {
    let digits: String = text.chars().filter(|c| !c.is_whitespace() && *c != ':').collect();
    let bytes = hex::decode(&digits).map_err(|e| Failure::new(INPUT, format!("\"{text}\" is no APDU in hexadecimal: {e}")))?;
    if bytes.is_empty() {
        return Err(Failure::new(INPUT, "an APDU of no bytes cannot be sent"));
    }
    Ok(bytes)
}

/// Four digits of a status word, `x` for any.
struct Pattern {
    value: u16,
    mask: u16,
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, Failure> {
        let bad = || {
            Failure::new(
                USAGE,
                format!("--sw {text}: write four hexadecimal digits, x for any, as 9000 or 61xx"),
            )
        };
        if text.chars().count() != 4 {
            return Err(bad());
        }
        let (mut value, mut mask) = (0, 0);
        for c in text.chars() {
            let (digit, known) = match c {
                'x' | 'X' => (0, 0),
                c => (u16::try_from(c.to_digit(16).ok_or_else(bad)?).map_err(|_| bad())?, 0xF),
            };
            value = value << 4 | digit;
            mask = mask << 4 | known;
        }
        Ok(Self { value, mask })
    }

    fn matches(&self, sw: StatusWord) -> bool {
        sw.0 & self.mask == self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        assert!(Pattern::parse("61xx").unwrap().matches(StatusWord(0x61FF)));
        assert!(!Pattern::parse("61xx").unwrap().matches(StatusWord(0x6200)));
        assert!(Pattern::parse("9000").unwrap().matches(StatusWord::OK));
        for bad in ["", "900", "90000", "zz00", "é000"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn apdus() {
        assert_eq!(bytes("00 A4 04:00").unwrap(), [0, 0xA4, 4, 0]);
        assert!(bytes("0").is_err());
        assert!(bytes(" ").is_err());
        assert!(bytes("xy").is_err());
    }
}
