//! The pages that domains declare: a title and panels, folded from the catalog like every surface.
//!
//! They stand still and are loaded anew; the feed of events is where things move.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use chrono::DateTime;
use maud::{Markup, html};
use platform::{Access, Catalog, Domain, Page, Panel};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::request::Visit;
use crate::router::Console;
use crate::shell::{self, Shell};
use crate::watching::sentence;
use crate::words::fit;

/// How many columns a table has; what does not fit is in the API.
const COLUMNS_MAX: usize = 7;

/// How much of a value is shown.
const CELL_CHARACTERS_MAX: usize = 60;

/// What is the same on a page, so that nobody sees a table that shows them only refusals.
fn is_for(visit: &Visit, domain: &Domain, page: &Page) -> bool {
    page.panels().iter().any(|panel| match panel {
        Panel::Table(name) => domain
            .operations()
            .iter()
            .find(|operation| operation.spec.name() == *name)
            .is_some_and(|operation| visit.allows(operation.spec.access())),
        Panel::Form(_) | Panel::Feed(_) => false,
    })
}

/// The addresses and titles of the pages that the viewer may open.
pub(crate) fn menu(catalog: &Catalog, visit: &Visit) -> Vec<(String, String)> {
    let pages = catalog.domains().iter().flat_map(|domain| {
        domain.pages().iter().enumerate().map(move |(number, page)| (domain, number, page))
    });
    pages
        .filter(|(domain, _, page)| is_for(visit, domain, page))
        .map(|(domain, number, page)| {
            (format!("/pages/{}/{number}", domain.name()), page.title().to_owned())
        })
        .collect()
}

/// Shows one of them.
pub(crate) async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path((domain, number)): Path<(String, usize)>,
) -> Response {
    let catalog = console.system.catalog();
    let domain = catalog.domain(&domain);
    let Some((domain, page)) =
        domain.and_then(|domain| Some((domain, domain.pages().get(number)?)))
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut panels = Vec::new();
    for panel in page.panels() {
        if let Panel::Table(name) = panel {
            let scope = visit.identity.scope(Uuid::now_v7());
            let answer = console.system.call(&scope, domain.name().as_str(), name, json!({})).await;
            panels.push(match answer {
                Ok(value) => table(name, &value),
                Err(error) => html! {
                    p class="notice is-refused" role="alert" { (sentence(error.message())) }
                },
            });
        }
    }
    let content = html! {
        main id="main" class="page" tabindex="-1" {
            header class="page-head" {
                h1 { (page.title()) }
                p { "From the domain " (domain.name().as_str()) "." }
            }
            @for panel in panels { (panel) }
        }
    };
    let title = format!("{} · Finnest", page.title());
    let shell = Shell {
        title: &title,
        current: &visit.url,
        viewer: &visit.viewer,
        theme: visit.theme,
        menu: &menu(catalog, &visit),
        session: None,
        now: console.system.clock().now().timestamp_millis(),
    };
    Html(shell::document(&shell, &content.into_string())).into_response()
}

fn table(name: &str, answer: &Value) -> Markup {
    let rows = answer["items"].as_array().or_else(|| answer.as_array());
    let Some(rows) = rows else {
        return html! { pre class="card payload" { (answer) } };
    };
    let columns: Vec<&String> = match rows.first().and_then(Value::as_object) {
        Some(first) => columns(first),
        None => Vec::new(),
    };
    html! {
        div class="card table-card" {
            @if rows.is_empty() {
                div class="empty" {
                    p { strong { "Nothing to list." } }
                    p { (words(name)) " answers with no rows." }
                }
            } @else {
                table {
                    thead { tr { @for column in &columns { th scope="col" { (words(column)) } } } }
                    tbody {
                        @for row in rows {
                            tr { @for column in &columns { td { (cell(&row[column.as_str()])) } } }
                        }
                    }
                }
            }
        }
    }
}

/// What a person looks for first; identities come last.
fn columns(row: &Map<String, Value>) -> Vec<&String> {
    let mut columns: Vec<&String> = row.keys().collect();
    columns.sort_by_key(|column| column.ends_with("_id") || column.as_str() == "id");
    columns.truncate(COLUMNS_MAX);
    columns
}

fn words(name: &str) -> String {
    name.replace('_', " ")
}

fn cell(value: &Value) -> Markup {
    html! {
        @match value {
            Value::String(text) if Uuid::try_parse(text).is_ok() => {
                // The beginnings of ids that were made at one time are alike.
                span class="mono nowrap" title=(text) { "…" (text[text.len() - 8..]) }
            }
            Value::String(text) => @match DateTime::parse_from_rfc3339(text) {
                Ok(time) => time class="nowrap" datetime=(text) { (time.format("%Y-%m-%d %H:%M")) },
                Err(_) => (fit(text, CELL_CHARACTERS_MAX)),
            },
            other => (fit(&plain(other), CELL_CHARACTERS_MAX)),
        }
    }
}

/// A value without its brackets: lists as enumerations, things by what names them.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => words(text),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            fields.values().find_map(Value::as_str).map_or_else(|| value.to_string(), words)
        }
        other => other.to_string(),
    }
}

/// What somebody sees who may not see a page.
pub(crate) fn explain(visit: &Visit) -> String {
    let may_read = visit.allows(Access::Read);
    html! {
        main id="main" class="page" tabindex="-1" {
            section class="card notice-page" {
                h1 { "This page is for operators" }
                p {
                    "It shows and controls the running platform, which all organisations share. "
                    "You are signed in as " b { (visit.viewer.name) } " with the role "
                    b { (visit.viewer.role) } " of " b { (visit.viewer.org) } "."
                }
                @if may_read {
                    p {
                        "What your own organisation does is on the page "
                        a href="/events" { "Events" } "."
                    }
                }
                p {
                    "Your sessions, tokens and second factor are under "
                    a href="/account" { "Account" } "."
                }
            }
        }
    }
    .into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_a_query_become_a_table() {
        let answer = json!({ "items": [{ "job_title": "Welder", "open": true }] });

        let html = table("list_job_orders", &answer).into_string();

        assert!(html.contains("<th scope=\"col\">job title</th>"), "{html}");
        assert!(html.contains("<td>Welder</td>"), "{html}");
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        let cases = [
            (json!("01a1fc4e-1976-7176-8cc4-cb83d9fe2a30"), "…d9fe2a30</span>"),
            (json!("2026-11-21T04:12:19.187603Z"), ">2026-11-21 04:12</time>"),
            (json!(["rf_scanning", "dogging"]), "rf scanning, dogging"),
            (json!([{ "code": "white_card", "expires_on": null }]), "white card"),
            (json!(null), ""),
            (json!(12), "12"),
        ];

        for (value, expected) in cases {
            let html = cell(&value).into_string();
            assert!(html.ends_with(expected), "{value} became {html}");
        }
    }

    #[test]
    fn a_query_without_rows_says_so() {
        assert!(table("list_job_orders", &json!([])).into_string().contains("Nothing to list."));
    }
}
