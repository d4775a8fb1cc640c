mod config;
mod far;
mod processes;
mod strangers;

use bytes::Bytes;
use proptest::prelude::*;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{
    FRAME_BYTES_MAX, FrameBuilder, FrameHeader, FrameReader, Item, Kind, Lane, PROTOCOL_VERSION, SPOKEN, WireError,
};

use super::inbox::{Arrival, Fault, Inbox};
use super::outbox::{CREDIT_FRAMES, Outbox};
use super::*;

const OUTBOX_BYTES: usize = 1024 * 1024;
const WINDOW_BYTES: usize = 2 * FRAME_BYTES_MAX;
const SESSION: u64 = 7 << 32 | 1;

/// The two halves of a link without what is between them.
struct Pipe {
    outbox: Outbox,
    inbox: Inbox,
}

impl Pipe {
    fn new() -> Self {
        Pipe::with(Compression::Off)
    }

    fn with(compression: Compression) -> Self {
        let outbox = Outbox::new(OUTBOX_BYTES, WINDOW_BYTES, compression);
        outbox.open(SESSION, PROTOCOL_VERSION);
        Pipe {
            outbox,
            inbox: Inbox::speaking(SPOKEN),
        }
    }

    /// Moves one frame and returns its credit.
    fn step(&mut self) -> Option<Arrival> {
        let frame = self.outbox.next_frame()?.bytes;
        let arrival = self
            .inbox
            .accept(frame)
            .expect("a frame of ours")
            .expect("a frame of this session");
        self.outbox
            .credit(arrival.header.session, arrival.item_bytes as u32)
            .expect("what was sent");
        Some(arrival)
    }

    fn drain(&mut self) -> Vec<Envelope> {
        std::iter::from_fn(|| self.step())
            .flat_map(|arrival| arrival.envelopes)
            .collect()
    }

    fn lane(&self, lane: Lane) -> LaneStats {
        self.outbox.lane_stats()[lane.index()].clone()
    }
}

fn envelope(lane: Lane, correlation: u64, body_bytes: usize) -> Envelope {
    let kind = Kind::ALL
        .iter()
        .copied()
        .find(|kind| kind.lane() == lane)
        .expect("each lane has a kind");
    let body = Bytes::from(vec![correlation as u8; body_bytes]);
    Envelope {
        kind,
        hops: 0,
        from: NodeId(1),
        to: NodeId(2),
        correlation,
        epoch: 0,
        body,
    }
}

fn fill(outbox: &Outbox, lane: Lane, body_bytes: usize) -> u64 {
    (0..)
        .take_while(|number| outbox.send(lane, &envelope(lane, *number, body_bytes)).is_ok())
        .count() as u64
}

proptest! {
    #[test]
    fn each_lane_arrives_whole_and_in_order(
        sent in prop::collection::vec((prop::sample::select(&Lane::ALL[..]), 0..200usize, 0..20u8), 1..200),
        pauses in prop::collection::vec(any::<bool>(), 200),
    ) {
        let mut pipe = Pipe::new();
        let (mut taken, mut arrived) = (Vec::new(), Vec::new());
        for (number, ((lane, body_bytes, large), pause)) in sent.into_iter().zip(pauses).enumerate() {
            let body_bytes = if large == 0 { body_bytes * 2_000 } else { body_bytes };
            let envelope = envelope(lane, number as u64, body_bytes);
            if pipe.outbox.send(lane, &envelope).is_ok() {
                taken.push(envelope);
            }
            if pause {
                arrived.extend(pipe.step().into_iter().flat_map(|arrival| arrival.envelopes));
            }
        }
        arrived.extend(pipe.drain());
        for lane in Lane::ALL {
            let of_lane = |envelopes: &[Envelope]| -> Vec<Envelope> {
                envelopes.iter().filter(|envelope| envelope.kind.lane() == lane).cloned().collect()
            };
            prop_assert_eq!(of_lane(&taken), of_lane(&arrived));
            prop_assert_eq!(pipe.lane(lane).queued_bytes, 0);
        }
    }

    #[test]
    fn frames_of_random_bytes_never_panic(items in prop::collection::vec(any::<u8>(), 0..200), sequence in 0..3u32) {
        let header = FrameHeader { session: SESSION, sequence, ..FrameHeader::default() };
        let mut frame = FrameBuilder::with_capacity(0).finish(header);
        frame.extend_from_slice(&items);
        let mut inbox = Inbox::speaking(SPOKEN);
        let _ = inbox.accept(frame);
        let _ = inbox.accept(items);
    }
}

