//! Job orders: a client asks for people.
//!
//! An order is open until it is filled or cancelled, and neither can be undone: other domains have
//! acted on it by then, so a mistake is mended by a new order.

mod closing;
mod reading;

use chrono::NaiveDate;
use contracts::recruit::{CandidateId, JobOrderId, JobOrderOpened};
use platform::{Command, Reason, Result, Spec, Timestamp, Tx, trimmed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::code::codes;

pub use self::closing::{CancelJobOrder, FillJobOrder};
pub(crate) use self::reading::must_be_known;
pub use self::reading::{GetJobOrder, ListJobOrders};

/// The code of the refusal to change a closed order.
pub(crate) const NOT_OPEN: &str = "job_order_not_open";
/// The longest a start may lie ahead, in days.
const AHEAD_DAYS_MAX: i64 = 730;
/// The shift of an order that names none: eight hours from six in the morning, for five days.
const DEFAULT_SHIFT: (u16, u16, u16) = (360, 480, 5);

/// A client's request for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobOrder {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// Title shown to candidates.
    #[schemars(example = "Forklift driver")]
    pub title: String,
    /// The client's business name, if already known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = "Bayside Logistics")]
    pub client_name: Option<String>,
    /// People the client asked for.
    #[schemars(example = 4)]
    pub headcount: u32,
    /// Where the work is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"Werribee")]
    pub suburb: Option<String>,
    /// Postcode of the place of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = "3030")]
    pub postcode: Option<String>,
    /// Skills wanted, as codes.
    pub skills: Vec<String>,
    /// Credentials each person must hold, as codes.
    pub credentials_required: Vec<String>,
    /// First day of work, if already known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_on: Option<NaiveDate>,
    /// Start of the shift, in minutes after midnight.
    #[schemars(example = 360)]
    pub shift_starts_minute: u16,
    /// Length of one shift, in minutes.
    #[schemars(example = 480)]
    pub shift_minutes: u16,
    /// Number of days worked.
    #[schemars(example = 5)]
    pub shift_days: u16,
    /// What the client pays per person and hour, in cents, if already agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = 5200)]
    pub charge_rate_cents: Option<u32>,
    /// Whether people are still being looked for.
    pub state: JobOrderState,
    /// Why it was cancelled, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = "The client found somebody")]
    pub cancel_reason: Option<String>,
    /// When it was opened.
    pub created_at: Timestamp,
}

/// How far a job order is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum JobOrderState {
    /// People are being looked for.
    Open,
    /// Everybody asked for was found.
    Filled,
    /// The client no longer needs anybody.
    Cancelled,
}

impl JobOrderState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Filled => "filled",
            Self::Cancelled => "cancelled",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::Open, Self::Filled, Self::Cancelled].into_iter().find(|state| state.name() == name)
    }
}

impl JobOrder {
    /// A client must ask for somebody, and soon enough to plan for.
    fn open(command: OpenJobOrder, now: Timestamp) -> Result<Self> {
        let OpenJobOrder { headcount, starts_on, charge_rate_cents, .. } = command;
        if !(1..=500).contains(&headcount) {
            return Err(Refusal::Headcount(headcount).into());
        }
        let today = now.date_naive();
        if let Some(starts_on) = starts_on
            && !(0..=AHEAD_DAYS_MAX).contains(&(starts_on - today).num_days())
        {
            return Err(Refusal::StartsOn(starts_on).into());
        }
        if let Some(postcode) = &command.postcode {
            check_postcode(postcode)?;
        }
        let (starts_minute, minutes, days) = DEFAULT_SHIFT;
        let named = |pointer, text: Option<String>, max| {
            text.map(|text| trimmed(pointer, &text, 2..=max)).transpose()
        };
        Ok(Self {
            job_order_id: JobOrderId::new(),
            title: trimmed("/title", &command.title, 3..=120)?,
            client_name: named("/client_name", command.client_name, 120)?,
            headcount,
            suburb: named("/suburb", command.suburb, 80)?,
            postcode: command.postcode,
            skills: codes("/skills", command.skills)?,
            credentials_required: codes("/credentials_required", command.credentials_required)?,
            starts_on,
            shift_starts_minute: command.shift_starts_minute.unwrap_or(starts_minute),
            shift_minutes: command.shift_minutes.unwrap_or(minutes),
            shift_days: command.shift_days.unwrap_or(days),
            charge_rate_cents,
            state: JobOrderState::Open,
            cancel_reason: None,
            created_at: now,
        })
    }

