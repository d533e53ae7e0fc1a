//! The supervision tree as a drawing: one SVG, one component per node.
//!
//! **Invariant:** a node's elements are always the same; only attributes and text change. The
//! client patches a lone component outside of its SVG, where new elements would get the wrong
//! namespace and stay invisible. For the same reason no element here closes itself.

use live::{Keyed, Rendered, Slots};
use maud::{Markup, html};

use crate::layout::{Layout, NODE_HEIGHT, Place, Shape};
use crate::process::{Process, Status};
use crate::words::{coarse_span, count, fit, in_query};

/// A process that was restarted so recently shows it.
pub(crate) const FRESH_MS: i64 = 4_000;

/// What every node needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Canvas<'a> {
    pub shape: Shape,
    pub selected: Option<&'a str>,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// The whole drawing.
pub(crate) fn draw(layout: &Layout<'_>, canvas: Canvas<'_>) -> Rendered {
    let nodes = Keyed::components(
        layout
            .places
            .iter()
            .map(|place| (format!("node {}", place.process.path), node(place, canvas))),
    );
    let lines = Keyed::new(
        layout
            .places
            .iter()
            .filter(|place| place.parent.is_some())
            .map(|place| (place.process.path.clone(), line(place, canvas.shape))),
    );
    let class = match canvas.shape {
        Shape::Tree => "forest",
        Shape::List => "forest is-list",
    };
    Rendered::build(|slots| {
        let (width, height) = (layout.width, layout.height);
        html! {
            svg class=(slots.text(class)) role="tree" aria-label="Supervision tree"
                width=(slots.text(width)) height=(slots.text(height))
                viewBox=(slots.text(format!("0 0 {width} {height}"))) {
                (definitions())
                g class="lines" aria-hidden="true" { (slots.list(lines)) }
                g class="nodes" role="presentation" { (slots.list(nodes)) }
            }
        }
        .into_string()
    })
}

fn definitions() -> Markup {
    html! {
        defs {
            symbol id="sign-restart" viewBox="0 0 12 12" {
                path d="M10.2 4.2A4.6 4.6 0 1 0 10.6 6.6M10.6 1.6V4.4H7.8" {}
            }
            symbol id="sign-mailbox" viewBox="0 0 12 12" {
                path d="M1 2.8H11V9.4H1zM1 3.2L6 6.8L11 3.2" {}
            }
        }
    }
}

fn line(place: &Place<'_>, shape: Shape) -> Rendered {
    let class = match place.process.worst() {
        Status::Running => "line",
        _ => "line is-troubled",
    };
    Rendered::build(|slots| {
        html! { path class=(slots.text(class)) d=(slots.text(place.line(shape))) {} }.into_string()
    })
}

fn node(place: &Place<'_>, canvas: Canvas<'_>) -> Rendered {
    if place.process.is_supervisor { supervisor(place, canvas) } else { worker(place, canvas) }
}

fn worker(place: &Place<'_>, canvas: Canvas<'_>) -> Rendered {
    let process = place.process;
    Rendered::build(|slots| {
        html! {
            g class=(slots.text(class(place, canvas))) transform=(slots.text(position(place))) {
                (link(slots, place, canvas, &html! {
                    (frame(slots, place))
                    (heading(slots, place))
                    text class="node-state" x="26" y="32" {
                        (slots.text(state(process, canvas.now))) " "
                        (since(slots, process, canvas.now))
                    }
                    (counter(slots, place, &Counter {
                        class: mailbox_class(process),
                        name: "mailbox",
                        sign: "#sign-mailbox",
                        count: process.mailbox,
                        y: 24,
                    }))
                }))
            }
        }
        .into_string()
    })
}

fn supervisor(place: &Place<'_>, canvas: Canvas<'_>) -> Rendered {
    let process = place.process;
    let strategy = match process.strategy.as_deref() {
        Some("simple_one_for_one") | None => "dynamic",
        Some(strategy) => strategy,
    };
    let what = match (process.status, place.is_collapsed) {
        (Status::Running, false) => strategy.to_owned(),
        (Status::Running, true) => format!("{} inside", process.count() - 1),
        (other, _) => other.name().to_owned(),
    };
    Rendered::build(|slots| {
        html! {
            g class=(slots.text(class(place, canvas))) transform=(slots.text(position(place))) {
                (link(slots, place, canvas, &html! {
                    (frame(slots, place))
                    (heading(slots, place))
                    text class="node-state" x="26" y="32" { (slots.text(what)) }
                    (gauge(slots, place))
                }))
                (fold(slots, place))
            }
        }
        .into_string()
    })
}