#[test]
fn a_full_signal_lane_refuses_signals_and_nothing_else() {
    let pipe = Pipe::new();
    let taken = fill(&pipe.outbox, Lane::Signal, 128);
    let signals = pipe.lane(Lane::Signal);
    assert_eq!((signals.sent, signals.refused), (taken, 1));
    assert!(signals.queued_bytes <= signals.queued_bytes_max, "{signals:?}");
    let busy = pipe
        .outbox
        .send(Lane::Signal, &envelope(Lane::Signal, 0, 128))
        .expect_err("full");
    let (bytes, limit) = (signals.queued_bytes as usize, signals.queued_bytes_max as usize);
    assert_eq!(
        busy,
        SendError::Busy {
            lane: Lane::Signal,
            bytes,
            limit
        }
    );
    for lane in [Lane::Urgent, Lane::Append, Lane::Command, Lane::Snapshot] {
        assert_eq!(pipe.outbox.send(lane, &envelope(lane, 0, 128)), Ok(()));
    }
}

#[tokio::test]
async fn a_sender_that_waits_goes_on_when_there_is_room_or_no_link() {
    let outbox = Arc::new(Pipe::new().outbox);
    fill(&outbox, Lane::Signal, 128);
    let waiting = |outbox: Arc<Outbox>| {
        tokio::spawn(async move { outbox.send_waiting(Lane::Signal, &envelope(Lane::Signal, 0, 128)).await })
    };
    let (first, second) = (waiting(outbox.clone()), waiting(outbox.clone()));
    tokio::task::yield_now().await;
    assert!(!first.is_finished() && !second.is_finished());
    outbox.next_frame().expect("a frame");
    assert_eq!(
        (first.await.expect("no panic"), second.await.expect("no panic")),
        (Ok(()), Ok(()))
    );
    fill(&outbox, Lane::Signal, 128);
    let third = waiting(outbox.clone());
    tokio::task::yield_now().await;
    outbox.close();
    assert_eq!(third.await.expect("no panic"), Err(SendError::Down));
}

#[test]
fn lanes_share_the_outbox_without_exceeding_it() {
    let pipe = Pipe::new();
    let limits: u64 = pipe.outbox.lane_stats().iter().map(|lane| lane.queued_bytes_max).sum();
    assert_eq!(limits, OUTBOX_BYTES as u64);
}

#[test]
fn an_envelope_larger_than_its_lane_travels_alone() {
    let mut pipe = Pipe::new();
    let large = envelope(Lane::Command, 1, OUTBOX_BYTES);
    assert_eq!(pipe.outbox.send(Lane::Command, &large), Ok(()));
    let small = envelope(Lane::Command, 2, 10);
    assert!(matches!(
        pipe.outbox.send(Lane::Command, &small),
        Err(SendError::Busy { .. })
    ));
    assert_eq!(pipe.drain(), [large]);
    assert_eq!(pipe.outbox.send(Lane::Command, &small), Ok(()));
    let huge = envelope(Lane::Command, 3, queenright_protocol::wire::ENVELOPE_BYTES_MAX);
    assert!(matches!(
        pipe.outbox.send(Lane::Command, &huge),
        Err(SendError::TooLarge { .. })
    ));
}

#[test]
fn an_urgent_envelope_leaves_with_the_next_frame() {
    let mut pipe = Pipe::new();
    fill(&pipe.outbox, Lane::Snapshot, 300_000);
    fill(&pipe.outbox, Lane::Signal, 128);
    pipe.step();
    let vote = envelope(Lane::Urgent, 1, 40);
    pipe.outbox.send(Lane::Urgent, &vote).expect("room");
    assert_eq!(pipe.step().expect("a frame").envelopes.first(), Some(&vote));
}

