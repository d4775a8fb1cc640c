//! Single changes and proposals: revisions, kept contents, limits.

use super::*;
use crate::conflict::Kind;

fn lost(outcome: Outcome) -> Vec<(Kind, u64, u64)> {
    let Outcome::Lost { conflicts, .. } = outcome else {
        panic!("{outcome:?}")
    };
    conflicts
        .iter()
        .map(|conflict| (conflict.kind, conflict.expected, conflict.revision))
        .collect()
}

/// The refusal of `body`, of which nothing may remain but the position of its command.
fn refused(rig: &mut Rig, body: Body) -> Refusal {
    let before = rig.clone();
    let command = rig.command(body);
    let (outcome, applied) = rig.send(command);
    let Outcome::Refused(refusal) = outcome else {
        panic!("{outcome:?}")
    };
    check_untouched(&before.colony, &rig.colony);
    assert!(applied.records.is_empty() && applied.events.is_empty() && applied.contents.is_empty());
    refusal
}

fn check_untouched(before: &Colony, after: &Colony) {
    assert_eq!(after.seq, before.seq + 1);
    let digests = |colony: &Colony| -> Vec<_> {
        let projects = colony.projects();
        projects
            .map(|(name, project)| (name.clone(), project.digest(name)))
            .collect()
    };
    assert_eq!(digests(after), digests(before));
    assert!(after.pairs().eq(before.pairs()));
}

#[test]
fn revisions_count_deletions_and_survive_them() {
    let mut rig = Rig::default();
    for (body, revision) in [
        (put("a", "x"), 1),
        (change("a", Op::Delete), 2),
        (change("a", Op::Delete), 3),
        (put("a", "x"), 4),
    ] {
        let seq = rig.colony.seq() + 1;
        assert_eq!(rig.run(body), Outcome::Changed { seq, revision });
    }
    assert_eq!((rig.memory().revision("a"), rig.memory().revision("b")), (4, 0));
}

#[test]
fn a_value_that_came_back_is_still_a_change() {
    let mut rig = Rig::default();
    for value in ["A", "B", "A"] {
        rig.run(put("a", value));
    }
    let outcome = rig.run(Body::Propose(proposal(vec![read("a", 1)], vec![])));
    assert_eq!(lost(outcome), [(Kind::StaleRead, 1, 3)]);
}

#[test]
fn a_read_in_the_future_and_one_in_the_past_lose_each_in_its_way() {
    let mut rig = Rig::default();
    rig.run(put("a", "1"));
    rig.run(change("gone", Op::Delete));
    let reads = vec![
        read("a", 2),
        read("a", 0),
        read("never", 1),
        read("gone", 0),
        read("a", 1),
    ];
    let expected = [
        (Kind::FutureRead, 2, 1),
        (Kind::StaleRead, 0, 1),
        (Kind::FutureRead, 1, 0),
        (Kind::StaleRead, 0, 1),
    ];
    assert_eq!(lost(rig.run(Body::Propose(proposal(reads, vec![])))), expected);
}

#[test]
fn a_write_that_names_another_revision_is_stale() {
    let mut rig = Rig::default();
    rig.run(put("a", "1"));
    let mut stale = write("a", inline("2"));
    stale.before = Some(0);
    let outcome = rig.run(Body::Propose(proposal(vec![], vec![stale])));
    assert_eq!(lost(outcome), [(Kind::StaleWrite, 0, 1)]);
}

#[test]
fn conditions_look_at_the_value_and_at_the_revision() {
    let mut rig = Rig::default();
    rig.run(put("a", "1"));
    let condition = |revision, present| Refusal::Condition {
        key: "a".into(),
        revision,
        present,
    };
    let absent = || change_if("a", inline("2"), Condition::IfAbsent);
    assert_eq!(refused(&mut rig, absent()), condition(1, true));
    assert_eq!(
        refused(&mut rig, change_if("a", Op::Delete, Condition::IfRevision(0))),
        condition(1, true)
    );
    rig.run(change_if("a", Op::Delete, Condition::IfRevision(1)));
    assert_eq!(rig.run(absent()), Outcome::Changed { seq: 5, revision: 3 });
}

