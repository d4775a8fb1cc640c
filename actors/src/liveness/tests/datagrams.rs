//! Which datagrams are taken, and that none harms.

use std::time::Duration;

use proptest::prelude::*;
use queenright_protocol::id::{ClusterId, NodeId};

use super::net::{CLUSTER, COOKIE, Net, Weather, detector, members};
use crate::liveness::datagram::{DATAGRAM_BYTES_MAX, PAYLOAD_BYTES_MAX, Refused, Seal, Taken};
use crate::liveness::detector::{Detector, Input, Output};
use crate::liveness::{DatagramCounts, View};

fn seal_of(me: u64, start: u64) -> Seal {
    Seal::new(COOKIE, CLUSTER, NodeId(me), start)
}

/// Node 1 of three.
fn one() -> Detector {
    let mut one = detector(1, 1, 1);
    one.step(Duration::ZERO, Input::Members(&members(3)), &mut Vec::new());
    one
}

fn hear(detector: &mut Detector, datagram: &[u8]) -> Vec<Output> {
    let mut out = Vec::new();
    detector.step(Duration::from_millis(10), Input::Datagram(datagram), &mut out);
    out
}

/// What node 2 sends to node 1 first.
fn first_of(two: &mut Detector) -> Vec<u8> {
    let mut out = Vec::new();
    two.step(Duration::ZERO, Input::Members(&members(3)), &mut out);
    let to_one = out.into_iter().find_map(|output| match output {
        Output::Send { to, datagram } if to.port() == 1 => Some(datagram),
        _ => None,
    });
    to_one.expect("all members are called")
}

#[track_caller]
fn refused(datagram: &[u8], expected: DatagramCounts) {
    let mut one = one();
    let before = one.counts();
    assert_eq!(hear(&mut one, datagram), []);
    let after = DatagramCounts {
        sent: 0,
        sent_bytes: 0,
        ..one.counts()
    };
    assert_eq!(after, expected);
    assert_eq!(one.counts().sent, before.sent, "it is not answered");
}

#[test]
fn what_is_sealed_is_opened_by_its_receiver_alone() {
    let datagram = seal_of(2, 9).seal(NodeId(1), b"text");
    let seal = seal_of(1, 4);
    let opened = seal.open(&datagram).unwrap();
    assert_eq!((opened.from, opened.start, opened.counter), (NodeId(2), 9, 1));
    assert_eq!(opened.payload, b"text");
    assert_eq!(seal_of(3, 4).open(&datagram), Err(Refused::Misdirected));
    let full = seal_of(2, 9).seal(NodeId(1), &[0; PAYLOAD_BYTES_MAX]);
    assert_eq!(full.len(), DATAGRAM_BYTES_MAX);
    assert!(seal_of(1, 4).open(&full).is_ok());
}

