//! The sending half of a link: bounded lanes, packed into frames by priority, within the credit of the neighbour.
//!
//! Shared between the senders, the drain task that takes the frames, and the gateway that reports credit.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use queenright_protocol::wire::{
    ENVELOPE_BYTES_MAX, ENVELOPE_HEADER_BYTES_MAX, Envelope, FRAME_BYTES_MAX, Form, FrameBuilder, FrameHeader, Lane,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::compressor::Compressor;
use super::config::Compression;
use super::lane_queue::{LaneQueue, Packing};
use super::round_trip::{RoundTrip, RoundTrips};
use super::stats::LaneStats;
use crate::latency::{Latency, Meter};

/// Bytes of handled items after which credit is sent even if no envelope carries it. Both ends rely on it: with
/// less than this left unreturned a window of two frames is never stuck.
pub(super) const CREDIT_BYTES: u32 = 32 * 1024;

/// Handled frames after which credit is sent even if no envelope carries it.
pub(super) const CREDIT_FRAMES: u32 = 2;

/// Frames under way at most, however small. Without this bound a drain faster than the hops below it cuts the stream
/// into frames of a few envelopes, and the cost of a frame is that of some hundred envelopes. Twice
/// [`CREDIT_FRAMES`], so that credit is on its way before the sender runs dry.
const FRAMES_IN_FLIGHT_MAX: usize = 2 * CREDIT_FRAMES as usize;

/// One frame in so many lets the last waiting lane go first behind the urgent one, so that a flood of signals delays a
/// snapshot but does not stop it.
const FRAMES_PER_FAVOUR: u32 = 8;

/// The share of each lane in the outbox, in sixteenths, by [`Lane::ALL`].
const SHARES: [usize; Lane::COUNT] = [1, 4, 4, 5, 2];

/// Why an envelope was not taken. The outbox is unchanged, and the envelope is counted as refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The lane is full. Drop the envelope, or use [`Outbox::send_waiting`].
    #[error("lane {lane} is full: {bytes} B of {limit} B")]
    Busy {
        /// The lane.
        lane: Lane,
        /// What waits on it.
        bytes: usize,
        /// What may wait on it.
        limit: usize,
    },
    /// The neighbour is not linked now.
    #[error("the link is down")]
    Down,
    /// The envelope may not travel at all.
    #[error("envelope of {bytes} B exceeds the limit of {limit} B")]
    TooLarge {
        /// Its size when encoded.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// The neighbour returned more credit than it was given bytes: the two ends disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("credit of {returned} B for {in_flight} B in flight")]
pub(super) struct CreditError {
    returned: u32,
    in_flight: usize,
}

/// A frame, and the session that it belongs to: on another connection it would only be taken for a fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) session: u64,
    pub(super) bytes: Vec<u8>,
}

/// The sending half of a link. Cheap to share; made by [`super::Links`].
#[derive(Debug)]
pub struct Outbox {
    /// A mutex and not a channel or an actor: senders on all threads encode in place, which takes some tens of
    /// nanoseconds, and the bound, the bytes and the wake-up of the drain must change together. Never held over an
    /// await or a call out of this file.
    state: Mutex<State>,
    /// What the state says of being up, for those who choose among links: without the lock, for each envelope.
    up: AtomicBool,
    compressor: Compressor,
    /// Tells the drain task that there may be a frame.
    wake: Notify,
    /// Tells senders that wait for room.
    room: Notify,
}

#[derive(Debug)]
struct State {
    up: bool,
    session: u64,
    /// The version of the frames.
    version: u8,
    sequence: u32,
    lanes: [LaneQueue; Lane::COUNT],
    window_bytes: usize,
    in_flight_bytes: usize,
    in_flight: VecDeque<Flight>,
    /// The session of the peer whose frames `credit_bytes` and `credit_frames` count.
    credit_session: u64,
    credit_bytes: u32,
    credit_frames: u32,
    drain: Drain,
    frames_until_favour: u32,
    room_wanted: bool,
    /// The next frame asks for the round trip.
    asks: bool,
    round_trips: RoundTrips,
    /// How long all round trips took, of whatever connection.
    round_trip_meter: Meter,
    /// The question of the peer that the next frame answers; 0 for none.
    echo: u32,
    counters: [LaneStats; Lane::COUNT],
    frames_sent: u64,
    bytes_sent: u64,
}

/// A frame on its way.
#[derive(Debug)]
struct Flight {
    bytes: u32,
    envelopes: [u32; Lane::COUNT],
}

