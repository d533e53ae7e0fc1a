//! A duty: something small done for all queues, again and again, by a process under `root/jobs`.
//!
//! Every duty may run on every node at once: what it changes it locks and skips, or it is unique.
//! Most of what they do is left to the leader all the same, which saves the database the looks.

use std::time::Duration;

use otp::{ChildSpec, ExitReason, Nudge, PeriodicContext};

use crate::{Queues, database};

/// A periodic child that lives through a database that is away.
pub(crate) fn child<F>(
    id: &'static str,
    every: Duration,
    queues: &Queues,
    act: impl Fn(Queues, PeriodicContext) -> F + Send + Sync + 'static,
) -> ChildSpec
where
    F: Future<Output = Result<(), sqlx::Error>> + Send + 'static,
{
    let queues = queues.clone();
    ChildSpec::periodic(id, every, every / 10, None, move |context| {
        let (round, noted) = (act(queues.clone(), context), queues.clone());
        Box::pin(async move {
            let done = round.await;
            noted.meters().note_round(id, done.is_ok());
            forgive_outage(id, done)
        })
    })
}

/// The same, which a nudge makes act sooner.
pub(crate) fn nudged<F>(
    id: &'static str,
    every: Duration,
    nudge: &Nudge,
    queues: &Queues,
    act: impl Fn(Queues, PeriodicContext) -> F + Send + Sync + 'static,
) -> ChildSpec
where
    F: Future<Output = Result<(), sqlx::Error>> + Send + 'static,
{
    let queues = queues.clone();
    ChildSpec::periodic(id, every, every / 10, Some(nudge.clone()), move |context| {
        let round = act(queues.clone(), context);
        Box::pin(async move { forgive_outage(id, round.await) })
    })
}

fn forgive_outage(duty: &str, done: Result<(), sqlx::Error>) -> Result<(), ExitReason> {
    match done {
        Err(error) if database::is_outage(&error) => {
            tracing::warn!(duty, %error, "the database is away, so a duty waits for its next turn");
            Ok(())
        }
        done => done.map_err(|error| ExitReason::Failed(format!("{duty}: {error}"))),
    }
}
