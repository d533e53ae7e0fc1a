//! The contract of the bus, kept by all of its backends: within one process, over the database by
//! another node, and over NATS.

mod relay;
mod stage;

use platform::bus::{BackendError, Start, SubscriptionSpec, TopicFilter};
use platform::{Position, Topic};
use stage::{Stage, aggregates, last, next, subscribe};
use testkit::{ACME, GLOBEX};
use uuid::Uuid;

fn spec(name: &str, filter: impl Into<TopicFilter>, start: Start) -> SubscriptionSpec {
    SubscriptionSpec { name: name.to_owned(), filter: filter.into(), start }
}

#[tokio::test]
async fn a_subscriber_hears_what_it_wants_in_order_from_the_origin_and_live() {
    let stage = Stage::set().await;
    let mut bells = stage.ring_some(ACME, 20).await;
    stage.ring_some(GLOBEX, 5).await;
    let gong = stage.beat_gong(ACME).await;
    let topic = Topic::domain(ACME, "bells");
    let mut subscribers = Vec::new();
    for (name, backend) in stage.backends().await {
        let subscriber = subscribe(&backend, &spec("order", topic.clone(), Start::Origin)).await;
        let all = spec("all", TopicFilter::Organisation(ACME), Start::Origin);
        let gongs = spec("gongs", TopicFilter::Domain("gongs".into()), Start::Origin);
        let of_all = subscribe(&backend, &all).await;
        let of_gongs = subscribe(&backend, &gongs).await;
        subscribers.push((name, subscriber, of_all, of_gongs));
    }

    bells.extend(stage.ring_some(ACME, 20).await);

    for (name, mut of_bells, mut of_all, mut of_gongs) in subscribers {
        assert_eq!(aggregates(&next(&mut of_bells, 40).await), bells, "{name}");
        let all = next(&mut of_all, 41).await;
        assert!(all.is_sorted_by_key(|event| event.position), "{name}");
        assert!(aggregates(&all).contains(&gong), "{name}");
        assert_eq!(aggregates(&next(&mut of_gongs, 1).await), [gong], "{name}");
    }
    stage.strike().await;
}

#[tokio::test]
async fn one_aggregate_can_be_followed_alone() {
    let stage = Stage::set().await;
    let bell_id = Uuid::now_v7();
    for _ in 0..3 {
        stage.ring(ACME, bell_id).await;
        stage.ring_some(ACME, 2).await;
    }

    for (name, backend) in stage.backends().await {
        let topic = Topic::aggregate(ACME, "bells", bell_id);
        let mut subscriber = subscribe(&backend, &spec("one", topic, Start::Origin)).await;
        assert_eq!(aggregates(&next(&mut subscriber, 3).await), [bell_id; 3], "{name}");
    }
    stage.strike().await;
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_in_order_and_what_was_does_not() {
    let stage = Stage::set().await;
    let bells = stage.ring_some(ACME, 30).await;

    for (name, backend) in stage.backends().await {
        let wanted = spec("again", TopicFilter::Organisation(ACME), Start::Origin);
        let mut first = subscribe(&backend, &wanted).await;
        let done = next(&mut first, 10).await;
        let not_done = next(&mut first, 10).await;
        first.acknowledge(last(&done)).await.expect("nothing is in the way");
        drop(first);

        let mut second = subscribe(&backend, &wanted).await;
        let again = next(&mut second, 20).await;

        assert_eq!(aggregates(&not_done), bells[10..20], "{name}");
        assert_eq!(aggregates(&again), bells[10..], "{name}");
        second.acknowledge(last(&again)).await.expect("nothing is in the way");
    }

    let more = stage.ring_some(ACME, 3).await;
    for (name, backend) in stage.backends().await {
        // The places of the first lasted as long as it did.
        if name != "in-process" {
            let wanted = spec("again", TopicFilter::Organisation(ACME), Start::Origin);
            let mut third = subscribe(&backend, &wanted).await;
            assert_eq!(aggregates(&next(&mut third, 3).await), more, "{name}");
        }
    }
    stage.strike().await;
}

#[tokio::test]
async fn a_subscription_begins_where_it_is_told_and_never_jumps_ahead() {
    let stage = Stage::set().await;
    let before = stage.ring_some(ACME, 6).await;
    stage.relayed().await;
    let mut begun = Vec::new();
    for (name, backend) in stage.backends().await {
        let from_now = spec("now", TopicFilter::All, Start::Now);
        let from_there = spec("there", TopicFilter::All, Start::After(Position(4)));
        drop(subscribe(&backend, &from_now).await);
        begun.push((name, backend, from_now, from_there));
    }

    let after = stage.ring_some(ACME, 2).await;

    for (name, backend, from_now, from_there) in begun {
        let mut now = subscribe(&backend, &from_now).await;
        assert_eq!(aggregates(&next(&mut now, 2).await), after, "{name}");
        let mut there = subscribe(&backend, &from_there).await;
        let expected = [&before[4..], &after[..]].concat();
        assert_eq!(aggregates(&next(&mut there, 4).await), expected, "{name}");
    }
    stage.strike().await;
}

#[tokio::test]
async fn a_subscriber_that_sleeps_misses_nothing_and_its_neighbour_does_not_notice() {
    let stage = Stage::set().await;
    let mut pairs = Vec::new();
    for (name, backend) in stage.backends().await {
        let sleeper = subscribe(&backend, &spec("sleeper", TopicFilter::All, Start::Origin)).await;
        let quick = subscribe(&backend, &spec("quick", TopicFilter::All, Start::Origin)).await;
        pairs.push((name, sleeper, quick));
    }

    let mut bells = Vec::new();
    for _ in 0..10 {
        let rung = stage.ring_some(ACME, 30).await;
        for (name, _, quick) in &mut pairs {
            let heard = next(quick, 30).await;
            assert_eq!(aggregates(&heard), rung, "{name}");
            quick.acknowledge(last(&heard)).await.expect("nothing is in the way");
        }
        bells.extend(rung);
    }

    for (name, mut sleeper, _) in pairs {
        assert_eq!(aggregates(&next(&mut sleeper, 300).await), bells, "{name}");
    }
    stage.strike().await;
}

#[tokio::test]
async fn a_name_that_some_backend_could_not_keep_is_refused_by_all() {
    let stage = Stage::set().await;

    for (backend_name, backend) in stage.backends().await {
        for name in ["", "with space", "with.dot", "Capital", &"x".repeat(65)] {
            let refused = backend.subscribe(&spec(name, TopicFilter::All, Start::Now)).await;
            let error = refused.expect_err("it is no name");
            assert!(matches!(error, BackendError::Name(_)), "{backend_name}: {error}");
        }
    }
    stage.strike().await;
}
