//! Plays scenarios of supervision and records what could be observed.
//!
//! A scenario is a tree, a plan of how starts turn out, and actions. After every action the stage
//! waits until the tree is quiet. Time is tokio's and paused, so it passes only when nobody has
//! anything else to do.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod act;
mod cast;
mod json;
mod recorder;
mod script;

use std::io::{BufRead, Write};
use std::time::Duration;

use otp::{Clock, Root, StartError};

use act::Stage;
pub use json::Json;
use recorder::Recorder;
use script::{Act, Malformed, Scenario};

/// No scenario takes longer on its own clock; one that does hangs, as it would on Erlang.
const TIME_MAX: Duration = Duration::from_hours(24 * 365);

/// Plays the scenarios of `input`, one a line, and writes each with our trace into `output`.
///
/// Ends with the first line that cannot be played; everything before it is written by then.
pub fn play_lines(mut input: impl BufRead, mut output: impl Write) -> Result<(), String> {
    let mut bytes = Vec::new();
    for number in 1_u64.. {
        let at_line = |error: String| format!("line {number}: {error}");
        bytes.clear();
        input.read_until(b'\n', &mut bytes).map_err(|error| at_line(error.to_string()))?;
        if bytes.is_empty() {
            break;
        }
        let outcome = match std::str::from_utf8(&bytes) {
            Ok(text) if text.trim().is_empty() => continue,
            Ok(text) => play(text.trim()),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(played) => writeln!(output, "{played}").map_err(|error| error.to_string())?,
            Err(error) => {
                output.flush().map_err(|error| error.to_string())?;
                return Err(at_line(error));
            }
        }
    }
    output.flush().map_err(|error| error.to_string())
}

/// Plays one scenario, given as a line of JSON, and gives it back with our trace.
pub fn play(line: &str) -> Result<Json, String> {
    let json: Json = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let name = json.get("name").and_then(Json::text).unwrap_or("?");
    let named = |error: Malformed| format!("scenario {name:?}: {error}");
    let scenario = script::scenario(&json).map_err(named)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    let trace = runtime.block_on(async {
        let stuck = |_| Err(Malformed::new("", "it never ends: a process does not stop"));
        tokio::time::timeout(TIME_MAX, trace(&scenario)).await.unwrap_or_else(stuck)
    });
    let trace = trace.map_err(named)?;
    let Json::Object(mut fields) = json else {
        return Err("a scenario is an object".to_owned());
    };
    fields.retain(|(key, _)| key != "trace");
    fields.push(("trace".to_owned(), Json::List(trace)));
    Ok(Json::Object(fields))
}

async fn trace(scenario: &Scenario) -> Result<Vec<Json>, Malformed> {
    let Scenario { plans, sup, actions } = scenario;
    let recorder = Recorder::new(Root::prepare(Clock::system()));
    for (path, outcomes) in plans {
        recorder.plan(path, outcomes);
    }
    let spec = cast::supervisor(&recorder, otp::ROOT_PATH, sup);
    recorder.supervisor(otp::ROOT_PATH, sup.strategy);

    let started = Root::start_in(recorder.tree.clone(), spec).await;
    let mut steps = Vec::with_capacity(actions.len() + 3);
    let result = match &started {
        Ok(_) => "ok".into(),
        Err(StartError::Ignore) => "ignore".into(),
        Err(error) => Json::object([("error", act::start_error(error).into())]),
    };
    let stage = Stage::new(recorder);
    stage.quiet().await;
    steps.push(step(&stage, 0, "start", result));
    let Ok(root) = started else { return Ok(steps) };

    for (place, action) in actions.iter().enumerate() {
        stage.recorder.mark();
        let result = stage.clone().act(action.clone()).await?;
        stage.quiet().await;
        let mut taken = step(&stage, place + 1, &action.op, result);
        if let Act::Kill { path } = &action.what
            && stage.recorder.is_supervisor(path)
        {
            push(&mut taken, "unordered", Json::Bool(true));
        }
        let dead = root.pid().exit_reason();
        if let Some(reason) = &dead {
            push(&mut taken, "root_dead", reason.to_string().into());
        }
        steps.push(taken);
        if dead.is_some() {
            return Ok(steps);
        }
    }

    let tree = stage.final_tree().await;
    steps.push(step(&stage, actions.len() + 1, "final_tree", tree));
    root.stop().await;
    stage.quiet().await;
    steps.push(step(&stage, actions.len() + 2, "shutdown_root", Json::Null));
    Ok(steps)
}

fn step(stage: &Stage, number: usize, op: &str, result: Json) -> Json {
    Json::object([
        ("step", (number as u64).into()),
        ("op", op.into()),
        ("events", stage.recorder.take()),
        ("result", result),
    ])
}

fn push(step: &mut Json, key: &str, value: Json) {
    if let Json::Object(fields) = step {
        fields.push((key.to_owned(), value));
    }
}

/// The first step in which two traces differ, in words; nothing if they agree.
///
/// The events of an unordered step are compared as a multiset.
pub fn difference(expected: &Json, actual: &Json) -> Option<String> {
    let steps = |trace: &Json| trace.list().map(<[Json]>::to_vec).unwrap_or_default();
    let (expected, actual) = (steps(expected), steps(actual));
    for place in 0..expected.len().max(actual.len()) {
        let (one, other) = (expected.get(place), actual.get(place));
        if one.map(comparable) != other.map(comparable) {
            let show = |step: Option<&Json>| step.map_or("nothing".to_owned(), Json::to_string);
            return Some(format!("OTP : {}\nours: {}", show(one), show(other)));
        }
    }
    None
}

fn comparable(step: &Json) -> Json {
    let mut step = step.clone();
    let is_unordered = step.get("unordered").is_some();
    if let Json::Object(fields) = &mut step {
        for (key, value) in fields {
            if let (true, "events", Json::List(events)) = (is_unordered, key.as_str(), value) {
                events.sort();
            }
        }
    }
    step
}
