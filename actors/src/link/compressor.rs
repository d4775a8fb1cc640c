//! Which envelopes of a link leave compressed: large ones, where it pays. What does not shrink by a tenth goes as it is, and
//! after it some of its lane go without being tried, twice as many each time; one that shrinks ends that.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use queenright_protocol::wire::{COMPRESSED_FROM_BYTES, ENVELOPE_BYTES_MAX, Envelope, Lane, compress};

use super::config::Compression;
use super::stats::{add, get};

/// So often the number of those that are not tried is doubled at most: one of 64 is tried whatever it is.
const DOUBLINGS_MAX: u32 = 6;

/// The compressor of one link. Shared by its senders, before any lock: counters alone, and a race between two of them costs a
/// trial.
#[derive(Debug)]
pub(super) struct Compressor {
    compression: Compression,
    lanes: [Trials; Lane::COUNT],
    envelopes: AtomicU64,
    saved_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Trials {
    /// How many are not to be tried.
    skip: AtomicU32,
    /// How many trials in a row saved too little.
    failed: AtomicU32,
}

impl Compressor {
    pub(super) fn new(compression: Compression) -> Compressor {
        Compressor {
            compression,
            lanes: Default::default(),
            envelopes: AtomicU64::new(0),
            saved_bytes: AtomicU64::new(0),
        }
    }

    /// The envelope with a compressed body, if it is to leave so.
    pub(super) fn shrink(&self, lane: Lane, envelope: &Envelope) -> Option<Envelope> {
        let bytes = envelope.body.len();
        // Votes and heartbeats wait for nothing; what is too large is refused as it is.
        let tried = self.compression == Compression::Lz4 && lane != Lane::Urgent;
        if !tried || bytes <= COMPRESSED_FROM_BYTES || bytes > ENVELOPE_BYTES_MAX {
            return None;
        }
        let trials = &self.lanes[lane.index()];
        let skip = trials.skip.load(Ordering::Relaxed);
        if skip > 0 {
            trials.skip.store(skip - 1, Ordering::Relaxed);
            return None;
        }
        let Some(body) = compress(&envelope.body) else {
            let failed = trials.failed.load(Ordering::Relaxed).min(DOUBLINGS_MAX - 1) + 1;
            trials.failed.store(failed, Ordering::Relaxed);
            trials.skip.store((1 << failed) - 1, Ordering::Relaxed);
            return None;
        };
        trials.failed.store(0, Ordering::Relaxed);
        add(&self.envelopes, 1);
        add(&self.saved_bytes, (bytes - body.len()) as u64);
        Some(Envelope {
            body,
            ..envelope.clone()
        })
    }

    /// How many envelopes left compressed, and how many bytes that saved.
    pub(super) fn counts(&self) -> (u64, u64) {
        (get(&self.envelopes), get(&self.saved_bytes))
    }
}