fn link(slots: &Slots, place: &Place<'_>, canvas: Canvas<'_>, content: &Markup) -> Markup {
    let process = place.process;
    let is_selected = canvas.selected == Some(process.path.as_str());
    let expanded = match (process.is_supervisor, place.is_collapsed) {
        (false, _) => None,
        (true, collapsed) => Some(slots.text(!collapsed)),
    };
    html! {
        a href=(slots.text(format!("/?node={}", in_query(&process.path))))
            id=(slots.text(format!("node-{}", process.path.replace('/', "-"))))
            data-phx-link="patch" data-phx-link-state="replace"
            data-path=(slots.text(&process.path))
            role="treeitem" aria-level=(slots.text(place.level))
            aria-posinset=(slots.text(place.position)) aria-setsize=(slots.text(place.siblings))
            aria-expanded=[expanded] aria-selected=(slots.text(is_selected))
            aria-label=(slots.text(spoken(process))) {
            (content)
        }
    }
}

fn frame(slots: &Slots, place: &Place<'_>) -> Markup {
    html! {
        title { (slots.text(&place.process.path)) }
        rect class="node-body" width=(slots.text(place.width)) height=(NODE_HEIGHT) rx="9" {}
        path class="node-sign" transform="translate(9 9)"
            d=(slots.text(place.process.status.shape())) {}
    }
}

fn heading(slots: &Slots, place: &Place<'_>) -> Markup {
    let process = place.process;
    let class = if process.restarts == 0 { "node-count is-none" } else { "node-count" };
    let counted =
        Counter { class, name: "restarts", sign: "#sign-restart", count: process.restarts, y: 8 };
    // At most about eight units a character at this size, where the fonts are wide.
    let room = place.width.saturating_sub(40 + counted.width()) / 8;
    html! {
        text class="node-name" x="26" y="18" { (slots.text(fit(&process.id, room as usize))) }
        (counter(slots, place, &counted))
    }
}

/// A small number with its sign, at the right edge of a node.
struct Counter {
    class: &'static str,
    name: &'static str,
    sign: &'static str,
    count: u64,
    y: u32,
}

impl Counter {
    fn width(&self) -> u32 {
        let digits = self.count.checked_ilog10().unwrap_or(0) + 1;
        digits * 7 + 14
    }
}

fn counter(slots: &Slots, place: &Place<'_>, counter: &Counter) -> Markup {
    let x = place.width.saturating_sub(10 + counter.width());
    html! {
        g class=(slots.text(counter.class))
            transform=(slots.text(format!("translate({x} {})", counter.y))) {
            use href=(counter.sign) width="10" height="10" {}
            text class=(counter.name) x=(slots.text(counter.width())) y="9" text-anchor="end" {
                (slots.text(counter.count))
            }
        }
    }
}

/// How long the process has been up; the script keeps it exact, the server only coarse.
fn since(slots: &Slots, process: &Process, now: i64) -> Markup {
    let started_at = process.started_at.filter(|_| process.status == Status::Running);
    let span = started_at.map_or_else(String::new, |at| coarse_span(now - at));
    let at = started_at.map_or_else(String::new, |at| at.to_string());
    html! {
        tspan class="node-since" data-since=(slots.text(at)) { (slots.text(span)) }
    }
}

/// One mark per restart that the supervisor tolerates in its window, filled as they are used.
fn gauge(slots: &Slots, place: &Place<'_>) -> Markup {
    let process = place.process;
    let limit = process.max_restarts.unwrap_or(0);
    let used = process.restarts_in_window.min(limit);
    let width = 30;
    let filled = (width * used).checked_div(limit).unwrap_or(0);
    let class = match used {
        _ if limit == 0 => "gauge is-none",
        0 => "gauge",
        used if used >= limit => "gauge is-full",
        _ => "gauge is-used",
    };
    html! {
        g class=(slots.text(class))
            transform=(slots.text(format!("translate({} 27)", place.width - 40))) {
            rect class="gauge-room" width=(width) height="4" rx="2" {}
            rect class="gauge-used" width=(slots.text(filled)) height="4" rx="2" {}
        }
    }
}

/// Opens and closes a supervisor that has children.
fn fold(slots: &Slots, place: &Place<'_>) -> Markup {
    let process = place.process;
    let class = match (process.children.is_empty(), place.is_collapsed) {
        (true, _) => "fold is-none",
        (false, true) => "fold is-closed",
        (false, false) => "fold",
    };
    let sign = if place.is_collapsed { "M-3 0H3M0 -3V3" } else { "M-3 0H3" };
    html! {
        g class=(slots.text(class)) phx-click="fold" phx-value-path=(slots.text(&process.path))
            aria-hidden="true"
            transform=(slots.text(format!("translate({} {})", place.width, NODE_HEIGHT / 2))) {
            circle r="12" class="fold-reach" {}
            circle r="7" class="fold-body" {}
            path class="fold-sign" d=(slots.text(sign)) {}
        }
    }
}

