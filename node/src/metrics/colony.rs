//! What the state of this node holds: sums over all projects, never one of a project, a task, an agent or a key.

use queenright_actors::replica::Snapshot;
use queenright_protocol::colony::StateName;

use super::text::{Kind, Page};

/// Writes what the colony holds, as this node has applied it.
pub fn write(snapshot: &Snapshot, page: &mut Page) {
    let colony = &snapshot.colony;
    page.gauge(
        "queenright_applied_index",
        "The index of the last log entry applied.",
        snapshot.index,
    );
    page.gauge(
        "queenright_seq",
        "The position of the last command applied.",
        colony.seq(),
    );
    page.gauge(
        "queenright_cluster_time_seconds",
        "Cluster time of the last entry applied: it stands while nobody leads.",
        colony.cluster_ms() as f64 / 1e3,
    );
    page.gauge(
        "queenright_rules_version",
        "The version of the rules in force.",
        colony.rules_version(),
    );
    let projects: Vec<_> = colony.projects().map(|(_, project)| project).collect();
    page.gauge("queenright_projects", "Projects.", projects.len());
    let sessions = colony.projects().map(|(name, _)| colony.sessions().open_in(name));
    page.gauge(
        "queenright_sessions",
        "Open sessions of agents.",
        sessions.sum::<usize>(),
    );
    page.family("queenright_tasks", Kind::Gauge, "Tasks of all projects, by state.");
    for state in StateName::ALL {
        let count: usize = projects.iter().map(|project| project.tasks().count(state)).sum();
        page.sample(&[("state", &state.to_string())], count);
    }
    let queues = || {
        projects
            .iter()
            .flat_map(|project| project.tasks().queues().map(|(_, queue)| queue))
    };
    page.gauge(
        "queenright_tasks_ready",
        "Tasks that a claim could take now.",
        projects.iter().map(|project| project.tasks().ready()).sum::<usize>(),
    );
    let now_ms = colony.cluster_ms();
    page.gauge("queenright_queues", "Queues of tasks.", queues().count());
    page.gauge(
        "queenright_queues_closed",
        "Queues that give out nothing: paused, or their circuit breaker is open.",
        queues().filter(|queue| queue.closed(now_ms).is_some()).count(),
    );
    page.gauge(
        "queenright_claims_waiting",
        "Claims that wait for a task.",
        queues().map(|queue| queue.waiting()).sum::<usize>(),
    );
    let reservations = projects.iter().map(|project| project.reservations().count());
    let (all, waiting) = reservations.fold((0, 0), |sum, count| (sum.0 + count.0, sum.1 + count.1));
    page.family(
        "queenright_reservations",
        Kind::Gauge,
        "Reservations, by whether they are held or wait.",
    )
    .sample(&[("state", "held")], all - waiting)
    .sample(&[("state", "waiting")], waiting);
}