/// What the drain task is doing, so that a sender wakes it only if that helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    /// It found nothing to send.
    Idle,
    /// It has been woken or is taking frames.
    Running,
    /// It waits for credit.
    Waiting,
}

impl Outbox {
    pub(super) fn new(outbox_bytes: usize, window_bytes: usize, compression: Compression) -> Self {
        let state = State {
            up: false,
            session: 0,
            version: 0,
            sequence: 0,
            lanes: Lane::ALL.map(|lane| LaneQueue::new(lane, outbox_bytes / 16 * SHARES[lane.index()])),
            window_bytes,
            in_flight_bytes: 0,
            in_flight: VecDeque::new(),
            credit_session: 0,
            credit_bytes: 0,
            credit_frames: 0,
            drain: Drain::Idle,
            frames_until_favour: FRAMES_PER_FAVOUR,
            room_wanted: false,
            asks: false,
            round_trips: RoundTrips::default(),
            round_trip_meter: Meter::default(),
            echo: 0,
            counters: Lane::ALL.map(LaneStats::new),
            frames_sent: 0,
            bytes_sent: 0,
        };
        Outbox {
            state: Mutex::new(state),
            up: AtomicBool::new(false),
            compressor: Compressor::new(compression),
            wake: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Takes an envelope for the neighbour: encoded at once, sent as soon as the lanes before it and the credit allow.
    /// Never waits. Taken means at most once: what is queued or under way when the link breaks is gone.
    ///
    /// # Errors
    /// [`SendError`] if the lane is full, the link is down, or the envelope is too large for any link.
    pub fn send(&self, lane: Lane, envelope: &Envelope) -> Result<(), SendError> {
        let smaller = self.smaller(lane, envelope);
        let (form, envelope) = in_form(&smaller, envelope);
        let mut state = self.lock();
        let taken = state.take(form, lane, envelope);
        if taken.is_err() {
            state.counters[lane.index()].refused += 1;
        }
        let wake = taken.is_ok() && state.drain == Drain::Idle;
        self.wake(state, wake);
        taken
    }

    /// Like [`Outbox::send`], but waits while the lane is full. Nothing was sent if the future is dropped. Waiting
    /// senders take their chances when there is room; none of them has a place in line.
    ///
    /// # Errors
    /// [`SendError::Down`] or [`SendError::TooLarge`].
    pub async fn send_waiting(&self, lane: Lane, envelope: &Envelope) -> Result<(), SendError> {
        let smaller = self.smaller(lane, envelope);
        let (form, envelope) = in_form(&smaller, envelope);
        loop {
            let mut room = pin!(self.room.notified());
            {
                let mut state = self.lock();
                let taken = state.take(form, lane, envelope);
                if !matches!(taken, Err(SendError::Busy { .. })) {
                    if taken.is_err() {
                        state.counters[lane.index()].refused += 1;
                    }
                    let wake = taken.is_ok() && state.drain == Drain::Idle;
                    self.wake(state, wake);
                    return taken;
                }
                state.room_wanted = true;
                // Under the lock: the frame that makes room cannot be taken before this waiter is known.
                room.as_mut().enable();
            }
            room.await;
        }
    }

    /// The envelope with a compressed body, if it leaves so. Before the lock is taken: it costs more than all else.
    fn smaller(&self, lane: Lane, envelope: &Envelope) -> Option<Envelope> {
        self.is_up().then(|| self.compressor.shrink(lane, envelope)).flatten()
    }

    /// How many envelopes left compressed, and how many bytes that saved.
    pub(super) fn compressed(&self) -> (u64, u64) {
        self.compressor.counts()
    }

    /// Whether the neighbour is linked now.
    pub fn is_up(&self) -> bool {
        // It publishes nothing else, and sending looks under the lock.
        self.up.load(Ordering::Relaxed)
    }

    /// Whether a lane would take a body of so many bytes now. True of a link that is down, which refuses for that.
    pub fn has_room(&self, lane: Lane, body_bytes: usize) -> bool {
        let state = self.lock();
        !state.up || state.lanes[lane.index()].has_room(body_bytes)
    }

    /// Whether nothing waits here, and no more is under way than what the neighbour may have handled without saying so.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.lock();
        let unsaid = state.in_flight.len() < CREDIT_FRAMES as usize && state.in_flight_bytes < CREDIT_BYTES as usize;
        unsaid && state.lanes.iter().all(LaneQueue::is_empty)
    }

    /// Begins a session on a new connection, with frames of this version.
    pub(super) fn open(&self, session: u64, version: u8) {
        let mut state = self.lock();
        state.reset();
        state.up = true;
        self.up.store(true, Ordering::Relaxed);
        (state.session, state.version) = (session, version);
        drop(state);
        self.room.notify_waiters();
    }

    /// Ends the session: what is queued is lost, what is under way is in doubt.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.reset();
        state.up = false;
        self.up.store(false, Ordering::Relaxed);
        drop(state);
        self.room.notify_waiters();
    }

