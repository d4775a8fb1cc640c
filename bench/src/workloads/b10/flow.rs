//! The parts that are about how work goes on: what waits for what, for whom, until when, and in which project.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use queenright_protocol::colony::{
    Acquire, Body, Caller, Claimed, Ending, Finish, FinishWith, Mode, Need, NewTask, Outcome, ProjectCommand,
    ProjectLimits, Refusal, Release, Released, ReservationCommand, ReservationId, Return, STEPS_PER_EMPTY_ROUND,
    StateName, TaskCommand, TaskId, Terms, Want, What, Which,
};

use super::super::alone::{Alone, claim, put};
use super::super::spread::Spread;
use super::order::order_of_lanes;
use super::queue::{round_robin, task};
use super::{ID, counted, nanos};
use crate::report::Row;
use crate::timing::Timing;
use crate::{BenchError, Options};

const CHAINS: [usize; 3] = [2, 4, 8];
const SWARMS: [usize; 4] = [2, 5, 10, 20];
/// How many tasks each project has, and how many commands each of them takes.
const SWARM_TASKS: usize = 20;
const SWARM_COMMANDS: usize = 3;
const PERMITS: [usize; 4] = [5, 10, 20, 50];
/// Whoever asks for a permit waits for so long at most, which is longer than any waits here.
const WAIT_MS: u64 = 60_000;
const LEASES: usize = 1_000;
/// When they end, in milliseconds of cluster time: no owner accepts its task.
const LEASE_MS: u64 = 60_000;
/// How many tasks one claim takes where that is not timed.
const AT_ONCE: u32 = 100;
const ALLOCATED: [usize; 4] = [10, 50, 100, 200];

pub(super) fn rows(options: &Options) -> Result<Vec<Row>, BenchError> {
    let repeats = options.repeats;
    let mut rows = Vec::new();
    for depth in CHAINS {
        rows.extend(chains(depth, repeats)?);
    }
    for projects in SWARMS {
        rows.extend(swarms(projects, repeats)?);
    }
    for capacity in PERMITS {
        rows.extend(permits(capacity, repeats)?);
    }
    rows.extend(time_outs(repeats)?);
    for projects in ALLOCATED {
        rows.extend(allocation(projects, repeats)?);
    }
    Ok(rows)
}

fn finish(claimed: Claimed, caller: &Caller) -> Body {
    Body::Task(TaskCommand::Finish(Finish {
        task: claimed.task,
        fence: claimed.fence,
        caller: caller.clone(),
        ending: Ending::Done,
        result: Bytes::new(),
        proposal: None,
        with: FinishWith::default(),
    }))
}

/// Claims one ready task, which must be this one.
fn claim_next(alone: &mut Alone, worker: &Caller, next: TaskId) -> Result<(Claimed, Duration), BenchError> {
    let (claimed, took) = alone.claim(worker, 1)?;
    let found: Vec<TaskId> = claimed.iter().map(|claimed| claimed.task).collect();
    BenchError::unless_equal(ID, "the task that a claim gets", &found, &vec![next])?;
    Ok((claimed[0], took))
}

fn finish_it(alone: &mut Alone, worker: &Caller, claimed: Claimed) -> Result<Duration, BenchError> {
    match alone.apply(finish(claimed, worker)) {
        (Outcome::Finished { .. }, took) => Ok(took),
        (other, _) => alone.unexpected("the task is done", &other),
    }
}

fn chains(depth: usize, repeats: u32) -> Result<[Row; 2], BenchError> {
    let [step] = Timing::told(repeats, [depth], || chain(depth).map(|took| [took]))?;
    let name = format!("dependency depth, a chain of {depth}");
    let refused = depth * (depth - 1) / 2;
    Ok([
        counted(format!("{name}: claims out of order, refused"), refused, "claims")
            .note("at each step of all that come later; a claim of any ready task gets the next alone"),
        nanos(format!("{name}: claim and finish"), "ns/step", &step),
    ])
}

