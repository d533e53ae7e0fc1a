//! The state table of channels, row by row.

use super::*;

const TOPIC: &str = "org:1:recruit";

fn message(join_ref: Option<&str>, reference: &str, topic: &str, event: &str) -> Incoming {
    Incoming {
        join_ref: join_ref.map(Into::into),
        reference: Some(reference.into()),
        topic: topic.into(),
        event: event.into(),
        payload: Payload::Json(json!({})),
    }
}

/// Every step as the text it sends, or as `join` or `work` with its reference.
fn print(steps: &[Step]) -> Vec<String> {
    let print = |step: &Step| match step {
        Step::Send(outgoing) => outgoing.text(),
        Step::Join(join) => format!("join {}", join.reference.as_deref().unwrap_or("-")),
        Step::Work(work) => format!("work {}", work.reference.as_deref().unwrap_or("-")),
    };
    steps.iter().map(print).collect()
}

fn enter(channels: &mut Channels<()>, topic: &str, join_ref: &str) -> Instance {
    match channels.receive(message(Some(join_ref), join_ref, topic, JOIN)).pop() {
        Some(Step::Join(join)) => channels.enter(&join, ()),
        other => panic!("a join was expected, not {other:?}"),
    }
}

fn work(steps: Vec<Step>) -> Request {
    match steps.into_iter().next_back() {
        Some(Step::Work(request)) => request,
        other => panic!("work was expected, not {other:?}"),
    }
}

#[test]
fn a_heartbeat_is_answered_without_a_join() {
    let mut channels = Channels::<()>::default();

    let steps = channels.receive(message(None, "7", CONNECTION, HEARTBEAT));

    let expected = r#"[null,"7","phoenix","phx_reply",{"response":{},"status":"ok"}]"#;
    assert_eq!(print(&steps), [expected]);
}

#[test]
fn outside_a_channel_only_join_and_leave_are_granted() {
    let mut channels = Channels::<()>::default();
    let cases = [
        (message(Some("1"), "1", TOPIC, JOIN), "join 1"),
        (
            message(Some("1"), "2", TOPIC, LEAVE),
            r#"["1","2","org:1:recruit","phx_reply",{"response":{},"status":"ok"}]"#,
        ),
        (
            message(Some("1"), "3", TOPIC, "open"),
            r#"[null,"3","org:1:recruit","phx_reply",{"response":{"reason":"unmatched topic"},"status":"error"}]"#,
        ),
    ];

    for (message, expected) in cases {
        assert_eq!(print(&channels.receive(message)), [expected]);
    }
}

#[test]
fn a_join_without_join_ref_takes_its_ref() {
    let mut channels = Channels::<()>::default();

    let steps = channels.receive(message(None, "5", TOPIC, JOIN));

    let [Step::Join(join)] = &steps[..] else { panic!("a join was expected") };
    assert_eq!(join.join_ref.as_deref(), Some("5"));
}

#[test]
fn joining_again_closes_the_old_instance_first() {
    let mut channels = Channels::default();
    let old = enter(&mut channels, TOPIC, "1");

    let steps = channels.receive(message(Some("4"), "4", TOPIC, JOIN));

    let close = r#"["1","1","org:1:recruit","phx_close",{}]"#;
    assert_eq!(print(&steps), [close, "join 4"]);
    assert_eq!(channels.feed(TOPIC, old), None);
}

#[test]
fn the_hundred_and_first_channel_is_refused() {
    let mut channels = Channels::default();
    for number in 0..CHANNELS_MAX {
        enter(&mut channels, &format!("t{number}"), "1");
    }

    let steps = channels.receive(message(Some("2"), "2", TOPIC, JOIN));

    let expected = r#"["2","2","org:1:recruit","phx_reply",{"response":{"reason":"too many channels joined"},"status":"error"}]"#;
    assert_eq!(print(&steps), [expected]);
}

#[test]
fn leaving_is_answered_and_then_closed() {
    for join_ref in [Some("1"), None] {
        let mut channels = Channels::default();
        enter(&mut channels, TOPIC, "1");

        let steps = channels.receive(message(join_ref, "2", TOPIC, LEAVE));

        let reply = r#"["1","2","org:1:recruit","phx_reply",{"response":{},"status":"ok"}]"#;
        let close = r#"["1","1","org:1:recruit","phx_close",{}]"#;
        assert_eq!(print(&steps), [reply, close]);
        assert_eq!(channels.count(), 0);
    }
}

#[test]
fn a_message_of_an_earlier_join_is_ignored() {
    let mut channels = Channels::default();
    enter(&mut channels, TOPIC, "2");

    let leave = channels.receive(message(Some("1"), "3", TOPIC, LEAVE));
    let open = channels.receive(message(Some("1"), "4", TOPIC, "open"));

    assert_eq!((leave, open), (vec![], vec![]));
    assert_eq!(channels.count(), 1);
}

#[test]
fn requests_of_one_channel_are_answered_in_their_order() {
    let mut channels = Channels::default();
    enter(&mut channels, TOPIC, "1");
    let first = work(channels.receive(message(None, "2", TOPIC, "open")));

    let second = channels.receive(message(Some("1"), "3", TOPIC, "open"));
    let leave = channels.receive(message(Some("1"), "4", TOPIC, LEAVE));
    let after_first = channels.finished(&first, Status::Ok, json!({}));

    assert_eq!((second, leave), (vec![], vec![]));
    let reply = |reference| {
        format!(
            r#"["1","{reference}","org:1:recruit","phx_reply",{{"response":{{}},"status":"ok"}}]"#
        )
    };
    assert_eq!(print(&after_first), [reply("2"), "work 3".into()]);
    let after_second = channels.finished(&work(after_first), Status::Ok, json!({}));
    let close = r#"["1","1","org:1:recruit","phx_close",{}]"#.to_owned();
    assert_eq!(print(&after_second), [reply("3"), reply("4"), close]);
}

