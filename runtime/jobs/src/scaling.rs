//! What an operator does to the limits of a queue while it runs, on one node or on all.
//!
//! Everything is stored first and holds from then on, over restarts, until it is reset. This node
//! goes by it at once, the others when they hear of it or look.

use kernel::Timestamp;
use sqlx::PgConnection;

use crate::limits::{Contradiction, Limits, Overrides};
use crate::{Queues, database, settings};

/// Limits were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ScaleError {
    /// They cannot hold.
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// The database failed.
    #[error("could not reach the queue tables")]
    Database(#[from] sqlx::Error),
}

impl Queues {
    /// Puts what an operator says in place of what is declared about a queue, on every node and
    /// until it is reset. What is left out stays as it was; what holds then is answered.
    ///
    /// # Errors
    /// [`ScaleError`]; then nothing is changed.
    pub async fn scale(&self, queue: &str, said: Overrides) -> Result<Limits, ScaleError> {
        let mut transaction = database::begin(self.pool()).await?;
        let limits = settings::override_with(&mut transaction, queue, said, self.now()).await??;
        transaction.commit().await?;
        self.go_by_news_of(queue).await?;
        Ok(limits)
    }

    /// Has so many attempts of a queue run at once on the node of that name, whatever holds for
    /// the others; without a limit of its own again if `None`.
    ///
    /// # Errors
    /// [`ScaleError`]; then nothing is changed.
    pub async fn scale_on(
        &self,
        queue: &str,
        node: &str,
        limit: Option<u32>,
    ) -> Result<(), ScaleError> {
        // The range is the same as for all nodes.
        Limits::default().overridden(&Overrides { limit, ..Overrides::default() })?;
        let mut transaction = database::begin(self.pool()).await?;
        set_local_limit(&mut transaction, (queue, node), limit, self.now()).await?;
        transaction.commit().await?;
        self.go_by_news_of(queue).await?;
        Ok(())
    }

    /// Forgets what operators said about the limits of a queue, so that what is declared holds
    /// again, on every node. A queue that is paused stays so.
    ///
    /// # Errors
    /// When Postgres refuses or cannot be reached.
    pub async fn reset(&self, queue: &str) -> Result<Limits, sqlx::Error> {
        let mut transaction = database::begin(self.pool()).await?;
        let limits = settings::reset(&mut transaction, queue, self.now()).await?;
        transaction.commit().await?;
        self.go_by_news_of(queue).await?;
        Ok(limits)
    }

    /// Stops the node of that name from claiming jobs of a queue, until it is resumed there.
    ///
    /// # Errors
    /// When Postgres refuses or cannot be reached.
    pub async fn pause_on(&self, queue: &str, node: &str) -> Result<(), sqlx::Error> {
        self.turn(queue, node, true).await
    }

    /// Lets the node of that name claim jobs of a queue again, unless the queue is paused on all.
    ///
    /// # Errors
    /// When Postgres refuses or cannot be reached.
    pub async fn resume_on(&self, queue: &str, node: &str) -> Result<(), sqlx::Error> {
        self.turn(queue, node, false).await
    }

    async fn turn(&self, queue: &str, node: &str, is_paused: bool) -> Result<(), sqlx::Error> {
        let mut transaction = database::begin(self.pool()).await?;
        set_paused_on(&mut transaction, (queue, node), is_paused, self.now()).await?;
        transaction.commit().await?;
        self.go_by_news_of(queue).await
    }

    /// Goes by what was just stored about a queue.
    async fn go_by_news_of(&self, queue: &str) -> Result<(), sqlx::Error> {
        settings::refresh(self).await?;
        self.wake(queue);
        self.tell_changed(queue);
        Ok(())
    }
}

async fn set_local_limit(
    connection: &mut PgConnection,
    (queue, node): (&str, &str),
    limit: Option<u32>,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "insert into jobs.queue_nodes (queue, node, local_limit, updated_at)
         values ($1, $2, $3, $4)
         on conflict (queue, node) do update
         set local_limit = excluded.local_limit, updated_at = excluded.updated_at",
    )
    .bind(queue)
    .bind(node)
    .bind(limit.map(|limit| i32::try_from(limit).unwrap_or(i32::MAX)))
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}

async fn set_paused_on(
    connection: &mut PgConnection,
    (queue, node): (&str, &str),
    is_paused: bool,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    // Where it is paused already, it keeps the time since when.
    sqlx::query(
        "insert into jobs.queue_nodes as here (queue, node, paused_at, updated_at)
         values ($1, $2, case when $3 then $4 end, $4)
         on conflict (queue, node) do update
         set updated_at = excluded.updated_at, paused_at = case
             when excluded.paused_at is null then null
             else coalesce(here.paused_at, excluded.paused_at) end",
    )
    .bind(queue)
    .bind(node)
    .bind(is_paused)
    .bind(now)
    .execute(connection)
    .await?;
    Ok(())
}
