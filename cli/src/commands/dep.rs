//! `tapdoor dep`: NFC-DEP with a peer.

use std::time::Instant;

use serde_json::json;
use tapdoor_chip::{OsRandom, RandomSource};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::rf::felica::SYSTEM_ANY;
use tapdoor_protocol::rf::frame::BitRate;
use tapdoor_protocol::rf::iso14443::type_a::Uid;
use tapdoor_workbench::dep::{DepError, Echo, Listener, Place, Session, poll_type_f};

use super::Outcome;
use crate::args::DepArgs;
use crate::failure::{DEVICE, DONE, Failure, REFUSED, USAGE};
use crate::out::{Out, ms};

/// Runs the command.
pub fn run(args: &DepArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let rate = rate(args.rate)?;
    let general = hex::decode(&args.general).map_err(|e| Failure::new(USAGE, format!("--general {}: {e}", args.general)))?;
    if let Some(place) = &args.poll {
        let card = poll_type_f(place, rate, SYSTEM_ANY).map_err(failed)?;
        let (id, parameters, data) = (hex::encode(card.id), hex::encode(card.parameters), card.data.map(hex::encode));
        let event =
            json!({"event": "card", "technology": "F", "id": id, "parameters": parameters, "system": data, "nfc_dep": card.has_nfc_dep()});
        out.event(&event, || {
            format!("type F: NFCID2 {id}, PAD {parameters}, system {}", data.as_deref().unwrap_or("-"))
        })?;
        return Ok(DONE);
    }
    if let Some(place) = &args.target {
        return target(place, &general, out, stop);
    }
    let Some(place) = &args.initiator else {
        return Err(Failure::new(USAGE, "one of --poll, --initiator, --target"));
    };
    let at = args.find_at.map_or(Ok(rate), self::rate)?;
    initiator(place, at, rate, &general, args, out, stop)
}

fn rate(kbps: u32) -> Result<BitRate, Failure> {
    let found = BitRate::ALL
        .into_iter()
        .find(|rate| rate.kbps() == kbps && *rate <= BitRate::Kbps424);
    found.ok_or_else(|| Failure::new(USAGE, format!("{kbps} kbit/s is no rate of NFC-DEP; they are 106, 212, 424")))
}

fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    OsRandom.fill(&mut bytes).map_err(|e| Failure::new(DEVICE, e))?;
    Ok(bytes)
}

fn initiator(place: &Place, at: BitRate, rate: BitRate, general: &[u8], args: &DepArgs, out: &mut Out, stop: &Stop) -> Outcome {
    let mut session = Session::open(place, at, rate, random()?, general).map_err(failed)?;
    let (theirs, kbps) = (hex::encode(session.general()), rate.kbps());
    out.event(&json!({"event": "attached", "rate": kbps, "general": theirs}), || {
        format!("attached at {kbps} kbit/s; general bytes {theirs}")
    })?;
    let (mut received, mut same) = (Vec::new(), true);
    for count in &args.bytes {
        if stop.is_stopped() {
            break;
        }
        let data: Vec<u8> = (0..*count).map(|n| n as u8).collect();
        let begun = Instant::now();
        session.exchange(&data, &mut received).map_err(failed)?;
        let (time, echoed) = (begun.elapsed(), received == data);
        same &= echoed;
        let event = json!({"event": "exchange", "sent": data.len(), "received": received.len(), "echoed": echoed, "ms": ms(time)});
        out.event(&event, || {
            format!(
                "{} bytes, {} back{}",
                data.len(),
                received.len(),
                if echoed { ", the same" } else { "" }
            )
        })?;
    }
    session.release().map_err(failed)?;
    Ok(if same { DONE } else { REFUSED })
}

fn target(place: &Place, general: &[u8], out: &mut Out, stop: &Stop) -> Outcome {
    let listener = Listener::open(place).map_err(failed)?;
    let at = listener
        .local_addr()
        .map_or_else(|| place.to_string(), |address| address.to_string());
    out.event(&json!({"event": "ready", "listen": at}), || format!("ready: a target at {at}"))?;
    let id: [u8; 6] = random()?;
    let uid = Uid::new(&[0x08, id[0], id[1], id[2]]).ok_or_else(|| Failure::new(DEVICE, "no identifier"))?;
    let mut echo = Echo::new(uid, id, general);
    let (exchanges, bytes) = listener.serve(&mut echo, stop, &mut |_| ()).map_err(failed)?;
    out.event(&json!({"event": "summary", "exchanges": exchanges, "bytes": bytes}), || {
        format!("{exchanges} exchanges, {bytes} bytes")
    })?;
    Ok(DONE)
}

/// What that way cannot do is the command line's mistake; the rest is the device's.
fn failed(e: DepError) -> Failure {
    let status = if matches!(e, DepError::Unsupported(_)) { USAGE } else { DEVICE };
    Failure::new(status, e)
}
