//! What an explorer believes about how its world works: the parts, which are checked, and the tables made of them.

use serde::{Deserialize, Serialize};

use super::tables::Tables;

/// The most hidden factors, and the most modalities.
pub const FACTORS_MAX: usize = 4;
/// The most states of all factors together, and the most outcomes of all modalities together.
pub const JOINT_MAX: usize = 1 << 16;
/// The most numbers that all likelihoods hold together, and that all transitions do: 32 MiB of each.
pub const NUMBERS_MAX: usize = 1 << 22;
/// The most pairs of a state and an outcome of all modalities that is possible there: 48 MiB of tables.
pub const OUTCOMES_MAX: usize = 1 << 22;
/// The longest policy, in steps.
pub const POLICY_LENGTH_MAX: usize = 4;
/// The most policies.
pub const POLICIES_MAX: usize = 1 << 16;
/// How far the sum of a distribution may be from 1.
const SUM_TOLERANCE: f64 = 1e-6;

/// The parts of a model. Arrays are flat and in numpy's order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parts {
    /// How many observations each modality has.
    pub observations: Vec<usize>,
    /// How many states each hidden factor has.
    pub states: Vec<usize>,
    /// How many actions each factor knows; 1 for one that nobody controls.
    pub controls: Vec<usize>,
    /// For each modality, how probable each observation is in each state: `[observation][state of each factor]` (A).
    pub likelihood: Vec<Vec<f64>>,
    /// For each factor, where each action leads: `[next state][state][action]` (B).
    pub transitions: Vec<Vec<f64>>,
    /// For each modality, how much each observation is preferred, as relative log probabilities (C).
    pub preferences: Vec<Vec<f64>>,
    /// For each factor, the belief before the first observation (D).
    pub prior: Vec<Vec<f64>>,
    /// How probable each policy is by habit (E); all the same if absent.
    #[serde(default)]
    pub habits: Option<Vec<f64>>,
    /// How many steps a policy looks ahead, 1 to [`POLICY_LENGTH_MAX`].
    pub policy_length: usize,
}

/// Why parts are no model. Nothing was made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ModelError {
    /// A list has another length than the shape asks for.
    #[error("{field}: has {found} entries, expected {expected}")]
    Length {
        /// The list, with its index if it is one of several.
        field: String,
        /// How many it has.
        found: usize,
        /// How many it must have.
        expected: usize,
    },
    /// A number is out of its bounds.
    #[error("{field}: {found} is not {min} to {max}")]
    Bound {
        /// What has that number.
        field: String,
        /// The number.
        found: usize,
        /// The least allowed.
        min: usize,
        /// The greatest allowed.
        max: usize,
    },
    /// An entry is not finite, or negative where it must not be.
    #[error("{field}[{at}]: {found} is not {expected}")]
    Value {
        /// The list.
        field: String,
        /// Where in it.
        at: usize,
        /// The entry.
        found: f64,
        /// What it must be.
        expected: &'static str,
    },
    /// A distribution does not sum to 1.
    #[error("{field}, column {column}: sums to {sum}, expected 1 (within 0.000001)")]
    Sum {
        /// The list.
        field: String,
        /// Which distribution of it.
        column: usize,
        /// Its sum.
        sum: f64,
    },
    /// An observation that its modality does not have.
    #[error("observation of modality {modality}: {found} is not below {observations}")]
    Observation {
        /// The modality.
        modality: usize,
        /// The observation.
        found: usize,
        /// How many the modality has.
        observations: usize,
    },
    /// An action that its factor does not know.
    #[error("action of factor {factor}: {found} is not below {actions}")]
    Action {
        /// The factor.
        factor: usize,
        /// The action.
        found: usize,
        /// How many the factor knows.
        actions: usize,
    },
}

/// A model: parts that fit together, and what is computed from them once.
#[derive(Clone, Debug)]
pub struct Model {
    parts: Parts,
    tables: Tables,
}

