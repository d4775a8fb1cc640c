//! The parts that are about the order in which tasks are handed out, and what one step of that costs.

use std::ops::Range;

use hdrhistogram::Histogram;
use queenright_protocol::colony::{Caller, NewTask, Priority, QUEUE_DEFAULT, StateName, TaskId, Terms, Tier};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::alone::Alone;
use super::order::{Order, PASSES, order, order_of_lanes};
use super::{ID, counted, nanos};
use crate::report::{Percentiles, Row};
use crate::timing::Timing;
use crate::{BenchError, Options, load};

/// Tasks of four priorities: the original's sizes, and greater ones.
const SCHEDULED: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// How many tasks all repeats of one size have together: a hundred thousand tasks are enough samples in a few repeats.
const SCHEDULED_MAX: usize = 300_000;
/// Growth is the cost of a step at the greatest size over that at this one.
const GROWTH_FROM: usize = 1_000;
const DEPTHS: [usize; 4] = [100, 500, 1_000, 5_000];
const HINTED: [usize; 3] = [100, 1_000, 5_000];
/// Lanes: as many as there are tasks of in the queue, the best and the lowest among them.
const LANES: [&[u8]; 3] = [&[1, 10], &[1, 4, 7, 10], &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]];
/// How often the lowest lane is to be served.
const SERVED: usize = 5;
/// How many tasks one command adds where adding is not timed, and how many one claim takes where that is not.
const AT_ONCE: usize = 100;
/// Costs are drawn below this.
const COST_MAX: u32 = 1_000;

const PRIORITIES: [Priority; 4] = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];
const TIERS: [Tier; 3] = [Tier::Interactive, Tier::Standard, Tier::Batch];
/// The place of the tier that tasks have which do not say one.
const STANDARD: u8 = 1;

pub(super) fn rows(options: &Options) -> Result<Vec<Row>, BenchError> {
    let within = |tasks: &usize| *tasks <= options.proposals_max;
    let mut rows = scheduling(options)?;
    for lanes in LANES {
        rows.push(starvation(lanes)?);
    }
    for tasks in DEPTHS.into_iter().filter(within) {
        rows.extend(depth(tasks, options.repeats)?);
    }
    for tasks in HINTED.into_iter().filter(within) {
        rows.extend(hints(tasks, options)?);
    }
    Ok(rows)
}

/// A task of a lane: its priority, then its tier.
pub(super) fn task(lane: u8, cost: u32) -> NewTask {
    NewTask {
        title: "work".into(),
        terms: Terms {
            priority: PRIORITIES[usize::from(lane) / TIERS.len()],
            tier: TIERS[usize::from(lane) % TIERS.len()],
            cost,
            ..Terms::default()
        },
        ..NewTask::default()
    }
}

/// The lane of the task at this place, when priorities take turns.
pub(super) fn round_robin(place: usize) -> u8 {
    (place % PRIORITIES.len() * TIERS.len()) as u8 + STANDARD
}

fn round_robins(places: Range<usize>) -> Vec<u8> {
    places.map(round_robin).collect()
}

/// Adds tasks of these lanes, many at once.
fn add(alone: &mut Alone, lanes: &[u8]) -> Result<Vec<TaskId>, BenchError> {
    let mut ids = Vec::with_capacity(lanes.len());
    for lanes in lanes.chunks(AT_ONCE) {
        let tasks = lanes.iter().map(|lane| task(*lane, 0)).collect();
        ids.extend(alone.add(tasks)?.0);
    }
    Ok(ids)
}

/// Claims all tasks one by one; the places of these ids in the order in which they came. After that there is none.
fn claim_all(
    alone: &mut Alone,
    worker: &Caller,
    ids: &[TaskId],
    dequeues: &mut Histogram<u64>,
) -> Result<Vec<usize>, BenchError> {
    let mut places = Vec::with_capacity(ids.len());
    while places.len() < ids.len() {
        let (claimed, took) = alone.claim(worker, 1)?;
        BenchError::unless_equal(ID, "tasks of a claim", claimed.len(), 1)?;
        dequeues.saturating_record(took.as_nanos() as u64);
        // Ids grow with the age.
        places.extend(ids.binary_search(&claimed[0].task));
    }
    let rest = alone.claim(worker, 1)?.0;
    BenchError::unless_equal(ID, "tasks after the last", rest.len(), 0)?;
    Ok(places)
}

