//! Jobs from a terminal: find them, act on one, act on many and watch how far that is.

use std::time::Duration;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command};
use platform::operator::BulkView;
use serde_json::{Map, Value, json};

use crate::client::{Client, PATIENCE, Trouble};
use crate::exit::Exit;
use crate::options::Style;
use crate::print;
use crate::route::{Call, Route};
use crate::run::tell;
use crate::screen::Screen;
use crate::words::{clipped, harmless};

/// How soon to ask again at first; doubled up to [`WAIT_MAX`].
const WAIT_FIRST: Duration = Duration::from_millis(50);
/// The longest time between two questions.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// So much of an error is shown in a list.
const ERROR_CHARACTERS_MAX: usize = 60;

const QUALIFIERS: &str = "\
Qualifiers, of which a job has to fit each:
  queue: state: name: tag: org: priority: node: workflow: batch: chain: partition: id:
  error:\"timed out\"                 a text that one of its errors contains
  args.candidate.id:4711             a value in its arguments; meta. the same
  inserted_after:2h                  or _before, also scheduled, attempted, finished; a time,
                                     a day like 2026-03-04, or so long ago";

/// The arguments of `finnest jobs`.
pub(crate) fn jobs() -> Command {
    let json = Arg::new("as-json").long("json").action(ArgAction::SetTrue).global(true);
    Command::new("jobs")
        .about("Find jobs, retry, cancel or edit one, or do it to many at once")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .arg(json.help("The same as --output json"))
        .subcommands([list(), count(), show(), edit(), bulk()])
        .subcommands([
            one("retry", "Make a job available again, now, with at least one attempt left"),
            one("run-now", "Make a job available now that waits for its time"),
            one("cancel", "Cancel a job that is not finished, executing or not"),
            one("discard", "Give a job up as one that has failed for good"),
            one("delete", "Delete a job that does not execute"),
        ])
        .subcommand(Command::new("bulks").about("List what is or was done to many jobs"))
        .subcommand(
            Command::new("stop-bulk")
                .about("Stop something that is done to many jobs; what is done stays done")
                .arg(Arg::new("bulk_id").value_name("BULK_ID").required(true)),
        )
        .after_help(
            "Examples:\n  \
             finnest jobs list state:discarded\n  \
             finnest jobs list queue:reach error:'timed out' finished_after:2h\n  \
             finnest jobs retry 01a1fc4e-1976-7176-8cc4-cb83d9fe2a30\n  \
             finnest jobs bulk retry queue:reach state:discarded --preview",
        )
}

fn qualifiers() -> Arg {
    Arg::new("filter").value_name("QUALIFIER").action(ArgAction::Append)
}

fn list() -> Command {
    let limit: ValueParser = clap::value_parser!(u32).range(1..=500).into();
    let limit = Arg::new("limit").long("limit").short('n').value_name("N").value_parser(limit);
    let cursor = Arg::new("cursor").long("cursor").value_name("JOB_ID");
    Command::new("list")
        .about("List jobs, newest first")
        .arg(qualifiers().help("Only those that fit, as in state:discarded"))
        .arg(limit.default_value("50").help("How many"))
        .arg(cursor.help("Where to go on, as the page before told"))
        .after_help(QUALIFIERS)
}

fn count() -> Command {
    Command::new("count")
        .about("Count jobs, up to 10000")
        .arg(qualifiers().help("Only those that fit, as in state:discarded"))
        .after_help(QUALIFIERS)
}

fn show() -> Command {
    one("show", "Show a job with all that is known of it")
}

fn one(name: &'static str, about: &'static str) -> Command {
    Command::new(name).about(about).arg(job_id())
}

fn job_id() -> Arg {
    Arg::new("job_id").value_name("JOB_ID").required(true).help("The job")
}

fn edit() -> Command {
    let text = |id: &'static str, long: &'static str, name: &'static str| {
        Arg::new(id).long(long).value_name(name)
    };
    let number = |id: &'static str, long: &'static str| {
        let parser: ValueParser = clap::value_parser!(u16).into();
        Arg::new(id).long(long).value_name("N").value_parser(parser)
    };
    Command::new("edit")
        .about("Change what a job is to do, when and how often; one that waits")
        .arg(job_id())
        .arg(text("args", "args", "JSON").help("All of its arguments"))
        .arg(number("priority", "priority").help("From 0, the first, to 9, the last"))
        .arg(text("scheduled_at", "scheduled-at", "TIME").help("Not before this time"))
        .arg(number("max_attempts", "max-attempts").help("Attempts allowed"))
        .arg(
            text("tags", "tag", "WORD")
                .action(ArgAction::Append)
                .help("All of its tags, each with a flag of its own"),
        )
        .arg(text("meta", "meta", "JSON").help("All that is noted about it, an object"))
        .arg(
            text("version", "version-seen", "VERSION")
                .help("Only if its version still is this, as `show` told"),
        )
}

