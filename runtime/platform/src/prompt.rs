//! Prompts: what a domain's people would ask an agent again and again, written once and well.
//!
//! A prompt is a type, as an operation is: its fields are the arguments, its doc comment is the
//! help text. It is a plain function of its arguments and reads nothing by itself; what it refers
//! to by address is read for the caller, with the caller's rights.

use std::sync::Arc;

use futures_util::FutureExt as _;
use kernel::DomainName;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bytes::Bytes;
use crate::dispatch::guarded;
use crate::form;
use crate::operation;
use crate::refusal::{Error, Result};
use crate::schema;

/// A request to an agent, ready to be filled in. Its fields are text, since people type them.
///
/// # Examples
///
/// ```
/// # use platform::{Domain, DomainName, Message, Prompt};
/// /// Draft a reply to a complaint.
/// #[derive(serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct DraftReply {
///     /// What the client complains about.
///     complaint: String,
/// }
///
/// impl Prompt for DraftReply {
///     const NAME: &'static str = "draft_reply";
///     fn messages(self) -> Vec<Message> {
///         vec![Message::user(format!("Draft a short reply to: {}", self.complaint))]
///     }
/// }
/// # let _ = Domain::new(DomainName::new("care")).prompt::<DraftReply>();
/// ```
pub trait Prompt: DeserializeOwned + JsonSchema + 'static {
    /// The persistent name, for example `draft_reply`.
    const NAME: &'static str;
    /// What is said, in order.
    fn messages(self) -> Vec<Message>;
}

/// Something said in a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Whether it is put into the agent's mouth, as an example of how to answer.
    pub is_answer: bool,
    /// What is said.
    pub content: Content,
}

/// What is said in a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In words.
    Text(String),
    /// With a picture.
    Image {
        /// Of which kind, for example `image/png`.
        media_type: String,
        /// The picture.
        bytes: Bytes,
    },
    /// With a recording.
    Audio {
        /// Of which kind, for example `audio/wav`.
        media_type: String,
        /// The recording.
        bytes: Bytes,
    },
    /// What is found at an address, for example `recruit://job_orders/0199…`, read when the prompt
    /// is asked for, with the rights of whoever asks.
    Document {
        /// The address of an addressable query.
        uri: String,
    },
}

impl Message {
    /// Somebody says this to the agent.
    pub fn user(text: impl Into<String>) -> Self {
        Self { is_answer: false, content: Content::Text(text.into()) }
    }

    /// The agent says this.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self { is_answer: true, content: Content::Text(text.into()) }
    }

    /// Somebody shows the agent a picture, for example of the media type `image/png`.
    pub fn image(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let (media_type, bytes) = (media_type.into(), bytes.into());
        Self { is_answer: false, content: Content::Image { media_type, bytes } }
    }

    /// Somebody plays the agent a recording, for example of the media type `audio/wav`.
    pub fn audio(media_type: impl Into<String>, bytes: impl Into<Bytes>) -> Self {
        let (media_type, bytes) = (media_type.into(), bytes.into());
        Self { is_answer: false, content: Content::Audio { media_type, bytes } }
    }

    /// Somebody hands the agent what is found at this address.
    pub fn document(uri: impl Into<String>) -> Self {
        Self { is_answer: false, content: Content::Document { uri: uri.into() } }
    }
}

/// A prompt with its type erased: what the surface for agents folds over.
#[derive(Debug, Clone)]
pub struct PromptDeclaration {
    /// The persistent name.
    pub name: &'static str,
    /// The whole of its doc comment.
    pub description: String,
    /// JSON Schema of its arguments, an object of text fields.
    pub schema: Value,
    validator: Arc<jsonschema::Validator>,
    make: fn(Value) -> Result<Vec<Message>>,
}

impl PromptDeclaration {
    pub(crate) fn of<P: Prompt>() -> Self {
        let schema = schema::of_input::<P>();
        let (_, description) = schema::words(&schema);
        let validator = Arc::new(form::validator(&schema));
        let make = |arguments| Ok(operation::parsed::<P>(arguments)?.messages());
        Self { name: P::NAME, description, schema, validator, make }
    }

