//! The development adapter of the provider port: reads documents that are text, always alike.
//!
//! A document is lines of `Name: value`. `Document` names its kind, `Holder`, `Number` and
//! `Expires` are what a licence shows, and `Likeness` says how much its face is that of the holder,
//! 97 unless given.

use std::collections::BTreeMap;

use contracts::onboard::Stage;
use platform::otp::BoxFuture;

use super::Assignment;
use super::finding::Finding;
use super::provider::{Examined, Provider, ProviderError};

/// What a small model charges for one character, in millionths of a US dollar.
const SMALL_MODEL_MICRO_DOLLARS: u64 = 1;
/// What a medium model charges for one character, in millionths of a US dollar.
const MEDIUM_MODEL_MICRO_DOLLARS: u64 = 4;
/// The likeness of a document that names none.
const LIKENESS_PERCENT: u8 = 97;

/// Looks at text instead of pictures.
pub(crate) struct Development;

impl Provider for Development {
    fn name(&self) -> &'static str {
        "development"
    }

    fn cost_max_micro_dollars(&self, assignment: &Assignment) -> u64 {
        let per_character = match assignment.stage {
            Stage::Classification => SMALL_MODEL_MICRO_DOLLARS,
            _ => MEDIUM_MODEL_MICRO_DOLLARS,
        };
        per_character * assignment.content.chars().count() as u64
    }

    fn examine<'a>(
        &'a self,
        assignment: &'a Assignment,
    ) -> BoxFuture<'a, Result<Examined, ProviderError>> {
        let examined = look(assignment).map(|finding| Examined {
            finding,
            cost_micro_dollars: self.cost_max_micro_dollars(assignment),
        });
        Box::pin(async { examined })
    }

    fn check(&self) -> BoxFuture<'_, Result<(), ProviderError>> {
        Box::pin(async { Ok(()) })
    }
}

fn look(assignment: &Assignment) -> Result<Finding, ProviderError> {
    let lines = lines(&assignment.content);
    match assignment.stage {
        Stage::Classification => Ok(Finding::Classification {
            confidence_percent: if lines.contains_key("document") { 98 } else { 10 },
            document_kind: lines
                .get("document")
                .map_or_else(|| "unknown".to_owned(), |kind| code(kind)),
        }),
        Stage::Extraction => Ok(Finding::Extraction { fields: fields(&lines) }),
        Stage::Validation => Err(ProviderError::NotAsked(Stage::Validation)),
        Stage::FaceVerification => {
            let likeness = lines.get("likeness").and_then(|percent| percent.parse().ok());
            Ok(Finding::FaceVerification {
                likeness_percent: likeness.unwrap_or(LIKENESS_PERCENT).min(100),
            })
        }
        Stage::CrossReference => Ok(Finding::CrossReference { mismatches: mismatches(assignment) }),
    }
}

/// The lines of a document, by their name in lower case.
fn lines(content: &str) -> BTreeMap<String, String> {
    let named = content.lines().filter_map(|line| line.split_once(':'));
    named.map(|(name, value)| (name.trim().to_lowercase(), value.trim().to_owned())).collect()
}

/// What a licence shows, under the names the pipeline knows.
fn fields(lines: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    [("holder", "holder_name"), ("number", "number"), ("expires", "expires_on")]
        .into_iter()
        .filter_map(|(line, field)| Some((field.to_owned(), lines.get(line)?.clone())))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

fn mismatches(assignment: &Assignment) -> Vec<String> {
    let folded = |name: &str| name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    let is_holder = assignment
        .fields
        .get("holder_name")
        .is_some_and(|name| folded(name) == folded(&assignment.holder_name));
    let is_kind = assignment.document_kind.as_ref() == Some(&assignment.credential_code);
    let differs = [("document_kind", is_kind), ("holder_name", is_holder)];
    let differs = differs.into_iter().filter(|(_, agrees)| !agrees);
    differs.map(|(field, _)| field.to_owned()).collect()
}

/// `Forklift licence` as a code: `forklift_licence`.
fn code(kind: &str) -> String {
    kind.to_lowercase().split_whitespace().collect::<Vec<_>>().join("_")
}

#[cfg(test)]
mod tests {
    use contracts::onboard::DocumentId;

    use super::*;

    const LICENCE: &str =
        "Document: Forklift licence\nHolder: Mia  Nguyen\nNumber: HR-1234567\nExpires: 2030-06-30";

    fn assignment(stage: Stage, content: &str) -> Assignment {
        Assignment {
            document_id: DocumentId::new(),
            stage,
            credential_code: "forklift_licence".to_owned(),
            holder_name: "mia nguyen".to_owned(),
            content: content.to_owned(),
            document_kind: Some("forklift_licence".to_owned()),
            fields: fields(&lines(content)),
            today: "2026-03-10".parse().expect("the text is a day"),
        }
    }

    #[test]
    fn a_licence_is_seen_as_what_it_is() {
        let kind = look(&assignment(Stage::Classification, LICENCE));
        let cross = look(&assignment(Stage::CrossReference, LICENCE));

        let expected = Finding::Classification {
            document_kind: "forklift_licence".to_owned(),
            confidence_percent: 98,
        };
        assert_eq!(kind, Ok(expected));
        assert_eq!(cross, Ok(Finding::CrossReference { mismatches: Vec::new() }));
    }

    #[test]
    fn a_licence_of_somebody_else_does_not_agree() {
        let other = LICENCE.replace("Mia", "Maya");

        let cross = look(&assignment(Stage::CrossReference, &other));

        let mismatches = vec!["holder_name".to_owned()];
        assert_eq!(cross, Ok(Finding::CrossReference { mismatches }));
    }

    #[test]
    fn looking_twice_sees_the_same() {
        for stage in [Stage::Classification, Stage::Extraction, Stage::FaceVerification] {
            let assignment = assignment(stage, LICENCE);
            assert_eq!(look(&assignment), look(&assignment));
        }
    }
}
