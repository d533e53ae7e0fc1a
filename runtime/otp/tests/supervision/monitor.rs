//! Monitors: who hears of a death, when, and who does not.

use std::num::NonZeroUsize;
use std::time::Duration;

use otp::{
    Actor, ActorRef, CallError, CastError, ChildSpec, Context, Down, DownReason, ExitReason,
    Mailbox, MonitorId, MonitorRef, Pid, Reply, Root, Strategy,
};
use tokio::sync::oneshot;

use super::stage::{Ask, Journal, SECOND, actor, patient, restarted, start, worker};

const KILLED: DownReason = DownReason::Exited(ExitReason::Killed);

/// An actor that monitors what it is told to and keeps the reports.
#[derive(Default)]
struct Watcher {
    kept: Vec<MonitorRef>,
    reports: Vec<Down>,
}

enum Order {
    Keep(Pid, Reply<MonitorId>),
    Detach(Pid, Reply<MonitorId>),
    Forget(Pid, Reply<()>),
    /// Take all that is kept back; how many had not reported.
    TakeBack(Reply<usize>),
    /// Take all that is kept back, once the sender is dropped.
    TakeBackAfter(oneshot::Sender<()>, oneshot::Receiver<()>, Reply<usize>),
    Reports(Reply<Vec<Down>>),
    Down(Down),
    /// Only fill the mailbox.
    Fill,
}

impl Actor for Watcher {
    type Message = Order;

    async fn handle(&mut self, order: Order, context: &Context<Order>) -> Result<(), ExitReason> {
        match order {
            Order::Keep(pid, reply) => {
                let monitor = context.monitor(&pid, Order::Down);
                reply.send(monitor.id());
                self.kept.push(monitor);
            }
            Order::Detach(pid, reply) => {
                reply.send(context.monitor(&pid, Order::Down).detach());
            }
            Order::Forget(pid, reply) => {
                drop(context.monitor(&pid, Order::Down));
                reply.send(());
            }
            Order::TakeBack(reply) => reply.send(self.take_back()),
            Order::TakeBackAfter(entered, done, reply) => {
                entered.send(()).unwrap();
                let _ = done.await;
                reply.send(self.take_back());
            }
            Order::Reports(reply) => reply.send(self.reports.clone()),
            Order::Down(down) => self.reports.push(down),
            Order::Fill => {}
        }
        Ok(())
    }
}

impl Watcher {
    fn take_back(&mut self) -> usize {
        self.kept.drain(..).map(MonitorRef::demonitor).filter(|taken| *taken).count()
    }
}

async fn stage() -> (Root, ActorRef<Order>, Pid) {
    let journal = Journal::default();
    let spec = patient(Strategy::OneForOne)
        .child(ChildSpec::worker("watcher", Watcher::default))
        .child(worker(&journal, "a"));
    let root = start(spec).await;
    let watcher = root.tree().whereis("root/watcher").unwrap();
    let target = root.tree().pid("root/a").unwrap();
    (root, watcher, target)
}

