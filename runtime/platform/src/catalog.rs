//! The catalog: all domains, checked against each other. Surfaces accept nothing less.
//!
//! Building it is pure, and it collects every contradiction into one list, so that the author of a
//! new domain mends them in one go.

use std::any::TypeId;
use std::collections::{HashMap, HashSet};
use std::fmt;

use kernel::DomainName;
use serde_json::Value;

use crate::domain::{Domain, EventDeclaration};
use crate::job::UnfitArguments;
use crate::operation::{Operation, Verb};

/// All domains of a system, free of contradictions.
#[derive(Debug)]
pub struct Catalog {
    domains: Vec<Domain>,
    by_type: HashMap<TypeId, (usize, usize)>,
    events_by_type: HashMap<TypeId, (usize, usize)>,
}

/// The contradictions between declarations, one sentence each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violations(pub Vec<String>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the declarations of the domains contradict each other:")?;
        self.0.iter().try_for_each(|violation| write!(f, "\n  - {violation}"))
    }
}
impl std::error::Error for Violations {}

impl Catalog {
    /// Checks the domains against each other.
    ///
    /// # Errors
    /// [`Violations`] with every contradiction found.
    pub fn new(domains: Vec<Domain>) -> Result<Self, Violations> {
        let mut violations = Vec::new();
        repeated("domain", domains.iter().map(|domain| domain.name.to_string()), &mut violations);
        let flags = domains.iter().flat_map(|domain| &domain.flags);
        for flag in flags.clone().filter(|flag| !kernel::is_snake_case(flag.name)) {
            let (domain, name) = (flag.domain, flag.name);
            violations.push(format!("{domain}: the feature flag `{name}` is no snake case"));
        }
        repeated("feature flag", flags.map(|flag| flag.name.to_owned()), &mut violations);
        let keepers: Vec<_> =
            domains.iter().filter(|domain| domain.keeps_credentials).map(Domain::name).collect();
        if let [one, other, ..] = keepers.as_slice() {
            violations.push(format!("{one} and {other} both keep credentials; one domain does"));
        }
        let emitted: HashSet<_> = domains
            .iter()
            .flat_map(|domain| &domain.events)
            .map(|event| (event.event_type.domain, event.event_type.name))
            .collect();
        for domain in &domains {
            violations.extend(domain.violations.iter().cloned());
            check_operations(domain, &mut violations);
            violations
                .extend(domain.prompts.iter().flat_map(|prompt| prompt.violations(domain.name)));
            let prompts =
                domain.prompts.iter().map(|prompt| format!("{}/{}", domain.name, prompt.name));
            repeated("prompt", prompts, &mut violations);
            let schedules = domain.schedules.iter().map(|entry| entry.name.clone());
            repeated("schedule", schedules, &mut violations);
            check_events(domain, &emitted, &mut violations);
        }
        if !violations.is_empty() {
            return Err(Violations(violations));
        }
        let (mut by_type, mut events_by_type) = (HashMap::new(), HashMap::new());
        for (d, domain) in domains.iter().enumerate() {
            for (o, operation) in domain.operations.iter().enumerate() {
                by_type.insert(operation.type_id, (d, o));
            }
            for (e, event) in domain.events.iter().enumerate() {
                events_by_type.insert(event.type_id, (d, e));
            }
        }
        Ok(Self { domains, by_type, events_by_type })
    }

    /// Checks a part of a system, for tests: what follows events of domains that are not there is
    /// left out.
    ///
    /// # Errors
    /// As [`Catalog::new`].
    pub fn part(mut domains: Vec<Domain>) -> Result<Self, Violations> {
        let present: HashSet<_> = domains.iter().map(|domain| domain.name).collect();
        for domain in &mut domains {
            domain
                .subscriptions
                .retain(|subscription| present.contains(&subscription.event.domain));
            domain.projections.retain_mut(|projection| {
                projection.follow_only(|event| present.contains(&event.domain))
            });
        }
        Self::new(domains)
    }

    /// All domains, in the order of their declaration.
    #[must_use]
    pub fn domains(&self) -> &[Domain] {
        &self.domains
    }

    /// The domain of that name.
    #[must_use]
    pub fn domain(&self, name: &str) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.name.as_str() == name)
    }

    /// The domain that keeps users and their credentials, if there is one.
    #[must_use]
    pub fn credentials(&self) -> Option<&Domain> {
        self.domains.iter().find(|domain| domain.keeps_credentials)
    }

    /// All operations of all domains.
    pub fn operations(&self) -> impl Iterator<Item = &Operation> {
        self.domains.iter().flat_map(|domain| &domain.operations)
    }

    /// All events of all domains.
    pub fn events(&self) -> impl Iterator<Item = &EventDeclaration> {
        self.domains.iter().flat_map(|domain| &domain.events)
    }

    /// The operation of that name in that domain.
    #[must_use]
    pub fn operation(&self, domain: &str, name: &str) -> Option<&Operation> {
        self.domain(domain)?.operations.iter().find(|operation| operation.spec.name() == name)
    }

    /// Every kind of job, by its queue and its name: those of their own and commands alike.
    pub fn jobs(&self) -> impl Iterator<Item = (DomainName, &'static str)> {
        self.domains.iter().flat_map(|domain| domain.jobs.keys().map(|&name| (domain.name, name)))
    }

    /// JSON Schema of the arguments of the jobs of that name in that queue.
    #[must_use]
    pub fn job_schema(&self, queue: &str, name: &str) -> Option<&Value> {
        Some(self.domain(queue)?.jobs.get(name)?.arguments.schema())
    }

    /// Compares arguments with the schema of the jobs of that name in that queue, for whoever
    /// enqueues or edits a job without its type. A name that no domain knows is not judged: another
    /// release may know it.
    ///
    /// # Errors
    /// [`UnfitArguments`] names the places that break the schema.
    pub fn check_job(&self, queue: &str, name: &str, args: &Value) -> Result<(), UnfitArguments> {
        let declared = self.domain(queue).and_then(|domain| domain.jobs.get(name));
        declared.map_or(Ok(()), |declared| declared.arguments.check(args))
    }

    pub(crate) fn event_of(&self, type_id: TypeId) -> Option<&EventDeclaration> {
        let (domain, event) = *self.events_by_type.get(&type_id)?;
        Some(&self.domains[domain].events[event])
    }

    pub(crate) fn operation_of(&self, type_id: TypeId) -> Option<&Operation> {
        let (domain, operation) = *self.by_type.get(&type_id)?;
        Some(&self.domains[domain].operations[operation])
    }
}

