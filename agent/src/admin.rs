//! One session of an agent with the server (GlobalPlatform Card Amendment B 3: the flow; ETSI TS 102 226 5.2: the scripts).
//!
//! ```text
//! POST /v1/admin                     -> 401, a challenge
//! POST /v1/admin, proof              -> 200, a script, and where its answer goes; or 204, nothing to do yet
//! POST <next URI>, response script   -> the same again
//! ```
//!
//! An answer that was lost on the way is asked for again at the same URI with the same body: the server gives the one that it gave before, so no
//! step is done twice. A script is run once, whatever happens to its answer.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use reqwest::{RequestBuilder, Response, StatusCode, Url};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::globalplatform::remote_admin as names;
use tapdoor_protocol::globalplatform::remote_admin::{AdminFrom, ScriptStatus};
use tapdoor_protocol::globalplatform::script;
use tapdoor_protocol::status::StatusWord;

use crate::agent::AgentEvent;
use crate::chip::WiredChip;
use crate::error::AgentError;
use crate::server::{Server, body, refusal};

/// How often a request whose answer was lost is repeated.
const REPEATS: u32 = 6;
/// Most GET RESPONSEs for one answer: the longest one in parts of 255 bytes needs 258.
const MOST_PARTS: usize = 300;
/// Longest R-APDU that is put together.
const LONGEST_ANSWER: usize = 65_536;
/// The pause before the first repetition; it doubles.
const PAUSE: Duration = Duration::from_millis(50);

/// What a step gave.
enum Step {
    /// A script, and where the response goes.
    Script { script: Vec<u8>, targeted: Option<Aid>, next: Url },
    /// Nothing to do yet; ask again there, or begin anew.
    Idle(Option<Url>),
}

/// Begins a session and goes on until it is lost. Never returns `Ok`.
pub(crate) async fn session(
    server: &Server,
    from: AdminFrom,
    chip: &dyn WiredChip,
    observe: &(dyn Fn(&AgentEvent) + Sync),
) -> Result<std::convert::Infallible, AgentError> {
    let mut step = begin(server, from, chip).await?;
    observe(&AgentEvent::Connected);
    chip.reset();
    loop {
        step = match step {
            Step::Idle(Some(next)) => go_on(server, from, next, None).await?,
            Step::Idle(None) => begin(server, from, chip).await?,
            Step::Script { script, targeted, next } => {
                let answer = run(chip, &script, targeted);
                observe(&AgentEvent::Ran {
                    commands: answer.commands,
                    status: answer.status,
                });
                go_on(server, from, next, Some(&answer)).await?
            }
        };
    }
}

struct Answer {
    status: ScriptStatus,
    commands: usize,
    body: Vec<u8>,
}

fn run(chip: &dyn WiredChip, script: &[u8], targeted: Option<Aid>) -> Answer {
    // Only the card manager is administered here; without the header it is meant.
    if targeted.is_some_and(|aid| aid != Aid::CARD_MANAGER) {
        return Answer {
            status: ScriptStatus::UnknownApplication,
            commands: 0,
            body: Vec::new(),
        };
    }
    let mut commands = 0;
    let body = script::run(script, |command| {
        commands += 1;
        whole_answer(chip, command)
    });
    Answer {
        status: ScriptStatus::Ok,
        commands,
        body,
    }
}

/// An answer comes whole into the script: 61xx is followed by GET RESPONSE here (ETSI TS 102 226 5.2.1).
fn whole_answer(chip: &dyn WiredChip, command: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(258);
    let mut part = Vec::with_capacity(258);
    chip.process(command, &mut part);
    // A chip that always has more and never gives it must not hold its agent.
    for _ in 0..MOST_PARTS {
        let more = match part.split_last_chunk::<2>() {
            Some((data, [0x61, length])) if whole.len() + data.len() <= LONGEST_ANSWER => {
                whole.extend_from_slice(data);
                *length
            }
            _ => {
                whole.extend_from_slice(&part);
                return whole;
            }
        };
        part.clear();
        chip.process(&[0x00, 0xC0, 0x00, 0x00, more], &mut part);
    }
    StatusWord::NO_DIAGNOSIS.to_bytes().to_vec()
}

fn post(server: &Server, url: Url, from: AdminFrom) -> RequestBuilder {
    server
        .client()
        .post(url)
        .header(names::PROTOCOL, names::PROTOCOL_VALUE)
        .header(names::FROM, from.to_string())
}

async fn begin(server: &Server, from: AdminFrom, chip: &dyn WiredChip) -> Result<Step, AgentError> {
    let url = server.at("/v1/admin")?;
    let id = match from {
        AdminFrom::Phone(id) => id.0,
        AdminFrom::Lock(id) => id.0,
    };
    let asked = send(post(server, url.clone(), from), &url).await?;
    if asked.status() != StatusCode::UNAUTHORIZED {
        return Err(match asked.status() {
            status if status.is_success() => AgentError::Answer("no challenge".to_owned()),
            _ => refusal(asked).await,
        });
    }
    let challenge = asked
        .headers()
        .get(WWW_AUTHENTICATE)
        .and_then(|value| value.to_str().ok())
        .and_then(challenge)
        .ok_or_else(|| AgentError::Answer("a challenge of another kind than Tapdoor-CMAC".to_owned()))?;
    // So that the connection can be used again.
    body(asked).await?;
    let mac = chip.proof(&challenge, &id).ok_or(AgentError::NoKey)?;
    let proof = format!(
        "Tapdoor-CMAC challenge=\"{}\", mac=\"{}\"",
        hex::encode(challenge),
        hex::encode(mac)
    );
    let answered = send(post(server, url.clone(), from).header(AUTHORIZATION, proof), &url).await?;
    step(server, answered).await
}

