//! Which reservations may meet a resource, found by what everything in it begins with ([`Lead::beginning`]): what is in both
//! of two resources begins with the beginnings of both, so one of these begins with the other. In an ordered set those that
//! the beginning of a resource begins with (`src`, `src/a/f` for `src/a/f1.rs`) are found from the longest down, skipping
//! what is not there; those that begin with it stand together.

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

/// A place in the index: where, which resource of which reservation, and whether the beginning is all of it.
type Entry = (Space, Arc<str>, ReservationId, u32, bool);

/// What was found in the index.
pub(super) struct Hit<'a> {
    pub(super) id: ReservationId,
    /// The place of its resource.
    pub(super) place: u32,
    /// The one path or key that the resource is, if it is one: what cannot be that need not be looked up.
    pub(super) exact: Option<&'a str>,
}

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
            let entry = (space, lead.beginning().clone(), id, place, lead.whole);
            self.entries.insert(entry);
        }
    }

    pub(super) fn remove(&mut self, space: Space, resource: &Resource, id: ReservationId, place: u32) {
        for lead in resource.leads() {
            let entry = (space, lead.beginning().clone(), id, place, lead.whole);
            self.entries.remove(&entry);
        }
    }

    /// Visits what may meet something with this lead, until the visitor breaks; some of it perhaps again for another lead.
    pub(super) fn visit<B>(
        &self,
        space: Space,
        lead: &Lead,
        visitor: &mut dyn FnMut(Hit<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let beginning = lead.beginning();
        let mut at = &**beginning;
        loop {
            let last = (space, at.into(), LAST, u32::MAX, true);
            let before = self.entries.range(..=last).next_back();
            let Some((_, found, ..)) = before.filter(|entry| entry.0 == space) else {
                break;
            };
            let common = common_bytes(found, at);
            if common < found.len() {
                // Between the two is nothing; what both begin with is no longer than what they have in common.
                at = at_most(at, common);
                continue;
            }
            let first = (space, found.clone(), FIRST, 0, false);
            for entry in self.entries.range(first..=(space, found.clone(), LAST, u32::MAX, true)) {
                visitor(hit(entry))?;
            }
            if found.is_empty() {
                break;
            }
            at = at_most(at, found.len() - 1);
        }
        if lead.whole {
            return ControlFlow::Continue(());
        }
        let first = (space, lead.start.clone(), FIRST, 0, false);
        for entry in self.entries.range(first..) {
            let (found_space, found, ..) = entry;
            if *found_space != space || !found.starts_with(&*lead.start) {
                break;
            }
            // Those have been visited.
            if found != beginning {
                visitor(hit(entry))?;
            }
        }
        ControlFlow::Continue(())
    }
}

fn hit((_, beginning, id, place, whole): &Entry) -> Hit<'_> {
    Hit {
        id: *id,
        place: *place,
        exact: whole.then_some(beginning),
    }
}

/// So many bytes of it, or the characters that are whole among them.
fn at_most(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
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
                    let all = index.visit::<()>(SPACE, &lead, &mut |hit| {
                        let exact = hit.exact.is_none_or(|exact| wanted.may_be(exact));
                        if exact {
                            visited.insert(hit.id.seq as usize);
                        }
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
