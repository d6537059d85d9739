//! phone.toml: which phone this is, and what its chip holds.

mod aliro;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tapdoor_agent::config::{Place, RawChip, RawPlace};
use tapdoor_chip::personalise::{Secret, SubscriberPart};
use tapdoor_chip::{Application, Personalisation};
use tapdoor_config::{ConfigError, Field, File};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aka::profile_u::{Profile, encode_iccid, encode_imsi};
use tapdoor_protocol::aka::{Algorithm, Sqn};
use tapdoor_protocol::door::USER_AUTHENTICATED;
use tapdoor_protocol::door::keys;
use tapdoor_protocol::identity::{Identity, IdentityKind};
use tapdoor_protocol::ids::PhoneId;

use crate::laboratory::{Laboratory, Switch};

/// A whole phone.toml, checked.
#[derive(Debug)]
pub struct PhoneConfig {
    /// Which phone.
    pub id: PhoneId,
    /// Its chip's store.
    pub store: PathBuf,
    /// What the chip is filled with.
    pub personalisation: Personalisation,
    /// The same with wrong keys for locks, for the laboratory's switch.
    pub wrong: Personalisation,
    /// Switches that are on.
    pub laboratory: Laboratory,
    /// Where applications come from. Without an address the agent does not run unless the command line gives one.
    pub server: Place,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    id: Field,
    store: Option<String>,
    k_ph: Option<Field>,
    #[serde(default)]
    user_authenticated: bool,
    applications: Option<Vec<Field>>,
    #[serde(default)]
    aids: RawAids,
    identity: Option<RawIdentity>,
    usim: Option<RawUsim>,
    aliro: Option<aliro::RawAliro>,
    chip: Option<RawChip>,
    server: Option<RawPlace>,
    #[serde(default)]
    laboratory: RawLaboratory,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawAids {
    challenge_response: Option<Field>,
    aka: Option<Field>,
    identity: Option<Field>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawIdentity {
    kind: Field,
    digits: Field,
    k_agent: Field,
    server_key: Field,
    #[serde(default)]
    plain: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawUsim {
    aid: Option<Field>,
    iccid: Field,
    imsi: Field,
    algorithm: Option<Field>,
    k: Field,
    opc: Field,
    pin: Option<Field>,
    #[serde(default)]
    kc: bool,
    sqn: Option<Field>,
    age_limit: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawLaboratory {
    #[serde(default)]
    switches: Vec<Field>,
}

#[derive(Clone, Copy, PartialEq)]
enum Program {
    ChallengeResponse,
    Aka,
    Identity,
    Aliro,
}

const PROGRAMS: [(&str, Program); 4] = [
    ("challenge-response", Program::ChallengeResponse),
    ("aka", Program::Aka),
    ("identity", Program::Identity),
    ("aliro", Program::Aliro),
];

impl PhoneConfig {
    /// Reads and checks a phone.toml.
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
    /// As [`PhoneConfig::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let (file, raw) = File::parse(path, text.to_owned())?;
        Self::check(&file, path, &raw)
    }

    fn check(file: &File, path: &Path, raw: &Raw) -> Result<Self, ConfigError> {
        let id: PhoneId = file.value(&raw.id)?;
        let programs = match &raw.applications {
            Some(words) => {
                let mut programs = Vec::with_capacity(words.len());
                for word in words {
                    let program = file.word(word, &PROGRAMS)?;
                    if program == Program::Aliro && raw.aliro.is_none() {
                        return Err(file.error(
                            &word.span(),
                            "needs a section [aliro] with its credentials; `tapdoor aliro credential` makes one",
                        ));
                    }
                    if programs.contains(&program) {
                        return Err(file.error(&word.span(), "is there twice; each must be unique"));
                    }
                    programs.push(program);
                }
                programs
            }
            None => PROGRAMS
                .map(|(_, program)| program)
                .into_iter()
                .filter(|program| *program != Program::Aliro || raw.aliro.is_some())
                .collect(),
        };
        let k_ph = match &raw.k_ph {
            Some(field) => file.key::<16>(field)?,
            // A phone that has only its identity gets its keys with its application.
            None if programs.iter().all(|program| matches!(program, Program::Identity | Program::Aliro)) => keys::Key::default(),
            None => {
                let detail = "missing field `k-ph`, from which the applications' keys derive; or `applications = [\"identity\"]`";
                return Err(file.error(&raw.id.span(), detail));
            }
        };
        let mut bent = k_ph.clone();
        bent[0] ^= 1;
        let k_id = keys::recognition(&k_ph);
        let card_manager = raw.chip.as_ref().map(|chip| chip.check(file)).transpose()?;
        let identity = raw.identity.as_ref().map(|raw| identity(file, raw)).transpose()?;
        let usim = raw.usim.as_ref().map(|raw| usim(file, raw)).transpose()?;
        let aid = |field: &Option<Field>, default| field.as_ref().map_or(Ok(default), |f| file.value::<Aid>(f));
        let aids = [
            aid(&raw.aids.challenge_response, Aid::CHALLENGE_RESPONSE)?,
            aid(&raw.aids.aka, Aid::AKA)?,
            aid(&raw.aids.identity, Aid::IDENTITY)?,
        ];
        let device = raw.aliro.as_ref().map(|raw| aliro::check(file, raw)).transpose()?;
        let flags = if raw.user_authenticated { USER_AUTHENTICATED } else { 0 };
        let fill = |k_ph: &[u8; 16], wrong: bool| {
            let (k_ph, k_id) = (Secret::new(k_ph.to_vec()), Secret::new(k_id.to_vec()));
            let mut applications: Vec<Application> = programs
                .iter()
                .filter_map(|program| {
                    Some(match program {
                        Program::ChallengeResponse => Application::challenge_response(aids[0], id, flags, k_ph.clone(), k_id.clone()),
                        Program::Aka => Application::aka(aids[1], id, k_ph.clone(), k_id.clone()),
                        Program::Identity => Application::identity(aids[2], identity.as_ref().map(|(i, agent)| (i, agent.clone()))),
                        Program::Aliro => device.as_ref()?.application(wrong),
                    })
                })
                .collect();
            applications.extend(usim.clone());
            Personalisation {
                applications,
                card_manager: card_manager.clone(),
                ..Personalisation::default()
            }
        };
        let mut laboratory = Laboratory::default();
        for switch in &raw.laboratory.switches {
            laboratory.set(file.value::<Switch>(switch)?);
        }
        let (personalisation, wrong) = (fill(&k_ph, false), fill(&bent, true));
        personalisation.check().map_err(|e| file.error_in_file(e.to_string()))?;
        Ok(Self {
            id,
            store: raw
                .store
                .as_deref()
                .map_or_else(|| path.with_extension("chip"), |s| file.resolve(s)),
            personalisation,
            wrong,
            laboratory,
            server: raw.server.as_ref().map(|server| server.check(file)).unwrap_or_default(),
        })
    }
}

fn identity(file: &File, raw: &RawIdentity) -> Result<(Identity, Secret), ConfigError> {
    let kinds = [
        ("imei", IdentityKind::Imei),
        ("iccid", IdentityKind::Iccid),
        ("imsi", IdentityKind::Imsi),
        ("msisdn", IdentityKind::Msisdn),
    ];
    let digits = raw.digits.get_ref().clone();
    if digits.is_empty() || digits.len() > 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(file.error(&raw.digits.span(), "must have 1 to 20 decimal digits"));
    }
    let server = file.bytes(&raw.server_key)?.to_vec();
    if !matches!((server.len(), server.first()), (33, Some(2 | 3)) | (65, Some(4))) {
        return Err(file.error(
            &raw.server_key.span(),
            "must be a P-256 public key, SEC1: 33 bytes from 02 or 03, or 65 from 04",
        ));
    }
    let agent = Secret::new(file.key::<16>(&raw.k_agent)?.to_vec());
    Ok((
        Identity {
            kind: file.word(&raw.kind, &kinds)?,
            digits,
            server,
            plain: raw.plain,
        },
        agent,
    ))
}

fn usim(file: &File, raw: &RawUsim) -> Result<Application, ConfigError> {
    let algorithms = [("milenage", Algorithm::Milenage), ("tuak", Algorithm::Tuak)];
    let algorithm = raw
        .algorithm
        .as_ref()
        .map_or(Ok(Algorithm::Milenage), |f| file.word(f, &algorithms))?;
    if encode_imsi(raw.imsi.get_ref()).is_none() {
        return Err(file.error(&raw.imsi.span(), "an IMSI has 1 to 15 decimal digits"));
    }
    if encode_iccid(raw.iccid.get_ref()).is_none() {
        return Err(file.error(&raw.iccid.span(), "an ICCID has 18 to 20 decimal digits"));
    }
    if let Some(pin) = &raw.pin
        && !((4..=8).contains(&pin.get_ref().len()) && pin.get_ref().bytes().all(|b| b.is_ascii_digit()))
    {
        return Err(file.error(&pin.span(), "must have 4 to 8 digits"));
    }
    let key = Secret::subscriber(algorithm, &file.bytes(&raw.k)?, &file.bytes(&raw.opc)?).map_err(|part| match part {
        SubscriberPart::K => file.error(&raw.k.span(), part.to_string()),
        SubscriberPart::Operator => file.error(&raw.opc.span(), part.to_string()),
    })?;
    let profile = Profile {
        algorithm,
        iccid: raw.iccid.get_ref().clone(),
        imsi: raw.imsi.get_ref().clone(),
        pin: raw.pin.as_ref().map(|p| p.get_ref().clone()),
        kc: raw.kc,
        start: match &raw.sqn {
            Some(field) => Sqn::from_bytes(*file.key::<6>(field)?).seq(),
            None => 0,
        },
        age_limit: raw.age_limit,
    };
    let aid = raw.aid.as_ref().map_or(Ok(Aid::USIM), |f| file.value(f))?;
    Ok(Application::usim(aid, &profile, key))
}