fn check_operations(domain: &Domain, violations: &mut Vec<String>) {
    let name = domain.name;
    let names =
        domain.operations.iter().map(|operation| format!("{name}/{}", operation.spec.name()));
    repeated("operation", names, violations);
    let routes =
        domain.operations.iter().filter(|operation| operation.spec.verb() != Verb::Internal);
    let routes = routes.map(|operation| {
        format!("{} {name}{}", method(operation.spec.verb()), shape(operation.spec.path()))
    });
    repeated("route", routes, violations);
    for operation in &domain.operations {
        for parameter in operation.spec.path_parameters() {
            let field = operation.input_schema.pointer(&format!("/properties/{parameter}/type"));
            if field != Some(&Value::from("string")) {
                violations.push(format!(
                    "{name}/{}: the path parameter `{parameter}` is no text field of the input",
                    operation.spec.name()
                ));
            }
        }
        if operation.spec.is_addressable()
            && let Some(field) = left_open(operation)
        {
            violations.push(format!(
                "{name}/{}: is read by its address, which does not say the required field \
                 `{field}`",
                operation.spec.name()
            ));
        }
        if operation.summary.is_empty() && operation.spec.verb() != Verb::Internal {
            violations.push(format!(
                "{name}/{}: has no doc comment, which is its help text",
                operation.spec.name()
            ));
        }
    }
}

/// A required field that the path does not say.
fn left_open(operation: &Operation) -> Option<&str> {
    let required = operation.input_schema.get("required").and_then(Value::as_array)?;
    let mut required = required.iter().filter_map(Value::as_str);
    required.find(|field| operation.spec.path_parameters().all(|parameter| parameter != *field))
}

fn check_events(
    domain: &Domain,
    emitted: &HashSet<(kernel::DomainName, &'static str)>,
    violations: &mut Vec<String>,
) {
    let name = domain.name;
    for event in &domain.events {
        if event.event_type.domain != name {
            violations.push(format!(
                "{name} declares the event `{}`, which belongs to {}",
                event.event_type.name, event.event_type.domain
            ));
        }
        if let Some(pointer) = float_in(&event.schema, String::new()) {
            violations.push(format!(
                "{name}: the event `{}` has a float at {pointer}; use integers with the unit in \
                 the name",
                event.event_type.name
            ));
        }
    }
    let types = domain.events.iter().map(|event| format!("{name}/{}", event.event_type.name));
    repeated("event", types, violations);
    let cursors = domain.subscriptions.iter().map(|subscription| subscription.name);
    let cursors = cursors.chain(domain.projections.iter().map(|projection| projection.name));
    repeated("subscription", cursors.map(|cursor| format!("{name}.{cursor}")), violations);
    for projection in &domain.projections {
        violations.extend(projection.violations(name));
    }
    let tables = domain.projections.iter().flat_map(|projection| projection.tables);
    repeated("projected table", tables.map(|table| format!("{name}.{table}")), violations);
    repeated("child", domain.child_ids().map(|id| format!("{name}/{id}")), violations);
    let followed =
        domain.subscriptions.iter().map(|subscription| (subscription.name, subscription.event));
    let projected = domain
        .projections
        .iter()
        .flat_map(|projection| projection.events().map(|event| (projection.name, event)));
    for (cursor, event) in followed.chain(projected) {
        if !emitted.contains(&(event.domain, event.name)) {
            violations.push(format!(
                "{name}.{cursor} follows the event `{}` of {}, which no domain emits",
                event.name, event.domain
            ));
        }
    }
}

fn repeated(what: &str, names: impl Iterator<Item = String>, violations: &mut Vec<String>) {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name.clone()) {
            violations.push(format!("the {what} `{name}` is declared twice"));
        }
    }
}

/// Two paths that differ only in the names of their parameters are one route.
fn shape(path: &str) -> String {
    path.split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part })
        .collect::<Vec<_>>()
        .join("/")
}

const fn method(verb: Verb) -> &'static str {
    match verb {
        Verb::Read => "GET",
        Verb::Create | Verb::Invoke => "POST",
        Verb::Replace => "PUT",
        Verb::Remove => "DELETE",
        Verb::Internal => "",
    }
}

/// Where a schema allows a number that is no integer.
fn float_in(schema: &Value, pointer: String) -> Option<String> {
    match schema {
        Value::Object(fields) => {
            let is_float = match fields.get("type") {
                Some(Value::String(name)) => name == "number",
                Some(Value::Array(names)) => names.iter().any(|name| name == "number"),
                _ => false,
            };
            if is_float {
                return Some(pointer);
            }
            fields.iter().find_map(|(key, value)| float_in(value, format!("{pointer}/{key}")))
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(index, item)| float_in(item, format!("{pointer}/{index}"))),
        _ => None,
    }
}
