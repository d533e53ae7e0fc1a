//! How a supervisor answers requests.

use std::sync::Arc;

use super::Supervisor;
use crate::child::{ChildKind, ChildSpec};
use crate::children::{Child, Seat, Standing};
use crate::incarnation::{Incarnation, Pid};
use crate::request::{
    ChildCounts, ChildDescription, ChildEntry, ChildName, ChildState, Request, RequestError,
};
use crate::strategy::Strategy;

type Answer<T> = Result<T, RequestError>;

impl Supervisor {
    pub(super) async fn serve(&mut self, request: Request) {
        match request {
            Request::StartChild(spec, reply) => reply.send(self.start_child(spec).await),
            Request::StartNumbered(spec, reply) => reply.send(self.start_numbered(spec).await),
            Request::StartInstance(argument, reply) => {
                reply.send(self.start_instance(&argument).await);
            }
            Request::TerminateChild(child, reply) => {
                reply.send(self.terminate_child(&child).await);
            }
            Request::RestartChild(id, reply) => reply.send(self.restart_child(&id).await),
            Request::DeleteChild(id, reply) => reply.send(self.delete_child(&id)),
            Request::WhichChildren(reply) => reply.send(Ok(self.which_children())),
            Request::CountChildren(reply) => reply.send(Ok(self.count_children())),
            Request::GetChildspec(child, reply) => reply.send(self.get_childspec(&child)),
            Request::Suspend(resumed, reply) => {
                reply.send(Ok(()));
                self.hold(resumed).await;
            }
            Request::LiftQuarantine(id) => self.lift(&id).await,
            Request::Reconfigure(spec, reply) => reply.send(self.reconfigure(*spec)),
        }
    }

    /// The only specification, if all children are instances of it.
    fn template(&self) -> Option<&ChildSpec> {
        self.template.as_deref()
    }

    async fn start_child(&mut self, spec: Box<ChildSpec>) -> Answer<Option<Pid>> {
        if self.template().is_some() {
            return Err(RequestError::SimpleOneForOne);
        }
        self.spec.check_child(&spec)?;
        if let Some(present) = self.seat_of(&spec.id) {
            return Err(match &present.standing {
                Standing::Running(pid) => RequestError::AlreadyStarted(Pid(pid.clone())),
                _ => RequestError::AlreadyPresent,
            });
        }
        if let Some(limit) = self.dynamic().and_then(|dynamic| dynamic.max_children)
            && self.children.len() >= limit
        {
            return Err(RequestError::MaxChildren { limit });
        }
        let id = spec.id.clone();
        self.start_new(Arc::from(spec), id, None).await
    }

    /// Starts a child under an id that no other has, made of the one it has been given.
    async fn start_numbered(&mut self, mut spec: Box<ChildSpec>) -> Answer<Option<Pid>> {
        let name = spec.id;
        spec.id = loop {
            self.instances += 1;
            let id: Arc<str> = format!("{name}#{}", self.instances).into();
            if self.seat_of(&id).is_none() {
                break id;
            }
        };
        self.start_child(spec).await
    }

    async fn start_instance(&mut self, argument: &str) -> Answer<Option<Pid>> {
        let template = self.template.clone().ok_or(RequestError::NotFound)?;
        self.instances += 1;
        // An id is one step of a path, whatever is written in the argument.
        let name = argument.replace('/', "|");
        let id = format!("{name}#{}", self.instances).into();
        self.start_new(template, id, Some(argument.into())).await
    }

    /// Starts a child that is not listed yet; if it fails, nothing of it is kept.
    async fn start_new(
        &mut self,
        spec: Arc<ChildSpec>,
        id: Arc<str>,
        argument: Option<Arc<str>>,
    ) -> Answer<Option<Pid>> {
        let path: Arc<str> = format!("{}/{id}", self.me.path).into();
        let seat = self.children.add(spec, id, path.clone(), argument);
        self.list(seat);
        match self.start(seat, None).await {
            Ok(started) => Ok(started.map(Pid)),
            Err(error) => {
                self.children.remove(seat);
                self.tree().forget(&self.me.path, seat, &path);
                Err(RequestError::StartFailed(error))
            }
        }
    }

