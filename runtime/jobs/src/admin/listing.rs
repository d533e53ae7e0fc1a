//! Listing jobs without reading all of them.
//!
//! Finished jobs may be there in millions, so every question has a bound. A page walks an index
//! from the newest job on; what no index knows (a tag, a field of the arguments, the text of an
//! error) is compared for a *window* of jobs, and the page says where to look further.

use kernel::{JobId, OrgId};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::AdminError;
use super::filter::{Document, JobFilter, Moment, Side};
use crate::job::{all_columns, job_columns};
use crate::{JobRow, JobState, Queues, database};

/// A page of jobs has at most so many.
pub const PAGE_MAX: u32 = 500;
/// So many jobs are compared with what no index knows, before a page ends.
pub const WINDOW: u32 = 20_000;

/// Some jobs, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct JobPage {
    /// The jobs. There may be none, and still more behind the cursor.
    pub jobs: Vec<JobRow>,
    /// Where the next page begins, if there may be one: the cursor to ask for it with.
    pub next: Option<JobId>,
}

/// Jobs that fit a filter, newest first, older than the cursor; a page of them.
pub async fn list_jobs(
    queues: &Queues,
    filter: &JobFilter,
    cursor: Option<JobId>,
    limit: u32,
) -> Result<JobPage, AdminError> {
    let limit = limit.clamp(1, PAGE_MAX);
    let mut transaction = database::begin(queues.pool()).await?;
    let page = page(&mut transaction, filter, cursor, limit).await?;
    transaction.commit().await?;
    Ok(page)
}

/// A page, in the caller's transaction.
pub(crate) async fn page(
    connection: &mut PgConnection,
    filter: &JobFilter,
    cursor: Option<JobId>,
    limit: u32,
) -> Result<JobPage, sqlx::Error> {
    let window = Window::of(connection, filter, cursor, limit).await?;
    let mut query = QueryBuilder::new(concat!("select ", job_columns!(), " from "));
    window.push(&mut query);
    window.push_rest(&mut query);
    query.push(" order by job.id desc limit ").push_bind(i64::from(limit));
    let jobs: Vec<JobRow> =
        query.build_query_as().persistent(false).fetch_all(&mut *connection).await?;
    let is_full = jobs.len() == limit as usize;
    let next = match jobs.last() {
        Some(last) if is_full => Some(last.job_id),
        _ => window.end(connection).await?,
    };
    Ok(JobPage { jobs, next })
}

/// The newest jobs below a cursor that an index finds, at most so many.
pub(super) struct Window<'f> {
    filter: &'f JobFilter,
    cursor: Option<JobId>,
    length: u32,
    /// Where finished jobs are looked for: in these queues and states, or everywhere.
    finished: Finished,
}

enum Finished {
    /// None of them can fit.
    Nowhere,
    /// By their own index.
    Everywhere,
    /// In each of these queues in each of these states, which is how they are indexed.
    In(Vec<String>, Vec<JobState>),
}

impl<'f> Window<'f> {
    pub(super) async fn of(
        connection: &mut PgConnection,
        filter: &'f JobFilter,
        cursor: Option<JobId>,
        wanted: u32,
    ) -> Result<Self, sqlx::Error> {
        let states: Vec<JobState> = JobState::ALL
            .into_iter()
            .filter(|state| filter.states.is_empty() || filter.states.contains(state))
            .filter(|state| state.is_final())
            .collect();
        let has_index = has_index(filter) || filter.queues.is_empty() && filter.states.is_empty();
        let finished = match states.as_slice() {
            [] => Finished::Nowhere,
            _ if has_index => Finished::Everywhere,
            _ if filter.queues.is_empty() => Finished::In(queues_of(connection).await?, states),
            _ => Finished::In(filter.queues.clone(), states),
        };
        let length = if has_rest(filter) { WINDOW } else { wanted };
        Ok(Self { filter, cursor, length, finished })
    }

