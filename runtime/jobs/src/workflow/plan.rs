//! What is wrong with a plan, decided without a database; and an order in which no step comes
//! before one that it waits for.

use std::collections::{BTreeMap, BTreeSet};

use crate::workflow::{Step, Workflow, WorkflowError};

/// The steps in an order that keeps to their dependencies, and otherwise to their own.
pub(super) fn check(workflow: &Workflow) -> Result<Vec<&Step>, WorkflowError> {
    let steps = &workflow.steps;
    let first = &steps.first().ok_or(WorkflowError::Nothing)?.job;
    let mut names = BTreeSet::new();
    for Step { name, job, .. } in steps {
        let step = || name.clone();
        if !names.insert(name.as_str()) {
            return Err(WorkflowError::Twice { step: step() });
        }
        if (&job.queue, job.scope.org_id) != (&first.queue, first.scope.org_id) {
            return Err(WorkflowError::Elsewhere { step: step() });
        }
        if job.unique.is_some() || job.unique_key.is_some() {
            return Err(WorkflowError::Unique { step: step() });
        }
    }
    let is_whole = workflow.name.is_some();
    for step in steps {
        let mut before = BTreeSet::new();
        for after in &step.after {
            if is_whole && !names.contains(after.step.as_str()) {
                let (step, after) = (step.name.clone(), after.step.clone());
                return Err(WorkflowError::Unknown { step, after });
            }
            if !before.insert(&after.step) {
                return Err(WorkflowError::Twice { step: after.step.clone() });
            }
        }
    }
    in_order(steps, &names)
}

fn in_order<'w>(steps: &'w [Step], names: &BTreeSet<&str>) -> Result<Vec<&'w Step>, WorkflowError> {
    let mut order: Vec<&Step> = Vec::with_capacity(steps.len());
    let mut placed: BTreeSet<&str> = BTreeSet::new();
    let mut open: Vec<&Step> = steps.iter().collect();
    while !open.is_empty() {
        let is_open =
            |name: &str, placed: &BTreeSet<&str>| names.contains(name) && !placed.contains(name);
        let before = open.len();
        open.retain(|step| {
            if step.after.iter().any(|after| is_open(&after.step, &placed)) {
                return true;
            }
            placed.insert(&step.name);
            order.push(step);
            false
        });
        if open.len() == before {
            return Err(cycle(&open));
        }
    }
    Ok(order)
}

/// Each of `open` waits for another of them, so whoever goes from one to the next comes back.
fn cycle(open: &[&Step]) -> WorkflowError {
    let by_name: BTreeMap<&str, &Step> =
        open.iter().map(|step| (step.name.as_str(), *step)).collect();
    let next =
        |step: &Step| step.after.iter().find_map(|after| by_name.get(after.step.as_str()).copied());
    let mut path: Vec<&Step> = vec![open[0]];
    while let Some(step) = next(path[path.len() - 1]) {
        let seen = path.iter().position(|earlier| earlier.name == step.name);
        path.push(step);
        if let Some(start) = seen {
            path.drain(..start);
            break;
        }
    }
    let step = path[0].name.clone();
    let path: Vec<_> = path.iter().map(|step| format!("`{}`", step.name)).collect();
    WorkflowError::Cycle { step, path: path.join(" waits for ") }
}

#[cfg(test)]
mod tests {
    use kernel::{OrgId, Scope};
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::NewJob;

    type Steps<'s> = &'s [(&'s str, &'s [&'s str])];

    fn plan(steps: Steps<'_>) -> Workflow {
        let org_id = OrgId::new();
        steps.iter().fold(Workflow::new("test"), |workflow, (name, after)| {
            let scope = Scope::system(org_id, "test", Uuid::now_v7());
            let job = NewJob::new("recruit", "work", json!({}), scope);
            workflow.step_after(*name, job, after.iter().copied())
        })
    }

    fn said(workflow: &Workflow) -> String {
        check(workflow).map_or_else(
            |error| error.to_string(),
            |order| order.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(" "),
        )
    }

    #[test]
    fn a_plan_is_brought_into_order_or_refused_with_the_step_that_is_wrong() {
        let cases: [(Steps<'_>, &str); 8] = [
            (&[], "a workflow has at least one step"),
            (&[("b", &["a"]), ("a", &[])], "a b"),
            (&[("d", &["b", "c"]), ("b", &["a"]), ("c", &["a"]), ("a", &[])], "a b c d"),
            (&[("a", &[]), ("a", &[])], "the workflow has step `a` twice"),
            (&[("a", &[]), ("b", &["a", "a"])], "the workflow has step `a` twice"),
            (&[("a", &["x"])], "step `a` waits for step `x`, which the workflow does not have"),
            (&[("a", &["a"])], "step `a` waits for itself: `a` waits for `a`"),
            (
                &[("s", &["a"]), ("a", &["b"]), ("b", &["c"]), ("c", &["a"])],
                "step `a` waits for itself: `a` waits for `b` waits for `c` waits for `a`",
            ),
        ];

        for (steps, expected) in cases {
            assert_eq!(said(&plan(steps)), expected);
        }
    }

    #[test]
    fn a_step_is_of_the_same_queue_and_not_unique() {
        let mut elsewhere = plan(&[("a", &[]), ("b", &[])]);
        elsewhere.steps[1].job.queue = "payroll".into();
        let mut unique = plan(&[("a", &[])]);
        unique.steps[0].job.unique_key = Some("key".into());

        assert!(said(&elsewhere).starts_with("step `b` is of another queue"));
        assert!(said(&unique).starts_with("step `a` is a unique job"));
    }
}
