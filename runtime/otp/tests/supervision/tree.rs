//! What an onlooker sees.

use std::time::Duration;

use otp::{
    ChildSpec, Clock, ExitReason, Intensity, Restart, Root, Shutdown, Strategy,
    SupervisionEventKind as Kind, SupervisorSpec, TreeError,
};
use serde_json::json;

use super::stage::{Ask, Journal, SECOND, actor, event, patient, restarted, start, worker};

#[tokio::test]
async fn a_snapshot_shows_every_place_with_its_rules_and_its_past() {
    let journal = Journal::default();
    let inner = SupervisorSpec::new(Strategy::RestForOne)
        .intensity(Intensity::new(3, 5 * SECOND))
        .child(worker(&journal, "a").label("does things").restart(Restart::Transient));
    let spec = SupervisorSpec::new(Strategy::OneForOne)
        .intensity(Intensity::new(1, 5 * SECOND))
        .child(ChildSpec::supervisor("inner", inner))
        .child(worker(&journal, "b").shutdown(Shutdown::BrutalKill));
    let clock = Clock::manual(chrono::DateTime::UNIX_EPOCH);
    let root = Root::start(spec, clock.clone()).await.unwrap();
    let tree = root.tree();
    let mut events = tree.subscribe();

    clock.advance(60 * SECOND);
    tree.kill("root/inner/a").unwrap();
    restarted(&mut events, "root/inner/a").await;

    let a = json!({
        "id": "a", "path": "root/inner/a", "kind": "worker", "status": "running",
        "restart": "transient", "shutdown": 5_000, "incarnation": 2, "restarts": 1,
        "started_at": "1970-01-01T00:01:00Z", "last_exit": "killed",
        "last_exit_at": "1970-01-01T00:01:00Z", "mailbox": 0, "label": "does things",
    });
    let inner = json!({
        "id": "inner", "path": "root/inner", "kind": "supervisor", "status": "running",
        "strategy": "rest_for_one", "restart": "permanent", "shutdown": "infinity",
        "max_restarts": 3, "within_ms": 5_000, "restarts_in_window": 1,
        "incarnation": 1, "restarts": 0, "started_at": "1970-01-01T00:00:00Z",
        "last_exit": null, "last_exit_at": null, "mailbox": 0, "label": "", "children": [a],
    });
    let b = json!({
        "id": "b", "path": "root/b", "kind": "worker", "status": "running",
        "restart": "permanent", "shutdown": "brutal_kill", "incarnation": 1, "restarts": 0,
        "started_at": "1970-01-01T00:00:00Z", "last_exit": null, "last_exit_at": null,
        "mailbox": 0, "label": "",
    });
    let whole = serde_json::to_value(tree.snapshot()).unwrap();
    assert_eq!(whole["children"], json!([inner, b]));
    assert_eq!(whole["path"], "root");
    let walked: Vec<_> = tree.snapshot().walk().iter().map(|node| node.id.clone()).collect();
    assert_eq!(walked, ["root", "inner", "a", "b"]);
}

#[tokio::test]
async fn a_kill_leads_to_an_exit_and_a_restart_that_names_it_as_its_cause() {
    let journal = Journal::default();
    let root = start(
        patient(Strategy::OneForOne).child(worker(&journal, "a")).child(worker(&journal, "b")),
    )
    .await;
    let tree = root.tree();
    let mut events = tree.subscribe();

    let killed = tree.kill("root/a").unwrap();
    let exited = event(&mut events, "root/a", |kind| matches!(kind, Kind::Exited { .. })).await;
    let started = event(&mut events, "root/a", |kind| *kind == Kind::Started).await;
    let restarted = restarted(&mut events, "root/a").await;

    assert_eq!((killed.path.as_str(), killed.incarnation), ("root/a", 1));
    assert_eq!(exited.kind, Kind::Exited { reason: ExitReason::Killed });
    assert_eq!((exited.incarnation, started.incarnation, restarted.incarnation), (1, 2, 2));
    assert_eq!(started.cause, Some(exited.sequence));
    assert_eq!(restarted.cause, Some(exited.sequence));
    assert!(restarted.touched.is_empty(), "{:?}", restarted.touched);
    assert!(restarted.recovery_us.is_some());
}

