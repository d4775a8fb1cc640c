//! `swarm_primitives`: snapshots, proposals and queues.

use std::hint::black_box;

use queenright_protocol::colony::{
    Body, Caller, Colony, Content, NewTask, Op, Outcome, Priority, Proposal, ProposalBatch, Round, TaskCommand, Terms,
    Tier, Verdict, Write,
};
use queenright_protocol::conflict::{Policy, detect};

use super::Once;
use crate::alone::{Alone, batch, claim, put, start};

/// How many keys the proposals of `conditional_aggregation` are about.
const RESOURCES: usize = 10;
/// How many tasks one command adds or claims.
const AT_ONCE: usize = 100;
const PRIORITIES: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];
const TIERS: [Tier; 3] = [Tier::Interactive, Tier::Standard, Tier::Batch];

pub(super) fn snapshot_reads(reads: usize) -> Once {
    let mut alone = Alone::default();
    alone.apply(put("key".to_owned()));
    Box::new(move || {
        for _ in 0..reads {
            assert_eq!(black_box(alone.colony.clone()).seq(), 1);
        }
    })
}

pub(super) fn snapshot_writes(commits: usize) -> Once {
    let mut alone = Alone::default();
    let rounds: Vec<Round> = (0..commits)
        .map(|place| alone.round(vec![put(format!("resource-{}", place % RESOURCES))]))
        .collect();
    let mut kept: Vec<Colony> = Vec::with_capacity(commits);
    Box::new(move || {
        for round in &rounds {
            alone.apply_round(round);
            kept.push(alone.colony.clone());
        }
    })
}

/// Applies a batch of proposals that write one key each; so many must commit.
fn judged(policy: Policy, writes: impl Iterator<Item = (String, Op)>, committed: usize) -> Once {
    let proposal = |(key, op): (String, Op)| Proposal {
        writes: vec![Write {
            key: key.into(),
            op,
            tags: Vec::new(),
            before: None,
        }],
        ..Proposal::default()
    };
    let proposals = writes.map(proposal).collect();
    let mut alone = Alone::default();
    let round = alone.round(vec![Body::ProposeBatch(ProposalBatch { proposals, policy })]);
    Box::new(move || {
        let applied = alone.apply_round(black_box(&round));
        let Outcome::Judged { verdicts, .. } = &applied.outcomes[0].outcome else {
            panic!("a batch is judged");
        };
        let found = verdicts
            .iter()
            .filter(|verdict| matches!(verdict, Verdict::Committed { .. }));
        assert_eq!(found.count(), committed);
    })
}

pub(super) fn commutative(proposals: usize) -> Once {
    let writes = (0..proposals).map(|place| ("total".to_owned(), Op::Increment(place as i64)));
    judged(Policy::Merge, writes, proposals)
}

pub(super) fn conditional(proposals: usize) -> Once {
    let value = |place: usize| Op::Put(Content::Inline(place.to_string().into_bytes().into()));
    let writes = (0..proposals).map(|place| (format!("resource-{}", place % RESOURCES), value(place)));
    judged(Policy::First, writes, RESOURCES)
}

pub(super) fn merging(proposals: usize) -> Once {
    let element = |place: usize| Op::SetAdd(format!("element-{place}").into());
    let writes = (0..proposals).map(|place| ("set".to_owned(), element(place)));
    judged(Policy::Merge, writes, proposals)
}

pub(super) fn conflicts(proposals: usize) -> Once {
    let expected = match proposals {
        10 => 12,
        50 => 392,
        100 => 1_617,
        500 => 41_417,
        _ => panic!("the original has no {proposals} proposals"),
    };
    Box::new(move || {
        let batch = batch((0..proposals).map(|place| format!("resource-{}", place % 3)));
        assert_eq!(detect(&batch).counts().total(), expected);
    })
}

/// A task of the priority at this place, with a tier and a cost.
fn task(place: usize, tier: Tier, cost: u32) -> NewTask {
    NewTask {
        title: "work".into(),
        terms: Terms {
            priority: PRIORITIES[place % PRIORITIES.len()],
            tier,
            cost,
            ..Terms::default()
        },
        ..NewTask::default()
    }
}

fn add(alone: &mut Alone, tasks: Vec<NewTask>) {
    for tasks in tasks.chunks(AT_ONCE) {
        alone.apply(Body::Task(TaskCommand::Add(tasks.to_vec())));
    }
}

fn worker(alone: &mut Alone) -> Caller {
    let (body, caller) = start("worker");
    alone.apply(body);
    caller
}

/// Claims until nothing is ready; how many tasks that were.
fn claim_all(alone: &mut Alone, worker: &Caller, at_once: u32) -> usize {
    let mut all = 0;
    loop {
        let Outcome::Claimed { tasks, .. } = alone.apply(claim(worker, at_once)) else {
            panic!("a claim is answered");
        };
        match tasks.len() {
            0 => return all,
            more => all += more,
        }
    }
}

pub(super) fn scheduling(tasks: usize) -> Once {
    let mut alone = Alone::default();
    let worker = worker(&mut alone);
    Box::new(move || {
        for place in 0..tasks {
            alone.apply(Body::Task(TaskCommand::Add(vec![task(place, Tier::Standard, 0)])));
        }
        assert_eq!(claim_all(&mut alone, &worker, 1), tasks);
    })
}

pub(super) fn depth(tasks: usize) -> Once {
    let mut alone = Alone::default();
    add(
        &mut alone,
        (0..tasks).map(|place| task(place, Tier::Standard, 0)).collect(),
    );
    Box::new(move || {
        let project = black_box(&alone.colony).project("p").expect("tasks were added");
        assert_eq!(project.tasks().ready(), tasks);
    })
}

pub(super) fn hints(tasks: usize) -> Once {
    let mut alone = Alone::default();
    let worker = worker(&mut alone);
    let hinted = |place: usize| {
        task(
            place * 7 / 3,
            TIERS[place * 5 % TIERS.len()],
            (place * 7_919 % 1_000) as u32,
        )
    };
    add(&mut alone, (0..tasks).map(hinted).collect());
    Box::new(move || assert_eq!(claim_all(&mut alone, &worker, AT_ONCE as u32), tasks))
}
