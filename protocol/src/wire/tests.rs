use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::id::NodeId;
use crate::version::Versions;

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
        version: PROTOCOL_VERSION,
        credit: 7,
        session: 0x0102_0304_0506_0708,
        credit_session: 9,
        sequence: 3,
        probe: 12,
        echo: 11,
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
                return Ok((frames, whole));
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
        if let Ok(Item::Fragment(lane, fragment)) = item {
            let _ = reassemblers[lane.index()].accept(&fragment);
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

/// Text as values of the collective memory have it.
fn json(entries: usize) -> Vec<u8> {
    let entry = |at: usize| format!("{{\"task\":\"task-{at}\",\"state\":\"done\",\"attempt\":{}}},", at % 3);
    (0..entries).map(entry).collect::<String>().into_bytes()
}

/// Bytes in which nothing repeats.
fn noise(count: u64) -> Vec<u8> {
    let words = (0..count / 8).flat_map(|at| {
        let mut word = at.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (word ^ word >> 31).to_le_bytes()
    });
    words.collect()
}

#[test]
fn what_repeats_shrinks_and_what_does_not_is_left() {
    let text = json(200);
    let compressed = compress(&text).expect("it pays");
    assert!(
        compressed.len() < text.len() / 2,
        "{} of {}",
        compressed.len(),
        text.len()
    );
    assert_eq!(decompress(&compressed), Ok(Bytes::from(text)));
    assert_eq!(compress(&noise(4_096)), None);
    assert_eq!(compress(&[]), None);
}

#[test]
fn a_compressed_body_that_claims_too_much_is_refused_before_anything_is_reserved() {
    let claims = |size: u32| {
        let mut bytes = compress(&json(200)).expect("it pays").to_vec();
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        decompress(&bytes).expect_err("refused")
    };
    let size = ENVELOPE_BYTES_MAX as u32 + 1;
    assert_eq!(claims(size), WireError::EnvelopeTooLarge { bytes: size as usize });
    let malformed = WireError::Malformed {
        field: "compressed body",
    };
    for size in [0, 1, 8_000, ENVELOPE_BYTES_MAX as u32] {
        assert_eq!(claims(size), malformed);
    }
    for short in [&[][..], &[0, 0, 1], &[0, 0, 0, 9]] {
        assert_eq!(decompress(short), Err(malformed.clone()));
    }
}

#[test]
fn a_compressed_envelope_arrives_as_it_was_whole_or_in_fragments() {
    for entries in [40, 200_000] {
        let sent = envelope(Kind::Control, 9, json(entries));
        let body = compress(&sent.body).expect("it pays");
        let (head, mut reassembler, mut offset) = (Envelope { body, ..sent.clone() }, Reassembler::default(), 0);
        let arrived = loop {
            let mut frame = FrameBuilder::with_capacity(0);
            if frame.push_as(Form::Compressed, Lane::Command, &head).is_none() {
                let parts = (&head.encode_header()[..], &head.body[..]);
                offset += frame.push_fragment_as(Form::Compressed, Lane::Command, parts, offset);
            }
            let mut items = FrameReader::new(frame.finish(header())).expect("own frame");
            match items.next().expect("one item").expect("well formed") {
                Item::Envelope(_, envelope) => break envelope,
                Item::Fragment(_, fragment) => {
                    if let Some(whole) = reassembler.accept(&fragment).expect("in order") {
                        break whole;
                    }
                }
            }
        };
        assert_eq!(arrived, sent);
    }
}

#[test]
fn fragments_of_both_forms_do_not_make_one_envelope() {
    let piece = |form, offset| Fragment {
        form,
        total: 30,
        offset,
        bytes: Bytes::from_static(b"0123456789"),
    };
    let mut reassembler = Reassembler::default();
    assert_eq!(reassembler.accept(&piece(Form::Compressed, 0)), Ok(None));
    assert!(reassembler.accept(&piece(Form::Plain, 10)).is_err());
}

proptest! {
    #[test]
    fn any_body_is_what_it_was_when_it_was_compressed(
        piece in prop::collection::vec(any::<u8>(), 1..60), times in 1..400usize, tail in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let body: Vec<u8> = piece.repeat(times).into_iter().chain(tail).collect();
        if let Some(compressed) = compress(&body) {
            prop_assert!(compressed.len() + body.len() / 10 <= body.len());
            prop_assert_eq!(decompress(&compressed), Ok(Bytes::from(body)));
        }
    }

    #[test]
    fn mutated_and_random_bytes_never_decompress_with_a_panic(
        mutations in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        random in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = compress(&json(100)).expect("it pays").to_vec();
        for (at, value) in mutations {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        let _ = decompress(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = decompress(&bytes);
        let _ = decompress(&random);
        let claimed = [&[0, 0, 1, 0][..], &random].concat();
        let _ = decompress(&claimed);
    }
}

/// What the receiver of a greeting makes of these bytes.
fn greeted(bytes: &[u8]) -> Result<Greeting, GreetingError> {
    let head = bytes.first_chunk().expect("as long as a head");
    GreetingHead::decode(*head)?.with_rest(&bytes[GREETING_HEAD_BYTES..])
}

fn greeting() -> Greeting {
    Greeting {
        speaks: Versions { oldest: 2, newest: 5 },
        name: "n1".to_owned(),
        build: "0.1.0".to_owned(),
    }
}

proptest! {
    #[test]
    fn a_greeting_survives_encoding(oldest in 0..=255u32, more in 0..=255u32, name in "[a-z]{1,64}", build in "[ -~]{0,64}") {
        let speaks = Versions { oldest, newest: (oldest + more).min(255) };
        let greeting = Greeting { speaks, name, build };
        prop_assert_eq!(greeted(&greeting.encode()), Ok(greeting));
    }

    #[test]
    fn a_mutated_greeting_never_panics(at in 0..15usize, value in any::<u8>(), cut in 8..16usize) {
        let mut bytes = greeting().encode();
        prop_assert_eq!(bytes.len(), 15);
        bytes[at] = value;
        let _ = greeted(&bytes);
        bytes.truncate(cut);
        let _ = greeted(&bytes);
    }
}

#[test]
fn what_is_no_greeting_is_refused_before_its_rest_is_read() {
    let refused = |at: usize, value: u8| {
        let mut bytes = greeting().encode();
        bytes[at] = value;
        greeted(&bytes).expect_err("refused").to_string()
    };
    assert_eq!(refused(0, 0xff), "the connection begins with [ff, 52, 6c, 6b]");
    assert_eq!(refused(4, 6), "it speaks versions 6 to 5");
    assert_eq!(refused(6, 0), "a name of 0 B, expected 1 to 64");
    assert_eq!(refused(7, 65), "a build of 65 B, expected 0 to 64");
    assert_eq!(refused(6, 3), "7 B where 8 B were announced");
    assert_eq!(refused(8, 0xff), "a name that is no text");
    assert_eq!(refused(10, b'\n'), "a build that is no text");
}

#[test]
fn a_greeting_is_cut_to_what_it_may_have() {
    let long = Greeting {
        speaks: Versions { oldest: 1, newest: 300 },
        name: "é".repeat(40),
        build: String::new(),
    };
    let read = greeted(&long.encode()).expect("a greeting");
    assert_eq!((read.speaks.newest, read.name), (255, "é".repeat(32)));
}

/// Another build reads these bytes: they change with the version of the protocol alone.
#[test]
fn the_bytes_of_a_frame_and_of_a_greeting_are_those_of_version_1() {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut frame = FrameBuilder::with_capacity(0);
    frame.push(Lane::Signal, &envelope(Kind::Signal, 300, b"hi".to_vec()));
    frame.push_fragment(Lane::Snapshot, &[0x97], b"abc", 1);
    let expected = concat!(
        "51720100",
        "00000007",
        "0102030405060708",
        "0000000000000009",
        "00000003",
        "0000000c",
        "0000000b",
        "3000000d",
        "971e00",
        "0102",
        "cd012c00",
        "c4026869",
        "c000000b",
        "00000004",
        "00000001",
        "616263",
    );
    assert_eq!(hex(&frame.finish(header())), expected);
    assert_eq!(
        hex(&greeting().encode()),
        "51526c6b02050205".to_owned() + "6e31" + "302e312e30"
    );
}

#[test]
fn a_frame_of_an_agreed_version_is_read() {
    let newer = FrameHeader { version: 2, ..header() };
    let frame = FrameBuilder::with_capacity(0).finish(newer);
    let spoken = Versions { oldest: 1, newest: 2 };
    let reader = FrameReader::speaking(spoken, frame).expect("a version that is spoken");
    assert_eq!(reader.header(), newer);
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
        form: Form::Plain,
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
    assert_eq!(refused(vec![0; 35]), WireError::FrameTooShort { bytes: 35, min: 36 });
    assert_eq!(refused(with(0, 0)), WireError::Magic { found: 0x0072 });
    assert_eq!(
        refused(with(2, 2)),
        WireError::Version {
            found: 2,
            spoken: SPOKEN
        }
    );
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
    assert_eq!(Kind::ALL.len(), 28);
    assert!(Lane::ALL.iter().enumerate().all(|(index, lane)| lane.index() == index));
    assert_eq!(
        envelope(Kind::Signal, 4, vec![0; 3]).to_string(),
        "#1->#2 signal correlation=4 hops=0 epoch=0 body=3B"
    );
}
