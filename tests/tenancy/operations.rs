//! Every operation, asked by a member of another organisation with ids of ours.

use std::collections::BTreeSet;

use platform::operator::OPERATOR;
use platform::{Access, Error, Kind, Operation, Role, Scope, Verb, allows};
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX, TestSystem};
use uuid::Uuid;

use super::tables::digest;
use crate::inputs::{Inputs, id_places, name_of};
use crate::world::{Ids, clock, every_domain, furnish};

/// A word in every text of ours, which no answer to others may have in it.
pub(super) const MARK: &str = "Zephyrine";

/// Where an id of another organisation is taken like one that nobody has, and why that is right.
/// Everywhere else it is answered with `not_found`.
const REFERENCES: [(&str, &str, &str); 2] = [
    (
        "pulse/draft_roster_template",
        "/job_order_id",
        "pulse has no job orders of its own; the draft is the caller's own row and says only so",
    ),
    ("reach/queue_message", "/about_id", "a note for the reader; nothing is looked up by it"),
];

/// Two organisations that have used everything, and the ids of both.
struct Walk {
    system: TestSystem,
    ours: Ids,
    theirs: Ids,
}

async fn begin() -> Walk {
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    let system = testkit::start_with(every_domain(), clock(), "", edge).await;
    furnish(&system, ACME, MARK).await;
    furnish(&system, GLOBEX, "Globex").await;
    let mut owner = system.owner().await;
    let (ours, theirs) = (Ids::of(&mut owner, ACME).await, Ids::of(&mut owner, GLOBEX).await);
    Walk { system, ours, theirs }
}

/// The scope in which a role of Globex calls `operation`; its jobs call what has no surface.
fn scope_of(system: &TestSystem, role: Role, operation: &Operation) -> Scope {
    match (operation.spec.verb(), operation.spec.access()) {
        (_, Access::Anyone) => Scope::anonymous(Uuid::now_v7()),
        (Verb::Internal, _) => Scope::system(GLOBEX, operation.domain.as_str(), Uuid::now_v7()),
        _ => system.member(GLOBEX, role).scope(),
    }
}

/// Who may call it. What has no surface is called by jobs, whatever the role.
fn callers(operation: &Operation) -> Vec<Role> {
    let all = Role::ALL.into_iter().filter(|role| allows(*role, operation.spec.access()));
    all.take(if operation.spec.verb() == Verb::Internal { 1 } else { usize::MAX }).collect()
}

impl Walk {
    /// An input with ids of Globex, but for one place.
    fn input(&self, operation: &Operation, place: &str, id: Option<Uuid>) -> Option<Value> {
        let pick = |at: &str, field: &str| {
            let given = (at == place).then_some(id).flatten();
            given.unwrap_or_else(|| id_among(&self.theirs, operation, field))
        };
        let inputs = Inputs { id: &pick, and: Some(place) };
        // What only jobs and actions send may hold what they alone can make.
        if operation.spec.verb() == Verb::Internal {
            return inputs.fitting(operation).ok();
        }
        Some(inputs.of(operation))
    }

    /// The id of ours that a place of an operation takes.
    fn foreign(&self, operation: &Operation, place: &str) -> Uuid {
        let mut steps = place.rsplit('/').filter(|step| *step != "0");
        id_among(&self.ours, operation, steps.next().unwrap_or_default())
    }

    async fn call(&self, scope: &Scope, operation: &Operation, input: Value) -> Told {
        let (domain, name) = (operation.domain.as_str(), operation.spec.name());
        self.system.system().call(scope, domain, name, input).await.into()
    }

    /// Complaints about an answer to `asked` that has anything of ours in it.
    fn leak(&self, operation: &Operation, asked: &Value, told: &Told) -> Option<String> {
        let (asked, text) = (asked.to_string(), told.text());
        let mut ours = self.ours.all().chain([MARK.to_owned()]);
        let leak = ours.find(|ours| text.contains(ours.as_str()) && !asked.contains(ours.as_str()));
        leak.map(|leak| format!("{} tells {leak} to another: {text}", name_of(operation)))
    }
}