#[test]
fn channels_do_not_wait_for_each_other() {
    let mut channels = Channels::default();
    enter(&mut channels, TOPIC, "1");
    enter(&mut channels, "org:1:pulse", "2");
    channels.receive(message(None, "3", TOPIC, "open"));

    let steps = channels.receive(message(None, "4", "org:1:pulse", "open"));

    assert_eq!(print(&steps), ["work 4"]);
}

#[test]
fn too_many_waiting_requests_are_refused() {
    let mut channels = Channels::default();
    enter(&mut channels, TOPIC, "1");
    for _ in 0..=WAITING_MAX {
        channels.receive(message(None, "2", TOPIC, "open"));
    }

    let steps = channels.receive(message(None, "3", TOPIC, "open"));

    let [Step::Send(Outgoing::Reply { status, response, .. })] = &steps[..] else {
        panic!("a refusal was expected, not {steps:?}");
    };
    assert_eq!((*status, &response["code"]), (Status::Error, &json!("channel_busy")));
}

#[test]
fn an_answer_for_an_ended_channel_is_not_sent() {
    let mut channels = Channels::default();
    enter(&mut channels, TOPIC, "1");
    let request = work(channels.receive(message(None, "2", TOPIC, "open")));
    channels.closed(TOPIC);
    enter(&mut channels, TOPIC, "3");

    let steps = channels.finished(&request, Status::Ok, json!({}));

    assert_eq!(steps, vec![]);
}

#[test]
fn a_crash_ends_one_channel_and_only_in_its_own_life() {
    let mut channels = Channels::default();
    let old = enter(&mut channels, TOPIC, "1");
    enter(&mut channels, "org:1:pulse", "2");
    let new = enter(&mut channels, TOPIC, "3");

    let ended = [channels.crashed(TOPIC, old), channels.crashed(TOPIC, new)].concat();

    let error = r#"["3","3","org:1:recruit","phx_error",{"reason":"channel_crash"}]"#;
    assert_eq!(print(&ended), [error]);
    assert_eq!(channels.count(), 1);
}

#[test]
fn a_channel_that_stops_is_closed_for_good() {
    let mut channels = Channels::default();
    enter(&mut channels, TOPIC, "1");

    let ended = [channels.closed(TOPIC), channels.closed(TOPIC)].concat();

    assert_eq!(print(&ended), [r#"["1","1","org:1:recruit","phx_close",{}]"#]);
    assert_eq!(channels.count(), 0);
}

const OLD_CLOSE: &str = r#"["1","1","org:1:recruit","phx_close",{}]"#;

/// A channel that works on request 2, has request 3 and a leave waiting, and is joined again.
fn joined_again_while_busy(channels: &mut Channels<()>) -> Request {
    enter(channels, TOPIC, "1");
    let first = work(channels.receive(message(None, "2", TOPIC, "open")));
    channels.receive(message(None, "3", TOPIC, "open"));
    channels.receive(message(None, "4", TOPIC, LEAVE));
    let steps = channels.receive(message(Some("5"), "5", TOPIC, JOIN));
    assert_eq!((steps, channels.is_replacing()), (vec![], true));
    first
}

#[test]
fn the_old_instance_finishes_its_request_before_the_new_one_begins() {
    let mut channels = Channels::default();
    let first = joined_again_while_busy(&mut channels);

    let steps = channels.finished(&first, Status::Ok, json!({}));

    let reply = |reference| {
        format!(
            r#"["1","{reference}","org:1:recruit","phx_reply",{{"response":{{}},"status":"ok"}}]"#
        )
    };
    let expected = [reply("2"), reply("4"), OLD_CLOSE.into(), "join 5".into()];
    assert_eq!(print(&steps), expected);
    assert!(!channels.is_replacing());
}

#[test]
fn an_old_instance_that_does_not_finish_in_time_is_not_waited_for() {
    let mut channels = Channels::default();
    let first = joined_again_while_busy(&mut channels);

    let steps = channels.replaced();
    let late = channels.finished(&first, Status::Ok, json!({}));

    assert_eq!(print(&steps)[1..], [OLD_CLOSE, "join 5"]);
    assert_eq!(late, vec![]);
}

#[test]
fn an_old_instance_that_breaks_makes_way_for_the_new_one() {
    let mut channels = Channels::default();
    let first = joined_again_while_busy(&mut channels);

    let steps = channels.crashed(TOPIC, first.instance);

    assert_eq!(print(&steps)[1..], [OLD_CLOSE, "join 5"]);
}

#[test]
fn whoever_gives_no_reference_gets_no_answer() {
    let mut channels = Channels::default();
    enter(&mut channels, TOPIC, "1");
    let message = Incoming { reference: None, ..message(None, "2", TOPIC, "open") };
    let request = work(channels.receive(message));

    let steps = channels.finished(&request, Status::Ok, json!({}));

    assert_eq!(steps, vec![]);
}
