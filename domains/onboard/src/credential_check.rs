//! Credential checks: who holds what a job order requires.
//!
//! An order and a candidate may become known in either sequence and at the same moment. Whichever
//! comes second makes the check, and within an organisation they take turns, so no pair is ever
//! missed.

use chrono::{NaiveDate, TimeDelta};
use contracts::onboard::CredentialsChecked;
use contracts::recruit::{CandidateId, Credential, JobOrderId};
use platform::{Command, Cursor, Limit, Listing, Query, Result, Snapshot, Spec, Timestamp, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, Row};

/// A credential that ends this soon after the first day of work is worth a warning.
const EXPIRING_WITHIN: TimeDelta = TimeDelta::days(30);
/// Candidates checked for one order, the newest first.
const CANDIDATES_MAX: i64 = 5_000;
/// Orders one candidate is checked for, the newest first.
const ORDERS_MAX: i64 = 500;

/// What was found when a candidate was checked for a job order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CredentialCheck {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// The candidate.
    pub candidate_id: CandidateId,
    /// Whether every required credential is held and valid on the first day of work.
    pub is_eligible: bool,
    /// Required credentials the candidate does not hold.
    pub missing: Vec<String>,
    /// Required credentials that end before the first day of work.
    pub expired: Vec<String>,
    /// Required credentials that end within 30 days after the first day of work.
    pub expiring: Vec<String>,
    /// When it was checked.
    pub checked_at: Timestamp,
}

/// What a check finds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Finding {
    missing: Vec<String>,
    expired: Vec<String>,
    expiring: Vec<String>,
}

impl Finding {
    fn is_eligible(&self) -> bool {
        self.missing.is_empty() && self.expired.is_empty()
    }
}

/// Compares what is required with what is held. A credential is valid on its last day.
fn compare(required: &[String], held: &[Credential], needed_on: NaiveDate) -> Finding {
    let mut finding = Finding::default();
    for code in required {
        let list = match held.iter().find(|credential| credential.code == *code) {
            None => &mut finding.missing,
            Some(Credential { expires_on: Some(last), .. }) if *last < needed_on => {
                &mut finding.expired
            }
            Some(Credential { expires_on: Some(last), .. })
                if *last - needed_on <= EXPIRING_WITHIN =>
            {
                &mut finding.expiring
            }
            Some(_) => continue,
        };
        list.push(code.clone());
    }
    finding
}

/// Checks the known candidates for the credentials a job order requires.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CheckCredentials {
    pub(crate) job_order_id: JobOrderId,
    pub(crate) credentials_required: Vec<String>,
    pub(crate) needed_on: NaiveDate,
}

impl Command for CheckCredentials {
    const SPEC: Spec = Spec::internal("check_credentials");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        take_turns(tx).await?;
        if !insert_required(tx, &self).await? {
            return Ok(());
        }
        let Self { job_order_id, credentials_required, needed_on } = self;
        let candidates = candidates(tx, None).await?;
        let found = candidates.iter().map(|(candidate_id, held)| {
            let finding = compare(&credentials_required, held, needed_on);
            FoundRow::new(job_order_id, *candidate_id, finding)
        });
        let found: Vec<FoundRow> = found.collect();
        let count = |found: usize| u32::try_from(found).unwrap_or(u32::MAX);
        let eligible_count = count(found.iter().filter(|row| row.is_eligible).count());
        let checked_count = count(found.len());
        upsert(tx, found).await?;
        tx.append(&CredentialsChecked { job_order_id, checked_count, eligible_count }).await?;
        Ok(())
    }
}

/// Checks one candidate for all orders known; call it while holding the turn.
pub(crate) async fn check_candidate(tx: &mut Tx<'_>, candidate_id: CandidateId) -> Result<()> {
    let orders: Vec<(JobOrderId, Vec<String>, NaiveDate)> = sqlx::query_as(
        "select job_order_id, codes, needed_on
         from onboard.required_credentials
         where org_id = $1
         order by job_order_id desc
         limit $2",
    )
    .bind(tx.org_id())
    .bind(ORDERS_MAX)
    .fetch_all(tx.connection())
    .await?;
    let candidates = candidates(tx, Some(candidate_id)).await?;
    let held = candidates.first().map(|(_, held)| held.as_slice()).unwrap_or_default();
    let found = orders.iter().map(|(job_order_id, codes, needed_on)| {
        FoundRow::new(*job_order_id, candidate_id, compare(codes, held, *needed_on))
    });
    upsert(tx, found.collect()).await
}

/// List credential checks, newest job order first, eligible candidates first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListCredentialChecks {
    /// Only checks for this job order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_order_id: Option<JobOrderId>,
    /// Only candidates who hold everything.
    #[serde(default)]
    pub eligible_only: bool,
    /// Checks on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListCredentialChecks {
    const SPEC: Spec = Spec::read("list_credential_checks", "/credential_checks");
    type Output = Listing<CredentialCheck>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<CredentialCheck>> {
        let before: Option<(JobOrderId, bool, CandidateId)> =
            self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select job_order_id, candidate_id, is_eligible, missing, expired, expiring, checked_at
             from onboard.credential_checks
             where org_id = $1
                 and ($2::uuid is null or job_order_id = $2)
                 and (not $3 or is_eligible)
                 and (
                     $4::uuid is null
                     or (job_order_id, is_eligible, candidate_id) < ($4, $5::boolean, $6::uuid)
                 )
             order by job_order_id desc, is_eligible desc, candidate_id desc
             limit $7",
        )
        .bind(db.org_id())
        .bind(self.job_order_id)
        .bind(self.eligible_only)
        .bind(before.map(|(job_order_id, _, _)| job_order_id))
        .bind(before.map(|(_, is_eligible, _)| is_eligible))
        .bind(before.map(|(_, _, candidate_id)| candidate_id))
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |check: &CredentialCheck| {
            (check.job_order_id, check.is_eligible, check.candidate_id)
        }))
    }
}

