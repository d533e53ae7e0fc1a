//! Running: one remote request from start to exit code.

use platform::operator::ProcessNode;
use platform::otp::Clock;
use platform::{Reloaded, TuningChange};
use serde_json::Value;

use crate::client::{Client, PATIENCE, Trouble};
use crate::exit::Exit;
use crate::jobs::Shown;
use crate::options::{Format, Style};
use crate::request::{Ask, Remote};
use crate::route::Call;
use crate::screen::Screen;
use crate::session::Session;
use crate::words::harmless;
use crate::{jobs, print, sign_in, tail, tree, verification, watch};

/// The most items that `--all` takes into memory.
const ITEMS_MAX: usize = 100_000;

/// Asks a running platform and prints the answer, or why there is none.
pub async fn run(remote: &Remote, clock: &Clock, screen: &mut Screen) -> Exit {
    match perform(remote, clock, screen).await {
        Ok(exit) => exit,
        Err(trouble) => {
            if trouble.exit() != Exit::Done {
                screen.complain(&trouble.words());
            }
            trouble.exit()
        }
    }
}

async fn perform(remote: &Remote, clock: &Clock, screen: &mut Screen) -> Result<Exit, Trouble> {
    let session = remote.session.clone().map(|kept| Session::new(kept, clock));
    let client = Client::new(&remote.server)?.with_session(session);
    let style = &remote.style;
    match &remote.task.0 {
        Ask::Call(call) => {
            let answer = client.send(call, PATIENCE).await?;
            tell(&answer, style, screen, print::answer)
        }
        Ask::Every(call) => {
            let answer = every(&client, call).await?;
            tell(&answer, style, screen, print::answer)
        }
        Ask::Kill(call) => {
            let answer = client.send(call, PATIENCE).await?;
            tell(&answer, style, screen, |answer, _| vec![killed(answer)])
        }
        Ask::Reload(call) => {
            let answer = client.send(call, PATIENCE).await?;
            tell(&answer, style, screen, |answer, _| reloaded(answer))
        }
        Ask::Tree(call) => {
            let answer = client.send(call, PATIENCE).await?;
            let has_colour = screen.has_colour;
            tell(&answer, style, screen, |answer, columns| match node(answer) {
                Some(root) => tree::drawing(&root, clock.now(), columns, has_colour),
                None => print::answer(answer, columns),
            })
        }
        Ask::Verify { start, show } => {
            verification::follow(&client, start, show, style, screen).await
        }
        Ask::Jobs(call, shown) => {
            let answer = client.send(call, PATIENCE).await?;
            let lines = if *shown == Shown::Preview { jobs::previewed } else { jobs::listed };
            tell(&answer, style, screen, lines)
        }
        Ask::Bulk { start, show } => jobs::follow(&client, start, show, style, screen).await,
        Ask::SignIn(sign_in) => sign_in.perform(&client, style, screen).await,
        Ask::SignOut(sign_out) => sign_out.perform(&client, style, screen).await,
        Ask::WhoAmI(call) => {
            let me = sign_in::whoami(&client, call, remote.server.profile.as_ref()).await?;
            tell(&me, style, screen, print::answer)
        }
        Ask::WatchTree(call) => watch::watch(&client, call, style, clock, screen).await,
        Ask::Tail(tail) => tail::follow(&client, tail, style, screen).await,
    }
}

/// All pages of a list as one.
async fn every(client: &Client, call: &Call) -> Result<Value, Trouble> {
    let mut items = Vec::new();
    let mut page = client.send(call, PATIENCE).await?;
    loop {
        let Some(Value::Array(more)) = page.get_mut("items").map(Value::take) else {
            return Ok(page);
        };
        items.extend(more);
        let next = page.as_object_mut().and_then(|page| page.remove("next"));
        match next.as_ref().and_then(Value::as_str) {
            None => break,
            Some(_) if items.len() >= ITEMS_MAX => return Err(Trouble::TooMany(ITEMS_MAX)),
            Some(cursor) => page = client.send(&call.turned_to(cursor), PATIENCE).await?,
        }
    }
    page["items"] = items.into();
    Ok(page)
}

/// The tree in an answer; none if a newer platform words it in a way not known here.
pub(crate) fn node(answer: &Value) -> Option<ProcessNode> {
    serde_json::from_value(answer.clone()).ok()
}

