//! Room for the numbers of one step, so that steps need no memory of their own. One for each thread is enough.

/// The room. It grows to what the largest model needs that it is used with.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    /// Log likelihood of an observation, for each state of all factors.
    pub(super) likely: Vec<f64>,
    /// Logarithm of a belief before an observation.
    pub(super) log_prior: Vec<f64>,
    /// Expected log likelihoods, for each state of each factor.
    pub(super) expected: Vec<f64>,
    /// A belief for each step that a policy looks ahead, and the present one in front.
    pub(super) ahead: Vec<f64>,
    /// How probable each state of all factors is.
    pub(super) joint: Vec<f64>,
    /// How probable each outcome of all modalities is. Zero between uses.
    pub(super) outcomes: Vec<f64>,
    /// Those that are not zero, if few are.
    pub(super) touched: Vec<u32>,
    /// How probable each action is.
    pub(super) actions: Vec<f64>,
}
