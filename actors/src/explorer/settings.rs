//! How an explorer decides. The defaults are those of pymdp 0.0.7.1.

use serde::{Deserialize, Serialize};

/// How an action is chosen from how probable each is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choosing {
    /// The most probable one; of equal ones the first.
    #[default]
    Best,
    /// Drawn, the more sharply the greater the precision of actions is.
    Drawn,
}

/// How an explorer decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How much the gains of policies matter beside habits (gamma).
    pub policy_precision: f64,
    /// How sharply actions are drawn (alpha).
    pub action_precision: f64,
    /// How an action is chosen.
    pub choosing: Choosing,
    /// Whether preferred observations are a gain.
    pub utility: bool,
    /// Whether it is a gain to learn the state.
    pub states_gain: bool,
    /// Whether it is a gain to learn likelihoods and transitions; needs counts.
    pub parameters_gain: bool,
    /// It takes notice of an observation in every so many steps, at least 1; in between it believes what it predicts.
    pub update_every: u32,
    /// How much an experience adds to the counts of likelihoods, of transitions and of the prior.
    pub learning_rates: [f64; 3],
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            policy_precision: 16.0,
            action_precision: 16.0,
            choosing: Choosing::Best,
            utility: true,
            states_gain: true,
            parameters_gain: false,
            update_every: 1,
            learning_rates: [1.0; 3],
        }
    }
}
