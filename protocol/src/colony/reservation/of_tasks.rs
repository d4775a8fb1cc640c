//! What claims reserve for their tasks, and what goes with their leases.

use std::sync::Arc;

use super::form::parse;
use super::look::{Asking, over_steps};
use super::{
    BLOCKERS_LISTED_MAX, RESERVATION_OF_LEASE_MS, Reservation, ReservationEnd, ReservationId, Reserved, Resource,
    Standing, Want, bytes_of,
};
use crate::colony::command::Refusal;
use crate::colony::digest::Digest;
use crate::colony::project::Step;
use crate::colony::task::{Holder, Owner, Task};
use crate::conflict::glob::Steps;

/// What asking for one owner costs of the steps of a look-up.
const OWNER_STEPS: u64 = 16;

impl Step<'_> {
    /// Whether an owner could reserve these resources alone, now. What cannot be said within the steps counts as taken.
    pub(in crate::colony) fn may_reserve(&self, resources: &[Want], owner: &Owner, steps: &mut Steps) -> bool {
        let Ok(resources) = parse(resources) else { return false };
        if self.check_may_take(owner, 1, bytes_of(&resources, None)).is_err() {
            return false;
        }
        let asking = Asking {
            owner: Some(owner),
            ..self.asking(&resources)
        };
        let found = self.project.reservations.look(&asking, 0, steps);
        found.is_ok_and(|found| found.is_free())
    }

    /// Which of these owners could reserve these resources alone, now. Those of whom it cannot be said within the steps
    /// could not.
    pub(in crate::colony) fn who_may_reserve<'a, T>(
        &self,
        resources: &[Want],
        owners: impl Iterator<Item = (T, &'a Owner)>,
        steps: &mut Steps,
    ) -> Vec<T> {
        let Ok(resources) = parse(resources) else {
            return Vec::new();
        };
        let bytes = bytes_of(&resources, None);
        let reservations = &self.project.reservations;
        let free_for = |owner: Option<&'a Owner>, steps: &mut Steps| {
            let asking = Asking {
                owner,
                ..self.asking(&resources)
            };
            reservations.look(&asking, 0, steps).is_ok_and(|found| found.is_free())
        };
        // What stands in the way of an owner stands in the way of all others; what is his own stands in the way of those
        // alone.
        let free = free_for(None, steps);
        let could = |(_, owner): &(T, &'a Owner)| {
            let counted = steps.spend(OWNER_STEPS).is_ok();
            let has = reservations.count_of(owner) > 0;
            counted
                && (free || has)
                && self.check_may_take(owner, 1, bytes).is_ok()
                && (free || free_for(Some(*owner), steps))
        };
        owners.filter(could).map(|(who, _)| who).collect()
    }

    /// Whether an owner could reserve all of these for tasks, beside each other, once the reservations in `gone` have
    /// ended.
    ///
    /// # Errors
    /// As an acquisition that does not wait; for the first that is not free.
    pub(in crate::colony) fn check_may_reserve<'a>(
        &self,
        tasks: impl Iterator<Item = &'a [Want]>,
        owner: &Owner,
        gone: &[ReservationId],
        steps: &mut Steps,
    ) -> Result<(), Refusal> {
        let requests = tasks.map(parse).collect::<Result<Vec<Vec<Reserved>>, Refusal>>()?;
        let bytes = requests.iter().map(|resources| bytes_of(resources, None)).sum();
        if !requests.is_empty() {
            self.check_may_take(owner, requests.len(), bytes)?;
        }
        let mut slots: Vec<Arc<str>> = Vec::new();
        for resources in &requests {
            let asking = Asking {
                owner: Some(owner),
                gone,
                slots: &slots,
                ..self.asking(resources)
            };
            let found = self.project.reservations.look(&asking, BLOCKERS_LISTED_MAX, steps);
            let found = found.map_err(over_steps)?;
            if !found.is_free() {
                return Err(found.refusal());
            }
            slots.extend(resources.iter().filter_map(|reserved| match &reserved.resource {
                Resource::Slot(name) => Some(name.clone()),
                _ => None,
            }));
        }
        Ok(())
    }

    /// What somebody without reservations asks.
    pub(super) fn asking<'a>(&'a self, resources: &'a [Reserved]) -> Asking<'a> {
        Asking {
            resources,
            owner: None,
            waits_as: None,
            agents: self.agents,
            now_ms: self.scope.cluster_ms,
            gone: &[],
            slots: &[],
        }
    }

    /// Reserves what a task names for the holder of its new lease; the caller has seen that it is free. Nothing for a task
    /// that names nothing.
    pub(in crate::colony) fn reserve_for(&mut self, task: &Task, holder: &Holder) -> Option<ReservationId> {
        // What there is was read when the task was added; no resources are no request.
        let resources = parse(&task.terms.resources).ok()?;
        let id = self.next_reservation();
        self.grant(Reservation {
            id,
            resources,
            holder: holder.clone(),
            reason: None,
            task: Some(task.id),
            asked_ms: self.scope.cluster_ms,
            ttl_ms: RESERVATION_OF_LEASE_MS,
            state: Standing::Waiting {
                until_ms: self.scope.cluster_ms,
                look: false,
            },
            digest: Digest::default(),
        });
        Some(id)
    }

    /// Ends what was reserved with a lease that has ended, unless it has ended before.
    pub(in crate::colony) fn end_with_lease(&mut self, reservation: Option<ReservationId>) {
        if let Some(id) = reservation.filter(|id| self.project.reservations.get(*id).is_some()) {
            self.end_reservation(id, ReservationEnd::LeaseEnded);
        }
    }
}