/// What a caller was told.
#[derive(Debug, PartialEq)]
enum Told {
    Answer(Value),
    Refusal { kind: Kind, code: String, message: String },
}

impl From<Result<Value, Error>> for Told {
    fn from(result: Result<Value, Error>) -> Self {
        match result {
            Ok(answer) => Self::Answer(answer),
            Err(error) => Self::Refusal {
                kind: error.kind(),
                code: error.code().to_owned(),
                message: format!("{} {:?}", error.message(), error.fields()),
            },
        }
    }
}

impl Told {
    fn text(&self) -> String {
        match self {
            Self::Answer(answer) => answer.to_string(),
            Self::Refusal { message, .. } => message.clone(),
        }
    }

    fn kind(&self) -> Option<Kind> {
        match self {
            Self::Answer(_) => None,
            Self::Refusal { kind, .. } => Some(*kind),
        }
    }

    /// The same without what differs from row to row.
    fn shape(&self) -> (Option<Kind>, String) {
        match self {
            Self::Answer(_) => (None, String::new()),
            Self::Refusal { kind, code, .. } => (Some(*kind), code.clone()),
        }
    }
}

/// Whether the id only narrows a list.
pub(super) fn is_filter(operation: &Operation, place: &str) -> bool {
    let is_list = operation.output_schema["properties"].get("items").is_some();
    let is_required = operation.input_schema["required"].as_array().is_some_and(|names| {
        names.iter().any(|name| place == format!("/{}", name.as_str().unwrap_or_default()))
    });
    operation.spec.verb() == Verb::Read && is_list && !is_required
}

pub(super) fn reason(operation: &Operation, place: &str) -> Option<&'static str> {
    let name = name_of(operation);
    let held = REFERENCES.iter().find(|(of, at, _)| *of == name && *at == place);
    held.map(|(_, _, reason)| *reason)
}

/// The id that goes into a field of an operation. What has no surface may take one that nobody has.
fn id_among(ids: &Ids, operation: &Operation, field: &str) -> Uuid {
    // Sessions are rows of the same table, by another name.
    let named = if field == "session_id" { "token_id" } else { field };
    let found = ids.find(operation.domain.as_str(), field);
    let found = found.or_else(|| ids.find(operation.domain.as_str(), named));
    found.unwrap_or_else(|| {
        if operation.spec.verb() == Verb::Internal {
            return Uuid::now_v7();
        }
        let name = name_of(operation);
        panic!("{name} takes a `{field}`, and tests/world.rs makes no row that has one")
    })
}

