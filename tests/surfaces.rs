//! One declaration, every door: the same input gives the same answer, or the same refusal, through
//! REST, MCP, the socket and the command line.
//!
//! Each door has an organisation of its own, and all are furnished alike. So an operation that
//! changes something is called through each of them, and what is told is compared, apart from what
//! differs from call to call: ids, times and secrets.

mod doors;
mod offered;
mod scopes;
mod signing_in;
mod told;

use std::collections::BTreeMap;
use std::time::Duration;

use platform::operator::OPERATOR;
use platform::{Access, Enrolment, Operation, OrgId, Role, Verb, allows};
use serde_json::{Value, json};
use testkit::Member;
use uuid::Uuid;

use crate::inputs::{Inputs, id_places, name_of};
use crate::support::{Served, serve_every};
use crate::world::{Ids, furnish};

use doors::{DOORS, Door};
use told::Told;

/// A served platform with an organisation for each door.
struct Street {
    served: Served,
    houses: Vec<House>,
}

/// A door, and the organisation that is asked through it.
struct House {
    door: Door,
    org_id: OrgId,
    ids: Ids,
}

impl Street {
    async fn build(extra_tuning: &str) -> Self {
        let served = serve_every(extra_tuning).await;
        let mut houses = Vec::new();
        for (number, door) in (1_u128..).zip(DOORS) {
            let org_id = OrgId::from_uuid(Uuid::from_u128(FIRST_ORG + number * 0x1_0000));
            // Its short name is an id, as what differs from house to house must look like one.
            enrol(&served, org_id, &org_id.to_string()).await;
            furnish(&served.system, org_id, "Walker").await;
            let ids = Ids::of(&mut served.system.owner().await, org_id).await;
            houses.push(House { door, org_id, ids });
        }
        Self { served, houses }
    }

    fn member(&self, house: &House, role: Role) -> Member {
        self.served.system.member(house.org_id, role)
    }

    /// What every door that has it says to a member with that role; `input` makes the input of each
    /// house.
    async fn ask(
        &self,
        operation: &Operation,
        role: Role,
        input: impl Fn(&House) -> Value,
    ) -> Vec<(Door, Told)> {
        let mut told = Vec::new();
        for house in &self.houses {
            if house.door.withholds(operation).is_some() {
                continue;
            }
            let member = self.member(house, role);
            let input = input(house);
            let mut said = house.door.ask(&self.served, &member, operation, &input).await;
            if operation.domain == OPERATOR {
                // One walk over the chain at a time; the one before ends by itself.
                let mut looks = tokio::time::interval(Duration::from_millis(50));
                while said.code() == "unavailable" {
                    looks.tick().await;
                    said = house.door.ask(&self.served, &member, operation, &input).await;
                }
                // The platform goes on living between two looks at it.
                said.forget_values();
            }
            told.push((house.door, said));
        }
        told
    }
}

/// Ids of the organisations begin here; tests have others.
const FIRST_ORG: u128 = 0x0190_0000_0000_7000_8000_0000_00d0_0000;

/// Makes an organisation with a user of every role, each with the token a test's member shows.
async fn enrol(served: &Served, org_id: OrgId, slug: &str) {
    // The first token is the one that the walk takes away, so it is not the director's, who walks.
    for role in Role::ALL.into_iter().rev() {
        let member = served.system.member(org_id, role);
        let enrolment = Enrolment {
            org_id,
            org_name: "Walker".to_owned(),
            org_slug: slug.to_owned(),
            user_id: member.scope().user_id().expect("a member is a user"),
            name: format!("Walker {}", role.name()),
            email: format!("{}@walker.test", role.name()),
            role,
            token: member.token().to_owned(),
        };
        served.system.system().enrol(&enrolment).await.expect("the user is enrolled");
    }
}

