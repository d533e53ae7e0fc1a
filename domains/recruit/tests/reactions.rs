//! Replaying a reaction: what past events would cause, and causing what is missing.

use platform::operator::ReactionsReplayed;
use platform::{Kind, Result, Role};
use recruit::OpenJobOrder;
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX, Member, TestSystem};

/// A system in which three orders were opened and scored.
async fn scored() -> Result<(TestSystem, Member)> {
    let system = testkit::start([recruit::domain()]).await;
    for (org_id, title) in [(ACME, "Picker"), (GLOBEX, "Cook"), (ACME, "Cleaner")] {
        let order =
            OpenJobOrder { title: title.to_owned(), headcount: 1, ..OpenJobOrder::default() };
        system.member(org_id, Role::Staff).run(order).await?;
    }
    system.settle().await;
    let operator = system.member(ACME, Role::Operator);
    Ok((system, operator))
}

async fn replay(operator: &Member, more: Value) -> Result<ReactionsReplayed> {
    let mut input = json!({
        "domain": "recruit", "subscription": "score_candidates", "reason": "scores look old",
    });
    for (field, value) in more.as_object().expect("fields are given") {
        input[field] = value.clone();
    }
    let replayed = operator.call("operator", "replay_reactions", input).await?;
    Ok(serde_json::from_value(replayed)?)
}

fn outcomes(replayed: &ReactionsReplayed) -> Vec<&str> {
    replayed.items.iter().map(|reaction| reaction.outcome.as_str()).collect()
}

/// How many jobs the subscription has caused.
async fn total(system: &TestSystem) -> Result<i64> {
    let count =
        "select count(*) from jobs.every_job where unique_key like 'recruit.score_candidates:%'";
    Ok(sqlx::query_scalar(count).fetch_one(&mut system.owner().await).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_lists_what_is_missing_and_writes_nothing() -> Result<()> {
    let (system, operator) = scored().await?;
    let all = replay(&operator, json!({})).await?;
    let gone = all.items[1].job_id.expect("each reaction has its job");
    system.lose_jobs(&format!("id = '{gone}'")).await;

    let replayed = replay(&operator, json!({})).await?;

    assert_eq!(outcomes(&all), ["exists", "exists", "exists"]);
    assert_eq!(outcomes(&replayed), ["exists", "missing", "exists"]);
    let missing = &replayed.items[1];
    assert_eq!((missing.org_id, missing.job_id), (GLOBEX, None));
    assert_eq!(total(&system).await?, 2);
    assert!(missing.job.is_some() && missing.args.is_some());
    let key = format!("recruit.score_candidates:{}", missing.event_id);
    assert_eq!(missing.unique_key.as_deref(), Some(key.as_str()));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_enqueued_once_and_what_exists_is_not() -> Result<()> {
    let (system, operator) = scored().await?;
    system.lose_jobs(&format!("org_id = '{GLOBEX}'")).await;
    let before = total(&system).await?;

    let first = replay(&operator, json!({ "dry_run": false })).await?;
    system.settle().await;
    let second = replay(&operator, json!({ "dry_run": false })).await?;

    assert_eq!(outcomes(&first), ["exists", "enqueued", "exists"]);
    assert_eq!(outcomes(&second), ["exists", "exists", "exists"]);
    assert_eq!(total(&system).await?, before + 1);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_and_an_organisation_is_looked_at_alone() -> Result<()> {
    let (system, operator) = scored().await?;

    let first = replay(&operator, json!({ "limit": 2 })).await?;
    let next = first.next.expect("there is one more event");
    let second = replay(&operator, json!({ "limit": 2, "from": next })).await?;
    let alone = replay(&operator, json!({ "org_id": GLOBEX })).await?;

    assert_eq!((first.items.len(), second.items.len(), second.next), (2, 1, None));
    assert_eq!(alone.items.iter().map(|item| item.org_id).collect::<Vec<_>>(), [GLOBEX]);
    let input = json!({ "domain": "recruit", "subscription": "score", "reason": "a typo" });
    let refused = operator.refuse("operator", "replay_reactions", input).await;
    assert_eq!(refused.kind(), Kind::NotFound);
    assert!(refused.to_string().contains("score_candidates"), "{refused}");
    system.stop().await;
    Ok(())
}
