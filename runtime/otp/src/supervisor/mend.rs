//! What a supervisor does about the death of a child.

use std::sync::Arc;

use tokio::time::Instant;

use super::{Flow, Message, Supervisor};
use crate::child::ChildKind;
use crate::children::{Outage, Seat, Standing};
use crate::exit::ExitReason;
use crate::incarnation::Incarnation;
use crate::intensity::Verdict;
use crate::node::Status;
use crate::timer::Timer;

impl Supervisor {
    /// A child has died by itself, or was killed by a stranger.
    pub(super) async fn exited(&mut self, seat: Seat, incarnation: &Arc<Incarnation>) -> Flow {
        let Some(child) = self.children.get_mut(seat) else {
            return Flow::Continue;
        };
        // Whoever was stopped meanwhile, or has a successor, is a stranger.
        let is_current =
            matches!(&child.standing, Standing::Running(now) if Arc::ptr_eq(now, incarnation));
        let Some(death) = incarnation.death().filter(|_| is_current) else {
            return Flow::Continue;
        };
        let outage = Outage { cause: death.sequence, since: death.at, touched: Vec::new() };
        child.outage = Some(Box::new(outage));
        let significant = child.spec.significant;
        let restarts = child.spec.restart.applies_to(&death.reason);
        if death.gave_up && self.quarantines(seat) {
            self.quarantine(seat);
            return Flow::Continue;
        }
        if restarts {
            return self.restart(seat).await;
        }
        self.retire(seat);
        if self.children.ends_supervisor(self.spec.auto_shutdown, significant) {
            return Flow::Exit(ExitReason::Shutdown);
        }
        Flow::Continue
    }

    /// A failed restart is due again, unless somebody has stopped or started the child meanwhile.
    pub(super) async fn retry(&mut self, seat: Seat) -> Flow {
        match self.children.get(seat) {
            Some(child) if matches!(child.standing, Standing::Restarting) => {
                self.restart(seat).await
            }
            _ => Flow::Continue,
        }
    }

    /// Brings a child up again, with those that share its fate, unless that is once too often.
    async fn restart(&mut self, seat: Seat) -> Flow {
        let now = Instant::now();
        if self.window.record(self.spec.intensity, now) == Verdict::GiveUp {
            if self.quarantines(seat) {
                self.quarantine(seat);
                return Flow::Continue;
            }
            self.give_up(seat);
            return Flow::Exit(ExitReason::Shutdown);
        }
        self.tree().counted(&self.me.path, now);
        let Some(mut outage) = self.outage(seat) else {
            return Flow::Continue;
        };
        let plan = self.children.restart_plan(self.spec.strategy, seat);
        self.touch(&mut outage, seat, &plan.stop);
        if let Some(child) = self.children.get_mut(seat) {
            child.standing = Standing::Stopped;
            if !plan.stop.is_empty() {
                let path = child.path.clone();
                self.tree().mark(&path, Status::Restarting);
            }
        }
        self.stop_in_order(plan.stop).await;
        let mut up = Vec::new();
        for member in plan.start {
            match self.start(member, Some(outage.cause)).await {
                Ok(Some(_)) => up.push(member),
                Ok(None) => {}
                Err(_) => {
                    self.not_up(member, &outage);
                    // What is quarantined is left down; the others of its group need not wait.
                    if !self.quarantines(member) {
                        break;
                    }
                }
            }
        }
        for member in up {
            self.report_restart(
                member,
                if member == seat { Some(&outage.touched) } else { None },
                &outage,
            );
        }
        Flow::Continue
    }

    /// Notes which siblings a restart touches.
    fn touch(&self, outage: &mut Outage, seat: Seat, siblings: &[Seat]) {
        for sibling in siblings.iter().rev().filter(|sibling| **sibling != seat) {
            if let Some(child) = self.children.get(*sibling)
                && !outage.touched.contains(&child.path)
            {
                outage.touched.push(child.path.clone());
            }
        }
    }

