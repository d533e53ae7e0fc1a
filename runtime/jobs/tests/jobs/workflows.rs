//! Workflows: steps wait for each other, whatever each of them comes to.

use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use jobs::drain::drain;
use jobs::{
    After, Attempt, Downstream, Failure, JobState, NewJob, Outcome, Performed, Performers, Queues,
    Workflow, WorkflowError, WorkflowView, sweeper,
};
use kernel::{JobId, OrgId};
use serde_json::json;
use uuid::Uuid;

use crate::world::{QUEUE, World, job_row, performing, start_swept, until};

#[tokio::test]
async fn a_step_starts_when_all_that_it_waits_for_have_completed() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let workflow = Workflow::new("hire")
        .step_after("offer", step(&world, "complete"), ["score", "check"])
        .step_after("score", step(&world, "complete"), ["fetch"])
        .step_after("check", step(&world, "complete"), ["fetch"])
        .step("fetch", step(&world, "complete"));
    enqueue(&world, &workflow).await;
    let before = look(&world, &workflow).await;

    let (performers, order) = playing();
    drain(&queues, QUEUE, &performers).await.expect("the steps are performed");

    let order = order.lock().unwrap().clone();
    let order = names(&world, &workflow, &order).await;
    let waits: Vec<_> = before.steps.iter().map(|step| (&*step.step, step.waits_for)).collect();
    assert_eq!(waits, [("offer", 2), ("score", 1), ("check", 1), ("fetch", 0)]);
    assert_eq!(before.steps[0].after, ["check", "score"]);
    assert_eq!((&*order[0], &*order[3]), ("fetch", "offer"));
    assert!(look(&world, &workflow).await.has_ended());
}

#[tokio::test]
async fn a_long_workflow_does_not_wait_for_the_clock_of_the_sweeper() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let (performers, order) = playing();
    let root = start_swept(&world, &queues, performers).await;
    let workflow = (1..60).fold(
        Workflow::new("long").step("0", step(&world, "complete")),
        |workflow, number: i32| {
            let before = (number - 1).to_string();
            workflow.step_after(number.to_string(), step(&world, "complete"), [before])
        },
    );

    enqueue(&world, &workflow).await;
    queues.nudge(QUEUE);
    world.until_count("completed", 60).await;

    let order = order.lock().unwrap().clone();
    let order = names(&world, &workflow, &order).await;
    assert_eq!(order, (0..60).map(|number: i32| number.to_string()).collect::<Vec<_>>());
    root.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_step_that_was_given_up_is_cancelled_with_its_name() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let workflow = Workflow::new("hire")
        .step("fetch", step(&world, "fail"))
        .step_after("score", step(&world, "complete"), ["fetch"])
        .step_after("offer", step(&world, "complete"), ["score"])
        .step_after(
            "report",
            step(&world, "complete"),
            [After::step("offer").if_cancelled(Downstream::Ignore)],
        );
    enqueue(&world, &workflow).await;

    drain(&queues, QUEUE, &playing().0).await.expect("the steps are performed");

    let view = look(&world, &workflow).await;
    let error = async |number: usize| {
        let row = job_row(&queues, view.steps[number].job_id).await;
        row.errors[0].error.clone()
    };
    let states = ["discarded", "cancelled", "cancelled", "completed"];
    assert_eq!(view.steps.iter().map(|step| step.state.name()).collect::<Vec<_>>(), states);
    assert_eq!(error(1).await, "cancelled: step `fetch`, which it waits for, was discarded");
    assert_eq!(error(2).await, "cancelled: step `score`, which it waits for, was cancelled");
}

/// A generator of numbers that are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What a step does, and whom it waits for.
struct Planned {
    does: &'static str,
    after: Vec<(usize, Downstream, Downstream)>,
}

