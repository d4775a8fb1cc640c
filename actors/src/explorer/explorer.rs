//! One explorer in a world: senses, hears, believes, plans, acts. Without messages: who says what to whom is not its
//! business.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde::{Deserialize, Serialize};

use super::mind::Mind;
use super::model::ModelError;
use super::scratch::Scratch;
use super::settings::{Choosing, Settings};
use super::world::{GOAL, PLACE, World};

/// Spreads the numbers of explorers over all seeds: 2^64 divided by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// How an explorer is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplorerSpec {
    /// Its number among the explorers of its world: where it begins and what it draws follow from it.
    pub number: u32,
    /// How much what others believe of the goal counts beside its own belief, 0 to 1.
    pub trust: f64,
    /// It takes notice of what it senses in every so many steps, at least 1.
    pub update_every: u32,
}

impl Default for ExplorerSpec {
    fn default() -> ExplorerSpec {
        ExplorerSpec {
            number: 0,
            trust: 0.5,
            update_every: 1,
        }
    }
}

/// An explorer.
#[derive(Clone, Debug)]
pub struct Explorer {
    world: Arc<World>,
    mind: Mind,
    trust: f64,
    place: usize,
    random: StdRng,
}

impl Explorer {
    /// An explorer that stands somewhere in the world.
    ///
    /// # Errors
    /// [`ModelError`] when it is to learn what is too large for that.
    pub fn new(world: Arc<World>, spec: &ExplorerSpec) -> Result<Explorer, ModelError> {
        let of_world = world.spec();
        let seed = of_world.seed ^ (u64::from(spec.number) + 1).wrapping_mul(SPREAD);
        let mut random = StdRng::seed_from_u64(seed);
        let settings = Settings {
            choosing: Choosing::Drawn,
            parameters_gain: of_world.learn,
            update_every: spec.update_every,
            ..Settings::default()
        };
        let (model, seed) = (world.model().clone(), random.random());
        let mind = match of_world.learn {
            true => Mind::learning(model, world.learner_counts()?, settings, seed)?,
            false => Mind::new(model, settings, seed),
        };
        Ok(Explorer {
            place: random.random_range(0..world.places().len()),
            trust: spec.trust,
            world,
            mind,
            random,
        })
    }

    /// One step: takes in what others believe of the goal, senses, plans and walks.
    ///
    /// # Errors
    /// [`ModelError`] when a belief is about another number of sites.
    pub fn step<'a>(
        &mut self,
        heard: impl ExactSizeIterator<Item = &'a [f64]> + Clone,
        scratch: &mut Scratch,
    ) -> Result<(), ModelError> {
        self.mind.hear(GOAL, heard, self.trust)?;
        let sensed = self.world.sense(self.place, &mut self.random);
        self.mind.observe(&sensed, scratch)?;
        self.mind.plan(scratch);
        let action = self.mind.act(scratch)[PLACE];
        self.place = self.world.walk(self.place, action, &mut self.random);
        Ok(())
    }

    /// Its world.
    pub fn world(&self) -> &Arc<World> {
        &self.world
    }

    /// Its mind.
    pub fn mind(&self) -> &Mind {
        &self.mind
    }

    /// Where it really is.
    pub fn place(&self) -> usize {
        self.place
    }

    /// Whether it stands at the goal.
    pub fn is_at_goal(&self) -> bool {
        self.world.steps_to_goal(self.place) == 0
    }

    /// How many steps it has done.
    pub fn steps(&self) -> u64 {
        self.mind.steps()
    }

    /// What it believes of the goal: how probable each site is.
    pub fn goal_belief(&self) -> &[f64] {
        self.mind.belief_of(GOAL)
    }

    /// How uncertain it is of the goal, in nats.
    pub fn goal_entropy(&self) -> f64 {
        self.mind.entropy_of(GOAL)
    }
}