#[test]
fn a_datagram_of_which_a_byte_differs_is_refused() {
    let datagram = seal_of(2, 9).seal(NodeId(1), b"text");
    let seal = seal_of(1, 4);
    for at in 0..datagram.len() {
        let mut other = datagram.clone();
        other[at] ^= 1;
        let expected = match at {
            0..2 => Refused::Malformed,
            2 => Refused::Version,
            3..19 => Refused::Foreign,
            _ => Refused::Forged,
        };
        assert_eq!(seal.open(&other), Err(expected), "byte {at}");
    }
    for length in 0..datagram.len() {
        assert!(seal.open(&datagram[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn what_is_not_for_this_node_of_a_member_is_counted_by_its_reason_and_not_answered() {
    let none = DatagramCounts::default();
    refused(b"", DatagramCounts { malformed: 1, ..none });
    refused(&[0; DATAGRAM_BYTES_MAX + 1], DatagramCounts { malformed: 1, ..none });

    let announce = first_of(&mut detector(2, 1, 2));
    let mut version = announce.clone();
    version[2] += 1;
    refused(
        &version,
        DatagramCounts {
            other_version: 1,
            ..none
        },
    );

    let other_cookie = Seal::new(b"another cookie of 32 bytes or so", CLUSTER, NodeId(2), 1).seal(NodeId(1), b"x");
    refused(&other_cookie, DatagramCounts { forged: 1, ..none });
    let other_cluster = Seal::new(COOKIE, ClusterId([8; 16]), NodeId(2), 1).seal(NodeId(1), b"x");
    refused(&other_cluster, DatagramCounts { foreign: 1, ..none });
    let for_another = seal_of(2, 1).seal(NodeId(3), b"x");
    refused(&for_another, DatagramCounts { misdirected: 1, ..none });
    let of_a_stranger = seal_of(4, 1).seal(NodeId(1), b"x");
    refused(&of_a_stranger, DatagramCounts { strangers: 1, ..none });
    let of_itself = seal_of(1, 1).seal(NodeId(1), b"x");
    refused(&of_itself, DatagramCounts { strangers: 1, ..none });
    let of_no_meaning = seal_of(2, 1).seal(NodeId(1), b"x");
    refused(&of_no_meaning, DatagramCounts { malformed: 1, ..none });
}

#[test]
fn a_datagram_is_taken_once_and_none_of_an_earlier_start_after_one_of_a_later() {
    let mut one = one();
    let (early, late) = (first_of(&mut detector(2, 1, 2)), first_of(&mut detector(2, 2, 2)));
    assert!(!hear(&mut one, &early).is_empty(), "a call is answered");
    assert_eq!(hear(&mut one, &early), []);
    assert_eq!(one.counts().replayed, 1);
    assert!(!hear(&mut one, &late).is_empty());
    assert_eq!(hear(&mut one, &early), []);
    assert_eq!(hear(&mut one, &late), []);
    assert_eq!((one.counts().replayed, one.counts().received), (3, 2));
}

#[test]
fn datagrams_may_overtake_each_other_by_a_hundred_but_not_come_twice() {
    let mut taken = Taken::default();
    assert!(taken.take(1, 200));
    for counter in (100..200).rev() {
        assert!(taken.take(1, counter), "{counter}");
        assert!(!taken.take(1, counter), "{counter}");
    }
    assert!(!taken.take(1, 72), "too late to be told from one that was taken");
    assert!(taken.take(1, 73));
    assert!(taken.take(1, 1_000));
    assert!(!taken.take(1, 200) && taken.take(1, 999));
    assert!(taken.take(2, 1) && !taken.take(1, 1_001));
}

#[test]
fn what_is_told_of_strangers_is_not_believed() {
    let mut net = Net::new(3, Weather::fair(), 1);
    net.pass(Duration::from_secs(3));
    // For node 1 the third has left; the others still talk of it, and it does itself.
    net.step(1, Input::Members(&members(2)));
    let strangers = net.detector(1).counts().strangers;
    net.pass(Duration::from_secs(5));
    assert_eq!(net.detector(1).opinions().len(), 1);
    assert!(net.detector(1).counts().strangers > strangers);
    assert_eq!(net.view(1, 2), View::Alive);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(datagrams in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1_500), 1..20)) {
        let mut one = one();
        for datagram in &datagrams {
            hear(&mut one, datagram);
        }
        prop_assert_eq!(one.counts().refused(), datagrams.len() as u64);
    }

    // Whoever has the cookie is believed, but cannot break a node either.
    #[test]
    fn no_payload_of_a_member_makes_it_panic(
        payloads in prop::collection::vec(payload(), 1..20),
    ) {
        let mut one = one();
        let mut seal = seal_of(2, 1);
        for (at, payload) in payloads.iter().enumerate() {
            let datagram = seal.seal(NodeId(1), payload);
            hear(&mut one, &datagram);
            one.step(Duration::from_millis(200 * at as u64), Input::Timer, &mut Vec::new());
        }
        prop_assert!(one.opinions().len() == 2);
    }
}

/// A header of node 2 with any message, and what may stand behind it.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let identity = |number: u64, renewal: u32| {
        let mut bytes = number.to_be_bytes().to_vec();
        bytes.extend(1u64.to_be_bytes());
        bytes.extend(renewal.to_be_bytes());
        bytes
    };
    let member = (0u64..5, 0u32..3, any::<u16>(), 0u8..5).prop_map(move |(number, renewal, denials, state)| {
        let mut bytes = identity(number, renewal);
        bytes.extend(denials.to_be_bytes());
        bytes.push(state);
        bytes
    });
    let head = (0u32..3, any::<u16>(), 0u32..2, 0u8..13, any::<u8>(), 0u64..5);
    let tail = (
        prop::collection::vec(member, 0..6),
        any::<bool>(),
        prop::collection::vec(any::<u8>(), 0..3),
    );
    (head, tail).prop_map(
        move |((renewal, denials, mine, tag, probe, third), (members, told, rest))| {
            let mut bytes = identity(2, renewal);
            bytes.extend(denials.to_be_bytes());
            bytes.extend(identity(1, mine));
            bytes.push(tag);
            if (1..=6).contains(&tag) {
                bytes.push(probe);
            }
            if (3..=6).contains(&tag) {
                bytes.extend(identity(third, 0));
            }
            if told {
                bytes.extend((members.len() as u16).to_be_bytes());
            }
            bytes.extend(members.concat());
            bytes.extend(rest);
            bytes
        },
    )
}
