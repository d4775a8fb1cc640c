//! The figures of a run.

use std::fmt;
use std::path::PathBuf;

use queenright_actors::explorer::World;
use queenright_bench::expedition::{Outcome, Plan};
use serde::Serialize;

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Explorers.
    pub agents: usize,
    /// Nodes.
    pub nodes: usize,
    /// Side of the grid.
    pub grid: usize,
    /// What it follows from.
    pub seed: u64,
    /// Steps of each.
    pub steps: u64,
    /// Steps that a policy looks ahead.
    pub policy_length: usize,
    /// Whether all did a step before any did the next.
    pub lockstep: bool,
    /// Whether they had to learn how their world works.
    pub learn: bool,
    /// How long the steps took, without starting nodes and explorers.
    pub seconds: f64,
    /// Steps of all together a second.
    pub steps_per_second: f64,
    /// How much of that the explorers computed, all together.
    pub thinking_seconds: f64,
    /// How many stand at the goal at the end.
    pub at_goal: usize,
    /// After how many steps nine of ten stood there.
    pub most_at_goal_after: Option<usize>,
    /// How uncertain of the goal they are after each step, on average, in nats.
    pub entropy: Vec<f64>,
    /// What became of the beliefs that they told.
    pub beliefs: Beliefs,
    /// How often one did not say in time that its steps were done.
    pub silent: u64,
    /// Where the run is drawn.
    pub svg: PathBuf,
}

/// Beliefs: sent = delivered + refused + lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Beliefs {
    /// Told.
    pub sent: u64,
    /// Heard.
    pub delivered: u64,
    /// Not taken, and the sender was told.
    pub refused: u64,
    /// Gone.
    pub lost: u64,
    /// Of those delivered, heard after the step that they were for.
    pub late: u64,
}

impl Report {
    /// The figures of a run in a world.
    pub fn of(plan: &Plan, world: &World, outcome: &Outcome, nodes: usize, svg: PathBuf) -> Report {
        let seconds = outcome.run.as_secs_f64();
        let at_goal = at_goal(world, &outcome.places);
        let most = (plan.explorers * 9).div_ceil(10);
        Report {
            agents: plan.explorers,
            nodes,
            grid: plan.world.side,
            seed: plan.world.seed,
            steps: plan.steps,
            policy_length: plan.world.policy_length,
            lockstep: plan.lockstep,
            learn: plan.world.learn,
            seconds,
            steps_per_second: (plan.steps * plan.explorers as u64) as f64 / seconds.max(1e-9),
            thinking_seconds: outcome.thinking.as_secs_f64(),
            at_goal: outcome.last.iter().filter(|sight| sight.at_goal).count(),
            most_at_goal_after: at_goal.iter().position(|there| *there >= most).map(|step| step + 1),
            entropy: outcome.entropies.clone(),
            beliefs: Beliefs {
                sent: outcome.beliefs.sent,
                delivered: outcome.beliefs.delivered,
                refused: outcome.beliefs.refused,
                lost: outcome.beliefs.lost,
                late: outcome.late,
            },
            silent: outcome.silent,
            svg,
        }
    }
}

/// How many stand at the goal after each step.
pub(super) fn at_goal(world: &World, places: &[Vec<usize>]) -> Vec<usize> {
    let goal = world.sites()[world.goal()];
    let steps = places.iter().map(Vec::len).max().unwrap_or(0);
    let after = |step: usize| places.iter().filter(|places| places.get(step) == Some(&goal)).count();
    (0..steps).map(after).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pace = if self.lockstep {
            "in lock-step"
        } else {
            "each at its own pace"
        };
        writeln!(
            f,
            "{} explorers on a grid of {side} x {side}, seed {}, nodes: {}\nsteps         {} {pace}, policy length {}",
            self.agents,
            self.seed,
            self.nodes,
            self.steps,
            self.policy_length,
            side = self.grid
        )?;
        write!(f, "at the goal   {} of {}", self.at_goal, self.agents)?;
        match self.most_at_goal_after {
            Some(step) => writeln!(f, ", nine of ten after step {step}")?,
            None => writeln!(f)?,
        }
        let at = |share: usize| {
            let last = self.entropy.len().checked_sub(1)?;
            Some((last * share / 4, self.entropy[last * share / 4]))
        };
        let entropy = [0, 1, 2, 4].into_iter().filter_map(at);
        let entropy: Vec<String> = entropy
            .map(|(step, nats)| format!("{nats:.3} ({})", step + 1))
            .collect();
        writeln!(f, "uncertainty   {} nats (after step), on average", entropy.join(", "))?;
        let Beliefs {
            sent,
            delivered,
            refused,
            lost,
            late,
        } = self.beliefs;
        writeln!(
            f,
            "beliefs       sent {sent} = delivered {delivered} + refused {refused} + lost {lost} ({late} late)"
        )?;
        writeln!(
            f,
            "speed         {:.0} steps/s: {:.2} s, {:.2} s of computing in all",
            self.steps_per_second, self.seconds, self.thinking_seconds
        )?;
        if self.silent > 0 {
            writeln!(
                f,
                "silent        {} times one did not say in time that it was done",
                self.silent
            )?;
        }
        write!(f, "drawn         {}", self.svg.display())
    }
}
