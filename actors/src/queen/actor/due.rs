//! What a queen does although nobody commands it: she proposes an empty round when a lease ends or a task is to be
//! returned, and tells the colony of agents that have ended with their node.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use queenright_protocol::colony::{AgentCommand, Body, Round};
use queenright_protocol::id::NodeId;
use ractor::ActorRef;
use tokio::sync::oneshot;

use super::backlog::Backlogs;
use super::{QueenMessage, QueenState};
use crate::liveness::{Opinion, View};
use crate::queen::Request;

/// For how long a node may acknowledge nothing to the leader until its agents are taken for dead, unless it is seen alive.
/// Longer than a change of leader and than a restart of the node, which ends its agents by itself.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// The same for a node whose datagrams come: it waits for its disk, or takes a snapshot, and will go on.
const LOST_ALTHOUGH_SEEN_AFTER: Duration = Duration::from_secs(15);
/// How often the leader looks for such nodes, while other nodes have agents.
const LOOK: Duration = Duration::from_secs(1);
/// How long a new leader has for what it took over but has not applied yet.
const TAKING_OVER: Duration = Duration::from_secs(1);
/// For how long, in milliseconds, what is due waits until it is seen again whether the stores have caught up.
const UNSTORED_WAIT_MS: u64 = 20;
/// As long as an empty round took, but no longer, the leader rests after it while there are commands: all nodes may have
/// been at work on it, and on the store's passes of what it changed.
const REST_MAX: Duration = Duration::from_millis(50);
/// For how long there are commands after one.
const BUSY_FOR: Duration = Duration::from_secs(1);
/// Who tells of them.
const AUTHOR: &str = "queen";
/// The project in whose name the commands go: they belong to none.
const PROJECT: &str = "default";

/// What is under way of that.
#[derive(Default)]
pub(super) struct Duties {
    /// Cluster time for which a timer is set.
    armed_ms: Option<u64>,
    /// Since when an empty round is under way.
    proposed: Option<Instant>,
    /// Until when the next one waits.
    rests_until: Option<Instant>,
    /// When commands were carried out last.
    commanded: Option<Instant>,
    /// Since when this node leads.
    leading: Option<Instant>,
    /// Whether the timer of the look for lost nodes runs.
    looking: bool,
    /// What the other nodes said of their stores.
    backlogs: Backlogs,
}

impl Duties {
    /// The empty round was applied.
    fn rest(&mut self, now: Instant) {
        let took = self.proposed.take().map(|since| now.duration_since(since));
        let busy = self.commanded.is_some_and(|at| now.duration_since(at) < BUSY_FOR);
        self.rests_until = took.filter(|_| busy).map(|took| now + took.min(REST_MAX));
    }

    /// For how many milliseconds what is due waits yet; the store of this node is behind by `own` changes.
    fn wait_ms(&self, own: usize, now: Instant) -> u64 {
        let rests = self.rests_until.map(|until| until.saturating_duration_since(now));
        let rest_ms = rests.unwrap_or_default().as_micros().div_ceil(1_000) as u64;
        match self.backlogs.are_long(own, now) {
            true => rest_ms.max(UNSTORED_WAIT_MS),
            false => rest_ms,
        }
    }
}

impl QueenState {
    /// This node leads, or does not any more.
    pub(super) fn duties_of(&mut self, leads: bool, me: &ActorRef<QueenMessage>) {
        if !leads {
            self.duties.leading = None;
        } else if self.duties.leading.is_none() {
            self.duties.leading = Some(Instant::now());
            me.send_after(TAKING_OVER, || QueenMessage::Due);
        }
    }

    /// The timer has rung, or the empty round was applied.
    pub(super) fn due_again(&mut self, round_done: bool) {
        match round_done {
            true => self.duties.rest(Instant::now()),
            false => self.duties.armed_ms = None,
        }
    }

    /// An entry with commands was carried out. The next follows when this pause is over.
    pub(super) fn commanded(&mut self) -> Duration {
        let now = Instant::now();
        self.duties.commanded = Some(now);
        self.duties.backlogs.pause(self.replica.dirty_records(), now)
    }

    /// The store of another node has not taken so many changes yet.
    pub(super) fn hear_unstored(&mut self, from: NodeId, records: u64) {
        self.duties.backlogs.note(from, records, Instant::now());
    }

    /// Proposes an empty round if something is due, or sets the timer for the next time.
    pub(super) async fn look_at_due(&mut self, me: &ActorRef<QueenMessage>) {
        if self.duties.leading.is_none() || self.duties.proposed.is_some() {
            return;
        }
        let (due_ms, others) = self.replica.due(self.router.me());
        if others && !self.duties.looking {
            self.duties.looking = true;
            me.send_after(LOOK, || QueenMessage::LookForLost);
        }
        let Some(due_ms) = due_ms else { return };
        let now_ms = self.leaders_time();
        let wait_ms = match due_ms <= now_ms {
            true => self.duties.wait_ms(self.replica.dirty_records(), Instant::now()),
            false => 0,
        };
        let due_ms = match wait_ms {
            0 => due_ms,
            wait_ms => now_ms + wait_ms,
        };
        if due_ms > now_ms {
            if self.duties.armed_ms.is_none_or(|armed_ms| armed_ms > due_ms) {
                self.duties.armed_ms = Some(due_ms);
                me.send_after(Duration::from_millis(due_ms - now_ms), || QueenMessage::Due);
            }
            return;
        }
        self.duties.proposed = Some(Instant::now());
        let round = Round {
            node: self.router.me(),
            incarnation: self.incarnation,
            commands: Vec::new(),
        };
        self.append(vec![round.encode()], |_| QueenMessage::DueDone, me).await;
    }

