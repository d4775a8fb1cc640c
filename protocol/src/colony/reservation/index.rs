//! Which reservations may meet a resource.
//!
//! What everything in a resource begins with ([`Lead::beginning`]): what is in both of two resources begins with the
//! beginnings of both, so one of these begins with the other. In a radix tree those that the beginning of a resource begins
//! with (`src`, `src/a/f` for `src/a/f1.rs`) stand along one way; those that begin with it stand below its end.
//!
//! A pattern over many folders begins with what many begin with, and may still name one file: `crates/*/Cargo.toml`. So the
//! same stands in two further trees, first by how the last name begins, and by how it ends, and by the beginning only then.
//! A look-up goes a few steps in one tree; if that is not the end of it, in the second, in the third, and further in each in
//! turn. Each tree has all that may meet, so the one that comes to an end has said it all.
//!
//! What is waited for stands here once for each resource and mode, in the name of the first who waits: see
//! [`super::Reservations`].

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::sync::Arc;

use super::radix::{Cursor, Radix};
use super::{Mode, Reservation, ReservationId, Resource};
use crate::conflict::glob::Lead;

/// How far a look-up goes in each tree before it turns to the next: then that of the beginnings is looked through whole.
const TURNS: [usize; 4] = [32, 256, 2_048, 8_192];
/// What stands behind each text of a key: in no text.
const END: u8 = 0xff;

/// Which part of the index: what is held, or what is waited for, in one mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Space {
    pub(super) waiting: bool,
    pub(super) mode: Mode,
}

impl Space {
    /// Its number among all.
    fn number(self) -> u8 {
        self.mode as u8 * 2 + u8::from(self.waiting)
    }
}

/// The place of a resource: which of which reservation.
pub(super) type Place = (ReservationId, u32);

/// What was found in the index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit<'a> {
    pub(super) reservation: &'a Reservation,
    /// Which of its resources.
    pub(super) place: u32,
    /// Whether it must be looked up: the last names may be seen not to agree.
    pub(super) near: bool,
}

/// What stands in a tree: the reservation itself, so that nothing else has to be fetched from memory than what is compared.
#[derive(Clone, Debug)]
struct Entry {
    reservation: Arc<Reservation>,
    /// Which of its resources, and which alternative of that.
    place: u32,
    alternative: u32,
    names: Names,
}

impl Entry {
    fn lead(&self) -> Arc<Lead> {
        let resource = &self.reservation.resources[self.place as usize].resource;
        resource.leads().swap_remove(self.alternative as usize)
    }

    /// Reads what a look at it will read.
    fn read(&self) -> usize {
        let reservation = &*self.reservation;
        let reserved = &reservation.resources[self.place as usize];
        let path = match &reserved.resource {
            Resource::Files(glob) => glob.text(),
            _ => &reserved.text,
        };
        let ends = [path, &reserved.text].map(|text| text.as_bytes().last().map_or(0, |byte| usize::from(*byte)));
        let until = reservation.until_ms() as usize;
        until.wrapping_add(ends[0] + ends[1] + reservation.holder.author.len())
    }
}

/// The first bytes of how a last name begins and ends: mostly they say whether two agree. What is shorter is filled up.
#[derive(Clone, Copy, Debug)]
struct Names {
    start: [u8; 8],
    end: [u8; 8],
}

impl Names {
    fn of(lead: &Lead) -> Names {
        let first = |text: &str| std::array::from_fn(|at| text.as_bytes().get(at).copied().unwrap_or(END));
        Names {
            start: first(&lead.name_start),
            end: first(&lead.name_end),
        }
    }

    /// What [`Lead::names_agree`] says of the leads, if these bytes tell.
    fn agree(&self, other: &Names) -> Option<bool> {
        match (go_on(self.start, other.start), go_on(self.end, other.end)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        }
    }
}

/// Whether one of two texts begins with the other, if their first bytes tell.
fn go_on(a: [u8; 8], b: [u8; 8]) -> Option<bool> {
    let differ = a.into_iter().zip(b).find(|(a, b)| a != b || *a == END)?;
    Some(differ.0 == END || differ.1 == END)
}

