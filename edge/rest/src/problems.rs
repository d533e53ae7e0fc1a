//! What problems mean: `/problems` and `/problems/<code>`, where the `type` of every problem leads.
//!
//! The words stand once, in docs/problems.md, and are kept in the binary. A browser gets a page,
//! everything else JSON. `tests/contracts.rs` compares the tables with the codes in the sources.

use std::sync::LazyLock;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use serde::Serialize;

use crate::page;
use crate::problem::Problem;

/// Where the pages are.
pub(crate) const PROBLEMS: &str = "/problems";

const WORDS: &str = include_str!("../../../docs/problems.md");

/// What is to be known of a code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Meaning {
    /// The stable code.
    pub code: &'static str,
    /// The status it comes with, for example `422`.
    pub status: &'static str,
    /// What it means, as a sentence.
    pub meaning: &'static str,
    /// What to do about it, as a sentence.
    pub fix: &'static str,
    /// The part of the platform it comes from.
    pub area: &'static str,
}

static MEANINGS: LazyLock<Vec<Meaning>> = LazyLock::new(|| read(WORDS));

/// What is to be known of every code, in the order of docs/problems.md.
#[must_use]
pub fn meanings() -> &'static [Meaning] {
    &MEANINGS
}

/// The rows of the tables: `` | `code` | status | meaning | fix | ``.
fn read(words: &'static str) -> Vec<Meaning> {
    let mut area = "";
    let mut meanings = Vec::new();
    for line in words.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            area = title;
        }
        let Some(row) = line.strip_prefix("| `").and_then(|row| row.strip_suffix(" |")) else {
            continue;
        };
        let cells: Vec<&str> = row.split(" | ").collect();
        if let [code, status, meaning, fix] = cells[..] {
            let code = code.trim_end_matches('`');
            meanings.push(Meaning { code, status, meaning, fix, area });
        }
    }
    meanings
}

/// All codes.
pub(crate) async fn index(headers: HeaderMap) -> Response {
    if !page::is_wanted(&headers) {
        return Json(meanings()).into_response();
    }
    let areas = meanings().chunk_by(|one, next| one.area == next.area);
    let body = html! {
        h1 { "Problems" }
        p {
            "Every error of the API is a problem of RFC 9457. Its "
            code { "code" } " does not change; its " code { "type" } " leads here."
        }
        @for area in areas {
            h2 { (area[0].area) }
            div.wide {
                table {
                    thead { tr { th { "Code" } th { "Status" } th { "What it means" } } }
                    tbody {
                        @for meaning in area {
                            tr {
                                td { a href=(address(meaning.code)) { code { (meaning.code) } } }
                                td { (meaning.status) }
                                td { (page::words(meaning.meaning)) }
                            }
                        }
                    }
                }
            }
        }
    };
    page::answer("Problems", &body)
}

/// One code.
pub(crate) async fn one(headers: HeaderMap, Path(code): Path<String>) -> Response {
    let Some(meaning) = meanings().iter().find(|meaning| meaning.code == code) else {
        return Problem::bare(StatusCode::NOT_FOUND).into_response();
    };
    if page::is_wanted(&headers) {
        return page::answer(meaning.code, &told(meaning));
    }
    ([(header::VARY, "accept")], Json(meaning)).into_response()
}

fn told(meaning: &Meaning) -> Markup {
    html! {
        p { a href=(PROBLEMS) { "All problems" } }
        h1 { code { (meaning.code) } }
        dl {
            dt { "Status" } dd { (meaning.status) }
            dt { "What it means" } dd { (page::words(meaning.meaning)) }
            dt { "What to do" } dd { (page::words(meaning.fix)) }
            dt { "Where" } dd { (meaning.area) }
        }
    }
}

fn address(code: &str) -> String {
    format!("{PROBLEMS}/{code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_a_table_is_a_meaning() {
        let words = "## Area\n\n| Code | Status |\n|---|---|\n| `a_b` | 404 | It is. | Do `x`. |\n";

        let read = read(words);

        let expected =
            Meaning { code: "a_b", status: "404", meaning: "It is.", fix: "Do `x`.", area: "Area" };
        assert_eq!(read, [expected]);
    }

    #[test]
    fn every_row_of_the_page_is_read() {
        let rows = WORDS.lines().filter(|line| line.starts_with("| `")).count();

        assert_eq!(meanings().len(), rows);
        assert!(rows > 90, "{rows}");
    }
}
