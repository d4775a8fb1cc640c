//! Who takes part in consensus, and how that changes: one change at a time, by the leader.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::{EmptyNode, Instant as _, RaftMetrics};
use queenright_protocol::id::NodeId;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::machine::Machine;
use super::types::TypeConfig;
use super::{Consensus, ConsensusError};

/// How far a learner may be behind the leader to count as caught up, in entries: what the leader appends in the time of a
/// round trip or two.
const CAUGHT_UP_ENTRIES: u64 = 200;
/// How long a change of members may take until its answer is given up: it goes on all the same, and shows in the members.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(5);
/// A node that has answered no longer ago than this is up.
const UP_WITHIN: Duration = Duration::from_secs(3);

/// The members, as this node's log has them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// The voters; two sets while a change from the first to the second is half done. None before the first start.
    pub(crate) configs: Vec<BTreeSet<NodeId>>,
    /// All members, those included that only learn.
    pub(crate) nodes: BTreeSet<NodeId>,
}

impl Membership {
    /// Whoever votes, in either set.
    pub(crate) fn voters(&self) -> BTreeSet<NodeId> {
        self.configs.iter().flatten().copied().collect()
    }
}

/// How far the other members are, as the leader knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Those that have nearly all of the log.
    pub(crate) caught_up: BTreeSet<NodeId>,
    /// Those that have answered lately.
    pub(crate) up: BTreeSet<NodeId>,
}

impl Consensus {
    /// The number of this node.
    pub(crate) fn me(&self) -> NodeId {
        self.router.me()
    }

    /// Follows the members.
    pub(crate) fn members(&self) -> watch::Receiver<Membership> {
        self.members.clone()
    }

    /// How far the others are; nothing unless this node leads.
    pub(crate) fn progress(&self) -> Progress {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let me = self.router.me();
        let last = metrics.last_log_index.unwrap_or(0);
        let replication = metrics.replication.unwrap_or_default();
        let near = |index: u64| index + CAUGHT_UP_ENTRIES >= last;
        let caught_up = replication
            .iter()
            .filter(|(_, matched)| matched.as_ref().is_some_and(|matched| near(matched.index)))
            .map(|(node, _)| NodeId(*node));
        let heard = metrics.heartbeat.unwrap_or_default();
        let up = heard
            .iter()
            .filter(|(_, at)| at.as_ref().is_some_and(|at| at.elapsed() < UP_WITHIN))
            .map(|(node, _)| NodeId(*node));
        Progress {
            caught_up: caught_up.collect(),
            up: up.chain([me]).collect(),
        }
    }

    /// Lets a node learn. Returns when that is committed.
    ///
    /// # Errors
    /// When this node does not lead, or another change is under way, or no majority answered in time.
    pub(crate) async fn add_learner(&self, node: NodeId) -> Result<(), ConsensusError> {
        let added = self.raft.add_learner(node.0, EmptyNode {}, false);
        changed(added).await
    }

    /// Makes these the voters: first both sets together, then these alone. Who voted before and does not now learns from
    /// then on if it `stays`, and is no member any more if not.
    ///
    /// # Errors
    /// As [`Consensus::add_learner`].
    pub(crate) async fn change_voters(&self, voters: &BTreeSet<NodeId>, stays: bool) -> Result<(), ConsensusError> {
        let voters: BTreeSet<u64> = voters.iter().map(|voter| voter.0).collect();
        changed(self.raft.change_membership(voters, stays)).await
    }

    /// Asks another voter, which has nearly all of the log, to lead.
    ///
    /// # Errors
    /// When consensus has stopped.
    pub(crate) async fn hand_over(&self, to: NodeId) -> Result<(), ConsensusError> {
        let asked = self.raft.trigger().transfer_leader(to.0).await;
        asked.map_err(|error| ConsensusError::Failed(error.to_string()))
    }