    async fn terminate_child(&mut self, child: &ChildName) -> Answer<()> {
        let seat = match child {
            ChildName::Id(_) if self.template().is_some() => {
                return Err(RequestError::SimpleOneForOne);
            }
            ChildName::Id(id) => self.children.seat_of(id),
            ChildName::Process(pid) if self.spec.strategy == Strategy::SimpleOneForOne => {
                match self.seat_of_process(pid) {
                    // OTP is content with any dead process there; Elixir's dynamic one is not.
                    None if self.template().is_some() && !pid.is_alive() => return Ok(()),
                    seat => seat,
                }
            }
            ChildName::Process(_) => None,
        };
        self.stop(seat.ok_or(RequestError::NotFound)?).await;
        Ok(())
    }

    async fn restart_child(&mut self, id: &str) -> Answer<Option<Pid>> {
        let seat = self.idle(id)?;
        let started = self.start(seat, None).await.map_err(RequestError::StartFailed)?;
        Ok(started.map(Pid))
    }

    fn delete_child(&mut self, id: &str) -> Answer<()> {
        let seat = self.idle(id)?;
        if let Some(child) = self.children.remove(seat) {
            self.tree().forget(&self.me.path, seat, &child.path);
        }
        Ok(())
    }

    /// The seat of a child that is neither running nor about to.
    fn idle(&self, id: &str) -> Answer<Seat> {
        if self.spec.strategy == Strategy::SimpleOneForOne {
            return Err(RequestError::SimpleOneForOne);
        }
        let seat = self.children.seat_of(id).ok_or(RequestError::NotFound)?;
        match self.children.get(seat).map(|child| &child.standing) {
            Some(Standing::Stopped | Standing::Quarantined(_)) => Ok(seat),
            Some(Standing::Restarting) => Err(RequestError::Restarting),
            Some(Standing::Running(_)) => Err(RequestError::Running),
            None => Err(RequestError::NotFound),
        }
    }

    fn which_children(&self) -> Vec<ChildEntry> {
        let entry = |(_, child): (Seat, &Child<Arc<Incarnation>>)| ChildEntry {
            id: child.id.to_string(),
            state: match &child.standing {
                Standing::Running(pid) => ChildState::Running(Pid(pid.clone())),
                Standing::Stopped => ChildState::Stopped,
                Standing::Restarting => ChildState::Restarting,
                Standing::Quarantined(_) => ChildState::Quarantined,
            },
            kind: child.spec.kind,
        };
        self.children.iter().rev().map(entry).collect()
    }

    fn count_children(&self) -> ChildCounts {
        let mut counts = ChildCounts::default();
        let instances = self.template().is_some();
        for (_, child) in self.children.iter() {
            counts.specs += 1;
            counts.active += usize::from(match &child.standing {
                // Instances are not asked whether they live; a death not seen yet is no death.
                Standing::Running(pid) => instances || pid.is_alive(),
                _ => false,
            });
            match child.spec.kind {
                ChildKind::Supervisor => counts.supervisors += 1,
                ChildKind::Worker => counts.workers += 1,
            }
        }
        if instances {
            counts.specs = 1;
        }
        counts
    }

    fn get_childspec(&self, child: &ChildName) -> Answer<ChildDescription> {
        let found = match (child, self.template()) {
            (ChildName::Id(id), Some(template)) => Some(template).filter(|spec| *spec.id == **id),
            (ChildName::Id(id), None) => self.seat_of(id).map(|child| &*child.spec),
            // A process is no id: only where children have none is one named by it.
            (ChildName::Process(_), _) if self.spec.strategy != Strategy::SimpleOneForOne => None,
            (ChildName::Process(pid), template) => match self.seat_of_process(pid) {
                Some(seat) => self.children.get(seat).map(|child| &*child.spec),
                None => template.filter(|_| !pid.is_alive()),
            },
        };
        found.map(ChildDescription::of).ok_or(RequestError::NotFound)
    }

    fn seat_of(&self, id: &str) -> Option<&Child<Arc<Incarnation>>> {
        self.children.get(self.children.seat_of(id)?)
    }

    /// The seat that a process occupies, or did before the restart that is being repeated.
    fn seat_of_process(&self, pid: &Pid) -> Option<Seat> {
        let (_, id) = pid.path().rsplit_once('/')?;
        let seat = self.children.seat_of(id)?;
        let child = self.children.get(seat)?;
        let is_it = match &child.standing {
            Standing::Running(now) => Arc::ptr_eq(now, &pid.0),
            Standing::Restarting => *child.path == *pid.path(),
            Standing::Stopped | Standing::Quarantined(_) => false,
        };
        is_it.then_some(seat)
    }
}
