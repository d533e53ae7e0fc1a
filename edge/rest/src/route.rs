//! Routes: an operation as HTTP sees it. Plain data, folded from the catalog once.

use axum::http::{Method, StatusCode};
use platform::{Access, Category, Deprecation, Operation, Verb};
use serde_json::Value;

use crate::answer::status_of_success;
use crate::condition::EXPECTED_VERSION;

/// Below which everything of this surface lives, but what monitors ask.
pub(crate) const API: &str = "/api";

/// One operation at its address.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub(crate) domain: &'static str,
    pub(crate) name: &'static str,
    pub(crate) verb: Verb,
    pub(crate) access: Access,
    /// The right that the scopes of a credential must grant, if it has scopes.
    pub(crate) right: Option<&'static str>,
    pub(crate) category: Category,
    /// Whether a second factor must have been shown of late by whoever has one.
    pub(crate) is_destructive: bool,
    /// The whole path with its parameters, for example `/api/v1/recruit/job_orders/{job_order_id}`.
    pub(crate) template: String,
    pub(crate) summary: String,
    pub(crate) description: String,
    pub(crate) input_schema: Value,
    pub(crate) output_schema: Value,
    /// Whether repeating it with an Idempotency-Key is done once.
    pub(crate) remembers: bool,
    /// The address of what it creates, if that can be read.
    pub(crate) created: Option<String>,
    pub(crate) versioning: Versioning,
    /// Since when nobody should begin to use it, if that is so.
    pub(crate) deprecation: Option<Deprecation>,
    /// The address of what to use instead.
    pub(crate) successor: Option<String>,
}

/// Whether an operation wants to know which version of a thing its caller means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Versioning {
    None,
    Optional,
    Required,
}

impl Versioning {
    fn of(input_schema: &Value) -> Self {
        let has = |word| {
            input_schema.get(word).filter(|part: &&Value| match part {
                Value::Object(fields) => fields.contains_key(EXPECTED_VERSION),
                Value::Array(names) => names.iter().any(|name| name == EXPECTED_VERSION),
                _ => false,
            })
        };
        match (has("properties"), has("required")) {
            (None, _) => Self::None,
            (Some(_), None) => Self::Optional,
            (Some(_), Some(_)) => Self::Required,
        }
    }
}

impl Route {
    /// The routes of `operations`, without those that have no surface.
    pub(crate) fn all<'a>(operations: impl Iterator<Item = &'a Operation>) -> Vec<Self> {
        let mut routes: Vec<Self> = operations.filter_map(Self::of).collect();
        let reads: Vec<String> = routes
            .iter()
            .filter(|route| route.verb == Verb::Read)
            .map(|route| route.template.clone())
            .collect();
        for route in routes.iter_mut().filter(|route| route.verb == Verb::Create) {
            route.created = reads.iter().find(|read| is_item_of(read, &route.template)).cloned();
        }
        let addresses: Vec<_> =
            routes.iter().map(|route| (route.domain, route.name, route.template.clone())).collect();
        for route in &mut routes {
            let name = route.deprecation.and_then(|deprecation| deprecation.successor());
            let found = |(domain, operation, _): &&(&str, &str, String)| {
                *domain == route.domain && Some(*operation) == name
            };
            route.successor = addresses.iter().find(found).map(|(.., template)| template.clone());
        }
        routes
    }

    fn of(operation: &Operation) -> Option<Self> {
        let spec = operation.spec;
        if spec.verb() == Verb::Internal {
            return None;
        }
        Some(Self {
            domain: operation.domain.as_str(),
            name: spec.name(),
            verb: spec.verb(),
            access: spec.access(),
            right: spec.right(),
            category: spec.category(),
            is_destructive: spec.is_destructive(),
            template: format!("{API}/v1/{}{}", operation.domain, spec.path()),
            summary: operation.summary.clone(),
            description: operation.description.clone(),
            input_schema: operation.input_schema.clone(),
            output_schema: operation.output_schema.clone(),
            remembers: operation.remembers_answers()
                && matches!(spec.verb(), Verb::Create | Verb::Invoke),
            created: None,
            versioning: Versioning::of(&operation.input_schema),
            deprecation: spec.deprecation(),
            successor: None,
        })
    }

    /// Its method.
    pub(crate) fn method(&self) -> Method {
        match self.verb {
            Verb::Read | Verb::Internal => Method::GET,
            Verb::Create | Verb::Invoke => Method::POST,
            Verb::Replace => Method::PUT,
            Verb::Remove => Method::DELETE,
        }
    }

    /// Whether its input comes in a body, as opposed to the query string.
    pub(crate) fn takes_body(&self) -> bool {
        matches!(self.verb, Verb::Create | Verb::Invoke | Verb::Replace)
    }

    /// Whether an Idempotency-Key means anything to it.
    pub(crate) fn takes_key(&self) -> bool {
        self.method() == Method::POST
    }

    /// The status of its success.
    pub(crate) fn status(&self) -> StatusCode {
        status_of_success(self.verb)
    }

    /// The names of the path's parameters, in their order.
    pub(crate) fn path_parameters(&self) -> impl Iterator<Item = &str> {
        self.template.split('/').filter_map(parameter)
    }

    /// The path below [`API`] as the router wants it: two operations may call the same parameter
    /// differently, which the router would take for a conflict.
    pub(crate) fn pattern(&self) -> String {
        let mut count = 0;
        let steps = self.template[API.len()..].split('/').map(|step| match parameter(step) {
            Some(_) => {
                count += 1;
                format!("{{p{count}}}")
            }
            None => step.to_owned(),
        });
        steps.collect::<Vec<_>>().join("/")
    }

    /// The address of what was created, from the output that tells its id.
    pub(crate) fn location(&self, output: &Value) -> Option<String> {
        let template = self.created.as_deref()?;
        let name = template.rsplit('/').next().and_then(parameter)?;
        let id = output.get(name).or_else(|| output.get("id"))?.as_str()?;
        let is_plain = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        is_plain.then(|| format!("{}/{id}", self.template))
    }
}

