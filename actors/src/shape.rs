//! Which links this node wants, and the routes that go with them: a plain machine without clock, disk or network.
//! `node::shaping` drives it.
//!
//! A node wants its neighbours in the topology of the newest epoch that it knows, and if it votes all other voters. Until
//! it knows an epoch that it is a member of, it wants everybody: so is the first start, and so does a node that joins. A
//! place that no member has is wanted by all, for whoever comes there.
//! When an epoch follows another, the links and routes of the one before stay until those of the new one are up, or for
//! [`BEFORE_BREAK_MS`]. A neighbour whose link has been down for [`DETOUR_AFTER_MS`] is led around: this node wants the
//! neighbours that it would have without it. A node that has heard no leader for long seeks: it wants everybody, until one
//! of them has told it of a newer epoch, or a leader is heard. So it dials those with smaller indices; whoever has a greater
//! one and wants it in a newer epoch dials it.
//!
//! A link that is down for [`CUT_AFTER_MS`] although its other end is not suspected is cut: that is told to the leader, whose
//! epochs lead around it (see `cuts`). Its ends go on trying it, and tell for how long it has been up again.

use std::collections::{BTreeMap, BTreeSet};

use queenright_protocol::colony::{Epoch, place_of};
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{Pair, Topology};

use crate::cuts::CutReport;
use crate::router::View;

/// How long links of an epoch that has ended are kept for those of the next one: several attempts to connect.
pub(crate) const BEFORE_BREAK_MS: u64 = 5_000;
/// After how long a detour gets links of its own: a link that only broke is back by then.
pub(crate) const DETOUR_AFTER_MS: u64 = 1_500;
/// After how long a link counts as cut: a node that has died is suspected by then, also where no datagrams pass.
pub(crate) const CUT_AFTER_MS: u64 = 6_000;

/// What a node knows when it looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) now_ms: u64,
    /// The newest epoch.
    pub(crate) epoch: Option<Epoch>,
    /// The places that there are, that of this node included.
    pub(crate) places: BTreeSet<u16>,
    /// The members of consensus, this node included.
    pub(crate) members: BTreeSet<NodeId>,
    pub(crate) voters: BTreeSet<NodeId>,
    pub(crate) suspects: BTreeSet<NodeId>,
    /// The links that are up, by place.
    pub(crate) up: BTreeSet<u16>,
    /// For how long no leader was heard.
    pub(crate) silence_ms: u64,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shaped {
    /// The links to neighbours, by place.
    pub(crate) data: BTreeSet<u16>,
    /// Those between voters that are no data links.
    pub(crate) control: BTreeSet<u16>,
    /// Whether this node seeks: it wants everybody.
    pub(crate) seeks: bool,
    /// The places of all others.
    pub(crate) everybody: BTreeSet<u16>,
    /// What routes are made of.
    pub(crate) view: View,
    /// What the leader is told of its links.
    pub(crate) report: CutReport,
}

impl Shaped {
    /// All links that are wanted.
    pub(crate) fn wanted(&self) -> BTreeSet<u16> {
        match self.seeks {
            true => self.everybody.clone(),
            false => self.data.union(&self.control).copied().collect(),
        }
    }
}

/// The machine.
#[derive(Debug)]
pub(crate) struct Shape {
    me: NodeId,
    /// Whether consensus goes along the topology, without links of its own.
    routed: bool,
    /// After how long without a leader this node seeks.
    seeks_after_ms: u64,
    epoch: Option<Epoch>,
    /// The epoch before, and until when its links are kept.
    before: Option<(Epoch, u64)>,
    /// Since when the link to a neighbour has been down.
    down: BTreeMap<u16, u64>,
    /// Since when a link that the epoch leads around has been up.
    back: BTreeMap<NodeId, u64>,
}

impl Shape {
    pub(crate) fn new(me: NodeId, routed: bool, seeks_after_ms: u64) -> Shape {
        Shape {
            me,
            routed,
            seeks_after_ms,
            epoch: None,
            before: None,
            down: BTreeMap::new(),
            back: BTreeMap::new(),
        }
    }

    /// The neighbours of this node, by place; everybody while it is no member.
    fn neighbours(&self, epoch: &Epoch, without: &BTreeSet<NodeId>) -> BTreeSet<u16> {
        let left = epoch.members.difference(without).copied().collect();
        let near = Topology::around(epoch.kind, &left, &epoch.cuts).neighbours(self.me);
        self.places_of(&near)
    }

