//! The stories of reach: messages are queued once, sent once, and stay where they belong.

use contracts::reach::Channel;
use contracts::recruit::{JobOrderId, JobOrderOpened, RECRUIT};
use platform::{Command, Domain, Result, Role, Spec, Tx};
use reach::{ListMessages, MessageState, QueueMessage};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use testkit::ACME;

/// Opens a job order, as far as the other domains can tell.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct TellOpened(JobOrderOpened);

impl Command for TellOpened {
    const SPEC: Spec = Spec::internal("tell_opened");
    type Output = ();

    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&self.0).await?;
        Ok(())
    }
}

/// Stands in for recruit: domains do not know each other, in tests neither.
fn recruit() -> Domain {
    Domain::new(RECRUIT).command::<TellOpened>().emits::<JobOrderOpened>()
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
async fn opening_a_job_order_is_confirmed_to_whoever_opened_it() -> Result<()> {
    let system = testkit::start([recruit(), reach::domain()]).await;
    let recruiter = system.member(ACME, Role::Staff);
    let order = opened(3);
    let job_order_id = order.job_order_id;

    recruiter.run(TellOpened(order)).await?;
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