pub(crate) fn tell(
    answer: &Value,
    style: &Style,
    screen: &mut Screen,
    lines: impl FnOnce(&Value, Option<usize>) -> Vec<String>,
) -> Result<Exit, Trouble> {
    match screen.format(style) {
        Format::Json => screen.json(answer)?,
        Format::Table => screen.lines(&lines(answer, screen.columns))?,
    }
    Ok(Exit::Done)
}

fn killed(answer: &Value) -> String {
    let path = harmless(answer["path"].as_str().unwrap_or_default());
    format!(
        "killed {path}, incarnation {}; `finnest tree` shows what became of it",
        answer["incarnation"]
    )
}

/// One line a key, in the words of the page.
fn reloaded(answer: &Value) -> Vec<String> {
    let Ok(Reloaded { page, changes }) = serde_json::from_value(answer.clone()) else {
        return print::answer(answer, None);
    };
    let mut lines = vec![match changes.len() {
        0 => format!("{page} says what it said before; nothing changed"),
        1 => format!("{page} is applied; one key is different"),
        many => format!("{page} is applied; {many} keys are different"),
    }];
    lines.extend(changes.iter().map(|change| {
        let TuningChange { table, key, before, after, effect } = change;
        format!("  [{table}] {key}: {before} -> {after} ({effect})")
    }));
    lines.iter().map(|line| harmless(line)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::stub::{ask, finnest};
    use crate::tree::tests;

    #[tokio::test]
    async fn a_call_goes_to_its_address_with_its_token_and_prints_the_answer() {
        let order = json!({"id": "7", "title": "Driver"});
        let args = "call recruit open_job_order --title Driver --headcount 3 --output table";

        let outcome = finnest(args, vec![(201, order)], 1).await;

        assert_eq!((outcome.exit, outcome.err.as_str()), (Exit::Done, ""));
        assert_eq!(outcome.out, "id:    7\ntitle: Driver\n");
        let body = r#"{"headcount":3,"title":"Driver"}"#;
        let asked = format!("POST /api/v1/recruit/job_orders Bearer t0k {body}");
        assert_eq!(outcome.asked, [asked]);
    }

    #[tokio::test]
    async fn a_pipe_gets_json_unless_told() {
        let queues = json!({"items": [{"queue": "recruit"}]});

        let outcome = finnest("queues", vec![(200, queues.clone())], 1).await;

        assert_eq!(serde_json::from_str::<Value>(&outcome.out).expect("JSON"), queues);
        assert_eq!(outcome.asked, ["GET /api/v1/operator/queues Bearer t0k"]);
    }

    #[tokio::test]
    async fn all_pages_are_one_list() {
        let pages = [
            json!({"items": [{"id": 1}], "next": "a b"}),
            json!({"items": [{"id": 2}], "next": "c"}),
            json!({"items": [{"id": 3}]}),
        ];
        let args = "recruit list_job_orders --limit 1 --all --output json";

        let outcome = finnest(args, pages.map(|page| (200, page)).to_vec(), 1).await;

        let told: Value = serde_json::from_str(&outcome.out).expect("JSON");
        assert_eq!(told, json!({"items": [{"id": 1}, {"id": 2}, {"id": 3}]}));
        let asked = |query: &str| format!("GET /api/v1/recruit/job_orders?{query} Bearer t0k");
        let expected = [asked("limit=1"), asked("limit=1&cursor=a+b"), asked("limit=1&cursor=c")];
        assert_eq!(outcome.asked, expected);
    }

    #[tokio::test]
    async fn a_complaint_is_about_flags() {
        let problem = json!({"detail": "it is not as it should be", "errors": [
            {"pointer": "/headcount", "message": "0 is less than 1"},
        ]});

        let args = "recruit open_job_order --title x --headcount 0";
        let outcome = finnest(args, vec![(422, problem)], 1).await;

        assert_eq!(outcome.exit, Exit::Refused);
        assert_eq!(outcome.err, "it is not as it should be\n  --headcount: 0 is less than 1\n");
    }

    #[tokio::test]
    async fn an_answer_without_a_body_is_said_to_be_done() {
        let args = "call recruit remove_job_order --job-order-id 7 --output table";

        let outcome = finnest(args, vec![(204, Value::Null)], 1).await;

        assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Done, "done\n"));
        assert_eq!(outcome.asked, ["DELETE /api/v1/recruit/job_orders/7 Bearer t0k"]);
    }

    #[tokio::test]
    async fn a_refusal_ends_with_its_own_code_and_an_outage_too() {
        let problem = json!({"detail": "there is no process root/x",
            "errors": [{"pointer": "/path", "message": "unknown"}]});
        for (status, exit) in [(404, Exit::NotFound), (503, Exit::Unavailable)] {
            let outcome =
                finnest("kill root/x --reason drill", vec![(status, problem.clone())], 1).await;

            assert_eq!((outcome.exit, outcome.out.as_str()), (exit, ""));
            assert_eq!(outcome.err, "there is no process root/x\n  /path: unknown\n");
        }
    }

    #[tokio::test]
    async fn a_reload_lists_what_is_different_and_when_it_takes_effect() {
        let change = |table: &str, key: &str, effect: &str| {
            let mut change = json!({"before": "3", "after": "5", "effect": effect});
            change["table"] = table.into();
            change["key"] = key.into();
            change
        };
        let changes = [
            change("domain.recruit", "max_restarts", "applied"),
            change("domain.recruit.child.pool", "pool", "at next start of root/x"),
        ];
        let two = json!({"page": "/etc/page.toml", "changes": changes});
        let none = json!({"page": "/etc/page.toml", "changes": []});

        let applied = finnest("reload --output table", vec![(200, two)], 1).await;
        let same = finnest("reload --output table", vec![(200, none)], 1).await;

        assert_eq!((applied.exit, same.exit), (Exit::Done, Exit::Done));
        insta::assert_snapshot!(applied.out, @r"
        /etc/page.toml is applied; 2 keys are different
          [domain.recruit] max_restarts: 3 -> 5 (applied)
          [domain.recruit.child.pool] pool: 3 -> 5 (at next start of root/x)
        ");
        assert_eq!(same.out, "/etc/page.toml says what it said before; nothing changed\n");
    }

    #[tokio::test]
    async fn the_mistakes_of_a_page_are_told_line_by_line() {
        let mistake = |line: u32| {
            let message = format!("page.toml:{line}: unknown key `x`");
            json!({"pointer": "", "message": message})
        };
        let problem = json!({"detail": "the page has 2 mistakes; nothing is changed",
            "code": "wrong_page", "errors": [mistake(3), mistake(9)]});

        let outcome = finnest("reload", vec![(422, problem)], 1).await;

        assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Refused, ""));
        insta::assert_snapshot!(outcome.err, @r"
        the page has 2 mistakes; nothing is changed
          page.toml:3: unknown key `x`
          page.toml:9: unknown key `x`
          (code wrong_page)
        ");
    }

    #[tokio::test]
    async fn a_platform_that_is_not_there_is_told_in_one_sentence() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        drop(listener);

        let outcome = ask("tree", &url, 1).await;

        assert_eq!(outcome.exit, Exit::Failed);
        assert!(outcome.err.contains("`finnest serve`"), "{}", outcome.err);
        assert_eq!(outcome.err.lines().count(), 1);
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_not_taken_for_one() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let break_off = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut request = [0; 1024];
            assert_ne!(stream.read(&mut request).await.expect("a request"), 0);
            let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"holds\": true";
            stream.write_all(half).await.expect("half an answer");
        };

        let (outcome, ()) = tokio::join!(ask("verify", &url, 1), break_off);

        assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Failed, ""));
        assert!(outcome.err.contains("was lost"), "{}", outcome.err);
    }

    #[tokio::test]
    async fn the_verdict_on_the_chain_is_the_exit_code() {
        let holds = json!({"holds": true, "events": 1204, "organisations": 1, "archived": 4,
            "broken": []});
        let broken = json!({"holds": false, "events": 1204, "organisations": 3, "broken_count": 3,
            "broken": [{"position": 42, "org_sequence": 7, "org_id": null, "event_id": "e",
                "problem": "hash_mismatch", "what": "it is not what was sealed",
                "advice": "compare"}]});
        let (holds, broken) = (verification::done(&holds), verification::done(&broken));
        let mut running = verification::done(&Value::Null);
        running["state"] = "running".into();

        let answers = vec![(200, running), (200, holds)];
        let good = finnest("verify --output table", answers, 1).await;
        let bad = finnest("verify --org 7 --output table", vec![(200, broken)], 1).await;
        let odd = finnest("verify", vec![(200, json!({"verdict": "fine"}))], 1).await;

        assert_eq!((good.exit, bad.exit, odd.exit), (Exit::Done, Exit::Failed, Exit::Failed));
        insta::assert_snapshot!(good.out, @"
        the chain holds: 1,204 events of 1 organisation, every link as it should be
        4 events lie in the archive: their links were followed, their content was not looked at
        ");
        insta::assert_snapshot!(bad.out, @"
        the chain is broken at 3 places; 1,204 events of 3 organisations were walked
        position 42, number 7, event e: hash_mismatch: it is not what was sealed; compare
        and 2 more
        ");
        assert_eq!(bad.asked, [r#"POST /api/v1/operator/verifications Bearer t0k {"org_id":"7"}"#]);
        let show =
            "GET /api/v1/operator/verifications/01a1fe65-8b8a-739b-b059-386f680fec99 Bearer t0k";
        assert_eq!(good.asked[1], show);
    }

    #[tokio::test]
    async fn a_verification_that_stopped_says_how_to_go_on() {
        let mut failed = verification::done(&Value::Null);
        failed["state"] = "failed".into();
        failed["failure"] = "the log was changed".into();

        let outcome = finnest("verify", vec![(200, failed)], 1).await;

        assert_eq!((outcome.exit, outcome.out.as_str()), (Exit::Failed, ""));
        assert!(outcome.err.contains("at position 7: the log was changed"), "{}", outcome.err);
        assert!(outcome.err.contains("--resume 01a1fe65"), "{}", outcome.err);
    }

    #[tokio::test]
    async fn the_tree_is_drawn_once() {
        let outcome = finnest("tree --output table", vec![(200, json!(tests::tree()))], 1).await;

        assert_eq!(outcome.exit, Exit::Done);
        assert!(outcome.out.contains("└─ scoring_engine"), "{}", outcome.out);
    }

    #[tokio::test]
    async fn a_watched_tree_is_printed_to_a_pipe_whenever_it_differs() {
        let mut changed = tests::tree();
        changed.restarts = 1;
        let down = (503, json!({"detail": "starting"}));
        let first = (200, json!(tests::tree()));
        let unread = (200, json!({"id": "root"}));
        let answers = vec![first.clone(), down, first, (200, json!(changed)), unread];

        let outcome = finnest("tree --watch", answers, 2).await;

        let lines: Vec<Value> =
            outcome.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines, [json!(tests::tree()), json!(changed)]);
    }

    fn events(positions: std::ops::Range<i64>) -> (u16, Value) {
        let items: Vec<Value> =
            positions.map(|position| json!({"position": position, "domain": "recruit"})).collect();
        (200, json!({"head": 999, "items": items}))
    }

    #[tokio::test]
    async fn the_log_is_read_to_its_end_page_by_page() {
        let args = "events tail --after 0 --no-follow";

        let outcome = finnest(args, vec![events(1..501), events(501..503)], usize::MAX).await;

        assert_eq!(outcome.exit, Exit::Done);
        assert_eq!(outcome.out.lines().count(), 502);
        let asked = ["after=0", "after=500"];
        let asked =
            asked.map(|after| format!("GET /api/v1/operator/events?{after}&limit=500 Bearer t0k"));
        assert_eq!(outcome.asked, asked);
    }

    #[tokio::test]
    async fn who_follows_the_log_misses_nothing_and_repeats_nothing_over_an_outage() {
        let down = (503, json!({"detail": "the edge is starting"}));
        let answers = vec![events(1..3), down.clone(), down, events(3..4)];

        let outcome = finnest("events tail -n 2 --domain recruit", answers, 2).await;

        assert_eq!(outcome.exit, Exit::Done);
        let positions: Vec<Value> = outcome
            .out
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["position"].take())
            .collect();
        assert_eq!(positions, [json!(1), json!(2), json!(3)]);
        assert_eq!(outcome.err, "the edge is starting; trying again\nconnected again\n");
        assert!(outcome.asked[0].contains("?limit=2 "), "{:?}", outcome.asked);
        assert!(outcome.asked[1..4].iter().all(|asked| asked.contains("after=2&")));
    }

    #[tokio::test]
    async fn who_may_not_read_the_log_is_told_so_at_once() {
        let outcome =
            finnest("events tail", vec![(403, json!({"detail": "for operators"}))], 9).await;

        assert_eq!((outcome.exit, outcome.err.as_str()), (Exit::Forbidden, "for operators\n"));
    }
}
