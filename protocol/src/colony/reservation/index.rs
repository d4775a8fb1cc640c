//! Which reservations may meet a resource.
//!
//! What everything in a resource begins with ([`Lead::beginning`]): what is in both of two resources begins with the
//! beginnings of both, so one of these begins with the other. In an ordered set those that the beginning of a resource
//! begins with (`src`, `src/a/f` for `src/a/f1.rs`) are found from the longest down, skipping what is not there; those that
//! begin with it stand together.
//!
//! A pattern over many folders begins with what many begin with, and may still name one file: `crates/*/Cargo.toml`. So the
//! same stands in two further sets, first by how the last name begins, and by how it ends, and by the beginning only then.
//! A look-up goes a few steps in the first set; if that is not the end of it, in the second, in the third, and further in
//! each in turn. Each set has all that may meet, so the one that comes to an end has said it all.
//!
//! What is waited for stands here once for each resource and mode, in the name of the first who waits: see
//! [`super::Reservations`].

use std::cmp::Ordering;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};
use imbl::OrdSet;

use super::{Mode, ReservationId, Resource};
use crate::conflict::glob::Lead;

/// How far a look-up goes in each set before it turns to the next: then the first is looked through whole.
const TURNS: [usize; 3] = [64, 1_024, 8_192];

/// Which part of the index: what is held, or what is waited for, in one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Space {
    pub(super) waiting: bool,
    pub(super) mode: Mode,
}

impl Space {
    /// Its number among all.
    fn number(self) -> usize {
        self.mode as usize * 2 + usize::from(self.waiting)
    }
}

/// The place of a resource: which of which reservation.
pub(super) type Place = (ReservationId, u32);

/// What was found in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    pub(super) place: Place,
    /// Whether it must be looked up: the last names may be seen not to agree.
    pub(super) near: bool,
}

/// What stands in a set.
#[derive(Clone, Debug)]
struct Entry {
    space: Space,
    /// How the last name begins, or ends; the same in all of the set that is ordered by the beginning alone.
    name: Arc<str>,
    beginning: Arc<str>,
    place: Place,
    lead: Arc<Lead>,
}

impl Entry {
    fn at(&self) -> (Space, &str, &str, Place, &Lead) {
        (self.space, &self.name, &self.beginning, self.place, &self.lead)
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Entry) -> bool {
        self.at() == other.at()
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Entry) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Entry) -> Ordering {
        self.at().cmp(&other.at())
    }
}

/// A place between entries: before or behind all with the same name, or with the same name and beginning.
#[derive(Clone, Copy, Debug)]
struct Between<'a> {
    space: Space,
    name: &'a str,
    beginning: Option<&'a str>,
    behind: bool,
}

impl Equivalent<Entry> for Between<'_> {
    fn equivalent(&self, _: &Entry) -> bool {
        false
    }
}

impl Comparable<Entry> for Between<'_> {
    fn compare(&self, entry: &Entry) -> Ordering {
        let names = (self.space, self.name).cmp(&(entry.space, &*entry.name));
        let beginnings = || {
            self.beginning
                .map_or(Ordering::Equal, |mine| mine.cmp(&entry.beginning))
        };
        let side = match self.behind {
            true => Ordering::Greater,
            false => Ordering::Less,
        };
        names.then_with(beginnings).then(side)
    }
}

/// Why a look-up in one set ends before it has seen all.
enum Stop<B> {
    /// It has gone as far as it may.
    Turn,
    /// The visitor has seen enough.
    Visitor(B),
}

/// A look-up in one set.
struct Visit<'a, B> {
    space: Space,
    lead: &'a Lead,
    /// How far it may go still.
    left: usize,
    visitor: &'a mut dyn FnMut(Hit) -> ControlFlow<B>,
}

/// The index.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_beginning: Set,
    by_name_start: Set,
    by_name_end: Set,
    none: Arc<str>,
    /// How many resources stand in each space: one without is not looked through.
    counts: [usize; 6],
}

#[derive(Clone, Debug, Default)]
struct Set {
    entries: OrdSet<Entry>,
}

impl Index {
    pub(super) fn insert(&mut self, space: Space, resource: &Resource, place: Place) {
        self.counts[space.number()] += 1;
        for lead in resource.leads() {
            for (set, entry) in self.entries(space, &lead, place) {
                set.entries.insert(entry);
            }
        }
    }

