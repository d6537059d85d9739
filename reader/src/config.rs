//! lock.toml: which lock this is, which methods it runs, which phones may open it.

mod aliro;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use tapdoor_agent::config::{Place, RawChip};
use tapdoor_chip::personalise::{Secret, SubscriberPart};
use tapdoor_chip::{Application, ListEntry, Personalisation, TestSubscriber};
use tapdoor_config::{ConfigError, Field, File, Spanned};
use tapdoor_link::Mode;
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::Algorithm;
use tapdoor_protocol::aliro::ReaderIdentifier;
use tapdoor_protocol::door::REQUIRE_USER;
use tapdoor_protocol::ids::{Iccid, Imsi, LockId, Mac, Msisdn};
use tapdoor_protocol::rf::frame::{BitRate, Technology};
use tapdoor_protocol::rf::polling::Annotation;
use tapdoor_protocol::vault;

use crate::policy::Caps;
use crate::source::radio::Polling;
use crate::updates::Updates;

/// A way to authenticate that this lock tries, in the order of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Challenge-response.
    ChallengeResponse,
    /// AKA profile P.
    Aka,
    /// AKA profile U: a test USIM. A laboratory switch.
    Usim,
    /// Aliro 1.0.
    Aliro,
}

impl Method {
    /// The words of the configuration and of `lock --method`.
    pub const WORDS: [(&'static str, Self); 4] = [
        ("challenge-response", Self::ChallengeResponse),
        ("aka", Self::Aka),
        ("usim", Self::Usim),
        ("aliro", Self::Aliro),
    ];

    /// The family's name in reports.
    #[must_use]
    pub fn family(self) -> vault::Method {
        match self {
            Self::ChallengeResponse => vault::Method::ChallengeResponse,
            Self::Aka | Self::Usim => vault::Method::Aka,
            Self::Aliro => vault::Method::Aliro,
        }
    }
}

/// AIDs of the phone's applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aids {
    /// Challenge-response.
    pub challenge_response: Aid,
    /// AKA profile P.
    pub aka: Aid,
    /// Identity.
    pub identity: Aid,
}

/// What moves when the verdict is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DoorConfig {
    /// A file to which each verdict is appended.
    pub log: Option<PathBuf>,
    /// A program and its arguments, run with the verdict in its environment.
    pub run: Vec<String>,
}

