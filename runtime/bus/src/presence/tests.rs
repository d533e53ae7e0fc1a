//! Presence as clients and nodes see it: whatever gets lost between nodes, all agree in the end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::*;

const TOPIC: &str = "org:1:recruit";

/// What the clients' libraries keep: references by key.
#[derive(Debug, Default, PartialEq, Eq)]
struct Client(BTreeMap<String, BTreeSet<String>>);

impl Client {
    fn hear(&mut self, seen: &Seen) {
        match seen {
            Seen::State(state) => self.0 = refs(&parse(state)),
            Seen::Diff(diff) => {
                let diff = parse(diff);
                for (key, joined) in refs(&diff["joins"]) {
                    self.0.entry(key).or_default().extend(joined);
                }
                for (key, left) in refs(&diff["leaves"]) {
                    self.0.entry(key).or_default().retain(|reference| !left.contains(reference));
                }
                self.0.retain(|_, references| !references.is_empty());
            }
        }
    }
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("what clients are told is JSON")
}

fn refs(state: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let reference = |meta: &Value| meta["phx_ref"].as_str().expect("a text").to_owned();
    let of_key = |(key, metas): (&String, &Value)| {
        let metas = metas["metas"].as_array().expect("a list");
        (key.clone(), metas.iter().map(reference).collect())
    };
    state.as_object().expect("an object").iter().map(of_key).collect()
}

fn meta(device: &str) -> Map<String, Value> {
    json!({ "device": device }).as_object().cloned().expect("an object")
}

/// One node without its process, and a client there.
struct Node {
    state: State,
    client: Client,
    diffs: broadcast::Receiver<Arc<str>>,
    has_heard: bool,
}

/// Three nodes of which words may get lost, and may end at any time.
struct Cluster {
    nodes: Vec<Node>,
    now: Instant,
    ids: u128,
}

#[derive(Debug, Clone)]
enum Act {
    Enter(usize, u8),
    Update(usize, usize),
    Leave(usize, usize),
    /// Carries a word to whom the bits say.
    Carry(usize, u8),
    Tick(usize),
    /// The process of presence is killed.
    Kill(usize),
    /// The node ends without a word and another begins.
    Crash(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let node = 0..3_usize;
    let act = prop_oneof![
        4 => (node.clone(), 0..3_u8).prop_map(|(node, key)| Act::Enter(node, key)),
        2 => (node.clone(), 0..9_usize).prop_map(|(node, which)| Act::Update(node, which)),
        3 => (node.clone(), 0..9_usize).prop_map(|(node, which)| Act::Leave(node, which)),
        8 => (node.clone(), 0..8_u8).prop_map(|(node, to)| Act::Carry(node, to)),
        2 => node.clone().prop_map(Act::Tick),
        1 => node.clone().prop_map(Act::Kill),
        1 => node.prop_map(Act::Crash),
    ];
    proptest::collection::vec(act, 0..60)
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self { nodes: Vec::new(), now: Instant::now(), ids: 0 };
        for number in 0..3 {
            let node = cluster.node(number);
            cluster.nodes.push(node);
        }
        cluster
    }

    fn id(&mut self) -> Uuid {
        self.ids += 1;
        Uuid::from_u128(self.ids)
    }

    fn node(&mut self, number: usize) -> Node {
        let replicas = Replicas::new(&format!("node-{number}"));
        let mut state = State { replicas, members: Members::default() };
        state.replicas.begin(self.id());
        let (_, diffs) = state.members.watch(TOPIC);
        Node { state, client: Client::default(), diffs, has_heard: false }
    }

    fn act(&mut self, act: &Act) {
        let id = self.id();
        match *act {
            Act::Enter(node, key) => {
                let meta = meta_of(meta("phone"), id, None).expect("it is small");
                let key = format!("user-{key}").into();
                self.nodes[node].state.enter(Entry { id, topic: TOPIC.into(), key, meta });
            }
            Act::Update(node, which) => {
                let state = &mut self.nodes[node].state;
                if let Some(before) = state.replicas.own_list().get(which).cloned() {
                    let meta = meta_of(meta("desk"), id, Some(before.id)).expect("it is small");
                    state.enter(Entry { id, meta, ..Entry::clone(&before) });
                    state.leave(before.id);
                }
            }
            Act::Leave(node, which) => {
                let state = &mut self.nodes[node].state;
                if let Some(entry) = state.replicas.own_list().get(which).cloned() {
                    state.leave(entry.id);
                }
            }
            Act::Carry(from, to) => self.carry(from, |node| to & (1 << node) != 0),
            Act::Tick(node) => self.tick(node),
            Act::Kill(node) => self.nodes[node].state.replicas.begin(id),
            Act::Crash(node) => self.nodes[node] = self.node(node),
        }
        self.nodes.iter_mut().for_each(Node::tell);
    }

