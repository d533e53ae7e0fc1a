//! How jobs are drawn: a list, one with its details, and what is done to many.

use maud::{Markup, html};
use serde_json::Value;

use crate::words::{fit, in_query, short_span};

/// How much of an error is shown in a list.
const ERROR_CHARACTERS_MAX: usize = 90;
/// How many bulk operations are shown.
const BULKS_MAX: usize = 5;

/// What can be done to all jobs that fit: the name, and what a person calls it.
const CHANGES: [(&str, &str); 5] = [
    ("retry", "Retry"),
    ("run_now", "Run now"),
    ("cancel", "Cancel"),
    ("discard", "Discard"),
    ("delete", "Delete"),
];

/// Where a filter is typed, and what to do to all that fit is chosen.
pub(crate) fn filter_box(filter: &str) -> Markup {
    html! {
        form method="get" action="/jobs" class="kill-line" role="search" {
            input type="search" class="input" name="filter" value=(filter) autocomplete="off"
                aria-label="Filter"
                placeholder="queue:recruit state:discarded tag:eu error:\"timed out\"";
            button type="submit" class="btn" { "Find" }
        }
        details class="brief" {
            summary { "Qualifiers" }
            p {
                code { "queue: state: name: tag: org: priority: node: workflow: batch: chain: " }
                code { "partition: id: error: args.field: meta.field:" }
                " and, for inserted, scheduled, attempted and finished, "
                code { "inserted_after:2h inserted_before:2026-03-04" }
            }
        }
        @if !filter.is_empty() {
            p class="quiet choices" {
                "To all that fit:"
                @for (change, words) in CHANGES {
                    a class="small-button"
                        href={ "/jobs?filter=" (in_query(filter)) "&change=" (change) } { (words) }
                }
                a href="/jobs" { "Show all" }
            }
        }
    }
}

/// A page of jobs.
pub(crate) fn table(answer: &Value, filter: &str) -> Markup {
    let jobs = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let older = answer["next"]
        .as_str()
        .map(|next| format!("/jobs?filter={}&cursor={}", in_query(filter), in_query(next)));
    html! {
        div class="card table-card" {
            @if jobs.is_empty() {
                div class="empty" {
                    @match (&older, filter.is_empty()) {
                        (Some(_), _) => {
                            p { strong { "None among the jobs looked at so far." } }
                            p { "There are older ones behind them." }
                        }
                        (None, true) => {
                            p { strong { "There are no jobs." } }
                            p { "What reactions, schedules and domains leave for later is here." }
                        }
                        (None, false) => {
                            p { strong { "No job fits." } }
                            p { "Jobs that ended long ago are forgotten." }
                        }
                    }
                }
            } @else {
                table {
                    thead {
                        tr {
                            @for head in ["State", "Job", "Queue", "Attempts", "Tags"] {
                                th scope="col" { (head) }
                            }
                            th scope="col" { "Last error" }
                            th scope="col" { "Due, UTC" }
                        }
                    }
                    tbody { @for job in jobs { (row(job)) } }
                }
            }
        }
        @if let Some(older) = older {
            p { a href=(older) rel="next" { "Older jobs" } }
        }
    }
}

fn row(job: &Value) -> Markup {
    let last = job["errors"].as_array().and_then(|errors| errors.last());
    let error = last.and_then(|last| last["error"].as_str()).unwrap_or_default();
    html! {
        tr {
            td { (state(job)) }
            td class="nowrap" {
                a href={ "/jobs/" (text(&job["job_id"])) } { b { (text(&job["name"])) } }
            }
            td { (text(&job["queue"])) }
            td class="nowrap" { (job["attempt"]) " of " (job["max_attempts"]) }
            td { (words(&job["tags"])) }
            td class="payload" { (fit(error, ERROR_CHARACTERS_MAX)) }
            td class="nowrap" { (time(&job["scheduled_at"])) }
        }
    }
}

fn state(job: &Value) -> Markup {
    let state = text(&job["state"]);
    let waits = job["waits_for"].as_u64().unwrap_or_default();
    html! {
        span class=(if state == "discarded" { "is-alarming" } else { "" }) { (state) }
        @if waits > 0 { span class="quiet" { ", waits for " (waits) } }
    }
}

/// One job with all that is known of it.
pub(crate) fn details(csrf: &str, job: &Value) -> Markup {
    let job_id = text(&job["job_id"]);
    html! {
        header class="page-head" {
            h1 { (text(&job["name"])) }
            p { (state(job)) " · " a href={ "/jobs?filter=queue%3A" (text(&job["queue"])) } {
                (text(&job["queue"])) } " · " span class="mono" { (job_id) } }
        }
        div class="choices" {
            @for (operation, words) in offered(text(&job["state"])) {
                (button(csrf, operation, words, job_id))
            }
        }
        div class="card table-card" { table { tbody {
            @for (name, value) in facts(job) {
                tr { th scope="row" { (name) } td class="payload" { (value) } }
            }
            tr { th scope="row" { "Arguments" } td { (pretty(&job["args"])) } }
            tr { th scope="row" { "Meta" } td { (pretty(&job["meta"])) } }
            @if !job["result"].is_null() {
                tr { th scope="row" { "Result" } td { (pretty(&job["result"])) } }
            }
        } } }
        h2 { "Errors" }
        (errors(&job["errors"]))
        @if matches!(text(&job["state"]), "available" | "scheduled" | "retryable") {
            (edit(csrf, job))
        }
    }
}

