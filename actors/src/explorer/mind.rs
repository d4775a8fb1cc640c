//! The mind of an explorer: what it believes, what it plans and what it does. Without a world, without messages.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::infer::infer;
use super::learn::Counts;
use super::model::{Model, ModelError, length};
use super::plan::Plan;
use super::scratch::Scratch;
use super::settings::{Choosing, Settings};
use super::tables::{LOG_FLOOR, softmax};

/// One that believes, plans and acts.
#[derive(Clone, Debug)]
pub struct Mind {
    model: Arc<Model>,
    settings: Settings,
    /// The distributions of all factors, one after the other.
    belief: Vec<f64>,
    /// The action of each factor that was taken last.
    action: Vec<usize>,
    /// How many actions were taken.
    steps: u64,
    gains: Vec<f64>,
    probable: Vec<f64>,
    counts: Option<Box<Learning>>,
    random: StdRng,
}

/// What a learner keeps.
#[derive(Clone, Debug)]
struct Learning {
    counts: Counts,
    first: Option<Vec<f64>>,
    before: Vec<f64>,
}

impl Mind {
    /// One that has seen nothing yet. The seed is what it draws actions by.
    pub fn new(model: Arc<Model>, settings: Settings, seed: u64) -> Mind {
        Mind {
            belief: model.prior(),
            action: vec![0; model.parts().controls.len()],
            steps: 0,
            gains: vec![0.0; model.policies()],
            probable: vec![1.0 / model.policies() as f64; model.policies()],
            counts: None,
            random: StdRng::seed_from_u64(seed),
            settings,
            model,
        }
    }

    /// One that learns: its likelihoods, transitions and prior are the means of the counts, and follow them.
    ///
    /// # Errors
    /// [`ModelError`] when of some column nothing was counted.
    pub fn learning(model: Arc<Model>, counts: Counts, settings: Settings, seed: u64) -> Result<Mind, ModelError> {
        let model = Model::with_parts(counts.means(model.parts())?)?;
        let mut mind = Mind::new(Arc::new(model), settings, seed);
        mind.counts = Some(Box::new(Learning {
            counts,
            first: None,
            before: Vec::new(),
        }));
        Ok(mind)
    }

    /// Takes notice of an observation, unless it is not its turn: the belief becomes what follows from the last action, and
    /// from the observation.
    ///
    /// # Errors
    /// [`ModelError::Observation`]; nothing changed.
    pub fn observe(&mut self, observation: &[usize], scratch: &mut Scratch) -> Result<(), ModelError> {
        self.model.check_observation(observation)?;
        if let Some(learning) = &mut self.counts {
            learning.before.clone_from(&self.belief);
        }
        if self.steps > 0 {
            self.predict(scratch);
        }
        if !self.steps.is_multiple_of(u64::from(self.settings.update_every.max(1))) {
            return Ok(());
        }
        infer(&self.model, observation, &mut self.belief, scratch);
        self.learn(observation)
    }

    /// The belief becomes what the last action makes of it.
    fn predict(&mut self, scratch: &mut Scratch) {
        let tables = self.model.tables();
        scratch.ahead.clear();
        scratch.ahead.extend_from_slice(&self.belief);
        for ((range, moves), &action) in tables.ranges.iter().zip(&tables.moves).zip(&self.action) {
            moves[action].predict(&scratch.ahead[range.clone()], &mut self.belief[range.clone()]);
        }
    }

    /// A learner counts what it has experienced.
    fn learn(&mut self, observation: &[usize]) -> Result<(), ModelError> {
        let Some(learning) = &mut self.counts else {
            return Ok(());
        };
        let [of_likelihood, of_transitions, _] = self.settings.learning_rates;
        let Learning { counts, first, before } = &mut **learning;
        counts.observed(&self.model, observation, &self.belief, of_likelihood);
        match first {
            None => *first = Some(self.belief.clone()),
            Some(_) => counts.moved(&self.model, &self.action, before, &self.belief, of_transitions),
        }
        let parts = counts.means(self.model.parts())?;
        let model = Model::with_parts(parts)?;
        counts.look_for_novelty(&model);
        self.model = Arc::new(model);
        Ok(())
    }

    /// A learner counts what it believed at first.
    pub fn learn_beginning(&mut self) {
        if let Some(learning) = &mut self.counts
            && let Some(first) = &learning.first
        {
            learning
                .counts
                .began(&self.model, first, self.settings.learning_rates[2]);
        }
    }

    /// Computes how probable each policy is.
    pub fn plan(&mut self, scratch: &mut Scratch) {
        let plan = Plan {
            model: &self.model,
            settings: &self.settings,
            counts: self.counts.as_deref().map(|learning| &learning.counts),
        };
        plan.policies(&self.belief, &mut self.gains, &mut self.probable, scratch);
    }