/// The name of the parameter that a step of a template is.
fn parameter(step: &str) -> Option<&str> {
    step.strip_prefix('{')?.strip_suffix('}')
}

/// Whether `template` is `collection` and one parameter more. A collection that has parameters
/// itself is not followed: what they were is not in the output.
fn is_item_of(template: &str, collection: &str) -> bool {
    let item = template.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/'));
    !collection.contains('{')
        && item.is_some_and(|step| parameter(step).is_some_and(|name| !name.contains('{')))
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn route(verb: Verb, template: &str) -> Route {
        Route {
            domain: "recruit",
            name: "open_job_order",
            verb,
            access: Access::Write,
            right: Some("write"),
            category: Category::Execute,
            is_destructive: false,
            template: template.into(),
            summary: "Open a job order.".into(),
            description: "Open a job order.\n\nIt starts empty.".into(),
            input_schema: json!({"type": "object"}),
            output_schema: json!({"type": "object"}),
            remembers: matches!(verb, Verb::Create | Verb::Invoke),
            created: None,
            versioning: Versioning::None,
            deprecation: None,
            successor: None,
        }
    }

    #[test]
    fn parameters_are_numbered_for_the_router() {
        let route = route(Verb::Invoke, "/api/v1/recruit/job_orders/{job_order_id}/fill/{slot}");

        assert_eq!(route.pattern(), "/v1/recruit/job_orders/{p1}/fill/{p2}");
        assert_eq!(route.path_parameters().collect::<Vec<_>>(), ["job_order_id", "slot"]);
    }

    #[test]
    fn an_item_is_one_step_below_its_collection() {
        assert!(is_item_of("/a/job_orders/{id}", "/a/job_orders"));
        assert!(!is_item_of("/a/job_orders/{id}/fill", "/a/job_orders"));
        assert!(!is_item_of("/a/job_orders/{id}/{x}", "/a/job_orders"));
        assert!(!is_item_of("/a/job_orders_x", "/a/job_orders"));
        assert!(!is_item_of("/a/{org}/x/{id}", "/a/{org}/x"));
    }

    #[test]
    fn what_is_created_is_found_by_its_id() {
        let mut route = route(Verb::Create, "/a/job_orders");
        route.created = Some("/a/job_orders/{job_order_id}".into());
        let cases = [
            (json!({"job_order_id": "7-a", "id": "x"}), Some("/a/job_orders/7-a")),
            (json!({"id": "x"}), Some("/a/job_orders/x")),
            (json!({"id": "../x"}), None),
            (json!({"id": 7}), None),
            (json!(null), None),
        ];

        for (output, expected) in cases {
            assert_eq!(route.location(&output).as_deref(), expected, "{output}");
        }
    }
}