/// Tasks of four priorities that take turns, and how long each took to come and to go.
struct Scheduled {
    lanes: Vec<u8>,
    expected: Order,
    repeats: usize,
    enqueues: Histogram<u64>,
    dequeues: Histogram<u64>,
}

impl Scheduled {
    fn new(tasks: usize, options: &Options) -> Scheduled {
        let lanes = round_robins(0..tasks);
        Scheduled {
            expected: order_of_lanes(&lanes),
            lanes,
            repeats: (SCHEDULED_MAX / tasks).clamp(1, options.repeats.max(1) as usize),
            enqueues: load::histogram(),
            dequeues: load::histogram(),
        }
    }

    fn run(&mut self) -> Result<(), BenchError> {
        let mut alone = Alone::new(ID);
        let worker = alone.start_agent("worker")?;
        let mut ids = Vec::with_capacity(self.lanes.len());
        for lane in &self.lanes {
            let (added, took) = alone.add(vec![task(*lane, 0)])?;
            ids.extend(added);
            self.enqueues.saturating_record(took.as_nanos() as u64);
        }
        let found = claim_all(&mut alone, &worker, &ids, &mut self.dequeues)?;
        let what = format!("order of {} tasks of four priorities", ids.len());
        BenchError::unless_equal(ID, what, &found, &self.expected.places)
    }

    fn rows(&self) -> [Row; 3] {
        let name = format!("priority scheduling, {} tasks", self.lanes.len());
        [
            in_order(&name, &self.expected),
            distribution(format!("{name}: enqueue"), &self.enqueues),
            distribution(format!("{name}: dequeue"), &self.dequeues),
        ]
    }
}

/// Each size once, then all again: a disturbance of the machine falls on different sizes.
fn scheduling(options: &Options) -> Result<Vec<Row>, BenchError> {
    let sizes = SCHEDULED.into_iter().filter(|tasks| *tasks <= options.proposals_max);
    let mut all: Vec<Scheduled> = sizes.map(|tasks| Scheduled::new(tasks, options)).collect();
    for repeat in 0..options.repeats.max(1) as usize {
        let mut due = all.iter_mut().filter(|scheduled| repeat < scheduled.repeats);
        due.try_for_each(Scheduled::run)?;
    }
    let mut rows: Vec<Row> = all.iter().flat_map(Scheduled::rows).collect();
    rows.extend(growth(&all));
    Ok(rows)
}

fn in_order(name: &str, Order { places, turns }: &Order) -> Row {
    counted(
        format!("{name}: claimed in the order of the oracle"),
        places.len(),
        "tasks",
    )
    .note(format!("{turns} of them by their turn before a better lane"))
}

fn distribution(name: String, histogram: &Histogram<u64>) -> Row {
    let percentiles = Percentiles::of(histogram, 1.0);
    Row::new(name, percentiles.p50, "ns", histogram.len())
        .percentiles(percentiles)
        .note("one command each, the cost of the clock included")
}

fn growth(all: &[Scheduled]) -> Vec<Row> {
    let from = all.iter().find(|scheduled| scheduled.lanes.len() == GROWTH_FROM);
    let (Some(before), Some(after)) = (from, all.last()) else {
        return Vec::new();
    };
    let (from, to) = (before.lanes.len(), after.lanes.len());
    let logarithms = (to as f64).log2() / (from as f64).log2();
    let steps = [
        ("enqueue", &before.enqueues, &after.enqueues),
        ("dequeue", &before.dequeues, &after.dequeues),
    ];
    let row = |(what, before, after): (&str, &Histogram<u64>, &Histogram<u64>)| {
        let p50 = |histogram: &Histogram<u64>| histogram.value_at_quantile(0.5) as f64;
        let name = format!("priority scheduling: {what} at {to} tasks over that at {from}, p50");
        Row::new(name, p50(after) / p50(before), "×", after.len())
            .note(format!("their logarithms stand as {logarithms:.2} to 1"))
    };
    steps.map(row).into()
}

