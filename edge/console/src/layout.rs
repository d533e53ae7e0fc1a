//! Where the nodes of the tree stand: pure, from processes to coordinates.
//!
//! Wide screens get a tree from left to right: leaves fill rows, a supervisor stands beside the
//! middle of its children but never far below the first, so that the root of a tall tree is on
//! the first screen. Narrow screens get the same nodes as an indented list.

use std::collections::HashSet;

use crate::process::Process;

/// How the tree is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// From left to right.
    Tree,
    /// One below the other, indented; for narrow screens.
    List,
}

/// Where one node stands.
#[derive(Debug, PartialEq)]
pub(crate) struct Place<'a> {
    pub process: &'a Process,
    pub x: u32,
    pub y: u32,
    pub width: u32,
    /// Levels below the root, which has 1; as `aria-level` counts.
    pub level: usize,
    /// The position among its siblings, from 1, and how many they are.
    pub position: usize,
    pub siblings: usize,
    /// Where its supervisor stands: its right edge (tree) or left edge (list), and its row.
    pub parent: Option<(u32, u32)>,
    pub is_collapsed: bool,
}

/// The drawing as a whole.
#[derive(Debug, PartialEq)]
pub(crate) struct Layout<'a> {
    pub places: Vec<Place<'a>>,
    pub width: u32,
    pub height: u32,
}

/// The height of a node.
pub(crate) const NODE_HEIGHT: u32 = 42;
/// The width of a supervisor, which has others to its right.
const SUPERVISOR_WIDTH: u32 = 176;
/// The width of a worker, which has none.
const WORKER_WIDTH: u32 = 228;
/// The room between two columns, where the lines run.
const COLUMN_GAP: u32 = 20;
/// The room between two rows.
const ROW_GAP: u32 = 6;
/// How many rows below its first child a supervisor may stand.
const ROWS_BELOW_FIRST_MAX: u32 = 2;
/// How far a level is indented in a list.
const INDENT: u32 = 15;
/// The width of a list: a phone of 390 less its margins.
const LIST_WIDTH: u32 = 362;
/// Room for the ring around a focused node.
const MARGIN: u32 = 4;
/// Above this, supervisors are collapsed until the viewer opens them.
pub(crate) const VISIBLE_MAX: usize = 300;
/// Connections and attempts come and go; more of them than this say nothing to a person.
const DYNAMIC_VISIBLE_MAX: usize = 8;

const PITCH: u32 = NODE_HEIGHT + ROW_GAP;

/// Places every node that is not below a collapsed supervisor.
pub(crate) fn place<'a>(
    root: &'a Process,
    collapsed: &HashSet<String>,
    shape: Shape,
) -> Layout<'a> {
    let mut layout = Layout { places: Vec::new(), width: 0, height: 0 };
    let mut row = 0;
    let mut walk = Walk { collapsed, shape, layout: &mut layout, row: &mut row };
    walk.visit(root, Seat { level: 1, position: 1, siblings: 1 });
    layout.width = layout.places.iter().map(|place| place.x + place.width).max().unwrap_or(0);
    layout.width += MARGIN;
    layout.height = row * PITCH - ROW_GAP + 2 * MARGIN;
    layout
}