    /// Lets nodes that do not vote go.
    ///
    /// # Errors
    /// As [`Consensus::add_learner`].
    pub(crate) async fn forget(&self, learners: &BTreeSet<NodeId>) -> Result<(), ConsensusError> {
        let nodes = learners.iter().map(|learner| learner.0).collect();
        let change = openraft::ChangeMembers::RemoveNodes(nodes);
        changed(self.raft.change_membership(change, false)).await
    }
}

async fn changed<T, E: std::fmt::Display>(change: impl Future<Output = Result<T, E>>) -> Result<(), ConsensusError> {
    let failed = |reason: String| ConsensusError::Failed(reason);
    match tokio::time::timeout(CHANGE_TIMEOUT, change).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no majority within {CHANGE_TIMEOUT:?}"))),
    }
}

/// Follows the members of `raft` until `stop`.
pub(super) fn watch_members(
    raft: &openraft::Raft<TypeConfig, Machine>,
    stop: &CancellationToken,
) -> watch::Receiver<Membership> {
    let mut metrics = raft.metrics();
    let look = |metrics: &RaftMetrics<TypeConfig>| {
        let membership = metrics.membership_config.membership();
        let numbers = |nodes: &BTreeSet<u64>| nodes.iter().copied().map(NodeId).collect();
        Membership {
            configs: membership.get_joint_config().iter().map(numbers).collect(),
            nodes: membership.nodes().map(|(node, _)| NodeId(*node)).collect(),
        }
    };
    let (sender, receiver) = watch::channel(look(&metrics.borrow_watched()));
    let stop = stop.clone();
    tokio::spawn(async move {
        let follow = async {
            while metrics.changed().await.is_ok() {
                let now = look(&metrics.borrow_watched());
                sender.send_if_modified(|before| {
                    let differs = *before != now;
                    *before = now;
                    differs
                });
            }
        };
        stop.run_until_cancelled(follow).await;
    });
    receiver
}

/// What is to be done next about the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing, until something changes.
    Nothing,
    /// Look again a little later: a node has not caught up, or a voter that stays does not answer.
    Wait,
    /// Finish the change to these voters.
    Finish(BTreeSet<NodeId>),
    /// Let this node learn: it was given a number, and is to come in.
    Add(NodeId),
    /// Let these learners go: there is a later one for their place, or a voter; or they are to go for good.
    Forget(BTreeSet<NodeId>),
    /// Ask this voter to lead: the leader is drained, or to go.
    HandOver(NodeId),
    /// Make these the voters: one is new.
    Vote(BTreeSet<NodeId>),
    /// Make these the voters: the others learn from now on.
    Retire(BTreeSet<NodeId>),
}

/// What the epoch wants of the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Wish {
    /// The places that should vote.
    pub(crate) voting: BTreeSet<usize>,
    /// Those that are to become members and are none yet.
    pub(crate) coming: BTreeSet<NodeId>,
    /// Those that should neither lead nor vote if others can.
    pub(crate) drained: BTreeSet<NodeId>,
    /// Those that are to be members no more.
    pub(crate) leaving: BTreeSet<NodeId>,
}

/// The places that should vote, of these: the first ones of those that are not drained, and then of the drained. Three or
/// five do, as far as there are so many; with less than five nodes three, since a fourth voter makes no failure more
/// bearable.
pub(crate) fn voting_places(
    places: &BTreeSet<usize>,
    drained: &BTreeSet<usize>,
    voters: Option<usize>,
) -> BTreeSet<usize> {
    let most = voters.unwrap_or(match places.len() {
        0..3 => places.len(),
        3..5 => 3,
        _ => 5,
    });
    let first = places.difference(drained).chain(places.intersection(drained));
    first.copied().take(most).collect()
}

/// Whether more than half of `all` are among `some`.
fn is_majority(some: &BTreeSet<NodeId>, all: &BTreeSet<NodeId>) -> bool {
    some.intersection(all).count() * 2 > all.len()
}

