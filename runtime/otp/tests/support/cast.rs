//! The cast of a scenario: specifications made from its JSON, and the worker that plays all parts.

use std::sync::Arc;
use std::time::Duration;

use otp::{
    AutoShutdown, ChildSpec, ExitReason, Intensity, Process, Restart, RunContext, Shutdown,
    StartError, Strategy, SupervisorSpec,
};
use tokio::sync::mpsc;

use super::json::Json;
use super::recorder::{Command, Recorder};

/// What is wrong with a scenario, and where.
#[derive(Debug)]
pub struct Malformed(pub String);

pub fn need<'a>(value: &'a Json, key: &str) -> Result<&'a Json, Malformed> {
    value.get(key).ok_or_else(|| Malformed(format!("{value} has no {key:?}")))
}

pub fn need_text<'a>(value: &'a Json, key: &str) -> Result<&'a str, Malformed> {
    let field = need(value, key)?;
    field.text().ok_or_else(|| Malformed(format!("{key:?} is {field}, not a string")))
}

pub fn need_number(value: &Json, key: &str) -> Result<u64, Malformed> {
    let field = need(value, key)?;
    field.number().ok_or_else(|| Malformed(format!("{key:?} is {field}, not a natural number")))
}

pub fn need_list<'a>(value: &'a Json, key: &str) -> Result<&'a [Json], Malformed> {
    let field = need(value, key)?;
    field.list().ok_or_else(|| Malformed(format!("{key:?} is {field}, not a list")))
}

/// A word of OTP's as our value.
fn word<T: serde::de::DeserializeOwned>(key: &str, value: &Json) -> Result<T, Malformed> {
    let text = value.to_string();
    serde_json::from_str(&text).map_err(|error| Malformed(format!("{key:?} is {text}: {error}")))
}

pub fn supervisor(
    recorder: &Recorder,
    path: &str,
    sup: &Json,
) -> Result<SupervisorSpec, Malformed> {
    let strategy: Strategy = word("strategy", need(sup, "strategy")?)?;
    let max_restarts = u32::try_from(need_number(sup, "intensity")?).unwrap_or(u32::MAX);
    let within = Duration::from_secs(need_number(sup, "period")?);
    let auto_shutdown: AutoShutdown = sup
        .get("auto_shutdown")
        .map_or(Ok(AutoShutdown::Never), |mode| word("auto_shutdown", mode))?;
    let children = need_list(sup, "children")?
        .iter()
        .map(|item| child(recorder, path, strategy, item))
        .collect::<Result<Vec<_>, _>>()?;
    recorder.supervisor(path, strategy == Strategy::SimpleOneForOne);
    Ok(SupervisorSpec::new(strategy)
        .intensity(Intensity::new(max_restarts, within))
        .auto_shutdown(auto_shutdown)
        .children(children))
}

pub fn child(
    recorder: &Recorder,
    above: &str,
    strategy: Strategy,
    item: &Json,
) -> Result<ChildSpec, Malformed> {
    let id = need_text(item, "id")?;
    let path = format!("{above}/{id}");
    let supervises = item.get("type").and_then(Json::text) == Some("supervisor");
    let mut spec = if supervises && strategy != Strategy::SimpleOneForOne {
        let spec = supervisor(recorder, &path, need(item, "sup")?)?;
        let recorder = recorder.clone();
        ChildSpec::supervisor_from(id, move || attempt(&recorder, &path).map(|_| spec.clone()))
    } else {
        let part = Arc::new(Part {
            recorder: recorder.clone(),
            above: above.to_owned(),
            id: id.to_owned(),
            on_shutdown: item.get("on_shutdown").map(on_shutdown).transpose()?,
        });
        ChildSpec::process(id, move || Worker { part: part.clone(), commands: None, dies: false })
    };
    if let Some(restart) = item.get("restart") {
        spec = spec.restart(word::<Restart>("restart", restart)?);
    }
    if let Some(shutdown) = item.get("shutdown") {
        spec = spec.shutdown(word::<Shutdown>("shutdown", shutdown)?);
    }
    if let Some(significant) = item.get("significant") {
        spec = spec.significant(word("significant", significant)?);
    }
    Ok(spec)
}

#[derive(Clone, Copy)]
enum OnShutdown {
    Ignore,
    Error,
    Normal,
    Delay(Duration),
}

fn on_shutdown(value: &Json) -> Result<OnShutdown, Malformed> {
    match (value.text(), value.get("delay").and_then(Json::number)) {
        (Some("ignore"), _) => Ok(OnShutdown::Ignore),
        (Some("error"), _) => Ok(OnShutdown::Error),
        (Some("normal"), _) => Ok(OnShutdown::Normal),
        (_, Some(delay_ms)) => Ok(OnShutdown::Delay(Duration::from_millis(delay_ms))),
        _ => Err(Malformed(format!("\"on_shutdown\" is {value}"))),
    }
}

/// One start attempt as planned. Says whether the process is to die at once.
fn attempt(recorder: &Recorder, path: &str) -> Result<bool, StartError> {
    let outcome = recorder.pop(path);
    match outcome.as_str() {
        "ok" => return Ok(false),
        "ok_crash" => return Ok(true),
        _ => recorder.fail(path, &outcome),
    }
    match outcome.as_str() {
        "ignore" => Err(StartError::Ignore),
        // Panics like `panic!`, without a line in the log for each planned crash.
        "crash" => std::panic::resume_unwind(Box::new("boom")),
        _ => Err(StartError::failed("boom")),
    }
}

struct Part {
    recorder: Recorder,
    above: String,
    id: String,
    on_shutdown: Option<OnShutdown>,
}

struct Worker {
    part: Arc<Part>,
    commands: Option<mpsc::UnboundedReceiver<Command>>,
    dies: bool,
}

impl Process for Worker {
    async fn init(&mut self, context: &RunContext) -> Result<(), StartError> {
        let Part { recorder, above, id, .. } = &*self.part;
        let path = format!("{above}/{}", context.argument().unwrap_or(id));
        if let Some(hold) = recorder.take_hold(&path, above) {
            recorder.fail(&path, "error");
            let _ = hold.entered.send(());
            let _ = hold.released.await;
            return Err(StartError::failed("boom"));
        }
        self.dies = attempt(recorder, &path)?;
        self.commands = Some(recorder.worker(&path, context.pid()));
        Ok(())
    }

    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        if self.dies {
            return Err(ExitReason::failed("boom"));
        }
        let Some(commands) = &mut self.commands else { return Ok(()) };
        tokio::select! {
            Some(reason) = commands.recv() => Err(reason),
            () = context.stopping() => match self.part.on_shutdown {
                None => Err(ExitReason::Shutdown),
                Some(OnShutdown::Error) => Err(ExitReason::failed("bad_stop")),
                Some(OnShutdown::Normal) => Err(ExitReason::Normal),
                Some(OnShutdown::Ignore) => std::future::pending().await,
                Some(OnShutdown::Delay(delay)) => {
                    tokio::time::sleep(delay).await;
                    Err(ExitReason::Shutdown)
                }
            },
        }
    }
}
