//! Random sequences of commands over few keys, projects, nodes and incarnations, so that they meet often. Each follows
//! from its seed. Here: the sequence, and which command comes next; what stands in it, by its subject in a file of its own.

mod memory;
mod owners;
mod pools;
mod proposals;
mod rates;
mod reservations;
mod tasks;
mod usage;

use std::collections::BTreeSet;

use super::*;
use crate::topology::Pair;

/// SplitMix64.
pub(super) struct Seeded(pub(super) u64);

impl Seeded {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % bound
    }

    /// True once in `times`.
    pub(super) fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub(super) fn pick<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize].clone()
    }

    fn body(&mut self, colony: &Colony, project: &str, from: (NodeId, u64)) -> Body {
        let nothing = Project::default();
        let here = colony.project(project).unwrap_or(&nothing);
        let memory = here.memory();
        match self.below(71) {
            68.. => Body::Pool(self.pool_command(colony)),
            67 => Body::Budget(self.budget_command()),
            65..67 => Body::Rate(self.rate_command()),
            62..65 => Body::Topology(self.topology_command(colony)),
            61 => Body::DoorToken(self.door_token_command(colony)),
            60 => Body::Project(self.project_command()),
            26..30 => Body::Propose(Proposal {
                caller: self.writer(colony, project, from.0),
                ..self.proposal(colony, here)
            }),
            30..36 => Body::Propose(self.losing(here)),
            36..40 => Body::Session(self.session_command(colony, project)),
            10..22 | 40..52 => Body::Task(self.task_command(colony, (project, here), from)),
            52..60 => Body::Reservation(self.reservation_command(colony, (project, here), from)),
            22..26 => Body::Agent(self.agent_command(colony, from)),
            0..6 => {
                let key = self.key();
                Body::Change(Change {
                    op: self.op(),
                    tags: self.tags(),
                    condition: self.condition(memory, &key),
                    caller: self.writer(colony, project, from.0),
                    key,
                })
            }
            6 | 7 => Body::Propose(Proposal {
                caller: self.writer(colony, project, from.0),
                ..self.proposal(colony, here)
            }),
            8 | 9 => {
                let mut batch = self.batch(colony, here);
                for proposal in &mut batch.proposals {
                    proposal.caller = self.writer(colony, project, from.0);
                }
                Body::ProposeBatch(batch)
            }
        }
    }

    fn door_token_command(&mut self, colony: &Colony) -> DoorTokenCommand {
        let long = "n".repeat(65);
        let name = match self.once_in(8) {
            true => self.pick(&["", "..", "a/b", long.as_str()]),
            false => self.pick(&["one", "two", "three"]),
        };
        if self.once_in(3) {
            return DoorTokenCommand::Revoke { name: name.into() };
        }
        let now_ms = colony.wall_ms();
        DoorTokenCommand::Create {
            name: name.into(),
            access: self.pick(&Access::ALL),
            secret: SecretHash([self.below(6) as u8; 32]),
            expires_ms: self.pick(&[None, None, Some(now_ms + 100_000), Some(now_ms), Some(0)]),
        }
    }

    fn topology_command(&mut self, colony: &Colony) -> TopologyCommand {
        let kinds = ["mesh", "star", "ring", "hierarchical:2", "hierarchical:3"];
        let kind = self.pick(&kinds).parse().expect("it is one");
        let present = colony.epoch().map_or(0, |epoch| epoch.number);
        let numbers = [1, 2, 3, 4, 5, 65, 66, 68, 130].map(NodeId);
        match self.below(12) {
            0 => TopologyCommand::Set { kind },
            10.. => {
                let cuts = (0..self.below(4)).map(|_| Pair::of(NodeId(1 + self.below(5)), NodeId(1 + self.below(4))));
                TopologyCommand::Cuts {
                    cuts: cuts.collect(),
                    after: self.pick(&[present, present, present, present + 1]),
                }
            }
            // Refused: by rules that are not known no state is read.
            9 => TopologyCommand::Rules {
                to: self.below(2) as u32,
                after: self.below(3) as u32,
            },
            1..4 => TopologyCommand::Members {
                members: match self.below(12) {
                    0 => BTreeSet::new(),
                    1 => (0..3).map(NodeId).collect(),
                    2 => (1..=MEMBERS_MAX as u64 + 1).map(NodeId).collect(),
                    3..6 => (1..=2 + self.below(3)).map(NodeId).collect(),
                    // As consensus follows what was admitted, and what is to go.
                    _ => colony.epoch().map_or_else(BTreeSet::new, |epoch| {
                        let places = epoch.places.keys().copied().chain(epoch.members.iter().copied());
                        places.filter(|number| !epoch.leaving.contains(number)).collect()
                    }),
                },
                first: kind,
                after: self.pick(&[present, present, present, present + 1]),
                places: numbers[..5]
                    .iter()
                    .map(|number| (*number, self.place(number.0)))
                    .collect(),
                voters: self.pick(&[None, None, Some(3), Some(5)]),
            },
            4..7 => {
                let (name, at) = (1 + self.below(6), self.below(8) as u16);
                TopologyCommand::Admit {
                    place: self.place(name),
                    at: self.pick(&[name as u16 - 1, name as u16 - 1, at, 64]),
                    replaces: self.pick(&[false, true]),
                }
            }
            7 => TopologyCommand::Drain {
                node: self.pick(&numbers),
                on: self.pick(&[true, true, false]),
            },
            _ => TopologyCommand::Remove {
                node: self.pick(&numbers),
            },
        }
    }

    fn place(&mut self, number: u64) -> Place {
        let port = self.pick(&[7_100, 7_100, 7_100, 7_100, 7_100, 7_100, 7_100, 0]);
        Place {
            name: match self.below(24) {
                0 => "N".repeat(41),
                1 => "-".to_owned(),
                _ => format!("n{number}"),
            },
            links: format!("h{number}:{port}"),
            http: format!("h{number}:7200"),
            attempt: self.below(3),
        }
    }

    fn project_command(&mut self) -> ProjectCommand {
        let limits = match self.below(4) {
            0 => ProjectLimits {
                agents: self.pick(&[None, None, Some(0), Some(2)]),
                tasks: self.pick(&[None, None, Some(3)]),
                memory_keys: self.pick(&[None, None, Some(3)]),
                memory_bytes: self.pick(&[None, None, Some(1_500)]),
                commands_per_s: self.pick(&[None, None, None, Some(1), Some(2), Some(COMMANDS_PER_S_MAX + 1)]),
            },
            _ => ProjectLimits::default(),
        };
        match self.below(16) {
            0..4 => ProjectCommand::Create(limits),
            4 => ProjectCommand::Destroy { dry_run: false },
            5 | 6 => ProjectCommand::Destroy { dry_run: true },
            _ => ProjectCommand::Limit(limits),
        }
    }
}

