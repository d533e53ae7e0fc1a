//! Children that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use otp::{
    ChildCounts, ChildSpec, ChildState, DynamicSupervisor, ExitReason, Intensity, Process,
    RequestError, Restart, Root, RunContext, Shutdown, StartError, Strategy,
    SupervisionEventKind as Kind, SupervisorSpec,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::stage::{Ask, Journal, SECOND, actor, patient, restarted, slow_worker, start, worker};

/// Cannot be started.
struct Broken;

impl Process for Broken {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        Err(StartError::failed("no"))
    }

    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        Ok(())
    }
}

#[tokio::test]
async fn a_dynamic_supervisor_restarts_its_children_and_refuses_more_than_its_limit() {
    let journal = Journal::default();
    let root =
        start(patient(Strategy::OneForOne).child(DynamicSupervisor::child("pool", Some(2)))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let pool = DynamicSupervisor::at(tree.clone(), "root/pool");

    let first = pool.start_child(worker(&journal, "a")).await.unwrap().unwrap();
    let twin = pool.start_child(worker(&journal, "a")).await;
    pool.start_child(worker(&journal, "b")).await.unwrap();
    let third = pool.start_child(worker(&journal, "c")).await;
    first.kill();
    restarted(&mut events, "root/pool/a").await;

    assert_eq!(twin, Err(RequestError::AlreadyStarted(first)));
    assert_eq!(third, Err(RequestError::MaxChildren { limit: 2 }));
    assert_eq!(tree.find("root/pool/a").unwrap().incarnation, 2);
}

#[tokio::test]
async fn nothing_is_left_in_the_tree_of_a_child_that_is_terminated_or_done() {
    let journal = Journal::default();
    let root =
        start(patient(Strategy::OneForOne).child(DynamicSupervisor::child("pool", None))).await;
    let tree = root.tree();
    let pool = DynamicSupervisor::at(tree.clone(), "root/pool");
    let (finish, finished) = oneshot::channel::<()>();

    pool.start_child(worker(&journal, "a").restart(Restart::Transient)).await.unwrap();
    let task = ChildSpec::task("b", |_| async move { finished.await.map_err(ExitReason::failed) });
    let task = pool.start_child(task).await.unwrap().unwrap();
    let both = tree.find("root/pool").unwrap().children.len();
    pool.terminate_child("a").await.unwrap();
    finish.send(()).unwrap();
    let reason = task.gone().await;

    let mut changes = tree.changes();
    changes.wait_for(|_| tree.find("root/pool").unwrap().children.is_empty()).await.unwrap();
    assert_eq!((both, reason), (2, ExitReason::Normal));
    assert_eq!(pool.terminate_child("a").await, Err(RequestError::NotFound));
}

#[tokio::test]
async fn of_a_temporary_child_only_its_failures_are_kept_and_told() {
    let journal = Journal::default();
    let root =
        start(patient(Strategy::OneForOne).child(DynamicSupervisor::child("pool", None))).await;
    let tree = root.tree();
    let (mut told, mut everything) = (tree.subscribe(), tree.subscribe_to_everything());
    let pool = DynamicSupervisor::at(tree.clone(), "root/pool");
    let temporary = |name| worker(&journal, name).restart(Restart::Temporary);
    let ends = [
        ("done", ExitReason::Normal),
        ("stopped", ExitReason::Shutdown),
        ("failed", ExitReason::failed("x")),
        ("killed", ExitReason::Killed),
    ];

    let before = tree.history().len();
    for (name, reason) in ends {
        let child = pool.start_child(temporary(name)).await.unwrap().unwrap();
        match reason {
            ExitReason::Killed => child.kill(),
            reason => actor(&tree, child.path()).cast(Ask::End(reason)).unwrap(),
        }
        child.gone().await;
    }
    let broken = ChildSpec::process("broken", || Broken).restart(Restart::Temporary);
    pool.start_child(broken).await.unwrap_err();
    pool.start_child(temporary("sent_away")).await.unwrap();
    pool.terminate_child("sent_away").await.unwrap();

    let failures = [
        ("root/pool/failed", Kind::Exited { reason: ExitReason::failed("x") }),
        ("root/pool/killed", Kind::Exited { reason: ExitReason::Killed }),
        ("root/pool/broken", Kind::StartFailed { error: "no".to_owned() }),
    ];
    let heard: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    let heard: Vec<_> = heard.iter().map(|event| (&*event.path, event.kind.clone())).collect();
    assert_eq!(heard, failures);
    assert_eq!(tree.history().len() - before, failures.len());
    assert_eq!(std::iter::from_fn(|| everything.try_recv().ok()).count(), 5 + 5 + 1);
}

#[tokio::test(start_paused = true)]
async fn the_children_of_a_dynamic_supervisor_are_stopped_all_at_once() {
    let journal = Journal::default();
    let root =
        start(patient(Strategy::OneForOne).child(DynamicSupervisor::child("pool", None))).await;
    let pool = DynamicSupervisor::at(root.tree(), "root/pool");
    for name in ["a", "b", "c"] {
        pool.start_child(slow_worker(&journal, name, SECOND)).await.unwrap();
    }
    let before = Instant::now();

    root.stop().await;

    assert_eq!(before.elapsed(), SECOND);
}

/// A dynamic supervisor that never gives up, in a tree of its own.
async fn pool(max_children: Option<usize>) -> (Root, DynamicSupervisor) {
    let spec = SupervisorSpec::dynamic().intensity(Intensity::new(1_000_000, SECOND));
    let spec = match max_children {
        Some(limit) => spec.max_children(limit),
        None => spec,
    };
    let root = start(patient(Strategy::OneForOne).child(ChildSpec::supervisor("pool", spec))).await;
    let pool = DynamicSupervisor::at(root.tree(), "root/pool");
    (root, pool)
}

/// Goes on when it is told to stop, and has to be killed.
struct Stubborn;

impl Process for Stubborn {
    async fn run(&mut self, _: &RunContext) -> Result<(), ExitReason> {
        std::future::pending().await
    }
}

fn stubborn(shutdown: Shutdown) -> ChildSpec {
    ChildSpec::process("stubborn", || Stubborn).shutdown(shutdown)
}

#[tokio::test(start_paused = true)]
async fn two_thousand_children_take_as_long_to_stop_as_the_most_patient_one() {
    let (root, pool) = pool(None).await;
    let patience = |seconds| Shutdown::Timeout(Duration::from_secs(seconds));
    for number in 0..2_000 {
        let rule = if number % 2 == 0 { patience(2) } else { patience(7) };
        pool.start_numbered(stubborn(rule)).await.unwrap();
    }
    let counted = pool.count_children().await.unwrap();
    let mut children = pool.which_children().await.unwrap().into_iter().map(|child| child.state);
    let Some(ChildState::Running(patient)) = children.next() else { panic!("it runs") };
    let Some(ChildState::Running(impatient)) = children.next() else { panic!("it runs") };
    let before = Instant::now();

    let ((), (), _) = tokio::join!(
        async {
            assert_eq!(impatient.gone().await, ExitReason::Killed);
            assert_eq!(before.elapsed(), Duration::from_secs(2));
        },
        async {
            assert_eq!(patient.gone().await, ExitReason::Killed);
        },
        root.stop(),
    );

    assert_eq!(before.elapsed(), Duration::from_secs(7));
    let every = ChildCounts { specs: 2_000, active: 2_000, supervisors: 0, workers: 2_000 };
    assert_eq!(counted, every);
}

#[tokio::test(start_paused = true)]
async fn one_without_a_limit_is_waited_for_while_the_others_are_killed_in_time() {
    let journal = Journal::default();
    let (root, pool) = pool(None).await;
    let minute = Duration::from_mins(1);
    let slow = slow_worker(&journal, "slow", minute).shutdown(Shutdown::Infinity);
    pool.start_child(slow).await.unwrap();
    pool.start_child(slow_worker(&journal, "quick", SECOND)).await.unwrap();
    let stubborn = stubborn(Shutdown::Timeout(SECOND * 3));
    let stubborn = pool.start_child(stubborn).await.unwrap().unwrap();
    journal.take();
    let before = Instant::now();

    let (killed_after, _) = tokio::join!(
        async {
            stubborn.gone().await;
            before.elapsed()
        },
        root.stop()
    );

    assert_eq!((killed_after, before.elapsed()), (SECOND * 3, minute));
    assert_eq!(journal.take(), ["stop quick shutdown", "stop slow shutdown"]);
}

#[tokio::test(start_paused = true)]
async fn instances_of_one_specification_share_one_timer_too() {
    let spec = SupervisorSpec::new(Strategy::SimpleOneForOne)
        .child(stubborn(Shutdown::Timeout(SECOND * 4)));
    let root = start(patient(Strategy::OneForOne).child(ChildSpec::supervisor("pool", spec))).await;
    let pool = root.tree().supervisor("root/pool").unwrap();
    for _ in 0..100 {
        pool.start_instance("x").await.unwrap();
    }
    let before = Instant::now();

    root.stop().await;

    assert_eq!(before.elapsed(), SECOND * 4);
}

/// Comes up the first time, and then as it is told.
struct Fickle(u64, StartError);

impl Process for Fickle {
    async fn init(&mut self, _: &RunContext) -> Result<(), StartError> {
        if self.0 == 0 { Ok(()) } else { Err(self.1.clone()) }
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Ok(())
    }
}

fn fickle(id: &'static str, then: StartError) -> ChildSpec {
    let starts = Arc::new(AtomicU64::new(0));
    ChildSpec::process(id, move || Fickle(starts.fetch_add(1, Ordering::Relaxed), then.clone()))
}

#[tokio::test]
async fn a_child_that_is_being_restarted_takes_a_place_and_can_be_terminated_by_its_old_process() {
    let journal = Journal::default();
    let (_root, pool) = pool(Some(1)).await;
    let first = fickle("flaky", StartError::failed("never again"));
    let first = pool.start_child(first).await.unwrap().unwrap();

    first.kill();
    while pool.which_children().await.unwrap()[0].state != ChildState::Restarting {}
    let second = pool.start_child(worker(&journal, "second")).await;
    let terminated = pool.terminate_child(first.clone()).await;
    let again = pool.terminate_child(first).await;
    let third = pool.start_child(worker(&journal, "third")).await;

    assert_eq!(second, Err(RequestError::MaxChildren { limit: 1 }));
    assert_eq!((terminated, again), (Ok(()), Err(RequestError::NotFound)));
    assert!(third.unwrap().is_some());
}

#[tokio::test]
async fn a_child_that_does_not_want_to_start_is_not_kept_nor_is_one_at_its_restart() {
    let (root, pool) = pool(None).await;
    let tree = root.tree();
    let (unwanted, tired) = (fickle("x", StartError::Ignore), fickle("y", StartError::Ignore));
    let tired = pool.start_child(tired).await.unwrap().unwrap();
    let unwanted_one = pool.start_child(unwanted.clone()).await.unwrap().unwrap();
    pool.terminate_child(unwanted_one).await.unwrap();

    let ignored = pool.start_child(unwanted).await;
    tired.kill();
    let mut changes = tree.changes();
    changes.wait_for(|_| tree.find("root/pool").unwrap().children.is_empty()).await.unwrap();

    assert_eq!(ignored, Ok(None));
    assert_eq!(pool.which_children().await, Ok(Vec::new()));
}

#[tokio::test]
async fn a_restart_sees_the_extra_value_and_the_arguments_of_the_start() {
    let (root, pool) = pool(None).await;
    let mut events = root.tree().subscribe();
    let journal = Journal::default();
    let pool =
        pool.with((journal.clone(), "extra"), |(journal, extra): (Journal, &str), own: u8| {
            ChildSpec::process("child", move || {
                journal.note(format!("{extra} {own}"));
                Stubborn
            })
            .shutdown(Shutdown::BrutalKill)
        });

    let first = pool.start_numbered(1).await.unwrap().unwrap();
    let second = pool.start_numbered(2).await.unwrap().unwrap();
    first.kill();
    restarted(&mut events, first.path()).await;

    assert_eq!((first.path(), second.path()), ("root/pool/child#1", "root/pool/child#2"));
    assert_eq!(journal.take(), ["extra 1", "extra 2", "extra 1"]);
}

#[tokio::test]
async fn a_dynamic_supervisor_gives_up_at_its_fourth_failure_within_five_seconds() {
    let root =
        start(patient(Strategy::OneForOne).child(DynamicSupervisor::child("pool", None))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    let pool = DynamicSupervisor::at(tree.clone(), "root/pool");
    let first = stubborn(Shutdown::BrutalKill);
    pool.start_child(first).await.unwrap();

    for _ in 0..3 {
        tree.kill("root/pool/stubborn").unwrap();
        restarted(&mut events, "root/pool/stubborn").await;
    }
    tree.kill("root/pool/stubborn").unwrap();
    restarted(&mut events, "root/pool").await;

    assert_eq!(pool.which_children().await, Ok(Vec::new()));
    let gave_up = tree.history().iter().any(|event| event.kind == Kind::GaveUp);
    assert!(gave_up);
}

#[tokio::test(start_paused = true)]
async fn a_patience_without_an_end_is_waited_for() {
    let journal = Journal::default();
    let (root, pool) = pool(None).await;
    let slow = slow_worker(&journal, "slow", SECOND * 60);
    pool.start_child(slow.shutdown(Shutdown::Timeout(Duration::MAX))).await.unwrap();

    root.stop().await;

    assert_eq!(journal.take(), ["start slow", "stop slow shutdown"]);
}

#[tokio::test]
async fn an_instance_whose_argument_reads_like_a_path_is_a_child_like_any_other() {
    let spec = SupervisorSpec::new(Strategy::SimpleOneForOne);
    let root = start(spec.child(worker(&Journal::default(), "a"))).await;
    let supervisor = root.supervisor().unwrap();

    let instance = supervisor.start_instance("in/box").await.unwrap().unwrap();

    assert_eq!(instance.path(), "root/in|box#1");
    assert_eq!(supervisor.get_childspec(instance.clone()).await.unwrap().id, "a");
    assert_eq!(supervisor.terminate_child(instance.clone()).await, Ok(()));
    assert!(!instance.is_alive());
}

#[tokio::test]
async fn a_number_that_a_child_was_called_by_is_not_given_again() {
    let (root, pool) = pool(None).await;
    let child = |id| ChildSpec::supervisor(id, SupervisorSpec::default());
    pool.start_child(child("job#1")).await.unwrap();

    let numbered = pool.start_numbered(child("job")).await.unwrap().unwrap();

    assert!(numbered.path().ends_with("/job#2"), "{numbered:?}");
    root.stop().await;
}
