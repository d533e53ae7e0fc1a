//! Children that come and go.

use otp::{
    ChildSpec, DynamicSupervisor, ExitReason, Process, RequestError, Restart, RunContext,
    StartError, Strategy, SupervisionEventKind as Kind,
};
use tokio::sync::oneshot;

use super::stage::{Ask, Journal, actor, patient, restarted, start, worker};

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
        let second = super::stage::SECOND;
        pool.start_child(super::stage::slow_worker(&journal, name, second)).await.unwrap();
    }
    let before = tokio::time::Instant::now();

    root.stop().await;

    assert_eq!(before.elapsed(), super::stage::SECOND);
}
