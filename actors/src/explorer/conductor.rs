//! The agent of kind `explorer-conductor`: wires explorers with each other and lets them do their steps.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream;
use serde::Deserialize;

use super::hosted::failed;
use super::message::{Message, TOLD_MAX, Wiring};
use crate::agent::{AgentAddress, AgentContext, AgentSpec, Behaviour, BehaviourError, Step};

/// The most explorers of one conductor: fewer than the questions that agents of a node may have open.
pub const EXPLORERS_MAX: usize = 32_768;
/// How long wiring one explorer may take.
const WIRED_WITHIN: Duration = Duration::from_secs(30);

/// What a conductor is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The explorers.
    explorers: Vec<AgentAddress>,
    /// For each of them the places in that list of those whom it tells what it believes.
    tells: Vec<Vec<usize>>,
    /// How many steps each does.
    steps: u64,
    /// Whether all do a step before any does the next.
    lockstep: bool,
    /// How long to wait for those who do not say that they are done, in milliseconds: with a step, or in free running with
    /// all of them. Then the others go on.
    patience_ms: u64,
}

/// The behaviour. It reports the `step` that is done, how often an explorer did not say so in time (`silent`), and at the end
/// how long all steps took (`run_us`).
pub(super) struct Conductor {
    arguments: Arguments,
    silent: u64,
    step: u64,
    began: Option<Instant>,
}

impl Conductor {
    pub(super) fn new(spec: &AgentSpec) -> Result<Conductor, BehaviourError> {
        let arguments: Arguments = serde_json::from_value(spec.arguments.clone()).map_err(failed)?;
        let explorers = arguments.explorers.len();
        if explorers == 0 || explorers > EXPLORERS_MAX {
            return Err(failed(format!("explorers: {explorers} is not 1 to {EXPLORERS_MAX}")));
        }
        if arguments.tells.len() != explorers {
            let tells = arguments.tells.len();
            return Err(failed(format!("tells: has {tells} entries, expected {explorers}")));
        }
        for (at, tells) in arguments.tells.iter().enumerate() {
            if let Some(to) = tells.iter().find(|to| **to >= explorers) {
                return Err(failed(format!("tells[{at}]: {to} is not below {explorers}")));
            }
        }
        for (at, (tells, hears)) in arguments.tells.iter().zip(arguments.hears()).enumerate() {
            let most = tells.len().max(hears as usize);
            if most > TOLD_MAX {
                return Err(failed(format!(
                    "tells[{at}]: {most} explorers are told or heard, the limit is {TOLD_MAX}"
                )));
            }
        }
        Ok(Conductor {
            arguments,
            silent: 0,
            step: 0,
            began: None,
        })
    }

    async fn go_on(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let patience = Duration::from_millis(self.arguments.patience_ms);
        let Some(began) = self.began else {
            self.wire(context).await?;
            self.began = Some(Instant::now());
            return Ok(Step::Again);
        };
        if self.step < self.arguments.steps {
            self.step = match self.arguments.lockstep {
                true => self.step + 1,
                false => self.arguments.steps,
            };
            let begin = Message::Begin { step: self.step }.encode();
            let asked = self.arguments.explorers.clone().into_iter();
            let asked = asked.map(|explorer| context.ask(explorer, &begin, patience));
            let answers = stream::iter(asked).buffer_unordered(EXPLORERS_MAX);
            let silent = answers.filter(|answer| futures::future::ready(answer.is_err())).count();
            self.silent += silent.await as u64;
        }
        context.report("silent", self.silent);
        let over = self.step >= self.arguments.steps;
        if over {
            context.report("run_us", began.elapsed().as_micros() as u64);
        }
        context.report("step", self.step);
        Ok(if over { Step::Done } else { Step::Again })
    }

    /// Tells every explorer whom it tells what it believes.
    async fn wire(&self, context: &AgentContext) -> Result<(), BehaviourError> {
        let Arguments {
            explorers,
            tells,
            lockstep,
            steps,
            ..
        } = &self.arguments;
        let mut wirings = Vec::with_capacity(explorers.len());
        for ((explorer, tells), hears) in explorers.iter().zip(tells).zip(self.arguments.hears()) {
            let wire = Message::Wire(Wiring {
                tells: tells.iter().map(|to| explorers[*to]).collect(),
                hears,
                lockstep: *lockstep,
                steps: *steps,
            });
            wirings.push((*explorer, wire.encode()));
        }
        let wired = wirings
            .into_iter()
            .map(|(explorer, wire)| async move { context.ask(explorer, &wire, WIRED_WITHIN).await });
        let mut wired = stream::iter(wired).buffer_unordered(EXPLORERS_MAX);
        while let Some(answer) = wired.next().await {
            answer.map_err(failed)?;
        }
        Ok(())
    }
}

impl Arguments {
    /// From how many each explorer hears.
    fn hears(&self) -> Vec<u32> {
        let mut hears = vec![0; self.explorers.len()];
        for to in self.tells.iter().flatten() {
            hears[*to] += 1;
        }
        hears
    }
}

impl Behaviour for Conductor {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.go_on(context))
    }
}
