//! The script of a scenario: its JSON as values, with every mistake found before the first act.
//!
//! **Invariant:** pure; whatever is read from here on is known to make sense.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use otp::{AutoShutdown, Intensity, Restart, Shutdown, Strategy};

use super::json::Json;

/// What is wrong with a scenario, and where in its JSON.
#[derive(Debug)]
pub struct Malformed {
    place: String,
    what: String,
}

impl Malformed {
    pub fn new(place: &str, what: impl Into<String>) -> Self {
        Self { place: place.to_owned(), what: what.into() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place.as_str() {
            "" => formatter.write_str(&self.what),
            place => write!(formatter, "{place}: {}", self.what),
        }
    }
}

type Read<T> = Result<T, Malformed>;

pub struct Scenario {
    pub plans: Vec<(String, Vec<Outcome>)>,
    pub sup: Sup,
    pub actions: Vec<Arc<Action>>,
}

pub struct Sup {
    pub strategy: Strategy,
    pub intensity: Intensity,
    pub auto_shutdown: AutoShutdown,
    pub children: Vec<Child>,
}

pub struct Child {
    pub id: String,
    pub restart: Option<Restart>,
    pub significant: Option<bool>,
    pub shutdown: Option<Shutdown>,
    pub on_shutdown: Option<OnShutdown>,
    /// What it supervises, if it does.
    pub sup: Option<Sup>,
}

/// What a worker does when it is told to stop, instead of stopping.
#[derive(Clone, Copy)]
pub enum OnShutdown {
    Ignore,
    Error,
    Normal,
    Delay(Duration),
}

/// How one start attempt turns out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    Error,
    Crash,
    Ignore,
    OkCrash,
}

pub struct Action {
    pub op: String,
    /// Where it stands in the JSON, for what turns out wrong only while it is played.
    pub place: String,
    pub what: Act,
}

pub enum Act {
    Kill { path: String },
    Stop { path: String, reason: String },
    KillMany { sup: String, paths: Vec<String> },
    Plan { path: String, outcomes: Vec<Outcome> },
    HeldRestart { path: String, queue: Vec<Arc<Action>> },
    Sleep { time: Duration },
    Ask { sup: String, request: Request },
}

pub enum Request {
    StartChild(Child),
    StartInstance(String),
    TerminateChild(Name),
    RestartChild(Name),
    DeleteChild(Name),
    GetChildspec(Name),
    WhichChildren,
    CountChildren,
}

/// A child as a request names it.
pub enum Name {
    Id(String),
    /// The newest process of a path below a supervisor whose children have no ids.
    Tag(String),
}

/// A value of the JSON and where it stands.
struct At<'a> {
    value: &'a Json,
    place: String,
}

impl<'a> At<'a> {
    fn wrong<T>(&self, what: &str) -> Read<T> {
        let shown = self.value.to_string();
        let shown = match shown.char_indices().nth(60) {
            Some((end, _)) => format!("{}...", &shown[..end]),
            None => shown,
        };
        Err(Malformed::new(&self.place, format!("{shown} is {what}")))
    }

    fn at(&self, value: &'a Json, key: &str) -> Self {
        let separator = if self.place.is_empty() { "" } else { "." };
        At { value, place: format!("{}{separator}{key}", self.place) }
    }

    fn field(&self, key: &str) -> Option<Self> {
        self.value.get(key).map(|value| self.at(value, key))
    }

    fn need(&self, key: &str) -> Read<Self> {
        let Json::Object(_) = self.value else { return self.wrong("not an object") };
        match self.field(key) {
            Some(field) => Ok(field),
            None => Err(Malformed::new(&self.place, format!("there is no {key:?}"))),
        }
    }

    fn text(&self) -> Read<String> {
        self.value.text().map_or_else(|| self.wrong("not a string"), |text| Ok(text.to_owned()))
    }

    fn number(&self) -> Read<u64> {
        self.value.number().map_or_else(|| self.wrong("not a natural number"), Ok)
    }

    fn items<T>(&self, read: impl Fn(&Self) -> Read<T>) -> Read<Vec<T>> {
        let Some(items) = self.value.list() else { return self.wrong("not a list") };
        let item = |(place, value)| At { value, place: format!("{}[{place}]", self.place) };
        items.iter().enumerate().map(item).map(|item| read(&item)).collect()
    }

    /// A word of OTP's as our value.
    fn word<T: serde::de::DeserializeOwned>(&self) -> Read<T> {
        serde_json::from_str(&self.value.to_string()).or_else(|error| {
            let error = error.to_string();
            let (what, _) = error.rsplit_once(" at line").unwrap_or((&error, ""));
            self.wrong(&format!("not possible here: {what}"))
        })
    }

    fn optional<T>(&self, key: &str, read: impl Fn(&Self) -> Read<T>) -> Read<Option<T>> {
        self.field(key).map(|field| read(&field)).transpose()
    }
}

/// Reads a scenario.
pub fn scenario(json: &Json) -> Read<Scenario> {
    let whole = At { value: json, place: String::new() };
    let sup = sup(&whole.need("sup")?)?;
    let actions = whole.need("actions")?.items(|item| action(item, false))?;
    let plans = whole.optional("plans", plans)?.unwrap_or_default();
    Ok(Scenario { plans, sup, actions })
}

