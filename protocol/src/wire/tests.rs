use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::id::NodeId;

fn envelope(kind: Kind, correlation: u64, body: Vec<u8>) -> Envelope {
    Envelope {
        kind,
        hops: 0,
        from: NodeId(1),
        to: NodeId(2),
        correlation,
        epoch: 0,
        body: Bytes::from(body),
    }
}

fn encode(envelope: &Envelope) -> Bytes {
    let mut out = Vec::new();
    envelope.encode_into(&mut out);
    assert_eq!(out.len(), envelope.encoded_bytes());
    Bytes::from(out)
}

fn header() -> FrameHeader {
    FrameHeader {
        credit: 7,
        session: 0x0102_0304_0506_0708,
        credit_session: 9,
        sequence: 3,
    }
}

/// The frames that carry `envelope` in fragments, read back and put together.
fn through_fragments(envelope: &Envelope) -> Result<(usize, Envelope), WireError> {
    let head = envelope.encode_header();
    let (mut offset, mut frames, mut reassembler) = (0, 0, Reassembler::default());
    loop {
        let mut frame = FrameBuilder::with_capacity(FRAME_BYTES_MAX);
        offset += frame.push_fragment(Lane::Snapshot, &head, &envelope.body, offset);
        frames += 1;
        for item in FrameReader::new(frame.finish(header()))? {
            let Item::Fragment(lane, fragment) = item? else {
                panic!("only fragments were pushed")
            };
            assert_eq!(lane, Lane::Snapshot);
            if let Some(whole) = reassembler.accept(&fragment)? {
                assert!(!reassembler.is_pending());
                return Ok((frames, Envelope::decode(&whole)?));
            }
        }
    }
}

fn arbitrary_envelope() -> impl Strategy<Value = Envelope> {
    let kind = prop::sample::select(Kind::ALL);
    let number = || prop_oneof![Just(0), 0..=0xffu64, any::<u64>()];
    let body = prop::collection::vec(any::<u8>(), 0..2_000);
    let numbers = (number(), number(), number(), number());
    (kind, any::<u8>(), numbers, body).prop_map(|(kind, hops, (from, to, correlation, epoch), body)| Envelope {
        kind,
        hops,
        from: NodeId(from),
        to: NodeId(to),
        correlation,
        epoch,
        body: Bytes::from(body),
    })
}

fn arbitrary_lane() -> impl Strategy<Value = Lane> {
    prop::sample::select(&Lane::ALL[..])
}

/// Everything a receiver does with a frame; the property is that it returns.
fn receive(frame: Vec<u8>) {
    let Ok(reader) = FrameReader::new(frame) else { return };
    let mut reassemblers: [Reassembler; Lane::COUNT] = Default::default();
    for item in reader {
        if let Ok(Item::Fragment(lane, fragment)) = item
            && let Ok(Some(whole)) = reassemblers[lane.index()].accept(&fragment)
        {
            let _ = Envelope::decode(&whole);
        }
    }
}

