//! Arguments: whether what is stored for a job is what its kind can be performed with.
//!
//! They are compared with the schema of the job's type before they reach the queue, whoever brings
//! them: a domain's own code, a schedule, or an operator who edits a job.

use std::fmt;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use crate::form;
use crate::operation::Operation;
use crate::refusal::FieldError;
use crate::schema;

/// The arguments of jobs of one name.
pub(crate) struct Arguments {
    name: &'static str,
    schema: Value,
    validator: Arc<Validator>,
}

/// The arguments of a job are not as the schema of its kind has them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the arguments of job `{job}` do not fit: at `{pointer}`, rule `{rule}`: {message}")]
pub struct UnfitArguments {
    /// The name of the job.
    pub job: String,
    /// JSON Pointer to the first offending place of the arguments.
    pub pointer: String,
    /// JSON Pointer to the rule in the schema.
    pub rule: String,
    /// What is wrong there, as a sentence.
    pub message: String,
    /// Every offending place.
    pub fields: Vec<FieldError>,
}

impl Arguments {
    pub(crate) fn of<J: schemars::JsonSchema>(name: &'static str) -> Self {
        let schema = schema::of::<J>();
        Self { name, validator: Arc::new(form::validator(&schema)), schema }
    }

    /// The arguments of a command as a job, which are its input.
    pub(crate) fn of_input(operation: &Operation) -> Self {
        Self {
            name: operation.spec.name(),
            schema: operation.input_schema.clone(),
            validator: operation.validator().clone(),
        }
    }

    /// JSON Schema of the arguments.
    pub(crate) const fn schema(&self) -> &Value {
        &self.schema
    }

    /// Compares `args` with the schema.
    ///
    /// # Errors
    /// [`UnfitArguments`] names the first place that breaks it, the rule, and every place.
    pub(crate) fn check(&self, args: &Value) -> Result<(), UnfitArguments> {
        if self.validator.is_valid(args) {
            return Ok(());
        }
        let Some(error) = self.validator.iter_errors(args).next() else { return Ok(()) };
        Err(UnfitArguments {
            job: self.name.to_owned(),
            pointer: error.instance_path().to_string(),
            rule: error.schema_path().to_string(),
            message: form::said(&error),
            fields: form::complaints(&self.validator, args),
        })
    }

    /// What keeps this release from reading stored arguments, which another one has written.
    pub(crate) fn unreadable(&self, args: &Value, error: &serde_json::Error) -> Unreadable {
        match self.check(args) {
            Err(unfit) => {
                let UnfitArguments { pointer, rule, message, .. } = unfit;
                Unreadable(format!("at `{pointer}`, rule `{rule}`: {message}"))
            }
            // A rule that no schema can say.
            Ok(()) => Unreadable(error.to_string()),
        }
    }
}

impl fmt::Debug for Arguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Arguments({})", self.name)
    }
}

/// Stored arguments that this release cannot read; another one may.
#[derive(Debug, thiserror::Error)]
#[error("this release cannot read the arguments of the job: {0}")]
pub(crate) struct Unreadable(String);
