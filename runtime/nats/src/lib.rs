//! NATS: sealed events beyond the platform, in a JetStream stream.
//!
//! The [relay] publishes every sealed event, in order, and keeps its place only after the server
//! has acknowledged it. Whoever follows the stream through [`JetStream`] gets what the
//! [contract](bus::backend) promises. Other programs read it as any stream:
//!
//! | | |
//! |---|---|
//! | stream | `FINNEST`, made with limits of age and size if it is missing |
//! | subject | `finnest.<org id>.<domain>.<aggregate id>.<event type>`; `-` without an aggregate |
//! | `Nats-Msg-Id` | the event's id |
//! | `Finnest-Position` | its place in the order of everything |
//! | body | the event as the WebSocket pushes it, its payload under `data` |
//!
//! **Invariant:** the stream is a copy. What it loses by its limits, or because its server is
//! killed before it has written, is in the log.

mod follower;
pub mod relay;
mod stream;
mod wire;

use std::fmt;
use std::time::Duration;

use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use bus::backend::{Backend, BackendError, Subscriber, SubscriptionSpec};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

/// How long the server may take for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the client waits at most before it tries to connect again.
const RECONNECT_WITHIN: Duration = Duration::from_secs(1);

/// NATS does not do what it was asked for; it is asked again later.
#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    /// There is no connection, or the server refused or did not answer.
    #[error("NATS does not answer as it should")]
    Unavailable(#[source] async_nats::Error),
    /// A message on the stream is none of ours.
    #[error("message {sequence} of the stream is no event of this platform: {why}")]
    Foreign {
        /// Its place on the stream.
        sequence: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The bus that is to be relayed, or its log.
    #[error("the events to pass on cannot be had")]
    Source(#[source] bus::SourceError),
}

impl NatsError {
    pub(crate) fn unavailable(error: impl Into<async_nats::Error>) -> Self {
        Self::Unavailable(error.into())
    }
}

/// A connection that is opened again whenever it is lost.
#[derive(Clone)]
pub struct JetStream {
    context: Context,
}

impl JetStream {
    /// Connects to the server at `url`, as in `nats://127.0.0.1:4222`, now or once it answers.
    ///
    /// # Errors
    /// [`NatsError`] when the address is none.
    pub async fn connect(url: &str) -> Result<Self, NatsError> {
        let client = ConnectOptions::new()
            .name("finnest")
            .retry_on_initial_connect()
            .reconnect_delay_callback(|attempts| {
                let wait = 50_u64.saturating_mul(1 << attempts.min(5));
                Duration::from_millis(wait).min(RECONNECT_WITHIN)
            })
            .connect(url)
            .await
            .map_err(NatsError::unavailable)?;
        Ok(Self::over(client))
    }

    fn over(client: Client) -> Self {
        let mut context = jetstream::new(client);
        context.set_timeout(PATIENCE);
        Self { context }
    }
}

impl fmt::Debug for JetStream {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.context.client().connection_state();
        write!(formatter, "JetStream({state})")
    }
}

impl Backend for JetStream {
    fn subscribe<'a>(
        &'a self,
        spec: &'a SubscriptionSpec,
    ) -> BoxFuture<'a, Result<Box<dyn Subscriber>, BackendError>> {
        async move {
            spec.check()?;
            let follower = follower::Follower::open(self.context.clone(), spec.clone()).await?;
            Ok(Box::new(follower) as Box<dyn Subscriber>)
        }
        .boxed()
    }
}
