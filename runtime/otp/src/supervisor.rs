//! The supervisor process: starts its children in order, restarts what dies, stops in reverse.
//!
//! It only carries out what [`crate::children`] decides. Its children are not linked to it in
//! ractor's sense, because ractor kills the children of a dead actor in no order and does not wait
//! for them. Instead every child sends its exit as a message, behind what waits in the mailbox
//! already, as in OTP; and a supervisor that is killed leaves its children to
//! [`crate::incarnation::ExitGuard`], which brings them down before the death becomes known.
//!
//! **Invariant:** one message at a time; whatever is awaited here, requests wait meanwhile.

mod inspect;
mod mend;
mod patience;
mod reconfigure;
mod serve;
mod stop;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ractor::{ActorCell, ActorProcessingErr};
use tokio::time::{Instant, timeout};

use crate::actor::start_error;
use crate::child::{Birth, ChildSpec, Launch};
use crate::children::{Children, Outage, Seat, Standing};
use crate::exit::{ExitReason, StartError, caught};
use crate::incarnation::{ExitGuard, Incarnation};
use crate::intensity::Window;
use crate::node::Status;
use crate::request::{Request, SupervisorRef};
use crate::specification::{Dynamic, SupervisorSpec};
use crate::strategy::Strategy;
use crate::tree::Tree;
use patience::Patience;
use stop::{stop_process, stop_together};

/// What arrives in the mailbox of a supervisor.
pub(crate) enum Message {
    /// The child at a seat is gone, with all below it.
    Exited(Seat, Arc<Incarnation>),
    /// A failed restart is due for another attempt.
    Retry(Seat),
    /// The quarantine of that number is over.
    QuarantineOver(Seat, u64),
    /// The parent wants the supervisor to stop.
    Stop(ExitReason),
    Request(Request),
    /// Somebody who looks inside the supervisor wants something of it.
    System,
}

/// Puts the token into the mailbox of a supervisor that makes it look at what is wanted of it.
fn wake(cell: &ActorCell) -> bool {
    cell.send_message(Message::System).is_ok()
}

/// Whether the supervisor goes on after a message.
enum Flow {
    Continue,
    Exit(ExitReason),
}

struct Supervisor {
    spec: SupervisorSpec,
    /// The only specification, if all children are instances of it; they share it.
    template: Option<Arc<ChildSpec>>,
    children: Children<Arc<Incarnation>>,
    window: Window,
    tickets: u64,
    /// Instances started so far, for their ids.
    instances: u64,
    me: Arc<Incarnation>,
    myself: ractor::ActorRef<Message>,
    /// The child whose start is being awaited; it is not in the table yet.
    starting: Option<Arc<Incarnation>>,
    guard: ExitGuard,
}

/// The only specification of a supervisor whose children are all instances of it.
fn template(spec: &SupervisorSpec) -> Option<Arc<ChildSpec>> {
    let instances = spec.strategy == Strategy::SimpleOneForOne && spec.dynamic.is_none();
    spec.children.first().filter(|_| instances).cloned().map(Arc::new)
}

/// Brings up a supervisor specified by `make`.
pub(crate) fn launch(
    make: impl Fn() -> Result<SupervisorSpec, StartError> + Send + Sync + 'static,
) -> Launch {
    let make: Make = Arc::new(make);
    Arc::new(move |birth| {
        let make = make.clone();
        Box::pin(async move {
            ractor::Actor::spawn(None, Host, (make, birth)).await.map(drop).map_err(start_error)
        })
    })
}

type Make = Arc<dyn Fn() -> Result<SupervisorSpec, StartError> + Send + Sync>;

struct Host;

impl ractor::Actor for Host {
    type Msg = Message;
    type State = Supervisor;
    type Arguments = (Make, Birth);

    async fn pre_start(
        &self,
        myself: ractor::ActorRef<Message>,
        (make, birth): Self::Arguments,
    ) -> Result<Supervisor, ActorProcessingErr> {
        let me = birth.incarnation;
        let mut guard = ExitGuard::new(me.clone());
        me.occupy(myself.get_cell(), Some(wake));
        let making = me.on_watch("init", async { make() });
        let spec = caught(making).await.map_err(StartError::Panicked)??;
        guard.up(Box::new(SupervisorRef::new(myself.clone(), me.clone())), birth.cause);
        if let Err(error) = spec.check() {
            guard.record(ExitReason::failed(error.place()));
            return Err(StartError::Refused(error).into());
        }
        let mut supervisor = Supervisor {
            template: template(&spec),
            children: Children::new(spec.strategy == Strategy::SimpleOneForOne),
            spec,
            window: Window::default(),
            tickets: 0,
            instances: 0,
            me,
            myself,
            starting: None,
            guard,
        };
        Box::pin(supervisor.start_all(birth.cause)).await?;
        supervisor.me.leave();
        Ok(supervisor)
    }

