//! Budgets: what the AI stages of an organisation may spend in a month, stage by stage.
//!
//! Money is reserved before a call and settled after it, so that calls under way can never spend
//! together what is left for one. A reservation belongs to a document and a stage: an attempt that
//! is made again takes up the first one's. At 80 percent a warning is told, at 100 percent the
//! stage stops.

pub(crate) mod breaker;
pub(crate) mod guard;

use chrono::{Datelike, Months, NaiveDate, NaiveTime};
use contracts::onboard::{DocumentId, Stage, StageBudgetRanLow};
use platform::{Access, Command, Limit, Listing, Query, Result, Snapshot, Spec, Timestamp, Tx};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};

use crate::pipeline::finding::{stage_from_name, stage_name};

/// The limit of a stage that has none yet: 20 dollars a month.
const LIMIT_MICRO_DOLLARS: u64 = 20_000_000;
/// From here on a warning is told.
const WARN_PERCENT: u64 = 80;

/// What a stage may spend in a month, and what it has spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StageBudget {
    /// The stage.
    pub stage: Stage,
    /// The first day of the month.
    pub period: NaiveDate,
    /// What it may spend, in millionths of a US dollar.
    pub limit_micro_dollars: u64,
    /// What it has spent or reserved, in millionths of a US dollar.
    pub committed_micro_dollars: u64,
}

/// What the ledger says to a reservation. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Judgement {
    is_granted: bool,
    /// The share of the budget that is used after it: 100 when it was refused.
    used_percent: u16,
}

fn judge(limit: u64, committed: u64, asked: u64) -> Judgement {
    let wanted = committed.saturating_add(asked);
    if wanted > limit {
        return Judgement { is_granted: false, used_percent: 100 };
    }
    let used = (u128::from(wanted) * 100).checked_div(u128::from(limit)).unwrap_or(100);
    let used_percent = u16::try_from(used).expect("what is granted is at most the limit");
    Judgement { is_granted: true, used_percent }
}

/// The share to warn of, if it is higher than the one warned of before.
fn warning(used_percent: u16, warned_percent: u16) -> Option<u16> {
    let reached = match u64::from(used_percent) {
        100.. => 100,
        WARN_PERCENT.. => 80,
        _ => 0,
    };
    (reached > warned_percent).then_some(reached)
}

fn period_of(now: Timestamp) -> NaiveDate {
    now.date_naive().with_day(1).expect("every month has a first day")
}

fn roll_over(period: NaiveDate) -> Timestamp {
    (period + Months::new(1)).and_time(NaiveTime::MIN).and_utc()
}

/// Reserves money for one stage of one document; the budget guard asks.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ReserveBudget {
    pub(crate) document_id: DocumentId,
    pub(crate) stage: Stage,
    pub(crate) micro_dollars: u64,
}

/// What the ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reservation {
    /// The money is reserved.
    Granted,
    /// The budget of this month is used up.
    Exhausted {
        /// When the next month begins.
        rolls_over_at: Timestamp,
    },
}

impl Command for ReserveBudget {
    const SPEC: Spec = Spec::internal("reserve_budget");
    type Output = Reservation;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Reservation> {
        let (stage, period) = (self.stage, period_of(tx.now()));
        let (budget, warned_percent) = lock(tx, stage, period).await?;
        if is_reserved(tx, self.document_id, stage).await? {
            return Ok(Reservation::Granted);
        }
        let limit_micro_dollars = budget.limit_micro_dollars;
        let judgement =
            judge(limit_micro_dollars, budget.committed_micro_dollars, self.micro_dollars);
        if judgement.is_granted {
            insert_reservation(tx, &self, period).await?;
        }
        if let Some(used_percent) = warning(judgement.used_percent, warned_percent) {
            mark_warned(tx, stage, period, used_percent).await?;
            let ran_low = StageBudgetRanLow { stage, used_percent, limit_micro_dollars };
            tx.append(&ran_low).await?;
        }
        if judgement.is_granted {
            return Ok(Reservation::Granted);
        }
        Ok(Reservation::Exhausted { rolls_over_at: roll_over(period) })
    }
}

