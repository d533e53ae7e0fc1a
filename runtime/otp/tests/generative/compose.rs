//! Composes a scenario of a draft: names everything, and leaves out what OTP leaves undefined.
//!
//! Left out are: deaths right after a start anywhere but under a `one_for_one` root, where they
//! race with the next start; supervisors among what is killed while another is held; shutdown
//! times that a worker may just about miss; a second life of a supervisor's id as a worker's.
//! And two defects of OTP 25 that nobody should share: under `simple_one_for_one`, to terminate a
//! child that is restarting spoils a counter, and a restart that is ignored leaves a corpse that
//! crashes the supervisor later.

use proptest::sample::Index;

use crate::draft::{Act, Ask, Child, Draft, Flaw, Queued, Sup, Theme};
use crate::support::Json;

/// The tags under which instances are started.
const TAGS: [&str; 3] = ["x", "c", "m"];

/// Ids in an order that is not that of the alphabet.
const IDS: &[u8] = b"qfwamzktbrhcgvne";

pub fn scenario(name: String, draft: &Draft) -> Json {
    let mut stage = Stage { period: 3600, ..Stage::default() };
    if draft.theme == Theme::Window {
        stage.period = 1;
    }
    let root = stage.sup("root", &draft.root);
    let plans = stage.first_plans(draft);
    for act in &draft.acts {
        stage.act(act, draft);
    }
    Json::object([
        ("name", name.into()),
        ("plans", Json::Object(plans)),
        ("sup", root),
        ("actions", Json::List(stage.actions)),
    ])
}

#[derive(Default)]
struct Stage {
    period: u64,
    /// Every supervisor that has been named.
    sups: Vec<Named>,
    /// The path of every worker, and of every tag.
    workers: Vec<String>,
    actions: Vec<Json>,
    names: usize,
}

struct Named {
    path: String,
    is_simple: bool,
    auto_shutdown: &'static str,
    /// The ids of its children, except those of supervisors, which no worker may take over.
    ids: Vec<String>,
    supervisors: Vec<String>,
}

impl Stage {
    fn sup(&mut self, path: &str, sup: &Sup) -> Json {
        let is_simple = sup.strategy == "simple_one_for_one";
        let place = self.sups.len();
        self.sups.push(Named {
            path: path.to_owned(),
            is_simple,
            auto_shutdown: sup.auto_shutdown,
            ids: Vec::new(),
            supervisors: Vec::new(),
        });
        let listed = match (is_simple, sup.flaw) {
            (true, Some(Flaw::NoTemplate)) => 0,
            (true, Some(Flaw::TwoTemplates)) => 2,
            (true, _) => 1,
            (false, _) => sup.children.len(),
        };
        let mut children: Vec<Json> = Vec::new();
        for child in sup.children.iter().take(listed) {
            let id = self.next_id();
            children.push(self.child(place, id, child, sup.flaw));
        }
        if is_simple {
            self.workers.extend(TAGS.map(|tag| format!("{path}/{tag}")));
        }
        if let (Some(Flaw::SameId), Some(first)) = (sup.flaw, children.first().cloned()) {
            children.push(first);
        }
        let period = if sup.flaw == Some(Flaw::NoPeriod) { 0 } else { self.period };
        Json::object([
            ("strategy", sup.strategy.into()),
            ("intensity", u64::from(sup.intensity).into()),
            ("period", period.into()),
            ("auto_shutdown", sup.auto_shutdown.into()),
            ("children", Json::List(children)),
        ])
    }

    fn next_id(&mut self) -> String {
        let letter = IDS[self.names % IDS.len()] as char;
        self.names += 1;
        format!("{letter}{}", self.names)
    }