    async fn post_start(
        &self,
        _: ractor::ActorRef<Message>,
        supervisor: &mut Supervisor,
    ) -> Result<(), ActorProcessingErr> {
        supervisor.me.run_here();
        Ok(())
    }

    async fn handle(
        &self,
        _: ractor::ActorRef<Message>,
        message: Message,
        supervisor: &mut Supervisor,
    ) -> Result<(), ActorProcessingErr> {
        if matches!(message, Message::Request(_)) {
            supervisor.me.backlog().fetch_sub(1, Ordering::Relaxed);
        }
        if let Flow::Exit(reason) = Box::pin(supervisor.look_and_take(message)).await {
            supervisor.end(reason).await;
        }
        Ok(())
    }
}

impl Supervisor {
    async fn take(&mut self, message: Message) -> Flow {
        match message {
            Message::Exited(seat, incarnation) => {
                self.exited(self.children.seat_now(seat), &incarnation).await
            }
            Message::Retry(seat) => self.retry(self.children.seat_now(seat)).await,
            Message::QuarantineOver(seat, ticket) => {
                self.quarantine_over(self.children.seat_now(seat), ticket).await
            }
            Message::Stop(reason) => Flow::Exit(reason),
            Message::Request(request) => {
                self.serve(request).await;
                self.attend_if_suspended().await
            }
            Message::System => self.attend().await,
        }
    }

    fn tree(&self) -> &Tree {
        &self.me.tree
    }

    fn dynamic(&self) -> Option<Dynamic> {
        self.spec.dynamic
    }

    /// Starts the listed children, or none: if one fails, those before it are stopped again.
    async fn start_all(&mut self, cause: Option<u64>) -> Result<(), StartError> {
        let listed = match self.spec.strategy {
            Strategy::SimpleOneForOne => Vec::new(),
            _ => self.spec.children.clone(),
        };
        let path = |id: &str| -> Arc<str> { format!("{}/{id}", self.me.path).into() };
        let paths: Vec<_> = listed.iter().map(|child| path(&child.id)).collect();
        self.tree().describe_supervisor(&self.me.path, &self.spec, &paths);
        for (child, path) in listed.into_iter().zip(paths) {
            let id = child.id.clone();
            let seat = self.children.add(child.into(), id, path, None);
            self.list(seat);
        }
        let seats: Vec<Seat> = self.children.iter().map(|(seat, _)| seat).collect();
        for seat in seats {
            let Some(id) = self.children.get(seat).map(|child| child.id.to_string()) else {
                continue;
            };
            if let Err(error) = self.start(seat, cause).await {
                self.stop_all().await;
                self.guard.record(ExitReason::ShutdownWith(format!("failed_to_start_child:{id}")));
                return Err(StartError::ChildFailed { id, error: Box::new(error) });
            }
        }
        Ok(())
    }

    fn list(&self, seat: Seat) {
        if let Some(child) = self.children.get(seat) {
            self.tree().list(Some(&self.me.path), seat, &child.path, &child.spec);
        }
    }