/// Who calls it: the first of these who may.
fn caller(operation: &Operation) -> Role {
    let access = operation.spec.access();
    let mut roles = [Role::Director, Role::Operator].into_iter();
    roles.find(|role| allows(*role, access)).unwrap_or(Role::Director)
}

/// An input that fits, with the ids that the house has; what it has not, nobody has.
fn fitting(house: &House, operation: &Operation) -> Value {
    let pick =
        |_: &str, field: &str| house.ids.find(operation.domain.as_str(), field).unwrap_or(NOBODYS);
    let mut input = Inputs { id: &pick, and: None }.of(operation);
    // Guesses are counted by organisation, so each house is guessed at by its own name.
    if operation.spec.access() == Access::Anyone
        && let Some(organisation) = input.get_mut("organisation")
    {
        *organisation = json!(house.org_id);
    }
    input
}

/// The same with ids that nobody has.
fn foreign(operation: &Operation) -> Value {
    Inputs { id: &|_, _| NOBODYS, and: None }.of(operation)
}

/// The same with a field that no operation has.
fn unknown_field(operation: &Operation) -> Value {
    let mut input = foreign(operation);
    input["no_such_field"] = json!(1);
    input
}

const NOBODYS: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_dead);

/// Complaints when the doors do not all say the same.
fn differing(what: &str, told: &[(Door, Told)]) -> Option<String> {
    let ((_, first), others) = told.split_first().expect("there are doors");
    let is_same = others.iter().all(|(_, other)| other.shape() == first.shape());
    (!is_same).then(|| {
        let lines = told.iter().map(|(door, told)| format!("  {door:?}: {told:?}"));
        format!("{what}\n{}", lines.collect::<Vec<_>>().join("\n"))
    })
}

/// A complaint when an operation has not been asked for through a door that has it.
fn unasked(operation: &Operation, told: &[(Door, Told)]) -> Option<String> {
    let asked = |door: &Door| told.iter().any(|(asked, _)| asked == door);
    let missing = DOORS.iter().find(|door| asked(door) == door.withholds(operation).is_some());
    missing.map(|door| format!("{} was not asked for through {door:?}", name_of(operation)))
}

/// Strangers are many here, and all come from one address.
const PATIENT: &str = "[edge]\naddress_per_second = 10_000\naddress_burst = 10_000\n";