#[test]
fn a_flood_of_signals_does_not_stop_a_snapshot() {
    let mut pipe = Pipe::new();
    let chunk = envelope(Lane::Snapshot, 1, 200_000);
    pipe.outbox.send(Lane::Snapshot, &chunk).expect("room");
    for _ in 0..100 {
        fill(&pipe.outbox, Lane::Signal, 128);
        if pipe.step().is_some_and(|arrival| arrival.envelopes.contains(&chunk)) {
            return;
        }
    }
    panic!("no snapshot in 100 frames");
}

#[test]
fn without_credit_the_window_closes() {
    let pipe = Pipe::new();
    fill(&pipe.outbox, Lane::Signal, 128);
    let sent: usize = std::iter::from_fn(|| pipe.outbox.next_frame())
        .map(|frame| frame.bytes.len())
        .sum();
    assert!(
        (WINDOW_BYTES - FRAME_BYTES_MAX..=WINDOW_BYTES).contains(&sent),
        "{sent}"
    );

    // Small frames are bounded by number, so that envelopes gather instead of leaving one by one.
    let pipe = Pipe::new();
    let mut frames = 0;
    for number in 0..100 {
        pipe.outbox
            .send(Lane::Signal, &envelope(Lane::Signal, number, 10))
            .expect("room");
        frames += usize::from(pipe.outbox.next_frame().is_some());
    }
    assert_eq!(frames, 2 * CREDIT_FRAMES as usize);
}

#[test]
fn credit_returns_without_an_envelope_to_carry_it() {
    let pipe = Pipe::new();
    let peer_session = 9 << 32 | 1;
    for _ in 1..CREDIT_FRAMES {
        pipe.outbox.handled(peer_session, 100);
        assert_eq!(pipe.outbox.next_frame(), None);
    }
    pipe.outbox.handled(peer_session, 100);
    let frame = FrameReader::new(pipe.outbox.next_frame().expect("credit").bytes).expect("a frame");
    let expected = (100 * CREDIT_FRAMES, peer_session, 0);
    assert_eq!(
        (frame.header().credit, frame.header().credit_session, frame.item_bytes()),
        expected
    );
    assert_eq!(pipe.outbox.next_frame(), None, "credit is not answered with credit");
}

#[test]
fn a_question_for_the_round_trip_is_answered_with_the_next_frame() {
    let (near, far) = (Pipe::new().outbox, Pipe::new().outbox);
    let header = |outbox: &Outbox| {
        let frame = outbox.next_frame()?.bytes;
        Some(FrameReader::new(frame).expect("a frame").header())
    };
    assert_eq!((header(&near), near.round_trip()), (None, None));
    near.ask();
    let asked = header(&near).expect("a frame although nothing waits");
    assert_ne!(asked.probe, 0);
    near.ask();
    assert_eq!(header(&near), None, "one question at a time");
    far.asked(SESSION, asked.probe);
    let answer = header(&far).expect("a frame although nothing waits");
    assert_eq!((answer.echo, answer.credit_session), (asked.probe, SESSION));
    assert_eq!(header(&far), None, "it is answered once");
    near.answered(SESSION - 1, answer.echo);
    assert_eq!(near.round_trip(), None, "an earlier session's");
    near.answered(SESSION, answer.echo);
    assert_eq!(near.round_trip().map(|measured| measured.samples), Some(1));
    near.open(SESSION + 1, PROTOCOL_VERSION);
    assert_eq!(near.round_trip(), None, "what was measured belongs to its connection");
}

#[test]
fn a_closed_window_keeps_no_question_back() {
    let pipe = Pipe::new();
    fill(&pipe.outbox, Lane::Signal, 128);
    while pipe.outbox.next_frame().is_some() {}
    pipe.outbox.ask();
    let frame = pipe.outbox.next_frame().expect("a frame without items").bytes;
    let reader = FrameReader::new(frame).expect("a frame");
    assert_eq!((reader.header().probe, reader.item_bytes()), (1, 0));
}

