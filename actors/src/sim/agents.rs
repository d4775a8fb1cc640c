//! The simulated agents: each asks one thing after another of its node, waits as long as it takes, and goes on. When its node
//! crashes, or an impatient one has waited long, it asks again elsewhere under the same idempotency key if it gave one;
//! without one the answer stays unknown.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::colony::{Claimed, Ending, Outcome, SessionId, WaitId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::history::{Answered, AwaitedClaim, Call, CallState, History, Hold, PROJECT, Reserved, Want, revision};
use super::node::{Reply, SimNode};
use super::trace::Trace;
use crate::queen::Request;

/// How many agents there are.
const AGENTS: usize = 6;
/// How long the impatient ones wait before they ask another node as well.
const PATIENCE_MS: u64 = 1_500;

const JOURNALS: usize = 3;
const COUNTERS: usize = 2;
const REGISTERS: usize = 3;
/// One of so many offers is left to lapse, and one of so many claims that wait is left by its caller.
const LEFT: usize = 5;
/// What is reserved: the last meets the others.
const RESOURCES: [&str; 3] = ["file:shared/a", "file:shared/b", "file:shared/*"];

/// One agent.
struct Agent {
    node: usize,
    impatient: bool,
    /// When it asks next, while it waits for nothing.
    next_ms: u64,
    /// The call it waits for, and when it last asked.
    waits: Option<(usize, u64)>,
    /// The revisions of registers that it has seen last.
    seen: BTreeMap<String, u64>,
    /// The task that it believes it holds.
    holds: Option<Hold>,
    /// The claim of its that waits.
    awaits: Option<AwaitedClaim>,
    /// What it has reserved, and whether it waits for it still.
    reserved: Option<(Reserved, bool)>,
}

/// All of them.
pub(super) struct Agents {
    random: StdRng,
    agents: Vec<Agent>,
    pub(super) history: History,
    /// Where each open ticket was handed in.
    places: BTreeMap<u64, usize>,
    next_ticket: u64,
    trace: Trace,
}

impl Agents {
    pub(super) fn new(nodes: usize, seed: u64, trace: Trace) -> Agents {
        let mut random = StdRng::seed_from_u64(seed);
        let agents = (0..AGENTS).map(|place| Agent {
            node: place % nodes,
            impatient: place % 2 == 0,
            next_ms: random.random_range(0..500),
            waits: None,
            seen: BTreeMap::new(),
            holds: None,
            awaits: None,
            reserved: None,
        });
        Agents {
            agents: agents.collect(),
            random,
            history: History::default(),
            places: BTreeMap::new(),
            next_ticket: 0,
            trace,
        }
    }

    /// Whether nobody waits for an answer.
    pub(super) fn are_idle(&self) -> bool {
        self.agents.iter().all(|agent| agent.waits.is_none())
    }

    /// Takes answers from a node.
    pub(super) fn take(&mut self, now_ms: u64, replies: Vec<(u64, Reply)>) {
        for (ticket, reply) in replies {
            self.places.remove(&ticket);
            let Some(&number) = self.history.tickets.get(&ticket) else {
                continue;
            };
            let agent = self.history.calls[number].agent;
            let answered = match reply {
                Reply::Read(None) => {
                    // Nobody confirmed it: asked again at the next turn.
                    self.trace.note(format_args!("a{agent} call {number}: not confirmed"));
                    self.agents[agent].waits = Some((number, 0));
                    continue;
                }
                Reply::Read(Some(snapshot)) => {
                    for register in (0..REGISTERS).map(register) {
                        let revision = revision(&snapshot, &register);
                        self.agents[agent].seen.insert(register, revision);
                    }
                    Answered::Seen(snapshot.colony.seq())
                }
                Reply::Offer(wait) => Answered::Offered(wait.map(|wait| wait.offered.clone()).unwrap_or_default()),
                Reply::Settled(held) => Answered::Settled(held),
                Reply::Outcome(Ok(outcome)) => Answered::Outcome(outcome),
                Reply::Outcome(Err(error)) => Answered::NotTaken(error),
            };
            self.trace.note(format_args!("a{agent} call {number}: {answered:?}"));
            if let Some(number) = self.history.answer(ticket, answered) {
                self.learn(agent, number);
                self.agents[agent].waits = None;
                let works_long = self.agents[agent].holds.is_some() && self.random.random_range(0..8) == 0;
                let pause_ms = self.random.random_range(0..if works_long { 3_000 } else { 40 });
                self.agents[agent].next_ms = now_ms + pause_ms;
            }
        }
    }