/// The supervisors to collapse so that no more than `VISIBLE_MAX` nodes are visible: the largest
/// groups go first, since one collapsed group then hides the most.
pub(crate) fn collapse(root: &Process) -> HashSet<String> {
    let crowds = root.all().into_iter().filter(|process| {
        process.strategy.as_deref() == Some("simple_one_for_one")
            && process.children.len() > DYNAMIC_VISIBLE_MAX
    });
    let mut collapsed: HashSet<String> = crowds.map(|crowd| crowd.path.clone()).collect();
    let mut visible = visible_count(root, &collapsed);
    let mut groups: Vec<&Process> = root
        .all()
        .into_iter()
        .skip(1)
        .filter(|process| {
            !process.children.is_empty()
                && !collapsed.contains(&process.path)
                && process.children.iter().all(|child| child.children.is_empty())
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse(group.children.len()));
    for group in groups {
        if visible <= VISIBLE_MAX {
            return collapsed;
        }
        visible -= group.children.len();
        collapsed.insert(group.path.clone());
    }
    if visible > VISIBLE_MAX {
        let domains = root.children.iter().flat_map(|child| &child.children);
        collapsed.extend(domains.map(|process| process.path.clone()));
    }
    collapsed
}

fn visible_count(process: &Process, collapsed: &HashSet<String>) -> usize {
    if collapsed.contains(&process.path) {
        return 1;
    }
    1 + process.children.iter().map(|child| visible_count(child, collapsed)).sum::<usize>()
}

#[derive(Clone, Copy)]
struct Seat {
    level: usize,
    position: usize,
    siblings: usize,
}

struct Walk<'walk, 'a> {
    collapsed: &'walk HashSet<String>,
    shape: Shape,
    layout: &'walk mut Layout<'a>,
    row: &'walk mut u32,
}

impl<'a> Walk<'_, 'a> {
    /// Places a process and all below it; returns its index. Parents come before their children,
    /// which is the order in which a keyboard and a screen reader meet them.
    fn visit(&mut self, process: &'a Process, seat: Seat) -> usize {
        let is_collapsed = !process.children.is_empty() && self.collapsed.contains(&process.path);
        let index = self.layout.places.len();
        self.layout.places.push(self.place_at_row(process, seat, is_collapsed));
        let first_row = *self.row;
        if self.shape == Shape::List {
            *self.row += 1;
        }
        let children: &[Process] = if is_collapsed { &[] } else { &process.children };
        let seats = children.iter().enumerate().map(|(position, child)| {
            let position = position + 1;
            (child, Seat { level: seat.level + 1, position, siblings: children.len() })
        });
        let indexes: Vec<usize> = seats.map(|(child, seat)| self.visit(child, seat)).collect();
        if self.shape == Shape::Tree {
            if indexes.is_empty() {
                *self.row += 1;
            } else {
                self.layout.places[index].y = self.beside(&indexes, first_row);
            }
        }
        self.join(index, &indexes);
        index
    }

    fn place_at_row(&self, process: &'a Process, seat: Seat, is_collapsed: bool) -> Place<'a> {
        let depth = u32::try_from(seat.level - 1).unwrap_or(u32::MAX);
        let (x, width) = match self.shape {
            Shape::Tree if process.is_supervisor => {
                (depth * (SUPERVISOR_WIDTH + COLUMN_GAP), SUPERVISOR_WIDTH)
            }
            Shape::Tree => (depth * (SUPERVISOR_WIDTH + COLUMN_GAP), WORKER_WIDTH),
            Shape::List => (depth * INDENT, LIST_WIDTH - 2 * MARGIN - depth * INDENT),
        };
        Place {
            process,
            x: x + MARGIN,
            y: *self.row * PITCH + MARGIN,
            width,
            level: seat.level,
            position: seat.position,
            siblings: seat.siblings,
            parent: None,
            is_collapsed,
        }
    }

    fn beside(&self, children: &[usize], first_row: u32) -> u32 {
        let top = self.layout.places[children[0]].y;
        let bottom = self.layout.places[children[children.len() - 1]].y;
        let limit = (first_row + ROWS_BELOW_FIRST_MAX) * PITCH + MARGIN;
        u32::midpoint(top, bottom).min(limit).max(top)
    }

    fn join(&mut self, parent: usize, children: &[usize]) {
        let Place { x, y, width, .. } = self.layout.places[parent];
        let end = match self.shape {
            Shape::Tree => x + width,
            Shape::List => x,
        };
        for child in children {
            self.layout.places[*child].parent = Some((end, y));
        }
    }
}

impl Place<'_> {
    /// The line from the supervisor, as SVG path data relative to the whole drawing.
    pub(crate) fn line(&self, shape: Shape) -> String {
        let Some((parent_x, parent_y)) = self.parent else {
            return String::new();
        };
        let (from, to) = (parent_y + NODE_HEIGHT / 2, self.y + NODE_HEIGHT / 2);
        match shape {
            Shape::List => {
                let trunk = parent_x + 7;
                format!("M{trunk} {}V{}q0 6 6 6H{}", parent_y + NODE_HEIGHT, to - 6, self.x)
            }
            Shape::Tree => {
                let trunk = self.x - COLUMN_GAP / 2;
                match to.abs_diff(from) {
                    0..12 => format!("M{parent_x} {from}H{trunk}V{to}H{}", self.x),
                    _ if to > from => {
                        format!("M{parent_x} {from}H{trunk}V{}q0 6 6 6H{}", to - 6, self.x)
                    }
                    _ => format!("M{parent_x} {from}H{trunk}V{}q0 -6 6 -6H{}", to + 6, self.x),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::tests::sample;

    fn text(layout: &Layout<'_>) -> String {
        use std::fmt::Write;

        let mut text = String::new();
        for place in &layout.places {
            let Place { process, x, y, width, .. } = place;
            writeln!(text, "{x:>4} {y:>4} {width:>4} {}", process.path).unwrap();
        }
        text
    }

    #[test]
    fn a_tree_stands_in_columns_and_a_supervisor_beside_its_children() {
        let tree = sample();

        let layout = place(&tree, &HashSet::new(), Shape::Tree);

        insta::assert_snapshot!(text(&layout));
    }

    #[test]
    fn a_list_is_indented_and_fits_a_phone() {
        let tree = sample();

        let layout = place(&tree, &HashSet::new(), Shape::List);

        assert!(layout.width <= 390, "{} is too wide", layout.width);
        insta::assert_snapshot!(text(&layout));
    }

    #[test]
    fn no_two_nodes_overlap() {
        let tree = sample();

        for shape in [Shape::Tree, Shape::List] {
            let layout = place(&tree, &HashSet::new(), shape);
            for (index, one) in layout.places.iter().enumerate() {
                for other in &layout.places[index + 1..] {
                    let apart = one.x + one.width <= other.x
                        || other.x + other.width <= one.x
                        || one.y.abs_diff(other.y) >= NODE_HEIGHT;
                    assert!(apart, "{} is on {}", one.process.path, other.process.path);
                }
            }
        }
    }

    #[test]
    fn nothing_below_a_collapsed_supervisor_is_placed() {
        let tree = sample();
        let collapsed = HashSet::from(["root/domains/recruit".to_owned()]);

        let layout = place(&tree, &collapsed, Shape::Tree);

        let below = |place: &Place<'_>| place.process.path.starts_with("root/domains/recruit/");
        assert!(!layout.places.iter().any(below));
    }

    #[test]
    fn a_large_tree_is_collapsed_until_it_can_be_read() {
        let mut tree = sample();
        let queue = tree.children[2].children[0].children[2].children[1].clone();
        let worker = tree.children[1].children[0].clone();
        let attempts = &mut tree.children[2].children[0].children[2].children[1];
        attempts.children = (0..VISIBLE_MAX)
            .map(|number| Process { path: format!("{}/{number}", queue.path), ..worker.clone() })
            .collect();

        let collapsed = collapse(&tree);

        assert_eq!(collapsed, HashSet::from([queue.path]));
        assert!(place(&tree, &collapsed, Shape::Tree).places.len() <= VISIBLE_MAX);
    }
}
