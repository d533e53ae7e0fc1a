//! The states of a channel, row by row of the protocol's table, as a client meets them.

use futures_util::SinkExt as _;
use platform::Role;
use platform::otp::Clock;
use serde_json::{Value, json};
use socket::{Limits, Rate, Sockets};
use testkit::ACME;
use testkit::warehouse::{PackCrate, SLOW};
use tokio_tungstenite::tungstenite::Message;

use crate::{Client, Edge, topic};

/// Holds up whoever packs a slow crate, until it is dropped.
async fn hold(edge: &Edge) -> sqlx::PgConnection {
    let mut holder = edge.system.owner().await;
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(SLOW);
    lock.execute(&mut holder).await.expect("nobody else holds it");
    holder
}

fn told(frame: &Value) -> (&str, &str, &str) {
    let text = |at: usize| frame[at].as_str().unwrap_or("-");
    (text(0), text(1), text(3))
}

#[tokio::test]
async fn joining_again_waits_for_the_request_of_the_old_channel() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;
    let holder = hold(&edge).await;

    client.send(json!(["1", "2", topic(), "pack_crate", {"label": "slow"}])).await;
    client.send(json!(["3", "3", topic(), "phx_join", {}])).await;
    client.send(json!(["3", "4", topic(), "pack_crate", {"label": "new"}])).await;
    drop(holder);
    let mut frames = Vec::new();
    while frames.len() < 6 {
        frames.push(client.frame().await);
    }

    let events = |name: &str| frames.iter().filter(|frame| frame[3] == name).count();
    assert_eq!(events("crate_packed"), 2, "{frames:?}");
    let rest: Vec<_> = frames.iter().filter(|frame| frame[3] != "crate_packed").map(told).collect();
    let expected = [
        ("1", "2", "phx_reply"),
        ("1", "1", "phx_close"),
        ("3", "3", "phx_reply"),
        ("3", "4", "phx_reply"),
    ];
    assert_eq!(rest, expected);
    edge.system.stop().await;
}

#[tokio::test]
async fn a_message_of_the_old_join_is_ignored_without_a_word() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;
    client.send(json!(["2", "2", topic(), "phx_join", {}])).await;
    let (closed, joined) = (client.frame().await, client.frame().await);

    client.send(json!(["1", "3", topic(), "pack_crate", {"label": "stale"}])).await;
    client.send(json!(["1", "4", topic(), "phx_leave", {}])).await;
    client.send(json!([null, "5", "phoenix", "heartbeat", {}])).await;
    let next = client.frame().await;

    assert_eq!((told(&closed), told(&joined)), (("1", "1", "phx_close"), ("2", "2", "phx_reply")));
    assert_eq!(next[1], "5");
    edge.system.stop().await;
}

