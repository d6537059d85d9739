//! One tap: the applications are tried in the configured order, and what answers is authenticated.

use std::time::{Duration, Instant};

use tapdoor_link::relay_guard::Warning;
use tapdoor_link::{Abandoned, CardLink, Complete, Limits, LinkError, LinkErrorKind, RelayGuard, Timed};
use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::aliro;
use tapdoor_protocol::apdu::{Command, Response};
use tapdoor_protocol::door::{ControlFlow, LockStep, Outcome, Reason, Verdict, ins};
use tapdoor_protocol::identity::Request;
use tapdoor_protocol::ids::PhoneId;
use tapdoor_protocol::status::StatusWord;
use tapdoor_protocol::vault;

use crate::config::{LockConfig, Method};
use crate::control::Control;
use crate::feedback;

/// A card cannot keep a tap going for longer than this many exchanges. AKA with EF.DIR needs about twenty.
const MAX_EXCHANGES: u32 = 64;
/// Nor for longer than this, whatever the time caps say.
const MAX_TIME: Duration = Duration::from_secs(20);

/// How a tap ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TapVerdict {
    /// The door opens.
    Open,
    /// The lock decided against it.
    Refused,
    /// It did not come to a decision.
    Error,
}

impl TapVerdict {
    /// The word in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Refused => "refused",
            Self::Error => "error",
        }
    }
}

/// A tap, as it is reported.
#[derive(Clone, Debug)]
pub struct Tap {
    /// How it ended.
    pub verdict: TapVerdict,
    /// By which method, if it came to one.
    pub method: Option<vault::Method>,
    /// The phone, if it was recognised.
    pub phone: Option<PhoneId>,
    /// Why not, if not.
    pub reason: Option<Reason>,
    /// What was seen, in words.
    pub detail: String,
    /// APDUs exchanged with the phone, CONTROL FLOW aside.
    pub apdus: u64,
    /// From the first byte to the verdict, waiting after failures excluded.
    pub total: Duration,
    /// Of that, SELECTs.
    pub select: Duration,
    /// Of that, AUTHENTICATEs.
    pub authenticate: Duration,
    /// The longest answer.
    pub slowest: Duration,
    /// Time caps that were exceeded.
    pub warnings: Vec<Warning>,
    /// To be sent when the door has moved.
    pub control_flow: Option<Vec<u8>>,
    /// To be sent when it was to open and did not.
    pub stuck: Option<Vec<u8>>,
    /// Whether something reset the card: the tap may be tried once more.
    pub reset: bool,
    /// How long the download took, if an application was downloaded during this tap.
    pub download: Option<Duration>,
}

impl Tap {
    /// A tap whose card fell silent for ever, `total` after it began.
    pub(crate) fn abandoned(abandoned: &Abandoned, total: Duration) -> Self {
        Self {
            verdict: TapVerdict::Error,
            method: None,
            phone: None,
            reason: Some(match abandoned.error.kind {
                LinkErrorKind::Timeout => Reason::Timeout,
                _ => Reason::CardError,
            }),
            detail: abandoned.error.to_string(),
            apdus: abandoned.exchanges,
            total,
            select: Duration::ZERO,
            authenticate: Duration::ZERO,
            slowest: abandoned.since.elapsed(),
            warnings: Vec::new(),
            control_flow: None,
            stuck: None,
            reset: false,
            download: None,
        }
    }
}

/// A download that did not come about.
#[derive(Clone, Debug)]
pub struct NoDownload {
    /// As the tap's reason.
    pub reason: Reason,
    /// In words.
    pub detail: String,
}

/// Has the server install what the phone lacks, on the lock's signed request; when it is there, the tap goes on.
pub type Fetch<'a> = dyn FnMut(&Request) -> Result<(), NoDownload> + 'a;