    /// The same without an end.
    pub(super) fn unbounded(mut self) -> Self {
        self.length = u32::MAX;
        self
    }

    /// Everything in it, as a table named `job`.
    pub(super) fn push(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(concat!("(select ", all_columns!("job."), " from ("));
        self.push_table(query, "jobs.jobs");
        push_queues_and_states(query, &self.filter.queues, &self.filter.states);
        self.push_end(query);
        match &self.finished {
            Finished::Nowhere => {}
            Finished::Everywhere => {
                query.push(" union all ");
                self.push_table(query, "jobs.finished");
                push_queues_and_states(query, &self.filter.queues, &self.filter.states);
                self.push_end(query);
            }
            Finished::In(queues, states) => {
                let places = queues.iter().flat_map(|queue| states.iter().map(move |s| (queue, s)));
                for (queue, state) in places {
                    query.push(" union all ");
                    self.push_table(query, "jobs.finished");
                    query.push(" and job.queue = ").push_bind(queue.clone());
                    query.push(" and job.state = ").push_bind(state.name());
                    self.push_end(query);
                }
            }
        }
        query.push(") as job order by job.id desc limit ").push_bind(i64::from(self.length));
        query.push(") as job");
    }

    fn push_table(&self, query: &mut QueryBuilder<Postgres>, table: &str) {
        query.push(concat!("(select ", all_columns!("job."), " from ")).push(table);
        query.push(" as job where true");
        if let Some(cursor) = self.cursor {
            query.push(" and job.id < ").push_bind(cursor);
        }
        push_indexed(query, self.filter);
    }

    fn push_end(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" order by job.id desc limit ").push_bind(i64::from(self.length)).push(")");
    }

    /// What no index knows, as a condition on `job`.
    pub(super) fn push_rest(&self, query: &mut QueryBuilder<Postgres>) {
        query.push(" where true");
        push_rest(query, self.filter);
    }

    /// The last job of it, if there may be others behind.
    pub(super) async fn end(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Option<JobId>, sqlx::Error> {
        if !has_rest(self.filter) {
            return Ok(None);
        }
        let mut query = QueryBuilder::new("select job.id from ");
        self.push(&mut query);
        query.push(" order by job.id desc offset ").push_bind(i64::from(self.length) - 1);
        query.build_query_scalar().persistent(false).fetch_optional(connection).await
    }
}

/// The queues of the finished jobs, by so many looks into the index and not by reading it.
pub(super) async fn queues_of(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "with recursive known as (
             (select queue from jobs.finished order by queue limit 1)
             union all
             select (
                 select job.queue from jobs.finished as job
                 where job.queue > known.queue order by job.queue limit 1
             )
             from known where known.queue is not null
         )
         select queue from known where queue is not null",
    )
    .fetch_all(connection)
    .await
}

/// Whether an index of its own leads to what fits.
fn has_index(filter: &JobFilter) -> bool {
    !(filter.job_ids.is_empty() && filter.workflow_ids.is_empty() && filter.batch_ids.is_empty())
}

fn has_rest(filter: &JobFilter) -> bool {
    let JobFilter { names, tags, org_ids, priorities, nodes, chains, partitions, .. } = filter;
    let has_values = !(filter.values.is_empty() && filter.times.is_empty());
    let has_texts = [names, tags, nodes, chains, partitions, &filter.errors];
    has_values
        || !(org_ids.is_empty() && priorities.is_empty())
        || has_texts.iter().any(|texts| !texts.is_empty())
}

fn push_queues_and_states(
    query: &mut QueryBuilder<Postgres>,
    queues: &[String],
    states: &[JobState],
) {
    if !queues.is_empty() {
        query.push(" and job.queue = any(").push_bind(queues.to_vec()).push(")");
    }
    if !states.is_empty() {
        let names: Vec<&str> = states.iter().map(|state| state.name()).collect();
        query.push(" and job.state = any(").push_bind(names).push(")");
    }
}

