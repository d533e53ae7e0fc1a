//! Process groups: who is in them, who hears of changes, and when they end.

use otp::{ActorRef, GroupEvent, Groups, NoProc, Pid, Root, Strategy};

use super::stage::{Ask, Journal, actor, patient, start, worker};

async fn two() -> (Root, Pid, Pid) {
    let journal = Journal::default();
    let spec = patient(Strategy::OneForOne);
    let root = start(spec.child(worker(&journal, "a")).child(worker(&journal, "b"))).await;
    let (a, b) = (root.tree().pid("root/a").unwrap(), root.tree().pid("root/b").unwrap());
    (root, a, b)
}

async fn end(pid: &Pid) {
    pid.kill();
    pid.gone().await;
}

#[tokio::test(start_paused = true)]
async fn a_process_is_a_member_as_often_as_it_joined_and_leaves_as_often() {
    let (_root, a, b) = two().await;
    let groups = Groups::new();
    groups.join("red", &a).unwrap();
    groups.join("red", &b).unwrap();
    groups.join("red", &a).unwrap();

    assert_eq!(groups.members(&"red"), [a.clone(), b.clone(), a.clone()]);
    let left = [(); 3].map(|()| groups.leave(&"red", &a));

    assert_eq!(left, [true, true, false]);
    assert_eq!(groups.local_members(&"red"), [b]);
}

#[tokio::test(start_paused = true)]
async fn a_group_exists_while_it_has_members_and_membership_ends_with_the_process() {
    let (_root, a, b) = two().await;
    let groups = Groups::new();
    groups.join("red", &a).unwrap();
    groups.join("red", &a).unwrap();
    groups.join("blue", &a).unwrap();
    groups.join("blue", &b).unwrap();

    assert_eq!(groups.which_groups(), ["red", "blue"]);
    end(&a).await;

    assert_eq!(groups.which_groups(), ["blue"]);
    assert_eq!(groups.members(&"red"), []);
    assert_eq!(groups.join("red", &a), Err(NoProc));
}

#[tokio::test(start_paused = true)]
async fn scopes_have_nothing_to_do_with_each_other() {
    let (_root, a, _) = two().await;
    let (one, other) = (Groups::new(), Groups::<&str>::new());

    one.join("red", &a).unwrap();

    assert_eq!(other.members(&"red"), []);
}

#[tokio::test(start_paused = true)]
async fn a_monitor_of_a_group_hears_of_its_changes_and_of_no_others() {
    let (_root, a, b) = two().await;
    let groups = Groups::new();
    groups.join("red", &a).unwrap();

    let (members, mut changes) = groups.monitor(&"red");
    groups.join("blue", &b).unwrap();
    groups.join("red", &b).unwrap();
    groups.leave(&"red", &b);
    end(&a).await;
    drop(groups);

    assert_eq!(members, std::slice::from_ref(&a));
    let joined = GroupEvent::Joined { group: "red", member: b.clone() };
    assert_eq!(changes.next().await, Ok(joined));
    assert_eq!(changes.next().await, Ok(GroupEvent::Left { group: "red", member: b }));
    assert_eq!(changes.next().await, Ok(GroupEvent::Left { group: "red", member: a }));
    assert!(changes.next().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_monitor_of_a_scope_hears_of_all_groups_and_of_each_membership_of_the_dead() {
    let (_root, a, b) = two().await;
    let groups = Groups::new();
    groups.join("red", &a).unwrap();
    groups.join("blue", &a).unwrap();
    groups.join("red", &a).unwrap();

    let (members, mut changes) = groups.monitor_scope();
    end(&a).await;
    groups.join("green", &b).unwrap();

    assert_eq!(members, [("red", a.clone()), ("blue", a.clone()), ("red", a.clone())]);
    for group in ["red", "blue", "red"] {
        let left = GroupEvent::Left { group, member: a.clone() };
        assert_eq!(changes.next().await, Ok(left));
    }
    assert_eq!(changes.next().await, Ok(GroupEvent::Joined { group: "green", member: b }));
}

#[tokio::test(start_paused = true)]
async fn a_cast_to_a_group_reaches_its_living_members() {
    #[derive(Clone)]
    struct Note(tokio::sync::mpsc::UnboundedSender<Pid>);
    struct Reader;
    impl otp::Actor for Reader {
        type Message = Note;
        async fn handle(
            &mut self,
            note: Note,
            context: &otp::Context<Note>,
        ) -> Result<(), otp::ExitReason> {
            note.0.send(context.pid()).unwrap();
            Ok(())
        }
    }
    let spec = patient(Strategy::OneForOne);
    let spec = spec.child(otp::ChildSpec::worker("a", || Reader));
    let root = start(spec.child(otp::ChildSpec::worker("b", || Reader))).await;
    let readers = ["root/a", "root/b"].map(|path| root.tree().whereis::<Note>(path).unwrap());
    let groups = Groups::<&str, ActorRef<Note>>::new();
    for reader in &readers {
        groups.join("readers", reader).unwrap();
    }

    end(&readers[0].pid()).await;
    let (sender, mut read) = tokio::sync::mpsc::unbounded_channel();
    let told = groups.cast_all(&"readers", &Note(sender.clone()));
    let nobody = groups.cast_all(&"writers", &Note(sender));

    assert_eq!((told, nobody), (1, 0));
    assert_eq!(read.recv().await, Some(readers[1].pid()));
}

#[tokio::test(start_paused = true)]
async fn a_typed_group_tells_members_by_their_references() {
    let (root, a, _) = two().await;
    let groups = Groups::<&str, ActorRef<Ask>>::new();

    groups.join("red", &actor(&root.tree(), "root/a")).unwrap();

    let members: Vec<_> = groups.members(&"red").iter().map(ActorRef::pid).collect();
    assert_eq!(members, [a]);
}
