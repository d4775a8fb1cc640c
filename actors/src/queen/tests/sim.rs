//! Three queens of a simulated cluster: links that lose, repeat and reorder, leaders that change, and a log that each node
//! applies to its own colony at its own pace.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use proptest::prelude::*;
use queenright_protocol::colony::Colony;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// The cluster.
struct Sim {
    random: StdRng,
    now_ms: u64,
    nodes: Vec<SimNode>,
    /// Who leads, as the log sees it.
    leader: usize,
    log: Vec<(usize, Vec<Bytes>)>,
    /// Entries that a leader has handed over and that may still be lost with it.
    handed: Vec<(usize, Vec<Bytes>)>,
    mail: Vec<(usize, NodeId, Bytes)>,
    limits: RoundLimits,
    next_ticket: u64,
    /// What each accepted ticket was answered.
    answered: BTreeMap<u64, Outcome>,
    refused: BTreeSet<u64>,
    /// Which ticket stands behind each number of each node, by the key that its command changes.
    seen: BTreeMap<(u64, u64), Arc<str>>,
}

struct SimNode {
    rounds: Rounds<u64>,
    colony: Colony,
    applied: usize,
    /// The commands that have an outcome.
    settled: BTreeSet<u64>,
    /// When each round was sent last to this leader, and how often.
    sends: BTreeMap<Bytes, (NodeId, u64, u32)>,
}

impl Sim {
    fn new(seed: u64) -> Sim {
        let mut random = StdRng::seed_from_u64(seed);
        let limits = RoundLimits {
            rounds_in_flight: random.random_range(1..4),
            entries_in_flight: random.random_range(1..4),
            round_bytes: random.random_range(100..2_000),
            command_bytes: 1_500,
            commands: random.random_range(2..40),
            waiting_bytes: random.random_range(2_000..20_000),
            // The largest outcome of a change has some 700 bytes.
            outcome_bytes: random.random_range(1_000..8_000),
            repeat_ms: 50,
            listed: false,
            round_commands: [1, 3, 65_536][random.random_range(0..3)],
        };
        let node = |number| SimNode {
            rounds: Rounds::new(NodeId(number), 1, limits),
            colony: Colony::default(),
            applied: 0,
            settled: BTreeSet::new(),
            sends: BTreeMap::new(),
        };
        Sim {
            random,
            now_ms: 0,
            nodes: (1..=3).map(node).collect(),
            leader: 0,
            log: Vec::new(),
            handed: Vec::new(),
            mail: Vec::new(),
            limits,
            next_ticket: 0,
            answered: BTreeMap::new(),
            refused: BTreeSet::new(),
            seen: BTreeMap::new(),
        }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.random_range(0..end)
    }

    fn step(&mut self, at: usize, input: Input<u64>) {
        // After a new leader, everything may be sent again at once.
        let forget = matches!(input, Input::Leader(_));
        let mut effects = Vec::new();
        self.nodes[at].rounds.step(self.now_ms, input, &mut effects);
        if forget {
            self.nodes[at].sends.clear();
        }
        for effect in effects {
            match effect {
                Effect::Send { to, bytes, .. } => self.send(at, to, bytes),
                Effect::Refuse { .. } => {}
                Effect::Append { rounds } => {
                    let bytes: usize = rounds.iter().map(|round| 8 + round.len()).sum();
                    assert!(rounds.len() == 1 || bytes <= self.limits.round_bytes, "{bytes}");
                    self.handed.push((at, rounds));
                }
                Effect::Answer {
                    ticket,
                    outcome: Ok(outcome),
                } => {
                    assert!(!self.refused.contains(&ticket), "{ticket} was refused before");
                    assert_eq!(
                        self.answered.insert(ticket, outcome),
                        None,
                        "{ticket} is answered twice"
                    );
                }
                Effect::Answer {
                    ticket,
                    outcome: Err(error),
                } => {
                    assert!(
                        matches!(error, SubmitError::Busy { .. } | SubmitError::TooLarge { .. }),
                        "{error}"
                    );
                    assert!(self.refused.insert(ticket), "{ticket} is refused twice");
                }
            }
        }
    }

    fn send(&mut self, at: usize, to: NodeId, bytes: Bytes) {
        self.check_round(at, &bytes);
        let (now_ms, repeat_ms) = (self.now_ms, self.limits.repeat_ms);
        let before = self.nodes[at].sends.get(&bytes).copied();
        if let Some((leader, sent_ms, _)) = before {
            assert!(
                leader != to || now_ms >= sent_ms + repeat_ms,
                "repeated without patience"
            );
        }
        let sends = before.map_or(0, |(_, _, sends)| sends) + 1;
        self.nodes[at].sends.insert(bytes.clone(), (to, now_ms, sends));
        self.mail.push((to.0 as usize - 1, NodeId(at as u64 + 1), bytes));
    }

    fn check_round(&mut self, at: usize, bytes: &Bytes) {
        let round = Round::decode(bytes).unwrap();
        let node = &self.nodes[at];
        for command in &round.commands {
            let Body::Change(Change { key, .. }) = &command.body else {
                unreachable!("the only bodies here")
            };
            let known = self
                .seen
                .entry((round.node.0, command.number))
                .or_insert_with(|| key.clone());
            assert_eq!(known, key, "a number stands for two commands");
            let open = (1..command.settled).find(|number| !node.settled.contains(number));
            assert_eq!(open, None, "settled passes a command without an outcome");
        }
    }

