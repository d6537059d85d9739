//! The whole story in one process: lock and phone with their chips, stores on disk, a tape, and everything that can go wrong.

mod aliro;
mod download;
mod network;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tapdoor_captures::{CreateError, Header, SharedTape, TapeMode, TapeWriter};
use tapdoor_chip::{Chip, ChipError, ListEntry, SqliteStore};
use tapdoor_hce_card::{Laboratory, Phone, PhoneLink};
use tapdoor_link::stop::Stop;
use tapdoor_link::{FaultPlan, Faulty};
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::door::Reason;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_reader::config::Method;
use tapdoor_reader::source::CardSource;
use tapdoor_reader::{Lock, LockConfig, SourceError, Tap, TapVerdict};

use crate::replay::{ReplayError, TapeSource};
use crate::site::Site;

/// One scene and how it ended.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it shows, in a sentence.
    pub shows: &'static str,
    /// How it ended.
    pub verdict: TapVerdict,
    /// Why not opened.
    pub reason: Option<Reason>,
    /// How it should end.
    pub expected: TapVerdict,
    /// Whether everything in it was as it should be.
    pub ok: bool,
    /// How long the scene took.
    pub time: Duration,
    /// What was seen.
    pub detail: String,
}

/// Why the demonstration cannot be given. A scene that ends otherwise than expected is no error of this kind.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A chip.
    #[error(transparent)]
    Chip(#[from] ChipError),
    /// The configuration that `init` would write.
    #[error(transparent)]
    Config(#[from] tapdoor_config::ConfigError),
    /// The tape.
    #[error(transparent)]
    Tape(#[from] CreateError),
    /// The tape, played back.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The source of the replay.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] tapdoor_protocol::vault::VaultError),
    /// The site with its server.
    #[error(transparent)]
    Init(#[from] crate::init::InitError),
    /// The lock's or the phone's way to the server.
    #[error(transparent)]
    Agent(#[from] tapdoor_agent::AgentError),
    /// The server does not start.
    #[error("the demonstration's server: {0}")]
    Server(#[from] tapdoor_server::StartError),
    /// The server's administration.
    #[error("the demonstration's server: {0}")]
    Api(#[from] crate::api::ApiError),
    /// Keys and certificates of Aliro.
    #[error("{0}")]
    Aliro(String),
    /// The temporary folder.
    #[error("temporary folder: {0}")]
    Io(#[from] std::io::Error),
}

/// A stage: one site, one phone, in a folder.
struct Stage {
    site: Site,
    phone: PhoneId,
    folder: PathBuf,
    stop: Stop,
    count: u32,
}

impl Stage {
    /// A lock with its own store, tried methods and list.
    fn lock(&mut self, methods: &[Method], algorithm: Algorithm, list: Vec<ListEntry>) -> Result<Lock, DemoError> {
        self.count += 1;
        let path = self.folder.join(format!("lock-{}.toml", self.count));
        let mut config = LockConfig::parse(&path, &self.site.lock_toml())?;
        config.store = path.with_extension("chip");
        config.methods = methods.to_vec();
        config.algorithm = algorithm;
        config.personalisation.list = list;
        Ok(Lock::new(config)?)
    }

    fn listed(&self) -> Vec<ListEntry> {
        vec![self.site.entry(self.phone)]
    }

    fn phone(&mut self, wrong: bool) -> Result<Phone, DemoError> {
        self.count += 1;
        let store = SqliteStore::open(&self.folder.join(format!("phone-{}.chip", self.count))).map_err(ChipError::from)?;
        let filling = if wrong {
            self.site.wrong_phone_chip(self.phone)
        } else {
            self.site.phone_chip(self.phone)
        };
        Ok(Phone::with_chip(
            Chip::personalise(Box::new(store), &filling)?,
            Laboratory::default(),
        ))
    }

    fn tap(&self, lock: &mut Lock, phone: &mut Phone) -> Tap {
        lock.tap_on(&mut PhoneLink::new(phone), &self.stop, false, &mut |_| ())
    }

    fn tap_with(&self, lock: &mut Lock, phone: &mut Phone, plan: FaultPlan) -> Tap {
        lock.tap_on(&mut Faulty::new(PhoneLink::new(phone), plan), &self.stop, false, &mut |_| ())
    }
}

/// What a scene found.
struct Found {
    verdict: TapVerdict,
    reason: Option<Reason>,
    detail: String,
    ok: bool,
}

impl Found {
    /// Judged by its verdict, its reason and the number of APDUs.
    fn of(tap: Tap, reason: Option<Reason>, apdus: Option<u64>) -> Self {
        let ok = tap.reason == reason && apdus.is_none_or(|n| n == tap.apdus);
        let detail = format!("{} ({} APDUs, {:.1} ms)", tap.detail, tap.apdus, tap.total.as_secs_f64() * 1e3);
        Self {
            verdict: tap.verdict,
            reason: tap.reason,
            detail,
            ok,
        }
    }
}

type Scene = fn(&mut Stage) -> Result<Found, DemoError>;

/// Every scene: name, what it shows, how it must end, and how it goes.
const SCENES: [(&str, &str, TapVerdict, Scene); 9] = [
    (
        "challenge-response",
        "both prove themselves by AES-CCM, in two APDUs",
        TapVerdict::Open,
        |stage| {
            let list = stage.listed();
            let mut lock = stage.lock(&[Method::ChallengeResponse], Algorithm::Milenage, list)?;
            let mut phone = stage.phone(false)?;
            let tape = stage.folder.join("tap.tape");
            let mut header = Header::now(concat!("tapdoor ", env!("CARGO_PKG_VERSION")));
            header.mode = Some(TapeMode::from("sim"));
            lock.record(SharedTape::new(TapeWriter::create(&tape, &header)?));
            Ok(Found::of(stage.tap(&mut lock, &mut phone), None, Some(2)))
        },
    ),
    (
        "aka-milenage",
        "both prove themselves by 3GPP AKA with MILENAGE, in two APDUs",
        TapVerdict::Open,
        |stage| {
            let list = stage.listed();
            let mut lock = stage.lock(&[Method::Aka], Algorithm::Milenage, list)?;
            let mut phone = stage.phone(false)?;
            Ok(Found::of(stage.tap(&mut lock, &mut phone), None, Some(2)))
        },
    ),
    ("aka-tuak", "the same with TUAK", TapVerdict::Open, |stage| {
        let list = stage.listed();
        let mut lock = stage.lock(&[Method::Aka], Algorithm::Tuak, list)?;
        let mut phone = stage.phone(false)?;
        Ok(Found::of(stage.tap(&mut lock, &mut phone), None, Some(2)))
    }),
    (
        "aka-resynchronisation",
        "the phone is ahead in sequence; one AUTS later the same tap opens",
        TapVerdict::Open,
        |stage| {
            let mut phone = stage.phone(false)?;
            // An earlier life of the same lock, whose clock was an hour ahead.
            let list = stage.listed();
            let mut earlier = stage.lock(&[Method::Aka], Algorithm::Milenage, list)?;
            let ahead = earlier.tap_at(
                &mut PhoneLink::new(&mut phone),
                tapdoor_reader::lock::now().saturating_add(3600),
                &mut |_| true,
            );
            let list = stage.listed();
            let mut lock = stage.lock(&[Method::Aka], Algorithm::Milenage, list)?;
            let mut found = Found::of(stage.tap(&mut lock, &mut phone), None, Some(3));
            found.ok &= ahead.verdict == TapVerdict::Open;
            Ok(found)
        },
    ),
    (
        "wrong-key",
        "a phone that is recognised but has other keys",
        TapVerdict::Refused,
        |stage| {
            let list = stage.listed();
            let mut lock = stage.lock(&[Method::ChallengeResponse], Algorithm::Milenage, list)?;
            let mut phone = stage.phone(true)?;
            Ok(Found::of(stage.tap(&mut lock, &mut phone), Some(Reason::WrongKey), Some(2)))
        },
    ),
    (
        "unknown-phone",
        "a phone of the site that is not on this lock's list",
        TapVerdict::Refused,
        |stage| {
            let other = stage.site.phones.get(1).copied().unwrap_or(stage.phone);
            let list = vec![stage.site.entry(other)];
            let mut lock = stage.lock(&[Method::ChallengeResponse], Algorithm::Milenage, list)?;
            let mut phone = stage.phone(false)?;
            Ok(Found::of(stage.tap(&mut lock, &mut phone), Some(Reason::UnknownPhone), Some(1)))
        },
    ),
    (
        "revoked-phone",
        "it opened; then its list entry ended",
        TapVerdict::Refused,
        |stage| {
            let list = stage.listed();
            let mut lock = stage.lock(&[Method::ChallengeResponse], Algorithm::Milenage, list)?;
            let mut phone = stage.phone(false)?;
            let before = stage.tap(&mut lock, &mut phone);
            drop(lock);
            let mut ended = stage.listed();
            ended
                .iter_mut()
                .for_each(|entry| entry.not_after = tapdoor_reader::lock::now().saturating_sub(60));
            let mut lock = stage.lock(&[Method::ChallengeResponse], Algorithm::Milenage, ended)?;
            let mut found = Found::of(stage.tap(&mut lock, &mut phone), Some(Reason::NotEntitled), Some(1));
            found.ok &= before.verdict == TapVerdict::Open;
            Ok(found)
        },
    ),
    (
        "replayed-tape",
        "a recorded tap, played back to the lock that saw it",
        TapVerdict::Refused,
        |stage| {
            let tape = stage.folder.join("replay.tape");
            let list = stage.listed();
            let mut lock = stage.lock(&[Method::ChallengeResponse], Algorithm::Milenage, list)?;
            lock.record(SharedTape::new(TapeWriter::create(&tape, &Header::now("tapdoor demo"))?));
            let mut phone = stage.phone(false)?;
            let recorded = stage.tap(&mut lock, &mut phone);
            let mut source = TapeSource::open(&tape)?;
            let mut session = source.wait_card(&stage.stop)?;
            let replayed = lock.tap_on(session.link.as_mut(), &stage.stop, false, &mut |_| ());
            let mut found = Found::of(replayed, Some(Reason::Replay), Some(1));
            // A lock that was switched off in between has no memory of it, and refuses by the proof.
            let list = stage.listed();
            let mut other = stage.lock(&[Method::ChallengeResponse], Algorithm::Milenage, list)?;
            let mut session = source.wait_card(&stage.stop)?;
            let forgotten = other.tap_on(session.link.as_mut(), &stage.stop, false, &mut |_| ());
            found.ok &= recorded.verdict == TapVerdict::Open && forgotten.reason == Some(Reason::WrongKey);
            Ok(found)
        },
    ),
    (
        "torn-card",
        "the phone is taken away at each APDU of each method in turn; the next tap opens",
        TapVerdict::Error,
        |stage| {
            let list = stage.listed();
            let mut phone = stage.phone(false)?;
            let mut found = Found {
                verdict: TapVerdict::Error,
                reason: Some(Reason::Torn),
                detail: String::new(),
                ok: true,
            };
            let mut cuts = 0;
            for method in [Method::ChallengeResponse, Method::Aka] {
                let mut lock = stage.lock(&[method], Algorithm::Milenage, list.clone())?;
                // Before the card acts, and after it acted but before its answer is in.
                for fault in ["tear", "drop-answer"] {
                    for exchange in 1..=2 {
                        let Ok(plan) = format!("{exchange}:{fault}").parse() else {
                            continue;
                        };
                        let torn = stage.tap_with(&mut lock, &mut phone, plan);
                        let next = stage.tap(&mut lock, &mut phone);
                        cuts += 1;
                        if torn.verdict != TapVerdict::Error || next.verdict != TapVerdict::Open {
                            found.ok = false;
                            found.verdict = torn.verdict;
                            found.reason = torn.reason;
                        }
                    }
                }
            }
            found.detail = format!("{cuts} cuts: none opened, and after each the next tap did");
            Ok(found)
        },
    ),
];

/// Plays every scene and tells `observe` after each. `keep` gets the tape of the first one.
///
/// # Errors
/// [`DemoError`] when the stage cannot be set.
pub fn run(observe: &mut dyn FnMut(&Scenario), keep: &mut dyn FnMut(&Path)) -> Result<Vec<Scenario>, DemoError> {
    let mut scenarios = Vec::with_capacity(SCENES.len() + aliro::SCENES.len() + download::SCENES.len());
    for (name, shows, expected, scene) in SCENES.into_iter().chain(aliro::SCENES).chain(download::SCENES) {
        let folder = tempfile::tempdir()?;
        let site = Site::generate(2, false)?;
        let phone = site.phones.first().copied().unwrap_or(PhoneId([0; 8]));
        let started = Instant::now();
        let mut stage = Stage {
            site,
            phone,
            folder: folder.path().into(),
            stop: Stop::new(),
            count: 0,
        };
        let found = scene(&mut stage)?;
        let tape = folder.path().join("tap.tape");
        let scenario = Scenario {
            name,
            shows,
            verdict: found.verdict,
            reason: found.reason,
            expected,
            ok: found.ok && found.verdict == expected,
            time: started.elapsed(),
            detail: found.detail,
        };
        observe(&scenario);
        if tape.exists() {
            keep(&tape);
        }
        scenarios.push(scenario);
    }
    Ok(scenarios)
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_scene_ends_as_it_should() {
        let scenarios = super::run(&mut |_| (), &mut |_| ()).unwrap();
        assert_eq!(scenarios.len(), 22);
        for scenario in scenarios {
            assert!(scenario.ok, "{scenario:?}");
        }
    }
}
