//! Scoring: how well a candidate fits a job order, by fixed rules that explain themselves.
//!
//! The same candidate, order and rule version always give the same score: there is no clock, no
//! randomness and no floating point here. Whoever changes a rule raises [`RULE_VERSION`].

use chrono::NaiveDate;
use contracts::recruit::{CandidateId, Credential, JobOrderId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of the rules below.
pub const RULE_VERSION: u16 = 1;

/// What the rules look at in a job order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct OrderFacts {
    pub(crate) job_order_id: JobOrderId,
    pub(crate) skills: Vec<String>,
    pub(crate) credentials_required: Vec<String>,
    pub(crate) postcode: Option<String>,
    /// First day of work; the day the order was opened while that is unknown.
    pub(crate) needed_on: NaiveDate,
}

/// What the rules look at in a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CandidateFacts {
    pub(crate) candidate_id: CandidateId,
    pub(crate) skills: Vec<String>,
    pub(crate) credentials: Vec<Credential>,
    pub(crate) postcode: String,
    pub(crate) available_from: Option<NaiveDate>,
}

/// One of the rules a score is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Rule {
    /// Share of the required credentials held and valid on the first day: up to 400 points.
    Credentials,
    /// Share of the wanted skills: up to 300 points.
    Skills,
    /// How near the candidate lives, by postcode: up to 150 points.
    Location,
    /// Whether the candidate is free on the first day: up to 150 points.
    Availability,
}

/// What one rule gave, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Contribution {
    /// The rule.
    pub rule: Rule,
    /// The points it gave.
    pub points: u16,
    /// The points it can give.
    pub points_max: u16,
    /// Why, in a sentence.
    pub reason: String,
}

/// A candidate's score for one order. The contributions always add up to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Score {
    pub(crate) candidate_id: CandidateId,
    /// From 0 to 1000.
    pub(crate) points: u16,
    pub(crate) contributions: Vec<Contribution>,
}

impl Rule {
    const fn points_max(self) -> u16 {
        match self {
            Self::Credentials => 400,
            Self::Skills => 300,
            Self::Location | Self::Availability => 150,
        }
    }

    const fn gives(self, points: u16, reason: String) -> Contribution {
        Contribution { rule: self, points, points_max: self.points_max(), reason }
    }
}

/// The score of `candidate` for `order`, from 0 to 1000.
pub(crate) fn score(order: &OrderFacts, candidate: &CandidateFacts) -> Score {
    let contributions = vec![
        credentials(order, candidate),
        skills(order, candidate),
        location(order, candidate),
        availability(order, candidate),
    ];
    let points = contributions.iter().map(|contribution| contribution.points).sum();
    Score { candidate_id: candidate.candidate_id, points, contributions }
}

fn credentials(order: &OrderFacts, candidate: &CandidateFacts) -> Contribution {
    let is_valid = |code: &String| {
        let held = candidate.credentials.iter().find(|credential| credential.code == *code);
        held.is_some_and(|held| held.expires_on.is_none_or(|last| last >= order.needed_on))
    };
    let required = &order.credentials_required;
    let missing: Vec<&str> =
        required.iter().filter(|code| !is_valid(code)).map(String::as_str).collect();
    let reason = match (required.len(), missing.as_slice()) {
        (0, _) => "no credential is required".to_owned(),
        (count, []) => format!("holds all {count} required, valid on {}", order.needed_on),
        (_, missing) => format!("lacks {} on {}", missing.join(", "), order.needed_on),
    };
    let points =
        share(Rule::Credentials.points_max(), required.len() - missing.len(), required.len());
    Rule::Credentials.gives(points, reason)
}

fn skills(order: &OrderFacts, candidate: &CandidateFacts) -> Contribution {
    let wanted = &order.skills;
    let missing: Vec<&str> =
        wanted.iter().filter(|code| !candidate.skills.contains(code)).map(String::as_str).collect();
    let reason = match (wanted.len(), missing.as_slice()) {
        (0, _) => "no skill is asked for".to_owned(),
        (count, []) => format!("has all {count} skills"),
        (_, missing) => format!("lacks {}", missing.join(", ")),
    };
    let points = share(Rule::Skills.points_max(), wanted.len() - missing.len(), wanted.len());
    Rule::Skills.gives(points, reason)
}

