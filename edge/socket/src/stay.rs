//! Stay: whether whoever is connected may stay, asked again while the connection is open.
//!
//! It is asked when something happened to the user, when the time of the credential is over (a
//! session that is used elsewhere lasts longer than it said), and now and then besides.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use platform::{Identity, Result};
use tokio::time::Instant;

use crate::socket::Client;

/// It is asked at least this often.
const ASK_EVERY: Duration = Duration::from_mins(5);

pub(crate) struct Stay {
    /// Who the user is now, while the database is asked.
    asking: Option<BoxFuture<'static, Result<Option<Identity>>>>,
    asked_at: Instant,
    /// Something happened while the question was under way, or it was not answered.
    is_due: bool,
}

impl Stay {
    pub(crate) const fn new(now: Instant) -> Self {
        Self { asking: None, asked_at: now, is_due: false }
    }

    /// Asks now, or as soon as the question that is under way is answered.
    pub(crate) fn ask(&mut self, client: &Arc<Client>) {
        if self.asking.is_some() {
            self.is_due = true;
            return;
        }
        self.is_due = false;
        self.asked_at = Instant::now();
        let client = Arc::clone(client);
        let ask = async move { client.system.still_stands(&client.identity).await };
        self.asking = Some(ask.boxed());
    }

    /// Asks if something happened while the last question was under way.
    pub(crate) fn ask_if_missed(&mut self, client: &Arc<Client>) {
        if self.is_due {
            self.ask(client);
        }
    }

    /// Asks if it is time to.
    pub(crate) fn ask_when_due(&mut self, client: &Arc<Client>) {
        let valid_until = client.identity.credential.valid_until;
        let is_over = valid_until.is_some_and(|until| until <= client.system.now());
        if self.is_due || is_over || self.asked_at.elapsed() >= ASK_EVERY {
            self.ask(client);
        }
    }

    /// Waits for the answer: who the user is now, if they may stay.
    ///
    /// # Cancel safety
    /// Nothing is lost when the future is dropped.
    pub(crate) async fn answer(&mut self) -> Option<Identity> {
        loop {
            let answer = match &mut self.asking {
                Some(asking) => asking.await,
                None => std::future::pending().await,
            };
            self.asking = None;
            match answer {
                Ok(identity) => return identity,
                // Nobody is sent away because the database is.
                Err(error) => {
                    tracing::debug!(%error, "whether a client may stay is not known");
                    self.is_due = true;
                }
            }
        }
    }
}