    pub(super) fn remove(&mut self, space: Space, resource: &Resource, place: Place) {
        self.counts[space.number()] -= 1;
        for lead in resource.leads() {
            for (set, entry) in self.entries(space, &lead, place) {
                set.entries.remove(&entry);
            }
        }
    }

    fn entries(&mut self, space: Space, lead: &Arc<Lead>, place: Place) -> [(&mut Set, Entry); 3] {
        let entry = |name: &Arc<str>| Entry {
            space,
            name: name.clone(),
            beginning: lead.beginning().clone(),
            place,
            lead: lead.clone(),
        };
        [
            (&mut self.by_beginning, entry(&self.none)),
            (&mut self.by_name_start, entry(&lead.name_start)),
            (&mut self.by_name_end, entry(&lead.name_end)),
        ]
    }

    /// Visits what may meet something with this lead, until the visitor breaks; some of it perhaps again.
    pub(super) fn visit<B>(
        &self,
        space: Space,
        lead: &Lead,
        visitor: &mut dyn FnMut(Hit) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if self.counts[space.number()] == 0 {
            return ControlFlow::Continue(());
        }
        let mut visit = Visit {
            space,
            lead,
            left: 0,
            visitor,
        };
        for left in TURNS {
            for (set, name) in [
                (&self.by_beginning, None),
                (&self.by_name_start, Some(&lead.name_start)),
                (&self.by_name_end, Some(&lead.name_end)),
            ] {
                // One that says nothing leads everywhere.
                if name.is_some_and(|name| name.is_empty()) {
                    continue;
                }
                visit.left = left;
                let seen = match name {
                    None => set.of_name("", &mut visit),
                    Some(name) => set.of_names(name, name.ends_with('/'), &mut visit),
                };
                match seen {
                    ControlFlow::Continue(()) => return ControlFlow::Continue(()),
                    ControlFlow::Break(Stop::Visitor(end)) => return ControlFlow::Break(end),
                    ControlFlow::Break(Stop::Turn) => {}
                }
            }
        }
        visit.left = usize::MAX;
        match self.by_beginning.of_name("", &mut visit) {
            ControlFlow::Break(Stop::Visitor(end)) => ControlFlow::Break(end),
            _ => ControlFlow::Continue(()),
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        let sets = [&self.by_beginning, &self.by_name_start, &self.by_name_end];
        sets.iter().all(|set| set.entries.is_empty())
    }
}

impl<B> Visit<'_, B> {
    /// A step further.
    fn step(&mut self) -> ControlFlow<Stop<B>> {
        match self.left.checked_sub(1) {
            None => ControlFlow::Break(Stop::Turn),
            Some(left) => {
                self.left = left;
                ControlFlow::Continue(())
            }
        }
    }

    fn hit(&mut self, entry: &Entry) -> ControlFlow<Stop<B>> {
        self.step()?;
        let hit = Hit {
            place: entry.place,
            near: self.lead.names_agree(&entry.lead),
        };
        match (self.visitor)(hit) {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(end) => ControlFlow::Break(Stop::Visitor(end)),
        }
    }

    /// The place before or behind all with this name, or with this beginning as well.
    fn between<'a>(&self, name: &'a str, beginning: Option<&'a str>, behind: bool) -> Between<'a> {
        Between {
            space: self.space,
            name,
            beginning,
            behind,
        }
    }
}

impl Set {
    /// The last entry before a place, of the same space.
    fn before(&self, place: Between<'_>) -> Option<&Entry> {
        let mut before = self
            .entries
            .range::<_, Between<'_>>((Bound::Unbounded, Bound::Excluded(place)));
        before.next_back().filter(|entry| entry.space == place.space)
    }