#[tokio::test]
async fn what_is_said_outside_a_channel_is_answered_by_the_table() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    let unmatched = json!({"status": "error", "response": {"reason": "unmatched topic"}});
    let cases = [
        (
            json!(["1", "1", "room:lobby", "phx_join", {}]),
            json!([null, "1", "room:lobby"]),
            unmatched.clone(),
        ),
        (json!(["1", "2", topic(), "pack_crate", {}]), json!([null, "2", topic()]), unmatched),
        (
            json!(["1", "3", topic(), "phx_leave", {}]),
            json!(["1", "3", topic()]),
            json!({"status": "ok", "response": {}}),
        ),
    ];

    for (said, heading, payload) in cases {
        client.send(said).await;
        let answer = client.frame().await;
        assert_eq!(json!([answer[0], answer[1], answer[2]]), heading);
        assert_eq!((&answer[3], &answer[4]), (&json!("phx_reply"), &payload));
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn more_channels_and_joins_than_allowed_are_refused_in_words() {
    let limits = Limits { joins: Rate { burst: 102, per_second: 1 }, ..Limits::default() };
    let edge = Edge::start_through(Sockets::new().limits(limits), Clock::system()).await;
    let mut client = edge.connect(Role::Staff).await;
    let aggregate = |number: u32| format!("{}:{}", topic(), uuid::Uuid::from_u128(number.into()));
    for number in 0..100 {
        assert_eq!(client.join(&aggregate(number), json!({})).await.0, "ok");
    }

    let (_, many) = client.join(&aggregate(100), json!({})).await;
    let mut limited = json!({});
    // The clock goes on, so one more may be granted now and then.
    for number in 0..50 {
        limited = client.join(&aggregate(200 + number), json!({})).await.1;
        if limited["code"] == "too_many_joins" {
            break;
        }
    }

    assert_eq!(many["reason"], "too many channels joined");
    assert_eq!(
        (&limited["reason"], &limited["code"]),
        (&json!("limited"), &json!("too_many_joins"))
    );
    assert!(limited["retry_after_ms"].is_u64());
    edge.system.stop().await;
}

#[tokio::test]
async fn whoever_sends_too_fast_is_read_more_slowly_and_loses_nothing() {
    let limits = Limits { messages: Rate { burst: 2, per_second: 200 }, ..Limits::default() };
    let edge = Edge::start_through(Sockets::new().limits(limits), Clock::system()).await;
    let mut client = edge.connect(Role::Staff).await;

    for reference in 0..40 {
        client.send(json!([null, reference.to_string(), "phoenix", "heartbeat", {}])).await;
    }

    for reference in 0..40 {
        assert_eq!(client.frame().await[1], reference.to_string());
    }
    edge.system.stop().await;
}

#[tokio::test]
async fn the_answer_to_a_join_is_its_first_message_however_much_happens() {
    let edge = Edge::start().await;
    let member = edge.system.member(ACME, Role::Staff);
    let packing = async {
        loop {
            member.run(PackCrate { label: "again".into() }).await.expect("anybody may pack");
        }
    };
    let joining = async {
        let mut client = edge.connect(Role::Staff).await;
        for _ in 0..20 {
            join_and_hear(&mut client).await;
        }
    };

    tokio::select! {
        () = joining => {}
        () = packing => {}
    }
    edge.system.settle().await;
    edge.system.stop().await;
}

/// Joins, hears two events, leaves; the answer has to come before any event of that join.
async fn join_and_hear(client: &mut Client) {
    let (status, response) = client.join(&topic(), json!({})).await;
    assert_eq!(status, "ok");
    let mut last = response["seq"].as_i64().expect("a position");
    for _ in 0..2 {
        let push = client.frame().await;
        let position = push[4]["position"].as_i64().expect("an event");
        assert!(position > last, "{position} after {last}");
        last = position;
    }
    client.reference += 1;
    let reference = client.reference.to_string();
    client.send(json!([null, reference, topic(), "phx_leave", {}])).await;
    while client.frame().await[3] != "phx_close" {}
}

#[tokio::test]
async fn a_command_with_a_request_id_is_done_once() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;
    let nails = json!({"label": "nails", "_request_id": "r-1"});

    let (_, first) = client.call(&topic(), "pack_crate", nails.clone()).await;
    let (_, second) = client.call(&topic(), "pack_crate", nails).await;
    let other = json!({"label": "screws", "_request_id": "r-1"});
    let (_, reused) = client.call(&topic(), "pack_crate", other).await;
    let (_, bad) = client.call(&topic(), "pack_crate", json!({"_request_id": 7})).await;

    assert!(first["crate_id"].is_string(), "{first}");
    assert_eq!(first, second);
    assert_eq!(reused["code"], "idempotency_key_reused");
    assert_eq!((&bad["reason"], &bad["code"]), (&json!("invalid"), &json!("bad_request_id")));
    edge.system.stop().await;
}

#[tokio::test]
async fn a_request_carries_the_correlation_that_its_client_names() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;
    let id = "0199a000-0000-7000-8000-0000000000aa";

    let input = json!({"label": "nails", "_meta": {"correlation_id": id}});
    client.send(json!(["1", null, topic(), "pack_crate", input])).await;
    let push = client.frame().await;

    assert_eq!(push[3], "crate_packed", "without a reference there is no answer");
    assert_eq!(push[4]["correlation_id"], id);
    edge.system.stop().await;
}

#[tokio::test]
async fn every_kind_of_refusal_has_its_name() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;

    let (_, stale) = client.call(&topic(), "pack_crate", json!({"label": "stale"})).await;
    let (_, limited) = client.call(&topic(), "pack_crate", json!({"label": "limited"})).await;

    assert_eq!((&stale["reason"], &stale["code"]), (&json!("stale"), &json!("crate_changed")));
    assert_eq!(
        (&limited["reason"], &limited["retry_after_ms"]),
        (&json!("limited"), &json!(3_000))
    );
    edge.system.stop().await;
}

