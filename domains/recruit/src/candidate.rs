//! Candidates: people who may be placed.
//!
//! Name and number of a person live here and in no event. The other domains know a candidate by id
//! and by the credentials the candidate holds.

use chrono::NaiveDate;
use contracts::recruit::{CandidateId, CandidateRegistered, Credential};
use platform::{
    Command, Cursor, Limit, Listing, OrgId, Query, Reason, Result, Snapshot, Spec, Timestamp, Tx,
    trimmed,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{FromRow, PgConnection, Row};

use crate::code::{BadCode, CODES_MAX, codes};
use crate::job_order::check_postcode;

/// A person who may be placed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Candidate {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// Full name.
    #[schemars(example = "Hassan Ali")]
    pub full_name: String,
    /// Mobile number in international form, for example `+61491570006`.
    #[schemars(example = "+61491570006")]
    pub mobile: String,
    /// Suburb of residence.
    #[schemars(example = &"Werribee")]
    pub suburb: String,
    /// Postcode of residence.
    #[schemars(example = "3030")]
    pub postcode: String,
    /// Skills, as codes.
    pub skills: Vec<String>,
    /// Credentials held.
    pub credentials: Vec<Credential>,
    /// First day free for work; absent when free now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_from: Option<NaiveDate>,
    /// When the candidate was registered.
    pub created_at: Timestamp,
}

impl Candidate {
    fn register(command: RegisterCandidate, now: Timestamp) -> Result<Self> {
        check_postcode(&command.postcode)?;
        Ok(Self {
            candidate_id: CandidateId::new(),
            full_name: trimmed("/full_name", &command.full_name, 2..=120)?,
            mobile: international_mobile(&command.mobile)?,
            suburb: trimmed("/suburb", &command.suburb, 2..=80)?,
            postcode: command.postcode,
            skills: codes("/skills", command.skills)?,
            credentials: each_once(command.credentials)?,
            available_from: command.available_from,
            created_at: now,
        })
    }
}

/// Of a credential named twice, the longer lasting counts.
fn each_once(mut credentials: Vec<Credential>) -> Result<Vec<Credential>, BadCode> {
    codes("/credentials", credentials.iter().map(|credential| credential.code.clone()).collect())?;
    if credentials.len() > CODES_MAX {
        return Err(BadCode::TooMany { pointer: "/credentials", count: credentials.len() });
    }
    let lasts_until = |credential: &Credential| credential.expires_on.unwrap_or(NaiveDate::MAX);
    credentials.sort_by(|a, b| a.code.cmp(&b.code).then(lasts_until(b).cmp(&lasts_until(a))));
    credentials.dedup_by(|later, first| later.code == first.code);
    Ok(credentials)
}

/// What [`international_mobile`] accepts, for those who cannot ask it.
const MOBILE: &str = r"^[ ()-]*(\+[ ()-]*6[ ()-]*1|0)[ ()-]*4[ ()-]*([0-9][ ()-]*){8}$";

/// The international form of an Australian mobile number, however it was typed.
fn international_mobile(typed: &str) -> Result<String, Refusal> {
    let refused = || Refusal::Mobile(typed.to_owned());
    let compact: String =
        typed.chars().filter(|typed| !matches!(typed, ' ' | '-' | '(' | ')')).collect();
    let national =
        compact.strip_prefix("+61").or_else(|| compact.strip_prefix('0')).ok_or_else(refused)?;
    let is_mobile = national.len() == 9
        && national.starts_with('4')
        && national.bytes().all(|byte| byte.is_ascii_digit());
    if is_mobile { Ok(format!("+61{national}")) } else { Err(refused()) }
}

/// What the rules of candidates say no to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "`{0}` is no Australian mobile number: ten digits from 04 are expected, as in 0491 570 006"
    )]
    Mobile(String),
    #[error("a candidate with the mobile number {0} is already registered")]
    MobileTaken(String),
    #[error("there is no candidate {0}")]
    NotFound(CandidateId),
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::Mobile(_) => Reason::invalid("mobile").at("/mobile"),
            Self::MobileTaken(_) => Reason::conflict("mobile_taken").at("/mobile"),
            Self::NotFound(_) => Reason::not_found("candidate_not_found").at("/candidate_id"),
        }
    }
}

