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

#[test]
fn a_malformed_scenario_is_an_error_that_says_what_is_wrong() {
    let cases = [
        (r#"{"name":"a","actions":[]}"#, "has no \\\"sup\\\""),
        (
            r#"{"name":"b","sup":{"strategy":"all","intensity":1,"period":1,"children":[]},"actions":[]}"#,
            "strategy",
        ),
    ];

    for (line, expected) in cases {
        let error = support::play(line).unwrap_err();

        assert!(error.contains(&expected.replace('\\', "")), "{error}");
    }
}
