//! What stands in the way of a request: asked by acquiring, by those who wait, by writes, and by who only wants to know.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::form::parse;
use super::index::{Hit, Place, Space};
use super::{
    BLOCKERS_LISTED_MAX, LOOKUP_STEPS_MAX, Mode, Reservation, ReservationId, Reservations, Reserved, Resource, Want,
};
use crate::colony::agent::Agents;
use crate::colony::command::{Key, Refusal};
use crate::colony::memory::over_limit;
use crate::colony::task::{Holder, Owner, TaskId};
use crate::conflict::glob::{Lead, OverSteps, Steps};

/// What looking at one reservation costs of the steps of a look-up.
const LOOK_STEPS: u64 = 16;
/// How many steps each write of a proposal adds to those that all of them may take.
const WRITE_STEPS: u64 = 1_024;

/// Something that stands in the way of a resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Blocker {
    /// The place of the resource in the request.
    pub wanted: u32,
    /// The reservation that stands in its way.
    pub reservation: ReservationId,
    /// Its resource.
    pub resource: Arc<str>,
    /// How it has it.
    pub mode: Mode,
    /// Whose it is.
    pub holder: Holder,
    /// Cluster time in milliseconds at which it ends by itself.
    pub until_ms: u64,
    /// For which task.
    pub task: Option<TaskId>,
    /// Whether it waits itself, and came before.
    pub waits: bool,
}

/// What a request would come to now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checked {
    /// What stands in its way: nothing if it would be granted. At most [`BLOCKERS_LISTED_MAX`].
    pub blockers: Vec<Blocker>,
    /// Whether there is more than is listed.
    pub more: bool,
    /// The places of the resources that would be granted if they were wanted alone: the greatest part of the request that
    /// is free.
    pub free: Vec<u32>,
    /// The intents of others that meet it; they stand in nobody's way. At most [`BLOCKERS_LISTED_MAX`].
    pub announced: Vec<Blocker>,
}

/// A request, as it is looked up.
pub(super) struct Asking<'a> {
    pub(super) resources: &'a [Reserved],
    pub(super) owner: Option<&'a Owner>,
    /// Who waits is asked with its id: only those before it count. Who comes now stands behind all.
    pub(super) waits_as: Option<ReservationId>,
    pub(super) agents: &'a Agents,
    pub(super) now_ms: u64,
    /// Reservations that will have ended when it is granted.
    pub(super) gone: &'a [ReservationId],
    /// The slots of which the owner will have taken a place before, one for each place.
    pub(super) slots: &'a [Arc<str>],
}

/// What was found of a request.
#[derive(Default)]
pub(super) struct Found {
    pub(super) taken: Vec<bool>,
    pub(super) blockers: Vec<Blocker>,
    pub(super) more: bool,
}

impl Found {
    pub(super) fn is_free(&self) -> bool {
        !self.taken.contains(&true)
    }

    /// The refusal of a request that is not free.
    pub(super) fn refusal(self) -> Refusal {
        Refusal::Held {
            free: self.free(),
            blockers: self.blockers,
            more: self.more,
        }
    }

    fn free(&self) -> Vec<u32> {
        let places = (0..).zip(&self.taken);
        places.filter(|(_, taken)| !**taken).map(|(place, _)| place).collect()
    }

    /// Notes what stands in the way; whether anything is left to find for this resource.
    fn note(&mut self, place: usize, reservation: &Reservation, theirs: &Reserved, list: usize) -> bool {
        self.taken[place] = true;
        let here = |blocker: &Blocker| {
            (blocker.wanted, blocker.reservation, &blocker.resource) == (place as u32, reservation.id, &theirs.text)
        };
        if self.blockers.iter().any(here) {
            return true;
        }
        if self.blockers.len() >= list {
            self.more = true;
            return false;
        }
        self.blockers.push(blocker(place, reservation, theirs));
        true
    }
}

fn blocker(place: usize, reservation: &Reservation, theirs: &Reserved) -> Blocker {
    Blocker {
        wanted: place as u32,
        reservation: reservation.id,
        resource: theirs.text.clone(),
        mode: theirs.mode,
        holder: reservation.holder.clone(),
        until_ms: reservation.until_ms(),
        task: reservation.task,
        waits: reservation.is_waiting(),
    }
}

impl Asking<'_> {
    /// Whether a reservation counts for this request at all.
    fn counts(&self, reservation: &Reservation) -> bool {
        let behind = reservation.is_waiting() && self.waits_as.is_some_and(|me| reservation.id >= me);
        !behind && !self.gone.contains(&reservation.id) && !reservation.is_over(self.agents, self.now_ms)
    }
}