fn plan(numbers: &mut Numbers) -> Vec<Planned> {
    let count = 3 + numbers.below(8);
    let mut steps: Vec<Planned> = Vec::new();
    for step in 0..count {
        let does = ["complete", "complete", "complete", "cancel", "fail"];
        let does = does[usize::try_from(numbers.below(5)).unwrap()];
        let mut after = Vec::new();
        for before in 0..step {
            if numbers.below(3) == 0 {
                let mut downstream = || match numbers.below(5) {
                    0 => Downstream::Hold,
                    1 | 2 => Downstream::Ignore,
                    _ => Downstream::Cancel,
                };
                after.push((usize::try_from(before).unwrap(), downstream(), downstream()));
            }
        }
        steps.push(Planned { does, after });
    }
    steps
}

/// Where each step must be in the end: the rules, said once more without a database.
fn expected(plan: &[Planned]) -> Vec<JobState> {
    let mut states: Vec<JobState> = Vec::new();
    for step in plan {
        let meets =
            |(before, if_cancelled, if_discarded): &(usize, Downstream, Downstream)| match states
                [*before]
            {
                JobState::Completed => Some(Downstream::Ignore),
                JobState::Cancelled => Some(*if_cancelled),
                JobState::Discarded => Some(*if_discarded),
                _ => None,
            };
        let met: Vec<_> = step.after.iter().map(meets).collect();
        states.push(if met.contains(&Some(Downstream::Cancel)) {
            JobState::Cancelled
        } else if met.iter().any(|met| *met != Some(Downstream::Ignore)) {
            JobState::Scheduled
        } else {
            match step.does {
                "complete" => JobState::Completed,
                "cancel" => JobState::Cancelled,
                _ => JobState::Discarded,
            }
        });
    }
    states
}

#[tokio::test]
async fn any_workflow_ends_as_its_rules_say_however_its_steps_end() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let plans: Vec<_> = (1..=60).map(|seed| plan(&mut Numbers(seed * 0x9e37_79b9))).collect();
    let mut workflows = Vec::new();
    for plan in &plans {
        let mut workflow = Workflow::new("random");
        for (number, planned) in plan.iter().enumerate() {
            let after = planned.after.iter().map(|(before, if_cancelled, if_discarded)| {
                let after = After::step(before.to_string());
                after.if_cancelled(*if_cancelled).if_discarded(*if_discarded)
            });
            let job = step(&world, planned.does);
            workflow = workflow.step_after(number.to_string(), job, after);
        }
        enqueue(&world, &workflow).await;
        workflows.push(workflow);
    }

    let (performers, order) = playing();
    let sweeping = async {
        loop {
            sweeper::sweep(&queues).await.expect("the database is there");
        }
    };
    let two = world.node("two").await;
    let draining = join_all([drain(&queues, QUEUE, &performers), drain(&two, QUEUE, &performers)]);
    tokio::select! {
        () = sweeping => {}
        _ = draining => {}
    }
    // What was released when the two had just looked.
    drain(&queues, QUEUE, &performers).await.expect("the steps are performed");

    let order = order.lock().unwrap().clone();
    for (number, (plan, workflow)) in plans.iter().zip(&workflows).enumerate() {
        let view = look(&world, workflow).await;
        let states: Vec<_> = view.steps.iter().map(|step| step.state).collect();
        assert_eq!(states, expected(plan), "plan {number}");
        let place = |step: usize| {
            let job_id = view.steps[step].job_id;
            let mut places = order.iter().enumerate().filter(|(_, other)| **other == job_id);
            let place = places.next().map(|(place, _)| place);
            assert_eq!(places.next(), None, "step {step} of plan {number} was performed twice");
            place
        };
        for (step, planned) in plan.iter().enumerate() {
            for (before, ..) in &planned.after {
                let (before, step) = (place(*before), place(step));
                assert!(step.is_none() || before < step, "plan {number} in the wrong order");
            }
        }
    }
}

