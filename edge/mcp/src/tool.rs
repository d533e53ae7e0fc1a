//! Tools: each operation as an agent sees it. The fold from the catalog.

use std::collections::HashMap;
use std::sync::Arc;

use platform::{Access, Catalog, DomainName, Operation, OperationKind, Spec, Verb};
use rmcp::model::{JsonObject, MetaObject, Tool, ToolAnnotations};
use serde_json::{Map, Value, json};

use crate::content::{self, Held};

/// The argument of a command by which it is done once, however often it is called.
pub(crate) const REQUEST_ID: &str = "request_id";
/// The field that holds an output which is no object, since a structured result must be one.
pub(crate) const RESULT: &str = "result";

/// The tools of one server, by name.
#[derive(Debug)]
pub(crate) struct Tools {
    entries: Vec<Entry>,
    by_name: HashMap<String, usize>,
}

/// A tool and the operation behind it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) tool: Tool,
    pub(crate) domain: DomainName,
    pub(crate) spec: Spec,
    pub(crate) access: Access,
    /// Whether it takes a [`REQUEST_ID`].
    pub(crate) takes_request_id: bool,
    pub(crate) shape: Shape,
    /// What of the output is a picture, a sound or a file.
    pub(crate) held: Vec<Held>,
    /// Of which media type the output is.
    pub(crate) media_type: String,
    /// What arguments may be, for whoever records them.
    pub(crate) input_schema: Value,
}

/// What the output of an operation is as a structured result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// There is none.
    Nothing,
    /// The result itself.
    Object,
    /// The field [`RESULT`] of the result.
    Wrapped,
}

impl Tools {
    /// The tools of a domain, or of all. What has no surface has none, and what needs no credential
    /// is for signing in, which is no business of an agent.
    pub(crate) fn of(catalog: &Catalog, domain: Option<DomainName>) -> Self {
        let is_tool = |operation: &&Operation| {
            domain.is_none_or(|domain| domain == operation.domain)
                && operation.spec.verb() != Verb::Internal
                && operation.spec.access() != Access::Anyone
        };
        let entries: Vec<Entry> = catalog.operations().filter(is_tool).map(Entry::of).collect();
        let names = entries.iter().map(|entry| entry.tool.name.to_string());
        let by_name = names.enumerate().map(|(index, name)| (name, index)).collect();
        Self { entries, by_name }
    }

    pub(crate) fn all(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.by_name.get(name).map(|&index| &self.entries[index])
    }

    /// Up to `max` tools of those that are `usable`, behind the one that a cursor names, and the
    /// cursor to go on with. `None` for a cursor that is none of ours.
    pub(crate) fn page(
        &self,
        cursor: Option<&str>,
        max: usize,
        usable: impl Fn(&Entry) -> bool,
    ) -> Option<(Vec<Tool>, Option<String>)> {
        let from = match cursor {
            None => 0,
            Some(name) => self.by_name.get(name)? + 1,
        };
        let mut rest = self.entries[from..].iter().filter(|entry| usable(entry));
        let tools: Vec<Tool> = rest.by_ref().take(max).map(|entry| entry.tool.clone()).collect();
        let has_more = rest.next().is_some();
        let next = tools.last().filter(|_| has_more).map(|tool| tool.name.to_string());
        Some((tools, next))
    }
}

impl Entry {
    /// Whether nothing but reading happens.
    pub(crate) fn is_read(&self) -> bool {
        self.spec.verb() == Verb::Read
    }

    fn of(operation: &Operation) -> Self {
        let spec = operation.spec;
        let name = format!("{}_{}", operation.domain, spec.name());
        let takes_request_id = operation.remembers_answers()
            && operation.input_schema.pointer(&format!("/properties/{REQUEST_ID}")).is_none();
        let held = content::held_in(&operation.output_schema);
        let output = content::rest_of(&operation.output_schema, &held);
        let shape = shape_of(&output);
        let input = input_schema(operation, takes_request_id);
        let mut tool = Tool::new(name, operation.description.clone(), input)
            .with_title(title(spec.name()))
            .with_annotations(annotations(operation))
            .with_meta(meta(operation));
        if let Some(output) = output_schema(&output, shape) {
            tool = tool.with_raw_output_schema(Arc::new(output));
        }
        Self {
            tool,
            domain: operation.domain,
            spec,
            access: spec.access(),
            takes_request_id,
            shape,
            held,
            media_type: content::media_type(operation),
            input_schema: operation.input_schema.clone(),
        }
    }
}