#[test]
fn what_a_broken_link_had_is_lost_or_in_doubt() {
    let mut pipe = Pipe::new();
    let sent = fill(&pipe.outbox, Lane::Signal, 128);
    let received = pipe.step().expect("a frame").envelopes.len() as u64;
    pipe.outbox.next_frame().expect("a frame that nobody answers");
    pipe.outbox.close();
    let signals = pipe.lane(Lane::Signal);
    assert!(signals.in_doubt > 0 && signals.lost > 0, "{signals:?}");
    assert_eq!(signals.sent, sent);
    assert_eq!(sent, received + signals.in_doubt + signals.lost);
    assert_eq!(
        pipe.outbox.send(Lane::Signal, &envelope(Lane::Signal, 0, 1)),
        Err(SendError::Down)
    );
    assert_eq!(pipe.outbox.next_frame(), None);
}

#[test]
fn credit_of_an_older_session_is_ignored_and_too_much_of_this_one_refused() {
    let pipe = Pipe::new();
    pipe.outbox
        .send(Lane::Signal, &envelope(Lane::Signal, 0, 100))
        .expect("room");
    pipe.outbox.next_frame().expect("a frame");
    assert_eq!(pipe.outbox.credit(SESSION - 1, 1_000), Ok(()));
    assert!(pipe.outbox.credit(SESSION, 1_000).is_err());
}

#[test]
fn frames_of_an_older_connection_are_dropped() {
    let mut pipe = Pipe::new();
    let frame_of = |pipe: &mut Pipe, number| {
        pipe.outbox
            .send(Lane::Signal, &envelope(Lane::Signal, number, 10))
            .expect("room");
        pipe.outbox.next_frame().expect("a frame").bytes
    };
    let (first, late) = (frame_of(&mut pipe, 1), frame_of(&mut pipe, 2));
    pipe.outbox.open(SESSION + 1, PROTOCOL_VERSION);
    let fresh = frame_of(&mut pipe, 3);
    let mut accept = |frame: Vec<u8>| {
        pipe.inbox
            .accept(frame)
            .map(|arrival| arrival.map(|it| it.envelopes.len()))
    };
    assert!(matches!(accept(first), Ok(Some(1))));
    assert!(matches!(accept(fresh), Ok(Some(1))));
    assert!(matches!(accept(late), Ok(None)));
}

#[test]
fn a_missing_frame_is_a_fault_that_ends_the_session() {
    let mut pipe = Pipe::new();
    let frame_of = |pipe: &mut Pipe| {
        pipe.outbox
            .send(Lane::Signal, &envelope(Lane::Signal, 0, 10))
            .expect("room");
        pipe.outbox.next_frame().expect("a frame").bytes
    };
    let frames = [
        frame_of(&mut pipe),
        frame_of(&mut pipe),
        frame_of(&mut pipe),
        frame_of(&mut pipe),
    ];
    let [first, _missing, third, fourth] = frames;
    assert!(pipe.inbox.accept(first).is_ok());
    let fault = pipe.inbox.accept(third).expect_err("a gap");
    assert_eq!(
        fault.to_string(),
        "frame 2 of session 0x700000001, expected Some((30064771073, 1))"
    );
    assert!(
        matches!(pipe.inbox.accept(fourth), Ok(None)),
        "the rest of the session is dropped in silence"
    );

    // Another process, and then a new session of it.
    for session in [3 << 32 | 5, 3 << 32 | 6] {
        pipe.outbox.open(session, PROTOCOL_VERSION);
        let frame = frame_of(&mut pipe);
        assert!(matches!(pipe.inbox.accept(frame), Ok(Some(_))));
    }
}

