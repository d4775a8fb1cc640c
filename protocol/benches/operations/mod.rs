//! What the pure parts do most, one operation at a time: shared by what times them, what counts their allocations and what
//! counts their instructions.

use std::collections::BTreeSet;
use std::hint::black_box;

use bytes::Bytes;
use queenright_protocol::colony::{Body, Expected, Outcome, Proposal, Read, Round, Write};
use queenright_protocol::conflict::detect;
use queenright_protocol::conflict::glob::{Glob, Steps};
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{Kind as Shape, Topology};
use queenright_protocol::wire::{Envelope, FrameBuilder, FrameHeader, FrameReader, Kind, Lane};

use crate::alone::{Alone, add, batch, claim, finish, put, start, value};

/// How many times an operation can be done after it was prepared.
pub(crate) const TIMES: usize = 256;
/// Keys and tasks of the project that commands are applied to.
pub(crate) const SIZE: usize = 1_000;
/// Commands of the round that is encoded, envelopes of the frame, keys of the batch.
const COMMANDS: usize = 100;
const KEYS: usize = 1_000;
const MEMBERS: u64 = 64;

/// Does the operation: for each place below [`TIMES`] once, in order. What was prepared is ready for that and no more.
pub(crate) type Ready = Box<dyn FnMut(usize)>;

/// Something that is done often.
pub(crate) struct Operation {
    /// What it is.
    pub(crate) name: &'static str,
    /// Prepares [`TIMES`] of it.
    pub(crate) prepare: fn() -> Ready,
}

/// All of them.
pub(crate) const OPERATIONS: [Operation; 15] = [
    of("apply a put of a key that is there", || {
        applied(filled(), |place| put(key(place * 7 % SIZE)))
    }),
    of("apply a put of a new key", || {
        applied(filled(), |place| put(format!("new/{place}")))
    }),
    of("apply a proposal of 2 reads and 2 writes", proposals),
    of("apply an addition of 1 task", || applied(filled(), |_| add(1))),
    of("apply a claim of 1 task", claims),
    of("apply a finish", finishes),
    of("encode a round of 100 puts", || {
        let round = round_of_puts();
        Box::new(move |_| drop(black_box(black_box(&round).encode())))
    }),
    of("decode a round of 100 puts", || {
        let bytes = round_of_puts().encode();
        Box::new(move |_| drop(black_box(Round::decode(black_box(&bytes)).expect("it was encoded"))))
    }),
    of("detect conflicts of 1,000 keys", || {
        let batch = batch((0..KEYS).map(|place| key(place * place % 617)));
        Box::new(move |_| {
            black_box(detect(black_box(&batch)).counts());
        })
    }),
    of("intersect two globs", || {
        let glob = |text| Glob::parse(text).expect("it is a good glob");
        let pair = (glob("src/**/colony/*_test?.rs"), glob("src/a*/b*/**/m*_test1.rs"));
        Box::new(move |_| {
            let met = black_box(&pair).0.meets(&pair.1, &mut Steps::new(1_000_000));
            assert_eq!(black_box(met), Ok(true));
        })
    }),
    of("make a ring of 64 and all its next hops from one", || {
        routes(Shape::Ring)
    }),
    of("make a hierarchy of 64 and all its next hops from one", || {
        routes("hierarchical:4".parse().expect("it is a topology"))
    }),
    of("encode a frame of 100 envelopes", || {
        Box::new(move |_| drop(black_box(frame())))
    }),
    of("decode a frame of 100 envelopes", || {
        let bytes = Bytes::from(frame());
        Box::new(move |_| {
            let reader = FrameReader::new(black_box(&bytes).clone()).expect("it was encoded");
            assert_eq!(
                reader.map(|item| black_box(item).is_ok()).filter(|good| *good).count(),
                COMMANDS
            );
        })
    }),
    of("take the digest of a colony", || {
        let alone = filled();
        Box::new(move |_| {
            black_box(black_box(&alone.colony).digest());
        })
    }),
];

const fn of(name: &'static str, prepare: fn() -> Ready) -> Operation {
    Operation { name, prepare }
}

/// The name of a key: 100 of them lie in one folder.
pub(crate) fn key(place: usize) -> String {
    format!("folder-{}/key-{}", place / 100, place % 100)
}

/// A colony with keys, an agent that works, and tasks.
fn filled() -> Alone {
    let mut alone = Alone::default();
    for place in 0..SIZE {
        alone.apply(put(key(place)));
    }
    for _ in 0..SIZE / 100 {
        alone.apply(add(100));
    }
    alone.apply(start("worker").0);
    alone
}

/// Applies one command at a time, all made before.
fn applied(mut alone: Alone, body: impl Fn(usize) -> Body) -> Ready {
    let rounds: Vec<Round> = (0..TIMES).map(|place| alone.round(vec![body(place)])).collect();
    Box::new(move |place| {
        let applied = alone.apply_round(black_box(&rounds[place]));
        // Read, so that nothing that is wrong is counted as work done.
        assert!(
            !matches!(applied.outcomes[0].outcome, Outcome::Refused(_)),
            "{applied:?}"
        );
    })
}

fn proposals() -> Ready {
    let alone = filled();
    // No key twice: each was changed once.
    let proposal = |place: usize| {
        let keys = [key(3 * place), key(3 * place + 1)];
        let read = |key: &String| Read {
            key: key.as_str().into(),
            revision: 1,
            content: Expected::Any,
        };
        let write = |key: &String| Write {
            key: key.as_str().into(),
            op: value(),
            tags: Vec::new(),
            before: Some(1),
        };
        Body::Propose(Proposal {
            reads: keys.iter().map(read).collect(),
            writes: keys.iter().map(write).collect(),
            ..Proposal::default()
        })
    };
    applied(alone, proposal)
}

fn claims() -> Ready {
    let worker = start("worker").1;
    applied(filled(), move |_| claim(&worker, 1))
}

fn finishes() -> Ready {
    let (mut alone, worker) = (filled(), start("worker").1);
    let claims = (0..TIMES).map(|_| alone.apply(claim(&worker, 1)));
    let bodies: Vec<Body> = claims.flat_map(|claimed| finish(claimed, &worker)).collect();
    applied(alone, move |place| bodies[place].clone())
}

fn round_of_puts() -> Round {
    Alone::default().round((0..COMMANDS).map(|place| put(key(place))).collect())
}

fn routes(kind: Shape) -> Ready {
    let members: BTreeSet<NodeId> = (1..=MEMBERS).map(NodeId).collect();
    Box::new(move |_| {
        let topology = Topology::new(kind, black_box(&members));
        let hops = members.iter().filter_map(|to| topology.next_hop(NodeId(7), *to));
        assert_eq!(hops.map(black_box).count() as u64, MEMBERS - 1);
    })
}

fn frame() -> Vec<u8> {
    let envelope = Envelope {
        kind: Kind::Signal,
        hops: 0,
        from: NodeId(1),
        to: NodeId(2),
        correlation: 77,
        epoch: 3,
        body: Bytes::from_static(&[b'x'; 128]),
    };
    let mut frame = FrameBuilder::with_capacity(COMMANDS * 160);
    for _ in 0..COMMANDS {
        frame.push(Lane::Signal, &envelope).expect("so many fit");
    }
    frame.finish(FrameHeader::default())
}
