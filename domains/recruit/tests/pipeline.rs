//! The pipeline: what a recruiter reads in it, and how operators have it made again.

use std::time::Duration;

use platform::operator::{Projections, RebuildView};
use platform::{Result, Role};
use recruit::{
    CancelJobOrder, FillJobOrder, InviteCandidate, JobOrderState, ListCandidates, ListPipeline,
    OpenJobOrder, PipelineOrder, ShortlistCandidate, ShowPipeline,
};
use serde_json::json;
use testkit::{ACME, GLOBEX, Member, TestSystem};

fn order(title: &str) -> OpenJobOrder {
    OpenJobOrder {
        title: title.to_owned(),
        headcount: 1,
        client_name: Some("Harbour Cold Storage".to_owned()),
        ..OpenJobOrder::default()
    }
}

/// An organisation with one order that was filled, one that was cancelled and one that is open.
async fn busy() -> Result<(TestSystem, Member)> {
    let system = testkit::start([recruit::domain()]).await;
    let recruiter = system.member(ACME, Role::Staff);
    for candidate in recruit::demo() {
        recruiter.run(candidate).await?;
    }
    let filled = recruiter.run(order("Forklift driver")).await?.job_order_id;
    let cancelled = recruiter.run(order("Storeman")).await?.job_order_id;
    recruiter.run(order("Picker")).await?;
    system.settle().await;
    let candidates = recruiter.ask(ListCandidates::default()).await?.items;
    for candidate in &candidates[..2] {
        let candidate_id = candidate.candidate_id;
        recruiter.run(ShortlistCandidate { job_order_id: filled, candidate_id }).await?;
    }
    let candidate_id = candidates[0].candidate_id;
    recruiter.run(InviteCandidate { job_order_id: filled, candidate_id, body: None }).await?;
    let fill = FillJobOrder { job_order_id: filled, candidate_ids: vec![candidate_id] };
    recruiter.run(fill).await?;
    let reason = "the client has moved away".to_owned();
    recruiter.run(CancelJobOrder { job_order_id: cancelled, reason }).await?;
    system.settle().await;
    Ok((system, recruiter))
}

