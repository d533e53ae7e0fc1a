//! The job queue: work left for later, in Postgres, performed under supervision.
//!
//! A job is enqueued in the transaction of what causes it, claimed by the producer of its queue
//! with `skip locked`, and performed by an attempt, a process of its own. Inside the database its
//! effect happens exactly once whatever dies, because effect and completion share a transaction
//! that is guarded by the number of the attempt; outside, at least once, with the job's id as key.
//!
//! # Wiring
//!
//! | process | place | from |
//! |---|---|---|
//! | leader, stager, sweeper, settings, lifeline | `root/jobs` | [`duties`] |
//! | pruner, reindexer, cron, bulks | `root/jobs` | [`duties`] |
//! | queue: attempts, recorder, producer | `root/domains/<domain>/queue` | [`producer::subtree`] |
//!
//! # Counters
//!
//! [`Queues::stats`] has, per queue of this node, the limit, the number of running attempts and
//! the [`Counts`] since the process started.

pub mod admin;
mod attempt;
pub mod backoff;
mod batch;
pub mod bulk;
mod chain;
mod control;
mod counters;
pub mod cron;
mod database;
mod dependency;
pub mod drain;
mod duty;
mod ending;
mod executor;
mod fetch;
pub mod inline;
mod insert;
mod job;
pub mod leader;
pub mod lifeline;
mod limited;
pub mod limits;
pub mod meters;
mod news;
mod observe;
pub mod panics;
pub mod producer;
pub mod pruner;
mod queues;
mod recorder;
pub mod reindexer;
mod returned;
mod rules;
mod scaling;
pub mod schedule;
pub mod settings;
mod slots;
pub mod stager;
pub mod sweeper;
mod unique;
pub mod waits;
mod workflow;

pub use attempt::{Attempt, BoxFuture, Failure, Outcome, Perform, Performed, Performers};
pub use batch::{Batch, BatchError, BatchEvent, BatchProgress, batch_progress, enqueue_batch};
pub use chain::Chain;
pub use counters::Counts;
pub use cron::{CronEntry, Crontab, Missed};
pub use dependency::Downstream;
pub use ending::{ERRORS_MAX, RESULT_BYTES_MAX, complete, complete_with};
pub use fetch::claim;
pub use insert::{ARGS_BYTES_MAX, EnqueueError, Enqueued, enqueue, enqueue_all, find_duplicate};
pub use job::{JobError, JobRow, JobState, NewJob};
pub use limits::{Contradiction, Limits, Overrides, PartitionBy};
pub use observe::{JobEvent, News, OBSERVED_MAX, Observed, Observer};
pub use queues::{QueueStats, Queues};
pub use rules::{
    BadJob, CHAIN_KEY_BYTES_MAX, META_BYTES_MAX, PRIORITY_MAX, TAG_CHARS_MAX, TAGS_MAX,
};
pub use scaling::ScaleError;
pub use schedule::Schedule;
pub use unique::{Replace, Unique};
pub use workflow::{
    After, StepView, Workflow, WorkflowError, WorkflowView, cancel_workflow, dependency_results,
    enqueue_workflow, retry_workflow, workflow,
};

/// The duties under `root/jobs`, each a child specification.
pub mod duties {
    pub use crate::bulk::child as bulks;
    pub use crate::cron::child as cron;
    pub use crate::leader::child as leader;
    pub use crate::lifeline::child as lifeline;
    pub use crate::pruner::child as pruner;
    pub use crate::reindexer::child as reindexer;
    pub use crate::settings::child as settings;
    pub use crate::stager::child as stager;
    pub use crate::sweeper::child as sweeper;
}
