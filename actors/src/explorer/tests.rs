//! The numbers are pymdp's; what does not fit is named.

mod arguments;
mod swarm;

use std::sync::Arc;

use serde::Deserialize;

use super::*;

/// How far a number may be from pymdp's.
const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    model: Parts,
    counts: Option<CaseCounts>,
    parameter_gain: bool,
    steps: Vec<CaseStep>,
    #[serde(rename = "pD")]
    prior_counts: Option<Vec<Vec<f64>>>,
}

#[derive(Deserialize)]
struct CaseCounts {
    #[serde(rename = "pA")]
    likelihood: Vec<Vec<f64>>,
    #[serde(rename = "pB")]
    transitions: Vec<Vec<f64>>,
    #[serde(rename = "pD")]
    prior: Vec<Vec<f64>>,
}

#[derive(Deserialize)]
struct CaseStep {
    observation: Vec<usize>,
    belief: Vec<Vec<f64>>,
    policies: Vec<f64>,
    gains: Vec<f64>,
    action: Vec<usize>,
    #[serde(rename = "pA")]
    likelihood_counts: Option<Vec<Vec<f64>>>,
    #[serde(rename = "pB")]
    transition_counts: Option<Vec<Vec<f64>>>,
}

fn near(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        // Not `>`: NaN is near nothing.
        let good = (found - expected).abs() <= TOLERANCE * expected.abs().max(1.0);
        assert!(good, "{what}[{at}]: {found}, pymdp {expected}");
    }
}

impl Case {
    fn mind(&self) -> Mind {
        let model = Arc::new(Model::new(self.model.clone()).unwrap());
        let settings = Settings {
            parameters_gain: self.parameter_gain,
            learning_rates: [0.7, 0.9, 0.5],
            ..Settings::default()
        };
        match &self.counts {
            None => Mind::new(model, settings, 1),
            Some(CaseCounts {
                likelihood,
                transitions,
                prior,
            }) => {
                let counts = Counts::new(&model, likelihood.clone(), transitions.clone(), prior.clone()).unwrap();
                Mind::learning(model, counts, settings, 1).unwrap()
            }
        }
    }

    fn check(&self, scratch: &mut Scratch) {
        let mut mind = self.mind();
        for (step, expected) in self.steps.iter().enumerate() {
            let at = |what: &str| format!("{}, step {step}, {what}", self.name);
            mind.observe(&expected.observation, scratch).unwrap();
            near(&at("belief"), mind.belief(), &expected.belief.concat());
            mind.plan(scratch);
            near(&at("gains"), mind.gains(), &expected.gains);
            near(&at("policies"), mind.policies(), &expected.policies);
            if let Some(counts) = &expected.likelihood_counts {
                near(&at("pA"), &mind.counts().unwrap().likelihood.concat(), &counts.concat());
            }
            if let Some(counts) = &expected.transition_counts {
                near(
                    &at("pB"),
                    &mind.counts().unwrap().transitions.concat(),
                    &counts.concat(),
                );
            }
            let mut chooser = mind.clone();
            let chosen = chooser.act(scratch).to_vec();
            if self.is_clear(expected) {
                assert_eq!(chosen, expected.action, "{}", at("action"));
            }
            mind.act_as_told(&expected.action).unwrap();
        }
        if let Some(counts) = &self.prior_counts {
            mind.learn_beginning();
            near(&self.name, &mind.counts().unwrap().prior.concat(), &counts.concat());
        }
    }

    /// Whether no two actions of a factor are as good as each other, up to rounding.
    fn is_clear(&self, step: &CaseStep) -> bool {
        let model = Model::new(self.model.clone()).unwrap();
        let each = step.policies.len() / model.choices();
        (0..self.model.controls.len()).all(|factor| {
            let mut marginal = vec![0.0; self.model.controls[factor]];
            for (choice, policies) in step.policies.chunks(each).enumerate() {
                marginal[model.choice(choice)[factor]] += policies.iter().sum::<f64>();
            }
            marginal.sort_by(f64::total_cmp);
            !matches!(&marginal[..], [.., second, first] if first - second < TOLERANCE)
        })
    }
}

#[test]
fn beliefs_policies_actions_and_counts_are_those_of_pymdp() {
    let vectors: Vectors = serde_json::from_str(include_str!("../../tests/vectors/pymdp.json")).unwrap();
    assert!(vectors.cases.len() > 10);
    let mut scratch = Scratch::default();
    for case in &vectors.cases {
        case.check(&mut scratch);
    }
}

/// With noise that is the same for most outcomes, with noise of its own for each, and with few outcomes, a model says the same.
#[test]
fn what_is_gained_does_not_depend_on_how_outcomes_are_kept() {
    let gains = |apart: f64| -> Vec<f64> {
        let mut likelihood = vec![0.1 / 9.0; 100];
        (0..10).for_each(|state| likelihood[state * 11] = 0.9);
        // So that no two outcomes of a state are equally probable.
        for (at, likely) in likelihood.iter_mut().enumerate() {
            let (row, column) = (at / 10, at % 10);
            *likely += apart * ((row * 3 + column) % 10) as f64 - apart * 4.5;
        }
        let mut transitions = vec![0.0; 200];
        for state in 0..10 {
            transitions[(state * 10 + state) * 2] = 1.0;
            transitions[((state + 1) % 10 * 10 + state) * 2 + 1] = 1.0;
        }
        let parts = Parts {
            observations: vec![10],
            states: vec![10],
            controls: vec![2],
            likelihood: vec![likelihood],
            transitions: vec![transitions],
            preferences: vec![vec![0.0; 10]],
            prior: vec![vec![0.1; 10]],
            habits: None,
            policy_length: 2,
        };
        let mut mind = Mind::new(Arc::new(Model::new(parts).unwrap()), Settings::default(), 1);
        let mut scratch = Scratch::default();
        mind.observe(&[3], &mut scratch).unwrap();
        mind.plan(&mut scratch);
        mind.gains().to_vec()
    };
    near("kept one by one", &gains(1e-13), &gains(0.0));
}

