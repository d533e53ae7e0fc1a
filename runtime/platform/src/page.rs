//! Pages: what an operator or user of a domain sees, declared as a list of panels.

use kernel::Event;

use crate::operation::{Command, Query};

/// A page of the console: a title and its panels, in reading order.
#[derive(Debug, Clone)]
pub struct Page {
    title: &'static str,
    panels: Vec<Panel>,
}

/// One part of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Panel {
    /// The rows a query answers, by its operation's name.
    Table(&'static str),
    /// The input of a command, by its operation's name.
    Form(&'static str),
    /// Events of a type as they are sealed.
    Feed(&'static str),
}

impl Page {
    /// A page with no panels yet.
    #[must_use]
    pub const fn new(title: &'static str) -> Self {
        Self { title, panels: Vec::new() }
    }
    /// Shows the rows of a query.
    #[must_use]
    pub fn table<Q: Query>(mut self) -> Self {
        self.panels.push(Panel::Table(Q::SPEC.name()));
        self
    }
    /// Offers a command.
    #[must_use]
    pub fn form<C: Command>(mut self) -> Self {
        self.panels.push(Panel::Form(C::SPEC.name()));
        self
    }
    /// Shows events as they happen.
    #[must_use]
    pub fn feed<E: Event>(mut self) -> Self {
        self.panels.push(Panel::Feed(E::TYPE.name));
        self
    }
    /// The title, as the menu shows it.
    #[must_use]
    pub const fn title(&self) -> &'static str {
        self.title
    }
    /// The panels, in reading order.
    #[must_use]
    pub fn panels(&self) -> &[Panel] {
        &self.panels
    }
}