impl Reservations {
    /// What a request would come to at `now_ms` if `owner` made it.
    ///
    /// # Errors
    /// When a resource is malformed, or the look-up is over [`LOOKUP_STEPS_MAX`].
    pub fn check(
        &self,
        wants: &[Want],
        owner: Option<&Owner>,
        agents: &Agents,
        now_ms: u64,
    ) -> Result<Checked, Refusal> {
        let resources = parse(wants)?;
        let asking = Asking {
            resources: &resources,
            owner,
            waits_as: None,
            agents,
            now_ms,
            gone: &[],
            slots: &[],
        };
        let steps = &mut Steps::new(LOOKUP_STEPS_MAX);
        let found = self.look(&asking, BLOCKERS_LISTED_MAX, steps).map_err(over_steps)?;
        let mut announced = Found {
            taken: vec![false; resources.len()],
            ..Found::default()
        };
        for (place, wanted) in resources.iter().enumerate() {
            let space = Space {
                waiting: false,
                mode: Mode::Intent,
            };
            let leads = wanted.resource.leads();
            self.find(&asking, space, (wanted, &leads), steps, &mut |reservation, theirs| {
                announced.note(place, reservation, theirs, BLOCKERS_LISTED_MAX)
            })
            .map_err(over_steps)?;
        }
        Ok(Checked {
            free: found.free(),
            blockers: found.blockers,
            more: found.more,
            announced: announced.blockers,
        })
    }

    /// The first `most` of those that meet a resource, by id, whatever their mode and whether they wait or not.
    ///
    /// # Errors
    /// As [`Reservations::check`].
    pub fn meeting(&self, resource: &str, most: usize) -> Result<Vec<Arc<Reservation>>, Refusal> {
        let wanted = Resource::parse(resource)?;
        let steps = &mut Steps::new(LOOKUP_STEPS_MAX);
        let mut met = BTreeSet::new();
        if let Resource::Slot(name) = &wanted {
            met.extend(self.of_slot(name));
        }
        for mode in [Mode::Exclusive, Mode::Shared, Mode::Intent] {
            for waiting in [false, true] {
                for lead in wanted.leads() {
                    let space = Space { waiting, mode };
                    let found = self.index().visit(space, &lead, &mut |hit| {
                        let mut look = || {
                            if is_near(hit, steps)? {
                                let theirs = &hit.reservation.resources[hit.place as usize];
                                if wanted.meets(&theirs.resource, steps)? {
                                    met.insert(hit.reservation.id);
                                    met.extend(self.line_in(space, theirs).map(|(id, _)| id));
                                }
                            }
                            Ok(())
                        };
                        match look() {
                            Ok(()) => ControlFlow::Continue(()),
                            Err(over) => ControlFlow::Break(over),
                        }
                    });
                    if let ControlFlow::Break(over) = found {
                        return Err(over_steps(over));
                    }
                }
            }
        }
        Ok(met
            .into_iter()
            .take(most)
            .filter_map(|id| self.get(id).cloned())
            .collect())
    }

    /// What stands in the way of a request; up to `list` of it by name.
    pub(super) fn look(&self, asking: &Asking<'_>, list: usize, steps: &mut Steps) -> Result<Found, OverSteps> {
        let mut found = Found {
            taken: vec![false; asking.resources.len()],
            ..Found::default()
        };
        for (place, wanted) in asking.resources.iter().enumerate() {
            if let Resource::Slot(name) = &wanted.resource {
                self.look_at_slot(asking, (place, name, &wanted.text), list, steps, &mut found)?;
                continue;
            }
            let leads = wanted.resource.leads();
            for mode in wanted.mode.excludes() {
                for waiting in [false, true] {
                    let space = Space { waiting, mode: *mode };
                    self.find(asking, space, (wanted, &leads), steps, &mut |reservation, theirs| {
                        found.note(place, reservation, theirs, list)
                    })?;
                }
            }
        }
        Ok(found)
    }

    /// The steps that a look at one who waits takes.
    #[cfg(test)]
    pub(in crate::colony) fn steps_of_a_look(&self, id: ReservationId, agents: &Agents, now_ms: u64) -> u64 {
        let reservation = self.known(id);
        let asking = Asking {
            resources: &reservation.resources,
            owner: Some(&reservation.holder.owner),
            waits_as: Some(id),
            agents,
            now_ms,
            gone: &[],
            slots: &[],
        };
        let mut steps = Steps::new(LOOKUP_STEPS_MAX);
        self.look(&asking, 0, &mut steps).expect("it is within the bound");
        LOOKUP_STEPS_MAX - steps.left()
    }

