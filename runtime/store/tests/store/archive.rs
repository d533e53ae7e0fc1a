//! Archives: a month leaves into a file and comes back as it was, whatever dies in between.

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use futures_util::FutureExt as _;
use kernel::{Digest, OrgId};
use store::archive::{
    ArchiveError, Archived, MonthState, RETENTION_MONTHS, Step, archive, attach, list,
};
use store::export::Selection;
use store::import::{ImportError, Reactions, import};
use store::partition::{self, Month};
use store::{Log, NewEvent};
use uuid::Uuid;

use crate::database::{TestLog, instant, opened};
use crate::export::exported;

/// A directory of a test, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        Self(std::env::temp_dir().join(format!("finnest-archive-{}", Uuid::now_v7())))
    }

    fn file(&self) -> PathBuf {
        self.0.join("events-2019-03.jsonl.gz")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn month(text: &str) -> Month {
    text.parse().expect("the test names a month")
}

fn march() -> Month {
    month("2019-03")
}

async fn make(log: &TestLog, month: Month) {
    let mut transaction = store::begin(log.log.pool()).await.expect("a connection is free");
    partition::ensure(&mut transaction, month.first_day(), 0).await.expect("it can be made");
    transaction.commit().await.expect("nothing is in the way");
}

fn at(event: NewEvent, when: &str) -> NewEvent {
    NewEvent { recorded_at: instant(when), ..event }
}

/// An organisation with three events in March 2019, two in April and one of today; and an aggregate
/// with one in each of the two months.
async fn some_years() -> (TestLog, OrgId, Scratch) {
    let log = TestLog::create().await;
    let acme = OrgId::new();
    make(&log, march()).await;
    make(&log, month("2019-04")).await;
    let aggregate_id = Some(Uuid::from_u128(7));
    for when in ["2019-03-01T00:00:00Z", "2019-03-31T23:59:59.999999Z", "2019-04-01T00:00:00Z"] {
        log.record(&at(opened(acme, 1), when)).await;
    }
    for when in ["2019-03-15T12:00:00Z", "2019-04-15T12:00:00Z"] {
        log.record(&NewEvent { aggregate_id, ..at(opened(acme, 2), when) }).await;
    }
    log.seal_some(acme, 1).await;
    (log, acme, Scratch::new())
}

async fn archived(log: &TestLog, scratch: &Scratch) -> Result<Archived, ArchiveError> {
    archive(&log.log, &scratch.0, march(), RETENTION_MONTHS, |_| {}).await
}

async fn leave(log: &TestLog, scratch: &Scratch) -> Archived {
    archived(log, scratch).await.expect("nothing keeps the month")
}

async fn return_from(log: &TestLog, file: Option<&Path>) -> Result<u64, ArchiveError> {
    attach(&log.log, march(), file, |_| {}).await.map(|attached| attached.event_count)
}

async fn events_at_hand(log: &TestLog) -> i64 {
    log.count("select count(*) from events.domain_events").await
}

async fn archived_versions(log: &TestLog) -> i64 {
    log.count("select coalesce(sum(event_count), 0)::bigint from events.archived_aggregates").await
}

#[tokio::test]
async fn a_month_leaves_into_a_file_and_its_seals_stay() {
    let (log, acme, scratch) = some_years().await;

    let told = leave(&log, &scratch).await;

    assert_eq!((told.event_count, told.file.as_path()), (3, scratch.file().as_path()));
    assert_eq!(events_at_hand(&log).await, 3);
    assert_eq!(log.count("select count(*) from events.seals").await, 6);
    assert_eq!(archived_versions(&log).await, 3);
    let bytes = std::fs::read(scratch.file()).expect("the file is there");
    assert_eq!(Digest::of(&bytes), told.sha256);
    let beside = std::fs::read_to_string(scratch.0.join("events-2019-03.jsonl.gz.sha256"));
    let beside = beside.expect("the digest is beside it");
    assert_eq!(beside, format!("{}  events-2019-03.jsonl.gz\n", told.sha256));
    let lines = exported(&log, &Selection { org_id: Some(acme), ..Selection::default() }).await;
    let gone: Vec<bool> = lines.events.iter().map(|line| line["archived"] == true).collect();
    assert_eq!(gone, [true, true, false, true, false, false]);
}

#[tokio::test]
async fn a_month_comes_back_as_it_was_and_nobody_can_change_it() {
    let (log, acme, scratch) = some_years().await;
    let selection = Selection { org_id: Some(acme), ..Selection::default() };
    let before = exported(&log, &selection).await;
    leave(&log, &scratch).await;

    let count = return_from(&log, None).await.expect("the file is as it was written");

    let after = exported(&log, &selection).await;
    assert_eq!((count, after.events), (3, before.events));
    assert_eq!(archived_versions(&log).await, 0);
    log.assert_holds().await;
    for statement in [
        "update events.domain_events set version = 2 where inserted_at < '2019-04-01Z'",
        "delete from events.domain_events_2019_03",
        "truncate events.domain_events_2019_03",
    ] {
        let refused = sqlx::query(statement).execute(&log.owner).await;
        let refused = refused.expect_err(statement).to_string();
        assert!(refused.contains("events are immutable"), "{statement}: {refused}");
    }
    log.seal_some(acme, 1).await;
    assert_eq!(log.count("select max(position) from events.seals").await, 7);
}

#[tokio::test]
async fn a_month_that_came_back_leaves_again_in_the_same_file() {
    let (log, _, scratch) = some_years().await;
    let first = leave(&log, &scratch).await;
    let written = || std::fs::metadata(scratch.file()).and_then(|file| file.modified());
    let before = written().expect("the file is there");
    return_from(&log, None).await.expect("the file is as it was written");

    let second = leave(&log, &scratch).await;

    assert_eq!((second, written().expect("it is still there")), (first, before));
    assert_eq!((events_at_hand(&log).await, archived_versions(&log).await), (3, 3));
}

#[tokio::test]
async fn a_file_may_be_moved_but_not_changed() {
    let (log, _, scratch) = some_years().await;
    leave(&log, &scratch).await;
    let moved = scratch.0.join("elsewhere.gz");
    std::fs::rename(scratch.file(), &moved).expect("a file can be moved");
    let mut bytes = std::fs::read(&moved).expect("it can be read");
    let changed = scratch.0.join("changed.gz");
    *bytes.last_mut().expect("it has bytes") ^= 1;
    std::fs::write(&changed, &bytes).expect("it can be written");

    let missing = return_from(&log, None).await;
    let wrong = return_from(&log, Some(&changed)).await;
    let right = return_from(&log, Some(&moved)).await;

    assert!(matches!(missing, Err(ArchiveError::File { .. })), "{missing:?}");
    assert!(matches!(wrong, Err(ArchiveError::WrongFile { .. })), "{wrong:?}");
    assert_eq!(right.expect("it is the file that was written"), 3);
}

#[tokio::test]
async fn rows_that_were_not_sealed_like_this_are_not_attached_whoever_puts_them_in() {
    let (log, _, scratch) = some_years().await;
    leave(&log, &scratch).await;
    let fill = "
        set role finnest_runtime;
        select events.begin_attaching('2019-03-01');
        insert into events.returning_2019_03
            (id, org_id, domain, event_type, version, payload, metadata, inserted_at, arrival, tx)
        select event_id, org_id, 'recruit', 'job_order_opened', 1, '{}',
            convert_to('{\"actor\":\"x\",\"hops\":1,\"correlation_id\":\"'
                || event_id || '\"}', 'UTF8'), inserted_at, arrival, '0'
        from events.seals where inserted_at < '2019-04-01Z';
        select events.finish_attaching('2019-03-01')";

    let mut owner = log.owner.acquire().await.expect("the owner may connect");
    let refused = sqlx::raw_sql(fill).execute(&mut *owner).await.expect_err("they are forged");

    assert!(refused.to_string().contains("3 events, 0 of them as they were sealed"), "{refused}");
    assert_eq!(events_at_hand(&log).await, 3);
}

#[tokio::test]
async fn what_is_damaged_stays_where_it_is() {
    let (log, _, scratch) = some_years().await;
    log.tamper(
        "update events.domain_events set version = 2 where inserted_at = '2019-03-15 12:00Z'",
    )
    .await;

    let refused = archived(&log, &scratch).await;

    let Err(error @ ArchiveError::BadLine(_)) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("its link does not follow"), "{error}");
    assert_eq!((events_at_hand(&log).await, scratch.file().exists()), (6, false));
}