    fn learn(&mut self, agent: usize, number: usize) {
        let call = &self.history.calls[number];
        let outcome = match &call.state {
            CallState::Answered(Answered::Outcome(outcome)) => outcome,
            CallState::Answered(Answered::Offered(tasks)) => {
                if let (Want::AwaitOffer(awaited), false) = (&call.want, number.is_multiple_of(LEFT)) {
                    self.agents[agent].holds = hold(tasks, awaited.session, &awaited.token);
                }
                return;
            }
            CallState::Answered(Answered::Settled(held)) => {
                if let Want::AwaitGrant(reserved) = &call.want {
                    self.agents[agent].reserved = held.then(|| (reserved.clone(), false));
                }
                return;
            }
            _ => return,
        };
        let Agent {
            seen,
            holds,
            awaits,
            reserved,
            ..
        } = &mut self.agents[agent];
        match (&call.want, outcome) {
            (Want::Put { register, .. } | Want::Swap { register, .. }, Outcome::Changed { revision, .. }) => {
                seen.insert(register.clone(), *revision);
            }
            (Want::Propose { registers, .. }, Outcome::Committed { revisions, .. }) => {
                for ((register, _), revision) in registers.iter().zip(revisions) {
                    seen.insert(register.clone(), *revision);
                }
            }
            // Somebody else was faster: what was seen is old.
            (Want::Swap { .. } | Want::Propose { .. }, _) => seen.clear(),
            (Want::Claim { token, .. }, Outcome::Claimed { tasks, session, .. }) => {
                *holds = session.and_then(|session| hold(tasks, session, token));
            }
            (Want::Claim { token, .. }, Outcome::Waiting { seq, session, .. }) => {
                *awaits = session.map(|session| AwaitedClaim {
                    wait: WaitId(*seq),
                    session,
                    token: token.clone(),
                });
            }
            (Want::Reserve { token, .. }, Outcome::Reserved { reservation, fence, .. }) => {
                let token = token.clone();
                let reservation = *reservation;
                *reserved = Some((Reserved { reservation, token }, fence.is_none()));
            }
            // Some do not take the end for one, and try to finish again.
            (Want::Finish { .. }, Outcome::Finished { .. }) if number.is_multiple_of(8) => {}
            (Want::Abandon(_), Outcome::SessionClosed { .. }) if !number.is_multiple_of(4) => {}
            (Want::Finish { .. } | Want::Abandon(_), _) => *holds = None,
            _ => {}
        }
    }

    /// What was handed to a node that has crashed will not be answered by it.
    pub(super) fn node_crashed(&mut self, node: usize) {
        let lost: Vec<u64> = self
            .places
            .iter()
            .filter(|(_, place)| **place == node)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in lost {
            self.places.remove(&ticket);
            let number = self.history.tickets[&ticket];
            let others = self.places.keys().any(|other| self.history.tickets[other] == number);
            let call = &mut self.history.calls[number];
            if others || !matches!(call.state, CallState::Open) {
                continue;
            }
            let agent = &mut self.agents[call.agent];
            if call.idempotency_key.is_some() || matches!(call.want, Want::Read) {
                agent.waits = Some((number, 0));
            } else {
                call.state = CallState::Unknown;
                agent.waits = None;
                agent.holds = None;
                agent.reserved = None;
            }
        }
    }

    /// Lets those who are due ask; new things only while `asking`.
    pub(super) fn step(&mut self, now_ms: u64, asking: bool, nodes: &mut [SimNode]) {
        for place in 0..self.agents.len() {
            match self.agents[place].waits {
                Some((number, asked_ms)) => self.again(now_ms, place, number, asked_ms, nodes),
                None if asking && now_ms >= self.agents[place].next_ms => self.ask(now_ms, place, nodes),
                None => {}
            }
        }
    }

    fn again(&mut self, now_ms: u64, place: usize, number: usize, asked_ms: u64, nodes: &mut [SimNode]) {
        let agent = &mut self.agents[place];
        let repeatable = self.history.calls[number].idempotency_key.is_some();
        let waited_long = agent.impatient && repeatable && now_ms >= asked_ms + PATIENCE_MS;
        if asked_ms > 0 && !waited_long {
            return;
        }
        agent.node = (agent.node + 1) % nodes.len();
        self.hand_in(now_ms, place, number, nodes);
    }

    fn ask(&mut self, now_ms: u64, place: usize, nodes: &mut [SimNode]) {
        if !nodes[self.agents[place].node].is_running() {
            // Its node is down: it goes to the next one.
            self.agents[place].node = (self.agents[place].node + 1) % nodes.len();
            return;
        }
        let number = self.history.calls.len();
        let want = self.want(place, number);
        // Who waits hears it from one node, or not at all.
        let waits = matches!(want, Want::AwaitOffer(_) | Want::AwaitGrant(_));
        let keyed = self.random.random_range(0..2) == 0 && !waits;
        self.history.calls.push(Call {
            agent: place,
            want,
            idempotency_key: keyed.then(|| format!("call-{number}").into()),
            asked_ms: now_ms,
            shown: self.history.shown,
            state: CallState::Open,
        });
        self.hand_in(now_ms, place, number, nodes);
    }

