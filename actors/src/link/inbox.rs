//! The receiving half of a link: frames in, envelopes out.
//!
//! A gateway outlives connections, and frames of an older one may still wait in its mailbox when the next one is up.
//! So each sender draws a session for each connection: the upper half of its number is drawn once per process, the
//! lower half counts. Sequence 0 of a newer session opens it; frames of an older one are dropped; within a session no
//! frame may be missing. Anything else is a fault, which closes the connection; the next one opens a new session.

use bytes::Bytes;
use queenright_protocol::version::Versions;
use queenright_protocol::wire::{Envelope, FrameHeader, FrameReader, Item, Lane, Reassembler, WireError};

use super::outbox::CreditError;

/// Why a connection must be closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The bytes of a frame mean nothing.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A frame is missing, or the session was never opened.
    #[error("frame {sequence} of session {session:#x}, expected {expected:?}")]
    Sequence {
        session: u64,
        sequence: u32,
        expected: Option<(u64, u32)>,
    },
    /// More credit than bytes.
    #[error(transparent)]
    Credit(#[from] CreditError),
}

/// A frame that was understood.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) header: FrameHeader,
    /// Bytes of its items, to be returned as credit.
    pub(super) item_bytes: usize,
    /// What it completed, in order.
    pub(super) envelopes: Vec<Envelope>,
    /// Envelopes and bytes of bodies, by lane.
    pub(super) counts: [(u64, u64); Lane::COUNT],
    /// Envelopes of unknown kinds, dropped.
    pub(super) kinds_unknown: u64,
}

/// The state of the receiving half.
#[derive(Debug)]
pub(super) struct Inbox {
    /// The versions that may come: those of this build, since frames of a connection that has ended may still wait.
    speaks: Versions,
    /// The session of the peer, and the sequence of its next frame; none of it is valid after a fault.
    session: Option<(u64, Next)>,
    reassemblers: [Reassembler; Lane::COUNT],
    /// How many envelopes the last frame had: the room reserved for those of the next.
    envelopes_hint: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Sequence(u32),
    /// The session had a fault: what is left of it is dropped.
    Nothing,
}

/// A guess of the smallest item, so that a hint from one frame cannot reserve more than the next can hold.
const ITEM_BYTES_MIN: usize = 12;

impl Inbox {
    /// One that takes frames of these versions.
    pub(super) fn speaking(speaks: Versions) -> Inbox {
        Inbox {
            speaks,
            session: None,
            reassemblers: Default::default(),
            envelopes_hint: 0,
        }
    }

    /// Takes a frame. None if it belongs to an older connection, or to one that is being closed.
    pub(super) fn accept(&mut self, frame: Vec<u8>) -> Result<Option<Arrival>, Fault> {
        let accepted = self.read(Bytes::from(frame));
        if accepted.is_err()
            && let Some((_, next)) = &mut self.session
        {
            *next = Next::Nothing;
        }
        accepted
    }

    fn read(&mut self, frame: Bytes) -> Result<Option<Arrival>, Fault> {
        let reader = FrameReader::speaking(self.speaks, frame)?;
        let header = reader.header();
        if !self.admit(&header)? {
            return Ok(None);
        }
        let item_bytes = reader.item_bytes();
        let envelopes = Vec::with_capacity(self.envelopes_hint.min(item_bytes / ITEM_BYTES_MIN));
        let counts = [(0, 0); Lane::COUNT];
        let mut arrival = Arrival {
            header,
            item_bytes,
            envelopes,
            counts,
            kinds_unknown: 0,
        };
        for item in reader {
            match item {
                Ok(Item::Envelope(lane, _)) if self.reassemblers[lane.index()].is_pending() => {
                    return Err(WireError::FragmentInterrupted { lane }.into());
                }
                Ok(Item::Envelope(lane, envelope)) => arrival.push(lane, Ok(envelope))?,
                Ok(Item::Fragment(lane, fragment)) => {
                    if let Some(whole) = self.reassemblers[lane.index()].accept(&fragment).transpose() {
                        arrival.push(lane, whole)?;
                    }
                }
                Err(error) => arrival.refuse(error)?,
            }
        }
        self.envelopes_hint = arrival.envelopes.len();
        Ok(Some(arrival))
    }

    /// Whether the frame belongs to the present session, perhaps by opening it.
    fn admit(&mut self, header: &FrameHeader) -> Result<bool, Fault> {
        let FrameHeader { session, sequence, .. } = *header;
        match &mut self.session {
            Some((current, Next::Sequence(next))) if *current == session && *next == sequence => {
                *next = next.wrapping_add(1);
                Ok(true)
            }
            Some((current, Next::Nothing)) if *current == session => Ok(false),
            Some((current, _)) if is_older(session, *current) => Ok(false),
            current if sequence == 0 && current.is_none_or(|(current, _)| current != session) => {
                *current = Some((session, Next::Sequence(1)));
                self.reassemblers.iter_mut().for_each(Reassembler::reset);
                Ok(true)
            }
            current => {
                let expected = current.map(|(session, next)| match next {
                    Next::Sequence(next) => (session, next),
                    Next::Nothing => (session, 0),
                });
                Err(Fault::Sequence {
                    session,
                    sequence,
                    expected,
                })
            }
        }
    }
}

impl Arrival {
    fn push(&mut self, lane: Lane, envelope: Result<Envelope, WireError>) -> Result<(), WireError> {
        match envelope {
            Ok(envelope) => {
                let (count, bytes) = &mut self.counts[lane.index()];
                *count += 1;
                *bytes += envelope.body.len() as u64;
                self.envelopes.push(envelope);
                Ok(())
            }
            Err(error) => self.refuse(error),
        }
    }

    fn refuse(&mut self, error: WireError) -> Result<(), WireError> {
        if error.is_fatal() {
            return Err(error);
        }
        self.kinds_unknown += 1;
        Ok(())
    }
}

/// Whether one session of a process came before another of the same process.
fn is_older(session: u64, current: u64) -> bool {
    session >> 32 == current >> 32 && session < current
}
