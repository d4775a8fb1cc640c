//! Small histories by hand.

use crate::history::{
    Answer, Budget, Call, End, Guard, Operation, Outcome, Recorder, Refusal, TaskStage, Verdict, Write, judge, read,
    write,
};

/// A call from one time to another, in milliseconds.
fn call(from_ms: u64, to_ms: u64, operation: Operation, outcome: Outcome) -> Call {
    let returned_ns = (outcome != Outcome::Unknown).then_some(to_ms * 1_000_000);
    Call {
        number: from_ms,
        process: 1,
        operation,
        outcome,
        invoked_ns: from_ms * 1_000_000,
        returned_ns,
        seq: None,
    }
}

fn get(key: &str) -> Operation {
    Operation::Get { key: key.to_owned() }
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Change {
        key: key.to_owned(),
        write: Write::Put(value.to_owned()),
        guard: Guard::None,
    }
}

fn value(revision: u64, value: &str) -> Outcome {
    let value = (!value.is_empty()).then(|| value.to_owned());
    Outcome::Ok(Answer::Value { revision, value })
}

fn changed(revision: u64) -> Outcome {
    Outcome::Ok(Answer::Changed { revision })
}

fn claim(by: &str) -> Operation {
    Operation::Claim {
        task: "t".to_owned(),
        by: by.to_owned(),
    }
}

fn open(session: &str) -> Call {
    let session = session.to_owned();
    call(0, 1, Operation::Open { session }, Outcome::Ok(Answer::Opened))
}

/// The sessions of all scenes.
fn opened() -> Vec<Call> {
    ["a", "b", "c"].map(open).to_vec()
}

fn close(session: &str) -> Operation {
    Operation::Close {
        session: session.to_owned(),
        among: ["t", "u"].map(str::to_owned).to_vec(),
    }
}

fn claim_ready(by: &str) -> Operation {
    Operation::ClaimReady {
        kind: "k".to_owned(),
        among: ["t", "u"].map(str::to_owned).to_vec(),
        by: by.to_owned(),
    }
}

fn claimed(attempt: u64, fence: u64) -> Outcome {
    Outcome::Ok(Answer::Claimed { attempt, fence })
}

fn given(task: &str, attempt: u64, fence: u64) -> Outcome {
    let task = task.to_owned();
    Outcome::Ok(Answer::Given { task, attempt, fence })
}

fn accept(by: &str, fence: u64) -> Operation {
    let (task, by) = ("t".to_owned(), by.to_owned());
    Operation::Accept { task, by, fence }
}

fn finish(by: &str, fence: u64, end: End) -> Operation {
    let (task, by) = ("t".to_owned(), by.to_owned());
    Operation::Finish { task, by, fence, end }
}

fn look() -> Operation {
    Operation::Look { task: "t".to_owned() }
}

fn task(attempts: u64, stage: TaskStage) -> Outcome {
    Outcome::Ok(Answer::Task { attempts, stage })
}

fn leased(by: &str, fence: u64) -> TaskStage {
    let by = by.to_owned();
    TaskStage::Leased { by, fence }
}

fn held(by: &str) -> Outcome {
    Outcome::Refused(Refusal::Held { by: by.to_owned() })
}

fn add(task: &str) -> Operation {
    let (task, kind) = (task.to_owned(), "k".to_owned());
    Operation::AddTask { task, kind }
}

fn added() -> Call {
    call(0, 1, add("t"), Outcome::Ok(Answer::Added))
}

/// Judges calls of which those on tasks are in the sessions of all scenes.
#[track_caller]
fn check(calls: &[Call], expected: bool) {
    let calls = [&opened()[..], calls].concat();
    let judgement = judge(&calls, Budget::default());
    assert_eq!(judgement.holds(), expected, "{judgement}");
}

