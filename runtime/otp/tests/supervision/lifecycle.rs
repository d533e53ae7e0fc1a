//! Starts, stops and restarts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otp::{
    ChildSpec, ChildState, Clock, ExitReason, Intensity, Process, Restart, Root, RunContext,
    Shutdown, StartError, Strategy, SupervisorSpec,
};
use tokio::sync::oneshot;

use super::stage::{
    Ask, Journal, SECOND, actor, count, patient, restarted, slow_worker, start, worker,
};

#[tokio::test]
async fn children_start_in_order_and_stop_in_reverse() {
    let journal = Journal::default();
    let inner =
        patient(Strategy::OneForOne).child(worker(&journal, "b")).child(worker(&journal, "c"));
    let root = start(
        patient(Strategy::OneForOne)
            .child(worker(&journal, "a"))
            .child(ChildSpec::supervisor("inner", inner))
            .child(worker(&journal, "d")),
    )
    .await;
    let started = journal.take();

    let reason = root.stop().await;

    assert_eq!(reason, ExitReason::Shutdown);
    assert_eq!(started, ["start a", "start b", "start c", "start d"]);
    let stopped = ["stop d shutdown", "stop c shutdown", "stop b shutdown", "stop a shutdown"];
    assert_eq!(journal.take(), stopped);
}

#[tokio::test(start_paused = true)]
async fn each_child_has_its_own_patience_and_is_killed_when_it_is_over() {
    let journal = Journal::default();
    let patience = |ms| Shutdown::Timeout(Duration::from_millis(ms));
    let root = start(
        patient(Strategy::OneForOne)
            .child(slow_worker(&journal, "quick", Duration::from_millis(50)).shutdown(patience(60)))
            .child(slow_worker(&journal, "slow", SECOND).shutdown(patience(300)))
            .child(slow_worker(&journal, "steady", SECOND).shutdown(Shutdown::Infinity)),
    )
    .await;
    let tree = root.tree();
    journal.take();
    let before = tokio::time::Instant::now();

    root.stop().await;

    assert_eq!(journal.take(), ["stop steady shutdown", "stop quick shutdown"]);
    assert_eq!(before.elapsed().as_millis(), 1_000 + 300 + 50);
    assert_eq!(tree.find("root/slow").unwrap().last_exit, Some(ExitReason::Killed));
}

#[tokio::test]
async fn a_panic_ends_one_actor_which_begins_anew_from_its_arguments() {
    let journal = Journal::default();
    let root = start(
        patient(Strategy::OneForOne).child(worker(&journal, "a")).child(worker(&journal, "b")),
    )
    .await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let before = [count(&tree, "root/a").await, count(&tree, "root/b").await];

    actor(&tree, "root/a").cast(Ask::Panic("out of luck")).unwrap();
    restarted(&mut events, "root/a").await;

    let after = [count(&tree, "root/a").await, count(&tree, "root/b").await];
    assert_eq!((before, after), ([1, 1], [1, 2]));
    let last_exit = tree.find("root/a").unwrap().last_exit;
    assert_eq!(last_exit, Some(ExitReason::failed("out of luck")));
}

#[tokio::test]
async fn rest_for_one_touches_exactly_those_started_later() {
    let journal = Journal::default();
    let names = ["a", "b", "c", "d"];
    let children = names.map(|name| worker(&journal, name));
    let root = start(patient(Strategy::RestForOne).children(children)).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    journal.take();

    tree.kill("root/b").unwrap();
    let event = restarted(&mut events, "root/b").await;

    let story = ["stop d shutdown", "stop c shutdown", "start b", "start c", "start d"];
    assert_eq!(journal.take(), story);
    assert_eq!(event.touched, ["root/c", "root/d"]);
    let incarnations = names.map(|name| tree.find(&format!("root/{name}")).unwrap().incarnation);
    assert_eq!(incarnations, [1, 2, 2, 2]);
}

#[tokio::test]
async fn a_child_that_cannot_start_takes_those_before_it_down_in_reverse() {
    let journal = Journal::default();
    let spec = patient(Strategy::OneForOne)
        .child(worker(&journal, "a"))
        .child(worker(&journal, "b"))
        .child(ChildSpec::process("c", || Unable))
        .child(worker(&journal, "d"));

    let error = Root::start(spec, Clock::system()).await.err().unwrap();

    assert_eq!(error.to_string(), "child \"c\" failed to start: no luck");
    let story = ["start a", "start b", "stop b shutdown", "stop a shutdown"];
    assert_eq!(journal.take(), story);
}

struct Unable;

impl Process for Unable {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        Err(StartError::failed("no luck"))
    }

    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        Ok(())
    }
}