fn class(place: &Place<'_>, canvas: Canvas<'_>) -> String {
    let process = place.process;
    let status = if place.is_collapsed { process.worst() } else { process.status };
    let mut class = format!("node is-{}", status.name());
    if process.is_supervisor {
        class.push_str(" is-supervisor");
    }
    if canvas.selected == Some(process.path.as_str()) {
        class.push_str(" is-selected");
    }
    if is_fresh(process, canvas.now) {
        class.push_str(" is-fresh");
    }
    class
}

/// Whether the process was restarted a moment ago.
pub(crate) fn is_fresh(process: &Process, now: i64) -> bool {
    process.restarts > 0 && process.last_exit_at.is_some_and(|at| now - at < FRESH_MS)
}

fn position(place: &Place<'_>) -> String {
    format!("translate({} {})", place.x, place.y)
}

fn state(process: &Process, now: i64) -> String {
    let status = process.status.name();
    match &process.last_exit {
        Some(reason) if process.status == Status::Running => {
            let was = fit(&format!("was {reason}"), 13);
            if is_fresh(process, now) {
                format!("back · {was} ·")
            } else {
                format!("up · {was} ·")
            }
        }
        Some(reason) => fit(&format!("{status} · {reason}"), 24),
        None if process.status == Status::Running => "running ·".to_owned(),
        None => status.to_owned(),
    }
}

fn mailbox_class(process: &Process) -> &'static str {
    match process.mailbox {
        0 => "node-count is-none",
        1..100 => "node-count is-mailbox",
        _ => "node-count is-crowded",
    }
}

/// What a screen reader says.
fn spoken(process: &Process) -> String {
    let kind = if process.is_supervisor { "supervisor" } else { "worker" };
    let mut parts = vec![
        process.id.clone(),
        kind.to_owned(),
        process.status.name().to_owned(),
        count(process.restarts, "restart", "restarts"),
    ];
    parts.extend(process.strategy.as_ref().map(|strategy| strategy.replace('_', " ")));
    parts.extend(process.last_exit.as_ref().map(|reason| format!("last exit {reason}")));
    parts.extend((process.mailbox > 0).then(|| format!("{} waiting", process.mailbox)));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use live::Differ;

    use super::*;
    use crate::layout::place;
    use crate::process::tests::sample;

    const NOW: i64 = 1_763_700_000_000;

    fn drawing(tree: &Process, now: i64) -> Rendered {
        let canvas = Canvas { shape: Shape::Tree, selected: Some("root/bus"), now };
        draw(&place(tree, &HashSet::new(), Shape::Tree), canvas)
    }

    #[test]
    fn a_tree_is_drawn_with_every_name_in_place() {
        insta::assert_snapshot!(drawing(&sample(), NOW).to_html().replace("><", ">\n<"));
    }

    #[test]
    fn a_crash_costs_a_viewer_little_more_than_a_hundred_bytes() {
        let mut tree = sample();
        let mut differ = Differ::default();
        differ.update(drawing(&tree, NOW));
        let engine = &mut tree.children[2].children[0].children[0];
        engine.restarts += 1;
        engine.started_at = Some(NOW + 60_000);
        engine.last_exit_at = Some(NOW + 60_000);

        let message = differ.update(drawing(&tree, NOW + 60_000)).unwrap().to_string();

        assert!(message.len() < 200, "{} bytes: {message}", message.len());
    }

    #[test]
    fn time_alone_sends_nothing_within_the_same_minute() {
        let tree = sample();
        let mut differ = Differ::default();
        differ.update(drawing(&tree, NOW + 70_000));

        assert_eq!(differ.update(drawing(&tree, NOW + 80_000)), None);
    }

    #[test]
    fn a_node_keeps_its_elements_whatever_happens_to_it() {
        let mut tree = sample();
        let mut differ = Differ::default();
        differ.update(drawing(&tree, NOW));
        let engine = &mut tree.children[2].children[0].children[0];
        engine.status = Status::Quarantined;
        engine.mailbox = 500;
        engine.last_exit = None;

        let message = differ.update(drawing(&tree, NOW)).unwrap();

        for (number, component) in message["c"].as_object().unwrap() {
            assert!(component.get("s").is_none(), "component {number} was sent whole");
        }
    }
}
