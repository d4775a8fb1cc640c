//! What waits on one lane of an outbox.

use std::collections::VecDeque;

use bytes::Bytes;
use queenright_protocol::wire::{
    ENVELOPE_HEADER_BYTES_MAX, Envelope, FRAGMENT_PREFIX_BYTES, FRAME_BYTES_MAX, FRAME_HEADER_BYTES, Form,
    FrameBuilder, ITEM_PREFIX_BYTES, Lane,
};

/// The first buffer of a lane that was empty. Small, since most lanes carry one message at a time; a lane under load
/// starts its next buffer with the size that the last one reached.
const CHUNK_BYTES_MIN: usize = 512;

/// A bounded queue of encoded envelopes. Envelopes that share a frame are encoded into one buffer, which leaves as the
/// frame itself; the bytes are not copied again.
#[derive(Debug)]
pub(super) struct LaneQueue {
    lane: Lane,
    limit: usize,
    bytes: usize,
    chunks: VecDeque<Chunk>,
    chunk_bytes: usize,
}

#[derive(Debug)]
enum Chunk {
    /// Envelopes that fit a frame together.
    Packed { frame: FrameBuilder, envelopes: u32 },
    /// An envelope larger than a frame: its form, its header, its body, and how much of both has left.
    Large {
        form: Form,
        head: Vec<u8>,
        body: Bytes,
        taken: usize,
    },
}

/// A frame in the making and how many envelopes of each lane end in it.
#[derive(Debug, Default)]
pub(super) struct Packing {
    pub(super) frame: Option<FrameBuilder>,
    pub(super) envelopes: [u32; Lane::COUNT],
}

impl LaneQueue {
    pub(super) fn new(lane: Lane, limit: usize) -> Self {
        LaneQueue {
            lane,
            limit,
            bytes: 0,
            chunks: VecDeque::new(),
            chunk_bytes: CHUNK_BYTES_MIN,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Whether an envelope with a body of so many bytes would be taken.
    pub(super) fn has_room(&self, body_bytes: usize) -> bool {
        let most = ITEM_PREFIX_BYTES + ENVELOPE_HEADER_BYTES_MAX + body_bytes;
        self.bytes + most <= self.limit || self.is_empty()
    }

    /// Encodes the envelope at the end of the queue. Returns its bytes, or none if the lane is full. An empty lane
    /// takes an envelope of any size, or those larger than the limit could never travel.
    pub(super) fn push(&mut self, form: Form, envelope: &Envelope) -> Option<usize> {
        if !self.has_room(envelope.body.len()) {
            return None;
        }
        let taken = self.push_packed(form, envelope).unwrap_or_else(|| {
            let head = envelope.encode_header();
            let bytes = ITEM_PREFIX_BYTES + head.len() + envelope.body.len();
            self.chunks.push_back(Chunk::Large {
                form,
                head,
                body: envelope.body.clone(),
                taken: 0,
            });
            bytes
        });
        self.bytes += taken;
        Some(taken)
    }

    fn push_packed(&mut self, form: Form, envelope: &Envelope) -> Option<usize> {
        if let Some(Chunk::Packed { frame, envelopes }) = self.chunks.back_mut() {
            if let Some(taken) = frame.push_as(form, self.lane, envelope) {
                *envelopes += 1;
                return Some(taken);
            }
            self.chunk_bytes = FRAME_BYTES_MAX - FRAME_HEADER_BYTES;
        }
        let mut frame = FrameBuilder::with_capacity(self.chunk_bytes);
        let taken = frame.push_as(form, self.lane, envelope)?;
        self.chunks.push_back(Chunk::Packed { frame, envelopes: 1 });
        Some(taken)
    }

    /// Moves what fits into the frame, in order.
    pub(super) fn fill(&mut self, packing: &mut Packing) {
        while let Some(chunk) = self.chunks.front_mut() {
            match chunk {
                Chunk::Packed { frame, envelopes } => {
                    let taken = frame.item_bytes();
                    match &mut packing.frame {
                        Some(whole) => {
                            if !whole.append(frame) {
                                return;
                            }
                        }
                        none => *none = Some(std::mem::replace(frame, FrameBuilder::with_capacity(0))),
                    }
                    packing.envelopes[self.lane.index()] += *envelopes;
                    self.bytes -= taken;
                    self.chunk_bytes = taken.next_power_of_two().clamp(CHUNK_BYTES_MIN, FRAME_BYTES_MAX);
                }
                Chunk::Large {
                    form,
                    head,
                    body,
                    taken,
                } => {
                    let frame = packing.frame.get_or_insert_with(|| {
                        let rest = head.len() + body.len() - *taken + ITEM_PREFIX_BYTES + FRAGMENT_PREFIX_BYTES;
                        FrameBuilder::with_capacity(rest.min(FRAME_BYTES_MAX - FRAME_HEADER_BYTES))
                    });
                    let bytes = frame.push_fragment_as(*form, self.lane, (&head[..], &body[..]), *taken);
                    *taken += bytes;
                    self.bytes -= bytes;
                    if *taken < head.len() + body.len() {
                        return;
                    }
                    self.bytes -= ITEM_PREFIX_BYTES;
                    packing.envelopes[self.lane.index()] += 1;
                }
            }
            self.chunks.pop_front();
        }
    }

    /// Drops everything. Returns how many envelopes that were.
    pub(super) fn clear(&mut self) -> u64 {
        self.bytes = 0;
        let count = |chunk: Chunk| match chunk {
            Chunk::Packed { envelopes, .. } => u64::from(envelopes),
            Chunk::Large { .. } => 1,
        };
        self.chunks.drain(..).map(count).sum()
    }
}
