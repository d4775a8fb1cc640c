//! Those who wait: how a request begins to wait, and when it is looked at again and granted.

use super::look::{Asking, over_steps};
use super::rules::texts_and_modes;
use super::{
    LOOKUP_STEPS_MAX, Reservation, ReservationEnd, ReservationId, Standing, WAITING_MAX, WAITING_RESOURCES_MAX,
};
use crate::colony::command::{Outcome, Refusal};
use crate::colony::event::What;
use crate::colony::memory::over_limit;
use crate::colony::project::Step;
use crate::colony::task::{Caller, Owner};
use crate::conflict::glob::Steps;

/// How many of those who wait one command looks at again; the others are looked at before the next ones.
const LOOKS_PER_COMMAND: usize = 8;

impl Step<'_> {
    /// The reservation that an owner waits for, if it still does.
    pub(super) fn waiting_of(&self, owner: &Owner) -> Option<ReservationId> {
        let mut waits = self.project.reservations.waits_of(owner);
        let (agents, now_ms) = (&*self.agents, self.scope.cluster_ms);
        waits.find(|mine| !mine.is_over(agents, now_ms)).map(|mine| mine.id)
    }

    pub(super) fn wait(&mut self, request: Reservation, caller: &Caller) -> Result<Outcome, Refusal> {
        let reservations = &self.project.reservations;
        let steps = &mut Steps::new(LOOKUP_STEPS_MAX);
        let (agents, now_ms) = (&*self.agents, self.scope.cluster_ms);
        for mine in reservations.of_owner(&request.holder.owner) {
            steps.spend(1).map_err(over_steps)?;
            if mine.is_waiting() || mine.is_over(agents, now_ms) {
                continue;
            }
            // Of a slot it would wait for itself.
            let own = mine.has_slot_of(&request).then_some((request.id, &request.holder));
            let waiter = reservations
                .waited_for(mine, agents, now_ms, steps)
                .map_err(over_steps)?;
            let other = waiter.map(|waiter| (waiter, &reservations.known(waiter).holder));
            if let Some((waiter, holder)) = own.or(other) {
                return Err(Refusal::Deadlock {
                    reservation: mine.id,
                    waiter,
                    holder: holder.clone(),
                });
            }
        }
        let waiting = reservations.count().1 + 1;
        if waiting > WAITING_MAX {
            return Err(over_limit("waiting_reservations", waiting, WAITING_MAX));
        }
        let resources = reservations.waiting_resources() + request.resources.len();
        if resources > WAITING_RESOURCES_MAX {
            return Err(over_limit("waiting_resources", resources, WAITING_RESOURCES_MAX));
        }
        self.open_for(caller);
        let (reservation, until_ms) = (request.id, request.until_ms());
        self.event(What::ReservationWaiting {
            reservation,
            holder: request.holder.clone(),
            resources: texts_and_modes(&request.resources),
            until_ms,
        });
        self.put_reservation(request);
        Ok(Outcome::Reserved {
            seq: self.scope.seq,
            reservation,
            fence: None,
            until_ms,
        })
    }

    /// Notes that one who waits is to be looked at.
    pub(super) fn mark_waiting(&mut self, id: ReservationId) {
        self.set_look(id, true);
    }

    fn set_look(&mut self, id: ReservationId, wanted: bool) {
        let Some(reservation) = self.project.reservations.get(id) else {
            return;
        };
        if let Standing::Waiting { until_ms, look } = reservation.state
            && look != wanted
        {
            let state = Standing::Waiting { until_ms, look: wanted };
            self.put_reservation(Reservation {
                state,
                ..Reservation::clone(reservation)
            });
        }
    }

    /// Looks at those who wait and for whom something has changed, first come first.
    pub(in crate::colony) fn look_at_waiting(&mut self) {
        for _ in 0..LOOKS_PER_COMMAND {
            match self.project.reservations.next_to_look_at() {
                Some(id) => self.look_at(id),
                None => return,
            }
        }
    }

    /// Grants the request of one who waits, if it is free now.
    pub(in crate::colony) fn look_at(&mut self, id: ReservationId) {
        let reservation = self
            .project
            .reservations
            .get(id)
            .expect("who is to be looked at waits")
            .clone();
        self.set_look(id, false);
        let now_ms = self.scope.cluster_ms;
        if reservation.is_over(self.agents, now_ms) {
            // It is about to be cleared away.
            return;
        }
        let asking = Asking {
            resources: &reservation.resources,
            owner: Some(&reservation.holder.owner),
            waits_as: Some(id),
            agents: self.agents,
            now_ms,
            gone: &[],
            slots: &[],
        };
        let found = self
            .project
            .reservations
            .look(&asking, 0, &mut Steps::new(LOOKUP_STEPS_MAX));
        match found {
            Ok(found) if found.is_free() => {
                self.grant(Reservation::clone(&reservation));
                // Its owner takes tasks again.
                self.look_at_queues();
            }
            Ok(_) => {}
            Err(_) => self.end_reservation(id, ReservationEnd::TooBroad),
        }
    }
}
