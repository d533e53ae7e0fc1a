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

use otp::{Clock, Root, StartError};

use act::Stage;
use cast::{Malformed, need, need_list, need_text};
pub use json::Json;
use recorder::Recorder;

/// Plays one scenario, given as a line of JSON, and gives it back with our trace.
pub fn play(line: &str) -> Result<Json, String> {
    let scenario: Json = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let name = scenario.get("name").and_then(Json::text).unwrap_or("?").to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(|error| error.to_string())?;
    let trace = runtime.block_on(trace(&scenario));
    let trace = trace.map_err(|Malformed(what)| format!("scenario {name:?}: {what}"))?;
    let Json::Object(mut fields) = scenario else {
        return Err("a scenario is an object".to_owned());
    };
    fields.retain(|(key, _)| key != "trace");
    fields.push(("trace".to_owned(), Json::List(trace)));
    Ok(Json::Object(fields))
}

async fn trace(scenario: &Json) -> Result<Vec<Json>, Malformed> {
    let recorder = Recorder::new(Root::prepare(Clock::system()));
    if let Some(Json::Object(plans)) = scenario.get("plans") {
        for (path, outcomes) in plans {
            recorder.plan(path, act::outcomes(outcomes)?);
        }
    }
    let spec = cast::supervisor(&recorder, otp::ROOT_PATH, need(scenario, "sup")?)?;
    let actions = need_list(scenario, "actions")?;

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
        let op = need_text(action, "op")?;
        stage.recorder.mark();
        let result = stage.clone().act(action.clone()).await?;
        stage.quiet().await;
        let mut taken = step(&stage, place + 1, op, result);
        if op == "kill" && stage.recorder.is_supervisor(need_text(action, "path")?) {
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