async fn told<T: Send>(
    watcher: &ActorRef<Order>,
    order: impl FnOnce(Reply<T>) -> Order + Send,
) -> T {
    watcher.call(order, SECOND).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_of_many_monitors_of_an_actor_reports_the_death_once_with_its_own_reference() {
    let (_root, watcher, target) = stage().await;
    let mut references = Vec::new();
    for _ in 0..3 {
        references.push(told(&watcher, |reply| Order::Keep(target.clone(), reply)).await);
    }
    references.push(told(&watcher, |reply| Order::Detach(target.clone(), reply)).await);

    target.kill();
    target.gone().await;
    let reports = told(&watcher, Order::Reports).await;

    let reported: Vec<_> = reports.iter().map(|down| down.reference.clone()).collect();
    assert_eq!(reported, references);
    assert!(reports.iter().all(|down| down.pid == target && down.reason == KILLED));
}

#[tokio::test(start_paused = true)]
async fn a_monitor_carries_the_reason_of_the_exit() {
    let (root, _, target) = stage().await;
    let mut monitor = target.monitor();

    actor(&root.tree(), "root/a").cast(Ask::Panic("planned")).unwrap();
    let down = monitor.down().await;

    assert_eq!(down.reason, DownReason::Exited(ExitReason::failed("planned")));
    assert_eq!((down.pid, down.reference), (target, monitor.id()));
}

#[tokio::test(start_paused = true)]
async fn a_monitor_on_a_dead_process_reports_noproc_at_once() {
    let (_root, watcher, target) = stage().await;
    target.kill();
    target.gone().await;

    let reference = told(&watcher, |reply| Order::Keep(target.clone(), reply)).await;
    let reports = told(&watcher, Order::Reports).await;
    let outside = target.monitor().down().await;

    let expected = Down { reference, pid: target, reason: DownReason::NoProc };
    assert_eq!(reports, [expected]);
    assert_eq!(outside.reason, DownReason::NoProc);
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_is_taken_back_or_dropped_reports_nothing() {
    let (_root, watcher, target) = stage().await;
    told(&watcher, |reply| Order::Keep(target.clone(), reply)).await;
    told(&watcher, |reply| Order::Keep(target.clone(), reply)).await;
    told(&watcher, |reply| Order::Forget(target.clone(), reply)).await;

    let taken_back = told(&watcher, Order::TakeBack).await;
    target.kill();
    target.gone().await;

    assert_eq!(taken_back, 2);
    assert_eq!(told(&watcher, Order::Reports).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_report_that_waits_in_the_mailbox_is_taken_back_with_its_monitor() {
    let (_root, watcher, target) = stage().await;
    told(&watcher, |reply| Order::Keep(target.clone(), reply)).await;
    let detached = told(&watcher, |reply| Order::Detach(target.clone(), reply)).await;
    let ((entered, was_entered), (hold, done)) = (oneshot::channel(), oneshot::channel());
    let busy = told(&watcher, |reply| Order::TakeBackAfter(entered, done, reply));
    let meanwhile = async {
        was_entered.await.unwrap();
        target.kill();
        target.gone().await;
        drop(hold);
    };

    let (taken_back, ()) = tokio::join!(busy, meanwhile);
    let reports = told(&watcher, Order::Reports).await;

    assert_eq!(taken_back, 1);
    assert_eq!(reports, [Down { reference: detached, pid: target, reason: KILLED }]);
    assert_eq!(watcher.mailbox_len(), 0);
}

#[tokio::test(start_paused = true)]
async fn taking_back_a_monitor_whose_report_was_handled_says_so() {
    let (_root, watcher, target) = stage().await;
    told(&watcher, |reply| Order::Keep(target.clone(), reply)).await;
    target.kill();
    target.gone().await;

    assert_eq!(told(&watcher, Order::Reports).await.len(), 1);
    assert_eq!(told(&watcher, Order::TakeBack).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_mailbox_still_takes_what_a_monitor_reports() {
    let journal = Journal::default();
    let mailbox = Mailbox::bounded(NonZeroUsize::MIN);
    let spec = patient(Strategy::OneForOne)
        .child(ChildSpec::worker("watcher", Watcher::default).mailbox(mailbox))
        .child(worker(&journal, "a"));
    let root = start(spec).await;
    let watcher: ActorRef<Order> = root.tree().whereis("root/watcher").unwrap();
    let target = root.tree().pid("root/a").unwrap();
    told(&watcher, |reply| Order::Detach(target.clone(), reply)).await;
    let ((entered, was_entered), (hold, done)) = (oneshot::channel(), oneshot::channel());
    let busy = told(&watcher, |reply| Order::TakeBackAfter(entered, done, reply));
    let meanwhile = async {
        was_entered.await.unwrap();
        watcher.cast(Order::Fill).unwrap();
        assert_eq!(watcher.cast(Order::Fill), Err(CastError::Full { capacity: 1 }));
        target.kill();
        target.gone().await;
        drop(hold);
    };

    tokio::join!(busy, meanwhile);
    let reports = loop {
        match watcher.call(Order::Reports, SECOND).await {
            Err(CallError::Full { .. }) => tokio::task::yield_now().await,
            answer => break answer.unwrap(),
        }
    };

    assert_eq!(reports.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_death_can_be_given_up_and_taken_up_again() {
    let (_root, _, target) = stage().await;
    let mut monitor = target.monitor();

    let given_up = tokio::time::timeout(Duration::from_millis(5), monitor.down()).await;
    target.kill();
    let (first, again) = (monitor.down().await, monitor.down().await);

    assert!(given_up.is_err());
    assert_eq!((first.reason.clone(), first), (KILLED, again));
}

#[tokio::test(start_paused = true)]
async fn the_restarted_watcher_gets_nothing_its_predecessor_asked_for() {
    let (root, watcher, target) = stage().await;
    let mut events = root.tree().subscribe();
    told(&watcher, |reply| Order::Detach(target.clone(), reply)).await;

    watcher.pid().kill();
    restarted(&mut events, "root/watcher").await;
    target.kill();
    target.gone().await;

    let successor: ActorRef<Order> = root.tree().whereis("root/watcher").unwrap();
    assert_eq!(told(&successor, Order::Reports).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_making_of_a_report_ends_the_watcher_and_not_the_target() {
    let (root, _, target) = stage().await;
    let mut events = root.tree().subscribe();
    let (context, target_again) = (Contextual::launch(&root).await, target.clone());
    context.call(|reply| (target_again, reply), SECOND).await.unwrap();

    target.kill();
    restarted(&mut events, "root/a").await;

    assert_eq!(target.gone().await, ExitReason::Killed);
    assert_eq!(context.pid().gone().await, ExitReason::failed("planned"));
}

/// Sets a monitor whose message cannot be made.
struct Contextual;

impl Contextual {
    async fn launch(root: &Root) -> ActorRef<(Pid, Reply<()>)> {
        let supervisor = root.tree().supervisor("root").unwrap();
        supervisor.start_child(ChildSpec::worker("contextual", || Self)).await.unwrap();
        root.tree().whereis("root/contextual").unwrap()
    }
}

impl Actor for Contextual {
    type Message = (Pid, Reply<()>);

    async fn handle(
        &mut self,
        (target, reply): Self::Message,
        context: &Context<Self::Message>,
    ) -> Result<(), ExitReason> {
        let never = |_| std::panic::resume_unwind(Box::new("planned"));
        context.monitor(&target, never).detach();
        reply.send(());
        Ok(())
    }
}
