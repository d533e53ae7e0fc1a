//! Drafts of scenarios: what is drawn at random.
//!
//! A draft names nothing: it points at "some worker" or "some supervisor", and [`crate::compose`]
//! decides which one that is. So its parts can be drawn without regard to each other.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// What kind of tree and which actions a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// One supervisor.
    Flat,
    /// Supervisors below supervisors.
    Nested,
    /// Children of one specification.
    Simple,
    /// Significant children.
    Auto,
    /// Restarts that are forgotten after a while.
    Window,
    /// Specifications that contradict themselves.
    Refused,
}

#[derive(Clone, Debug)]
pub struct Draft {
    pub theme: Theme,
    pub root: Sup,
    pub plans: Vec<(Index, Vec<&'static str>)>,
    pub acts: Vec<Act>,
}

#[derive(Clone, Debug)]
pub struct Sup {
    pub strategy: &'static str,
    pub intensity: u8,
    pub auto_shutdown: &'static str,
    pub children: Vec<Child>,
    pub flaw: Option<Flaw>,
}

#[derive(Clone, Debug)]
pub struct Child {
    pub restart: Option<&'static str>,
    pub is_significant: bool,
    /// `on_shutdown` and `shutdown`, as JSON.
    pub manner: (&'static str, &'static str),
    pub sup: Option<Sup>,
}

/// Why a specification is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    SameId,
    Significant,
    NoPeriod,
    TwoTemplates,
    NoTemplate,
}

