//! What is computed from a model once, so that a step need not.

use std::ops::Range;

use super::model::{ModelError, OUTCOMES_MAX, Parts, bound};

/// Added to what a logarithm is taken of, as pymdp does.
pub(super) const LOG_FLOOR: f64 = 1e-16;
/// Above this share of outcomes that must be told one by one all of them are kept: then no index is needed.
const DENSE_SHARE: f64 = 0.25;

/// The tables.
#[derive(Clone, Debug)]
pub(super) struct Tables {
    /// Where the distribution of each factor lies in a belief.
    pub(super) ranges: Vec<Range<usize>>,
    /// States of all factors together, and outcomes of all modalities together.
    pub(super) joint_states: usize,
    pub(super) joint_outcomes: usize,
    /// With one modality and one factor, the logarithm of each likelihood: `[observation][state]`.
    pub(super) log_likelihood: Option<Vec<f64>>,
    /// For each factor and each action, where it leads.
    pub(super) moves: Vec<Vec<Moves>>,
    /// How probable the outcomes of all modalities together are in each state.
    pub(super) outcomes: Outcomes,
    /// How certain the outcome is in each state: its negative entropy.
    pub(super) certainty: Vec<f64>,
    /// How much what is to be observed in each state is preferred.
    pub(super) utility: Vec<f64>,
    pub(super) log_habits: Vec<f64>,
}

/// Where an action leads: for each next state the states from which, and how probably.
#[derive(Clone, Debug)]
pub(super) struct Moves {
    /// Where the entries of each next state begin; one more at the end.
    begins: Vec<u32>,
    entries: Vec<(u32, f64)>,
}

/// For each state its outcomes.
#[derive(Clone, Debug)]
pub(super) enum Outcomes {
    /// `[state][outcome]`.
    Dense(Vec<f64>),
    /// What most outcomes of a state have in common, and how far the others are from that.
    Level {
        levels: Vec<f64>,
        /// Where the entries of each state begin; one more at the end.
        begins: Vec<u32>,
        entries: Vec<(u32, f64)>,
    },
    /// Those that are possible.
    Sparse {
        /// Where the entries of each state begin; one more at the end.
        begins: Vec<u32>,
        entries: Vec<(u32, f64)>,
    },
}

impl Moves {
    fn new(transitions: &[f64], states: usize, actions: usize, action: usize) -> Moves {
        let mut moves = Moves {
            begins: Vec::with_capacity(states + 1),
            entries: Vec::new(),
        };
        moves.begins.push(0);
        for next in 0..states {
            for state in 0..states {
                let probable = transitions[(next * states + state) * actions + action];
                if probable > 0.0 {
                    moves.entries.push((state as u32, probable));
                }
            }
            moves.begins.push(moves.entries.len() as u32);
        }
        moves
    }

    /// What is to be believed after the action.
    pub(super) fn predict(&self, belief: &[f64], next: &mut [f64]) {
        for (next, bounds) in next.iter_mut().zip(self.begins.windows(2)) {
            let entries = &self.entries[bounds[0] as usize..bounds[1] as usize];
            *next = entries
                .iter()
                .map(|&(state, probable)| probable * belief[state as usize])
                .sum();
        }
    }
}

impl Tables {
    /// # Errors
    /// [`ModelError::Bound`] when too many outcomes are possible.
    pub(super) fn new(parts: &Parts) -> Result<Tables, ModelError> {
        let mut at = 0;
        let ranges = parts.states.iter().map(|&states| {
            at += states;
            at - states..at
        });
        let ranges = ranges.collect();
        let joint_states = parts.states.iter().product();
        let joint_outcomes = parts.observations.iter().product();
        let single = parts.states.len() == 1 && parts.observations.len() == 1;
        let log_likelihood = single.then(|| parts.likelihood[0].iter().map(|a| (a + LOG_FLOOR).ln()).collect());
        let moves = parts.states.iter().zip(&parts.controls).zip(&parts.transitions);
        let moves = moves.map(|((&states, &actions), transitions)| {
            let of_action = |action| Moves::new(transitions, states, actions, action);
            (0..actions).map(of_action).collect()
        });
        let (outcomes, certainty) = outcomes(parts, joint_states, joint_outcomes)?;
        let policies = (0..parts.policy_length).map(|_| parts.controls.iter().product::<usize>());
        let policies: usize = policies.product();
        let log_habits = match &parts.habits {
            Some(habits) => habits.iter().map(|e| (e + LOG_FLOOR).ln()).collect(),
            None => vec![(1.0 / policies as f64 + LOG_FLOOR).ln(); policies],
        };
        Ok(Tables {
            ranges,
            joint_states,
            joint_outcomes,
            log_likelihood,
            moves: moves.collect(),
            outcomes,
            certainty,
            utility: utility(parts, joint_states),
            log_habits,
        })
    }
}