/// Postcodes that begin alike lie together: the first digit is the state, the first two the region.
fn location(order: &OrderFacts, candidate: &CandidateFacts) -> Contribution {
    let Some(site) = &order.postcode else {
        return Rule::Location.gives(75, "the place of work is not known yet".to_owned());
    };
    let home = &candidate.postcode;
    let alike = site.bytes().zip(home.bytes()).take_while(|(site, home)| site == home).count();
    let (points, reason) = match alike {
        4 => (150, format!("lives in the postcode of the site, {site}")),
        3 => (120, format!("lives next to the site: {home}, site {site}")),
        2 => (90, format!("lives in the region of the site: {home}, site {site}")),
        1 => (45, format!("lives in the state of the site: {home}, site {site}")),
        _ => (0, format!("lives in another state: {home}, site {site}")),
    };
    Rule::Location.gives(points, reason)
}

fn availability(order: &OrderFacts, candidate: &CandidateFacts) -> Contribution {
    let Some(available_from) = candidate.available_from else {
        return Rule::Availability.gives(150, "is free now".to_owned());
    };
    let days_late = (available_from - order.needed_on).num_days();
    let points = match days_late {
        ..=0 => 150,
        1..=7 => 75,
        8..=14 => 30,
        _ => 0,
    };
    let reason = match days_late {
        ..=0 => format!("is free from {available_from}"),
        days => format!("is free from {available_from}, {days} days after the start"),
    };
    Rule::Availability.gives(points, reason)
}

/// `part` of `whole` in points, rounded down; all points when nothing is asked for.
fn share(points_max: u16, part: usize, whole: usize) -> u16 {
    if whole == 0 {
        return points_max;
    }
    u16::try_from(usize::from(points_max) * part / whole).expect("a share is at most the whole")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn day(day: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, day).expect("March has that day")
    }

    fn order() -> OrderFacts {
        OrderFacts {
            job_order_id: JobOrderId::new(),
            skills: vec!["pallet_stacking".to_owned(), "rf_scanning".to_owned()],
            credentials_required: vec!["forklift_licence".to_owned(), "white_card".to_owned()],
            postcode: Some("3029".to_owned()),
            needed_on: day(10),
        }
    }

    fn candidate() -> CandidateFacts {
        let holds = |code: &str, expires_on| Credential { code: code.to_owned(), expires_on };
        CandidateFacts {
            candidate_id: CandidateId::new(),
            skills: vec!["pallet_stacking".to_owned(), "rf_scanning".to_owned()],
            credentials: vec![holds("forklift_licence", Some(day(10))), holds("white_card", None)],
            postcode: "3029".to_owned(),
            available_from: None,
        }
    }

    #[test]
    fn a_candidate_who_has_everything_scores_a_thousand() {
        let score = score(&order(), &candidate());

        assert_eq!(score.points, 1000, "{:#?}", score.contributions);
    }

    #[test]
    fn a_credential_counts_up_to_and_including_its_last_day() {
        let mut late = order();
        late.needed_on = day(11);

        let score = score(&late, &candidate());

        assert_eq!(score.points, 800);
        assert_eq!(score.contributions[0].reason, "lacks forklift_licence on 2026-03-11");
    }

    #[test]
    fn the_nearer_and_the_sooner_the_better() {
        let cases =
            [("3028", None, 970), ("3000", None, 940), ("3999", None, 895), ("2000", None, 850)];
        let later = [("3029", Some(17), 925), ("3029", Some(18), 880), ("3029", Some(25), 850)];

        for (postcode, free_on, expected) in cases.into_iter().chain(later) {
            let mut candidate = candidate();
            candidate.postcode = postcode.to_owned();
            candidate.available_from = free_on.map(day);
            assert_eq!(score(&order(), &candidate).points, expected, "{postcode} {free_on:?}");
        }
    }

    fn list() -> impl Strategy<Value = Vec<String>> {
        prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "d"]), 0..4)
            .prop_map(|codes| codes.into_iter().map(str::to_owned).collect())
    }

    proptest! {
        #[test]
        fn contributions_add_up_and_no_rule_exceeds_its_maximum(
            wanted in list(), required in list(), has in list(), holds in list(),
            site in prop::option::of("[0-9]{4}"), home in "[0-9]{4}",
            free_on in prop::option::of(1_u32..=31),
        ) {
            let order = OrderFacts {
                skills: wanted, credentials_required: required, postcode: site, ..order()
            };
            let holds = holds.into_iter().map(|code| Credential { code, expires_on: None });
            let candidate = CandidateFacts {
                skills: has,
                credentials: holds.collect(),
                postcode: home,
                available_from: free_on.map(day),
                ..candidate()
            };

            let first = score(&order, &candidate);
            let second = score(&order, &candidate);

            prop_assert_eq!(&first, &second);
            prop_assert!(first.points <= 1000);
            let given = &first.contributions;
            prop_assert_eq!(given.iter().map(|rule| rule.points).sum::<u16>(), first.points);
            prop_assert!(given.iter().all(|rule| rule.points <= rule.points_max));
        }
    }
}
