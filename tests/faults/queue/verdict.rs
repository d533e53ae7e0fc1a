//! The verdict: what was to be done, compared with what is there.
//!
//! **Invariant:** it shares no code with the queue, and reads its tables as a superuser.

use std::collections::HashMap;

use faults::work::Way;
use jobs::JobState;
use sqlx::{PgPool, Row as _};
use uuid::Uuid;

use super::expected::Expected;

/// A job, as the tables tell it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) job_id: Uuid,
    pub(crate) number: i64,
    pub(crate) state: JobState,
    pub(crate) attempts: i64,
    pub(crate) excused: i64,
    /// Whether it has left the queue.
    pub(crate) is_swept: bool,
}

/// The traces that work leaves when it is done.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    /// The number of the work, for each effect.
    pub(crate) effects: Vec<i64>,
    /// The number of the work and the key, for each call.
    pub(crate) calls: Vec<(i64, Uuid)>,
    /// How many attempts found that they were not due yet.
    pub(crate) early: usize,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) completed: usize,
    pub(crate) cancelled: usize,
    pub(crate) discarded: usize,
    /// How many attempts all that took, and how many of them did not count.
    pub(crate) attempts: i64,
    pub(crate) excused: i64,
    /// Calls of somebody outside.
    pub(crate) calls: usize,
    /// Everything that is wrong.
    pub(crate) wrong: Wrong,
}

/// What is wrong; of each kind, how often.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Work that has no job.
    pub(crate) lost: usize,
    /// Jobs of work that has another one, or that nobody asked for.
    pub(crate) doubled: usize,
    /// Jobs in a state that is not the one they must end in.
    pub(crate) in_wrong_state: usize,
    /// Jobs that have ended and are still in the queue, or have not ended.
    pub(crate) left_in_queue: usize,
    /// Effects that are missing.
    pub(crate) effects_missing: usize,
    /// Effects beyond the first of each job, or of jobs that must have none.
    pub(crate) effects_doubled: usize,
    /// Outside calls that were never made.
    pub(crate) calls_missing: usize,
    /// Calls under another key than the job's id.
    pub(crate) other_keys: usize,
    /// Jobs that were performed before they were due.
    pub(crate) early: usize,
}

impl Verdict {
    /// Whether everything is as it must be.
    pub(crate) fn is_clean(&self) -> bool {
        self.wrong == Wrong::default()
    }

    /// Compares.
    pub(crate) fn compare(expected: &[Expected], jobs: &[Found], traces: &Traces) -> Self {
        let Traces { effects, calls, early } = traces;
        let children = expected.iter().filter_map(|work| work.child());
        let expected: HashMap<i64, Expected> =
            expected.iter().copied().chain(children).map(|work| (work.number, work)).collect();
        let mut verdict = Self { calls: calls.len(), ..Self::default() };
        let mut found: HashMap<i64, &Found> = HashMap::new();
        for job in jobs {
            let is_wanted = expected.contains_key(&job.number);
            let is_second = found.insert(job.number, job).is_some();
            verdict.wrong.doubled += usize::from(is_second || !is_wanted);
            verdict.count(job);
        }
        let mut had: HashMap<i64, usize> = HashMap::new();
        for number in effects {
            *had.entry(*number).or_default() += 1;
        }
        let mut called: HashMap<i64, Vec<Uuid>> = HashMap::new();
        for (number, key) in calls {
            called.entry(*number).or_default().push(*key);
        }
        for work in expected.values() {
            let job = found.get(&work.number);
            verdict.wrong.lost += usize::from(job.is_none());
            verdict.wrong.in_wrong_state +=
                usize::from(job.is_some_and(|j| j.state != work.state()));
            verdict.weigh(*work, had.remove(&work.number).unwrap_or(0));
            let keys = called.remove(&work.number).unwrap_or_default();
            verdict.wrong.calls_missing += usize::from(work.way == Way::Outside && keys.is_empty());
            let is_other = |key: &&Uuid| job.is_none_or(|job| job.job_id != **key);
            verdict.wrong.other_keys += keys.iter().filter(is_other).count();
        }
        verdict.wrong.early = *early;
        // Of what nobody asked for.
        verdict.wrong.effects_doubled += had.values().sum::<usize>();
        verdict.wrong.other_keys += called.values().map(Vec::len).sum::<usize>();
        verdict
    }

    fn count(&mut self, job: &Found) {
        self.attempts += job.attempts;
        self.excused += job.excused;
        self.wrong.left_in_queue += usize::from(!job.is_swept);
        match job.state {
            JobState::Completed => self.completed += 1,
            JobState::Cancelled => self.cancelled += 1,
            JobState::Discarded => self.discarded += 1,
            _ => {}
        }
    }

