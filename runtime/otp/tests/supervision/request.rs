//! What a supervisor answers, and what becomes of a request that it does not get to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use otp::{
    ChildCounts, ChildSpec, ChildState, ExitReason, Intensity, Process, RequestError, Restart,
    RunContext, Shutdown, StartError, Strategy, SupervisorSpec,
};
use tokio::time::Instant;

use super::stage::{Journal, SECOND, patient, slow_worker, start, worker};

#[tokio::test]
async fn a_request_ends_with_the_reason_its_supervisor_ended_with_and_later_ones_find_nobody() {
    let journal = Journal::default();
    let fragile = || {
        SupervisorSpec::new(Strategy::OneForOne)
            .intensity(Intensity::new(0, SECOND))
            .child(worker(&journal, "a"))
    };
    let temporary = |id| ChildSpec::supervisor(id, fragile()).restart(Restart::Temporary);
    let root =
        start(patient(Strategy::OneForOne).child(temporary("killed")).child(temporary("given_up")))
            .await;
    let tree = root.tree();

    for (id, expected) in [("killed", ExitReason::Killed), ("given_up", ExitReason::Shutdown)] {
        let supervisor = tree.supervisor(&format!("root/{id}")).unwrap();
        let suspended = supervisor.suspend().await.unwrap();
        if id == "given_up" {
            tree.kill("root/given_up/a").unwrap();
            tree.pid("root/given_up/a").unwrap().gone().await;
        }
        let request = supervisor.count_children();
        tokio::pin!(request);
        assert!(futures_util::poll!(&mut request).is_pending());
        if id == "killed" {
            supervisor.pid().kill();
        }
        drop(suspended);

        assert_eq!(request.await, Err(RequestError::Exited(expected)));
        assert_eq!(supervisor.count_children().await, Err(RequestError::NoProc));
    }
}

#[tokio::test(start_paused = true)]
async fn a_child_without_any_patience_is_told_and_killed_at_once() {
    let journal = Journal::default();
    let hasty = Shutdown::Timeout(Duration::ZERO);
    let root = start(
        patient(Strategy::OneForOne).child(slow_worker(&journal, "slow", SECOND).shutdown(hasty)),
    )
    .await;
    let tree = root.tree();
    let before = Instant::now();

    root.stop().await;

    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(tree.find("root/slow").unwrap().last_exit, Some(ExitReason::Killed));
}

#[tokio::test]
async fn a_process_names_a_child_only_where_children_have_no_ids() {
    let journal = Journal::default();
    let simple = SupervisorSpec::new(Strategy::SimpleOneForOne).child(worker(&journal, "w"));
    let root = start(
        patient(Strategy::OneForOne)
            .child(worker(&journal, "a"))
            .child(ChildSpec::supervisor("simple", simple)),
    )
    .await;
    let tree = root.tree();
    let (upper, simple) = (root.supervisor().unwrap(), tree.supervisor("root/simple").unwrap());
    let instance = simple.start_instance("x").await.unwrap().unwrap();
    let listed = tree.pid("root/a").unwrap();

    assert_eq!(upper.get_childspec(listed.clone()).await, Err(RequestError::NotFound));
    assert_eq!(upper.terminate_child(listed.clone()).await, Err(RequestError::NotFound));
    assert_eq!(upper.get_childspec("a").await.unwrap().id, "a");
    assert_eq!(simple.get_childspec(instance.clone()).await.unwrap().id, "w");
    assert_eq!(simple.get_childspec(listed.clone()).await, Err(RequestError::NotFound));
    assert_eq!(simple.terminate_child(listed.clone()).await, Err(RequestError::NotFound));
    assert_eq!(simple.terminate_child("w").await, Err(RequestError::SimpleOneForOne));
    assert_eq!(simple.terminate_child(instance.clone()).await, Ok(()));
    assert_eq!(simple.terminate_child(instance).await, Ok(()));
    assert!(listed.is_alive());
}

#[tokio::test]
async fn a_supervisor_that_does_not_want_to_start_is_listed_without_a_process() {
    let journal = Journal::default();
    let wanted = Arc::new(AtomicBool::new(false));
    let seen = wanted.clone();
    let shy = ChildSpec::supervisor_from("shy", move || {
        if seen.load(Ordering::Relaxed) {
            Ok(SupervisorSpec::default())
        } else {
            Err(StartError::Ignore)
        }
    });
    let root = start(patient(Strategy::OneForOne).child(shy).child(worker(&journal, "a"))).await;
    let supervisor = root.supervisor().unwrap();

    let children = supervisor.which_children().await.unwrap();
    let counts = supervisor.count_children().await.unwrap();
    let still = supervisor.restart_child("shy").await;
    wanted.store(true, Ordering::Relaxed);
    let started = supervisor.restart_child("shy").await;

    assert_eq!((children[1].id.as_str(), &children[1].state), ("shy", &ChildState::Stopped));
    assert_eq!(counts, ChildCounts { specs: 2, active: 1, supervisors: 1, workers: 1 });
    assert_eq!(still, Ok(None));
    assert!(started.unwrap().unwrap().is_alive());
}

#[tokio::test]
async fn children_that_end_by_themselves_while_all_are_stopped_disturb_nobody() {
    let reasons =
        [ExitReason::Normal, ExitReason::Shutdown, ExitReason::Killed, ExitReason::failed("x")];
    let restarts = [Restart::Permanent, Restart::Transient, Restart::Temporary];
    let mut spec = patient(Strategy::OneForAll);
    for (place, restart) in restarts.into_iter().enumerate() {
        for (number, reason) in reasons.iter().cloned().enumerate() {
            let id = format!("{place}{number}");
            spec =
                spec.child(ChildSpec::process(id, move || Ends(reason.clone())).restart(restart));
        }
    }
    let root = start(spec).await;
    let tree = root.tree();

    let reason = root.stop().await;

    let starts = tree.snapshot().children.iter().map(|child| child.incarnation).max();
    assert_eq!((reason, starts), (ExitReason::Shutdown, Some(1)));
}

/// Ends for a reason of its own as soon as it is told to stop.
struct Ends(ExitReason);

impl Process for Ends {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        context.stopping().await;
        Err(self.0.clone())
    }
}