#[test]
fn a_read_sees_every_write_that_was_answered_before_it() {
    let write = call(0, 1, put("k", "a"), changed(1));
    check(&[write.clone(), call(2, 3, get("k"), value(1, "a"))], true);
    check(&[write.clone(), call(2, 3, get("k"), value(0, ""))], false);
    // Side by side with the write it may see either.
    let write = call(0, 9, put("k", "a"), changed(1));
    check(&[write.clone(), call(2, 3, get("k"), value(0, ""))], true);
    check(
        &[
            write,
            call(2, 3, get("k"), value(1, "a")),
            call(4, 5, get("k"), value(0, "")),
        ],
        false,
    );
}

#[test]
fn a_write_without_an_answer_may_take_effect_late_or_never() {
    let write = call(0, 0, put("k", "a"), Outcome::Unknown);
    let (before, after) = (value(0, ""), value(1, "a"));
    check(&[write.clone(), call(1, 2, get("k"), before.clone())], true);
    check(
        &[
            write.clone(),
            call(1, 2, get("k"), before.clone()),
            call(8, 9, get("k"), after.clone()),
        ],
        true,
    );
    check(
        &[write, call(1, 2, get("k"), after), call(8, 9, get("k"), before)],
        false,
    );
}

#[test]
fn a_proposal_changes_all_its_keys_or_none() {
    let both = Operation::Propose {
        reads: vec![("a".to_owned(), 0), ("b".to_owned(), 0)],
        writes: vec![
            ("a".to_owned(), Write::Put("x".into())),
            ("b".to_owned(), Write::Increment(2)),
        ],
    };
    let (b_old, b_new) = (call(4, 5, get("b"), value(0, "")), call(4, 5, get("b"), value(1, "2")));
    let unknown = call(0, 0, both.clone(), Outcome::Unknown);
    let a_new = call(2, 3, get("a"), value(1, "x"));
    check(&[unknown.clone(), a_new.clone(), b_new.clone()], true);
    check(&[unknown, a_new, b_old], false);
    let lost = |early, revision| {
        let keys = vec![("a".to_owned(), revision)];
        call(4, 5, both.clone(), Outcome::Refused(Refusal::Lost { early, keys }))
    };
    let twice = [
        call(0, 1, put("a", "1"), changed(1)),
        call(2, 3, put("a", "2"), changed(2)),
    ];
    let with = |last: Call| [&twice[..], &[last]].concat();
    check(&with(lost(false, 2)), true);
    // Not asked, a node may know less than the newest, but no more, and not nothing.
    check(&with(lost(false, 1)), false);
    check(&with(lost(true, 1)), true);
    check(&with(lost(true, 0)), false);
    check(&with(lost(true, 3)), false);
}

#[test]
fn a_task_has_one_owner_until_it_is_given_back_or_its_session_may_be_over() {
    let first = call(2, 3, claim("a"), claimed(1, 7));
    let with = |calls: &[Call]| [&[added(), first.clone()], calls].concat();
    check(&with(&[call(4, 5, claim("b"), held("a"))]), true);
    check(&with(&[call(4, 5, claim("b"), claimed(2, 9))]), false);
    check(&with(&[call(4, 29_000, claim("b"), claimed(2, 9))]), false);
    // A grace after its opening at the earliest, if its node was lost at once.
    check(&with(&[call(4, 30_000, claim("b"), claimed(2, 9))]), true);
    check(&with(&[call(4, 30_000, claim("b"), held("a"))]), true);
    let back = call(4, 5, finish("a", 7, End::Released), Outcome::Ok(Answer::Finished));
    check(&with(&[back.clone(), call(6, 7, claim("b"), claimed(2, 9))]), true);
    check(&with(&[back.clone(), call(6, 7, claim("b"), claimed(2, 7))]), false);
    check(&with(&[back, call(6, 7, claim("b"), claimed(3, 9))]), false);
}