/// `open_job_order` as people say it.
pub(crate) fn title(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// Hints from what the operation does to its resource.
fn annotations(operation: &Operation) -> ToolAnnotations {
    let spec = operation.spec;
    let is_read = spec.verb() == Verb::Read;
    let overwrites = matches!(spec.verb(), Verb::Replace | Verb::Remove);
    // Operators act on the platform itself; other actions reach out of it.
    let reaches_out =
        operation.kind == OperationKind::Action && !is_read && spec.access() != Access::Operate;
    ToolAnnotations::with_title(title(spec.name()))
        .read_only(is_read)
        .destructive(!is_read && (overwrites || spec.is_destructive()))
        .idempotent(is_read || overwrites)
        .open_world(reaches_out)
}

/// What annotations have no words for.
fn meta(operation: &Operation) -> MetaObject {
    let mut meta = Map::new();
    let spec = operation.spec;
    meta.insert("finnest/category".into(), spec.category().name().into());
    meta.insert("finnest/operation".into(), format!("{}/{}", operation.domain, spec.name()).into());
    if spec.is_destructive() {
        meta.insert("finnest/step_up".into(), true.into());
    }
    MetaObject(meta)
}

/// The dialect that schemas of inputs are written in. Clients compile those of outputs, and some
/// know this one only if they are not told of it.
const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

/// The input as it is, with the argument by which a command is done once.
fn input_schema(operation: &Operation, takes_request_id: bool) -> JsonObject {
    let mut schema = match &operation.input_schema {
        Value::Object(schema) => schema.clone(),
        _ => Map::new(),
    };
    // The tool says the same.
    schema.remove("description");
    schema.insert("$schema".into(), DIALECT.into());
    schema.insert("type".into(), "object".into());
    let properties = schema.entry("properties").or_insert_with(|| json!({}));
    if let (true, Value::Object(properties)) = (takes_request_id, properties) {
        let about = "An id of your choice for this request. Called again with the same id and \
                     arguments, for example after a time-out, it is not done again, and you get \
                     the answer of the first call.";
        let field = json!({
            "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$",
            "description": about,
        });
        properties.insert(REQUEST_ID.into(), field);
    }
    schema
}

fn shape_of(schema: &Value) -> Shape {
    if schema.get("type").and_then(Value::as_str) == Some("null") {
        return Shape::Nothing;
    }
    if is_object(schema) { Shape::Object } else { Shape::Wrapped }
}

/// Whether everything that the schema allows is an object.
fn is_object(schema: &Value) -> bool {
    let all = |word| {
        schema
            .get(word)
            .and_then(Value::as_array)
            .is_some_and(|branches| !branches.is_empty() && branches.iter().all(is_object))
    };
    schema.get("type").and_then(Value::as_str) == Some("object") || all("oneOf") || all("anyOf")
}

fn output_schema(schema: &Value, shape: Shape) -> Option<JsonObject> {
    let wrapped = match shape {
        Shape::Nothing => return None,
        Shape::Object => schema.clone(),
        Shape::Wrapped => json!({"properties": {RESULT: schema}, "required": [RESULT]}),
    };
    let Value::Object(mut object) = wrapped else { return None };
    // Older clients want to see it said, also where every branch says it.
    object.insert("type".into(), "object".into());
    Some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_titled_as_people_say_it() {
        assert_eq!(title("open_job_order"), "Open job order");
        assert_eq!(title(""), "");
    }

    #[test]
    fn tools_come_in_pages_and_the_last_one_names_no_other() {
        let catalog = Catalog::new(vec![platform::operator::domain()]);
        let tools = Tools::of(&catalog.expect("it stands alone"), None);
        let is_read = |entry: &Entry| entry.is_read();

        let mut names = Vec::new();
        let mut cursor = None;
        loop {
            let page = tools.page(cursor.as_deref(), 7, is_read);
            let (page, next) = page.expect("the cursor is one of ours");
            assert!(page.len() == 7 || (page.len() < 7 && next.is_none()));
            names.extend(page.into_iter().map(|tool| tool.name.to_string()));
            cursor = next;
            if cursor.is_none() {
                break;
            }
        }

        let all = tools.all().iter().filter(|entry| entry.is_read());
        let all: Vec<String> = all.map(|entry| entry.tool.name.to_string()).collect();
        assert_eq!(names, all);
        assert!(tools.page(Some("nowhere"), 7, is_read).is_none());
    }

    #[test]
    fn only_an_object_is_a_structured_result_by_itself() {
        let object = json!({"type": "object"});
        for (schema, shape) in [
            (json!({"type": "null"}), Shape::Nothing),
            (object.clone(), Shape::Object),
            (json!({"oneOf": [object, object]}), Shape::Object),
            (json!({"oneOf": [object, {"type": "string"}]}), Shape::Wrapped),
            (json!({"type": "array"}), Shape::Wrapped),
            (json!({"type": ["object", "null"]}), Shape::Wrapped),
            (json!(true), Shape::Wrapped),
        ] {
            assert_eq!(shape_of(&schema), shape, "{schema}");
            let output = output_schema(&schema, shape);
            let says_object = output.is_none_or(|output| output["type"] == "object");
            assert!(says_object, "{schema}");
        }
    }
}
