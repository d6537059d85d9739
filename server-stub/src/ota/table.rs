//! All sessions: found by token, one for each chip, ended when their agents fall silent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;

use super::session::{Session, finish};
use crate::error::ApiError;
use crate::registry::{ChipRef, JobState};
use crate::state::{Shared, stopped};
use crate::store::JobEnd;

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    all: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_token: HashMap<String, Arc<Session>>,
    by_chip: HashMap<ChipRef, String>,
}

impl Sessions {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session of this token. Tokens have 32 random bytes and are looked up by hash, so time tells nothing about them.
    pub(super) fn find(&self, token: &str) -> Option<Arc<Session>> {
        self.table().by_token.get(token).cloned()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table().by_token.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A new session for a chip whose agent has proved itself. It replaces the one that was there.
    pub(super) async fn begin(&self, state: &Shared, chip: ChipRef) -> Result<Arc<Session>, ApiError> {
        let token = crate::ca::random_token().map_err(|_| ApiError::no_random())?;
        let session = Arc::new(Session::new(token.to_string(), chip));
        let old = {
            let mut table = self.table();
            if table.by_token.len() >= state.limits.agents && !table.by_chip.contains_key(&chip) {
                return Err(ApiError::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too-many-agents",
                    "the server serves as many agents as it may: come back later",
                ));
            }
            let old = table.by_chip.insert(chip, session.token().to_owned());
            let old = old.and_then(|token| table.by_token.remove(&token));
            table.by_token.insert(session.token().to_owned(), session.clone());
            old
        };
        if let Some(old) = old {
            old.end();
        }
        let now = state.clock.now();
        // Attempts are numbered, so whatever the old session still tries to write about its job comes to nothing.
        state
            .db
            .call(move |store| store.requeue(Some(chip), "the agent connected anew", now))
            .await?;
        Ok(session)
    }

    /// Takes a session out, if it is still the one of its chip.
    fn remove(&self, session: &Session) {
        let mut table = self.table();
        table.by_token.remove(session.token());
        if table.by_chip.get(&session.chip()).is_some_and(|token| token == session.token()) {
            table.by_chip.remove(&session.chip());
        }
    }

    fn silent(&self, longest: Duration) -> Vec<Arc<Session>> {
        let all: Vec<Arc<Session>> = self.table().by_token.values().cloned().collect();
        all.into_iter().filter(|session| session.is_silent(longest)).collect()
    }
}

/// Ends sessions whose agents have not been heard of for too long, until the server stops. Their jobs wait again.
pub async fn reap(state: Shared) {
    let longest = state.limits.session;
    let mut ticks = tokio::time::interval((longest / 4).max(Duration::from_millis(10)));
    let mut stopping = state.stopping.clone();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stopped(&mut stopping) => return,
        }
        for session in state.sessions.silent(longest) {
            tracing::info!(agent = %session.chip(), "agent silent, session ended");
            state.sessions.remove(&session);
            if let Some(running) = session.end() {
                let end = JobEnd {
                    message: Some("the agent was not heard of any more".into()),
                    ..JobEnd::default()
                };
                finish(&state, session.chip(), &running, JobState::Queued, end).await;
            }
        }
    }
}
