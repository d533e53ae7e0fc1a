//! The actions of a scenario, and the answers as the traces write them.

use std::collections::VecDeque;
use std::future::ready;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use otp::{
    ChildEntry, ChildState, ExitReason, Pid, RequestError, StartError, Strategy, SupervisorRef,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::cast::{self, Malformed, need, need_list, need_number, need_text};
use super::json::Json;
use super::recorder::{Hold, Recorder};

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
    pub fn act(self, action: Json) -> BoxFuture<'static, Result<Json, Malformed>> {
        async move {
            match need_text(&action, "op")? {
                "kill" => Ok(self.kill(need_text(&action, "path")?).await),
                "stop" => self.stop(&action).await,
                "kill_many" => self.kill_many(&action).await,
                "plan" => {
                    let outcomes = outcomes(need(&action, "outcomes")?)?;
                    self.recorder.plan(need_text(&action, "path")?, outcomes);
                    Ok("ok".into())
                }
                "sleep" => {
                    tokio::time::sleep(Duration::from_millis(need_number(&action, "ms")?)).await;
                    Ok("ok".into())
                }
                "held_restart" => self.held_restart(&action).await,
                _ => self.request(&action).await,
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

    async fn stop(&self, action: &Json) -> Result<Json, Malformed> {
        let path = need_text(action, "path")?;
        let Some(pid) = self.alive(path) else { return Ok("not_running".into()) };
        let Ok(reason) = need_text(action, "reason")?.parse::<ExitReason>();
        self.recorder.command(path, reason);
        pid.gone().await;
        Ok("ok".into())
    }

    async fn kill_many(&self, action: &Json) -> Result<Json, Malformed> {
        let Some(supervisor) = self.supervisor(need_text(action, "sup")?) else {
            return Ok("not_running".into());
        };
        let Ok(suspended) = supervisor.suspend().await else { return Ok("not_running".into()) };
        let mut results = Vec::new();
        for path in need_list(action, "paths")? {
            let path = path.text().ok_or_else(|| Malformed(format!("{path} is no path")))?;
            results.push(self.kill(path).await);
        }
        drop(suspended);
        Ok(Json::List(results))
    }

    /// Holds the next start of a path by the same supervisor open, lets a queue of things reach
    /// that supervisor meanwhile, and then lets that start fail.
    async fn held_restart(&self, action: &Json) -> Result<Json, Malformed> {
        let path = need_text(action, "path")?;
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
        for item in need_list(action, "queue")? {
            answers.push(self.enqueue(item).await?);
        }
        self.recorder.mark();
        let _ = release.send(());
        let mut results = Vec::new();
        for answer in answers {
            results.push(answer.await.map_err(|error| Malformed(error.to_string()))??);
        }
        Ok(Json::object([("held", Json::Bool(true)), ("results", Json::List(results))]))
    }

    /// Puts one more thing into the mailbox of the busy supervisor. Each answer is awaited by a
    /// task of its own, which names the processes in it before the supervisor ends them.
    #[allow(clippy::disallowed_methods, reason = "the scenario awaits every task it spawns")]
    async fn enqueue(&self, item: &Json) -> Result<JoinHandle<Result<Json, Malformed>>, Malformed> {
        let mut answer = self.clone().act(item.clone());
        // A request is in the mailbox after the first poll; a kill is done when it is awaited.
        let early = match need_text(item, "op")? {
            "kill" => Poll::Ready((&mut answer).await),
            _ => futures_util::poll!(&mut answer),
        };
        Ok(match early {
            Poll::Ready(answer) => tokio::spawn(ready(answer)),
            Poll::Pending => tokio::spawn(answer),
        })
    }

    fn supervisor(&self, path: &str) -> Option<SupervisorRef> {
        self.recorder.tree.supervisor(path)
    }

    async fn request(&self, action: &Json) -> Result<Json, Malformed> {
        let path = need_text(action, "sup")?;
        let Some(supervisor) = self.supervisor(path) else {
            return Ok(Json::object([("exit", "noproc".into())]));
        };
        let id = || need_text(action, "id");
        let answer = match need_text(action, "op")? {
            "start_child" => {
                let pid = if let Some(tag) = action.get("tag").and_then(Json::text) {
                    supervisor.start_instance(tag).await
                } else {
                    let item = need(action, "child")?;
                    let spec = cast::child(&self.recorder, path, Strategy::OneForOne, item)?;
                    supervisor.start_child(spec).await
                };
                pid.map(|pid| self.started(pid))
            }
            "terminate_child" => match action.get("tag").and_then(Json::text) {
                Some(tag) => {
                    let newest = self.recorder.newest(&format!("{path}/{tag}"));
                    // A tag never started stands for a live process that is no child.
                    let pid = newest.unwrap_or_else(|| supervisor.pid());
                    supervisor.terminate_child(pid).await.map(|()| "ok".into())
                }
                None => supervisor.terminate_child(id()?).await.map(|()| "ok".into()),
            },
            "restart_child" => supervisor.restart_child(id()?).await.map(|pid| self.started(pid)),
            "delete_child" => supervisor.delete_child(id()?).await.map(|()| "ok".into()),
            "which_children" => {
                supervisor.which_children().await.map(|children| self.which(path, &children))
            }
            "count_children" => supervisor.count_children().await.map(|counts| same(&counts)),
            "get_childspec" => match action.get("tag").and_then(Json::text) {
                Some(tag) => {
                    let newest = self.recorder.newest(&format!("{path}/{tag}"));
                    let pid = newest.unwrap_or_else(|| supervisor.pid());
                    supervisor.get_childspec(pid).await.map(|spec| same(&spec))
                }
                None => supervisor.get_childspec(id()?).await.map(|spec| same(&spec)),
            },
            other => return Err(Malformed(format!("{other:?} is no action"))),
        };
        Ok(answer.unwrap_or_else(|error| self.refusal(error)))
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

pub fn outcomes(value: &Json) -> Result<VecDeque<String>, Malformed> {
    let items = value.list().ok_or_else(|| Malformed(format!("{value} is no list of outcomes")))?;
    items
        .iter()
        .map(|item| match item.text() {
            Some(word @ ("ok" | "error" | "crash" | "ignore" | "ok_crash")) => Ok(word.to_owned()),
            _ => Err(Malformed(format!("{item} is no outcome"))),
        })
        .collect()
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