#[test]
fn only_the_owner_finishes_a_task_and_only_once() {
    let (finished, fenced) = (Outcome::Ok(Answer::Finished), Outcome::Refused(Refusal::Fenced));
    let over = || Outcome::Refused(Refusal::Over);
    let first = call(2, 3, claim("a"), claimed(1, 7));
    let back = call(4, 5, finish("a", 7, End::Released), finished.clone());
    let second = call(6, 7, claim("b"), claimed(2, 9));
    let with = |calls: &[(Operation, Outcome)]| {
        let later = calls.iter().zip(8..);
        let later = later.map(|((operation, outcome), at)| call(at, at, operation.clone(), outcome.clone()));
        [added(), first.clone(), back.clone(), second.clone()]
            .into_iter()
            .chain(later)
            .collect::<Vec<Call>>()
    };
    let done = |by, fence| finish(by, fence, End::Done);
    check(&with(&[(done("a", 7), fenced.clone())]), true);
    check(&with(&[(done("a", 7), finished.clone())]), false);
    // The newest fence in another's mouth, and an old one in the owner's.
    check(&with(&[(done("a", 9), finished.clone())]), false);
    check(&with(&[(done("b", 7), finished.clone())]), false);
    check(&with(&[(accept("b", 7), Outcome::Ok(Answer::Accepted))]), false);
    check(&with(&[(accept("b", 9), Outcome::Ok(Answer::Accepted))]), true);
    let once = (done("b", 9), finished.clone());
    check(&with(&[once.clone(), (done("b", 9), over())]), true);
    check(&with(&[once.clone(), (done("b", 9), finished.clone())]), false);
    check(&with(&[once.clone(), (claim("a"), over())]), true);
    // Over, but not under this fence.
    check(&with(&[once.clone(), (done("a", 7), fenced)]), true);
    check(&with(&[once, (done("a", 7), over())]), false);
}

#[test]
fn a_claim_without_an_answer_has_an_owner_who_may_learn_of_it_by_looking() {
    let lost = call(2, 2, claim("a"), Outcome::Unknown);
    let with = |calls: &[Call]| [&[added(), lost.clone()], calls].concat();
    check(&with(&[call(4, 5, claim("b"), held("a"))]), true);
    check(&with(&[call(4, 5, claim("b"), claimed(2, 9))]), false);
    let seen = call(4, 5, look(), task(1, leased("a", 7)));
    let finished = |fence| call(6, 7, finish("a", fence, End::Done), Outcome::Ok(Answer::Finished));
    check(&with(&[seen.clone(), finished(7)]), true);
    check(&with(&[seen.clone(), finished(8)]), false);
    let over = |done| call(8, 9, look(), task(1, TaskStage::Over { done, fence: 7 }));
    check(&with(&[seen.clone(), finished(7), over(true)]), true);
    check(&with(&[seen.clone(), finished(7), over(false)]), false);
    check(&with(&[seen, call(6, 7, look(), task(0, TaskStage::Waiting))]), false);
}

#[test]
fn a_closed_session_holds_nothing_and_takes_nothing() {
    let (closed, over) = (Outcome::Ok(Answer::Closed), Outcome::Refused(Refusal::SessionOver));
    let first = call(2, 3, claim("a"), claimed(1, 7));
    let end = call(4, 5, close("a"), closed.clone());
    let with = |calls: &[Call]| [&[added(), first.clone()], calls].concat();
    let then = |operation, outcome| with(&[end.clone(), call(6, 7, operation, outcome)]);
    check(&then(look(), task(1, TaskStage::Waiting)), true);
    check(&then(look(), task(1, leased("a", 7))), false);
    check(&then(claim("b"), claimed(2, 9)), true);
    check(&then(claim("b"), held("a")), false);
    check(&then(claim("a"), over.clone()), true);
    check(&then(claim("a"), claimed(2, 9)), false);
    check(&then(claim_ready("a"), over.clone()), true);
    check(&then(claim_ready("a"), Outcome::Ok(Answer::NoneReady)), false);
    check(
        &then(finish("a", 7, End::Done), Outcome::Refused(Refusal::Fenced)),
        true,
    );
    check(&then(finish("a", 7, End::Done), Outcome::Ok(Answer::Finished)), false);
    check(&then(close("a"), over.clone()), true);
    check(&then(close("a"), closed), false);
    // Nobody closed it, and it is too early for it to be over by itself.
    let refused = |to| call(4, to, claim("a"), over.clone());
    check(&with(&[refused(5)]), false);
    check(&with(&[refused(30_000)]), true);
    // Without an answer it was closed at some time, or never.
    let unanswered = call(4, 4, close("a"), Outcome::Unknown);
    let later = |outcome| call(6, 7, claim("b"), outcome);
    check(&with(&[unanswered.clone(), later(claimed(2, 9))]), true);
    check(&with(&[unanswered.clone(), later(held("a")), refused(9)]), true);
    check(
        &with(&[unanswered, later(claimed(2, 9)), call(8, 9, claim("a"), held("b"))]),
        false,
    );
}