proptest! {
    #[test]
    fn an_envelope_survives_encoding(envelope in arbitrary_envelope()) {
        let bytes = encode(&envelope);
        prop_assert_eq!(Envelope::decode(&bytes), Ok(envelope.clone()));
        let header = EnvelopeHeader::peek(&bytes).expect("what decodes has a header");
        prop_assert_eq!((header.hops, header.from, header.to), (envelope.hops, envelope.from, envelope.to));
    }

    #[test]
    fn an_envelope_is_plain_msgpack(envelope in arbitrary_envelope()) {
        type Plain = (u8, u8, u64, u64, u64, u64, serde_bytes::ByteBuf);
        let plain: Plain = rmp_serde::from_slice(&encode(&envelope)).expect("msgpack");
        prop_assert_eq!(plain.0, envelope.kind as u8);
        prop_assert_eq!((plain.1, plain.2, plain.3, plain.4, plain.5),
            (envelope.hops, envelope.from.0, envelope.to.0, envelope.correlation, envelope.epoch));
        prop_assert_eq!(&plain.6[..], &envelope.body[..]);
        prop_assert_eq!(Bytes::from(rmp_serde::to_vec(&plain).expect("msgpack")), encode(&envelope));
    }

    #[test]
    fn a_frame_gives_back_what_was_pushed_in_order(
        envelopes in prop::collection::vec((arbitrary_lane(), arbitrary_envelope()), 0..60),
    ) {
        let mut frame = FrameBuilder::with_capacity(0);
        let mut pushed = Vec::new();
        for (lane, envelope) in envelopes {
            let before = frame.item_bytes();
            match frame.push(lane, &envelope) {
                Some(bytes) => {
                    prop_assert_eq!(frame.item_bytes(), before + bytes);
                    pushed.push(Ok(Item::Envelope(lane, envelope)));
                }
                None => prop_assert!(ITEM_PREFIX_BYTES + envelope.encoded_bytes() > frame.room()),
            }
        }
        let frame = frame.finish(header());
        prop_assert!(frame.len() <= FRAME_BYTES_MAX);
        let reader = FrameReader::new(frame).expect("own frame");
        prop_assert_eq!(reader.header(), header());
        prop_assert_eq!(reader.collect::<Vec<_>>(), pushed);
    }

    #[test]
    fn a_mutated_frame_never_panics(
        envelopes in prop::collection::vec((arbitrary_lane(), arbitrary_envelope()), 1..8),
        fragment in arbitrary_envelope(),
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut frame = FrameBuilder::with_capacity(0);
        for (lane, envelope) in &envelopes {
            frame.push(*lane, envelope);
        }
        frame.push_fragment(Lane::Append, &fragment.encode_header(), &fragment.body, 0);
        let mut frame = frame.finish(header());
        for (at, value) in mutations {
            let at = at.index(frame.len());
            frame[at] = value;
        }
        receive(frame.clone());
        frame.truncate(cut.index(frame.len() + 1));
        receive(frame);
    }

    #[test]
    fn random_items_never_panic(items in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut frame = FrameBuilder::with_capacity(0).finish(header());
        frame.extend_from_slice(&items);
        receive(frame);
        receive(items.clone());
        let _ = Envelope::decode(&Bytes::from(items));
    }
}

#[test]
fn a_large_envelope_travels_in_fragments() {
    for body_bytes in [FRAME_BYTES_MAX, 5 * FRAGMENT_BYTES_MAX - 20, 1_000_000, 3] {
        let sent = envelope(Kind::SnapshotRequest, 5, (0..body_bytes).map(|i| i as u8).collect());
        let (frames, arrived) = through_fragments(&sent).expect("fragments in order");
        assert_eq!(arrived, sent);
        assert_eq!(frames, sent.encoded_bytes().div_ceil(FRAGMENT_BYTES_MAX));
    }
}

#[test]
fn a_fragment_out_of_order_is_refused() {
    let piece = |offset, total| Fragment {
        offset,
        total,
        bytes: Bytes::from_static(b"0123456789"),
    };
    let refused = |fragments: &[Fragment]| {
        let mut reassembler = Reassembler::default();
        fragments
            .iter()
            .find_map(|fragment| reassembler.accept(fragment).err())
            .expect("one is refused")
    };
    let order = |offset, total, expected_offset, expected_total| WireError::FragmentOrder {
        offset,
        total,
        expected_offset,
        expected_total,
    };
    assert_eq!(refused(&[piece(10, 30)]), order(10, 30, 0, 30));
    assert_eq!(refused(&[piece(0, 30), piece(20, 30)]), order(20, 30, 10, 30));
    assert_eq!(refused(&[piece(0, 30), piece(10, 40)]), order(10, 40, 10, 30));
    assert_eq!(
        refused(&[piece(0, 9)]),
        WireError::FragmentSize {
            bytes: 10,
            offset: 0,
            total: 9
        }
    );
    assert_eq!(
        refused(&[piece(0, ENVELOPE_BYTES_MAX as u32 + 1)]),
        WireError::EnvelopeTooLarge {
            bytes: ENVELOPE_BYTES_MAX + 1
        }
    );
}