#[tokio::test]
async fn a_question_in_bytes_is_answered_in_bytes() {
    let edge = Edge::start().await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({})).await;
    let push = |reference: &str, data: &[u8]| {
        let (topic, event) = (topic(), "pack_crate");
        let lengths = [1, reference.len(), topic.len(), event.len()];
        let mut frame = vec![0];
        frame.extend(lengths.map(|length| u8::try_from(length).expect("it is short")));
        frame.extend(format!("1{reference}{topic}{event}").bytes());
        frame.extend(data);
        Message::binary(frame)
    };

    client.stream.send(push("5", br#"{"label":"nails"}"#)).await.expect("the server reads");
    let (mut reply, mut event) = (client.message().await, client.message().await);
    if reply.is_text() {
        std::mem::swap(&mut reply, &mut event);
    }
    client.stream.send(push("6", br#"{"label":"joke"}"#)).await.expect("the server reads");
    let refused = client.frame().await;

    let bytes = reply.into_data();
    let length = u8::try_from(topic().len()).expect("it is short");
    assert_eq!(bytes[..5], [1, 1, 1, length, 2]);
    let heading = format!("15{}ok", topic());
    let (said, data) = bytes[5..].split_at(heading.len());
    assert_eq!(said, heading.as_bytes());
    let packed: Value = serde_json::from_slice(data).expect("the output is JSON");
    assert_eq!(packed["label"], "nails");
    assert_eq!((&refused[1], &refused[4]["response"]["code"]), (&json!("6"), &json!("joke")));
    edge.system.stop().await;
}

#[tokio::test]
async fn events_come_as_bytes_only_to_whoever_asked_for_them() {
    let edge = Edge::start().await;
    let mut plain = edge.connect(Role::Staff).await;
    plain.join(&topic(), json!({})).await;
    let mut client = edge.connect(Role::Staff).await;
    client.join(&topic(), json!({"binary": true})).await;

    edge.pack("nails").await;
    let (text, bytes) = (plain.frame().await, client.message().await.into_data());

    let heading = format!("{}crate_packed", topic());
    let length = u8::try_from(topic().len()).expect("it is short");
    assert_eq!(bytes[..3], [2, length, 12]);
    let (said, data) = bytes[3..].split_at(heading.len());
    assert_eq!(said, heading.as_bytes());
    let payload: Value = serde_json::from_slice(data).expect("the event is JSON");
    assert_eq!(payload, text[4]);
    edge.system.stop().await;
}

#[tokio::test]
async fn what_concerns_a_user_is_told_to_that_user_alone() {
    let edge = Edge::start().await;
    let mut staff = edge.connect(Role::Staff).await;
    let mut worker = edge.connect(Role::Worker).await;
    let user_of = |role| edge.system.member(ACME, role).scope().user_id().expect("a user");
    let (staff_topic, worker_topic) =
        (format!("user:{}", user_of(Role::Staff)), format!("user:{}", user_of(Role::Worker)));

    let (joined, _) = staff.join(&staff_topic, json!({"last_seq": 0})).await;
    let (foreign, refused) = staff.join(&worker_topic, json!({})).await;
    let (_, unmatched) = staff.join("user:me", json!({})).await;
    worker.join(&worker_topic, json!({})).await;
    let (called, _) = worker.call(&worker_topic, "concern_me", json!({})).await;
    staff.send(json!(["1", null, staff_topic, "concern_me", {}])).await;
    let told = staff.frame().await;

    assert_eq!((joined, called), (json!("ok"), json!("ok")));
    assert_eq!((foreign, &refused["reason"]), (json!("error"), &json!("forbidden")));
    assert_eq!(unmatched["reason"], "unmatched topic");
    assert_eq!((&told[2], &told[3]), (&json!(staff_topic), &json!("user_concerned")));
    assert_eq!(told[4]["data"]["user_id"], json!(user_of(Role::Staff)));
    edge.system.stop().await;
}

#[tokio::test]
async fn everybody_hears_of_an_event_under_the_topic_that_they_joined() {
    let edge = Edge::start().await;
    // The same organisation, as its id may be written too.
    let shouted = format!("org:{}:fixture", ACME.to_string().to_uppercase());
    assert_ne!(shouted, topic());
    let mut heard = Vec::new();
    for (topic, params) in
        [(topic(), json!({})), (shouted.clone(), json!({})), (topic(), json!({ "last_seq": 0 }))]
    {
        let mut client = edge.connect(Role::Staff).await;
        let (status, response) = client.join(&topic, params).await;
        assert_eq!(status, "ok", "{response}");
        heard.push((client, topic));
    }

    edge.pack("nails").await;

    let mut payloads = Vec::new();
    for (client, joined) in &mut heard {
        let frame = client.frame().await;
        assert_eq!((&frame[0], &frame[1]), (&json!(null), &json!(null)), "{frame}");
        assert_eq!((&frame[2], &frame[3]), (&json!(joined), &json!("crate_packed")), "{frame}");
        payloads.push(frame[4].clone());
    }
    assert_eq!(payloads[0]["data"]["label"], "nails");
    assert!(payloads.iter().all(|payload| *payload == payloads[0]), "{payloads:?}");
    edge.system.stop().await;
}