    /// Waits until there may be a frame to take.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// The next frame, if there is one and the neighbour can take it. Only the drain task may call this, since frames
    /// must leave in the order in which they are numbered.
    pub(super) fn next_frame(&self) -> Option<Outgoing> {
        let mut state = self.lock();
        let frame = state.next_frame().map(|bytes| Outgoing {
            session: state.session,
            bytes,
        });
        let room = state.room_wanted && frame.is_some();
        state.room_wanted &= !room;
        drop(state);
        if room {
            self.room.notify_waiters();
        }
        frame
    }

    /// Credit came back with a frame.
    pub(super) fn credit(&self, session: u64, bytes: u32) -> Result<(), CreditError> {
        let mut state = self.lock();
        state.credit(session, bytes)?;
        let wake = state.drain == Drain::Waiting && state.window_is_open();
        self.wake(state, wake);
        Ok(())
    }

    /// A frame of the peer's session was handled; its bytes go back as credit.
    pub(super) fn handled(&self, peer_session: u64, item_bytes: usize) {
        if item_bytes == 0 {
            return;
        }
        let mut state = self.lock();
        state.credits(peer_session);
        state.credit_bytes = state.credit_bytes.saturating_add(item_bytes as u32);
        state.credit_frames = state.credit_frames.saturating_add(1);
        let wake = state.up && state.drain != Drain::Running && state.owes_credit();
        self.wake(state, wake);
    }

    /// Asks the other end for an answer, unless it owes one.
    pub(super) fn ask(&self) {
        let mut state = self.lock();
        state.asks |= state.up && !state.round_trips.is_waiting();
        let wake = state.asks && state.drain != Drain::Running;
        self.wake(state, wake);
    }

    /// The peer has asked in its session: the next frame answers.
    pub(super) fn asked(&self, peer_session: u64, number: u32) {
        let mut state = self.lock();
        state.credits(peer_session);
        state.echo = number;
        let wake = state.up && state.drain != Drain::Running;
        self.wake(state, wake);
    }

    /// The peer has answered a question of this session.
    pub(super) fn answered(&self, session: u64, number: u32) {
        let now = Instant::now();
        let mut state = self.lock();
        if state.up && session == state.session {
            let took = state.round_trips.answered(number, now);
            took.into_iter().for_each(|took| state.round_trip_meter.note(took));
        }
    }

    /// How long the other end took to answer.
    pub(super) fn round_trip(&self) -> Option<RoundTrip> {
        self.lock().round_trips.measured()
    }

    /// How long all of them took, of whatever connection.
    pub(super) fn round_trip_latency(&self) -> Latency {
        self.lock().round_trip_meter.latency()
    }

    pub(super) fn lane_stats(&self) -> [LaneStats; Lane::COUNT] {
        let state = self.lock();
        let mut stats = state.counters.clone();
        for (lane, queue) in stats.iter_mut().zip(&state.lanes) {
            lane.queued_bytes = queue.bytes() as u64;
            lane.queued_bytes_max = queue.limit() as u64;
        }
        stats
    }

    /// Frames and bytes sent, and bytes of items under way.
    pub(super) fn frame_stats(&self) -> (u64, u64, u64) {
        let state = self.lock();
        (state.frames_sent, state.bytes_sent, state.in_flight_bytes as u64)
    }

