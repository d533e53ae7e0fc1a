//! Declarations that contradict each other do not boot, and all contradictions are told at once.

use platform::{
    Catalog, Command, Domain, DomainName, Event, EventType, Every, Query, Recorded, Result,
    Snapshot, Spec, Tx,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const LEFT: DomainName = DomainName::new("left");
const RIGHT: DomainName = DomainName::new("right");

/// A fact of the right.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Told {
    /// What it is about.
    thing_id: Uuid,
    /// Half a thing is no thing.
    weight: f64,
}

impl Event for Told {
    const TYPE: EventType = RIGHT.event("told", 1);
    fn aggregate_id(&self) -> Uuid {
        self.thing_id
    }
}

/// Change a thing.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct Change {}

impl Command for Change {
    const SPEC: Spec = Spec::replace("change", "/things/{thing_id}");
    type Output = ();
    async fn handle(self, _: &mut Tx<'_>) -> Result<()> {
        Ok(())
    }
}

/// List things.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct List {}

impl Query for List {
    const SPEC: Spec = Spec::read("list", "/things");
    type Output = ();
    async fn answer(self, _: &mut Snapshot<'_>) -> Result<()> {
        Ok(())
    }
}

fn react(_: &Recorded<Told>) -> Option<Change> {
    None
}

fn violations(domains: Vec<Domain>) -> String {
    Catalog::new(domains).expect_err("the declarations contradict each other").to_string()
}

#[test]
fn every_contradiction_is_told_at_once() {
    let left =
        Domain::new(LEFT).command::<Change>().query::<List>().query::<List>().on("react", react);

    let told = violations(vec![left]);

    for sentence in [
        "left/change: the path parameter `thing_id` is no text field of the input",
        "the operation `left/list` is declared twice",
        "the route `GET left/things` is declared twice",
        "left.react follows the event `told` of right, which no domain emits",
    ] {
        assert!(told.contains(sentence), "`{sentence}` is missing in:\n{told}");
    }
}

#[test]
fn what_recurs_by_no_schedule_or_twice_under_one_name_does_not_boot() {
    let change = || Change {};
    let left = Domain::new(LEFT)
        .every("@reboot", change)
        .every("0 25 * * *", change)
        .every(Every::new("@daily").zone("Europe/Berln").named("nightly"), change)
        .every(Every::new("@daily").priority(12), change)
        .every("@daily", change)
        .every("@weekly", change)
        .every(Every::new("@monthly").named("monthly"), change);

    let told = violations(vec![left]);

    for sentence in [
        "left.change recurs `@reboot`: `@reboot` is not a cron expression: `@reboot` is not \
         supported",
        "left.change recurs `0 25 * * *`: `0 25 * * *` is not a cron expression: hour: `25` is out",
        "left.nightly recurs `@daily`: `Europe/Berln` is no time zone: use a name of the IANA",
        "left.change recurs `@daily`: priority: 12 is out of range; write 0 (first) to 9 (last)",
        "the schedule `left.change` is declared twice",
    ] {
        assert!(told.contains(sentence), "`{sentence}` is missing in:\n{told}");
    }
    assert!(!told.contains("monthly"), "{told}");
}

#[test]
fn an_event_belongs_to_its_domain_and_carries_no_float() {
    let told = violations(vec![Domain::new(LEFT).emits::<Told>()]);

    assert!(told.contains("left declares the event `told`, which belongs to right"), "{told}");
    assert!(told.contains("has a float at /properties/weight"), "{told}");
}

#[test]
fn a_part_of_a_system_leaves_out_what_follows_absent_domains() {
    let part = Catalog::part(vec![Domain::new(LEFT).query::<List>().on("react", react)]);

    assert!(part.is_ok());
}