    /// What is said with these arguments.
    ///
    /// # Errors
    /// [`Error::Refused`] of kind invalid, with a JSON Pointer for each argument that does not fit;
    /// a failure if it panics.
    pub fn messages(&self, arguments: Value) -> Result<Vec<Message>> {
        let fields = form::complaints(&self.validator, &arguments);
        if !fields.is_empty() {
            return Err(Error::malformed(fields));
        }
        let made = guarded(async { (self.make)(arguments) }).now_or_never();
        made.unwrap_or_else(|| Err(Error::failure("a prompt waited, and nothing in it can")))
    }

    /// What is wrong with it, as sentences.
    pub(crate) fn violations(&self, domain: DomainName) -> Vec<String> {
        let name = format!("{domain}: the prompt `{}`", self.name);
        let mut found = Vec::new();
        if !kernel::is_snake_case(self.name) {
            found.push(format!("{name} is no snake case"));
        }
        if self.description.is_empty() {
            found.push(format!("{name} has no doc comment, which is its help text"));
        }
        let fields = self.schema.get("properties").and_then(Value::as_object);
        for (field, schema) in fields.into_iter().flatten() {
            if !takes_text(schema) {
                found.push(format!("{name} asks for `{field}`, which is no text"));
            }
        }
        found
    }
}

/// Whether a field takes text, perhaps among other things.
fn takes_text(schema: &Value) -> bool {
    let branches = ["anyOf", "oneOf"].into_iter().filter_map(|word| schema.get(word)?.as_array());
    match schema.get("type") {
        Some(Value::String(name)) => name == "string",
        Some(Value::Array(names)) => names.iter().any(|name| name == "string"),
        _ => branches.flatten().any(takes_text),
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::{Catalog, Domain};

    const CARE: DomainName = DomainName::new("care");

    /// Draft a reply.
    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct DraftReply {
        /// What it is about.
        complaint: String,
        /// How it shall sound.
        #[serde(default)]
        tone: Option<String>,
    }

    impl Prompt for DraftReply {
        const NAME: &'static str = "draft_reply";
        fn messages(self) -> Vec<Message> {
            let tone = self.tone.unwrap_or_else(|| "plain".to_owned());
            vec![Message::user(format!("A {tone} reply to: {}", self.complaint))]
        }
    }

    #[derive(Deserialize, JsonSchema)]
    #[expect(dead_code, reason = "its schema is looked at")]
    struct CountSheep {
        sheep: u32,
    }

    impl Prompt for CountSheep {
        const NAME: &'static str = "CountSheep";
        fn messages(self) -> Vec<Message> {
            Vec::new()
        }
    }

    #[test]
    fn a_prompt_is_said_with_its_arguments() {
        let prompt = PromptDeclaration::of::<DraftReply>();

        let said = prompt.messages(json!({"complaint": "the shift"}));

        assert_eq!(prompt.description, "Draft a reply.");
        assert_eq!(said.ok(), Some(vec![Message::user("A plain reply to: the shift")]));
    }

    #[test]
    fn an_argument_that_is_missing_or_unknown_is_named() {
        let prompt = PromptDeclaration::of::<DraftReply>();
        let blamed = |arguments| {
            let error = prompt.messages(arguments).expect_err("it does not fit");
            error.fields().iter().map(|field| field.pointer.clone()).collect::<Vec<_>>()
        };

        assert_eq!(blamed(json!({})), ["/complaint"]);
        assert_eq!(blamed(json!({"complaint": "a", "colour": "red"})), ["/colour"]);
    }

    #[test]
    fn a_prompt_that_nobody_could_fill_in_is_found_before_the_start() {
        let domain = Domain::new(CARE).prompt::<CountSheep>().prompt::<CountSheep>();

        let violations = Catalog::new(vec![domain]).expect_err("it contradicts itself").0;

        let told = violations.join("\n");
        for part in
            ["no snake case", "no doc comment", "`sheep`, which is no text", "declared twice"]
        {
            assert!(told.contains(part), "{part}: {told}");
        }
    }
}
