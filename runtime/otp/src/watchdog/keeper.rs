//! The keeper: the one thread of a tree that looks at everything that is watched.
//!
//! It begins with the first thing to watch, sleeps while there is none, and ends with the tree.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use super::Slice;
use crate::bulkhead::Quarters;
use crate::child::ChildKind;
use crate::incarnation::Incarnation;

/// How often the keeper looks.
const TICK: Duration = Duration::from_millis(10);
/// The most that one look may add to the time a poll has held its thread. When the keeper itself
/// was kept waiting, as on a machine that was suspended, it cannot say what the others were.
const TICK_MAX: Duration = Duration::from_millis(20);

/// The roll of what is watched in one tree; dropping it ends the thread.
#[derive(Default)]
pub(crate) struct Keeper(Arc<Shared>);

#[derive(Default)]
struct Shared {
    roll: Mutex<Roll>,
    changed: Condvar,
}

#[derive(Default)]
struct Roll {
    is_closed: bool,
    has_thread: bool,
    last: u64,
    entries: HashMap<u64, Entry>,
}

/// Something that is watched, and what was last seen of it.
struct Entry {
    path: Arc<str>,
    slice: Arc<Slice>,
    who: Who,
    turns: u64,
    held: Duration,
    is_reported: bool,
    is_left: bool,
}

#[derive(Clone)]
enum Who {
    Process(Weak<Incarnation>),
    /// Work from outside that is done behind a bulkhead.
    Work(Weak<Quarters>),
}

/// A place on the roll, given up when dropped.
pub(crate) struct Listed {
    shared: Weak<Shared>,
    number: u64,
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.roll().entries.remove(&self.number);
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.roll().is_closed = true;
        self.0.changed.notify_one();
    }
}

impl Keeper {
    /// Watches a process. None: its bulkhead has been given up, and it must not live.
    pub(crate) fn enlist(&self, slice: &Arc<Slice>, who: &Arc<Incarnation>) -> Option<Listed> {
        let process = Who::Process(Arc::downgrade(who));
        self.0.enlist(slice, process, &who.path, who.quarters().map(|at| &**at))
    }

    /// Watches work from outside behind a bulkhead. None: it has been given up.
    pub(crate) fn enlist_work(&self, slice: &Arc<Slice>, at: &Arc<Quarters>) -> Option<Listed> {
        self.0.enlist(slice, Who::Work(Arc::downgrade(at)), at.path(), Some(at))
    }
}

impl Shared {
    fn roll(&self) -> MutexGuard<'_, Roll> {
        self.roll.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enlist(
        self: &Arc<Self>,
        slice: &Arc<Slice>,
        who: Who,
        path: &Arc<str>,
        quarters: Option<&Quarters>,
    ) -> Option<Listed> {
        let mut roll = self.roll();
        // Asked under the lock under which the members of a bulkhead are gathered.
        if quarters.is_some_and(Quarters::is_condemned) {
            return None;
        }
        roll.last += 1;
        let number = roll.last;
        let entry = Entry {
            path: path.clone(),
            slice: slice.clone(),
            who,
            turns: slice.turns(),
            held: Duration::ZERO,
            is_reported: false,
            is_left: false,
        };
        roll.entries.insert(number, entry);
        let was_idle = roll.entries.len() == 1;
        if !roll.has_thread {
            roll.has_thread = self.begin();
        } else if was_idle {
            self.changed.notify_one();
        }
        Some(Listed { shared: Arc::downgrade(self), number })
    }

    /// Starts the thread; says whether there is one.
    fn begin(self: &Arc<Self>) -> bool {
        let shared = self.clone();
        let begun = thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || Rounds { shared, leaving: Vec::new(), left: Vec::new() }.walk());
        if let Err(error) = &begun {
            tracing::error!(%error, "there is no thread for a watchdog, so nothing is watched");
        }
        begun.is_ok()
    }
}

