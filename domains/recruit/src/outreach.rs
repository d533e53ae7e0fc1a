//! Outreach: asking a candidate whether a job order is of interest.
//!
//! A candidate is asked once about an order. The message leaves the database, so it is a job of its
//! own with the message's id as the provider's idempotency key.

pub(crate) mod service;
pub(crate) mod sms;

use chrono::NaiveDate;
use contracts::recruit::{CandidateId, JobOrderId, OutreachId, OutreachSent};
use platform::{
    Attempt, Command, Cursor, Job, Limit, Listing, Outcome, Query, Result, Snapshot, Spec,
    Timestamp, Tx, trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::candidate::Refusal;
use crate::job_order::lock_open;

use self::service::Sent;
use self::sms::Sms;

/// One message to one candidate about one job order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outreach {
    /// The message.
    pub outreach_id: OutreachId,
    /// The job order it is about.
    pub job_order_id: JobOrderId,
    /// The candidate it goes to.
    pub candidate_id: CandidateId,
    /// What it says.
    pub body: String,
    /// `queued`, or `sent` once the provider took it.
    pub state: String,
    /// The provider's own reference, once sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider_reference: Option<String>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the provider took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// What a message says unless the recruiter writes one.
fn invitation(title: &str, suburb: Option<&str>, starts_on: Option<NaiveDate>) -> String {
    let place = suburb.map(|suburb| format!(" in {suburb}")).unwrap_or_default();
    let start =
        starts_on.map(|day| format!(", starting {}", day.format("%-d %B %Y"))).unwrap_or_default();
    format!(
        "We have work for you: {title}{place}{start}. \
         Reply YES if you are interested, STOP to opt out."
    )
}

/// Ask a candidate by text message whether a job order is of interest.
///
/// A candidate is asked once about an order; asking again answers the first message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InviteCandidate {
    /// The job order; it must be open.
    pub job_order_id: JobOrderId,
    /// The candidate.
    pub candidate_id: CandidateId,
    /// What to say, at most 480 characters; left out, title, place and start of the order are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 480))]
    pub body: Option<String>,
}

impl Command for InviteCandidate {
    const SPEC: Spec = Spec::create("invite_candidate", "/job_orders/{job_order_id}/outreach");
    type Output = Outreach;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Outreach> {
        lock_open(tx, self.job_order_id).await?;
        let body = match &self.body {
            Some(body) => trimmed("/body", body, 1..=480)?,
            None => invitation_for(tx, self.job_order_id).await?,
        };
        let outreach_id = OutreachId::new();
        if insert(tx, outreach_id, &self, &body).await? {
            tx.enqueue(&SendOutreach { outreach_id }).await?;
        }
        find(tx, self.job_order_id, self.candidate_id).await
    }
}

/// List messages to candidates, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListOutreach {
    /// Only messages about this job order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_order_id: Option<JobOrderId>,
    /// Messages on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListOutreach {
    const SPEC: Spec = Spec::read("list_outreach", "/outreach");
    type Output = Listing<Outreach>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<Outreach>> {
        let before: Option<OutreachId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select outreach_id, job_order_id, candidate_id, body, state, provider_reference,
                 created_at, sent_at
             from recruit.outreach
             where org_id = $1
                 and ($2::uuid is null or job_order_id = $2)
                 and ($3::uuid is null or outreach_id < $3)
             order by outreach_id desc
             limit $4",
        )
        .bind(db.org_id())
        .bind(self.job_order_id)
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |outreach: &Outreach| outreach.outreach_id))
    }
}

/// Hands one message to the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SendOutreach {
    outreach_id: OutreachId,
}

impl Job for SendOutreach {
    const NAME: &'static str = "send_outreach";

    async fn perform(self, attempt: &Attempt) -> Result<Outcome> {
        let outreach_id = self.outreach_id;
        let Some(sms) = attempt.run(TakeOutreach { outreach_id }).await? else {
            return Ok(Outcome::Complete);
        };
        match service::send(attempt.system(), attempt.scope(), sms).await? {
            Sent::TooFast(wait) => Ok(Outcome::Snooze(wait)),
            Sent::Taken(provider_reference) => {
                let sent = RecordOutreachSent { outreach_id, provider_reference };
                attempt.complete_with(sent).await?;
                Ok(Outcome::Complete)
            }
        }
    }
}

/// Takes a message to send; nothing when it was sent already.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TakeOutreach {
    outreach_id: OutreachId,
}

