//! The platform's end of the line to a cell: a process that carries words until either side ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use otp::{ChildSpec, ExitReason, Process, RunContext};
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

use super::wire::{FromCell, ToCell, hear, say};
use super::{Cell, Conversation};
use crate::system::System;
use crate::tree;

pub(super) fn child(system: &System, cell: &Arc<Cell>) -> ChildSpec {
    let (system, cell) = (system.clone(), cell.clone());
    ChildSpec::process("line", move || Line { system: system.clone(), cell: cell.clone() })
}

struct Line {
    system: System,
    cell: Arc<Cell>,
}

impl Process for Line {
    async fn run(&mut self, context: &RunContext) -> Result<(), ExitReason> {
        let mut arrivals = self.cell.arrivals.lock().await;
        let mut socket = None;
        loop {
            let talking = async {
                match socket.take() {
                    Some(socket) => self.talk(socket).await,
                    None => std::future::pending().await,
                }
            };
            // A new socket means a new life of the cell, so nobody is left to talk to on the old.
            let arrived = tokio::select! {
                () = context.stopping() => return Ok(()),
                arrived = arrivals.recv() => arrived,
                () = talking => None,
            };
            socket = arrived;
        }
    }
}

impl Line {
    async fn talk(&self, socket: UnixStream) {
        let (reader, writer) = socket.into_split();
        let (conversation, leaving) = Conversation::new();
        let present = Present::of(self, &conversation);
        let ended = tokio::select! {
            ended = self.listen(reader, &conversation) => ended,
            ended = self.speak(writer, leaving) => ended,
        };
        drop(present);
        if let Err(error) = ended {
            let domain = self.cell.domain;
            tracing::warn!(%domain, %error, "the line to a cell is broken");
        }
    }

    async fn speak(
        &self,
        mut writer: OwnedWriteHalf,
        mut leaving: mpsc::Receiver<ToCell>,
    ) -> io::Result<()> {
        let queue = self.cell.domain.as_str();
        let mut head = self.system.log().head();
        say(&mut writer, &ToCell::Hello(self.cell.hello.clone())).await?;
        head.mark_changed();
        loop {
            let word = tokio::select! {
                Some(word) = leaving.recv() => word,
                Ok(()) = head.changed() => ToCell::Head(head.borrow_and_update().0),
                () = self.system.queues().nudged(queue) => ToCell::Work,
            };
            say(&mut writer, &word).await?;
        }
    }

    async fn listen(&self, reader: OwnedReadHalf, conversation: &Conversation) -> io::Result<()> {
        let mut reader = BufReader::new(reader);
        while let Some(word) = hear(&mut reader).await? {
            match word {
                FromCell::Ready => conversation.is_ready.store(true, Ordering::Release),
                FromCell::Answer(id, answered) => conversation.answer(id, answered),
                FromCell::Committed => self.system.log().nudge(),
                FromCell::Tree(node) => self.graft(*node),
            }
        }
        Ok(())
    }

    /// Shows the subtree of the cell where it would be without one.
    fn graft(&self, node: otp::Node) {
        let cell = Arc::downgrade(&self.cell);
        let kill = move |path: &str| {
            let now = cell.upgrade().and_then(|cell| cell.now().clone());
            now.is_some_and(|now| now.outbox.try_send(ToCell::Kill(path.to_owned())).is_ok())
        };
        self.system.tree().graft(&tree::path_of(self.cell.domain), node.children, kill);
    }
}

/// A conversation that others can see, for as long as this lives.
struct Present<'a> {
    line: &'a Line,
    conversation: Arc<Conversation>,
}

impl<'a> Present<'a> {
    fn of(line: &'a Line, conversation: &Arc<Conversation>) -> Self {
        *line.cell.now() = Some(conversation.clone());
        Self { line, conversation: conversation.clone() }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.line.cell.now().take();
        self.conversation.close();
        self.line.system.tree().ungraft(&tree::path_of(self.line.cell.domain));
    }
}
