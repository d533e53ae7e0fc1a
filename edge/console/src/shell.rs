//! The shell around every page: head, menu, connection banner, keys.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::assets;
use crate::viewer::Viewer;

/// A page inside the shell.
#[derive(Debug)]
pub(crate) struct Shell<'a> {
    pub title: &'a str,
    /// The address of the page in the menu.
    pub current: &'a str,
    pub viewer: &'a Viewer,
    pub theme: Theme,
    /// The pages that domains declare, as address and title.
    pub menu: &'a [(String, String)],
    /// The signed session of a page that stays alive.
    pub session: Option<&'a str>,
    /// Milliseconds since 1970.
    pub now: i64,
}

/// How the viewer wants the console to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Theme {
    #[default]
    Dark,
    Light,
    /// As the device says.
    Device,
}

impl Theme {
    /// The theme with this name.
    pub(crate) fn from_name(name: &str) -> Self {
        match name {
            "light" => Self::Light,
            "device" => Self::Device,
            _ => Self::Dark,
        }
    }

    /// The name for cookies and attributes.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }

    /// What follows when the viewer asks for another one.
    fn next(self) -> Self {
        match self {
            Self::Dark => Self::Light,
            Self::Light => Self::Device,
            Self::Device => Self::Dark,
        }
    }
}

/// The pages of the platform itself.
const PAGES: [(&str, &str); 4] =
    [("/", "Tree"), ("/events", "Events"), ("/queues", "Queues"), ("/jobs", "Jobs")];

/// The whole document around `content`, which is the HTML of a page.
pub(crate) fn document(shell: &Shell<'_>, content: &str) -> String {
    let head = Head {
        title: shell.title,
        theme: shell.theme,
        csrf: Some(&shell.viewer.csrf),
        now: shell.now,
    };
    let body = html! {
        a class="skip" href="#main" { "Skip to the page" }
        (bar(shell))
        @match shell.session {
            Some(session) => {
                div id="phx-console" data-phx-main data-phx-session=(session) data-phx-static="" {
                    (PreEscaped(content))
                }
                (banner())
            }
            None => (PreEscaped(content)),
        }
        (keys())
    };
    bare_document(&head, &body)
}

/// What the head of a document says.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub title: &'a str,
    pub theme: Theme,
    /// The token of the session; without one the page has no script.
    pub csrf: Option<&'a str>,
    /// Milliseconds since 1970, so that the script counts by the server's clock.
    pub now: i64,
}

/// A document without bar and menu.
pub(crate) fn bare_document(head: &Head<'_>, body: &Markup) -> String {
    let theme = match head.theme {
        Theme::Device => None,
        Theme::Dark => Some("finnest-dark"),
        Theme::Light => Some("finnest-light"),
    };
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme] {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="dark light";
                title { (head.title) }
                link rel="icon" type="image/svg+xml" href=(assets::address("icon.svg"));
                link rel="stylesheet" href=(assets::address("console.css"));
                @if let Some(csrf) = head.csrf {
                    meta name="csrf-token" content=(csrf);
                    meta name="server-time" content=(head.now);
                    script defer src=(assets::address("console.js")) {}
                }
            }
            body { (body) }
        }
    }
    .into_string()
}

/// The mark of the platform: a tree.
pub(crate) fn brand() -> Markup {
    html! {
        span class="brand" {
            svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" {
                path class="brand-line" d="M5 12H10M10 12C13 12 12 5.5 16 5.5H18" {}
                path class="brand-line" d="M10 12C13 12 12 18.5 16 18.5H18" {}
                circle class="brand-root" cx="5" cy="12" r="3" {}
                circle class="brand-leaf" cx="19" cy="5.5" r="2.4" {}
                circle class="brand-leaf" cx="19" cy="18.5" r="2.4" {}
            }
            span { "Finnest" }
        }
    }
}