#[test]
fn who_claims_any_task_gets_the_oldest_that_waits() {
    let both = [added(), call(2, 3, add("u"), Outcome::Ok(Answer::Added))];
    let with = |calls: &[Call]| [&both[..], calls].concat();
    let none = || Outcome::Ok(Answer::NoneReady);
    check(&with(&[call(4, 5, claim_ready("a"), given("t", 1, 7))]), true);
    check(&with(&[call(4, 5, claim_ready("a"), given("u", 1, 7))]), false);
    check(&with(&[call(4, 5, claim_ready("a"), none())]), false);
    let two = [
        call(4, 5, claim_ready("a"), given("t", 1, 7)),
        call(6, 7, claim_ready("b"), given("u", 1, 8)),
    ];
    check(
        &with(&[&two[..], &[call(8, 9, claim_ready("c"), none())]].concat()),
        true,
    );
    check(
        &with(&[&two[..], &[call(8, 9, claim_ready("c"), given("t", 2, 9))]].concat()),
        false,
    );
    // The lease of the first has run out, and whether that was noticed nobody knows.
    for outcome in [given("t", 2, 9), none()] {
        check(
            &with(&[&two[..], &[call(8, 30_003, claim_ready("c"), outcome)]].concat()),
            true,
        );
    }
    // Without an answer it took the older one or none.
    let lost = call(4, 4, claim_ready("a"), Outcome::Unknown);
    check(
        &with(&[lost.clone(), call(6, 7, claim_ready("b"), given("u", 1, 8))]),
        true,
    );
    check(
        &with(&[
            lost,
            call(6, 7, claim("b"), claimed(1, 8)),
            call(8, 9, claim_ready("c"), given("u", 1, 9)),
        ]),
        true,
    );
}

#[test]
fn what_the_cluster_did_not_take_changes_nothing() {
    let not_taken = call(0, 1, put("k", "a"), Outcome::Refused(Refusal::NotTaken));
    check(&[not_taken.clone(), call(2, 3, get("k"), value(0, ""))], true);
    check(&[not_taken, call(2, 3, get("k"), value(1, "a"))], false);
}

#[test]
fn places_in_the_order_of_all_commands_follow_time() {
    let placed = |from, to, key, seq| Call {
        seq: Some(seq),
        ..call(from, to, put(key, "x"), changed(1))
    };
    check(&[placed(0, 1, "a", 4), placed(2, 3, "b", 5)], true);
    check(&[placed(0, 3, "a", 5), placed(2, 4, "b", 4)], true);
    check(&[placed(0, 1, "a", 5), placed(2, 3, "b", 4)], false);
    check(&[placed(0, 1, "a", 4), placed(0, 1, "b", 4)], false);
}