    fn places_of(&self, nodes: &BTreeSet<NodeId>) -> BTreeSet<u16> {
        let places = nodes.iter().map(|node| place_of(*node) as u16);
        places.filter(|place| *place != place_of(self.me) as u16).collect()
    }

    fn takes_part(&self, epoch: &Epoch) -> bool {
        epoch.members.contains(&self.me)
    }

    /// Looks at what there is, and says what follows.
    pub(crate) fn look(&mut self, seen: &Seen) -> Shaped {
        self.learn(seen);
        let mut everybody = seen.places.clone();
        everybody.remove(&(place_of(self.me) as u16));
        let seeks = seen.silence_ms >= self.seeks_after_ms;
        let votes = seen.voters.contains(&self.me) && !self.routed;
        let control = if votes {
            self.places_of(&seen.voters)
        } else {
            BTreeSet::new()
        };
        let epoch = self.epoch.clone().filter(|epoch| self.takes_part(epoch));
        let Some(epoch) = epoch else {
            return Shaped {
                data: everybody.clone(),
                everybody,
                control: BTreeSet::new(),
                seeks,
                view: View {
                    routed: self.routed,
                    ..View::mesh(self.me, &seen.members)
                },
                report: CutReport::default(),
            };
        };
        let near = self.neighbours(&epoch, &BTreeSet::new());
        self.note_down(&near, seen);
        let mut data = near.clone();
        data.extend(self.neighbours(&epoch, &self.led_around(&epoch, seen)));
        let cut_off = self.cut_off(&epoch);
        data.extend(self.places_of(&cut_off));
        let report = self.report(&epoch, &near, &cut_off, seen);
        // Whoever may come to a place that nobody has is not left alone.
        let taken = self.places_of(&epoch.members);
        data.extend(everybody.difference(&taken));
        if self
            .before
            .as_ref()
            .is_some_and(|(_, until_ms)| near.is_subset(&seen.up) || seen.now_ms >= *until_ms)
        {
            self.before = None;
        }
        if let Some((before, _)) = &self.before {
            data.extend(self.neighbours(before, &BTreeSet::new()));
        }
        let before = self.before.as_ref();
        Shaped {
            control: control.difference(&data).copied().collect(),
            data,
            seeks,
            report,
            everybody,
            view: View {
                me: self.me,
                epoch: epoch.number,
                kind: epoch.kind,
                members: seen.members.union(&epoch.members).copied().collect(),
                linked: epoch.members,
                cuts: epoch.cuts,
                before: before.map(|(before, _)| (before.kind, before.members.clone())),
                routed: self.routed,
            },
        }
    }

    /// Takes a newer epoch in the place of the one before.
    fn learn(&mut self, seen: &Seen) {
        let known = self.epoch.as_ref().map_or(0, |epoch| epoch.number);
        let Some(newer) = seen.epoch.as_ref().filter(|epoch| epoch.number > known) else {
            return;
        };
        let old = self.epoch.replace(newer.clone());
        self.before = old
            .filter(|old| self.takes_part(old))
            .map(|old| (old, seen.now_ms + BEFORE_BREAK_MS));
        self.down.clear();
    }

    fn note_down(&mut self, near: &BTreeSet<u16>, seen: &Seen) {
        self.down
            .retain(|place, _| near.contains(place) && !seen.up.contains(place));
        for place in near.difference(&seen.up) {
            self.down.entry(*place).or_insert(seen.now_ms);
        }
    }

    /// Those who would be neighbours if their links were not cut.
    fn cut_off(&self, epoch: &Epoch) -> BTreeSet<NodeId> {
        let whole = Topology::new(epoch.kind, &epoch.members).neighbours(self.me);
        let cut = |node: &NodeId| epoch.cuts.contains(&Pair::of(self.me, *node));
        whole.into_iter().filter(cut).collect()
    }