#[tokio::test]
async fn a_month_that_is_wanted_stays() {
    let (log, acme, scratch) = some_years().await;
    let ask = async |month: Month, retention| {
        archive(&log.log, &scratch.0, month, retention, |_| {}).await
    };
    let today = Month::of(log.log.clock().now());

    let retained = ask(today, 0).await;
    let young = ask(march(), 12 * 50).await;
    let none = ask(month("2018-01"), 0).await;
    log.record(&at(opened(acme, 9), "2019-03-09T00:00:00Z")).await;
    let unsealed = ask(march(), 0).await;
    store::sealer::seal_all(&log.log).await.expect("nothing is in the way");
    log.tamper("insert into events.cursors values ('pulse.slow', 3, now())").await;
    let unread = ask(march(), 0).await;

    assert!(matches!(retained, Err(ArchiveError::Retained { .. })), "{retained:?}");
    assert!(matches!(young, Err(ArchiveError::Retained { .. })), "{young:?}");
    assert!(matches!(none, Err(ArchiveError::NoPartition(_))), "{none:?}");
    assert!(matches!(unsealed, Err(ArchiveError::Unsealed { count: 1, .. })), "{unsealed:?}");
    let Err(ArchiveError::Unread { reader, .. }) = unread else { panic!("{unread:?}") };
    assert_eq!(reader, "pulse.slow");
    assert_eq!(events_at_hand(&log).await, 7);
}

