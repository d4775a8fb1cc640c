use std::collections::{BTreeMap, BTreeSet};

use super::hash::key_hash;
use super::{
    Batch, CLASHES_MAX, Conflict, Counts, Detection, Detector, Kind, Operation, Policy, SameChange, Verdict, Verdicts,
    WriteClass, detect, resolve, resolve_merging,
};

const BATCHES: u64 = 10_000;
const EXCLUSIVE: WriteClass = WriteClass::Exclusive;
const ADD: WriteClass = WriteClass::Commutes(Operation::Add);
const MAX: WriteClass = WriteClass::Commutes(Operation::Max);

/// A proposal as the tests write it down. `change` stands for the values that it writes.
#[derive(Clone, Debug, Default)]
struct Proposal {
    priority: u8,
    reads: Vec<String>,
    /// Beginnings of keys: it reads all that the batch writes below them.
    ranges: Vec<String>,
    writes: Vec<(String, WriteClass)>,
    change: u8,
}

fn writes(key: &str, class: WriteClass) -> Proposal {
    Proposal {
        writes: vec![(key.to_owned(), class)],
        ..Proposal::default()
    }
}

fn reads(key: &str) -> Proposal {
    Proposal {
        reads: vec![key.to_owned()],
        ..Proposal::default()
    }
}

impl Proposal {
    fn and_writes(mut self, key: &str, class: WriteClass) -> Self {
        self.writes.push((key.to_owned(), class));
        self
    }

    fn and_reads(mut self, key: &str) -> Self {
        self.reads.push(key.to_owned());
        self
    }

    fn priority(mut self, priority: u8) -> Self {
        self.priority = priority;
        self
    }
}

fn batch(proposals: &[Proposal]) -> Batch {
    let mut batch = Batch::new();
    let written: BTreeSet<&String> = proposals
        .iter()
        .flat_map(|proposal| &proposal.writes)
        .map(|(key, _)| key)
        .collect();
    for proposal in proposals {
        let ranges = proposal.ranges.iter().flat_map(|range| {
            let written = written.iter().copied();
            written.filter(move |key| key.starts_with(range))
        });
        batch.push(
            proposal.priority,
            proposal.reads.iter().chain(ranges).map(|key| key.as_bytes()),
            proposal.writes.iter().map(|(key, class)| (key.as_bytes(), *class)),
        );
    }
    batch
}

/// The pairwise oracle: every pair of proposals, every key of the first, straight from the definition.
mod oracle {
    use super::*;

    pub(super) type Found = BTreeSet<(usize, usize, String, Kind)>;

    pub(super) fn conflicts(proposals: &[Proposal]) -> Found {
        let mut found = Found::new();
        for (i, a) in proposals.iter().enumerate() {
            for (j, b) in proposals.iter().enumerate().skip(i + 1) {
                let written =
                    |proposal: &'_ Proposal| proposal.writes.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
                let keys: BTreeSet<String> = a.reads.iter().cloned().chain(written(a)).chain(written(b)).collect();
                for key in keys {
                    if let Some(kind) = meet(a, b, &key) {
                        found.insert((i, j, key, kind));
                    }
                }
            }
        }
        found
    }

    fn meet(a: &Proposal, b: &Proposal, key: &str) -> Option<Kind> {
        match (classes(a, key).is_empty(), classes(b, key).is_empty()) {
            (true, true) => None,
            (false, true) => reads(b, key).then_some(Kind::ReadWrite),
            (true, false) => reads(a, key).then_some(Kind::ReadWrite),
            (false, false) => {
                let one_operation = operation(a, key).is_some() && operation(a, key) == operation(b, key);
                (!one_operation).then_some(Kind::WriteWrite)
            }
        }
    }

    fn reads(proposal: &Proposal, key: &str) -> bool {
        proposal.reads.iter().any(|read| read == key) || proposal.ranges.iter().any(|range| key.starts_with(range))
    }

