//! Roster templates: the roster a job order will need, drafted before anybody asks.

use chrono::NaiveDate;
use contracts::pulse::{RosterTemplateDrafted, RosterTemplateId};
use contracts::recruit::JobOrderId;
use platform::{
    Command, Cursor, Limit, Listing, OrgId, Query, Reason, Result, Snapshot, Spec, Timestamp, Tx,
    trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, Row};

use crate::shifts::{self, Shift};

/// The draft of a roster for one job order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RosterTemplate {
    /// The draft.
    pub roster_template_id: RosterTemplateId,
    /// The job order it is for.
    pub job_order_id: JobOrderId,
    /// The title of the job order.
    pub title: String,
    /// People needed on each shift.
    pub headcount: u32,
    /// Time to be worked by all people on all shifts, in minutes.
    pub planned_minutes: u64,
    /// The shifts, earliest first; a list leaves them out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shifts: Vec<Shift>,
    /// When it was drafted.
    pub created_at: Timestamp,
}

/// What the rules of roster templates say no to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("there is no roster template {0}")]
    NotFound(RosterTemplateId),
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::NotFound(_) => {
                Reason::not_found("roster_template_not_found").at("/roster_template_id")
            }
        }
    }
}

/// Draft the roster template of a job order.
///
/// It happens by itself when a job order is opened. Drafting again answers the first draft.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DraftRosterTemplate {
    /// The job order it is for.
    pub job_order_id: JobOrderId,
    /// The title of the job order, 3 to 120 characters.
    #[schemars(length(min = 3, max = 120))]
    pub title: String,
    /// People needed on each shift, 1 to 500.
    #[schemars(range(min = 1, max = 500))]
    pub headcount: u32,
    /// First day of work; at a weekend, the Monday after it is taken.
    pub starts_on: NaiveDate,
    /// Start of each shift, in minutes after midnight.
    #[schemars(range(min = 0, max = 1439))]
    pub shift_starts_minute: u16,
    /// Length of one shift in minutes, 60 to 720.
    #[schemars(range(min = 60, max = 720))]
    pub shift_minutes: u16,
    /// Number of days worked, 1 to 365.
    #[schemars(range(min = 1, max = 365))]
    pub shift_days: u16,
}

impl Command for DraftRosterTemplate {
    const SPEC: Spec = Spec::create("draft_roster_template", "/roster_templates");
    type Output = RosterTemplate;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<RosterTemplate> {
        let (org_id, job_order_id) = (tx.org_id(), self.job_order_id);
        let template = RosterTemplate::draft(self, tx.now())?;
        if insert(tx, &template).await? {
            insert_shifts(tx, &template).await?;
            tx.append(&template.drafted()).await?;
            return Ok(template);
        }
        let drafted_before = find_by_job_order(tx.connection(), org_id, job_order_id).await?;
        find(tx.connection(), org_id, drafted_before).await
    }
}

impl RosterTemplate {
    fn draft(command: DraftRosterTemplate, now: Timestamp) -> Result<Self> {
        let DraftRosterTemplate {
            job_order_id,
            title,
            headcount,
            starts_on,
            shift_starts_minute,
            shift_minutes,
            shift_days,
        } = command;
        let shifts = shifts::draft(starts_on, shift_starts_minute, shift_minutes, shift_days);
        let minutes_per_person: u64 = shifts.iter().map(|shift| u64::from(shift.minutes)).sum();
        Ok(Self {
            roster_template_id: RosterTemplateId::new(),
            job_order_id,
            title: trimmed("/title", &title, 3..=120)?,
            headcount,
            planned_minutes: minutes_per_person * u64::from(headcount),
            shifts,
            created_at: now,
        })
    }

    fn drafted(&self) -> RosterTemplateDrafted {
        RosterTemplateDrafted {
            roster_template_id: self.roster_template_id,
            job_order_id: self.job_order_id,
            headcount: self.headcount,
            shift_count: u16::try_from(self.shifts.len()).unwrap_or(u16::MAX),
            planned_minutes: self.planned_minutes,
        }
    }
}

/// Get one roster template with its shifts.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetRosterTemplate {
    /// The draft.
    pub roster_template_id: RosterTemplateId,
}

impl Query for GetRosterTemplate {
    const SPEC: Spec = Spec::read("get_roster_template", "/roster_templates/{roster_template_id}");
    type Output = RosterTemplate;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<RosterTemplate> {
        let org_id = db.org_id();
        find(db.connection(), org_id, self.roster_template_id).await
    }
}

/// List roster templates, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListRosterTemplates {
    /// Only the draft of this job order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_order_id: Option<JobOrderId>,
    /// Drafts on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListRosterTemplates {
    const SPEC: Spec = Spec::read("list_roster_templates", "/roster_templates");
    type Output = Listing<RosterTemplate>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<RosterTemplate>> {
        let before: Option<RosterTemplateId> =
            self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select roster_template_id, job_order_id, title, headcount, planned_minutes, created_at
             from pulse.roster_templates
             where org_id = $1
                 and ($2::uuid is null or job_order_id = $2)
                 and ($3::uuid is null or roster_template_id < $3)
             order by roster_template_id desc
             limit $4",
        )
        .bind(db.org_id())
        .bind(self.job_order_id)
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |template: &RosterTemplate| template.roster_template_id))
    }
}

