//! Jobs: found by a filter, shown with all that is known of them, acted on one by one or many.
//!
//! The pages stand still and are loaded anew, by themselves while something is done to many jobs.
//! Everything is asked of the operator's operations, as whoever looks.

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Redirect, Response};
use maud::{Markup, html};
use platform::Access;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::jobs_drawing::{bulks, details, filter_box, preview, table};
use crate::pages;
use crate::request::Visit;
use crate::router::{Console, is_own_form};
use crate::shell::{self, Shell};
use crate::sign_in::safe_path;
use crate::viewer::query_field;
use crate::watching::sentence;
use crate::words::in_query;

/// The address of the list.
const ADDRESS: &str = "/jobs";
/// How soon the page is loaded again while something is done to many jobs, in seconds.
const AGAIN_SECONDS: &str = "2";
/// So many jobs are on a page.
const PAGE: u32 = 50;

/// What the forms of these pages may ask for.
const OPERATIONS: [&str; 8] = [
    "retry_job",
    "run_job_now",
    "cancel_job",
    "discard_job",
    "delete_job",
    "edit_job",
    "start_bulk",
    "cancel_bulk",
];

async fn ask(
    console: &Console,
    visit: &Visit,
    operation: &str,
    input: Value,
) -> Result<Value, String> {
    let scope = visit.identity.scope(Uuid::now_v7());
    let answer = console.system.call(&scope, "operator", operation, input).await;
    answer.map_err(|error| sentence(error.message()))
}

/// The list: `/jobs?filter=…`, and with `change=…` what that would do to all that fit.
pub(crate) async fn list(State(console): State<Console>, visit: Visit) -> Response {
    if !visit.allows(Access::Operate) {
        return page(&console, &visit, "Jobs", &html! {}, false);
    }
    let field = |name| query_field(&visit.url, name).filter(|value| !value.is_empty());
    let filter = field("filter").unwrap_or_default();
    let mut input = json!({ "filter": filter, "limit": PAGE });
    if let Some(cursor) = field("cursor") {
        input["cursor"] = cursor.into();
    }
    let jobs = ask(&console, &visit, "list_jobs", input).await;
    let count = ask(&console, &visit, "count_jobs", json!({ "filter": filter })).await;
    let many = ask(&console, &visit, "list_bulks", json!({})).await.unwrap_or_default();
    let looked = match field("change") {
        Some(change) => {
            let input = json!({ "change": change, "filter": filter });
            Some((change, ask(&console, &visit, "preview_bulk", input).await))
        }
        None => None,
    };
    let csrf = &visit.viewer.csrf;
    let content = html! {
        main id="main" class="page" tabindex="-1" {
            header class="page-head" {
                h1 { "Jobs" }
                p { (counted(count.as_ref().ok())) }
            }
            (filter_box(&filter))
            @if let Some(problem) = field("problem") {
                p class="notice is-refused" role="alert" { (problem) }
            }
            @if let Some(done) = field("done") {
                p class="notice is-done" role="status" { (done_words(&done)) }
            }
            @match &looked {
                Some((change, Ok(answer))) => (preview(csrf, change, &filter, answer)),
                Some((_, Err(problem))) => p class="notice is-refused" role="alert" { (problem) },
                None => {}
            }
            @match &jobs {
                Ok(answer) => (table(answer, &filter)),
                Err(problem) => p class="notice is-refused" role="alert" { (problem) },
            }
            (bulks(csrf, &many))
        }
    };
    let is_busy = many["items"]
        .as_array()
        .is_some_and(|items| items.iter().any(|bulk| bulk["state"] == "running"));
    page(&console, &visit, "Jobs", &content, is_busy && looked.is_none())
}

/// One job: `/jobs/{job_id}`.
pub(crate) async fn one(
    State(console): State<Console>,
    visit: Visit,
    Path(job_id): Path<String>,
) -> Response {
    if !visit.allows(Access::Operate) {
        return page(&console, &visit, "Job", &html! {}, false);
    }
    let field = |name| query_field(&visit.url, name).filter(|value| !value.is_empty());
    let job = ask(&console, &visit, "get_job", json!({ "job_id": job_id })).await;
    let content = html! {
        main id="main" class="page" tabindex="-1" {
            @if let Some(problem) = field("problem") {
                p class="notice is-refused" role="alert" { (problem) }
            }
            @if let Some(done) = field("done") {
                p class="notice is-done" role="status" { (done_words(&done)) }
            }
            @match &job {
                Ok(job) => (details(&visit.viewer.csrf, job)),
                Err(problem) => {
                    p class="notice is-refused" role="alert" { (problem) }
                    p { a href=(ADDRESS) { "All jobs" } }
                }
            }
        }
    };
    page(&console, &visit, "Job", &content, false)
}

