//! What a client must hear to get from one rendering to the next. Pure.
//!
//! The client keeps the fixed text, so only the fillings that changed travel. Components have
//! numbers of their own: a change inside one is sent without mentioning anything around it, which
//! is why a crash in a tree of hundreds of nodes costs about a hundred bytes.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::rendered::{Dynamic, Keyed, Rendered};

/// Remembers what one client has, and says what it lacks.
#[derive(Debug, Default)]
pub struct Differ {
    root: Option<Rendered>,
    numbers: HashMap<String, u64>,
    components: BTreeMap<u64, Rendered>,
    last_number: u64,
}

impl Differ {
    /// The message that takes the client to `rendered`; `None` if it is there already. The first
    /// message is the whole page.
    pub fn update(&mut self, rendered: Rendered) -> Option<Value> {
        let mut flat = BTreeMap::new();
        let mut numbers = HashMap::new();
        let root = self.flatten(rendered, &mut numbers, &mut flat);

        let mut message = match &self.root {
            None => whole(&root),
            Some(old) => changes(old, &root).unwrap_or_default(),
        };
        let components = self.component_changes(&flat);
        if !components.is_empty() {
            message.insert("c".to_owned(), Value::Object(components));
        }
        self.root = Some(root);
        self.components = flat;
        // A component that left loses its number: should it return, it is sent whole, so it does
        // not matter whether the client has forgotten it meanwhile.
        self.numbers = numbers;

        (!message.is_empty()).then_some(Value::Object(message))
    }

    /// Of `numbers`, those that the client may forget.
    #[must_use]
    pub fn forgotten(&self, numbers: &[u64]) -> Vec<u64> {
        numbers.iter().copied().filter(|number| !self.components.contains_key(number)).collect()
    }

    /// Replaces components by their numbers and puts their content, flat too, into `flat`.
    fn flatten(
        &mut self,
        rendered: Rendered,
        numbers: &mut HashMap<String, u64>,
        flat: &mut BTreeMap<u64, Rendered>,
    ) -> Rendered {
        let dynamics = rendered
            .dynamics
            .into_iter()
            .map(|dynamic| self.flatten_dynamic(dynamic, numbers, flat))
            .collect();
        Rendered { statics: rendered.statics, dynamics }
    }

    fn flatten_dynamic(
        &mut self,
        dynamic: Dynamic,
        numbers: &mut HashMap<String, u64>,
        flat: &mut BTreeMap<u64, Rendered>,
    ) -> Dynamic {
        match dynamic {
            Dynamic::Component { key, rendered } => {
                let number = self.numbers.get(&key).copied().unwrap_or_else(|| {
                    self.last_number += 1;
                    self.last_number
                });
                let content = self.flatten(rendered, numbers, flat);
                let doubled = flat.insert(number, content).is_some();
                debug_assert!(!doubled, "two components of one view have the key {key}");
                numbers.insert(key, number);
                Dynamic::Cid(number)
            }
            Dynamic::Tree(part) => Dynamic::Tree(self.flatten(part, numbers, flat)),
            Dynamic::Keyed(list) => Dynamic::Keyed(Keyed {
                statics: list.statics,
                entries: list
                    .entries
                    .into_iter()
                    .map(|(key, entry)| {
                        let entry = entry
                            .into_iter()
                            .map(|dynamic| self.flatten_dynamic(dynamic, numbers, flat))
                            .collect();
                        (key, entry)
                    })
                    .collect(),
            }),
            text_or_cid => text_or_cid,
        }
    }

    fn component_changes(&self, flat: &BTreeMap<u64, Rendered>) -> Map<String, Value> {
        // Fixed text is shared: a new component names one that has the same, by its number when it
        // is in this message, by the negative number when the client has it from before.
        let mut owners: HashMap<&[String], i64> = HashMap::new();
        for (number, old) in &self.components {
            if flat.get(number).is_some_and(|new| new.statics == old.statics) {
                owners.insert(&old.statics, -signed(*number));
            }
        }

        let mut message = Map::new();
        for (number, new) in flat {
            let old = self.components.get(number);
            let content = match old.filter(|old| old.statics == new.statics) {
                Some(old) => changes(old, new),
                None => Some(whole_component(new, *number, &mut owners)),
            };
            if let Some(content) = content {
                message.insert(number.to_string(), Value::Object(content));
            }
        }
        message
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).expect("a viewer never sees 2^63 components")
}

