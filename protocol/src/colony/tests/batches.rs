//! Proposal batches: many against the pairwise model, and the corners one by one.

use super::model::Model;
use super::random::{Generator, Seeded, Step, each_seed};
use super::*;

/// A colony with some keys, and the model of it.
fn prepared() -> (Colony, Model) {
    let (mut generator, mut colony, mut model) = (Generator::new(78), Colony::default(), Model::default());
    let few = |colony: &Colony| colony.project("p").is_none_or(|project| project.memory().len() <= 4);
    for steps in 0.. {
        if steps >= 140 && !few(&colony) {
            break;
        }
        assert!(steps < 10_000, "there are no keys");
        let step = generator.next(&colony);
        step.apply(&mut colony);
        model.apply(&step);
    }
    (colony, model)
}

#[test]
fn batches_are_judged_as_by_comparing_every_pair() {
    let (colony, model) = prepared();
    each_seed(0..10_000, |seed| {
        let (mut colony, mut model) = (colony.clone(), model.clone());
        let batch = Seeded(seed).batch(&colony, colony.project("p").unwrap());
        let step = Step {
            cluster_ms: colony.cluster_ms(),
            node: NodeId(9),
            incarnation: 1,
            command: Rig::default().command(Body::ProposeBatch(batch)),
            empty_before: false,
        };
        let outcome = step.apply(&mut colony).outcomes.remove(0).outcome;
        assert_eq!(Some(outcome), model.apply(&step), "{step:#?}");
    });
}

fn verdicts(outcome: Outcome) -> Vec<Verdict> {
    match outcome {
        Outcome::Judged { verdicts, .. } => verdicts,
        other => panic!("{other:?}"),
    }
}

fn writing(writes: Vec<Write>) -> Proposal {
    proposal(vec![], writes)
}

#[test]
fn a_winner_may_put_what_another_winner_deletes() {
    let mut rig = Rig::default();
    rig.run(change("a", inline(large(1))));
    let proposals = vec![
        writing(vec![write("a", Op::Delete)]),
        writing(vec![write("b", kept(&large(1)))]),
        writing(vec![write("b", Op::Delete)]),
    ];
    rig.run(batch(Policy::First, proposals));
    assert_eq!((rig.value("a"), rig.value("b")), (None, Some(&large(1)[..])));
    assert_eq!(rig.memory().content(&ContentHash::of(&large(1))).unwrap().holders, 1);
}

#[test]
fn content_that_a_batch_names_and_deletes_is_gone_afterwards() {
    let mut rig = Rig::default();
    rig.run(change("a", inline(large(1))));
    let proposals = vec![
        writing(vec![write("a", Op::Delete), write("b", Op::Delete)]),
        writing(vec![write("b", kept(&large(1)))]),
    ];
    let command = rig.command(batch(Policy::First, proposals));
    let (_, applied) = rig.send(command);
    assert_eq!(rig.memory().kept(), (0, 0));
    assert_eq!(applied.contents, [("p".into(), ContentHash::of(&large(1)))]);
}

#[test]
fn a_winner_that_no_longer_fits_is_refused_and_not_counted_as_committed() {
    let mut rig = Rig::default();
    let add = || writing(vec![write("n", Op::Increment(i64::MAX))]);
    let command = rig.command(batch(Policy::First, vec![add(), add()]));
    let (outcome, applied) = rig.send(command);
    assert!(matches!(
        verdicts(outcome)[..],
        [Verdict::Committed { .. }, Verdict::Refused(_)]
    ));
    let (_, last) = applied.events.last().unwrap();
    assert_eq!(last.what, What::Judged { committed: 1, lost: 1 });
}

#[test]
fn a_dry_run_and_a_real_proposal_do_not_share_a_batch() {
    let mut rig = Rig::default();
    let dry = Proposal {
        dry_run: true,
        ..writing(vec![write("a", inline("1"))])
    };
    let outcome = rig.run(batch(Policy::First, vec![dry, writing(vec![write("a", inline("2"))])]));
    assert!(
        matches!(outcome, Outcome::Refused(Refusal::Malformed { .. })),
        "{outcome:?}"
    );
}

#[test]
fn merging_many_proposals_of_many_equal_writes_costs_no_square() {
    // With a search through all writes for each key this compares 500 million keys; with a hash for each question it
    // hashes 16 GiB.
    let mut rig = Rig::default();
    let mut writes: Vec<Write> = (0..8_000).map(|key| write(&format!("k{key}"), Op::Delete)).collect();
    writes.push(write("large", inline(vec![1; 1 << 20])));
    let outcome = rig.run(batch(Policy::Merge, vec![writing(writes); 16]));
    assert!(
        verdicts(outcome)
            .iter()
            .all(|verdict| matches!(verdict, Verdict::Committed { .. }))
    );
    assert_eq!(rig.memory().revision("k0"), 16);
}

/// The encoded size of an outcome, and what its command said that it could be.
fn sizes(body: Body) -> (usize, usize) {
    use bincode::Options;
    let mut rig = Rig::default();
    let most = body.outcome_bytes_max();
    let outcome = rig.run(body);
    let options = bincode::DefaultOptions::new().with_fixint_encoding();
    (options.serialized_size(&outcome).unwrap() as usize, most)
}