    fn opened(&self) -> JobOrderOpened {
        JobOrderOpened {
            job_order_id: self.job_order_id,
            title: self.title.clone(),
            client_name: self.client_name.clone(),
            headcount: self.headcount,
            credentials_required: self.credentials_required.clone(),
            starts_on: self.starts_on,
            shift_starts_minute: self.shift_starts_minute,
            shift_minutes: self.shift_minutes,
            shift_days: self.shift_days,
            charge_rate_cents: self.charge_rate_cents,
        }
    }
}

/// Refuses what cannot be an Australian postcode.
pub(crate) fn check_postcode(postcode: &str) -> Result<(), Refusal> {
    let is_postcode = postcode.len() == 4 && postcode.bytes().all(|byte| byte.is_ascii_digit());
    if is_postcode { Ok(()) } else { Err(Refusal::Postcode(postcode.to_owned())) }
}

/// What the rules of job orders say no to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a job order asks for 1 to 500 people, not {0}")]
    Headcount(u32),
    #[error("work cannot start on {0}: choose a day from today to two years ahead")]
    StartsOn(NaiveDate),
    #[error("`{0}` is no postcode: four digits are expected, as in 3029")]
    Postcode(String),
    #[error("there is no job order {0}")]
    NotFound(JobOrderId),
    #[error("job order {0} is {state}, so nothing about it can change", state = .1.name())]
    NotOpen(JobOrderId, JobOrderState),
    #[error("{needed} different candidates are needed to fill the order, not {given}")]
    WrongCount { needed: u32, given: usize },
    #[error("candidate {0} is not on the shortlist; shortlist the candidate first")]
    NotShortlisted(CandidateId),
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::Headcount(_) => Reason::invalid("headcount").at("/headcount"),
            Self::StartsOn(_) => Reason::invalid("starts_on").at("/starts_on"),
            Self::Postcode(_) => Reason::invalid("postcode").at("/postcode"),
            Self::NotFound(_) => Reason::not_found("job_order_not_found").at("/job_order_id"),
            Self::NotOpen(..) => Reason::conflict(NOT_OPEN),
            Self::WrongCount { .. } => Reason::invalid("wrong_count").at("/candidate_ids"),
            Self::NotShortlisted(_) => Reason::conflict("not_shortlisted").at("/candidate_ids"),
        }
    }
}

/// Open a job order for a client.
///
/// Candidates are scored as soon as the order is open; a roster template, a billing record, a check
/// of credentials and a confirmation follow by themselves. Only title and headcount are needed.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenJobOrder {
    /// Title shown to candidates, 3 to 120 characters.
    #[schemars(length(min = 3, max = 120))]
    #[schemars(example = "Forklift driver")]
    pub title: String,
    /// People the client asked for, 1 to 500.
    #[schemars(range(min = 1, max = 500))]
    #[schemars(example = 4)]
    pub headcount: u32,
    /// The client's business name, if already known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 120))]
    #[schemars(example = "Bayside Logistics")]
    pub client_name: Option<String>,
    /// Suburb of the place of work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 80))]
    #[schemars(example = &"Werribee")]
    pub suburb: Option<String>,
    /// Postcode of the place of work, four digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9]{4}$"))]
    #[schemars(example = "3030")]
    pub postcode: Option<String>,
    /// Skills wanted, as codes, for example `pallet_stacking`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(regex(pattern = "^[a-z][a-z0-9_]{0,47}$")))]
    pub skills: Vec<String>,
    /// Credentials each person must hold, as codes, for example `forklift_licence`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(regex(pattern = "^[a-z][a-z0-9_]{0,47}$")))]
    pub credentials_required: Vec<String>,
    /// First day of work, from today to two years ahead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts_on: Option<NaiveDate>,
    /// Start of the shift, in minutes after midnight; 360, six in the morning, unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1439))]
    #[schemars(example = 360)]
    pub shift_starts_minute: Option<u16>,
    /// Length of one shift in minutes, 60 to 720; 480 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 60, max = 720))]
    #[schemars(example = 480)]
    pub shift_minutes: Option<u16>,
    /// Number of days worked, 1 to 365; 5 unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 365))]
    #[schemars(example = 5)]
    pub shift_days: Option<u16>,
    /// What the client pays per person and hour, in cents, if already agreed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    #[schemars(example = 5200)]
    pub charge_rate_cents: Option<u32>,
}