/// Set what an AI stage may spend in a month.
///
/// It holds for this month and those that follow. A stage whose budget is used up goes on within a
/// minute after the limit was raised.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetStageBudget {
    /// The stage.
    pub stage: Stage,
    /// What it may spend in a month, in millionths of a US dollar: up to 10000 dollars.
    #[schemars(range(min = 0, max = 10_000_000_000_u64))]
    pub limit_micro_dollars: u64,
}

impl Command for SetStageBudget {
    const SPEC: Spec = Spec::replace("set_stage_budget", "/budgets");
    type Output = StageBudget;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<StageBudget> {
        let period = period_of(tx.now());
        lock(tx, self.stage, period).await?;
        let budget = sqlx::query_as(
            "update onboard.budgets
             set limit_micro_dollars = $4, warned_percent = 0
             where org_id = $1 and stage = $2 and period = $3
             returning stage, period, limit_micro_dollars, committed_micro_dollars",
        )
        .bind(tx.org_id())
        .bind(stage_name(self.stage))
        .bind(period)
        .bind(self.limit_micro_dollars.cast_signed())
        .fetch_one(tx.connection())
        .await?;
        Ok(budget)
    }
}

/// List what the AI stages may spend and have spent, this month and before, newest month first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListStageBudgets {
    /// Budgets at most, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<platform::Cursor>,
}

impl Query for ListStageBudgets {
    const SPEC: Spec = Spec::read("list_stage_budgets", "/budgets").needs(Access::Read);
    type Output = Listing<StageBudget>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<StageBudget>> {
        let before: Option<(NaiveDate, Stage)> =
            self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select stage, period, limit_micro_dollars, committed_micro_dollars
             from onboard.budgets
             where org_id = $1 and ($2::date is null or (period, stage) < ($2, $3::text))
             order by period desc, stage desc
             limit $4",
        )
        .bind(db.org_id())
        .bind(before.map(|(period, _)| period))
        .bind(before.map(|(_, stage)| stage_name(stage)))
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |budget: &StageBudget| (budget.period, budget.stage)))
    }
}

/// Settles what was reserved for a stage of a document with what it cost. What was reserved for
/// nothing, such as a stage without AI, is settled by doing nothing.
pub(crate) async fn settle(
    tx: &mut Tx<'_>,
    document_id: DocumentId,
    stage: Stage,
    cost_micro_dollars: u64,
) -> Result<()> {
    sqlx::query(
        "with settled as (
             update onboard.reservations
             set settled_micro_dollars = $4
             where org_id = $1
                 and document_id = $2
                 and stage = $3
                 and settled_micro_dollars is null
             returning period, reserved_micro_dollars
         )
         update onboard.budgets
         set committed_micro_dollars =
             greatest(0, committed_micro_dollars - settled.reserved_micro_dollars + $4)
         from settled
         where org_id = $1 and stage = $3 and budgets.period = settled.period",
    )
    .bind(tx.org_id())
    .bind(document_id)
    .bind(stage_name(stage))
    .bind(cost_micro_dollars.cast_signed())
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Locks the budget of a month against other reservations. A new month takes over the last limit.
async fn lock(tx: &mut Tx<'_>, stage: Stage, period: NaiveDate) -> Result<(StageBudget, u16)> {
    sqlx::query(
        "insert into onboard.budgets (
             org_id, stage, period, limit_micro_dollars, committed_micro_dollars
         )
         select $1, $2, $3, coalesce(
             (
                 select limit_micro_dollars
                 from onboard.budgets
                 where org_id = $1 and stage = $2
                 order by period desc
                 limit 1
             ),
             $4
         ), 0
         on conflict (org_id, stage, period) do nothing",
    )
    .bind(tx.org_id())
    .bind(stage_name(stage))
    .bind(period)
    .bind(LIMIT_MICRO_DOLLARS.cast_signed())
    .execute(tx.connection())
    .await?;
    let row = sqlx::query(
        "select stage, period, limit_micro_dollars, committed_micro_dollars, warned_percent
         from onboard.budgets
         where org_id = $1 and stage = $2 and period = $3
         for update",
    )
    .bind(tx.org_id())
    .bind(stage_name(stage))
    .bind(period)
    .fetch_one(tx.connection())
    .await?;
    let warned_percent: i16 = row.try_get("warned_percent")?;
    Ok((StageBudget::from_row(&row)?, warned_percent.cast_unsigned()))
}