/// Works through a chain of tasks; how long its claims and finishes took.
fn chain(depth: usize) -> Result<Duration, BenchError> {
    let mut alone = Alone::new(ID);
    let worker = alone.start_agent("worker")?;
    let name = |place: usize| -> Arc<str> { format!("step-{place}").into() };
    let step = |place: usize| NewTask {
        name: Some(name(place)),
        terms: Terms {
            needs: place
                .checked_sub(1)
                .map(|before| Need::Name(name(before)))
                .into_iter()
                .collect(),
            ..Terms::default()
        },
        ..task(round_robin(0), 0)
    };
    // The last comes first: what is older must not be what is claimed first.
    let mut ids = alone.add((0..depth).rev().map(step).collect())?.0;
    ids.reverse();
    let (mut spent, mut refused) = (Duration::ZERO, 0);
    for (place, id) in ids.iter().enumerate() {
        let (claimed, took) = claim_next(&mut alone, &worker, *id)?;
        spent += took;
        let more = alone.claim(&worker, AT_ONCE)?.0;
        BenchError::unless_equal(ID, "tasks that are ready beside one of a chain", more.len(), 0)?;
        for later in &ids[place + 1..] {
            let outcome = alone.apply(claim(Which::Ids(vec![*later]), &worker)).0;
            match outcome {
                Outcome::Refused(Refusal::TaskNotReady {
                    state: StateName::Blocked,
                    ..
                }) => refused += 1,
                other => return alone.unexpected("a task of a chain is blocked", &other),
            }
        }
        spent += finish_it(&mut alone, &worker, claimed)?;
    }
    let done = alone.tasks().count(StateName::Done);
    BenchError::unless_equal(ID, "tasks of a chain that are done", done, depth)?;
    BenchError::unless_equal(ID, "claims out of order, refused", refused, depth * (depth - 1) / 2)?;
    Ok(spent)
}

fn swarms(projects: usize, repeats: u32) -> Result<[Row; 3], BenchError> {
    let commands = projects * SWARM_TASKS * SWARM_COMMANDS;
    // As many commands in one project after the other, in the same samples: a disturbance falls on both.
    let [together, alone] = Timing::told(repeats, [commands; 2], || {
        let alone: Result<Duration, BenchError> = (0..projects).map(|_| swarm(1)).sum();
        Ok([swarm(projects)?, alone?])
    })?;
    let name = format!("concurrent swarms, {projects} projects");
    let times = together.median() / alone.median();
    Ok([
        counted(
            format!("{name}: tasks claimed in the order of their own project"),
            projects * SWARM_TASKS,
            "tasks",
        ),
        nanos(format!("{name}: a command"), "ns/command", &together),
        Row::new(
            format!("{name}: a command over one against a project alone"),
            times,
            "×",
            together.samples(),
        )
        .note(format!("that one takes {:.0} ns", alone.median())),
    ])
}

/// Projects whose commands come in turn: tasks are added to all, then claimed and finished in all. How long the commands
/// took.
fn swarm(projects: usize) -> Result<Duration, BenchError> {
    let mut alone = Alone::new(ID);
    let worker = alone.start_agent("worker")?;
    let names: Vec<Arc<str>> = (0..projects).map(|project| format!("swarm-{project}").into()).collect();
    let mut ids = vec![Vec::new(); projects];
    let mut spent = Duration::ZERO;
    for place in 0..SWARM_TASKS {
        for (project, name) in names.iter().enumerate() {
            alone.project = name.clone();
            // Each project has its priorities in another order.
            let (added, took) = alone.add(vec![task(round_robin(place + project), 0)])?;
            ids[project].extend(added);
            spent += took;
        }
    }
    let lanes = |project: usize| (project..project + SWARM_TASKS).map(round_robin).collect::<Vec<_>>();
    let orders: Vec<Vec<usize>> = (0..projects)
        .map(|project| order_of_lanes(&lanes(project)).places)
        .collect();
    for place in 0..SWARM_TASKS {
        for (project, name) in names.iter().enumerate() {
            alone.project = name.clone();
            let next = ids[project][orders[project][place]];
            let (claimed, took) = claim_next(&mut alone, &worker, next)?;
            spent += took + finish_it(&mut alone, &worker, claimed)?;
        }
    }
    for name in &names {
        alone.project = name.clone();
        let done = alone.tasks().count(StateName::Done);
        BenchError::unless_equal(ID, format!("tasks of {name} that are done"), done, SWARM_TASKS)?;
    }
    Ok(spent)
}

fn permits(capacity: usize, repeats: u32) -> Result<[Row; 3], BenchError> {
    let ask = 2 * capacity;
    let [acquire, release] = Timing::told(repeats, [ask, ask], || permit(capacity))?;
    let name = format!("permits, a slot of {capacity} places and {ask} that ask");
    Ok([
        counted(format!("{name}: hold one at the same time at most"), capacity, "agents")
            .note(format!("all {ask} got it once, in the order in which they asked")),
        nanos(format!("{name}: acquire"), "ns", &acquire),
        nanos(format!("{name}: release, which grants the next"), "ns", &release),
    ])
}

