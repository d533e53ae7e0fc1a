//! A socket: one connection, from the upgrade to the goodbye, in one task.
//!
//! The task waits for many things at once (the client, the answers to its requests, the events of
//! its channels) and for none of them exclusively, so a slow request holds up its own channel only
//! and a slow client only itself. A panic while one channel is served ends that channel, not the
//! others.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use futures_util::future::{AbortHandle, Abortable, BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use platform::bus::Tracked;
use platform::{Identity, System};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior};

use crate::channel::{self, Granted};
use crate::channels::{Channels, Instance, Join, Request, Step};
use crate::door::MESSAGE_BYTES_MAX;
use crate::feed::{Ear, Told};
use crate::frame::{Incoming, Outgoing, Status};
use crate::sockets::{Open, Patience};
use crate::wire::{Goodbye, SlowConsumer, Wire};

/// The most requests that wait for their turn in one connection; beyond that it is not read.
const WAITING_EASY: usize = 64;

/// Who is connected, and to what.
pub(crate) struct Client {
    pub(crate) system: System,
    pub(crate) identity: Identity,
}

/// Ends the events of a channel when dropped, and with them that its client is seen there.
struct Following(AbortHandle, Option<Arc<Tracked>>);

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type Joining = BoxFuture<'static, (Join, Result<Granted, Value>)>;
type Called = (Request, Option<(Status, Value)>);
/// The feed comes back with what it told, except when it broke.
type Heard = (Arc<str>, Instance, Option<(Ear, Told)>);

struct Socket {
    wire: Wire,
    client: Arc<Client>,
    channels: Channels<Following>,
    /// While one join is decided nothing more is read, so a client that does not wait for the
    /// answer still finds its channel joined.
    joining: Option<Joining>,
    calls: FuturesUnordered<BoxFuture<'static, Called>>,
    feeds: FuturesUnordered<Abortable<BoxFuture<'static, Heard>>>,
    heard_at: Instant,
    patience: Patience,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(socket: WebSocket, client: Arc<Client>, mut open: Open) {
    let mut socket = Socket {
        wire: Wire::new(socket),
        client,
        channels: Channels::default(),
        joining: None,
        calls: FuturesUnordered::new(),
        feeds: FuturesUnordered::new(),
        heard_at: Instant::now(),
        patience: open.patience(),
    };
    let goodbye = socket.run(&mut open).await;
    let Socket { wire, .. } = socket;
    if let Some(goodbye) = goodbye {
        tracing::debug!(?goodbye, "a socket is closed");
        wire.close(goodbye).await;
    }
}

impl Socket {
    /// Until the client goes (`None`), or has to.
    async fn run(&mut self, open: &mut Open) -> Option<Goodbye> {
        let mut look = tokio::time::interval(self.patience.look_every());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_room = self.wire.has_room();
            let reads =
                self.joining.is_none() && has_room && self.channels.waiting_count() < WAITING_EASY;
            let outcome = tokio::select! {
                message = self.wire.next(reads) => {
                    self.heard_at = Instant::now();
                    message?.and_then(|message| self.receive(&message))
                }
                (join, decided) = joined(&mut self.joining) => {
                    self.joining = None;
                    self.decided(&join, decided).map_err(Goodbye::from)
                }
                Some((request, answer)) = self.calls.next(), if !self.calls.is_empty() => {
                    self.answered(&request, answer).map_err(Goodbye::from)
                }
                Some(heard) = self.feeds.next(), if has_room && !self.feeds.is_empty() => {
                    match heard {
                        Ok((topic, instance, told)) => self.tell(topic, instance, told),
                        // Aborted: the channel was left.
                        Err(_) => Ok(()),
                    }
                    .map_err(Goodbye::from)
                }
                _ = look.tick() => self.look(),
                () = open.draining() => Err(Goodbye::Restart),
            };
            if let Err(goodbye) = outcome {
                return Some(goodbye);
            }
        }
    }

    fn look(&self) -> Result<(), Goodbye> {
        if self.wire.is_stuck(self.patience.unread) {
            return Err(Goodbye::SlowConsumer);
        }
        if self.heard_at.elapsed() > self.patience.silent {
            return Err(Goodbye::Idle);
        }
        Ok(())
    }

