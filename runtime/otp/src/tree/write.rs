//! What processes and supervisors write into the tree.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::record::Record;
use super::report::{self, Ending};
use super::{Book, HISTORY_MAX, Told, Tree};
use crate::child::{ChildSpec, Restart};
use crate::clock::moment_after;
use crate::event::{SupervisionEvent, SupervisionEventKind as Kind};
use crate::exit::{ExitReason, StartError};
use crate::incarnation::Incarnation;
use crate::intensity::Window;
use crate::node::Status;
use crate::specification::SupervisorSpec;
use crate::watchdog::Slice;

impl Tree {
    /// Lists a place, or describes it anew.
    pub(crate) fn list(&self, parent: Option<&str>, seat: u64, path: &Arc<str>, spec: &ChildSpec) {
        let mut book = self.book();
        book.nodes
            .entry(path.clone())
            .or_insert_with(|| Box::new(Record::new(path)))
            .describe(spec);
        if let Some(above) = parent.and_then(|parent| book.nodes.get_mut(parent)) {
            above.children.insert(seat, path.clone());
        }
        drop(book);
        self.moved();
    }

    /// Describes a supervisor by what it was made of, and forgets the children it had before.
    pub(crate) fn describe_supervisor(&self, path: &str, spec: &SupervisorSpec, keep: &[Arc<str>]) {
        let mut book = self.book();
        let Some(record) = book.nodes.get_mut(path) else {
            return;
        };
        record.supervises = Some(Box::new((spec.strategy, spec.intensity, Window::default())));
        let before = std::mem::take(&mut record.children);
        let keep: HashSet<&Arc<str>> =
            if before.is_empty() { HashSet::new() } else { keep.iter().collect() };
        for child in before.into_values().filter(|child| !keep.contains(child)) {
            forget(&mut book.nodes, &child);
        }
        drop(book);
        self.moved();
    }

