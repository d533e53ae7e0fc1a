//! What processes and supervisors write into the tree.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use super::record::Record;
use super::report::{self, Ending};
use super::{Book, HISTORY_MAX, Tree};
use crate::child::{ChildSpec, Restart};
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
        book.nodes.entry(path.clone()).or_insert_with(|| Record::new(path)).describe(spec);
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
        record.supervises = Some((spec.strategy, spec.intensity, Window::default()));
        let before = std::mem::take(&mut record.children);
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
            book.nodes.entry(path.clone()).or_insert_with(|| Record::new(path)).describe(spec);
            listed.insert(seat, path.clone());
        }
        if let Some(record) = book.nodes.get_mut(path) {
            record.children = listed;
            if let Some((strategy, intensity, _)) = &mut record.supervises {
                (*strategy, *intensity) = (spec.strategy, spec.intensity);
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

    pub(crate) fn window(&self, path: &str, window: &Window) {
        if let Some(record) = self.book().nodes.get_mut(path)
            && let Some((_, _, shown)) = &mut record.supervises
        {
            shown.clone_from(window);
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
        let Some(record) = book.nodes.get_mut(&incarnation.path) else {
            return;
        };
        record.incarnation += 1;
        record.status = Status::Running;
        record.started_at = Some(now);
        record.live = Some(incarnation.clone());
        record.reference = Some(reference);
        number(record.incarnation);
        let event = Event { path: &incarnation.path, kind: Kind::Started, cause };
        self.tell(&mut book, event, Vec::new(), None);
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
        if let Some(record) = book.nodes.get_mut(&incarnation.path)
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
        let event = Event { path: &incarnation.path, kind, cause: None };
        let ending = incarnation.told().map_or(Ending::Unasked, Ending::Told);
        let sequence = self.tell_ending(&mut book, event, ending);
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
            message: slice.doing().to_owned(),
            for_ms: u64::try_from(held.as_millis()).unwrap_or(u64::MAX),
            spawned_at: spawned_at.map(ToString::to_string),
            ancestors: above.map(|(end, _)| path[..end].to_owned()).collect(),
        };
        self.tell(&mut self.book(), Event { path, kind, cause: None }, Vec::new(), None);
    }

    /// A process that overstays is not replaced.
    pub(crate) fn not_replaced(&self, path: &str, why: &str) {
        let kind = Kind::NotReplaced { why: why.to_owned() };
        self.tell(&mut self.book(), Event { path, kind, cause: None }, Vec::new(), None);
    }

    pub(crate) fn start_failed(&self, path: &str, error: &StartError, cause: Option<u64>) {
        let kind = match error {
            StartError::Ignore => Kind::Ignored,
            other => Kind::StartFailed { error: other.to_string() },
        };
        self.write(Event { path, kind, cause }, Vec::new(), None, Status::Stopped);
    }

    pub(crate) fn restarted(
        &self,
        path: &str,
        cause: Option<u64>,
        touched: Vec<String>,
        recovery: Duration,
    ) {
        let recovery_us = u64::try_from(recovery.as_micros()).unwrap_or(u64::MAX);
        let event = Event { path, kind: Kind::Restarted, cause };
        let mut book = self.book();
        self.tell(&mut book, event, touched, Some(recovery_us));
    }

    /// A supervisor gives up, because the child at `offender` died once too often.
    pub(crate) fn gave_up(
        &self,
        path: &str,
        offender: &str,
        cause: Option<u64>,
        touched: Vec<String>,
    ) {
        report::gave_up(path, cause, self.book().nodes.get(offender));
        self.write(Event { path, kind: Kind::GaveUp, cause }, touched, None, Status::Stopping);
    }

    pub(crate) fn quarantined(&self, path: &str, cause: Option<u64>, round: u32, wait: Duration) {
        let until = self.clock().now() + wait;
        let event = Event { path, kind: Kind::Quarantined { round, until }, cause };
        self.write(event, Vec::new(), None, Status::Quarantined);
        self.change(path, |record| record.quarantined_until = Some(until));
    }

    pub(crate) fn quarantine_lifted(&self, path: &str, cause: Option<u64>) {
        let event = Event { path, kind: Kind::QuarantineLifted, cause };
        self.write(event, Vec::new(), None, Status::Restarting);
    }

    fn write(&self, event: Event<'_>, touched: Vec<String>, us: Option<u64>, status: Status) {
        let mut book = self.book();
        if let Some(record) = book.nodes.get_mut(event.path) {
            record.status = status;
            record.quarantined_until = None;
        }
        self.tell(&mut book, event, touched, us);
        drop(book);
        self.moved();
    }

    fn tell(
        &self,
        book: &mut Book,
        event: Event<'_>,
        touched: Vec<String>,
        recovery_us: Option<u64>,
    ) {
        self.hand_out(book, event, Ending::Unasked, touched, recovery_us);
    }

    fn tell_ending(&self, book: &mut Book, event: Event<'_>, ending: Ending<'_>) -> u64 {
        self.hand_out(book, event, ending, Vec::new(), None)
    }

    /// Numbers an event, remembers it and hands it out, all under the lock, so that every reader
    /// sees the events in the order of their numbers. The ordinary life of a temporary child goes
    /// only to those who asked for everything.
    fn hand_out(
        &self,
        book: &mut Book,
        event: Event<'_>,
        ending: Ending<'_>,
        touched: Vec<String>,
        recovery_us: Option<u64>,
    ) -> u64 {
        let Event { path, kind, cause } = event;
        book.sequence += 1;
        let record = book.nodes.get(path);
        let is_temporary = record.is_some_and(|record| record.restart == Restart::Temporary);
        let is_ordinary = is_temporary && kind.is_ordinary();
        let event = Arc::new(SupervisionEvent {
            sequence: book.sequence,
            at: self.clock().now(),
            path: path.to_owned(),
            kind,
            incarnation: record.map_or(0, |record| record.incarnation),
            cause,
            touched,
            recovery_us,
        });
        report::report(&event, record, ending);
        // Nobody listening is no fault.
        let _ = self.0.everything.send(event.clone());
        if is_ordinary {
            return book.sequence;
        }
        if book.history.len() == HISTORY_MAX {
            book.history.pop_front();
        }
        book.history.push_back(event.clone());
        let _ = self.0.events.send(event);
        book.sequence
    }
}

struct Event<'a> {
    path: &'a str,
    kind: Kind,
    cause: Option<u64>,
}

fn forget(nodes: &mut HashMap<Arc<str>, Record>, path: &str) {
    if let Some(record) = nodes.remove(path) {
        for child in record.children.values() {
            forget(nodes, child);
        }
    }
}