    fn hand_in(&mut self, now_ms: u64, place: usize, number: usize, nodes: &mut [SimNode]) {
        let agent = &mut self.agents[place];
        let node = &mut nodes[agent.node];
        if !node.is_running() {
            agent.waits = Some((number, 0));
            return;
        }
        agent.waits = Some((number, now_ms));
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        let call = &self.history.calls[number];
        self.trace.note(format_args!(
            "a{place} call {number} at n{}: {:?}",
            agent.node + 1,
            call.want
        ));
        self.history.tickets.insert(ticket, number);
        self.places.insert(ticket, agent.node);
        match (&call.want, call.want.body()) {
            (Want::AwaitOffer(awaited), _) => node.await_offer(ticket, awaited.wait),
            (Want::AwaitGrant(reserved), _) => node.await_grant(ticket, reserved.reservation),
            (_, None) => node.read(ticket),
            (_, Some(body)) => node.submit(
                ticket,
                Request {
                    project: PROJECT.into(),
                    author: Arc::from(format!("a{place}")),
                    idempotency_key: call.idempotency_key.clone(),
                    body,
                },
            ),
        }
    }

    /// What an agent does next about a claim or a request of its that waits.
    fn await_next(&mut self, place: usize, number: usize) -> Option<Want> {
        let Agent { awaits, reserved, .. } = &mut self.agents[place];
        if let Some(awaited) = awaits.take() {
            return Some(match number.is_multiple_of(LEFT) {
                true => Want::Leave(awaited),
                false => Want::AwaitOffer(awaited),
            });
        }
        match reserved.take()? {
            (waits, true) if !number.is_multiple_of(LEFT) => Some(Want::AwaitGrant(waits)),
            // Some keep what they have until its time is over.
            (_, false) if number.is_multiple_of(LEFT) => None,
            (reserved, _) => Some(Want::Release(reserved)),
        }
    }

    fn want(&mut self, place: usize, number: usize) -> Want {
        if let Some(want) = self.await_next(place, number) {
            return want;
        }
        let value = format!("v{number}");
        let token = format!("{number};");
        let journal = format!("journal/{}", self.random.random_range(0..JOURNALS));
        let one = self.random.random_range(0..REGISTERS);
        let ending = match self.random.random_range(0..20) {
            0 => Ending::Failed,
            1..5 => Ending::Released,
            _ => Ending::Done,
        };
        let Agent { seen, holds, .. } = &self.agents[place];
        if let Some(hold) = holds.clone() {
            return match self.random.random_range(0..10) {
                0 | 1 => Want::Accept(hold),
                2 => Want::Abandon(hold),
                _ => Want::Finish { hold, ending, token },
            };
        }
        let known = |place: usize| (register(place), seen.get(&register(place)).copied().unwrap_or_default());
        match self.random.random_range(0..18) {
            0..4 => Want::Note { journal, token },
            4..6 => Want::Count {
                counter: format!("counter/{}", self.random.random_range(0..COUNTERS)),
            },
            6 => Want::Put {
                register: register(one),
                value,
            },
            7 => {
                let (register, revision) = known(one);
                Want::Swap {
                    register,
                    revision,
                    value,
                }
            }
            8 => Want::Propose {
                registers: [known(one), known((one + 1) % REGISTERS)],
                value,
                journal,
                token,
            },
            9..11 => Want::Add {
                title: format!("task of call {number}"),
            },
            11..13 => Want::Claim {
                token: format!("secret of call {number}"),
                wait_ms: 0,
            },
            16 => Want::Claim {
                token: format!("secret of call {number}"),
                wait_ms: self.random.random_range(100..1_500),
            },
            17 => Want::Reserve {
                resource: RESOURCES[self.random.random_range(0..RESOURCES.len())].to_owned(),
                token: format!("secret of call {number}"),
                wait_ms: self.random.random_range(0..1_000),
            },
            _ => Want::Read,
        }
    }
}

/// What is held of tasks that were claimed.
fn hold(tasks: &[Claimed], session: SessionId, token: &str) -> Option<Hold> {
    tasks.first().map(|claimed| Hold {
        task: claimed.task,
        fence: claimed.fence,
        session,
        token: token.to_owned(),
    })
}

fn register(place: usize) -> String {
    format!("register/{place}")
}