/// What can be done to a job in a state; whether it is, the platform decides.
fn offered(state: &str) -> &'static [(&'static str, &'static str)] {
    match state {
        "available" | "executing" => &[("cancel_job", "Cancel"), ("discard_job", "Discard")],
        "scheduled" | "retryable" => {
            &[("run_job_now", "Run now"), ("cancel_job", "Cancel"), ("discard_job", "Discard")]
        }
        "cancelled" | "discarded" => &[("retry_job", "Retry"), ("delete_job", "Delete")],
        _ => &[("delete_job", "Delete")],
    }
}

fn button(csrf: &str, operation: &str, words: &str, job_id: &str) -> Markup {
    let back = match operation {
        "delete_job" => "/jobs".to_owned(),
        _ => format!("/jobs/{job_id}"),
    };
    html! {
        form method="post" action="/jobs" {
            (hidden(csrf, operation, &back))
            input type="hidden" name="job_id" value=(job_id);
            button type="submit" class="small-button" { (words) }
        }
    }
}

fn hidden(csrf: &str, operation: &str, back: &str) -> Markup {
    html! {
        input type="hidden" name="_csrf_token" value=(csrf);
        input type="hidden" name="do" value=(operation);
        input type="hidden" name="back" value=(back);
    }
}

fn facts(job: &Value) -> Vec<(&'static str, Markup)> {
    let attempts = format!(
        "{} of {}, {} of them excused",
        job["attempt"], job["max_attempts"], job["excused"]
    );
    let took = job["duration_us"].as_u64().map(short_span).unwrap_or_default();
    let mut facts = vec![
        ("Attempts", html! { (attempts) }),
        ("Priority", html! { (job["priority"]) }),
        ("Tags", html! { (words(&job["tags"])) }),
        ("Enqueued", time(&job["inserted_at"])),
        ("Due", time(&job["scheduled_at"])),
        (
            "Last attempt",
            html! {
                (time(&job["attempted_at"])) " " (text(&job["node"])) " " (took)
            },
        ),
        ("Finished", time(&job["finished_at"])),
        ("Organisation", html! { (text(&job["org_id"])) }),
    ];
    let links = [("Workflow", "workflow", "workflow_id"), ("Batch", "batch", "batch_id")];
    for (name, qualifier, field) in links {
        if let Some(id) = job[field].as_str() {
            let address = format!("/jobs?filter={qualifier}%3A{id}");
            facts.push((
                name,
                html! { a href=(address) { (id) } " " (text(&job["workflow_step"])) },
            ));
        }
    }
    let keys =
        [("Unique by", "unique_key"), ("Chain", "chain_key"), ("Counted as", "partition_key")];
    for (name, field) in keys {
        if let Some(key) = job[field].as_str() {
            facts.push((name, html! { (key) }));
        }
    }
    if let Some(count @ 1..) = job["waits_for"].as_u64() {
        facts.push(("Waits for", html! { (count) " other jobs to end" }));
    }
    facts
}

fn errors(errors: &Value) -> Markup {
    let errors = errors.as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        div class="card table-card" {
            @if errors.is_empty() {
                div class="empty" { p { strong { "Nothing went wrong so far." } } }
            } @else {
                table { tbody {
                    @for error in errors.iter().rev() {
                        tr {
                            td class="nowrap" { "attempt " (error["attempt"]) }
                            td class="nowrap" { (time(&error["at"])) }
                            td class="payload" {
                                (text(&error["error"]))
                                @for line in error["stack"].as_array().into_iter().flatten() {
                                    br; (text(line))
                                }
                            }
                        }
                    }
                } }
            }
        }
    }
}

