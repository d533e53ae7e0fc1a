//! Our supervisor against traces that the supervisor of Erlang/OTP 25 left behind.

#![allow(clippy::unwrap_used)]

mod support;

use support::Json;

#[test]
fn every_recorded_scenario_leaves_the_same_trace_as_on_erlang() {
    let vectors = include_str!("vectors.jsonl");

    let differences: Vec<String> = vectors
        .lines()
        .filter_map(|line| {
            let recorded: Json = serde_json::from_str(line).unwrap();
            let played = support::play(line).unwrap();
            let difference = support::difference(recorded.get("trace")?, played.get("trace")?)?;
            Some(format!("{}\n{difference}", recorded.get("name")?))
        })
        .collect();

    let count = differences.len();
    assert_eq!(vectors.lines().count(), 200);
    assert!(count == 0, "{count} of 200 differ\n\n{}", differences.join("\n\n"));
}

/// What is said of input that is played line by line, and what was written until then.
fn said_of(input: impl AsRef<[u8]>) -> (String, usize) {
    let mut output = Vec::new();
    let error = support::play_lines(input.as_ref(), &mut output).unwrap_err();
    (error, output.split(|byte| *byte == b'\n').count() - 1)
}

const GOOD: &str = r#"{"name":"a","plans":{},"sup":{"strategy":"one_for_one","intensity":1,"period":5,"children":[{"id":"x"}]},"actions":[{"op":"kill","path":"root/x"}]}"#;

