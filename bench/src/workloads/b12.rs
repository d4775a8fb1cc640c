//! B12, steps of active inference: minds on a grid as pymdp's are measured, in threads of this process.

mod oracle;

use std::sync::Arc;
use std::time::{Duration, Instant};

use queenright_actors::explorer::{MOVES, Mind, Model, ModelError, Parts, Scratch, Settings};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;

use crate::report::{Report, Row};
use crate::{BenchError, Options, claims};

/// The id of the workload.
pub const ID: &str = "B12";
/// What the workload is about.
pub const TITLE: &str = "active inference: steps of explorers on a grid";

/// How many agents.
const AGENTS: [usize; 4] = [1, 5, 10, 50];
/// How many observations they tell apart: the original's number, and one for each state.
const OBSERVATIONS: [usize; 2] = [5, 25];
/// They take notice of an observation in every so many steps.
const UPDATES: [u32; 2] = [2, 1];
/// Side of the grid and length of policies, as pymdp is measured; one agent on one core.
const ALONE: [(usize, usize); 4] = [(5, 1), (5, 2), (5, 4), (10, 1)];
/// Steps of the warm-up, and those that are compared with the oracle.
const WARM_UP_STEPS: u64 = 20;
/// How far a result may be from the oracle's.
const TOLERANCE: f64 = 1e-9;
/// How many agents are made to measure the set-up.
const SET_UP: usize = 10;

/// Steps of minds: an observation, a belief, a plan and an action, then a step of the world. First the beliefs, gains and
/// policies of some steps are compared with those of plain loops over the formulas.
///
/// # Errors
/// [`BenchError::Mismatch`] if a number is further than 1e-9 from the oracle's.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let report = Report::begin(ID, TITLE, &options.data);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let steady = Duration::from_millis(options.steady_ms);
    let mut rows = Vec::new();
    for (side, length) in ALONE {
        let model = grid(side, side * side, length)?;
        compare(&model, options.seed)?;
        let measured = measure(&model, 1, 1, 1, steady, options.seed)?;
        let states = side * side;
        let row = measured.row(format!("1 core, {states} states, policy length {length}"));
        rows.push(
            row.at("what", "steps on 1 core")
                .at("states", states)
                .at("policy_length", length),
        );
    }
    for observations in OBSERVATIONS {
        let model = grid(5, observations, 1)?;
        compare(&model, options.seed)?;
        for update_every in UPDATES {
            for agents in AGENTS {
                let threads = cores.min(agents);
                let measured = measure(&model, agents, threads, update_every, steady, options.seed)?;
                let every = if update_every == 1 { "step" } else { "second step" };
                let name = format!("{agents} agents, {observations} observations, beliefs every {every}");
                let row = measured.row(name).at("what", "steps").at("agents", agents);
                rows.push(
                    row.at("observations", observations)
                        .at("beliefs", format!("every {every}")),
                );
            }
        }
    }
    let model = grid(5, 25, 1)?;
    let one = measure(&model, 50, 1, 1, steady, options.seed)?;
    let all = measure(&model, 50, cores, 1, steady, options.seed)?;
    let share = 100.0 * all.rate() / (cores as f64 * one.rate());
    for (row, cores) in [
        (one.row("50 agents on 1 core".to_owned()), 1),
        (all.row(format!("50 agents on {cores} cores")), cores),
    ] {
        rows.push(row.at("what", "steps of 50 agents").at("cores", cores));
    }
    rows.push(
        Row::new("50 agents, linear over cores", share, "%", 2)
            .note(format!("the rate on {cores} cores, of {cores} times that on one")),
    );
    let began = Instant::now();
    for _ in 0..SET_UP {
        std::hint::black_box(Mind::new(grid(5, 25, 1)?, settings(1), options.seed));
    }
    let each = began.elapsed().as_secs_f64() * 1e3 / SET_UP as f64;
    rows.push(Row::new(
        "set-up of an agent with a model of its own",
        each,
        "ms",
        SET_UP as u64,
    ));
    Ok(Report {
        config: json!({
            "grid": "5x5 and 10x10, 5 actions, a reading that is right with 0.9 (0.8 with 5 observations), one preferred cell",
            "steady_ms": options.steady_ms, "cores": cores, "seed": options.seed, "compared_steps": WARM_UP_STEPS,
            "tolerance": TOLERANCE, "threads": "as many as cores, but not more than agents; in this process",
        }),
        rows,
        claims: claims::of(ID),
        ..report
    })
}

/// The world of the comparison: a grid without obstacles, of which one corner is preferred. With fewer observations than
/// cells a reading tells the row only.
fn grid(side: usize, observations: usize, policy_length: usize) -> Result<Arc<Model>, BenchError> {
    let cells = side * side;
    let of_cell = |cell: usize| cell * observations / cells;
    let right = if observations == cells { 0.9 } else { 0.8 };
    let wrong = (1.0 - right) / (observations - 1) as f64;
    let likelihood = (0..observations)
        .flat_map(|reading| (0..cells).map(move |cell| if of_cell(cell) == reading { right } else { wrong }));
    let mut transitions = vec![0.0; cells * cells * MOVES.len()];
    for cell in 0..cells {
        for action in 0..MOVES.len() {
            transitions[(moved(cell, action, side) * cells + cell) * MOVES.len() + action] = 1.0;
        }
    }
    let mut preferences = vec![0.0; observations];
    preferences[observations - 1] = 3.0;
    let mut prior = vec![0.0; cells];
    prior[0] = 1.0;
    let model = Model::new(Parts {
        observations: vec![observations],
        states: vec![cells],
        controls: vec![MOVES.len()],
        likelihood: vec![likelihood.collect()],
        transitions: vec![transitions],
        preferences: vec![preferences],
        prior: vec![prior],
        habits: None,
        policy_length,
    });
    model.map(Arc::new).map_err(bug)
}

