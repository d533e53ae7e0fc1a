//! Applying a batch of events to the tables of a projection: the live ones, or their shadow.

use std::collections::BTreeMap;

use kernel::DomainName;
use sqlx::{AssertSqlSafe, PgConnection};
use store::SealedEvent;
use store::consumer::ConsumeError;

use super::{FoldingFns, ProjectionDeclaration, Rows, Takes};
use crate::refusal::Result;
use crate::subtree::undigested;
use crate::tx::{Tx, become_tenant};

/// Applies `events`, in the transaction at hand, to the tables found on `search_path`.
///
/// Organisation by organisation, because each is walled off from the others; within one, in order.
/// Ends as the runtime, which may move cursors.
pub(crate) async fn apply(
    projection: &ProjectionDeclaration,
    domain: DomainName,
    search_path: &str,
    connection: &mut PgConnection,
    events: &[SealedEvent],
) -> Result<(), ConsumeError> {
    let mut by_organisation: BTreeMap<_, Vec<&SealedEvent>> = BTreeMap::new();
    for event in events {
        by_organisation.entry(event.org_id.uuid()).or_default().push(event);
    }
    for (org_id, events) in by_organisation {
        // Safe: checked names of a domain and a projection, and a UUID.
        let tenant = become_tenant(domain, search_path, org_id);
        sqlx::raw_sql(AssertSqlSafe(tenant)).execute(&mut *connection).await?;
        let applied = match projection.folding {
            None => one_by_one(projection, domain, connection, &events).await,
            Some(folding) => at_once(projection, folding, connection, &events).await,
        };
        applied.map_err(undigested)?;
    }
    sqlx::raw_sql("set local role finnest_runtime").execute(connection).await?;
    Ok(())
}

async fn one_by_one(
    projection: &ProjectionDeclaration,
    domain: DomainName,
    connection: &mut PgConnection,
    events: &[&SealedEvent],
) -> Result<()> {
    for event in events {
        if let Some(Takes::AtOnce(project)) = projection.handler(event) {
            // The instant is the event's own, so that a rebuild writes the same times.
            let mut tx = Tx::projecting(connection, domain, &event.scope, event.recorded_at);
            project(event, &mut tx).await?;
        }
    }
    Ok(())
}

async fn at_once(
    projection: &ProjectionDeclaration,
    folding: FoldingFns,
    connection: &mut PgConnection,
    events: &[&SealedEvent],
) -> Result<()> {
    let Some(first) = events.first() else { return Ok(()) };
    let org_id = first.org_id;
    let mut changes = (folding.begin)();
    for event in events {
        if let Some(Takes::Gathering(gather)) = projection.handler(event) {
            gather(event, &mut changes)?;
        }
    }
    (folding.write)(&mut Rows { connection, org_id }, changes).await
}