#[tokio::test]
async fn an_event_reads_back_as_it_was_written() {
    let journal = Journal::default();
    let root = start(patient(Strategy::OneForOne).child(worker(&journal, "a"))).await;
    let tree = root.tree();
    let mut events = tree.subscribe();
    actor(&tree, "root/a").cast(Ask::End(ExitReason::failed("x"))).unwrap();
    restarted(&mut events, "root/a").await;

    for event in tree.history() {
        let text = serde_json::to_string(&*event).unwrap();

        assert_eq!(serde_json::from_str::<otp::SupervisionEvent>(&text).unwrap(), *event, "{text}");
    }
}

#[tokio::test]
async fn a_path_that_is_none_is_refused_with_the_nearest_one() {
    let journal = Journal::default();
    let root = start(
        patient(Strategy::OneForOne)
            .child(worker(&journal, "scoring_engine"))
            .child(worker(&journal, "outreach")),
    )
    .await;

    let error = root.tree().kill("root/scoring_engin").unwrap_err();

    let nearest = Some("root/scoring_engine".to_owned());
    assert_eq!(error, TreeError::UnknownPath { path: "root/scoring_engin".to_owned(), nearest });
}

#[tokio::test]
async fn two_trees_in_one_process_know_nothing_of_each_other() {
    let journal = Journal::default();
    let spec = || patient(Strategy::OneForOne).child(worker(&journal, "a"));
    let (one, other) = (start(spec()).await, start(spec()).await);
    let mut events = one.tree().subscribe();

    one.tree().kill("root/a").unwrap();
    restarted(&mut events, "root/a").await;

    assert_eq!(one.tree().find("root/a").unwrap().incarnation, 2);
    assert_eq!(other.tree().find("root/a").unwrap().incarnation, 1);
}

#[tokio::test]
async fn the_version_moves_with_every_visible_change() {
    let journal = Journal::default();
    let slow = super::stage::slow_worker(&journal, "a", Duration::from_hours(1));
    let root = start(patient(Strategy::OneForOne).child(slow)).await;
    let tree = root.tree();
    let mut changes = tree.changes();
    changes.mark_unchanged();
    let status = || tree.find("root/a").unwrap().status;

    let supervisor = root.supervisor().unwrap();
    let stop = supervisor.terminate_child("a");
    tokio::select! {
        _ = stop => panic!("it takes an hour to say farewell"),
        seen = changes.wait_for(|_| status() == otp::Status::Stopping) => drop(seen.unwrap()),
    }

    assert_eq!(status(), otp::Status::Stopping);
}

#[tokio::test]
async fn a_process_tells_where_in_the_code_it_was_specified() {
    let inner = ChildSpec::supervisor("inner", SupervisorSpec::default());
    let line = line!() - 1;
    let root = start(SupervisorSpec::default().child(inner)).await;

    let place = root.tree().pid("root/inner").unwrap().specified_at().unwrap();

    assert_eq!((place.file(), place.line()), (file!(), line));
    assert_eq!(root.pid().specified_at(), None);
}

#[tokio::test]
async fn a_tree_has_one_root_at_a_time() {
    let first = start(patient(Strategy::OneForOne)).await;
    let again = || Root::start_in(first.tree(), patient(Strategy::OneForOne));

    let early = again().await.expect_err("the first is up").to_string();
    first.clone().stop().await;
    let late = again().await;

    assert_eq!(early, "a root is up in this tree already");
    assert_eq!(late.unwrap().stop().await, ExitReason::Shutdown);
}