    fn carry(&mut self, from: usize, reaches: impl Fn(usize) -> bool) {
        let Some(word) = self.nodes[from].state.replicas.next_word() else { return };
        let word = Word::parse(&word.text()).expect("what is said can be read");
        for (number, node) in self.nodes.iter_mut().enumerate() {
            if number != from && reaches(number) {
                let moved = node.state.replicas.hear(word.clone(), self.now);
                node.state.members.apply(moved);
            }
        }
    }

    fn tick(&mut self, node: usize) {
        let state = &mut self.nodes[node].state;
        let moved = state.replicas.tick(self.now);
        state.members.apply(moved);
    }

    /// Until nothing is left to say, while nothing gets lost; twice, for those who have to ask.
    fn settle(&mut self) {
        for _ in 0..3 {
            self.now += HERE_INTERVAL;
            for node in 0..3 {
                self.tick(node);
            }
            while self.nodes.iter().any(|node| !node.state.replicas.is_silent()) {
                for node in 0..3 {
                    self.carry(node, |_| true);
                }
            }
            self.nodes.iter_mut().for_each(Node::tell);
        }
    }

    /// Everybody who is present, on whichever node.
    fn truth(&self) -> Client {
        let mut truth = Client::default();
        for entry in self.nodes.iter().flat_map(|node| node.state.replicas.own_list()) {
            let of_key = truth.0.entry(entry.key.to_string()).or_default();
            of_key.insert(entry.id.simple().to_string());
        }
        truth
    }
}