fn plans(at: &At<'_>) -> Read<Vec<(String, Vec<Outcome>)>> {
    let Json::Object(fields) = at.value else { return at.wrong("not an object") };
    fields.iter().map(|(path, list)| Ok((path.clone(), outcomes(&at.at(list, path))?))).collect()
}

fn outcomes(at: &At<'_>) -> Read<Vec<Outcome>> {
    at.items(|item| match item.text()?.as_str() {
        "ok" => Ok(Outcome::Ok),
        "error" => Ok(Outcome::Error),
        "crash" => Ok(Outcome::Crash),
        "ignore" => Ok(Outcome::Ignore),
        "ok_crash" => Ok(Outcome::OkCrash),
        _ => item.wrong("no outcome"),
    })
}

fn sup(at: &At<'_>) -> Read<Sup> {
    let strategy: Strategy = at.need("strategy")?.word()?;
    let max_restarts = u32::try_from(at.need("intensity")?.number()?).unwrap_or(u32::MAX);
    let within = Duration::from_secs(at.need("period")?.number()?);
    Ok(Sup {
        strategy,
        intensity: Intensity::new(max_restarts, within),
        auto_shutdown: at.optional("auto_shutdown", At::word)?.unwrap_or_default(),
        children: at.need("children")?.items(|item| child(item, strategy))?,
    })
}

fn child(at: &At<'_>, strategy: Strategy) -> Read<Child> {
    let id = at.need("id")?.text()?;
    let kind = at.optional("type", At::word)?;
    // Instances of one specification are workers in every scenario.
    let supervises =
        kind == Some(otp::ChildKind::Supervisor) && strategy != Strategy::SimpleOneForOne;
    let below = if supervises { Some(sup(&at.need("sup")?)?) } else { None };
    Ok(Child {
        id,
        restart: at.optional("restart", At::word)?,
        significant: at.optional("significant", At::word)?,
        shutdown: at.optional("shutdown", At::word)?,
        on_shutdown: at.optional("on_shutdown", on_shutdown)?,
        sup: below,
    })
}

fn on_shutdown(at: &At<'_>) -> Read<OnShutdown> {
    match (at.value.text(), at.field("delay")) {
        (Some("ignore"), _) => Ok(OnShutdown::Ignore),
        (Some("error"), _) => Ok(OnShutdown::Error),
        (Some("normal"), _) => Ok(OnShutdown::Normal),
        (None, Some(delay)) => Ok(OnShutdown::Delay(Duration::from_millis(delay.number()?))),
        _ => at.wrong("nothing that a worker can do when it is told to stop"),
    }
}

fn action(at: &At<'_>, queued: bool) -> Read<Arc<Action>> {
    let op = at.need("op")?;
    let text = |key: &str| at.need(key)?.text();
    let what = match op.text()?.as_str() {
        "kill" => Act::Kill { path: text("path")? },
        other if queued => request(at, &op, other)?,
        "stop" => Act::Stop { path: text("path")?, reason: reason(&at.need("reason")?)? },
        "kill_many" => {
            Act::KillMany { sup: text("sup")?, paths: at.need("paths")?.items(At::text)? }
        }
        "plan" => Act::Plan { path: text("path")?, outcomes: outcomes(&at.need("outcomes")?)? },
        "sleep" => Act::Sleep { time: Duration::from_millis(at.need("ms")?.number()?) },
        "held_restart" => Act::HeldRestart {
            path: text("path")?,
            queue: at.need("queue")?.items(|item| action(item, true))?,
        },
        other => request(at, &op, other)?,
    };
    Ok(Arc::new(Action { op: op.text()?, place: at.place.clone(), what }))
}

fn request(at: &At<'_>, op: &At<'_>, word: &str) -> Read<Act> {
    let name = || match at.field("tag") {
        Some(tag) => tag.text().map(Name::Tag),
        None => at.need("id")?.text().map(Name::Id),
    };
    let request = match word {
        "start_child" => match at.field("tag") {
            Some(tag) => Request::StartInstance(tag.text()?),
            None => Request::StartChild(child(&at.need("child")?, Strategy::OneForOne)?),
        },
        "terminate_child" => Request::TerminateChild(name()?),
        "restart_child" => Request::RestartChild(name()?),
        "delete_child" => Request::DeleteChild(name()?),
        "get_childspec" => Request::GetChildspec(name()?),
        "which_children" => Request::WhichChildren,
        "count_children" => Request::CountChildren,
        _ => return op.wrong("no action that is known here"),
    };
    Ok(Act::Ask { sup: at.need("sup")?.text()?, request })
}

fn reason(at: &At<'_>) -> Read<String> {
    let reason = at.text()?;
    let is_one = matches!(reason.as_str(), "normal" | "shutdown")
        || reason.starts_with("shutdown:")
        || reason.starts_with("error:");
    if is_one { Ok(reason) } else { at.wrong("no reason that a worker can end with") }
}
