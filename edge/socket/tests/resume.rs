//! Coming back: whoever was away misses nothing and hears nothing twice, whatever was restarted.

#[expect(dead_code, reason = "other tests use the rest of it")]
mod fixture;
#[expect(dead_code, reason = "other tests use the rest of it")]
mod nodes;

use std::net::SocketAddr;

use nodes::{Client, Nodes, topic};
use platform::{Kind, Role};
use serde_json::{Value, json};
use testkit::ACME;

/// A client that remembers what it must to come back.
#[derive(Default)]
struct Follower {
    seen: Vec<String>,
    last_seq: Value,
    epoch: Value,
}

impl Follower {
    /// Joins with what it remembers; answers whether there is a gap.
    async fn join(&mut self, nodes: &Nodes, address: SocketAddr) -> (Client, bool) {
        let mut client = nodes.connect(address, Role::Staff).await;
        let params = json!({ "last_seq": self.last_seq, "epoch": self.epoch });
        let answer = client.join(&topic(), params).await;
        let response = &answer["response"];
        self.epoch = response["epoch"].clone();
        if self.last_seq.is_null() {
            self.last_seq = response["seq"].clone();
        }
        (client, response["gap"] == json!(true))
    }

    fn hear(&mut self, frame: &Value) {
        assert_eq!(frame[3], "crate_packed", "{frame}");
        self.last_seq = frame[4]["_seq"].clone();
        self.seen.push(frame[4]["data"]["label"].as_str().expect("a label").to_owned());
    }

    /// Listens until it has heard so many in all.
    async fn follow(&mut self, client: &mut Client, count: usize) {
        while self.seen.len() < count {
            let frame = client.frame().await;
            self.hear(&frame);
        }
    }
}

fn labels(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("crate {number}")).collect()
}

#[tokio::test]
async fn a_client_misses_nothing_while_the_edge_and_the_server_end_and_come_back_elsewhere() {
    let nodes = Nodes::start().await;
    let labels = labels(12);
    let first = nodes.another().await;
    let mut follower = Follower::default();
    let (mut client, _) = follower.join(&nodes, first.address).await;
    let (here, away) = labels.split_at(4);
    for label in here {
        nodes.pack(label).await;
    }
    follower.follow(&mut client, 4).await;

    first.system.tree().kill("root/edge/serve").expect("it is there");
    nodes.pack(&away[0]).await;
    follower.follow(&mut client, 5).await;
    let (_, closed) = tokio::join!(first.system.stop(), client.next());
    for label in &away[1..5] {
        nodes.pack(label).await;
    }
    let second = nodes.another().await;
    let (mut client, on_another) = follower.join(&nodes, second.address).await;
    nodes.pack(&away[5]).await;
    follower.follow(&mut client, 10).await;
    second.system.stop().await;
    nodes.pack(&away[6]).await;
    let (mut client, on_the_oldest) = follower.join(&nodes, nodes.address).await;
    nodes.pack(&away[7]).await;
    follower.follow(&mut client, 12).await;

    assert_eq!(closed, Err(1012));
    assert_eq!((on_another, on_the_oldest), (false, false));
    assert_eq!(follower.seen, labels);
    nodes.system.stop().await;
}

#[tokio::test]
async fn coming_back_again_and_again_while_events_flow_loses_none_and_doubles_none() {
    let nodes = Nodes::start().await;
    let other = nodes.another().await;
    let labels = labels(60);
    let mut follower = Follower::default();
    let (client, _) = follower.join(&nodes, nodes.address).await;
    client.close().await;

    let publish = async {
        for label in &labels {
            nodes.pack(label).await;
        }
    };
    let listen = async {
        let mut turn = 0;
        while follower.seen.len() < labels.len() {
            let address = if turn % 2 == 0 { other.address } else { nodes.address };
            let (mut client, gap) = follower.join(&nodes, address).await;
            assert!(!gap);
            turn += 1;
            let next = (follower.seen.len() + 3).min(labels.len());
            follower.follow(&mut client, next).await;
            client.close().await;
        }
    };
    tokio::join!(publish, listen);

    assert_eq!(follower.seen, labels);
    other.system.stop().await;
    nodes.system.stop().await;
}

#[tokio::test]
async fn the_epoch_is_the_same_on_every_node_and_another_in_every_database() {
    let (nodes, elsewhere) = (Nodes::start().await, Nodes::start().await);
    let other = nodes.another().await;
    let (mut here, mut there, mut foreign) =
        (Follower::default(), Follower::default(), Follower::default());

    here.join(&nodes, nodes.address).await;
    there.join(&nodes, other.address).await;
    foreign.join(&elsewhere, elsewhere.address).await;

    assert_eq!(here.epoch.as_str().map(str::len), Some(16));
    assert_eq!(here.epoch, there.epoch);
    assert_ne!(here.epoch, foreign.epoch);
    other.system.stop().await;
    elsewhere.system.stop().await;
    nodes.system.stop().await;
}

