//! The state as bytes: there and back, damaged, and made up.

use std::collections::BTreeSet;

use super::random::{Generator, Seeded, each_seed, sequence};
use super::*;

/// Both colonies answer alike from here on, and stay alike.
fn check_alike(mut a: Colony, mut b: Colony, seed: u64) {
    assert_eq!((a.digest(), a.to_bytes()), (b.digest(), b.to_bytes()));
    let mut generator = Generator::new(seed);
    for _ in 0..40 {
        let step = generator.next(&a);
        let (mine, theirs) = (step.apply(&mut a), step.apply(&mut b));
        assert_eq!((mine.outcomes, mine.events), (theirs.outcomes, theirs.events));
        assert_eq!((mine.contents, mine.remembered), (theirs.contents, theirs.remembered));
        assert_eq!((mine.tasks, mine.agents), (theirs.tasks, theirs.agents));
        assert_eq!((mine.sessions, mine.waits), (theirs.sessions, theirs.waits));
        assert_eq!((mine.reservations, mine.rates), (theirs.reservations, theirs.rates));
        assert_eq!(mine.accounts, theirs.accounts);
        assert_eq!(mine.reservation_settings, theirs.reservation_settings);
        assert_eq!((mine.epoch, mine.pools), (theirs.epoch, theirs.pools));
    }
    assert_eq!((a.digest(), a.to_bytes()), (b.digest(), b.to_bytes()));
}

#[test]
fn a_colony_read_back_is_the_same_and_behaves_the_same() {
    each_seed(2_000..2_030, |seed| {
        let colony = sequence(seed, 60).1;
        let meta = colony.meta();
        assert_eq!(meta.digest(), colony.digest());
        let mut pairs: Vec<Pair> = colony.pairs().collect();
        pairs.reverse();
        check_alike(colony.clone(), Colony::restore(meta, pairs).unwrap(), seed);
        check_alike(colony.clone(), Colony::from_bytes(&colony.to_bytes()).unwrap(), seed);
    });
}

#[test]
fn the_digest_kept_up_by_changes_is_the_one_computed_from_scratch() {
    each_seed(3_000..3_005, |seed| {
        let (mut generator, mut colony) = (Generator::new(seed), Colony::default());
        for _ in 0..60 {
            generator.next(&colony).apply(&mut colony);
            // Restoring computes every digest anew and compares the sum with the one that was kept up.
            let restored = Colony::restore(colony.meta(), colony.pairs()).unwrap();
            assert_eq!(restored.digest(), colony.digest());
        }
    });
}

#[test]
fn pair_keys_are_the_keys_of_all_pairs_but_events() {
    let colony = sequence(5, 60).1;
    let mut keys: Vec<Vec<u8>> = colony.pair_keys().collect();
    keys.sort();
    let mut expected: Vec<Vec<u8>> = colony.pairs().map(|(key, _)| key).collect();
    expected.retain(|key| key[0] != b'e');
    expected.sort();
    assert_eq!(keys, expected);
}

#[test]
fn a_flipped_bit_anywhere_is_an_error() {
    each_seed(4_000..4_004, |seed| {
        let bytes = sequence(seed, 25).1.to_bytes();
        let mut seeded = Seeded(seed);
        for _ in 0..300 {
            let (mut damaged, place) = (bytes.clone(), seeded.below(bytes.len() as u64) as usize);
            damaged[place] ^= 1 << seeded.below(8);
            assert!(Colony::from_bytes(&damaged).is_err(), "byte {place}");
        }
    });
}

#[test]
fn an_image_that_ends_too_early_or_goes_on_is_an_error() {
    let bytes = sequence(6, 25).1.to_bytes();
    let step = 1 + bytes.len() / 400;
    for end in (0..bytes.len()).step_by(step).chain(bytes.len() - 20..bytes.len()) {
        assert!(
            Colony::from_bytes(&bytes[..end]).is_err(),
            "{end} of {} bytes",
            bytes.len()
        );
    }
    for more in 1..20 {
        let longer = [&bytes[..], &vec![0; more]].concat();
        assert!(Colony::from_bytes(&longer).is_err(), "{more} bytes more");
    }
}

#[test]
fn a_pair_too_few_is_an_error() {
    let mut missing: BTreeSet<u8> = b"abcehilpqrtuvw".iter().copied().collect();
    for seed in 7..2_000 {
        let colony = sequence(seed, 60).1;
        let pairs: Vec<Pair> = colony.pairs().collect();
        let kinds = pairs.iter().map(|(key, _)| key[0]);
        if kinds.filter(|kind| missing.remove(kind)).count() == 0 {
            continue;
        }
        for place in 0..pairs.len() {
            let mut fewer = pairs.clone();
            let (key, _) = fewer.remove(place);
            assert!(Colony::restore(colony.meta(), fewer).is_err(), "{}", key.escape_ascii());
        }
    }
    assert!(missing.is_empty(), "no colony had these kinds of pairs: {missing:?}");
}

