//! The stories of recruit: from an opened order to people at work.

use contracts::recruit::{CandidateId, JobOrderId};
use platform::otp::Tree;
use platform::{Kind, Limit, Result, Role};
use recruit::{
    CandidateScore, FillJobOrder, GetCandidate, InviteCandidate, JobOrder, JobOrderState,
    ListCandidates, ListJobOrders, ListOutreach, ListScores, OpenJobOrder, ShortlistCandidate,
};
use serde_json::json;
use testkit::{ACME, GLOBEX, Member, TestSystem};

fn forklift_order(headcount: u32) -> OpenJobOrder {
    OpenJobOrder {
        title: "Forklift driver".to_owned(),
        headcount,
        suburb: Some("Truganina".to_owned()),
        postcode: Some("3029".to_owned()),
        skills: vec!["forklift".to_owned(), "rf_scanning".to_owned()],
        credentials_required: vec!["white_card".to_owned(), "forklift_licence".to_owned()],
        ..OpenJobOrder::default()
    }
}

async fn scores(recruiter: &Member, job_order_id: JobOrderId) -> Result<Vec<CandidateScore>> {
    let query = ListScores {
        job_order_id,
        shortlisted_only: false,
        limit: Limit::new(Limit::MAX),
        cursor: None,
    };
    Ok(recruiter.ask(query).await?.items)
}

/// A system whose organisation has the demo candidates and one open order for which they are
/// scored.
async fn scored(headcount: u32) -> Result<(TestSystem, Member, JobOrder)> {
    let system = testkit::start([recruit::domain()]).await;
    let recruiter = system.member(ACME, Role::Staff);
    for candidate in recruit::demo() {
        recruiter.run(candidate).await?;
    }
    let order = recruiter.run(forklift_order(headcount)).await?;
    system.settle().await;
    Ok((system, recruiter, order))
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_an_order_scores_the_candidates_and_explains_it() -> Result<()> {
    let (system, recruiter, order) = scored(1).await?;

    let scores = scores(&recruiter, order.job_order_id).await?;

    assert_eq!(scores.len(), 12);
    assert!(scores.is_sorted_by(|a, b| a.score >= b.score));
    let best = &scores[0];
    assert_eq!((best.full_name.as_str(), best.score, best.rule_version), ("Mia Nguyen", 1000, 1));
    assert_eq!(best.contributions[0].reason.split(',').next(), Some("holds all 2 required"));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_candidate_is_shortlisted_asked_once_and_placed() -> Result<()> {
    let (system, recruiter, order) = scored(1).await?;
    let job_order_id = order.job_order_id;
    let candidate_id = scores(&recruiter, job_order_id).await?[0].candidate_id;
    let fill = FillJobOrder { job_order_id, candidate_ids: vec![candidate_id] };
    let invite = InviteCandidate { job_order_id, candidate_id, body: None };

    let too_early = recruiter.run(fill.clone()).await.expect_err("nobody is shortlisted");
    recruiter.run(ShortlistCandidate { job_order_id, candidate_id }).await?;
    recruiter.run(ShortlistCandidate { job_order_id, candidate_id }).await?;
    let first = recruiter.run(invite.clone()).await?;
    let second = recruiter.run(invite).await?;
    let filled = recruiter.run(fill.clone()).await?;
    let too_late = recruiter.run(fill).await.expect_err("the order is filled");
    system.settle().await;

    assert_eq!(too_early.code(), "not_shortlisted");
    assert_eq!(first.outreach_id, second.outreach_id);
    assert_eq!(filled.state, JobOrderState::Filled);
    assert_eq!((too_late.kind(), too_late.code()), (Kind::Conflict, "job_order_not_open"));
    let asked = recruiter.ask(ListOutreach::default()).await?.items;
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].state, "sent");
    assert!(asked[0].provider_reference.is_some());
    let mut owner = system.owner().await;
    let events: Vec<(String, i64)> = sqlx::query_as(
        "select event_type, count(*) from events.domain_events
         where event_type <> 'candidate_registered' group by event_type order by event_type",
    )
    .fetch_all(&mut owner)
    .await?;
    let each_once = [
        "candidate_shortlisted",
        "candidates_scored",
        "job_order_filled",
        "job_order_opened",
        "outreach_sent",
    ];
    assert_eq!(events, each_once.map(|name| (name.to_owned(), 1)));
    system.stop().await;
    Ok(())
}

