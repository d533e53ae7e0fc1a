//! Findings: what a stage of verification found, and which step follows from it. Pure.
//!
//! The order of the stages, what makes a document fail and when a person must decide stand here and
//! nowhere else, so that providers only look and never judge.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use contracts::onboard::Stage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Assignment;

/// Below this, the kind of a document is a guess.
const CONFIDENCE_PERCENT_MIN: u8 = 50;
/// From here on, a face is that of the holder.
const LIKENESS_PERCENT_SURE: u8 = 90;
/// Below this, a face is somebody else's; between the two, a person decides.
const LIKENESS_PERCENT_MIN: u8 = 60;
/// A document's number has at least so many letters and digits.
const NUMBER_LENGTH_MIN: usize = 4;

/// What one stage found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "stage", rename_all = "snake_case")]
#[schemars(inline)]
pub enum Finding {
    /// What kind of document it is.
    Classification {
        /// Code of the kind, for example `forklift_licence`.
        document_kind: String,
        /// How sure that is, in percent.
        confidence_percent: u8,
    },
    /// What the document says.
    Extraction {
        /// The fields read, by name: `holder_name`, `number`, `expires_on` and others.
        fields: BTreeMap<String, String>,
    },
    /// What cannot be true of it.
    Validation {
        /// Codes of the rules broken; none for a valid document.
        problems: Vec<String>,
    },
    /// How much the face is that of the holder.
    FaceVerification {
        /// The likeness, in percent.
        likeness_percent: u8,
    },
    /// What does not agree with what is known otherwise.
    CrossReference {
        /// Names of the fields that differ; none when all agree.
        mismatches: Vec<String>,
    },
}

/// What is to be done after a stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on with this stage.
    Advance(Stage),
    /// The document is verified.
    Complete,
    /// The document fails, for this reason.
    Fail(String),
    /// A person must answer this question.
    Review(String),
}

impl Finding {
    /// The stage that found this.
    pub(crate) const fn stage(&self) -> Stage {
        match self {
            Self::Classification { .. } => Stage::Classification,
            Self::Extraction { .. } => Stage::Extraction,
            Self::Validation { .. } => Stage::Validation,
            Self::FaceVerification { .. } => Stage::FaceVerification,
            Self::CrossReference { .. } => Stage::CrossReference,
        }
    }

    /// The step that follows.
    pub(crate) fn step(&self) -> Step {
        let failure = match self {
            Self::Classification { confidence_percent, .. } => (*confidence_percent
                < CONFIDENCE_PERCENT_MIN)
                .then(|| "unknown_document".to_owned()),
            Self::Extraction { fields } => {
                (!fields.contains_key("holder_name")).then(|| "unreadable".to_owned())
            }
            Self::Validation { problems } => problems.first().cloned(),
            Self::FaceVerification { likeness_percent } => match *likeness_percent {
                LIKENESS_PERCENT_SURE.. => None,
                LIKENESS_PERCENT_MIN.. => {
                    return Step::Review(format!(
                        "the face is that of the holder with {likeness_percent} percent; is it?"
                    ));
                }
                _ => Some("face_differs".to_owned()),
            },
            Self::CrossReference { mismatches } => {
                mismatches.first().map(|field| format!("{field}_differs"))
            }
        };
        match (failure, after(self.stage())) {
            (Some(reason_code), _) => Step::Fail(reason_code),
            (None, Some(next)) => Step::Advance(next),
            (None, None) => Step::Complete,
        }
    }
}

/// The stage after this one; nothing after the last.
pub(crate) const fn after(stage: Stage) -> Option<Stage> {
    match stage {
        Stage::Classification => Some(Stage::Extraction),
        Stage::Extraction => Some(Stage::Validation),
        Stage::Validation => Some(Stage::FaceVerification),
        Stage::FaceVerification => Some(Stage::CrossReference),
        Stage::CrossReference => None,
    }
}