#[test]
fn a_frame_beyond_the_limits_is_refused() {
    let frame = || FrameBuilder::with_capacity(0).finish(header());
    let refused = |frame: Vec<u8>| FrameReader::new(frame).expect_err("refused");
    let with = |at: usize, value: u8| {
        let mut frame = frame();
        frame[at] = value;
        frame
    };
    assert_eq!(
        refused(vec![0; FRAME_BYTES_MAX + 1]),
        WireError::FrameTooLarge {
            bytes: FRAME_BYTES_MAX + 1
        }
    );
    assert_eq!(refused(vec![0; 27]), WireError::FrameTooShort { bytes: 27, min: 28 });
    assert_eq!(refused(with(0, 0)), WireError::Magic { found: 0x0072 });
    assert_eq!(refused(with(2, 2)), WireError::Version { found: 2 });
    assert_eq!(refused(with(3, 1)), WireError::Flags { found: 1 });
}

#[test]
fn an_item_beyond_the_limits_ends_the_frame() {
    let items = |items: &[u8]| {
        let mut frame = FrameBuilder::with_capacity(0).finish(header());
        frame.extend_from_slice(items);
        FrameReader::new(frame).expect("a good header").collect::<Vec<_>>()
    };
    assert_eq!(items(&[0, 0]), [Err(WireError::ItemPastEnd { bytes: 4, left: 2 })]);
    assert_eq!(
        items(&[0x10, 0, 0, 9, 1]),
        [Err(WireError::ItemPastEnd { bytes: 9, left: 1 })]
    );
    assert_eq!(items(&[0x50, 0, 0, 1, 1]), [Err(WireError::UnknownLane { found: 5 })]);
    assert_eq!(
        items(&[0x90, 0, 0, 1, 1]),
        [Err(WireError::ItemPastEnd { bytes: 8, left: 1 })]
    );
    assert_eq!(
        items(&[0x10, 0, 0, 1, 1]),
        [Err(WireError::Malformed { field: "array" })]
    );
}

#[test]
fn an_unknown_kind_is_skipped() {
    let mut frame = FrameBuilder::with_capacity(0);
    let known = envelope(Kind::Signal, 1, b"body".to_vec());
    frame.push(Lane::Signal, &known);
    let kind_at = FRAME_HEADER_BYTES + ITEM_PREFIX_BYTES + 1;
    frame.push(Lane::Signal, &known);
    let mut bytes = frame.finish(header());
    assert_eq!(bytes[kind_at], Kind::Signal as u8);
    bytes[kind_at] = 99;
    let items: Vec<_> = FrameReader::new(bytes).expect("a good header").collect();
    let expected = [
        Err(WireError::UnknownKind { found: 99 }),
        Ok(Item::Envelope(Lane::Signal, known)),
    ];
    assert_eq!(items, expected);
    assert!(!WireError::UnknownKind { found: 99 }.is_fatal());
}

#[test]
fn trailing_bytes_are_refused() {
    let mut bytes = encode(&envelope(Kind::Control, 0, b"body".to_vec())).to_vec();
    bytes.push(0);
    assert_eq!(
        Envelope::decode(&Bytes::from(bytes)),
        Err(WireError::TrailingBytes { bytes: 1 })
    );
}

#[test]
fn kinds_and_lanes_are_told_by_their_numbers() {
    for number in 0..=u8::MAX {
        match Kind::try_from(number) {
            Ok(kind) => assert_eq!(kind as u8, number),
            Err(error) => assert_eq!(error, WireError::UnknownKind { found: number }),
        }
    }
    assert_eq!(Kind::ALL.len(), 26);
    assert!(Lane::ALL.iter().enumerate().all(|(index, lane)| lane.index() == index));
    assert_eq!(
        envelope(Kind::Signal, 4, vec![0; 3]).to_string(),
        "#1->#2 signal correlation=4 hops=0 epoch=0 body=3B"
    );
}
