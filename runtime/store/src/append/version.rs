//! Expected versions: appending only if nobody else has, for those who ask.
//!
//! The version of an aggregate is the number of events about it that its domain has recorded. Who
//! expects a version claims the next one: a row whose key can exist once, so of any number of
//! writers that expect the same one, one commits. The others wait for that one and for nobody else.
//! Then the events are counted, in a statement of their own, which sees what was committed while
//! the claim was waited for.
//!
//! **Invariant:** the caller's transaction is READ COMMITTED; with an older snapshot it would count
//! an older version.

use std::collections::HashMap;

use kernel::OrgId;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{AppendError, Bytes, NewEvent, all_bytes, insert, insert_all};

/// The version an aggregate is expected to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedVersion {
    /// The aggregate.
    pub aggregate_id: Uuid,
    /// How many events about it were recorded; 0 before the first.
    pub version: u64,
}

/// The version of an aggregate of the transaction's domain and organisation: how many events about
/// it are recorded, archived ones and those of this transaction included.
///
/// # Errors
/// When Postgres refuses or cannot be reached.
pub async fn aggregate_version(
    connection: &mut PgConnection,
    org_id: OrgId,
    domain: &str,
    aggregate_id: Uuid,
) -> Result<u64, sqlx::Error> {
    let versions = versions_of(connection, org_id, domain, vec![aggregate_id]).await?;
    Ok(versions.get(&aggregate_id).copied().unwrap_or_default())
}

/// Appends `event` if its aggregate has the version `expected`, and waits only for others who
/// expect the same version of it.
///
/// An [`append`](super::append) that expects nothing is counted once it is committed, and neither
/// waits nor is waited for.
///
/// # Errors
/// [`AppendError::VersionConflict`] with both versions; the transaction is still of use then.
pub async fn append_expecting(
    connection: &mut PgConnection,
    expected: u64,
    event: &NewEvent,
) -> Result<(), AppendError> {
    let event_type = event.event_type;
    let aggregate_id = event.aggregate_id.ok_or(AppendError::NoAggregate { event_type })?;
    let bytes = Bytes::of(event)?;
    expect(connection, event, &[ExpectedVersion { aggregate_id, version: expected }]).await?;
    insert(connection, event, bytes).await
}

/// Appends `events` in their order if every aggregate in `expected` has its version; all or none.
///
/// The events are of one domain and one organisation, as those of any transaction are.
///
/// # Errors
/// [`AppendError::VersionConflict`] for the first aggregate whose version is another;
/// [`AppendError::InBatch`] for an event that is refused by itself.
pub async fn append_all_expecting(
    connection: &mut PgConnection,
    expected: &[ExpectedVersion],
    events: &[NewEvent],
) -> Result<(), AppendError> {
    let Some(first) = events.first() else { return Ok(()) };
    let bytes = all_bytes(events)?;
    expect(connection, first, expected).await?;
    insert_all(connection, events, bytes).await
}

/// Claims the versions after those `expected`, on behalf of `event` and its like.
async fn expect(
    connection: &mut PgConnection,
    event: &NewEvent,
    expected: &[ExpectedVersion],
) -> Result<(), AppendError> {
    let event_type = event.event_type;
    let (org_id, domain) = (event.scope.org_id, event.domain);
    let database = |source| AppendError::Database { event_type, source };
    // In one order for everybody, so that two batches cannot wait for each other.
    let mut claims = expected.to_vec();
    claims.sort_unstable_by_key(|claim| claim.aggregate_id);
    let ids: Vec<Uuid> = claims.iter().map(|claim| claim.aggregate_id).collect();
    let next: Vec<i64> = claims.iter().map(|claim| number(claim.version) + 1).collect();
    let claimed = claim(connection, org_id, domain, &ids, &next).await.map_err(database)?;
    let versions = versions_of(connection, org_id, domain, ids).await.map_err(database)?;
    let actual = |id: &Uuid| versions.get(id).copied().unwrap_or_default();
    let conflict = claims.iter().find(|claim| {
        !claimed.contains(&claim.aggregate_id) || actual(&claim.aggregate_id) != claim.version
    });
    let Some(conflict) = conflict else { return Ok(()) };
    // A claim without an event would keep that version from everybody, if the caller commits.
    give_back(connection, org_id, domain, &claims, &claimed).await.map_err(database)?;
    Err(AppendError::VersionConflict {
        event_type,
        aggregate_id: conflict.aggregate_id,
        expected: conflict.version,
        actual: actual(&conflict.aggregate_id),
    })
}

fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX - 1)
}

/// Claims versions; answers the aggregates of which nobody else has claimed the same.
async fn claim(
    connection: &mut PgConnection,
    org_id: OrgId,
    domain: &str,
    aggregate_ids: &[Uuid],
    versions: &[i64],
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar(
        "insert into events.claimed_versions (org_id, domain, aggregate_id, version)
         select $1, $2, claim.aggregate_id, claim.version
         from unnest($3::uuid[], $4::bigint[])
             with ordinality as claim (aggregate_id, version, place)
         order by claim.place
         on conflict do nothing
         returning aggregate_id",
    )
    .bind(org_id)
    .bind(domain)
    .bind(aggregate_ids)
    .bind(versions)
    .fetch_all(connection)
    .await
}

async fn give_back(
    connection: &mut PgConnection,
    org_id: OrgId,
    domain: &str,
    claims: &[ExpectedVersion],
    claimed: &[Uuid],
) -> Result<(), sqlx::Error> {
    let (ids, versions): (Vec<Uuid>, Vec<i64>) = claims
        .iter()
        .filter(|claim| claimed.contains(&claim.aggregate_id))
        .map(|claim| (claim.aggregate_id, number(claim.version) + 1))
        .unzip();
    sqlx::query(
        "delete from events.claimed_versions as claimed
         using unnest($3::uuid[], $4::bigint[]) as claim (aggregate_id, version)
         where claimed.org_id = $1 and claimed.domain = $2
             and claimed.aggregate_id = claim.aggregate_id and claimed.version = claim.version",
    )
    .bind(org_id)
    .bind(domain)
    .bind(ids)
    .bind(versions)
    .execute(connection)
    .await?;
    Ok(())
}

async fn versions_of(
    connection: &mut PgConnection,
    org_id: OrgId,
    domain: &str,
    aggregate_ids: Vec<Uuid>,
) -> Result<HashMap<Uuid, u64>, sqlx::Error> {
    let rows = sqlx::query(
        "select wanted.aggregate_id,
             (select count(*) from events.domain_events as event
              where event.org_id = $1 and event.domain = $2
                  and event.aggregate_id = wanted.aggregate_id)
             + coalesce(
                 (select archived.event_count from events.archived_aggregates as archived
                  where archived.org_id = $1 and archived.domain = $2
                      and archived.aggregate_id = wanted.aggregate_id), 0) as version
         from unnest($3::uuid[]) as wanted (aggregate_id)",
    )
    .bind(org_id)
    .bind(domain)
    .bind(aggregate_ids)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let version: i64 = row.try_get("version")?;
            Ok((row.try_get("aggregate_id")?, u64::try_from(version).unwrap_or_default()))
        })
        .collect()
}