fn edit(csrf: &str, job: &Value) -> Markup {
    let job_id = text(&job["job_id"]);
    let tags: Vec<&str> =
        job["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = [
        ("args", "Arguments", job["args"].to_string()),
        ("meta", "Meta", job["meta"].to_string()),
        ("tags", "Tags, with blanks between", tags.join(" ")),
        ("priority", "Priority, from 0, the first, to 9", job["priority"].to_string()),
        ("max_attempts", "Attempts allowed", job["max_attempts"].to_string()),
        ("scheduled_at", "Due, UTC", text(&job["scheduled_at"]).to_owned()),
    ];
    html! {
        details class="card" {
            summary { "Edit" }
            form method="post" action="/jobs" class="kill" {
                (hidden(csrf, "edit_job", &format!("/jobs/{job_id}")))
                input type="hidden" name="job_id" value=(job_id);
                input type="hidden" name="version" value=(text(&job["version"]));
                @for (name, words, value) in fields {
                    label for={ "edit-" (name) } { (words) }
                    input type="text" class="input" id={ "edit-" (name) } name=(name)
                        value=(value) autocomplete="off";
                }
                p class="quiet" {
                    "If the job is claimed or edited by others meanwhile, nothing is changed."
                }
                button type="submit" class="btn btn-accent" { "Change the job" }
            }
        }
    }
}

/// What a change would do to all jobs that fit, and the button that does it.
pub(crate) fn preview(csrf: &str, change: &str, filter: &str, answer: &Value) -> Markup {
    let fits = &answer["fits"];
    let least = if fits["is_exact"] == true { "" } else { "At least " };
    let words = CHANGES.iter().find(|(name, _)| *name == change).map_or(change, |(_, it)| it);
    let back = format!("/jobs?filter={}", in_query(filter));
    html! {
        section class="card" aria-label="Preview" {
            h2 { (words) " all that fit?" }
            p { (least) (fits["count"]) " jobs fit. Nothing is done yet." }
            @for (reason, count) in answer["refusals"].as_object().into_iter().flatten() {
                p class="quiet" { (count) " would be left as they are: " (reason) }
            }
            form method="post" action="/jobs" class="lift" {
                (hidden(csrf, "start_bulk", &back))
                input type="hidden" name="change" value=(change);
                input type="hidden" name="filter" value=(filter);
                button type="submit" class="btn btn-accent" { (words) " them" }
                " " a href=(back) { "Leave them" }
            }
        }
    }
}

/// What is or was done to many jobs.
pub(crate) fn bulks(csrf: &str, answer: &Value) -> Markup {
    let bulks = answer["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    html! {
        @if !bulks.is_empty() {
            h2 { "Done to many" }
            div class="card table-card" { table { tbody {
                @for bulk in bulks.iter().take(BULKS_MAX) { (bulk_row(csrf, bulk)) }
            } } }
        }
    }
}

fn bulk_row(csrf: &str, bulk: &Value) -> Markup {
    let looked_at =
        bulk["done"].as_u64().unwrap_or_default() + bulk["refused"].as_u64().unwrap_or_default();
    html! {
        tr {
            td { span class="chip" { (text(&bulk["state"])) } }
            td class="nowrap" { (text(&bulk["change"])) }
            td class="payload" { (text(&bulk["filter"])) }
            td class="nowrap" {
                @match bulk["total"].as_u64() {
                    Some(total) => { (looked_at) " of " (total) }
                    None => "counting",
                }
            }
            td class="nowrap" { (bulk["refused"]) " refused" }
            td { (text(&bulk["failure"])) }
            td class="nowrap" { (time(&bulk["started_at"])) }
            td class="number" {
                @if bulk["state"] == "running" {
                    form method="post" action="/jobs" {
                        (hidden(csrf, "cancel_bulk", "/jobs"))
                        input type="hidden" name="bulk_id" value=(text(&bulk["bulk_id"]));
                        button type="submit" class="small-button" { "Stop" }
                    }
                }
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn words(values: &Value) -> Markup {
    html! {
        @for value in values.as_array().into_iter().flatten() {
            span class="chip" { (text(value)) } " "
        }
    }
}

fn pretty(value: &Value) -> Markup {
    html! { pre class="payload" { (format!("{value:#}")) } }
}

fn time(value: &Value) -> Markup {
    let instant = text(value);
    // `2026-08-01T03:28:19.5Z` as `2026-08-01 03:28:19`.
    let short: String = instant.chars().take(19).collect();
    html! { time datetime=(instant) { (short.replace('T', " ")) } }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_says_why_it_is_empty() {
        let cases = [
            (json!({ "items": [] }), "", "There are no jobs."),
            (json!({ "items": [] }), "tag:eu", "No job fits."),
            (json!({ "items": [], "next": "7" }), "tag:eu", "behind them"),
        ];

        for (answer, filter, expected) in cases {
            assert!(table(&answer, filter).0.contains(expected), "{expected}");
        }
    }

    #[test]
    fn what_a_job_says_is_never_taken_for_markup() {
        let job = json!({ "name": "<script>", "state": "retryable", "args": "</pre><b>",
            "errors": [{ "attempt": 1, "error": "<i>", "stack": ["<u>"] }], "tags": ["<s>"] });

        let html = details("token", &job).0;

        for tag in ["<script>", "<b>timed", "<i>", "<u>", "<s>", "</pre><b>"] {
            assert!(!html.contains(tag), "{tag}");
        }
        assert!(html.contains("&lt;u&gt;") && html.contains("Change the job"));
    }
}