    /// A member of a group did not start. It is tried again behind what waits in the mailbox, so
    /// that a supervisor whose child cannot start still serves requests.
    fn not_up(&mut self, member: Seat, outage: &Outage) {
        let Some(child) = self.children.get_mut(member) else {
            return;
        };
        let mut outage = outage.clone();
        outage.touched.retain(|path| *path != child.path);
        child.outage = Some(Box::new(outage));
        if self.quarantines(member) {
            self.quarantine(member);
            return;
        }
        let Some(child) = self.children.get_mut(member) else {
            return;
        };
        child.standing = Standing::Restarting;
        let path = child.path.clone();
        self.tree().mark(&path, Status::Restarting);
        // A mailbox that is closed means that this supervisor is being killed.
        let _ = self.myself.cast(Message::Retry(member));
    }

    fn report_restart(&self, seat: Seat, touched: Option<&Vec<Arc<str>>>, outage: &Outage) {
        let Some(child) = self.children.get(seat) else {
            return;
        };
        let touched = touched.into_iter().flatten().map(ToString::to_string).collect();
        self.tree().restarted(&child.path, Some(outage.cause), touched, outage.since.elapsed());
    }

    /// One restart too many: the failure moves one level up.
    fn give_up(&mut self, seat: Seat) {
        let cause = self.outage(seat).map(|outage| outage.cause);
        let path = self.children.get(seat).map(|child| child.path.clone()).unwrap_or_default();
        let left = self.children.running().into_iter().rev().filter(|sibling| *sibling != seat);
        let touched = left.filter_map(|sibling| Some(self.children.get(sibling)?.path.to_string()));
        let touched = touched.collect();
        self.tree().gave_up(&self.me.path, &path, cause, touched);
        self.retire(seat);
        self.guard.record_giving_up();
    }

    fn quarantines(&self, seat: Seat) -> bool {
        self.spec.quarantine.is_some()
            && self.children.get(seat).is_some_and(|child| child.spec.kind == ChildKind::Supervisor)
    }

    /// Leaves a child supervisor down for as long as the schedule says.
    fn quarantine(&mut self, seat: Seat) {
        self.tickets += 1;
        let ticket = self.tickets;
        let Some(schedule) = &self.spec.quarantine else {
            return;
        };
        let Some(child) = self.children.get_mut(seat) else {
            return;
        };
        let (round, wait) = child.rounds.next(schedule, Instant::now());
        child.standing = Standing::Quarantined(ticket);
        let cause = child.outage.as_ref().map(|outage| outage.cause);
        let path = child.path.clone();
        self.tree().quarantined(&path, cause, round, wait);
        let myself = self.myself.clone();
        Timer::after(wait, self.me.clone(), move || {
            // A supervisor that died meanwhile has started or dropped the child itself.
            let _ = myself.cast(Message::QuarantineOver(seat, ticket));
        })
        .detach();
    }

    pub(super) async fn quarantine_over(&mut self, seat: Seat, ticket: u64) -> Flow {
        let standing = self.children.get(seat).map(|child| &child.standing);
        if matches!(standing, Some(Standing::Quarantined(now)) if *now == ticket) {
            self.release(seat).await;
        }
        Flow::Continue
    }

    /// An operator does not want to wait.
    pub(super) async fn lift(&mut self, id: &str) {
        let Some(seat) = self.children.seat_of(id) else {
            return;
        };
        let Some(child) = self.children.get(seat) else {
            return;
        };
        if matches!(child.standing, Standing::Quarantined(_)) {
            let cause = child.outage.as_ref().map(|outage| outage.cause);
            self.tree().quarantine_lifted(&child.path, cause);
            self.release(seat).await;
        }
    }

    /// Tries a quarantined child again. Nothing is counted: its neighbours are not to pay for it.
    async fn release(&mut self, seat: Seat) {
        let outage = self.outage(seat);
        let cause = outage.as_ref().map(|outage| outage.cause);
        match self.start(seat, cause).await {
            Ok(Some(_)) => {
                if let Some(outage) = outage {
                    self.report_restart(seat, Some(&outage.touched), &outage);
                }
            }
            Ok(None) => {}
            Err(_) => {
                // A supervisor that was reconfigured meanwhile may quarantine nothing any more.
                if let Some(outage) = outage {
                    self.not_up(seat, &outage);
                }
            }
        }
    }
}
