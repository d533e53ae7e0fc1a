//! The places of a queue on this node: which attempts run, and which ended without a word.
//!
//! Producer and attempts share this value across their restarts. An attempt holds a [`Slot`] for as
//! long as it exists; however it ends, the slot is dropped, and one that was not settled is *lost*:
//! a kill or a fault outside the job, which the producer then records.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::JobId;
use otp::Nudge;

use crate::Attempt;
use crate::counters::Counters;

/// An attempt, as it is told apart from earlier ones of its job.
pub(crate) type AttemptKey = (JobId, u32);

/// What the processes of one queue share on this node.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) queue: String,
    pub(crate) nudge: Nudge,
    pub(crate) counters: Counters,
    limit: AtomicU32,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    running: HashMap<AttemptKey, Arc<Attempt>>,
    lost: Vec<Lost>,
    unwanted: HashSet<JobId>,
    claims_under_way: u32,
}

/// An attempt that ended without a word.
#[derive(Debug, Clone)]
pub(crate) struct Lost {
    pub(crate) attempt: Arc<Attempt>,
    /// Whether it had begun to perform its job.
    pub(crate) has_begun: bool,
}

impl Slots {
    pub(crate) fn new(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            nudge: Nudge::new(),
            counters: Counters::default(),
            limit: AtomicU32::new(0),
            book: Mutex::default(),
        }
    }

    pub(crate) fn set_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn running_count(&self) -> u32 {
        u32::try_from(self.book().running.len()).unwrap_or(u32::MAX)
    }

    /// How many more attempts may run.
    pub(crate) fn demand(&self) -> u32 {
        self.limit().saturating_sub(self.running_count())
    }

    /// Everything that runs, or has ended without its end being recorded yet.
    pub(crate) fn held(&self) -> Vec<AttemptKey> {
        let book = self.book();
        let lost = book.lost.iter().map(|lost| key(&lost.attempt));
        book.running.keys().copied().chain(lost).collect()
    }

    /// Everything that runs.
    pub(crate) fn running_keys(&self) -> Vec<AttemptKey> {
        self.book().running.keys().copied().collect()
    }

    /// Says that a claim is under way, until the answer is dropped. What it claims belongs to this
    /// node already, though no attempt of it is in the book yet.
    pub(crate) fn begin_claim(self: &Arc<Self>) -> Claim {
        self.book().claims_under_way += 1;
        Claim(self.clone())
    }

    /// Everything that runs; `None` while a claim is under way, when that cannot be told.
    pub(crate) fn running_if_known(&self) -> Option<Vec<AttemptKey>> {
        let book = self.book();
        (book.claims_under_way == 0).then(|| book.running.keys().copied().collect())
    }

    /// Enters an attempt into the book. It stays there until the slot is dropped.
    pub(crate) fn occupy(self: &Arc<Self>, attempt: Attempt) -> Slot {
        let attempt = Arc::new(attempt);
        self.book().running.insert(key(&attempt), attempt.clone());
        Slot { slots: self.clone(), attempt, has_begun: false, is_settled: false }
    }

    /// The attempts lost so far, each until it is forgotten.
    pub(crate) fn lost(&self) -> Vec<Lost> {
        self.book().lost.clone()
    }

    /// The end of a lost attempt is recorded.
    pub(crate) fn forget(&self, attempt: &Attempt) {
        self.book().lost.retain(|lost| key(&lost.attempt) != key(attempt));
    }

    /// Asks for the end of a job's attempts on this node, if there are any.
    pub(crate) fn unwant(&self, job_id: JobId) {
        let mut book = self.book();
        if book.running.keys().any(|(running, _)| *running == job_id) {
            book.unwanted.insert(job_id);
            drop(book);
            self.nudge.nudge();
        }
    }

    /// The running attempts that were asked to end.
    pub(crate) fn take_unwanted(&self) -> Vec<AttemptKey> {
        let mut book = self.book();
        let unwanted = std::mem::take(&mut book.unwanted);
        let running = book.running.keys().copied();
        running.filter(|(job_id, _)| unwanted.contains(job_id)).collect()
    }

    /// The book is consistent between any two statements, so a panic elsewhere does not spoil it.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(attempt: &Attempt) -> AttemptKey {
    (attempt.job_id, attempt.number)
}

/// The name of an attempt's process among its siblings.
pub(crate) fn child_id((job_id, number): AttemptKey) -> String {
    format!("{job_id}-{number}")
}

/// A claim under way.
#[derive(Debug)]
pub(crate) struct Claim(Arc<Slots>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.book().claims_under_way -= 1;
    }
}

/// The place of one attempt.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    attempt: Arc<Attempt>,
    has_begun: bool,
    is_settled: bool,
}

impl Slot {
    pub(crate) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    pub(crate) fn key(&self) -> AttemptKey {
        key(&self.attempt)
    }

    pub(crate) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// From here on the attempt may have had an effect.
    pub(crate) fn begin(&mut self) {
        self.has_begun = true;
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Its end is recorded.
    pub(crate) fn settle(&mut self) {
        self.is_settled = true;
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut book = self.slots.book();
        book.running.remove(&key(&self.attempt));
        if !self.is_settled {
            let has_begun = self.has_begun;
            book.lost.push(Lost { attempt: self.attempt.clone(), has_begun });
        }
        drop(book);
        self.slots.nudge.nudge();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::DateTime;
    use kernel::{OrgId, Scope};
    use serde_json::Value;
    use uuid::Uuid;

    use super::*;

    fn attempt() -> Attempt {
        Attempt {
            job_id: JobId::new(),
            queue: "recruit".into(),
            name: "work".into(),
            args: Value::Null,
            scope: Scope::system(OrgId::new(), "test", Uuid::now_v7()),
            number: 1,
            excused: 0,
            max_attempts: 20,
            timeout: Duration::from_secs(1),
            scheduled_at: DateTime::UNIX_EPOCH,
            attempted_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_runs_cannot_be_told_while_a_claim_is_under_way() {
        let slots = Arc::new(Slots::new("recruit"));

        let claim = slots.begin_claim();
        let slot = slots.occupy(attempt());
        let during = slots.running_if_known();
        drop(claim);

        assert_eq!(during, None);
        assert_eq!(slots.running_if_known(), Some(vec![slot.key()]));
    }

    #[test]
    fn a_slot_that_is_dropped_unsettled_is_lost_until_it_is_forgotten() {
        let slots = Arc::new(Slots::new("recruit"));
        let mut settled = slots.occupy(attempt());
        let unsettled = slots.occupy(attempt());
        let key = unsettled.key();

        settled.settle();
        drop(settled);
        drop(unsettled);

        assert_eq!(slots.running_count(), 0);
        assert_eq!(slots.held(), [key]);
        let lost = slots.lost();
        slots.forget(&lost[0].attempt);
        assert_eq!(slots.held(), []);
    }

    #[test]
    fn demand_is_what_the_limit_leaves() {
        let slots = Arc::new(Slots::new("recruit"));
        slots.set_limit(2);

        let slot = slots.occupy(attempt());
        let with_one = slots.demand();
        slots.set_limit(0);
        let with_none_allowed = slots.demand();
        drop(slot);

        assert_eq!((with_one, with_none_allowed), (1, 0));
    }
}