    fn classes(proposal: &Proposal, key: &str) -> BTreeSet<WriteClass> {
        proposal
            .writes
            .iter()
            .filter(|(written, _)| written == key)
            .map(|(_, class)| *class)
            .collect()
    }

    /// The operation by which a writer commutes, if it does.
    fn operation(proposal: &Proposal, key: &str) -> Option<Operation> {
        let classes = classes(proposal, key);
        match classes.first() {
            Some(WriteClass::Commutes(operation)) if classes.len() == 1 => {
                (!reads(proposal, key)).then_some(*operation)
            }
            _ => None,
        }
    }

    pub(super) fn is_exclusive(proposal: &Proposal, key: &str) -> bool {
        operation(proposal, key).is_none()
    }

    /// For every loser, the keys that it lost on, each with those it may name as `with`.
    pub(super) fn losers(policy: Policy, proposals: &[Proposal]) -> BTreeMap<usize, BTreeMap<String, Vec<usize>>> {
        let found = conflicts(proposals);
        let mut order: Vec<usize> = (0..proposals.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(proposals[i].priority), i));
        let mut committed = Vec::new();
        let mut losers = BTreeMap::new();
        for &i in &order {
            let mut lost: BTreeMap<String, Vec<usize>> = BTreeMap::new();
            for (a, b, key, kind) in found.iter().filter(|(a, b, ..)| *a == i || *b == i) {
                let other = a + b - i;
                let excused = policy == Policy::Merge
                    && *kind == Kind::WriteWrite
                    && is_exclusive(&proposals[i], key)
                    && is_exclusive(&proposals[other], key)
                    && proposals[i].change == proposals[other].change;
                let counts = match policy {
                    Policy::First | Policy::Merge => committed.contains(&other) && !excused,
                    Policy::Exclude | Policy::Reject => true,
                };
                if counts {
                    lost.entry(key.clone()).or_default().push(other);
                }
            }
            if policy == Policy::Reject && !found.is_empty() || !lost.is_empty() {
                losers.insert(i, lost);
            } else {
                committed.push(i);
            }
        }
        if matches!(policy, Policy::First | Policy::Merge) {
            // The winner is the first that committed.
            for with in losers.values_mut().flat_map(BTreeMap::values_mut) {
                with.sort_by_key(|winner| order.iter().position(|i| i == winner));
                with.truncate(1);
            }
        }
        losers
    }
}

fn seen(conflict: Conflict<'_>) -> (usize, usize, String, Kind) {
    let key = String::from_utf8(conflict.key.to_vec()).unwrap();
    (conflict.first as usize, conflict.second as usize, key, conflict.kind)
}

/// `detection` against the oracle: the pairs, each listed once, and their counts by kind.
fn check_detection(proposals: &[Proposal], detection: &Detection<'_>) {
    let expected = oracle::conflicts(proposals);
    let pairs: Vec<_> = detection.pairs().map(seen).collect();
    assert_eq!(pairs.iter().cloned().collect::<BTreeSet<_>>(), expected);
    assert_eq!(pairs.len(), expected.len(), "a pair is listed twice");
    let count = |kind| expected.iter().filter(|conflict| conflict.3 == kind).count() as u64;
    let counts = Counts {
        write_write: count(Kind::WriteWrite),
        read_write: count(Kind::ReadWrite),
    };
    assert_eq!(detection.counts(), counts);
    let grouped: BTreeSet<_> = detection.groups().map(|group| group.key).collect();
    assert_eq!(grouped, expected.iter().map(|conflict| conflict.2.as_bytes()).collect());
    assert_eq!(grouped.len(), detection.len(), "a key has two groups");
}

