//! `hive_coordination`: packs, which agents analyse and bring into the colony.

use std::hint::black_box;

use queenright_protocol::colony::{Body, Content, ContentHash, Op, Outcome, Proposal, ProposalBatch, Verdict, Write};
use queenright_protocol::conflict::{Batch, Policy, WriteClass, detect, resolve};

use super::Once;
use crate::alone::{Alone, start};

/// How many packs each thread of `parallel_agents` analyses.
const SHARE: usize = 10;

struct Pack {
    name: String,
    version: &'static str,
    namespace: String,
}

/// Packs that have nothing in common.
fn apart(count: usize) -> Vec<Pack> {
    let pack = |place| Pack {
        name: format!("pack-{place}"),
        version: "1.0.0",
        namespace: format!("ns-{place}"),
    };
    (0..count).map(pack).collect()
}

/// Packs as the original makes them to be in conflict.
fn crossed(count: usize) -> Vec<Pack> {
    let pack = |place: usize| Pack {
        name: format!("pack-{}", place / 2),
        version: if place.is_multiple_of(2) { "^1.0.0" } else { "~1.0.0" },
        namespace: format!("ns-{}", place % 3),
    };
    (0..count).map(pack).collect()
}

fn analyse(pack: &Pack) -> ContentHash {
    let canonical = [&pack.name, pack.version, &pack.namespace].join("\0");
    ContentHash::of(canonical.as_bytes())
}

fn namespaces(packs: &[Pack]) -> Batch {
    let mut batch = Batch::new();
    for pack in packs {
        batch.push(0, [], [(pack.namespace.as_bytes(), WriteClass::Exclusive)]);
    }
    batch
}

/// One round, from the packs to the outcome of the batch.
fn round(alone: &mut Alone, packs: &[Pack]) {
    let hashes: Vec<ContentHash> = packs.iter().map(analyse).collect();
    let batch = namespaces(packs);
    let detection = detect(&batch);
    assert_eq!(resolve(Policy::First, &detection).lost(), 0);
    assert!(
        packs
            .iter()
            .zip(&hashes)
            .all(|(pack, hash)| !pack.name.is_empty() && analyse(pack) == *hash)
    );
    let proposal = |(pack, hash): (&Pack, &ContentHash)| Proposal {
        writes: vec![Write {
            key: format!("pack/{}", pack.name).into(),
            op: Op::Put(Content::Inline(hash.0.to_vec().into())),
            tags: Vec::new(),
            before: None,
        }],
        ..Proposal::default()
    };
    let batch = ProposalBatch {
        proposals: packs.iter().zip(&hashes).map(proposal).collect(),
        policy: Policy::First,
    };
    let Outcome::Judged { verdicts, .. } = alone.apply(Body::ProposeBatch(batch)) else {
        panic!("a batch is judged");
    };
    let committed = |verdict: &Verdict| matches!(verdict, Verdict::Committed { .. });
    assert!(verdicts.len() == packs.len() && verdicts.iter().all(committed));
}

pub(super) fn consensus(count: usize) -> Once {
    let mut alone = Alone::default();
    Box::new(move || round(&mut alone, &apart(count)))
}

pub(super) fn throughput(rounds: usize) -> Once {
    let mut alone = Alone::default();
    Box::new(move || (0..rounds).for_each(|number| round(&mut alone, &apart(1 + number % 10))))
}

pub(super) fn spawning(agents: usize) -> Once {
    let mut alone = Alone::default();
    let bodies = (0..agents).map(|agent| start(&format!("agent-{agent}")).0).collect();
    let round = alone.round(bodies);
    Box::new(move || {
        let applied = alone.apply_round(black_box(&round));
        let started = |outcome: &Outcome| matches!(outcome, Outcome::AgentStarted { .. });
        assert!(applied.outcomes.iter().all(|answer| started(&answer.outcome)));
    })
}

/// Namespaces are keys; each `~` meets the `^` before it.
pub(super) fn conflicts(count: usize) -> Once {
    let expected = match count {
        5 => 3 + 2,
        10 => 15 + 12,
        20 => 55 + 57,
        50 => 325 + 392,
        _ => panic!("the original has no {count} packs"),
    };
    Box::new(move || {
        let packs = crossed(count);
        let (mut carets, mut pairs) = (0, detect(&namespaces(&packs)).counts().total());
        for pack in &packs {
            pairs += if pack.version.contains('~') { carets } else { 0 };
            carets += u64::from(pack.version.contains('^'));
        }
        assert_eq!(pairs, expected);
    })
}

pub(super) fn analysis(count: usize) -> Once {
    let packs = apart(count);
    Box::new(move || {
        packs.iter().for_each(|pack| {
            black_box(analyse(black_box(pack)));
        });
    })
}

pub(super) fn parallel(threads: usize) -> Once {
    let packs = apart(SHARE);
    Box::new(move || {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    packs.iter().for_each(|pack| {
                        black_box(analyse(black_box(pack)));
                    });
                });
            }
        });
    })
}

pub(super) fn configurations(count: usize) -> Once {
    Box::new(move || {
        let all: Vec<Vec<Pack>> = (0..count).map(|number| apart(1 + number % 20)).collect();
        drop(black_box(all));
    })
}
