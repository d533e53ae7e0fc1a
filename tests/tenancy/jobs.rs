//! Every kind of job, performed for another organisation with ids of ours, and with the very
//! arguments of a job of ours.

use std::collections::BTreeSet;

use jobs::NewJob;
use platform::{Catalog, DomainName, Role, Scope};
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX, TestSystem};
use uuid::Uuid;

use super::operations::MARK;
use super::tables::{digest, rows};
use crate::inputs::{Inputs, id_places_in};
use crate::world::{Ids, clock, every_domain, furnish};

/// A job of Globex.
fn job(domain: DomainName, name: &str, args: Value) -> NewJob {
    let scope = Scope::system(GLOBEX, domain.as_str(), Uuid::now_v7());
    NewJob { max_attempts: 1, ..NewJob::new(domain.as_str(), name, args, scope) }
}

/// One job of every kind, with ids of ours wherever it takes one. A kind whose arguments no schema
/// describes far enough to make them is left to [`repeated`].
fn made(catalog: &Catalog, ours: &Ids) -> Vec<NewJob> {
    let mut made = Vec::new();
    for (domain, name) in catalog.jobs() {
        let schema = catalog.job_schema(domain.as_str(), name).expect("a job has a schema");
        let pick = |_: &str, field: &str| {
            let found = ours.find(domain.as_str(), field);
            found.unwrap_or_else(Uuid::now_v7)
        };
        let mut inputs = vec![Inputs { id: &pick, and: None }.arguments(schema)];
        for place in id_places_in(schema) {
            inputs.push(Inputs { id: &pick, and: Some(&place) }.arguments(schema));
        }
        inputs.retain(|args| catalog.check_job(domain.as_str(), name, args).is_ok());
        made.extend(inputs.into_iter().map(|args| job(domain, name, args)));
    }
    made
}

/// What our jobs were given, given to theirs.
async fn repeated(system: &TestSystem) -> Vec<NewJob> {
    let found: Vec<(String, String, Value)> =
        sqlx::query_as("select distinct queue, name, args from jobs.every_job where org_id = $1")
            .bind(ACME.uuid())
            .fetch_all(&mut system.owner().await)
            .await
            .expect("the owner may look");
    let catalog = system.system().catalog();
    let domain = |queue: &str| catalog.domain(queue).map(platform::Domain::name);
    let jobs =
        found.into_iter().filter_map(|(queue, name, args)| Some(job(domain(&queue)?, &name, args)));
    jobs.collect()
}

async fn perform(system: &TestSystem, jobs: &[NewJob]) {
    let now = system.system().now();
    let enqueued = jobs::enqueue_all(&mut system.owner().await, jobs, now).await;
    enqueued.expect("the owner may enqueue");
    for domain in system.system().catalog().domains() {
        system.system().queues().nudge(domain.name().as_str());
    }
    system.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_finds_changes_or_copies_a_row_of_another_organisation() {
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    let system = testkit::start_with(every_domain(), clock(), "", edge).await;
    furnish(&system, ACME, MARK).await;
    furnish(&system, GLOBEX, "Globex").await;
    let staff = system.member(ACME, Role::Staff);
    let email = staff.ask(accounts::GetMe::default()).await.expect("they are known").email;
    let forgotten = json!({"organisation": "acme", "email": email});
    let nobody = Scope::anonymous(Uuid::now_v7());
    let asked = system.system().call(&nobody, "accounts", "request_password_reset", forgotten);
    asked.await.expect("anybody may ask");
    system.settle().await;
    let mut owner = system.owner().await;
    let ours = Ids::of(&mut owner, ACME).await;
    let before = digest(&mut owner, ACME).await;

    let made = made(system.system().catalog(), &ours);
    let repeated = repeated(&system).await;
    let kinds = |jobs: &[NewJob]| -> BTreeSet<String> {
        jobs.iter().map(|job| format!("{}/{}", job.queue, job.name)).collect()
    };
    let walked: BTreeSet<String> = kinds(&made).union(&kinds(&repeated)).cloned().collect();
    // What has a text of ours among its arguments may keep it; what has only ids may not find it.
    let is_told = |job: &&NewJob| job.args.to_string().contains(MARK);
    let (told, untold): (Vec<&NewJob>, Vec<&NewJob>) =
        made.iter().chain(&repeated).partition(is_told);
    let cloned = |jobs: Vec<&NewJob>| jobs.into_iter().cloned().collect::<Vec<_>>();
    perform(&system, &cloned(untold)).await;
    let leaks = rows(&mut owner, GLOBEX, MARK).await;
    perform(&system, &cloned(told)).await;

    assert!(leaks.is_empty(), "these tables of another have a text of ours: {leaks:?}");
    assert_eq!(before, digest(&mut owner, ACME).await, "a row of another organisation was changed");
    let all = system.system().catalog().jobs();
    let all: BTreeSet<String> = all.map(|(domain, name)| format!("{domain}/{name}")).collect();
    let unwalked: Vec<&String> = all.difference(&walked).collect();
    assert!(unwalked.is_empty(), "no job of these kinds was performed: {unwalked:?}");
    system.stop().await;
}
