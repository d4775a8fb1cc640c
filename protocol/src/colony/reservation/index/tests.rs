use std::collections::BTreeSet;

use super::super::{Reserved, Standing};
use super::*;
use crate::colony::digest::Digest;
use crate::colony::session::SessionId;
use crate::colony::task::{Holder, Owner};
use crate::conflict::glob::Steps;

const SPACE: Space = Space {
    waiting: false,
    mode: Mode::Exclusive,
};

fn reservation(seq: u64, text: &str) -> Arc<Reservation> {
    let resource = Resource::parse(text).unwrap();
    let owner = Owner::Session {
        session: SessionId(1),
        name: "s".into(),
    };
    let author = "a".into();
    Arc::new(Reservation {
        id: ReservationId { seq, ordinal: 0 },
        resources: vec![Reserved {
            text: resource.text(),
            resource,
            mode: Mode::Exclusive,
        }],
        holder: Holder { owner, author },
        reason: None,
        task: None,
        asked_ms: 0,
        ttl_ms: 1,
        state: Standing::Waiting {
            until_ms: 1,
            look: false,
        },
        digest: Digest::default(),
    })
}

/// All that meet are visited by each tree, whatever else is.
#[test]
fn no_resource_that_meets_is_missed() {
    let texts = [
        "file:**",
        "file:src/",
        "file:src/a.rs",
        "file:src/*.rs",
        "file:src/a*/x",
        "file:src/ab/x",
        "file:src/*/x",
        "file:{src,doc}/a.rs",
        "file:**/x",
        "file:s*",
        "file:sr",
        "file:src-old/x",
        "file:src",
        "key:src/a.rs",
        "key:src/",
        "key:src//",
        "key:src//b",
        "key:/",
        "key:/x",
        "key:x",
        "key:a/../b",
        "key:a/",
        "file:a/b",
        "key:src/ab/",
        "file:[s-t]rc/*.rs",
        "key:src/ab/x/y",
        "file:src/ab/**/y",
        "file:*/{a,b}.rs",
        "file:**/a*",
        "file:src/é*é",
        "file:src/éa",
        "file:*/éxé",
    ];
    let resources: Vec<Resource> = texts.iter().map(|text| Resource::parse(text).unwrap()).collect();
    let reservations: Vec<Arc<Reservation>> = (0..).zip(texts).map(|(seq, text)| reservation(seq, text)).collect();
    // Sparse and full, so that neighbours are missing in all ways.
    for seed in 0..400_u64 {
        let there = |place: usize| seed == 0 || (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (place * 2)) & 3 == 0;
        let mut index = Index::default();
        for (_, reservation) in reservations.iter().enumerate().filter(|(number, _)| there(*number)) {
            index.insert(SPACE, reservation, 0);
        }
        for wanted in &resources {
            let mut visited = [const { BTreeSet::new() }; 3];
            for lead in wanted.leads() {
                visit_all(&index, &lead, &mut visited);
            }
            for (number, resource) in resources.iter().enumerate().filter(|(number, _)| there(*number)) {
                let meets = wanted.meets(resource, &mut Steps::new(100_000)).unwrap();
                for visited in &visited {
                    let (text, seen) = (wanted.text(), visited.contains(&number));
                    assert!(!meets || seen, "{text} misses {}", texts[number]);
                }
            }
        }
        for (number, resource) in resources.iter().enumerate().filter(|(number, _)| there(*number)) {
            index.remove(SPACE, resource, (reservations[number].id, 0));
        }
        assert!(index.is_empty());
    }
}

/// What each of the trees finds by itself.
fn visit_all(index: &Index, lead: &Lead, visited: &mut [BTreeSet<usize>; 3]) {
    let trees = [
        (&index.by_beginning, None),
        (&index.by_name_start, Some(&*lead.name_start)),
        (&index.by_name_end, Some(&*lead.name_end)),
    ];
    for ((tree, name), visited) in trees.into_iter().zip(visited) {
        let visitor: &mut dyn FnMut(Hit<'_>) -> ControlFlow<()> = &mut |hit| {
            if hit.near {
                visited.insert(hit.reservation.id.seq as usize);
            }
            ControlFlow::Continue(())
        };
        let mut visit = Visit {
            space: SPACE,
            lead,
            names: Names::of(lead),
            left: usize::MAX,
            visitor,
        };
        assert!(visit.look_through(tree, name).is_continue());
    }
}

#[test]
fn a_pattern_over_folders_is_found_by_the_name_that_it_ends_with() {
    let mut index = Index::default();
    for number in 0..20_000_u64 {
        let text = format!("file:crates/c{}/src/f{number}.rs", number % 100);
        index.insert(SPACE, &reservation(number, &text), 0);
    }
    let steps = |text: &str| {
        let (mut steps, mut near) = (0, Vec::new());
        for lead in Resource::parse(text).unwrap().leads() {
            let all = index.visit::<()>(SPACE, &lead, &mut |hit| {
                steps += 1;
                near.extend(hit.near.then_some(hit.reservation.id.seq));
                ControlFlow::Continue(())
            });
            assert!(all.is_continue());
        }
        (steps, near)
    };
    let (taken, near) = steps("file:crates/*/src/f1234.rs");
    assert!(taken <= 65 && near == [1_234], "{taken} {near:?}");
    for free in ["file:crates/*/src/f20000.rs", "file:**/*.md", "file:crates/*/src/g*"] {
        let (free_steps, near) = steps(free);
        assert!(free_steps <= 128 && near.is_empty(), "{free}: {free_steps} {near:?}");
    }
}

#[test]
fn the_first_bytes_of_names_say_what_the_names_do_if_they_say_anything() {
    let texts = [
        "file:**",
        "file:a",
        "file:ab",
        "file:a*",
        "file:*a",
        "file:a*b",
        "file:abcdefg",
        "file:abcdefgh",
        "file:abcdefghi",
        "file:abcdefg*",
        "file:abcdefgh*",
        "file:abcdefghi*",
        "file:*abcdefgh",
        "file:*abcdefghi",
        "file:x/abcdefgh",
        "file:é*é",
        "file:ééééé",
        "key:a/",
        "key:abcdefghi",
    ];
    let leads = texts.map(|text| Resource::parse(text).unwrap().leads().swap_remove(0));
    let mut told = 0;
    for (mine, theirs) in leads
        .iter()
        .flat_map(|mine| leads.iter().map(move |theirs| (mine, theirs)))
    {
        if let Some(agree) = Names::of(mine).agree(&Names::of(theirs)) {
            assert_eq!(agree, mine.names_agree(theirs), "{mine:?} {theirs:?}");
            told += 1;
        }
    }
    assert!(told > leads.len() * leads.len() / 2, "{told}");
}

/// The order in which reservations are found is the order in which they came.
#[test]
fn what_stands_at_one_text_is_visited_in_the_order_of_ids() {
    let mut index = Index::default();
    let seqs = [0, 1, 255, 256, 65_535, 65_536, 1 << 32, u64::MAX];
    for seq in seqs.into_iter().rev() {
        index.insert(SPACE, &reservation(seq, "file:src/a.rs"), 0);
    }
    let mut visited = Vec::new();
    let lead = Lead::of_path("src/a.rs".into());
    let all = index.visit::<()>(SPACE, &lead, &mut |hit| {
        visited.push(hit.reservation.id.seq);
        ControlFlow::Continue(())
    });
    assert!(all.is_continue());
    assert_eq!(visited, seqs);
}