fn check_verdicts(proposals: &[Proposal], detection: &Detection<'_>, policy: Policy) {
    let same = |same: SameChange<'_>| proposals[same.kept as usize].change == proposals[same.candidate as usize].change;
    let verdicts = resolve_merging(policy, detection, same);
    let expected = oracle::losers(policy, proposals);
    assert_eq!(verdicts.lost(), expected.len(), "{policy}");
    let committed: Vec<usize> = (0..proposals.len()).filter(|i| !expected.contains_key(i)).collect();
    assert_eq!(verdicts.committed().collect::<Vec<_>>(), committed, "{policy}");
    for (loser, lost) in expected {
        let Verdict::Lost { clashes, more } = verdicts.get(loser) else {
            panic!("{policy}: {loser} committed")
        };
        assert_eq!(clashes.len() + more as usize, lost.len(), "{policy}: {loser}");
        assert!(clashes.len() <= CLASHES_MAX);
        assert!(clashes.is_sorted_by(|a, b| a.group < b.group));
        for clash in clashes {
            let key = std::str::from_utf8(detection.group(clash.group as usize).key).unwrap();
            assert!(
                lost[key].contains(&(clash.with as usize)),
                "{policy}: {loser} on {key}: {clash:?}"
            );
            let (a, b) = (loser.min(clash.with as usize), loser.max(clash.with as usize));
            assert!(
                detection
                    .pairs()
                    .map(seen)
                    .any(|pair| pair == (a, b, key.to_owned(), clash.kind))
            );
        }
    }
}

/// SplitMix64: every batch below follows from its seed.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % bound
    }

    /// Up to 10 proposals over few keys; every tenth batch has proposals that lose on more than [`CLASHES_MAX`] keys.
    fn proposals(&mut self) -> Vec<Proposal> {
        let (keys, accesses_max) = if self.below(10) == 0 {
            (16, 30)
        } else {
            (1 + self.below(6), 4)
        };
        let classes = [
            EXCLUSIVE,
            EXCLUSIVE,
            ADD,
            ADD,
            MAX,
            WriteClass::Commutes(Operation::SetAdd),
        ];
        let priorities = 1 + self.below(3);
        (0..self.below(11))
            .map(|_| {
                let priority = self.below(priorities) as u8;
                let mut proposal = Proposal {
                    priority,
                    change: self.below(3) as u8,
                    ..Proposal::default()
                };
                for _ in 0..self.below(accesses_max + 1) {
                    let key = format!("k{}", self.below(keys));
                    match self.below(7) {
                        0 | 1 => proposal.reads.push(key),
                        2 => proposal.ranges.push(key[..1 + self.below(2) as usize].to_owned()),
                        _ => proposal.writes.push((key, classes[self.below(6) as usize])),
                    }
                }
                proposal
            })
            .collect()
    }
}

fn each_random_batch(mut check: impl FnMut(&[Proposal])) {
    for seed in 0..BATCHES {
        let proposals = Seeded(seed).proposals();
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&proposals)));
        assert!(checked.is_ok(), "seed {seed}: {proposals:#?}");
    }
}

#[test]
fn detection_equals_pairwise_comparison_on_random_batches() {
    let mut detector = Detector::new();
    each_random_batch(|proposals| {
        check_detection(proposals, &detect(&batch(proposals)));
        check_detection(proposals, &detector.detect(&batch(proposals)));
    });
}

#[test]
fn policies_decide_as_a_naive_model_on_random_batches() {
    each_random_batch(|proposals| {
        let batch = batch(proposals);
        let detection = detect(&batch);
        for policy in [Policy::First, Policy::Merge, Policy::Exclude, Policy::Reject] {
            check_verdicts(proposals, &detection, policy);
        }
    });
}

#[test]
fn groups_do_not_depend_on_the_hash() {
    each_random_batch(|proposals| {
        let batch = batch(proposals);
        let expected = detect(&batch);
        assert_eq!(Detector::new().detect_by(&batch, |_| 0), expected);
        assert_eq!(Detector::new().detect_by(&batch, |key| key_hash(key) & 1), expected);
    });
}