/// What is walked over: reading first, what ends something later, and last what can take a caller's
/// own credential away.
fn walk(street: &Street) -> Vec<&Operation> {
    let catalog = street.served.system.system().catalog();
    let mut operations: Vec<&Operation> =
        catalog.operations().filter(|operation| operation.spec.verb() != Verb::Internal).collect();
    operations.sort_by_key(|operation| {
        let verb = match operation.spec.verb() {
            Verb::Read => 0,
            Verb::Create => 1,
            Verb::Replace => 2,
            Verb::Invoke => 3,
            Verb::Remove | Verb::Internal => 4,
        };
        let ends_sessions = ["revoke", "sign_out"];
        let is_last = ends_sessions.iter().any(|end| operation.spec.name().starts_with(end));
        (is_last, operation.domain.as_str() == "accounts", verb)
    });
    operations
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_says_the_same_through_every_door() {
    let street = Street::build(PATIENT).await;
    let mut wrong = Vec::new();
    let mut answered: BTreeMap<&str, usize> = BTreeMap::new();

    for operation in walk(&street) {
        let (name, role) = (name_of(operation), caller(operation));
        let refused = street.ask(operation, role, |_| unknown_field(operation)).await;
        wrong.extend(differing(&format!("{name} with an unknown field"), &refused));
        if !id_places(operation).is_empty() {
            let nobodys = street.ask(operation, role, |_| foreign(operation)).await;
            wrong.extend(differing(&format!("{name} with ids of nobody"), &nobodys));
        }

        let told = street.ask(operation, role, |house| fitting(house, operation)).await;
        wrong.extend(differing(&name, &told));
        wrong.extend(unasked(operation, &told));
        let is_answered = told.iter().all(|(_, told)| told.is_answer());
        *answered.entry(operation.domain.as_str()).or_default() += usize::from(is_answered);
    }

    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let total: usize = answered.values().sum();
    assert!(total > 30, "only so many operations were answered: {answered:?}");
    street.served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_refusal_is_the_same_through_every_door() {
    let street = Street::build(QUARANTINED_FOR_LONG).await;
    let catalog = street.served.system.system().catalog();
    let find = |domain, name| catalog.operation(domain, name).expect("it is declared");
    let open = find("recruit", "open_job_order");
    let cancel = find("recruit", "cancel_job_order");
    let get = find("recruit", "get_job_order");
    let list = find("payroll", "list_billing_records");
    let amend = find("accounts", "amend_organisation");
    let outdated = |_: &House| json!({"name": "Walker", "expected_version": 1_000});
    let order = |headcount: Value| json!({"title": "Driver", "headcount": headcount});
    let cancelled = |house: &House| {
        let job_order_id = house.ids.find("recruit", "job_order_id");
        json!({"job_order_id": job_order_id, "reason": "no longer needed"})
    };
    let tree = street.served.system.system().tree().clone();
    let mut changes = tree.changes();
    tree.kill("root/domains/payroll/queue").expect("the queue exists");
    while tree.quarantined_until("root/domains/payroll").is_none() {
        changes.changed().await.expect("the tree is alive");
    }

    street.ask(cancel, Role::Staff, cancelled).await;
    let cases = [
        ("forbidden", "access_denied", street.ask(open, Role::Worker, |_| order(json!(1))).await),
        (
            "malformed",
            "malformed_input",
            street.ask(open, Role::Staff, |_| order(json!("two"))).await,
        ),
        ("rule", "starts_on", street.ask(open, Role::Staff, |_| too_early()).await),
        ("not found", "job_order_not_found", street.ask(get, Role::Staff, |_| foreign(get)).await),
        ("conflict", "job_order_not_open", street.ask(cancel, Role::Staff, cancelled).await),
        ("stale", "version_changed", street.ask(amend, Role::Director, outdated).await),
        ("unavailable", "unavailable", street.ask(list, Role::Staff, |_| json!({})).await),
    ];

    for (what, code, told) in cases {
        assert_eq!(differing(what, &told), None);
        for (door, told) in told {
            assert_eq!(told.code(), code, "{what} through {door:?}: {told:?}");
        }
    }
    for house in &street.houses {
        assert_eq!(house.door.ask_as_nobody(&street.served, get).await, "unauthenticated");
    }
    street.served.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_the_same_through_every_door() {
    let street = Street::build("[edge]\ncredential_per_second = 1\ncredential_burst = 2\n").await;
    let catalog = street.served.system.system().catalog();
    let get = catalog.operation("accounts", "get_me").expect("it is declared");

    let (mut told, nothing) = (Vec::new(), json!({}));
    for house in &street.houses {
        let member = street.member(house, Role::Staff);
        let limited = loop {
            // Many at once, as a slow machine gives pieces back between one and the next.
            let asking = (0..20).map(|_| house.door.ask(&street.served, &member, get, &nothing));
            let said = futures_util::future::join_all(asking).await;
            if let Some(refused) = said.into_iter().find(|said| !said.is_answer()) {
                break refused;
            }
        };
        told.push((house.door, limited));
    }

    assert_eq!(differing("too often", &told), None);
    assert_eq!(told[0].1.code(), "limited");
    street.served.system.stop().await;
}

/// Payroll is not tried again while the test looks, however slow the machine.
const QUARANTINED_FOR_LONG: &str = "[domains]\nquarantine_ms = [3_600_000]\n\
    [domain.payroll]\nmax_restarts = 0\n";

/// An order that a schema lets pass and a rule does not.
fn too_early() -> Value {
    json!({"title": "Driver", "headcount": 1, "starts_on": "2020-01-01"})
}