    fn submit(&mut self, at: usize) {
        self.next_ticket += 1;
        let ticket = self.next_ticket;
        // Each command has a key of its own, so that one carried out twice shows as a second revision.
        let bytes = self.below(300);
        let bytes = if self.below(30) == 0 { 2_000 } else { bytes };
        let body = change(&format!("key/{ticket}"), Op::Append(vec![b'x'; bytes].into()));
        self.step(
            at,
            Input::Submit {
                ticket,
                request: request(body),
                expires_ms: u64::MAX,
            },
        );
    }

    fn deliver(&mut self, fair: bool) {
        if self.mail.is_empty() {
            return;
        }
        let place = self.below(self.mail.len());
        let (to, from, bytes) = match fair {
            false if self.below(3) == 0 => self.mail[place].clone(),
            _ => self.mail.swap_remove(place),
        };
        if fair || self.below(4) > 0 {
            self.step(to, Input::Round { from, bytes });
        }
    }

    /// The oldest entry that was handed over is committed, or lost with a leader that is none any more.
    fn commit(&mut self) {
        if self.handed.is_empty() {
            return;
        }
        let (by, rounds) = self.handed.remove(0);
        if by == self.leader || self.below(2) == 0 {
            self.log.push((by, rounds));
        } else {
            self.step(by, Input::EntryDone);
        }
    }

    fn apply(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        let Some((by, rounds)) = self.log.get(node.applied).cloned() else {
            return;
        };
        let entry = Batch {
            cluster_ms: node.applied as u64,
            wall_ms: 0,
            rounds,
            checkpoint: None,
        }
        .encode();
        let batch = Batch::decode(&entry).unwrap();
        let rounds: Vec<Round> = batch.rounds.iter().map(|round| Round::decode(round).unwrap()).collect();
        node.applied += 1;
        let me = NodeId(at as u64 + 1);
        let applied = node.colony.apply(batch.cluster_ms, 0, &rounds, me);
        node.settled.extend(applied.outcomes.iter().map(|answer| answer.number));
        let kept: usize = [NodeId(1), NodeId(2), NodeId(3)]
            .map(|node_id| {
                let numbers = 1..=self.next_ticket;
                numbers
                    .filter(|number| node.colony.dedup().outcome(node_id, 1, *number).is_some())
                    .count()
            })
            .into_iter()
            .max()
            .unwrap_or_default();
        let least = 8 + change("key/1", Op::Delete).outcome_bytes_max();
        assert!(kept * least <= self.limits.outcome_bytes, "{kept} outcomes are kept");
        self.step(at, Input::Applied(applied.outcomes));
        if by == at {
            self.step(at, Input::EntryDone);
        }
    }

    /// Tells a node who leads, or that nobody does.
    fn tell(&mut self, at: usize, fair: bool) {
        let known = fair || self.below(4) > 0;
        let leader = known.then_some(NodeId(self.leader as u64 + 1));
        self.step(at, Input::Leader(leader));
    }

    fn anything(&mut self) {
        let at = self.below(3);
        match self.below(100) {
            0..30 => self.submit(at),
            30..50 => self.step(at, Input::Drain),
            50..65 => self.deliver(false),
            65..78 => self.commit(),
            78..90 => self.apply(at),
            90..94 => self.tell(at, false),
            94 => {
                self.leader = self.below(3);
            }
            _ => {
                self.now_ms += self.random.random_range(0..120);
                self.step(at, Input::Tick);
            }
        }
    }

    /// Everything works from now on; returns when nobody waits any more.
    fn heal(&mut self) {
        for turn in 0.. {
            assert!(turn < 10_000, "commands wait for ever");
            self.now_ms += 20;
            for at in 0..3 {
                self.tell(at, true);
                self.step(at, Input::Drain);
                self.step(at, Input::Tick);
                self.apply(at);
                self.deliver(true);
                self.commit();
            }
            let done = self
                .nodes
                .iter()
                .all(|node| node.applied == self.log.len() && !node.rounds.is_waiting() && !node.rounds.has_work());
            if done && self.handed.is_empty() && self.mail.is_empty() {
                return;
            }
        }
    }

    fn check(&self) {
        let colony = &self.nodes[0].colony;
        for node in &self.nodes {
            assert_eq!(node.colony.digest(), colony.digest());
        }
        let memory = colony.project("p").map(|project| project.memory());
        for ticket in 1..=self.next_ticket {
            let key = format!("key/{ticket}");
            let revision = memory.map_or(0, |memory| memory.revision(&key));
            match self.answered.get(&ticket) {
                Some(Outcome::Changed { revision: 1, .. }) => assert_eq!(revision, 1, "{key}"),
                Some(other) => panic!("{key}: {other:?}"),
                None => assert!(self.refused.contains(&ticket) && revision == 0, "{key} has no outcome"),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn every_command_has_one_outcome_and_is_carried_out_once(seed in any::<u64>(), steps in 50..1_500_usize) {
        let mut sim = Sim::new(seed);
        (0..steps).for_each(|_| sim.anything());
        sim.heal();
        sim.check();
    }
}