fn stages(order: &PipelineOrder) -> (&str, JobOrderState, [u32; 4]) {
    let numbers = [order.scored, order.shortlisted, order.invited, order.placed];
    (order.title.as_str(), order.state, numbers)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pipeline_tells_how_far_each_order_is() -> Result<()> {
    let (system, recruiter) = busy().await?;

    let orders = recruiter.ask(ListPipeline::default()).await?.items;
    let open = ShowPipeline { state: Some(JobOrderState::Open) };
    let (all, open) = (recruiter.ask(ShowPipeline::default()).await?, recruiter.ask(open).await?);

    assert_eq!(
        orders.iter().map(stages).collect::<Vec<_>>(),
        [
            ("Picker", JobOrderState::Open, [12, 0, 0, 0]),
            ("Storeman", JobOrderState::Cancelled, [12, 0, 0, 0]),
            ("Forklift driver", JobOrderState::Filled, [12, 2, 1, 1]),
        ]
    );
    assert!(orders[2].closed_at.is_some_and(|closed| closed > orders[2].opened_at));
    assert_eq!((all.job_orders, all.scored, all.shortlisted, all.placed), (3, 36, 2, 1));
    assert_eq!((open.job_orders, open.headcount), (1, 1));
    let stranger = system.member(GLOBEX, Role::Director);
    assert!(stranger.ask(ListPipeline::default()).await?.items.is_empty());
    system.stop().await;
    Ok(())
}

async fn projections(operator: &Member) -> Result<Projections> {
    let listed = operator.call("operator", "list_projections", json!({})).await?;
    Ok(serde_json::from_value(listed)?)
}

/// The rebuild of the pipeline once it is in one of `states`.
async fn rebuild_in(operator: &Member, states: &[&str]) -> Result<RebuildView> {
    let waiting = async {
        loop {
            let rebuild = projections(operator).await?.items.remove(0).rebuild;
            if let Some(rebuild) = rebuild.filter(|rebuild| states.contains(&&*rebuild.state)) {
                return Ok(rebuild);
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it gets there")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuilt_pipeline_is_the_same_by_any_batch_size() -> Result<()> {
    let (system, recruiter) = busy().await?;
    let operator = system.member(ACME, Role::Operator);
    let before = recruiter.ask(ListPipeline::default()).await?.items;
    let digested = operator.call("operator", "digest_projection", wish()).await?;

    for batch_size in [1, 7, 5_000] {
        let mut wish = wish();
        wish["reason"] = json!("to see whether it is the same");
        wish["batch_size"] = json!(batch_size);
        operator.call("operator", "rebuild_projection", wish).await?;

        let rebuild = rebuild_in(&operator, &["swapped", "digest_mismatch", "failed"]).await?;

        assert_eq!((&*rebuild.state, rebuild.percent), ("swapped", 100), "{rebuild:?}");
        assert_eq!(rebuild.events, 11, "by {batch_size}");
    }

    let after = operator.call("operator", "digest_projection", wish()).await?;
    assert_eq!(after["tables"], digested["tables"]);
    assert_eq!(after["tables"][0]["rows"], 3);
    assert_eq!(recruiter.ask(ListPipeline::default()).await?.items, before);
    // The new table is followed on.
    recruiter.run(order("Cleaner")).await?;
    system.settle().await;
    assert_eq!(recruiter.ask(ListPipeline::default()).await?.items.len(), 4);
    system.stop().await;
    Ok(())
}

fn wish() -> serde_json::Value {
    json!({ "projection": "recruit.pipeline" })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_holds_a_rebuild_looks_at_a_difference_and_decides() -> Result<()> {
    let (system, recruiter) = busy().await?;
    let operator = system.member(ACME, Role::Operator);
    sqlx::query("update recruit.pipeline set shortlisted = 9 where title = 'Picker'")
        .execute(&mut system.owner().await)
        .await?;
    let input = json!({
        "projection": "recruit.pipeline", "reason": "a number looks wrong",
        "batch_size": 1, "throttle": 1,
    });
    operator.call("operator", "rebuild_projection", input.clone()).await?;
    let paused = operator.call("operator", "pause_rebuild", wish()).await?;
    let twice = operator.refuse("operator", "rebuild_projection", input.clone()).await;
    let held = rebuild_in(&operator, &["paused"]).await?;
    operator.call("operator", "cancel_rebuild", wish()).await?;
    let mut faster = input;
    faster["throttle"] = json!(1_000_000);
    operator.call("operator", "rebuild_projection", faster).await?;

    let rebuild = rebuild_in(&operator, &["digest_mismatch", "swapped", "failed"]).await?;

    assert_eq!(paused["state"], "paused");
    assert_eq!(twice.code(), "rebuild_under_way");
    assert!(held.percent < 100, "{held:?}");
    let comparison = rebuild.comparison.expect("the two sides were compared");
    assert_eq!(rebuild.state, "digest_mismatch");
    assert_eq!(comparison["differences"][0]["columns"], json!(["shortlisted"]));
    let mut decided = wish();
    decided["reason"] = json!("somebody has changed the table by hand");
    operator.call("operator", "swap_projection", decided).await?;
    rebuild_in(&operator, &["swapped"]).await?;
    assert_eq!(recruiter.ask(ListPipeline::default()).await?.items[0].shortlisted, 0);
    let stranger = recruiter.refuse("operator", "rebuild_projection", wish()).await;
    assert_eq!(stranger.kind(), platform::Kind::Forbidden);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_newer_release_are_not_written_by_an_older_one_until_rebuilt() -> Result<()> {
    let (system, recruiter) = busy().await?;
    let operator = system.member(ACME, Role::Operator);
    sqlx::query("update events.projections set version = 7")
        .execute(&mut system.owner().await)
        .await?;

    recruiter.run(order("Cleaner")).await?;

    let pipeline = projections(&operator).await?.items.remove(0);
    assert!(pipeline.needs_rebuild);
    assert_eq!((pipeline.version, pipeline.live_version), (1, 7));
    assert_eq!(recruiter.ask(ListPipeline::default()).await?.items.len(), 3);
    let input = json!({ "projection": "recruit.pipeline", "reason": "the release was taken back" });
    operator.call("operator", "rebuild_projection", input).await?;
    rebuild_in(&operator, &["swapped"]).await?;
    system.settle().await;
    assert_eq!(recruiter.ask(ListPipeline::default()).await?.items.len(), 4);
    system.stop().await;
    Ok(())
}
