//! Grid worlds: places between obstacles, of which one site is the goal. Whoever walks there reads its place with noise, and
//! a scent that tells about how far the goal is, but not which site that is.
//!
//! Made of a seed alone, so that all nodes have the same one.

use std::collections::VecDeque;

use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use super::learn::Counts;
use super::mind::drawn;
use super::model::{Model, ModelError, POLICY_LENGTH_MAX, Parts};

/// The factors of the model of a world: where one is, and which site is the goal.
pub const PLACE: usize = 0;
/// Which site is the goal.
pub const GOAL: usize = 1;
/// The least and the greatest side of a grid, in places.
pub const SIDE: std::ops::RangeInclusive<usize> = 2..=24;
/// The greatest side of a grid whose explorers learn: each has a model of its own.
pub const SIDE_LEARNED_MAX: usize = 10;
/// The most sites.
pub const SITES_MAX: usize = 8;
/// Stay, and one place up, down, right, left.
pub const MOVES: [(isize, isize); 5] = [(0, 0), (-1, 0), (1, 0), (0, 1), (0, -1)];

/// How far a scent is read wrong at most.
const SCENT_REACH: isize = 4;
/// How much nearer to the goal is preferred, in nats a step.
const PULL: f64 = 1.0;
/// What a learner has counted before it begins: of readings that are right, of each that is wrong, of each move that could
/// be, of what is known.
const LEARNER_COUNTS: [f64; 4] = [4.0, 1.0, 0.2, 100.0];

/// What a world is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorldSpec {
    /// Places of a row and of a column, 2 to 24.
    pub side: usize,
    /// Which share of the places is to be obstacles, 0 to 0.4. Those that would cut the world in two are left out.
    pub obstacles: f64,
    /// How many sites may be the goal, 1 to 8.
    pub sites: usize,
    /// How probable it is that a neighbouring place is read instead of one's own, 0 to 0.9.
    pub noise: f64,
    /// How probable it is that a move leads nowhere, 0 to 0.9.
    pub slip: f64,
    /// How much less probable each step is by which a scent is read wrong, 0 to 0.95.
    pub scent: f64,
    /// What the world is drawn from.
    pub seed: u64,
    /// How many steps its explorers look ahead, 1 to 4.
    pub policy_length: usize,
    /// Whether its explorers must learn where moves lead and how noisy readings are.
    pub learn: bool,
}

impl Default for WorldSpec {
    fn default() -> WorldSpec {
        WorldSpec {
            side: 10,
            obstacles: 0.15,
            sites: 4,
            noise: 0.2,
            slip: 0.05,
            scent: 0.8,
            seed: 1,
            policy_length: 1,
            learn: false,
        }
    }
}

/// Why there is no such world.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WorldError {
    /// A number is out of its bounds.
    #[error("{field}: {found} is not {bound}")]
    Bound {
        /// What has that number.
        field: &'static str,
        /// The number.
        found: f64,
        /// What it must be.
        bound: String,
    },
    /// It has fewer places than sites.
    #[error("sites: {sites} do not fit on {places} places")]
    Full {
        /// How many sites.
        sites: usize,
        /// How many places there are.
        places: usize,
    },
    /// Its model is too large.
    #[error(transparent)]
    Model(#[from] ModelError),
}

impl WorldSpec {
    /// # Errors
    /// [`WorldError::Bound`] names the field, its value and its bounds.
    pub fn check(&self) -> Result<(), WorldError> {
        let greatest = if self.learn { SIDE_LEARNED_MAX } else { *SIDE.end() };
        let whole = [
            ("side", self.side, *SIDE.start(), greatest),
            ("sites", self.sites, 1, SITES_MAX),
            ("policy_length", self.policy_length, 1, POLICY_LENGTH_MAX),
        ];
        for (field, found, min, max) in whole {
            if !(min..=max).contains(&found) {
                let learning = if field == "side" && self.learn {
                    " (to be learnt)"
                } else {
                    ""
                };
                let bound = format!("{min} to {max}{learning}");
                let found = found as f64;
                return Err(WorldError::Bound { field, found, bound });
            }
        }
        let shares = [
            ("obstacles", self.obstacles, 0.4),
            ("noise", self.noise, 0.9),
            ("slip", self.slip, 0.9),
            ("scent", self.scent, 0.95),
        ];
        for (field, found, max) in shares {
            if !(0.0..=max).contains(&found) {
                let bound = format!("0 to {max}");
                return Err(WorldError::Bound { field, found, bound });
            }
        }
        Ok(())
    }
}

