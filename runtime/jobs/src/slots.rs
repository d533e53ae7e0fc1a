//! The places of a queue on this node: which attempts run, and which ended and how.
//!
//! Producer, attempts and recorder share this value across their restarts. An attempt holds a
//! [`Slot`] while it runs, and leaves how it ended in the book, where the recorder finds it; its
//! place is free from then on. A slot that is dropped without that is *lost*: a kill or a fault
//! outside the job, which is an end like any other.
//!
//! **Invariant:** what this node has claimed is in the book, as running, ended or lost, until its
//! end is recorded. So nobody takes it for gone meanwhile, whichever of the processes dies.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::{JobId, Timestamp};
use otp::Nudge;

use crate::control::Control;
use crate::counters::Counters;
use crate::ending::{self, Ended, Ending};
use crate::meters::QueueMeters;
use crate::{Attempt, Failure};

/// An attempt, as it is told apart from earlier ones of its job.
pub(crate) type AttemptKey = (JobId, u32);

/// While so many ends wait to be recorded, no more jobs are claimed.
const UNRECORDED_MAX: u32 = 500;

/// What the processes of one queue share on this node.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) queue: String,
    /// Wakes the producer.
    pub(crate) nudge: Nudge,
    /// Wakes the recorder.
    pub(crate) ends: Nudge,
    pub(crate) counters: Counters,
    pub(crate) meters: QueueMeters,
    pub(crate) control: Control,
    /// Held by whoever claims a job beside the producer until it is in the book, and by a producer
    /// that takes back what is not: else it would take that for a claim of its predecessor.
    pub(crate) by_hand: tokio::sync::Mutex<()>,
    limit: AtomicU32,
    book: Mutex<Book>,
}

#[derive(Debug, Default)]
struct Book {
    running: HashMap<AttemptKey, Arc<Attempt>>,
    /// Oldest first.
    ended: VecDeque<Arc<Ended>>,
    lost: Vec<Lost>,
    unwanted: HashSet<JobId>,
    superseded: HashSet<AttemptKey>,
    claims_under_way: u32,
    is_letting_go: bool,
}

/// An attempt that ended without a word.
#[derive(Debug)]
struct Lost {
    attempt: Arc<Attempt>,
    /// Whether that counts against its job.
    counts: bool,
}

impl Lost {
    fn ended(self, at: Timestamp) -> Ended {
        let killed = Failure::Retry("killed: the attempt ended without a word".to_owned());
        let decided = self.counts.then(|| ending::decide(&self.attempt, Err(killed), at)).flatten();
        Ended { attempt: self.attempt, ending: decided.unwrap_or(Ending::Released), at }
    }
}

impl Slots {
    pub(crate) fn new(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            nudge: Nudge::new(),
            ends: Nudge::new(),
            counters: Counters::default(),
            meters: QueueMeters::default(),
            control: Control::default(),
            by_hand: tokio::sync::Mutex::default(),
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
        if self.control.is_paused_here() {
            return 0;
        }
        let book = self.book();
        let count = |length| u32::try_from(length).unwrap_or(u32::MAX);
        let free = self.limit().saturating_sub(count(book.running.len()));
        free.min(UNRECORDED_MAX.saturating_sub(count(book.ended.len() + book.lost.len())))
    }

