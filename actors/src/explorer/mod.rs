//! Explorers: agents that act by active inference on a discrete, partially observed world.
//!
//! | module | what | what it never does |
//! |---|---|---|
//! | `model` | the parts of a model, checked; `tables` made of them once | change |
//! | `infer` | what is to be believed after an observation | plan |
//! | `plan` | what each policy gains, and how probable it is | observe |
//! | `mind` | belief, plan and action of one explorer; drawing, hearing what others believe | know a world or a message |
//! | `world` | a grid with obstacles and sites, made of a seed: what is sensed where, and where moves lead | tell an explorer where it is |
//! | `explorer` | one explorer in a world | send messages |
//! | `hosted`, `conductor` | the agents of kinds `explorer` and `explorer-conductor`, and their `message`s | compute |
//! | `learn` | counts of what was experienced, of which the model is the mean | make the impossible possible |
//!
//! The numbers are those of pymdp 0.0.7.1 (fixed-point inference, negative expected free energy, marginal choice of actions,
//! Dirichlet learning): `tests` compares them to 1e-9 with vectors that it computed.
//!
//! # A swarm
//!
//! Twelve explorers look for the goal of a world. After each step each hears what its two neighbours on a ring believe.
//!
//! ```
//! use std::sync::Arc;
//!
//! use queenright_actors::explorer::{Explorer, ExplorerSpec, Scratch, World, WorldError, WorldSpec};
//!
//! let world = Arc::new(World::new(WorldSpec { side: 8, ..WorldSpec::default() })?);
//! let explorer = |number| Explorer::new(world.clone(), &ExplorerSpec { number, ..ExplorerSpec::default() });
//! let mut swarm = (0..12).map(explorer).collect::<Result<Vec<Explorer>, _>>()?;
//! let mut scratch = Scratch::default();
//! for _ in 0..30 {
//!     let said: Vec<Vec<f64>> = swarm.iter().map(|explorer| explorer.goal_belief().to_vec()).collect();
//!     for (at, explorer) in swarm.iter_mut().enumerate() {
//!         let heard = [(at + 11) % 12, (at + 1) % 12].map(|neighbour| &said[neighbour][..]);
//!         explorer.step(heard.into_iter(), &mut scratch)?;
//!     }
//! }
//! let there = swarm.iter().filter(|explorer| explorer.is_at_goal()).count();
//! assert!(there >= 11, "{there} of 12 have found it");
//! # Ok::<(), WorldError>(())
//! ```

mod conductor;
#[allow(clippy::module_inception)]
mod explorer;
mod hosted;
mod infer;
mod learn;
mod message;
mod mind;
mod model;
mod plan;
mod scratch;
mod settings;
mod tables;
#[cfg(test)]
mod tests;
mod world;

pub use self::conductor::EXPLORERS_MAX;
pub use self::explorer::{Explorer, ExplorerSpec};
pub use self::hosted::{HISTORY_STEPS_MAX, add_kinds};
pub use self::learn::{Counts, LEARNED_NUMBERS_MAX};
pub use self::message::TOLD_MAX;
pub use self::mind::Mind;
pub use self::model::{
    FACTORS_MAX, JOINT_MAX, Model, ModelError, NUMBERS_MAX, OUTCOMES_MAX, POLICIES_MAX, POLICY_LENGTH_MAX, Parts,
};
pub use self::scratch::Scratch;
pub use self::settings::{Choosing, Settings};
pub use self::world::{GOAL, MOVES, PLACE, SIDE, SIDE_LEARNED_MAX, SITES_MAX, World, WorldError, WorldSpec};
