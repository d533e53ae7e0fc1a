//! Makes a scenario smaller: what may be left out of it, one thing at a time.
//!
//! Starting Erlang takes longer than playing a hundred scenarios, so all that could be tried next
//! is made at once and played together. Hence no use of proptest's shrinking, which tries one.

use crate::support::Json;

/// Every scenario that lacks one part of this one, the shortest first.
pub fn smaller(scenario: &Json) -> Vec<String> {
    let mut found = Vec::new();
    for (key, value) in fields(scenario) {
        let replaced = |value: Json| with(scenario, key, Some(&value));
        match key.as_str() {
            "actions" => found.extend(actions(value).into_iter().map(replaced)),
            "plans" => found.extend(without_a_field(value, &[]).into_iter().map(replaced)),
            "sup" => found.extend(sups(value).into_iter().map(replaced)),
            _ => {}
        }
    }
    let mut lines: Vec<String> = found.iter().map(Json::to_string).collect();
    lines.sort_by_key(String::len);
    lines
}

fn actions(actions: &Json) -> Vec<Json> {
    let items = actions.list().unwrap_or_default();
    let mut found = Vec::new();
    let mut length = items.len();
    while length > 0 {
        for start in (0..items.len()).step_by(length) {
            let end = (start + length).min(items.len());
            // What a first start turns out as must not be left to a later restart.
            let is_planned = items[start].get("op") == Some(&"start_child".into())
                && start > 0
                && items[start - 1].get("op") == Some(&"plan".into());
            let left = items[..start - usize::from(is_planned)].iter().chain(&items[end..]);
            found.push(Json::List(left.cloned().collect()));
        }
        length /= 2;
    }
    for (place, item) in items.iter().enumerate() {
        let Some(queue) = item.get("queue") else { continue };
        found.extend(without_an_item(queue).into_iter().map(|queue| {
            let mut items = items.to_vec();
            items[place] = with(item, "queue", Some(&queue));
            Json::List(items)
        }));
    }
    found
}

fn sups(sup: &Json) -> Vec<Json> {
    let Some(children) = sup.get("children") else { return Vec::new() };
    let mut found = without_an_item(children);
    for (place, child) in children.list().unwrap_or_default().iter().enumerate() {
        let mut others = without_a_field(child, &["id", "type", "sup", "shutdown", "on_shutdown"]);
        others.push(with(&with(child, "shutdown", None), "on_shutdown", None));
        if let Some(below) = child.get("sup") {
            others.extend(sups(below).into_iter().map(|below| with(child, "sup", Some(&below))));
        }
        found.extend(others.into_iter().filter(|other| other != child).map(|other| {
            let mut items = children.list().unwrap_or_default().to_vec();
            items[place] = other;
            Json::List(items)
        }));
    }
    found.into_iter().map(|children| with(sup, "children", Some(&children))).collect()
}

fn fields(object: &Json) -> &[(String, Json)] {
    match object {
        Json::Object(fields) => fields,
        _ => &[],
    }
}

fn with(object: &Json, key: &str, value: Option<&Json>) -> Json {
    let others = fields(object).iter().filter_map(|(name, old)| {
        let kept = if name == key { value?.clone() } else { old.clone() };
        Some((name.clone(), kept))
    });
    Json::Object(others.collect())
}

fn without_a_field(object: &Json, except: &[&str]) -> Vec<Json> {
    let names = fields(object).iter().map(|(name, _)| name.as_str());
    names.filter(|name| !except.contains(name)).map(|name| with(object, name, None)).collect()
}

fn without_an_item(list: &Json) -> Vec<Json> {
    let items = list.list().unwrap_or_default();
    let without = |place| {
        let left = items.iter().enumerate().filter(|(other, _)| *other != place);
        Json::List(left.map(|(_, item)| item.clone()).collect())
    };
    (0..items.len()).map(without).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_scenario_lacks_one_part_and_nothing_that_it_needs() {
        let scenario = r#"{"name":"a","plans":{"root/x":["ok"]},"sup":{"strategy":"one_for_one","intensity":1,"period":5,"children":[{"id":"x","restart":"transient","shutdown":0,"on_shutdown":"ignore"}]},"actions":[{"op":"plan","path":"root/y","outcomes":["ignore"]},{"op":"start_child","sup":"root","tag":"y"},{"op":"held_restart","path":"root/x","queue":[{"op":"kill","path":"root/z"}]}]}"#;
        let whole: Json = serde_json::from_str(scenario).unwrap();

        let found = smaller(&whole);

        assert!(found.iter().all(|line| line.len() < scenario.len() && !line.contains("null")));
        let lacks = |part: &str| found.iter().any(|line| !line.contains(part));
        for part in ["root/x\":", "\"id\"", "transient", "\"ignore\",", "held_restart", "root/z"] {
            assert!(lacks(part), "{part}");
        }
        assert!(found.iter().all(|line| line.contains("\"tag\"") || !line.contains("root/y")));
    }
}
