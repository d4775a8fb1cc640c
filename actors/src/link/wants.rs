//! Which links are wanted here, and what follows from that: whether one is dialled, and when one is closed.
//!
//! | link | dialled | closed |
//! |---|---|---|
//! | wanted | by the end with the higher index | never from here |
//! | not wanted any more | no | after a linger, in which its outbox empties |
//! | a guest: the other end has opened it, and it was never wanted here | no | after [`GUEST_FOR`] |
//!
//! A guest is a node with another epoch, or one that seeks: it learns what it needs and goes. Only one end ever dials: whoever
//! wants a link and has the lower index is dialled, since the other end wants it too, or will tell it otherwise when it comes.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

use super::connect::Hangar;
use super::gateway::Link;

/// How long a guest may stay: long enough to say hello over a slow path, several times.
pub(super) const GUEST_FOR: Duration = Duration::from_secs(5);

/// How long a link that is not wanted any more stays at least: the other end may not know yet, and still send.
const LINGER_MIN: Duration = Duration::from_secs(1);
/// How long it stays at most, whatever waits for it.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether something waits.
const LINGER_LOOK: Duration = Duration::from_millis(100);

/// A link that lasted this long was a good one: it is dialled again after the shortest pause.
const GOOD_LINK: Duration = Duration::from_secs(1);

/// Keeps one link as it is wanted.
pub(super) struct Keeper {
    pub(super) link: std::sync::Arc<Link>,
    pub(super) hangar: Hangar,
    pub(super) address: String,
    /// Whether this is the end that dials.
    pub(super) dials: bool,
}

impl Keeper {
    /// Runs for as long as the process does.
    pub(super) async fn run(self) {
        let (mut up, mut wanted) = (self.link.watch(), self.link.follow_wanted());
        let mut came_up: Option<Instant> = None;
        let mut was_wanted = false;
        let mut pause = Duration::ZERO;
        loop {
            let (is_up, is_wanted) = (*up.borrow_and_update(), *wanted.borrow_and_update());
            match (is_up, came_up) {
                (true, None) => came_up = Some(Instant::now()),
                (false, Some(since)) => {
                    (came_up, was_wanted) = (None, false);
                    pause = self.pause_after(since.elapsed());
                }
                _ => {}
            }
            was_wanted |= is_up && is_wanted;
            tokio::select! {
                changed = up.changed() => changed.expect("the link has the sender"),
                changed = wanted.changed() => changed.expect("the link has the sender"),
                () = self.dial(pause), if !is_up && is_wanted && self.dials => {}
                () = self.see_off(was_wanted), if is_up && !is_wanted => {}
            }
        }
    }

    fn pause_after(&self, lasted: Duration) -> Duration {
        let limits = &self.hangar.limits;
        let pause = if lasted >= GOOD_LINK {
            limits.backoff_min
        } else {
            limits.backoff_max
        };
        pause.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    /// Until the link is up, or not wanted any more.
    async fn dial(&self, pause: Duration) {
        tokio::time::sleep(pause).await;
        let (peer, address) = (self.link.peer.name.clone(), self.address.clone());
        self.hangar.clone().dial(peer, address).await;
    }

    /// Closes a link that is not wanted, when it may go.
    async fn see_off(&self, lingers: bool) {
        if lingers {
            let until = Instant::now() + LINGER_MAX;
            tokio::time::sleep(LINGER_MIN).await;
            // Twice: what left a moment ago is to arrive.
            let mut idle = 0;
            while idle < 2 && Instant::now() < until {
                idle = if self.link.outbox.is_idle() { idle + 1 } else { 0 };
                tokio::time::sleep(LINGER_LOOK).await;
            }
        } else {
            tokio::time::sleep(GUEST_FOR).await;
        }
        tracing::info!(peer = %self.link.peer.name, guest = !lingers, "closing a link that is not wanted");
        self.link.close("not wanted");
        // Until it is down.
        std::future::pending().await
    }
}
