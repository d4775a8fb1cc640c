//! Agents that make a crowd of a node: one that starts many others, and those that it starts.
//!
//! | signal | from | to | meaning |
//! |---|---|---|---|
//! | token (40 bytes: five numbers, little-endian) | starter, member | member | pass it on to another member, or back at its last hop |
//! | token without hops | member | starter | it has come to its end |

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream;
use hdrhistogram::Histogram;
use queenright_actors::agent::{
    AgentAddress, AgentContext, AgentError, AgentSpec, Behaviour, BehaviourError, RestartPolicy, Signal, Step,
};
use serde::Deserialize;
use serde_json::Value;

/// How many agents one step starts: between two steps the spawner can be stopped.
const STEP_AGENTS: u64 = 1_024;
/// How long to wait when the node has no room for one more active agent.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// Every so-many-th member has the label by which lists are filtered.
const LABELLED_EVERY: u64 = 100;

/// What a spawner is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpawnerArguments {
    /// What the names of the agents begin with; a number of nine digits follows.
    prefix: String,
    /// Their kind.
    kind: String,
    /// What they are told.
    #[serde(default)]
    arguments: Value,
    /// The number of the first.
    #[serde(default)]
    first: u64,
    /// How many.
    count: u64,
    /// How many are being started at the same time.
    at_once: usize,
    /// How many a second, at most.
    #[serde(default)]
    per_second: Option<u64>,
    /// Whose children they are.
    #[serde(default)]
    parent: Option<String>,
}

/// Starts agents. Reports how many it has `spawned`, how often the node was `full`, the `number` of the first, `micros`
/// and `spawn_ns`.
pub struct Spawner {
    arguments: SpawnerArguments,
    spawned: u64,
    full: u64,
    started: Option<Instant>,
    latency: Histogram<u64>,
}

impl Spawner {
    pub(super) fn new(arguments: SpawnerArguments) -> Spawner {
        Spawner {
            arguments,
            spawned: 0,
            full: 0,
            started: None,
            latency: super::histogram(),
        }
    }

    fn spec(&self, number: u64) -> AgentSpec {
        let labelled = number
            .is_multiple_of(LABELLED_EVERY)
            .then(|| ("team".to_owned(), "red".to_owned()));
        AgentSpec {
            name: format!("{}.{number:09}", self.arguments.prefix),
            kind: self.arguments.kind.clone(),
            arguments: self.arguments.arguments.clone(),
            restart: RestartPolicy::never(),
            labels: labelled.into_iter().collect(),
            parent: self.arguments.parent.clone(),
            ..AgentSpec::default()
        }
    }

    async fn spawn(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let started = *self.started.get_or_insert_with(Instant::now);
        let mut now = STEP_AGENTS.min(self.arguments.count - self.spawned);
        if let Some(per_second) = self.arguments.per_second {
            let due = (started.elapsed().as_secs_f64() * per_second as f64) as u64;
            now = now.min(due.saturating_sub(self.spawned));
            if now == 0 {
                tokio::time::sleep(FULL_PAUSE).await;
                return Ok(Step::Again);
            }
        }
        let from = self.arguments.first + self.spawned;
        let first = self.spawned == 0;
        let specs: Vec<AgentSpec> = (from..from + now).map(|number| self.spec(number)).collect();
        let mut all = stream::iter(specs.into_iter().map(async |spec| spawn(context, spec).await))
            .buffered(self.arguments.at_once.max(1));
        let (mut full, mut numbers) = (0, Vec::new());
        while let Some(spawned) = all.next().await {
            let (number, took, refused) = spawned?;
            full += refused;
            if first && numbers.is_empty() {
                numbers.push(number);
            }
            self.latency.saturating_record(took.as_nanos() as u64);
        }
        drop(all);
        self.full += full;
        self.spawned += now;
        if let Some(number) = numbers.first() {
            context.report("number", *number);
        }
        context.report("spawned", self.spawned);
        if self.spawned < self.arguments.count {
            return Ok(Step::Again);
        }
        context.report("full", self.full);
        context.report("micros", started.elapsed().as_micros() as u64);
        context.report("spawn_ns", super::to_report(&self.latency));
        Ok(Step::Done)
    }
}

/// Starts one agent, however long the node is full. Says its number, how long it took and how often it was refused.
async fn spawn(context: &AgentContext, spec: AgentSpec) -> Result<(u64, Duration, u64), BehaviourError> {
    let (asked, mut full) = (Instant::now(), 0);
    loop {
        match context.spawn(spec.clone()).await {
            Ok(status) => return Ok((status.number, asked.elapsed(), full)),
            Err(AgentError::TooMany { .. }) => {
                full += 1;
                tokio::time::sleep(FULL_PAUSE).await;
            }
            Err(error) => return Err(BehaviourError(error.to_string())),
        }
    }
}