/// A world.
#[derive(Clone, Debug)]
pub struct World {
    spec: WorldSpec,
    /// Row and column of each place.
    places: Vec<(usize, usize)>,
    /// Where each move leads from each place.
    leads: Vec<[usize; MOVES.len()]>,
    sites: Vec<usize>,
    /// Which of the sites is the goal.
    goal: usize,
    /// From each site to each place, in steps.
    distances: Vec<Vec<usize>>,
    /// As it is.
    model: std::sync::Arc<Model>,
}

impl World {
    /// The world of these specifications.
    ///
    /// # Errors
    /// [`WorldError`].
    pub fn new(spec: WorldSpec) -> Result<World, WorldError> {
        spec.check()?;
        let mut random = StdRng::seed_from_u64(spec.seed);
        let places = places(&spec, &mut random);
        if places.len() < spec.sites {
            let (sites, places) = (spec.sites, places.len());
            return Err(WorldError::Full { sites, places });
        }
        let leads = leads(&places);
        let mut drawn: Vec<usize> = (0..places.len()).collect();
        drawn.shuffle(&mut random);
        let sites = drawn[..spec.sites].to_vec();
        let goal = random.random_range(0..sites.len());
        let distances: Vec<Vec<usize>> = sites.iter().map(|site| distances(&leads, *site)).collect();
        let levels = distances.iter().flatten().max().map_or(1, |most| most + 1);
        let parts = parts(&spec, &leads, &distances, levels);
        Ok(World {
            model: std::sync::Arc::new(Model::new(parts)?),
            spec,
            places,
            leads,
            sites,
            goal,
            distances,
        })
    }

    /// What it was made of.
    pub fn spec(&self) -> &WorldSpec {
        &self.spec
    }

    /// Row and column of each place.
    pub fn places(&self) -> &[(usize, usize)] {
        &self.places
    }

    /// The places of the sites, one of which is the goal.
    pub fn sites(&self) -> &[usize] {
        &self.sites
    }

    /// Which of the sites is the goal.
    pub fn goal(&self) -> usize {
        self.goal
    }

    /// How many steps a place is away from the goal.
    pub fn steps_to_goal(&self, place: usize) -> usize {
        self.distances[self.goal][place]
    }

    /// The model of one who knows all but where it is and which site is the goal.
    pub fn model(&self) -> &std::sync::Arc<Model> {
        &self.model
    }

    /// What is read at a place: a place, and how strong the scent is.
    pub fn sense(&self, place: usize, random: &mut StdRng) -> [usize; 2] {
        let parts = self.model.parts();
        let state = place * self.sites.len() + self.goal;
        let joint = self.places.len() * self.sites.len();
        [0, 1].map(|modality| {
            let column = parts.likelihood[modality].iter().skip(state).step_by(joint);
            // Few are possible, but which is drawn must not depend on that.
            drawn(&column.copied().collect::<Vec<f64>>(), random.random())
        })
    }

    /// Where a move leads this time.
    pub fn walk(&self, place: usize, action: usize, random: &mut StdRng) -> usize {
        match random.random::<f64>() < self.spec.slip {
            true => place,
            false => self.leads[place][action],
        }
    }

    /// The counts of one who has to learn where moves lead and how noisy readings are, but knows scents.
    ///
    /// # Errors
    /// [`ModelError`] when the world is too large for that.
    pub fn learner_counts(&self) -> Result<Counts, ModelError> {
        let [right, wrong, each_move, known] = LEARNER_COUNTS;
        let (places, sites) = (self.places.len(), self.sites.len());
        let mut readings = vec![0.0; places * places * sites];
        let mut moves = vec![0.0; places * places * MOVES.len()];
        for (place, leads) in self.leads.iter().enumerate() {
            for to in leads {
                let count = if *to == place { right } else { wrong };
                readings[(to * places + place) * sites..][..sites].fill(count);
                moves[(to * places + place) * MOVES.len()..][..MOVES.len()].fill(each_move);
            }
        }
        let parts = self.model.parts();
        let counted = |numbers: &[f64]| numbers.iter().map(|number| number * known).collect::<Vec<f64>>();
        let goals: Vec<f64> = (0..sites * sites)
            .map(|at| if at % (sites + 1) == 0 { known } else { 0.0 })
            .collect();
        let prior = parts.prior.iter().map(|prior| counted(prior)).collect();
        let likelihood = vec![readings, counted(&parts.likelihood[1])];
        Counts::new(&self.model, likelihood, vec![moves, goals], prior)
    }
}

/// The places that are left between obstacles, which are drawn one after the other.
fn places(spec: &WorldSpec, random: &mut StdRng) -> Vec<(usize, usize)> {
    let side = spec.side;
    let mut free = vec![true; side * side];
    let mut cells: Vec<usize> = (0..side * side).collect();
    cells.shuffle(random);
    let wanted = (spec.obstacles * (side * side) as f64) as usize;
    let mut left = side * side;
    for cell in cells {
        if side * side - left == wanted {
            break;
        }
        free[cell] = false;
        left -= 1;
        if reached(&free, side) < left {
            free[cell] = true;
            left += 1;
        }
    }
    let all = (0..side * side).filter(|cell| free[*cell]);
    all.map(|cell| (cell / side, cell % side)).collect()
}