impl Node {
    /// Tells the client what changed, as a channel does.
    fn tell(&mut self) {
        self.state.members.tell();
        loop {
            match self.diffs.try_recv() {
                Ok(diff) if self.has_heard => self.client.hear(&Seen::Diff(diff)),
                Ok(_) | Err(broadcast::error::TryRecvError::Lagged(_)) => {
                    let (state, diffs) = self.state.members.watch(TOPIC);
                    self.client.hear(&Seen::State(state));
                    (self.diffs, self.has_heard) = (diffs, true);
                }
                Err(_) => break,
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_gets_lost_every_client_ends_with_everybody_who_is_there(acts in acts()) {
        let mut cluster = Cluster::new();
        for act in &acts {
            cluster.act(act);
        }

        cluster.settle();
        // A crashed node said nothing; its ghosts last no longer than it would have been missed.
        cluster.now += replicas::SILENT_MAX;
        cluster.settle();

        let truth = cluster.truth();
        for node in &cluster.nodes {
            prop_assert_eq!(&node.client, &truth);
        }
    }
}

#[test]
fn a_silent_node_is_hidden_after_half_a_minute_and_back_with_its_next_word() {
    let mut cluster = Cluster::new();
    cluster.act(&Act::Enter(0, 1));
    cluster.settle();
    let last = Duration::from_millis(1);

    cluster.now += replicas::SILENT_MAX.saturating_sub(last);
    cluster.act(&Act::Tick(1));
    let before = std::mem::take(&mut cluster.nodes[1].client);
    cluster.now += last;
    cluster.act(&Act::Tick(1));
    let hidden = cluster.nodes[1].state.members.total();
    cluster.settle();

    assert_eq!((before, hidden), (cluster.truth(), 0));
    assert_eq!(cluster.nodes[1].client, cluster.truth());
}

#[test]
fn a_node_that_stops_takes_everybody_along_at_once() {
    let mut cluster = Cluster::new();
    cluster.act(&Act::Enter(0, 1));
    cluster.settle();

    cluster.nodes[0].state.replicas.leave();
    cluster.act(&Act::Carry(0, 0b111));

    assert_eq!(cluster.nodes[1].client, Client::default());
}

#[test]
fn a_node_where_nobody_ever_was_says_nothing_of_itself() {
    let mut replicas = Replicas::new("one");
    replicas.begin(Uuid::now_v7());
    while replicas.next_word().is_some() {}

    replicas.tick(Instant::now());
    replicas.leave();

    assert!(replicas.is_silent());
}

#[test]
fn a_set_of_which_a_part_is_lost_is_asked_for_again() {
    let mut cluster = Cluster::new();
    for _ in 0..100 {
        cluster.act(&Act::Enter(0, 1));
    }
    cluster.act(&Act::Kill(0));

    cluster.act(&Act::Carry(0, 0b111));
    cluster.act(&Act::Carry(0, 0b000));
    cluster.settle();

    assert_eq!(cluster.nodes[1].client, cluster.truth());
}

#[tokio::test]
async fn devices_of_one_person_are_metas_of_one_key() {
    let presence = Presence::new("one");
    let _phone = presence.track(TOPIC, "ann", meta("phone")).expect("there is room");
    let _desk = presence.track(TOPIC, "ann", meta("desk")).expect("there is room");

    let Seen::State(state) = presence.watch(TOPIC).recv().await else { panic!("first the state") };

    let metas = parse(&state)["ann"]["metas"].clone();
    assert_eq!((&metas[0]["device"], &metas[1]["device"]), (&json!("phone"), &json!("desk")));
    assert_ne!(metas[0]["phx_ref"], metas[1]["phx_ref"]);
}

#[tokio::test]
async fn an_update_is_one_diff_that_names_the_meta_before() {
    let presence = Presence::new("one");
    let tracked = presence.track(TOPIC, "ann", meta("phone")).expect("there is room");
    presence.0.state().members.tell();
    let mut watching = presence.watch(TOPIC);
    let Seen::State(state) = watching.recv().await else { panic!("first the state") };

    tracked.update(meta("desk")).expect("it is small");
    presence.0.state().members.tell();
    let Seen::Diff(diff) = watching.recv().await else { panic!("then what changed") };

    let (before, diff) = (parse(&state)["ann"]["metas"][0].clone(), parse(&diff));
    let (joined, left) = (&diff["joins"]["ann"]["metas"], &diff["leaves"]["ann"]["metas"]);
    assert_eq!((&joined[0]["device"], &left[0]), (&json!("desk"), &before));
    assert_eq!(joined[0]["phx_ref_prev"], before["phx_ref"]);
}

#[tokio::test]
async fn whoever_is_too_slow_for_the_diffs_is_told_the_state_anew() {
    let presence = Presence::new("one");
    let mut watching = presence.watch(TOPIC);
    let mut client = Client::default();
    client.hear(&watching.recv().await);
    let mut tracked = Vec::new();
    for _ in 0..OF_KEY_MAX {
        tracked.push(presence.track(TOPIC, "ann", meta("phone")).expect("there is room"));
        presence.0.state().members.tell();
    }

    let seen = watching.recv().await;
    client.hear(&seen);

    assert!(matches!(seen, Seen::State(_)));
    assert_eq!(client.0["ann"].len(), OF_KEY_MAX);
}

#[test]
fn what_one_may_say_and_how_often_is_bounded() {
    let presence = Presence::new("one");
    let refused = |key: &str, meta| presence.track(TOPIC, key, meta).err();
    let devices: Vec<_> =
        (0..OF_KEY_MAX).map(|_| presence.track(TOPIC, "ann", meta("phone"))).collect();

    assert!(devices.iter().all(Result::is_ok));
    assert_eq!(refused("ann", meta("phone")), Some(PresenceError::TooManyOfKey));
    let large = meta(&"x".repeat(META_BYTES_MAX + 1));
    assert_eq!(refused("ben", large), Some(PresenceError::MetaTooLarge));
    let crowd: Vec<_> = (OF_KEY_MAX..ON_TOPIC_MAX)
        .map(|number| presence.track(TOPIC, &number.to_string(), meta("phone")))
        .collect();
    assert_eq!(refused("ben", meta("phone")), Some(PresenceError::TooMany));
    drop((devices, crowd));
    assert_eq!(refused("ben", meta("phone")), None);
}

#[test]
fn nobody_can_choose_the_reference() {
    let forged = json!({ "phx_ref": "mine", "phx_ref_prev": "yours" });
    let forged = forged.as_object().cloned().expect("an object");

    let id = Uuid::now_v7();
    let meta = meta_of(forged, id, None).expect("it is small");

    assert_eq!(parse(&meta), json!({ "phx_ref": id.simple().to_string() }));
}