/// What a tap asks of the lock around it.
pub struct Host<'a> {
    /// See [`Pause`].
    pub pause: &'a mut Pause<'a>,
    /// See [`Fetch`]; without it an application that is missing is missing.
    pub fetch: Option<&'a mut Fetch<'a>>,
    /// Whether the reader has LEDs that show that something is going on.
    pub leds: bool,
}

impl<'a> Host<'a> {
    /// A lock without a server, at a reader without LEDs.
    pub fn alone(pause: &'a mut Pause<'a>) -> Self {
        Self {
            pause,
            fetch: None,
            leds: false,
        }
    }
}

/// Asked when a recognised phone is about to be challenged: waits as the policy says, `false` to give up (somebody asked to stop).
pub type Pause<'a> = dyn FnMut(PhoneId) -> bool + 'a;

/// What ends the inner tap.
struct End {
    verdict: TapVerdict,
    method: Option<Method>,
    reason: Option<Reason>,
    detail: String,
    control_flow: Option<Vec<u8>>,
    reset: bool,
}

/// Every configured application was answered 6A82.
struct Missing {
    /// The identity application answers: it may be one of our phones.
    ours: bool,
    detail: &'static str,
}

struct Session<'a, P, L> {
    config: &'a LockConfig,
    control: &'a mut Control<L>,
    phone: Complete<RelayGuard<Timed<Bounded<P>>>>,
    pause: &'a mut Pause<'a>,
    waited: Duration,
    clock: u32,
    response: Vec<u8>,
    command: Vec<u8>,
    recognised: Option<PhoneId>,
    select: Duration,
    authenticate: Duration,
    leds: bool,
    fetch: Option<&'a mut Fetch<'a>>,
    download: Option<Duration>,
}

/// Runs one tap over `phone`, which is held. `clock` is seconds since 1970-01-01 UTC.
pub fn run<'a, P: CardLink, L: CardLink>(config: &'a LockConfig, control: &'a mut Control<L>, phone: P, clock: u32, host: Host<'a>) -> Tap {
    let started = Instant::now();
    let bounded = Bounded {
        link: phone,
        exchanges: 0,
        left: MAX_EXCHANGES,
        deadline: started + MAX_TIME,
    };
    let guard = RelayGuard::new(Timed::new(bounded))
        .with_caps(config.caps.answer, config.caps.tap)
        .with_mode(config.caps.mode);
    let mut session = Session {
        config,
        control,
        phone: Complete::new(guard),
        pause: host.pause,
        waited: Duration::ZERO,
        clock,
        response: Vec::with_capacity(300),
        command: Vec::with_capacity(64),
        recognised: None,
        select: Duration::ZERO,
        authenticate: Duration::ZERO,
        leds: host.leds,
        fetch: host.fetch,
        download: None,
    };
    let end = session.tap();
    let timing = session.phone.inner().inner().timing();
    let warnings = session.phone.inner().warnings().to_vec();
    let apdus = session.phone.inner().inner().inner().exchanges;
    let (recognised, select, authenticate) = (session.recognised, session.select, session.authenticate);
    let (waited, download) = (session.waited, session.download);
    drop(session);
    // An Aliro phone was told of success within the tap; what is left to say is that it came to nothing.
    let (control_flow, stuck) = match (end.verdict, end.method) {
        (TapVerdict::Open, Some(Method::Aliro)) => (None, end.control_flow),
        _ => (end.control_flow, None),
    };
    Tap {
        verdict: end.verdict,
        method: end.method.map(Method::family),
        phone: recognised,
        reason: end.reason,
        detail: end.detail,
        apdus: u64::from(apdus),
        total: started.elapsed().saturating_sub(waited),
        select,
        authenticate,
        slowest: timing.max,
        warnings,
        control_flow,
        stuck,
        reset: end.reset,
        download,
    }
}

/// A link that ends a tap which does not end by itself.
struct Bounded<P> {
    link: P,
    exchanges: u32,
    left: u32,
    deadline: Instant,
}