fn long_key(number: usize) -> String {
    format!("{number:0>3840}")
}

#[test]
fn no_outcome_is_larger_than_its_command_said() {
    let long = |op: fn() -> Op| move |number| proposal(vec![read(&long_key(number), 7)], vec![write("k", op())]);
    let twice = |number| {
        let key = long_key(number);
        proposal(vec![], vec![write(&key, Op::Delete), write(&key, Op::Delete)])
    };
    let missing = |number| proposal(vec![], vec![write(&long_key(number), kept(&large(1)))]);
    let many = |number| {
        let reads = (0..8).map(|key| read(&format!("{number}/{key}"), 7)).collect();
        proposal(reads, vec![])
    };
    let of = |count: usize, one: &dyn Fn(usize) -> Proposal| batch(Policy::First, (0..count).map(one).collect());
    let committed = |number: usize| {
        let keys = (0..8).map(|key| write(&format!("{number}/{key}"), Op::Delete));
        proposal(vec![], keys.collect())
    };
    let merge = |base: &str, theirs: &str| {
        Op::Merge(Merge {
            base: (!base.is_empty()).then(|| Content::Inline(Bytes::from(base.to_string()))),
            base_tags: Vec::new(),
            theirs: Content::Inline(Bytes::from(theirs.to_string())),
        })
    };
    // Each of them was a value at the start, so each is answered with why it does not go together.
    let writes = (0..64).map(|number| write(&long_key(number), merge("gone", "new")));
    let unmerged = proposal(vec![], writes.collect());
    let merged = |number: usize, writes: usize| {
        let writes = (0..writes).map(|key| write(&format!("{number}/{key}"), merge("", "new")));
        proposal(vec![], writes.collect())
    };
    let caller = Caller::Agent {
        name: "n".repeat(NAME_BYTES_MAX).into(),
        generation: 1,
    };
    let fenced = Proposal {
        fence: Some(TaskFence {
            task: TaskId { seq: 1, ordinal: 0 },
            fence: Fence(1),
            caller,
        }),
        ..Proposal::default()
    };
    let all_lost: Vec<_> = (0..64).map(|number| read(&long_key(number), 7)).collect();
    for body in [
        of(2_000, &long(|| Op::Delete)),
        of(2_000, &twice),
        of(2_000, &missing),
        of(BATCH_PROPOSALS_MAX, &many),
        of(BATCH_PROPOSALS_MAX, &committed),
        of(BATCH_PROPOSALS_MAX, &|_| writing(vec![write("k", inline("1"))])),
        of(BATCH_PROPOSALS_MAX, &|_| {
            writing(vec![write("k", Op::SetAdd("a\nb".into()))])
        }),
        of(BATCH_PROPOSALS_MAX + 1, &|_| Proposal::default()),
        Body::Propose(proposal(all_lost, vec![write("k", Op::Delete)])),
        Body::Propose(twice(1)),
        Body::Propose(missing(1)),
        Body::Propose(committed(1)),
        Body::Propose(unmerged.clone()),
        of(BATCH_PROPOSALS_MAX, &|_| fenced.clone()),
        Body::Propose(fenced.clone()),
        of(200, &|_| unmerged.clone()),
        of(2, &|number| merged(number, 4_000)),
        change(&long_key(1), kept(&large(1))),
        Body::Task(TaskCommand::Add(vec![
            NewTask {
                title: "t".into(),
                ..NewTask::default()
            };
            ADD_TASKS_MAX
        ])),
        Body::Agent(AgentCommand::Ended {
            name: "n".repeat(NAME_BYTES_MAX).into(),
            generation: 1,
            reason: "".into(),
        }),
        change_if(&long_key(1), Op::Delete, Condition::IfRevision(9)),
        put("k", "1"),
    ] {
        let (bytes, most) = sizes(body);
        assert!(bytes <= most && most <= OUTCOME_BYTES_MAX, "{bytes} {most}");
    }
}

#[test]
fn a_long_answer_lists_less_and_counts_all() {
    let mut rig = Rig::default();
    let reads = |number: usize| (0..4).map(move |key| read(&long_key(10 * number + key), 7));
    let proposals = (0..100).map(|number| proposal(reads(number).collect(), vec![]));
    let verdicts = verdicts(rig.run(batch(Policy::First, proposals.collect())));
    let (mut listed, mut all) = (0, 0);
    for verdict in &verdicts {
        let Verdict::Lost { conflicts, total } = verdict else {
            panic!("{verdict:?}")
        };
        (listed, all) = (listed + conflicts.len(), all + total);
    }
    assert_eq!((listed, all), (BATCH_LISTED_BYTES_MAX / (3_840 + 74), 400));
}

#[test]
fn an_empty_batch_is_judged() {
    let mut rig = Rig::default();
    assert_eq!(verdicts(rig.run(batch(Policy::Reject, vec![]))), []);
}