    /// A slot is taken when those who hold it and those who waited before leave no place.
    fn look_at_slot(
        &self,
        asking: &Asking<'_>,
        (place, name, text): (usize, &Arc<str>, &Arc<str>),
        list: usize,
        steps: &mut Steps,
        found: &mut Found,
    ) -> Result<(), OverSteps> {
        let waiting = self.line(text, Mode::Exclusive).map(|(id, _)| id);
        let before = waiting.take_while(|id| asking.waits_as.is_none_or(|me| *id < me));
        let mut taken = asking.slots.iter().filter(|slot| *slot == name).count();
        let capacity = self.settings().capacity(name) as usize;
        let mut listed = Vec::new();
        // However long the line is: the places are counted, and what is listed.
        for id in in_order(self.holders_of(name), before) {
            if taken >= capacity && listed.len() > list {
                break;
            }
            steps.spend(LOOK_STEPS)?;
            let reservation = self.known(id);
            if asking.counts(reservation) {
                taken += 1;
                listed.push(reservation);
            }
        }
        if taken >= capacity {
            found.taken[place] = true;
            for reservation in listed {
                if !found.note(place, reservation, reservation.of_text(text), list) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Finds what of others in a space meets a resource, until `note` wants no more.
    fn find(
        &self,
        asking: &Asking<'_>,
        space: Space,
        (wanted, leads): (&Reserved, &[Arc<Lead>]),
        steps: &mut Steps,
        note: &mut dyn FnMut(&Reservation, &Reserved) -> bool,
    ) -> Result<(), OverSteps> {
        for lead in leads {
            let found = self.index().visit(space, lead, &mut |hit| {
                let mut look = || {
                    if !is_near(hit, steps)? {
                        return Ok(true);
                    }
                    let holder = hit.reservation;
                    let first = &holder.resources[hit.place as usize];
                    if !space.waiting {
                        let others = asking.owner != Some(&holder.holder.owner);
                        let stands = others && wanted.resource.meets(&first.resource, steps)? && asking.counts(holder);
                        return Ok(!stands || note(holder, first));
                    }
                    if !wanted.resource.meets(&first.resource, steps)? {
                        return Ok(true);
                    }
                    let mut note = |place: Place| {
                        let waiter = self.known(place.0);
                        let stands = asking.owner != Some(&waiter.holder.owner) && asking.counts(waiter);
                        !stands || note(waiter, &waiter.resources[place.1 as usize])
                    };
                    for place in self.line_in(space, first) {
                        steps.spend(1)?;
                        // Those behind who waits do not stand in its way.
                        if asking.waits_as.is_some_and(|me| place.0 >= me) {
                            break;
                        }
                        if !note(place) {
                            return Ok(false);
                        }
                    }
                    Ok(true)
                };
                match look() {
                    Ok(true) => ControlFlow::Continue(()),
                    Ok(false) => ControlFlow::Break(Ok(())),
                    Err(over) => ControlFlow::Break(Err(over)),
                }
            });
            if let ControlFlow::Break(end) = found {
                return end;
            }
        }
        Ok(())
    }

    /// The exclusive reservation of somebody else than the writer that a key lies under.
    pub(crate) fn against_write(
        &self,
        key: &Key,
        writer: Option<&Owner>,
        agents: &Agents,
        now_ms: u64,
        steps: &mut Steps,
    ) -> Result<Option<Arc<Reservation>>, OverSteps> {
        if !self.stops_writes() {
            return Ok(None);
        }
        let wanted = Reserved {
            resource: Resource::key(key.clone()),
            text: key.clone(),
            mode: Mode::Exclusive,
        };
        let asking = Asking {
            resources: &[],
            owner: writer,
            waits_as: None,
            agents,
            now_ms,
            gone: &[],
            slots: &[],
        };
        let space = Space {
            waiting: false,
            mode: Mode::Exclusive,
        };
        let mut first: Option<ReservationId> = None;
        let leads = wanted.resource.leads();
        self.find(&asking, space, (&wanted, &leads), steps, &mut |reservation, _| {
            first = Some(reservation.id);
            false
        })?;
        Ok(first.and_then(|id| self.get(id)).cloned())
    }

    /// The first of others who waits for something that `reservation` holds. A slot counts whoever else holds it.
    pub(super) fn waited_for(
        &self,
        reservation: &Reservation,
        agents: &Agents,
        now_ms: u64,
        steps: &mut Steps,
    ) -> Result<Option<ReservationId>, OverSteps> {
        let asking = Asking {
            resources: &[],
            owner: Some(&reservation.holder.owner),
            waits_as: None,
            agents,
            now_ms,
            gone: &[],
            slots: &[],
        };
        let mut first: Option<ReservationId> = None;
        for held in &reservation.resources {
            if let Resource::Slot(_) = &held.resource {
                for (id, _) in self.line(&held.text, Mode::Exclusive) {
                    steps.spend(LOOK_STEPS)?;
                    let waiter = self.known(id);
                    if asking.owner != Some(&waiter.holder.owner) && asking.counts(waiter) {
                        return Ok(Some(id));
                    }
                }
            }
            let leads = held.resource.leads();
            for mode in held.mode.excludes() {
                let space = Space {
                    waiting: true,
                    mode: *mode,
                };
                self.find(&asking, space, (held, &leads), steps, &mut |waiter, _| {
                    first = Some(waiter.id);
                    false
                })?;
                if first.is_some() {
                    return Ok(first);
                }
            }
        }
        Ok(None)
    }

    /// Those who wait and are to be looked at when these resources of `gone` are free: they met them, and nobody stands
    /// before them who waits for the same. Over the bound of a look-up it is all who wait.
    pub(super) fn met_by(
        &self,
        gone: &Reservation,
        freed: &[Reserved],
        agents: &Agents,
        now_ms: u64,
    ) -> BTreeSet<ReservationId> {
        let steps = &mut Steps::new(LOOKUP_STEPS_MAX);
        let mut met = BTreeSet::new();
        for freed in freed {
            if let Resource::Slot(name) = &freed.resource {
                met.extend(self.with_place(&freed.text, self.free_places(name)));
                continue;
            }
            for mode in freed.mode.excludes() {
                if self
                    .met_by_one(gone, freed, *mode, (agents, now_ms), steps, &mut met)
                    .is_err()
                {
                    return self.waiting().collect();
                }
            }
        }
        met
    }

    /// The last of those who wait for a slot who has a place when so many are free. Those before it had one before.
    fn with_place(&self, slot: &Arc<str>, free: usize) -> Option<ReservationId> {
        let last = free.checked_sub(1)?;
        self.line(slot, Mode::Exclusive).nth(last).map(|(id, _)| id)
    }

    fn met_by_one(
        &self,
        gone: &Reservation,
        freed: &Reserved,
        mode: Mode,
        (agents, now_ms): (&Agents, u64),
        steps: &mut Steps,
        met: &mut BTreeSet<ReservationId>,
    ) -> Result<(), OverSteps> {
        let space = Space { waiting: true, mode };
        for lead in freed.resource.leads() {
            let found = self.index().visit(space, &lead, &mut |hit| {
                let mut look = || {
                    if !is_near(hit, steps)? {
                        return Ok(());
                    }
                    let first = &hit.reservation.resources[hit.place as usize];
                    if !freed.resource.meets(&first.resource, steps)? {
                        return Ok(());
                    }
                    // Who wants the same exclusively and came before them goes before them, unless its time is over.
                    let alive = |place: &Place| !self.known(place.0).is_over(agents, now_ms);
                    let last = self.line(&first.text, Mode::Exclusive).find(alive);
                    for (id, _) in self.line(&first.text, mode) {
                        if last.is_some_and(|(last, _)| id > last) {
                            break;
                        }
                        steps.spend(LOOK_STEPS)?;
                        // Who waits stands in the way of those behind it only.
                        let behind = !gone.is_waiting() || id > gone.id;
                        if behind && self.known(id).holder.owner != gone.holder.owner {
                            met.insert(id);
                        }
                    }
                    Ok(())
                };
                match look() {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(over) => ControlFlow::Break(over),
                }
            });
            if let ControlFlow::Break(over) = found {
                return Err(over);
            }
        }
        Ok(())
    }

    /// Those who wait for this one, if that is what a space has.
    fn line_in(&self, space: Space, reserved: &Reserved) -> impl Iterator<Item = Place> {
        let line = space.waiting.then(|| self.line(&reserved.text, space.mode));
        line.into_iter().flatten()
    }
}

/// The ids of both in their order.
fn in_order(
    some: impl Iterator<Item = ReservationId>,
    others: impl Iterator<Item = ReservationId>,
) -> impl Iterator<Item = ReservationId> {
    let (mut some, mut others) = (some.peekable(), others.peekable());
    std::iter::from_fn(move || match (some.peek(), others.peek()) {
        (Some(one), Some(other)) if one < other => some.next(),
        (Some(_), None) => some.next(),
        _ => others.next(),
    })
}

/// Whether what was found must be looked up.
fn is_near(hit: Hit<'_>, steps: &mut Steps) -> Result<bool, OverSteps> {
    steps.spend(1)?;
    if hit.near {
        steps.spend(LOOK_STEPS - 1)?;
    }
    Ok(hit.near)
}

/// How many steps the look-ups of so many writes may take together.
pub(crate) fn write_steps(writes: usize) -> Steps {
    Steps::new(LOOKUP_STEPS_MAX + WRITE_STEPS * writes as u64)
}

/// The refusal of a look-up that is over its bound.
pub(crate) fn over_steps(_: OverSteps) -> Refusal {
    let most = LOOKUP_STEPS_MAX as usize;
    over_limit("steps of a look-up among reservations", most + 1, most)
}
