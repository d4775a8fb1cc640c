//! The times of liveness. All follow from the heartbeat of consensus, so that one setting makes a cluster slow and
//! patient or quick.

use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use super::datagram::PAYLOAD_BYTES_MAX;

/// The shortest and the longest beat: a shorter one would suspect a thread that waits for its turn, a longer one would
/// find a dead node later than the leader does.
const BEAT: (Duration, Duration) = (Duration::from_millis(80), Duration::from_secs(1));
/// ractor_cluster pings each neighbour every 1 to 5 s, whatever the heartbeat: a link that is silent for longer than
/// this may be dead.
const LINK_SUSPECT: Duration = Duration::from_secs(6);
/// A link that is silent for as long is closed by its own watch.
const LINK_DOWN: Duration = Duration::from_secs(15);
/// How many members are asked to try in place of one that could not reach a third, and are told of changes in a beat.
const HELPERS: usize = 3;
/// How often a change is passed on by each member, each time to one that is drawn: one of 64 does not hear of it once in
/// a hundred thousand changes, at 5 % loss. It then finds out by itself, when it is its turn to probe.
const TRANSMISSIONS: u8 = 16;

/// The times of liveness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    beat: Duration,
}

impl Pace {
    /// The pace of a cluster whose leader sends a heartbeat as often as this: 200 ms a beat at the default of 250 ms.
    pub(crate) fn of(heartbeat: Duration) -> Pace {
        let beat = heartbeat * 4 / 5;
        Pace {
            beat: beat.clamp(BEAT.0, BEAT.1),
        }
    }

    /// In each beat one member is probed. What is to be passed on is passed on once.
    pub(super) fn beat(self) -> Duration {
        self.beat
    }

    /// How long a suspicion stays without effect. A member that is not dead has heard of it and has denied it by then.
    pub(super) fn confirm(self) -> Duration {
        self.beat * 5 / 2
    }

    /// After how long without a sign a member that SWIM knows nothing of is suspect, and down: 2 s and 5 s. The longer
    /// times are for one whose link is up, since a link may be silent for some seconds.
    pub(super) fn silence(self, linked: bool) -> (Duration, Duration) {
        let (suspect, down) = (self.beat * 10, self.beat * 25);
        match linked {
            true => (suspect.max(LINK_SUSPECT), down.max(LINK_DOWN)),
            false => (suspect, down),
        }
    }

    /// How often a member that SWIM does not take for active is called: 1 s.
    pub(super) fn announce(self) -> Duration {
        self.beat * 5
    }

    /// A timer that fires later than this after its time says that this process waits for its turn.
    pub(super) fn late(self) -> Duration {
        self.beat / 4
    }

    /// Later than this, the process did not run at all: time that it did not live through does not count.
    pub(super) fn asleep(self) -> Duration {
        self.beat
    }

    /// How long this process must have been in time until it trusts itself a step more: 2 s.
    pub(super) fn calm(self) -> Duration {
        self.beat * 10
    }

    /// How far back falls of a member are counted: 5 minutes.
    pub(super) fn window(self) -> Duration {
        self.beat * 1_500
    }

    /// How long a member must have been well that has fallen `falls` times within the window: nothing for the first
    /// three, then 5 s, doubled with each, a minute at most.
    pub(super) fn hold(self, falls: usize) -> Duration {
        const FREE: usize = 3;
        match falls.checked_sub(FREE + 1) {
            None => Duration::ZERO,
            Some(more) => (self.beat * 25 * (1 << more.min(8) as u32)).min(self.beat * 300),
        }
    }

    /// What foca is given: a member that does not answer for itself nor for others within a beat is suspect, and down
    /// 12 beats later (2.4 s), unless it denies that.
    pub(super) fn foca(self) -> foca::Config {
        let helpers = NonZeroUsize::new(HELPERS).expect("it is not 0");
        foca::Config {
            probe_period: self.beat,
            probe_rtt: self.beat * 2 / 5,
            num_indirect_probes: helpers,
            max_transmissions: NonZeroU8::new(TRANSMISSIONS).expect("it is not 0"),
            suspect_to_down_after: self.beat * 12,
            // A start or a renewal makes another identity, so none is ever to be forgotten.
            remove_down_after: None,
            max_packet_size: NonZeroUsize::new(PAYLOAD_BYTES_MAX).expect("it is not 0"),
            notify_down_members: true,
            // The members are known from consensus, and called by this module.
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(foca::PeriodicParams {
                frequency: self.beat,
                num_members: helpers,
            }),
        }
    }
}