/// Register a candidate.
///
/// The candidate is scored against all open job orders shortly afterwards, and the credentials are
/// checked against what those orders require.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterCandidate {
    /// Full name, 2 to 120 characters.
    #[schemars(length(min = 2, max = 120))]
    #[schemars(example = "Hassan Ali")]
    pub full_name: String,
    /// Australian mobile number, for example `0491 570 006`; each number belongs to one candidate.
    #[schemars(length(min = 10, max = 20), regex(pattern = MOBILE))]
    #[schemars(example = "0491 570 006")]
    pub mobile: String,
    /// Suburb of residence.
    #[schemars(length(min = 2, max = 80))]
    #[schemars(example = &"Werribee")]
    pub suburb: String,
    /// Postcode of residence, four digits.
    #[schemars(regex(pattern = "^[0-9]{4}$"))]
    #[schemars(example = "3030")]
    pub postcode: String,
    /// Skills, as codes, for example `pallet_stacking`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(regex(pattern = "^[a-z][a-z0-9_]{0,47}$")))]
    pub skills: Vec<String>,
    /// Credentials held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub credentials: Vec<Credential>,
    /// First day free for work; leave out when free now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub available_from: Option<NaiveDate>,
}

impl Command for RegisterCandidate {
    const SPEC: Spec = Spec::create("register_candidate", "/candidates");
    type Output = Candidate;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Candidate> {
        let candidate = Candidate::register(self, tx.now())?;
        insert(tx, &candidate).await?;
        let Candidate { candidate_id, credentials, .. } = candidate.clone();
        tx.append(&CandidateRegistered { candidate_id, credentials }).await?;
        Ok(candidate)
    }
}

/// Get one candidate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GetCandidate {
    /// The candidate.
    pub candidate_id: CandidateId,
}

impl Query for GetCandidate {
    const SPEC: Spec = Spec::read("get_candidate", "/candidates/{candidate_id}").addressable();
    type Output = Candidate;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Candidate> {
        let found = sqlx::query_as(
            "select candidate_id, full_name, mobile, suburb, postcode, skills, credentials,
                 available_from, created_at
             from recruit.candidates
             where org_id = $1 and candidate_id = $2",
        )
        .bind(db.org_id())
        .bind(self.candidate_id)
        .fetch_optional(db.connection())
        .await?;
        Ok(found.ok_or(Refusal::NotFound(self.candidate_id))?)
    }
}

/// Refuses candidates that this organisation has not.
pub(crate) async fn must_be_known(
    connection: &mut PgConnection,
    org_id: OrgId,
    candidate_id: CandidateId,
) -> Result<()> {
    let known: bool = sqlx::query_scalar(
        "select exists (
             select from recruit.candidates where org_id = $1 and candidate_id = $2
         )",
    )
    .bind(org_id)
    .bind(candidate_id)
    .fetch_one(connection)
    .await?;
    if known { Ok(()) } else { Err(Refusal::NotFound(candidate_id).into()) }
}

/// List candidates, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListCandidates {
    /// Only candidates who hold this credential, expired or not, by its code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[a-z][a-z0-9_]{0,47}$"))]
    pub credential: Option<String>,
    /// Candidates on a page, 1 to 100; 20 unless given.
    #[serde(default)]
    pub limit: Limit,
    /// The `next` of the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<Cursor>,
}

impl Query for ListCandidates {
    const SPEC: Spec = Spec::read("list_candidates", "/candidates");
    type Output = Listing<Candidate>;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Listing<Candidate>> {
        let before: Option<CandidateId> = self.cursor.map(|cursor| cursor.key()).transpose()?;
        let rows = sqlx::query_as(
            "select candidate_id, full_name, mobile, suburb, postcode, skills, credentials,
                 available_from, created_at
             from recruit.candidates
             where org_id = $1
                 and ($2::text is null
                     or credentials @> jsonb_build_array(jsonb_build_object('code', $2)))
                 and ($3::uuid is null or candidate_id < $3)
             order by candidate_id desc
             limit $4",
        )
        .bind(db.org_id())
        .bind(self.credential)
        .bind(before)
        .bind(self.limit.and_one())
        .fetch_all(db.connection())
        .await?;
        Ok(Listing::of(rows, self.limit, |candidate: &Candidate| candidate.candidate_id))
    }
}

