//! Which reservations may meet a resource, found by what everything in it begins with: an ordered set of the names before
//! the first open segment. Those above it (`src` for `src/a/b.rs`) are found from the end, skipping what is not there; those
//! below it stand together.

use std::ops::ControlFlow;
use std::sync::Arc;

use imbl::OrdSet;

use super::{Mode, ReservationId, Resource};
use crate::conflict::glob::Lead;

/// Which part of the index: what is held, or what is waited for, in one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Space {
    pub(super) waiting: bool,
    pub(super) mode: Mode,
}

/// A place in the index: where, and which resource of which reservation.
type Entry = (Space, Arc<str>, ReservationId, u32);

const FIRST: ReservationId = ReservationId { seq: 0, ordinal: 0 };
const LAST: ReservationId = ReservationId {
    seq: u64::MAX,
    ordinal: u32::MAX,
};

/// The index.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    entries: OrdSet<Entry>,
}

impl Index {
    pub(super) fn insert(&mut self, space: Space, resource: &Resource, id: ReservationId, place: u32) {
        for lead in resource.leads() {
            self.entries.insert((space, lead.names, id, place));
        }
    }

    pub(super) fn remove(&mut self, space: Space, resource: &Resource, id: ReservationId, place: u32) {
        for lead in resource.leads() {
            self.entries.remove(&(space, lead.names, id, place));
        }
    }

    /// Visits what may meet something with this lead, until the visitor breaks; some of it perhaps again for another lead.
    pub(super) fn visit<B>(
        &self,
        space: Space,
        lead: &Lead,
        visitor: &mut dyn FnMut(ReservationId, u32) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut at = Some(&*lead.names);
        while let Some(names) = at {
            let last = (space, names.into(), LAST, u32::MAX);
            let before = self.entries.range(..=last).next_back();
            let Some((_, found, ..)) = before.filter(|entry| entry.0 == space) else {
                break;
            };
            if !is_above(found, names) {
                // Between the two is nothing; what is above both is no longer than what they have in common.
                let common = common_bytes(found, names);
                at = above(names);
                while let Some(shorter) = at.filter(|at| at.len() > common) {
                    at = above(shorter);
                }
                continue;
            }
            let (first, last) = ((space, found.clone(), FIRST, 0), (space, found.clone(), LAST, u32::MAX));
            for (_, _, id, place) in self.entries.range(first..=last) {
                visitor(*id, *place)?;
            }
            at = above(&names[..found.len()]);
        }
        if lead.whole {
            return ControlFlow::Continue(());
        }
        let first = (space, lead.start.clone(), FIRST, 0);
        for (found_space, names, id, place) in self.entries.range(first..) {
            if *found_space != space || !names.starts_with(&*lead.start) {
                break;
            }
            // Those have been visited.
            if *names != lead.names {
                visitor(*id, *place)?;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The names without the last one; nothing stands above no names.
fn above(names: &str) -> Option<&str> {
    match names.rfind('/') {
        Some(end) => Some(&names[..end]),
        None => (!names.is_empty()).then_some(""),
    }
}

/// Whether `names` begins with these names, or has no others.
fn is_above(these: &str, names: &str) -> bool {
    let rest = names.strip_prefix(these);
    rest.is_some_and(|rest| these.is_empty() || rest.is_empty() || rest.starts_with('/'))
}

fn common_bytes(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::conflict::glob::Steps;

    const SPACE: Space = Space {
        waiting: false,
        mode: Mode::Exclusive,
    };

    /// All that meet are visited, whatever else is.
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
        ];
        let resources: Vec<Resource> = texts.iter().map(|text| Resource::parse(text).unwrap()).collect();
        let id = |place: usize| ReservationId {
            seq: place as u64,
            ordinal: 0,
        };
        // Sparse and full, so that neighbours are missing in all ways.
        for seed in 0..400_u64 {
            let there = |place: usize| seed == 0 || (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (place * 2)) & 3 == 0;
            let mut index = Index::default();
            for (place, resource) in resources.iter().enumerate().filter(|(place, _)| there(*place)) {
                index.insert(SPACE, resource, id(place), 0);
            }
            for wanted in &resources {
                let mut visited = BTreeSet::new();
                for lead in wanted.leads() {
                    let all = index.visit::<()>(SPACE, &lead, &mut |id, _| {
                        visited.insert(id.seq as usize);
                        ControlFlow::Continue(())
                    });
                    assert!(all.is_continue());
                }
                for (place, resource) in resources.iter().enumerate().filter(|(place, _)| there(*place)) {
                    let meets = wanted.meets(resource, &mut Steps::new(100_000)).unwrap();
                    assert!(
                        !meets || visited.contains(&place),
                        "{} misses {}",
                        wanted.text(),
                        texts[place]
                    );
                }
            }
            for (place, resource) in resources.iter().enumerate().filter(|(place, _)| there(*place)) {
                index.remove(SPACE, resource, id(place), 0);
            }
            assert!(index.entries.is_empty());
        }
    }
}