/// Kills it as soon as it runs, which it may not yet again after it was killed just before.
async fn kill_running(tree: &Tree, path: &str) {
    let mut changes = tree.changes();
    while tree.kill(path).is_err() {
        changes.changed().await.expect("the tree is alive");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_every_scorer_costs_no_score() -> Result<()> {
    let system = testkit::start([recruit::domain()]).await;
    let recruiter = system.member(ACME, Role::Staff);
    for candidate in recruit::demo() {
        recruiter.run(candidate).await?;
    }
    let tree: &Tree = system.system().tree();

    let mut orders = Vec::new();
    for number in 0..8 {
        orders.push(recruiter.run(forklift_order(1)).await?);
        let scorer = format!("root/domains/recruit/children/scoring_engine/scorer_{}", number % 2);
        kill_running(tree, &scorer).await;
    }
    system.settle().await;

    for order in orders {
        assert_eq!(scores(&recruiter, order.job_order_id).await?.len(), 12);
    }
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_candidate_reaches_the_pools_of_open_orders() -> Result<()> {
    let (system, recruiter, order) = scored(1).await?;
    let newcomer = recruit::RegisterCandidate {
        full_name: "Zoe Turner".to_owned(),
        mobile: "0491 572 665".to_owned(),
        ..recruit::demo().remove(0)
    };

    let newcomer = recruiter.run(newcomer).await?;
    // Starting anew is what makes the refresh go round at once.
    system
        .system()
        .tree()
        .kill("root/domains/recruit/children/pool_refresh")
        .expect("it is in the tree");
    let pool = async {
        loop {
            system.settle().await;
            let scores = scores(&recruiter, order.job_order_id).await?;
            if scores.len() == 13 {
                return Ok::<_, platform::Error>(scores);
            }
            tokio::task::yield_now().await;
        }
    };
    let pool = tokio::time::timeout(std::time::Duration::from_secs(20), pool).await;

    let pool = pool.expect("the refresh comes within seconds")?;
    assert!(pool.iter().any(|score| score.candidate_id == newcomer.candidate_id));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_page_by_page() -> Result<()> {
    let (system, recruiter, _) = scored(1).await?;
    let mut names = Vec::new();
    let mut cursor = None;

    loop {
        let page = ListCandidates { credential: None, limit: Limit::new(5), cursor };
        let page = recruiter.ask(page).await?;
        assert!(page.items.len() <= 5);
        names.extend(page.items.into_iter().map(|candidate| candidate.full_name));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }

    let mut registered: Vec<String> =
        recruit::demo().into_iter().map(|candidate| candidate.full_name).collect();
    registered.reverse();
    assert_eq!(names, registered);
    let holders = ListCandidates {
        credential: Some("crane_licence".to_owned()),
        ..ListCandidates::default()
    };
    assert_eq!(recruiter.ask(holders).await?.items[0].full_name, "Ruby Campbell");
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_scores_goes_on_where_the_last_one_ended() -> Result<()> {
    let (system, recruiter, order) = scored(1).await?;
    let job_order_id = order.job_order_id;
    let page =
        |cursor| ListScores { job_order_id, shortlisted_only: false, limit: Limit::new(7), cursor };

    let first = recruiter.ask(page(None)).await?;
    let second = recruiter.ask(page(first.next)).await?;

    let read: Vec<CandidateId> =
        first.items.iter().chain(&second.items).map(|score| score.candidate_id).collect();
    let all: Vec<CandidateId> =
        scores(&recruiter, job_order_id).await?.iter().map(|score| score.candidate_id).collect();
    assert_eq!((read, second.next), (all, None));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_names_the_field_and_changes_nothing() -> Result<()> {
    let system = testkit::start([recruit::domain()]).await;
    let recruiter = system.member(ACME, Role::Staff);
    let candidate = recruit::demo().remove(0);
    recruiter.run(candidate.clone()).await?;
    let cases = [
        ("open_job_order", json!({ "title": "Forklift driver", "headcount": 0 }), "/headcount"),
        ("open_job_order", json!({ "title": "    ", "headcount": 1 }), "/title"),
        (
            "open_job_order",
            json!({ "title": "Cook", "headcount": 1, "postcode": "30" }),
            "/postcode",
        ),
        (
            "open_job_order",
            json!({ "title": "Cook", "headcount": 1, "skills": ["Fast Cook"] }),
            "/skills/0",
        ),
        (
            "open_job_order",
            json!({ "title": "Cook", "headcount": 1, "starts_on": "1999-01-01" }),
            "/starts_on",
        ),
        ("register_candidate", serde_json::to_value(&candidate)?, "/mobile"),
        ("list_job_orders", json!({ "cursor": "77" }), "/cursor"),
        ("list_job_orders", json!({ "limit": 101 }), "/limit"),
    ];

    for (operation, input, pointer) in cases {
        let refused = recruiter.refuse("recruit", operation, input).await;
        let fields: Vec<&str> =
            refused.fields().iter().map(|field| field.pointer.as_str()).collect();
        assert_eq!(fields, [pointer], "{operation}: {refused}");
    }

    assert!(recruiter.ask(ListJobOrders::default()).await?.items.is_empty());
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organisation_sees_nothing() -> Result<()> {
    let (system, recruiter, order) = scored(1).await?;
    let candidate_id = recruiter.ask(ListCandidates::default()).await?.items[0].candidate_id;
    let stranger = system.member(GLOBEX, Role::Director);

    let candidate = stranger.ask(GetCandidate { candidate_id }).await;

    assert_eq!(candidate.expect_err("it is another's").code(), "candidate_not_found");
    assert!(stranger.ask(ListJobOrders::default()).await?.items.is_empty());
    let scores = scores(&stranger, order.job_order_id).await.expect_err("it is another's");
    assert_eq!(scores.code(), "job_order_not_found");
    let shortlist = ShortlistCandidate { job_order_id: order.job_order_id, candidate_id };
    let refused = stranger.run(shortlist).await.expect_err("it is another's");
    assert_eq!(refused.code(), "job_order_not_found");
    system.stop().await;
    Ok(())
}
