//! A rendering: fixed text with holes, so that only what fills the holes travels again.
//!
//! Any template engine may write the text: where a value may change, the template prints a
//! [`Mark`] obtained from [`Slots`], and [`Rendered::build`] splits the finished text at the
//! marks. What is written without a mark becomes fixed text; if it differs the next time, the
//! fixed text is sent anew. A forgotten mark therefore costs bytes, never correctness.

use std::cell::RefCell;
use std::fmt;

/// Text between the holes and what fills them; `statics.len() == dynamics.len() + 1`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    pub(crate) statics: Vec<String>,
    pub(crate) dynamics: Vec<Dynamic>,
}

/// What fills a hole.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Dynamic {
    /// Escaped text.
    Text(String),
    /// A part with holes of its own.
    Tree(Rendered),
    /// Entries that may come, go and move.
    Keyed(Keyed),
    /// An element with an identity, sent alone when it alone changes.
    Component { key: String, rendered: Rendered },
    /// A component whose content is kept elsewhere; only the differ makes these.
    Cid(u64),
}

/// Entries with keys; an entry that only moves is not sent again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Keyed {
    pub(crate) statics: Vec<String>,
    pub(crate) entries: Vec<(String, Vec<Dynamic>)>,
}

impl Keyed {
    /// A list of entries. Entries normally share their fixed text; where they do not, each
    /// carries its own.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = (String, Rendered)>) -> Self {
        let entries: Vec<(String, Rendered)> = entries.into_iter().collect();
        let Some((_, first)) = entries.first() else {
            return Self { statics: vec![String::new(), String::new()], entries: Vec::new() };
        };
        let statics = first.statics.clone();
        if entries.iter().all(|(_, entry)| entry.statics == statics) {
            let entries = entries.into_iter().map(|(key, entry)| (key, entry.dynamics)).collect();
            return Self { statics, entries };
        }
        Self {
            statics: vec![String::new(), String::new()],
            entries: entries
                .into_iter()
                .map(|(key, entry)| (key, vec![Dynamic::Tree(entry)]))
                .collect(),
        }
    }

    /// A list of components, which keep their identity while the list around them changes.
    #[must_use]
    pub fn components(entries: impl IntoIterator<Item = (String, Rendered)>) -> Self {
        Self {
            statics: vec![String::new(), String::new()],
            entries: entries
                .into_iter()
                .map(|(key, rendered)| (key.clone(), vec![Dynamic::Component { key, rendered }]))
                .collect(),
        }
    }
}

/// Where a template stands while it is written: hands out the marks of the holes.
#[derive(Debug, Default)]
pub struct Slots(RefCell<Vec<Dynamic>>);

/// A hole, printed by a template in place of the value. Holds no character that is escaped.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

/// NUL occurs in no HTML document, so no honest text can contain it.
const FENCE: char = '\0';

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{FENCE}{}{FENCE}", self.0)
    }
}

impl Slots {
    /// A hole filled with text, which is escaped here.
    pub fn text(&self, value: impl fmt::Display) -> Mark {
        self.fill(Dynamic::Text(escape(&value.to_string())))
    }

    /// A hole filled with a part that has holes of its own.
    pub fn part(&self, part: Rendered) -> Mark {
        self.fill(Dynamic::Tree(part))
    }

    /// A hole filled with a list.
    pub fn list(&self, list: Keyed) -> Mark {
        self.fill(Dynamic::Keyed(list))
    }

    /// A hole filled with a component: exactly one element, known by `key` within the view.
    pub fn component(&self, key: impl Into<String>, rendered: Rendered) -> Mark {
        self.fill(Dynamic::Component { key: key.into(), rendered })
    }

    fn fill(&self, dynamic: Dynamic) -> Mark {
        let mut dynamics = self.0.borrow_mut();
        dynamics.push(dynamic);
        Mark(dynamics.len() - 1)
    }
}

