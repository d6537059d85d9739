//! The phone's agent, on a thread of its own.

use std::sync::mpsc::Sender;
use std::thread;

use serde_json::json;
use tapdoor_agent::config::Place;
use tapdoor_agent::{Agent, AgentError, AgentEvent, Server};
use tapdoor_hce_card::PhoneChip;
use tapdoor_link::stop::Stop;
use tapdoor_protocol::globalplatform::remote_admin::{AdminFrom, ScriptStatus};
use tapdoor_protocol::ids::PhoneId;
use tapdoor_workbench::sim::SharedPhone;

use super::Line;
use crate::args::PhoneArgs;
use crate::failure::{DEVICE, Failure, USAGE};

/// The server that this phone takes its applications from; the command line goes before phone.toml. None: no agent runs.
pub(super) fn server(args: &PhoneArgs, mut place: Place) -> Result<Option<Server>, Failure> {
    if let Some(url) = &args.server {
        place.url.clone_from(url);
    }
    if let Some(ca) = &args.ca {
        place.ca = Some(ca.clone());
    }
    if args.no_server || place.url.is_empty() {
        return Ok(None);
    }
    match place.server() {
        Ok(server) => Ok(Some(server)),
        Err(e @ AgentError::Start(_)) => Err(Failure::new(DEVICE, e)),
        Err(e) => Err(Failure::new(USAGE, e)),
    }
}

/// Runs the agent until `stop`. What will not pass ends the agent, and not the phone: its applications still open doors.
pub(super) fn spawn(server: Server, id: PhoneId, phone: SharedPhone, stop: &Stop, send: Sender<Option<Line>>) {
    let stop = stop.clone();
    thread::spawn(move || {
        let url = server.url().to_owned();
        let observe = |event: &AgentEvent| {
            // A status word says little of why an application was refused; the chip knows more.
            let refusal = match event {
                AgentEvent::Ran { .. } => phone.lock().chip_mut().take_refusal(),
                _ => None,
            };
            if let Some(line) = line(event, &url, refusal) {
                let _ = send.send(Some(line));
            }
        };
        let agent = Agent::new(server, AdminFrom::Phone(id), PhoneChip(phone.clone()));
        if let Err(error) = agent.run(&stop, &observe) {
            let _ = send.send(Some((
                json!({"event": "agent", "state": "failed", "server": url, "detail": error.to_string()}),
                format!("no applications come from {url} any more: {error}"),
            )));
        }
    });
}

fn line(event: &AgentEvent, url: &str, refusal: Option<String>) -> Option<Line> {
    Some(match event {
        AgentEvent::Connected => (
            json!({"event": "agent", "state": "connected", "server": url}),
            format!("the server at {url} knows this phone"),
        ),
        AgentEvent::Ran { commands, status } => {
            let mut value = json!({"event": "agent", "state": "ran", "commands": commands, "status": status.as_str()});
            let mut text = match status {
                ScriptStatus::Ok => format!("the server administered the chip ({commands} commands)"),
                other => format!("the server administers something that is not here: {other}"),
            };
            if let Some(refusal) = refusal {
                text.push_str(": ");
                text.push_str(&refusal);
                value["refusal"] = json!(refusal);
            }
            (value, text)
        }
        AgentEvent::Lost(error) => (
            json!({"event": "agent", "state": "lost", "server": url, "detail": error.to_string()}),
            format!("no connection to the server ({error}); trying again"),
        ),
        _ => return None,
    })
}