    /// Starts one child and waits until it is up. `None`: it did not want to.
    async fn start(
        &mut self,
        seat: Seat,
        cause: Option<u64>,
    ) -> Result<Option<Arc<Incarnation>>, StartError> {
        let Some(child) = self.children.get(seat) else {
            return Ok(None);
        };
        let (path, argument, kind) = (child.path.clone(), child.argument.clone(), child.spec.kind);
        let parent = Some((self.myself.clone(), seat));
        let surroundings = match child.spec.surroundings(&path, &self.me).await {
            Ok(surroundings) => surroundings,
            Err(error) => {
                self.tree().start_failed(&path, &error, cause);
                return Err(error);
            }
        };
        let tree = self.tree().clone();
        let incarnation =
            Incarnation::new(path.clone(), kind, argument, tree, parent, surroundings);
        self.starting = Some(incarnation.clone());
        let limit = child.spec.start_within;
        let up = child.spec.bring_up(Birth { incarnation: incarnation.clone(), cause });
        let outcome = match limit {
            None => up.await,
            // In a box, as what follows: it is rare, and every start would have room for it.
            Some(limit) => Box::pin(timeout(limit, up)).await.unwrap_or_else(|_| {
                let milliseconds = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
                Err(StartError::TimedOut { milliseconds })
            }),
        };
        if outcome.is_err() && !incarnation.gone().is_raised() {
            // On threads of its own it may come up after its time is over; and a supervisor that
            // was killed while it started may have left children behind.
            incarnation.put_down();
            Box::pin(incarnation.gone().raised()).await;
        }
        self.starting = None;
        self.started(seat, incarnation, outcome, cause)
    }

    /// Notes how a start has ended.
    fn started(
        &mut self,
        seat: Seat,
        incarnation: Arc<Incarnation>,
        outcome: Result<(), StartError>,
        cause: Option<u64>,
    ) -> Result<Option<Arc<Incarnation>>, StartError> {
        let quarantines = self.spec.quarantine.is_some();
        let Some(child) = self.children.get_mut(seat) else {
            return Ok(None);
        };
        match outcome {
            Ok(()) => {
                child.standing = Standing::Running(incarnation.clone());
                child.outage = None;
                if quarantines {
                    child.rounds.up(Instant::now());
                }
                Ok(Some(incarnation))
            }
            Err(error) => {
                self.tree().start_failed(&incarnation.path, &error, cause);
                if error == StartError::Ignore {
                    self.retire(seat);
                    return Ok(None);
                }
                Err(error)
            }
        }
    }

    /// Stops one child by its shutdown rule and waits until it is gone.
    async fn stop(&mut self, seat: Seat) {
        self.stop_patiently(seat, &mut Patience::default()).await;
    }

    /// Stops children one after another, each by its shutdown rule.
    async fn stop_in_order(&mut self, seats: Vec<Seat>) {
        let mut patience = Patience::default();
        for seat in seats {
            self.stop_patiently(seat, &mut patience).await;
        }
    }

    async fn stop_patiently(&mut self, seat: Seat, patience: &mut Patience) {
        let Some(child) = self.children.get(seat) else {
            return;
        };
        match &child.standing {
            Standing::Running(incarnation) => {
                stop_process(incarnation.clone(), child.spec.shutdown, patience).await;
            }
            Standing::Stopped => {}
            Standing::Restarting | Standing::Quarantined(_) => {
                self.tree().mark(&child.path, Status::Stopped);
            }
        }
        self.retire(seat);
    }

    fn retire(&mut self, seat: Seat) {
        let path = self.children.get(seat).map(|child| child.path.clone());
        if self.children.retire(seat)
            && let Some(path) = path
        {
            self.tree().forget(&self.me.path, seat, &path);
        }
    }

    /// Stops all children: one after another, newest first, or at once where none has an order.
    async fn stop_all(&mut self) {
        let running = self.children.running();
        if self.spec.strategy != Strategy::SimpleOneForOne {
            return self.stop_in_order(running).await;
        }
        let processes = running.iter().filter_map(|seat| {
            let child = self.children.get(*seat)?;
            match &child.standing {
                Standing::Running(incarnation) => Some((incarnation.clone(), child.spec.shutdown)),
                _ => None,
            }
        });
        stop_together(processes.collect()).await;
        for seat in running {
            self.retire(seat);
        }
    }

    async fn end(&mut self, reason: ExitReason) {
        self.stop_all().await;
        self.guard.record(reason);
        self.myself.stop(None);
    }

    fn outage(&self, seat: Seat) -> Option<Outage> {
        self.children.get(seat)?.outage.as_deref().cloned()
    }
}

impl Drop for Supervisor {
    /// After an orderly end nothing is left to abandon.
    fn drop(&mut self) {
        let left = self.children.iter().rev().filter_map(|(_, child)| match &child.standing {
            Standing::Running(incarnation) => Some(incarnation.clone()),
            _ => None,
        });
        let orphans = self.starting.iter().cloned().chain(left);
        self.guard.abandon(orphans.filter(|orphan| !orphan.gone().is_raised()).collect());
    }
}