/// `Tapdoor-CMAC challenge="<32 hex>"`.
fn challenge(value: &str) -> Option<[u8; 16]> {
    let digits = value
        .strip_prefix("Tapdoor-CMAC")?
        .trim()
        .strip_prefix("challenge=\"")?
        .strip_suffix('"')?;
    hex::decode(digits).ok()?.try_into().ok()
}

async fn go_on(server: &Server, from: AdminFrom, next: Url, answer: Option<&Answer>) -> Result<Step, AgentError> {
    let mut pause = PAUSE;
    let mut repeats = 0;
    loop {
        let mut request = post(server, next.clone(), from);
        if let Some(answer) = answer {
            request = request.header(names::SCRIPT_STATUS, answer.status.as_str());
            if !answer.body.is_empty() {
                request = request.header(CONTENT_TYPE, names::RESPONSES).body(answer.body.clone());
            }
        }
        if repeats > 0 {
            request = request.header(names::RESUME, "true");
        }
        let outcome = match send(request, &next).await {
            Ok(response) => step(server, response).await,
            Err(error) => Err(error),
        };
        match outcome {
            Err(AgentError::Connection { .. }) if repeats < REPEATS => {
                repeats += 1;
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
}

async fn send(request: RequestBuilder, url: &Url) -> Result<Response, AgentError> {
    request.send().await.map_err(|e| AgentError::connection(url.as_str(), &e))
}

async fn step(server: &Server, response: Response) -> Result<Step, AgentError> {
    let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
    let next = header(names::NEXT_URI).map(|path| server.at(path)).transpose()?;
    match response.status() {
        StatusCode::NO_CONTENT => Ok(Step::Idle(next)),
        StatusCode::OK => {
            if !header(CONTENT_TYPE.as_str()).is_some_and(|kind| names::is_content_type(kind, names::COMMANDS)) {
                return Err(AgentError::Answer(format!("a body that is not {}", names::COMMANDS)));
            }
            let targeted = header(names::TARGETED_APPLICATION)
                .map(|text| {
                    names::parse_targeted_application(text)
                        .ok_or_else(|| AgentError::Answer(format!("{} names no application", names::TARGETED_APPLICATION)))
                })
                .transpose()?;
            let next = next.ok_or_else(|| AgentError::Answer(format!("a script without {}", names::NEXT_URI)))?;
            Ok(Step::Script {
                script: body(response).await?,
                targeted,
                next,
            })
        }
        _ => Err(refusal(response).await),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Gives out five bytes, two at a time.
    struct Parts(std::sync::Mutex<Vec<u8>>);

    impl WiredChip for Parts {
        fn reset(&self) {}

        fn process(&self, command: &[u8], response: &mut Vec<u8>) {
            let mut left = self.0.lock().unwrap();
            assert!(left.len() == 5 || command == [0x00, 0xC0, 0x00, 0x00, u8::try_from(left.len()).unwrap()]);
            let part = left.len().min(2);
            response.extend(left.drain(..part));
            match left.len() {
                0 => response.extend([0x90, 0x00]),
                more => response.extend([0x61, u8::try_from(more).unwrap()]),
            }
        }

        fn proof(&self, _: &[u8; 16], _: &[u8; 8]) -> Option<[u8; 16]> {
            None
        }
    }

    #[test]
    fn answers_in_parts_come_whole_into_the_script() {
        let chip = Parts(std::sync::Mutex::new(vec![1, 2, 3, 4, 5]));
        assert_eq!(whole_answer(&chip, &[0x80, 0xF2, 0, 0]), [1, 2, 3, 4, 5, 0x90, 0x00]);
    }

    /// Always has more, and never gives it.
    struct Endless;

    impl WiredChip for Endless {
        fn reset(&self) {}

        fn process(&self, _: &[u8], response: &mut Vec<u8>) {
            response.extend([0x61, 0x10]);
        }

        fn proof(&self, _: &[u8; 16], _: &[u8; 8]) -> Option<[u8; 16]> {
            None
        }
    }

    #[test]
    fn a_chip_that_never_gives_what_it_promises_is_left() {
        assert_eq!(whole_answer(&Endless, &[0x80, 0xF2, 0, 0]), [0x6F, 0x00]);
    }

    #[test]
    fn challenges() {
        let good = "Tapdoor-CMAC challenge=\"000102030405060708090a0b0c0d0e0f\"";
        assert_eq!(challenge(good), Some([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
        for bad in [
            "",
            "Basic realm=\"x\"",
            "Tapdoor-CMAC",
            "Tapdoor-CMAC challenge=\"00\"",
            &good[..good.len() - 1],
        ] {
            assert_eq!(challenge(bad), None, "{bad}");
        }
    }
}