fn bulk() -> Command {
    let changes = ["retry", "run_now", "cancel", "discard", "delete"];
    let flag = |id: &'static str| Arg::new(id).long(id).action(ArgAction::SetTrue);
    Command::new("bulk")
        .about("Do something to every job that fits, in the background, and watch it")
        .arg(
            Arg::new("change")
                .value_name("CHANGE")
                .required(true)
                .value_parser(changes)
                .help("What to do to each"),
        )
        .arg(qualifiers().required(true).help("Which jobs, as in state:discarded"))
        .arg(flag("preview").help("Only show how many that are, some of them, what is refused"))
        .arg(flag("detach").help("Do not wait for its end"))
        .after_help(QUALIFIERS)
}

/// What to ask, and how to show the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// As it is.
    Plain,
    /// As a list of jobs.
    List,
    /// As what would be done to many.
    Preview,
    /// As something that is done to many, which is followed to its end.
    Followed,
}

/// The operator's operation that a subcommand asks for, with its input.
pub(crate) fn asked(
    name: &str,
    leaf: &ArgMatches,
) -> Result<(&'static str, Value, Shown), serde_json::Error> {
    let text = |id: &str| leaf.get_one::<String>(id).cloned();
    let of_one = |operation| (operation, json!({ "job_id": text("job_id") }), Shown::Plain);
    Ok(match name {
        "list" => {
            let limit = leaf.get_one::<u32>("limit").copied();
            let mut input = json!({ "limit": limit });
            let given = [("filter", filter(leaf)), ("cursor", text("cursor"))];
            for (field, value) in given.into_iter().filter_map(|(f, v)| Some((f, v?))) {
                input[field] = value.into();
            }
            ("list_jobs", input, Shown::List)
        }
        "count" => match filter(leaf) {
            Some(filter) => ("count_jobs", json!({ "filter": filter }), Shown::Plain),
            None => ("count_jobs", json!({}), Shown::Plain),
        },
        "show" => of_one("get_job"),
        "retry" => of_one("retry_job"),
        "run-now" => of_one("run_job_now"),
        "cancel" => of_one("cancel_job"),
        "discard" => of_one("discard_job"),
        "delete" => of_one("delete_job"),
        "edit" => ("edit_job", edited(leaf)?, Shown::Plain),
        "bulk" => {
            let input = json!({ "change": text("change"), "filter": filter(leaf) });
            match (leaf.get_flag("preview"), leaf.get_flag("detach")) {
                (true, _) => ("preview_bulk", input, Shown::Preview),
                (_, true) => ("start_bulk", input, Shown::Plain),
                _ => ("start_bulk", input, Shown::Followed),
            }
        }
        "stop-bulk" => ("cancel_bulk", json!({ "bulk_id": text("bulk_id") }), Shown::Plain),
        _ => ("list_bulks", json!({}), Shown::Plain),
    })
}