    /// What the leader is told: which links are cut, and for how long one that was is up again.
    fn report(&mut self, epoch: &Epoch, near: &BTreeSet<u16>, cut_off: &BTreeSet<NodeId>, seen: &Seen) -> CutReport {
        let is_up = |node: &NodeId| seen.up.contains(&(place_of(*node) as u16));
        self.back.retain(|node, _| cut_off.contains(node) && is_up(node));
        for node in cut_off.iter().filter(|node| is_up(node)) {
            self.back.entry(*node).or_insert(seen.now_ms);
        }
        let down = |node: &&NodeId| {
            let place = place_of(**node) as u16;
            let since = self.down.get(&place).filter(|_| near.contains(&place));
            let long = since.is_some_and(|since_ms| seen.now_ms >= since_ms + CUT_AFTER_MS);
            long && !seen.suspects.contains(*node)
        };
        let still = cut_off.iter().filter(|node| !is_up(node));
        let cut = epoch.members.iter().filter(down).chain(still);
        CutReport {
            cut: cut.map(|node| Pair::of(self.me, *node)).collect(),
            back_ms: self
                .back
                .iter()
                .map(|(node, since_ms)| (Pair::of(self.me, *node), seen.now_ms - since_ms))
                .collect(),
        }
    }

    /// Those whose links have been down for long, and those who are suspected.
    fn led_around(&self, epoch: &Epoch, seen: &Seen) -> BTreeSet<NodeId> {
        let long = |place: &u16| {
            let since = self.down.get(place);
            since.is_some_and(|since_ms| seen.now_ms >= since_ms + DETOUR_AFTER_MS)
        };
        let members = epoch.members.iter().copied().filter(|member| *member != self.me);
        members
            .filter(|member| seen.suspects.contains(member) || long(&(place_of(*member) as u16)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use queenright_protocol::topology::Kind;

    use super::*;

    fn numbers(range: std::ops::RangeInclusive<u64>) -> BTreeSet<NodeId> {
        range.map(NodeId).collect()
    }

    fn epoch(number: u64, kind: Kind) -> Epoch {
        Epoch::of(number, kind, numbers(1..=6))
    }

    fn seen(epoch: Option<Epoch>) -> Seen {
        Seen {
            epoch,
            places: (0..6).collect(),
            members: numbers(1..=6),
            voters: numbers(1..=3),
            up: (0..6).collect(),
            ..Seen::default()
        }
    }

    fn shape(me: u64) -> Shape {
        Shape::new(NodeId(me), false, 5_000)
    }

    fn wanted(shape: &mut Shape, seen: &Seen) -> Vec<u16> {
        shape.look(seen).wanted().into_iter().collect()
    }

    #[test]
    fn whoever_knows_no_epoch_with_itself_in_it_wants_everybody() {
        assert_eq!(wanted(&mut shape(2), &seen(None)), [0, 2, 3, 4, 5]);
        // It has come back under a new number, which the epoch does not have yet.
        let mut back = shape(66);
        assert_eq!(wanted(&mut back, &seen(Some(epoch(4, Kind::Ring)))), [0, 2, 3, 4, 5]);
    }

    #[test]
    fn neighbours_hold_data_links_and_voters_control_links() {
        let ring = seen(Some(epoch(1, Kind::Ring)));
        let shaped = shape(2).look(&ring);
        assert_eq!((shaped.data, shaped.control), ([0, 2].into(), [].into()));
        let shaped = shape(1).look(&ring);
        assert_eq!((shaped.data, shaped.control), ([1, 5].into(), [2].into()));
        let shaped = shape(5).look(&ring);
        assert_eq!((shaped.data, shaped.control), ([3, 5].into(), [].into()));
        let routed = Shape::new(NodeId(1), true, 5_000).look(&ring);
        assert_eq!((routed.data, routed.control), ([1, 5].into(), [].into()));
    }

    #[test]
    fn links_are_made_before_others_are_broken() {
        let mut shape = shape(5);
        assert_eq!(wanted(&mut shape, &seen(Some(epoch(1, Kind::Star)))), [0]);
        let mut now = seen(Some(epoch(2, Kind::Ring)));
        now.up = [0].into();
        assert_eq!(wanted(&mut shape, &now), [0, 3, 5]);
        assert_eq!(shape.look(&now).view.before, Some((Kind::Star, numbers(1..=6))));
        now.up = [0, 3, 5].into();
        assert_eq!(wanted(&mut shape, &now), [3, 5]);
        assert_eq!(shape.look(&now).view.before, None);
    }

    #[test]
    fn links_of_an_epoch_that_has_ended_are_not_kept_for_ever() {
        let mut shape = shape(5);
        shape.look(&seen(Some(epoch(1, Kind::Star))));
        let mut now = seen(Some(epoch(2, Kind::Ring)));
        now.up = [0, 3].into();
        assert_eq!(shape.look(&now).data, [0, 3, 5].into());
        now.now_ms = BEFORE_BREAK_MS;
        assert!(shape.look(&now).view.before.is_none());
    }

    #[test]
    fn a_place_that_nobody_has_is_wanted() {
        let mut alone = epoch(1, Kind::Ring);
        alone.members = numbers(2..=4);
        assert_eq!(wanted(&mut shape(3), &seen(Some(alone))), [0, 1, 3, 4, 5]);
    }

    #[test]
    fn a_node_that_was_given_a_place_is_wanted_by_all_until_it_is_a_member_and_then_as_the_topology_has_it() {
        let mut shape = shape(3);
        let mut now = seen(Some(epoch(1, Kind::Ring)));
        now.places.insert(6);
        // The first one is another voter.
        assert_eq!(wanted(&mut shape, &now), [0, 1, 3, 6]);
        now.epoch = Some(Epoch::of(2, Kind::Ring, numbers(1..=7)));
        now.up.insert(6);
        assert_eq!(wanted(&mut shape, &now), [0, 1, 3]);
    }

    #[test]
    fn an_older_epoch_changes_nothing() {
        let mut shape = shape(5);
        shape.look(&seen(Some(epoch(2, Kind::Ring))));
        assert_eq!(wanted(&mut shape, &seen(Some(epoch(1, Kind::Star)))), [3, 5]);
    }

    #[test]
    fn a_neighbour_that_is_long_down_or_suspected_is_led_around_and_still_wanted() {
        let mut shape = shape(5);
        let mut now = seen(Some(epoch(1, Kind::Ring)));
        now.up.remove(&3);
        assert_eq!(wanted(&mut shape, &now), [3, 5]);
        now.now_ms = DETOUR_AFTER_MS;
        assert_eq!(wanted(&mut shape, &now), [2, 3, 5]);
        now.up.insert(3);
        assert_eq!(wanted(&mut shape, &now), [3, 5]);
        now.suspects = [NodeId(4)].into();
        assert_eq!(wanted(&mut shape, &now), [2, 3, 5]);
    }

    #[test]
    fn a_link_that_is_long_down_to_one_that_lives_is_told_as_cut_and_tried_on() {
        let mut shape = shape(5);
        let mut now = seen(Some(epoch(1, Kind::Ring)));
        now.up.remove(&3);
        let cut = Pair::of(NodeId(5), NodeId(4));
        let report = |shape: &mut Shape, now: &Seen| shape.look(now).report;
        assert_eq!(report(&mut shape, &now), CutReport::default());
        now.now_ms = CUT_AFTER_MS;
        assert_eq!(report(&mut shape, &now).cut, [cut].into());
        now.suspects = [NodeId(4)].into();
        assert_eq!(report(&mut shape, &now), CutReport::default(), "it is taken for dead");
        now.suspects.clear();

        let around = Epoch {
            cuts: [cut].into(),
            ..epoch(2, Kind::Ring)
        };
        now.epoch = Some(around);
        let shaped = shape.look(&now);
        assert_eq!((shaped.data, shaped.report.cut), ([3, 5].into(), [cut].into()));
        assert_eq!(shaped.view.cuts, [cut].into());
        now.up.insert(3);
        assert_eq!(report(&mut shape, &now).back_ms, [(cut, 0)].into());
        now.now_ms += 7_000;
        let told = report(&mut shape, &now);
        assert_eq!((told.cut, told.back_ms), ([].into(), [(cut, 7_000)].into()));
    }

    #[test]
    fn whoever_is_cut_off_is_hung_up_below_another_one() {
        let around = Epoch {
            cuts: [Pair::of(NodeId(1), NodeId(5))].into(),
            ..epoch(1, Kind::Star)
        };
        // Its hub is still tried.
        assert_eq!(wanted(&mut shape(5), &seen(Some(around.clone()))), [0, 1]);
        assert_eq!(wanted(&mut shape(2), &seen(Some(around))), [0, 2, 4]);
    }

    #[test]
    fn who_hears_no_leader_wants_everybody_until_it_does() {
        let mut shape = shape(5);
        let mut now = seen(Some(epoch(1, Kind::Ring)));
        now.silence_ms = 5_000;
        assert_eq!(wanted(&mut shape, &now), [0, 1, 2, 3, 5]);
        now.silence_ms = 0;
        assert_eq!(wanted(&mut shape, &now), [3, 5]);
    }
}
