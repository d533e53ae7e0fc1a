//! The cast of a scenario: specifications made from its script, and the worker in all parts.

use std::sync::Arc;

use otp::{ChildSpec, ExitReason, Process, RunContext, StartError, SupervisorSpec};
use tokio::sync::mpsc;

use super::recorder::{Command, Recorder};
use super::script::{Child, OnShutdown, Outcome, Sup};

pub fn supervisor(recorder: &Recorder, path: &str, sup: &Sup) -> SupervisorSpec {
    SupervisorSpec::new(sup.strategy)
        .intensity(sup.intensity)
        .auto_shutdown(sup.auto_shutdown)
        .children(sup.children.iter().map(|item| child(recorder, path, item)))
}

pub fn child(recorder: &Recorder, above: &str, item: &Child) -> ChildSpec {
    let id = item.id.as_str();
    let path = format!("{above}/{id}");
    let mut spec = if let Some(sup) = &item.sup {
        let spec = supervisor(recorder, &path, sup);
        let (recorder, strategy) = (recorder.clone(), sup.strategy);
        ChildSpec::supervisor_from(id, move || {
            attempt(&recorder, &path)?;
            recorder.supervisor(&path, strategy);
            Ok(spec.clone())
        })
    } else {
        let part = Arc::new(Part {
            recorder: recorder.clone(),
            above: above.to_owned(),
            id: id.to_owned(),
            on_shutdown: item.on_shutdown,
        });
        ChildSpec::process(id, move || Worker { part: part.clone(), commands: None, dies: false })
    };
    if let Some(restart) = item.restart {
        spec = spec.restart(restart);
    }
    if let Some(shutdown) = item.shutdown {
        spec = spec.shutdown(shutdown);
    }
    if let Some(significant) = item.significant {
        spec = spec.significant(significant);
    }
    spec
}

/// One start attempt as planned. Says whether the process is to die at once.
fn attempt(recorder: &Recorder, path: &str) -> Result<bool, StartError> {
    match recorder.pop(path) {
        Outcome::Ok => Ok(false),
        Outcome::OkCrash => Ok(true),
        Outcome::Error => {
            recorder.fail(path, "error");
            Err(StartError::failed("boom"))
        }
        Outcome::Ignore => {
            recorder.fail(path, "ignore");
            Err(StartError::Ignore)
        }
        Outcome::Crash => {
            recorder.fail(path, "crash");
            // Panics like `panic!`, without a line in the log for each planned crash.
            std::panic::resume_unwind(Box::new("boom"))
        }
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
        recorder.fate().await;
        if let Some(hold) = recorder.take_hold(&path, above) {
            recorder.fail(&path, "error");
            let _ = hold.entered.send(());
            let _ = hold.released.await;
            return Err(StartError::failed("boom"));
        }
        self.dies = attempt(recorder, &path)?;
        if self.dies {
            recorder.doom(context.pid());
        }
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