/// `proposals` proposals, each with one read and two writes, over as many keys.
fn many(proposals: u64) -> Vec<Proposal> {
    let mut seeded = Seeded(proposals);
    let mut key = || format!("key-{}", seeded.below(proposals));
    (0..proposals)
        .map(|i| {
            reads(&key())
                .and_writes(&key(), if i % 3 == 0 { EXCLUSIVE } else { ADD })
                .and_writes(&key(), ADD)
        })
        .collect()
}

#[test]
fn a_batch_of_many_partitions_keeps_groups_in_order_of_appearance() {
    let proposals = many(20_000);
    let batch = batch(&proposals);
    let detection = detect(&batch);
    let mut appeared = BTreeMap::new();
    for index in 0..batch.keys() as u32 {
        appeared.entry(batch.key(index)).or_insert(index);
    }
    assert!(detection.len() > 1_000);
    assert!(detection.groups().is_sorted_by_key(|group| appeared[group.key]));
    assert_eq!(detection.pairs().count() as u64, detection.counts().total());
    // One partition, whose tags collide in two low bits: the table gives up and the partition is sorted.
    assert_eq!(Detector::new().detect_by(&batch, |key| key_hash(key) & 3), detection);
    // Partitions as usual, but with one tag for all keys of a partition.
    assert_eq!(
        Detector::new().detect_by(&batch, |key| key_hash(key) & !0xffff_ffff),
        detection
    );
}

#[test]
fn keys_chosen_to_collide_do_not_make_detection_quadratic() {
    let proposals = many(100_000);
    // 300,000 keys: pairwise probing of one hash value would take 10¹⁰ steps, hours in a debug build.
    assert_eq!(
        Detector::new().detect_by(&batch(&proposals), |_| 7).counts(),
        detect(&batch(&proposals)).counts()
    );
}

fn check_counts(proposals: &[Proposal], write_write: u64, read_write: u64) {
    assert_eq!(
        detect(&batch(proposals)).counts(),
        Counts {
            write_write,
            read_write
        }
    );
}

#[test]
fn pairs_are_counted_by_the_formula() {
    check_counts(&[], 0, 0);
    check_counts(&[writes("a", EXCLUSIVE), writes("b", EXCLUSIVE)], 0, 0);
    check_counts(&[reads("a"), reads("a")], 0, 0);
    check_counts(
        &[
            writes("a", EXCLUSIVE),
            writes("a", EXCLUSIVE),
            writes("a", EXCLUSIVE),
            reads("a"),
        ],
        3,
        3,
    );
}

#[test]
fn commuting_writes_conflict_only_with_other_classes_and_with_readers() {
    check_counts(&[writes("a", ADD), writes("a", ADD), writes("a", ADD)], 0, 0);
    check_counts(&[writes("a", ADD), writes("a", ADD), writes("a", MAX)], 2, 0);
    check_counts(&[writes("a", ADD), writes("a", EXCLUSIVE), writes("a", ADD)], 2, 0);
    check_counts(&[writes("a", ADD), writes("a", ADD), reads("a")], 0, 2);
}

#[test]
fn a_proposal_never_conflicts_with_itself() {
    check_counts(
        &[reads("a")
            .and_writes("a", EXCLUSIVE)
            .and_writes("a", ADD)
            .and_reads("a")],
        0,
        0,
    );
}

#[test]
fn a_key_named_twice_counts_once() {
    check_counts(&[writes("a", ADD).and_writes("a", ADD), writes("a", ADD)], 0, 0);
    check_counts(
        &[
            writes("a", ADD).and_writes("a", MAX),
            writes("a", ADD),
            writes("a", MAX),
        ],
        3,
        0,
    );
    check_counts(&[reads("a").and_writes("a", ADD), writes("a", ADD)], 1, 0);
    check_counts(
        &[
            reads("a").and_reads("a"),
            writes("a", EXCLUSIVE).and_writes("a", EXCLUSIVE),
        ],
        0,
        1,
    );
}