fn bar(shell: &Shell<'_>) -> Markup {
    let viewer = shell.viewer;
    let current = |address: &str| (address == shell.current).then_some("page");
    let is_in_menu = shell.menu.iter().any(|(address, _)| address == shell.current);
    html! {
        header class="bar" {
            a class="home" href="/" aria-label="Finnest, to the tree" { (brand()) }
            nav class="menu" aria-label="Pages" {
                @for (address, title) in PAGES {
                    a href=(address) aria-current=[current(address)] { (title) }
                }
                @if !shell.menu.is_empty() {
                    details class="more" {
                        summary data-current=[is_in_menu.then_some("page")] { "Domains" }
                        div class="more-pages" {
                            @for (address, title) in shell.menu {
                                a href=(address) aria-current=[current(address)] { (title) }
                            }
                        }
                    }
                }
            }
            div class="who" {
                a class="who-name" href="/account" title="Your account"
                    aria-current=[current("/account")] {
                    b { (viewer.name) }
                    span { (viewer.role) " · " (viewer.org) }
                }
                a class="text-button who-link" href="/account" { "Account" }
                (theme_form(shell))
                button type="button" class="icon-button needs-script" data-keys
                    aria-label="Keys" title="Keys (?)" { "?" }
                form method="post" action="/sign-out" {
                    input type="hidden" name="_csrf_token" value=(viewer.csrf);
                    button type="submit" class="text-button" { "Sign out" }
                }
            }
        }
    }
}

fn theme_form(shell: &Shell<'_>) -> Markup {
    let (now, next) = (shell.theme.name(), shell.theme.next().name());
    html! {
        form method="post" action="/theme" class="theme" {
            input type="hidden" name="_csrf_token" value=(shell.viewer.csrf);
            input type="hidden" name="theme" value=(next);
            input type="hidden" name="back" value=(shell.current);
            button type="submit" class="icon-button"
                aria-label={ "Theme: " (now) ". Change to " (next) }
                title={ "Theme: " (now) } {
                svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true" {
                    @match shell.theme {
                        Theme::Dark => {
                            path d="M13.4 9.6A5.8 5.8 0 0 1 6.4 2.6A5.8 5.8 0 1 0 13.4 9.6z" {}
                        }
                        Theme::Light => {
                            circle cx="8" cy="8" r="3" {}
                            path d="M8 1v2M8 13v2M1 8h2M13 8h2M3 3l1.4 1.4M11.6 11.6L13 13" {}
                            path d="M13 3l-1.4 1.4M4.4 11.6L3 13" {}
                        }
                        Theme::Device => {
                            circle cx="8" cy="8" r="5.6" {}
                            path class="is-filled" d="M8 2.4a5.6 5.6 0 0 1 0 11.2z" {}
                        }
                    }
                }
            }
        }
    }
}

/// Shown by the style sheet alone, from the classes that the client puts on the page.
fn banner() -> Markup {
    html! {
        div class="banner is-client" role="status" {
            span class="spinner" aria-hidden="true" {}
            span {
                b { "Connection lost." }
                " What you see is the last known state; it comes alive again by itself."
            }
        }
        div class="banner is-server" role="status" {
            span class="spinner" aria-hidden="true" {}
            span { b { "This page stopped." } " The platform is starting it again." }
        }
        noscript {
            div class="banner is-static" role="note" {
                span {
                    "Without JavaScript this page stands still. "
                    "Load it again to see what changed."
                }
            }
        }
    }
}

fn keys() -> Markup {
    const KEYS: [(&[&str], &str); 8] = [
        (&["↑", "↓"], "the process above or below"),
        (&["←"], "to the supervisor, or fold it"),
        (&["→"], "unfold, or to the first child"),
        (&["Home", "End"], "the first or last process"),
        (&["Enter"], "select: show its details"),
        (&["k"], "give a reason and kill what is selected"),
        (&["Esc"], "close the details"),
        (&["?"], "these keys"),
    ];
    html! {
        dialog id="keys" class="keys-dialog" aria-labelledby="keys-title" {
            h2 id="keys-title" { "Keys" }
            dl {
                @for (keys, what) in KEYS {
                    div {
                        dt { @for key in keys { kbd { (key) } } }
                        dd { (what) }
                    }
                }
            }
            form method="dialog" { button class="btn" { "Close" } }
        }
    }
}
