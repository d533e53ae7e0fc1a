//! A domain made for these tests: it has one of everything a tool can be, and no table.

use platform::{
    Access, Action, Bytes, Command, Domain, DomainName, Event, EventType, Id, Message, OrgId,
    Progress, Prompt, Query, Reason, Refusal, Result, Snapshot, Spec, System, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const DEPOT: DomainName = DomainName::new("depot");

/// What a crate identifies.
#[derive(Debug)]
pub(crate) enum CrateMarker {}

/// A crate of the warehouse.
#[derive(Debug, Serialize, JsonSchema)]
#[expect(clippy::struct_field_names, reason = "ids are named in full across a boundary")]
pub(crate) struct Crate {
    /// Which crate.
    crate_id: Id<CrateMarker>,
    /// What is written on it.
    label: String,
    /// How heavy it is, in grams.
    weight_g: Option<u32>,
}

/// A crate was packed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CratePacked {
    /// Which crate.
    pub crate_id: Id<CrateMarker>,
}

impl Event for CratePacked {
    const TYPE: EventType = DEPOT.event("crate_packed", 1);
    fn aggregate_id(&self) -> Uuid {
        self.crate_id.uuid()
    }
}

/// Pack a crate.
///
/// The label must not be a joke.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PackCrate {
    /// What is written on it.
    #[schemars(length(min = 1, max = 40))]
    pub label: String,
    /// How heavy it is, in grams.
    #[serde(default)]
    pub weight_g: Option<u32>,
}

#[derive(Debug, thiserror::Error)]
enum Rule {
    #[error("the label `{0}` is a joke")]
    Joke(String),
    #[error("there is no crate {0}")]
    NoCrate(Id<CrateMarker>),
}

impl Refusal for Rule {
    fn reason(&self) -> Reason {
        match self {
            Self::Joke(_) => Reason::invalid("joke").at("/label"),
            Self::NoCrate(_) => Reason::not_found("no_crate"),
        }
    }
}

impl Command for PackCrate {
    const SPEC: Spec = Spec::create("pack_crate", "/crates");
    type Output = Crate;

    async fn handle(self, tx: &mut Tx<'_>) -> Result<Crate> {
        match self.label.as_str() {
            "joke" => return Err(Rule::Joke(self.label).into()),
            "panic" => panic!("the label says so"),
            _ => {}
        }
        let crate_id = Id::new();
        tx.append(&CratePacked { crate_id }).await?;
        Ok(Crate { crate_id, label: self.label, weight_g: self.weight_g })
    }
}

/// Show a crate.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct GetCrate {
    /// Which crate.
    pub crate_id: Id<CrateMarker>,
}

impl Query for GetCrate {
    const SPEC: Spec = Spec::read("get_crate", "/crates/{crate_id}").addressable();
    type Output = Crate;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Crate> {
        Err(Rule::NoCrate(self.crate_id).into())
    }
}

/// List the labels in use.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListLabels {}

impl Query for ListLabels {
    const SPEC: Spec = Spec::read("list_labels", "/labels");
    type Output = Vec<String>;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Vec<String>> {
        Ok(vec!["nails".into()])
    }
}

/// Suggest a label.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuggestLabel {}

impl Command for SuggestLabel {
    const SPEC: Spec = Spec::invoke("suggest_label", "/labels/suggest").proposes();
    type Output = ();

    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

/// Throw a crate away.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DropCrate {
    /// Which crate.
    pub crate_id: Id<CrateMarker>,
}

impl Command for DropCrate {
    const SPEC: Spec = Spec::remove("drop_crate", "/crates/{crate_id}").destroys();
    type Output = ();

    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

/// Count the crates again.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct CountAgain {}

impl Command for CountAgain {
    const SPEC: Spec = Spec::internal("count_again");
    type Output = ();

    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

/// Knock.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Knock {}

impl Action for Knock {
    const SPEC: Spec = Spec::invoke("knock", "/knock").needs(Access::Anyone);
    type Output = ();

    async fn act(self, _: &System) -> Result<()> {
        Ok(())
    }
}

/// Count the shelves.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CountShelves {}

impl Action for CountShelves {
    const SPEC: Spec = Spec::invoke("count_shelves", "/shelves/count");
    type Output = u64;

    async fn act(self, system: &System) -> Result<u64> {
        for done in [0, 1, 1, 2] {
            system.progress(Progress { done, total: Some(2) });
        }
        Ok(2)
    }
}

/// A label as it is printed.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Printed {
    /// What is written on it.
    label: String,
    /// Whose it is.
    org_id: OrgId,
    /// What it looks like.
    #[schemars(extend("contentMediaType" = "image/png"))]
    picture: Bytes,
    /// A note that goes with it, if there is one.
    #[schemars(extend("contentMediaType" = "text/markdown"))]
    note: Option<String>,
}

/// Print a label.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PrintLabel {
    /// What is written on it.
    pub label: String,
}

impl Query for PrintLabel {
    const SPEC: Spec = Spec::read("print_label", "/labels/{label}/print").addressable();
    type Output = Printed;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<Printed> {
        let note = (self.label == "fragile").then(|| "*handle with care*".to_owned());
        let picture = Bytes(self.label.as_bytes().to_vec());
        Ok(Printed { label: self.label, org_id: db.org_id(), picture, note })
    }
}

/// How crates are packed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("contentMediaType" = "text/markdown"))]
pub(crate) struct Manual(String);

/// Show how crates are packed.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowManual {}

impl Query for ShowManual {
    const SPEC: Spec = Spec::read("show_manual", "/manual").addressable();
    type Output = Manual;

    async fn answer(self, _: &mut Snapshot<'_>) -> Result<Manual> {
        Ok(Manual("# Heavy things first".into()))
    }
}

/// Write a note for a label.
///
/// It is kept nowhere.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WriteNote {
    /// The label.
    label: String,
    /// How it shall sound.
    #[serde(default)]
    tone: Option<String>,
}

impl Prompt for WriteNote {
    const NAME: &'static str = "write_note";

    fn messages(self) -> Vec<Message> {
        assert!(self.label != "panic", "the label says so");
        let tone = self.tone.unwrap_or_else(|| "plain".into());
        vec![
            Message::document(format!("depot://labels/{}/print", self.label)),
            Message::user(format!("Write a note in a {tone} tone.")),
            Message::assistant("*Handle with care.*"),
        ]
    }
}

/// The domain.
pub(crate) fn domain() -> Domain {
    Domain::new(DEPOT)
        .command::<PackCrate>()
        .query::<GetCrate>()
        .query::<ListLabels>()
        .command::<SuggestLabel>()
        .command::<DropCrate>()
        .command::<CountAgain>()
        .action::<Knock>()
        .action::<CountShelves>()
        .query::<PrintLabel>()
        .query::<ShowManual>()
        .prompt::<WriteNote>()
        .emits::<CratePacked>()
}
