//! Import: an organisation reproduced in another log with its chain, or refused as a whole.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures_util::FutureExt as _;
use kernel::{OrgId, Position};
use serde_json::Value;
use store::export::Selection;
use store::import::{ImportError, Imported, Reactions, import, newsworthy};
use store::{Consumer, LineProblem, Log};
use uuid::Uuid;

use crate::database::{TestLog, opened, supervise, told, within};
use crate::export::exported;

/// A file of a test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn of(text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("finnest-import-{}.jsonl", Uuid::now_v7()));
        std::fs::write(&path, text).expect("a file can be written");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn exported_text(log: &TestLog, org_id: Option<OrgId>) -> String {
    exported(log, &Selection { org_id, ..Selection::default() }).await.text
}

/// Imports as the owner of the log does.
async fn imported(
    log: &TestLog,
    text: &str,
    reactions: Reactions,
) -> Result<Imported, ImportError> {
    let file = Scratch::of(text);
    let owner = Log::new(log.owner.clone(), log.log.clock().clone());
    import(&owner, &file.0, reactions, |_| {}).await
}

async fn brought(log: &TestLog, text: &str) -> Imported {
    imported(log, text, Reactions::Skip).await.expect("nothing is wrong with the file")
}

/// The lines of the organisation without what is new in each log: positions, and the header.
async fn chain(log: &TestLog, org_id: OrgId) -> Vec<Value> {
    let lines = exported(log, &Selection { org_id: Some(org_id), ..Selection::default() }).await;
    let without_position = |mut line: Value| {
        line.as_object_mut().expect("a line is an object").remove("position");
        line
    };
    lines.events.into_iter().map(without_position).collect()
}

#[tokio::test]
async fn an_organisation_is_the_same_elsewhere_with_its_chain() {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    let (acme, zen, other) = (OrgId::new(), OrgId::new(), OrgId::new());
    here.seal_some(zen, 2).await;
    here.seal_some(acme, 3).await;
    there.seal_some(other, 2).await;

    let imported = brought(&there, &exported_text(&here, Some(acme)).await).await;

    assert_eq!(imported.positions, Some((Position(3), Position(5))));
    assert_eq!(imported.events.into_iter().collect::<Vec<_>>(), [(acme, 3)]);
    assert_eq!(chain(&there, acme).await, chain(&here, acme).await);
    there.seal_some(acme, 1).await;
    there.seal_some(other, 1).await;
    there.assert_holds().await;
    assert_eq!(there.count("select max(position) from events.seals").await, 7);
}

#[tokio::test]
async fn the_same_file_twice_is_imported_once_and_a_longer_one_from_where_it_goes_on() {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    let acme = OrgId::new();
    here.seal_some(acme, 3).await;
    let short = exported_text(&here, Some(acme)).await;
    here.seal_some(acme, 2).await;
    let long = exported_text(&here, Some(acme)).await;

    brought(&there, &short).await;
    let again = brought(&there, &short).await;
    let longer = brought(&there, &long).await;
    let shorter = brought(&there, &short).await;

    assert_eq!((again.positions, shorter.positions), (None, None));
    assert_eq!(longer.positions, Some((Position(4), Position(5))));
    assert_eq!(chain(&there, acme).await, chain(&here, acme).await);
    there.assert_holds().await;
}