/// Where an action leads on the grid.
fn moved(cell: usize, action: usize, side: usize) -> usize {
    let (down, right) = MOVES[action];
    let by = |at: usize, by: isize| at.saturating_add_signed(by).min(side - 1);
    by(cell / side, down) * side + by(cell % side, right)
}

fn settings(update_every: u32) -> Settings {
    Settings {
        update_every,
        ..Settings::default()
    }
}

/// What only a bug of this workload can cause.
fn bug(error: ModelError) -> BenchError {
    BenchError::Mismatch {
        workload: ID,
        what: "the model of the grid".to_owned(),
        found: error.to_string(),
        expected: "a model".to_owned(),
    }
}

/// An agent and its world.
struct Walk {
    mind: Mind,
    side: usize,
    cell: usize,
    reading: usize,
    random: StdRng,
}

impl Walk {
    fn new(model: &Arc<Model>, update_every: u32, seed: u64) -> Walk {
        Walk {
            side: model.parts().states[0].isqrt(),
            mind: Mind::new(model.clone(), settings(update_every), seed),
            cell: 0,
            reading: 0,
            random: StdRng::seed_from_u64(seed),
        }
    }

    fn step(&mut self, scratch: &mut Scratch) -> Result<(), ModelError> {
        self.mind.observe(&[self.reading], scratch)?;
        self.mind.plan(scratch);
        let action = self.mind.act(scratch)[0];
        self.cell = moved(self.cell, action, self.side);
        let parts = self.mind.model().parts();
        let observations = parts.observations[0];
        let right = self.cell * observations / parts.states[0];
        self.reading = match self.random.random::<f64>() < 0.9 {
            true => right,
            false => self.random.random_range(0..observations),
        };
        Ok(())
    }
}

/// Compares some steps with the oracle.
fn compare(model: &Arc<Model>, seed: u64) -> Result<(), BenchError> {
    let mut walk = Walk::new(model, 1, seed);
    let mut scratch = Scratch::default();
    let mut oracle = oracle::Oracle::new(model.parts());
    for step in 0..WARM_UP_STEPS {
        let reading = walk.reading;
        walk.step(&mut scratch).map_err(bug)?;
        oracle.step(reading);
        for (what, found, expected) in [
            ("belief", walk.mind.belief(), &oracle.belief),
            ("gains", walk.mind.gains(), &oracle.gains),
            ("policies", walk.mind.policies(), &oracle.policies),
        ] {
            let apart = |(found, expected): (&f64, &f64)| (found - expected).abs();
            // Not by the greatest distance: that of NaN would not be it.
            let far = found
                .iter()
                .zip(expected)
                .map(apart)
                .find(|apart| !apart.le(&TOLERANCE));
            if found.len() != expected.len() || far.is_some() {
                return Err(BenchError::Mismatch {
                    workload: ID,
                    what: format!("{what} of step {step}, seed {seed}: distance from the oracle"),
                    found: format!("{far:?}"),
                    expected: format!("at most {TOLERANCE:e}"),
                });
            }
        }
        oracle.act(walk.mind.action()[0]);
    }
    Ok(())
}

/// What a measurement gave.
struct Measured {
    steps: u64,
    seconds: f64,
    threads: usize,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.steps as f64 / self.seconds
    }

    fn row(&self, name: String) -> Row {
        let threads = match self.threads {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        };
        let note = format!("{threads}, {:.1} s, agents made and warmed up before", self.seconds);
        Row::new(name, self.rate(), "steps/s", self.steps).note(note)
    }
}

/// Lets agents step for a while, shared out to threads; all of a thread step in turn.
fn measure(
    model: &Arc<Model>,
    agents: usize,
    threads: usize,
    update_every: u32,
    steady: Duration,
    seed: u64,
) -> Result<Measured, BenchError> {
    let begin = std::sync::Barrier::new(threads);
    let work = |thread: usize| -> Result<(u64, f64), ModelError> {
        let mine = (thread..agents).step_by(threads);
        let mut walks: Vec<Walk> = mine
            .map(|agent| Walk::new(model, update_every, seed + agent as u64))
            .collect();
        let mut scratch = Scratch::default();
        for walk in &mut walks {
            (0..WARM_UP_STEPS).try_for_each(|_| walk.step(&mut scratch))?;
        }
        begin.wait();
        let (began, mut steps) = (Instant::now(), 0);
        while began.elapsed() < steady {
            for walk in &mut walks {
                walk.step(&mut scratch)?;
            }
            steps += walks.len() as u64;
        }
        Ok((steps, began.elapsed().as_secs_f64()))
    };
    let done = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || work(thread))).collect();
        let joined = running
            .into_iter()
            .map(|thread| thread.join().expect("a step does not panic"));
        joined.collect::<Result<Vec<_>, _>>()
    });
    let done = done.map_err(bug)?;
    Ok(Measured {
        steps: done.iter().map(|(steps, _)| steps).sum(),
        seconds: done.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max),
        threads,
    })
}