fn whole_component<'a>(
    new: &'a Rendered,
    number: u64,
    owners: &mut HashMap<&'a [String], i64>,
) -> Map<String, Value> {
    let mut content = whole(new);
    if let Some(owner) = owners.get(new.statics.as_slice()) {
        content.insert("s".to_owned(), json!(owner));
    } else {
        owners.insert(&new.statics, signed(number));
    }
    // One root element, to which the client attaches the component's number.
    content.insert("r".to_owned(), json!(1));
    content
}

fn whole(rendered: &Rendered) -> Map<String, Value> {
    let mut message = whole_dynamics(&rendered.dynamics);
    message.insert("s".to_owned(), json!(rendered.statics));
    message
}

fn whole_dynamics(dynamics: &[Dynamic]) -> Map<String, Value> {
    dynamics
        .iter()
        .enumerate()
        .map(|(index, dynamic)| (index.to_string(), whole_dynamic(dynamic)))
        .collect()
}

fn whole_dynamic(dynamic: &Dynamic) -> Value {
    match dynamic {
        Dynamic::Text(text) => json!(text),
        Dynamic::Cid(number) => json!(number),
        Dynamic::Tree(part) => Value::Object(whole(part)),
        Dynamic::Keyed(list) => {
            let mut entries: Map<String, Value> = list
                .entries
                .iter()
                .enumerate()
                .map(|(index, (_, entry))| {
                    (index.to_string(), Value::Object(whole_dynamics(entry)))
                })
                .collect();
            entries.insert("kc".to_owned(), json!(list.entries.len()));
            json!({ "s": list.statics, "k": entries })
        }
        Dynamic::Component { .. } => unreachable!("components are flat before anything is sent"),
    }
}

fn changes(old: &Rendered, new: &Rendered) -> Option<Map<String, Value>> {
    if old.statics != new.statics {
        return Some(whole(new));
    }
    dynamic_changes(&old.dynamics, &new.dynamics)
}

fn dynamic_changes(old: &[Dynamic], new: &[Dynamic]) -> Option<Map<String, Value>> {
    let message: Map<String, Value> = old
        .iter()
        .zip(new)
        .enumerate()
        .filter(|(_, (old, new))| old != new)
        .filter_map(|(index, (old, new))| Some((index.to_string(), dynamic_change(old, new)?)))
        .collect();
    (!message.is_empty()).then_some(message)
}

fn dynamic_change(old: &Dynamic, new: &Dynamic) -> Option<Value> {
    match (old, new) {
        (Dynamic::Tree(old), Dynamic::Tree(new)) => changes(old, new).map(Value::Object),
        (Dynamic::Keyed(old), Dynamic::Keyed(new)) if old.statics == new.statics => {
            Some(json!({ "k": keyed_changes(old, new) }))
        }
        (_, new) => Some(whole_dynamic(new)),
    }
}