#[tokio::test]
async fn a_chain_that_went_another_way_here_is_left_alone() {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    let acme = OrgId::new();
    here.seal_some(acme, 3).await;
    there.seal_some(acme, 1).await;

    let refused = imported(&there, &exported_text(&here, None).await, Reactions::Skip).await;

    let Err(error @ ImportError::OtherEvents { org_sequence: 1, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert!(error.to_string().contains(&acme.to_string()), "{error}");
    assert_eq!(there.count("select count(*) from events.domain_events").await, 1);
}

#[tokio::test]
async fn a_file_that_does_not_begin_where_the_chain_ends_is_refused() {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    let acme = OrgId::new();
    here.seal_some(acme, 4).await;
    let from = Selection { from: Some(Position(3)), ..Selection::default() };
    let tail = exported(&here, &from).await.text;
    let until = Selection { to: Some(Position(2)), ..Selection::default() };
    let beginning = exported(&here, &until).await.text;

    let refused = imported(&there, &tail, Reactions::Skip).await;
    brought(&there, &beginning).await;
    brought(&there, &tail).await;

    assert!(
        matches!(refused, Err(ImportError::Gap { org_sequence: 3, head: 0, .. })),
        "{refused:?}"
    );
    assert_eq!(chain(&there, acme).await, chain(&here, acme).await);
}

/// What is told of a file that somebody or something changed.
async fn check_refused(damage: impl Fn(&mut Vec<String>), line: u64, expected: &str) {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    here.seal_some(OrgId::new(), 3).await;
    let text = exported_text(&here, None).await;
    let mut lines: Vec<String> = text.split_inclusive('\n').map(ToOwned::to_owned).collect();
    damage(&mut lines);

    let refused = imported(&there, &lines.concat(), Reactions::Skip).await;

    let Err(ImportError::BadLine(bad)) = refused else { panic!("{expected}: {refused:?}") };
    assert_eq!(bad.line, line, "{bad}");
    assert!(bad.to_string().contains(expected), "{bad}");
    assert_eq!(there.count("select count(*) from events.domain_events").await, 0);
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_the_line_and_what_is_wrong_there() {
    let changed = |lines: &mut Vec<String>| {
        lines[2] = lines[2].replace("job_order_opened", "job_order_closed");
    };
    check_refused(changed, 3, "its link does not follow").await;
    check_refused(|lines| drop(lines.remove(2)), 3, "does not follow the one before").await;
    check_refused(|lines| lines.swap(1, 2), 2, "does not follow the one before").await;
    check_refused(|lines| drop(lines.pop()), 5, "cut off").await;
    check_refused(|lines| lines[3].truncate(40), 4, "no line of an export").await;
    let half = |lines: &mut Vec<String>| {
        lines.truncate(4);
        lines[3].truncate(40);
    };
    check_refused(half, 4, "cut off").await;
    check_refused(|lines| lines[0] = "{}\n".to_owned(), 1, "no header").await;
    check_refused(Vec::clear, 1, "no header").await;
    check_refused(|lines| drop(lines.remove(3)), 4, "belongs to other lines").await;
    check_refused(|lines| lines.push("{}\n".to_owned()), 6, "follows the last line").await;
}

#[tokio::test]
async fn an_event_that_is_not_in_the_file_is_named() {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    here.seal_some(OrgId::new(), 3).await;
    here.tamper(
        "delete from events.domain_events
         where id = (select event_id from events.seals where position = 2)",
    )
    .await;

    let refused = imported(&there, &exported_text(&here, None).await, Reactions::Skip).await;

    let Err(ImportError::BadLine(bad)) = refused else { panic!("{refused:?}") };
    assert!(matches!(bad.problem, LineProblem::Missing(_)), "{bad}");
    assert_eq!(bad.line, 3);
}

#[tokio::test]
async fn events_of_months_long_past_get_the_partitions_they_belong_to() {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    let acme = OrgId::new();
    for month in ["2019-03-05T10:00:00Z", "2019-07-01T00:00:00Z"] {
        let mut event = opened(acme, 1);
        event.recorded_at = crate::database::instant(month);
        here.record(&event).await;
    }
    store::sealer::seal_all(&here.log).await.expect("nothing is in the way");

    brought(&there, &exported_text(&here, None).await).await;

    assert_eq!(there.count("select count(*) from events.domain_events_2019_03").await, 1);
    assert_eq!(there.count("select count(*) from events.domain_events_2019_07").await, 1);
    assert_eq!(there.count("select count(*) from events.domain_events_default").await, 0);
    there.assert_holds().await;
}

/// A consumer that counts what it sees, and what of it is news.
fn counting(log: &Log) -> (Consumer, Arc<AtomicI64>, Arc<AtomicI64>) {
    let (seen, news) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let (all, new) = (seen.clone(), news.clone());
    let count = |events: &[store::SealedEvent]| i64::try_from(events.len()).expect("few");
    let consumer = Consumer::new("pulse.counting", log, move |connection, events| {
        let (all, new) = (all.clone(), new.clone());
        async move {
            all.fetch_add(count(&events), Ordering::Relaxed);
            let events = newsworthy(connection, events).await?;
            new.fetch_add(count(&events), Ordering::Relaxed);
            Ok(())
        }
        .boxed()
    });
    (consumer.filter([("recruit".into(), "job_order_opened".into())]), seen, news)
}

#[tokio::test]
async fn imported_events_are_news_to_reactions_only_if_that_was_asked_for() {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    let (acme, zen) = (OrgId::new(), OrgId::new());
    here.seal_some(acme, 3).await;
    here.seal_some(zen, 4).await;
    there.seal_some(OrgId::new(), 2).await;

    brought(&there, &exported_text(&here, Some(acme)).await).await;
    let of_zen = exported_text(&here, Some(zen)).await;
    imported(&there, &of_zen, Reactions::Run).await.expect("nothing is wrong with the file");
    there.seal_some(acme, 1).await;

    let (consumer, seen, news) = counting(&there.log);
    consumer.run_once().await.expect("nothing is in the way");
    assert_eq!(seen.load(Ordering::Relaxed), 2 + 3 + 4 + 1, "projections see everything");
    assert_eq!(news.load(Ordering::Relaxed), 2 + 4 + 1, "acme's three happened elsewhere");
}

#[tokio::test]
async fn a_platform_at_work_goes_on_beside_an_import_and_seals_every_event_once() {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    let (acme, busy) = (OrgId::new(), OrgId::new());
    here.seal_some(acme, 40).await;
    let text = exported_text(&here, Some(acme)).await;
    let root = supervise([store::sealer::child(&there.log)]).await;
    let is_done = AtomicBool::new(false);
    let mut recorded = 0;

    let writes = async {
        let writer = there.another_node().await;
        while !is_done.load(Ordering::Relaxed) {
            recorded += 1;
            let event = told(busy, "recruit", "job_order_opened", serde_json::json!({}));
            there.record(&event).await;
            writer.nudge();
        }
    };
    let imports = async {
        for _ in 0..3 {
            brought(&there, &text).await;
        }
        is_done.store(true, Ordering::Relaxed);
    };
    tokio::join!(writes, imports);

    there.sealed_up_to(recorded + 40).await;
    within(root.stop()).await;
    assert_eq!(there.count("select max(position) from events.seals").await, recorded + 40);
    assert_eq!(there.count("select count(*) from events.duplicates").await, 0);
    assert_eq!(chain(&there, acme).await, chain(&here, acme).await);
    there.assert_holds().await;
}

#[tokio::test]
async fn events_that_wait_while_one_writer_hangs_are_sealed_after_an_import() {
    let (here, there) = (TestLog::create().await, TestLog::create().await);
    let (acme, slow) = (OrgId::new(), OrgId::new());
    here.seal_some(acme, 5).await;
    let mut hanging = there.begin("recruit", slow).await;
    store::append(&mut hanging, &opened(slow, 1)).await.expect("a domain may append");
    there.seal_some(slow, 1).await;

    brought(&there, &exported_text(&here, None).await).await;
    hanging.commit().await.expect("nothing is in the way");
    there.seal_some(slow, 1).await;

    assert_eq!(there.count("select count(*) from events.seals").await, 8);
    assert_eq!(there.count("select count(*) from events.duplicates").await, 0);
    there.assert_holds().await;
}
