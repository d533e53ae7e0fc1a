//! Prompts: what a domain's people ask agents, ready to be filled in. The fold from declarations.

use platform::{Catalog, DomainName, PromptDeclaration};
use rmcp::model::{Prompt, PromptArgument};
use serde_json::Value;

use crate::tool::title;

/// The prompts of one server.
#[derive(Debug)]
pub(crate) struct Prompts(Vec<Entry>);

/// A prompt and what it was declared as.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) domain: DomainName,
    pub(crate) prompt: Prompt,
    pub(crate) declared: PromptDeclaration,
}

impl Prompts {
    /// The prompts of a domain, or of all.
    pub(crate) fn of(catalog: &Catalog, domain: Option<DomainName>) -> Self {
        let is_here = |name: DomainName| domain.is_none_or(|domain| domain == name);
        let domains = catalog.domains().iter().filter(|domain| is_here(domain.name()));
        let entries = domains.flat_map(|domain| {
            domain.prompts().iter().map(|declared| Entry::of(domain.name(), declared))
        });
        Self(entries.collect())
    }

    pub(crate) fn all(&self) -> &[Entry] {
        &self.0
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.0.iter().find(|entry| entry.prompt.name == name)
    }
}

impl Entry {
    fn of(domain: DomainName, declared: &PromptDeclaration) -> Self {
        let name = format!("{domain}_{}", declared.name);
        let prompt = Prompt::new(name, Some(&declared.description), Some(arguments(declared)));
        let prompt = prompt.with_title(title(declared.name));
        Self { domain, prompt, declared: declared.clone() }
    }
}

/// The fields, those first that must be given.
fn arguments(declared: &PromptDeclaration) -> Vec<PromptArgument> {
    let required = declared.schema.get("required").and_then(Value::as_array);
    let is_required =
        |name: &str| required.is_some_and(|required| required.iter().any(|it| it == name));
    let fields = declared.schema.get("properties").and_then(Value::as_object);
    let arguments = fields.into_iter().flatten().map(|(name, schema)| {
        let argument = PromptArgument::new(name).with_required(is_required(name));
        match schema.get("description").and_then(Value::as_str) {
            Some(description) => argument.with_description(description),
            None => argument,
        }
    });
    let mut arguments: Vec<PromptArgument> = arguments.collect();
    arguments.sort_by_key(|argument| argument.required != Some(true));
    arguments
}