/// Makes those wait who check for the same organisation, until this transaction ends. Otherwise an
/// order and a candidate that become known at the same moment would not see each other.
pub(crate) async fn take_turns(tx: &mut Tx<'_>) -> Result<()> {
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(format!("onboard.credentials:{}", tx.org_id()))
        .execute(tx.connection())
        .await?;
    Ok(())
}

/// Whether the order is new, as opposed to one that was checked before.
async fn insert_required(tx: &mut Tx<'_>, check: &CheckCredentials) -> Result<bool> {
    let inserted = sqlx::query(
        "insert into onboard.required_credentials (
             org_id, job_order_id, codes, needed_on, created_at
         ) values ($1, $2, $3, $4, $5)
         on conflict (org_id, job_order_id) do nothing",
    )
    .bind(tx.org_id())
    .bind(check.job_order_id)
    .bind(&check.credentials_required)
    .bind(check.needed_on)
    .bind(tx.now())
    .execute(tx.connection())
    .await?;
    Ok(inserted.rows_affected() > 0)
}

/// Candidates with what they hold: all, or the one given.
async fn candidates(
    tx: &mut Tx<'_>,
    only: Option<CandidateId>,
) -> Result<Vec<(CandidateId, Vec<Credential>)>> {
    let rows: Vec<(CandidateId, Json<Vec<Credential>>)> = sqlx::query_as(
        "select candidate_id,
             coalesce(
                 jsonb_agg(jsonb_build_object('code', code, 'expires_on', expires_on))
                     filter (where code is not null),
                 '[]'
             )
         from onboard.candidates
         left join onboard.credentials using (org_id, candidate_id)
         where org_id = $1 and ($2::uuid is null or candidate_id = $2)
         group by candidate_id
         order by candidate_id desc
         limit $3",
    )
    .bind(tx.org_id())
    .bind(only)
    .bind(CANDIDATES_MAX)
    .fetch_all(tx.connection())
    .await?;
    Ok(rows.into_iter().map(|(candidate_id, Json(held))| (candidate_id, held)).collect())
}

/// A row of `onboard.credential_checks`, as the statement below unpacks it.
#[derive(Debug, Serialize)]
struct FoundRow {
    job_order_id: JobOrderId,
    candidate_id: CandidateId,
    is_eligible: bool,
    missing: Vec<String>,
    expired: Vec<String>,
    expiring: Vec<String>,
}

impl FoundRow {
    fn new(job_order_id: JobOrderId, candidate_id: CandidateId, finding: Finding) -> Self {
        let is_eligible = finding.is_eligible();
        let Finding { missing, expired, expiring } = finding;
        Self { job_order_id, candidate_id, is_eligible, missing, expired, expiring }
    }
}

/// Writes all rows in one statement; a later check replaces the earlier one.
async fn upsert(tx: &mut Tx<'_>, found: Vec<FoundRow>) -> Result<()> {
    if found.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "insert into onboard.credential_checks (
             org_id, job_order_id, candidate_id, is_eligible, missing, expired, expiring, checked_at
         )
         select $1, job_order_id, candidate_id, is_eligible, missing, expired, expiring, $2
         from jsonb_to_recordset($3) as found (
             job_order_id uuid, candidate_id uuid, is_eligible boolean,
             missing text[], expired text[], expiring text[]
         )
         on conflict (org_id, job_order_id, candidate_id) do update
         set is_eligible = excluded.is_eligible,
             missing = excluded.missing,
             expired = excluded.expired,
             expiring = excluded.expiring,
             checked_at = excluded.checked_at",
    )
    .bind(tx.org_id())
    .bind(tx.now())
    .bind(Json(found))
    .execute(tx.connection())
    .await?;
    Ok(())
}

impl FromRow<'_, PgRow> for CredentialCheck {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            job_order_id: row.try_get("job_order_id")?,
            candidate_id: row.try_get("candidate_id")?,
            is_eligible: row.try_get("is_eligible")?,
            missing: row.try_get("missing")?,
            expired: row.try_get("expired")?,
            expiring: row.try_get("expiring")?,
            checked_at: row.try_get("checked_at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().expect("the text is a day")
    }

    #[test]
    fn a_credential_is_valid_on_its_last_day_and_expiring_for_thirty_before() {
        let required = ["white_card".to_owned()];
        let cases = [
            (Some(None), "valid"),
            (Some(Some("2026-04-10")), "valid"),
            (Some(Some("2026-04-09")), "expiring"),
            (Some(Some("2026-03-10")), "expiring"),
            (Some(Some("2026-03-09")), "expired"),
            (None, "missing"),
        ];

        for (held, expected) in cases {
            let held = held.map(|last| Credential {
                code: "white_card".to_owned(),
                expires_on: last.map(day),
            });
            let finding = compare(&required, held.as_slice(), day("2026-03-10"));
            let found = match &finding {
                Finding { missing, .. } if !missing.is_empty() => "missing",
                Finding { expired, .. } if !expired.is_empty() => "expired",
                Finding { expiring, .. } if !expiring.is_empty() => "expiring",
                _ => "valid",
            };
            assert_eq!(found, expected, "{held:?}");
            assert_eq!(finding.is_eligible(), matches!(expected, "valid" | "expiring"), "{held:?}");
        }
    }

    #[test]
    fn nothing_is_required_of_anybody_unless_the_order_says_so() {
        assert!(compare(&[], &[], day("2026-03-10")).is_eligible());
    }
}
