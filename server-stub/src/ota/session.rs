//! One agent's session.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::StatusCode;
use tapdoor_protocol::globalplatform::remote_admin::{AdminError, AdminSession, AdminStep, ScriptStatus};
use tapdoor_protocol::globalplatform::scp03::Scp03Error;
use tokio::sync::watch;

use crate::error::ApiError;
use crate::hub::{JobView, Present};
use crate::jobs::Begun;
use crate::registry::{ChipRef, JobId, JobState};
use crate::state::{Shared, stopped};
use crate::store::JobEnd;

/// Size of a script, in bytes: an installation of 16 kB goes in three, so that its progress can be seen.
const SCRIPT: usize = 8 * 1024;
/// How often a job may be begun whose answers make no sense.
const GARBLED: u32 = 5;

/// What a step was answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The number of the next step.
    pub next: u64,
    /// The script; none for "nothing to do yet".
    pub script: Option<Bytes>,
}

impl Answer {
    fn script(step: u64, script: Vec<u8>) -> Self {
        Self {
            next: step + 1,
            script: Some(script.into()),
        }
    }

    fn nothing(step: u64) -> Self {
        Self {
            next: step + 1,
            script: None,
        }
    }
}

/// A job under way.
#[derive(Debug)]
pub(super) struct Running {
    job: JobId,
    attempt: u32,
    session: AdminSession,
    since: Instant,
    /// The chip is at work while its agent has no request open.
    _present: Present,
}

#[derive(Debug)]
struct Inner {
    /// The last step that was answered, and how.
    answered: Option<(u64, Answer)>,
    /// The last step whose body was taken.
    taken: u64,
    running: Option<Running>,
    seen: Instant,
    open: usize,
    ended: bool,
}

/// A session.
pub struct Session {
    token: String,
    chip: ChipRef,
    inner: Mutex<Inner>,
    /// Which request waits: a newer one sends the older away. Its end, too, is told by a change.
    turn: watch::Sender<u64>,
}

