//! What others than owners do to tasks, promise by promise.

use super::*;

fn cancel(force: bool) -> Act {
    Act::Cancel { force, reason: None }
}

#[test]
fn a_leased_task_is_cancelled_by_its_owner_or_by_force() {
    let mut rig = rig();
    let tasks = rig.add(vec![new_task("1"), new_task("2"), new_task("3")]);
    assert_eq!(rig.acted(tasks[0], cancel(false)), StateName::Cancelled);
    let fence = rig.claim_one(tasks[1], token("a"));
    assert_eq!(rig.acted(tasks[1], cancel(false)), StateName::Leased);
    let accept = Accept {
        task: tasks[1],
        fence,
        caller: token("a"),
    };
    let told = rig.run(Body::Task(TaskCommand::Accept(accept)));
    assert!(matches!(told, Outcome::Accepted { cancel: true, .. }), "{told:?}");
    rig.end(tasks[1], fence, Ending::Released, FinishWith::default());
    assert_eq!(rig.state(tasks[1]), StateName::Cancelled);
    let fence = rig.claim_one(tasks[2], token("a"));
    assert_eq!(rig.acted(tasks[2], cancel(true)), StateName::Cancelled);
    let late = rig.finish(finish(tasks[2], fence, token("a")));
    assert!(matches!(late, Outcome::Refused(Refusal::Fenced { .. })), "{late:?}");
    assert!(matches!(rig.act(tasks[2], cancel(true)), Outcome::Refused(_)));
}

#[test]
fn a_paused_task_waits_for_its_resumption_and_an_approval_for_somebody() {
    let mut rig = rig();
    let approval = || {
        with(Terms {
            approval: true,
            ..Terms::default()
        })
    };
    let tasks = rig.add(vec![new_task("1"), approval(), approval()]);
    assert_eq!(rig.acted(tasks[0], Act::Pause), StateName::Paused);
    assert_eq!(rig.next_ready(), None);
    assert_eq!(rig.acted(tasks[0], Act::Resume), StateName::Pending);
    assert_eq!(rig.acted(tasks[1], Act::Approve), StateName::Pending);
    assert_eq!(rig.task_of(tasks[1]).approved.as_deref(), Some("ann"));
    let reason = Some("too dear".into());
    assert_eq!(rig.acted(tasks[2], Act::Reject { reason }), StateName::Cancelled);
    let line = rig.not_ready(claim(Which::Ids(vec![tasks[2]]), token("a")));
    assert!(line.ends_with("ann rejected it: too dear"), "{line}");
    assert_eq!((rig.next_ready(), rig.next_ready()), (Some(tasks[0]), Some(tasks[1])));
}

#[test]
fn a_task_is_handed_off_to_whom_its_owner_names() {
    let mut rig = rig();
    let task = rig.add_one();
    let old = rig.claim_one(task, token("a"));
    rig.run(started("bob", 1));
    let take = claim(Which::Ids(vec![task]), agent("bob", 1));
    assert!(matches!(rig.refused(take.clone()), Refusal::TaskHeld { .. }));
    let hand_off = Act::HandOff {
        fence: old,
        caller: token("a"),
        to: Some("bob".into()),
    };
    assert_eq!(rig.acted(task, hand_off), StateName::Leased);
    let other = claim(Which::Ids(vec![task]), token("b"));
    assert!(matches!(rig.refused(other), Refusal::TaskHeld { .. }), "it is for bob");
    let fence = rig.claimed(take)[0].fence;
    assert!(fence > old);
    assert_eq!(rig.task_of(task).history[0].reason, Return::HandedOff("bob".into()));
    let late = rig.finish(finish(task, old, token("a")));
    assert!(matches!(late, Outcome::Refused(Refusal::Fenced { .. })), "{late:?}");
}

#[test]
fn a_task_is_stolen_if_its_owner_lets_it_go_or_was_silent_for_long() {
    let mut rig = rig();
    let task = rig.add_one();
    rig.run(started("a", 1));
    let fence = rig.claim_one(task, agent("a", 1));
    let steal = || {
        Body::Task(TaskCommand::Claim(Claim {
            which: Which::Ids(vec![task]),
            caller: token("b"),
            wants: Wants {
                steal: true,
                ..Wants::default()
            },
        }))
    };
    assert!(matches!(rig.refused(steal()), Refusal::TaskHeld { .. }));
    let mark = Update {
        task,
        fence,
        caller: agent("a", 1),
        progress: None,
        note: None,
        checkpoint: Some("7".into()),
        stealable: Some(true),
        usage: None,
    };
    rig.run(Body::Task(TaskCommand::Update(mark)));
    assert_eq!(rig.claimed(steal())[0].attempt, 2);
    assert_eq!(
        rig.task_of(task).checkpoint,
        Bytes::from("7"),
        "what the first one left is kept"
    );
    assert!(matches!(rig.refused(steal()), Refusal::TaskHeld { .. }));
    rig.now_ms += STALE_MS;
    assert_eq!(rig.claimed(steal())[0].attempt, 3);
}