    fn weigh(&mut self, work: Expected, effects: usize) {
        let wanted = usize::from(work.has_effect());
        self.wrong.effects_missing += wanted.saturating_sub(effects);
        self.wrong.effects_doubled += effects.saturating_sub(wanted);
    }
}

/// Reads what is there, and compares it with what was to be done. Work with a number below zero
/// recurs, and is judged by who let it.
pub(crate) async fn judge(owner: &PgPool, expected: &[Expected]) -> Verdict {
    let effects: Vec<i64> =
        sqlx::query_scalar("select number from faults.effects where number >= 0")
            .fetch_all(owner)
            .await
            .expect("the owner may look at everything");
    let calls: Vec<(i64, Uuid)> = sqlx::query_as("select number, key from faults.calls")
        .fetch_all(owner)
        .await
        .expect("the owner may look at everything");
    let early: i64 = sqlx::query_scalar("select count(*) from faults.early")
        .fetch_one(owner)
        .await
        .expect("the owner may look at everything");
    let early = usize::try_from(early).expect("a count");
    Verdict::compare(expected, &jobs(owner).await, &Traces { effects, calls, early })
}

async fn jobs(owner: &PgPool) -> Vec<Found> {
    let rows = sqlx::query(
        "select id, (args ->> 'number')::bigint as number, state, attempt::bigint,
             excused::bigint, is_swept
         from (
             select id, args, state, attempt, excused, false as is_swept from jobs.jobs
             union all
             select id, args, state, attempt, excused, true from jobs.finished
         ) as job
         where (args ->> 'number')::bigint >= 0",
    )
    .fetch_all(owner)
    .await
    .expect("the owner may look at everything");
    let job = |row: &sqlx::postgres::PgRow| Found {
        job_id: row.get("id"),
        number: row.get("number"),
        state: JobState::from_name(row.get("state")).expect("there are seven states"),
        attempts: row.get("attempt"),
        excused: row.get("excused"),
        is_swept: row.get("is_swept"),
    };
    rows.iter().map(job).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Work of each kind that was done as it should be.
    fn done() -> (Vec<Expected>, Vec<Found>, Traces) {
        let ways = [Way::Command, Way::Parent, Way::Outside, Way::Hopeless, Way::Refusing];
        let expected: Vec<Expected> =
            (0..).zip(ways).map(|(number, way)| Expected { number, way }).collect();
        let children = expected.iter().filter_map(|work| work.child());
        let all: Vec<Expected> = expected.iter().copied().chain(children).collect();
        let job = |work: &Expected| Found {
            job_id: Uuid::now_v7(),
            number: work.number,
            state: work.state(),
            attempts: 1,
            excused: 0,
            is_swept: true,
        };
        let jobs: Vec<Found> = all.iter().map(job).collect();
        let effects = all.iter().filter(|work| work.has_effect()).map(|work| work.number);
        let calls = vec![(2, jobs[2].job_id), (2, jobs[2].job_id)];
        let traces = Traces { effects: effects.collect(), calls, early: 0 };
        (expected, jobs, traces)
    }

    #[test]
    fn the_judge_has_nothing_to_say_when_everything_was_done() {
        let (expected, jobs, traces) = done();

        let verdict = Verdict::compare(&expected, &jobs, &traces);

        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.completed, verdict.discarded, verdict.cancelled), (4, 1, 1));
    }

    #[test]
    fn the_judge_sees_jobs_that_are_lost_doubled_or_ended_wrongly() {
        let (expected, mut jobs, traces) = done();
        jobs[0].number = 77;
        jobs[3].state = JobState::Executing;
        jobs[3].is_swept = false;
        let traces = Traces { early: 1, ..traces };

        let wrong = Verdict::compare(&expected, &jobs, &traces).wrong;

        let found = (wrong.lost, wrong.doubled, wrong.in_wrong_state, wrong.left_in_queue);
        assert_eq!((found, wrong.early), ((1, 1, 1, 1), 1), "{wrong:?}");
    }

    #[test]
    fn the_judge_counts_effects_and_calls() {
        let (expected, jobs, mut traces) = done();
        traces.effects[1] = traces.effects[0];
        traces.effects.push(3);
        traces.calls[1].1 = Uuid::now_v7();
        let nothing = Verdict::compare(&expected, &jobs, &Traces::default()).wrong;

        let wrong = Verdict::compare(&expected, &jobs, &traces).wrong;

        assert_eq!((wrong.effects_missing, wrong.effects_doubled), (1, 2), "{wrong:?}");
        assert_eq!((wrong.calls_missing, wrong.other_keys), (0, 1), "{wrong:?}");
        assert_eq!((nothing.calls_missing, nothing.effects_missing), (1, 3), "{nothing:?}");
    }
}