/// Writes down how an attempt ended, and tells it.
pub(super) async fn finish(state: &Shared, chip: ChipRef, running: &Running, to: JobState, mut end: JobEnd) {
    let (id, attempt, now) = (running.job, running.attempt, state.clock.now());
    end.ms = u64::try_from(running.since.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (code, ms) = (end.code.clone(), end.ms);
    let told = end.message.clone();
    match state.db.call(move |store| store.end_job(id, attempt, to, &end, now)).await {
        Ok(true) => {
            match to {
                JobState::Failed => tracing::warn!(job = id, agent = %chip, code, message = told, ms, "job failed"),
                _ => tracing::info!(job = id, agent = %chip, ms, message = told, "job {}", to.word()),
            }
            state.announce(id).await;
            if to == JobState::Queued {
                state.hub.ring(chip);
            }
        }
        Ok(false) => tracing::info!(job = id, agent = %chip, "the end of an attempt that was replaced"),
        // It stays "running" in the store and waits again when the agent connects anew, or at the next start.
        Err(error) => tracing::error!(%error, job = id, "the end of a job could not be written down"),
    }
}

/// What an error of a session means: a word, and whether it is worth another attempt.
fn judge(error: &AdminError) -> (&'static str, bool) {
    match error {
        AdminError::ResponseScript(_) | AdminError::UnexpectedAnswer | AdminError::Missing { .. } | AdminError::Status { .. } => {
            ("garbled-answer", true)
        }
        AdminError::CommandScript(_) => ("script-refused", false),
        AdminError::Select { .. } => ("no-card-manager", false),
        AdminError::SecureChannel(Scp03Error::CardCryptogram { .. } | Scp03Error::Protocol { .. } | Scp03Error::Level { .. })
        | AdminError::Authentication { .. } => ("chip-keys", false),
        AdminError::SecureChannel(Scp03Error::Refused { .. }) => ("chip-refused", false),
        AdminError::SecureChannel(_) => ("secure-channel", true),
        AdminError::Downgrade { .. } => ("downgrade", false),
        AdminError::Refused { .. } => ("chip-refused", false),
        _ => ("internal", false),
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Session({})", self.chip)
    }
}

fn done(changed: bool) -> (JobState, JobEnd) {
    let note = if changed { "changed the chip" } else { "was done already" };
    let end = JobEnd {
        message: Some(note.into()),
        ..JobEnd::default()
    };
    (JobState::Done, end)
}

fn failed(error: &AdminError, attempt: u32) -> (JobState, JobEnd) {
    let (code, again) = judge(error);
    let end = JobEnd {
        code: Some(code.into()),
        message: Some(error.to_string()),
        ms: 0,
    };
    let to = if again && attempt < GARBLED {
        JobState::Queued
    } else {
        JobState::Failed
    };
    (to, end)
}

impl Session {
    /// One that begins.
    pub(super) fn new(token: String, chip: ChipRef) -> Self {
        Self {
            token,
            chip,
            inner: Mutex::new(Inner {
                answered: None,
                taken: 0,
                running: None,
                seen: Instant::now(),
                open: 0,
                ended: false,
            }),
            turn: watch::Sender::new(0),
        }
    }

    /// By which its agent names it. A secret.
    pub(super) fn token(&self) -> &str {
        &self.token
    }

    /// Whose it is.
    #[must_use]
    pub fn chip(&self) -> ChipRef {
        self.chip
    }

    /// Where the next step goes.
    pub(super) fn uri(&self, number: u64) -> String {
        format!("/v1/admin/{}/{number}", self.token)
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_silent(&self, longest: Duration) -> bool {
        let inner = self.inner();
        inner.open == 0 && inner.seen.elapsed() >= longest
    }

    /// Ends it; what ran in it is given back.
    pub(super) fn end(&self) -> Option<Running> {
        let running = {
            let mut inner = self.inner();
            inner.ended = true;
            inner.running.take()
        };
        self.turn.send_modify(|turn| *turn += 1);
        running
    }

    /// The answer to a step that was answered before; `None` for the next step.
    pub(super) fn answered(&self, number: u64) -> Result<Option<Answer>, ApiError> {
        let inner = self.inner();
        let last = inner.answered.as_ref().map(|(last, _)| *last);
        match (&inner.answered, last) {
            (Some((last, answer)), _) if *last == number => Ok(Some(answer.clone())),
            (Some((last, _)), _) if last + 1 == number => Ok(None),
            _ => Err(out_of_order()),
        }
    }

    /// Takes a step's body, once. An answer, if the body leads to the next script, is there afterwards.
    pub(super) fn take(self: &Arc<Self>, state: &Shared, number: u64, status: ScriptStatus, content: Bytes) -> Result<(), ApiError> {
        let mut guard = self.inner();
        let inner = &mut *guard;
        inner.seen = Instant::now();
        if inner.ended {
            return Err(out_of_order());
        }
        if inner.taken >= number {
            // The same request again, while the first waits for a job.
            return Ok(());
        }
        let Some(running) = &mut inner.running else {
            if !content.is_empty() {
                return Err(ApiError::new(
                    StatusCode::CONFLICT,
                    "out-of-order",
                    "a response came, but no script was given",
                ));
            }
            inner.taken = number;
            return Ok(());
        };
        if status == ScriptStatus::Ok && content.is_empty() {
            return Err(ApiError::malformed("the response script is missing"));
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| ApiError::no_random())?;
        inner.taken = number;
        let ended = if status == ScriptStatus::Ok {
            let step = running.session.step(Some(&content), &random);
            let progress = running.session.progress();
            let view = JobView {
                state: JobState::Running,
                done: progress.done,
                total: progress.total,
                code: None,
                message: None,
            };
            state.hub.tell(running.job, view);
            match step {
                AdminStep::Script(script) => {
                    inner.answered = Some((number, Answer::script(number, script)));
                    return Ok(());
                }
                AdminStep::Done(report) => done(report.changed()),
                AdminStep::Failed(error) => failed(&error, running.attempt),
            }
        } else {
            let end = JobEnd {
                code: Some("script-refused".into()),
                message: Some(format!("the agent did not run the script: {status}")),
                ms: 0,
            };
            (JobState::Failed, end)
        };
        let (to, end) = ended;
        // In a task of its own, so that it is written down even if the agent hangs up now.
        if let Some(running) = inner.running.take() {
            let (state, chip) = (state.clone(), self.chip);
            tokio::spawn(async move { finish(&state, chip, &running, to, end).await });
        }
        Ok(())
    }

    /// Waits until a step can be answered: by a script, or after some time by nothing.
    pub(super) async fn wait(self: &Arc<Self>, state: &Shared, number: u64) -> Result<Answer, ApiError> {
        let mut turn = self.turn.subscribe();
        let mut mine = 0;
        self.turn.send_modify(|turn| {
            *turn += 1;
            mine = *turn;
        });
        turn.mark_unchanged();
        let _open = Open::new(self, state);
        let bell = state.hub.bell(self.chip);
        // The answer to the proof is not held open: the agent learns at once that it is connected.
        let hold = if number == 0 { Duration::ZERO } else { state.limits.poll };
        let deadline = tokio::time::Instant::now() + hold;
        let mut stopping = state.stopping.clone();
        loop {
            {
                let inner = self.inner();
                if let Some((last, answer)) = &inner.answered
                    && *last == number
                {
                    return Ok(answer.clone());
                }
                if inner.ended || *self.turn.borrow() != mine {
                    // A ring that this request heard was meant for the one in its place.
                    bell.notify_one();
                    return Err(out_of_order());
                }
            }
            let (session, shared) = (self.clone(), state.clone());
            // In a task of its own: a job that was begun must not be lost when this request is.
            let looked = tokio::spawn(async move { session.look(&shared, number).await }).await;
            match looked {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    return Err(ApiError::new(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        "internal",
                        "the server failed; see its log",
                    ));
                }
            }
            let nothing = tokio::select! {
                () = bell.notified() => false,
                _ = turn.changed() => false,
                () = tokio::time::sleep_until(deadline) => true,
                () = stopped(&mut stopping) => true,
            };
            if nothing {
                let mut inner = self.inner();
                if inner.answered.as_ref().is_none_or(|(last, _)| *last < number) && !inner.ended {
                    inner.answered = Some((number, Answer::nothing(number)));
                }
            }
        }
    }

    /// Looks for a job, and begins it as the answer to this step. True if there is an answer now.
    async fn look(self: &Arc<Self>, state: &Shared, number: u64) -> Result<bool, ApiError> {
        let (chip, now, workshop) = (self.chip, state.clock.now(), state.workshop.clone());
        let busy = state.hub.is_busy(chip);
        let found = state.db.call(move |store| workshop.next(store, chip, busy, now)).await?;
        for id in found.failed {
            tracing::warn!(job = id, agent = %chip, "job given up before it began");
            state.announce(id).await;
        }
        let Some(begun) = found.begun else {
            return Ok(false);
        };
        let (job, attempt) = (begun.job.id, begun.attempt);
        tracing::info!(job, attempt, agent = %chip, kind = ?begun.job.order.kind, "job begun");
        match self.start(state, number, begun) {
            Ok(()) => Ok(true),
            Err((running, why)) => {
                let (to, code) = why.map_or((JobState::Queued, None), |code| (JobState::Failed, Some(code.to_owned())));
                let end = JobEnd {
                    code,
                    message: Some("the session ended before the job was handed out".into()),
                    ms: 0,
                };
                finish(state, chip, &running, to, end).await;
                Ok(true)
            }
        }
    }

    /// The first script of a job becomes the answer. If that cannot be, the job is given back, with a reason if it cannot be done at all.
    fn start(&self, state: &Shared, number: u64, begun: Begun) -> Result<(), (Box<Running>, Option<&'static str>)> {
        let mut running = Running {
            job: begun.job.id,
            attempt: begun.attempt,
            session: AdminSession::new(begun.keys, begun.kvn, begun.work).script_limit(SCRIPT),
            since: Instant::now(),
            _present: state.hub.present(self.chip),
        };
        let mut random = [0; 16];
        if getrandom::fill(&mut random).is_err() {
            return Err((Box::new(running), Some("no-random")));
        }
        let mut inner = self.inner();
        let late = inner.answered.as_ref().is_some_and(|(last, _)| *last >= number);
        if inner.ended || inner.running.is_some() || late {
            return Err((Box::new(running), None));
        }
        match running.session.step(None, &random) {
            AdminStep::Script(script) => {
                inner.answered = Some((number, Answer::script(number, script)));
                inner.running = Some(running);
                Ok(())
            }
            AdminStep::Done(_) | AdminStep::Failed(_) => Err((Box::new(running), Some("internal"))),
        }
    }
}

fn out_of_order() -> ApiError {
    ApiError::new(
        StatusCode::CONFLICT,
        "out-of-order",
        "this is not the session's next step, or a newer request took its place",
    )
}

/// A request that is open: it keeps the session alive, and the agent counts as present.
struct Open {
    session: Arc<Session>,
    _present: Present,
}

impl Open {
    fn new(session: &Arc<Session>, state: &Shared) -> Self {
        session.inner().open += 1;
        Self {
            session: session.clone(),
            _present: state.hub.present(session.chip),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut inner = self.session.inner();
        inner.open = inner.open.saturating_sub(1);
        inner.seen = Instant::now();
    }
}
