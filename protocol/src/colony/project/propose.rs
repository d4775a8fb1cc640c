//! Proposals one at a time: judged against the state, and committed or lost.

use super::{Project, Scope, Step};
use crate::colony::agent::Timer;
use crate::colony::command::{Outcome, Refusal};
use crate::colony::event::What;
use crate::colony::hold::{HOLD_AFTER_LOSSES, HOLD_MS, Hold};
use crate::colony::lost_to::LostTo;
use crate::colony::proposal::{CONFLICTS_LISTED_MAX, Conflict, Prepared, Proposal, Room, Stop, merged};
use crate::colony::task::Caller;

impl Step<'_> {
    /// Judges a proposal and commits it if it wins. `caller` brings it, unless it names one itself.
    pub(crate) fn propose(&mut self, proposal: &Proposal, caller: Option<&Caller>) -> Result<Outcome, Refusal> {
        let seq = self.scope.seq;
        let prepared = match self.judge(proposal, caller, &mut Room::for_writes(proposal.writes.len())) {
            Ok(prepared) => prepared,
            Err(Stop::Refused(refusal)) => return Err(refusal),
            Err(Stop::Lost(mut conflicts)) => {
                let total = conflicts.len() as u64;
                let held_until_ms = match proposal.dry_run {
                    true => None,
                    false => self.lose(proposal, &conflicts),
                };
                conflicts.truncate(CONFLICTS_LISTED_MAX);
                return Ok(Outcome::Lost {
                    seq,
                    conflicts,
                    total,
                    held_until_ms,
                });
            }
        };
        self.check_growth(|| {
            let writes = proposal.writes.iter().zip(&prepared);
            let changes = writes.map(|(write, next)| (&write.key, next, &write.tags[..]));
            self.project.memory.growth(changes)
        })?;
        let merged = merged(&prepared);
        if proposal.dry_run {
            return Ok(Outcome::Committed {
                seq,
                revisions: self.next_revisions(proposal),
                merged,
            });
        }
        self.end_own_hold(proposal);
        self.event(What::Committed {
            writes: proposal.writes.len() as u64,
        });
        Ok(Outcome::Committed {
            seq,
            revisions: self.commit(proposal, prepared),
            merged,
        })
    }

    /// What stops a proposal, or what its writes would leave. Changes nothing.
    pub(super) fn judge(
        &self,
        proposal: &Proposal,
        caller: Option<&Caller>,
        room: &mut Room,
    ) -> Result<Prepared, Stop> {
        proposal.check_form()?;
        if let Some(fence) = &proposal.fence {
            self.check_fence(fence.task, fence.fence, &fence.caller)?;
        }
        let reserved = self.reserved(proposal, caller, &mut room.writes)?;
        let Project { memory, holds, .. } = &*self.project;
        let mut conflicts = proposal.conflicts(memory, &reserved, &mut room.globs)?;
        conflicts.extend(proposal.held(memory, holds, self.own_hold(proposal), self.scope.cluster_ms));
        match conflicts.is_empty() {
            true => proposal.prepare(memory, &mut room.merges),
            false => Err(Stop::Lost(conflicts)),
        }
    }

    /// The hold that this proposal follows, if it was granted to its author.
    fn own_hold(&self, proposal: &Proposal) -> Option<u64> {
        let hold = |seq: &u64| self.project.holds.get(*seq);
        let own = |seq: &u64| hold(seq).is_some_and(|hold| hold.author == *self.scope.author);
        proposal.follows.filter(own)
    }

    fn end_own_hold(&mut self, proposal: &Proposal) {
        if let Some(seq) = self.own_hold(proposal) {
            self.project
                .end_hold(seq, self.agents, self.scope.project, self.applied);
        }
    }

    /// Tells of a loss and counts it; after every [`HOLD_AFTER_LOSSES`] in a row the keys are held for the next attempt. A
    /// loss to a reservation does not count: what is held would be held against the one who reserved it.
    fn lose(&mut self, proposal: &Proposal, conflicts: &[Conflict]) -> Option<u64> {
        let Scope {
            seq,
            author,
            cluster_ms,
            ..
        } = *self.scope;
        let before = proposal.follows.and_then(|seq| self.project.events.losses(seq, author));
        let reserved = conflicts.iter().any(|conflict| conflict.holder.is_some());
        let losses = before.unwrap_or(0) + u64::from(!reserved);
        self.end_own_hold(proposal);
        let Project { events, .. } = &*self.project;
        let lost = LostTo::new(self.scope.project, author, conflicts, |seq| {
            events.author_at(seq).cloned()
        });
        self.applied.losses.extend(lost.map(|lost| LostTo {
            seq,
            cluster_ms,
            wall_ms: self.scope.wall_ms,
            ..lost
        }));
        self.event(What::Lost {
            kind: conflicts[0].kind,
            conflicts: conflicts.len() as u64,
            losses,
        });
        if reserved || !losses.is_multiple_of(HOLD_AFTER_LOSSES) {
            return None;
        }
        let until_ms = cluster_ms.saturating_add(HOLD_MS);
        let hold = Hold::of(proposal, author, until_ms).filter(|hold| self.project.holds.has_room_for(hold))?;
        self.project.holds.set(seq, hold);
        self.agents.set_timer(until_ms, self.scope.project, Timer::Hold(seq));
        self.applied.holds.push((self.scope.project.clone(), seq));
        Some(until_ms)
    }

    pub(super) fn next_revisions(&self, proposal: &Proposal) -> Vec<u64> {
        proposal
            .writes
            .iter()
            .map(|write| self.project.memory.revision(&write.key) + 1)
            .collect()
    }

    pub(super) fn commit(&mut self, proposal: &Proposal, prepared: Prepared) -> Vec<u64> {
        proposal
            .writes
            .iter()
            .zip(prepared)
            .map(|(write, mut next)| {
                let tags = next.tags.take();
                self.set(&write.key, next, tags.as_ref().unwrap_or(&write.tags))
            })
            .collect()
    }
}