    /// Describes a supervisor and its children by what they are from now on. What it has counted
    /// and what runs stays.
    pub(crate) fn describe_anew<'a>(
        &self,
        path: &str,
        spec: &SupervisorSpec,
        children: impl Iterator<Item = (u64, &'a Arc<str>, &'a ChildSpec)>,
    ) {
        let mut book = self.book();
        let mut listed = BTreeMap::new();
        for (seat, path, spec) in children {
            book.nodes
                .entry(path.clone())
                .or_insert_with(|| Box::new(Record::new(path)))
                .describe(spec);
            listed.insert(seat, path.clone());
        }
        if let Some(record) = book.nodes.get_mut(path) {
            record.children = listed;
            if let Some(supervises) = &mut record.supervises {
                (supervises.0, supervises.1) = (spec.strategy, spec.intensity);
            }
        }
        drop(book);
        self.moved();
    }

    /// Forgets a place and everything below it.
    pub(crate) fn forget(&self, parent: &str, seat: u64, path: &str) {
        let mut book = self.book();
        if let Some(above) = book.nodes.get_mut(parent) {
            above.children.remove(&seat);
        }
        forget(&mut book.nodes, path);
        drop(book);
        self.moved();
    }

    pub(crate) fn mark(&self, path: &str, status: Status) {
        self.change(path, |record| {
            record.status = status;
            record.quarantined_until = None;
        });
    }

    /// Says something else about the process at `path` from now on.
    pub(crate) fn relabel(&self, path: &str, label: &str) {
        self.change(path, |record| record.label = Arc::from(label));
    }

    /// Counts a restart that the supervisor at `path` has counted at `now`.
    pub(crate) fn counted(&self, path: &str, now: Instant) {
        if let Some(record) = self.book().nodes.get_mut(path)
            && let Some(supervises) = &mut record.supervises
        {
            let (_, intensity, window) = &mut **supervises;
            // It was within the limit for the supervisor, so it is here.
            let _ = window.record(*intensity, now);
        }
    }

    pub(crate) fn starting(&self, incarnation: &Incarnation) {
        self.mark(&incarnation.path, Status::Starting);
    }

    pub(crate) fn started(
        &self,
        incarnation: &Arc<Incarnation>,
        reference: Box<dyn Any + Send + Sync>,
        cause: Option<u64>,
        number: impl FnOnce(u64),
    ) {
        let now = self.clock().now();
        let mut book = self.book();
        if incarnation.is_over() {
            // Given up while it started: its place belongs to another.
            return;
        }
        incarnation.be_up();
        let Book { nodes, told } = &mut *book;
        let Some(record) = nodes.get_mut(&incarnation.path) else {
            return;
        };
        record.incarnation += 1;
        record.status = Status::Running;
        record.started_at = Some(now);
        record.live = Some(incarnation.clone());
        record.reference = Some(reference);
        number(record.incarnation);
        let event = Event::new(Kind::Started, cause);
        self.tell(told, &incarnation.path, Some(record), now, event);
        drop(book);
        self.moved();
    }

    /// Writes an end and gives the number of the event, 0 for what was never up. None: the end is
    /// known already.
    pub(crate) fn exited(&self, incarnation: &Incarnation, reason: &ExitReason) -> Option<u64> {
        let now = self.clock().now();
        let mut book = self.book();
        if !incarnation.be_over() {
            return None;
        }
        if !incarnation.is_up() {
            return Some(0);
        }
        // Dropped after the lock: it may be the last reference to a mailbox full of messages.
        let mut past = (None, None);
        let Book { nodes, told } = &mut *book;
        let mut record = nodes.get_mut(&incarnation.path);
        if let Some(record) = &mut record
            && record.live.as_ref().is_none_or(|live| std::ptr::eq(Arc::as_ptr(live), incarnation))
        {
            past = (record.live.take(), record.reference.take());
            record.status = Status::Stopped;
            record.last_exit = Some(reason.clone());
            record.last_exit_at = Some(now);
        }
        let reason = reason.clone();
        let kind = match incarnation.told() {
            Some(_) => Kind::Terminated { reason },
            None => Kind::Exited { reason },
        };
        let ending = incarnation.told().map_or(Ending::Unasked, Ending::Told);
        let event = Event { ending, ..Event::new(kind, None) };
        let record = record.map(|record| &**record);
        let sequence = self.tell(told, &incarnation.path, record, now, event);
        drop(book);
        drop(past);
        self.moved();
        Some(sequence)
    }

    /// A process holds its thread for longer than its watchdog allows.
    pub(crate) fn overstayed(
        &self,
        path: &str,
        slice: &Slice,
        held: Duration,
        spawned_at: Option<&'static Location<'static>>,
    ) {
        let above = path.char_indices().filter(|(_, letter)| *letter == '/');
        let kind = Kind::Overstayed {
            message: slice.doing().into_owned(),
            for_ms: u64::try_from(held.as_millis()).unwrap_or(u64::MAX),
            spawned_at: spawned_at.map(ToString::to_string),
            ancestors: above.map(|(end, _)| path[..end].to_owned()).collect(),
        };
        self.note(path, Event::new(kind, None));
    }

    /// A process that overstays is not replaced.
    pub(crate) fn not_replaced(&self, path: &str, why: &str) {
        let kind = Kind::NotReplaced { why: why.to_owned() };
        self.note(path, Event::new(kind, None));
    }

    pub(crate) fn start_failed(&self, path: &str, error: &StartError, cause: Option<u64>) {
        let kind = match error {
            StartError::Ignore => Kind::Ignored,
            other => Kind::StartFailed { error: other.to_string() },
        };
        self.write(path, Status::Stopped, Event::new(kind, cause));
    }

    pub(crate) fn restarted(
        &self,
        path: &str,
        cause: Option<u64>,
        touched: Vec<String>,
        recovery: Duration,
    ) {
        let recovery_us = u64::try_from(recovery.as_micros()).unwrap_or(u64::MAX);
        let kind = Kind::Restarted;
        let recovery_us = Some(recovery_us);
        self.note(path, Event { touched, recovery_us, ..Event::new(kind, cause) });
    }

    /// A supervisor gives up, because the child at `offender` died once too often.
    pub(crate) fn gave_up(
        &self,
        path: &str,
        offender: &str,
        cause: Option<u64>,
        touched: Vec<String>,
    ) {
        report::gave_up(path, cause, self.book().nodes.get(offender).map(|record| &**record));
        let event = Event { touched, ..Event::new(Kind::GaveUp, cause) };
        self.write(path, Status::Stopping, event);
    }

    pub(crate) fn quarantined(&self, path: &str, cause: Option<u64>, round: u32, wait: Duration) {
        let until = moment_after(self.clock().now(), wait);
        let event = Event::new(Kind::Quarantined { round, until }, cause);
        self.write(path, Status::Quarantined, event);
        self.change(path, |record| record.quarantined_until = Some(until));
    }

    pub(crate) fn quarantine_lifted(&self, path: &str, cause: Option<u64>) {
        self.write(path, Status::Restarting, Event::new(Kind::QuarantineLifted, cause));
    }

    /// Tells what changes nothing about a place.
    fn note(&self, path: &str, event: Event<'_>) {
        let now = self.clock().now();
        let mut book = self.book();
        let Book { nodes, told } = &mut *book;
        self.tell(told, path, nodes.get(path).map(|record| &**record), now, event);
    }

    fn write(&self, path: &str, status: Status, event: Event<'_>) {
        let now = self.clock().now();
        let mut book = self.book();
        let Book { nodes, told } = &mut *book;
        let mut record = nodes.get_mut(path);
        if let Some(record) = &mut record {
            record.status = status;
            record.quarantined_until = None;
        }
        self.tell(told, path, record.map(|record| &**record), now, event);
        drop(book);
        self.moved();
    }

    /// Numbers an event, remembers it and hands it out, all under the lock, so that every reader
    /// sees the events in the order of their numbers. The ordinary life of a temporary child goes
    /// only to those who asked for everything, and costs next to nothing when nobody did.
    fn tell(
        &self,
        told: &mut Told,
        path: &str,
        record: Option<&Record>,
        at: DateTime<Utc>,
        event: Event<'_>,
    ) -> u64 {
        let Event { kind, cause, touched, recovery_us, ending } = event;
        told.sequence += 1;
        let is_temporary = record.is_some_and(|record| record.restart == Restart::Temporary);
        let is_ordinary = is_temporary && kind.is_ordinary();
        let is_heard = self.0.everything.receiver_count() > 0;
        if is_ordinary && !is_heard && !report::is_told_in_detail() {
            return told.sequence;
        }
        let event = Arc::new(SupervisionEvent {
            sequence: told.sequence,
            at,
            path: path.to_owned(),
            kind,
            incarnation: record.map_or(0, |record| record.incarnation),
            cause,
            touched,
            recovery_us,
        });
        report::report(&event, record, ending);
        if is_heard {
            // Whoever listened may have stopped meanwhile, which is no fault.
            let _ = self.0.everything.send(event.clone());
        }
        if is_ordinary {
            return told.sequence;
        }
        if told.history.len() == HISTORY_MAX {
            told.history.pop_front();
        }
        told.history.push_back(event.clone());
        // Nobody listening is no fault.
        let _ = self.0.events.send(event);
        told.sequence
    }
}

/// What happened.
struct Event<'a> {
    kind: Kind,
    cause: Option<u64>,
    touched: Vec<String>,
    recovery_us: Option<u64>,
    ending: Ending<'a>,
}

impl Event<'_> {
    const fn new(kind: Kind, cause: Option<u64>) -> Self {
        let ending = Ending::Unasked;
        Self { kind, cause, touched: Vec::new(), recovery_us: None, ending }
    }
}

fn forget(nodes: &mut HashMap<Arc<str>, Box<Record>>, path: &str) {
    if let Some(record) = nodes.remove(path) {
        for child in record.children.values() {
            forget(nodes, child);
        }
    }
}
