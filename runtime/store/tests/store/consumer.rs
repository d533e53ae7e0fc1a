//! Consuming: every event has its effect once, in order, whatever dies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use kernel::{OrgId, Position};
use serde_json::json;
use store::consumer::{Consumer, ConsumerError, ConsumerState, Filter, Start};
use store::sealer;

use crate::database::{instant, opened, supervise, told, within};
use crate::effects::{
    consumer, cursor_of, effects, leave_effect, log_with_effects, reaches, refused, willing,
};

#[tokio::test]
async fn every_event_has_its_effect_once_and_in_order() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 20).await;
    let consumer = willing("once", &log.log);

    let first = consumer.run_once().await.expect("nothing is in the way");
    let second = consumer.run_once().await.expect("nothing is in the way");

    assert_eq!((first.applied, second.applied), (20, 0));
    assert_eq!(effects(&log, "once").await, (1..=20).collect::<Vec<_>>());
    assert_eq!(cursor_of(&log, "once").await, 20);
}

#[tokio::test]
async fn an_effect_that_fails_leaves_neither_effect_nor_cursor() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 1).await;
    let consumer = consumer("fails", &log.log, |_| Some(refused("not today")));

    let failed = consumer.run_once().await;

    assert!(matches!(failed, Err(ConsumerError::Stalled { position: Position(1), .. })));
    assert_eq!(effects(&log, "fails").await, Vec::<i64>::new());
    assert_eq!(cursor_of(&log, "fails").await, 0);
}

#[tokio::test]
async fn a_consumer_that_dies_between_effect_and_commit_repeats_neither() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 5).await;
    // The future is dropped after the effects were written, as when a process is killed.
    let reached = Arc::new(tokio::sync::Notify::new());
    let told = reached.clone();
    let dying = Consumer::new("dies", &log.log, move |connection, events| -> BoxFuture<'_, _> {
        let told = told.clone();
        async move {
            for event in &events {
                leave_effect(connection, "dies", event).await?;
            }
            told.notify_one();
            std::future::pending().await
        }
        .boxed()
    })
    .filter([("recruit".to_owned(), "job_order_opened".to_owned())]);
    within(async {
        tokio::select! {
            _ = dying.run_once() => panic!("it never ends"),
            () = reached.notified() => {}
        }
    })
    .await;

    let survivor = willing("dies", &log.log).run_once().await.expect("nothing is in the way");

    assert_eq!(survivor.applied, 5);
    assert_eq!(effects(&log, "dies").await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_consumer_sees_the_types_it_asked_for_and_passes_over_the_rest() {
    let log = log_with_effects().await;
    let org_id = OrgId::new();
    for event in [
        opened(org_id, 1),
        told(org_id, "recruit", "job_order_filled", json!({})),
        told(org_id, "pulse", "job_order_opened", json!({})),
        opened(org_id, 2),
        told(org_id, "pulse", "roster_template_drafted", json!({})),
    ] {
        log.record(&event).await;
    }
    sealer::seal_all(&log.log).await.expect("sealing works");

    let progress = willing("picky", &log.log).run_once().await.expect("nothing is in the way");

    assert_eq!(progress.applied, 2);
    assert_eq!(progress.position, Position(5));
    assert_eq!(effects(&log, "picky").await, [1, 4]);
}

#[tokio::test]
async fn a_consumer_that_begins_now_sees_nothing_older() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 3).await;
    let consumer = willing("late", &log.log).from(Start::Now);
    consumer.run_once().await.expect("nothing is in the way");
    log.seal_some(OrgId::new(), 2).await;

    consumer.run_once().await.expect("nothing is in the way");

    assert_eq!(effects(&log, "late").await, [4, 5]);
}

#[tokio::test]
async fn a_consumer_that_begins_at_a_time_misses_nothing_recorded_since() {
    let log = log_with_effects().await;
    let org_id = OrgId::new();
    // The clock of the node that recorded the third event was behind.
    for time in ["09:00", "11:00", "08:00", "12:00"] {
        let mut event = opened(org_id, 1);
        event.recorded_at = instant(&format!("2026-05-04T{time}:00Z"));
        log.record(&event).await;
        sealer::seal_all(&log.log).await.expect("sealing works");
    }
    let from = |name, time| {
        willing(name, &log.log).from(Start::At(instant(&format!("2026-05-04T{time}:00Z"))))
    };

    from("since eleven", "11:00").run_once().await.expect("nothing is in the way");
    from("since ever", "08:00").run_once().await.expect("nothing is in the way");
    from("since later", "13:00").run_once().await.expect("nothing is in the way");

    assert_eq!(effects(&log, "since eleven").await, [2, 3, 4]);
    assert_eq!(effects(&log, "since ever").await, [1, 2, 3, 4]);
    assert_eq!(effects(&log, "since later").await, Vec::<i64>::new());
    assert_eq!(cursor_of(&log, "since later").await, 4);
}

