//! What is to be done, and what must have become of it in the end.

use std::time::Duration;

use chrono::TimeDelta;
use faults::work::{CHILDREN, WORK, Way, Work};
use jobs::{JobState, NewJob};
use kernel::{OrgId, Scope, Timestamp};
use serde_json::json;
use uuid::Uuid;

use super::site::HARMED;
use crate::amount::is_full;
use crate::random::Random;

/// How many jobs in a hundred go each way; some commands are unique or scheduled, see [`mixed`].
const MIXTURE: [(u64, Way); 9] = [
    (22, Way::Command),
    (20, Way::Outside),
    (8, Way::Parent),
    (10, Way::Flaky),
    (3, Way::Panicking),
    (6, Way::Snoozing),
    (3, Way::Hopeless),
    (3, Way::Refusing),
    (25, Way::Command),
];
/// Of a hundred, the commands from this one on are enqueued three times under one key.
const UNIQUE_FROM: u64 = 75;
/// Of a hundred, the commands from this one on are scheduled.
const SCHEDULED_FROM: u64 = 85;
/// How late a scheduled one is due at most.
const SCHEDULED_MS_MAX: u64 = 8_000;

/// A piece of work that one job must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) number: i64,
    pub(crate) way: Way,
}

impl Expected {
    /// The state in which its job ends.
    pub(crate) fn state(self) -> JobState {
        match self.way {
            Way::Refusing | Way::Dependent => JobState::Cancelled,
            Way::Hopeless
            | Way::Poisonous
            | Way::Hanging
            | Way::Spinning
            | Way::Flooding
            | Way::Verbose
            | Way::Unknown
            | Way::Unreadable => JobState::Discarded,
            _ => JobState::Completed,
        }
    }

    /// After how many failed attempts its job is discarded.
    pub(crate) fn attempts_max(self) -> u16 {
        match self.way {
            // The gate has no time for more: each end of a process takes a few seconds to be found.
            Way::Flooding if !is_full() => 1,
            _ if self.state() == JobState::Discarded => 2,
            _ => 20,
        }
    }

    /// Whether it has an effect in the database.
    pub(crate) fn has_effect(self) -> bool {
        self.state() == JobState::Completed && self.way != Way::Outside
    }

    /// The work its job leaves, if it leaves any.
    pub(crate) fn child(self) -> Option<Self> {
        (self.way == Way::Parent)
            .then_some(Self { number: self.number + CHILDREN, way: Way::Command })
    }
}

/// So many pieces of work of all kinds, and the jobs to enqueue for them, in random order.
pub(crate) fn mixed(
    count: usize,
    random: &mut Random,
    now: Timestamp,
) -> (Vec<Expected>, Vec<NewJob>) {
    let (mut expected, mut jobs) = (Vec::new(), Vec::new());
    for number in (0..).take(count) {
        let place = random.within(0..100);
        let work = Expected { number, way: way_at(place) };
        let mut job = job(HARMED, work);
        match place {
            UNIQUE_FROM..SCHEDULED_FROM => {
                job.unique_key = Some(format!("key {number}"));
                let again = || NewJob { job_id: kernel::JobId::new(), ..job.clone() };
                jobs.extend([again(), again()]);
            }
            SCHEDULED_FROM.. => {
                let delay = random.within(0..SCHEDULED_MS_MAX).cast_signed();
                job.scheduled_at = Some(now + TimeDelta::milliseconds(delay));
            }
            _ => {}
        }
        expected.push(work);
        jobs.push(job);
    }
    for place in (1..jobs.len()).rev() {
        jobs.swap(place, random.below(place + 1));
    }
    (expected, jobs)
}

/// Jobs of one queue that all go the same way.
pub(crate) fn alike(
    queue: &str,
    way: Way,
    numbers: std::ops::Range<i64>,
) -> (Vec<Expected>, Vec<NewJob>) {
    let expected: Vec<Expected> = numbers.map(|number| Expected { number, way }).collect();
    let jobs = expected.iter().map(|work| job(queue, *work)).collect();
    (expected, jobs)
}

/// The job of a piece of work.
pub(crate) fn job(queue: &str, work: Expected) -> NewJob {
    let Expected { number, way } = work;
    let args = serde_json::to_value(Work { number, way }).expect("numbers and names are JSON");
    let mut job = NewJob::new(queue, WORK, args, Scope::system(org_id(), "faults", Uuid::now_v7()));
    job.max_attempts = work.attempts_max();
    match way {
        Way::Hanging | Way::Spinning => job.timeout = Duration::from_millis(200),
        Way::Unknown => "unheard_of".clone_into(&mut job.name),
        Way::Unreadable => job.args = json!({ "number": number, "path": "renamed" }),
        _ => {}
    }
    job
}

/// The organisation of all jobs.
fn org_id() -> OrgId {
    OrgId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_a100))
}

fn way_at(place: u64) -> Way {
    let mut end = 0;
    let found = MIXTURE.iter().find(|(share, _)| {
        end += share;
        place < end
    });
    found.expect("the shares add up to a hundred").1
}