#[derive(Clone, Debug)]
pub enum Act {
    Kill(Index),
    KillSupervisor(Index),
    KillMany(Index, Vec<Index>),
    Stop(Index, &'static str),
    Plan(Index, Vec<&'static str>, Option<&'static str>),
    PlanSupervisor(Index, Vec<&'static str>),
    Held(Index, Vec<Queued>),
    Ask(Index, Ask),
    Sleep,
}

#[derive(Clone, Debug)]
pub enum Queued {
    Kill(Index),
    Ask(Ask),
}

#[derive(Clone, Debug)]
pub struct Ask {
    pub op: &'static str,
    pub whom: Index,
    /// Whether a child to be started takes an id that there is.
    pub is_known: bool,
    /// How a first start turns out, if not well.
    pub outcome: Option<&'static str>,
    pub child: Child,
}

/// Whole scenarios, mostly of what goes wrong.
pub fn drafts() -> impl Strategy<Value = Draft> {
    prop_oneof![
        4 => draft(Theme::Flat),
        5 => draft(Theme::Nested),
        4 => draft(Theme::Simple),
        4 => draft(Theme::Auto),
        2 => draft(Theme::Refused),
        // On Erlang these take seconds.
        1 => draft(Theme::Window).prop_filter("rarely", |draft| {
            matches!(draft.acts.first(), Some(Act::Kill(_) | Act::Sleep))
        }),
    ]
}

fn draft(theme: Theme) -> BoxedStrategy<Draft> {
    let depth = match theme {
        Theme::Flat | Theme::Window => 0,
        Theme::Simple | Theme::Refused => 1,
        Theme::Nested | Theme::Auto => 2,
    };
    let acts_max = if theme == Theme::Window { 6 } else { 16 };
    let plans = vec((any::<Index>(), outcomes()), 0..4);
    let draft = (sup(theme, depth), plans, vec(act(theme), 2..acts_max));
    draft.prop_map(move |(root, plans, acts)| Draft { theme, root, plans, acts }).boxed()
}

fn sup(theme: Theme, depth: u32) -> BoxedStrategy<Sup> {
    let simple = if theme == Theme::Simple { 6 } else { 1 };
    let strategy = prop_oneof![
        3 => Just("one_for_one"),
        3 => Just("rest_for_one"),
        3 => Just("one_for_all"),
        simple => Just("simple_one_for_one"),
    ];
    let auto_shutdown = match theme {
        Theme::Auto => select(&["any_significant", "all_significant"][..]),
        Theme::Nested | Theme::Refused => select(&["never", "never", "all_significant"][..]),
        _ => select(&["never"][..]),
    };
    let flaws =
        [Flaw::SameId, Flaw::Significant, Flaw::NoPeriod, Flaw::TwoTemplates, Flaw::NoTemplate];
    let flaw = match theme {
        Theme::Refused => option::weighted(0.3, select(flaws.to_vec())).boxed(),
        _ => Just(None).boxed(),
    };
    let children = vec(child(theme, depth), 1..6);
    (strategy, select(vec![0_u8, 1, 1, 2, 2, 3, 5, 8, 20]), auto_shutdown, children, flaw)
        .prop_map(|(strategy, intensity, auto_shutdown, children, flaw)| Sup {
            strategy,
            intensity,
            auto_shutdown,
            children,
            flaw,
        })
        .boxed()
}

fn child(theme: Theme, depth: u32) -> BoxedStrategy<Child> {
    let restart = option::weighted(0.7, select(&["permanent", "transient", "temporary"][..]));
    let manner = select(
        &[
            ("", ""),
            ("", ""),
            ("", ""),
            ("", "1000"),
            ("", "\"brutal_kill\""),
            ("", "\"infinity\""),
            ("\"ignore\"", "0"),
            ("\"ignore\"", "15"),
            ("\"ignore\"", "\"brutal_kill\""),
            ("\"error\"", ""),
            ("\"error\"", "\"infinity\""),
            ("\"normal\"", "1000"),
            ("{\"delay\":4}", ""),
            ("{\"delay\":4}", "\"brutal_kill\""),
        ][..],
    );
    let below = match depth {
        0 => Just(None).boxed(),
        _ => option::weighted(0.4, sup(theme, depth - 1)).boxed(),
    };
    (restart, any::<bool>(), manner, below)
        .prop_map(|(restart, is_significant, manner, sup)| Child {
            restart,
            is_significant,
            manner,
            sup,
        })
        .boxed()
}

fn outcomes() -> impl Strategy<Value = Vec<&'static str>> {
    let outcome = prop_oneof![
        4 => Just("ok"),
        4 => Just("error"),
        2 => Just("crash"),
        1 => Just("ignore"),
        1 => Just("ok_crash"),
    ];
    vec(outcome, 1..5)
}

fn act(theme: Theme) -> BoxedStrategy<Act> {
    let reasons = ["normal", "normal", "shutdown", "shutdown:x", "error:boom", "error:x"];
    let ends = select(reasons.to_vec()).boxed();
    let follow = option::of(prop_oneof![2 => Just("kill"), 1 => ends.clone()]);
    let index = any::<Index>;
    let sleeps = u32::from(theme == Theme::Window) * 8;
    let queued =
        prop_oneof![1 => index().prop_map(Queued::Kill), 2 => ask(theme).prop_map(Queued::Ask)];
    prop_oneof![
        5 => index().prop_map(Act::Kill),
        1 => index().prop_map(Act::KillSupervisor),
        2 => (index(), vec(index(), 1..4)).prop_map(|(sup, whom)| Act::KillMany(sup, whom)),
        4 => (index(), ends).prop_map(|(whom, reason)| Act::Stop(whom, reason)),
        4 => (index(), outcomes(), follow)
            .prop_map(|(whom, outcomes, follow)| Act::Plan(whom, outcomes, follow)),
        1 => (index(), outcomes()).prop_map(|(whom, plan)| Act::PlanSupervisor(whom, plan)),
        3 => (index(), vec(queued, 0..6)).prop_map(|(whom, queue)| Act::Held(whom, queue)),
        6 => (index(), ask(theme)).prop_map(|(whom, ask)| Act::Ask(whom, ask)),
        sleeps => Just(Act::Sleep),
    ]
    .boxed()
}

fn ask(theme: Theme) -> impl Strategy<Value = Ask> {
    let ops = [
        "start_child",
        "start_child",
        "start_child",
        "terminate_child",
        "terminate_child",
        "restart_child",
        "restart_child",
        "delete_child",
        "which_children",
        "count_children",
        "get_childspec",
    ];
    let outcome = option::weighted(0.25, select(&["error", "crash", "ignore"][..]));
    let parts = (
        select(ops.to_vec()),
        any::<Index>(),
        prop::bool::weighted(0.35),
        outcome,
        child(theme, 1),
    );
    parts.prop_map(|(op, whom, is_known, outcome, child)| Ask {
        op,
        whom,
        is_known,
        outcome,
        child,
    })
}
