//! Which links the epochs lead around, as the leader decides it: a plain machine without clock and network.
//! `node::detours` drives it.
//!
//! | message | from | to | answered by | meaning |
//! |---|---|---|---|---|
//! | [`CutReport`] | a node, each second in which it has something to tell | the leader | `()` | these of my links are cut; these are up again |
//!
//! A link is cut when an end says so and neither end is suspected: then both live, and only what is between them does not.
//! It is whole again when it has been up for [`WHOLE_AFTER_MS`], twice as long with each time that it was cut before: one that
//! comes and goes begins an epoch ever more seldom. The memory is the leader's own; another one begins anew.

use std::collections::{BTreeMap, BTreeSet};

use queenright_protocol::colony::{CUTS_MAX, Epoch};
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::Pair;
use serde::{Deserialize, Serialize};

/// How long a link that was cut must have been up to be used again.
pub(crate) const WHOLE_AFTER_MS: u64 = 10_000;
/// So often that time is doubled at most: to five minutes.
const DOUBLINGS_MAX: u32 = 5;
/// How long what was told holds: some reports may be lost.
const REPORT_FOR_MS: u64 = 5_000;
/// Below so many members there is nobody to lead over.
const MEMBERS_MIN: usize = 3;

/// What a node tells of its links.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CutReport {
    /// Those that are down although the other end lives.
    pub(crate) cut: BTreeSet<Pair>,
    /// Those that the epoch leads around and that are up, and for how long.
    pub(crate) back_ms: BTreeMap<Pair, u64>,
}

impl CutReport {
    /// Whether there is nothing to tell.
    pub(crate) fn is_empty(&self) -> bool {
        self.cut.is_empty() && self.back_ms.is_empty()
    }
}

/// The machine.
#[derive(Debug, Default)]
pub(crate) struct Cuts {
    /// What each node told last, and when.
    reports: BTreeMap<NodeId, (u64, CutReport)>,
    /// How often each link was cut.
    falls: BTreeMap<Pair, u32>,
}

impl Cuts {
    /// A node tells of its links. What it says of others is not heard.
    pub(crate) fn hear(&mut self, from: NodeId, report: CutReport, now_ms: u64) {
        let CutReport { mut cut, mut back_ms } = report;
        cut.retain(|pair| pair.other(from).is_some());
        back_ms.retain(|pair, _| pair.other(from).is_some());
        self.reports.insert(from, (now_ms, CutReport { cut, back_ms }));
    }

    /// The cuts that the next epoch should have, if they are others than those of this one.
    pub(crate) fn look(&mut self, epoch: &Epoch, suspects: &BTreeSet<NodeId>, now_ms: u64) -> Option<BTreeSet<Pair>> {
        self.reports
            .retain(|node, (at_ms, _)| now_ms.saturating_sub(*at_ms) < REPORT_FOR_MS && epoch.members.contains(node));
        let is_member = |pair: &Pair| pair.ends().iter().all(|end| epoch.members.contains(end));
        self.falls.retain(|pair, _| is_member(pair));
        if epoch.members.len() < MEMBERS_MIN {
            return None;
        }
        let lives = |pair: &Pair| is_member(pair) && !pair.ends().iter().any(|end| suspects.contains(end));
        let told = || self.reports.values().map(|(_, report)| report);
        let down: BTreeSet<Pair> = told().flat_map(|report| &report.cut).copied().collect();
        let mut back: BTreeMap<Pair, u64> = BTreeMap::new();
        for (pair, up_ms) in told().flat_map(|report| &report.back_ms) {
            // The end that has had it for the shorter time is right.
            let known = back.entry(*pair).or_insert(*up_ms);
            *known = (*known).min(*up_ms);
        }
        let whole = |pair: &Pair| {
            let up_ms = back.get(pair).filter(|_| !down.contains(pair));
            up_ms.is_some_and(|up_ms| *up_ms >= self.whole_after_ms(*pair))
        };
        let mut cuts: BTreeSet<Pair> = epoch.cuts.iter().filter(|pair| !whole(pair)).copied().collect();
        let fallen: Vec<Pair> = down.difference(&cuts).filter(|pair| lives(pair)).copied().collect();
        for pair in fallen {
            if cuts.len() < CUTS_MAX {
                cuts.insert(pair);
            }
        }
        (cuts != epoch.cuts).then_some(cuts)
    }