#[tokio::test]
async fn a_month_killed_anywhere_on_its_way_arrives_at_the_next_attempt() {
    for killed_at in [Step::Moved(3), Step::Written, Step::ReadBack, Step::Named, Step::Recorded] {
        let (log, _, scratch) = some_years().await;
        let killing = |step| assert!(step != killed_at, "killed");

        let killed = archive(&log.log, &scratch.0, march(), RETENTION_MONTHS, killing);
        let killed = AssertUnwindSafe(killed).catch_unwind().await;

        assert!(killed.is_err(), "{killed_at:?}");
        assert_eq!(events_at_hand(&log).await, 6, "{killed_at:?}: nothing has left");
        assert_eq!(leave(&log, &scratch).await.event_count, 3, "{killed_at:?}");
        assert_eq!((events_at_hand(&log).await, archived_versions(&log).await), (3, 3));
        assert_eq!(return_from(&log, None).await.expect("the file is whole"), 3, "{killed_at:?}");
    }
}

#[tokio::test]
async fn a_month_killed_on_its_way_back_comes_back_at_the_next_attempt() {
    let (log, _, scratch) = some_years().await;
    leave(&log, &scratch).await;

    let killed = attach(&log.log, march(), None, |step| assert!(step != Step::Written, "killed"));
    let killed = AssertUnwindSafe(killed).catch_unwind().await;

    assert!(killed.is_err());
    assert_eq!(events_at_hand(&log).await, 3);
    assert_eq!(return_from(&log, None).await.expect("the file is whole"), 3);
    assert_eq!((events_at_hand(&log).await, archived_versions(&log).await), (6, 0));
    log.assert_holds().await;
}

#[tokio::test]
async fn events_of_a_month_that_has_left_are_imported_once_it_is_back_and_leave_with_it() {
    let (log, acme, scratch) = some_years().await;
    let (elsewhere, ..) = some_years().await;
    let file = scratch.0.join("import.jsonl");
    leave(&log, &scratch).await;
    let text = exported(&elsewhere, &Selection::default()).await.text;
    std::fs::write(&file, text).expect("a file can be written");
    let owner = Log::new(log.owner.clone(), log.log.clock().clone());
    let brought = async || import(&owner, &file, Reactions::Skip, |_| {}).await;

    let refused = brought().await;
    return_from(&log, None).await.expect("the file is as it was written");
    brought().await.expect("the month is at hand");
    let again = leave(&log, &scratch).await;

    assert!(matches!(refused, Err(ImportError::Archived { .. })), "{refused:?}");
    assert_eq!((again.event_count, events_at_hand(&log).await), (6, 6));
    assert_eq!(return_from(&log, None).await.expect("the file is whole"), 6);
    log.assert_holds().await;
    log.seal_some(acme, 1).await;
}

#[tokio::test]
async fn what_a_wrong_clock_records_in_a_month_that_has_left_is_kept_apart() {
    let (log, acme, scratch) = some_years().await;
    leave(&log, &scratch).await;

    make(&log, march()).await;
    log.record(&at(opened(acme, 9), "2019-03-09T00:00:00Z")).await;
    store::sealer::seal_all(&log.log).await.expect("nothing is in the way");

    assert_eq!(log.count("select count(*) from events.domain_events_default").await, 1);
    let refused = return_from(&log, None).await;
    assert!(matches!(refused, Err(ArchiveError::InTheWay { count: 1, .. })), "{refused:?}");
}

#[tokio::test]
async fn an_operator_sees_what_each_month_is() {
    let (log, _, scratch) = some_years().await;
    let states = async || {
        let mut reading = store::begin_reading(log.log.pool()).await.expect("one is free");
        let now = log.log.clock().now();
        let months = list(&mut reading, now, RETENTION_MONTHS).await.expect("it can be asked");
        assert_eq!(months.iter().filter(|info| info.state == MonthState::Ahead).count(), 12);
        assert_eq!(months.iter().filter(|info| info.state == MonthState::Current).count(), 1);
        months.into_iter().take(2).map(|info| info.state).collect::<Vec<_>>()
    };

    let before = states().await;
    leave(&log, &scratch).await;
    let gone = states().await;
    return_from(&log, None).await.expect("the file is as it was written");
    let back = states().await;

    assert_eq!(before, [MonthState::Archivable, MonthState::Archivable]);
    assert_eq!(gone, [MonthState::Archived, MonthState::Archivable]);
    assert_eq!(back, [MonthState::Attached, MonthState::Archivable]);
}