/// One command as it arrives: when, and from which start of which node.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) cluster_ms: u64,
    pub(super) node: NodeId,
    pub(super) incarnation: u64,
    pub(super) command: Command,
    /// Whether the leader proposes a round without commands before it.
    pub(super) empty_before: bool,
}

/// What the leader proposes when something is due.
pub(super) fn empty_round() -> Round {
    Round {
        node: NodeId::NONE,
        incarnation: 0,
        commands: Vec::new(),
    }
}

impl Step {
    pub(super) fn apply(&self, colony: &mut Colony) -> Applied {
        let round = Round {
            node: self.node,
            incarnation: self.incarnation,
            commands: vec![self.command.clone()],
        };
        let empty = self.empty_before.then(empty_round);
        let rounds: Vec<Round> = empty.into_iter().chain([round]).collect();
        colony.apply(self.cluster_ms, wall_ms(self.cluster_ms), &rounds, self.node)
    }
}

/// The number of nodes that send commands, numbered from 1.
pub(super) const NODES: u64 = 3;

/// Makes the commands of all nodes. It looks at the colony, so that reads and conditions hold often enough.
pub(super) struct Generator {
    pub(super) seeded: Seeded,
    cluster_ms: u64,
    /// By node: incarnation, next number, settled.
    nodes: [(u64, u64, u64); NODES as usize],
    sent: Vec<Step>,
    /// Most of the commands are about reservations.
    pub(super) of_reservations: bool,
    /// Most of the commands are about tasks, many of which take tokens.
    pub(super) of_rates: bool,
    /// Most of the commands are about tasks whose queues have budgets.
    pub(super) of_budgets: bool,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Generator {
        Generator {
            seeded: Seeded(seed),
            cluster_ms: 1_000,
            nodes: [(1, 1, 0); NODES as usize],
            sent: Vec::new(),
            of_reservations: false,
            of_rates: false,
            of_budgets: false,
        }
    }

    pub(super) fn next(&mut self, colony: &Colony) -> Step {
        self.cluster_ms = match self.seeded.below(40) {
            // Now and then so long that events are too old.
            0 => {
                self.cluster_ms
                    + self
                        .seeded
                        .pick(&[IDEMPOTENCY_MS / 2, IDEMPOTENCY_MS / 2, EVENTS_KEPT_MS])
            }
            // A new leader whose clock is behind.
            1 => self.cluster_ms.saturating_sub(500),
            2..10 => self.cluster_ms + self.seeded.below(2_000),
            _ => self.cluster_ms,
        };
        let step = match self.seeded.below(8) {
            0 if !self.sent.is_empty() => self.repeated(colony),
            _ => self.fresh(colony),
        };
        self.sent.push(step.clone());
        step
    }