    fn child(&mut self, above: usize, id: String, child: &Child, flaw: Option<Flaw>) -> Json {
        let Named { path, is_simple, auto_shutdown, .. } = &self.sups[above];
        let (path, is_simple) = (format!("{path}/{id}"), *is_simple);
        let may_end = matches!(child.restart, Some("transient" | "temporary"));
        let may_matter = may_end && *auto_shutdown != "never";
        let mut fields = vec![("id", Json::from(id.clone()))];
        fields.extend(child.restart.map(|restart| ("restart", restart.into())));
        if child.is_significant && (may_matter || flaw == Some(Flaw::Significant)) {
            fields.push(("significant", Json::Bool(true)));
        }
        if let Some(sup) = child.sup.as_ref().filter(|_| !is_simple) {
            self.sups[above].supervisors.push(id);
            fields.push(("type", "supervisor".into()));
            fields.push(("sup", self.sup(&path, sup)));
        } else {
            let (on_shutdown, shutdown) = child.manner;
            for (key, text) in [("on_shutdown", on_shutdown), ("shutdown", shutdown)] {
                if !text.is_empty() {
                    fields.push((key, serde_json::from_str(text).unwrap()));
                }
            }
            self.sups[above].ids.push(id);
            if !is_simple && !self.workers.contains(&path) {
                self.workers.push(path);
            }
        }
        Json::Object(fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    fn is_simple(&self, path: &str) -> bool {
        self.sups.iter().any(|sup| sup.is_simple && sup.path == path)
    }

    /// What the first starts turn out as. No start follows a failed one of an instance by itself.
    fn first_plans(&self, draft: &Draft) -> Vec<(String, Json)> {
        let mut plans: Vec<(String, Json)> = Vec::new();
        let all: Vec<_> =
            self.workers.iter().chain(self.sups.iter().skip(1).map(|sup| &sup.path)).collect();
        for (place, (whom, outcomes)) in draft.plans.iter().enumerate() {
            let Some(path) = pick(&all, *whom).copied() else { continue };
            // Most trees should come up.
            let starts_well = place > 0 && !self.is_simple(parent(path));
            let first = starts_well.then_some("ok");
            let rest = outcomes.iter().copied().filter(|outcome| match *outcome {
                "ok_crash" => false,
                "ignore" => !self.is_simple(parent(path)),
                _ => true,
            });
            if plans.iter().all(|(planned, _)| planned != path) {
                plans.push((path.clone(), words(first.into_iter().chain(rest))));
            }
        }
        plans
    }

    fn act(&mut self, act: &Act, draft: &Draft) {
        match act {
            Act::Kill(whom) => {
                let killed = pick(&self.workers, *whom).map(|path| kill(path));
                self.actions.extend(killed);
            }
            Act::KillSupervisor(whom) => {
                let killed = pick(&self.sups, *whom).map(|sup| kill(&sup.path));
                self.actions.extend(killed);
            }
            Act::KillMany(sup, whom) => self.kill_many(*sup, whom),
            Act::Stop(whom, reason) => {
                let stopped = pick(&self.workers, *whom).map(|path| stop(path, reason));
                self.actions.extend(stopped);
            }
            Act::Plan(whom, outcomes, follow) => {
                let Some(path) = pick(&self.workers, *whom).cloned() else { return };
                self.plan(&path, outcomes, draft);
                self.actions.extend(follow.map(|follow| match follow {
                    "kill" => kill(&path),
                    reason => stop(&path, reason),
                }));
            }
            Act::PlanSupervisor(whom, outcomes) => {
                let Some(path) = pick(&self.sups, *whom).map(|sup| sup.path.clone()) else {
                    return;
                };
                self.plan(&path, outcomes, draft);
            }
            Act::Held(whom, queue) => self.held(*whom, queue),
            Act::Ask(whom, ask) => {
                let Some(place) = place(&self.sups, *whom) else { return };
                let asked = self.ask(place, ask, true);
                self.actions.push(asked);
            }
            Act::Sleep => {
                // Two are enough to let a window slide, and Erlang really sleeps.
                let sleeps = |action: &&Json| action.get("op") == Some(&"sleep".into());
                if self.actions.iter().filter(sleeps).count() < 2 {
                    let asleep = [("op", "sleep".into()), ("ms", 2200_u64.into())];
                    self.actions.push(Json::object(asleep));
                }
            }
        }
    }

    fn plan(&mut self, path: &str, outcomes: &[&'static str], draft: &Draft) {
        let under_root = parent(path) == "root" && !self.sups.iter().any(|sup| sup.path == path);
        let may_crash = under_root && draft.root.strategy == "one_for_one";
        let is_instance = self.is_simple(parent(path));
        let outcomes = outcomes.iter().copied().filter(|outcome| match *outcome {
            "ok_crash" => may_crash,
            "ignore" => !is_instance,
            _ => true,
        });
        let plan = [("op", "plan".into()), ("path", path.into()), ("outcomes", words(outcomes))];
        self.actions.push(Json::object(plan));
    }

    fn workers_below(&self, sup: &str) -> Vec<String> {
        self.workers.iter().filter(|path| parent(path) == sup).cloned().collect()
    }

    fn kill_many(&mut self, sup: Index, whom: &[Index]) {
        let Some(sup) = pick(&self.sups, sup).map(|sup| sup.path.clone()) else { return };
        let below = self.workers_below(&sup);
        let mut paths: Vec<Json> = Vec::new();
        for one in whom.iter().filter_map(|whom| pick(&below, *whom)) {
            let one = Json::from(one.as_str());
            if !paths.contains(&one) {
                paths.push(one);
            }
        }
        let paths = Json::List(paths);
        let act = [("op", "kill_many".into()), ("sup", sup.into()), ("paths", paths)];
        self.actions.push(Json::object(act));
    }

    fn held(&mut self, whom: Index, queue: &[Queued]) {
        let Some(path) = pick(&self.workers, whom).cloned() else { return };
        let above = parent(&path).to_owned();
        let Some(place) = self.sups.iter().position(|sup| sup.path == above) else { return };
        let tag = path.rsplit('/').next().map(Json::from);
        let below = self.workers_below(&above);
        let mut items = Vec::new();
        for item in queue {
            match item {
                Queued::Kill(whom) => items.extend(pick(&below, *whom).map(|path| kill(path))),
                Queued::Ask(ask) => {
                    let asked = self.ask(place, ask, false);
                    // The child is restarting then, which spoils the counter.
                    let spoils = asked.get("op") == Some(&"terminate_child".into())
                        && asked.get("tag") == tag.as_ref();
                    items.extend((!spoils).then_some(asked));
                }
            }
        }
        let held = [("op", "held_restart".into()), ("path", path.into())];
        let mut held = Json::object(held);
        if let Json::Object(fields) = &mut held {
            fields.push(("queue".to_owned(), Json::List(items)));
        }
        self.actions.push(held);
    }

    fn ask(&mut self, place: usize, ask: &Ask, may_plan: bool) -> Json {
        let path = self.sups[place].path.clone();
        let asked = |more: Option<(&str, Json)>| {
            let fields = [("op", ask.op.into()), ("sup", path.as_str().into())];
            let fields = fields.into_iter().chain(more);
            Json::Object(fields.map(|(key, value)| (key.to_owned(), value)).collect())
        };
        if matches!(ask.op, "which_children" | "count_children") {
            return asked(None);
        }
        if self.sups[place].is_simple {
            let tag = TAGS[ask.whom.index(TAGS.len())];
            if let (Some(outcome), "start_child", true) = (ask.outcome, ask.op, may_plan) {
                self.plan_once(&format!("{path}/{tag}"), outcome);
            }
            return match ask.op {
                "terminate_child" if ask.is_known => asked(Some(("tag", "never".into()))),
                "start_child" | "terminate_child" => asked(Some(("tag", tag.into()))),
                _ => asked(Some(("id", tag.into()))),
            };
        }
        if ask.op == "start_child" {
            let known = pick(&self.sups[place].ids, ask.whom).filter(|_| ask.is_known).cloned();
            let may_supervise = known.is_none() && may_plan;
            let id = known.unwrap_or_else(|| self.next_id());
            if let (Some(outcome), true) = (ask.outcome, may_plan) {
                self.plan_once(&format!("{path}/{id}"), outcome);
            }
            let mut child = ask.child.clone();
            child.sup = child.sup.filter(|_| may_supervise);
            return asked(Some(("child", self.child(place, id, &child, None))));
        }
        let Named { ids, supervisors, .. } = &self.sups[place];
        let all: Vec<&String> = ids.iter().chain(supervisors).collect();
        let id = pick(&all, ask.whom).map_or("nobody", |id| id.as_str());
        asked(Some(("id", id.into())))
    }

    fn plan_once(&mut self, path: &str, outcome: &'static str) {
        let outcomes = words([outcome]);
        let plan = [("op", "plan".into()), ("path", path.into()), ("outcomes", outcomes)];
        self.actions.push(Json::object(plan));
    }
}

fn place<T>(items: &[T], index: Index) -> Option<usize> {
    (!items.is_empty()).then(|| index.index(items.len()))
}

fn pick<T>(items: &[T], index: Index) -> Option<&T> {
    items.get(place(items, index)?)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(above, _)| above)
}

fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Json {
    Json::List(words.into_iter().map(Json::from).collect())
}

fn kill(path: &str) -> Json {
    Json::object([("op", "kill".into()), ("path", path.into())])
}

fn stop(path: &str, reason: &str) -> Json {
    Json::object([("op", "stop".into()), ("path", path.into()), ("reason", reason.into())])
}
