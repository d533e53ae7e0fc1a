//! The stories of reach: messages are queued once, sent once, and stay where they belong.

use contracts::accounts::{ACCOUNTS, Letter, PasswordResetRequested, SEALED_LETTERS, UserInvited};
use contracts::reach::Channel;
use contracts::recruit::{JobOrderId, JobOrderOpened, RECRUIT};
use platform::{Domain, Result, Role, UserId};
use reach::{ListMessages, MessageState, QueueMessage};
use testkit::{ACME, Tell, telling};

/// Stands in for recruit: domains do not know each other, in tests neither.
fn recruit() -> Domain {
    telling::<JobOrderOpened>(Domain::new(RECRUIT))
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

/// Stands in for accounts.
fn accounts() -> Domain {
    telling::<PasswordResetRequested>(Domain::new(ACCOUNTS)).emits::<UserInvited>()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_with_a_link_is_read_by_its_recipient_alone() -> Result<()> {
    let system = testkit::start([accounts(), reach::domain()]).await;
    let user_id = UserId::new();
    let letter = Letter {
        recipient: "mia@acme.example".to_owned(),
        body: "Choose one: https://acme.example/reset-password?token=fin_rst_7".to_owned(),
    };
    let plain = serde_json::to_vec(&letter).expect("it is JSON");
    let secret = system.system().secret();
    let sealed = secret.seal(SEALED_LETTERS, user_id.uuid().as_bytes(), &plain);
    let letter = sealed.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let asked = PasswordResetRequested { user_id, link_id: user_id.uuid(), letter };

    system.member(ACME, Role::Staff).run(Tell(asked)).await?;
    system.settle().await;

    let shown = system.member(ACME, Role::Director).ask(ListMessages::default()).await?.items;
    assert_eq!((shown.len(), shown[0].state), (1, MessageState::Sent));
    assert_eq!(shown[0].recipient, "mia@acme.example");
    assert!(!shown[0].body.contains("fin_rst_7"));
    let mut owner = system.owner().await;
    let sent: Vec<String> =
        sqlx::query_scalar("select body from reach.outbox").fetch_all(&mut owner).await?;
    assert!(sent.len() == 1 && sent[0].ends_with("fin_rst_7"));
    for table in ["reach.messages", "jobs.jobs", "jobs.finished"] {
        let sql = sqlx::AssertSqlSafe(format!("select row_::text from {table} as row_"));
        let rows: Vec<String> = sqlx::query_scalar(sql).fetch_all(&mut owner).await?;
        assert!(!rows.iter().any(|row| row.contains("fin_rst_7")), "{table}");
    }
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_a_job_order_is_confirmed_to_whoever_opened_it() -> Result<()> {
    let system = testkit::start([recruit(), reach::domain()]).await;
    let recruiter = system.member(ACME, Role::Staff);
    let order = opened(3);
    let job_order_id = order.job_order_id;

    recruiter.run(Tell(order)).await?;
    system.settle().await;

    let messages = recruiter.ask(ListMessages::default()).await?.items;
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].about_id, Some(job_order_id.uuid()));
    assert_eq!(
        messages[0].body,
        "Job order opened for Westgate Logistics: Forklift driver, 3 people."
    );
    assert!(messages[0].recipient.starts_with("member:"));
    assert_eq!(messages[0].state, MessageState::Sent);
    system.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_occasion_makes_one_message_and_the_outbox_holds_it_once() -> Result<()> {
    let system = testkit::start([recruit(), reach::domain()]).await;
    let recruiter = system.member(ACME, Role::Staff);
    let message = QueueMessage {
        channel: Channel::Sms,
        recipient: "+61491570006".to_owned(),
        body: "Your shift starts at six.".to_owned(),
        about_id: None,
        occasion: Some("shift-7".to_owned()),
    };

    let first = recruiter.run(message.clone()).await?;
    let second = recruiter.run(message.clone()).await?;
    let without_occasion = QueueMessage { occasion: None, ..message };
    let third = recruiter.run(without_occasion).await?;
    system.settle().await;

    assert_eq!(first.message_id, second.message_id);
    assert_ne!(first.message_id, third.message_id);
    let mut owner = system.owner().await;
    let sent: Vec<(String, i64)> =
        sqlx::query_as("select recipient, count(*) from reach.outbox group by recipient")
            .fetch_all(&mut owner)
            .await?;
    assert_eq!(sent, [("+61491570006".to_owned(), 2)]);
    let told: Vec<Vec<u8>> =
        sqlx::query_scalar("select payload from events.domain_events where domain = 'reach'")
            .fetch_all(&mut owner)
            .await?;
    assert_eq!(told.len(), 4);
    for payload in told {
        let payload = String::from_utf8_lossy(&payload).into_owned();
        assert!(!payload.contains("570006") && !payload.contains("shift"), "{payload}");
    }
    system.stop().await;
    Ok(())
}
