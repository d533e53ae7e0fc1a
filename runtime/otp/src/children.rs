//! The children of one supervisor: an ordered table, and every decision made on it.
//!
//! The table knows in which order children were started, which of them are up, and what a death
//! or a failed start means for the others. The supervisor process only carries out what is
//! decided here: it starts, stops, waits and tells.
//!
//! **Invariant:** pure; `P` stands for whatever identifies a running process.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use tokio::time::Instant;

use crate::child::{ChildSpec, Restart};
use crate::quarantine::Rounds;
use crate::specification::AutoShutdown;
use crate::strategy::Strategy;

/// A place in start order; never given twice, so a latecomer cannot be taken for its successor.
pub(crate) type Seat = u64;

/// What a child is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing<P> {
    /// It has a process, which may have died without the supervisor having looked yet.
    Running(P),
    /// It has none and none is wanted.
    Stopped,
    /// A start failed and will be repeated.
    Restarting,
    /// It is left down; the number tells one quarantine from a later one.
    Quarantined(u64),
}

/// An exit that is not yet mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outage {
    /// The number of the event that told the exit.
    pub(crate) cause: u64,
    pub(crate) since: Instant,
    /// The siblings that had to be stopped or restarted because of it.
    pub(crate) touched: Vec<Arc<str>>,
}

/// One child.
#[derive(Debug)]
pub(crate) struct Child<P> {
    pub(crate) id: Arc<str>,
    pub(crate) path: Arc<str>,
    pub(crate) spec: Arc<ChildSpec>,
    pub(crate) argument: Option<Arc<str>>,
    pub(crate) standing: Standing<P>,
    /// In a box: most children are well.
    pub(crate) outage: Option<Box<Outage>>,
    pub(crate) rounds: Rounds,
}

/// What to do about a child that has died and is to be restarted: first stop these, newest first,
/// then start those, oldest first.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RestartPlan {
    pub(crate) stop: Vec<Seat>,
    pub(crate) start: Vec<Seat>,
}

/// The children of one supervisor, in start order.
#[derive(Debug)]
pub(crate) struct Children<P> {
    /// Each in a box of its own, since a table filled in order stays half empty.
    seats: BTreeMap<Seat, Box<Child<P>>>,
    by_id: HashMap<Arc<str>, Seat>,
    next: Seat,
    /// Where those sit now that had another seat before the order was changed.
    moved: HashMap<Seat, Seat>,
    /// Instances of one specification, or dynamic: a child that is not running is no child.
    forgets: bool,
}

impl<P: Clone> Children<P> {
    pub(crate) fn new(forgets: bool) -> Self {
        let moved = HashMap::new();
        Self { seats: BTreeMap::new(), by_id: HashMap::new(), next: 0, moved, forgets }
    }

    /// Appends a child behind all others.
    pub(crate) fn add(
        &mut self,
        spec: Arc<ChildSpec>,
        id: Arc<str>,
        path: Arc<str>,
        argument: Option<Arc<str>>,
    ) -> Seat {
        let seat = self.next;
        self.next += 1;
        self.by_id.insert(id.clone(), seat);
        let standing = Standing::Stopped;
        let rounds = Rounds::default();
        let child = Child { id, path, spec, argument, standing, outage: None, rounds };
        self.seats.insert(seat, Box::new(child));
        seat
    }

    pub(crate) fn remove(&mut self, seat: Seat) -> Option<Child<P>> {
        let child = self.seats.remove(&seat)?;
        self.by_id.remove(&child.id);
        Some(*child)
    }

    pub(crate) fn get(&self, seat: Seat) -> Option<&Child<P>> {
        self.seats.get(&seat).map(|child| &**child)
    }

    pub(crate) fn get_mut(&mut self, seat: Seat) -> Option<&mut Child<P>> {
        self.seats.get_mut(&seat).map(|child| &mut **child)
    }

    pub(crate) fn seat_of(&self, id: &str) -> Option<Seat> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// The seat now of the child that once had `seat`.
    pub(crate) fn seat_now(&self, seat: Seat) -> Seat {
        self.moved.get(&seat).copied().unwrap_or(seat)
    }

