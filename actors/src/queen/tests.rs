//! Rounds, driven by hand and by a simulated cluster with a log, bad links and changing leaders.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use queenright_protocol::colony::{
    Answer, Batch, Body, Change, Colony, Command, Condition, Op, Outcome, Proposal, ROUND_BYTES_MAX, Read, Round,
};
use queenright_protocol::id::NodeId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::request::{Request, SubmitError};
use super::rounds::{Effect, Input, RoundLimits, Rounds};

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);

fn request(body: Body) -> Request {
    Request {
        project: "p".into(),
        author: "ann".into(),
        idempotency_key: None,
        body,
    }
}

fn change(key: &str, op: Op) -> Body {
    Body::Change(Change {
        key: key.into(),
        op,
        tags: Vec::new(),
        condition: Condition::None,
    })
}

/// A command whose body carries this many bytes.
fn append(bytes: usize) -> Request {
    request(change("k", Op::Append(vec![b'x'; bytes].into())))
}

/// One machine, and the clock that it is given.
struct Rig {
    rounds: Rounds<u64>,
    now_ms: u64,
    next_ticket: u64,
}

impl Rig {
    fn new(limits: RoundLimits) -> Rig {
        Rig {
            rounds: Rounds::new(ME, 7, limits),
            now_ms: 0,
            next_ticket: 0,
        }
    }

    /// A machine that another node leads.
    fn following(limits: RoundLimits) -> Rig {
        let mut rig = Rig::new(limits);
        assert_eq!(rig.step(Input::Leader(Some(OTHER))), []);
        rig
    }

    fn step(&mut self, input: Input<u64>) -> Vec<Effect<u64>> {
        let mut effects = Vec::new();
        self.rounds.step(self.now_ms, input, &mut effects);
        effects
    }

    fn submit(&mut self, request: Request) -> Vec<Effect<u64>> {
        self.next_ticket += 1;
        self.step(Input::Submit {
            ticket: self.next_ticket,
            request,
            expires_ms: u64::MAX,
        })
    }

    /// The rounds that are sent now.
    fn drain(&mut self) -> Vec<Round> {
        self.step(Input::Drain).into_iter().map(sent).collect()
    }

    fn answer(&mut self, numbers: &[u64]) -> Vec<Effect<u64>> {
        self.step(Input::Applied(
            numbers.iter().map(|number| answer(7, *number)).collect(),
        ))
    }
}

fn answer(incarnation: u64, number: u64) -> Answer {
    Answer {
        incarnation,
        number,
        outcome: outcome(number),
    }
}

fn outcome(seq: u64) -> Outcome {
    Outcome::Changed { seq, revision: 1 }
}