/// Why a look-up in one tree ends before it has seen all.
enum Stop<B> {
    /// It has gone as far as it may.
    Turn,
    /// The visitor has seen enough.
    Visitor(B),
}

/// A look-up in one tree.
struct Visit<'a, B> {
    space: Space,
    lead: &'a Lead,
    names: Names,
    /// How far it may go still.
    left: usize,
    visitor: &'a mut dyn FnMut(Hit<'_>) -> ControlFlow<B>,
}

/// The index: trees whose keys are the number of the space, the last name's start or end where a tree is ordered by it, the
/// beginning, the place, and which alternative.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_beginning: Radix<Entry>,
    by_name_start: Radix<Entry>,
    by_name_end: Radix<Entry>,
}

impl Index {
    /// Puts in what stands at this place of a reservation.
    pub(super) fn insert(&mut self, space: Space, reservation: &Arc<Reservation>, place: u32) {
        let resource = &reservation.resources[place as usize].resource;
        for (alternative, lead) in (0..).zip(resource.leads()) {
            for (tree, key) in self.keys(space, &lead, ((reservation.id, place), alternative)) {
                let entry = Entry {
                    reservation: reservation.clone(),
                    place,
                    alternative,
                    names: Names::of(&lead),
                };
                tree.insert(&key, entry);
            }
        }
    }

    /// Takes out what stands at this place, which is this resource.
    pub(super) fn remove(&mut self, space: Space, resource: &Resource, place: Place) {
        for (alternative, lead) in (0..).zip(resource.leads()) {
            for (tree, key) in self.keys(space, &lead, (place, alternative)) {
                tree.remove(&key);
            }
        }
    }

    fn keys(&mut self, space: Space, lead: &Lead, of: (Place, u32)) -> [(&mut Radix<Entry>, Vec<u8>); 3] {
        let key = |name: Option<&str>| key(space, name, lead, of);
        [
            (&mut self.by_beginning, key(None)),
            (&mut self.by_name_start, key(Some(&lead.name_start))),
            (&mut self.by_name_end, key(Some(&lead.name_end))),
        ]
    }

    /// Visits what may meet something with this lead, until the visitor breaks; some of it perhaps again.
    pub(super) fn visit<B>(
        &self,
        space: Space,
        lead: &Lead,
        visitor: &mut dyn FnMut(Hit<'_>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let mut visit = Visit {
            space,
            lead,
            names: Names::of(lead),
            left: 0,
            visitor,
        };
        let mut trees = [
            (&self.by_beginning, None),
            (&self.by_name_start, Some(&lead.name_start)),
            (&self.by_name_end, Some(&lead.name_end)),
        ];
        // One path is found by its beginning; of a pattern the last name says more, mostly.
        if !lead.whole {
            trees.rotate_left(1);
        }
        for left in TURNS {
            for (tree, name) in trees {
                // One that says nothing leads everywhere.
                if name.is_some_and(|name| name.is_empty()) {
                    continue;
                }
                visit.left = left;
                match visit.look_through(tree, name.map(|name| &**name)) {
                    ControlFlow::Continue(()) => return ControlFlow::Continue(()),
                    ControlFlow::Break(Stop::Visitor(end)) => return ControlFlow::Break(end),
                    ControlFlow::Break(Stop::Turn) => {}
                }
            }
        }
        visit.left = usize::MAX;
        match visit.look_through(&self.by_beginning, None) {
            ControlFlow::Break(Stop::Visitor(end)) => ControlFlow::Break(end),
            _ => ControlFlow::Continue(()),
        }
    }

    #[cfg(test)]
    fn is_empty(&self) -> bool {
        let trees = [&self.by_beginning, &self.by_name_start, &self.by_name_end];
        trees.iter().all(|tree| tree.is_empty())
    }
}

