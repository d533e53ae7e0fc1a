//! A world with rows in it: an organisation that has used every domain, and the ids of what it has.
//!
//! Ids are not listed by hand: whatever table of the organisation has a column of that name tells
//! one. So a new operation finds its ids here as soon as [`furnish`] makes a row of their kind.

use std::collections::BTreeMap;
use std::time::Duration;

use platform::otp::Clock;
use platform::{Domain, Error, OrgId, Role, Scope, UserId};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use testkit::{Member, TestSystem};
use totp_rs::{Builder, Secret};
use uuid::Uuid;

/// Every domain there is, apart from the operator's, which no test system lacks.
pub(crate) fn every_domain() -> Vec<Domain> {
    let catalog = server::catalog().expect("the domains agree with each other");
    let domains = catalog.domains().iter().cloned();
    domains.filter(|domain| domain.name() != platform::operator::OPERATOR).collect()
}

/// A clock that stands still, so that no schedule changes a row while somebody compares.
pub(crate) fn clock() -> Clock {
    Clock::manual(Clock::system().now())
}

/// A day that work can be planned for.
pub(crate) fn soon() -> String {
    let day = Clock::system().now() + Duration::from_hours(24 * 30);
    day.format("%Y-%m-%d").to_string()
}

/// Uses every domain as members of `org_id` do; the text of what they write has `mark` in it.
pub(crate) async fn furnish(system: &TestSystem, org_id: OrgId, mark: &str) {
    if let Err(error) = furnished(system, org_id, mark).await {
        panic!("{mark} cannot be furnished: {} ({error:?})", error.message());
    }
}

async fn furnished(system: &TestSystem, org_id: OrgId, mark: &str) -> Result<(), Error> {
    let staff = system.member(org_id, Role::Staff);
    sign_in(system, org_id, mark).await?;
    let candidate = staff.call("recruit", "register_candidate", candidate(mark)).await?;
    // Known to every domain before there is anything to check it against.
    system.settle().await;
    let order = json!({
        "title": format!("{mark} driver"), "headcount": 1, "client_name": format!("{mark} Pty"),
        "starts_on": soon(), "credentials_required": ["forklift_licence"],
    });
    let order = staff.call("recruit", "open_job_order", order).await?;
    system.settle().await;
    let both = json!({
        "job_order_id": order["job_order_id"], "candidate_id": candidate["candidate_id"],
    });
    staff.call("recruit", "shortlist_candidate", both.clone()).await?;
    staff.call("recruit", "invite_candidate", both).await?;
    onboard(&staff, &candidate["candidate_id"], mark).await?;
    let message = json!({
        "channel": "email", "recipient": "mia@example.com", "body": format!("{mark} says hello"),
        "about_id": order["job_order_id"],
    });
    staff.call("reach", "queue_message", message).await?;
    system.settle().await;
    Ok(())
}

/// The staff's member signs in from an app, enrols a second factor and is asked for it the next
/// time; somebody else guesses.
async fn sign_in(system: &TestSystem, org_id: OrgId, mark: &str) -> Result<(), Error> {
    let staff = system.member(org_id, Role::Staff);
    let me = staff.ask(accounts::GetMe::default()).await?;
    let password = format!("the password of {mark}");
    let given = accounts::Password::new(&*password);
    accounts::give_password(system.system(), org_id, me.user_id, given).await?;
    let organisation = staff.ask(accounts::GetOrganisation::default()).await?.slug;
    let mut input = json!({
        "organisation": organisation, "email": me.email, "password": password, "kind": "app",
    });
    let scope = Scope::anonymous(Uuid::now_v7());
    system.system().call(&scope, "accounts", "sign_in", input.clone()).await?;
    let own = json!({"password": password});
    let device = staff.call("accounts", "enrol_second_factor", own).await?;
    let secret = device["secret"].as_str().and_then(|text| Secret::try_from_base32(text).ok());
    let device = Builder::new().with_secret(secret.expect("a device has one"));
    let device = device.with_account_name("mia").build().expect("it is a device");
    let seconds = u64::try_from(system.system().now().timestamp()).expect("it is after 1970");
    let code = json!({"code": device.generate(seconds).to_string()});
    staff.call("accounts", "confirm_second_factor", code).await?;
    system.system().call(&scope, "accounts", "sign_in", input.clone()).await?;
    input["password"] = json!("something else");
    let director = system.member(org_id, Role::Director);
    let office = json!({"name": format!("{mark} House"), "timezone": "Australia/Melbourne"});
    let office = director.call("accounts", "open_office", office).await?;
    let joined = json!({
        "office_id": office["office_id"], "user_id": me.user_id, "is_primary": true,
    });
    director.call("accounts", "join_office", joined).await?;
    let invited = json!({
        "email": format!("{mark}@example.com"), "name": format!("{mark} Hill"), "role": "worker",
    });
    director.call("accounts", "invite_user", invited).await?;
    keep_passkey(system, org_id, me.user_id).await;
    let guessed = system.system().call(&scope, "accounts", "sign_in", input).await;
    guessed.map_or(Ok(()), |_| panic!("anybody may sign in as {mark}"))
}

