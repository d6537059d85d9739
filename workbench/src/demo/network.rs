//! A site with its server, all in this process and over real sockets: what the scenes with a download play on.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tapdoor_agent::{Agent, AgentError};
use tapdoor_hce_card::agent::PhoneChip;
use tapdoor_hce_card::{Phone, PhoneConfig, PhoneLink};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::globalplatform::remote_admin::AdminFrom;
use tapdoor_reader::config::Method;
use tapdoor_reader::download::Downloads;
use tapdoor_reader::{Lock, LockConfig, Tap};
use tapdoor_server::ca::CA_CERTIFICATE;
use tapdoor_server::time::Clock;
use tapdoor_server::{RunningServer, Server, ServerConfig};

use super::DemoError;
use crate::api::Api;
use crate::init::{InitOptions, init};
use crate::sim::SharedPhone;

/// How long a job may take until the scene is over.
const JOB: Duration = Duration::from_secs(10);

/// The site's files, its server, and a clock that the server goes by.
pub(super) struct Network {
    folder: PathBuf,
    server: Option<RunningServer>,
    /// The server's.
    pub clock: Clock,
    api: Api,
}

impl Network {
    /// A new site in `folder`, whose phones have no door applications yet, and its server.
    pub fn start(folder: &Path) -> Result<Self, DemoError> {
        let folder = folder.join("site");
        let options = InitOptions {
            phones: 2,
            usim: false,
            bare_phone: true,
        };
        init(&folder, options)?;
        let mut config = ServerConfig::load(&folder.join("server.toml"))?;
        config.listen = ([127, 0, 0, 1], 0).into();
        let token = config
            .admin_token
            .as_ref()
            .map_or_else(String::new, |token| token.as_str().to_owned());
        let clock = Clock::system();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let server = runtime.block_on(Server::start_with(config, clock.clone()))?;
        let api = Api::new(runtime, server.url(), token, &folder.join(CA_CERTIFICATE))?;
        Ok(Self {
            folder,
            server: Some(server),
            clock,
            api,
        })
    }

    /// The server ends, and everybody who waits for it finds that out.
    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop();
            self.api.runtime().block_on(server.join());
        }
    }

    /// The lock of the site, with an empty list of its own: what it knows comes from the server.
    pub fn lock(&self, change: impl FnOnce(&mut LockConfig)) -> Result<Lock, DemoError> {
        let mut config = LockConfig::load(&self.folder.join("lock.toml"))?;
        config.personalisation.list.clear();
        config.methods = vec![Method::ChallengeResponse, Method::Aka];
        if let Some(server) = &mut config.server {
            self.api.url().clone_into(&mut server.place.url);
            server.wait = JOB;
        }
        change(&mut config);
        let downloads = config.server.as_ref().map(|server| Downloads::new(config.id, server)).transpose()?;
        let mut lock = Lock::new(config)?;
        if let Some(downloads) = downloads {
            lock.download_from(downloads);
        }
        Ok(lock)
    }

    /// Phone 1 or 2 of the site, its agent connected.
    pub fn phone(&self, number: usize) -> Result<Desk, DemoError> {
        let name = if number < 2 {
            "phone.toml".to_owned()
        } else {
            format!("phone-{number}.toml")
        };
        let mut config = PhoneConfig::load(&self.folder.join(name))?;
        self.api.url().clone_into(&mut config.server.url);
        config.server.ca = Some(self.folder.join(CA_CERTIFICATE));
        let (id, place) = (config.id, config.server.clone());
        let phone = SharedPhone::new(Phone::new(config)?);
        let agent = Agent::new(place.server()?, AdminFrom::Phone(id), PhoneChip(phone.clone()));
        let stop = Stop::new();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("agent".to_owned())
            .spawn(move || agent.run(&stopped, &|_| ()))?;
        Ok(Desk {
            id: id.to_string(),
            phone,
            stop,
            thread: Some(thread),
        })
    }

    /// The administration API.
    pub fn api(&self, method: reqwest::Method, path: &str, body: Option<&Value>) -> Result<Value, DemoError> {
        Ok(self.api.call(method, path, body)?)
    }

    /// Pushes, and gives the numbers of the jobs.
    pub fn push(&self, body: &Value) -> Result<Vec<Value>, DemoError> {
        Ok(self.api.push(body)?)
    }

    /// Where a job stands.
    pub fn state(&self, job: &Value) -> Result<String, DemoError> {
        let job = self.api(reqwest::Method::GET, &format!("/v1/jobs/{job}"), None)?;
        Ok(job["state"].as_str().unwrap_or_default().to_owned())
    }

    /// Waits until the jobs are done; `false` if one failed or it took too long.
    pub fn wait_for(&self, jobs: &[Value]) -> Result<bool, DemoError> {
        let begun = Instant::now();
        for job in jobs {
            loop {
                match self.state(job)?.as_str() {
                    "done" => break,
                    "failed" => return Ok(false),
                    _ if begun.elapsed() > JOB => return Ok(false),
                    _ => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        }
        Ok(!jobs.is_empty())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A phone on the desk, and its agent.
pub(super) struct Desk {
    /// Its identifier.
    pub id: String,
    phone: SharedPhone,
    stop: Stop,
    thread: Option<JoinHandle<Result<(), AgentError>>>,
}

impl Desk {
    /// Lays it on the lock.
    pub fn tap(&self, lock: &mut Lock) -> Tap {
        lock.tap_on(&mut PhoneLink::new(self.phone.clone()), &Stop::new(), false, &mut |_| ())
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.stop.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