#[test]
fn a_spent_budget_is_unknown_and_no_pass() {
    let calls: Vec<Call> = (0..40).map(|n| call(n, 100, put("k", "x"), changed(n + 1))).collect();
    let judged = |steps_max| judge(&calls, Budget { steps_max });
    assert!(judged(40).holds(), "{}", judged(40));
    let spent = judged(39);
    assert!(
        !spent.holds() && spent.faults[0].verdict == Verdict::Unknown { steps: 39 },
        "{spent}"
    );
    assert!(
        spent.to_string().contains("unknown, the budget of the search is spent"),
        "{spent}"
    );
}

#[test]
fn what_is_shown_is_the_smallest_part_that_has_no_order() {
    let mut calls: Vec<Call> = (0..50)
        .map(|n| call(10 * n, 10 * n + 1, put("k", "x"), changed(n + 1)))
        .collect();
    calls.extend((0..50).map(|n| call(10 * n + 2, 10 * n + 3, get("k"), value(n + 1, "x"))));
    calls.push(call(155, 158, get("k"), value(15, "x")));
    calls.extend((0..50).map(|n| call(n, 10 * n + 3, put("other", "y"), Outcome::Unknown)));
    calls.sort_by_key(|call| call.invoked_ns);
    let judgement = judge(&calls, Budget::default());
    assert_eq!((judgement.partitions, judgement.faults.len()), (2, 1));
    let fault = &judgement.faults[0];
    assert_eq!(fault.calls.len(), 17, "{judgement}");
    let shown = fault.to_string();
    assert!(
        shown.ends_with("where #155 p1 [155.000 .. 158.000] get k -> \"x\" @15 does not fit\n"),
        "{shown}"
    );
    assert!(shown.contains("  key k: \"x\" @16\n"), "{shown}");
}

#[test]
fn a_recording_is_read_back_as_it_was_and_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::create(&folder.path().join("history"), 3).unwrap();
    let first = recorder.invoked(1, put("k", "a\nb")).unwrap();
    let second = recorder.invoked(2, get("k")).unwrap();
    recorder.returned(second, value(1, "a\nb"), None).unwrap();
    recorder.returned(first, changed(1), Some(9)).unwrap();
    let third = recorder.invoked(1, put("k", "c")).unwrap();
    recorder.returned(third, Outcome::Unknown, None).unwrap();
    let refused = recorder.invoked(1, get("k")).unwrap_err().to_string();
    assert_eq!(refused, "the history is full: it has 3 calls");
    let calls = recorder.finish().unwrap();
    let outcomes: Vec<_> = calls
        .iter()
        .map(|call| (&call.outcome, call.seq, call.returned_ns.is_some()))
        .collect();
    assert_eq!(
        outcomes,
        [
            (&changed(1), Some(9), true),
            (&value(1, "a\nb"), None, true),
            (&Outcome::Unknown, None, false)
        ]
    );
    let copy = folder.path().join("copy");
    write(&calls, &mut std::fs::File::create(&copy).unwrap()).unwrap();
    assert_eq!(read(&copy).unwrap(), calls);
    check(&calls, true);
}

#[test]
fn a_damaged_recording_is_refused_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history");
    let refused = |text: &str| {
        std::fs::write(&file, text).unwrap();
        read(&file)
            .unwrap_err()
            .to_string()
            .split_once(": ")
            .unwrap()
            .1
            .to_owned()
    };
    let invoked = r#"{"invoked":{"call":1,"process":1,"at_ns":5,"operation":{"get":{"key":"k"}}}}"#;
    let returned = |at: u64| format!(r#"{{"returned":{{"call":1,"at_ns":{at},"outcome":{{"ok":"added"}}}}}}"#);
    assert!(refused("{\n").starts_with("line 1: EOF"));
    assert_eq!(
        refused(&format!("{invoked}\n{invoked}\n")),
        "line 2: call 1 is invoked twice"
    );
    assert_eq!(refused(&returned(6)), "line 1: call 1 returns, but is not under way");
    assert_eq!(
        refused(&format!("{invoked}\n{}\n", returned(4))),
        "line 2: call 1 returns before its invocation"
    );
}
