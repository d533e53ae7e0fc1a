//! Command jobs: the effect and the completion are committed together, by the job itself.

use std::time::Instant;

use benches::server::{DOMAIN, Database, Server, Speed};
use jobs::{Attempt, Failure, Performed};
use sqlx::AssertSqlSafe;
use store::Sessions;

use crate::node::{Node, performing};
use crate::noop::until_completed;

/// What a command changes.
pub(crate) const TABLE: &str = "create table recruit.effects (job_id uuid primary key);
    grant insert on recruit.effects to recruit;";

/// As many at once as there are sessions for commands.
const LIMIT: u32 = 30;

/// Performs the `count` jobs that wait as commands, and says how fast.
pub(crate) async fn measure(server: &Server, database: &Database, count: usize) -> Speed {
    let (begun, before) = (Instant::now(), server.spent_seconds());
    let node = Node::of_domain(database, LIMIT, |pool| {
        let sessions = Sessions::new(pool.clone());
        performing(move |attempt| {
            let sessions = sessions.clone();
            async move {
                let effect = have_effect(&sessions, &attempt).await;
                effect.map_err(|error| Failure::Unavailable(error.to_string()))
            }
        })
    })
    .await;
    let speed = until_completed(server, &node, count, begun, before).await;
    node.stop().await;
    speed
}

/// One command: opened, performed and committed as the platform does it.
async fn have_effect(sessions: &Sessions, attempt: &Attempt) -> Result<Performed, sqlx::Error> {
    let org_id = attempt.scope.org_id;
    let opening = format!(
        "begin; set local role {DOMAIN}; set local search_path = {DOMAIN}; \
         set local app.org_id = '{org_id}'; set local statement_timeout = 5000"
    );
    let now = attempt.attempted_at;
    let mut session = sessions.take().await?;
    let mut transaction = session.begin(AssertSqlSafe(opening)).await?;
    sqlx::query("insert into effects (job_id) values ($1)")
        .bind(attempt.job_id)
        .execute(&mut *transaction)
        .await?;
    let is_owner = jobs::complete(&mut transaction, attempt.job_id, attempt.number, now).await?;
    assert!(is_owner, "nobody else performs the job");
    transaction.commit().await?;
    session.give_back();
    Ok(Performed::AlreadyCompleted)
}
