//! What a supervisor shows to those who look inside it.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Flow, Message, Supervisor};
use crate::children::{Child, Standing};
use crate::exit::ExitReason;
use crate::incarnation::{Incarnation, Pid};
use crate::inside::Inside;
use crate::request::{Request, Suspension};
use crate::sys::observed;

impl Supervisor {
    /// Does what a message is for, before the eyes of those who look.
    pub(super) async fn look_and_take(&mut self, message: Message) -> Flow {
        let is_token = matches!(message, Message::System);
        if !is_token && self.me.inside().is_some_and(Inside::go_on) {
            let name = message.describe();
            let me = self.me.clone();
            // In a box: few are looked at, and every message would have room for it.
            return Box::pin(observed(&me, name, self.take(message))).await;
        }
        self.take(message).await
    }

    /// Does what is wanted by those who look inside, and while suspended nothing else but obey.
    pub(super) async fn attend(&mut self) -> Flow {
        let inside = self.me.open();
        loop {
            inside.serve(|| Some(self.state()));
            if !inside.is_suspended() {
                return Flow::Continue;
            }
            tokio::select! {
                biased;
                () = self.me.stopping().raised() => {
                    return Flow::Exit(self.me.told().cloned().unwrap_or(ExitReason::Shutdown));
                }
                () = inside.arrived() => {}
            }
        }
    }

    pub(super) async fn attend_if_suspended(&mut self) -> Flow {
        if self.me.inside().is_some_and(Inside::is_suspended) {
            return self.attend().await;
        }
        Flow::Continue
    }

    /// Lets everything wait until whoever holds the supervisor lets go, but for what is wanted by
    /// those who look inside. If they suspend it meanwhile, it stays so.
    pub(super) async fn hold(&self, mut released: Suspension) {
        let inside = self.me.open();
        loop {
            inside.serve(|| Some(self.state()));
            tokio::select! {
                // It ends with the sender, and never with a value.
                _ = &mut released => return,
                () = self.me.stopping().raised() => return,
                () = inside.arrived() => {}
            }
        }
    }

    fn state(&self) -> Value {
        let limit = self.spec.intensity;
        let children: Vec<_> = self.children.iter().map(|(_, child)| child_state(child)).collect();
        json!({
            "strategy": self.spec.strategy,
            "max_restarts": limit.max_restarts,
            "within_ms": u64::try_from(limit.within.as_millis()).unwrap_or(u64::MAX),
            "restarts_in_window": self.window.count(limit, Instant::now()),
            "children": children,
        })
    }
}

fn child_state(child: &Child<Arc<Incarnation>>) -> Value {
    let (state, pid) = match &child.standing {
        Standing::Running(pid) => ("running", Some(format!("{:?}", Pid(pid.clone())))),
        Standing::Stopped => ("stopped", None),
        Standing::Restarting => ("restarting", None),
        Standing::Quarantined(_) => ("quarantined", None),
    };
    json!({
        "id": *child.id,
        "kind": child.spec.kind,
        "restart": child.spec.restart,
        "state": state,
        "pid": pid,
    })
}

impl Message {
    /// What it is, in OTP's words where there are any.
    fn describe(&self) -> Cow<'static, str> {
        match self {
            Self::Exited(_, child) => format!("EXIT of {}", child.path).into(),
            Self::Retry(_) => "try_again_restart".into(),
            Self::QuarantineOver(..) => "quarantine_over".into(),
            Self::Stop(_) => "stop".into(),
            Self::Request(request) => request.describe().into(),
            Self::System => "system".into(),
        }
    }
}

impl Request {
    fn describe(&self) -> &'static str {
        match self {
            Self::StartChild(..) | Self::StartNumbered(..) | Self::StartInstance(..) => {
                "start_child"
            }
            Self::TerminateChild(..) => "terminate_child",
            Self::RestartChild(..) => "restart_child",
            Self::DeleteChild(..) => "delete_child",
            Self::WhichChildren(_) => "which_children",
            Self::CountChildren(_) => "count_children",
            Self::GetChildspec(..) => "get_childspec",
            Self::Suspend(..) => "suspend",
            Self::LiftQuarantine(_) => "lift_quarantine",
            Self::Reconfigure(..) => "code_change",
        }
    }
}