async fn insert(tx: &mut Tx<'_>, candidate: &Candidate) -> Result<()> {
    let inserted = sqlx::query(
        "insert into recruit.candidates (
             org_id, candidate_id, full_name, mobile, suburb, postcode, skills, credentials,
             available_from, created_at, updated_at
         ) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
         on conflict on constraint candidates_mobile_once do nothing",
    )
    .bind(tx.org_id())
    .bind(candidate.candidate_id)
    .bind(&candidate.full_name)
    .bind(&candidate.mobile)
    .bind(&candidate.suburb)
    .bind(&candidate.postcode)
    .bind(&candidate.skills)
    .bind(Json(&candidate.credentials))
    .bind(candidate.available_from)
    .bind(candidate.created_at)
    .execute(tx.connection())
    .await?;
    if inserted.rows_affected() == 0 {
        return Err(Refusal::MobileTaken(candidate.mobile.clone()).into());
    }
    Ok(())
}

impl FromRow<'_, PgRow> for Candidate {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            candidate_id: row.try_get("candidate_id")?,
            full_name: row.try_get("full_name")?,
            mobile: row.try_get("mobile")?,
            suburb: row.try_get("suburb")?,
            postcode: row.try_get("postcode")?,
            skills: row.try_get("skills")?,
            credentials: row.try_get::<Json<Vec<Credential>>, _>("credentials")?.0,
            available_from: row.try_get("available_from")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mobile_number_has_one_form_however_it_is_typed() {
        let cases = [
            ("0491 570 006", Some("+61491570006")),
            ("+61 491-570-006", Some("+61491570006")),
            ("(04) 9157 0006", Some("+61491570006")),
            ("0391 570 006", None),
            ("491570006", None),
            ("0491 570 00", None),
            ("0491 570 00x", None),
        ];

        for (typed, expected) in cases {
            assert_eq!(international_mobile(typed).ok().as_deref(), expected, "{typed}");
        }
    }

    #[test]
    fn what_the_schema_says_of_a_mobile_number_is_what_is_checked() {
        let domain = crate::domain();
        let mut operations = domain.operations().iter();
        let register = operations.find(|known| known.spec.name() == "register_candidate");
        let register = register.expect("it is declared");
        let typed = [
            "0491 570 006",
            "+61 491-570-006",
            "(04) 9157 0006",
            "+61491570006",
            "-(0)4-91570006",
            "+ 6 1491570006",
            "0391 570 006",
            "4915700061",
            "0491 570 0066",
            "0491 570 00x",
            "+610491570006",
            "61491570006",
            "0491_570_006",
            "٠491570006x",
            "0491\t570006",
        ];

        for typed in typed {
            let input = serde_json::json!({
                "full_name": "Hassan Ali", "mobile": typed, "suburb": "Werribee",
                "postcode": "3030",
            });
            let passes = register.check(&input).is_ok();
            assert_eq!(passes, international_mobile(typed).is_ok(), "{typed}");
        }
    }

    #[test]
    fn of_a_credential_named_twice_the_longer_lasting_counts() {
        let holds = |code: &str, day: Option<&str>| Credential {
            code: code.to_owned(),
            expires_on: day.map(|day| day.parse().expect("the text is a day")),
        };
        let typed = vec![
            holds("white_card", Some("2026-01-01")),
            holds("first_aid", Some("2026-05-01")),
            holds("white_card", None),
            holds("first_aid", Some("2027-05-01")),
        ];

        let kept = each_once(typed).expect("the codes are codes");

        assert_eq!(kept, [holds("first_aid", Some("2027-05-01")), holds("white_card", None)]);
    }
}