    /// Everything that runs, or has ended without its end being recorded yet.
    pub(crate) fn held(&self) -> Vec<AttemptKey> {
        self.book().held()
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

    /// Everything that is held; `None` while a claim is under way, when that cannot be told.
    pub(crate) fn held_if_known(&self) -> Option<Vec<AttemptKey>> {
        let book = self.book();
        (book.claims_under_way == 0).then(|| book.held())
    }

    /// Enters an attempt into the book. It stays there until its end is recorded.
    pub(crate) fn occupy(self: &Arc<Self>, attempt: Attempt) -> Slot {
        let attempt = Arc::new(attempt);
        self.book().running.insert(key(&attempt), attempt.clone());
        Slot { slots: self.clone(), attempt, has_begun: false, has_left: false }
    }

    /// Whether attempts that are lost from now on are excused, because the queue lets go of them.
    pub(crate) fn let_go(&self, is_letting_go: bool) {
        self.book().is_letting_go = is_letting_go;
    }

    /// Up to `count` attempts whose end is to be recorded, oldest first; each until it is
    /// forgotten. What was lost has ended at `now`.
    pub(crate) fn ended(&self, count: usize, now: Timestamp) -> Vec<Arc<Ended>> {
        let mut book = self.book();
        let lost = std::mem::take(&mut book.lost);
        book.ended.extend(lost.into_iter().map(|lost| Arc::new(lost.ended(now))));
        book.ended.iter().take(count).cloned().collect()
    }

    /// Whether any end is to be recorded.
    pub(crate) fn has_ended(&self) -> bool {
        let book = self.book();
        !(book.ended.is_empty() && book.lost.is_empty())
    }

    /// The oldest `count` ends are recorded.
    pub(crate) fn forget_ended(&self, count: usize) {
        let mut book = self.book();
        let was_full = book.ended.len() >= UNRECORDED_MAX as usize;
        book.ended.drain(..count);
        drop(book);
        if was_full {
            self.nudge.nudge();
        }
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

    /// Asks for the end of one attempt, whose job has perhaps another on this node by now; whether
    /// there is such an attempt.
    pub(crate) fn unwant_attempt(&self, key: AttemptKey) -> bool {
        let mut book = self.book();
        if !book.running.contains_key(&key) {
            return false;
        }
        book.superseded.insert(key);
        drop(book);
        self.nudge.nudge();
        true
    }

    /// The running attempts that were asked to end.
    pub(crate) fn take_unwanted(&self) -> Vec<AttemptKey> {
        let mut book = self.book();
        let unwanted = std::mem::take(&mut book.unwanted);
        let superseded = std::mem::take(&mut book.superseded);
        let running = book.running.keys().copied();
        running.filter(|key| unwanted.contains(&key.0) || superseded.contains(key)).collect()
    }

    /// The book is consistent between any two statements, so a panic elsewhere does not spoil it.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    fn held(&self) -> Vec<AttemptKey> {
        let ended = self.ended.iter().map(|ended| &ended.attempt);
        let over = ended.chain(self.lost.iter().map(|lost| &lost.attempt));
        self.running.keys().copied().chain(over.map(|attempt| key(attempt))).collect()
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
    has_left: bool,
}

impl Slot {
    pub(crate) fn attempt(&self) -> &Arc<Attempt> {
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

    /// Its end is recorded.
    pub(crate) fn settle(mut self) {
        self.leave(|_| ());
    }

    /// Its end is to be recorded.
    pub(crate) fn conclude(mut self, ending: Ending, at: Timestamp) {
        let ended = Arc::new(Ended { attempt: self.attempt.clone(), ending, at });
        self.leave(|book| book.ended.push_back(ended));
        self.slots.ends.nudge();
    }

    /// Frees the place, and notes what is left of the attempt in the same moment.
    fn leave(&mut self, note: impl FnOnce(&mut Book)) {
        let mut book = self.slots.book();
        book.running.remove(&key(&self.attempt));
        note(&mut book);
        drop(book);
        self.has_left = true;
        self.slots.nudge.nudge();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if self.has_left {
            return;
        }
        let (attempt, has_begun) = (self.attempt.clone(), self.has_begun);
        self.leave(|book| {
            let counts = has_begun && !book.is_letting_go;
            book.lost.push(Lost { attempt, counts });
        });
        self.slots.ends.nudge();
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
            tags: Vec::new(),
            meta: Value::Null,
            is_followed: false,
        }
    }

    #[test]
    fn what_runs_cannot_be_told_while_a_claim_is_under_way() {
        let slots = Arc::new(Slots::new("recruit"));

        let claim = slots.begin_claim();
        let slot = slots.occupy(attempt());
        let during = slots.held_if_known();
        drop(claim);

        assert_eq!(during, None);
        assert_eq!(slots.held_if_known(), Some(vec![slot.key()]));
    }

    #[test]
    fn what_has_ended_frees_its_place_and_is_held_until_it_is_recorded() {
        let slots = Arc::new(Slots::new("recruit"));
        slots.set_limit(1);
        let settled = slots.occupy(attempt());
        settled.settle();
        let concluded = slots.occupy(attempt());
        let key = concluded.key();

        concluded.conclude(Ending::Completed, DateTime::UNIX_EPOCH);

        assert_eq!((slots.running_count(), slots.demand()), (0, 1));
        assert_eq!(slots.held_if_known(), Some(vec![key]));
        assert_eq!(slots.ended(9, DateTime::UNIX_EPOCH).len(), 1);
        slots.forget_ended(1);
        assert_eq!(slots.held(), []);
    }

    #[test]
    fn a_slot_that_is_dropped_is_lost_and_counts_if_it_had_begun() {
        let slots = Arc::new(Slots::new("recruit"));
        let mut begun = slots.occupy(attempt());
        begun.begin();
        let not_begun = slots.occupy(attempt());
        let mut let_go = slots.occupy(attempt());
        let_go.begin();

        drop(begun);
        drop(not_begun);
        slots.let_go(true);
        drop(let_go);

        let ended = slots.ended(9, DateTime::UNIX_EPOCH);
        let is_failure = |ended: &Arc<Ended>| matches!(ended.ending, Ending::Retryable { .. });
        assert_eq!(ended.iter().map(is_failure).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(slots.held().len(), 3);
    }

    #[test]
    fn no_more_is_asked_for_while_too_many_ends_wait_to_be_recorded() {
        let slots = Arc::new(Slots::new("recruit"));
        slots.set_limit(UNRECORDED_MAX + 50);

        for _ in 0..UNRECORDED_MAX - 10 {
            slots.occupy(attempt()).conclude(Ending::Completed, DateTime::UNIX_EPOCH);
        }
        let nearly = slots.demand();
        for _ in 0..30 {
            slots.occupy(attempt()).conclude(Ending::Completed, DateTime::UNIX_EPOCH);
        }
        let full = slots.demand();
        slots.forget_ended(500);

        assert_eq!((nearly, full, slots.demand()), (10, 0, 480));
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