#[test]
fn a_value_under_two_keys_is_one_content_and_goes_with_the_last() {
    let mut rig = Rig::default();
    let bytes = KEPT_BYTES_MIN as u64;
    rig.run(change("a", inline(large(7))));
    rig.run(change("b", kept(&large(7))));
    rig.run(change("c", inline(large(7))));
    rig.run(change("c", inline(large(7))));
    assert_eq!(rig.memory().kept(), (1, bytes));
    assert_eq!(rig.memory().content(&ContentHash::of(&large(7))).unwrap().holders, 3);
    rig.run(change("a", Op::Delete));
    rig.run(put("b", "small"));
    assert_eq!(rig.memory().kept(), (1, bytes));
    rig.run(change("c", inline(large(8))));
    assert_eq!(rig.memory().kept(), (1, bytes));
    rig.run(change("c", Op::Delete));
    assert_eq!(rig.memory().kept(), (0, 0));
}

#[test]
fn holders_share_one_copy_of_the_bytes() {
    let mut rig = Rig::default();
    rig.run(change("a", inline(large(7))));
    rig.run(change("b", inline(large(7))));
    let bytes = |key| rig.memory().record(key).unwrap().value.as_ref().unwrap().bytes.as_ptr();
    assert_eq!(bytes("a"), bytes("b"));
}

#[test]
fn content_that_the_project_does_not_keep_is_missing() {
    let mut rig = Rig::default();
    rig.run(put("a", "small"));
    for value in [large(1), b"small".to_vec()] {
        let missing = Refusal::MissingContent {
            key: "b".into(),
            hash: ContentHash::of(&value),
        };
        assert_eq!(refused(&mut rig, change("b", kept(&value))), missing);
    }
}

#[test]
fn a_proposal_may_move_content_from_its_last_holder() {
    let mut rig = Rig::default();
    rig.run(change("a", inline(large(1))));
    let writes = vec![write("a", Op::Delete), write("b", kept(&large(1)))];
    rig.run(Body::Propose(proposal(vec![], writes)));
    assert_eq!((rig.value("a"), rig.value("b")), (None, Some(&large(1)[..])));
}

#[test]
fn a_dry_run_changes_nothing_whether_it_would_commit_or_lose() {
    let mut rig = Rig::default();
    for (revision, commits) in [(0, true), (5, false)] {
        let proposal = Proposal {
            dry_run: true,
            ..proposal(vec![read("a", revision)], vec![write("a", inline("1"))])
        };
        for body in [Body::Propose(proposal.clone()), batch(Policy::First, vec![proposal])] {
            let before = rig.colony.clone();
            let outcome = rig.run(body);
            let committed = matches!(&outcome, Outcome::Committed { revisions, .. } if revisions[..] == [1])
                || matches!(&outcome, Outcome::Judged { verdicts, .. } if matches!(verdicts[0], Verdict::Committed { .. }));
            assert_eq!(committed, commits, "{outcome:?}");
            check_untouched(&before, &rig.colony);
        }
    }
}

#[test]
fn nothing_is_half_done_when_the_second_write_is_refused() {
    let mut rig = Rig::default();
    rig.run(put("text", "x"));
    for second in [
        write("text", Op::Increment(1)),
        write("b", kept(&large(9))),
        write("", Op::Delete),
    ] {
        let writes = vec![write("a", inline(large(1))), second];
        refused(&mut rig, Body::Propose(proposal(vec![], writes)));
    }
    assert_eq!(rig.value("a"), None);
}

#[test]
fn a_refused_command_leaves_no_project_behind() {
    let mut rig = Rig::default();
    refused(&mut rig, change("a", kept(&large(1))));
    assert!(rig.colony.project("p").is_none());
}

