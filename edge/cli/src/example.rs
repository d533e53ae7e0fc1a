//! An example domain, for the tests of this crate.

use platform::{
    Access, Action, Catalog, Command, Domain, DomainName, Listing, Query, Result, Snapshot, Spec,
    Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Open a job order for a client.
///
/// The order starts empty.
#[derive(Serialize, Deserialize, JsonSchema)]
struct OpenJobOrder {
    /// Title shown to candidates.
    title: String,
    /// People the client asked for; at least one.
    headcount: u32,
    /// Who asks.
    #[serde(default)]
    client_id: Option<String>,
}

/// List job orders, newest first.
#[derive(Serialize, Deserialize, JsonSchema)]
struct ListJobOrders {
    /// How many to list.
    #[serde(default)]
    limit: Option<u32>,
    /// Only those in these states.
    #[serde(default)]
    states: Vec<State>,
    /// Where the last page ended.
    #[serde(default)]
    cursor: Option<String>,
}

/// The state of a job order.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Wants people.
    Open,
    /// Has them.
    Filled,
}

/// Fill a place of a job order.
#[derive(Serialize, Deserialize, JsonSchema)]
struct FillJobOrder {
    /// The job order.
    job_order_id: String,
    /// The place.
    slot: u32,
}

/// Remove a job order.
#[derive(Serialize, Deserialize, JsonSchema)]
struct RemoveJobOrder {
    /// The job order.
    job_order_id: String,
}

/// Rescore candidates.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Rescore {}

/// Where a job order is written.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Probe {}

/// Sign in with an address and a password.
#[derive(Serialize, Deserialize, JsonSchema)]
struct SignIn {
    /// The organisation.
    organisation: String,
    /// The address.
    email: String,
    /// The password.
    password: String,
    /// What kind of session.
    kind: String,
    /// What signs in.
    client: String,
}

/// Answer a challenge with a code.
#[derive(Serialize, Deserialize, JsonSchema)]
struct AnswerSecondFactor {
    /// The challenge.
    challenge: String,
    /// The code.
    code: String,
}

/// Get the next access token.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Refresh {
    /// The refresh token of the last answer.
    refresh_token: String,
}

/// Sign out.
#[derive(Serialize, Deserialize, JsonSchema)]
struct SignOut {}

/// Who I am.
#[derive(Serialize, Deserialize, JsonSchema)]
struct GetMe {}

impl Action for SignIn {
    const SPEC: Spec = Spec::invoke("sign_in", "/sign_in").needs(Access::Anyone).confidential();
    type Output = ();
    async fn act(self, _system: &platform::System) -> Result<()> {
        Ok(())
    }
}
impl Action for AnswerSecondFactor {
    const SPEC: Spec = Spec::invoke("answer_second_factor", "/sign_in/second_factor")
        .needs(Access::Anyone)
        .confidential();
    type Output = ();
    async fn act(self, _system: &platform::System) -> Result<()> {
        Ok(())
    }
}
impl Action for Refresh {
    const SPEC: Spec = Spec::invoke("refresh", "/refresh").needs(Access::Anyone).confidential();
    type Output = ();
    async fn act(self, _system: &platform::System) -> Result<()> {
        Ok(())
    }
}
impl Command for SignOut {
    const SPEC: Spec = Spec::invoke("sign_out", "/sign_out").needs(Access::Member);
    type Output = ();
    async fn handle(self, _tx: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}
impl Query for GetMe {
    const SPEC: Spec = Spec::read("get_me", "/me").needs(Access::Member);
    type Output = ();
    async fn answer(self, _db: &mut Snapshot<'_>) -> Result<()> {
        Ok(())
    }
}
impl Command for OpenJobOrder {
    const SPEC: Spec = Spec::create("open_job_order", "/job_orders");
    type Output = ();
    async fn handle(self, _tx: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}
impl Query for ListJobOrders {
    const SPEC: Spec = Spec::read("list_job_orders", "/job_orders");
    type Output = Listing<String>;
    async fn answer(self, _db: &mut Snapshot<'_>) -> Result<Listing<String>> {
        Ok(Listing { items: Vec::new(), next: None })
    }
}
impl Command for FillJobOrder {
    const SPEC: Spec = Spec::invoke("fill_job_order", "/job_orders/{job_order_id}/fill");
    type Output = ();
    async fn handle(self, _tx: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}
impl Command for RemoveJobOrder {
    const SPEC: Spec = Spec::remove("remove_job_order", "/job_orders/{job_order_id}");
    type Output = ();
    async fn handle(self, _tx: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}
impl Command for Rescore {
    const SPEC: Spec = Spec::internal("rescore");
    type Output = ();
    async fn handle(self, _tx: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}
impl Action for Probe {
    const SPEC: Spec = Spec::invoke("probe", "/probe");
    type Output = ();
    async fn act(self, _system: &platform::System) -> Result<()> {
        Ok(())
    }
}

/// A catalog of the example domain, of what the command line asks of accounts, and the operator's.
pub(crate) fn catalog() -> Catalog {
    let recruit = Domain::new(DomainName::new("recruit"))
        .command::<OpenJobOrder>()
        .query::<ListJobOrders>()
        .command::<FillJobOrder>()
        .command::<RemoveJobOrder>()
        .command::<Rescore>()
        .action::<Probe>();
    let accounts = Domain::new(DomainName::new("accounts"))
        .action::<SignIn>()
        .action::<AnswerSecondFactor>()
        .action::<Refresh>()
        .command::<SignOut>()
        .query::<GetMe>();
    Catalog::new(vec![accounts, recruit, platform::operator::domain()]).expect("no contradictions")
}
