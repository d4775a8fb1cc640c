//! Learning: counts of what was experienced (the parameters of Dirichlet distributions), of which likelihoods, transitions
//! and the prior are the means. As pymdp 0.0.7.1 does it: what is impossible stays so.

use super::model::{Model, ModelError, Parts, bound, entries, length};
use super::plan::{dot, outer};
use super::tables::LOG_FLOOR;

/// Tables are made anew after each step of a learner, so its model is small: numbers of likelihoods and transitions each.
pub const LEARNED_NUMBERS_MAX: usize = 1 << 16;

/// Counts, in the shape of the parts that are their means.
#[derive(Clone, Debug, PartialEq)]
pub struct Counts {
    /// For each modality, of `[observation][state of each factor]` (pA).
    pub likelihood: Vec<Vec<f64>>,
    /// For each factor, of `[next state][state][action]` (pB).
    pub transitions: Vec<Vec<f64>>,
    /// For each factor, of its first states (pD).
    pub prior: Vec<Vec<f64>>,
    /// How much more there is to learn about each likelihood and each transition.
    novelty: [Vec<Vec<f64>>; 2],
}

impl Counts {
    /// Counts for a model of this shape.
    ///
    /// # Errors
    /// [`ModelError`] names what does not fit the model, is not finite or below 0, or a model too large to learn.
    pub fn new(
        model: &Model,
        likelihood: Vec<Vec<f64>>,
        transitions: Vec<Vec<f64>>,
        prior: Vec<Vec<f64>>,
    ) -> Result<Counts, ModelError> {
        let parts = model.parts();
        for (name, counts, shape) in [
            ("counts of likelihood", &likelihood, &parts.likelihood),
            ("counts of transitions", &transitions, &parts.transitions),
            ("counts of prior", &prior, &parts.prior),
        ] {
            length(name, counts.len(), shape.len())?;
            for (index, (counts, shape)) in counts.iter().zip(shape).enumerate() {
                let name = format!("{name}[{index}]");
                length(&name, counts.len(), shape.len())?;
                entries(&name, counts, |count| count.is_finite() && count >= 0.0, "0 or more")?;
            }
            let numbers = shape.iter().map(Vec::len).sum();
            bound(&format!("numbers of {name}"), numbers, 1, LEARNED_NUMBERS_MAX)?;
        }
        let mut counts = Counts {
            likelihood,
            transitions,
            prior,
            novelty: Default::default(),
        };
        counts.look_for_novelty(model);
        Ok(counts)
    }

    /// The parts that are the means of the counts; the others are those of `parts`.
    ///
    /// # Errors
    /// [`ModelError::Sum`] for a column of which nothing was counted.
    pub fn means(&self, parts: &Parts) -> Result<Parts, ModelError> {
        let joint: usize = parts.states.iter().product();
        let mut means = parts.clone();
        for (m, counts) in self.likelihood.iter().enumerate() {
            means.likelihood[m] = normed(&format!("counts of likelihood[{m}]"), counts, joint)?;
        }
        for (f, counts) in self.transitions.iter().enumerate() {
            let columns = parts.states[f] * parts.controls[f];
            means.transitions[f] = normed(&format!("counts of transitions[{f}]"), counts, columns)?;
            means.prior[f] = normed(&format!("counts of prior[{f}]"), &self.prior[f], 1)?;
        }
        Ok(means)
    }

    /// An observation was made while this was believed.
    pub(super) fn observed(&mut self, model: &Model, observation: &[usize], belief: &[f64], rate: f64) {
        let parts = model.parts();
        let states = model.tables().joint_states;
        let mut joint = vec![0.0; states];
        outer(belief, model.ranges(), &mut joint);
        for ((counts, likelihood), &observed) in self.likelihood.iter_mut().zip(&parts.likelihood).zip(observation) {
            let row = observed * states..(observed + 1) * states;
            let likely = &likelihood[row.clone()];
            for ((count, q), likely) in counts[row].iter_mut().zip(&joint).zip(likely) {
                if *likely > 0.0 {
                    *count += rate * q;
                }
            }
        }
    }

