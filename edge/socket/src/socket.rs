//! A socket: one connection, from the upgrade to the goodbye, in one task.
//!
//! The task waits for many things at once (the client, the answers to its requests, the events of
//! its channels) and for none of them exclusively, so a slow request holds up its own channel only
//! and a slow client only itself. A panic while one channel is served ends that channel, not the
//! others.

use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::ws::{Message, Utf8Bytes};
use futures_util::future::{AbortHandle, Abortable, BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use platform::bus::{Audience, BusEvent, Tracked};
use platform::{Identity, System};
use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior};

use crate::channel::{self, Granted, Refused};
use crate::channels::{Channels, Instance, Join, REPLACED_WITHIN, Request, Step};
use crate::door::MESSAGE_BYTES_MAX;
use crate::feed::{self, Ear, Told};
use crate::frame::{Incoming, Outgoing, Status};
use crate::presence;
use crate::sockets::{Open, Order, Patience};
use crate::stay::Stay;
use crate::throttle::Throttle;
use crate::transport::Transport;
use crate::wire::{Goodbye, SlowConsumer};

/// The most requests that wait for their turn in one connection; beyond that it is not read.
const WAITING_EASY: usize = 64;
/// The most requests that are worked on for one connection, those of ended channels included.
const WORKING_MAX: usize = 128;

/// Who is connected, and to what.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) system: System,
    pub(crate) identity: Identity,
}

/// Ends the events of a channel when dropped, and with them that its client is seen there.
struct Following {
    handle: AbortHandle,
    tracked: Option<Arc<Tracked>>,
    /// Whether they go out as bytes.
    is_binary: bool,
    /// With whom it is told the same, if they go out as text.
    audience: Option<Audience>,
}

impl Drop for Following {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

type Joining = BoxFuture<'static, (Join, Result<Granted, Refused>)>;
type Called = (Request, Option<(Status, Value)>);
/// The feed comes back with what it told, except when it broke.
type Heard = (Arc<str>, Instance, Option<(Ear, Told)>);

struct Socket {
    transport: Transport,
    client: Arc<Client>,
    channels: Channels<Following>,
    /// While one join is decided nothing more is read, so a client that does not wait for the
    /// answer still finds its channel joined.
    joining: Option<Joining>,
    /// Until when the old life of a topic that is joined again is waited for.
    replaced_at: Instant,
    calls: FuturesUnordered<BoxFuture<'static, Called>>,
    feeds: FuturesUnordered<Abortable<BoxFuture<'static, Heard>>>,
    heard_at: Instant,
    patience: Patience,
    throttle: Throttle,
    stay: Stay,
}

/// Serves one connection until it ends.
pub(crate) async fn serve(transport: Transport, client: Client, mut open: Open) {
    let now = Instant::now();
    let mut socket = Socket {
        transport,
        client: Arc::new(client),
        channels: Channels::default(),
        joining: None,
        replaced_at: now,
        calls: FuturesUnordered::new(),
        feeds: FuturesUnordered::new(),
        heard_at: now,
        patience: open.patience(),
        throttle: Throttle::new(open.limits(), now),
        stay: Stay::new(now),
    };
    let goodbye = socket.run(&mut open).await;
    let Socket { transport, .. } = socket;
    if let Some(goodbye) = goodbye {
        tracing::debug!(?goodbye, "a socket is closed");
        transport.close(goodbye).await;
    }
}

impl Socket {
    /// Until the client goes (`None`), or has to.
    async fn run(&mut self, open: &mut Open) -> Option<Goodbye> {
        let mut look = tokio::time::interval(self.patience.look_every());
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_room = self.transport.has_room();
            let reads = has_room && self.reads();
            let replacing = self.channels.is_replacing();
            let outcome = tokio::select! {
                message = self.transport.next(reads) => {
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
                () = tokio::time::sleep_until(self.replaced_at), if replacing => {
                    let steps = self.channels.replaced();
                    self.take(steps).map_err(Goodbye::from)
                }
                () = self.throttle.passes(), if self.throttle.is_slow() => Ok(()),
                stands = self.stay.answer() => self.stands(stands),
                _ = look.tick() => self.look(),
                order = open.order() => self.obey(order),
            };
            if let Err(goodbye) = outcome {
                return Some(goodbye);
            }
        }
    }

    /// Whether the client is read, as far as its own requests are concerned.
    fn reads(&self) -> bool {
        self.joining.is_none()
            && !self.channels.is_replacing()
            && !self.throttle.is_slow()
            && self.calls.len() < WORKING_MAX
            && self.channels.waiting_count() < WAITING_EASY
    }

    fn look(&mut self) -> Result<(), Goodbye> {
        if self.transport.is_stuck(self.patience.unread) {
            return Err(Goodbye::SlowConsumer);
        }
        if self.transport.is_gone(self.heard_at.elapsed(), self.patience) {
            return Err(Goodbye::Idle);
        }
        self.stay.ask_when_due(&self.client);
        Ok(())
    }

