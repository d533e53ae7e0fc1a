//! Prompts: what recruiters ask agents.
//!
//! An agent suggests and a recruiter decides, so each of them ends before anything is done.

use contracts::recruit::JobOrderId;
use platform::{Message, Prompt};
use schemars::JsonSchema;
use serde::Deserialize;

/// Propose whom to put on the shortlist of a job order, and say why. Nobody is shortlisted yet.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProposeShortlist {
    /// The job order.
    pub job_order_id: JobOrderId,
    /// What else matters, in your own words; for example "somebody who was there before".
    #[serde(default)]
    pub wishes: Option<String>,
}

impl Prompt for ProposeShortlist {
    const NAME: &'static str = "propose_shortlist";

    fn messages(self) -> Vec<Message> {
        let id = self.job_order_id;
        let mut request = format!(
            "Above is a job order. Read its candidates with recruit_list_scores (job_order_id \
             {id}), best first. Propose whom to put on the shortlist: as many as headcount asks \
             for and half as many again in reserve. Give each one a line with name, score and the \
             reason that counts most, taken from the contributions; who lacks a required \
             credential is left out and named at the end with what is missing. If there are no \
             scores yet, say so and stop. Shortlist and invite nobody: I decide when I have read \
             it."
        );
        if let Some(wishes) = self.wishes.filter(|wishes| !wishes.trim().is_empty()) {
            request += " What also matters to me: ";
            request += wishes.trim();
        }
        vec![Message::document(format!("recruit://job_orders/{id}")), Message::user(request)]
    }
}

#[cfg(test)]
mod tests {
    use platform::Content;

    use super::*;

    #[test]
    fn a_proposal_comes_with_the_job_order_and_what_else_matters() {
        let job_order_id = JobOrderId::new();
        let wishes = Some(" somebody local ".to_owned());

        let said = ProposeShortlist { job_order_id, wishes }.messages();

        let uri = format!("recruit://job_orders/{job_order_id}");
        assert_eq!(said[0].content, Content::Document { uri });
        let Content::Text(request) = &said[1].content else { panic!("{:?}", said[1]) };
        assert!(request.contains(&job_order_id.to_string()), "{request}");
        assert!(request.ends_with("matters to me: somebody local"), "{request}");
    }
}
