//! The stories of pulse: rosters are drafted and documents counted before anybody asks.

use contracts::onboard::{DocumentId, ONBOARD, VerificationCompleted, VerificationFailed};
use contracts::recruit::{CandidateId, JobOrderId, JobOrderOpened, RECRUIT};
use platform::{Domain, Result, Role};
use pulse::{
    DraftRosterTemplate, GetRosterTemplate, ListComplianceScores, ListRosterTemplates,
    UpdateComplianceScore,
};
use testkit::{ACME, GLOBEX, Tell, TestSystem, telling};

/// Stands in for recruit: domains do not know each other, in tests neither.
fn recruit() -> Domain {
    telling::<JobOrderOpened>(Domain::new(RECRUIT))
}

/// Stands in for onboard.
fn onboard() -> Domain {
    Domain::new(ONBOARD).emits::<VerificationCompleted>().emits::<VerificationFailed>()
}

async fn start() -> TestSystem {
    testkit::start([recruit(), onboard(), pulse::domain()]).await
}

fn opened(headcount: u32) -> JobOrderOpened {
    JobOrderOpened {
        job_order_id: JobOrderId::new(),
        title: "Forklift driver".to_owned(),
        client_name: Some("Westgate Logistics".to_owned()),
        headcount,
        credentials_required: vec!["forklift_licence".to_owned(), "white_card".to_owned()],
        starts_on: None,
        shift_starts_minute: 360,
        shift_minutes: 480,
        shift_days: 5,
        charge_rate_cents: None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_a_job_order_drafts_its_roster_template_once() -> Result<()> {
    let system = start().await;
    let recruiter = system.member(ACME, Role::Staff);
    let order = JobOrderOpened { shift_days: 7, ..opened(3) };
    let job_order_id = order.job_order_id;

    recruiter.run(Tell(order)).await?;
    system.settle().await;

    let drafts = recruiter.ask(ListRosterTemplates::default()).await?.items;
    assert_eq!(drafts.len(), 1);
    assert_eq!(drafts[0].job_order_id, job_order_id);
    assert_eq!(drafts[0].planned_minutes, 3 * 7 * 480);
    let roster_template_id = drafts[0].roster_template_id;
    let draft = recruiter.ask(GetRosterTemplate { roster_template_id }).await?;
    assert_eq!(draft.shifts.len(), 7);
    let again = DraftRosterTemplate {
        job_order_id,
        title: "Forklift driver".to_owned(),
        headcount: 9,
        starts_on: draft.shifts[0].worked_on,
        shift_starts_minute: 0,
        shift_minutes: 60,
        shift_days: 1,
    };
    assert_eq!(recruiter.run(again).await?, draft);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_counts_once_however_often_it_is_told() -> Result<()> {
    let system = start().await;
    let recruiter = system.member(ACME, Role::Staff);
    let candidate_id = CandidateId::new();
    let (verified, failed) = (DocumentId::new(), DocumentId::new());
    let update =
        |document_id, is_verified| UpdateComplianceScore { document_id, candidate_id, is_verified };

    recruiter.run(update(verified, true)).await?;
    recruiter.run(update(verified, true)).await?;
    recruiter.run(update(failed, false)).await?;

    let scores = recruiter.ask(ListComplianceScores::default()).await?.items;
    assert_eq!(scores.len(), 1);
    assert_eq!((scores[0].verified_count, scores[0].failed_count, scores[0].score), (1, 1, 500));
    let stranger = system.member(GLOBEX, Role::Staff);
    assert!(stranger.ask(ListComplianceScores::default()).await?.items.is_empty());
    system.settle().await;
    system.stop().await;
    Ok(())
}