impl Rendered {
    /// Runs a template and splits what it wrote at the marks.
    pub fn build(template: impl FnOnce(&Slots) -> String) -> Self {
        let slots = Slots::default();
        let text = template(&slots);
        Self::split(&text, slots.0.into_inner()).unwrap_or_else(|| {
            tracing::error!("a template lost or doubled a mark; its part is left empty");
            Self::fixed("<div></div>")
        })
    }

    /// A rendering without holes.
    #[must_use]
    pub fn fixed(text: impl Into<String>) -> Self {
        Self { statics: vec![text.into()], dynamics: Vec::new() }
    }

    fn split(text: &str, dynamics: Vec<Dynamic>) -> Option<Self> {
        let mut holes: Vec<Option<Dynamic>> = dynamics.into_iter().map(Some).collect();
        let mut statics = Vec::with_capacity(holes.len() + 1);
        let mut ordered = Vec::with_capacity(holes.len());
        for (index, piece) in text.split(FENCE).enumerate() {
            if index % 2 == 0 {
                statics.push(piece.to_owned());
            } else {
                ordered.push(holes.get_mut(piece.parse::<usize>().ok()?)?.take()?);
            }
        }
        (statics.len() == ordered.len() + 1).then_some(Self { statics, dynamics: ordered })
    }

    /// The whole as HTML: the page as it is before, or without, a connection.
    #[must_use]
    pub fn to_html(&self) -> String {
        let mut html = String::new();
        write_html(&self.statics, &self.dynamics, &mut html);
        html
    }
}

fn write_html(statics: &[String], dynamics: &[Dynamic], html: &mut String) {
    for (index, fixed) in statics.iter().enumerate() {
        html.push_str(fixed);
        match dynamics.get(index) {
            Some(Dynamic::Text(text)) => html.push_str(text),
            Some(Dynamic::Tree(part) | Dynamic::Component { rendered: part, .. }) => {
                write_html(&part.statics, &part.dynamics, html);
            }
            Some(Dynamic::Keyed(list)) => {
                for (_, entry) in &list.entries {
                    write_html(&list.statics, entry, html);
                }
            }
            Some(Dynamic::Cid(_)) | None => {}
        }
    }
}

/// Escapes text for element content and for quoted attributes alike.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            FENCE => {}
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_split_at_its_marks_in_the_order_of_the_text() {
        let rendered = Rendered::build(|slots| {
            let second = slots.text("second");
            let first = slots.text("first");
            format!("<p class=\"{first}\">{second}</p>")
        });

        assert_eq!(rendered.statics, ["<p class=\"", "\">", "</p>"]);
        assert_eq!(rendered.to_html(), "<p class=\"first\">second</p>");
    }

    #[test]
    fn text_in_a_hole_cannot_become_markup() {
        let rendered =
            Rendered::build(|slots| format!("<p>{}</p>", slots.text("<script>'\"&\0</script>")));

        assert_eq!(rendered.to_html(), "<p>&lt;script&gt;&#39;&quot;&amp;&lt;/script&gt;</p>");
    }

    #[test]
    fn a_forged_mark_in_fixed_text_leaves_the_part_empty() {
        let rendered = Rendered::build(|slots| {
            let mark = slots.text("secret");
            format!("<p>{mark}{mark}</p>")
        });

        assert_eq!(rendered.to_html(), "<div></div>");
    }

    #[test]
    fn entries_of_different_shape_keep_their_own_text() {
        let list = Keyed::new([
            ("a".to_owned(), Rendered::fixed("<li>a</li>")),
            ("b".to_owned(), Rendered::fixed("<li class=\"b\">b</li>")),
        ]);

        let rendered = Rendered::build(|slots| format!("<ul>{}</ul>", slots.list(list)));

        assert_eq!(rendered.to_html(), "<ul><li>a</li><li class=\"b\">b</li></ul>");
    }
}