/// Asks for one place with an id of ours and with one that nobody has; answers what is wrong.
async fn probe(walk: &Walk, role: Role, operation: &Operation, place: &str) -> Vec<String> {
    let scope = scope_of(&walk.system, role, operation);
    let foreign = Some(walk.foreign(operation, place));
    let unknown = walk.input(operation, place, Some(Uuid::now_v7()));
    let Some((input, unknown)) = walk.input(operation, place, foreign).zip(unknown) else {
        return Vec::new();
    };
    let told = walk.call(&scope, operation, input.clone()).await;
    let like_unknown = walk.call(&scope, operation, unknown).await;
    let is_right = match (&told, reason(operation, place)) {
        // A job whose row is gone has nothing left to do.
        _ if operation.spec.verb() == Verb::Internal => true,
        (Told::Answer(page), None) if is_filter(operation, place) => page["items"] == json!([]),
        (_, Some(_)) => true,
        (told, None) => told.kind() == Some(Kind::NotFound),
    };
    let mut wrong = Vec::from_iter(walk.leak(operation, &input, &told));
    if !is_right || told.shape() != like_unknown.shape() {
        let (name, role) = (name_of(operation), role.name());
        wrong.push(format!("{name} {place} as {role}: {told:?}; unknown: {like_unknown:?}"));
    }
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn no_operation_finds_or_tells_a_row_of_another_organisation() {
    let walk = begin().await;
    let before = digest(&mut walk.system.owner().await, ACME).await;
    let mut operations: Vec<&Operation> = walk.system.system().catalog().operations().collect();
    operations.retain(|operation| operation.domain != OPERATOR);
    // Reading comes first, while a list has nothing that the walk itself has written.
    operations.sort_by_key(|operation| operation.spec.verb() != Verb::Read);
    let mut wrong = Vec::new();
    let mut walked = 0;

    for operation in operations {
        let places = id_places(operation);
        for role in callers(operation) {
            if operation.spec.verb() == Verb::Read {
                let input = walk.input(operation, "", None).expect("what is read has a surface");
                let scope = scope_of(&walk.system, role, operation);
                let told = walk.call(&scope, operation, input.clone()).await;
                wrong.extend(walk.leak(operation, &input, &told));
            }
            for place in &places {
                wrong.extend(probe(&walk, role, operation, place).await);
                walked += 1;
            }
        }
    }
    walk.system.settle().await;

    assert!(walked > 50, "only {walked} places were walked over");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let after = digest(&mut walk.system.owner().await, ACME).await;
    assert_eq!(before, after, "a row of another organisation was changed");
    walk.system.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_does_nothing_that_its_access_does_not_name() {
    let edge: platform::MakeEdge = Box::new(|_| Vec::new());
    let system = testkit::start_with(every_domain(), clock(), "", edge).await;
    let catalog = system.system().catalog();
    let mut wrong = Vec::new();

    for operation in catalog.operations().filter(|found| found.spec.verb() != Verb::Internal) {
        let (domain, name) = (operation.domain.as_str(), operation.spec.name());
        let access = operation.spec.access();
        for role in Role::ALL.into_iter().filter(|role| !allows(*role, access)) {
            let scope = system.member(GLOBEX, role).scope();
            let told = Told::from(system.system().call(&scope, domain, name, json!({})).await);
            if told.kind() != Some(Kind::Forbidden) {
                wrong.push(format!("{} as {}: {told:?}", name_of(operation), role.name()));
            }
        }
        let nobody = Scope::anonymous(Uuid::now_v7());
        let told = Told::from(system.system().call(&nobody, domain, name, json!({})).await);
        let is_let_in = told.kind() != Some(Kind::Unauthenticated);
        if is_let_in && access != Access::Anyone {
            wrong.push(format!("{} as nobody: {told:?}", name_of(operation)));
        }
    }

    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    let told: i64 = sqlx::query_scalar("select count(*) from events.domain_events")
        .fetch_one(&mut system.owner().await)
        .await
        .expect("the owner may count");
    assert_eq!(told, 0, "a refused call has told something");
    system.stop().await;
}

#[test]
fn only_operators_name_an_organisation_in_what_they_send() {
    let catalog = server::catalog().expect("the domains agree with each other");

    let naming: BTreeSet<String> = catalog
        .operations()
        .filter(|operation| operation.spec.access() != Access::Operate)
        .filter(|operation| id_places(operation).iter().any(|place| place.ends_with("/org_id")))
        .map(name_of)
        .collect();

    assert!(naming.is_empty(), "the organisation comes from the credential, not from: {naming:?}");
}

#[test]
fn what_reaches_across_organisations_is_for_operators_and_counts_as_restricted() {
    let catalog = server::catalog().expect("the domains agree with each other");

    for operation in catalog.operations().filter(|found| found.spec.verb() != Verb::Internal) {
        let is_platforms = operation.domain == OPERATOR;
        let is_operators = operation.spec.access() == Access::Operate;

        assert_eq!(is_platforms, is_operators, "{}", name_of(operation));
        let category = operation.spec.category().name();
        let is_careful = !is_operators || matches!(category, "read" | "restricted" | "propose");
        assert!(is_careful, "{} is {category}", name_of(operation));
    }
}