fn push_indexed(query: &mut QueryBuilder<Postgres>, filter: &JobFilter) {
    let ids = |ids: &[Uuid]| ids.to_vec();
    if !filter.job_ids.is_empty() {
        let job_ids: Vec<Uuid> = filter.job_ids.iter().map(|id| id.uuid()).collect();
        query.push(" and job.id = any(").push_bind(job_ids).push(")");
    }
    if !filter.workflow_ids.is_empty() {
        query.push(" and job.workflow_id = any(").push_bind(ids(&filter.workflow_ids)).push(")");
    }
    if !filter.batch_ids.is_empty() {
        query.push(" and job.batch_id = any(").push_bind(ids(&filter.batch_ids)).push(")");
    }
}

fn push_rest(query: &mut QueryBuilder<Postgres>, filter: &JobFilter) {
    let lists = [
        ("job.name", &filter.names),
        ("job.chain_key", &filter.chains),
        ("job.partition_key", &filter.partitions),
    ];
    for (column, texts) in lists.into_iter().filter(|(_, texts)| !texts.is_empty()) {
        query.push(" and ").push(column).push(" = any(").push_bind(texts.clone()).push(")");
    }
    if !filter.tags.is_empty() {
        query.push(" and job.tags @> ").push_bind(filter.tags.clone());
    }
    if !filter.org_ids.is_empty() {
        let org_ids: Vec<Uuid> = filter.org_ids.iter().copied().map(OrgId::uuid).collect();
        query.push(" and job.org_id = any(").push_bind(org_ids).push(")");
    }
    if !filter.priorities.is_empty() {
        query.push(" and job.priority = any(").push_bind(filter.priorities.clone()).push(")");
    }
    if !filter.nodes.is_empty() {
        // An identity is a name, `@` and what tells its starts apart.
        query.push(" and (job.node = any(").push_bind(filter.nodes.clone());
        query.push(") or split_part(job.node, '@', 1) = any(").push_bind(filter.nodes.clone());
        query.push("))");
    }
    for value in &filter.values {
        let column = match value.document {
            Document::Args => "job.args",
            Document::Meta => "job.meta",
        };
        query.push(" and ").push(column).push(" #>> ").push_bind(value.path.clone());
        query.push(" = ").push_bind(value.value.clone());
    }
    for limit in &filter.times {
        let column = match limit.moment {
            Moment::Inserted => "job.inserted_at",
            Moment::Scheduled => "job.scheduled_at",
            Moment::Attempted => "job.attempted_at",
            Moment::Finished => "coalesce(job.completed_at, job.cancelled_at, job.discarded_at)",
        };
        let side = match limit.side {
            Side::Before => " < ",
            Side::After => " >= ",
        };
        query.push(" and ").push(column).push(side).push_bind(limit.at);
    }
    for text in &filter.errors {
        query.push(
            " and exists (select from jsonb_array_elements(job.errors) as failed
             where position(lower(",
        );
        query.push_bind(text.clone()).push(") in lower(failed ->> 'error')) > 0)");
    }
}

/// One job.
pub async fn get_job(queues: &Queues, job_id: JobId) -> Result<JobRow, AdminError> {
    let mut transaction = database::begin(queues.pool()).await?;
    let job = find(&mut transaction, job_id).await?;
    transaction.commit().await?;
    Ok(job)
}

/// One job, in the caller's transaction.
pub(super) async fn find(
    connection: &mut PgConnection,
    job_id: JobId,
) -> Result<JobRow, AdminError> {
    let job = sqlx::query_as(concat!(
        "select ",
        job_columns!(),
        " from jobs.every_job as job where id = $1"
    ))
    .bind(job_id)
    .fetch_optional(connection)
    .await?;
    job.ok_or(AdminError::NoSuchJob(job_id))
}