/// How many cells are reached from the first that is free.
fn reached(free: &[bool], side: usize) -> usize {
    let Some(first) = free.iter().position(|free| *free) else {
        return 0;
    };
    let mut seen = vec![false; free.len()];
    let mut queue = VecDeque::from([first]);
    seen[first] = true;
    let mut count = 0;
    while let Some(cell) = queue.pop_front() {
        count += 1;
        for (down, right) in &MOVES[1..] {
            let to = moved((cell / side, cell % side), (*down, *right), side);
            if let Some((row, column)) = to
                && free[row * side + column]
                && !std::mem::replace(&mut seen[row * side + column], true)
            {
                queue.push_back(row * side + column);
            }
        }
    }
    count
}

fn moved((row, column): (usize, usize), (down, right): (isize, isize), side: usize) -> Option<(usize, usize)> {
    let row = row.checked_add_signed(down).filter(|row| *row < side)?;
    let column = column.checked_add_signed(right).filter(|column| *column < side)?;
    Some((row, column))
}

/// Where each move leads from each place: to itself where an obstacle or the border is.
fn leads(places: &[(usize, usize)]) -> Vec<[usize; MOVES.len()]> {
    let from = |place: usize| {
        MOVES.map(|by| {
            let to = moved(places[place], by, usize::MAX);
            let to = to.and_then(|to| places.binary_search(&to).ok());
            to.unwrap_or(place)
        })
    };
    (0..places.len()).map(from).collect()
}

fn distances(leads: &[[usize; MOVES.len()]], from: usize) -> Vec<usize> {
    let mut distances = vec![usize::MAX; leads.len()];
    distances[from] = 0;
    let mut queue = VecDeque::from([from]);
    while let Some(place) = queue.pop_front() {
        for &to in &leads[place] {
            if distances[to] == usize::MAX {
                distances[to] = distances[place] + 1;
                queue.push_back(to);
            }
        }
    }
    distances
}

/// The model of a world as it is.
fn parts(spec: &WorldSpec, leads: &[[usize; MOVES.len()]], distances: &[Vec<usize>], levels: usize) -> Parts {
    let (places, sites) = (leads.len(), distances.len());
    let mut readings = vec![0.0; places * places * sites];
    let mut moves = vec![0.0; places * places * MOVES.len()];
    let mut scents = vec![0.0; levels * places * sites];
    for (place, leads) in leads.iter().enumerate() {
        let others = leads.iter().filter(|to| **to != place).collect::<Vec<_>>();
        let right = if others.is_empty() { 1.0 } else { 1.0 - spec.noise };
        for site in 0..sites {
            readings[(place * places + place) * sites + site] = right;
            for to in &others {
                readings[(**to * places + place) * sites + site] = spec.noise / others.len() as f64;
            }
            for (level, probable) in scent(spec, distances[site][place], levels) {
                scents[(level * places + place) * sites + site] += probable;
            }
        }
        for (action, to) in leads.iter().enumerate() {
            moves[(place * places + place) * MOVES.len() + action] += spec.slip;
            moves[(to * places + place) * MOVES.len() + action] += 1.0 - spec.slip;
        }
    }
    let mut goals = vec![0.0; sites * sites];
    goals.iter_mut().step_by(sites + 1).for_each(|stays| *stays = 1.0);
    Parts {
        observations: vec![places, levels],
        states: vec![places, sites],
        controls: vec![MOVES.len(), 1],
        likelihood: vec![readings, scents],
        transitions: vec![moves, goals],
        preferences: vec![
            vec![0.0; places],
            (0..levels).map(|level| -PULL * level as f64).collect(),
        ],
        prior: vec![vec![1.0 / places as f64; places], vec![1.0 / sites as f64; sites]],
        habits: None,
        policy_length: spec.policy_length,
    }
}

/// How probable each reading of the scent is at this distance. What would be read beyond the ends is read as the ends.
fn scent(spec: &WorldSpec, distance: usize, levels: usize) -> Vec<(usize, f64)> {
    let wrong = -SCENT_REACH..=SCENT_REACH;
    let weight = |by: isize| spec.scent.powi(by.unsigned_abs() as i32);
    let all: f64 = wrong.clone().map(weight).sum();
    let read = |by: isize| (distance as isize + by).clamp(0, levels as isize - 1) as usize;
    wrong.map(|by| (read(by), weight(by) / all)).collect()
}