    /// These began an epoch that leads around them.
    pub(crate) fn have_fallen(&mut self, before: &BTreeSet<Pair>, now: &BTreeSet<Pair>) {
        for pair in now.difference(before) {
            *self.falls.entry(*pair).or_default() += 1;
        }
    }

    fn whole_after_ms(&self, pair: Pair) -> u64 {
        let again = self.falls.get(&pair).copied().unwrap_or_default().saturating_sub(1);
        WHOLE_AFTER_MS << again.min(DOUBLINGS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use queenright_protocol::topology::Kind;

    use super::*;

    fn pair(one: u64, other: u64) -> Pair {
        Pair::of(NodeId(one), NodeId(other))
    }

    fn epoch(cuts: &[Pair]) -> Epoch {
        Epoch {
            cuts: cuts.iter().copied().collect(),
            ..Epoch::of(1, Kind::Ring, (1..=5).map(NodeId).collect())
        }
    }

    fn down(pairs: &[Pair]) -> CutReport {
        CutReport {
            cut: pairs.iter().copied().collect(),
            ..CutReport::default()
        }
    }

    fn back(pair: Pair, up_ms: u64) -> CutReport {
        CutReport {
            back_ms: [(pair, up_ms)].into(),
            ..CutReport::default()
        }
    }

    const NOBODY: BTreeSet<NodeId> = BTreeSet::new();

    #[test]
    fn one_end_is_enough_and_a_suspect_has_no_cut_links() {
        let mut cuts = Cuts::default();
        assert_eq!(cuts.look(&epoch(&[]), &NOBODY, 0), None);
        cuts.hear(NodeId(1), down(&[pair(1, 2)]), 0);
        assert_eq!(cuts.look(&epoch(&[]), &[NodeId(2)].into(), 1), None);
        assert_eq!(cuts.look(&epoch(&[]), &NOBODY, 1), Some([pair(1, 2)].into()));
        assert_eq!(cuts.look(&epoch(&[pair(1, 2)]), &NOBODY, 1), None);
        // What was told long ago counts no more.
        assert_eq!(cuts.look(&epoch(&[]), &NOBODY, REPORT_FOR_MS), None);
    }

    #[test]
    fn a_node_tells_of_its_own_links_only_and_of_members() {
        let mut cuts = Cuts::default();
        cuts.hear(NodeId(1), down(&[pair(2, 3), pair(1, 9)]), 0);
        cuts.hear(NodeId(9), down(&[pair(1, 9)]), 0);
        assert_eq!(cuts.look(&epoch(&[]), &NOBODY, 1), None);
    }

    #[test]
    fn a_link_is_used_again_when_both_ends_have_had_it_for_long() {
        let (mut cuts, link) = (Cuts::default(), pair(1, 2));
        let around = epoch(&[link]);
        cuts.hear(NodeId(1), back(link, WHOLE_AFTER_MS), 0);
        cuts.hear(NodeId(2), back(link, WHOLE_AFTER_MS - 1), 0);
        assert_eq!(cuts.look(&around, &NOBODY, 1), None);
        cuts.hear(NodeId(2), down(&[link]), 2);
        assert_eq!(cuts.look(&around, &NOBODY, 2), None, "an end says otherwise");
        cuts.hear(NodeId(2), back(link, WHOLE_AFTER_MS), 3);
        assert_eq!(cuts.look(&around, &NOBODY, 3), Some(BTreeSet::new()));
    }

    #[test]
    fn a_link_that_comes_and_goes_is_used_again_ever_later() {
        let (mut cuts, link) = (Cuts::default(), pair(1, 2));
        let around = epoch(&[link]);
        let mut waits = Vec::new();
        for _ in 0..8 {
            cuts.have_fallen(&BTreeSet::new(), &around.cuts);
            let needs = (0..40).map(|seconds| seconds * WHOLE_AFTER_MS).find(|up_ms| {
                cuts.hear(NodeId(1), back(link, *up_ms), 0);
                cuts.look(&around, &NOBODY, 0).is_some()
            });
            waits.push(needs.unwrap() / WHOLE_AFTER_MS);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 32, 32]);
    }

    #[test]
    fn two_nodes_have_nobody_to_lead_over() {
        let mut cuts = Cuts::default();
        let two = Epoch {
            members: [1, 2].map(NodeId).into(),
            ..epoch(&[])
        };
        cuts.hear(NodeId(1), down(&[pair(1, 2)]), 0);
        assert_eq!(cuts.look(&two, &NOBODY, 0), None);
    }
}