/// A whole lock.toml, checked.
#[derive(Debug)]
pub struct LockConfig {
    /// Which lock.
    pub id: LockId,
    /// Its chip's store.
    pub store: PathBuf,
    /// What is tried, in this order.
    pub methods: Vec<Method>,
    /// The phone's AIDs.
    pub aids: Aids,
    /// MILENAGE or TUAK, for profile P.
    pub algorithm: Algorithm,
    /// Time caps and what happens beyond them.
    pub caps: Caps,
    /// Longest delay after failures.
    pub max_delay: Duration,
    /// The door.
    pub door: DoorConfig,
    /// Whether LED and buzzer of an ACR122 are used.
    pub feedback: bool,
    /// How a reader in raw mode looks for phones.
    pub polling: Polling,
    /// What the lock's chip is filled with.
    pub personalisation: Personalisation,
    /// The server, if there is one.
    pub server: Option<ServerConfig>,
    /// Which Aliro reader it is, if it is one. The first 8 bytes of the reader group identifier ([`ReaderIdentifier::group`]) are what an enhanced
    /// contactless polling frame for it carries.
    pub aliro: Option<ReaderIdentifier>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    id: Field,
    store: Option<String>,
    methods: Option<Spanned<Vec<Field>>>,
    #[serde(default)]
    applications: RawAids,
    #[serde(default)]
    aka: RawAka,
    #[serde(default)]
    policy: RawPolicy,
    #[serde(default)]
    door: RawDoor,
    #[serde(default)]
    feedback: RawFeedback,
    #[serde(default)]
    polling: RawPolling,
    signing_key: Option<Field>,
    chip: Option<RawChip>,
    server: Option<RawServer>,
    #[serde(default)]
    phones: Vec<RawPhone>,
    usim: Option<RawUsim>,
    aliro: Option<aliro::RawAliro>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawAids {
    challenge_response: Option<Field>,
    aka: Option<Field>,
    identity: Option<Field>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawAka {
    algorithm: Option<Field>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPolicy {
    answer_cap_ms: Option<Spanned<u64>>,
    tap_cap_ms: Option<Spanned<u64>>,
    over_cap: Option<Field>,
    max_delay_ms: Option<Spanned<u64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawDoor {
    log: Option<String>,
    #[serde(default)]
    run: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawFeedback {
    enabled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPolling {
    technologies: Option<Spanned<Vec<Field>>>,
    annotation: Option<Field>,
    aliro_subtype: Option<Spanned<u8>>,
    rate: Option<Spanned<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPhone {
    id: Field,
    weakest: Option<Field>,
    not_after: Option<Field>,
    #[serde(default)]
    require_user_authentication: bool,
    k_id: Field,
    k_l: Field,
    milenage: Option<Field>,
    tuak: Option<Field>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawUsim {
    pin: Option<Field>,
    #[serde(default)]
    subscribers: Vec<RawSubscriber>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawSubscriber {
    id: Field,
    imsi: Field,
    algorithm: Option<Field>,
    k: Field,
    /// OPc or TOPc.
    opc: Field,
    not_after: Option<Field>,
}

const ALGORITHMS: [(&str, Algorithm); 2] = [("milenage", Algorithm::Milenage), ("tuak", Algorithm::Tuak)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawServer {
    url: Option<String>,
    ca: Option<String>,
    identifier: Option<RawIdentifier>,
    k_agent: Option<Field>,
    wait_ms: Option<Spanned<u64>>,
    updates: Option<Field>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawIdentifier {
    mac: Option<Field>,
    iccid: Option<Field>,
    imsi: Option<Field>,
    msisdn: Option<Field>,
}

/// The application management server, as the lock sees it.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Where it is.
    pub place: Place,
    /// What kind of name the lock has there (`mac`, `iccid`, `imsi`, `msisdn`, or `id`), and the name.
    pub name: (&'static str, String),
    /// How long a download is waited for.
    pub wait: Duration,
    /// When the server may change the lock's own chip.
    pub updates: Updates,
}

/// Longest delay after failures that may be configured.
const MAX_DELAY: u64 = 5000;

/// How long a download is waited for, unless set otherwise.
const DOWNLOAD_WAIT: Duration = Duration::from_secs(30);

impl LockConfig {
    /// Reads and checks a lock.toml.
    ///
    /// # Errors
    /// [`ConfigError`] naming file, line and field.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let (file, raw) = File::load(path)?;
        Self::check(&file, path, &raw)
    }

    /// The same from text.
    ///
    /// # Errors
    /// As [`LockConfig::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (file, raw) = File::parse(path, text.to_owned())?;
        Self::check(&file, path, &raw)
    }

    fn check(file: &File, path: &Path, raw: &Raw) -> Result<Self, ConfigError> {
        let id: LockId = file.value(&raw.id)?;
        let store = match &raw.store {
            Some(store) => file.resolve(store),
            None => path.with_extension("chip"),
        };
        let methods = match &raw.methods {
            Some(words) => words
                .get_ref()
                .iter()
                .map(|word| file.word(word, &Method::WORDS))
                .collect::<Result<Vec<_>, _>>()?,
            None => vec![Method::ChallengeResponse, Method::Aka],
        };
        if let (true, Some(words)) = (methods.is_empty(), &raw.methods) {
            return Err(file.error(&words.span(), "is empty: name at least one of challenge-response, aka, aliro, usim"));
        }
        for (index, method) in methods.iter().enumerate() {
            if methods[..index].contains(method) {
                let span = raw
                    .methods
                    .as_ref()
                    .and_then(|m| m.get_ref().get(index))
                    .map(Spanned::span)
                    .unwrap_or_default();
                return Err(file.error(&span, "names a method twice"));
            }
        }
        let aid = |field: &Option<Field>, default| field.as_ref().map_or(Ok(default), |f| aid(file, f));
        let aids = Aids {
            challenge_response: aid(&raw.applications.challenge_response, Aid::CHALLENGE_RESPONSE)?,
            aka: aid(&raw.applications.aka, Aid::AKA)?,
            identity: aid(&raw.applications.identity, Aid::IDENTITY)?,
        };
        let algorithm = raw
            .aka
            .algorithm
            .as_ref()
            .map_or(Ok(Algorithm::Milenage), |f| file.word(f, &ALGORITHMS))?;
        let list = list(file, &raw.phones, &methods, algorithm)?;
        let subscribers = subscribers(file, raw)?;
        let pin = match raw.usim.as_ref().and_then(|u| u.pin.as_ref()) {
            Some(pin) if (4..=8).contains(&pin.get_ref().len()) && pin.get_ref().bytes().all(|b| b.is_ascii_digit()) => {
                Some(pin.get_ref().as_str())
            }
            Some(pin) => return Err(file.error(&pin.span(), "must have 4 to 8 digits")),
            None => None,
        };
        let mut applications = vec![
            Application::challenge_response_lock(Aid::CHALLENGE_RESPONSE_LOCK, id, aids.challenge_response),
            Application::aka_lock(Aid::AKA_LOCK, id, aids.aka),
            Application::usim_host(Aid::USIM_HOST, id, pin),
        ];
        let reader = raw.aliro.as_ref().map(|raw| aliro::check(file, raw)).transpose()?;
        let identifier = reader.as_ref().map(|(_, identifier)| *identifier);
        applications.extend(reader.map(|(application, _)| application));
        if let (true, None) = (methods.contains(&Method::Aliro), identifier) {
            let span = raw.methods.as_ref().map(Spanned::span).unwrap_or_default();
            return Err(file.error(&span, "method aliro needs a section [aliro]; `tapdoor aliro reader` makes one"));
        }
        let agent = raw.server.as_ref().and_then(|server| server.k_agent.as_ref());
        if let Some(key) = &raw.signing_key {
            let mut request = Application::request_lock(Aid::REQUEST_LOCK, id, Secret::new(file.key::<32>(key)?.to_vec()));
            if let Some(agent) = agent {
                request = request.with_agent_key(Secret::new(file.key::<16>(agent)?.to_vec()));
            }
            applications.push(request);
        } else if raw.server.is_some() {
            return Err(file.error_in_file("a lock with a [server] needs a `signing-key`, by which its chip signs its requests"));
        }
        let has_aliro = methods.contains(&Method::Aliro);
        Ok(Self {
            id,
            store,
            methods,
            aids,
            algorithm,
            caps: caps(file, &raw.policy)?,
            max_delay: match &raw.policy.max_delay_ms {
                Some(ms) if *ms.get_ref() > MAX_DELAY => {
                    return Err(file.error(
                        &ms.span(),
                        format!("at most {MAX_DELAY}: a phone must not be shut out for longer by somebody's failures"),
                    ));
                }
                Some(ms) => Duration::from_millis(*ms.get_ref()),
                None => Duration::from_millis(MAX_DELAY),
            },
            door: DoorConfig {
                log: raw.door.log.as_deref().map(|p| file.resolve(p)),
                run: raw.door.run.clone(),
            },
            feedback: raw.feedback.enabled.unwrap_or(true),
            polling: polling(file, &raw.polling, identifier, has_aliro)?,
            personalisation: Personalisation {
                applications,
                list,
                subscribers,
                card_manager: raw.chip.as_ref().map(|chip| chip.check(file)).transpose()?,
            },
            server: raw.server.as_ref().map(|server| self::server(file, server, id)).transpose()?,
            aliro: identifier,
        })
    }
}

/// The longest polling frame, without its checksum: an enhanced contactless polling frame has at most 20 bytes.
const MAX_ANNOTATION: usize = 32;

/// The subtype of an access reader's polling frame that phones were seen to take.
const ACCESS: u8 = 0x06;

/// The terminal capabilities of Aliro.
const ALIRO: [u8; 3] = [0x20, 0x42, 0x20];

/// The frame by which phones know an Aliro reader of this group.
fn aliro_frame(reader: ReaderIdentifier, subtype: u8) -> Vec<u8> {
    Annotation::ecp_access(subtype, ALIRO, &reader.group()[..8]).data
}

fn polling(file: &File, raw: &RawPolling, reader: Option<ReaderIdentifier>, has_aliro: bool) -> Result<Polling, ConfigError> {
    let mut polling = Polling::default();
    if let Some(words) = &raw.technologies {
        let words: Vec<Technology> = words
            .get_ref()
            .iter()
            .map(|word| file.word(word, &[("a", Technology::A), ("b", Technology::B)]))
            .collect::<Result<_, _>>()?;
        polling.type_a = words.contains(&Technology::A);
        polling.type_b = words.contains(&Technology::B);
    }
    if let (false, false, Some(words)) = (polling.type_a, polling.type_b, &raw.technologies) {
        return Err(file.error(&words.span(), "is empty: name at least one of a, b"));
    }
    let subtype = raw.aliro_subtype.as_ref().map_or(ACCESS, |subtype| *subtype.get_ref());
    polling.annotation = match raw.annotation.as_ref().map(|field| (field, field.get_ref().as_str())) {
        // An iPhone shows its key to nobody else, and other phones do not mind.
        None => reader.filter(|_| has_aliro).map(|reader| aliro_frame(reader, subtype)),
        Some((_, "none")) => None,
        Some((field, "aliro")) => {
            let missing = "needs a section [aliro], whose group the frame names; `tapdoor aliro reader` makes one";
            let reader = reader.ok_or_else(|| file.error(&field.span(), missing))?;
            Some(aliro_frame(reader, subtype))
        }
        Some((field, _)) => {
            let frame = file.bytes(field)?;
            if !(2..=MAX_ANNOTATION).contains(&frame.len()) {
                let detail = format!(
                    "is a frame of {} bytes, where 2 to {MAX_ANNOTATION} can be, without checksum",
                    frame.len()
                );
                return Err(file.error(&field.span(), detail));
            }
            Some(frame.to_vec())
        }
    };
    if let Some(rate) = &raw.rate {
        let found = BitRate::ALL
            .into_iter()
            .find(|r| r.kbps() == *rate.get_ref() && *r <= BitRate::Kbps424);
        polling.rate = found.ok_or_else(|| file.error(&rate.span(), "is 106, 212 or 424"))?;
    }
    Ok(polling)
}

fn server(file: &File, raw: &RawServer, id: LockId) -> Result<ServerConfig, ConfigError> {
    let mut names = Vec::new();
    if let Some(identifier) = &raw.identifier {
        let kinds = [
            ("mac", &identifier.mac),
            ("iccid", &identifier.iccid),
            ("imsi", &identifier.imsi),
            ("msisdn", &identifier.msisdn),
        ];
        for (kind, field) in kinds {
            let Some(field) = field else { continue };
            match kind {
                "mac" => drop(file.value::<Mac>(field)?),
                "iccid" => drop(file.value::<Iccid>(field)?),
                "imsi" => drop(file.value::<Imsi>(field)?),
                _ => drop(file.value::<Msisdn>(field)?),
            }
            if !names.is_empty() {
                return Err(file.error(&field.span(), "is a second name: a lock has one, mac, iccid, imsi or msisdn"));
            }
            names.push((kind, field.get_ref().clone()));
        }
    }
    let wait = match &raw.wait_ms {
        Some(ms) if !(100..=600_000).contains(ms.get_ref()) => {
            return Err(file.error(&ms.span(), "must be 100 to 600000 (ten minutes)"));
        }
        Some(ms) => Duration::from_millis(*ms.get_ref()),
        None => DOWNLOAD_WAIT,
    };
    Ok(ServerConfig {
        place: tapdoor_agent::config::place(file, raw.url.as_deref(), raw.ca.as_deref()),
        name: names.pop().unwrap_or(("id", id.to_string())),
        wait,
        updates: raw.updates.as_ref().map_or(Ok(Updates::OnRequest), |field| file.value(field))?,
    })
}

fn aid(file: &File, field: &Field) -> Result<Aid, ConfigError> {
    let aid: Aid = file.value(field)?;
    if aid.as_bytes().len() < 5 {
        return Err(file.error(
            &field.span(),
            "an AID of an application has 5 to 16 bytes: phones do not route shorter ones",
        ));
    }
    Ok(aid)
}

fn caps(file: &File, raw: &RawPolicy) -> Result<Caps, ConfigError> {
    let mut caps = Caps::default();
    let milliseconds = |field: &Spanned<u64>| match *field.get_ref() {
        0 => Err(file.error(&field.span(), "must be at least 1 ms")),
        ms => Ok(Duration::from_millis(ms)),
    };
    if let Some(field) = &raw.answer_cap_ms {
        caps.answer = milliseconds(field)?;
    }
    if let Some(field) = &raw.tap_cap_ms {
        caps.tap = milliseconds(field)?;
    }
    if let Some(field) = &raw.over_cap {
        caps.mode = file.word(field, &[("warn", Mode::Warn), ("refuse", Mode::Refuse)])?;
    }
    Ok(caps)
}

fn moment(file: &File, field: Option<&Field>) -> Result<u32, ConfigError> {
    field.map_or(Ok(0), |f| file.time(f))
}

/// The place of each value seen so far, to say where a repeated one stood first.
fn first_time<'a, T: PartialEq>(file: &File, seen: &mut Vec<(T, &'a Field)>, value: T, field: &'a Field) -> Result<(), ConfigError> {
    if seen.iter().any(|(other, _)| *other == value) {
        return Err(file.error(&field.span(), "is there twice; each must be unique"));
    }
    seen.push((value, field));
    Ok(())
}

fn list(file: &File, phones: &[RawPhone], methods: &[Method], algorithm: Algorithm) -> Result<Vec<ListEntry>, ConfigError> {
    let words = [vault::Method::ChallengeResponse, vault::Method::Aka, vault::Method::Aliro].map(|m| (m.name(), m));
    let mut seen = std::collections::HashSet::with_capacity(phones.len());
    let mut list = Vec::with_capacity(phones.len());
    for phone in phones {
        let id = file.value(&phone.id)?;
        if !seen.insert(id) {
            return Err(file.error(&phone.id.span(), "this phone is there twice; each must be unique"));
        }
        let entry = ListEntry {
            phone: id,
            weakest: phone
                .weakest
                .as_ref()
                .map_or(Ok(vault::Method::ChallengeResponse), |f| file.word(f, &words))?,
            not_after: moment(file, phone.not_after.as_ref())?,
            flags: if phone.require_user_authentication { REQUIRE_USER } else { 0 },
            k_id: Secret::new(file.key::<16>(&phone.k_id)?.to_vec()),
            k_l: Secret::new(file.key::<16>(&phone.k_l)?.to_vec()),
            milenage: phone
                .milenage
                .as_ref()
                .map(|f| file.key::<32>(f).map(|k| Secret::new(k.to_vec())))
                .transpose()?,
            tuak: phone
                .tuak
                .as_ref()
                .map(|f| file.key::<64>(f).map(|k| Secret::new(k.to_vec())))
                .transpose()?,
        };
        // A phone that AKA is tried with must have keys for it: found now, not at the first tap.
        let missing = match algorithm {
            Algorithm::Milenage => entry.milenage.is_none(),
            Algorithm::Tuak => entry.tuak.is_none(),
        };
        if missing && methods.contains(&Method::Aka) {
            let detail = format!("this phone has no `{}` key (K || OPc), which method aka needs", algorithm.name());
            return Err(file.error(&phone.id.span(), detail));
        }
        list.push(entry);
    }
    Ok(list)
}

fn subscribers(file: &File, raw: &Raw) -> Result<Vec<TestSubscriber>, ConfigError> {
    let mut ids = Vec::new();
    let mut imsis = Vec::new();
    let mut out = Vec::new();
    for phone in &raw.phones {
        ids.push((file.value(&phone.id)?, &phone.id));
    }
    for s in raw.usim.iter().flat_map(|u| &u.subscribers) {
        let id = file.value(&s.id)?;
        first_time(file, &mut ids, id, &s.id)?;
        let imsi = s.imsi.get_ref().clone();
        if tapdoor_protocol::aka::profile_u::encode_imsi(&imsi).is_none() {
            return Err(file.error(&s.imsi.span(), "an IMSI has 1 to 15 decimal digits"));
        }
        first_time(file, &mut imsis, imsi.clone(), &s.imsi)?;
        let algorithm = s
            .algorithm
            .as_ref()
            .map_or(Ok(Algorithm::Milenage), |f| file.word(f, &ALGORITHMS))?;
        let key = Secret::subscriber(algorithm, &file.bytes(&s.k)?, &file.bytes(&s.opc)?).map_err(|part| match part {
            SubscriberPart::K => file.error(&s.k.span(), part.to_string()),
            SubscriberPart::Operator => file.error(&s.opc.span(), part.to_string()),
        })?;
        out.push(TestSubscriber {
            phone: id,
            imsi,
            algorithm,
            not_after: moment(file, s.not_after.as_ref())?,
            key,
        });
    }
    Ok(out)
}