    /// Chooses an action for each factor by how probable the policies are that begin with it, and takes it.
    pub fn act(&mut self, scratch: &mut Scratch) -> &[usize] {
        let controls = &self.model.parts().controls;
        let each = self.probable.len() / self.model.choices();
        let mut stride = self.model.choices();
        for (factor, &actions) in controls.iter().enumerate() {
            stride /= actions;
            let marginal = &mut scratch.actions;
            marginal.clear();
            marginal.resize(actions, 0.0);
            for (choice, policies) in self.probable.chunks_exact(each).enumerate() {
                marginal[choice / stride % actions] += policies.iter().sum::<f64>();
            }
            let sum: f64 = marginal.iter().sum();
            marginal.iter_mut().for_each(|probable| *probable /= sum);
            self.action[factor] = match self.settings.choosing {
                Choosing::Best => best(marginal),
                Choosing::Drawn => {
                    let precision = self.settings.action_precision;
                    let logs = marginal.iter_mut();
                    logs.for_each(|probable| *probable = precision * (*probable + LOG_FLOOR).ln());
                    softmax(marginal);
                    drawn(marginal, self.random.random())
                }
            };
        }
        self.steps += 1;
        &self.action
    }

    /// Takes an action that somebody else has chosen.
    ///
    /// # Errors
    /// [`ModelError::Action`]; nothing changed.
    pub fn act_as_told(&mut self, action: &[usize]) -> Result<(), ModelError> {
        self.model.check_action(action)?;
        self.action.copy_from_slice(action);
        self.steps += 1;
        Ok(())
    }

    /// Hears what others believe of one factor: its own belief goes towards the mean of theirs, in logarithms, by this
    /// weight from 0 to 1. The weights sum to 1, so that what goes round comes back as no new evidence.
    ///
    /// # Errors
    /// [`ModelError`] when a belief has another length than the factor; nothing changed.
    pub fn hear<'a>(
        &mut self,
        factor: usize,
        beliefs: impl ExactSizeIterator<Item = &'a [f64]> + Clone,
        weight: f64,
    ) -> Result<(), ModelError> {
        let factors = self.model.ranges().len();
        super::model::bound("factor", factor, 0, factors - 1)?;
        let range = self.model.ranges()[factor].clone();
        for belief in beliefs.clone() {
            length("belief of another", belief.len(), range.len())?;
        }
        let others = beliefs.len() as f64;
        if others == 0.0 {
            return Ok(());
        }
        let own = &mut self.belief[range];
        for q in own.iter_mut() {
            *q = (1.0 - weight) * (*q + LOG_FLOOR).ln();
        }
        for belief in beliefs {
            for (q, other) in own.iter_mut().zip(belief) {
                *q += weight / others * (other + LOG_FLOOR).ln();
            }
        }
        softmax(own);
        Ok(())
    }

    /// What it believes: the distributions of all factors, one after the other.
    pub fn belief(&self) -> &[f64] {
        &self.belief
    }

    /// What it believes of one factor of its model.
    ///
    /// # Panics
    /// When the model has no such factor.
    pub fn belief_of(&self, factor: usize) -> &[f64] {
        &self.belief[self.model.ranges()[factor].clone()]
    }

    /// How uncertain it is of one factor, in nats.
    ///
    /// # Panics
    /// When the model has no such factor.
    pub fn entropy_of(&self, factor: usize) -> f64 {
        let belief = self.belief_of(factor).iter().filter(|q| **q > 0.0);
        -belief.map(|q| q * q.ln()).sum::<f64>()
    }

    /// What each policy gains: its negative expected free energy.
    pub fn gains(&self) -> &[f64] {
        &self.gains
    }

    /// How probable each policy is.
    pub fn policies(&self) -> &[f64] {
        &self.probable
    }

    /// The model, as far as it has learnt it.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The counts of a learner.
    pub fn counts(&self) -> Option<&Counts> {
        self.counts.as_deref().map(|learning| &learning.counts)
    }

    /// The action of each factor that it took last; the first of each before it took any.
    pub fn action(&self) -> &[usize] {
        &self.action
    }

    /// How many actions it has taken.
    pub fn steps(&self) -> u64 {
        self.steps
    }
}

/// The place of the greatest; of equal ones the first.
fn best(numbers: &[f64]) -> usize {
    let mut best = 0;
    for (place, number) in numbers.iter().enumerate() {
        if *number > numbers[best] {
            best = place;
        }
    }
    best
}

/// The place that a number from 0 to 1 falls on.
pub(super) fn drawn(distribution: &[f64], mut at: f64) -> usize {
    for (place, probable) in distribution.iter().enumerate() {
        at -= probable;
        if at < 0.0 {
            return place;
        }
    }
    // Rounding: the last one that is possible.
    distribution.iter().rposition(|probable| *probable > 0.0).unwrap_or(0)
}
