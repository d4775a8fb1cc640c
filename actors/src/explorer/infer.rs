//! What is to be believed after an observation: exact for one hidden factor, and for several a mean-field approximation by
//! fixed-point iteration, as pymdp 0.0.7.1 does it (`run_vanilla_fpi`).

use super::model::Model;
use super::scratch::Scratch;
use super::tables::{LOG_FLOOR, softmax};

/// How many iterations there are at most.
const ITERATIONS_MAX: usize = 10;
/// Below this change of the free energy it is near enough.
const CHANGE_MIN: f64 = 0.001;

/// Turns the belief before an observation into the one after it. The observation is one of the model.
pub(super) fn infer(model: &Model, observation: &[usize], belief: &mut [f64], scratch: &mut Scratch) {
    let tables = model.tables();
    if let Some(log_likelihood) = &tables.log_likelihood {
        let states = tables.joint_states;
        let row = &log_likelihood[observation[0] * states..][..states];
        for (belief, likely) in belief.iter_mut().zip(row) {
            *belief = likely + (*belief + LOG_FLOOR).ln();
        }
        softmax(belief);
        return;
    }
    let Scratch { likely, log_prior, .. } = scratch;
    log_likelihood(model, observation, likely);
    log_prior.clear();
    log_prior.extend(belief.iter().map(|prior| (prior + LOG_FLOOR).ln()));
    if model.parts().states.len() == 1 {
        for ((belief, likely), prior) in belief.iter_mut().zip(likely).zip(log_prior) {
            *belief = *likely + *prior;
        }
        softmax(belief);
        return;
    }
    iterate(model, belief, scratch);
}

/// The logarithm of how likely the observation is in each state of all factors.
fn log_likelihood(model: &Model, observation: &[usize], likely: &mut Vec<f64>) {
    let states = model.tables().joint_states;
    likely.clear();
    likely.resize(states, 1.0);
    for (&observed, likelihood) in observation.iter().zip(&model.parts().likelihood) {
        for (likely, of_modality) in likely.iter_mut().zip(&likelihood[observed * states..][..states]) {
            *likely *= of_modality;
        }
    }
    let impossible = LOG_FLOOR.ln();
    for likely in likely {
        *likely = if *likely == 0.0 {
            impossible
        } else {
            (*likely + LOG_FLOOR).ln()
        };
    }
}

fn iterate(model: &Model, belief: &mut [f64], scratch: &mut Scratch) {
    let ranges = model.ranges();
    for range in ranges {
        belief[range.clone()].fill(1.0 / range.len() as f64);
    }
    let mut energy = complexity(belief, &scratch.log_prior);
    for _ in 0..ITERATIONS_MAX {
        expected_log_likelihoods(model, belief, scratch);
        for range in ranges {
            let next = &mut belief[range.clone()];
            let expected = scratch.expected[range.clone()].iter();
            for ((next, expected), prior) in next.iter_mut().zip(expected).zip(&scratch.log_prior[range.clone()]) {
                *next = expected + prior;
            }
            softmax(next);
        }
        let next = complexity(belief, &scratch.log_prior) - accuracy(model, belief, scratch);
        let change = (energy - next).abs();
        energy = next;
        if change < CHANGE_MIN {
            return;
        }
    }
}

/// How far a belief is from what was believed before.
fn complexity(belief: &[f64], log_prior: &[f64]) -> f64 {
    let each = belief.iter().zip(log_prior);
    each.map(|(q, prior)| q * ((q + LOG_FLOOR).ln() - prior)).sum()
}

/// For each state of each factor, the log likelihood that the other factors are believed to make.
fn expected_log_likelihoods(model: &Model, belief: &[f64], scratch: &mut Scratch) {
    let Scratch { likely, expected, .. } = scratch;
    expected.clear();
    expected.resize(belief.len(), 0.0);
    let ranges = model.ranges();
    if let [first, second] = ranges {
        let (q0, q1) = (&belief[first.clone()], &belief[second.clone()]);
        let (e0, e1) = expected.split_at_mut(first.len());
        for ((row, e0), q0) in likely.chunks_exact(q1.len()).zip(e0).zip(q0) {
            let mut sum = 0.0;
            for ((likely, q1), e1) in row.iter().zip(q1).zip(e1.iter_mut()) {
                sum += likely * q1;
                *e1 += likely * q0;
            }
            *e0 = sum;
        }
        return;
    }
    each_state(model, |state, places| {
        for (factor, range) in ranges.iter().enumerate() {
            let others = places.iter().zip(ranges).enumerate();
            let others = others.filter(|(other, _)| *other != factor);
            let weight: f64 = others.map(|(_, (place, range))| belief[range.start + place]).product();
            expected[range.start + places[factor]] += likely[state] * weight;
        }
    });
}

/// The log likelihood that a belief expects.
fn accuracy(model: &Model, belief: &[f64], scratch: &Scratch) -> f64 {
    let mut sum = 0.0;
    let ranges = model.ranges();
    if let [first, second] = ranges {
        let (q0, q1) = (&belief[first.clone()], &belief[second.clone()]);
        for (row, q0) in scratch.likely.chunks_exact(q1.len()).zip(q0) {
            sum += q0 * row.iter().zip(q1).map(|(likely, q1)| likely * q1).sum::<f64>();
        }
        return sum;
    }
    each_state(model, |state, places| {
        let of_factors = places.iter().zip(ranges);
        let weight: f64 = of_factors.map(|(place, range)| belief[range.start + place]).product();
        sum += scratch.likely[state] * weight;
    });
    sum
}

/// Calls for each state of all factors, in order, with the state of each factor.
fn each_state(model: &Model, mut each: impl FnMut(usize, &[usize])) {
    let sizes = &model.parts().states;
    let mut places = [0; super::model::FACTORS_MAX];
    let places = &mut places[..sizes.len()];
    for state in 0..model.tables().joint_states {
        each(state, places);
        for (place, size) in places.iter_mut().zip(sizes).rev() {
            *place += 1;
            if *place < *size {
                break;
            }
            *place = 0;
        }
    }
}