    /// Puts the children into this order, which names each of them once. If they are not in it
    /// already, all get new seats, and the old ones lead there.
    pub(crate) fn arrange(&mut self, order: &[Seat]) {
        if order.is_sorted() {
            return;
        }
        let mut renamed = HashMap::with_capacity(order.len());
        for seat in order {
            if let Some(child) = self.seats.remove(seat) {
                self.by_id.insert(child.id.clone(), self.next);
                self.seats.insert(self.next, child);
                renamed.insert(*seat, self.next);
                self.next += 1;
            }
        }
        self.moved.retain(|_, now| match renamed.get(now) {
            Some(later) => {
                *now = *later;
                true
            }
            None => false,
        });
        self.moved.extend(renamed);
    }

    /// In start order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (Seat, &Child<P>)> {
        self.seats.iter().map(|(seat, child)| (*seat, &**child))
    }

    /// The seats with a process, newest first: the order in which they are stopped.
    pub(crate) fn running(&self) -> Vec<Seat> {
        let running =
            |(_, child): &(Seat, &Child<P>)| matches!(child.standing, Standing::Running(_));
        self.iter().rev().filter(running).map(|(seat, _)| seat).collect()
    }

    /// Notes that a child has no process and is not to be restarted: a temporary one is forgotten.
    /// Says whether it was.
    pub(crate) fn retire(&mut self, seat: Seat) -> bool {
        let Some(child) = self.seats.get_mut(&seat) else {
            return false;
        };
        if self.forgets || child.spec.restart == Restart::Temporary {
            self.remove(seat);
            return true;
        }
        child.standing = Standing::Stopped;
        child.outage = None;
        false
    }

    /// Which children have to be stopped and started when the one at `seat` is restarted.
    ///
    /// Temporary siblings are stopped and not started again; all others of the group are started,
    /// those included that had been stopped. What is in quarantine stays there.
    pub(crate) fn restart_plan(&self, strategy: Strategy, seat: Seat) -> RestartPlan {
        if matches!(strategy, Strategy::OneForOne | Strategy::SimpleOneForOne) {
            return RestartPlan { stop: Vec::new(), start: vec![seat] };
        }
        let order: Vec<Seat> = self.seats.keys().copied().collect();
        let Ok(place) = order.binary_search(&seat) else {
            return RestartPlan { stop: Vec::new(), start: Vec::new() };
        };
        let group = &order[strategy.affected(place, order.len())];
        let is_quarantined =
            |member: &Seat| matches!(self.seats[member].standing, Standing::Quarantined(_));
        let left = |member: &Seat| {
            let is_temporary = self.seats[member].spec.restart == Restart::Temporary;
            *member == seat || (!is_temporary && !is_quarantined(member))
        };
        let others = group.iter().rev().copied();
        let others = others.filter(|member| *member != seat && !is_quarantined(member));
        RestartPlan { stop: others.collect(), start: group.iter().copied().filter(left).collect() }
    }

    /// Whether the supervisor shuts down because a child has ended by itself and, as the table
    /// already shows, is not restarted.
    pub(crate) fn ends_supervisor(&self, mode: AutoShutdown, significant: bool) -> bool {
        match mode {
            _ if !significant => false,
            AutoShutdown::Never => false,
            AutoShutdown::AnySignificant => true,
            AutoShutdown::AllSignificant => !self.seats.values().any(|child| {
                child.spec.significant
                    && matches!(child.standing, Standing::Running(_) | Standing::Restarting)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::specification::SupervisorSpec;
    use crate::strategy::Strategy;

    fn table(restarts: &[Restart]) -> Children<()> {
        let mut children = Children::new(false);
        for (place, restart) in restarts.iter().enumerate() {
            let id: Arc<str> = place.to_string().into();
            let spec = ChildSpec::supervisor(id.clone(), SupervisorSpec::default());
            let seat = children.add(spec.restart(*restart).into(), id.clone(), id, None);
            children.get_mut(seat).unwrap().standing = Standing::Running(());
        }
        children
    }

    const MIXED: [Restart; 4] =
        [Restart::Temporary, Restart::Permanent, Restart::Temporary, Restart::Transient];

    #[test]
    fn one_for_all_stops_the_others_newest_first_and_starts_all_but_temporaries() {
        let plan = table(&MIXED).restart_plan(Strategy::OneForAll, 1);

        assert_eq!(plan, RestartPlan { stop: vec![3, 2, 0], start: vec![1, 3] });
    }

    #[test]
    fn rest_for_one_leaves_those_before_the_failed_one_alone() {
        let plan = table(&MIXED).restart_plan(Strategy::RestForOne, 1);

        assert_eq!(plan, RestartPlan { stop: vec![3, 2], start: vec![1, 3] });
    }

    #[test]
    fn a_stopped_sibling_comes_back_with_its_group() {
        let mut children = table(&[Restart::Permanent, Restart::Transient]);
        children.retire(1);

        let plan = children.restart_plan(Strategy::OneForAll, 0);

        assert_eq!(plan.start, [0, 1]);
    }

    #[test]
    fn a_quarantined_sibling_stays_down() {
        let mut children = table(&[Restart::Permanent, Restart::Permanent]);
        children.get_mut(1).unwrap().standing = Standing::Quarantined(1);

        let plan = children.restart_plan(Strategy::OneForAll, 0);

        assert_eq!(plan, RestartPlan { stop: vec![], start: vec![0] });
    }

    #[test]
    fn only_a_temporary_child_is_forgotten_when_it_retires() {
        let mut children = table(&[Restart::Temporary, Restart::Permanent]);

        let forgotten = [children.retire(0), children.retire(1)];

        assert_eq!(forgotten, [true, false]);
        assert_eq!(children.len(), 1);
        assert_eq!(children.seat_of("0"), None);
    }

    #[test]
    fn all_significant_waits_for_the_last_one_running_or_restarting() {
        let mut children = table(&[Restart::Transient; 3]);
        for seat in 0..3 {
            let child = children.get_mut(seat).unwrap();
            child.spec = ChildSpec::clone(&child.spec).significant(true).into();
        }
        children.retire(0);
        children.get_mut(1).unwrap().standing = Standing::Restarting;
        children.retire(2);

        let early = children.ends_supervisor(AutoShutdown::AllSignificant, true);
        children.retire(1);
        let late = children.ends_supervisor(AutoShutdown::AllSignificant, true);

        assert!(!early);
        assert!(late);
    }

    #[test]
    fn children_that_are_put_into_another_order_are_still_found_by_their_old_seats() {
        let mut children = table(&[Restart::Permanent; 3]);

        children.arrange(&[2, 0, 1]);
        children.arrange(&[children.seat_now(1), children.seat_now(2), children.seat_now(0)]);

        let ids: Vec<_> = children.iter().map(|(_, child)| &*child.id).collect();
        let found = [0, 1, 2].map(|seat| children.get(children.seat_now(seat)).unwrap().id.clone());
        assert_eq!(ids, ["1", "2", "0"]);
        assert_eq!(found.each_ref().map(|id| &**id), ["0", "1", "2"]);
    }

    #[test]
    fn an_order_that_is_kept_moves_nobody() {
        let mut children = table(&[Restart::Permanent; 3]);

        children.arrange(&[0, 1, 2]);

        assert_eq!([0, 1, 2].map(|seat| children.seat_now(seat)), [0, 1, 2]);
        assert!(children.moved.is_empty());
    }

    proptest! {
        #[test]
        fn a_plan_stops_in_reverse_and_starts_in_order_and_always_starts_the_dead_one(
            kinds in prop::collection::vec(0_u8..3, 1..20),
            place in 0_usize..20,
            all in any::<bool>(),
        ) {
            let every = [Restart::Permanent, Restart::Transient, Restart::Temporary];
            let restarts: Vec<_> = kinds.iter().map(|kind| every[*kind as usize]).collect();
            let seat = (place % restarts.len()) as Seat;
            let strategy = if all { Strategy::OneForAll } else { Strategy::RestForOne };

            let plan = table(&restarts).restart_plan(strategy, seat);

            prop_assert!(plan.stop.is_sorted_by(|one, next| one > next));
            prop_assert!(plan.start.is_sorted());
            prop_assert!(plan.start.contains(&seat));
            prop_assert!(!plan.stop.contains(&seat));
            let again = |member: &&Seat| {
                restarts[usize::try_from(**member).unwrap()] != Restart::Temporary
            };
            let mut expected: Vec<_> = plan.stop.iter().filter(again).copied().collect();
            expected.push(seat);
            expected.sort_unstable();
            prop_assert_eq!(plan.start, expected);
        }
    }
}