fn page(
    console: &Console,
    visit: &Visit,
    title: &str,
    content: &Markup,
    is_busy: bool,
) -> Response {
    let title = format!("{title} · Finnest");
    let shell = Shell {
        title: &title,
        current: ADDRESS,
        viewer: &visit.viewer,
        theme: visit.theme,
        menu: &pages::menu(console.system.catalog(), visit),
        session: None,
        now: console.system.clock().now().timestamp_millis(),
    };
    if !visit.allows(Access::Operate) {
        return Html(shell::document(&shell, &pages::explain(visit))).into_response();
    }
    let mut response = Html(shell::document(&shell, &content.0)).into_response();
    if is_busy {
        let again = header::HeaderValue::from_static(AGAIN_SECONDS);
        response.headers_mut().insert(header::REFRESH, again);
    }
    response
}

/// How many jobs the list is of.
fn counted(count: Option<&Value>) -> String {
    match count {
        Some(count) if count["is_exact"] == true => format!("{} fit.", count["count"]),
        Some(count) => format!("At least {} fit.", count["count"]),
        None => String::new(),
    }
}

/// What a form has done.
fn done_words(operation: &str) -> &'static str {
    match operation {
        "retry_job" => "The job is available again.",
        "run_job_now" => "The job is available now.",
        "cancel_job" => "The job is cancelled.",
        "discard_job" => "The job is discarded.",
        "delete_job" => "The job is deleted.",
        "edit_job" => "The job is changed.",
        "start_bulk" => "It is being done; below is how far it is.",
        "cancel_bulk" => "It is stopped. What was done stays done.",
        _ => "",
    }
}

/// Every form of these pages: `do` names the operation, the other fields are its input.
pub(crate) async fn act(State(console): State<Console>, visit: Visit, form: String) -> Response {
    if !is_own_form(&visit, &form) || !visit.allows(Access::Operate) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let form = format!("?{form}");
    let back = query_field(&form, "back").unwrap_or_else(|| ADDRESS.to_owned());
    let operation = query_field(&form, "do").unwrap_or_default();
    let Some(operation) = OPERATIONS.into_iter().find(|known| *known == operation) else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    let done = match input(operation, &form) {
        Ok(input) => ask(&console, &visit, operation, input).await,
        Err(problem) => Err(problem),
    };
    let back = safe_path(&back);
    let between = if back.contains('?') { '&' } else { '?' };
    let to = match done {
        Ok(_) => format!("{back}{between}done={operation}"),
        Err(problem) => format!("{back}{between}problem={}", in_query(&problem)),
    };
    Redirect::to(&to).into_response()
}

/// The input of an operation, from the fields of its form.
fn input(operation: &str, form: &str) -> Result<Value, String> {
    let field = |name| query_field(form, name);
    let names: &[&str] = match operation {
        "start_bulk" => &["change", "filter"],
        "cancel_bulk" => &["bulk_id"],
        _ => &["job_id"],
    };
    let given = names.iter().filter_map(|name| Some(((*name).to_owned(), field(name)?.into())));
    let mut input: Map<String, Value> = given.collect();
    if operation != "edit_job" {
        return Ok(input.into());
    }
    for name in ["version", "scheduled_at"] {
        input.extend(field(name).map(|text| (name.to_owned(), text.trim().into())));
    }
    for name in ["args", "meta", "priority", "max_attempts"] {
        let Some(text) = field(name) else { continue };
        let value = serde_json::from_str(&text)
            .map_err(|error| format!("What is given as {name} is not JSON: {error}."))?;
        input.insert(name.to_owned(), value);
    }
    if let Some(tags) = field("tags") {
        input.insert("tags".to_owned(), tags.split_whitespace().collect());
    }
    Ok(input.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_becomes_the_input_of_its_operation() {
        let edit = "?do=edit_job&job_id=7&args=%7B%22to%22%3A1%7D&priority=3&tags=eu+night";

        assert_eq!(
            input("edit_job", edit),
            Ok(json!({ "job_id": "7", "args": { "to": 1 }, "priority": 3,
                "tags": ["eu", "night"] }))
        );
        assert_eq!(
            input("start_bulk", "?change=retry&filter=tag%3Aeu&x=1"),
            Ok(json!({ "change": "retry", "filter": "tag:eu" }))
        );
        let wrong = input("edit_job", "?job_id=7&args=%7B").expect_err("this is no JSON");
        assert!(wrong.starts_with("What is given as args is not JSON"), "{wrong}");
    }
}