/// What a leader does next. It finishes a change that is half done, lets those in that were given numbers and superseded
/// learners go, and hands over if it is drained itself. It makes a learner that has caught up the voter of its place if that
/// should vote, while all voters that stay are up; once all places that should vote do, the others learn. Who is to go
/// for good votes until another one does in its stead; one that does not answer goes as soon as the others have a
/// majority without it. `place` is the place of a number.
pub(crate) fn next_step(
    me: NodeId,
    members: &Membership,
    progress: &Progress,
    wish: &Wish,
    place: impl Fn(NodeId) -> usize,
) -> Step {
    if let [_, .., last] = &members.configs[..] {
        return Step::Finish(last.clone());
    }
    let voters = members.voters();
    if let Some(coming) = wish.coming.iter().find(|coming| !members.nodes.contains(coming)) {
        return Step::Add(*coming);
    }
    let mut newest: BTreeMap<usize, NodeId> = BTreeMap::new();
    for node in &members.nodes {
        newest.insert(place(*node), *node);
    }
    let learners: BTreeSet<NodeId> = members.nodes.difference(&voters).copied().collect();
    let superfluous = |learner: &NodeId| newest[&place(*learner)] != *learner || wish.leaving.contains(learner);
    let superfluous: BTreeSet<NodeId> = learners.iter().copied().filter(superfluous).collect();
    if !superfluous.is_empty() {
        return Step::Forget(superfluous);
    }
    let mut waits = false;
    let idle = |node: &NodeId| wish.drained.contains(node) || wish.leaving.contains(node);
    if idle(&me) {
        let ready = |voter: &NodeId| progress.caught_up.contains(voter) && progress.up.contains(voter);
        let next = voters
            .iter()
            .find(|voter| **voter != me && !idle(voter) && ready(voter));
        if let Some(next) = next {
            return Step::HandOver(*next);
        }
        waits = voters.iter().any(|voter| *voter != me && !idle(voter));
    }
    let mut somebody_comes = false;
    for learner in learners
        .into_iter()
        .filter(|learner| wish.voting.contains(&place(*learner)))
    {
        let lost = |voter: &NodeId| wish.leaving.contains(voter) && !progress.up.contains(voter);
        let replaced = |voter: &NodeId| place(*voter) == place(learner) || lost(voter);
        let stay: BTreeSet<NodeId> = voters.iter().copied().filter(|voter| !replaced(voter)).collect();
        if progress.caught_up.contains(&learner) && stay.is_subset(&progress.up) {
            return Step::Vote(stay.into_iter().chain([learner]).collect());
        }
        somebody_comes |= progress.up.contains(&learner);
        waits = true;
    }
    let stay: BTreeSet<NodeId> = voters.difference(&wish.leaving).copied().collect();
    if stay.len() < voters.len() {
        let all_lost = !voters
            .iter()
            .any(|voter| wish.leaving.contains(voter) && progress.up.contains(voter));
        let bearable = is_majority(&progress.up, &stay) && is_majority(&progress.up, &voters);
        if bearable && (all_lost || !somebody_comes) {
            return Step::Retire(stay);
        }
        waits = true;
    }
    let (stay, surplus): (BTreeSet<NodeId>, BTreeSet<NodeId>) =
        voters.iter().partition(|voter| wish.voting.contains(&place(**voter)));
    if !surplus.is_empty() && stay.len() == wish.voting.len() {
        if stay.is_subset(&progress.up) {
            return Step::Retire(stay);
        }
        waits = true;
    }
    if waits { Step::Wait } else { Step::Nothing }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: &[u64]) -> BTreeSet<NodeId> {
        numbers.iter().copied().map(NodeId).collect()
    }

    fn members(configs: &[&[u64]], nodes: &[u64]) -> Membership {
        Membership {
            configs: configs.iter().map(|voters| set(voters)).collect(),
            nodes: set(nodes),
        }
    }

    #[track_caller]
    fn check(members: &Membership, caught_up: &[u64], up: &[u64], expected: Step) {
        let progress = progress(caught_up, up);
        let wish = Wish {
            voting: (1..=3).collect(),
            ..Wish::default()
        };
        check_wish(members, &progress, &wish, expected);
    }

    #[track_caller]
    fn check_wish(members: &Membership, progress: &Progress, wish: &Wish, expected: Step) {
        let place = |node: NodeId| (node.0 % 10) as usize;
        assert_eq!(next_step(NodeId(1), members, progress, wish, place), expected);
    }

    fn progress(caught_up: &[u64], up: &[u64]) -> Progress {
        Progress {
            caught_up: set(caught_up),
            up: set(up),
        }
    }

    #[test]
    fn a_settled_cluster_is_left_alone() {
        check(&members(&[&[1, 2, 3]], &[1, 2, 3]), &[], &[1], Step::Nothing);
        check(&Membership::default(), &[], &[], Step::Nothing);
    }

    #[test]
    fn only_places_that_should_vote_get_voters_and_the_others_learn_once_those_have_theirs() {
        let founded = members(&[&[1, 2, 3, 4, 5]], &[1, 2, 3, 4, 5]);
        check(&founded, &[], &[1, 2, 3, 5], Step::Retire(set(&[1, 2, 3])));
        check(&founded, &[], &[1, 2, 5], Step::Wait);
        let settled = members(&[&[1, 2, 3]], &[1, 2, 3, 4, 5]);
        check(&settled, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], Step::Nothing);
        // After a recovery from a node that should not vote: it does until enough others do.
        check(&members(&[&[4]], &[4, 12]), &[12], &[4], Step::Vote(set(&[4, 12])));
        check(
            &members(&[&[4, 12, 13]], &[4, 12, 13]),
            &[],
            &[4, 12, 13],
            Step::Nothing,
        );
        let enough = members(&[&[4, 11, 12, 13]], &[4, 11, 12, 13]);
        check(&enough, &[], &[4, 11, 12, 13], Step::Retire(set(&[11, 12, 13])));
    }

    #[test]
    fn three_or_five_vote_as_far_as_there_are_so_many() {
        let none = BTreeSet::new();
        let voting = |nodes: usize, voters| voting_places(&(0..nodes).collect(), &none, voters);
        let count = |nodes, voters| voting(nodes, voters).len();
        let by_default: Vec<usize> = (1..=7).map(|nodes| count(nodes, None)).collect();
        assert_eq!(by_default, [1, 2, 3, 3, 5, 5, 5]);
        assert_eq!((count(7, Some(3)), count(5, Some(3)), count(7, Some(5))), (3, 3, 5));
        assert_eq!(voting(7, None), (0..5).collect());
    }

    #[test]
    fn a_drained_node_votes_only_if_too_few_others_can() {
        let voting = |places: &[usize], drained: &[usize]| {
            let set = |places: &[usize]| places.iter().copied().collect();
            let voting = voting_places(&set(places), &set(drained), None);
            voting.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(voting(&[0, 1, 2, 5], &[1]), [0, 2, 5]);
        assert_eq!(voting(&[0, 1, 2], &[1]), [0, 1, 2]);
        assert_eq!(voting(&[0, 1, 2, 3], &[0, 1]), [0, 2, 3]);
    }

    #[test]
    fn a_node_that_was_given_a_number_is_added_and_one_that_is_to_go_is_let_go() {
        let settled = members(&[&[1, 2, 3]], &[1, 2, 3, 4]);
        let mut wish = Wish {
            voting: (1..=3).collect(),
            coming: set(&[4, 5]),
            ..Wish::default()
        };
        let all = progress(&[1, 2, 3, 4], &[1, 2, 3, 4]);
        check_wish(&settled, &all, &wish, Step::Add(NodeId(5)));
        wish.coming.clear();
        wish.leaving = set(&[4]);
        check_wish(&settled, &all, &wish, Step::Forget(set(&[4])));
    }

    #[test]
    fn a_leader_that_is_drained_hands_over_to_a_voter_that_can_lead() {
        let settled = members(&[&[1, 2, 3]], &[1, 2, 3]);
        let wish = Wish {
            voting: (1..=3).collect(),
            drained: set(&[1, 2]),
            ..Wish::default()
        };
        check_wish(
            &settled,
            &progress(&[2, 3], &[1, 2, 3]),
            &wish,
            Step::HandOver(NodeId(3)),
        );
        check_wish(&settled, &progress(&[2], &[1, 2, 3]), &wish, Step::Wait);
    }

    #[test]
    fn a_voter_that_is_to_go_votes_until_another_does_and_a_dead_one_goes_when_the_rest_is_a_majority() {
        let wish = |voting: &[usize]| Wish {
            voting: voting.iter().copied().collect(),
            leaving: set(&[2]),
            ..Wish::default()
        };
        let four = members(&[&[1, 2, 3]], &[1, 2, 3, 4]);
        // It answers: the learner comes first.
        check_wish(&four, &progress(&[2, 3], &[1, 2, 3, 4]), &wish(&[1, 3, 4]), Step::Wait);
        let all = progress(&[2, 3, 4], &[1, 2, 3, 4]);
        check_wish(&four, &all, &wish(&[1, 3, 4]), Step::Vote(set(&[1, 2, 3, 4])));
        let after = members(&[&[1, 2, 3, 4]], &[1, 2, 3, 4]);
        check_wish(&after, &all, &wish(&[1, 3, 4]), Step::Retire(set(&[1, 3, 4])));
        let learns = members(&[&[1, 3, 4]], &[1, 2, 3, 4]);
        check_wish(&learns, &all, &wish(&[1, 3, 4]), Step::Forget(set(&[2])));
        // It is dead: the learner takes its place in one step, or it goes at once.
        let dead = progress(&[3, 4], &[1, 3, 4]);
        check_wish(&four, &dead, &wish(&[1, 3, 4]), Step::Vote(set(&[1, 3, 4])));
        let three = members(&[&[1, 2, 3]], &[1, 2, 3]);
        check_wish(&three, &dead, &wish(&[1, 3]), Step::Retire(set(&[1, 3])));
        check_wish(&three, &progress(&[], &[1]), &wish(&[1, 3]), Step::Wait);
        let five = members(&[&[1, 2, 3, 4, 5]], &[1, 2, 3, 4, 5]);
        check_wish(
            &five,
            &progress(&[3, 4], &[1, 3, 4]),
            &wish(&[1, 3, 4, 5]),
            Step::Retire(set(&[1, 3, 4, 5])),
        );
        // Of two one may go.
        let two = members(&[&[1, 2]], &[1, 2]);
        check_wish(&two, &progress(&[2], &[1, 2]), &wish(&[1]), Step::Retire(set(&[1])));
    }

    #[test]
    fn a_half_done_change_is_finished_before_anything_else() {
        let half = members(&[&[1, 2, 3], &[1, 3, 12]], &[1, 2, 3, 12, 13]);
        check(&half, &[13], &[1, 2, 3], Step::Finish(set(&[1, 3, 12])));
    }

    #[test]
    fn a_learner_takes_the_place_of_its_voter_once_it_has_caught_up_and_all_who_stay_are_up() {
        let replacing = members(&[&[1, 2, 3]], &[1, 2, 3, 12]);
        check(&replacing, &[1, 3], &[1, 3], Step::Wait);
        check(&replacing, &[1, 12], &[1, 12], Step::Wait);
        check(&replacing, &[3, 12], &[1, 3, 12], Step::Vote(set(&[1, 3, 12])));
        // A place that has no voter.
        check(&members(&[&[1]], &[1, 12]), &[12], &[1], Step::Vote(set(&[1, 12])));
    }

    #[test]
    fn a_learner_that_came_to_nothing_is_let_go_when_a_later_one_takes_its_place() {
        check(
            &members(&[&[1, 2, 3]], &[1, 2, 3, 12, 22]),
            &[12, 22],
            &[1, 2, 3],
            Step::Forget(set(&[12])),
        );
        check(
            &members(&[&[1, 3, 22]], &[1, 3, 12, 22]),
            &[],
            &[],
            Step::Forget(set(&[12])),
        );
    }
}
