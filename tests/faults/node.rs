//! A node of the platform, reduced to what concerns the log: a sealer, the wake-up of
//! other nodes, the keeper of partitions, and a projection.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use kernel::Position;
use otp::{Clock, Intensity, Root, Strategy, SupervisorSpec};
use sqlx::PgConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use store::consumer::ConsumeError;
use store::{Consumer, Log, SealedEvent, partition, sealer, wake};
use uuid::Uuid;

/// How long a node waits for a connection.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(2);

/// The name of the projection on every node: two nodes share its cursor.
pub(crate) const PROJECTION: &str = "projection";

/// A running node.
pub(crate) struct Node {
    /// The log as this node has it.
    pub(crate) log: Log,
    root: Root,
}

/// What to do with events besides projecting them. Called before the commit, so perhaps twice.
pub(crate) type OnApply = Arc<dyn Fn(&[SealedEvent]) + Send + Sync>;

impl Node {
    /// A node with a sealer and the projection.
    pub(crate) async fn start(app: &PgConnectOptions, clock: Clock) -> Self {
        Self::start_with(app, clock, |log| vec![projection(PROJECTION, log, Arc::new(|_| {}))])
            .await
    }

    /// A node with a sealer and these consumers.
    pub(crate) async fn start_with(
        app: &PgConnectOptions,
        clock: Clock,
        consumers: impl FnOnce(&Log) -> Vec<Consumer>,
    ) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(10)
            .acquire_timeout(ACQUIRE_WITHIN)
            .connect_lazy_with(app.clone());
        let log = Log::new(pool, clock.clone());
        let patient = Intensity::new(100_000, Duration::from_mins(1));
        let children = consumers(&log).into_iter().map(Consumer::child);
        let spec = SupervisorSpec::new(Strategy::OneForOne)
            .intensity(patient)
            .child(sealer::child(&log))
            .child(wake::child(&log))
            .child(partition::keeper(&log))
            .children(children);
        let root = Root::start(spec, clock).await.expect("the children start");
        Self { log, root }
    }

    /// Kills the sealer; answers whether there was one.
    pub(crate) fn kill_sealer(&self) -> bool {
        self.root.tree().kill("root/sealer").is_ok()
    }

    /// Everything up to here is known to be sealed.
    pub(crate) fn head(&self) -> Position {
        *self.log.head().borrow()
    }

    /// Stops the node in good order.
    pub(crate) async fn stop(self) {
        self.root.stop().await;
        self.log.pool().close().await;
    }
}

/// A consumer that writes a row for each delivery, and would write two for two.
pub(crate) fn projection(name: &'static str, log: &Log, on_apply: OnApply) -> Consumer {
    consumer(name, log, move |connection, events| {
        let on_apply = Arc::clone(&on_apply);
        Box::pin(async move {
            on_apply(&events);
            deliver(connection, name, &events).await?;
            Ok(())
        })
    })
}

/// A consumer of the events that the writers record.
pub(crate) fn consumer<F>(name: &'static str, log: &Log, apply: F) -> Consumer
where
    F: for<'c> Fn(
            &'c mut PgConnection,
            Vec<SealedEvent>,
        ) -> BoxFuture<'c, Result<(), ConsumeError>>
        + Send
        + Sync
        + 'static,
{
    Consumer::new(name, log, apply).filter([("recruit".to_owned(), "job_order_opened".to_owned())])
}

/// Writes the deliveries, without any regard for earlier ones.
pub(crate) async fn deliver(
    connection: &mut PgConnection,
    consumer: &str,
    events: &[SealedEvent],
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = events.iter().map(|event| event.event_id.uuid()).collect();
    let positions: Vec<i64> = events.iter().map(|event| event.position.0).collect();
    sqlx::query(
        "insert into faults.deliveries (consumer, event_id, position)
         select $1, event.id, event.position
         from unnest($2::uuid[], $3::bigint[]) with ordinality as event (id, position, place)
         order by event.place",
    )
    .bind(consumer)
    .bind(ids)
    .bind(positions)
    .execute(connection)
    .await?;
    Ok(())
}
