//! A phone without applications whose agent waits at the server.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tapdoor_agent::{Agent, AgentError, AgentEvent};
use tapdoor_chip::{Chip, Store};
use tapdoor_hce_card::agent::PhoneChip;
use tapdoor_hce_card::{Phone, PhoneConfig, PhoneLink};
use tapdoor_link::stop::Stop;
use tapdoor_protocol::globalplatform::remote_admin::AdminFrom;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_reader::{Lock, Tap};
use tapdoor_server::ca::CA_CERTIFICATE;

use super::chip::{Timed, Work};
use super::site::phone_file;
use crate::bench::BenchError;
use crate::sim::SharedPhone;

/// The phone; its agent ends with it.
pub(super) struct Waiting {
    pub id: PhoneId,
    /// What its chip did for the server.
    pub work: Work,
    phone: SharedPhone,
    connected: Arc<AtomicBool>,
    stop: Stop,
    agent: Option<JoinHandle<Result<(), AgentError>>>,
}

impl Waiting {
    /// The phone with this index of the site in `folder`, with its chip's memory in `store`, its agent at the server at `url`.
    pub fn new(folder: &Path, index: usize, url: &str, store: Box<dyn Store>) -> Result<Self, BenchError> {
        let mut config = PhoneConfig::load(&phone_file(folder, index))?;
        url.clone_into(&mut config.server.url);
        config.server.ca = Some(folder.join(CA_CERTIFICATE));
        let chip = Chip::personalise(store, &config.personalisation)?;
        let phone = SharedPhone::new(Phone::with_chip(chip, config.laboratory));
        let work = Work::default();
        let chip = Timed {
            chip: PhoneChip(phone.clone()),
            work: work.clone(),
        };
        let agent = Agent::new(config.server.server()?, AdminFrom::Phone(config.id), chip);
        let (stop, connected) = (Stop::new(), Arc::new(AtomicBool::new(false)));
        let (stopped, seen) = (stop.clone(), connected.clone());
        let thread = std::thread::Builder::new().name("agent".to_owned()).spawn(move || {
            agent.run(&stopped, &|event| {
                if matches!(event, AgentEvent::Connected) {
                    seen.store(true, Ordering::Relaxed);
                }
            })
        })?;
        Ok(Self {
            id: config.id,
            work,
            phone,
            connected,
            stop,
            agent: Some(thread),
        })
    }

    /// Whether its agent was at the server.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// Load files that its chip took whole.
    pub fn loaded(&self) -> u64 {
        self.work.loaded.load(Ordering::Relaxed)
    }

    /// The phone itself.
    pub fn shared(&self) -> SharedPhone {
        self.phone.clone()
    }

    /// Lays it on the lock.
    pub fn tap(&self, lock: &mut Lock) -> Tap {
        lock.tap_on(&mut PhoneLink::new(self.phone.clone()), &Stop::new(), false, &mut |_| ())
    }

    /// Tells the agent to end, without waiting for it.
    pub fn stop(&self) {
        self.stop.stop();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.agent.take() {
            let _ = thread.join();
        }
    }
}
