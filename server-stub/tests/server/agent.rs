//! An agent for tests: it can do each step by hand, wrongly if asked, or run until it is stopped.

use std::sync::{Arc, Mutex};

use tapdoor_protocol::door::keys;
use tapdoor_protocol::globalplatform::remote_admin as names;
use tapdoor_protocol::globalplatform::script;
use tapdoor_protocol::ids::{LockId, PhoneId};
use tapdoor_server::proof::authorization;

use crate::chip::Chip;
use crate::site::{SITE, Site};

pub type SharedChip = Arc<Mutex<Chip>>;

#[derive(Clone)]
pub struct Agent {
    pub client: reqwest::Client,
    pub url: String,
    pub from: String,
    pub id: [u8; 8],
    pub key: [u8; 16],
    pub chip: SharedChip,
}

/// What a step was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub next: Option<String>,
    pub body: Vec<u8>,
}

impl Agent {
    pub fn phone(site: &Site, id: PhoneId) -> Self {
        Self::new(site, format!("//tapdoor/phone/{id}"), id.0)
    }

    pub fn lock(site: &Site, id: LockId) -> Self {
        Self::new(site, format!("//tapdoor/lock/{id}"), id.0)
    }

    fn new(site: &Site, from: String, id: [u8; 8]) -> Self {
        Self {
            client: site.client.clone(),
            url: site.url.clone(),
            from,
            id,
            key: *keys::agent(&SITE, PhoneId(id)),
            chip: Arc::new(Mutex::new(Chip::new())),
        }
    }

    pub fn request(&self, uri: &str) -> reqwest::RequestBuilder {
        self.client
            .post(format!("{}{uri}", self.url))
            .header(names::PROTOCOL, names::PROTOCOL_VALUE)
            .header(names::FROM, &self.from)
    }

    pub async fn challenge(&self) -> [u8; 16] {
        let response = self.request("/v1/admin").send().await.unwrap();
        assert_eq!(response.status(), 401);
        let value = response.headers()["www-authenticate"].to_str().unwrap();
        let digits = value.strip_prefix("Tapdoor-CMAC challenge=\"").unwrap().strip_suffix('"').unwrap();
        hex::decode(digits).unwrap().try_into().unwrap()
    }

    /// Proves itself with a header made before.
    pub async fn prove(&self, header: &str) -> Answer {
        read(self.request("/v1/admin").header("authorization", header)).await.unwrap()
    }

    /// Proves itself; the first answer.
    pub async fn connect(&self) -> Answer {
        let challenge = self.challenge().await;
        self.prove(&authorization(&self.key, &challenge, &self.id)).await
    }

    pub async fn step(&self, uri: &str, body: Vec<u8>) -> Answer {
        self.try_step(uri, body).await.unwrap()
    }

    async fn try_step(&self, uri: &str, body: Vec<u8>) -> reqwest::Result<Answer> {
        let mut request = self.request(uri);
        if !body.is_empty() {
            request = request
                .header("content-type", names::RESPONSES)
                .header(names::SCRIPT_STATUS, "ok")
                .body(body);
        }
        read(request).await
    }

    /// Runs a script on the chip; `None` when the chip lost its power.
    pub fn run(&self, commands: &[u8]) -> Option<Vec<u8>> {
        let mut chip = self.chip.lock().unwrap();
        let mut torn = false;
        let response = script::run(commands, |apdu| {
            chip.transmit(apdu).unwrap_or_else(|| {
                torn = true;
                vec![0x6F, 0x00]
            })
        });
        (!torn).then_some(response)
    }

    /// Connects and works until there is nothing to do; how many scripts were run. Stops early if the power goes.
    pub async fn work(&self) -> usize {
        let mut answer = self.connect().await;
        let mut scripts = 0;
        while answer.status == 200 {
            let Some(response) = self.run(&answer.body) else { break };
            scripts += 1;
            answer = self.step(&answer.next.unwrap(), response).await;
        }
        scripts
    }

    /// Works for ever, in a task; dropping the handle ends it.
    pub fn spawn(&self) -> Running {
        let agent = self.clone();
        Running(tokio::spawn(async move {
            loop {
                let mut answer = agent.connect().await;
                while let (200 | 204, Some(next)) = (answer.status, answer.next.clone()) {
                    let body = if answer.status == 200 {
                        let Some(body) = agent.run(&answer.body) else { break };
                        body
                    } else {
                        Vec::new()
                    };
                    match agent.try_step(&next, body).await {
                        Ok(next) => answer = next,
                        Err(_) => break,
                    }
                }
                agent.chip.lock().unwrap().reset();
            }
        }))
    }
}

pub struct Running(tokio::task::JoinHandle<()>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
    let response = request.send().await?;
    let next = response.headers().get(names::NEXT_URI).map(|v| v.to_str().unwrap().to_owned());
    Ok(Answer {
        status: response.status().as_u16(),
        next,
        body: response.bytes().await?.to_vec(),
    })
}