impl Behaviour for Spawner {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.spawn(context))
    }
}

/// Is done at its first step.
pub struct Brief;

impl Behaviour for Brief {
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async { Ok(Step::Done) })
    }
}

/// What goes round among the members of a crowd, who have numbers in a row on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    /// The number of the first member.
    first: u64,
    /// How many there are.
    members: u64,
    /// How often it is still to be passed on.
    hops: u64,
    /// Where it is to go at its end.
    home: u64,
    /// What the next place is drawn from.
    random: u64,
}

impl Token {
    fn bytes(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let words = [self.first, self.members, self.hops, self.home, self.random];
        for (place, word) in bytes.chunks_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    fn parse(bytes: &Bytes) -> Option<Token> {
        let word = |place: usize| Some(u64::from_le_bytes(*bytes.get(8 * place..)?.first_chunk()?));
        let (first, members, hops, home, random) = (word(0)?, word(1)?, word(2)?, word(3)?, word(4)?);
        (members > 0).then_some(Token {
            first,
            members,
            hops,
            home,
            random,
        })
    }

    /// Passes it on.
    fn pass(mut self, context: &AgentContext) -> Result<(), BehaviourError> {
        let number = if self.hops == 0 {
            self.home
        } else {
            // Knuth's multiplier for MMIX, The Art of Computer Programming 3.3.4.
            self.random = self
                .random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            self.hops -= 1;
            self.first + (self.random >> 33) % self.members
        };
        let to = AgentAddress {
            node: context.address().node,
            number,
            generation: 1,
        };
        context
            .tell(to, &self.bytes())
            .map_err(|error| BehaviourError(error.to_string()))
    }
}

/// What a member is told.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberArguments {
    /// Whether it becomes passive when it has nothing to do.
    rests: bool,
}

/// Has nothing to do but to pass on tokens. Counts them, and keeps the count while it is passive.
pub struct Member {
    rests: bool,
    passed: u64,
}

impl Member {
    pub(super) fn new(arguments: MemberArguments) -> Member {
        Member {
            rests: arguments.rests,
            passed: 0,
        }
    }

    fn next(&self) -> Step {
        match self.rests {
            true => Step::Passivate,
            false => Step::Wait,
        }
    }
}

impl Behaviour for Member {
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        let next = self.next();
        Box::pin(async move { Ok(next) })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        for signal in signals {
            let token =
                Token::parse(&signal.payload).ok_or_else(|| BehaviourError("what came is no token".to_owned()))?;
            token.pass(context)?;
            self.passed += 1;
        }
        Ok(self.next())
    }

    fn passivate(&mut self) -> Option<Vec<u8>> {
        Some(self.passed.to_le_bytes().to_vec())
    }

    fn wake(&mut self, state: &[u8]) -> Result<(), BehaviourError> {
        let passed = state
            .try_into()
            .map_err(|_| BehaviourError("its state is not 8 bytes".to_owned()))?;
        self.passed = u64::from_le_bytes(passed);
        Ok(())
    }
}

/// What the starter of tokens is told.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokensArguments {
    /// The number of the first member.
    first: u64,
    /// How many members there are, with numbers in a row, all in their first generation.
    members: u64,
    /// How many tokens go round at the same time.
    tokens: u64,
    /// How often each is passed on.
    hops: u64,
}

/// Lets tokens go round in a crowd until each has come to its end. Reports how many `signals` that were, and `micros`.
pub struct Tokens {
    arguments: TokensArguments,
    started: Option<Instant>,
    home: u64,
}

impl Tokens {
    pub(super) fn new(arguments: TokensArguments) -> Tokens {
        Tokens {
            arguments,
            started: None,
            home: 0,
        }
    }

    fn start(&mut self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let TokensArguments {
            first,
            members,
            tokens,
            hops,
        } = self.arguments;
        self.started = Some(Instant::now());
        for number in 0..tokens {
            let token = Token {
                first,
                members,
                hops,
                home: context.address().number,
                random: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            };
            token.pass(context)?;
        }
        Ok(Step::Wait)
    }
}

impl Behaviour for Tokens {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async { self.start(context) })
    }

    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        self.home += signals.len() as u64;
        if self.home < self.arguments.tokens {
            return Ok(Step::Wait);
        }
        let took = self.started.map_or(Duration::ZERO, |started| started.elapsed());
        context.report("signals", self.arguments.tokens * (self.arguments.hops + 1));
        context.report("micros", took.as_micros() as u64);
        Ok(Step::Done)
    }
}