/// The third stage: whether what the document says can be true today. No AI, only rules.
pub(crate) fn validate(assignment: &Assignment) -> Finding {
    let mut problems = Vec::new();
    let number = assignment
        .fields
        .get("number")
        .map_or(0, |number| number.chars().filter(char::is_ascii_alphanumeric).count());
    if number < NUMBER_LENGTH_MIN {
        problems.push("number_unreadable".to_owned());
    }
    if let Some(text) = assignment.fields.get("expires_on") {
        match text.parse::<NaiveDate>() {
            Ok(last) if last < assignment.today => problems.push("expired".to_owned()),
            Ok(_) => {}
            Err(_) => problems.push("expiry_unreadable".to_owned()),
        }
    }
    Finding::Validation { problems }
}

/// The name a stage has in storage.
pub(crate) const fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Classification => "classification",
        Stage::Extraction => "extraction",
        Stage::Validation => "validation",
        Stage::FaceVerification => "face_verification",
        Stage::CrossReference => "cross_reference",
    }
}

/// The stage of that name in storage.
pub(crate) fn stage_from_name(name: &str) -> Result<Stage, sqlx::Error> {
    let mut stage = Some(Stage::Classification);
    while let Some(known) = stage {
        if stage_name(known) == name {
            return Ok(known);
        }
        stage = after(known);
    }
    Err(sqlx::Error::Decode(format!("there is no stage `{name}`").into()))
}

#[cfg(test)]
mod tests {
    use contracts::onboard::DocumentId;

    use super::*;

    fn assignment(fields: &[(&str, &str)]) -> Assignment {
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        Assignment {
            document_id: DocumentId::new(),
            stage: Stage::Validation,
            credential_code: "forklift_licence".to_owned(),
            holder_name: "Mia Nguyen".to_owned(),
            content: String::new(),
            document_kind: None,
            fields: fields.iter().map(owned).collect(),
            today: "2026-03-10".parse().expect("the text is a day"),
        }
    }

    #[test]
    fn a_document_must_have_a_number_and_may_not_have_ended() {
        type Case = (&'static [(&'static str, &'static str)], &'static [&'static str]);
        let cases: [Case; 5] = [
            (&[("number", "HR-1234567"), ("expires_on", "2026-03-10")], &[]),
            (&[("number", "HR-1234567")], &[]),
            (&[("number", "HR-1234567"), ("expires_on", "2026-03-09")], &["expired"]),
            (&[("number", "HR-1234567"), ("expires_on", "soon")], &["expiry_unreadable"]),
            (&[("number", "-1-2-3-")], &["number_unreadable"]),
        ];

        for (fields, expected) in cases {
            let Finding::Validation { problems } = validate(&assignment(fields)) else {
                panic!("validation finds problems");
            };
            assert_eq!(problems, expected, "{fields:?}");
        }
    }

    #[test]
    fn a_face_is_sure_or_doubtful_or_another() {
        let step = |likeness_percent| Finding::FaceVerification { likeness_percent }.step();

        assert_eq!(step(90), Step::Advance(Stage::CrossReference));
        assert!(matches!(step(89), Step::Review(_)));
        assert!(matches!(step(60), Step::Review(_)));
        assert_eq!(step(59), Step::Fail("face_differs".to_owned()));
    }

    #[test]
    fn a_document_without_faults_passes_five_stages() {
        let findings = [
            Finding::Classification {
                document_kind: "forklift_licence".to_owned(),
                confidence_percent: 50,
            },
            Finding::Extraction {
                fields: BTreeMap::from([("holder_name".to_owned(), "Mia Nguyen".to_owned())]),
            },
            Finding::Validation { problems: Vec::new() },
            Finding::FaceVerification { likeness_percent: 97 },
            Finding::CrossReference { mismatches: Vec::new() },
        ];

        let steps: Vec<Step> = findings.iter().map(Finding::step).collect();

        assert_eq!(steps[3], Step::Advance(Stage::CrossReference));
        assert_eq!(steps[4], Step::Complete);
        for (finding, step) in findings.iter().zip(&steps[..4]) {
            assert_eq!(*step, Step::Advance(after(finding.stage()).expect("it is not the last")));
        }
    }

    #[test]
    fn every_stage_is_found_by_its_name() {
        let mut stage = Some(Stage::Classification);
        while let Some(known) = stage {
            assert_eq!(stage_from_name(stage_name(known)).ok(), Some(known));
            stage = after(known);
        }
    }
}