/// A slot, and who was granted a place of it, in order.
struct Slot {
    alone: Alone,
    granted: Vec<ReservationId>,
    /// How many held a place at the same time at most.
    held_max: usize,
}

impl Slot {
    /// Applies a command about it; the answer, and how long that took.
    fn apply(&mut self, command: ReservationCommand) -> (Outcome, Duration) {
        let round = self.alone.round(Body::Reservation(command));
        let (mut applied, took) = self.alone.apply_round(&round);
        let granted = applied.events.iter().filter_map(|(_, event)| match &event.what {
            What::ReservationGranted { reservation, .. } => Some(*reservation),
            _ => None,
        });
        self.granted.extend(granted);
        let (all, waiting) = self.count();
        self.held_max = self.held_max.max(all - waiting);
        (applied.outcomes.swap_remove(0).outcome, took)
    }

    /// How many hold a place or wait for one, and how many of them wait.
    fn count(&self) -> (usize, usize) {
        let project = self.alone.colony.project(&self.alone.project);
        project.map_or((0, 0), |project| project.reservations().count())
    }
}

/// Twice as many agents as a slot has places ask for one; then they give theirs back, whoever got it last first. How long
/// the requests and the releases took.
fn permit(capacity: usize) -> Result<[Duration; 2], BenchError> {
    let mut alone = Alone::new(ID);
    let agents: Result<Vec<Caller>, BenchError> = (0..2 * capacity)
        .map(|agent| alone.start_agent(&format!("agent-{agent}")))
        .collect();
    let agents = agents?;
    let mut slot = Slot {
        alone,
        granted: Vec::new(),
        held_max: 0,
    };
    let (outcome, _) = slot.apply(ReservationCommand::Slot {
        name: "permits".into(),
        capacity: capacity as u32,
    });
    if !matches!(outcome, Outcome::Set { .. }) {
        return slot.alone.unexpected("the slot has its places", &outcome);
    }
    let (mut acquiring, mut releasing) = (Duration::ZERO, Duration::ZERO);
    let mut asked = Vec::with_capacity(agents.len());
    for agent in &agents {
        let (outcome, took) = slot.apply(ReservationCommand::Acquire(ask_for_one(agent)));
        acquiring += took;
        match outcome {
            Outcome::Reserved { reservation, .. } => asked.push(reservation),
            other => return slot.alone.unexpected("a place, or one in the line", &other),
        }
    }
    let what = |what: &str| format!("{what}, {capacity} places");
    BenchError::unless_equal(ID, what("hold one at once"), slot.granted.len(), capacity)?;
    BenchError::unless_equal(
        ID,
        what("one and all that wait"),
        slot.count(),
        (2 * capacity, capacity),
    )?;
    let mut held = slot.granted.clone();
    while let Some(last) = held.pop() {
        let known = slot.granted.len();
        let agent = asked.iter().position(|asked| *asked == last).unwrap_or(0);
        let (outcome, took) = slot.apply(ReservationCommand::Release(Release {
            which: Released::Ids(vec![last]),
            caller: agents[agent].clone(),
        }));
        releasing += took;
        if !matches!(outcome, Outcome::Released { .. }) {
            return slot.alone.unexpected("the place is given back", &outcome);
        }
        held.extend_from_slice(&slot.granted[known..]);
    }
    BenchError::unless_equal(ID, what("the order of the grants"), &slot.granted, &asked)?;
    BenchError::unless_equal(ID, what("hold one at the same time at most"), slot.held_max, capacity)?;
    BenchError::unless_equal(ID, what("left in the end"), slot.count(), (0, 0))?;
    Ok([acquiring, releasing])
}

fn ask_for_one(agent: &Caller) -> Acquire {
    Acquire {
        resources: vec![Want {
            resource: "slot:permits".into(),
            mode: Mode::Exclusive,
        }],
        caller: agent.clone(),
        ttl_ms: None,
        wait_ms: WAIT_MS,
        reason: None,
        task: None,
    }
}

fn time_outs(repeats: u32) -> Result<[Row; 3], BenchError> {
    let mut longest = Vec::new();
    for _ in 0..repeats.max(1) {
        let rounds = time_out()?;
        let expected = LEASES.div_ceil(STEPS_PER_EMPTY_ROUND);
        BenchError::unless_equal(ID, "rounds until all leases have ended", rounds.len(), expected)?;
        let most = rounds.iter().max().copied().unwrap_or_default();
        longest.push(most.as_nanos() as f64 / 1e3);
    }
    let longest = Spread::of(longest);
    let name = format!("time-outs, {LEASES} leases that end at once");
    Ok([
        counted(format!("{name}: tasks that are ready again"), LEASES, "tasks"),
        counted(
            format!("{name}: rounds without commands"),
            LEASES.div_ceil(STEPS_PER_EMPTY_ROUND),
            "rounds",
        ),
        longest
            .row(format!("{name}: the longest of the rounds"), "µs")
            .note(longest.note()),
    ])
}