    /// Tells the colony of nodes that have acknowledged nothing for too long and have agents there.
    pub(super) fn look_for_lost(&mut self) {
        self.duties.looking = false;
        let Some(leading) = self.duties.leading else { return };
        let silence = self.consensus.silence();
        let opinions = self.liveness.opinions().borrow().clone();
        let others: BTreeSet<NodeId> = silence.keys().chain(opinions.keys()).copied().collect();
        let is_lost = |node: &NodeId| {
            let (silence, opinion) = (silence.get(node).copied(), opinions.get(node).copied());
            is_lost(silence, opinion, leading.elapsed())
        };
        let epoch = self.replica.follow_epoch();
        // Who is a member no more is watched by nobody, and does not come back.
        let gone: Vec<NodeId> = epoch
            .borrow()
            .iter()
            .flat_map(|epoch| epoch.gone.keys().copied())
            .collect();
        let lost: BTreeSet<NodeId> = others.into_iter().filter(is_lost).chain(gone).collect();
        let lost: Vec<NodeId> = lost.into_iter().collect();
        for (node, incarnation) in self.replica.with_agents(&lost) {
            tracing::warn!(%node, incarnation, "the node does not answer: its agents have ended");
            self.tell(AgentCommand::NodeLost { node, incarnation });
        }
    }

    /// Tells the colony that this node was started anew, if it still has agents of an earlier start.
    pub(super) fn tell_of_start(&mut self) {
        let me = self.router.me();
        let earlier = self.replica.with_agents(&[me]);
        if earlier.iter().any(|(_, incarnation)| *incarnation < self.incarnation) {
            self.tell(AgentCommand::NodeStarted);
        }
    }

    fn tell(&mut self, command: AgentCommand) {
        let request = Request {
            project: PROJECT.into(),
            author: AUTHOR.into(),
            idempotency_key: None,
            body: Body::Agent(command),
        };
        // Nobody waits for the outcome: what it did not change is found again.
        let (reply, _) = oneshot::channel();
        self.submit(request, reply, None);
    }
}

/// Whether a node is lost to a leader that has led for so long: by its silence, or if it is not sent the log, by what is
/// seen of it alone.
fn is_lost(silence: Option<Option<Duration>>, opinion: Option<Opinion>, leading: Duration) -> bool {
    match silence {
        // It may never have acknowledged anything.
        Some(silence) => silence.unwrap_or(Duration::MAX).min(leading) >= patience(opinion),
        None => leading >= LOST_AFTER && opinion.is_some_and(|opinion| opinion.view == View::Down),
    }
}

/// For how long a node of which this is thought may acknowledge nothing. Where datagrams do not pass nothing is known
/// but that, so it is as if they said that it is down.
fn patience(opinion: Option<Opinion>) -> Duration {
    match opinion {
        Some(opinion) if opinion.view != View::Down && !opinion.udp_blocked => LOST_ALTHOUGH_SEEN_AFTER,
        _ => LOST_AFTER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leader_rests_as_long_as_a_round_took_while_there_are_commands() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut duties = Duties::default();
        let mut round = |commanded: Option<u64>, from: u64, to: u64| {
            duties.commanded = commanded.map(at);
            duties.proposed = Some(at(from));
            duties.rest(at(to));
            assert!(duties.proposed.is_none());
            duties.wait_ms(0, at(to))
        };
        assert_eq!(round(None, 0, 10), 0, "nobody commands anything");
        assert_eq!(round(Some(5), 10, 17), 7);
        assert_eq!(round(Some(5), 10, 400), 50, "no longer than this");
        assert_eq!(round(Some(5), 1_000, 1_005), 0, "the last command was a second ago");
        assert_eq!(
            duties.wait_ms(1 << 20, at(1_005)),
            UNSTORED_WAIT_MS,
            "the store goes first"
        );
    }

    fn opinion(view: View, udp_blocked: bool) -> Option<Opinion> {
        let since = tokio::time::Instant::now();
        Some(Opinion {
            view,
            since,
            udp_blocked,
        })
    }

    #[test]
    fn a_node_is_lost_by_its_silence_and_one_that_is_sent_nothing_by_what_is_seen_of_it() {
        let (alive, down) = (opinion(View::Alive, false), opinion(View::Down, false));
        let s = Duration::from_secs;
        assert!(is_lost(Some(Some(s(5))), down, s(60)));
        assert!(!is_lost(Some(Some(s(5))), alive, s(60)));
        assert!(is_lost(Some(Some(s(15))), alive, s(60)));
        // A new leader has to wait as well.
        assert!(!is_lost(Some(None), down, s(4)));
        assert!(is_lost(Some(None), down, s(5)));
        assert!(!is_lost(None, down, s(4)));
        assert!(is_lost(None, down, s(5)));
        assert!(!is_lost(None, alive, s(60)));
        assert!(!is_lost(None, None, s(60)));
    }

    #[test]
    fn a_node_is_waited_for_longer_while_its_datagrams_come() {
        let of = |view, udp_blocked| patience(opinion(view, udp_blocked));
        assert_eq!(of(View::Alive, false), LOST_ALTHOUGH_SEEN_AFTER);
        assert_eq!(of(View::Suspect, false), LOST_ALTHOUGH_SEEN_AFTER);
        assert_eq!(of(View::Down, false), LOST_AFTER);
        // Only its link is seen, or nothing: the old rule.
        assert_eq!(of(View::Alive, true), LOST_AFTER);
        assert_eq!(patience(None), LOST_AFTER);
    }
}
