//! What tasks name is reserved for their owners.

use super::resources::slot;
use super::*;
use crate::colony::tests::model::tasks::lease;

impl ModelProject {
    /// Whether an owner that does not wait could have what a task names, alone.
    pub(in crate::colony::tests::model) fn may_reserve(&self, resources: &[Want], owner: &Owner, at: &At) -> bool {
        let blockers = self.blockers(resources, owner, None, at);
        resources.is_empty() || self.check_not_waiting(owner, at).is_ok() && blockers.iter().all(|(taken, _)| !taken)
    }

    /// Whether an owner could have what all these tasks name, when their present leases have ended.
    pub(in crate::colony::tests::model) fn check_resources(
        &self,
        ids: &[TaskId],
        owner: &Owner,
        at: &At,
    ) -> Result<(), Refusal> {
        let tasks = || ids.iter().map(|id| &self.tasks[id]);
        let gone: Vec<ReservationId> = tasks().filter_map(|task| lease(task)?.reservation).collect();
        let among = |other: &&ModelReservation| !gone.contains(&other.id);
        let mut before: Vec<Want> = Vec::new();
        for task in tasks().filter(|task| !task.added.terms.resources.is_empty()) {
            self.check_not_waiting(owner, at)?;
            let resources = &task.added.terms.resources;
            let blockers = self.blockers_among(resources, owner, &among, &before, at);
            if blockers.iter().any(|(taken, _)| *taken) {
                return Err(held_refusal(blockers));
            }
            before.extend(resources.iter().filter(|want| slot(&want.resource).is_some()).cloned());
        }
        Ok(())
    }

    /// What a task names is reserved for its new owner.
    pub(in crate::colony::tests::model) fn reserve_for(
        &mut self,
        id: TaskId,
        holder: &Holder,
        at: &At,
    ) -> Option<ReservationId> {
        let resources = self.tasks[&id].added.terms.resources.clone();
        if resources.is_empty() {
            return None;
        }
        let here = |found: &&ModelReservation| found.id.seq == at.seq;
        let reservation = ReservationId {
            seq: at.seq,
            ordinal: self.reservations.list.iter().filter(here).count() as u32,
        };
        let mut reserved = ModelReservation {
            id: reservation,
            resources,
            holder: holder.clone(),
            reason: None,
            task: Some(id),
            asked_ms: at.now_ms,
            ttl_ms: u64::MAX,
            granted: None,
            until_ms: 0,
            look: false,
        };
        self.grant_reserved(&mut reserved, at);
        self.reservations.list.push(reserved);
        Some(reservation)
    }

    pub(in crate::colony::tests::model) fn end_with_lease(&mut self, reservation: Option<ReservationId>, at: &At) {
        let there = |id: &ReservationId| self.reservations.list.iter().any(|found| found.id == *id);
        if let Some(id) = reservation.filter(there) {
            self.end_reservation(id, ReservationEnd::LeaseEnded, at);
        }
    }
}
