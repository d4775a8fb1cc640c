//! The rules of reservations: one command at a time, each one step.

use std::sync::Arc;

use super::form::{check_ids, check_reason, check_ttl, parse};
use super::look::{Asking, over_steps};
use super::{
    Acquire, BLOCKERS_LISTED_MAX, Force, LOOKUP_STEPS_MAX, Mode, RELEASED_MAX, RESERVATION_BYTES_MAX,
    RESERVATION_OF_LEASE_MS, RESERVATION_TTL_MS, RESERVATIONS_MAX, RESERVATIONS_OF_OWNER_MAX, Release, Released, Renew,
    Reservation, ReservationCommand, ReservationEnd, ReservationId, Reserved, Resource, SLOT_CAPACITY_MAX, SLOTS_MAX,
    Standing,
};
use crate::colony::command::{Outcome, Refusal};
use crate::colony::digest::Digest;
use crate::colony::event::What;
use crate::colony::memory::over_limit;
use crate::colony::project::{Step, check_name};
use crate::colony::task::{Fence, Holder, Owner};
use crate::conflict::glob::Steps;

impl Step<'_> {
    pub(in crate::colony) fn reservation(&mut self, command: &ReservationCommand) -> Result<Outcome, Refusal> {
        match command {
            ReservationCommand::Acquire(acquire) => self.acquire(acquire),
            ReservationCommand::Release(release) => self.release(release),
            ReservationCommand::Renew(renew) => self.renew(renew),
            ReservationCommand::Force(force) => self.force(force),
            ReservationCommand::Slot { name, capacity } => self.set_slot(name, *capacity),
            ReservationCommand::Advisory(advisory) => {
                let mut settings = self.project.reservations.settings().clone();
                settings.advisory = *advisory;
                Ok(self.set_reservation_settings(settings))
            }
        }
    }

    fn acquire(&mut self, acquire: &Acquire) -> Result<Outcome, Refusal> {
        acquire.check_form()?;
        let resources = parse(&acquire.resources)?;
        let holder = Holder {
            owner: self.claimant(&acquire.caller)?,
            author: self.scope.author.clone(),
        };
        if let Some(task) = acquire.task.filter(|task| self.project.tasks.get(*task).is_none()) {
            return Err(Refusal::UnknownTask { task });
        }
        let request = Reservation {
            id: self.next_reservation(),
            resources,
            holder,
            reason: acquire.reason.clone(),
            task: acquire.task,
            asked_ms: self.scope.cluster_ms,
            ttl_ms: acquire.ttl_ms.unwrap_or(RESERVATION_TTL_MS),
            state: Standing::Waiting {
                until_ms: self.scope.cluster_ms.saturating_add(acquire.wait_ms),
                look: false,
            },
            digest: Digest::default(),
        };
        match self.is_free(&request, acquire.wait_ms > 0)? {
            true => {
                self.open_for(&acquire.caller);
                Ok(self.grant(request))
            }
            false => self.wait(request, &acquire.caller),
        }
    }

    /// The id of the next reservation of this command.
    pub(super) fn next_reservation(&self) -> ReservationId {
        let seq = self.scope.seq;
        let last = self.project.reservations.last_of(seq);
        ReservationId {
            seq,
            ordinal: last.map_or(0, |last| last.ordinal + 1),
        }
    }

    /// Whether a request is free; one that is not is refused unless it may wait.
    fn is_free(&self, request: &Reservation, may_wait: bool) -> Result<bool, Refusal> {
        let owner = &request.holder.owner;
        self.check_may_take(owner, 1, request.bytes())?;
        let asking = Asking {
            owner: Some(owner),
            ..self.asking(&request.resources)
        };
        let steps = &mut Steps::new(LOOKUP_STEPS_MAX);
        let found = self.project.reservations.look(&asking, BLOCKERS_LISTED_MAX, steps);
        let found = found.map_err(over_steps)?;
        match found.is_free() || may_wait {
            true => Ok(found.is_free()),
            false => Err(found.refusal()),
        }
    }

    /// Whether an owner may have so many more reservations, with so many bytes in all: who waits takes nothing.
    pub(super) fn check_may_take(&self, owner: &Owner, more: usize, bytes: u64) -> Result<(), Refusal> {
        if let Some(waits) = self.waiting_of(owner) {
            return Err(Refusal::Waits { reservation: waits });
        }
        let reservations = &self.project.reservations;
        let count = reservations.count().0 + more;
        if count > RESERVATIONS_MAX {
            return Err(over_limit("reservations", count, RESERVATIONS_MAX));
        }
        let count = reservations.count_of(owner) + more;
        if count > RESERVATIONS_OF_OWNER_MAX {
            return Err(over_limit("reservations_of_owner", count, RESERVATIONS_OF_OWNER_MAX));
        }
        let bytes = reservations.bytes() + bytes;
        match bytes > RESERVATION_BYTES_MAX {
            true => {
                let (bytes, most) = (bytes as usize, RESERVATION_BYTES_MAX as usize);
                Err(over_limit("reservation_bytes", bytes, most))
            }
            false => Ok(()),
        }
    }

    pub(super) fn grant(&mut self, mut request: Reservation) -> Outcome {
        let (seq, now_ms) = (self.scope.seq, self.scope.cluster_ms);
        let (fence, until_ms) = (Fence(seq), now_ms.saturating_add(request.ttl_ms));
        request.state = Standing::Held {
            fence,
            since_ms: now_ms,
            until_ms,
        };
        self.event(What::ReservationGranted {
            reservation: request.id,
            fence,
            holder: request.holder.clone(),
            resources: texts_and_modes(&request.resources),
            until_ms,
        });
        let reservation = request.id;
        self.put_reservation(request);
        Outcome::Reserved {
            seq,
            reservation,
            fence: Some(fence),
            until_ms,
        }
    }

    fn release(&mut self, release: &Release) -> Result<Outcome, Refusal> {
        release.check_form()?;
        let owner = self.owner(&release.caller)?;
        let released = match &release.which {
            Released::Ids(ids) => {
                let mine = ids.iter().map(|id| self.mine(*id, &owner));
                mine.collect::<Result<Vec<Arc<Reservation>>, Refusal>>()?
            }
            Released::All => {
                let all = self.project.reservations.of_owner(&owner);
                let alive = all.filter(|mine| !mine.is_over(self.agents, self.scope.cluster_ms));
                alive.take(RELEASED_MAX).cloned().collect()
            }
            Released::Resources(texts) => return self.release_resources(texts, &owner),
        };
        for reservation in &released {
            self.end_reservation(reservation.id, ReservationEnd::Released);
        }
        self.look_at_waiting();
        Ok(self.released(released.iter().map(|reservation| reservation.id).collect(), &owner))
    }

    fn released(&self, reservations: Vec<ReservationId>, owner: &Owner) -> Outcome {
        let left = self.project.reservations.count_of(owner) as u64;
        Outcome::Released {
            seq: self.scope.seq,
            reservations,
            left,
        }
    }

    fn release_resources(&mut self, texts: &[Arc<str>], owner: &Owner) -> Result<Outcome, Refusal> {
        let mut wanted = Vec::with_capacity(texts.len());
        for text in texts {
            wanted.push(Resource::parse(text)?);
        }
        let mut found = vec![false; wanted.len()];
        let mut parts: Vec<(Arc<Reservation>, Vec<usize>)> = Vec::new();
        for mine in self.project.reservations.of_owner(owner) {
            if mine.is_over(self.agents, self.scope.cluster_ms) {
                continue;
            }
            let mut places = Vec::new();
            for (place, reserved) in mine.resources.iter().enumerate() {
                // One that is named twice is found twice.
                let mut named = false;
                for (found, _) in found
                    .iter_mut()
                    .zip(&wanted)
                    .filter(|(_, wanted)| **wanted == reserved.resource)
                {
                    (*found, named) = (true, true);
                }
                if named {
                    places.push(place);
                }
            }
            if !places.is_empty() {
                parts.push((mine.clone(), places));
            }
        }
        if let Some(missing) = found.iter().position(|found| !found) {
            let resource = wanted[missing].text();
            return Err(Refusal::NotReserved { resource });
        }
        if parts.len() > RELEASED_MAX {
            return Err(over_limit("released", parts.len(), RELEASED_MAX));
        }
        for (reservation, places) in &parts {
            self.end_part(reservation, places, ReservationEnd::Released);
        }
        self.look_at_waiting();
        Ok(self.released(parts.iter().map(|(reservation, _)| reservation.id).collect(), owner))
    }

    fn renew(&mut self, renew: &Renew) -> Result<Outcome, Refusal> {
        check_ids(&renew.ids)?;
        check_ttl(renew.ttl_ms)?;
        let owner = self.owner(&renew.caller)?;
        let mut renewed = Vec::with_capacity(renew.ids.len());
        for id in &renew.ids {
            let mine = self.mine(*id, &owner)?;
            let Standing::Held { fence, since_ms, .. } = mine.state else {
                return Err(Refusal::Waits { reservation: *id });
            };
            let ttl_ms = match mine.ttl_ms {
                RESERVATION_OF_LEASE_MS => RESERVATION_OF_LEASE_MS,
                at_first => renew.ttl_ms.unwrap_or(at_first),
            };
            renewed.push(Reservation {
                ttl_ms,
                state: Standing::Held {
                    fence,
                    since_ms,
                    until_ms: self.scope.cluster_ms.saturating_add(ttl_ms),
                },
                ..Reservation::clone(&mine)
            });
        }
        let until_ms = renewed.iter().map(Reservation::until_ms).min().unwrap_or_default();
        for reservation in renewed {
            self.put_reservation(reservation);
        }
        Ok(Outcome::Renewed {
            seq: self.scope.seq,
            until_ms,
        })
    }

    fn force(&mut self, force: &Force) -> Result<Outcome, Refusal> {
        check_ids(&force.ids)?;
        check_reason(&force.reason)?;
        for id in &force.ids {
            let known = self.project.reservations.get(*id);
            if known.is_none_or(|known| known.is_over(self.agents, self.scope.cluster_ms)) {
                return Err(self.unknown(*id));
            }
        }
        for id in &force.ids {
            let by = self.scope.author.clone();
            let reason = force.reason.clone();
            self.end_reservation(*id, ReservationEnd::Forced { by, reason });
        }
        self.look_at_waiting();
        Ok(Outcome::Released {
            seq: self.scope.seq,
            reservations: force.ids.clone(),
            left: 0,
        })
    }

    fn set_slot(&mut self, name: &Arc<str>, capacity: u32) -> Result<Outcome, Refusal> {
        check_name("slot", name)?;
        if capacity > SLOT_CAPACITY_MAX {
            return Err(over_limit("capacity", capacity as usize, SLOT_CAPACITY_MAX as usize));
        }
        let mut settings = self.project.reservations.settings().clone();
        let before = settings.capacity(name);
        match capacity {
            1 => settings.capacities.remove(name),
            _ => settings.capacities.insert(name.clone(), capacity),
        };
        if settings.capacities.len() > SLOTS_MAX {
            return Err(over_limit("slots", settings.capacities.len(), SLOTS_MAX));
        }
        let outcome = self.set_reservation_settings(settings);
        if capacity > before {
            let waiting: Vec<ReservationId> = self.project.reservations.of_slot(name).collect();
            waiting.into_iter().for_each(|id| self.mark_waiting(id));
            self.look_at_waiting();
            self.look_at_queues();
        }
        Ok(outcome)
    }

    fn set_reservation_settings(&mut self, settings: super::ReservationSettings) -> Outcome {
        if settings != *self.project.reservations.settings() {
            self.project.reservations.set_settings(settings);
            self.applied.reservation_settings.push(self.scope.project.clone());
        }
        Outcome::Set { seq: self.scope.seq }
    }

    /// A reservation of this owner that counts.
    fn mine(&self, id: ReservationId, owner: &Owner) -> Result<Arc<Reservation>, Refusal> {
        let known = self.project.reservations.get(id);
        let alive = known.filter(|known| !known.is_over(self.agents, self.scope.cluster_ms));
        match alive {
            None => Err(self.unknown(id)),
            Some(known) if known.holder.owner == *owner => Ok(known.clone()),
            Some(known) => Err(Refusal::NotHeld {
                reservation: id,
                holder: Some(known.holder.clone()),
            }),
        }
    }

    /// One that is not there: it ended, or no command has made it.
    fn unknown(&self, id: ReservationId) -> Refusal {
        match id.seq < self.scope.seq {
            true => Refusal::NotHeld {
                reservation: id,
                holder: None,
            },
            false => Refusal::UnknownReservation { reservation: id },
        }
    }

    /// Ends a reservation, and marks those who waited for it; who calls this looks at them, or leaves that to the rounds
    /// that follow.
    pub(in crate::colony) fn end_reservation(&mut self, id: ReservationId, reason: ReservationEnd) {
        let reservation = self.project.reservations.get(id).expect("it was looked up").clone();
        let all: Vec<usize> = (0..reservation.resources.len()).collect();
        self.end_part(&reservation, &all, reason);
    }

    /// Takes the resources at these places out of a reservation; it goes with its last one.
    fn end_part(&mut self, reservation: &Arc<Reservation>, places: &[usize], reason: ReservationEnd) {
        let (mut freed, mut left) = (Vec::new(), Vec::new());
        for (place, reserved) in reservation.resources.iter().enumerate() {
            match places.contains(&place) {
                true => freed.push(reserved.clone()),
                false => left.push(reserved.clone()),
            }
        }
        self.event(What::ReservationEnded {
            reservation: reservation.id,
            holder: reservation.holder.clone(),
            resources: freed.iter().map(|reserved| reserved.text.clone()).collect(),
            left: left.len() as u32,
            reason,
        });
        let waits = reservation.is_waiting();
        if left.is_empty() {
            let project = self.scope.project;
            self.agents.unlink_reservation(project, reservation);
            self.project.reservations.remove(reservation.id);
            self.applied.reservations.push((project.clone(), reservation.id));
            if let Owner::Session { session, .. } = &reservation.holder.owner {
                self.close_if_idle(*session);
            }
        } else {
            self.put_reservation(Reservation {
                resources: left,
                ..Reservation::clone(reservation)
            });
        }
        for id in self.project.reservations.met_by(reservation, &freed) {
            self.mark_waiting(id);
        }
        // What it wants less of may be free.
        if waits {
            self.mark_waiting(reservation.id);
        }
        self.look_at_queues();
    }

    /// Puts a reservation in place of what stood under its id, and notes whose it is and when it ends.
    pub(super) fn put_reservation(&mut self, reservation: Reservation) {
        let project = self.scope.project;
        if let Some(old) = self.project.reservations.get(reservation.id) {
            self.agents.unlink_reservation(project, old);
        }
        let linked = self.agents.link_reservation(project, &reservation);
        assert!(linked, "only who lives is given a reservation");
        self.applied.reservations.push((project.clone(), reservation.id));
        self.project.reservations.set(reservation);
    }
}

pub(super) fn texts_and_modes(resources: &[Reserved]) -> Vec<(Arc<str>, Mode)> {
    let texts = resources.iter().map(|reserved| (reserved.text.clone(), reserved.mode));
    texts.collect()
}
