//! Declarations: what a candidate tells for tax, pay and superannuation.
//!
//! Each number is checked by its public rule. A tax file number is neither stored nor printed: what
//! is kept are its last three digits.

mod bank_branch;
mod business_number;
mod tax_file_number;

use std::fmt;

use contracts::onboard::{BankDetailsSet, SuperFundChosen, TaxFileNumberDeclared};
use contracts::recruit::CandidateId;
use platform::{Command, Reason, Result, Spec, Timestamp, Tx, trimmed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::known_candidate;

use self::bank_branch::BankBranch;
use self::business_number::BusinessNumber;
use self::tax_file_number::{TaxFileNumber, digits};

/// What the rules of declarations say no to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("an account number has four to nine digits; blanks between them are fine")]
    AccountNumber,
}

impl platform::Refusal for Refusal {
    fn reason(&self) -> Reason {
        match self {
            Self::AccountNumber => Reason::invalid("account_number").at("/account_number"),
        }
    }
}

/// Declare a candidate's tax file number.
///
/// The number is checked and then forgotten; only its last three digits are kept. Declaring again
/// replaces the earlier declaration.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeclareTaxFileNumber {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// The number: nine digits, or eight in the older form. Blanks and dashes are fine.
    #[schemars(length(min = 8, max = 16), regex(pattern = r"^[ -]*([0-9][ -]*){8,9}$"))]
    #[schemars(example = "123 456 782")]
    pub tax_file_number: String,
}

impl fmt::Debug for DeclareTaxFileNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeclareTaxFileNumber({}, secret)", self.candidate_id)
    }
}

/// That a tax file number was declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaxFileNumberDeclaration {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// The last three digits, the others as stars.
    pub masked: String,
    /// When it was declared.
    pub declared_at: Timestamp,
}

impl Command for DeclareTaxFileNumber {
    const SPEC: Spec =
        Spec::replace("declare_tax_file_number", "/candidates/{candidate_id}/tax_file_number");
    type Output = TaxFileNumberDeclaration;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<TaxFileNumberDeclaration> {
        let candidate_id = self.candidate_id;
        let masked = TaxFileNumber::parse(&self.tax_file_number)?.masked();
        known_candidate(tx, candidate_id).await?;
        let declared_at = tx.now();
        sqlx::query(
            "insert into onboard.tax_file_numbers (org_id, candidate_id, masked, declared_at)
             values ($1, $2, $3, $4)
             on conflict (org_id, candidate_id) do update
             set masked = excluded.masked, declared_at = excluded.declared_at",
        )
        .bind(tx.org_id())
        .bind(candidate_id)
        .bind(&masked)
        .bind(declared_at)
        .execute(tx.connection())
        .await?;
        tx.append(&TaxFileNumberDeclared { candidate_id }).await?;
        Ok(TaxFileNumberDeclaration { candidate_id, masked, declared_at })
    }
}

/// Set the account a candidate is paid into.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetBankDetails {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// Bank, state and branch: six digits, as in `062-000`.
    #[schemars(length(min = 6, max = 10), regex(pattern = r"^[ -]*([0-9][ -]*){6}$"))]
    #[schemars(example = "062-000")]
    pub bsb: String,
    /// The account number, four to nine digits. Blanks and dashes are fine.
    #[schemars(length(min = 4, max = 14), regex(pattern = r"^[ -]*([0-9][ -]*){4,9}$"))]
    #[schemars(example = "1234 5678")]
    pub account_number: String,
    /// The name of the account's holder, 2 to 32 characters.
    #[schemars(length(min = 2, max = 32))]
    pub account_name: String,
}

/// The account a candidate is paid into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BankDetails {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// Bank, state and branch, as banks print it.
    pub bsb: String,
    /// The last three digits of the account number, the others as stars.
    pub masked_account_number: String,
    /// The name of the account's holder.
    pub account_name: String,
}

impl Command for SetBankDetails {
    const SPEC: Spec = Spec::replace("set_bank_details", "/candidates/{candidate_id}/bank_details");
    type Output = BankDetails;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<BankDetails> {
        let candidate_id = self.candidate_id;
        let bsb = BankBranch::parse(&self.bsb)?.written();
        let account_number = digits(&self.account_number)
            .filter(|digits| (4..=9).contains(&digits.len()))
            .ok_or(Refusal::AccountNumber)?;
        let account_number: String = account_number.iter().map(u8::to_string).collect();
        let account_name = trimmed("/account_name", &self.account_name, 2..=32)?;
        known_candidate(tx, candidate_id).await?;
        sqlx::query(
            "insert into onboard.bank_details (
                 org_id, candidate_id, bsb, account_number, account_name, updated_at
             ) values ($1, $2, $3, $4, $5, $6)
             on conflict (org_id, candidate_id) do update
             set bsb = excluded.bsb,
                 account_number = excluded.account_number,
                 account_name = excluded.account_name,
                 updated_at = excluded.updated_at",
        )
        .bind(tx.org_id())
        .bind(candidate_id)
        .bind(&bsb)
        .bind(&account_number)
        .bind(&account_name)
        .bind(tx.now())
        .execute(tx.connection())
        .await?;
        tx.append(&BankDetailsSet { candidate_id }).await?;
        let masked_account_number = format!("***{}", &account_number[account_number.len() - 3..]);
        Ok(BankDetails { candidate_id, bsb, masked_account_number, account_name })
    }
}