/// Two states that are seen as they are, with 90 %, and two actions: stay, change.
fn two_states() -> Parts {
    Parts {
        observations: vec![2],
        states: vec![2],
        controls: vec![2],
        likelihood: vec![vec![0.9, 0.1, 0.1, 0.9]],
        transitions: vec![vec![1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]],
        preferences: vec![vec![0.0, 2.0]],
        prior: vec![vec![0.5, 0.5]],
        habits: None,
        policy_length: 1,
    }
}

fn refused(change: impl FnOnce(&mut Parts)) -> String {
    let mut parts = two_states();
    change(&mut parts);
    Model::new(parts).unwrap_err().to_string()
}

#[test]
fn parts_that_do_not_fit_are_named_with_their_value_and_bound() {
    assert_eq!(
        refused(|parts| parts.likelihood[0][1] = 0.2),
        "likelihood[0], column 1: sums to 1.1, expected 1 (within 0.000001)"
    );
    assert_eq!(
        refused(|parts| parts.likelihood[0][3] = f64::NAN),
        "likelihood[0][3]: NaN is not 0 to 1"
    );
    assert_eq!(
        refused(|parts| parts.transitions[0].truncate(7)),
        "transitions[0]: has 7 entries, expected 8"
    );
    assert_eq!(
        refused(|parts| parts.preferences[0][0] = f64::INFINITY),
        "preferences[0][0]: inf is not finite"
    );
    assert_eq!(
        refused(|parts| parts.policy_length = 5),
        "policy_length: 5 is not 1 to 4"
    );
    assert_eq!(
        refused(|parts| parts.habits = Some(vec![1.0])),
        "habits: has 1 entries, expected 2"
    );
    assert_eq!(refused(|parts| parts.states.clear()), "states: 0 is not 1 to 4");
    assert_eq!(
        refused(|parts| parts.states = vec![usize::MAX]),
        "states[0]: 18446744073709551615 is not 1 to 65536"
    );
    let mut mind = Mind::new(Arc::new(Model::new(two_states()).unwrap()), Settings::default(), 1);
    let mut scratch = Scratch::default();
    let refused = mind.observe(&[2], &mut scratch).unwrap_err().to_string();
    assert_eq!(refused, "observation of modality 0: 2 is not below 2");
    let refused = mind.act_as_told(&[3]).unwrap_err().to_string();
    assert_eq!(refused, "action of factor 0: 3 is not below 2");
}

#[test]
fn drawn_actions_follow_their_probabilities_and_the_seed() {
    let settings = Settings {
        choosing: Choosing::Drawn,
        action_precision: 1.0,
        // So that both actions are drawn.
        policy_precision: 0.5,
        ..Settings::default()
    };
    let model = Arc::new(Model::new(two_states()).unwrap());
    let mut scratch = Scratch::default();
    let mut mind = Mind::new(model, settings, 7);
    mind.observe(&[0], &mut scratch).unwrap();
    mind.plan(&mut scratch);
    let mut draw = |mind: &Mind| -> Vec<usize> {
        let mut mind = mind.clone();
        (0..20_000).map(|_| mind.act(&mut scratch)[0]).collect()
    };
    let actions = draw(&mind);
    assert_eq!(actions, draw(&mind), "the same seed");
    let changes = actions.iter().sum::<usize>() as f64 / actions.len() as f64;
    // Five standard deviations of 20,000 draws are below 0.018.
    assert!(
        (changes - mind.policies()[1]).abs() < 0.018,
        "{changes} {:?}",
        mind.policies()
    );
    assert!((0.1..0.9).contains(&changes), "{changes}");
}

#[test]
fn what_is_heard_comes_back_as_no_new_evidence() {
    let mut mind = Mind::new(Arc::new(Model::new(two_states()).unwrap()), Settings::default(), 1);
    mind.observe(&[1], &mut Scratch::default()).unwrap();
    let before = mind.belief().to_vec();
    mind.hear(0, [&before[..], &before[..]].into_iter(), 0.7).unwrap();
    near("its own belief, heard again", mind.belief(), &before);
    mind.hear(0, [&[0.5, 0.5][..]].into_iter(), 0.5).unwrap();
    assert!(mind.entropy_of(0) > 0.32 && mind.belief()[1] > 0.7);
    assert!(mind.hear(0, [&[1.0][..]].into_iter(), 0.5).is_err());
    assert!(mind.hear(1, [&before[..]].into_iter(), 0.5).is_err());
}

#[test]
fn between_observations_it_believes_what_it_predicts() {
    let settings = Settings {
        update_every: 2,
        ..Settings::default()
    };
    let mut mind = Mind::new(Arc::new(Model::new(two_states()).unwrap()), settings, 1);
    let mut scratch = Scratch::default();
    mind.observe(&[0], &mut scratch).unwrap();
    near("noticed", mind.belief(), &[0.9, 0.1]);
    mind.act_as_told(&[1]).unwrap();
    mind.observe(&[0], &mut scratch).unwrap();
    near("predicted", mind.belief(), &[0.1, 0.9]);
    mind.act_as_told(&[0]).unwrap();
    mind.observe(&[1], &mut scratch).unwrap();
    near("noticed again", mind.belief(), &[0.01 / 0.82, 0.81 / 0.82]);
}