/// The qualifiers as one text. What the shell has unquoted is quoted again.
fn filter(leaf: &ArgMatches) -> Option<String> {
    let words: Vec<String> = leaf.get_many::<String>("filter")?.map(|word| quoted(word)).collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn quoted(word: &str) -> String {
    let is_several = word.split_whitespace().all(|part| part.contains(':'));
    match word.split_once(':') {
        Some((qualifier, value)) if !is_several && !word.contains('"') => {
            format!("{qualifier}:\"{value}\"")
        }
        _ => word.to_owned(),
    }
}

fn edited(leaf: &ArgMatches) -> Result<Value, serde_json::Error> {
    let mut input = Map::new();
    for field in ["job_id", "scheduled_at", "version"] {
        if let Some(text) = leaf.get_one::<String>(field) {
            input.insert(field.to_owned(), text.as_str().into());
        }
    }
    for field in ["priority", "max_attempts"] {
        if let Some(number) = leaf.get_one::<u16>(field) {
            input.insert(field.to_owned(), (*number).into());
        }
    }
    for field in ["args", "meta"] {
        if let Some(text) = leaf.get_one::<String>(field) {
            input.insert(field.to_owned(), serde_json::from_str(text)?);
        }
    }
    if let Some(tags) = leaf.get_many::<String>("tags") {
        input.insert("tags".to_owned(), tags.map(String::as_str).collect());
    }
    Ok(input.into())
}

/// A page of jobs with what a person looks for; the rest is in `finnest jobs show`.
pub(crate) fn listed(answer: &Value, columns: Option<usize>) -> Vec<String> {
    let mut short = answer.clone();
    if let Some(items) = short["items"].as_array_mut() {
        for job in items {
            *job = in_short(job);
        }
    }
    print::answer(&short, columns)
}

fn in_short(job: &Value) -> Value {
    let last = job["errors"].as_array().and_then(|errors| errors.last());
    let error = last.and_then(|last| last["error"].as_str()).unwrap_or("–");
    json!({
        "id": job["job_id"],
        "queue": job["queue"],
        "state": job["state"],
        "job": job["name"],
        "attempts": format!("{} of {}", job["attempt"], job["max_attempts"]),
        "tags": job["tags"],
        "last error": clipped(error, ERROR_CHARACTERS_MAX),
        "due_at": job["scheduled_at"],
    })
}

/// What would be done to many jobs.
pub(crate) fn previewed(answer: &Value, columns: Option<usize>) -> Vec<String> {
    let fits = &answer["fits"];
    let more = if fits["is_exact"] == true { "" } else { " or more" };
    let mut lines = vec![format!("{}{more} jobs fit; nothing is done yet", fits["count"])];
    lines.extend(refusals(&answer["refusals"]));
    if answer["sample"].as_array().is_some_and(|sample| !sample.is_empty()) {
        lines.push(String::new());
        lines.extend(listed(&json!({ "items": answer["sample"] }), columns));
    }
    lines
}

fn refusals(reasons: &Value) -> Vec<String> {
    let reasons = reasons.as_object().into_iter().flatten();
    reasons.map(|(reason, count)| format!("{count} refused: {}", harmless(reason))).collect()
}

/// Starts something and tells how far it is until it ends.
pub(crate) async fn follow(
    client: &Client,
    start: &Call,
    show: &Route,
    style: &Style,
    screen: &mut Screen,
) -> Result<Exit, Trouble> {
    let mut wait = WAIT_FIRST;
    let mut answer = client.send(start, PATIENCE).await?;
    loop {
        let Ok(bulk) = serde_json::from_value::<BulkView>(answer.clone()) else {
            return tell(&answer, style, screen, print::answer).map(|_| Exit::Failed);
        };
        if bulk.state != "running" {
            screen.progress("");
            let exit = if bulk.state == "done" { Exit::Done } else { Exit::Failed };
            return tell(&answer, style, screen, |_, _| ended(&bulk)).map(|_| exit);
        }
        screen.progress(&progress(&bulk));
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
        let mut input = Map::new();
        input.insert("bulk_id".to_owned(), json!(bulk.bulk_id));
        let again = show.call(input).expect("the id is there");
        answer = client.send(&again, PATIENCE).await?;
    }
}

fn progress(bulk: &BulkView) -> String {
    let looked_at = bulk.done + bulk.refused;
    match bulk.total {
        None => "counting".to_owned(),
        Some(total) => format!("{looked_at} of {total} jobs, {} refused", bulk.refused),
    }
}

fn ended(bulk: &BulkView) -> Vec<String> {
    let BulkView { state, done, refused, failure, .. } = bulk;
    let why = failure.as_ref().map(|failure| format!(": {failure}")).unwrap_or_default();
    let mut lines = vec![format!("{state}{why}; {done} jobs changed, {refused} refused")];
    lines.extend(refusals(&json!(bulk.refusals)));
    lines.iter().map(|line| harmless(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stub::finnest;

    fn job(state: &str) -> Value {
        json!({"job_id": "01a1fc4e-1976-7176-8cc4-cb83d9fe2a30", "queue": "reach", "state": state,
            "name": "send_outreach", "attempt": 20, "max_attempts": 20, "tags": ["eu"],
            "scheduled_at": "2026-08-01T00:00:00Z",
            "errors": [{"attempt": 19, "error": "no"}, {"attempt": 20, "error": "timed out"}]})
    }

    fn bulk(state: &str, done: u64) -> Value {
        json!({"bulk_id": "01a1fe65-8b8a-739b-b059-386f680fec99", "change": "retry",
            "filter": "state:discarded", "asked_by": "user 7", "state": state, "total": 7,
            "done": done, "refused": 1, "refusals": {"completed": 1},
            "started_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"})
    }

    #[tokio::test]
    async fn jobs_are_listed_by_qualifiers_with_what_a_person_looks_for() {
        let page = json!({"items": [job("discarded")], "next": "01a1"});
        let args = "jobs list queue:reach state:discarded -n 1 --output table";

        let outcome = finnest(args, vec![(200, page)], 1).await;

        assert_eq!(outcome.exit, Exit::Done);
        insta::assert_snapshot!(outcome.out);
        let asked = "GET /api/v1/operator/jobs?filter=queue%3Areach+state%3Adiscarded&limit=1";
        assert_eq!(outcome.asked, [format!("{asked} Bearer t0k")]);
    }

    #[tokio::test]
    async fn one_job_is_acted_on_by_its_id() {
        let id = "01a1fc4e-1976-7176-8cc4-cb83d9fe2a30";
        let edit = format!("jobs edit {id} --priority 3 --tag eu --args {{\"to\":7}} --json");
        for (args, expected) in [
            (format!("jobs retry {id}"), format!("POST /api/v1/operator/jobs/{id}/retry")),
            (format!("jobs run-now {id}"), format!("POST /api/v1/operator/jobs/{id}/run_now")),
            (format!("jobs delete {id}"), format!("DELETE /api/v1/operator/jobs/{id}")),
            (format!("jobs show {id}"), format!("GET /api/v1/operator/jobs/{id}")),
            (edit, format!("POST /api/v1/operator/jobs/{id}/edit")),
        ] {
            let outcome = finnest(&args, vec![(200, job("available"))], 1).await;

            assert_eq!(outcome.exit, Exit::Done, "{args}: {}", outcome.err);
            assert!(outcome.asked[0].starts_with(&expected), "{:?}", outcome.asked);
            let is_edit = args.contains("edit");
            let body = r#"{"args":{"to":7},"priority":3,"tags":["eu"]}"#;
            assert_eq!(outcome.asked[0].ends_with(body), is_edit, "{:?}", outcome.asked);
        }
    }

    #[tokio::test]
    async fn a_bulk_change_is_previewed_or_followed_to_its_end() {
        let preview = json!({"fits": {"count": 10000, "is_exact": false},
            "refusals": {"completed": 3}, "sample": [job("discarded")]});
        let args = "jobs bulk retry state:discarded";

        let looked = format!("{args} --preview --output table");
        let looked = finnest(&looked, vec![(200, preview)], 1).await;
        let answers = vec![(200, bulk("running", 0)), (200, bulk("done", 6))];
        let done = finnest(&format!("{args} --output table"), answers, 1).await;
        let stopped = finnest(args, vec![(200, bulk("cancelled", 2))], 1).await;

        assert_eq!((looked.exit, done.exit, stopped.exit), {
            (Exit::Done, Exit::Done, Exit::Failed)
        });
        assert!(looked.out.starts_with("10000 or more jobs fit; nothing is done yet\n3 refused"));
        assert!(looked.asked[0].starts_with("GET /api/v1/operator/bulk_preview?change=retry&"));
        assert_eq!(done.out, "done; 6 jobs changed, 1 refused\n1 refused: completed\n");
        let show = "GET /api/v1/operator/bulks/01a1fe65-8b8a-739b-b059-386f680fec99 Bearer t0k";
        assert_eq!(done.asked[1], show);
    }

    #[test]
    fn what_the_shell_unquoted_is_quoted_again() {
        let cases = [
            ("error:timed out", "error:\"timed out\""),
            ("queue:reach state:discarded", "queue:reach state:discarded"),
            ("error:\"timed out\"", "error:\"timed out\""),
            ("inserted_after:2026-03-04T05:06:07Z", "inserted_after:2026-03-04T05:06:07Z"),
        ];

        for (word, expected) in cases {
            assert_eq!(quoted(word), expected);
        }
    }
}