#[tokio::test]
async fn many_sweepers_at_once_count_each_end_once() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let fans: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let mut workflow = Workflow::new("fan");
    for fan in &fans {
        workflow = workflow.step(fan, step(&world, "complete"));
    }
    for join in ["x", "y", "z"] {
        workflow = workflow.step_after(join, step(&world, "complete"), fans.clone());
    }
    enqueue(&world, &workflow).await;
    let now = world.clock.now();
    let mut claiming = world.runtime().await;
    let claimed = jobs::claim(&mut claiming, QUEUE, 99, "one", now).await;
    claiming.commit().await.expect("the database is there");
    let claimed = claimed.expect("the database is there");
    assert_eq!(claimed.len(), 40);

    let completing = claimed.iter().map(async |attempt| {
        let mut domain = world.domain(world.org_id).await;
        let done = jobs::complete(&mut domain, attempt.job_id, attempt.number, now).await;
        domain.commit().await.expect("the database is there");
        assert_eq!(done.ok(), Some(true));
    });
    let sweeping = (0..4).map(async |_| {
        for _ in 0..20 {
            sweeper::sweep(&queues).await.expect("nobody waits for ever");
        }
    });
    tokio::join!(join_all(completing), join_all(sweeping));
    sweeper::sweep(&queues).await.expect("the database is there");

    let view = look(&world, &workflow).await;
    let joins = view.steps.iter().filter(|step| ["x", "y", "z"].contains(&&*step.step));
    let joins: Vec<_> = joins.map(|step| (step.state, step.waits_for)).collect();
    assert_eq!(joins, [(JobState::Available, 0); 3]);
}

#[tokio::test]
async fn a_step_adds_others_that_wait_for_it_and_for_what_has_ended() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let workflow = Workflow::new("grows").step("first", step(&world, "complete")).step_after(
        "second",
        step(&world, "complete"),
        ["first"],
    );
    enqueue(&world, &workflow).await;
    drain_one(&world, &queues).await;
    let running = claim_one(&world).await;

    let more = Workflow::more(workflow.workflow_id)
        .step_after("third", step(&world, "complete"), ["first", "second"])
        .step_after("fourth", step(&world, "complete"), ["third"]);
    let mut domain = world.domain(world.org_id).await;
    let added = jobs::enqueue_workflow(&mut domain, &more, world.clock.now()).await;
    // It completes and is looked at by the sweeper before the new steps are committed.
    complete(&world, &running).await;
    let early = sweeper::sweep(&queues).await;
    domain.commit().await.expect("the database is there");
    drain(&queues, QUEUE, &playing().0).await.expect("the steps are performed");

    added.expect("the steps may be added");
    assert_eq!(early.ok(), Some(0));
    let view = look(&world, &workflow).await;
    assert_eq!(view.steps.len(), 4);
    assert!(view.steps.iter().all(|step| step.state == JobState::Completed), "{view:?}");
}

#[tokio::test]
async fn a_workflow_is_retried_as_a_whole_and_waits_again_for_what_failed() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let workflow = Workflow::new("hire")
        .step("fetch", step(&world, "complete"))
        .step_after("score", step(&world, "fail once"), ["fetch"])
        .step_after("offer", step(&world, "complete"), ["score"]);
    enqueue(&world, &workflow).await;
    let (performers, order) = playing();
    drain(&queues, QUEUE, &performers).await.expect("the steps are performed");
    let failed = look(&world, &workflow).await;

    let retried = jobs::retry_workflow(&queues, workflow.workflow_id).await;
    let again = look(&world, &workflow).await;
    drain(&queues, QUEUE, &performers).await.expect("the steps are performed");

    let states =
        |view: &WorkflowView| view.steps.iter().map(|step| step.state.name()).collect::<Vec<_>>();
    let order = order.lock().unwrap().clone();
    assert_eq!(states(&failed), ["completed", "discarded", "cancelled"]);
    assert_eq!(retried.ok(), Some(2));
    assert_eq!(states(&again), ["completed", "available", "scheduled"]);
    assert_eq!(states(&look(&world, &workflow).await), ["completed"; 3]);
    assert_eq!(names(&world, &workflow, &order).await, ["fetch", "score", "score", "offer"]);
}

#[tokio::test]
async fn a_workflow_is_cancelled_as_a_whole() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let workflow = Workflow::new("hire")
        .step("fetch", step(&world, "complete"))
        .step_after("score", step(&world, "complete"), ["fetch"])
        .step_after("offer", step(&world, "complete"), ["score"]);
    enqueue(&world, &workflow).await;
    drain_one(&world, &queues).await;

    let cancelled = jobs::cancel_workflow(&queues, workflow.workflow_id).await;
    let performed = drain(&queues, QUEUE, &playing().0).await;

    let view = look(&world, &workflow).await;
    let states: Vec<_> = view.steps.iter().map(|step| step.state.name()).collect();
    assert_eq!((cancelled.ok(), performed.ok()), (Some(2), Some(0)));
    assert_eq!(states, ["completed", "cancelled", "cancelled"]);
}