    /// An action has led from the belief before to the one after it.
    pub(super) fn moved(&mut self, model: &Model, action: &[usize], before: &[f64], after: &[f64], rate: f64) {
        let parts = model.parts();
        for (factor, range) in model.ranges().iter().enumerate() {
            let (actions, action) = (parts.controls[factor], action[factor]);
            let (before, after) = (&before[range.clone()], &after[range.clone()]);
            let counts = self.transitions[factor].chunks_exact_mut(range.len() * actions);
            let rows = parts.transitions[factor].chunks_exact(range.len() * actions);
            for ((counts, row), after) in counts.zip(rows).zip(after) {
                for (state, before) in before.iter().enumerate() {
                    if row[state * actions + action] > 0.0 {
                        counts[state * actions + action] += rate * after * before;
                    }
                }
            }
        }
    }

    /// This was believed at first.
    pub(super) fn began(&mut self, model: &Model, belief: &[f64], rate: f64) {
        for (counts, range) in self.prior.iter_mut().zip(model.ranges()) {
            for (count, q) in counts.iter_mut().zip(&belief[range.clone()]) {
                if *count > 0.0 {
                    *count += rate * q;
                }
            }
        }
    }

    /// Computes how much more there is to learn.
    pub(super) fn look_for_novelty(&mut self, model: &Model) {
        let parts = model.parts();
        let joint = model.tables().joint_states;
        let likelihood = self.likelihood.iter().map(|counts| novelty(counts, joint));
        let transitions = self.transitions.iter().enumerate();
        let transitions = transitions.map(|(f, counts)| novelty(counts, parts.states[f] * parts.controls[f]));
        self.novelty = [likelihood.collect(), transitions.collect()];
    }

    /// How much is to be learnt about likelihoods by an observation in these states.
    pub(super) fn gain_of_likelihood(&self, model: &Model, joint: &[f64]) -> f64 {
        let modalities = self.novelty[0].iter().zip(&model.parts().likelihood);
        let mut gain = 0.0;
        for (novelty, likelihood) in modalities {
            let rows = novelty
                .chunks_exact(joint.len())
                .zip(likelihood.chunks_exact(joint.len()));
            for (novel, likely) in rows {
                gain -= dot(likely, joint) * dot(novel, joint);
            }
        }
        gain
    }

    /// How much is to be learnt about where an action of a factor leads.
    pub(super) fn gain_of_transitions(
        &self,
        factor: usize,
        action: usize,
        actions: usize,
        before: &[f64],
        after: &[f64],
    ) -> f64 {
        let rows = self.novelty[1][factor].chunks_exact(before.len() * actions);
        let of_row = |row: &[f64]| -> f64 {
            let of_action = row.iter().skip(action).step_by(actions);
            of_action.zip(before).map(|(novel, before)| novel * before).sum()
        };
        rows.zip(after).map(|(row, after)| -after * of_row(row)).sum()
    }
}

/// Columns that sum to 1, in proportion to the counts.
fn normed(field: &str, counts: &[f64], columns: usize) -> Result<Vec<f64>, ModelError> {
    let sums = sums(counts, columns, 0.0);
    if let Some(column) = sums.iter().position(|sum| *sum <= 0.0) {
        let (field, sum) = (field.to_owned(), sums[column]);
        return Err(ModelError::Sum { field, column, sum });
    }
    let each = counts.iter().enumerate();
    Ok(each.map(|(at, count)| count / sums[at % columns]).collect())
}

fn sums(counts: &[f64], columns: usize, each: f64) -> Vec<f64> {
    let mut sums = vec![0.0; columns];
    for row in counts.chunks_exact(columns) {
        for (sum, count) in sums.iter_mut().zip(row) {
            *sum += count + each;
        }
    }
    sums
}

/// pymdp's `spm_wnorm`, where anything was counted.
fn novelty(counts: &[f64], columns: usize) -> Vec<f64> {
    let sums = sums(counts, columns, LOG_FLOOR);
    let of = |(at, &count): (usize, &f64)| match count > 0.0 {
        true => 1.0 / sums[at % columns] - 1.0 / (count + LOG_FLOOR),
        false => 0.0,
    };
    counts.iter().enumerate().map(of).collect()
}
