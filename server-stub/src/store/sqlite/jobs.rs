//! Jobs and their history.

use rusqlite::{Row, ToSql};
use tapdoor_protocol::ids::LockId;

use super::super::{JobEnd, Result};
use super::{SqliteStore, damaged};
use crate::registry::{ChipRef, Job, JobEvent, JobId, JobKind, JobState, NewJob};

/// A row of `jobs`; `None` if it cannot have been written by us.
fn job(row: &Row<'_>) -> rusqlite::Result<Option<Job>> {
    let chip = ChipRef::from_parts(row.get(1)?, row.get(2)?);
    let kind: Option<JobKind> = serde_json::from_str(row.get_ref(3)?.as_str()?).ok();
    let state = JobState::from_number(row.get(7)?);
    let (Some(chip), Some(kind), Some(state)) = (chip, kind, state) else {
        return Ok(None);
    };
    Ok(Some(Job {
        id: row.get(0)?,
        order: NewJob {
            chip,
            kind,
            urgent: row.get(4)?,
            window: row.get(5)?,
            requester: row.get::<_, Option<[u8; 8]>>(6)?.map(LockId),
        },
        state,
        attempts: row.get(8)?,
        created: unsigned(row.get(9)?),
        updated: unsigned(row.get(10)?),
        ms: unsigned(row.get(11)?),
        code: row.get(12)?,
        message: row.get(13)?,
    }))
}

fn unsigned(n: i64) -> u64 {
    u64::try_from(n).unwrap_or_default()
}

/// Times and durations fit for some time yet.
fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

impl SqliteStore {
    pub(super) fn read_jobs(&self, rest: &str, parameters: &[&dyn ToSql]) -> Result<Vec<Job>> {
        let sql = format!(
            "SELECT id, side, chip, kind, urgent, window, requester, state, attempts, created, updated, ms, code, message FROM jobs {rest}"
        );
        self.all("read jobs", &sql, parameters, job)?
            .into_iter()
            .map(|job| job.ok_or_else(|| damaged("read jobs")))
            .collect()
    }

    pub(super) fn insert_job(&mut self, order: &NewJob, now: u64) -> Result<JobId> {
        let chip = order.chip;
        // An installation that runs is as good as one that waits. A list entry is not: what runs was made from the grants of before.
        let also_running = matches!(order.kind, JobKind::Install { .. });
        let kind = serde_json::to_string(&order.kind).map_err(|_| damaged("write a job"))?;
        let same = self.first(
            "look for the same job",
            "SELECT id FROM jobs WHERE side = ?1 AND chip = ?2 AND state < 2 AND kind = ?3 AND (state = 0 OR ?4) ORDER BY state DESC, id LIMIT 1",
            &[&chip.number(), &chip.id(), &kind, &also_running],
            |row| row.get::<_, JobId>(0),
        )?;
        if let Some(id) = same {
            self.execute(
                "join a job",
                "UPDATE jobs SET urgent = urgent OR ?2, window = window AND ?3, requester = CASE WHEN ?4 IS NULL THEN NULL ELSE requester END WHERE id = ?1",
                &[&id, &order.urgent, &order.window, &order.requester.map(|lock| lock.0)],
            )?;
            return Ok(id);
        }
        self.execute(
            "add a job",
            "INSERT INTO jobs (side, chip, kind, urgent, window, requester, state, created, updated) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?7)",
            &[
                &chip.number(),
                &chip.id(),
                &kind,
                &order.urgent,
                &order.window,
                &order.requester.map(|lock| lock.0),
                &signed(now),
            ],
        )?;
        let id = self.connection.last_insert_rowid();
        self.note(id, JobState::Queued, "made", now)?;
        Ok(id)
    }

    pub(super) fn begin_attempt(&mut self, id: JobId, now: u64) -> Result<Option<u32>> {
        let attempt = self.first(
            "begin a job",
            "UPDATE jobs SET state = 1, attempts = attempts + 1, updated = ?2, code = NULL, message = NULL WHERE id = ?1 AND state = 0 RETURNING attempts",
            &[&id, &signed(now)],
            |row| row.get::<_, u32>(0),
        )?;
        if let Some(attempt) = attempt {
            self.note(id, JobState::Running, &format!("attempt {attempt}"), now)?;
        }
        Ok(attempt)
    }

    pub(super) fn end_attempt(&mut self, id: JobId, attempt: u32, to: JobState, end: &JobEnd, now: u64) -> Result<bool> {
        let changed = self.execute(
            "end a job's attempt",
            "UPDATE jobs SET state = ?3, updated = ?4, ms = ?5, code = ?6, message = ?7 WHERE id = ?1 AND state = 1 AND attempts = ?2",
            &[&id, &attempt, &(to as u8), &signed(now), &signed(end.ms), &end.code, &end.message],
        )?;
        if changed == 0 {
            return Ok(false);
        }
        let detail = match (&end.code, &end.message) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(text), None) | (None, Some(text)) => text.clone(),
            (None, None) => String::new(),
        };
        self.note(id, to, &detail, now)?;
        Ok(true)
    }

    pub(super) fn requeue_running(&mut self, chip: Option<ChipRef>, why: &str, now: u64) -> Result<u64> {
        let (side, id) = chip.map(|chip| (chip.number(), chip.id())).unzip();
        let running = self.all(
            "list running jobs",
            "SELECT id, attempts FROM jobs WHERE state = 1 AND (?1 IS NULL OR (side = ?1 AND chip = ?2))",
            &[&side, &id],
            |row| Ok((row.get::<_, JobId>(0)?, row.get::<_, u32>(1)?)),
        )?;
        let end = JobEnd {
            message: Some(why.to_owned()),
            ..JobEnd::default()
        };
        let mut count = 0;
        for (id, attempt) in running {
            count += u64::from(self.end_attempt(id, attempt, JobState::Queued, &end, now)?);
        }
        Ok(count)
    }

    fn note(&self, id: JobId, state: JobState, detail: &str, now: u64) -> Result<()> {
        self.execute(
            "write a job's history",
            "INSERT INTO job_events (job, number, at, state, detail)
             SELECT ?1, 1 + coalesce(max(number), 0), ?2, ?3, ?4 FROM job_events WHERE job = ?1",
            &[&id, &signed(now), &(state as u8), &detail],
        )
        .map(drop)
    }

    pub(super) fn read_history(&self, id: JobId) -> Result<Vec<JobEvent>> {
        self.all(
            "read a job's history",
            "SELECT at, state, detail FROM job_events WHERE job = ?1 ORDER BY number",
            &[&id],
            |row| {
                let Some(state) = JobState::from_number(row.get(1)?) else {
                    return Ok(None);
                };
                Ok(Some(JobEvent {
                    at: unsigned(row.get(0)?),
                    state,
                    detail: row.get(2)?,
                }))
            },
        )?
        .into_iter()
        .map(|event| event.ok_or_else(|| damaged("read a job's history")))
        .collect()
    }
}