fn keyed_changes(old: &Keyed, new: &Keyed) -> Map<String, Value> {
    let places: HashMap<&str, usize> =
        old.entries.iter().enumerate().map(|(index, (key, _))| (key.as_str(), index)).collect();
    let mut message = Map::new();
    let mut has_moved = false;
    for (index, (key, entry)) in new.entries.iter().enumerate() {
        let place = places.get(key.as_str()).copied();
        let change = place.and_then(|place| dynamic_changes(&old.entries[place].1, entry));
        let value = match (place, change) {
            (None, _) => Value::Object(whole_dynamics(entry)),
            (Some(place), None) if place == index => continue,
            (Some(place), Some(change)) if place == index => Value::Object(change),
            (Some(place), None) => json!(place),
            (Some(place), Some(change)) => json!([place, change]),
        };
        has_moved |= place.is_some_and(|place| place != index);
        message.insert(index.to_string(), value);
    }
    message.insert("kc".to_owned(), json!(new.entries.len()));
    if has_moved {
        message.insert("km".to_owned(), json!(true));
    }
    message
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(name: &str, restarts: u32) -> (String, Rendered) {
        let rendered = Rendered::build(|slots| {
            format!("<g><text>{}</text><b>{}</b></g>", slots.text(name), slots.text(restarts))
        });
        (name.to_owned(), rendered)
    }

    fn page(title: &str, nodes: &[(&str, u32)]) -> Rendered {
        let list = Keyed::components(nodes.iter().map(|(name, restarts)| node(name, *restarts)));
        Rendered::build(|slots| {
            format!("<h1>{}</h1><svg>{}</svg>", slots.text(title), slots.list(list))
        })
    }

    fn rows(names: &[&str]) -> Rendered {
        let list = Keyed::new(names.iter().map(|name| {
            let row = Rendered::build(|slots| format!("<li>{}</li>", slots.text(name)));
            ((*name).to_owned(), row)
        }));
        Rendered::build(|slots| format!("<ul>{}</ul>", slots.list(list)))
    }

    #[test]
    fn the_first_message_is_the_whole_page_and_shares_fixed_text() {
        let mut differ = Differ::default();

        let message = differ.update(page("tree", &[("a", 0), ("b", 1)])).unwrap();

        insta::assert_json_snapshot!(message);
    }

    #[test]
    fn a_change_in_a_component_sends_that_component_alone() {
        let mut differ = Differ::default();
        differ.update(page("tree", &[("a", 0), ("b", 1)]));

        let message = differ.update(page("tree", &[("a", 0), ("b", 2)])).unwrap();

        assert_eq!(message, json!({ "c": { "2": { "1": "2" } } }));
    }

    #[test]
    fn an_equal_rendering_sends_nothing() {
        let mut differ = Differ::default();
        differ.update(page("tree", &[("a", 0)]));

        assert_eq!(differ.update(page("tree", &[("a", 0)])), None);
    }

    #[test]
    fn a_new_component_names_one_with_the_same_fixed_text() {
        let mut differ = Differ::default();
        differ.update(page("tree", &[("a", 0)]));

        let message = differ.update(page("tree", &[("a", 0), ("b", 0)])).unwrap();

        assert_eq!(
            message,
            json!({
                "1": { "k": { "1": { "0": 2 }, "kc": 2 } },
                "c": { "2": { "s": -1, "r": 1, "0": "b", "1": "0" } },
            })
        );
    }

    #[test]
    fn a_component_that_returns_is_sent_whole_under_a_new_number() {
        let mut differ = Differ::default();
        differ.update(page("tree", &[("a", 0), ("b", 0)]));
        differ.update(page("tree", &[("a", 0)]));

        let message = differ.update(page("tree", &[("a", 0), ("b", 0)])).unwrap();

        assert_eq!(message["c"], json!({ "3": { "s": -1, "r": 1, "0": "b", "1": "0" } }));
        assert_eq!(differ.forgotten(&[1, 2, 3]), [2]);
    }

    #[test]
    fn a_row_that_only_moves_is_not_sent_again() {
        let mut differ = Differ::default();
        differ.update(rows(&["a", "b"]));

        let message = differ.update(rows(&["new", "a", "b"])).unwrap();

        assert_eq!(
            message,
            json!({ "0": { "k": { "0": { "0": "new" }, "1": 0, "2": 1, "kc": 3, "km": true } } })
        );
    }

    #[test]
    fn changed_fixed_text_is_sent_anew() {
        let mut differ = Differ::default();
        differ.update(Rendered::fixed("<p>a</p>"));

        let message = differ.update(Rendered::fixed("<p>b</p>")).unwrap();

        assert_eq!(message, json!({ "s": ["<p>b</p>"] }));
    }

    /// A client as small as the protocol allows: merges messages as `rendered.js` does.
    #[derive(Default)]
    struct Client(Value);

    impl Client {
        fn hear(&mut self, mut message: Value) {
            let components = message.as_object_mut().unwrap().remove("c");
            if self.0.is_null() {
                self.0 = json!({ "c": {} });
            }
            merge(&mut self.0, message);
            let known = self.0["c"].clone();
            let Some(Value::Object(new)) = components else {
                return;
            };
            for (number, content) in &new {
                let mut tree = match content["s"].as_i64() {
                    Some(owner) if owner < 0 => known[(-owner).to_string()].clone(),
                    Some(owner) => new[&owner.to_string()].clone(),
                    None if content.get("s").is_some() => json!({}),
                    None => known[number].clone(),
                };
                let statics = content["s"].is_i64().then(|| tree["s"].clone());
                merge_into(&mut tree, content.clone());
                if let Some(statics) = statics {
                    tree["s"] = statics;
                }
                self.0["c"][number] = tree;
            }
        }

        fn html(&self) -> String {
            html_of(&self.0, &self.0["c"])
        }
    }

    fn merge(target: &mut Value, source: Value) {
        if source.get("s").is_some() {
            let components = target.get("c").cloned();
            *target = source;
            if let Some(components) = components {
                target["c"] = components;
            }
        } else {
            merge_into(target, source);
        }
    }

    fn merge_into(target: &mut Value, source: Value) {
        if source.get("k").is_some() && source.get("s").is_none() {
            return merge_keyed(target, &source["k"]);
        }
        let Value::Object(source) = source else {
            return;
        };
        for (key, value) in source {
            if value.is_object() && value.get("s").is_none() && target[&key].is_object() {
                merge_into(&mut target[&key], value);
            } else {
                target[&key] = value;
            }
        }
    }

    fn merge_keyed(target: &mut Value, source: &Value) {
        let before = target["k"].clone();
        let old = if source.get("km").is_some() { before.clone() } else { Value::Null };
        for (index, entry) in source.as_object().unwrap() {
            match entry {
                _ if index == "kc" || index == "km" => {}
                Value::Array(moved) => {
                    let mut value = old[moved[0].to_string()].clone();
                    merge_into(&mut value, moved[1].clone());
                    target["k"][index] = value;
                }
                Value::Number(place) => target["k"][index] = old[place.to_string()].clone(),
                entry => {
                    if target["k"][index].is_null() {
                        target["k"][index] = json!({});
                    }
                    merge_into(&mut target["k"][index], entry.clone());
                }
            }
        }
        target["k"]["kc"] = source["kc"].clone();
    }

    fn html_of(tree: &Value, components: &Value) -> String {
        if tree.get("k").is_some() {
            let count = tree["k"]["kc"].as_u64().unwrap();
            return (0..count)
                .map(|index| {
                    let mut entry = tree["k"][index.to_string()].clone();
                    entry["s"] = tree["s"].clone();
                    html_of(&entry, components)
                })
                .collect();
        }
        let mut html = String::new();
        for (index, fixed) in tree["s"].as_array().unwrap().iter().enumerate() {
            html.push_str(fixed.as_str().unwrap());
            match &tree[index.to_string()] {
                Value::String(text) => html.push_str(text),
                Value::Number(number) => {
                    html.push_str(&html_of(&components[number.to_string()], components));
                }
                Value::Null => {}
                part => html.push_str(&html_of(part, components)),
            }
        }
        html
    }

    fn arbitrary_page() -> impl Strategy<Value = Rendered> {
        let nodes = prop::collection::btree_map("[a-e]", 0_u32..3, 0..5);
        let order = any::<bool>();
        (0_u32..2, nodes, order, prop::collection::vec("[x-z]{1,2}", 0..4)).prop_map(
            |(title, nodes, reversed, mut names)| {
                let mut nodes: Vec<(&str, u32)> =
                    nodes.iter().map(|(name, restarts)| (name.as_str(), *restarts)).collect();
                if reversed {
                    nodes.reverse();
                }
                names.sort();
                names.dedup();
                if reversed {
                    names.reverse();
                }
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                Rendered::build(|slots| {
                    format!(
                        "<main>{}{}</main>",
                        slots.part(page(&title.to_string(), &nodes)),
                        slots.component(format!("rows {title}"), rows(&names))
                    )
                })
            },
        )
    }

    proptest! {
        #[test]
        fn a_client_that_merges_every_message_shows_what_was_rendered(
            pages in prop::collection::vec(arbitrary_page(), 1..8)
        ) {
            let mut differ = Differ::default();
            let mut client = Client::default();

            for page in pages {
                let expected = page.to_html();
                if let Some(message) = differ.update(page) {
                    client.hear(message);
                }
                prop_assert_eq!(client.html(), expected);
            }
        }
    }
}
