//! Keeps sessions alive while this process lives: a model does not remember to, and what it holds would return to others in
//! the middle of its work. A session that is not kept any more ends after its own time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use queenright_bench::client::ClientError;
use queenright_bench::client::wire::Code;
use queenright_protocol::colony::SessionId;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::Reach;

/// How many sessions one process keeps: more than one agent has that it did not forget.
const KEPT_MAX: usize = 64;
/// How many orders may wait for the task that carries them out.
const ORDERS_MAX: usize = 64;
/// A session is given a sign of life so many times in its time to live.
const SIGNS: u32 = 3;
/// How long one sign of life may take before the next session has its turn.
const SIGN_WITHIN: Duration = Duration::from_secs(2);

/// A session that is to be kept alive.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) project: String,
    pub(super) session: SessionId,
    pub(super) token: String,
    pub(super) ttl: Duration,
}

enum Order {
    Keep(Kept),
    Forget(SessionId),
}

/// Keeps sessions alive as long as it lives itself.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    orders: mpsc::Sender<Order>,
}

impl Keeper {
    pub(super) fn start(reach: Arc<dyn Reach>) -> Keeper {
        let (orders, receiver) = mpsc::channel(ORDERS_MAX);
        let keeping = Keeping {
            reach,
            kept: BTreeMap::new(),
        };
        tokio::spawn(keeping.run(receiver));
        Keeper { orders }
    }

    /// Keeps a session alive; says whether it can.
    pub(super) fn keep(&self, kept: Kept) -> bool {
        self.orders.try_send(Order::Keep(kept)).is_ok()
    }

    /// Lets a session be, which was closed.
    pub(super) fn forget(&self, session: SessionId) {
        // When there is no room for this the next sign of life finds out that the session has ended.
        let _ = self.orders.try_send(Order::Forget(session));
    }
}

struct Keeping {
    reach: Arc<dyn Reach>,
    /// The sessions, and when each is due.
    kept: BTreeMap<SessionId, (Kept, Instant)>,
}

impl Keeping {
    /// Ends with the last of those who give orders.
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        loop {
            let due = self.kept.values().map(|(_, due)| *due).min();
            let far = Instant::now() + Duration::from_secs(3_600);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(Order::Keep(kept)) => self.keep(kept),
                    Some(Order::Forget(session)) => drop(self.kept.remove(&session)),
                    None => return,
                },
                () = sleep_until(due.unwrap_or(far)) => self.give_signs().await,
            }
        }
    }

    fn keep(&mut self, kept: Kept) {
        if self.kept.len() >= KEPT_MAX && !self.kept.contains_key(&kept.session) {
            // The one that has been kept for the longest time is the one that was forgotten.
            self.kept.pop_first();
        }
        let due = Instant::now() + kept.ttl / SIGNS;
        self.kept.insert(kept.session, (kept, due));
    }

    async fn give_signs(&mut self) {
        let now = Instant::now();
        let due: Vec<Kept> = self
            .kept
            .values()
            .filter(|(_, due)| *due <= now)
            .map(|(kept, _)| kept.clone())
            .collect();
        for kept in due {
            if timeout(SIGN_WITHIN, self.has_ended(&kept)).await.unwrap_or(false) {
                self.kept.remove(&kept.session);
            } else if let Some((kept, due)) = self.kept.get_mut(&kept.session) {
                *due = Instant::now() + kept.ttl / SIGNS;
            }
        }
    }

    /// Gives a sign of life; whether the session has ended. When no node answers that is not known.
    async fn has_ended(&self, kept: &Kept) -> bool {
        let Ok(client) = self.reach.client(None) else {
            return false;
        };
        let client = client.in_project(&kept.project);
        match client.heartbeat(kept.session, &kept.token).await {
            Ok(_) => false,
            // A heartbeat that came too late may be repeated; a session that has ended is no more.
            Err(ClientError::Problem(problem)) => match problem.code {
                Code::Expired => !problem.retryable,
                code => matches!(code, Code::NotFound | Code::Fenced),
            },
            Err(_) => {
                self.reach.lost();
                false
            }
        }
    }
}