#[test]
fn a_mistake_in_a_scenario_is_named_with_its_place() {
    let mistakes = [
        (r#""sup":"#, r#""soup":"#, r#"there is no "sup""#),
        (
            r#""one_for_one""#,
            r#""all""#,
            r#"sup.strategy: "all" is not possible here: unknown variant"#,
        ),
        (r#""one_for_one""#, "7", "sup.strategy: 7 is not possible here"),
        (r#""intensity":1"#, r#""intensity":-1"#, "sup.intensity: -1 is not a natural number"),
        (r#""intensity":1"#, r#""intensity":1.5"#, "invalid type: floating point"),
        (r#""period":5"#, r#""period":null"#, "sup.period: null is not a natural number"),
        (r#""period":5"#, r#""period":99999999999999999999"#, "line 1"),
        (r#"[{"id":"x"}]"#, "{}", "sup.children: {} is not a list"),
        (r#"{"id":"x"}"#, "3", "sup.children[0]: 3 is not an object"),
        (r#"{"id":"x"}"#, r#"{"id":7}"#, "sup.children[0].id: 7 is not a string"),
        (r#""id":"x""#, r#""id":"x","restart":"no""#, r#"sup.children[0].restart: "no" is not"#),
        (r#""id":"x""#, r#""id":"x","shutdown":-1"#, "sup.children[0].shutdown"),
        (r#""id":"x""#, r#""id":"x","significant":0"#, "sup.children[0].significant"),
        (r#""id":"x""#, r#""id":"x","on_shutdown":"run""#, r#"on_shutdown: "run" is nothing"#),
        (r#""id":"x""#, r#""id":"x","type":"supervisor""#, r#"children[0]: there is no "sup""#),
        (r#""kill""#, r#""hug""#, r#"actions[0].op: "hug" is no action"#),
        (r#""path":"root/x""#, r#""pith":1"#, r#"actions[0]: there is no "path""#),
        (r#""plans":{}"#, r#""plans":{"root/x":["no"]}"#, r#"plans.root/x[0]: "no" is no outcome"#),
        (r#""plans":{}"#, r#""plans":[]"#, "plans: [] is not an object"),
        (r#""kill","path":"root/x""#, r#""stop","path":"root","reason":"normal""#, "actions[0]"),
        (
            r#""kill","path":"root/x""#,
            r#""stop","path":"root/x","reason":"x""#,
            "actions[0].reason",
        ),
        (
            r#""kill""#,
            r#""held_restart","queue":[{"op":"sleep","ms":1}]"#,
            "actions[0].queue[0].op",
        ),
    ];

    for (from, to, expected) in mistakes {
        let bad = GOOD.replacen(from, to, 1);
        assert_ne!(bad, GOOD);

        let (error, _) = said_of(&bad);

        assert!(error.starts_with("line 1: ") && error.contains(expected), "{bad}\n{error}");
    }
}

#[test]
fn what_cannot_be_read_stops_the_playing_after_what_was_good() {
    let bad: [(&[u8], &str); 5] = [
        (b"{", "line 3: EOF while parsing"),
        (b"[]", "line 3: scenario \"?\": [] is not an object"),
        (b"\xff\xfe", "line 3: invalid utf-8"),
        (b"{\"name\":\"\xc3\x28\"}", "line 3: invalid utf-8"),
        (&b"[".repeat(100_000), "line 3: recursion limit exceeded"),
    ];

    for (line, expected) in bad {
        let input = [GOOD.as_bytes(), b"\r\n  \t\r\n", line, b"\n", GOOD.as_bytes()].concat();

        let (error, written) = said_of(input);

        assert!(error.starts_with(expected), "{error}");
        assert_eq!(written, 1);
    }
}

#[test]
fn a_scenario_that_hangs_on_erlang_too_is_an_error_and_takes_no_time() {
    let stubborn = r#""id":"x","on_shutdown":"ignore","shutdown":"infinity""#;
    let stuck = GOOD.replace(r#""id":"x""#, stubborn).replace(
        r#""op":"kill","path":"root/x""#,
        r#""op":"terminate_child","sup":"root","id":"x""#,
    );
    let endless =
        GOOD.replace(r#""op":"kill","path":"root/x""#, r#""op":"sleep","ms":9000000000000000000"#);

    for scenario in [stuck, endless] {
        let (error, _) = said_of(&scenario);

        assert_eq!(error, "line 1: scenario \"a\": it never ends: a process does not stop");
    }
}

#[test]
fn the_last_line_needs_no_end_and_a_trace_from_elsewhere_is_replaced() {
    let with_trace = GOOD.replacen('{', r#"{"trace":"whatever","mine":[1],"#, 1);
    let mut output = Vec::new();

    support::play_lines(with_trace.as_bytes(), &mut output).unwrap();

    let played: Json = serde_json::from_slice(&output).unwrap();
    let Json::Object(fields) = &played else { panic!("{played}") };
    let keys: Vec<_> = fields.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["mine", "name", "plans", "sup", "actions", "trace"]);
    assert_eq!(played.get("trace").unwrap().list().unwrap().len(), 4);
}

#[test]
fn what_a_scenario_names_but_nobody_started_is_answered_as_on_erlang() {
    let never = GOOD.replace(
        r#""op":"kill","path":"root/x""#,
        r#""op":"kill","path":"root/nobody"},{"op":"which_children","sup":"root/nobody""#,
    );

    let played = support::play(&never).unwrap();

    let steps = played.get("trace").unwrap().list().unwrap();
    assert_eq!(steps[1].get("result").unwrap().to_string(), "\"not_running\"");
    assert_eq!(steps[1].get("unordered"), None);
    assert_eq!(steps[2].get("result").unwrap().to_string(), r#"{"exit":"noproc"}"#);
}

#[test]
fn two_defects_of_the_original_are_not_imitated() {
    let simple = |outcomes: &str, action: &str| {
        let name = r#"{"name":"a","plans":{},"sup":{"strategy":"simple_one_for_one","intensity":5,"period":5,"children":[{"id":"w"}]},"actions":["#;
        let started =
            ["x", "y"].map(|tag| format!(r#"{{"op":"start_child","sup":"root","tag":"{tag}"}}"#));
        let plan = format!(r#"{{"op":"plan","path":"root/y","outcomes":[{outcomes}]}}"#);
        let count = r#"{"op":"count_children","sup":"root"}"#;
        format!("{name}{},{},{plan},{action},{count}]}}", started[0], started[1])
    };
    let cancelled = r#"{"op":"held_restart","path":"root/y","queue":[{"op":"terminate_child","sup":"root","tag":"y"}]}"#;
    let ignored = r#"{"op":"kill","path":"root/y"}"#;

    for (outcomes, action) in [("", cancelled), (r#""ignore""#, ignored)] {
        let played = support::play(&simple(outcomes, action)).unwrap();

        let steps = played.get("trace").unwrap().list().unwrap();
        let count = r#"{"specs":1,"active":1,"supervisors":0,"workers":1}"#;
        assert_eq!(steps[5].get("result").unwrap().to_string(), count, "{action}");
        let end = r#"[["stop","root/x",1,"shutdown"],["stop","root",1,"shutdown"]]"#;
        assert_eq!(steps[7].get("events").unwrap().to_string(), end, "{action}");
    }
}
