//! A caller whose claim waits at this door. It is told by what its own node applies, and asks nobody meanwhile.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use queenright_bench::client::CLAIM_WAIT_SLACK;
use queenright_protocol::colony::{Body, Caller as Owner, Leave, TaskCommand, TokenHash, Wait, WaitId};
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep, sleep_until};

use super::Door;
use super::call::Caller;

/// How often the session of a caller who waits is given a sign of life: the connection is one. A third of the shortest time
/// that a session lives.
const SIGN_EVERY: Duration = Duration::from_secs(3);
/// How long the colony may take to hear that a caller is gone; otherwise the wait, or the offer, ends by itself.
const LEAVE_WITHIN: Duration = Duration::from_secs(30);

/// A caller whose claim waits. When this goes before there is an answer, so has the caller, and the colony is told.
pub(super) struct Waiter {
    door: Door,
    caller: Caller,
    token: TokenHash,
    id: WaitId,
    answered: bool,
}

impl Waiter {
    pub(super) fn new(door: &Door, caller: &Caller, token: TokenHash, id: WaitId) -> Waiter {
        Waiter {
            door: door.clone(),
            caller: caller.clone(),
            token,
            id,
            answered: false,
        }
    }

    /// What the claim is offered; `None` when its time is over, the node takes no new work any more, or the door closes.
    pub(super) async fn offer(mut self, wait: Duration) -> Option<Arc<Wait>> {
        let (backend, project) = (self.door.backend.clone(), self.caller.project.clone());
        let mut closing = self.door.closing.clone();
        let until = Instant::now() + wait + CLAIM_WAIT_SLACK;
        let mut offer = pin!(backend.wait_offer(&project, self.id));
        let mut drained = pin!(async {
            match backend.node() {
                Some(node) => node.drained().await,
                None => pending().await,
            }
        });
        loop {
            tokio::select! {
                offer = &mut offer => {
                    self.answered = true;
                    return offer;
                }
                // An error says that the sender is gone, with the door.
                _ = closing.wait_for(|closing| *closing) => return None,
                () = sleep_until(until) => return None,
                () = &mut drained => return None,
                () = sleep(SIGN_EVERY) => backend.connected(&project, self.token),
            }
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        // Without a runtime the node is gone, and the wait with it.
        let Ok(runtime) = Handle::try_current() else { return };
        let body = Body::Task(TaskCommand::Leave(Leave {
            wait: self.id,
            caller: Owner::Session(self.token),
        }));
        let mut caller = self.caller.clone();
        caller.idempotency_key = None;
        caller.deadline = Instant::now() + LEAVE_WITHIN;
        let door = self.door.clone();
        runtime.spawn(async move {
            // A session that has ended waits no more either.
            if let Err(refused) = door.submit(&caller, body).await {
                tracing::debug!(problem = %refused.problem.detail, "a claim that waited was not left");
            }
        });
    }
}
