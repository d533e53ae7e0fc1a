//! Writers: commands that record one event each, in a transaction of the domain's role.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kernel::{EventId, OrgId, Scope};
use otp::Clock;
use serde_json::json;
use sqlx::AssertSqlSafe;
use store::{Log, NewEvent, Sessions};
use tokio::task::JoinSet;
use uuid::Uuid;

use benches::server::DOMAIN;

/// The type of all events.
pub(crate) const EVENT_TYPE: &str = "job_order_opened";
/// The length of the free text in a payload, which makes it about 500 bytes.
const TEXT_BYTES: usize = 430;

/// The organisation of that number.
pub(crate) fn organisation(number: usize) -> OrgId {
    let base = 0x0190_0000_0000_7000_8000_0000_0000_0000;
    OrgId::from_uuid(Uuid::from_u128(base | number as u128))
}

/// What one command records: the `number`th event of the run.
fn event(number: u64, org_id: OrgId, clock: &Clock) -> NewEvent {
    // Aggregates are as young as their events, and say which event it is.
    let young = Uuid::now_v7().as_u128() >> 64 << 64;
    NewEvent {
        event_id: EventId::new(),
        scope: Scope::system(org_id, "bench", Uuid::now_v7()),
        domain: DOMAIN.as_str(),
        event_type: EVENT_TYPE,
        version: 1,
        aggregate_id: Some(Uuid::from_u128(young | u128::from(number))),
        payload: json!({
            "number": number,
            "suburb": "Fortitude Valley",
            "text": "x".repeat(TEXT_BYTES),
        }),
        recorded_at: clock.now(),
    }
}

/// The number of an event, from its aggregate.
pub(crate) fn number_of(aggregate_id: Option<Uuid>) -> u64 {
    u64::try_from(aggregate_id.unwrap_or_default().as_u128() & u128::from(u64::MAX))
        .expect("what is left has 64 bits")
}

/// One command: opened, filled and committed as the platform does it.
async fn record(log: &Log, sessions: &Sessions, number: u64, org_id: OrgId) {
    let event = event(number, org_id, log.clock());
    let domain = DOMAIN;
    let opening = format!(
        "begin; set local role {domain}; set local search_path = {domain}; \
         set local app.org_id = '{org_id}'; set local statement_timeout = 5000"
    );
    let mut session = sessions.take().await.expect("the server answers");
    let mut transaction = session.begin(AssertSqlSafe(opening)).await.expect("a domain's role");
    store::append(&mut transaction, &event).await.expect("a domain may append its own facts");
    transaction.commit().await.expect("nothing is in the way");
    log.nudge();
    session.give_back();
}

/// `writers` commands at a time for `span`, over `organisations`; answers how many events.
pub(crate) async fn write_for(
    log: &Log,
    sessions: &Sessions,
    writers: usize,
    organisations: usize,
    span: Duration,
) -> u64 {
    let end = Instant::now() + span;
    let mut running = JoinSet::new();
    for writer in 0..writers {
        let (log, sessions) = (log.clone(), sessions.clone());
        running.spawn(async move {
            let mut count = 0;
            while Instant::now() < end {
                let turn = writer + usize::try_from(count).expect("a run is short") * writers;
                record(&log, &sessions, count, organisation(turn % organisations)).await;
                count += 1;
            }
            count
        });
    }
    running.join_all().await.into_iter().sum()
}

/// Commands that begin at fixed times, some of them at once; `begun` is told of each.
pub(crate) async fn write_paced(
    log: &Log,
    sessions: &Sessions,
    rate: u64,
    count: u64,
    begun: impl Fn(u64, Instant) + Send + Sync + 'static,
) {
    /// Enough that a slow command delays no other.
    const WRITERS: u64 = 20;
    /// What a timer of ours may be late without the command being late.
    const LATE: Duration = Duration::from_millis(2);
    let begun = Arc::new(begun);
    let start = Instant::now();
    let mut running = JoinSet::new();
    for writer in 0..WRITERS {
        let (log, sessions, begun) = (log.clone(), sessions.clone(), Arc::clone(&begun));
        running.spawn(async move {
            for number in (writer..count).step_by(WRITERS as usize) {
                let due = start + Duration::from_micros(number * 1_000_000 / rate);
                tokio::time::sleep_until(due.into()).await;
                let now = Instant::now();
                // A command that had to wait for the one before it began when it was due.
                begun(number, if now - due > LATE { due } else { now });
                record(&log, &sessions, number, organisation(number as usize % 100)).await;
            }
        });
    }
    running.join_all().await;
}