    fn wake(&self, mut state: MutexGuard<'_, State>, wake: bool) {
        if wake {
            state.drain = Drain::Running;
        }
        drop(state);
        if wake {
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under this lock can leave the state half changed by panicking, so a poisoned one is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What leaves: the smaller envelope where there is one.
fn in_form<'a>(smaller: &'a Option<Envelope>, envelope: &'a Envelope) -> (Form, &'a Envelope) {
    match smaller {
        Some(smaller) => (Form::Compressed, smaller),
        None => (Form::Plain, envelope),
    }
}

impl State {
    fn take(&mut self, form: Form, lane: Lane, envelope: &Envelope) -> Result<(), SendError> {
        // The longest header instead of the real one: the difference does not matter here, encoding it twice does.
        let bytes = ENVELOPE_HEADER_BYTES_MAX + envelope.body.len();
        if !self.up {
            return Err(SendError::Down);
        }
        if bytes > ENVELOPE_BYTES_MAX {
            return Err(SendError::TooLarge {
                bytes,
                limit: ENVELOPE_BYTES_MAX,
            });
        }
        let queue = &mut self.lanes[lane.index()];
        let Some(bytes) = queue.push(form, envelope) else {
            return Err(SendError::Busy {
                lane,
                bytes: queue.bytes(),
                limit: queue.limit(),
            });
        };
        let counters = &mut self.counters[lane.index()];
        counters.sent += 1;
        counters.sent_bytes += bytes as u64;
        Ok(())
    }

    fn reset(&mut self) {
        for (queue, counters) in self.lanes.iter_mut().zip(&mut self.counters) {
            counters.lost += queue.clear();
        }
        for flight in self.in_flight.drain(..) {
            for (counters, envelopes) in self.counters.iter_mut().zip(flight.envelopes) {
                counters.in_doubt += u64::from(envelopes);
            }
        }
        self.in_flight_bytes = 0;
        self.sequence = 0;
        (self.asks, self.echo) = (false, 0);
        self.round_trips = RoundTrips::default();
        self.drain = Drain::Idle;
    }

    fn window_is_open(&self) -> bool {
        let frames = self.in_flight.len() < FRAMES_IN_FLIGHT_MAX;
        frames && self.in_flight_bytes + FRAME_BYTES_MAX <= self.window_bytes
    }

    /// What goes back from now on belongs to this session of the peer.
    fn credits(&mut self, peer_session: u64) {
        if self.credit_session != peer_session {
            self.credit_session = peer_session;
            self.credit_bytes = 0;
            self.credit_frames = 0;
            self.echo = 0;
        }
    }

    fn owes_credit(&self) -> bool {
        self.credit_bytes >= CREDIT_BYTES || self.credit_frames >= CREDIT_FRAMES
    }

    fn next_frame(&mut self) -> Option<Vec<u8>> {
        if !self.up {
            self.drain = Drain::Idle;
            return None;
        }
        let open = self.window_is_open();
        let packing = if open { self.pack() } else { Packing::default() };
        let frame = match packing.frame {
            Some(frame) => {
                let bytes = frame.item_bytes() as u32;
                self.in_flight_bytes += bytes as usize;
                self.in_flight.push_back(Flight {
                    bytes,
                    envelopes: packing.envelopes,
                });
                frame
            }
            None if self.owes_credit() || self.asks || self.echo != 0 => FrameBuilder::with_capacity(0),
            None => {
                self.drain = if open { Drain::Idle } else { Drain::Waiting };
                return None;
            }
        };
        let header = FrameHeader {
            version: self.version,
            credit: std::mem::take(&mut self.credit_bytes),
            session: self.session,
            credit_session: self.credit_session,
            sequence: self.sequence,
            probe: match std::mem::take(&mut self.asks) {
                true => self.round_trips.ask(Instant::now()),
                false => 0,
            },
            echo: std::mem::take(&mut self.echo),
        };
        self.credit_frames = 0;
        self.sequence = self.sequence.wrapping_add(1);
        let frame = frame.finish(header);
        self.frames_sent += 1;
        self.bytes_sent += frame.len() as u64;
        Some(frame)
    }

    /// Packs a frame: lane by lane in their order, but every so often the last waiting lane right behind the first.
    fn pack(&mut self) -> Packing {
        let mut packing = Packing::default();
        self.lanes[Lane::Urgent.index()].fill(&mut packing);
        self.frames_until_favour -= 1;
        if self.frames_until_favour == 0 {
            self.frames_until_favour = FRAMES_PER_FAVOUR;
            if let Some(last) = self.lanes.iter_mut().rev().find(|queue| !queue.is_empty()) {
                last.fill(&mut packing);
            }
        }
        for queue in &mut self.lanes {
            queue.fill(&mut packing);
        }
        packing
    }

    fn credit(&mut self, session: u64, bytes: u32) -> Result<(), CreditError> {
        if session != self.session || !self.up {
            // Credit for an earlier session, whose bytes were written off when it ended.
            return Ok(());
        }
        let in_flight = self.in_flight_bytes;
        self.in_flight_bytes = in_flight.checked_sub(bytes as usize).ok_or(CreditError {
            returned: bytes,
            in_flight,
        })?;
        // Credit is returned for whole frames, in order, so the front ones are those that were handled.
        let mut left = bytes;
        while let Some(flight) = self.in_flight.front()
            && flight.bytes <= left
        {
            left -= flight.bytes;
            self.in_flight.pop_front();
        }
        Ok(())
    }
}