impl Model {
    /// Checks the parts and makes the tables.
    ///
    /// # Errors
    /// [`ModelError`] names the first part that does not fit.
    pub fn new(parts: Parts) -> Result<Model, ModelError> {
        check_shape(&parts)?;
        check_values(&parts)?;
        let tables = Tables::new(&parts)?;
        Ok(Model { parts, tables })
    }

    /// The parts.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    pub(super) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// How many policies there are.
    pub fn policies(&self) -> usize {
        self.tables.log_habits.len()
    }

    /// How many choices of one action for each factor there are.
    pub fn choices(&self) -> usize {
        self.parts.controls.iter().product()
    }

    /// The action of each factor in a choice.
    pub fn choice(&self, mut choice: usize) -> Vec<usize> {
        let mut actions = vec![0; self.parts.controls.len()];
        for (action, controls) in actions.iter_mut().zip(&self.parts.controls).rev() {
            *action = choice % controls;
            choice /= controls;
        }
        actions
    }

    /// The belief before the first observation: the distributions of all factors, one after the other.
    pub fn prior(&self) -> Vec<f64> {
        self.parts.prior.concat()
    }

    /// Where the distribution of each factor lies in a belief.
    pub fn ranges(&self) -> &[std::ops::Range<usize>] {
        &self.tables.ranges
    }

    /// Another model with other likelihoods, transitions and priors of the same shape, which are known to be distributions.
    pub(super) fn with_parts(parts: Parts) -> Result<Model, ModelError> {
        let tables = Tables::new(&parts)?;
        Ok(Model { parts, tables })
    }

    /// # Errors
    /// [`ModelError`] for an observation that there is not.
    pub(super) fn check_observation(&self, observation: &[usize]) -> Result<(), ModelError> {
        length("observation", observation.len(), self.parts.observations.len())?;
        for (modality, (&found, &observations)) in observation.iter().zip(&self.parts.observations).enumerate() {
            if found >= observations {
                return Err(ModelError::Observation {
                    modality,
                    found,
                    observations,
                });
            }
        }
        Ok(())
    }

    /// # Errors
    /// [`ModelError`] for an action that there is not.
    pub(super) fn check_action(&self, action: &[usize]) -> Result<(), ModelError> {
        length("action", action.len(), self.parts.controls.len())?;
        for (factor, (&found, &actions)) in action.iter().zip(&self.parts.controls).enumerate() {
            if found >= actions {
                return Err(ModelError::Action { factor, found, actions });
            }
        }
        Ok(())
    }
}

fn check_shape(parts: &Parts) -> Result<(), ModelError> {
    let factors = parts.states.len();
    let modalities = parts.observations.len();
    bound("states", factors, 1, FACTORS_MAX)?;
    bound("observations", modalities, 1, FACTORS_MAX)?;
    length("controls", parts.controls.len(), factors)?;
    length("likelihood", parts.likelihood.len(), modalities)?;
    length("transitions", parts.transitions.len(), factors)?;
    length("preferences", parts.preferences.len(), modalities)?;
    length("prior", parts.prior.len(), factors)?;
    bound("policy_length", parts.policy_length, 1, POLICY_LENGTH_MAX)?;
    for (name, sizes) in [
        ("states", &parts.states),
        ("observations", &parts.observations),
        ("controls", &parts.controls),
    ] {
        for (index, &size) in sizes.iter().enumerate() {
            bound(&format!("{name}[{index}]"), size, 1, JOINT_MAX)?;
        }
        bound(&format!("the product of {name}"), product(sizes), 1, JOINT_MAX)?;
    }
    let policies = product(&vec![product(&parts.controls); parts.policy_length]);
    bound("policies", policies, 1, POLICIES_MAX)?;
    let joint = product(&parts.states);
    let numbers = parts.observations.iter().map(|rows| rows.saturating_mul(joint));
    let numbers = numbers.fold(0, usize::saturating_add);
    bound("numbers of all likelihoods", numbers, 1, NUMBERS_MAX)?;
    let of_factors = parts.states.iter().zip(&parts.controls);
    let numbers = of_factors.map(|(&rows, &actions)| product(&[rows, rows, actions]));
    let numbers = numbers.fold(0, usize::saturating_add);
    bound("numbers of all transitions", numbers, 1, NUMBERS_MAX)?;
    for (m, &rows) in parts.observations.iter().enumerate() {
        length(&format!("likelihood[{m}]"), parts.likelihood[m].len(), rows * joint)?;
        length(&format!("preferences[{m}]"), parts.preferences[m].len(), rows)?;
    }
    for (f, (&rows, &actions)) in parts.states.iter().zip(&parts.controls).enumerate() {
        let expected = rows * rows * actions;
        length(&format!("transitions[{f}]"), parts.transitions[f].len(), expected)?;
        length(&format!("prior[{f}]"), parts.prior[f].len(), rows)?;
    }
    match &parts.habits {
        Some(habits) => length("habits", habits.len(), policies),
        None => Ok(()),
    }
}

