//! The story of feature flags: declared by domains, switched per organisation, known on every node.

use std::time::Duration;

use accounts::FeatureFlags;
use platform::{Catalog, Domain, DomainName, Kind, Query, Result, Role, Snapshot, Spec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use testkit::{ACME, GLOBEX};

use crate::door::Door;

const SHOP: DomainName = DomainName::new("shop");

/// Ask whether the new till is used.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
struct UsesNewTill {}

impl Query for UsesNewTill {
    const SPEC: Spec = Spec::read("uses_new_till", "/till");
    type Output = bool;

    async fn answer(self, db: &mut Snapshot<'_>) -> Result<bool> {
        db.is_on("new_till").await
    }
}

fn shop() -> Domain {
    Domain::new(SHOP)
        .query::<UsesNewTill>()
        .flag("new_till", "Counts money with the new till.", false)
        .flag("old_scales", "Weighs with the old scales.", true)
}

async fn uses_new_till(door: &Door, org_id: platform::OrgId) -> bool {
    let staff = door.test.member(org_id, Role::Staff);
    staff.ask(UsesNewTill {}).await.expect("staff may ask")
}

async fn switch(door: &Door, is_on: bool) {
    let director = door.test.member(ACME, Role::Director);
    let input = json!({ "name": "new_till", "is_on": is_on });
    let flag = door.call(director.token(), "set_feature_flag", input).await.expect("it is set");
    assert_eq!(flag["is_on"], json!(is_on));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_organisation_switches_a_feature_for_itself_alone_and_back() {
    let door = Door::open_with([shop()]).await;
    assert!(!uses_new_till(&door, ACME).await, "as declared");

    switch(&door, true).await;
    assert!(uses_new_till(&door, ACME).await, "at once on this node");
    assert!(!uses_new_till(&door, GLOBEX).await);
    switch(&door, true).await;

    let director = door.test.member(ACME, Role::Director);
    let name = json!({ "name": "new_till" });
    for _ in 0..2 {
        door.call(director.token(), "reset_feature_flag", name.clone()).await.expect("it is reset");
    }
    assert!(!uses_new_till(&door, ACME).await);
    door.test.settle().await;
    assert_eq!(door.told("feature_flag_changed").await, 2, "what changes nothing is not told");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_what_can_be_switched_and_what_is() {
    let door = Door::open_with([shop()]).await;
    switch(&door, true).await;
    let worker = door.test.member(ACME, Role::Worker);

    let answer = door.call(worker.token(), "list_feature_flags", json!({})).await.expect("seen");

    let flags = serde_json::from_value::<FeatureFlags>(answer).expect("it is a list").items;
    let seen: Vec<_> =
        flags.iter().map(|flag| (flag.name.as_str(), flag.is_on, flag.is_set)).collect();
    assert_eq!(seen, [("new_till", true, true), ("old_scales", true, false)]);
    assert_eq!(flags[0].domain, "shop");
    assert_eq!(flags[0].description, "Counts money with the new till.");
    assert!(flags[0].changed_by.is_some() && flags[1].changed_by.is_none());
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_means_nothing_is_refused_with_the_nearest_right_one() {
    let door = Door::open_with([shop()]).await;
    let director = door.test.member(ACME, Role::Director);
    let input = json!({ "name": "new_tills", "is_on": true });

    let refused = door.refuse(director.token(), "set_feature_flag", input).await;

    assert_eq!((refused.kind(), refused.code()), (Kind::NotFound, "unknown_feature_flag"));
    assert!(refused.message().ends_with("did you mean `new_till`?"), "{}", refused.message());
    let failure =
        door.system().flags().is_on(ACME, "newtill").await.expect_err("a mistake of ours");
    assert_eq!(failure.kind(), Kind::Failure);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_administrators_switch_features() {
    let door = Door::open_with([shop()]).await;
    let cases: [(&str, Value); 2] = [
        ("set_feature_flag", json!({ "name": "new_till", "is_on": true })),
        ("reset_feature_flag", json!({ "name": "new_till" })),
    ];

    for (operation, input) in cases {
        let staff = door.test.member(ACME, Role::Staff);
        let refused = door.refuse(staff.token(), operation, input).await;
        assert_eq!((refused.kind(), refused.code()), (Kind::Forbidden, "access_denied"));
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_at_one_node_holds_at_the_other() {
    let door = Door::open_with([shop()]).await;
    let other = door.test.another_node([shop(), accounts::domain()]).await;
    door.test.settle().await;
    assert!(!other.flags().is_on(ACME, "new_till").await.expect("the database answers"));
    let mut changes = other.credential_changes();
    changes.mark_unchanged();

    switch(&door, true).await;

    tokio::time::timeout(Duration::from_secs(30), changes.changed())
        .await
        .expect("the other node hears of it")
        .expect("the other node lives");
    assert!(other.flags().is_on(ACME, "new_till").await.expect("the database answers"));
    other.stop().await;
    door.close().await;
}

#[test]
fn a_flag_is_declared_once() {
    let twice = shop().flag("new_till", "Something else.", true).flag("No", "No name.", false);

    let violations = Catalog::part(vec![twice]).expect_err("they contradict each other").0;

    let says = |text: &str| violations.iter().any(|violation| violation.contains(text));
    assert!(says("the feature flag `new_till` is declared twice"), "{violations:?}");
    assert!(says("the feature flag `No` is no snake case"), "{violations:?}");
}
