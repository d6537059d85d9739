//! The folder of recorded transactions (tests/vectors/aliro): every file of its schema, whatever its name.
//!
//! What the two sides were like is read off what they said, so that a file needs no word about it here. `TAPDOOR_ALIRO_VECTORS` names a further
//! folder of such files.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tapdoor_protocol::apdu::Command;
use tapdoor_protocol::tlv;

pub fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

pub fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/aliro")
}

pub fn load(name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder().join(name)).unwrap()).unwrap()
}

/// All files, with their names.
pub fn all() -> Vec<(String, Value)> {
    let further = std::env::var_os("TAPDOOR_ALIRO_VECTORS").map(PathBuf::from);
    let mut paths: Vec<PathBuf> = [Some(folder()), further]
        .into_iter()
        .flatten()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    paths.sort();
    assert!(paths.len() >= 15, "{paths:?}");
    let read = |path: &PathBuf| serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    paths.iter().map(|path| (path.display().to_string(), read(path))).collect()
}

/// A C-APDU and the R-APDU to it.
pub type Pair = (Vec<u8>, Vec<u8>);

pub fn apdus(transaction: &Value) -> Vec<Pair> {
    let pair = |apdu: &Value| (hex(&apdu["c"]), hex(&apdu["r"]));
    list(&transaction["apdus"]).iter().map(pair).collect()
}

const EXPEDITED: [u8; 9] = [0xA0, 0x00, 0x00, 0x09, 0x09, 0xAC, 0xCE, 0x55, 0x01];

fn is_select(command: &[u8]) -> bool {
    command.starts_with(&[0x00, 0xA4, 0x04])
}

/// Whether this selects the expedited phase.
pub fn is_expedited(command: &[u8]) -> bool {
    is_select(command) && command.get(5..14) == Some(&EXPEDITED)
}

/// Without what belongs to the step-up phase, and whether there was any of it.
pub fn without_step_up(apdus: &[Pair]) -> (&[Pair], bool) {
    let step_up = |(command, _): &Pair| {
        (is_select(command) && command.get(5..13) == Some(&EXPEDITED[..8]) && !is_expedited(command)) || command.starts_with(&[0x00, 0xC3])
    };
    match apdus.iter().position(step_up) {
        Some(place) => (&apdus[..place], true),
        None => (apdus, false),
    }
}

/// Every tap of a transaction: from one SELECT of the expedited phase to the next. What comes before the first is no tap.
pub fn taps(apdus: &[Pair]) -> Vec<&[Pair]> {
    let starts: Vec<usize> = (0..apdus.len()).filter(|n| is_expedited(&apdus[*n].0)).collect();
    let ends = starts.iter().skip(1).copied().chain([apdus.len()]);
    starts.iter().zip(ends).map(|(from, to)| &apdus[*from..to]).collect()
}

/// A command whose parts were put together, and its whole answer.
pub struct Whole {
    pub ins: u8,
    pub data: Vec<u8>,
    pub answer: Vec<u8>,
}

impl Whole {
    /// The value of this object of the command's data.
    pub fn find(&self, tag: u32) -> Option<&[u8]> {
        tlv::find(&self.data, tag)
    }
}

pub fn whole(apdus: &[Pair]) -> Vec<Whole> {
    let (mut out, mut data): (Vec<Whole>, Vec<u8>) = (Vec::new(), Vec::new());
    for (command, response) in apdus {
        let Ok(parsed) = Command::parse(command) else { continue };
        let answer = &response[..response.len() - 2];
        if parsed.ins == 0xC0 {
            out.last_mut().unwrap().answer.extend(answer);
            continue;
        }
        data.extend(parsed.data);
        if parsed.cla & 0x10 == 0 {
            out.push(Whole {
                ins: parsed.ins,
                data: std::mem::take(&mut data),
                answer: answer.to_vec(),
            });
        }
    }
    out
}

/// What was enciphered to these bytes.
pub fn plain(transaction: &Value, sealed: &[u8]) -> Option<Vec<u8>> {
    let is_it = |payload: &&Value| sealed == [hex(&payload["ciphertext"]), hex(&payload["tag"])].concat();
    let payload = list(&transaction["encrypted_payloads"]).iter().find(is_it)?;
    Some(hex(&payload["plaintext"]))
}

/// Commands that nobody's state machine made: steps `apdu:COMMAND=ANSWER`.
pub fn laid_by_hand(transaction: &Value) -> Vec<Vec<u8>> {
    let steps = list(&transaction["steps"]).iter();
    let text = steps.filter_map(|step| step["step"].as_str()?.strip_prefix("apdu:")?.split('=').next());
    text.map(|command| hex::decode(command).unwrap()).collect()
}
