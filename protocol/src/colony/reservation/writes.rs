//! Writes under the reservations of others.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Reservation;
use super::look::{over_steps, write_steps};
use crate::colony::command::{Change, Refusal};
use crate::colony::project::Step;
use crate::colony::proposal::Proposal;
use crate::colony::task::{Caller, Owner};
use crate::conflict::glob::Steps;

/// Reservations of others, by the places of the writes that they stop.
pub(crate) type ReservedWrites = BTreeMap<usize, Arc<Reservation>>;

impl Step<'_> {
    /// Refuses a change of a key that lies under somebody else's exclusive reservation.
    pub(in crate::colony) fn check_not_reserved(&self, change: &Change) -> Result<(), Refusal> {
        let writer = self.writer(change.caller.as_ref())?;
        let (agents, now_ms) = (&*self.agents, self.scope.cluster_ms);
        let reservations = &self.project.reservations;
        let found = reservations.against_write(&change.key, writer.as_ref(), agents, now_ms, &mut write_steps(1));
        match found.map_err(over_steps)? {
            None => Ok(()),
            Some(reservation) => Err(Refusal::Reserved {
                key: change.key.clone(),
                reservation: reservation.id,
                holder: Box::new(reservation.holder.clone()),
            }),
        }
    }

    /// The reservations of others that stop writes of a proposal. `caller` brings it, unless it says itself who writes.
    ///
    /// # Errors
    /// When the writer is unknown, or the look-ups are over their bound.
    pub(in crate::colony) fn reserved(
        &self,
        proposal: &Proposal,
        caller: Option<&Caller>,
        steps: &mut Steps,
    ) -> Result<ReservedWrites, Refusal> {
        let named = proposal.caller.as_ref();
        let fenced = proposal.fence.as_ref().map(|fence| &fence.caller);
        let writer = self.writer(named.or(fenced).or(caller))?;
        let (agents, now_ms) = (&*self.agents, self.scope.cluster_ms);
        let reservations = &self.project.reservations;
        let mut reserved = ReservedWrites::new();
        for (place, write) in proposal.writes.iter().enumerate() {
            let found = reservations.against_write(&write.key, writer.as_ref(), agents, now_ms, steps);
            if let Some(reservation) = found.map_err(over_steps)? {
                reserved.insert(place, reservation);
            }
        }
        Ok(reserved)
    }

    /// Who writes, if somebody says so.
    fn writer(&self, caller: Option<&Caller>) -> Result<Option<Owner>, Refusal> {
        caller.map(|caller| self.owner(caller)).transpose()
    }
}
