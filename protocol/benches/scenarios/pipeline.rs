//! `swarm_coordination`: stages, projects, permits, leases.

use std::hint::black_box;
use std::sync::Arc;

use queenright_protocol::colony::{
    Acquire, Body, Caller, Mode, Need, NewTask, Outcome, ProjectCommand, ProjectLimits, Release, Released,
    ReservationCommand, Round, StateName, TaskCommand, Terms, Want,
};

use super::Once;
use crate::alone::{Alone, add, claim, finish, put, start};

/// Tasks of a level, and of a project.
const WIDTH: usize = 4;
const PROJECT_TASKS: usize = 10;
/// When the leases of `timeout` end, in milliseconds of cluster time.
const LEASE_MS: u64 = 60_000;
/// How many tasks one claim takes.
const AT_ONCE: u32 = 100;

fn begun() -> (Alone, Caller) {
    let mut alone = Alone::default();
    let (body, caller) = start("worker");
    alone.apply(body);
    (alone, caller)
}

/// Levels of tasks, each of which needs all of the level before.
fn graph(levels: usize, width: usize) -> Body {
    let name = |level: usize, place: usize| -> Arc<str> { format!("step-{level}-{place}").into() };
    let step = |level: usize, place: usize| NewTask {
        title: "work".into(),
        name: Some(name(level, place)),
        terms: Terms {
            needs: level
                .checked_sub(1)
                .into_iter()
                .flat_map(|before| (0..width).map(move |place| Need::Name(name(before, place))))
                .collect(),
            ..Terms::default()
        },
        ..NewTask::default()
    };
    let steps = (0..levels).flat_map(|level| (0..width).map(move |place| step(level, place)));
    Body::Task(TaskCommand::Add(steps.collect()))
}

/// Claims what is ready and finishes it, until nothing is.
fn work(alone: &mut Alone, worker: &Caller) {
    loop {
        let claimed = alone.apply(claim(worker, AT_ONCE));
        if matches!(&claimed, Outcome::Claimed { tasks, .. } if tasks.is_empty()) {
            return;
        }
        for body in finish(claimed, worker) {
            alone.apply(body);
        }
    }
}

fn done(alone: &Alone) -> usize {
    let project = alone.colony.project(&alone.project).expect("tasks were added");
    project.tasks().count(StateName::Done)
}

fn worked(levels: usize, width: usize) -> Once {
    let (mut alone, worker) = begun();
    alone.apply(graph(levels, width));
    Box::new(move || {
        work(&mut alone, &worker);
        assert_eq!(done(&alone), levels * width);
    })
}

pub(super) fn stages(stages: usize) -> Once {
    worked(stages, 1)
}

pub(super) fn levels(levels: usize) -> Once {
    worked(levels, WIDTH)
}

pub(super) fn projects(projects: usize) -> Once {
    let (mut alone, worker) = begun();
    let names: Vec<Arc<str>> = (0..projects).map(|project| format!("swarm-{project}").into()).collect();
    for name in &names {
        alone.project = name.clone();
        alone.apply(add(PROJECT_TASKS));
    }
    Box::new(move || {
        for _ in 0..PROJECT_TASKS {
            for name in &names {
                alone.project = name.clone();
                let claimed = alone.apply(claim(&worker, 1));
                finish(claimed, &worker).for_each(|body| drop(alone.apply(body)));
            }
        }
        assert_eq!(done(&alone), PROJECT_TASKS);
    })
}

pub(super) fn places(capacity: usize) -> Once {
    let (mut alone, worker) = begun();
    alone.apply(Body::Reservation(ReservationCommand::Slot {
        name: "permits".into(),
        capacity: capacity as u32,
    }));
    let acquire = Acquire {
        resources: vec![Want {
            resource: "slot:permits".into(),
            mode: Mode::Exclusive,
        }],
        caller: worker.clone(),
        ttl_ms: None,
        wait_ms: 0,
        reason: None,
        task: None,
    };
    Box::new(move || {
        for _ in 0..capacity {
            alone.apply(Body::Reservation(ReservationCommand::Acquire(acquire.clone())));
        }
        let release = Release {
            which: Released::All,
            caller: worker.clone(),
        };
        alone.apply(Body::Reservation(ReservationCommand::Release(release)));
    })
}

pub(super) fn leases(leases: usize) -> Once {
    let (mut alone, worker) = begun();
    let leased = NewTask {
        title: "work".into(),
        terms: Terms {
            start_ms: Some(LEASE_MS),
            ..Terms::default()
        },
        ..NewTask::default()
    };
    for _ in 0..leases / AT_ONCE as usize {
        alone.apply(Body::Task(TaskCommand::Add(vec![leased.clone(); AT_ONCE as usize])));
        alone.apply(claim(&worker, AT_ONCE));
    }
    alone.now_ms = LEASE_MS;
    let empty = alone.round(Vec::new());
    Box::new(move || {
        while alone.colony.due_ms().is_some_and(|due_ms| due_ms <= alone.now_ms) {
            alone.apply_round(&empty);
        }
        let project = alone.colony.project("p").expect("tasks were added");
        assert_eq!(project.tasks().ready(), leases);
    })
}

pub(super) fn conversion(count: usize) -> Once {
    let mut alone = Alone::default();
    let round = alone.round((0..count).map(|place| put(format!("artifact-{place}"))).collect());
    Box::new(move || {
        for _ in 0..count {
            let bytes = black_box(&round).encode();
            assert_eq!(Round::decode(&bytes).expect("it was encoded").commands.len(), count);
        }
    })
}

pub(super) fn allocation(projects: usize) -> Once {
    let mut alone = Alone::default();
    let names: Vec<Arc<str>> = (0..projects).map(|project| format!("swarm-{project}").into()).collect();
    Box::new(move || {
        for name in &names {
            alone.project = name.clone();
            alone.apply(Body::Project(ProjectCommand::Create(ProjectLimits::default())));
        }
        assert_eq!(alone.colony.projects().count(), projects);
    })
}