/// How many grants pass the lowest of these lanes while the best always has tasks, and the others have some as well.
fn starvation(lanes: &[u8]) -> Result<Row, BenchError> {
    let mut alone = Alone::new(ID);
    let worker = alone.start_agent("worker")?;
    let (best, others) = (lanes[0], &lanes[1..]);
    let mut lowest = Vec::new();
    for lane in others {
        // In (PASSES + 1) grants for each lane a lane has its turn at most twice.
        lowest = add(&mut alone, &[*lane; 2 * SERVED])?;
    }
    let bound = (PASSES + 1) * lanes.len() as u64;
    let (mut passed, mut passes) = (0, Vec::new());
    while passes.len() < SERVED {
        add(&mut alone, &[best])?;
        let (claimed, _) = alone.claim(&worker, 1)?;
        BenchError::unless_equal(ID, "tasks of a claim", claimed.len(), 1)?;
        if lowest.contains(&claimed[0].task) {
            passes.push(passed);
            passed = 0;
        } else {
            passed += 1;
        }
        let what = format!(
            "{passed} grants pass the lowest of {} lanes: within {bound}",
            lanes.len()
        );
        BenchError::unless_equal(ID, what, passed <= bound, true)?;
    }
    let most = passes.iter().max().copied().unwrap_or_default();
    let name = format!(
        "starvation bound, {} lanes: grants that pass the lowest at most",
        lanes.len()
    );
    Ok(Row::new(name, most as f64, "grants", SERVED as u64)
        .note(format!("the bound is {bound}; the best lane was never empty")))
}

/// What the counts of the default queue are: open, ready, and leased in the project.
fn counts(alone: &Alone) -> [usize; 3] {
    let tasks = alone.tasks();
    let queue = tasks.queue(QUEUE_DEFAULT);
    let [open, ready] = queue.map_or([0, 0], |queue| [queue.open(), queue.ready()]);
    [open, ready, tasks.count(StateName::Leased)]
}

fn depth(tasks: usize, repeats: u32) -> Result<[Row; 2], BenchError> {
    let mut alone = Alone::new(ID);
    let worker = alone.start_agent("worker")?;
    add(&mut alone, &round_robins(0..tasks))?;
    let what = |what: &str| format!("counts of a queue to which {tasks} tasks were added, {what}");
    BenchError::unless_equal(ID, what("all ready"), counts(&alone), [tasks, tasks, 0])?;
    let read = Timing::of(repeats, 1, || counts(&alone));
    alone.claim(&worker, AT_ONCE as u32)?;
    let after = [tasks, tasks - AT_ONCE, AT_ONCE];
    BenchError::unless_equal(ID, what("some claimed"), counts(&alone), after)?;
    let name = format!("queue depth, {tasks} tasks");
    Ok([
        counted(format!("{name}: open and ready"), tasks, "tasks").note(format!(
            "then {} ready and {AT_ONCE} leased, as were claimed",
            tasks - AT_ONCE
        )),
        nanos(format!("{name}: read the counts"), "ns", &read),
    ])
}

fn hints(tasks: usize, options: &Options) -> Result<[Row; 2], BenchError> {
    let mut random = StdRng::seed_from_u64(options.seed);
    let mut draw = || {
        let lane = random.random_range(0..PRIORITIES.len() * TIERS.len()) as u8;
        (lane, random.random_range(0..COST_MAX))
    };
    let drawn: Vec<(u8, u32)> = (0..tasks).map(|_| draw()).collect();
    let expected = order(&drawn);
    let mut dequeues = load::histogram();
    for _ in 0..options.repeats.max(1) {
        let mut alone = Alone::new(ID);
        let worker = alone.start_agent("worker")?;
        let mut ids = Vec::with_capacity(tasks);
        for drawn in drawn.chunks(AT_ONCE) {
            let some = drawn.iter().map(|(lane, cost)| task(*lane, *cost)).collect();
            ids.extend(alone.add(some)?.0);
        }
        let found = claim_all(&mut alone, &worker, &ids, &mut dequeues)?;
        let what = format!("order of {tasks} tasks of drawn priority, tier and cost");
        BenchError::unless_equal(ID, what, &found, &expected.places)?;
    }
    let name = format!("scheduling hints, {tasks} tasks");
    let in_order = in_order(&name, &expected);
    let note = in_order.note.clone().unwrap_or_default();
    Ok([
        in_order.note(format!(
            "{note}; of a lane the cheapest come first, the oldest after 16 of them"
        )),
        distribution(format!("{name}: dequeue"), &dequeues),
    ])
}

#[cfg(test)]
mod tests {
    use super::{LANES, round_robins, starvation, task};

    #[test]
    fn the_lane_of_a_task_is_that_of_the_rules() {
        for lane in 0..12 {
            assert_eq!(task(lane, 0).terms.lane(), lane);
        }
        assert_eq!(round_robins(0..5), [1, 4, 7, 10, 1]);
    }

    #[test]
    fn the_lowest_of_two_lanes_is_served_after_32_grants() {
        let row = starvation(LANES[0]).unwrap();
        assert_eq!(row.value, 32.0);
    }
}