#[test]
fn there_are_as_many_projects_as_there_may_be() {
    let mut rig = Rig::default();
    let body = || change("a", Op::Delete);
    for number in 0..PROJECTS_MAX {
        let command = rig.command(body());
        let project = format!("p{number}").into();
        rig.send(Command { project, ..command });
    }
    let refusal = Outcome::Refused(over("projects", PROJECTS_MAX + 1, PROJECTS_MAX));
    assert_eq!(rig.run(body()), refusal);
    let command = rig.command(body());
    let known = Command {
        project: "p7".into(),
        ..command
    };
    assert!(matches!(rig.send(known).0, Outcome::Changed { revision: 2, .. }));
}

fn over(field: &str, value: usize, limit: usize) -> Refusal {
    Refusal::OverLimit {
        field: field.into(),
        value: value as u64,
        limit: limit as u64,
    }
}

#[test]
fn each_limit_of_a_change_is_named_with_the_value_and_the_bound() {
    let mut rig = Rig::default();
    let tagged = |tags| {
        Body::Change(Change {
            key: "a".into(),
            op: Op::Delete,
            tags,
            condition: Condition::None,
            caller: None,
        })
    };
    let key = "k".repeat(KEY_BYTES_MAX + 1);
    assert_eq!(refused(&mut rig, put(&key, "")), over("key_bytes", 3_841, 3_840));
    assert_eq!(refused(&mut rig, tagged(vec!["t".into(); 17])), over("tags", 17, 16));
    assert_eq!(
        refused(&mut rig, tagged(vec!["t".repeat(129).into()])),
        over("tag_bytes", 129, 128)
    );
    let value = over("value_bytes", VALUE_BYTES_MAX + 1, VALUE_BYTES_MAX);
    assert_eq!(
        refused(&mut rig, change("a", inline(vec![0; VALUE_BYTES_MAX + 1]))),
        value
    );
    rig.run(change("a", inline(vec![0; VALUE_BYTES_MAX])));
    assert_eq!(rig.value("a").map(<[u8]>::len), Some(VALUE_BYTES_MAX));
}

#[test]
fn a_value_grows_to_its_limit_and_no_further() {
    let mut rig = Rig::default();
    let max = GROWN_VALUE_BYTES_MAX;
    let limit = |bytes| over("grown_value_bytes", bytes, max);
    let long = Op::Append(vec![0; max + 1].into());
    assert_eq!(refused(&mut rig, change("a", long)), limit(max + 1));
    let line = Op::SetAdd("l".repeat(max + 1).into());
    assert_eq!(refused(&mut rig, change("a", line)), limit(max + 1));
    rig.run(change("a", inline(vec![b'a'; max - 2])));
    rig.run(change("a", Op::SetAdd("b".into())));
    assert_eq!(rig.value("a").map(<[u8]>::len), Some(max));
    assert_eq!(refused(&mut rig, change("a", Op::Append("x".into()))), limit(max + 1));
    assert_eq!(refused(&mut rig, change("a", Op::SetAdd("c".into()))), limit(max + 2));
    // What was put larger stays as it is.
    rig.run(change("a", inline(vec![b'a'; max + 1])));
    assert_eq!(refused(&mut rig, change("a", Op::SetAdd("b".into()))), limit(max + 1));
    assert_eq!(refused(&mut rig, change("a", Op::Append("x".into()))), limit(max + 2));
    assert_eq!(rig.memory().revision("a"), 3);
}

#[test]
fn tags_are_sorted_and_distinct_or_refused() {
    let mut rig = Rig::default();
    for tags in [["b", "a"], ["a", "a"]] {
        let body = Body::Change(Change {
            key: "k".into(),
            op: Op::Delete,
            tags: tags.map(Arc::from).to_vec(),
            condition: Condition::None,
            caller: None,
        });
        let refusal = refused(&mut rig, body);
        assert_eq!(refusal.to_string(), "tags: are not sorted and distinct");
    }
}

#[test]
fn each_limit_of_a_name_is_named_with_the_value_and_the_bound() {
    let mut rig = Rig::default();
    let long: Arc<str> = "n".repeat(257).into();
    let command = rig.command(put("a", "1"));
    for (command, refusal) in [
        (
            Command {
                project: long.clone(),
                ..command.clone()
            },
            over("project", 257, 128),
        ),
        (
            Command {
                author: long.clone(),
                number: 2,
                ..command.clone()
            },
            over("author", 257, 128),
        ),
        (
            Command {
                idempotency_key: Some(long),
                number: 3,
                ..command.clone()
            },
            over("idempotency_key", 257, 256),
        ),
    ] {
        assert_eq!(rig.send(command).0, Outcome::Refused(refusal));
    }
    assert_eq!(rig.colony.projects().count(), 0);
}