/// Whether the draft is new, as opposed to the second for its job order.
async fn insert(tx: &mut Tx<'_>, template: &RosterTemplate) -> Result<bool> {
    let inserted = sqlx::query(
        "insert into pulse.roster_templates (
             org_id, roster_template_id, job_order_id, title, headcount, planned_minutes, created_at
         ) values ($1, $2, $3, $4, $5, $6, $7)
         on conflict on constraint roster_templates_once do nothing",
    )
    .bind(tx.org_id())
    .bind(template.roster_template_id)
    .bind(template.job_order_id)
    .bind(&template.title)
    .bind(template.headcount.cast_signed())
    .bind(template.planned_minutes.cast_signed())
    .bind(template.created_at)
    .execute(tx.connection())
    .await?;
    Ok(inserted.rows_affected() > 0)
}

async fn insert_shifts(tx: &mut Tx<'_>, template: &RosterTemplate) -> Result<()> {
    let shifts = &template.shifts;
    let days: Vec<NaiveDate> = shifts.iter().map(|shift| shift.worked_on).collect();
    let starts: Vec<i16> = shifts.iter().map(|shift| shift.starts_minute.cast_signed()).collect();
    let minutes: Vec<i16> = shifts.iter().map(|shift| shift.minutes.cast_signed()).collect();
    sqlx::query(
        "insert into pulse.roster_template_shifts (
             org_id, roster_template_id, shift_number, worked_on, starts_minute, minutes
         )
         select $1, $2, shift_number, worked_on, starts_minute, minutes
         from unnest($3::date[], $4::smallint[], $5::smallint[]) with ordinality
             as drafted (worked_on, starts_minute, minutes, shift_number)",
    )
    .bind(tx.org_id())
    .bind(template.roster_template_id)
    .bind(days)
    .bind(starts)
    .bind(minutes)
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn find_by_job_order(
    connection: &mut PgConnection,
    org_id: OrgId,
    job_order_id: JobOrderId,
) -> Result<RosterTemplateId> {
    let found = sqlx::query_scalar(
        "select roster_template_id
         from pulse.roster_templates
         where org_id = $1 and job_order_id = $2",
    )
    .bind(org_id)
    .bind(job_order_id)
    .fetch_one(connection)
    .await?;
    Ok(found)
}

async fn find(
    connection: &mut PgConnection,
    org_id: OrgId,
    roster_template_id: RosterTemplateId,
) -> Result<RosterTemplate> {
    let found: Option<RosterTemplate> = sqlx::query_as(
        "select roster_template_id, job_order_id, title, headcount, planned_minutes, created_at
         from pulse.roster_templates
         where org_id = $1 and roster_template_id = $2",
    )
    .bind(org_id)
    .bind(roster_template_id)
    .fetch_optional(&mut *connection)
    .await?;
    let mut template = found.ok_or(Refusal::NotFound(roster_template_id))?;
    template.shifts = shifts_of(connection, org_id, roster_template_id).await?;
    Ok(template)
}

async fn shifts_of(
    connection: &mut PgConnection,
    org_id: OrgId,
    roster_template_id: RosterTemplateId,
) -> Result<Vec<Shift>> {
    let rows: Vec<(NaiveDate, i16, i16)> = sqlx::query_as(
        "select worked_on, starts_minute, minutes
         from pulse.roster_template_shifts
         where org_id = $1 and roster_template_id = $2
         order by shift_number",
    )
    .bind(org_id)
    .bind(roster_template_id)
    .fetch_all(connection)
    .await?;
    let shift = |(worked_on, starts_minute, minutes): (NaiveDate, i16, i16)| Shift {
        worked_on,
        starts_minute: starts_minute.cast_unsigned(),
        minutes: minutes.cast_unsigned(),
    };
    Ok(rows.into_iter().map(shift).collect())
}

/// The shifts are rows of their own, which `shifts_of` reads.
impl FromRow<'_, PgRow> for RosterTemplate {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            roster_template_id: row.try_get("roster_template_id")?,
            job_order_id: row.try_get("job_order_id")?,
            title: row.try_get("title")?,
            headcount: row.try_get::<i32, _>("headcount")?.cast_unsigned(),
            planned_minutes: row.try_get::<i64, _>("planned_minutes")?.cast_unsigned(),
            shifts: Vec::new(),
            created_at: row.try_get("created_at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_time_counts_every_person_on_every_shift() {
        let command = DraftRosterTemplate {
            job_order_id: JobOrderId::new(),
            title: "Forklift driver".to_owned(),
            headcount: 3,
            starts_on: NaiveDate::from_ymd_opt(2026, 3, 9).expect("March has that day"),
            shift_starts_minute: 360,
            shift_minutes: 480,
            shift_days: 5,
        };

        let template = RosterTemplate::draft(command, Timestamp::default()).expect("it is allowed");

        assert_eq!(template.planned_minutes, 3 * 480 * 5);
        assert_eq!(template.drafted().shift_count, 5);
    }
}