fn sent(effect: Effect<u64>) -> Round {
    match effect {
        Effect::Send { bytes, .. } => Round::decode(&bytes).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn refusal(effects: Vec<Effect<u64>>) -> SubmitError {
    match &effects[..] {
        [
            Effect::Answer {
                outcome: Err(error), ..
            },
        ] => error.clone(),
        other => panic!("{other:?}"),
    }
}

fn numbers(round: &Round) -> Vec<u64> {
    round.commands.iter().map(|command| command.number).collect()
}

/// The bytes of a command as the machine counts them.
fn counted(request: &Request) -> usize {
    let Request {
        project, author, body, ..
    } = request.clone();
    let command = Command {
        number: 0,
        settled: 0,
        expires_ms: 0,
        project,
        author,
        idempotency_key: None,
        body,
    };
    let round = |commands| {
        Round {
            node: ME,
            incarnation: 0,
            commands,
        }
        .encode()
        .len()
    };
    round(vec![command]) - round(Vec::new())
}

#[test]
fn an_idle_queen_sends_at_once_and_gathers_while_rounds_are_under_way() {
    let mut rig = Rig::following(RoundLimits {
        rounds_in_flight: 2,
        ..RoundLimits::default()
    });
    for expected in [vec![vec![1]], vec![vec![2]], vec![], vec![]] {
        rig.submit(append(1));
        let rounds: Vec<_> = rig.drain().iter().map(numbers).collect();
        assert_eq!(rounds, expected);
    }
    assert!(!rig.rounds.has_work());
    rig.answer(&[1]);
    assert!(rig.rounds.has_work());
    assert_eq!(numbers(&rig.drain()[0]), [3, 4]);
}

#[test]
fn an_outcome_goes_to_its_caller_once() {
    let mut rig = Rig::following(RoundLimits::default());
    rig.submit(append(1));
    rig.submit(append(1));
    rig.drain();
    let answered = |ticket, seq| Effect::Answer {
        ticket,
        outcome: Ok(outcome(seq)),
    };
    assert_eq!(rig.answer(&[2]), [answered(2, 2)]);
    assert_eq!(rig.answer(&[2]), []);
    let of_another_start = Input::Applied(vec![answer(6, 1)]);
    assert_eq!(rig.step(of_another_start), []);
    assert_eq!(rig.answer(&[9, 1]), [answered(1, 1)]);
    assert!(!rig.rounds.is_waiting());
}

#[test]
fn settled_stops_at_the_first_command_without_an_outcome() {
    let mut rig = Rig::following(RoundLimits::default());
    let mut settled_after = |answered: &[u64]| {
        rig.answer(answered);
        rig.submit(append(1));
        rig.drain()[0].commands[0].settled
    };
    assert_eq!(settled_after(&[]), 1);
    assert_eq!(settled_after(&[]), 1);
    assert_eq!(settled_after(&[2]), 1);
    assert_eq!(settled_after(&[1]), 3);
    assert_eq!(settled_after(&[3, 4]), 5);
}

#[test]
fn each_limit_is_named_with_the_value_and_the_bound() {
    let one = counted(&append(100));
    let mut rig = Rig::new(RoundLimits {
        command_bytes: one,
        commands: 3,
        waiting_bytes: 2 * one + 1,
        ..RoundLimits::default()
    });
    let (bytes, limit) = (one as u64 + 1, one as u64);
    assert_eq!(refusal(rig.submit(append(101))), SubmitError::TooLarge { bytes, limit });
    rig.submit(append(100));
    rig.submit(append(100));
    let busy = |held, unit, limit| SubmitError::Busy { held, unit, limit };
    let small = counted(&append(2)) as u64;
    assert_eq!(
        refusal(rig.submit(append(2))),
        busy(2 * limit + small, "bytes", 2 * limit + 1)
    );
    let mut rig = Rig::following(RoundLimits {
        commands: 2,
        ..RoundLimits::default()
    });
    rig.submit(append(1));
    rig.drain();
    rig.submit(append(1));
    assert_eq!(refusal(rig.submit(append(1))), busy(2, "commands", 2));
    rig.answer(&[1]);
    assert_eq!(rig.submit(append(1)), []);
}

#[test]
fn commands_under_way_count_towards_the_bytes_that_are_held() {
    let one = counted(&append(1000));
    let mut rig = Rig::following(RoundLimits {
        waiting_bytes: one + one / 2,
        ..RoundLimits::default()
    });
    rig.submit(append(1000));
    rig.drain();
    let refused = refusal(rig.submit(append(1000)));
    assert!(matches!(refused, SubmitError::Busy { unit: "bytes", .. }), "{refused}");
    rig.answer(&[1]);
    assert_eq!(rig.submit(append(1000)), []);
}

#[test]
fn no_round_is_cut_while_too_many_outcomes_are_kept() {
    let kept = 8 + append(1).body.outcome_bytes_max();
    let mut rig = Rig::following(RoundLimits {
        outcome_bytes: 2 * kept,
        ..RoundLimits::default()
    });
    (0..4).for_each(|_| drop(rig.submit(append(1))));
    assert_eq!(rig.drain().iter().map(numbers).collect::<Vec<_>>(), [[1, 2]]);
    // The outcome of 2 is kept until 1 is answered too, as nobody is told before that 2 may be forgotten.
    rig.answer(&[2]);
    assert!(!rig.rounds.has_work());
    rig.answer(&[1]);
    assert!(rig.rounds.has_work());
    assert_eq!(rig.drain().iter().map(numbers).collect::<Vec<_>>(), [[3, 4]]);
}

#[test]
fn a_command_whose_outcome_alone_is_too_large_is_refused() {
    let mut rig = Rig::following(RoundLimits {
        outcome_bytes: 1000,
        ..RoundLimits::default()
    });
    let read = |key: u32| Read {
        key: key.to_string().into(),
        revision: 1,
        content: Default::default(),
    };
    let wide = Body::Propose(Proposal {
        reads: (0..100).map(read).collect(),
        ..Proposal::default()
    });
    let refused = refusal(rig.submit(request(wide)));
    assert!(
        matches!(refused, SubmitError::OutcomeTooLarge { limit: 1000, .. }),
        "{refused}"
    );
    assert_eq!(rig.submit(append(1)), []);
}

#[test]
fn a_round_is_cut_at_its_bytes_and_a_larger_command_goes_alone() {
    let one = counted(&append(100));
    let mut rig = Rig::following(RoundLimits {
        round_bytes: 2 * one,
        ..RoundLimits::default()
    });
    for bytes in [100, 100, 100, 1000, 100] {
        rig.submit(append(bytes));
    }
    let rounds = rig.drain();
    let cut: Vec<_> = rounds.iter().map(numbers).collect();
    assert_eq!(cut, [vec![1, 2], vec![3], vec![4], vec![5]]);
}

#[test]
fn an_entry_joins_rounds_up_to_their_bytes() {
    let round = Round {
        node: OTHER,
        incarnation: 1,
        commands: Vec::new(),
    };
    let bytes = round.encode().len() + 8;
    let mut rig = Rig::new(RoundLimits {
        round_bytes: 2 * bytes,
        entries_in_flight: 2,
        ..RoundLimits::default()
    });
    rig.step(Input::Leader(Some(ME)));
    for incarnation in 1..=5 {
        let bytes = Round {
            incarnation,
            ..round.clone()
        }
        .encode();
        assert_eq!(rig.step(Input::Round { from: OTHER, bytes }), []);
    }
    let joined = |effects: Vec<Effect<u64>>| -> Vec<usize> {
        let rounds = effects.iter().map(|effect| match effect {
            Effect::Append { rounds } => rounds.len(),
            other => panic!("{other:?}"),
        });
        rounds.collect()
    };
    assert_eq!(joined(rig.step(Input::Drain)), [2, 2]);
    assert!(!rig.rounds.has_work());
    assert_eq!(joined(rig.step(Input::EntryDone)), [0; 0]);
    assert_eq!(joined(rig.step(Input::Drain)), [1]);
}

#[test]
fn rounds_wait_for_a_leader_and_go_to_each_new_one_at_once() {
    let mut rig = Rig::new(RoundLimits::default());
    rig.submit(append(1));
    assert!(rig.drain().is_empty());
    let sent_to = |effects: &[Effect<u64>]| match effects {
        [Effect::Send { to, .. }] => *to,
        other => panic!("{other:?}"),
    };
    assert_eq!(sent_to(&rig.step(Input::Leader(Some(OTHER)))), OTHER);
    assert_eq!(rig.step(Input::Leader(Some(OTHER))), []);
    assert_eq!(sent_to(&rig.step(Input::Leader(Some(NodeId(3))))), NodeId(3));
    assert_eq!(rig.step(Input::Leader(Some(ME))), []);
    assert!(matches!(rig.step(Input::Drain)[..], [Effect::Append { .. }]));
    assert_eq!(rig.rounds.repeated(), 2);
}

#[test]
fn a_round_is_repeated_after_its_patience_which_doubles() {
    let mut rig = Rig::following(RoundLimits {
        repeat_ms: 100,
        ..RoundLimits::default()
    });
    rig.submit(append(1));
    rig.drain();
    let mut at = Vec::new();
    for now_ms in 0..3_000 {
        rig.now_ms = now_ms;
        if !rig.step(Input::Tick).is_empty() {
            at.push(now_ms);
        }
    }
    assert_eq!(at, [100, 300, 700, 1_500, 2_300]);
    rig.answer(&[1]);
    rig.now_ms = 10_000;
    assert_eq!(rig.step(Input::Tick), []);
}

#[test]
fn a_leader_takes_a_waiting_round_once_and_refuses_what_it_cannot_take() {
    let round = |incarnation, bytes| {
        let author = "a".repeat(bytes).into();
        let command = Command {
            number: 1,
            settled: 1,
            expires_ms: 0,
            project: "p".into(),
            author,
            idempotency_key: None,
            body: change("k", Op::Delete),
        };
        Round {
            node: OTHER,
            incarnation,
            commands: vec![command],
        }
        .encode()
    };
    let mut rig = Rig::new(RoundLimits {
        waiting_bytes: 2 * round(1, 100).len(),
        ..RoundLimits::default()
    });
    let take = |rig: &mut Rig, bytes| rig.step(Input::Round { from: OTHER, bytes }).is_empty();
    assert!(!take(&mut rig, round(1, 100)), "it does not lead");
    rig.step(Input::Leader(Some(ME)));
    assert!(take(&mut rig, round(1, 100)));
    assert!(take(&mut rig, round(1, 100)), "the same one once more");
    assert!(take(&mut rig, round(2, 100)));
    assert!(!take(&mut rig, round(3, 100)), "too much waits");
    assert!(!take(&mut rig, Bytes::from_static(b"\xff")), "no round");
    assert!(!take(&mut rig, Bytes::new()), "nothing at all");
    assert!(matches!(&rig.step(Input::Drain)[..], [Effect::Append { rounds }] if rounds.len() == 2));
}

#[test]
fn a_leader_refuses_a_round_that_no_entry_can_carry() {
    let mut rig = Rig::new(RoundLimits::default());
    rig.step(Input::Leader(Some(ME)));
    let mut bytes = vec![1; ROUND_BYTES_MAX as usize];
    assert_eq!(
        rig.step(Input::Round {
            from: OTHER,
            bytes: bytes.clone().into()
        }),
        [Effect::Refuse { to: OTHER }]
    );
    bytes.truncate(ROUND_BYTES_MAX as usize - 33);
    assert_eq!(
        rig.step(Input::Round {
            from: OTHER,
            bytes: bytes.into()
        }),
        []
    );
}

#[test]
fn whatever_is_configured_an_entry_of_the_largest_command_decodes() {
    let mut rig = Rig::new(RoundLimits {
        command_bytes: usize::MAX,
        round_bytes: usize::MAX,
        ..RoundLimits::default()
    });
    rig.step(Input::Leader(Some(ME)));
    let most = ROUND_BYTES_MAX as usize;
    let refused = refusal(rig.submit(append(most)));
    let SubmitError::TooLarge { bytes, limit } = refused else {
        panic!("{refused}")
    };
    let room = most - (bytes - limit) as usize;
    let largest = Request {
        author: "a".repeat(3 + 100).into(),
        ..append(room - 100)
    };
    assert_eq!(rig.submit(largest), []);
    rig.submit(append(1));
    let effects = rig.step(Input::Drain);
    let [Effect::Append { rounds }, Effect::Append { .. }] = &effects[..] else {
        panic!("two entries")
    };
    let entry = Batch {
        cluster_ms: 0,
        wall_ms: 0,
        rounds: rounds.clone(),
    }
    .encode();
    assert_eq!(entry.len(), most);
    Round::decode(&Batch::decode(&entry).unwrap().rounds[0]).unwrap();
}

/// Machines of a simulated cluster: a log that everybody applies at its own pace, links that lose, repeat and reorder.
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
            outcome_bytes: random.random_range(400..4_000),
            repeat_ms: 50,
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
                Effect::Send { to, bytes } => self.send(at, to, bytes),
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
                    .filter(|number| node.colony.sessions().outcome(node_id, 1, *number).is_some())
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

    fn lead(&mut self, leader: usize) {
        self.leader = leader;
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
                let leader = self.below(3);
                self.lead(leader);
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