#[tokio::test]
async fn a_place_that_means_nothing_here_is_a_gap_and_the_answer_says_where_to_go_on() {
    let nodes = Nodes::start().await;
    nodes.pack("a").await;
    nodes.system.settle().await;
    let mut known = Follower::default();
    known.join(&nodes, nodes.address).await;
    let cases = [
        (json!({ "last_seq": 0, "epoch": known.epoch }), false, 1),
        (json!({ "last_seq": 0 }), false, 1),
        (json!({ "last_seq": 0, "epoch": "restored" }), true, 0),
        (json!({ "last_seq": 99, "epoch": known.epoch }), true, 0),
    ];

    for (params, gap, replayed) in cases {
        let mut client = nodes.connect(nodes.address, Role::Staff).await;
        let answer = client.join(&topic(), params.clone()).await;
        let response = &answer["response"];
        let told = (&response["gap"], &response["replayed"], &response["seq"]);
        assert_eq!(told, (&json!(gap), &json!(replayed), &json!(1)), "{params}");
        assert_eq!(response["epoch"], known.epoch);
    }
    let mut client = nodes.connect(nodes.address, Role::Staff).await;
    let refused = client.join(&topic(), json!({ "last_seq": 0, "epoch": 7 })).await;
    assert_eq!(refused["response"]["code"], "bad_epoch");
    nodes.system.stop().await;
}

#[tokio::test]
async fn what_has_left_the_database_is_a_gap() {
    let nodes = Nodes::start().await;
    for label in ["a", "b", "c"] {
        nodes.pack(label).await;
    }
    nodes.system.settle().await;
    let mut owner = nodes.system.owner().await;
    sqlx::query(
        "insert into events.archives (month, file, sha256, event_count, first_position,
             last_position, archived_at, detached_at)
         values ('2020-01-01', 'f', sha256('f'), 2, 1, 2, now(), now())",
    )
    .execute(&mut owner)
    .await
    .expect("the owner may");

    let mut told = Vec::new();
    for last in [0, 1, 2] {
        let mut client = nodes.connect(nodes.address, Role::Staff).await;
        let answer = client.join(&topic(), json!({ "last_seq": last })).await;
        told.push((answer["response"]["gap"].clone(), answer["response"]["replayed"].clone()));
    }

    let gap = (json!(true), json!(0));
    assert_eq!(told, [gap.clone(), gap, (json!(false), json!(1))]);
    nodes.system.stop().await;
}

#[tokio::test]
async fn whom_an_operator_disconnects_goes_from_every_node_and_may_come_back() {
    let nodes = Nodes::start().await;
    let other = nodes.another().await;
    let mut here = nodes.connect(nodes.address, Role::Staff).await;
    let mut there = nodes.connect(other.address, Role::Staff).await;
    let mut neighbour = nodes.connect(other.address, Role::Director).await;
    let operator = nodes.system.member(ACME, Role::Operator);
    let user_id = nodes.user(Role::Staff);

    let input = json!({ "user_id": user_id, "reason": "a lost phone" });
    let answer = operator.call("operator", "disconnect_user", input).await;
    let closed = [here.next().await, there.next().await];
    let stays = neighbour.join(&topic(), json!({})).await;
    let mut back = nodes.connect(other.address, Role::Staff).await;
    let joined = back.join(&topic(), json!({})).await;

    assert_eq!(answer.expect("it is done"), json!({ "user_id": user_id, "org_id": ACME }));
    assert_eq!(closed, [Err(1001), Err(1001)]);
    assert_eq!((&stays["status"], &joined["status"]), (&json!("ok"), &json!("ok")));
    let listed = operator.call("operator", "list_events", json!({ "limit": 100 })).await;
    let listed = listed.expect("an operator may read the log").to_string();
    for what in ["user_disconnected", "action_requested", "a lost phone", "action_finished"] {
        assert!(listed.contains(what), "{what}: {listed}");
    }
}

#[tokio::test]
async fn whom_an_operator_disconnects_while_nobody_listens_goes_nevertheless() {
    const LISTENER: &str = "root/edge/farewells";
    let nodes = Nodes::start().await;
    let mut client = nodes.connect(nodes.address, Role::Staff).await;
    let operator = nodes.system.member(ACME, Role::Operator);
    let tree = nodes.system.system().tree();
    tree.kill(LISTENER).expect("it is there");

    let input = json!({ "user_id": nodes.user(Role::Staff), "reason": "a lost phone" });
    operator.call("operator", "disconnect_user", input).await.expect("it is done");

    assert_eq!(client.next().await, Err(1001));
}

#[tokio::test]
async fn nobody_is_disconnected_who_is_not_there() {
    let nodes = Nodes::start().await;
    let input = json!({ "user_id": uuid::Uuid::now_v7(), "reason": "a slip of the pen" });

    let operator = nodes.system.member(ACME, Role::Operator);
    let unknown = operator.refuse("operator", "disconnect_user", input.clone()).await;
    let director = nodes.system.member(ACME, Role::Director);
    let forbidden = director.refuse("operator", "disconnect_user", input).await;

    assert_eq!((unknown.kind(), unknown.code()), (Kind::NotFound, "no_such_user"));
    assert_eq!(forbidden.kind(), Kind::Forbidden);
}