    /// The entries behind a place, of the same space.
    fn behind<'a>(&'a self, place: Between<'_>) -> impl Iterator<Item = &'a Entry> + use<'a> {
        let space = place.space;
        let behind = self
            .entries
            .range::<_, Between<'_>>((Bound::Excluded(place), Bound::Unbounded));
        behind.take_while(move |entry| entry.space == space)
    }

    /// Visits those whose last names begin as `name` does, and whose beginnings fit.
    fn of_names<B>(&self, name: &str, whole: bool, visit: &mut Visit<'_, B>) -> ControlFlow<Stop<B>> {
        let mut at = name;
        while let Some(entry) = self.before(visit.between(at, None, true)) {
            visit.step()?;
            let found: &str = &entry.name;
            let common = common_bytes(found, at);
            if common < found.len() {
                // Between the two is nothing; what both begin with is no longer than what they have in common.
                at = at_most(at, common);
                continue;
            }
            self.of_name(found, visit)?;
            if found.is_empty() {
                break;
            }
            at = at_most(at, found.len() - 1);
        }
        if whole {
            return ControlFlow::Continue(());
        }
        let mut last: &str = name;
        while let Some(entry) = self.behind(visit.between(last, None, true)).next() {
            visit.step()?;
            if !entry.name.starts_with(name) {
                break;
            }
            self.of_name(&entry.name, visit)?;
            last = &entry.name;
        }
        ControlFlow::Continue(())
    }

    /// Visits those with this name whose beginnings fit.
    fn of_name<B>(&self, name: &str, visit: &mut Visit<'_, B>) -> ControlFlow<Stop<B>> {
        let lead = visit.lead;
        let beginning: &str = lead.beginning();
        let mut at = beginning;
        while let Some(entry) = self.before(visit.between(name, Some(at), true)) {
            if *entry.name != *name {
                break;
            }
            let found: &str = &entry.beginning;
            let common = common_bytes(found, at);
            if common < found.len() {
                at = at_most(at, common);
                continue;
            }
            for entry in self.behind(visit.between(name, Some(found), false)) {
                if *entry.name != *name || *entry.beginning != *found {
                    break;
                }
                visit.hit(entry)?;
            }
            if found.is_empty() {
                break;
            }
            at = at_most(at, found.len() - 1);
        }
        if lead.whole {
            return ControlFlow::Continue(());
        }
        for entry in self.behind(visit.between(name, Some(&lead.start), false)) {
            if *entry.name != *name || !entry.beginning.starts_with(&*lead.start) {
                break;
            }
            // Those have been visited.
            if *entry.beginning != *beginning {
                visit.hit(entry)?;
            }
        }
        ControlFlow::Continue(())
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

    /// All that meet are visited by each set, whatever else is.
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
        let place = |place: usize| {
            let seq = place as u64;
            (ReservationId { seq, ordinal: 0 }, 0)
        };
        // Sparse and full, so that neighbours are missing in all ways.
        for seed in 0..400_u64 {
            let there = |place: usize| seed == 0 || (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (place * 2)) & 3 == 0;
            let mut index = Index::default();
            for (number, resource) in resources.iter().enumerate().filter(|(number, _)| there(*number)) {
                index.insert(SPACE, resource, place(number));
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
                index.remove(SPACE, resource, place(number));
            }
            assert!(index.is_empty());
        }
    }

    /// What each of the sets finds by itself.
    fn visit_all(index: &Index, lead: &Lead, visited: &mut [BTreeSet<usize>; 3]) {
        let sets = [
            (&index.by_beginning, ""),
            (&index.by_name_start, &*lead.name_start),
            (&index.by_name_end, &*lead.name_end),
        ];
        for ((set, name), visited) in sets.into_iter().zip(visited) {
            let visitor: &mut dyn FnMut(Hit) -> ControlFlow<()> = &mut |hit| {
                if hit.near {
                    visited.insert(hit.place.0.seq as usize);
                }
                ControlFlow::Continue(())
            };
            let mut visit = Visit {
                space: SPACE,
                lead,
                left: usize::MAX,
                visitor,
            };
            assert!(set.of_names(name, name.ends_with('/'), &mut visit).is_continue());
        }
    }

    #[test]
    fn a_pattern_over_folders_is_found_by_the_name_that_it_ends_with() {
        let mut index = Index::default();
        for number in 0..20_000_u64 {
            let text = format!("file:crates/c{}/src/f{number}.rs", number % 100);
            let id = ReservationId {
                seq: number,
                ordinal: 0,
            };
            index.insert(SPACE, &Resource::parse(&text).unwrap(), (id, 0));
        }
        let steps = |text: &str| {
            let (mut steps, mut near) = (0, Vec::new());
            for lead in Resource::parse(text).unwrap().leads() {
                let all = index.visit::<()>(SPACE, &lead, &mut |hit| {
                    steps += 1;
                    near.extend(hit.near.then_some(hit.place.0.seq));
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
}
