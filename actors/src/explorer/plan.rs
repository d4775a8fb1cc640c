//! What is to be gained by each policy, and how probable that makes it: the negative expected free energy of pymdp 0.0.7.1
//! (`update_posterior_policies`), by policies that begin alike once for each beginning.

use super::learn::Counts;
use super::model::Model;
use super::scratch::Scratch;
use super::settings::Settings;
use super::tables::{LOG_FLOOR, Outcomes, softmax};

/// The present belief, and what is to be counted as a gain.
pub(super) struct Plan<'a> {
    pub(super) model: &'a Model,
    pub(super) settings: &'a Settings,
    pub(super) counts: Option<&'a Counts>,
}

impl Plan<'_> {
    /// Computes what each policy gains, and how probable it is then.
    pub(super) fn policies(&self, belief: &[f64], gains: &mut [f64], probable: &mut [f64], scratch: &mut Scratch) {
        let steps = self.model.parts().policy_length;
        scratch.ahead.resize(belief.len() * (steps + 1), 0.0);
        scratch.ahead[..belief.len()].copy_from_slice(belief);
        scratch.joint.resize(self.model.tables().joint_states, 0.0);
        // All are zero, now as after each use.
        scratch.outcomes.resize(self.model.tables().joint_outcomes, 0.0);
        self.look(0, 0.0, gains, scratch);
        let terms = gains.iter().zip(&self.model.tables().log_habits);
        for (probable, (gain, habit)) in probable.iter_mut().zip(terms) {
            *probable = gain * self.settings.policy_precision + habit;
        }
        softmax(probable);
    }

    /// Computes the gains of all policies with the same first steps, whose gain is known.
    fn look(&self, step: usize, gain: f64, gains: &mut [f64], scratch: &mut Scratch) {
        let choices = self.model.choices();
        let each = gains.len() / choices;
        for (choice, gains) in gains.chunks_exact_mut(each).enumerate() {
            let gain = gain + self.gain(step, choice, scratch);
            match each {
                1 => gains[0] = gain,
                _ => self.look(step + 1, gain, gains, scratch),
            }
        }
    }

    /// What one step of one choice gains, from the belief before it.
    fn gain(&self, step: usize, choice: usize, scratch: &mut Scratch) -> f64 {
        let tables = self.model.tables();
        let width = tables.ranges.last().map_or(0, |range| range.end);
        let (before, after) = scratch.ahead[step * width..][..2 * width].split_at_mut(width);
        let mut left = choice;
        for (factor, range) in tables.ranges.iter().enumerate().rev() {
            let moves = &tables.moves[factor];
            let action = left % moves.len();
            left /= moves.len();
            moves[action].predict(&before[range.clone()], &mut after[range.clone()]);
        }
        let joint: &[f64] = match &tables.ranges[..] {
            [_] => after,
            ranges => {
                outer(after, ranges, &mut scratch.joint);
                &scratch.joint
            }
        };
        let mut gain = 0.0;
        if self.settings.utility {
            gain += dot(joint, &tables.utility);
        }
        if self.settings.states_gain {
            gain += states_gain(self.model, joint, &mut scratch.outcomes, &mut scratch.touched);
        }
        if self.settings.parameters_gain
            && let Some(counts) = self.counts
        {
            gain += counts.gain_of_likelihood(self.model, joint);
            let mut left = choice;
            for (factor, range) in tables.ranges.iter().enumerate().rev() {
                let actions = tables.moves[factor].len();
                let (before, after) = (&before[range.clone()], &after[range.clone()]);
                gain += counts.gain_of_transitions(factor, left % actions, actions, before, after);
                left /= actions;
            }
        }
        gain
    }
}

/// How much an observation is expected to tell about the state: how certain outcomes are in each state, beyond how certain
/// they are over all. As in pymdp, states that are less probable than e^-16 do not count.
fn states_gain(model: &Model, joint: &[f64], outcomes: &mut [f64], touched: &mut Vec<u32>) -> f64 {
    let tables = model.tables();
    let floor = (-16.0_f64).exp();
    let mut gain = 0.0;
    match &tables.outcomes {
        Outcomes::Dense(all) => {
            let rows = all.chunks_exact(outcomes.len());
            for ((&q, row), certainty) in joint.iter().zip(rows).zip(&tables.certainty) {
                if q > floor {
                    gain += q * certainty;
                    for (outcome, likely) in outcomes.iter_mut().zip(row) {
                        *outcome += q * likely;
                    }
                }
            }
            for outcome in outcomes {
                gain -= *outcome * (*outcome + LOG_FLOOR).ln();
                *outcome = 0.0;
            }
        }
        Outcomes::Level {
            levels,
            begins,
            entries,
        } => {
            let mut level_of_all = 0.0;
            for (state, (&q, certainty)) in joint.iter().zip(&tables.certainty).enumerate() {
                if q > floor {
                    gain += q * certainty;
                    level_of_all += q * levels[state];
                    for &(outcome, apart) in &entries[begins[state] as usize..begins[state + 1] as usize] {
                        outcomes[outcome as usize] += q * apart;
                    }
                }
            }
            for outcome in outcomes {
                // Rounding may make it a little less than nothing.
                let probable = (*outcome + level_of_all).max(0.0);
                gain -= probable * (probable + LOG_FLOOR).ln();
                *outcome = 0.0;
            }
        }
        Outcomes::Sparse { begins, entries } => {
            for ((&q, bounds), certainty) in joint.iter().zip(begins.windows(2)).zip(&tables.certainty) {
                if q > floor {
                    gain += q * certainty;
                    for &(outcome, likely) in &entries[bounds[0] as usize..bounds[1] as usize] {
                        let sum = &mut outcomes[outcome as usize];
                        if *sum == 0.0 {
                            touched.push(outcome);
                        }
                        *sum += q * likely;
                    }
                }
            }
            for outcome in touched.drain(..) {
                let outcome = std::mem::take(&mut outcomes[outcome as usize]);
                gain -= outcome * (outcome + LOG_FLOOR).ln();
            }
        }
    }
    gain
}

/// How probable each state of all factors is, if they are independent.
pub(super) fn outer(belief: &[f64], ranges: &[std::ops::Range<usize>], joint: &mut [f64]) {
    joint[0] = 1.0;
    let mut filled = 1;
    for range in ranges {
        let factor = &belief[range.clone()];
        // From the end: what is read lies in front of what is written.
        for place in (0..filled).rev() {
            let weight = joint[place];
            for (to, q) in joint[place * factor.len()..].iter_mut().zip(factor) {
                *to = weight * q;
            }
        }
        filled *= factor.len();
    }
}

pub(super) fn dot(one: &[f64], other: &[f64]) -> f64 {
    one.iter().zip(other).map(|(one, other)| one * other).sum()
}
