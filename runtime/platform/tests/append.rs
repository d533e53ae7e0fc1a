//! Telling facts: what a domain may ask of the log, and how it is refused.

use platform::{
    Appended, Command, Domain, DomainName, Error, Event, EventId, EventType, Kind, Result, Role,
    Scope, Spec, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{ACME, TestSystem};
use uuid::Uuid;

const LEDGER: DomainName = DomainName::new("ledger");

/// An amount was booked.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct AmountBooked {
    /// The account.
    account_id: Uuid,
    /// What for.
    lines: Vec<Line>,
}

/// A line of a booking.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Line {
    /// How much.
    #[schemars(range(min = 1))]
    amount_cents: i64,
}

impl Event for AmountBooked {
    const TYPE: EventType = LEDGER.event("amount_booked", 1);
    fn aggregate_id(&self) -> Uuid {
        self.account_id
    }
}

/// A fact that no schema is published for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct AccountForgotten {}

impl Event for AccountForgotten {
    const TYPE: EventType = LEDGER.event("account_forgotten", 1);
    fn aggregate_id(&self) -> Uuid {
        Uuid::nil()
    }
}

/// Book amounts.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct BookAmounts {
    account_id: Uuid,
    cents: Vec<i64>,
    version: Option<u64>,
    event_id: Option<EventId>,
}

impl Command for BookAmounts {
    const SPEC: Spec = Spec::create("book_amounts", "/amounts");
    type Output = Value;
    async fn handle(self, tx: &mut Tx<'_>) -> Result<Value> {
        let booked = |cents: i64| AmountBooked {
            account_id: self.account_id,
            lines: vec![Line { amount_cents: 1 }, Line { amount_cents: cents }],
        };
        match (self.version, self.event_id) {
            (Some(version), _) => {
                tx.append_expecting(version, &booked(self.cents[0])).await?;
            }
            (None, Some(event_id)) => {
                let appended = tx.append_once(event_id, &booked(self.cents[0])).await?;
                return Ok(json!(appended == Appended::Now));
            }
            (None, None) => {
                let all: Vec<_> = self.cents.iter().map(|cents| booked(*cents)).collect();
                tx.append_all(&all).await?;
            }
        }
        Ok(json!(tx.version_of(self.account_id).await?))
    }
}

/// Forget an account.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct ForgetAccount {}

impl Command for ForgetAccount {
    const SPEC: Spec = Spec::invoke("forget_account", "/forgotten");
    type Output = ();
    async fn handle(self, tx: &mut Tx<'_>) -> Result<()> {
        tx.append(&AccountForgotten {}).await.map(drop)
    }
}

async fn start() -> TestSystem {
    let ledger = Domain::new(LEDGER).command::<BookAmounts>().command::<ForgetAccount>();
    testkit::start([ledger.emits::<AmountBooked>()]).await
}

fn book(account_id: Uuid, cents: &[i64]) -> BookAmounts {
    BookAmounts { account_id, cents: cents.to_vec(), version: None, event_id: None }
}

async fn recorded(system: &TestSystem) -> i64 {
    sqlx::query_scalar("select count(*) from events.domain_events")
        .fetch_one(&mut system.owner().await)
        .await
        .expect("the owner may count")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_that_breaks_its_published_schema_is_not_recorded_and_the_place_is_named() {
    let system = start().await;
    let member = system.member(ACME, Role::Staff);

    let broken = member.run(book(Uuid::now_v7(), &[5, 0])).await;
    let undeclared = member.run(ForgetAccount {}).await;

    let Err(Error::Failure(cause)) = broken else { panic!("{broken:?}") };
    let cause = cause.to_string();
    assert!(cause.contains("`/lines/1/amount_cents`") && cause.contains("minimum"), "{cause}");
    let Err(Error::Failure(cause)) = undeclared else { panic!("{undeclared:?}") };
    assert!(cause.to_string().contains("Domain::emits"), "{cause}");
    assert_eq!(recorded(&system).await, 0);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expected_version_is_a_conflict_that_names_both() {
    let system = start().await;
    let member = system.member(ACME, Role::Staff);
    let account_id = Uuid::now_v7();
    let at = |version| BookAmounts { version: Some(version), ..book(account_id, &[3]) };

    let after_three = member.run(book(account_id, &[1, 2, 3])).await.expect("three amounts");
    let after_four = member.run(at(3)).await.expect("it has three");
    let refused = member.run(at(3)).await.expect_err("it has four");

    assert_eq!((after_three, after_four), (json!(3), json!(4)));
    assert_eq!((refused.kind(), refused.code()), (Kind::Conflict, "version_conflict"));
    let told = refused.message();
    assert!(told.contains("version 3") && told.contains("version 4"), "{told}");
    assert!(told.contains(&account_id.to_string()), "{told}");
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_told_again_under_its_id_is_told_once() {
    let system = start().await;
    let member = system.member(ACME, Role::Staff);
    let (account_id, event_id) = (Uuid::now_v7(), Some(EventId::new()));
    let once = |cents| BookAmounts { event_id, ..book(account_id, &[cents]) };

    let first = member.run(once(7)).await.expect("it is new");
    let again = member.run(once(7)).await.expect("it is the same");
    let other = member.run(once(8)).await.expect_err("it is another");

    assert_eq!((first, again), (json!(true), json!(false)));
    assert_eq!((other.kind(), other.code()), (Kind::Conflict, "event_id_taken"));
    assert_eq!(recorded(&system).await, 1);
    system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_eleventh_event_of_a_chain_is_refused_with_the_chain() {
    let system = start().await;
    let member = system.member(ACME, Role::Staff);
    let cause = EventId::new();
    let once = BookAmounts { event_id: Some(cause), ..book(Uuid::now_v7(), &[7]) };
    member.run(once).await.expect("it is new");
    system.settle().await;
    let mut scope = serde_json::to_value(member.scope()).expect("a scope is JSON");
    scope["hops"] = json!(10);
    scope["causation_id"] = json!(cause);
    let scope: Scope = serde_json::from_value(scope).expect("it is a scope");

    let refused = system.system().run(&scope, book(Uuid::now_v7(), &[1])).await;

    let refused = refused.expect_err("ten are enough");
    assert_eq!((refused.kind(), refused.code()), (Kind::Conflict, "too_many_hops"));
    let chain = format!("the chain is ledger/amount_booked {cause}");
    assert!(refused.message().contains(&chain), "{refused}");
    system.stop().await;
}