impl Command for TakeOutreach {
    const SPEC: Spec = Spec::internal("take_outreach");
    type Output = Option<Sms>;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Option<Sms>> {
        let queued: Option<(String, String)> = sqlx::query_as(
            "select mobile, body
             from recruit.outreach
             join recruit.candidates using (org_id, candidate_id)
             where org_id = $1 and outreach_id = $2 and state = 'queued'",
        )
        .bind(tx.org_id())
        .bind(self.outreach_id)
        .fetch_optional(tx.connection())
        .await?;
        let sms = |(recipient, body)| Sms { outreach_id: self.outreach_id, recipient, body };
        Ok(queued.map(sms))
    }
}

/// Records that the provider took a message.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct RecordOutreachSent {
    outreach_id: OutreachId,
    provider_reference: String,
}

impl Command for RecordOutreachSent {
    const SPEC: Spec = Spec::internal("record_outreach_sent");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        let Self { outreach_id, provider_reference } = self;
        let marked: Option<(JobOrderId, CandidateId)> = sqlx::query_as(
            "update recruit.outreach
             set state = 'sent', provider_reference = $3, sent_at = $4
             where org_id = $1 and outreach_id = $2 and state = 'queued'
             returning job_order_id, candidate_id",
        )
        .bind(tx.org_id())
        .bind(outreach_id)
        .bind(&provider_reference)
        .bind(tx.now())
        .fetch_optional(tx.connection())
        .await?;
        let Some((job_order_id, candidate_id)) = marked else {
            return Ok(());
        };
        let sent = OutreachSent { outreach_id, job_order_id, candidate_id, provider_reference };
        tx.append(&sent).await?;
        Ok(())
    }
}

async fn invitation_for(tx: &mut Tx<'_>, job_order_id: JobOrderId) -> Result<String> {
    let (title, suburb, starts_on): (String, Option<String>, _) = sqlx::query_as(
        "select title, suburb, starts_on
         from recruit.job_orders
         where org_id = $1 and job_order_id = $2",
    )
    .bind(tx.org_id())
    .bind(job_order_id)
    .fetch_one(tx.connection())
    .await?;
    Ok(invitation(&title, suburb.as_deref(), starts_on))
}

/// Whether the message is new, as opposed to one that was asked for before.
async fn insert(
    tx: &mut Tx<'_>,
    outreach_id: OutreachId,
    invite: &InviteCandidate,
    body: &str,
) -> Result<bool> {
    let inserted = sqlx::query(
        "insert into recruit.outreach (
             org_id, outreach_id, job_order_id, candidate_id, body, state, created_at
         )
         select org_id, $2, $3, candidate_id, $5, 'queued', $6
         from recruit.candidates
         where org_id = $1 and candidate_id = $4
         on conflict on constraint outreach_once do nothing",
    )
    .bind(tx.org_id())
    .bind(outreach_id)
    .bind(invite.job_order_id)
    .bind(invite.candidate_id)
    .bind(body)
    .bind(tx.now())
    .execute(tx.connection())
    .await?;
    Ok(inserted.rows_affected() > 0)
}

async fn find(
    tx: &mut Tx<'_>,
    job_order_id: JobOrderId,
    candidate_id: CandidateId,
) -> Result<Outreach> {
    let found = sqlx::query_as(
        "select outreach_id, job_order_id, candidate_id, body, state, provider_reference,
             created_at, sent_at
         from recruit.outreach
         where org_id = $1 and job_order_id = $2 and candidate_id = $3",
    )
    .bind(tx.org_id())
    .bind(job_order_id)
    .bind(candidate_id)
    .fetch_optional(tx.connection())
    .await?;
    // Nothing was inserted and nothing was there: the candidate does not exist.
    Ok(found.ok_or(Refusal::NotFound(candidate_id))?)
}

impl FromRow<'_, PgRow> for Outreach {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            outreach_id: row.try_get("outreach_id")?,
            job_order_id: row.try_get("job_order_id")?,
            candidate_id: row.try_get("candidate_id")?,
            body: row.try_get("body")?,
            state: row.try_get("state")?,
            provider_reference: row.try_get("provider_reference")?,
            created_at: row.try_get("created_at")?,
            sent_at: row.try_get("sent_at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_tells_what_is_known_and_fits_a_message() {
        let start = NaiveDate::from_ymd_opt(2026, 3, 9);

        let full = invitation("Forklift driver", Some("Truganina"), start);
        let bare = invitation(&"x".repeat(120), Some(&"y".repeat(80)), start);

        assert!(full.starts_with(
            "We have work for you: Forklift driver in Truganina, starting 9 March 2026."
        ));
        assert!(bare.chars().count() <= 480);
    }
}
