//! What is kept of the messages of one process while somebody looks.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use super::event::{SystemEvent, SystemEventKind as Kind, short_name};
use crate::incarnation::Incarnation;

/// How many messages a process has taken and sent, and how busy that kept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counts {
    /// Since when they are counted.
    pub since: DateTime<Utc>,
    /// How many messages it began to handle.
    pub messages_in: u64,
    /// How many messages it sent while it handled others: casts, calls, requests and answers. What
    /// tasks of their own send on its behalf is not counted.
    pub messages_out: u64,
    /// For how long it ran on a thread; waiting does not count.
    pub busy: Duration,
    /// The longest that one message kept it, with all the waiting in between.
    pub longest: Duration,
}

/// One event of a [`super::Trace`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// What happened.
    pub event: SystemEvent,
    /// How many events before it were left out, because there were too many.
    pub skipped: u64,
}

/// What is kept of the messages of one process while somebody looks.
#[derive(Default)]
pub(crate) struct Observed {
    number: u64,
    counts: Option<Counts>,
    log: VecDeque<SystemEvent>,
    log_max: usize,
    tracers: Vec<Tracer>,
    last_tracer: u64,
}

/// Somebody who sees the events of a process as they happen.
struct Tracer {
    id: u64,
    sender: mpsc::Sender<Traced>,
    per_second: u32,
    second: Instant,
    seen: u32,
    skipped: u64,
}

impl Observed {
    pub(crate) fn is_wanted(&self) -> bool {
        self.counts.is_some() || self.log_max > 0 || !self.tracers.is_empty()
    }

    pub(crate) fn count(&mut self, since: Option<DateTime<Utc>>) {
        self.counts = since.map(|since| Counts {
            since,
            messages_in: 0,
            messages_out: 0,
            busy: Duration::ZERO,
            longest: Duration::ZERO,
        });
    }

    pub(crate) fn counts(&self) -> Option<Counts> {
        self.counts.clone()
    }

    /// Remembers the last `max` events from now on.
    pub(crate) fn keep(&mut self, max: usize) {
        self.log_max = max;
        let surplus = self.log.len().saturating_sub(max);
        self.log.drain(..surplus);
    }

    pub(crate) fn log(&self) -> Vec<SystemEvent> {
        self.log.iter().cloned().collect()
    }

    pub(crate) fn trace(&mut self, sender: mpsc::Sender<Traced>, per_second: u32) -> u64 {
        self.last_tracer += 1;
        let (id, second) = (self.last_tracer, Instant::now());
        self.tracers.push(Tracer { id, sender, per_second, second, seen: 0, skipped: 0 });
        id
    }

    pub(crate) fn untrace(&mut self, id: u64) {
        self.tracers.retain(|tracer| tracer.id != id);
    }

    /// The process is no more; its log can still be read.
    pub(crate) fn end(&mut self) {
        self.tracers.clear();
    }

    pub(crate) fn note(&mut self, at: DateTime<Utc>, kind: Kind) {
        self.number += 1;
        if let Some(counts) = &mut self.counts {
            match &kind {
                Kind::In { .. } => counts.messages_in += 1,
                Kind::Out { .. } | Kind::Reply { .. } => counts.messages_out += 1,
                Kind::Handled { took, busy, .. } => {
                    counts.busy += *busy;
                    counts.longest = counts.longest.max(*took);
                }
            }
        }
        let event = SystemEvent { number: self.number, at, kind };
        for tracer in &mut self.tracers {
            tracer.show(&event);
        }
        if self.log_max > 0 {
            if self.log.len() == self.log_max {
                self.log.pop_front();
            }
            self.log.push_back(event);
        }
    }
}

impl Tracer {
    fn show(&mut self, event: &SystemEvent) {
        let now = Instant::now();
        if now.duration_since(self.second) >= Duration::from_secs(1) {
            (self.second, self.seen) = (now, 0);
        }
        if self.seen >= self.per_second {
            self.skipped += 1;
            return;
        }
        self.seen += 1;
        let traced = Traced { event: event.clone(), skipped: self.skipped };
        match self.sender.try_send(traced) {
            Ok(()) => self.skipped = 0,
            Err(TrySendError::Full(_)) => self.skipped += 1,
            // Whoever traced is about to take the tracer back.
            Err(TrySendError::Closed(_)) => {}
        }
    }
}

tokio::task_local! {
    /// The process whose message is being handled, if somebody looks at it.
    static HANDLING: Arc<Incarnation>;
}

/// Does the `work` that a message is for, before the eyes of those who look.
pub(crate) async fn observed<W: Future>(
    me: &Arc<Incarnation>,
    message: Cow<'static, str>,
    work: W,
) -> W::Output {
    note(me, Kind::In { message: message.clone() });
    let began = Instant::now();
    let mut busy = Duration::ZERO;
    let mut work = std::pin::pin!(HANDLING.scope(me.clone(), work));
    let output = std::future::poll_fn(|context| {
        let turn = std::time::Instant::now();
        let outcome = work.as_mut().poll(context);
        busy += turn.elapsed();
        outcome
    })
    .await;
    note(me, Kind::Handled { message, took: began.elapsed(), busy });
    output
}

/// A message of type `M` was sent to `to`.
pub(crate) fn sent<M>(to: &Incarnation) {
    // Mostly nobody looks, or no process sends it.
    let _ = HANDLING.try_with(|me| {
        let to = to.path.to_string();
        note(me, Kind::Out { message: short_name::<M>().into(), to });
    });
}

/// A call was answered with a `T`.
pub(crate) fn answered<T>() {
    // Mostly nobody looks, or no process answers it.
    let _ = HANDLING.try_with(|me| note(me, Kind::Reply { message: short_name::<T>().into() }));
}

fn note(me: &Incarnation, kind: Kind) {
    let at = me.tree.clock().now();
    me.open().observed(|observed| observed.note(at, kind));
}