    fn obey(&mut self, order: Order) -> Result<(), Goodbye> {
        match order {
            Order::Restart => Err(Goodbye::Restart),
            Order::Leave => Err(Goodbye::Disconnected),
            Order::Check => {
                self.stay.ask(&self.client);
                Ok(())
            }
        }
    }

    /// Goes on as who the user is now, and leaves the channels that are not theirs any more.
    fn stands(&mut self, identity: Option<Identity>) -> Result<(), Goodbye> {
        let Some(identity) = identity else {
            // Whoever comes back with the same is not to be remembered as good.
            self.client.system.forget_credentials();
            return Err(Goodbye::Ended);
        };
        self.client = Arc::new(Client { system: self.client.system.clone(), identity });
        self.stay.ask_if_missed(&self.client);
        let topics = self.channels.topics().filter(|topic| !channel::may_stay(&self.client, topic));
        let lost: Vec<String> = topics.map(str::to_owned).collect();
        for topic in lost {
            let steps = self.channels.closed(&topic);
            self.take(steps)?;
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
        let now = Instant::now();
        self.throttle.count(now);
        if let Some(refused) = self.throttle.refused(&frame, now) {
            return Ok(self.transport.send(&refused)?);
        }
        let steps = self.channels.receive(frame);
        if self.channels.is_replacing() {
            self.replaced_at = now + REPLACED_WITHIN;
        }
        self.take(steps).map_err(Goodbye::from)
    }

    fn take(&mut self, steps: Vec<Step>) -> Result<(), SlowConsumer> {
        for step in steps {
            match step {
                Step::Send(outgoing) => self.transport.send(&outgoing)?,
                Step::Join(join) => self.joining = Some(decide(Arc::clone(&self.client), join)),
                Step::Work(request) => {
                    let following = self.channels.feed(&request.topic, request.instance);
                    let tracked = following.and_then(|following| following.tracked.clone());
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
        decided: Result<Granted, Refused>,
    ) -> Result<(), SlowConsumer> {
        let Granted { response, feed, tracked, audience } = match decided {
            Ok(granted) => granted,
            Err(Refused::Unmatched) => {
                return self.transport.send(&Channels::<()>::unmatched(join));
            }
            Err(Refused::With(refused)) => {
                return self.transport.send(&join.reply(Status::Error, refused));
            }
        };
        self.transport.send(&join.reply(Status::Ok, response))?;
        let (handle, registration) = AbortHandle::new_pair();
        let (tracked, is_binary) = (tracked.map(Arc::new), channel::wants_bytes(join));
        let following = Following { handle, tracked, is_binary, audience };
        let instance = self.channels.enter(join, following);
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
        let Some((ear, told)) = told else {
            return self.crash(&topic, instance);
        };
        let Some(following) = self.channels.feed(&topic, instance) else {
            return Ok(());
        };
        let (handle, registration) = AbortHandle::new_pair();
        following.handle = handle;
        let (is_binary, audience) = (following.is_binary, following.audience);
        match told {
            Told::Live(event) => {
                if let Some(audience) = audience.filter(|_| !is_binary) {
                    self.transport.send_shared(shared(&event, audience, &topic))?;
                } else {
                    let (name, payload) = (event.event_type.clone(), feed::payload(&event));
                    self.push(&topic, name.into(), payload.into(), is_binary)?;
                }
            }
            Told::Event { event, payload } => {
                let is_binary = is_binary && !presence::is_told_by(&event);
                self.push(&topic, event, payload, is_binary)?;
            }
            Told::Lost => return Err(SlowConsumer),
            Told::Ended => return self.crash(&topic, instance),
        }
        self.feeds.push(Abortable::new(listen(topic, instance, ear), registration));
        Ok(())
    }

    fn push(
        &mut self,
        topic: &str,
        event: Cow<'static, str>,
        payload: Cow<'static, str>,
        is_binary: bool,
    ) -> Result<(), SlowConsumer> {
        let topic = topic.to_owned();
        let push = Outgoing::Push { join_ref: None, topic, event, payload, is_binary };
        self.transport.send(&push)
    }

    fn crash(&mut self, topic: &str, instance: Instance) -> Result<(), SlowConsumer> {
        let steps = self.channels.crashed(topic, instance);
        self.take(steps)
    }
}

impl From<SlowConsumer> for Goodbye {
    fn from(_: SlowConsumer) -> Self {
        Self::SlowConsumer
    }
}

/// The frame of an event for everybody who is told the same of it, made once for all of them.
fn shared(event: &BusEvent, audience: Audience, topic: &str) -> Utf8Bytes {
    event.made(audience, || Outgoing::broadcast(topic, &event.event_type, &feed::payload(event)))
}

async fn joined(joining: &mut Option<Joining>) -> (Join, Result<Granted, Refused>) {
    match joining {
        Some(joining) => joining.await,
        None => std::future::pending().await,
    }
}

fn decide(client: Arc<Client>, join: Join) -> Joining {
    async move {
        let deciding = AssertUnwindSafe(channel::join(&client, &join)).catch_unwind();
        let decided = deciding.await.unwrap_or_else(|_| Err(Refused::crashed()));
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
