//! Ranges, merges, fences and the turn of those who lose again and again.

use super::*;
use crate::conflict::{Hunk, Kind, MergeFailure};

fn folder(rig: &Rig, folder: &str) -> RangeRead {
    let span = Span::Folder(folder.into());
    let stamp = span.state(rig.memory(), &mut GlobRoom::default()).unwrap().stamp;
    RangeRead { span, stamp }
}

fn glob(rig: &Rig, glob: &str) -> RangeRead {
    let span = Span::Glob(glob.into());
    let stamp = span.state(rig.memory(), &mut GlobRoom::default()).unwrap().stamp;
    RangeRead { span, stamp }
}

fn reading(ranges: Vec<RangeRead>) -> Proposal {
    Proposal {
        ranges,
        ..Proposal::default()
    }
}

fn kinds(outcome: &Outcome) -> Vec<(Kind, &str)> {
    match outcome {
        Outcome::Lost { conflicts, .. } => conflicts
            .iter()
            .map(|conflict| (conflict.kind, &*conflict.key))
            .collect(),
        Outcome::Committed { .. } => Vec::new(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_appears_goes_changes_or_comes_back_below_a_read_folder_is_a_phantom() {
    for late in [
        put("src/new", "1"),
        change("src/a", Op::Delete),
        put("src/a", "other"),
        put("src/a", "1"),
        put("src/deep/er/x", "1"),
        change("src/deep/b", Op::Increment(1)),
    ] {
        let mut rig = Rig::default();
        rig.run(put("src/a", "1"));
        rig.run(put("src/deep/b", "1"));
        rig.run(put("other/c", "1"));
        let (src, other) = (folder(&rig, "src/"), folder(&rig, "other/"));
        assert_eq!((src.stamp.keys, other.stamp.keys), (2, 1));
        rig.run(late.clone());
        let outcome = rig.run(Body::Propose(reading(vec![other, src])));
        assert_eq!(kinds(&outcome), [(Kind::Phantom, "src/")], "{late:?}");
    }
}

#[test]
fn what_happens_beside_a_folder_is_none_of_its_readers_business() {
    let mut rig = Rig::default();
    rig.run(put("src/a", "1"));
    let ranges = vec![folder(&rig, "src/"), glob(&rig, "src/*.rs"), glob(&rig, "s*")];
    rig.run(put("srcs/a", "1"));
    rig.run(put("src", "1"));
    let outcome = rig.run(Body::Propose(reading(ranges)));
    assert_eq!(kinds(&outcome), [(Kind::Phantom, "s*")]);
}

#[test]
fn the_stamp_of_a_folder_is_what_its_records_say_and_survives_a_snapshot() {
    let mut rig = Rig::default();
    for number in 0..40 {
        rig.run(put(&format!("a/{}/{}", number % 3, number % 7), &number.to_string()));
        rig.run(change(&format!("a/{}/{}", number % 2, number % 5), Op::Delete));
    }
    let restored = Colony::from_bytes(&rig.colony.to_bytes()).unwrap();
    let memory = restored.project("p").unwrap().memory();
    for (name, pattern) in [("", "**"), ("a/", "a/**"), ("a/1/", "a/1/**"), ("b/", "b/**")] {
        let state = |span: Span, memory: &Memory| span.state(memory, &mut GlobRoom::default()).unwrap();
        let kept = state(Span::Folder(name.into()), rig.memory());
        assert_eq!(kept, state(Span::Glob(pattern.into()), rig.memory()), "{name}");
        assert_eq!(kept, state(Span::Folder(name.into()), memory), "{name}");
    }
}

#[test]
fn a_glob_that_looks_at_too_much_is_refused_by_the_limit() {
    let mut rig = Rig::default();
    for number in 0..300 {
        rig.run(put(&format!("{number:0>3800}"), "1"));
    }
    let range = RangeRead {
        span: Span::Glob("x*".into()),
        stamp: RangeStamp::default(),
    };
    let outcome = rig.run(Body::Propose(reading(vec![range])));
    let Outcome::Refused(Refusal::OverLimit { field, limit, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        (&*field, limit),
        ("glob_looked_at_bytes", GLOB_LOOKED_AT_BYTES_MAX as u64)
    );
}

#[test]
fn in_a_batch_a_write_below_a_range_that_another_one_reads_is_a_conflict() {
    let mut rig = Rig::default();
    rig.run(put("src/a", "1"));
    let reader = || reading(vec![folder(&rig, "src/")]);
    let writer = |key: &str| proposal(vec![], vec![write(key, inline("2"))]);
    let proposals = vec![reader(), writer("src/new"), writer("doc/new"), reader()];
    let outcome = rig.run(batch(Policy::First, proposals));
    let Outcome::Judged { verdicts, pairs, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(pairs, 2);
    let Verdict::Lost { conflicts, .. } = &verdicts[1] else {
        panic!("{verdicts:?}")
    };
    assert_eq!(
        (conflicts[0].kind, &*conflicts[0].key, conflicts[0].winner),
        (Kind::ReadWrite, "src/new", 0)
    );
    assert!(matches!(verdicts[2], Verdict::Committed { .. }));
}

#[test]
fn a_batch_of_ranges_costs_no_more_than_its_limit() {
    let mut rig = Rig::default();
    rig.run(put("k", "1"));
    let everything = folder(&rig, "");
    let proposals = (0..1_000).map(|number| Proposal {
        writes: vec![write(&format!("k{number}"), inline("1"))],
        ..reading(vec![everything.clone()])
    });
    let outcome = rig.run(batch(Policy::First, proposals.collect()));
    let Outcome::Refused(Refusal::OverLimit { field, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(&*field, "batch_range_keys");
    assert_eq!(rig.memory().len(), 1);
}

fn merge(base: Option<&str>, theirs: &str) -> Op {
    let content = |text: &str| Content::Inline(Bytes::from(text.to_string()));
    Op::Merge(Merge {
        base: base.map(content),
        base_tags: Vec::new(),
        theirs: content(theirs),
    })
}

fn merging(base: Option<&str>, theirs: &str) -> Body {
    Body::Propose(proposal(vec![], vec![write("f", merge(base, theirs))]))
}

const BASE: &str = "1\n2\n3\n4\n5\n";

#[test]
fn a_text_that_was_changed_elsewhere_is_merged_and_the_outcome_says_so() {
    let mut rig = Rig::default();
    let Outcome::Committed { merged, .. } = rig.run(merging(None, BASE)) else {
        panic!()
    };
    assert!(merged.is_empty());
    let Outcome::Committed { merged, .. } = rig.run(merging(Some(BASE), "one\n2\n3\n4\n5\n")) else {
        panic!()
    };
    assert!(merged.is_empty(), "nobody else had changed it");
    let outcome = rig.run(merging(Some(BASE), "1\n2\n3\n4\nfive\n"));
    assert_eq!(
        outcome,
        Outcome::Committed {
            seq: 3,
            revisions: vec![3],
            merged: vec![0],
        }
    );
    assert_eq!(rig.value("f"), Some(&b"one\n2\n3\n4\nfive\n"[..]));
}

#[test]
fn lines_that_both_have_changed_are_told_with_both_sides_and_nothing_is_changed() {
    let mut rig = Rig::default();
    rig.run(put("f", "1\n2\nours\n4\n5\n"));
    let outcome = rig.run(merging(Some(BASE), "1\n2\ntheirs\n4\n5\n"));
    let Outcome::Lost { conflicts, .. } = &outcome else {
        panic!("{outcome:?}")
    };
    let Some(MergeFailure::Lines(hunks)) = &conflicts[0].merge else {
        panic!("{outcome:?}")
    };
    let hunk = Hunk {
        line: 3,
        base: "3\n".into(),
        ours: "ours\n".into(),
        theirs: "theirs\n".into(),
    };
    assert_eq!((conflicts[0].kind, &hunks.listed[..]), (Kind::Merge, &[hunk][..]));
    assert_eq!(rig.memory().revision("f"), 1);
}

#[test]
fn what_went_or_came_meanwhile_is_not_merged_with() {
    let mut rig = Rig::default();
    rig.run(put("f", BASE));
    let failure = |outcome: Outcome| match outcome {
        Outcome::Lost { conflicts, .. } => conflicts[0].merge.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(failure(rig.run(merging(None, "x"))), Some(MergeFailure::Gone));
    rig.run(change("f", Op::Delete));
    assert_eq!(failure(rig.run(merging(Some(BASE), "x"))), Some(MergeFailure::Gone));
}

#[test]
fn a_merge_keeps_the_tags_of_the_side_that_has_changed_them() {
    let mut rig = Rig::default();
    let mut executable = write("f", inline(BASE));
    executable.tags = vec!["mode:100755".into()];
    rig.run(Body::Propose(proposal(vec![], vec![executable])));
    let mut text = write("f", merge(Some(BASE), "new\n"));
    text.tags = vec!["mode:100644".into()];
    let Op::Merge(Merge { base_tags, .. }) = &mut text.op else {
        panic!()
    };
    *base_tags = text.tags.clone();
    rig.run(Body::Propose(proposal(vec![], vec![text.clone()])));
    assert_eq!(rig.memory().record("f").unwrap().tags, ["mode:100755".into()]);
    text.tags = vec!["mode:120000".into()];
    let outcome = rig.run(Body::Propose(proposal(vec![], vec![text])));
    assert!(matches!(&outcome, Outcome::Lost { conflicts, .. } if conflicts[0].merge == Some(MergeFailure::Tags)));
}

#[test]
fn under_the_policy_merge_texts_of_one_batch_go_together_where_their_lines_do() {
    let mut rig = Rig::default();
    rig.run(put("f", BASE));
    let edit = |theirs| proposal(vec![], vec![write("f", merge(Some(BASE), theirs))]);
    let proposals = vec![
        edit("one\n2\n3\n4\n5\n"),
        edit("1\n2\n3\n4\nfive\n"),
        edit("uno\n2\n3\n4\n5\n"),
    ];
    let outcome = rig.run(batch(Policy::Merge, proposals.clone()));
    let Outcome::Judged { verdicts, .. } = outcome else {
        panic!()
    };
    assert!(matches!(&verdicts[1], Verdict::Committed { merged, .. } if *merged == [0]));
    assert!(matches!(&verdicts[2], Verdict::Lost { conflicts, .. } if conflicts[0].kind == Kind::Merge));
    assert_eq!(rig.value("f"), Some(&b"one\n2\n3\n4\nfive\n"[..]));
    let outcome = rig.run(batch(Policy::First, proposals));
    let Outcome::Judged { verdicts, .. } = outcome else {
        panic!()
    };
    assert!(matches!(&verdicts[1], Verdict::Lost { conflicts, .. } if conflicts[0].kind == Kind::WriteWrite));
}

#[test]
fn the_merges_of_one_command_are_bounded_together() {
    let mut rig = Rig::default();
    let text = |c: &str| format!("{c}\n").repeat(4_000);
    for number in 0..5 {
        rig.run(put(&format!("f{number}"), &text("x")));
    }
    let writes = (0..5).map(|number| write(&format!("f{number}"), merge(Some(&text("y")), &text("z"))));
    let outcome = rig.run(Body::Propose(proposal(vec![], writes.collect())));
    let Outcome::Refused(Refusal::OverLimit { field, .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(&*field, "merge_lines");
}

#[test]
fn a_proposal_under_a_fence_is_refused_once_somebody_else_holds_the_task() {
    let mut rig = Rig::default();
    let hash = TokenHash::of;
    let task = TaskId { seq: 1, ordinal: 0 };
    let new = NewTask {
        title: "t".into(),
        ..NewTask::default()
    };
    rig.run(Body::Task(TaskCommand::Add(vec![new])));
    let mut open = |token: &str| {
        let opened = rig.run(Body::Session(SessionCommand::Open(NewSession::new(token, hash(token)))));
        match opened {
            Outcome::SessionOpen { session, .. } => session,
            other => panic!("{other:?}"),
        }
    };
    let (one, _) = (open("one"), open("two"));
    let claim = |token: &str| {
        Body::Task(TaskCommand::Claim(Claim {
            which: Which::Ids(vec![task]),
            caller: Caller::Session(hash(token)),
            wants: Wants::default(),
        }))
    };
    rig.run(claim("one"));
    let under = |fence, token: &str, dry_run| {
        let caller = Caller::Session(hash(token));
        let fence = Fence(fence);
        Body::Propose(Proposal {
            fence: Some(TaskFence { task, fence, caller }),
            dry_run,
            ..proposal(vec![], vec![write("a", inline("1"))])
        })
    };
    assert!(matches!(rig.run(under(4, "one", false)), Outcome::Committed { .. }));
    assert!(matches!(rig.run(under(4, "one", true)), Outcome::Committed { .. }));
    for (fence, token) in [(3, "one"), (4, "two")] {
        let outcome = rig.run(under(fence, token, false));
        assert!(
            matches!(outcome, Outcome::Refused(Refusal::Fenced { .. })),
            "{outcome:?}"
        );
    }
    let (session, token) = (one, hash("one"));
    rig.run(Body::Session(SessionCommand::Close { session, token }));
    rig.run(claim("two"));
    let outcome = rig.run(under(4, "one", false));
    assert!(
        matches!(outcome, Outcome::Refused(Refusal::Fenced { holder: Some(_), .. })),
        "{outcome:?}"
    );
    assert_eq!(rig.memory().revision("a"), 1);
}

/// A proposal of `author` that has read `a` as it was never written.
fn stale(rig: &mut Rig, author: &str, follows: Option<u64>) -> Outcome {
    let lost = Proposal {
        follows,
        ..proposal(vec![read("a", 0)], vec![write("b", inline("1"))])
    };
    send_as(rig, author, Body::Propose(lost))
}

fn send_as(rig: &mut Rig, author: &str, body: Body) -> Outcome {
    let command = Command {
        author: author.into(),
        ..rig.command(body)
    };
    rig.send(command).0
}

/// Bob has lost three times, each attempt following the one before; the third was at seq 4.
fn lost_thrice() -> Rig {
    let mut rig = Rig::default();
    rig.run(put("a", "1"));
    for follows in [None, Some(2)] {
        let outcome = stale(&mut rig, "bob", follows);
        assert!(
            matches!(
                outcome,
                Outcome::Lost {
                    held_until_ms: None,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
    let outcome = stale(&mut rig, "bob", Some(3));
    assert!(
        matches!(
            outcome,
            Outcome::Lost {
                held_until_ms: Some(HOLD_MS),
                ..
            }
        ),
        "{outcome:?}"
    );
    rig
}

#[test]
fn who_has_lost_three_times_has_its_keys_held_for_the_attempt_that_follows() {
    let mut rig = lost_thrice();
    let held = Refusal::KeyHeld {
        key: "a".into(),
        author: "bob".into(),
        until_ms: HOLD_MS,
    };
    assert_eq!(rig.run(put("a", "2")), Outcome::Refused(held));
    let other = |key: &str| Body::Propose(proposal(vec![], vec![write(key, inline("2"))]));
    assert_eq!(kinds(&rig.run(other("b"))), [(Kind::Reservation, "b")]);
    assert_eq!(kinds(&rig.run(other("c"))), []);
    let outcome = rig.run(batch(
        Policy::First,
        vec![proposal(vec![], vec![write("a", Op::Delete)])],
    ));
    assert!(matches!(outcome, Outcome::Judged { verdicts, .. } if matches!(verdicts[0], Verdict::Lost { .. })));
    // Who only says to follow it is somebody else.
    let follows = |seq| {
        Body::Propose(Proposal {
            follows: Some(seq),
            ..proposal(vec![read("a", 1)], vec![write("b", inline("1"))])
        })
    };
    assert_eq!(kinds(&send_as(&mut rig, "eve", follows(4))), [(Kind::Reservation, "b")]);
    assert_eq!(kinds(&send_as(&mut rig, "bob", follows(4))), []);
    assert!(matches!(rig.run(put("a", "2")), Outcome::Changed { .. }));
}

#[test]
fn a_hold_ends_with_its_time_and_survives_a_snapshot_until_then() {
    let mut rig = lost_thrice();
    rig.colony = Colony::from_bytes(&rig.colony.to_bytes()).unwrap();
    assert_eq!(rig.colony.due_ms(), Some(HOLD_MS));
    rig.now_ms = HOLD_MS - 1;
    assert!(matches!(
        rig.run(put("a", "2")),
        Outcome::Refused(Refusal::KeyHeld { .. })
    ));
    rig.now_ms = HOLD_MS;
    assert!(matches!(rig.run(put("a", "2")), Outcome::Changed { .. }));
    assert!(rig.colony.project("p").unwrap().holds().is_empty());
    assert_eq!(rig.colony.due_ms(), None);
}

#[test]
fn losses_that_do_not_follow_one_another_or_are_of_somebody_else_grant_nothing() {
    let mut rig = Rig::default();
    rig.run(put("a", "1"));
    for (author, follows) in [
        ("bob", None),
        ("bob", None),
        ("bob", Some(3)),
        ("eve", Some(4)),
        ("eve", Some(1)),
        ("bob", Some(99)),
    ] {
        let outcome = stale(&mut rig, author, follows);
        assert!(
            matches!(
                outcome,
                Outcome::Lost {
                    held_until_ms: None,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
}

#[test]
fn two_holds_never_have_a_key_in_common() {
    let mut rig = lost_thrice();
    stale(&mut rig, "eve", None);
    let mut lost = || stale(&mut rig, "eve", Some(0));
    lost();
    let seq = rig.colony.seq();
    for follows in [seq, seq + 1] {
        let outcome = stale(&mut rig, "eve", Some(follows));
        assert!(
            matches!(
                outcome,
                Outcome::Lost {
                    held_until_ms: None,
                    ..
                }
            ),
            "{outcome:?}"
        );
    }
    assert_eq!(rig.colony.project("p").unwrap().holds().iter().count(), 1);
}