#[tokio::test]
async fn a_plan_that_cannot_be_followed_inserts_nothing() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let failed = Workflow::new("failed").step("first", step(&world, "fail"));
    enqueue(&world, &failed).await;
    drain(&queues, QUEUE, &playing().0).await.expect("the step is performed");
    let plans = [
        Workflow::new("circle").step_after("a", step(&world, "complete"), ["b"]).step_after(
            "b",
            step(&world, "complete"),
            ["a"],
        ),
        Workflow::more(failed.workflow_id).step_after(
            "second",
            step(&world, "complete"),
            ["first"],
        ),
        Workflow::more(failed.workflow_id).step_after(
            "second",
            step(&world, "complete"),
            ["zeroth"],
        ),
        Workflow::more(failed.workflow_id).step("first", step(&world, "complete")),
        Workflow::more(Uuid::now_v7()).step("a", step(&world, "complete")),
    ];

    let mut said = Vec::new();
    for plan in plans {
        let mut domain = world.domain(world.org_id).await;
        let refused = jobs::enqueue_workflow(&mut domain, &plan, world.clock.now()).await;
        domain.commit().await.expect("the database is there");
        said.push(refused.expect_err("the plan cannot be followed"));
    }

    assert!(matches!(&said[0], WorkflowError::Cycle { .. }));
    assert_eq!(said[1].to_string(), "step `second` waits for step `first`, which was discarded");
    assert!(matches!(&said[2], WorkflowError::Unknown { after, .. } if after == "zeroth"));
    assert!(matches!(&said[3], WorkflowError::Twice { step } if step == "first"));
    assert!(matches!(&said[4], WorkflowError::NoSuchWorkflow(_)));
    let rows = sqlx::query_scalar("select count(*) from jobs.every_job");
    assert_eq!(rows.fetch_one(&world.owner).await.ok(), Some(1_i64));
}

#[tokio::test]
async fn a_step_reads_what_the_steps_before_it_came_to() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let last = step(&world, "complete");
    let last_id = last.job_id;
    let workflow = Workflow::new("sum")
        .step("one", step(&world, "complete"))
        .step("two", step(&world, "complete"))
        .step_after("last", last, ["one", "two"]);
    enqueue(&world, &workflow).await;
    sqlx::query(
        "update jobs.jobs set result = to_jsonb(workflow_step) where workflow_step = 'one'",
    )
    .execute(&world.owner)
    .await
    .expect("the owner may");
    drain(&queues, QUEUE, &playing().0).await.expect("the steps are performed");

    let mut domain = world.domain(world.org_id).await;
    let results = jobs::dependency_results(&mut domain, last_id).await;
    let mut other = world.domain(OrgId::new()).await;
    let of_others = jobs::dependency_results(&mut other, last_id).await;

    let expected = [("one".to_owned(), Some(json!("one"))), ("two".to_owned(), None)];
    assert_eq!(results.ok(), Some(expected.into()));
    assert_eq!(of_others.ok(), Some([].into()));
}

