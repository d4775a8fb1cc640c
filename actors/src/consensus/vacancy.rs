//! A leader whose process has ended is replaced before its lease is over.
//!
//! Where a process ends, its kernel closes its links at once, and whoever follows it hears of that long before the lease
//! ends that openraft gives to a leader: two to four seconds after its last heartbeat. So a voter whose link to the leader
//! went down, and does not come back for a moment, gives that lease up for itself and asks the others for a pre-vote: in
//! turn, the one with the lowest number first, so that two do not take each other's votes. Whoever still hears the leader
//! refuses, and then nothing has changed, not even the term. A vote needs a majority and all entries that are acknowledged,
//! as ever.
//!
//! A leader whose host is gone without a word, or that is cut off without its links being closed, is replaced when its
//! lease has ended.

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::raft::TransferLeaderRequest;
use queenright_protocol::id::NodeId;
use tokio::sync::watch;

use super::machine::Machine;
use super::membership::Membership;
use super::types::TypeConfig;
use super::{Leadership, Role};
use crate::router::Router;

/// How long after its lease a voter stands that is the first to stand: the others have given it up by then.
const TOGETHER: Duration = Duration::from_millis(50);
/// How long one voter has to be elected before the next one stands: some round trips, and two votes on disk.
const TURN: Duration = Duration::from_millis(250);
/// How often each stands; after that the usual time-out decides.
const ROUNDS: usize = 4;

/// Looks after the link to the leader.
pub(super) struct Vacancy {
    pub(super) raft: Raft<TypeConfig, Machine>,
    pub(super) router: Arc<Router>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) members: watch::Receiver<Membership>,
    /// How long a link may be down that comes back: it was only made anew.
    pub(super) patience: Duration,
}

impl Vacancy {
    /// Runs until consensus stops.
    pub(super) async fn watch(mut self) {
        let mut links = self.router.follow_links();
        // Whose link was seen up: a leader that is reached over others, or not at all, is none that has just ended.
        let mut linked = None;
        loop {
            links.mark_unchanged();
            let leader = self.followed();
            if let Some(leader) = leader.filter(|leader| !self.router.is_linked(*leader)) {
                if linked.take() == Some(leader) && self.stand(leader).await.is_err() {
                    return;
                }
            } else {
                linked = leader;
            }
            tokio::select! {
                changed = links.changed() => if changed.is_err() { return },
                changed = self.leadership.changed() => if changed.is_err() { return },
            }
        }
    }

    /// The leader that this node follows, itself being another one.
    fn followed(&mut self) -> Option<NodeId> {
        let Leadership { leader, role, .. } = *self.leadership.borrow_and_update();
        leader.filter(|leader| *leader != self.router.me() && role != Role::Leader)
    }

    /// Whether this leader is still followed, and its link still down.
    fn is_vacant(&mut self, leader: NodeId) -> bool {
        self.followed() == Some(leader) && !self.router.is_linked(leader)
    }

    /// Stands for election in the place of a leader, in turn with the others.
    async fn stand(&mut self, leader: NodeId) -> Result<(), openraft::errors::Fatal<TypeConfig>> {
        tokio::time::sleep(self.patience).await;
        let mut voters = self.members.borrow().voters();
        voters.remove(&leader);
        let me = self.router.me();
        if !self.is_vacant(leader) || !voters.contains(&me) {
            return Ok(());
        }
        tracing::info!(%leader, "the link to the leader is down: another one is looked for");
        // To hand over to somebody else is how openraft is told that a lease counts no more.
        let vote = self.raft.metrics().borrow_watched().vote;
        let _ = self
            .raft
            .handle_transfer_leader(TransferLeaderRequest::new(vote, leader.0, None))
            .await?;
        let before_me = voters.range(..me).count() as u32;
        tokio::time::sleep(TOGETHER + TURN * before_me).await;
        for _ in 0..ROUNDS {
            if !self.is_vacant(leader) {
                break;
            }
            self.raft.trigger().elect(true).await?;
            tokio::time::sleep(TURN * voters.len() as u32).await;
        }
        Ok(())
    }
}