    /// A command that was sent before; now and then under its number stands another one, which must not matter.
    fn repeated(&mut self, colony: &Colony) -> Step {
        let mut step = self.seeded.pick(&self.sent);
        step.cluster_ms = self.cluster_ms;
        if self.seeded.once_in(4) {
            step.command.body = self.fresh(colony).command.body;
        }
        step
    }

    fn fresh(&mut self, colony: &Colony) -> Step {
        let place = self.seeded.below(NODES);
        let (incarnation, next, settled) = &mut self.nodes[place as usize];
        if self.seeded.once_in(40) {
            (*incarnation, *next, *settled) = (*incarnation + 1 + self.seeded.below(2), 1, 0);
        }
        if self.seeded.once_in(4) {
            *settled = *settled + self.seeded.below(*next + 1 - *settled);
        }
        // Now and then numbers arrive out of order.
        let number = match self.seeded.once_in(6) {
            true => self.seeded.below(*next + 3),
            false => *next,
        };
        *next += 1;
        let (incarnation, settled) = (*incarnation, *settled);
        Step {
            cluster_ms: self.cluster_ms,
            node: NodeId(place + 1),
            incarnation,
            command: self.command(number, settled, colony, (NodeId(place + 1), incarnation)),
            empty_before: self.seeded.once_in(20),
        }
    }

    fn command(&mut self, number: u64, settled: u64, colony: &Colony, from: (NodeId, u64)) -> Command {
        let project = match self.seeded.below(40) {
            0 => "",
            1 => "a/b",
            2..12 => "q",
            _ => "p",
        };
        let author = if self.seeded.once_in(40) {
            "a\nb"
        } else {
            self.seeded.pick(&["ann", "ann", "ann", "ann", "bob"])
        };
        let key = self.seeded.once_in(4).then(|| match self.seeded.below(20) {
            0 => "".into(),
            1 => "i".repeat(IDEMPOTENCY_KEY_BYTES_MAX + 1).into(),
            _ => self.seeded.pick(&["one", "two", "three"]).into(),
        });
        let same_body = self
            .sent
            .iter()
            .rev()
            .find(|step| key.is_some() && step.command.idempotency_key == key);
        let body = match same_body {
            Some(step) if self.seeded.once_in(2) => step.command.body.clone(),
            _ if self.of_reservations && !self.seeded.once_in(4) => {
                let nothing = Project::default();
                let here = colony.project(project).unwrap_or(&nothing);
                Body::Reservation(self.seeded.reservation_command(colony, (project, here), from))
            }
            _ if self.of_rates && !self.seeded.once_in(4) => {
                let nothing = Project::default();
                let here = colony.project(project).unwrap_or(&nothing);
                match self.seeded.once_in(4) {
                    true => Body::Task(self.seeded.task_command(colony, (project, here), from)),
                    false => self.seeded.with_tokens(colony, (project, here)),
                }
            }
            _ if self.of_budgets && !self.seeded.once_in(5) => {
                let nothing = Project::default();
                let here = colony.project(project).unwrap_or(&nothing);
                match self.seeded.once_in(6) {
                    true => Body::Budget(self.seeded.budget_command()),
                    false => Body::Task(self.seeded.task_command(colony, (project, here), from)),
                }
            }
            _ => self.seeded.body(colony, project, from),
        };
        Command {
            number,
            settled,
            expires_ms: match self.seeded.once_in(20) {
                true => self.cluster_ms.saturating_sub(1 + self.seeded.below(100)),
                false => self.cluster_ms + self.seeded.below(5_000),
            },
            project: project.into(),
            author: author.into(),
            idempotency_key: key,
            body,
            listed: self.seeded.once_in(30),
        }
    }
}

/// A sequence of commands, made while they are applied one by one, and the colony that they lead to.
pub(super) fn sequence(seed: u64, length: usize) -> (Vec<Step>, Colony) {
    let (mut generator, mut colony) = (Generator::new(seed), Colony::default());
    let steps = (0..length)
        .map(|_| {
            let step = generator.next(&colony);
            step.apply(&mut colony);
            step
        })
        .collect();
    (steps, colony)
}

/// Runs `check` for each seed, and names the seed that fails.
pub(super) fn each_seed(seeds: std::ops::Range<u64>, check: impl Fn(u64)) {
    for seed in seeds {
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(seed)));
        assert!(checked.is_ok(), "seed {seed}");
    }
}