#[test]
fn a_pair_too_many_is_an_error() {
    let colony = sequence(7, 60).1;
    let other = sequence(8, 60).1;
    let unheld = large(b'z');
    let (key, value) = content_pair("p", &ContentHash::of(&unheld), Some(&unheld.into()));
    let (_, small) = content_pair("p", &ContentHash::of(b"small"), Some(&Bytes::from("small")));
    let small = (content_pair("p", &ContentHash::of(b"small"), None).0, small.unwrap());
    let more = other.pairs().chain(colony.pairs().filter(|(key, _)| key[0] != b'c'));
    let known: Vec<Pair> = colony.pairs().collect();
    for pair in more.chain([
        (key, value.unwrap()),
        small,
        (vec![], vec![]),
        (b"xp\0".to_vec(), vec![]),
    ]) {
        if known.contains(&pair) && pair.0[0] == b'c' {
            continue;
        }
        let pairs = colony.pairs().chain([pair.clone()]);
        assert!(
            Colony::restore(colony.meta(), pairs).is_err(),
            "{}",
            pair.0.escape_ascii()
        );
    }
}

#[test]
fn which_events_were_dropped_is_part_of_the_digest() {
    let mut colony = sequence(7, 30).1;
    let digest = colony.digest();
    let events = &mut colony.projects.get_mut("p").unwrap().events;
    *events = Events::restore(
        Some(Cursor { seq: 0, ordinal: 3 }),
        events.iter().map(|event| (**event).clone()),
    );
    assert_ne!(colony.digest(), digest);
}

#[test]
fn a_state_of_rules_that_are_not_known_is_refused() {
    let newer = Colony {
        rules_version: RULES_VERSION + 1,
        ..Colony::default()
    };
    let refused = Colony::from_bytes(&newer.to_bytes());
    assert!(matches!(refused, Err(ImageError::UnknownRules { found }) if found == RULES_VERSION + 1));
}

fn encoded(seed: u64) -> (Bytes, Bytes) {
    let (steps, _) = sequence(seed, 12);
    let round = Round {
        node: NodeId(1),
        incarnation: 1,
        commands: steps.into_iter().map(|step| step.command).collect(),
    };
    let rounds = vec![round.encode(), round.encode()];
    let batch = Batch {
        cluster_ms: 1,
        wall_ms: 2,
        rounds,
        checkpoint: Some(Checkpoint {
            index: 7,
            digest: Digest(seed.into()),
        }),
    };
    assert_eq!(Round::decode(&round.encode()), Ok(round.clone()));
    assert_eq!(Batch::decode(&batch.encode()), Ok(batch.clone()));
    (round.encode(), batch.encode())
}

/// Decodes as everything, and applies what decodes: none of it may panic.
fn swallow(bytes: &[u8]) {
    let rounds = Batch::decode(bytes).map(|batch| batch.rounds).unwrap_or_default();
    let rounds = rounds
        .iter()
        .map(|bytes| Round::decode(bytes))
        .chain([Round::decode(bytes)]);
    let rounds: Vec<Round> = rounds.flatten().collect();
    Colony::default().apply(0, 0, &rounds, NodeId(1));
    let _ = Colony::from_bytes(bytes);
}

#[test]
fn bytes_of_any_kind_never_panic() {
    each_seed(5_000..5_300, |seed| {
        let mut seeded = Seeded(seed);
        let length = seeded.below(200) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| seeded.below(256) as u8).collect();
        swallow(&bytes);
        // Most random bytes end at the version; these go further.
        bytes.insert(0, ROUND_VERSION);
        swallow(&bytes);
    });
}

#[test]
fn damaged_rounds_never_panic() {
    each_seed(6_000..6_010, |seed| {
        let mut seeded = Seeded(seed);
        let (round, batch) = encoded(seed);
        for bytes in [round, batch] {
            for _ in 0..60 {
                let mut damaged = bytes.to_vec();
                let place = seeded.below(bytes.len() as u64) as usize;
                damaged[place] ^= 1 << seeded.below(8);
                swallow(&damaged);
                damaged.truncate(place);
                swallow(&damaged);
            }
        }
    });
}

#[test]
fn a_length_beyond_the_input_is_an_error_and_no_allocation() {
    // Eight bytes of ones stand for a length of 2^64 - 1 wherever a length is read. To allocate for one would abort.
    let (round, batch) = encoded(1);
    let image = sequence(9, 12).1.to_bytes();
    for bytes in [&round[..], &batch[..], &image[..]] {
        for place in (0..bytes.len() - 8).step_by(1 + bytes.len() / 500) {
            let mut damaged = bytes.to_vec();
            damaged[place..place + 8].fill(0xff);
            swallow(&damaged);
            damaged[place + 4..place + 8].fill(0);
            swallow(&damaged);
        }
    }
}

#[test]
fn rounds_of_another_version_and_empty_ones_are_named() {
    assert_eq!(Round::decode(&[]), Err(RoundError::Empty));
    assert_eq!(Batch::decode(&[9, 0]), Err(RoundError::Version { found: 9 }));
    let large = vec![ROUND_VERSION; ROUND_BYTES_MAX as usize + 1];
    assert_eq!(
        Batch::decode(&large),
        Err(RoundError::TooLarge {
            bytes: ROUND_BYTES_MAX + 1
        })
    );
}
