//! The pipeline: how many people have come how far for each job order.
//!
//! A read model over what recruit and onboard tell. Nobody waits for it, so it may be a moment
//! behind, and it can be made again from the events at any time.

mod reading;

use std::collections::BTreeMap;

use contracts::onboard::CredentialsChecked;
use contracts::recruit::{
    CandidateShortlisted, CandidatesScored, JobOrderCancelled, JobOrderFilled, JobOrderId,
    JobOrderOpened, OutreachSent,
};
use platform::{
    Fold, Folding, Projecting, Projection, Recorded, Result, Rows, Timestamp, projection,
};

pub use self::reading::{ListPipeline, PipelineOrder, PipelineTotals, ShowPipeline};
use crate::job_order::JobOrderState;

/// How many people have come how far for each job order.
#[derive(Debug)]
pub(crate) struct Pipeline;

/// The projection, declared.
pub(crate) fn pipeline() -> Projecting<Pipeline> {
    projection::<Pipeline>()
        .fold::<JobOrderOpened>()
        .fold::<CandidatesScored>()
        .fold::<CredentialsChecked>()
        .fold::<CandidateShortlisted>()
        .fold::<OutreachSent>()
        .fold::<JobOrderFilled>()
        .fold::<JobOrderCancelled>()
}

impl Projection for Pipeline {
    const NAME: &'static str = "pipeline";
    const TABLES: &'static [&'static str] = &["pipeline"];
}

/// What a batch of events changes about one job order. What is not known leaves a row as it is.
#[derive(Debug, Default)]
pub(crate) struct Change {
    opened: Option<(JobOrderOpened, Timestamp)>,
    scored: Option<u32>,
    eligible: Option<u32>,
    /// So many more.
    shortlisted: u32,
    /// So many more.
    invited: u32,
    placed: Option<u32>,
    closed: Option<(JobOrderState, Timestamp)>,
    changed_at: Timestamp,
}

/// What a batch changes, order by order.
#[derive(Debug, Default)]
pub(crate) struct Changes(BTreeMap<JobOrderId, Change>);

impl Changes {
    fn of<E>(&mut self, job_order_id: JobOrderId, event: &Recorded<E>) -> &mut Change {
        let change = self.0.entry(job_order_id).or_default();
        change.changed_at = event.recorded_at;
        change
    }
}

impl Fold<JobOrderOpened> for Pipeline {
    fn fold(changes: &mut Changes, event: &Recorded<JobOrderOpened>) {
        let opened = (event.data.clone(), event.recorded_at);
        changes.of(event.data.job_order_id, event).opened = Some(opened);
    }
}

impl Fold<CandidatesScored> for Pipeline {
    fn fold(changes: &mut Changes, event: &Recorded<CandidatesScored>) {
        changes.of(event.data.job_order_id, event).scored = Some(event.data.scored_count);
    }
}

impl Fold<CredentialsChecked> for Pipeline {
    fn fold(changes: &mut Changes, event: &Recorded<CredentialsChecked>) {
        changes.of(event.data.job_order_id, event).eligible = Some(event.data.eligible_count);
    }
}

impl Fold<CandidateShortlisted> for Pipeline {
    fn fold(changes: &mut Changes, event: &Recorded<CandidateShortlisted>) {
        changes.of(event.data.job_order_id, event).shortlisted += 1;
    }
}

impl Fold<OutreachSent> for Pipeline {
    fn fold(changes: &mut Changes, event: &Recorded<OutreachSent>) {
        changes.of(event.data.job_order_id, event).invited += 1;
    }
}

impl Fold<JobOrderFilled> for Pipeline {
    fn fold(changes: &mut Changes, event: &Recorded<JobOrderFilled>) {
        let change = changes.of(event.data.job_order_id, event);
        change.placed = u32::try_from(event.data.candidate_ids.len()).ok();
        change.closed = Some((JobOrderState::Filled, event.recorded_at));
    }
}

impl Fold<JobOrderCancelled> for Pipeline {
    fn fold(changes: &mut Changes, event: &Recorded<JobOrderCancelled>) {
        let closed = Some((JobOrderState::Cancelled, event.recorded_at));
        changes.of(event.data.job_order_id, event).closed = closed;
    }
}

impl Folding for Pipeline {
    type Changes = Changes;

    async fn write(rows: &mut Rows<'_>, Changes(changes): Changes) -> Result<()> {
        let (opened, known): (BTreeMap<_, _>, BTreeMap<_, _>) =
            changes.into_iter().partition(|(_, change)| change.opened.is_some());
        if !opened.is_empty() {
            insert(rows, &opened).await?;
        }
        if !known.is_empty() {
            update(rows, &known).await?;
        }
        Ok(())
    }
}

