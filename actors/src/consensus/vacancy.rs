//! A leader whose process has ended is replaced before its lease is over.
//!
//! Where a process ends, its kernel closes its links at once, and whoever follows it hears of that long before the lease
//! ends that openraft gives to a leader: two to four seconds after its last heartbeat. So a voter whose link to the leader
//! went down, and does not come back for a moment, gives that lease up for itself and asks the others for a pre-vote: in
//! turn, the one with the lowest number first, so that two do not take each other's votes. Whoever still hears the leader
//! refuses, and then nothing has changed, not even the term. A vote needs a majority and all entries that are acknowledged,
//! as ever.
//!
//! A leader that stops hands over before it goes ([`Consensus::stop`](super::Consensus::stop)). One that ended otherwise and
//! is back before anybody has missed it would be followed by the others until its lease ends, and lead no more: it tells
//! them so, and stands at once.
//!
//! A leader whose host is gone without a word, or that is cut off without its links being closed, is replaced when its
//! lease has ended.

use std::sync::Arc;
use std::time::Duration;

use openraft::Raft;
use openraft::alias::VoteOf;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::Fatal;
use openraft::raft::TransferLeaderRequest;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use tokio::sync::watch;

use super::machine::Machine;
use super::membership::Membership;
use super::types::TypeConfig;
use super::{Leadership, Role};
use crate::body::encode;
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
    /// The vote by which this node led when its process ended, if it did.
    pub(super) led: Option<VoteOf<TypeConfig>>,
}

impl Vacancy {
    /// Runs until consensus stops.
    pub(super) async fn watch(mut self) {
        if self.lead_again().await.is_err() {
            return;
        }
        let mut links = self.router.follow_links();
        // For each leader this stands once after each break of its link. One whose link has never gone down is reached over
        // others, or not at all: it has not just ended.
        let mut seen = None;
        loop {
            links.mark_unchanged();
            if let Some(leader) = self.followed().filter(|leader| !self.router.is_linked(*leader)) {
                let breaks = self.router.breaks(leader);
                let now = Some((leader, self.leadership.borrow().term, breaks));
                if breaks > 0 && seen != now {
                    seen = now;
                    if self.replace(leader).await.is_err() {
                        return;
                    }
                    continue;
                }
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

    /// If this node led when its process ended, tells those who may follow it still that it does not, and stands: what was
    /// acknowledged is in its log.
    async fn lead_again(&mut self) -> Result<(), Fatal<TypeConfig>> {
        let Some(led) = self.led.take() else { return Ok(()) };
        let me = self.router.me();
        let mut links = self.router.follow_links();
        let others = loop {
            links.mark_unchanged();
            if self.leader().is_some() {
                return Ok(());
            }
            let voters = self.members.borrow().voters();
            let others: Vec<NodeId> = voters
                .iter()
                .copied()
                .filter(|voter| *voter != me && self.router.is_linked(*voter))
                .collect();
            if voters.contains(&me) && (others.len() + 1) * 2 > voters.len() {
                break others;
            }
            tokio::select! {
                changed = links.changed() => if changed.is_err() { return Ok(()) },
                changed = self.leadership.changed() => if changed.is_err() { return Ok(()) },
            }
        };
        tracing::info!("this node led when it ended: it asks to lead again");
        // To hand over, also to itself, is how openraft is told that a lease counts no more. Who follows another one by now
        // does not listen.
        let body = encode(&TransferLeaderRequest::<TypeConfig>::new(led, me.0, None));
        let told = others.iter().map(|other| {
            self.router
                .ask(*other, Lane::Urgent, Kind::LeadRequest, body.clone(), TURN)
        });
        futures::future::join_all(told).await;
        self.stand(others.len() + 1, |vacancy| vacancy.leader().is_none()).await
    }

    /// Who is followed, or leads here.
    fn leader(&mut self) -> Option<NodeId> {
        self.leadership.borrow_and_update().leader
    }

    /// Whether this leader is still followed, and its link still down.
    fn is_vacant(&mut self, leader: NodeId) -> bool {
        self.followed() == Some(leader) && !self.router.is_linked(leader)
    }

    /// Stands for election in the place of a leader, in turn with the others.
    async fn replace(&mut self, leader: NodeId) -> Result<(), Fatal<TypeConfig>> {
        tokio::time::sleep(self.patience).await;
        let mut voters = self.members.borrow().voters();
        voters.remove(&leader);
        let me = self.router.me();
        if !self.is_vacant(leader) || !voters.contains(&me) {
            return Ok(());
        }
        tracing::info!(%leader, "the link to the leader is down: another one is looked for");
        let vote = self.raft.metrics().borrow_watched().vote;
        let _ = self
            .raft
            .handle_transfer_leader(TransferLeaderRequest::new(vote, leader.0, None))
            .await?;
        let before_me = voters.range(..me).count() as u32;
        tokio::time::sleep(TOGETHER + TURN * before_me).await;
        // Also while somebody stands who has not won: it may lack entries, and will not then.
        self.stand(voters.len(), |vacancy| {
            vacancy.is_vacant(leader) || vacancy.leader().is_none()
        })
        .await
    }

    /// Asks for votes, some times, while that is wanted; so many stand in turn.
    async fn stand(
        &mut self,
        candidates: usize,
        is_wanted: impl Fn(&mut Vacancy) -> bool,
    ) -> Result<(), Fatal<TypeConfig>> {
        for _ in 0..ROUNDS {
            if !is_wanted(self) {
                break;
            }
            self.raft.trigger().elect(true).await?;
            tokio::time::sleep(TURN * candidates as u32).await;
        }
        Ok(())
    }
}