/// Choose the superannuation fund of a candidate.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChooseSuperFund {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// The name of the fund.
    #[schemars(length(min = 2, max = 120))]
    pub fund_name: String,
    /// The fund's Australian business number, eleven digits. Blanks and dashes are fine.
    #[schemars(length(min = 11, max = 20), regex(pattern = r"^[ -]*([0-9][ -]*){11}$"))]
    #[schemars(example = "51 824 753 556")]
    pub fund_abn: String,
    /// The candidate's number at the fund, if already a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20))]
    pub member_number: Option<String>,
}

/// The superannuation fund of a candidate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SuperChoice {
    /// The candidate.
    pub candidate_id: CandidateId,
    /// The name of the fund.
    pub fund_name: String,
    /// The fund's Australian business number, eleven digits.
    pub fund_abn: String,
}

impl Command for ChooseSuperFund {
    const SPEC: Spec = Spec::replace("choose_super_fund", "/candidates/{candidate_id}/super_fund");
    type Output = SuperChoice;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<SuperChoice> {
        let candidate_id = self.candidate_id;
        let fund_name = trimmed("/fund_name", &self.fund_name, 2..=120)?;
        let fund_abn = BusinessNumber::parse(&self.fund_abn)?.as_str().to_owned();
        let member_number = self.member_number.as_deref();
        let member_number =
            member_number.map(|number| trimmed("/member_number", number, 1..=20)).transpose()?;
        known_candidate(tx, candidate_id).await?;
        sqlx::query(
            "insert into onboard.super_choices (
                 org_id, candidate_id, fund_name, fund_abn, member_number, updated_at
             ) values ($1, $2, $3, $4, $5, $6)
             on conflict (org_id, candidate_id) do update
             set fund_name = excluded.fund_name,
                 fund_abn = excluded.fund_abn,
                 member_number = excluded.member_number,
                 updated_at = excluded.updated_at",
        )
        .bind(tx.org_id())
        .bind(candidate_id)
        .bind(&fund_name)
        .bind(&fund_abn)
        .bind(member_number)
        .bind(tx.now())
        .execute(tx.connection())
        .await?;
        tx.append(&SuperFundChosen { candidate_id, fund_abn: fund_abn.clone() }).await?;
        Ok(SuperChoice { candidate_id, fund_name, fund_abn })
    }
}

#[cfg(test)]
mod tests {
    use platform::{Domain, Error};
    use proptest::prop_assert_eq;
    use proptest::test_runner::TestRunner;
    use serde_json::json;

    use super::*;

    /// Whether the schema of an operation lets a text pass in a field.
    fn passes(domain: &Domain, operation: &str, field: &str, text: &str) -> bool {
        let mut operations = domain.operations().iter();
        let operation = operations.find(|known| known.spec.name() == operation);
        let complaints = operation.expect("it is declared").check(&json!({ field: text }));
        let at = format!("/{field}");
        match complaints {
            Err(Error::Refused { fields, .. }) => fields.iter().all(|field| field.pointer != at),
            _ => true,
        }
    }

    #[test]
    fn what_a_schema_says_of_a_number_is_what_is_checked() {
        let domain = crate::domain();
        let typed = "[ -]{0,1}([0-9][ -]{0,1}){3,12}[x٣]?";

        let held = TestRunner::default().run(&typed, |typed| {
            let within = |min: usize, max: usize| (min..=max).contains(&typed.chars().count());
            let count = digits(&typed).map_or(0, |digits| digits.len());
            let cases = [
                ("set_bank_details", "bsb", count == 6 && within(6, 10)),
                ("set_bank_details", "account_number", (4..=9).contains(&count) && within(4, 14)),
                ("choose_super_fund", "fund_abn", count == 11 && within(11, 20)),
                (
                    "declare_tax_file_number",
                    "tax_file_number",
                    matches!(count, 8 | 9) && within(8, 16),
                ),
            ];
            for (operation, field, expected) in cases {
                let passes = passes(&domain, operation, field, &typed);
                prop_assert_eq!(passes, expected, "{} in {}", typed, field);
            }
            Ok(())
        });

        assert_eq!(held, Ok(()));
    }
}