/// What overstays at one look.
struct Late {
    number: u64,
    path: Arc<str>,
    slice: Arc<Slice>,
    who: Who,
    turns: u64,
    held: Duration,
    /// It was not late at the last look.
    is_new: bool,
    /// It has been said that it is not replaced.
    is_left: bool,
}

/// Brings every entry up to date and tells which overstay.
fn look(roll: &mut Roll, passed: Duration) -> Vec<Late> {
    let mut late = Vec::new();
    for (number, entry) in &mut roll.entries {
        let turns = entry.slice.turns();
        if turns != entry.turns || turns.is_multiple_of(2) {
            (entry.turns, entry.held) = (turns, Duration::ZERO);
            (entry.is_reported, entry.is_left) = (false, false);
            continue;
        }
        entry.held += passed;
        if entry.held >= entry.slice.watchdog.report_after {
            late.push(Late {
                number: *number,
                path: entry.path.clone(),
                slice: entry.slice.clone(),
                who: entry.who.clone(),
                turns,
                held: entry.held,
                is_new: !std::mem::replace(&mut entry.is_reported, true),
                is_left: entry.is_left,
            });
        }
    }
    late
}

/// What is given up as a whole.
#[derive(Clone)]
enum Place {
    Bulkhead(Arc<Quarters>),
    Worker(Arc<Incarnation>),
}

impl Place {
    fn path(&self) -> &Arc<str> {
        match self {
            Self::Bulkhead(quarters) => quarters.path(),
            Self::Worker(worker) => &worker.path,
        }
    }

    fn holds(&self, path: &str) -> bool {
        let below = path.strip_prefix(&**self.path());
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    }

    /// Whether its supervisor wants it to end, so that nothing takes its place.
    fn is_stopping(&self) -> bool {
        match self {
            Self::Bulkhead(quarters) => quarters.child().is_some_and(|child| child.is_told()),
            Self::Worker(worker) => worker.is_told(),
        }
    }
}

/// What is being given up: declared dead at one look, gone at the next, so that whatever can still
/// be killed is killed in between.
struct Leaving {
    place: Place,
    reason: String,
    members: Vec<Arc<Incarnation>>,
}

impl Leaving {
    fn finish(self) {
        for member in &self.members {
            member.vanish();
        }
        match &self.place {
            Place::Worker(worker) => worker.farewell(),
            Place::Bulkhead(quarters) => {
                let within = self.members.iter().filter_map(|member| member.own_quarters());
                within.for_each(|quarters| quarters.abandon(&self.reason));
                quarters.abandon(&self.reason);
                if let Some(child) = quarters.child() {
                    child.farewell();
                }
            }
        }
    }
}

/// A thread that was left to a poll, as long as that poll lasts.
struct LeftBehind {
    path: Arc<str>,
    slice: Arc<Slice>,
    turns: u64,
}

/// The thread and what it remembers from look to look.
struct Rounds {
    shared: Arc<Shared>,
    leaving: Vec<Leaving>,
    left: Vec<LeftBehind>,
}

impl Rounds {
    fn walk(mut self) {
        let mut before = Instant::now();
        loop {
            let roll = self.shared.roll();
            let mut roll = if roll.entries.is_empty() && self.leaving.is_empty() {
                self.shared.changed.wait(roll).unwrap_or_else(PoisonError::into_inner)
            } else {
                let paused = self.shared.changed.wait_timeout(roll, TICK);
                paused.unwrap_or_else(PoisonError::into_inner).0
            };
            if roll.is_closed {
                return;
            }
            let now = Instant::now();
            let late = look(&mut roll, now.duration_since(before).min(TICK_MAX));
            before = now;
            drop(roll);
            self.left.retain(|left| left.slice.turns() == left.turns);
            for leaving in std::mem::take(&mut self.leaving) {
                leaving.finish();
            }
            for one in &late {
                self.judge(one, &late);
            }
        }
    }

