//! Our supervisor against that of a real Erlang, on scenarios that nobody thought of.
//!
//! Every run draws other scenarios. `FINNEST_OTP_SCENARIOS` says how many (512 unless told
//! otherwise), `FINNEST_OTP_SEED` repeats a run. Without Erlang there is nothing to compare with:
//! the test then says so and passes, except where `CI` is set.

#![allow(unreachable_pub, clippy::unwrap_used)]

mod compose;
mod draft;
mod erlang;
mod shrink;
#[path = "../support/mod.rs"]
#[allow(dead_code, reason = "reading files is the business of the example")]
mod support;

use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use support::Json;

/// How long a difference may be shrunk before it is shown.
const SHRINK_FOR: Duration = Duration::from_mins(1);

#[test]
fn random_scenarios_leave_the_same_trace_on_erlang_and_here() {
    let seed = number("FINNEST_OTP_SEED").unwrap_or_else(random);
    let count = number("FINNEST_OTP_SCENARIOS").unwrap_or(512);
    let mut runner = runner(seed);
    let scenarios: Vec<String> =
        (0..count).map(|place| scenario(&format!("seed_{seed}_{place}"), &mut runner)).collect();

    let Some(traces) = erlang::traces(&scenarios) else {
        assert!(std::env::var_os("CI").is_none(), "there is no escript to compare with");
        eprintln!("skipped: there is no escript here, so nothing to compare with (erlang-base)");
        return;
    };

    let differences = told_twice(differences(&scenarios, &traces));
    let Some(first) = differences.first() else { return };
    let (smallest, difference) = shrunk(first.clone());
    panic!(
        "{} of {count} scenarios differ. The first, made as small as it gets:\n\n{difference}\n\n\
         {smallest}\n\nThat line is input for the example `conformance`; \
         FINNEST_OTP_SEED={seed} FINNEST_OTP_SCENARIOS={count} repeats the run.",
        differences.len(),
    );
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{variable} is {text:?}: {error}")))
}

fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    TestRunner::new_with_rng(Config::default(), random)
}

fn scenario(name: &str, runner: &mut TestRunner) -> String {
    let drawn = draft::drafts().new_tree(runner).unwrap().current();
    compose::scenario(name.to_owned(), &drawn).to_string()
}

/// The scenarios that leave another trace here than on Erlang, each with its first difference.
fn differences(scenarios: &[String], traces: &[Json]) -> Vec<(String, String)> {
    let difference = |(scenario, erlang): (&String, &Json)| {
        let difference = match support::play(scenario) {
            Ok(played) => support::difference(erlang, played.get("trace")?)?,
            Err(error) => format!("it cannot be played here: {error}"),
        };
        Some((scenario.clone(), difference))
    };
    scenarios.iter().zip(traces).filter_map(difference).collect()
}

/// The differences that show again. Erlang lives in real time here, and a machine that stood still
/// at the wrong moment is no difference between two supervisors.
fn told_twice(differences: Vec<(String, String)>) -> Vec<(String, String)> {
    let scenarios: Vec<String> = differences.into_iter().map(|(scenario, _)| scenario).collect();
    let traces = erlang::traces(&scenarios).unwrap_or_default();
    self::differences(&scenarios, &traces)
}

/// The smallest scenario found that differs, and how.
fn shrunk(mut smallest: (String, String)) -> (String, String) {
    let before = Instant::now();
    while before.elapsed() < SHRINK_FOR {
        let smaller = shrink::smaller(&serde_json::from_str(&smallest.0).unwrap());
        let Some(traces) = erlang::traces(&smaller) else { break };
        match differences(&smaller, &traces).into_iter().next() {
            Some(found) => smallest = found,
            None => break,
        }
    }
    smallest
}

#[test]
fn the_scenarios_that_are_drawn_reach_everything_a_supervisor_can_do() {
    let mut runner = runner(1);
    let drawn: Vec<String> = (0..400).map(|_| scenario("drawn", &mut runner)).collect();

    let words = [
        "one_for_one",
        "rest_for_one",
        "one_for_all",
        "simple_one_for_one",
        "any_significant",
        "all_significant",
        "permanent",
        "transient",
        "temporary",
        "brutal_kill",
        "infinity",
        "ok_crash",
        "ignore",
        "crash",
        "kill",
        "stop",
        "kill_many",
        "plan",
        "held_restart",
        "sleep",
        "start_child",
        "terminate_child",
        "restart_child",
        "delete_child",
        "get_childspec",
        "which_children",
        "count_children",
        "significant",
        "on_shutdown",
        "delay",
        "tag",
    ];
    for word in words {
        let quoted = format!("\"{word}\"");
        let reached = drawn.iter().filter(|scenario| scenario.contains(&quoted)).count();
        assert!(reached >= 5, "only {reached} of {} scenarios have {word}", drawn.len());
    }
    let errors: Vec<_> = drawn.iter().filter_map(|line| support::play(line).err()).collect();
    assert!(errors.is_empty(), "{errors:?}");
}