#[test]
fn each_limit_of_a_proposal_is_named_with_the_value_and_the_bound() {
    let mut rig = Rig::default();
    let reads = proposal(vec![read("a", 0); PROPOSAL_KEYS_MAX + 1], vec![]);
    let writes = proposal(vec![], vec![write("a", Op::Delete); PROPOSAL_KEYS_MAX + 1]);
    let long = proposal(vec![read(&"k".repeat(KEY_BYTES_MAX + 1), 0)], vec![]);
    let propose = Body::Propose;
    assert_eq!(refused(&mut rig, propose(reads)), over("reads", 65_537, 65_536));
    assert_eq!(refused(&mut rig, propose(writes)), over("writes", 65_537, 65_536));
    assert_eq!(refused(&mut rig, propose(long)), over("key_bytes", 3_841, 3_840));
}

#[test]
fn each_limit_of_a_batch_is_named_with_the_value_and_the_bound() {
    let mut rig = Rig::default();
    let many = vec![Proposal::default(); BATCH_PROPOSALS_MAX + 1];
    assert_eq!(
        refused(&mut rig, batch(Policy::First, many)),
        over("proposals", 16_385, 16_384)
    );
    let full = proposal(vec![read("a", 0); PROPOSAL_KEYS_MAX], vec![write("a", Op::Delete)]);
    let keys = 16 * (PROPOSAL_KEYS_MAX + 1);
    assert_eq!(
        refused(&mut rig, batch(Policy::First, vec![full; 16])),
        over("batch_keys", keys, BATCH_KEYS_MAX)
    );
}

#[test]
fn an_outcome_lists_a_bounded_number_of_conflicts_and_counts_all() {
    let mut rig = Rig::default();
    let reads = (0..CONFLICTS_LISTED_MAX + 5)
        .map(|number| read(&format!("k{number}"), 1))
        .collect();
    let Outcome::Lost { conflicts, total, .. } = rig.run(Body::Propose(proposal(reads, vec![]))) else {
        panic!("it was not lost")
    };
    assert_eq!(
        (conflicts.len(), total),
        (CONFLICTS_LISTED_MAX, CONFLICTS_LISTED_MAX as u64 + 5)
    );
}

#[test]
fn a_set_of_lines_is_joined_only_where_lines_are_sorted() {
    let mut rig = Rig::default();
    for line in ["m", "b", "z", "m"] {
        rig.run(change("set", Op::SetAdd(line.into())));
    }
    assert_eq!(rig.value("set"), Some(&b"b\nm\nz"[..]));
    rig.run(put("set", "b\na"));
    for line in ["a", "b", "c"] {
        let refusal = refused(&mut rig, change("set", Op::SetAdd(line.into())));
        assert!(matches!(refusal, Refusal::WrongType { .. }), "{refusal}");
    }
}

#[test]
fn a_range_holds_the_keys_of_a_prefix_after_a_key() {
    let mut rig = Rig::default();
    for key in ["a", "dir/a", "dir/b", "dir/c", "dis"] {
        rig.run(put(key, "1"));
    }
    rig.run(change("dir/b", Op::Delete));
    let keys = |prefix, after| -> Vec<String> {
        let range = rig.memory().range(prefix, after);
        range.map(|(key, _)| key.to_string()).collect()
    };
    assert_eq!(keys("dir/", None), ["dir/a", "dir/b", "dir/c"]);
    assert_eq!(keys("dir/", Some("dir/a")), ["dir/b", "dir/c"]);
    assert_eq!(keys("dir/", Some("a")), ["dir/a", "dir/b", "dir/c"]);
    assert_eq!(keys("dir/", Some("dis")), [""; 0]);
    assert_eq!(keys("", None).len(), 5);
}
