//! The actions of a scenario, and the answers as the traces write them.

use std::future::ready;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use otp::{
    ChildEntry, ChildName, ChildState, ExitReason, Pid, RequestError, StartError, SupervisorRef,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::cast;
use super::json::Json;
use super::recorder::{Hold, Recorder};
use super::script::{Act, Action, Malformed, Name, Request};

/// Where a scenario is played.
#[derive(Clone)]
pub struct Stage {
    pub recorder: Recorder,
}

impl Stage {
    pub const fn new(recorder: Recorder) -> Self {
        Self { recorder }
    }

    /// Waits until every supervisor answers, nobody runs and nothing new is recorded.
    pub async fn quiet(&self) {
        let mut calm = 0;
        while calm < 3 {
            let before = self.recorder.count();
            for path in self.recorder.live_supervisors() {
                if let Some(supervisor) = self.recorder.tree.supervisor(&path) {
                    let _ = supervisor.count_children().await;
                }
            }
            // Paused time moves only when no task is ready.
            tokio::time::sleep(Duration::from_millis(1)).await;
            calm = if self.recorder.count() == before { calm + 1 } else { 0 };
        }
    }

    /// Boxed, because a held restart contains actions.
    pub fn act(self, action: Arc<Action>) -> BoxFuture<'static, Result<Json, Malformed>> {
        async move {
            match &action.what {
                Act::Kill { path } => Ok(self.kill(path).await),
                Act::Stop { path, reason } => self.stop(&action.place, path, reason).await,
                Act::KillMany { sup, paths } => Ok(self.kill_many(sup, paths).await),
                Act::Plan { path, outcomes } => {
                    self.recorder.plan(path, outcomes);
                    Ok("ok".into())
                }
                Act::Sleep { time } => {
                    tokio::time::sleep(*time).await;
                    Ok("ok".into())
                }
                Act::HeldRestart { path, queue } => self.held_restart(path, queue).await,
                Act::Ask { sup, request } => Ok(self.request(sup, request).await),
            }
        }
        .boxed()
    }

    fn alive(&self, path: &str) -> Option<Pid> {
        self.recorder.newest(path).filter(Pid::is_alive)
    }

    async fn kill(&self, path: &str) -> Json {
        let Some(pid) = self.alive(path) else { return "not_running".into() };
        pid.kill();
        pid.gone().await;
        "ok".into()
    }

    async fn stop(&self, place: &str, path: &str, reason: &str) -> Result<Json, Malformed> {
        let Some(pid) = self.alive(path) else { return Ok("not_running".into()) };
        let Ok(reason) = reason.parse::<ExitReason>();
        if !self.recorder.command(path, reason) {
            return Err(Malformed::new(place, format!("{path:?} is a supervisor: it cannot stop")));
        }
        pid.gone().await;
        Ok("ok".into())
    }

    async fn kill_many(&self, sup: &str, paths: &[String]) -> Json {
        let Some(supervisor) = self.supervisor(sup) else { return "not_running".into() };
        let Ok(suspended) = supervisor.suspend().await else { return "not_running".into() };
        let mut results = Vec::new();
        for path in paths {
            results.push(self.kill(path).await);
        }
        drop(suspended);
        Json::List(results)
    }

    /// Holds the next start of a path by the same supervisor open, lets a queue of things reach
    /// that supervisor meanwhile, and then lets that start fail.
    async fn held_restart(&self, path: &str, queue: &[Arc<Action>]) -> Result<Json, Malformed> {
        let above = path.rsplit_once('/').map_or("", |(above, _)| above);
        let (Some(pid), Some(supervisor)) = (self.alive(path), self.supervisor(above)) else {
            return Ok("not_running".into());
        };
        let (entered, was_entered) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let holder = supervisor.pid();
        self.recorder.hold(Hold { path: path.to_owned(), supervisor: holder, entered, released });
        pid.kill();
        pid.gone().await;
        let is_held = tokio::select! {
            biased;
            entered = was_entered => entered.is_ok(),
            () = self.quiet() => false,
        };
        self.recorder.drop_hold();
        if !is_held {
            return Ok(Json::object([
                ("held", Json::Bool(false)),
                ("results", Json::List(Vec::new())),
            ]));
        }
        let mut answers = Vec::new();
        for item in queue {
            answers.push(self.enqueue(item).await);
        }
        self.recorder.mark();
        let _ = release.send(());
        let mut results = Vec::new();
        for answer in answers {
            let answer = answer.await.map_err(|error| Malformed::new("", error.to_string()));
            results.push(answer??);
        }
        Ok(Json::object([("held", Json::Bool(true)), ("results", Json::List(results))]))
    }

    /// Puts one more thing into the mailbox of the busy supervisor. Each answer is awaited by a
    /// task of its own, which names the processes in it before the supervisor ends them.
    #[allow(clippy::disallowed_methods, reason = "the scenario awaits every task it spawns")]
    async fn enqueue(&self, item: &Arc<Action>) -> JoinHandle<Result<Json, Malformed>> {
        let mut answer = self.clone().act(item.clone());
        // A request is in the mailbox after the first poll; a kill is done when it is awaited.
        let early = match &item.what {
            Act::Kill { .. } => Poll::Ready((&mut answer).await),
            _ => futures_util::poll!(&mut answer),
        };
        match early {
            Poll::Ready(answer) => tokio::spawn(ready(answer)),
            Poll::Pending => tokio::spawn(answer),
        }
    }

    fn supervisor(&self, path: &str) -> Option<SupervisorRef> {
        self.recorder.tree.supervisor(path)
    }

    async fn request(&self, path: &str, request: &Request) -> Json {
        let Some(supervisor) = self.supervisor(path) else {
            return Json::object([("exit", "noproc".into())]);
        };
        let named = |name: &Name| match name {
            Name::Id(id) => ChildName::Id(id.clone()),
            // A tag never started stands for a live process that is no child.
            Name::Tag(tag) => {
                let newest = self.recorder.newest(&format!("{path}/{tag}"));
                ChildName::Process(newest.unwrap_or_else(|| supervisor.pid()))
            }
        };
        let answer = match request {
            Request::StartChild(child) => {
                let spec = cast::child(&self.recorder, path, child);
                supervisor.start_child(spec).await.map(|pid| self.started(pid))
            }
            Request::StartInstance(tag) => {
                supervisor.start_instance(tag).await.map(|pid| self.started(pid))
            }
            Request::TerminateChild(name) => {
                supervisor.terminate_child(named(name)).await.map(|()| "ok".into())
            }
            Request::RestartChild(name) => {
                supervisor.restart_child(&id(name)).await.map(|pid| self.started(pid))
            }
            Request::DeleteChild(name) => {
                supervisor.delete_child(&id(name)).await.map(|()| "ok".into())
            }
            Request::GetChildspec(name) => {
                supervisor.get_childspec(named(name)).await.map(|spec| same(&spec))
            }
            Request::WhichChildren => {
                supervisor.which_children().await.map(|children| self.which(path, &children))
            }
            Request::CountChildren => supervisor.count_children().await.map(|counts| same(&counts)),
        };
        answer.unwrap_or_else(|error| self.refusal(error))
    }

    fn started(&self, pid: Option<Pid>) -> Json {
        let name = pid.map_or("undefined".to_owned(), |pid| self.name(&pid));
        Json::object([("ok", name.into())])
    }

    fn name(&self, pid: &Pid) -> String {
        self.recorder.name(pid).map_or("dead".to_owned(), |(_, name)| name)
    }

    fn which(&self, path: &str, children: &[ChildEntry]) -> Json {
        let is_simple = self.recorder.is_simple(path);
        let mut lines: Vec<Json> = Vec::with_capacity(children.len());
        for child in children {
            let (tag, state) = match &child.state {
                ChildState::Running(pid) => {
                    let path = self.recorder.name(pid).map(|(path, _)| path);
                    let tag = path.as_ref().and_then(|path| path.rsplit_once('/'));
                    (tag.map_or("dead", |(_, tag)| tag).to_owned(), self.name(pid))
                }
                ChildState::Restarting => ("?".to_owned(), "restarting".to_owned()),
                ChildState::Stopped | ChildState::Quarantined => {
                    ("?".to_owned(), "undefined".to_owned())
                }
            };
            let id = if is_simple { tag } else { child.id.clone() };
            lines.push(Json::List(vec![id.into(), state.into(), same(&child.kind)]));
        }
        if is_simple {
            lines.sort();
        }
        Json::List(lines)
    }

    fn refusal(&self, error: RequestError) -> Json {
        let word = match error {
            RequestError::NoProc => return Json::object([("exit", "noproc".into())]),
            RequestError::Exited(reason) => {
                return Json::object([("exit", reason.to_string().into())]);
            }
            RequestError::AlreadyStarted(pid) => {
                let name = self.name(&pid).into();
                return Json::object([("error", "already_started".into()), ("child", name)]);
            }
            RequestError::NotFound => "not_found".to_owned(),
            RequestError::Running => "running".to_owned(),
            RequestError::Restarting => "restarting".to_owned(),
            RequestError::AlreadyPresent => "already_present".to_owned(),
            RequestError::SimpleOneForOne => "simple_one_for_one".to_owned(),
            RequestError::StartFailed(error) => start_error(&error),
            RequestError::Refused(error) => error.code().to_owned(),
            RequestError::MaxChildren { .. } => "max_children".to_owned(),
            RequestError::CallingSelf => "calling_self".to_owned(),
        };
        Json::object([("error", word.into())])
    }

    /// What every supervisor says of its children.
    pub async fn final_tree(&self) -> Json {
        let mut tree = Vec::new();
        for path in self.recorder.live_supervisors() {
            let Some(supervisor) = self.supervisor(&path) else { continue };
            let children = supervisor.which_children().await.unwrap_or_default();
            let counts = supervisor.count_children().await.unwrap_or_default();
            let children = self.which(&path, &children);
            let shown = Json::object([("children", children), ("count", same(&counts))]);
            tree.push((path, shown));
        }
        Json::Object(tree)
    }
}

/// A process is no id, and a slash is in none.
fn id(name: &Name) -> String {
    match name {
        Name::Id(id) => id.clone(),
        Name::Tag(tag) => format!("/{tag}"),
    }
}

/// Every way in which a start can fail, reduced to one string.
pub fn start_error(error: &StartError) -> String {
    match error {
        StartError::ChildFailed { id, .. } => format!("failed_to_start_child:{id}"),
        StartError::Refused(error) if error.place() == error.code() => error.code().to_owned(),
        StartError::Refused(error) => format!("{}:{}", error.place(), error.code()),
        _ => "start_failed".to_owned(),
    }
}

fn same(value: &impl serde::Serialize) -> Json {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}
