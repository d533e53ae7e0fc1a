//! The stories of onboard: credentials are checked, documents verified, numbers refused, money
//! guarded.

use contracts::onboard::Stage;
use contracts::recruit::{
    CandidateId, CandidateRegistered, Credential, JobOrderId, JobOrderOpened, RECRUIT,
};
use onboard::{
    DecideReview, Decision, Document, DocumentState, GetDocument, GetProviderHealth,
    ListCredentialChecks, ListDocuments, ListReviews, ListStageBudgets, SetStageBudget,
    SubmitDocument,
};
use platform::{Domain, Result, Role};
use serde_json::json;
use testkit::{ACME, GLOBEX, Member, Tell, TestSystem, telling};

/// Stands in for recruit: domains do not know each other, in tests neither.
fn recruit() -> Domain {
    telling::<CandidateRegistered>(telling::<JobOrderOpened>(Domain::new(RECRUIT)))
}

async fn start() -> (TestSystem, Member) {
    let system = testkit::start([recruit(), onboard::domain()]).await;
    let recruiter = system.member(ACME, Role::Staff);
    (system, recruiter)
}

async fn register(recruiter: &Member, codes: &[&str]) -> Result<CandidateId> {
    let candidate_id = CandidateId::new();
    let holds = |code: &&str| Credential { code: (*code).to_owned(), expires_on: None };
    let credentials = codes.iter().map(holds).collect();
    recruiter.run(Tell(CandidateRegistered { candidate_id, credentials })).await?;
    Ok(candidate_id)
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

fn licence(candidate_id: CandidateId, extra: &str) -> SubmitDocument {
    SubmitDocument {
        candidate_id,
        credential_code: "forklift_licence".to_owned(),
        holder_name: "Mia Nguyen".to_owned(),
        file_name: "licence.txt".to_owned(),
        content: format!(
            "Document: Forklift licence\nHolder: Mia Nguyen\nNumber: HR-1234567\n\
             Expires: 2099-06-30\n{extra}"
        ),
    }
}

async fn detail(member: &Member, document: &Document) -> Result<onboard::DocumentDetail> {
    member.ask(GetDocument { document_id: document.document_id }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_are_checked_whether_they_come_before_the_order_or_after() -> Result<()> {
    let (system, recruiter) = start().await;
    let early = register(&recruiter, &["forklift_licence", "white_card"]).await?;

    let order = opened(1);
    let job_order_id = Some(order.job_order_id);
    recruiter.run(Tell(order)).await?;
    let late = register(&recruiter, &["white_card"]).await?;
    system.settle().await;

    let checks = ListCredentialChecks { job_order_id, ..ListCredentialChecks::default() };
    let checks = recruiter.ask(checks).await?.items;
    let eligible: Vec<_> =
        checks.iter().map(|check| (check.candidate_id, check.is_eligible)).collect();
    assert_eq!(eligible, [(early, true), (late, false)]);
    assert_eq!(checks[1].missing, ["forklift_licence"]);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_licence_passes_five_stages_and_proves_the_credential() -> Result<()> {
    let (system, recruiter) = start().await;
    let candidate_id = register(&recruiter, &["white_card"]).await?;
    recruiter.run(Tell(opened(1))).await?;
    system.settle().await;

    let document = recruiter.run(licence(candidate_id, "")).await?;
    system.settle().await;

    let verified = detail(&recruiter, &document).await?;
    assert_eq!(verified.document.state, DocumentState::Verified, "{verified:#?}");
    assert_eq!(verified.stages.len(), 5);
    assert_eq!(verified.stages[2].provider, "rules");
    assert_eq!(verified.stages[2].cost_micro_dollars, 0);
    let check = &recruiter.ask(ListCredentialChecks::default()).await?.items[0];
    assert!(check.is_eligible, "{check:?}");
    let mut owner = system.owner().await;
    let told: Vec<(String, i64)> = sqlx::query_as(
        "select event_type, count(*) from events.domain_events
         where domain = 'onboard' and aggregate_id = $1 group by event_type order by event_type",
    )
    .bind(document.document_id)
    .fetch_all(&mut owner)
    .await?;
    let expected = [("stage_completed", 5), ("verification_completed", 1)];
    assert_eq!(told, expected.map(|(name, count)| (name.to_owned(), count)));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doubtful_face_waits_for_a_person_who_decides_once() -> Result<()> {
    let (system, recruiter) = start().await;
    let candidate_id = register(&recruiter, &[]).await?;
    system.settle().await;
    let approved = recruiter.run(licence(candidate_id, "Likeness: 75")).await?;
    let rejected = recruiter.run(licence(candidate_id, "Likeness: 61")).await?;
    system.settle().await;
    let waiting =
        recruiter.ask(ListReviews { waiting_only: true, ..ListReviews::default() }).await?;
    let review_of = |document: &Document| {
        let found = waiting.items.iter().find(|entry| entry.document_id == document.document_id);
        found.expect("it waits").review_id
    };
    let decide = |document: &Document, decision| DecideReview {
        review_id: review_of(document),
        decision,
        note: "compared with the passport".to_owned(),
    };

    recruiter.run(decide(&approved, Decision::Approve)).await?;
    recruiter.run(decide(&rejected, Decision::Reject)).await?;
    let again = recruiter.run(decide(&rejected, Decision::Approve)).await;
    system.settle().await;

    assert_eq!(waiting.items.len(), 2);
    assert_eq!(again.expect_err("it was decided").code(), "review_decided");
    assert_eq!(detail(&recruiter, &approved).await?.document.state, DocumentState::Verified);
    let rejected = detail(&recruiter, &rejected).await?.document;
    assert_eq!(rejected.state, DocumentState::Failed);
    assert_eq!(rejected.reason_code.as_deref(), Some("rejected_by_reviewer"));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_fails_at_the_stage_that_finds_the_fault() -> Result<()> {
    let (system, recruiter) = start().await;
    let candidate_id = register(&recruiter, &[]).await?;
    system.settle().await;
    let good = licence(candidate_id, "");
    let with = |from: &str, to: &str| SubmitDocument {
        content: good.content.replace(from, to),
        ..good.clone()
    };
    let cases = [
        (with("Document", "Paper"), Stage::Classification, "unknown_document"),
        (with("Holder", "Owner"), Stage::Extraction, "unreadable"),
        (with("2099", "1999"), Stage::Validation, "expired"),
        (licence(candidate_id, "Likeness: 12"), Stage::FaceVerification, "face_differs"),
        (with("Mia", "Maya"), Stage::CrossReference, "holder_name_differs"),
        (with("Forklift", "Crane"), Stage::CrossReference, "document_kind_differs"),
    ];

    for (submit, stage, reason_code) in cases {
        let document = recruiter.run(submit).await?;
        system.settle().await;
        let failed = detail(&recruiter, &document).await?.document;
        assert_eq!((failed.state, failed.stage), (DocumentState::Failed, stage));
        assert_eq!(failed.reason_code.as_deref(), Some(reason_code));
    }

    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_every_process_of_the_pipeline_loses_no_document_and_pays_once() -> Result<()> {
    let (system, recruiter) = start().await;
    let candidate_id = register(&recruiter, &[]).await?;
    system.settle().await;
    let tree = system.system().tree();
    let children = ["budget_guard", "provider_health", "pipeline_orchestrator"];

    let mut documents = Vec::new();
    for child in children {
        documents.push(recruiter.run(licence(candidate_id, "")).await?);
        let path = format!("root/domains/onboard/children/{child}");
        tree.kill(&path).expect("it is in the tree");
    }
    let all_verified = async {
        loop {
            let verified =
                ListDocuments { state: Some(DocumentState::Verified), ..ListDocuments::default() };
            if recruiter.ask(verified).await?.items.len() == documents.len() {
                return Ok::<_, platform::Error>(());
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(std::time::Duration::from_secs(30), all_verified).await;

    waited.expect("all are verified in time")?;
    let stages =
        [Stage::Classification, Stage::Extraction, Stage::FaceVerification, Stage::CrossReference];
    let budgets = recruiter.ask(ListStageBudgets::default()).await?.items;
    for stage in stages {
        let mut paid = 0;
        for document in &documents {
            let done = detail(&recruiter, document).await?.stages;
            let done = done.iter().find(|done| stage_of(&done.finding) == stage);
            paid += done.expect("the stage is done").cost_micro_dollars;
        }
        let budget = budgets.iter().find(|budget| budget.stage == stage);
        assert_eq!(budget.expect("it has a budget").committed_micro_dollars, paid, "{stage:?}");
    }
    system.stop().await;
    Ok(())
}

fn stage_of(finding: &onboard::Finding) -> Stage {
    match finding {
        onboard::Finding::Classification { .. } => Stage::Classification,
        onboard::Finding::Extraction { .. } => Stage::Extraction,
        onboard::Finding::Validation { .. } => Stage::Validation,
        onboard::Finding::FaceVerification { .. } => Stage::FaceVerification,
        onboard::Finding::CrossReference { .. } => Stage::CrossReference,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_budget_stops_one_stage_of_one_organisation() -> Result<()> {
    let (system, recruiter) = start().await;
    let ours = register(&recruiter, &[]).await?;
    let neighbour = system.member(GLOBEX, Role::Staff);
    let theirs = register(&neighbour, &[]).await?;
    system.settle().await;
    let budget = SetStageBudget { stage: Stage::Extraction, limit_micro_dollars: 10 };
    recruiter.run(budget).await?;

    let stopped = recruiter.run(licence(ours, "")).await?;
    let passes = neighbour.run(licence(theirs, "")).await?;
    system.settle().await;

    let stopped = detail(&recruiter, &stopped).await?;
    assert_eq!(stopped.document.state, DocumentState::InProgress);
    assert_eq!((stopped.document.stage, stopped.stages.len()), (Stage::Extraction, 1));
    assert_eq!(detail(&neighbour, &passes).await?.document.state, DocumentState::Verified);
    let mut owner = system.owner().await;
    let warned: i64 = sqlx::query_scalar(
        "select count(*) from events.domain_events where event_type = 'stage_budget_ran_low'",
    )
    .fetch_one(&mut owner)
    .await?;
    assert_eq!(warned, 1);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_numbers_are_checked() -> Result<()> {
    let (system, recruiter) = start().await;
    let candidate_id = register(&recruiter, &[]).await?;
    system.settle().await;
    let refused = [
        (
            "declare_tax_file_number",
            json!({ "tax_file_number": "123 456 783" }),
            "/tax_file_number",
        ),
        (
            "set_bank_details",
            json!({ "bsb": "068-000", "account_number": "12345678", "account_name": "Mia Nguyen" }),
            "/bsb",
        ),
        (
            "set_bank_details",
            json!({ "bsb": "062-000", "account_number": "1234x678", "account_name": "Mia Nguyen" }),
            "/account_number",
        ),
        (
            "choose_super_fund",
            json!({ "fund_name": "Sun Super", "fund_abn": "51 824 753 557" }),
            "/fund_abn",
        ),
    ];
    for (operation, mut input, pointer) in refused {
        input["candidate_id"] = json!(candidate_id);
        let refused = recruiter.refuse("onboard", operation, input).await;
        assert_eq!(refused.fields()[0].pointer, pointer, "{refused}");
    }
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_secrets_are_not_kept() -> Result<()> {
    let (system, recruiter) = start().await;
    let candidate_id = register(&recruiter, &[]).await?;
    system.settle().await;

    let declare = json!({ "candidate_id": candidate_id, "tax_file_number": "123 456 782" });
    let declared = recruiter.call("onboard", "declare_tax_file_number", declare).await?;
    let bank = json!({
        "candidate_id": candidate_id, "bsb": "062 000",
        "account_number": "1234 5678", "account_name": "Mia Nguyen",
    });
    let bank = recruiter.call("onboard", "set_bank_details", bank).await?;
    let fund = json!({
        "candidate_id": candidate_id, "fund_name": "Tax Office Super", "fund_abn": "51 824 753 556",
    });
    recruiter.call("onboard", "choose_super_fund", fund).await?;
    system.settle().await;

    assert_eq!(declared["masked"], "*** *** 782");
    assert_eq!(bank["bsb"], "062-000");
    assert_eq!(bank["masked_account_number"], "***678");
    let mut owner = system.owner().await;
    let payloads: Vec<Vec<u8>> = sqlx::query_scalar("select payload from events.domain_events")
        .fetch_all(&mut owner)
        .await?;
    for payload in payloads {
        let payload = String::from_utf8_lossy(&payload).into_owned();
        for secret in ["123456782", "123 456 782", "12345678", "062-000", "Mia"] {
            assert!(!payload.contains(secret), "{payload}");
        }
    }
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_provider_is_known_to_be_well() -> Result<()> {
    let (system, recruiter) = start().await;
    let input = serde_json::to_value(GetProviderHealth {})?;

    let health = recruiter.call("onboard", "get_provider_health", input).await?;

    assert_eq!((&health["provider"], &health["is_up"]), (&json!("development"), &json!(true)));
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_lost_its_job_is_driven_on_behind_its_last_check_point() -> Result<()> {
    let (system, recruiter) = start().await;
    let candidate_id = register(&recruiter, &[]).await?;
    system.settle().await;
    let (stage, enough) = (Stage::Extraction, 1_000_000);
    recruiter.run(SetStageBudget { stage, limit_micro_dollars: 0 }).await?;
    let document = recruiter.run(licence(candidate_id, "")).await?;
    system.settle().await;
    let before = detail(&recruiter, &document).await?;
    system.lose_jobs("name = 'run_stage'").await;
    let mut owner = system.owner().await;
    sqlx::query("update onboard.documents set driven_at = driven_at - interval '1 hour'")
        .execute(&mut owner)
        .await?;

    recruiter.run(SetStageBudget { stage, limit_micro_dollars: enough }).await?;
    // A guard that starts anew believes nothing, an orchestrator that starts anew goes round at
    // once.
    for child in ["budget_guard", "pipeline_orchestrator"] {
        let path = format!("root/domains/onboard/children/{child}");
        system.system().tree().kill(&path).expect("it is in the tree");
    }
    let driven_on = async {
        loop {
            let now = detail(&recruiter, &document).await?;
            if now.document.state == DocumentState::Verified {
                return Ok::<_, platform::Error>(now);
            }
            tokio::task::yield_now().await;
        }
    };
    let after = tokio::time::timeout(std::time::Duration::from_secs(20), driven_on).await;

    let after = after.expect("it is driven on in time")?;
    assert_eq!(before.stages.len(), 1);
    assert_eq!(after.stages[0], before.stages[0]);
    assert_eq!(after.stages.len(), 5);
    system.settle().await;
    system.stop().await;
    Ok(())
}