    fn judge(&mut self, one: &Late, late: &[Late]) {
        let place = match &one.who {
            Who::Process(process) => {
                let Some(process) = process.upgrade().filter(|process| !process.is_over()) else {
                    return;
                };
                if one.is_new {
                    process.tree.overstayed(&one.path, &one.slice, one.held, process.spawned_at());
                }
                match process.quarters() {
                    Some(quarters) => Ok(Place::Bulkhead(quarters.clone())),
                    None => replaceable(process),
                }
            }
            Who::Work(quarters) => {
                let Some(quarters) = quarters.upgrade().filter(|at| !at.is_condemned()) else {
                    return;
                };
                if one.is_new {
                    quarters.tree().overstayed(&one.path, &one.slice, one.held, None);
                }
                Ok(Place::Bulkhead(quarters))
            }
        };
        if one.slice.watchdog.replace_after.is_some_and(|limit| one.held >= limit) {
            let left = place.and_then(|place| self.replace(place, one, late));
            if let Err(why) = left
                && !one.is_left
            {
                self.leave(one, &why);
            }
        }
    }

    /// Gives up a place, unless too many threads of it have been left behind already.
    fn replace(&mut self, place: Place, one: &Late, late: &[Late]) -> Result<(), String> {
        let stuck: Vec<_> = late.iter().filter(|late| place.holds(&late.path)).collect();
        let before = self.left.iter().filter(|left| left.path == *place.path()).count();
        let limit = one.slice.watchdog.abandoned_max;
        if before + stuck.len() > limit && !place.is_stopping() {
            return Err(format!(
                "{before} threads were left behind before and {} would be; the limit is {limit}",
                stuck.len()
            ));
        }
        let left = stuck.iter().map(|late| LeftBehind {
            path: place.path().clone(),
            slice: late.slice.clone(),
            turns: late.turns,
        });
        self.left.extend(left);
        let (held, doing) = (one.held.as_millis(), one.slice.doing());
        let reason = format!("abandoned: {} overstayed {held} ms in {doing}", one.path);
        let mut members = self.gather(&place);
        members.retain(|member| member.declare_dead(&reason));
        self.leaving.push(Leaving { place, reason, members });
        Ok(())
    }

    /// Takes a place and all it holds off the roll, those below before those above.
    fn gather(&self, place: &Place) -> Vec<Arc<Incarnation>> {
        let mut roll = self.shared.roll();
        if let Place::Bulkhead(quarters) = place {
            quarters.condemn();
        }
        let mut gone: Vec<_> =
            roll.entries.extract_if(|_, entry| place.holds(&entry.path)).collect();
        drop(roll);
        gone.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        let members = gone.into_iter().filter_map(|(_, entry)| match entry.who {
            Who::Process(process) => process.upgrade(),
            Who::Work(_) => None,
        });
        members.collect()
    }

    fn leave(&self, one: &Late, why: &str) {
        if let Some(entry) = self.shared.roll().entries.get_mut(&one.number) {
            entry.is_left = true;
        }
        match &one.who {
            Who::Process(process) => {
                if let Some(process) = process.upgrade() {
                    process.tree.not_replaced(&one.path, why);
                }
            }
            Who::Work(quarters) => {
                if let Some(quarters) = quarters.upgrade() {
                    quarters.tree().not_replaced(&one.path, why);
                }
            }
        }
    }
}

/// A process on a shared runtime can be replaced if the thread it holds is not its supervisor's
/// too, as it is while it starts.
fn replaceable(process: Arc<Incarnation>) -> Result<Place, String> {
    match process.kind {
        ChildKind::Supervisor => Err("a supervisor is replaced only behind a bulkhead".to_owned()),
        ChildKind::Worker if !process.is_up() => {
            Err("what is starting is replaced only behind a bulkhead".to_owned())
        }
        ChildKind::Worker => Ok(Place::Worker(process)),
    }
}