#[tokio::test]
async fn a_start_that_is_given_up_brings_down_what_was_up() {
    let journal = Journal::default();
    let (entered, was_entered) = oneshot::channel();
    let entered = std::sync::Mutex::new(Some(entered));
    let spec = patient(Strategy::OneForOne)
        .child(worker(&journal, "a"))
        .child(ChildSpec::process("b", move || Stuck(entered.lock().unwrap().take())));
    let tree = Root::prepare(Clock::system());

    tokio::select! {
        _ = Root::start_in(tree.clone(), spec) => panic!("it is stuck"),
        entered = was_entered => entered.unwrap(),
    }
    let mut changes = tree.changes();
    changes.wait_for(|_| tree.pid("root/a").is_none()).await.unwrap();

    assert_eq!(tree.find("root/a").unwrap().last_exit, Some(ExitReason::Killed));
}

/// Never comes up.
struct Stuck(Option<oneshot::Sender<()>>);

impl Process for Stuck {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        if let Some(entered) = self.0.take() {
            entered.send(()).unwrap();
        }
        std::future::pending().await
    }

    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_may_be_limited_in_time() {
    let spec = patient(Strategy::OneForOne)
        .child(ChildSpec::process("a", || Stuck(None)).start_within(SECOND));

    let error = Root::start(spec, Clock::system()).await.err().unwrap();

    assert_eq!(error.to_string(), "child \"a\" failed to start: not up within 1000 ms");
}

#[tokio::test]
async fn a_supervisor_whose_child_cannot_start_again_still_serves_requests() {
    let attempts = Arc::new(AtomicU64::new(0));
    let seen = attempts.clone();
    let flaky = ChildSpec::process("flaky", move || Flaky(seen.fetch_add(1, Ordering::Relaxed)));
    let root = start(
        SupervisorSpec::new(Strategy::OneForOne)
            .intensity(Intensity::new(1_000_000, SECOND))
            .child(flaky),
    )
    .await;
    let supervisor = root.supervisor().unwrap();

    root.tree().kill("root/flaky").unwrap();
    let mut state = None;
    while state != Some(ChildState::Restarting) {
        state = supervisor.which_children().await.unwrap().pop().map(|child| child.state);
    }
    supervisor.terminate_child("flaky").await.unwrap();

    let stopped = supervisor.which_children().await.unwrap().pop().map(|child| child.state);
    let tried = attempts.load(Ordering::Relaxed);
    let later = supervisor.count_children().await.unwrap();
    assert_eq!(stopped, Some(ChildState::Stopped));
    assert_eq!(later.active, 0);
    assert_eq!(attempts.load(Ordering::Relaxed), tried);
}

/// Comes up the first time only.
struct Flaky(u64);

impl Process for Flaky {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        if self.0 == 0 { Ok(()) } else { Err(StartError::failed("never again")) }
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

#[tokio::test]
async fn the_successor_of_a_killed_supervisor_waits_until_nothing_is_left_below() {
    let journal = Journal::default();
    let slow =
        slow_worker(&journal, "slow", Duration::from_millis(20)).shutdown(Shutdown::Infinity);
    let lower = patient(Strategy::OneForOne).child(slow);
    let upper = patient(Strategy::OneForOne)
        .child(worker(&journal, "plain"))
        .child(ChildSpec::supervisor("lower", lower));
    let root =
        start(patient(Strategy::OneForOne).child(ChildSpec::supervisor("upper", upper))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    journal.take();

    tree.kill("root/upper").unwrap();
    restarted(&mut events, "root/upper").await;

    assert_eq!(journal.take(), ["stop slow shutdown", "start plain", "start slow"]);
    assert_eq!(tree.find("root/upper/plain").unwrap().last_exit, Some(ExitReason::Killed));
}

#[tokio::test]
async fn a_supervisor_that_gives_up_ends_with_shutdown_and_says_who_it_took_along() {
    let journal = Journal::default();
    let root = start(
        SupervisorSpec::new(Strategy::OneForOne)
            .intensity(Intensity::new(0, SECOND))
            .child(worker(&journal, "a"))
            .child(worker(&journal, "b")),
    )
    .await;
    let tree = root.tree();

    tree.kill("root/a").unwrap();
    let reason = root.exited().await;

    let history = tree.history();
    let gave_up =
        history.iter().find(|event| event.kind == otp::SupervisionEventKind::GaveUp).unwrap();
    assert_eq!(reason, ExitReason::Shutdown);
    assert_eq!((gave_up.path.as_str(), &*gave_up.touched), ("root", &["root/b".to_owned()][..]));
}

#[tokio::test]
async fn a_process_that_is_done_is_started_again_only_if_it_is_permanent() {
    let done = |id: &'static str| ChildSpec::process(id, || Done);
    let root = start(
        patient(Strategy::OneForOne)
            .child(done("transient").restart(Restart::Transient))
            .child(done("temporary").restart(Restart::Temporary)),
    )
    .await;
    let tree = root.tree();

    let mut changes = tree.changes();
    changes
        .wait_for(|_| {
            let children = tree.snapshot().children;
            children.len() == 1 && children[0].last_exit == Some(ExitReason::Normal)
        })
        .await
        .unwrap();

    let left = root.supervisor().unwrap().which_children().await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].id.as_str(), &left[0].state), ("transient", &ChildState::Stopped));
}

struct Done;

impl Process for Done {
    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        Ok(())
    }
}