/// The key of an alternative of what stands at this place, in a tree that is ordered by the last name or not.
fn key(space: Space, name: Option<&str>, lead: &Lead, ((id, place), alternative): (Place, u32)) -> Vec<u8> {
    let mut key = Vec::with_capacity(64);
    key.push(space.number());
    for text in name.into_iter().chain([&**lead.beginning()]) {
        key.extend_from_slice(text.as_bytes());
        key.push(END);
    }
    for number in [id.seq, id.ordinal.into(), place.into(), alternative.into()] {
        // In as few bytes as keep the order.
        let zeros = number.leading_zeros() as usize / 8;
        key.push((8 - zeros) as u8);
        key.extend_from_slice(&number.to_be_bytes()[zeros..]);
    }
    key
}

impl<B> Visit<'_, B> {
    /// Visits what fits in a tree, which is ordered by the last name if one is given.
    fn look_through(&mut self, tree: &Radix<Entry>, name: Option<&str>) -> ControlFlow<Stop<B>> {
        let Some(start) = tree.start().step(self.space.number()) else {
            return ControlFlow::Continue(());
        };
        let Some(name) = name else {
            return self.of_beginnings(start);
        };
        let Some(at) = along(start, name, &mut |behind| self.of_name(behind))? else {
            return ControlFlow::Continue(());
        };
        // A whole name is no beginning of others.
        if !name.ends_with('/') {
            for (_, longer) in at.branches().filter(|(byte, _)| *byte != END) {
                longer.behind_next(END, &mut |behind| self.of_name(behind))?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Visits those of one name whose beginnings fit.
    fn of_name(&mut self, behind: Cursor<'_, Entry>) -> ControlFlow<Stop<B>> {
        self.step()?;
        self.of_beginnings(behind)
    }

    /// Visits those behind this place whose beginnings fit.
    fn of_beginnings(&mut self, start: Cursor<'_, Entry>) -> ControlFlow<Stop<B>> {
        let lead = self.lead;
        let beginning: &str = lead.beginning();
        let at = along(start, beginning, &mut |behind| self.all(behind))?;
        if lead.whole {
            return ControlFlow::Continue(());
        }
        // What begins so goes on where the beginning ends, or a slash behind it. Those that end there have been visited.
        let rest = lead.start.get(beginning.len()..).unwrap_or_default();
        let below = at.and_then(|at| rest.bytes().try_fold(at, Cursor::step));
        for (_, longer) in below
            .into_iter()
            .flat_map(Cursor::branches)
            .filter(|(byte, _)| *byte != END || !rest.is_empty())
        {
            self.all(longer)?;
        }
        ControlFlow::Continue(())
    }

    fn all(&mut self, behind: Cursor<'_, Entry>) -> ControlFlow<Stop<B>> {
        behind.values(Entry::read, &mut |entry| self.hit(entry))
    }

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
        let agree = self.names.agree(&entry.names);
        let hit = Hit {
            reservation: &entry.reservation,
            place: entry.place,
            near: agree.unwrap_or_else(|| self.lead.names_agree(&entry.lead())),
        };
        match (self.visitor)(hit) {
            ControlFlow::Continue(()) => ControlFlow::Continue(()),
            ControlFlow::Break(end) => ControlFlow::Break(Stop::Visitor(end)),
        }
    }
}

/// Goes along a text and visits the places behind each beginning of it that is a text of the tree, itself included. Returns
/// the place at its end, if others go as far.
fn along<'a, B>(
    start: Cursor<'a, Entry>,
    text: &str,
    visitor: &mut dyn FnMut(Cursor<'a, Entry>) -> ControlFlow<B>,
) -> ControlFlow<B, Option<Cursor<'a, Entry>>> {
    let mut at = start;
    for byte in text.bytes() {
        if let Some(behind) = at.step(END) {
            visitor(behind)?;
        }
        match at.step(byte) {
            Some(next) => at = next,
            None => return ControlFlow::Continue(None),
        }
    }
    if let Some(behind) = at.step(END) {
        visitor(behind)?;
    }
    ControlFlow::Continue(Some(at))
}
