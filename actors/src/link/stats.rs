//! What links count.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use queenright_protocol::wire::Lane;
use serde::Serialize;

use super::refusals::RefusedStats;
use super::round_trip::RoundTrip;
use crate::latency::Latency;

/// A snapshot of the counters of all links. Counters only grow, from the start of the process.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LinksStats {
    /// One per neighbour, by index.
    pub links: Vec<LinkStats>,
    /// Connections that were refused.
    pub refused: RefusedStats,
}

/// The counters of one link.
#[derive(Clone, Debug, Serialize)]
pub struct LinkStats {
    /// The name of the neighbour.
    pub peer: String,
    /// The index of the neighbour.
    pub index: u16,
    /// Whether it is linked now.
    pub up: bool,
    /// Whether the link is wanted here.
    pub wanted: bool,
    /// The version of frames that both ends speak, while it is up.
    pub version: Option<u8>,
    /// Why it could not be linked, since it was up last.
    pub problem: Option<String>,
    /// How long the other end takes to answer, on the connection that stands; nothing before its first answer.
    pub round_trip: Option<RoundTrip>,
    /// How long it took since the start, on whatever connection.
    pub round_trip_latency: Latency,
    /// How often the link has come up again after it was lost.
    pub reconnects: u64,
    /// Frames handed to ractor_cluster, credit alone included.
    pub frames_sent: u64,
    /// Their bytes.
    pub frame_bytes_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Their bytes.
    pub frame_bytes_received: u64,
    /// Frames of an older connection, dropped.
    pub frames_stale: u64,
    /// Frames that closed the link because they could not be understood.
    pub frames_malformed: u64,
    /// Envelopes of kinds that this build does not know, dropped.
    pub kinds_unknown: u64,
    /// Bytes under way to the neighbour and not yet handled there.
    pub in_flight_bytes: u64,
    /// Envelopes that left compressed.
    pub compressed: u64,
    /// By how many bytes that made them smaller.
    pub compressed_saved_bytes: u64,
    /// One per lane, by [`Lane::ALL`].
    pub lanes: Vec<LaneStats>,
}

/// How alive a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSign {
    /// The index of the neighbour.
    pub link: u16,
    /// Whether it is linked.
    pub up: bool,
    /// Whether it should be.
    pub wanted: bool,
    /// For how long nothing was read from it; `None` if there is no connection that is authenticated.
    pub silent: Option<Duration>,
}

/// The counters of one lane. What was sent is queued, under way, received by the neighbour, lost or in doubt.
#[derive(Clone, Debug, Serialize)]
pub struct LaneStats {
    /// The lane.
    pub lane: Lane,
    /// Envelopes taken into the outbox.
    pub sent: u64,
    /// Their encoded bytes.
    pub sent_bytes: u64,
    /// Envelopes received and handed on.
    pub received: u64,
    /// Their bodies' bytes.
    pub received_bytes: u64,
    /// Envelopes not taken: the lane was full, the link down, or the envelope too large.
    pub refused: u64,
    /// Envelopes dropped from the outbox when the link broke. The neighbour has not seen them.
    pub lost: u64,
    /// Envelopes under way when the link broke. The neighbour may have seen them.
    pub in_doubt: u64,
    /// Bytes that wait in the outbox now.
    pub queued_bytes: u64,
    /// Bytes that may wait there.
    pub queued_bytes_max: u64,
}

/// What the gateway counts. Added to once per frame, read by whoever asks.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) link_ups: AtomicU64,
    pub(super) frames: AtomicU64,
    pub(super) bytes: AtomicU64,
    pub(super) stale: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) kinds_unknown: AtomicU64,
    pub(super) envelopes: [AtomicU64; Lane::COUNT],
    pub(super) envelope_bytes: [AtomicU64; Lane::COUNT],
}

/// Counters publish no other data, so no order is needed.
pub(super) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

pub(super) fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

impl LaneStats {
    pub(super) fn new(lane: Lane) -> Self {
        LaneStats {
            lane,
            sent: 0,
            sent_bytes: 0,
            received: 0,
            received_bytes: 0,
            refused: 0,
            lost: 0,
            in_doubt: 0,
            queued_bytes: 0,
            queued_bytes_max: 0,
        }
    }
}