fn closing(change: &Change) -> (Option<&'static str>, Option<Timestamp>) {
    change.closed.map(|(state, at)| (state.name(), at)).unzip()
}

/// Writes the orders that were opened in this batch, with what has happened to them since.
async fn insert(rows: &mut Rows<'_>, orders: &BTreeMap<JobOrderId, Change>) -> Result<()> {
    let opened = || orders.values().filter_map(|order| order.opened.as_ref());
    let (states, closed): (Vec<_>, Vec<_>) = orders.values().map(closing).unzip();
    let org_id = rows.org_id();
    sqlx::query(
        "insert into pipeline (
             org_id, job_order_id, title, client_name, headcount, state, scored, eligible,
             shortlisted, invited, placed, opened_at, closed_at, changed_at
         )
         select $1, job_order_id, title, client_name, headcount, coalesce(state, 'open'),
             coalesce(scored, 0), coalesce(eligible, 0), shortlisted, invited,
             coalesce(placed, 0), opened_at, closed_at, changed_at
         from unnest(
             $2::uuid[], $3::text[], $4::text[], $5::int[], $6::text[], $7::int[], $8::int[],
             $9::int[], $10::int[], $11::int[], $12::timestamptz[], $13::timestamptz[],
             $14::timestamptz[]
         ) as opened (
             job_order_id, title, client_name, headcount, state, scored, eligible, shortlisted,
             invited, placed, opened_at, closed_at, changed_at
         )",
    )
    .bind(org_id)
    .bind(orders.keys().map(|id| id.uuid()).collect::<Vec<_>>())
    .bind(opened().map(|(order, _)| order.title.as_str()).collect::<Vec<_>>())
    .bind(opened().map(|(order, _)| order.client_name.as_deref()).collect::<Vec<_>>())
    .bind(opened().map(|(order, _)| order.headcount.cast_signed()).collect::<Vec<_>>())
    .bind(states)
    .bind(numbers(orders, |order| order.scored))
    .bind(numbers(orders, |order| order.eligible))
    .bind(numbers(orders, |order| Some(order.shortlisted)))
    .bind(numbers(orders, |order| Some(order.invited)))
    .bind(numbers(orders, |order| order.placed))
    .bind(opened().map(|(_, at)| *at).collect::<Vec<_>>())
    .bind(closed)
    .bind(orders.values().map(|order| order.changed_at).collect::<Vec<_>>())
    .execute(rows.connection())
    .await?;
    Ok(())
}

/// Writes what has happened to orders that were opened before this batch.
async fn update(rows: &mut Rows<'_>, orders: &BTreeMap<JobOrderId, Change>) -> Result<()> {
    let (states, closed): (Vec<_>, Vec<_>) = orders.values().map(closing).unzip();
    let org_id = rows.org_id();
    sqlx::query(
        "update pipeline
         set state = coalesce(change.state, pipeline.state),
             scored = coalesce(change.scored, pipeline.scored),
             eligible = coalesce(change.eligible, pipeline.eligible),
             shortlisted = pipeline.shortlisted + change.shortlisted,
             invited = pipeline.invited + change.invited,
             placed = coalesce(change.placed, pipeline.placed),
             closed_at = coalesce(change.closed_at, pipeline.closed_at),
             changed_at = change.changed_at
         from unnest(
             $2::uuid[], $3::text[], $4::int[], $5::int[], $6::int[], $7::int[], $8::int[],
             $9::timestamptz[], $10::timestamptz[]
         ) as change (
             job_order_id, state, scored, eligible, shortlisted, invited, placed, closed_at,
             changed_at
         )
         where pipeline.org_id = $1 and pipeline.job_order_id = change.job_order_id",
    )
    .bind(org_id)
    .bind(orders.keys().map(|id| id.uuid()).collect::<Vec<_>>())
    .bind(states)
    .bind(numbers(orders, |order| order.scored))
    .bind(numbers(orders, |order| order.eligible))
    .bind(numbers(orders, |order| Some(order.shortlisted)))
    .bind(numbers(orders, |order| Some(order.invited)))
    .bind(numbers(orders, |order| order.placed))
    .bind(closed)
    .bind(orders.values().map(|order| order.changed_at).collect::<Vec<_>>())
    .execute(rows.connection())
    .await?;
    Ok(())
}

fn numbers(
    orders: &BTreeMap<JobOrderId, Change>,
    of: impl Fn(&Change) -> Option<u32>,
) -> Vec<Option<i32>> {
    orders.values().map(|order| of(order).map(u32::cast_signed)).collect()
}
