//! Tasks that need others, promise by promise.

use super::*;

#[test]
fn a_task_is_blocked_until_all_that_it_needs_is_done() {
    let mut rig = rig();
    // The first names the second, which comes after it.
    let tasks = rig.add(vec![named("c", &["a", "b"]), named("b", &["a"]), named("a", &[])]);
    let [c, b, a] = tasks[..] else { panic!() };
    assert_eq!(
        (rig.state(c), rig.state(b), rig.state(a)),
        (StateName::Blocked, StateName::Blocked, StateName::Pending)
    );
    let line = rig.not_ready(claim(Which::Ids(vec![c]), token("a")));
    assert!(
        line.ends_with(&format!("it needs {b} (blocked), {a} (pending)")),
        "{line}"
    );
    rig.finish_one(a);
    // What it needs is done: a claim by its id need not wait until it is released.
    rig.finish_one(b);
    rig.finish_one(c);
}

#[test]
fn tasks_that_would_wait_for_themselves_are_refused_with_the_cycle() {
    let mut rig = rig();
    let cycle = vec![named("a", &["c"]), named("b", &["a"]), named("c", &["b"])];
    let refusal = rig.refused(Body::Task(TaskCommand::Add(cycle)));
    assert_eq!(
        refusal.to_string(),
        "needs: a task would wait for itself: a needs c needs b needs a"
    );
    assert!(rig.tasks().is_empty());
    let unknown = rig.refused(Body::Task(TaskCommand::Add(vec![named("a", &["nobody"])])));
    assert_eq!(unknown.to_string(), "needs: no task has the name \"nobody\"");
    // By hand as well: the first is held, and finds that it needs the second, which needs it.
    let tasks = rig.add(vec![named("first", &[]), named("second", &["first"])]);
    let fence = rig.claim_one(tasks[0], token("a"));
    let on = FinishWith {
        needs: vec![Need::Id(tasks[1])],
        ..FinishWith::default()
    };
    let refused = rig.end(tasks[0], fence, Ending::Blocked, on);
    assert!(
        matches!(refused, Outcome::Refused(Refusal::NeedCycle { .. })),
        "{refused:?}"
    );
    assert_eq!(rig.state(tasks[0]), StateName::Leased);
}

#[test]
fn many_that_need_one_task_are_released_a_few_at_a_time() {
    let mut rig = rig();
    rig.add(vec![named("root", &[])]);
    rig.add(
        (0..500)
            .map(|place| named(&format!("leaf {place}"), &["root"]))
            .collect(),
    );
    let root = rig.tasks().named("root").unwrap();
    rig.finish_one(root);
    assert_eq!((rig.tasks().ready(), rig.colony.due_ms()), (0, Some(0)));
    rig.run(put("k", "1"));
    assert_eq!(rig.tasks().ready(), STEPS_PER_COMMAND);
    let mut rounds = 1;
    while rig.colony.due_ms() == Some(0) {
        rig.empty_round();
        rounds += 1;
    }
    assert_eq!((rig.tasks().ready(), rounds), (500, 3));
}

#[test]
fn nothing_is_due_while_every_need_is_unmet() {
    let mut rig = rig();
    let tasks = rig.add(vec![named("a", &[]), named("b", &["a"]), named("c", &["b"])]);
    rig.acted(tasks[0], Act::Pause);
    let seq = rig.colony.seq();
    assert_eq!((rig.next_ready(), rig.colony.due_ms()), (None, None));
    rig.empty_round();
    assert_eq!(rig.colony.seq(), seq + 1, "the claim, and nothing else");
}

#[test]
fn a_need_that_fails_blocks_until_it_is_requeued_or_cancels() {
    let mut rig = rig();
    let mut cancelled = named("cancelled", &["root"]);
    cancelled.terms.unmet = Unmet::Cancel;
    let tasks = rig.add(vec![
        named("root", &[]),
        named("blocked", &["root"]),
        cancelled,
        named("last", &["blocked"]),
    ]);
    let [root, blocked, cancelled, last] = tasks[..] else {
        panic!()
    };
    let fence = rig.claim_one(root, token("a"));
    rig.end(root, fence, Ending::Failed, failure(false));
    rig.empty_round();
    assert_eq!(rig.state(cancelled), StateName::Cancelled);
    assert_eq!(
        (rig.state(blocked), rig.state(last)),
        (StateName::Blocked, StateName::Blocked)
    );
    assert_eq!(rig.colony.due_ms(), None);
    let line = rig.not_ready(claim(Which::Ids(vec![blocked]), token("a")));
    assert!(line.contains(&format!("it needs {root} (failed)")), "{line}");
    assert!(
        matches!(rig.act(root, Act::Drop), Outcome::Refused(_)),
        "others need it"
    );
    assert_eq!(rig.acted(root, Act::Requeue), StateName::Pending);
    rig.finish_one(root);
    rig.empty_round();
    assert_eq!(rig.state(blocked), StateName::Pending);
    assert_eq!(rig.acted(root, Act::Drop), StateName::Done);
}