fn check_values(parts: &Parts) -> Result<(), ModelError> {
    let joint = product(&parts.states);
    for (m, likelihood) in parts.likelihood.iter().enumerate() {
        distributions(&format!("likelihood[{m}]"), likelihood, joint)?;
    }
    for (f, transitions) in parts.transitions.iter().enumerate() {
        let columns = parts.states[f] * parts.controls[f];
        distributions(&format!("transitions[{f}]"), transitions, columns)?;
        distributions(&format!("prior[{f}]"), &parts.prior[f], 1)?;
    }
    for (m, preferences) in parts.preferences.iter().enumerate() {
        entries(&format!("preferences[{m}]"), preferences, f64::is_finite, "finite")?;
    }
    match &parts.habits {
        Some(habits) => distributions("habits", habits, 1),
        None => Ok(()),
    }
}

/// Each of the interleaved columns must be a distribution.
fn distributions(field: &str, numbers: &[f64], columns: usize) -> Result<(), ModelError> {
    // Not `>= 0.0` alone: that lets infinity pass.
    entries(field, numbers, |number| (0.0..=2.0).contains(&number), "0 to 1")?;
    let mut sums = vec![0.0; columns];
    for row in numbers.chunks_exact(columns) {
        for (sum, number) in sums.iter_mut().zip(row) {
            *sum += number;
        }
    }
    match sums.iter().position(|sum| (sum - 1.0).abs() > SUM_TOLERANCE) {
        Some(column) => Err(ModelError::Sum {
            field: field.to_owned(),
            column,
            sum: sums[column],
        }),
        None => Ok(()),
    }
}

pub(super) fn entries(
    field: &str,
    numbers: &[f64],
    good: impl Fn(f64) -> bool,
    expected: &'static str,
) -> Result<(), ModelError> {
    match numbers.iter().position(|&number| !good(number)) {
        Some(at) => Err(ModelError::Value {
            field: field.to_owned(),
            at,
            found: numbers[at],
            expected,
        }),
        None => Ok(()),
    }
}

pub(super) fn length(field: &str, found: usize, expected: usize) -> Result<(), ModelError> {
    if found == expected {
        return Ok(());
    }
    let field = field.to_owned();
    Err(ModelError::Length { field, found, expected })
}

pub(super) fn bound(field: &str, found: usize, min: usize, max: usize) -> Result<(), ModelError> {
    if (min..=max).contains(&found) {
        return Ok(());
    }
    let field = field.to_owned();
    Err(ModelError::Bound { field, found, min, max })
}

/// The product, or the greatest number if that is too large.
fn product(sizes: &[usize]) -> usize {
    sizes.iter().copied().fold(1, usize::saturating_mul)
}