/// Lets leases end that began at the same moment; how long each round took that it needed.
fn time_out() -> Result<Vec<Duration>, BenchError> {
    let mut alone = Alone::new(ID);
    let worker = alone.start_agent("worker")?;
    let leased = NewTask {
        terms: Terms {
            start_ms: Some(LEASE_MS),
            ..Terms::default()
        },
        ..task(round_robin(0), 0)
    };
    let ids = alone.add(vec![leased; LEASES])?.0;
    while !alone.claim(&worker, AT_ONCE)?.0.is_empty() {}
    BenchError::unless_equal(ID, "leases", alone.tasks().count(StateName::Leased), LEASES)?;
    alone.now_ms = LEASE_MS - 1;
    BenchError::unless_equal(ID, "rounds before the end", alone.until_nothing_is_due().len(), 0)?;
    alone.now_ms = LEASE_MS;
    let rounds = alone.until_nothing_is_due();
    let tasks = alone.tasks();
    BenchError::unless_equal(ID, "tasks that are ready again", tasks.ready(), LEASES)?;
    let ended = |id: &&TaskId| {
        let task = tasks.get(**id);
        task.is_some_and(|task| task.history.len() == 1 && task.history[0].reason == Return::NotAccepted)
    };
    let ended = ids.iter().filter(ended).count();
    BenchError::unless_equal(ID, "tasks whose lease has ended once", ended, LEASES)?;
    Ok(rounds)
}

fn allocation(projects: usize, repeats: u32) -> Result<[Row; 3], BenchError> {
    let [create, destroy] = Timing::told(repeats, [projects, projects], || allocate(projects))?;
    let name = format!("allocation, {projects} projects");
    Ok([
        counted(
            format!("{name}: created, destroyed, and nothing left"),
            projects,
            "projects",
        )
        .note("each with a task and a key"),
        nanos(format!("{name}: create"), "ns/project", &create),
        nanos(format!("{name}: destroy and clear away"), "ns/project", &destroy),
    ])
}

/// Projects come, each gets a task and a key, and go; how long their beginning took, and their end until all is cleared
/// away.
fn allocate(projects: usize) -> Result<[Duration; 2], BenchError> {
    let mut alone = Alone::new(ID);
    let names: Vec<Arc<str>> = (0..projects).map(|project| format!("swarm-{project}").into()).collect();
    let (mut creating, mut destroying) = (Duration::ZERO, Duration::ZERO);
    for name in &names {
        alone.project = name.clone();
        match alone.apply(Body::Project(ProjectCommand::Create(ProjectLimits::default()))) {
            (Outcome::ProjectSet { .. }, took) => creating += took,
            (other, _) => return alone.unexpected("a project", &other),
        }
        alone.add(vec![task(round_robin(0), 0)])?;
        alone.apply(put("key", "value"));
    }
    BenchError::unless_equal(ID, "projects", alone.colony.projects().count(), projects)?;
    for name in &names {
        alone.project = name.clone();
        match alone.apply(Body::Project(ProjectCommand::Destroy { dry_run: false })) {
            (Outcome::ProjectDestroyed { lost, .. }, took) => {
                let found = (lost.open_tasks, lost.memory_keys);
                BenchError::unless_equal(ID, format!("tasks and keys that are lost with {name}"), found, (1, 1))?;
                destroying += took;
            }
            (other, _) => return alone.unexpected("the project is destroyed", &other),
        }
    }
    destroying += alone.until_nothing_is_due().iter().sum::<Duration>();
    BenchError::unless_equal(ID, "projects that are left", alone.colony.projects().count(), 0)?;
    Ok([creating, destroying])
}

#[cfg(test)]
mod tests {
    use super::{chain, permit, swarm, time_out};

    #[test]
    fn chains_swarms_permits_and_time_outs_go_as_they_must() {
        assert!(!chain(4).unwrap().is_zero());
        assert!(!swarm(3).unwrap().is_zero());
        assert!(permit(3).unwrap().iter().all(|took| !took.is_zero()));
        assert_eq!(time_out().unwrap().len(), 4);
    }
}