#[tokio::test]
async fn a_domain_moves_nothing_that_is_not_its_own() {
    let world = World::new().await;
    let queues = world.node("one").await;
    let others = OrgId::new();
    let foreign = |does| {
        let mut job = step(&world, does);
        job.scope.org_id = others;
        job
    };
    let workflow = Workflow::new("theirs").step("first", foreign("complete")).step_after(
        "second",
        foreign("complete"),
        ["first"],
    );
    let mut domain = world.domain(others).await;
    let enqueued = jobs::enqueue_workflow(&mut domain, &workflow, world.clock.now()).await;
    let theirs = jobs::workflow(&mut domain, workflow.workflow_id).await;
    domain.commit().await.expect("the database is there");
    let theirs = theirs.expect("the database is there").expect("it exists").steps;
    let own = step(&world, "complete");
    world.enqueue(&own).await;

    // A dependency of its own that is a lie about whose jobs these are.
    let insert = "insert into jobs.dependencies
         select $1, $2, $3, $4, null, 'cancel', 'cancel', false";
    let mut refused = Vec::new();
    for (queue, org_id) in [(QUEUE, world.org_id), (QUEUE, others), ("payroll", world.org_id)] {
        let mut domain = world.domain(world.org_id).await;
        let inserted = sqlx::query(insert)
            .bind(theirs[1].job_id)
            .bind(own.job_id)
            .bind(queue)
            .bind(org_id)
            .execute(&mut *domain)
            .await;
        refused.push(inserted.is_err());
        domain.commit().await.expect("the database is there");
    }
    sqlx::query("update jobs.jobs set is_followed = true, state = 'cancelled' where id = $1")
        .bind(own.job_id)
        .execute(&world.owner)
        .await
        .expect("the owner may");
    sweeper::sweep(&queues).await.expect("the database is there");
    let mut domain = world.domain(world.org_id).await;
    let seen = jobs::workflow(&mut domain, workflow.workflow_id).await;

    enqueued.expect("the plan can be followed");
    assert_eq!(refused, [false, true, true]);
    let second = job_row(&queues, theirs[1].job_id).await;
    assert_eq!((second.state, second.waits_for), (JobState::Scheduled, 1));
    assert_eq!(seen.ok(), Some(None));
}

fn step(world: &World, does: &str) -> NewJob {
    NewJob { max_attempts: 1, ..world.job(json!({ "does": does })) }
}

/// Performs each job as it says, and notes the order.
fn playing() -> (Performers, Arc<Mutex<Vec<JobId>>>) {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let performers = performing(move |attempt: Attempt| {
        seen.lock().unwrap().push(attempt.job_id);
        async move {
            match attempt.args["does"].as_str() {
                Some("cancel") => Ok(Performed::Outcome(Outcome::Cancel("no".into()))),
                Some("fail once") if attempt.number > 1 => {
                    Ok(Performed::Outcome(Outcome::Complete))
                }
                Some("fail" | "fail once") => Err(Failure::Retry("it went wrong".into())),
                _ => Ok(Performed::Outcome(Outcome::Complete)),
            }
        }
    });
    (performers, order)
}

async fn enqueue(world: &World, workflow: &Workflow) {
    let mut domain = world.domain(world.org_id).await;
    let enqueued = jobs::enqueue_workflow(&mut domain, workflow, world.clock.now()).await;
    domain.commit().await.expect("the database is there");
    enqueued.expect("the plan can be followed");
}

async fn look(world: &World, workflow: &Workflow) -> WorkflowView {
    let mut domain = world.domain(world.org_id).await;
    let view = jobs::workflow(&mut domain, workflow.workflow_id).await;
    view.expect("the database is there").expect("the workflow exists")
}

async fn names(world: &World, workflow: &Workflow, order: &[JobId]) -> Vec<String> {
    let view = look(world, workflow).await;
    let name = |job_id: &JobId| {
        let mut steps = view.steps.iter();
        steps.find(|step| step.job_id == *job_id).map(|step| step.step.clone()).unwrap()
    };
    order.iter().map(name).collect()
}

async fn claim_one(world: &World) -> Attempt {
    let mut claiming = world.runtime().await;
    let claimed = jobs::claim(&mut claiming, QUEUE, 1, "one", world.clock.now()).await;
    claiming.commit().await.expect("the database is there");
    claimed.expect("the database is there").remove(0)
}

async fn complete(world: &World, attempt: &Attempt) {
    let mut domain = world.domain(world.org_id).await;
    let now = world.clock.now();
    let done = jobs::complete(&mut domain, attempt.job_id, attempt.number, now).await;
    domain.commit().await.expect("the database is there");
    assert_eq!(done.ok(), Some(true));
}

async fn drain_one(world: &World, queues: &Queues) {
    let attempt = claim_one(world).await;
    complete(world, &attempt).await;
    until("the end to be swept", async || {
        sweeper::sweep(queues).await.expect("the database is there") > 0
    })
    .await;
}
