//! A worker that holds its thread, by computing or by blocking, until it is released.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;

use otp::{Actor, ChildSpec, Context, ExitReason, Reply, Tree};
use tokio::sync::oneshot;

/// What holds a thread.
pub enum Holder {
    Spinning(Arc<AtomicBool>),
    Blocking(mpsc::Receiver<()>),
}

/// Dropping it lets the thread go, so that no test leaves one behind.
pub struct Released(Arc<AtomicBool>, Option<mpsc::Sender<()>>);

impl Drop for Released {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
        self.1 = None;
    }
}

impl Holder {
    pub fn spin() -> (Self, Released) {
        let flag = Arc::new(AtomicBool::new(false));
        (Self::Spinning(flag.clone()), Released(flag, None))
    }

    pub fn block() -> (Self, Released) {
        let (sender, receiver) = mpsc::channel();
        (Self::Blocking(receiver), Released(Arc::default(), Some(sender)))
    }

    pub fn hold(self) {
        match self {
            Self::Spinning(flag) => {
                while !flag.load(Ordering::Acquire) {
                    std::hint::spin_loop();
                }
            }
            Self::Blocking(receiver) => {
                let _ = receiver.recv();
            }
        }
    }
}

/// What a [`holder`] can be asked for.
pub enum Task {
    /// On which thread it runs.
    Thread(Reply<String>),
    /// Say that it is held, and be so.
    Hold(oneshot::Sender<()>, Holder),
}

/// Lets the actor at `path` hold its thread; done when it does.
pub async fn hold(tree: &Tree, path: &str, (holder, released): (Holder, Released)) -> Released {
    let (entered, was_entered) = oneshot::channel();
    tree.whereis::<Task>(path).unwrap().cast(Task::Hold(entered, holder)).unwrap();
    was_entered.await.unwrap();
    released
}

/// A worker that does as it is told.
#[track_caller]
pub fn holder(id: &'static str) -> ChildSpec {
    mortal(id, mpsc::channel().0)
}

/// A holder that says when its value is no more.
#[track_caller]
pub fn mortal(id: &'static str, ended: mpsc::Sender<()>) -> ChildSpec {
    ChildSpec::worker(id, move || Worker { ended: ended.clone() })
}

struct Worker {
    ended: mpsc::Sender<()>,
}

impl Actor for Worker {
    type Message = Task;

    fn describe(task: &Task) -> Cow<'static, str> {
        match task {
            Task::Thread(_) => "thread".into(),
            Task::Hold(..) => "hold".into(),
        }
    }

    async fn handle(&mut self, task: Task, _: &Context<Task>) -> Result<(), ExitReason> {
        match task {
            Task::Thread(reply) => {
                reply.send(thread::current().name().unwrap_or_default().to_owned());
            }
            Task::Hold(entered, holder) => {
                entered.send(()).unwrap();
                holder.hold();
            }
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.ended.send(());
    }
}