impl Command for OpenJobOrder {
    const SPEC: Spec = Spec::create("open_job_order", "/job_orders");
    type Output = JobOrder;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<JobOrder> {
        let order = JobOrder::open(self, tx.now())?;
        insert(tx, &order).await?;
        tx.append(&order.opened()).await?;
        Ok(order)
    }
}

async fn insert(tx: &mut Tx<'_>, order: &JobOrder) -> Result<()> {
    let org_id = tx.org_id();
    sqlx::query(
        "insert into recruit.job_orders (
             org_id, job_order_id, title, client_name, headcount, suburb, postcode, skills,
             credentials_required, starts_on, shift_starts_minute, shift_minutes, shift_days,
             charge_rate_cents, state, created_at, updated_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $16)",
    )
    .bind(org_id)
    .bind(order.job_order_id)
    .bind(&order.title)
    .bind(&order.client_name)
    .bind(order.headcount.cast_signed())
    .bind(&order.suburb)
    .bind(&order.postcode)
    .bind(&order.skills)
    .bind(&order.credentials_required)
    .bind(order.starts_on)
    .bind(order.shift_starts_minute.cast_signed())
    .bind(order.shift_minutes.cast_signed())
    .bind(order.shift_days.cast_signed())
    .bind(order.charge_rate_cents.map(u32::cast_signed))
    .bind(order.state.name())
    .bind(order.created_at)
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Locks an open order against everybody else who would change it, and answers its headcount.
pub(crate) async fn lock_open(tx: &mut Tx<'_>, job_order_id: JobOrderId) -> Result<u32> {
    let org_id = tx.org_id();
    let locked: Option<(String, i32)> = sqlx::query_as(
        "select state, headcount
         from recruit.job_orders
         where org_id = $1 and job_order_id = $2
         for update",
    )
    .bind(org_id)
    .bind(job_order_id)
    .fetch_optional(tx.connection())
    .await?;
    let (state, headcount) = locked.ok_or(Refusal::NotFound(job_order_id))?;
    match JobOrderState::from_name(&state) {
        Some(JobOrderState::Open) => Ok(headcount.cast_unsigned()),
        Some(closed) => Err(Refusal::NotOpen(job_order_id, closed).into()),
        None => Err(platform::Error::failure(format!("job order {job_order_id} is {state}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-03-10T01:00:00Z".parse().expect("the text is a time")
    }

    fn order(title: &str, headcount: u32, starts_on: Option<&str>) -> OpenJobOrder {
        let starts_on = starts_on.map(|day| day.parse().expect("the text is a day"));
        OpenJobOrder { title: title.to_owned(), headcount, starts_on, ..OpenJobOrder::default() }
    }

    #[test]
    fn an_order_needs_a_title_people_and_a_day_that_can_be_planned() {
        let cases = [
            (order(" Forklift driver ", 3, None), None),
            (order("Forklift driver", 500, Some("2026-03-10")), None),
            (order("  F ", 3, None), Some("text_length")),
            (order("Forklift driver", 0, None), Some("headcount")),
            (order("Forklift driver", 501, None), Some("headcount")),
            (order("Forklift driver", 3, Some("2026-03-09")), Some("starts_on")),
            (order("Forklift driver", 3, Some("2028-03-10")), Some("starts_on")),
        ];

        for (command, expected) in cases {
            let label = format!("{command:?}");
            let refused = JobOrder::open(command, now()).err();
            assert_eq!(refused.as_ref().map(platform::Error::code), expected, "{label}");
        }
    }

    #[test]
    fn an_order_without_a_shift_gets_the_usual_one() {
        let order =
            JobOrder::open(order(" Forklift driver ", 3, None), now()).expect("it is allowed");

        assert_eq!(order.title, "Forklift driver");
        assert_eq!(
            (order.shift_starts_minute, order.shift_minutes, order.shift_days),
            (360, 480, 5)
        );
    }
}