/// The outcomes of each state, and their negative entropy. pymdp adds e^-16 to what it takes the logarithm of here.
fn outcomes(parts: &Parts, states: usize, outcomes: usize) -> Result<(Outcomes, Vec<f64>), ModelError> {
    let floor = (-16.0_f64).exp();
    let mut begins = vec![0];
    let mut entries: Vec<(u32, f64)> = Vec::new();
    let mut certainty = Vec::with_capacity(states);
    let (mut here, mut longer) = (Vec::new(), Vec::new());
    for state in 0..states {
        here.clear();
        here.push((0, 1.0));
        for (rows, likelihood) in parts.observations.iter().zip(&parts.likelihood) {
            longer.clear();
            for &(outcome, probable) in &here {
                for row in 0..*rows {
                    let probable = probable * likelihood[row * states + state];
                    if probable > 0.0 {
                        longer.push((outcome * *rows as u32 + row as u32, probable));
                    }
                }
            }
            std::mem::swap(&mut here, &mut longer);
        }
        certainty.push(here.iter().map(|&(_, po)| po * (po + floor).ln()).sum());
        entries.extend_from_slice(&here);
        bound("possible outcomes of all states", entries.len(), 0, OUTCOMES_MAX)?;
        begins.push(entries.len() as u32);
    }
    let all = states * outcomes;
    let dense = all <= OUTCOMES_MAX && entries.len() as f64 > DENSE_SHARE * all as f64;
    if !dense {
        return Ok((Outcomes::Sparse { begins, entries }, certainty));
    }
    Ok((of_many(&begins, &entries, states, outcomes), certainty))
}

/// Outcomes of which many are possible.
fn of_many(begins: &[u32], entries: &[(u32, f64)], states: usize, outcomes: usize) -> Outcomes {
    let mut full = vec![0.0; states * outcomes];
    for (state, bounds) in begins.windows(2).enumerate() {
        for &(outcome, probable) in &entries[bounds[0] as usize..bounds[1] as usize] {
            full[state * outcomes + outcome as usize] = probable;
        }
    }
    let levels: Vec<f64> = full.chunks_exact(outcomes).map(most_common).collect();
    let mut begins = vec![0];
    let mut entries = Vec::new();
    for (row, level) in full.chunks_exact(outcomes).zip(&levels) {
        let others = row.iter().enumerate().filter(|(_, probable)| **probable != *level);
        entries.extend(others.map(|(outcome, probable)| (outcome as u32, probable - level)));
        if entries.len() as f64 > DENSE_SHARE * full.len() as f64 {
            return Outcomes::Dense(full);
        }
        begins.push(entries.len() as u32);
    }
    Outcomes::Level {
        levels,
        begins,
        entries,
    }
}

/// The number that comes most often.
fn most_common(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let runs = sorted.chunk_by(|one, other| one == other);
    runs.max_by_key(|run| run.len()).map_or(0.0, |run| run[0])
}

/// How much what is to be observed in each state is preferred: the preferences as log probabilities, expected.
fn utility(parts: &Parts, states: usize) -> Vec<f64> {
    let mut utility = vec![0.0; states];
    for (preferences, likelihood) in parts.preferences.iter().zip(&parts.likelihood) {
        let mut preferred = preferences.clone();
        softmax(&mut preferred);
        for (preferred, row) in preferred.iter().zip(likelihood.chunks_exact(states)) {
            let log = (preferred + LOG_FLOOR).ln();
            for (utility, likely) in utility.iter_mut().zip(row) {
                *utility += log * likely;
            }
        }
    }
    utility
}

/// Makes a distribution of relative log probabilities.
pub(super) fn softmax(numbers: &mut [f64]) {
    let greatest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for number in numbers.iter_mut() {
        *number = (*number - greatest).exp();
        sum += *number;
    }
    for number in numbers {
        *number /= sum;
    }
}