impl<P> Bounded<P> {
    /// The tap goes on after a download: it has as much before it as at its beginning.
    fn again(&mut self) {
        self.left = MAX_EXCHANGES;
        self.deadline = Instant::now() + MAX_TIME;
    }
}

impl<P: CardLink> CardLink for Bounded<P> {
    fn transmit(&mut self, command: &[u8], response: &mut Vec<u8>) -> Result<(), LinkError> {
        if self.left == 0 {
            let detail = format!("the card keeps the tap going after {MAX_EXCHANGES} exchanges");
            return Err(LinkError::new(LinkErrorKind::Malformed, "tap", detail).during(command));
        }
        if Instant::now() > self.deadline {
            let detail = format!("the tap does not come to an end within {} s", MAX_TIME.as_secs());
            return Err(LinkError::new(LinkErrorKind::Timeout, "tap", detail).during(command));
        }
        self.exchanges += 1;
        self.left -= 1;
        self.link.transmit(command, response)
    }

    fn limits(&self) -> Limits {
        self.link.limits()
    }
}

impl<P: CardLink, L: CardLink> Session<'_, P, L> {
    /// What the phone has taken so far.
    fn time(&self) -> Duration {
        self.phone.inner().inner().timing().total
    }

    /// What is missing is fetched, and then the tap begins afresh, with a full authentication.
    fn tap(&mut self) -> End {
        let missing = match self.methods() {
            Ok(end) => return end,
            Err(missing) => missing,
        };
        let (true, Some(fetch)) = (missing.ours, self.fetch.take()) else {
            return self.missing(missing.detail);
        };
        let begun = Instant::now();
        match self.download(fetch) {
            Ok(None) => self.download = Some(begun.elapsed()),
            Ok(Some(end)) => return end,
            Err(error) => return Self::failed_anyhow(None, &error),
        }
        match self.methods() {
            Ok(end) => end,
            Err(_) => {
                self.missing("the server says that the application was installed, and the phone still has none of the configured ones")
            }
        }
    }

    /// The identity application is selected. `None`: the application is there.
    fn download(&mut self, fetch: &mut Fetch<'_>) -> Result<Option<End>, LinkError> {
        let step = self.control.begin(Aid::REQUEST_LOCK, 0, self.clock, &[])?;
        let LockStep::Transmit { command, .. } = step else {
            return Ok(Some(self.missing("the lock's own chip does not ask for the phone's identity")));
        };
        self.phone.transmit(&command, &mut self.response)?;
        let request = match self.control.request(&self.response)? {
            Ok(request) => request,
            Err(outcome) => return Ok(Some(self.missing(&outcome.evidence))),
        };
        // Advice to the phone and to its owner; what becomes of it changes nothing.
        let _ = self.phone.transmit(&ControlFlow::downloading(), &mut self.response);
        if self.leds {
            feedback::show_waiting(&mut self.phone);
        }
        self.phone.inner_mut().pause();
        let outcome = fetch(&request);
        self.phone.inner_mut().resume();
        self.phone.inner_mut().inner_mut().inner_mut().again();
        Ok(outcome.err().map(|no| End {
            verdict: TapVerdict::Refused,
            method: None,
            reason: Some(no.reason),
            detail: no.detail,
            control_flow: None,
            reset: false,
        }))
    }

    /// `Err`: the phone has none of the applications.
    fn methods(&mut self) -> Result<End, Missing> {
        // A refusal by policy of a weaker method does not end the tap: the phone may have a stronger one.
        let mut too_weak: Option<End> = None;
        for &method in &self.config.methods {
            match self.method(method) {
                Ok(None) => {}
                Ok(Some(end)) if end.reason == Some(Reason::Policy) => {
                    too_weak.get_or_insert(end);
                }
                Ok(Some(end)) => return Ok(end),
                Err(error) => return Ok(Self::failed(method, &error)),
            }
        }
        if let Some(end) = too_weak {
            return Ok(end);
        }
        match self.select(self.config.aids.identity) {
            Ok(Some(sw)) => Err(Missing {
                ours: sw.is_ok(),
                detail: "the phone has none of the configured applications; its identity application answers",
            }),
            Ok(None) => Err(Missing {
                ours: false,
                detail: "none of the configured applications, and no identity application: not one of our phones",
            }),
            Err(error) => Ok(Self::failed_anyhow(None, &error)),
        }
    }

    fn missing(&self, detail: &str) -> End {
        End {
            verdict: TapVerdict::Refused,
            method: None,
            reason: Some(Reason::AppMissing),
            detail: detail.into(),
            control_flow: None,
            reset: false,
        }
    }

    fn failed(method: Method, error: &LinkError) -> End {
        Self::failed_anyhow(Some(method), error)
    }

    fn failed_anyhow(method: Option<Method>, error: &LinkError) -> End {
        let (verdict, reason) = match error.kind {
            LinkErrorKind::CardGone | LinkErrorKind::CardReset => (TapVerdict::Error, Reason::Torn),
            // The guard refuses by policy although there was an answer; a card that gives none is another matter.
            LinkErrorKind::Timeout if error.layer == "relay-guard" => (TapVerdict::Refused, Reason::Timeout),
            LinkErrorKind::Timeout => (TapVerdict::Error, Reason::Timeout),
            _ => (TapVerdict::Error, Reason::CardError),
        };
        End {
            verdict,
            method,
            reason: Some(reason),
            detail: error.to_string(),
            control_flow: match (verdict, method, error.kind) {
                // The guard refused although the phone answers: it may be told. An Aliro device that answers without end is told, too.
                (TapVerdict::Refused, Some(Method::Aliro), _) | (_, Some(Method::Aliro), LinkErrorKind::Malformed) => {
                    Some(aliro::ControlFlow::FAILURE.command())
                }
                (TapVerdict::Refused, ..) => Some(ControlFlow::plain(reason)),
                _ => None,
            },
            reset: error.kind == LinkErrorKind::CardReset,
        }
    }

    /// `None`: the phone has no such application.
    fn method(&mut self, method: Method) -> Result<Option<End>, LinkError> {
        let (application, p2, fci) = match method {
            Method::Usim => {
                let step = self.control.begin(Aid::USIM_HOST, 0, self.clock, &[])?;
                return self.steps(method, step);
            }
            Method::ChallengeResponse => (Aid::CHALLENGE_RESPONSE_LOCK, 0, self.select(self.config.aids.challenge_response)?),
            Method::Aka => (Aid::AKA_LOCK, self.config.algorithm.p2(), self.select(self.config.aids.aka)?),
            Method::Aliro => (Aid::ALIRO_LOCK, 0, self.select(Aid::ALIRO_EXPEDITED)?),
        };
        let Some(fci) = fci else { return Ok(None) };
        if !fci.is_ok() {
            let detail = format!("SELECT was answered with {fci} ({})", fci.meaning());
            let mut outcome = Outcome::refused(Reason::CardError, None, detail);
            if method == Method::Aliro {
                outcome.control_flow = Some(aliro::ControlFlow::FAILURE.command());
            }
            return Ok(Some(self.end(method, outcome)));
        }
        let data = self.response.split_last_chunk::<2>().map_or(&[][..], |(data, _)| data);
        let step = self.control.begin(application, p2, self.clock, data)?;
        match method {
            Method::Aliro => self.aliro(step).map(Some),
            _ => self.steps(method, step),
        }
    }

    /// Aliro's reader makes chains and follows 61xx itself, and has something to say when an answer does not come.
    fn aliro(&mut self, mut step: LockStep) -> Result<End, LinkError> {
        loop {
            match step {
                LockStep::Transmit { command, phone } => {
                    self.recognised = phone.or(self.recognised);
                    let proved = command.get(1) == Some(&aliro::ins::EXCHANGE);
                    if proved {
                        // The phone's proof is complete: what is said from here on takes the time that it takes.
                        self.phone.inner_mut().pause();
                    }
                    let before = self.time();
                    let sent = self.phone.inner_mut().transmit(&command, &mut self.response);
                    self.phone.inner_mut().resume();
                    if matches!(
                        command.get(1),
                        Some(&(aliro::ins::AUTH0 | aliro::ins::AUTH1 | aliro::ins::LOAD_CERT))
                    ) {
                        self.authenticate += self.time() - before;
                    }
                    step = match sent {
                        Ok(()) => self.control.next(&self.response)?,
                        Err(error) if proved && error.kind != LinkErrorKind::Cancelled => match self.control.next(&[])? {
                            LockStep::Done(outcome) if outcome.verdict == Verdict::Open => LockStep::Done(outcome),
                            LockStep::Done(outcome) => return Ok(self.torn(&outcome, &error)),
                            LockStep::Transmit { .. } => return Err(error),
                        },
                        Err(error) => return Err(error),
                    };
                }
                LockStep::Done(outcome) => return Ok(self.end(Method::Aliro, outcome)),
            }
        }
    }

    /// A tap that lost its phone after the phone's proof, and before it could open.
    fn torn(&mut self, outcome: &Outcome, error: &LinkError) -> End {
        self.recognised = outcome.phone.or(self.recognised);
        End {
            detail: format!("{} ({error})", outcome.evidence),
            ..Self::failed(Method::Aliro, error)
        }
    }

    /// SELECT: the FCI is left in `response`. `None` for 6A82.
    fn select(&mut self, aid: Aid) -> Result<Option<StatusWord>, LinkError> {
        let encoded = Command::new(0x00, 0xA4, 0x04, 0x00)
            .data(aid.as_bytes())
            .ne(256)
            .encode_into(&mut self.command);
        encoded.map_err(|e| LinkError::new(LinkErrorKind::TooLong, "tap", e.to_string()))?;
        let before = self.time();
        self.phone.transmit(&self.command, &mut self.response)?;
        self.select += self.time() - before;
        let sw = Response::parse(&self.response)
            .map_err(|e| LinkError::new(LinkErrorKind::Malformed, "tap", e.to_string()))?
            .sw;
        Ok((sw != StatusWord::NOT_FOUND).then_some(sw))
    }

    fn steps(&mut self, method: Method, mut step: LockStep) -> Result<Option<End>, LinkError> {
        loop {
            match step {
                LockStep::Transmit { command, phone } => {
                    if let Some(phone) = phone
                        && self.recognised.replace(phone) != Some(phone)
                    {
                        self.phone.inner_mut().pause();
                        let before = Instant::now();
                        let go_on = (self.pause)(phone);
                        self.waited += before.elapsed();
                        self.phone.inner_mut().resume();
                        if !go_on {
                            return Err(LinkError::new(
                                LinkErrorKind::Cancelled,
                                "tap",
                                "stopped while a failed phone had to wait",
                            ));
                        }
                    }
                    let before = self.time();
                    self.phone.transmit(&command, &mut self.response)?;
                    if command.get(1) == Some(&ins::AUTHENTICATE) {
                        self.authenticate += self.time() - before;
                    }
                    step = self.control.next(&self.response)?;
                }
                LockStep::Done(outcome) => {
                    // A card without a USIM is a card without this application.
                    let missing = method == Method::Usim && outcome.verdict == Verdict::Refused(Reason::AppMissing);
                    return Ok((!missing).then(|| self.end(method, outcome)));
                }
            }
        }
    }

    fn end(&mut self, method: Method, outcome: Outcome) -> End {
        self.recognised = outcome.phone.or(self.recognised);
        let (verdict, reason) = match outcome.verdict {
            Verdict::Open => (TapVerdict::Open, None),
            Verdict::Refused(reason) => (TapVerdict::Refused, Some(reason)),
        };
        End {
            verdict,
            method: Some(method),
            reason,
            detail: outcome.evidence,
            control_flow: outcome.control_flow,
            reset: false,
        }
    }
}