    fn receive(&mut self, message: &Message) -> Result<(), Goodbye> {
        let frame = match message {
            // A larger one is read to its end nevertheless, or else the client would write on into
            // a closed connection and not come to read why.
            Message::Text(text) if text.len() > MESSAGE_BYTES_MAX => return Err(Goodbye::TooLarge),
            Message::Binary(bytes) if bytes.len() > MESSAGE_BYTES_MAX => {
                return Err(Goodbye::TooLarge);
            }
            Message::Text(text) => Incoming::parse_text(text),
            Message::Binary(bytes) => Incoming::parse_binary(bytes),
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => return Ok(()),
        };
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a client sent something else than a frame");
            Goodbye::BadFrame
        })?;
        let steps = self.channels.receive(frame);
        self.take(steps).map_err(Goodbye::from)
    }

    fn take(&mut self, steps: Vec<Step>) -> Result<(), SlowConsumer> {
        for step in steps {
            match step {
                Step::Send(outgoing) => self.wire.send(outgoing.message())?,
                Step::Join(join) => self.joining = Some(decide(Arc::clone(&self.client), join)),
                Step::Work(request) => {
                    let following = self.channels.feed(&request.topic, request.instance);
                    let tracked = following.and_then(|following| following.1.clone());
                    self.calls.push(work(Arc::clone(&self.client), request, tracked));
                }
            }
        }
        Ok(())
    }

    /// The answer to a join goes out before the first event of the channel, because the events are
    /// only fetched once it is in the queue.
    fn decided(
        &mut self,
        join: &Join,
        decided: Result<Granted, Value>,
    ) -> Result<(), SlowConsumer> {
        let Granted { response, feed, tracked } = match decided {
            Ok(granted) => granted,
            Err(refused) => return self.wire.send(join.reply(Status::Error, refused).message()),
        };
        self.wire.send(join.reply(Status::Ok, response).message())?;
        let (handle, registration) = AbortHandle::new_pair();
        let instance = self.channels.enter(join, Following(handle, tracked.map(Arc::new)));
        let next = listen(Arc::from(join.topic.as_str()), instance, feed);
        self.feeds.push(Abortable::new(next, registration));
        Ok(())
    }

    fn answered(
        &mut self,
        request: &Request,
        answer: Option<(Status, Value)>,
    ) -> Result<(), SlowConsumer> {
        match answer {
            Some((status, response)) => {
                let steps = self.channels.finished(request, status, response);
                self.take(steps)
            }
            None => self.crash(&request.topic, request.instance),
        }
    }

    fn tell(
        &mut self,
        topic: Arc<str>,
        instance: Instance,
        told: Option<(Ear, Told)>,
    ) -> Result<(), SlowConsumer> {
        let Some((feed, told)) = told else {
            return self.crash(&topic, instance);
        };
        let Some(following) = self.channels.feed(&topic, instance) else {
            return Ok(());
        };
        match told {
            Told::Event { event, payload } => {
                let (handle, registration) = AbortHandle::new_pair();
                following.0 = handle;
                let push =
                    Outgoing::Push { join_ref: None, topic: topic.to_string(), event, payload };
                self.wire.send(push.message())?;
                self.feeds.push(Abortable::new(listen(topic, instance, feed), registration));
                Ok(())
            }
            Told::Lost => Err(SlowConsumer),
            Told::Ended => self.crash(&topic, instance),
        }
    }

    fn crash(&mut self, topic: &str, instance: Instance) -> Result<(), SlowConsumer> {
        match self.channels.crashed(topic, instance) {
            Some(ended) => self.wire.send(ended.message()),
            None => Ok(()),
        }
    }
}

impl From<SlowConsumer> for Goodbye {
    fn from(_: SlowConsumer) -> Self {
        Self::SlowConsumer
    }
}

async fn joined(joining: &mut Option<Joining>) -> (Join, Result<Granted, Value>) {
    match joining {
        Some(joining) => joining.await,
        None => std::future::pending().await,
    }
}

fn decide(client: Arc<Client>, join: Join) -> Joining {
    async move {
        let deciding = AssertUnwindSafe(channel::join(&client, &join)).catch_unwind();
        let decided = deciding.await.unwrap_or_else(|_| Err(json!({ "reason": "join crashed" })));
        (join, decided)
    }
    .boxed()
}

fn work(
    client: Arc<Client>,
    request: Request,
    tracked: Option<Arc<Tracked>>,
) -> BoxFuture<'static, Called> {
    async move {
        let calling = AssertUnwindSafe(channel::call(&client, &request, tracked.as_deref()));
        let answer = calling.catch_unwind().await.ok();
        (request, answer)
    }
    .boxed()
}

fn listen(topic: Arc<str>, instance: Instance, mut feed: Ear) -> BoxFuture<'static, Heard> {
    async move {
        let told = AssertUnwindSafe(feed.next()).catch_unwind().await.ok();
        (topic, instance, told.map(|told| (feed, told)))
    }
    .boxed()
}