async fn is_reserved(tx: &mut Tx<'_>, document_id: DocumentId, stage: Stage) -> Result<bool> {
    let is_reserved = sqlx::query_scalar(
        "select exists (
             select from onboard.reservations
             where org_id = $1 and document_id = $2 and stage = $3
         )",
    )
    .bind(tx.org_id())
    .bind(document_id)
    .bind(stage_name(stage))
    .fetch_one(tx.connection())
    .await?;
    Ok(is_reserved)
}

async fn insert_reservation(
    tx: &mut Tx<'_>,
    budget: &ReserveBudget,
    period: NaiveDate,
) -> Result<()> {
    sqlx::query(
        "with reserved as (
             insert into onboard.reservations (
                 org_id, document_id, stage, period, reserved_micro_dollars, created_at
             ) values ($1, $2, $3, $4, $5, $6)
         )
         update onboard.budgets
         set committed_micro_dollars = committed_micro_dollars + $5
         where org_id = $1 and stage = $3 and period = $4",
    )
    .bind(tx.org_id())
    .bind(budget.document_id)
    .bind(stage_name(budget.stage))
    .bind(period)
    .bind(budget.micro_dollars.cast_signed())
    .bind(tx.now())
    .execute(tx.connection())
    .await?;
    Ok(())
}

async fn mark_warned(tx: &mut Tx<'_>, stage: Stage, period: NaiveDate, percent: u16) -> Result<()> {
    sqlx::query(
        "update onboard.budgets
         set warned_percent = $4
         where org_id = $1 and stage = $2 and period = $3",
    )
    .bind(tx.org_id())
    .bind(stage_name(stage))
    .bind(period)
    .bind(percent.cast_signed())
    .execute(tx.connection())
    .await?;
    Ok(())
}

impl FromRow<'_, PgRow> for StageBudget {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            stage: stage_from_name(row.try_get("stage")?)?,
            period: row.try_get("period")?,
            limit_micro_dollars: row.try_get::<i64, _>("limit_micro_dollars")?.cast_unsigned(),
            committed_micro_dollars: row
                .try_get::<i64, _>("committed_micro_dollars")?
                .cast_unsigned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_warning_is_told_once_at_eighty_and_once_at_a_hundred() {
        let cases = [
            (79, 0, None),
            (80, 0, Some(80)),
            (99, 80, None),
            (100, 80, Some(100)),
            (100, 100, None),
        ];

        for (used, warned, expected) in cases {
            assert_eq!(warning(used, warned), expected, "{used} after {warned}");
        }
    }

    #[test]
    fn a_month_ends_when_the_next_begins() {
        let now = "2026-12-31T23:59:59Z".parse().expect("the text is a time");

        let ends = roll_over(period_of(now));

        assert_eq!(ends.to_rfc3339(), "2027-01-01T00:00:00+00:00");
    }

    proptest! {
        #[test]
        fn what_is_granted_never_exceeds_the_limit(
            limit in 0_u64..1_000, asked in prop::collection::vec(0_u64..200, 0..50),
        ) {
            let mut committed = 0;
            for asked in asked {
                let judgement = judge(limit, committed, asked);
                prop_assert!(judgement.used_percent <= 100);
                if judgement.is_granted {
                    committed += asked;
                }
                prop_assert!(committed <= limit);
            }
        }
    }
}