#[test]
fn proposals_on_three_resources_conflict_as_often_as_pairwise_comparison_says() {
    for (proposals, pairs) in [(10, 12), (50, 392), (100, 1_617), (500, 41_417)] {
        let proposals: Vec<_> = (0..proposals)
            .map(|i| writes(&format!("resource-{}", i % 3), EXCLUSIVE))
            .collect();
        check_counts(&proposals, pairs, 0);
    }
}

fn committed(policy: Policy, proposals: &[Proposal]) -> Vec<usize> {
    verdicts(policy, proposals).committed().collect()
}

fn verdicts(policy: Policy, proposals: &[Proposal]) -> Verdicts {
    let batch = batch(proposals);
    resolve(policy, &detect(&batch))
}

#[test]
fn first_prefers_priority_and_then_position() {
    let proposals = [
        writes("a", EXCLUSIVE),
        writes("a", EXCLUSIVE).priority(9),
        writes("a", EXCLUSIVE).priority(9),
    ];
    assert_eq!(committed(Policy::First, &proposals), [1]);
}

#[test]
fn a_loser_under_first_takes_nobody_with_it() {
    // The second loses to the first on `a`, so the third has nobody to lose to on `b`.
    let proposals = [
        writes("a", EXCLUSIVE),
        writes("a", EXCLUSIVE).and_writes("b", EXCLUSIVE),
        writes("b", EXCLUSIVE),
    ];
    assert_eq!(committed(Policy::First, &proposals), [0, 2]);
    assert_eq!(committed(Policy::Exclude, &proposals), [0; 0]);
}

#[test]
fn increments_commit_together_under_every_policy() {
    let proposals = [writes("a", ADD), writes("a", ADD), writes("a", ADD)];
    for policy in [Policy::First, Policy::Merge, Policy::Exclude, Policy::Reject] {
        assert_eq!(committed(policy, &proposals), [0, 1, 2], "{policy}");
    }
}

#[test]
fn merge_keeps_exclusive_writes_that_are_the_same_change() {
    let mut proposals = [writes("a", EXCLUSIVE), writes("a", EXCLUSIVE), writes("a", EXCLUSIVE)];
    proposals[1].change = 1;
    let batch = batch(&proposals);
    let same = |same: SameChange<'_>| proposals[same.kept as usize].change == proposals[same.candidate as usize].change;
    let merged = |policy| {
        resolve_merging(policy, &detect(&batch), same)
            .committed()
            .collect::<Vec<_>>()
    };
    assert_eq!(merged(Policy::Merge), [0, 2]);
    assert_eq!(merged(Policy::First), [0]);
}

#[test]
fn reject_loses_the_whole_batch_for_one_conflict() {
    let proposals = [writes("a", EXCLUSIVE), reads("a"), writes("b", EXCLUSIVE)];
    let verdicts = verdicts(Policy::Reject, &proposals);
    assert_eq!(verdicts.lost(), 3);
    assert_eq!(verdicts.get(2), Verdict::Lost { clashes: &[], more: 0 });
    assert_eq!(committed(Policy::Reject, &proposals[1..]), [0, 1]);
}

#[test]
fn a_loser_names_a_bounded_number_of_keys_and_counts_the_rest() {
    let many = (0..CLASHES_MAX + 3).fold(Proposal::default(), |all, i| {
        all.and_writes(&format!("k{i}"), EXCLUSIVE)
    });
    let verdicts = verdicts(Policy::First, &[many.clone(), many]);
    let Verdict::Lost { clashes, more } = verdicts.get(1) else {
        panic!("both committed")
    };
    assert_eq!((clashes.len(), more), (CLASHES_MAX, 3));
    assert!(
        clashes
            .iter()
            .all(|clash| clash.with == 0 && clash.kind == Kind::WriteWrite)
    );
}

#[test]
fn policies_are_read_as_they_are_written() {
    for policy in [Policy::First, Policy::Merge, Policy::Exclude, Policy::Reject] {
        assert_eq!(policy.to_string().parse(), Ok(policy));
    }
    assert!("vote".parse::<Policy>().is_err());
}