#[test]
fn an_envelope_between_fragments_is_a_fault() {
    let large = envelope(Lane::Command, 1, 2 * FRAME_BYTES_MAX);
    let mut inbox = Inbox::speaking(SPOKEN);
    let mut accept = |sequence, push: &dyn Fn(&mut FrameBuilder)| {
        let mut frame = FrameBuilder::with_capacity(0);
        push(&mut frame);
        inbox.accept(frame.finish(FrameHeader {
            session: SESSION,
            sequence,
            ..FrameHeader::default()
        }))
    };
    let begun = accept(0, &|frame| {
        frame.push_fragment(Lane::Command, &large.encode_header(), &large.body, 0);
    });
    assert!(
        begun
            .expect("the first fragment")
            .expect("of this session")
            .envelopes
            .is_empty()
    );
    let other_lane = accept(1, &|frame| {
        frame.push(Lane::Signal, &envelope(Lane::Signal, 2, 10));
    });
    assert_eq!(
        other_lane
            .expect("another lane")
            .expect("of this session")
            .envelopes
            .len(),
        1
    );
    let same_lane = accept(2, &|frame| {
        frame.push(Lane::Command, &envelope(Lane::Command, 3, 10));
    });
    assert!(matches!(
        same_lane,
        Err(Fault::Wire(WireError::FragmentInterrupted { lane: Lane::Command }))
    ));
}

#[test]
fn large_bodies_leave_smaller_where_that_pays_and_arrive_as_they_were() {
    let mut pipe = Pipe::with(Compression::Lz4);
    let sent: Vec<Envelope> = [900, 5_000, 300_000]
        .into_iter()
        .map(|bytes| envelope(Lane::Command, 1, bytes))
        .collect();
    for envelope in &sent {
        pipe.outbox.send(Lane::Command, envelope).expect("room");
    }
    let (count, saved) = pipe.outbox.compressed();
    assert_eq!(count, 2, "the small one goes as it is");
    assert!(saved > 290_000, "{saved}");
    assert!(pipe.lane(Lane::Command).queued_bytes < 15_000);
    assert_eq!(pipe.drain(), sent);
    // Votes wait for nothing.
    pipe.outbox
        .send(Lane::Urgent, &envelope(Lane::Urgent, 1, 5_000))
        .expect("room");
    assert_eq!(pipe.outbox.compressed().0, 2);
}

#[test]
fn a_lane_of_what_does_not_shrink_is_seldom_tried() {
    let mut pipe = Pipe::with(Compression::Lz4);
    let noise = |seed: u64| {
        let words = (0..500u64).flat_map(|at| {
            let mut word = (at + seed * 1_000).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            (word ^ word >> 31).to_le_bytes()
        });
        Envelope {
            body: words.collect::<Vec<u8>>().into(),
            ..envelope(Lane::Command, seed, 0)
        }
    };
    for seed in 0..200 {
        pipe.outbox.send(Lane::Command, &noise(seed)).expect("room");
        assert_eq!(pipe.drain(), [noise(seed)]);
    }
    assert_eq!(pipe.outbox.compressed(), (0, 0));
    // One in 64 is still tried, and what pays ends that.
    let text = envelope(Lane::Command, 1, 5_000);
    let tried = (0..200).find(|_| {
        pipe.outbox.send(Lane::Command, &text).expect("room");
        pipe.drain();
        pipe.outbox.compressed().0 > 0
    });
    assert!(tried.is_some_and(|tried| (1..64).contains(&tried)), "{tried:?}");
    pipe.outbox.send(Lane::Command, &text).expect("room");
    assert_eq!(pipe.outbox.compressed().0, 2);
}

#[test]
fn an_outbox_does_not_look_into_what_it_carries() {
    let mut pipe = Pipe::new();
    let signal = Envelope {
        hops: 3,
        to: NodeId(99),
        ..envelope(Lane::Signal, 1, 10)
    };
    pipe.outbox.send(Lane::Urgent, &signal).expect("room");
    let frame = FrameReader::new(pipe.outbox.next_frame().expect("a frame").bytes).expect("a frame");
    let items: Vec<_> = frame.collect();
    assert_eq!(items, [Ok(Item::Envelope(Lane::Urgent, signal))]);
    assert!(pipe.drain().is_empty());
}
