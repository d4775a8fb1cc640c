//! Who waits gets what there is (DESIGN.md, section 4): once everything works and all that was due is done, no claim waits
//! while a task is ready that it would take, and no request for a reservation while nobody holds what it wants, or wanted it
//! before. No two hold what meets, and an offer that nobody takes ends.

use queenright_protocol::colony::{Reservation, Reservations, Tasks};

use crate::replica::Snapshot;
use crate::sim::history::PROJECT;

/// More than all agents ever have.
const RESERVATIONS: usize = 1_000;

pub(super) fn when_healed(state: &Snapshot) -> Vec<String> {
    let Some(project) = state.colony.project(PROJECT) else {
        return Vec::new();
    };
    let mut problems = claims(project.tasks(), state.colony.cluster_ms());
    problems.extend(reservations(project.reservations()));
    problems
}

fn claims(tasks: &Tasks, now_ms: u64) -> Vec<String> {
    // All claims of the agents take any task.
    let unanswered = tasks
        .queues()
        .filter(|(_, queue)| queue.waiting() > 0 && queue.ready() > 0);
    let unanswered = unanswered.map(|(name, queue)| {
        let (waiting, ready) = (queue.waiting(), queue.ready());
        format!("{waiting} claims wait for queue {name}, where {ready} tasks are ready")
    });
    let over = tasks.waits().filter(|(_, wait)| wait.until_ms <= now_ms);
    let over = over.map(|(id, wait)| {
        format!(
            "{id} stands at {now_ms} ms of cluster time, and was to end at {}",
            wait.until_ms
        )
    });
    unanswered.chain(over).collect()
}

fn reservations(reservations: &Reservations) -> Vec<String> {
    let mut problems = Vec::new();
    for one in reservations.after(None) {
        // Those of the agents are of one resource, and exclusive.
        let text = &one.resources[0].text;
        let Ok(met) = reservations.meeting(text, RESERVATIONS) else {
            problems.push(format!("{text} cannot be looked up"));
            continue;
        };
        let stands = |other: &Reservation| other.id != one.id && (!other.is_waiting() || other.id < one.id);
        let before = met.iter().find(|other| stands(other));
        match (one.is_waiting(), before) {
            (true, None) => problems.push(format!("{} waits for {text}, which is free", one.id)),
            (false, Some(other)) if !other.is_waiting() => {
                problems.push(format!("{} and {} both hold what is in {text}", one.id, other.id));
            }
            _ => {}
        }
    }
    problems
}

pub(super) fn when_offers_are_over(state: &Snapshot) -> Vec<String> {
    let waits = state.colony.project(PROJECT).map(|project| project.tasks().waits());
    let left = waits.into_iter().flatten();
    left.map(|(id, wait)| format!("{id} still stands, with {:?} offered to it", wait.offered))
        .collect()
}