#[tokio::test]
async fn a_consumer_sees_events_by_domain_type_and_organisation() {
    let log = log_with_effects().await;
    let (acme, zen) = (OrgId::new(), OrgId::new());
    for event in [
        told(acme, "recruit", "job_order_opened", json!({})),
        told(acme, "recruit", "job_order_filled", json!({})),
        told(zen, "recruit", "job_order_opened", json!({})),
        told(acme, "pulse", "job_order_opened", json!({})),
        told(zen, "pulse", "shift_filled", json!({})),
    ] {
        log.record(&event).await;
    }
    sealer::seal_all(&log.log).await.expect("sealing works");
    let cases = [
        ("everything", Filter::everything(), vec![1, 2, 3, 4, 5]),
        ("a domain", Filter::none().domain("recruit"), vec![1, 2, 3]),
        ("a type", Filter::none().event_type("job_order_opened"), vec![1, 3, 4]),
        ("an organisation", Filter::everything().organisation(zen), vec![3, 5]),
        (
            "a mixture",
            Filter::none().event("pulse", "shift_filled").domain("recruit").organisation(acme),
            vec![1, 2],
        ),
        ("nothing", Filter::none(), vec![]),
    ];

    for (name, filter, expected) in cases {
        let seen = willing(name, &log.log).sees(filter);
        seen.run_once().await.expect("nothing is in the way");
        assert_eq!(effects(&log, name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn nothing_is_missed_or_repeated_where_catching_up_becomes_following() {
    let log = log_with_effects().await;
    let org_id = OrgId::new();
    log.seal_some(org_id, 300).await;
    let consumer = willing("switch", &log.log);
    let mut status = consumer.status();
    let root = supervise([sealer::child(&log.log), consumer.child()]).await;

    let writers = (0..4).map(|_| async {
        for number in 1..=75 {
            log.record(&opened(org_id, number)).await;
        }
    });
    futures_util::future::join_all(writers).await;
    reaches(&mut status, 600).await;

    assert_eq!(effects(&log, "switch").await, (1..=600).collect::<Vec<_>>());
    root.stop().await;
}

#[tokio::test]
async fn a_consumer_killed_at_any_moment_neither_loses_nor_repeats_an_effect() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 400).await;
    let polls_of_a_whole_run = 4_000;

    for polls in (1..polls_of_a_whole_run).step_by(31) {
        let killed = willing("killed", &log.log);
        let mut run = Box::pin(async move { killed.run_once().await });
        let mut left = polls % 97;
        // Dropped after so many polls, wherever that is.
        let ended = std::future::poll_fn(|context| {
            left -= 1;
            match run.as_mut().poll(context) {
                std::task::Poll::Pending if left <= 0 => std::task::Poll::Ready(None),
                ended => ended.map(Some),
            }
        });
        if within(ended).await.is_some_and(|ended| ended.is_ok()) {
            log.seal_some(OrgId::new(), 1).await;
        }
    }
    let last = willing("killed", &log.log).run_once().await.expect("nothing is in the way");

    let expected: Vec<i64> = (1..=last.position.0).collect();
    assert_eq!(effects(&log, "killed").await, expected);
}

#[tokio::test]
async fn events_are_applied_as_they_are_sealed() {
    let log = log_with_effects().await;
    let consumer = willing("live", &log.log);
    let mut status = consumer.status();
    let committed = Arc::new(AtomicUsize::new(0));
    let counted = committed.clone();
    let consumer = consumer.on_committed(move || {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let root = supervise([sealer::child(&log.log), consumer.child()]).await;

    log.record(&opened(OrgId::new(), 1)).await;
    reaches(&mut status, 1).await;

    assert_eq!(effects(&log, "live").await, [1]);
    assert_eq!(committed.load(Ordering::Relaxed), 1);
    root.stop().await;
}

#[tokio::test]
async fn a_poisonous_event_stalls_its_consumer_alone_and_only_there() {
    let log = log_with_effects().await;
    let is_poisonous = Arc::new(AtomicBool::new(true));
    let poison = is_poisonous.clone();
    let sick = consumer("sick", &log.log, move |event| {
        let refuses = event.position == Position(3) && poison.load(Ordering::Relaxed);
        refuses.then(|| refused("no such client"))
    });
    let well = willing("well", &log.log);
    let (mut of_sick, mut of_well) = (sick.status(), well.status());
    log.seal_some(OrgId::new(), 5).await;
    let root = supervise([sick.child(), well.child()]).await;

    let is_stalled = |status: &store::consumer::ConsumerStatus| match &status.state {
        ConsumerState::Stalled { stalled_at, error, attempts, .. } => {
            *stalled_at == Position(3) && error.ends_with("no such client") && *attempts >= 2
        }
        _ => false,
    };
    within(of_sick.wait_for(is_stalled)).await.expect("it tells why it stalls");
    reaches(&mut of_well, 5).await;
    let before = effects(&log, "sick").await;
    is_poisonous.store(false, Ordering::Relaxed);
    reaches(&mut of_sick, 5).await;

    assert_eq!(before, [1, 2], "everything before the poison has had its effect");
    assert_eq!(effects(&log, "sick").await, [1, 2, 3, 4, 5]);
    assert_eq!(effects(&log, "well").await, [1, 2, 3, 4, 5]);
    root.stop().await;
}

#[tokio::test]
async fn a_panic_over_an_event_is_a_stall_and_no_crash() {
    let log = log_with_effects().await;
    let mut panics = consumer("panics", &log.log, |_| panic!("index out of bounds"));
    let mut status = panics.status();
    panics = panics.id("clumsy");
    log.seal_some(OrgId::new(), 1).await;

    let root = supervise([panics.child()]).await;
    within(status.wait_for(|status| matches!(status.state, ConsumerState::Stalled { .. })))
        .await
        .expect("it tells why it stalls");

    let ConsumerState::Stalled { error, .. } = status.borrow().state.clone() else {
        panic!("it was stalled just now");
    };
    assert!(error.contains("index out of bounds"), "{error}");
    root.stop().await;
}

#[tokio::test]
async fn a_refusal_by_the_database_is_a_stall_too() {
    let log = log_with_effects().await;
    log.seal_some(OrgId::new(), 1).await;
    let consumer = Consumer::new("breaks", &log.log, |connection, _| -> BoxFuture<'_, _> {
        async move {
            sqlx::query("select 1 / 0").execute(connection).await?;
            Ok(())
        }
        .boxed()
    })
    .filter([("recruit".to_owned(), "job_order_opened".to_owned())]);

    let stalled = consumer.run_once().await;

    assert!(matches!(stalled, Err(ConsumerError::Stalled { .. })), "{stalled:?}");
}

#[tokio::test]
async fn two_consumers_of_one_name_share_one_effect_per_event() {
    let log = log_with_effects().await;
    let other = log.another_node().await;
    let (one, two) = (willing("shared", &log.log), willing("shared", &other));
    let mut status = one.status();
    let root = supervise([sealer::child(&log.log), one.id("one").child()]).await;
    let elsewhere = supervise([sealer::child(&other), two.id("two").child()]).await;

    let org_id = OrgId::new();
    for number in 1..=200 {
        log.record(&opened(org_id, number)).await;
    }
    reaches(&mut status, 200).await;

    assert_eq!(effects(&log, "shared").await, (1..=200).collect::<Vec<_>>());
    root.stop().await;
    elsewhere.stop().await;
}

/// A stand-by once told the position it had at its start for ever, so a node that worked nothing
/// looked as if it were behind.
#[tokio::test]
async fn a_consumer_that_stands_by_tells_how_far_the_working_one_has_come() {
    let log = log_with_effects().await;
    let other = log.another_node().await;
    let (working, standby) = (willing("shared", &log.log), willing("shared", &other));
    let (mut works, mut stands) = (working.status(), standby.status());
    let root = supervise([sealer::child(&log.log), working.child()]).await;
    within(works.wait_for(|status| status.state == ConsumerState::Live)).await.expect("it works");
    let elsewhere = supervise([standby.child()]).await;
    within(stands.wait_for(|status| status.state == ConsumerState::Standby))
        .await
        .expect("it finds the lease taken");

    let org_id = OrgId::new();
    for number in 1..=3 {
        log.record(&opened(org_id, number)).await;
    }
    reaches(&mut stands, 3).await;

    assert_eq!(effects(&log, "shared").await, [1, 2, 3]);
    root.stop().await;
    elsewhere.stop().await;
}

#[tokio::test]
async fn a_consumer_goes_on_after_postgres_has_cut_its_connections() {
    let log = log_with_effects().await;
    let consumer = willing("cut", &log.log);
    let mut status = consumer.status();
    let root = supervise([sealer::child(&log.log), consumer.child()]).await;
    let org_id = OrgId::new();

    for round in 1..=5 {
        log.record(&opened(org_id, round)).await;
        reaches(&mut status, round).await;
        log.cut_connections().await;
    }

    assert_eq!(effects(&log, "cut").await, [1, 2, 3, 4, 5]);
    root.stop().await;
}

#[tokio::test]
async fn a_cursor_passes_what_is_of_no_interest_without_a_write_for_each() {
    let log = log_with_effects().await;
    let consumer = willing("idle", &log.log);
    let mut status = consumer.status();
    let root = supervise([sealer::child(&log.log), consumer.child()]).await;
    let org_id = OrgId::new();
    for _ in 0..20 {
        log.record(&told(org_id, "pulse", "roster_template_drafted", json!({}))).await;
    }
    reaches(&mut status, 20).await;

    root.stop().await;

    assert_eq!(cursor_of(&log, "idle").await, 20, "it is saved when the consumer stops");
}
