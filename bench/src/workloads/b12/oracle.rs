//! What a mind must compute, by plain loops over the formulas of pymdp for one factor and one modality: nothing is made in
//! advance, nothing is shared between policies.

use queenright_actors::explorer::Parts;

/// Added to what a logarithm is taken of.
const FLOOR: f64 = 1e-16;
/// How much gains matter: pymdp's default.
const PRECISION: f64 = 16.0;

/// One that does it the plain way.
pub(super) struct Oracle<'a> {
    parts: &'a Parts,
    /// The belief before the next observation.
    prior: Vec<f64>,
    pub(super) belief: Vec<f64>,
    pub(super) gains: Vec<f64>,
    pub(super) policies: Vec<f64>,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(parts: &'a Parts) -> Oracle<'a> {
        Oracle {
            prior: parts.prior[0].clone(),
            belief: Vec::new(),
            gains: Vec::new(),
            policies: Vec::new(),
            parts,
        }
    }

    fn states(&self) -> usize {
        self.parts.states[0]
    }

    fn likelihood(&self, observation: usize, state: usize) -> f64 {
        self.parts.likelihood[0][observation * self.states() + state]
    }

    /// What is believed after an action.
    fn after(&self, belief: &[f64], action: usize) -> Vec<f64> {
        let (states, actions) = (self.states(), self.parts.controls[0]);
        let transition =
            |next: usize, state: usize| self.parts.transitions[0][(next * states + state) * actions + action];
        let next = |next: usize| (0..states).map(|state| transition(next, state) * belief[state]).sum();
        (0..states).map(next).collect()
    }

    /// Observes and plans.
    pub(super) fn step(&mut self, observation: usize) {
        let log = |state: usize| (self.likelihood(observation, state) + FLOOR).ln() + (self.prior[state] + FLOOR).ln();
        self.belief = softmax((0..self.states()).map(log).collect());
        let (actions, length) = (self.parts.controls[0], self.parts.policy_length as u32);
        let policies = actions.pow(length);
        self.gains = (0..policies)
            .map(|policy| {
                let mut belief = self.belief.clone();
                let mut gain = 0.0;
                for step in (0..length).rev() {
                    belief = self.after(&belief, policy / actions.pow(step) % actions);
                    gain += self.gain(&belief);
                }
                gain
            })
            .collect();
        let habit = (1.0 / policies as f64 + FLOOR).ln();
        self.policies = softmax(self.gains.iter().map(|gain| PRECISION * gain + habit).collect());
    }

    /// What an observation in these states is worth.
    fn gain(&self, belief: &[f64]) -> f64 {
        let preferred = softmax(self.parts.preferences[0].clone());
        let floor = (-16.0_f64).exp();
        let mut gain = 0.0;
        for (observation, preferred) in preferred.iter().enumerate() {
            let (mut expected, mut counted) = (0.0, 0.0);
            for (state, q) in belief.iter().enumerate() {
                let likely = self.likelihood(observation, state);
                expected += likely * q;
                if *q > floor {
                    counted += likely * q;
                    gain += q * likely * (likely + floor).ln();
                }
            }
            gain += expected * (preferred + FLOOR).ln() - counted * (counted + FLOOR).ln();
        }
        gain
    }

    /// Acts.
    pub(super) fn act(&mut self, action: usize) {
        self.prior = self.after(&self.belief, action);
    }
}

fn softmax(mut numbers: Vec<f64>) -> Vec<f64> {
    let greatest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    numbers
        .iter_mut()
        .for_each(|number| *number = (*number - greatest).exp());
    let sum: f64 = numbers.iter().sum();
    numbers.iter().map(|number| number / sum).collect()
}