/// A passkey and a challenge for one, as rows: the systems under test have no site to make them at.
async fn keep_passkey(system: &TestSystem, org_id: OrgId, user_id: UserId) {
    let rows = "
        with passkey as (
            insert into accounts.passkeys (passkey_id, org_id, user_id, credential_id, public_key,
                sign_count, is_synced, label, created_at)
            values ($3, $1, $2, 'a', 'a', 0, false, 'Phone', now()))
        insert into accounts.passkey_challenges (passkey_challenge_id, org_id, user_id, digest,
            purpose, created_at, expires_at)
        values ($3, $1, $2, sha256($3::text::bytea), 'step_up', now(), now() + interval '1 hour')";
    sqlx::query(rows)
        .bind(org_id)
        .bind(user_id)
        .bind(Uuid::now_v7())
        .execute(&mut system.owner().await)
        .await
        .expect("the owner may write");
}

/// Somebody who can be placed.
pub(crate) fn candidate(mark: &str) -> Value {
    json!({
        "full_name": format!("{mark} Nguyen"), "mobile": "0491 570 006", "suburb": "Altona",
        "postcode": "3018", "skills": ["pallet_stacking"],
        "credentials": [{"code": "forklift_licence"}],
    })
}

/// One document that passes, one whose face is doubtful, so that a review waits, and every
/// declaration.
async fn onboard(staff: &Member, candidate_id: &Value, mark: &str) -> Result<(), Error> {
    let document = |likeness: &str| {
        json!({
            "candidate_id": candidate_id, "credential_code": "forklift_licence",
            "holder_name": format!("{mark} Nguyen"), "file_name": format!("{mark}.txt"),
            "content": format!("Document: Forklift licence\nHolder: {mark} Nguyen\n\
                Number: HR-1234567\nExpires: 2099-06-30\n{likeness}"),
        })
    };
    staff.call("onboard", "submit_document", document("")).await?;
    staff.call("onboard", "submit_document", document("Likeness: 61")).await?;
    let number = json!({"candidate_id": candidate_id, "tax_file_number": "123 456 782"});
    staff.call("onboard", "declare_tax_file_number", number).await?;
    let account = json!({
        "candidate_id": candidate_id, "bsb": "062-000", "account_number": "12345678",
        "account_name": format!("{mark} Nguyen"),
    });
    staff.call("onboard", "set_bank_details", account).await?;
    let fund = json!({
        "candidate_id": candidate_id, "fund_name": format!("{mark} Super"),
        "fund_abn": "51 824 753 556",
    });
    staff.call("onboard", "choose_super_fund", fund).await?;
    let budget = json!({"stage": "extraction", "limit_micro_dollars": 5_000_000});
    staff.call("onboard", "set_stage_budget", budget).await?;
    Ok(())
}

/// The ids an organisation has, by schema and by the name a field has that takes one.
pub(crate) struct Ids(BTreeMap<String, BTreeMap<String, Uuid>>);

impl Ids {
    /// Looks through every table that names an organisation.
    pub(crate) async fn of(connection: &mut PgConnection, org_id: OrgId) -> Self {
        let columns: Vec<(String, String, String)> = sqlx::query_as(
            "select column_.table_schema, column_.table_name, column_.column_name
             from information_schema.columns as column_
             join information_schema.columns as org using (table_schema, table_name)
             join information_schema.tables using (table_schema, table_name)
             where org.column_name = 'org_id' and column_.column_name <> 'org_id'
                 and column_.data_type = 'uuid' and tables.table_type = 'BASE TABLE'
             order by 1, 2, 3",
        )
        .fetch_all(&mut *connection)
        .await
        .expect("the catalog of the database answers");
        let mut ids: BTreeMap<String, BTreeMap<String, Uuid>> = BTreeMap::new();
        for (schema, table, column) in columns {
            let first = format!(
                "select min({column}::text)::uuid from {schema}.{table} where org_id = '{org_id}'"
            );
            let found: Option<Uuid> = sqlx::query_scalar(AssertSqlSafe(first))
                .fetch_one(&mut *connection)
                .await
                .expect("the owner may look");
            if let Some(id) = found {
                let field = if column == "id" { id_of(&table) } else { column };
                ids.entry(schema).or_default().entry(field).or_insert(id);
            }
        }
        Self(ids)
    }

    /// The id that goes into `field` of an operation of `domain`: the domain's own, or what the
    /// platform keeps, or what any other domain has of that name.
    pub(crate) fn find(&self, domain: &str, field: &str) -> Option<Uuid> {
        let field =
            field.strip_suffix("_ids").map_or_else(|| field.into(), |one| one.to_owned() + "_id");
        let own = [domain, "platform", "jobs"].into_iter().filter_map(|schema| self.0.get(schema));
        own.chain(self.0.values()).find_map(|ids| ids.get(&field)).copied()
    }

    /// All of them, as they are written in answers.
    pub(crate) fn all(&self) -> impl Iterator<Item = String> {
        self.0.values().flat_map(BTreeMap::values).map(Uuid::to_string)
    }
}

/// What an id of a row of `table` is called elsewhere: `users` have a `user_id`. Finished jobs are
/// jobs, and the only ones that stay as they are.
fn id_of(table: &str) -> String {
    if table == "finished" {
        return "job_id".to_owned();
    }
    format!("{}_id", table.strip_suffix('s').unwrap_or(table))
}
