//! A replica that is given entries one by one, and a store that is given its passes.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::alias::LeaderIdOf;
use openraft::vote::RaftLeaderIdExt;
use queenright_protocol::colony::{
    Acquire, AgentCommand, Batch, Body, Caller, Change, Checkpoint, Claim, Command, Condition, Content, ContentHash,
    Ending, Finish, FinishWith, KEPT_BYTES_MIN, Mode, NewSession, NewTask, Op, Owner, ProjectCommand, Release,
    Released, ReservationCommand, Round, SessionCommand, State as TaskState, TaskCommand, TokenHash, Want, Wants,
    Which,
};
use queenright_protocol::id::NodeId;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::consensus::types::TypeConfig;
use crate::replica::{LogId, Payload, Replica, RestoreError};

pub(super) const ME: NodeId = NodeId(1);

pub(super) fn log_id(index: u64) -> LogId {
    LogId::new(LeaderIdOf::<TypeConfig>::new_committed(1, 1), index)
}

pub(super) fn put(key: &str, value: impl Into<Vec<u8>>) -> Change {
    Change {
        key: key.into(),
        op: Op::Put(Content::Inline(value.into().into())),
        tags: Vec::new(),
        condition: Condition::None,
        caller: None,
    }
}

pub(super) fn destroy() -> Body {
    Body::Project(ProjectCommand::Destroy { dry_run: false })
}

/// A replica and the end of its log: each entry holds one round of one command.
pub(super) struct Rig {
    pub(super) replica: Arc<Replica>,
    pub(super) index: u64,
    pub(super) cluster_ms: u64,
    pub(super) node: NodeId,
    /// What the next entry carries.
    pub(super) checkpoint: Option<Checkpoint>,
}

impl Default for Rig {
    fn default() -> Rig {
        Rig::of(Replica::new(ME))
    }
}

impl Rig {
    pub(super) fn of(replica: Arc<Replica>) -> Rig {
        Rig {
            index: replica.applied_index(),
            cluster_ms: replica.snapshot().colony.cluster_ms(),
            node: ME,
            checkpoint: None,
            replica,
        }
    }

    pub(super) fn send(&mut self, idempotency_key: Option<Arc<str>>, change: Change) {
        self.send_body(idempotency_key, Body::Change(change));
    }

    pub(super) fn send_body(&mut self, idempotency_key: Option<Arc<str>>, body: Body) {
        self.index += 1;
        let command = Command {
            number: self.index,
            settled: self.index.saturating_sub(3),
            expires_ms: u64::MAX,
            project: if self.index.is_multiple_of(5) { "q" } else { "p" }.into(),
            author: "ann".into(),
            idempotency_key,
            body,
            listed: false,
        };
        let round = Round {
            node: self.node,
            incarnation: 1,
            commands: vec![command],
        };
        let batch = Batch {
            cluster_ms: self.cluster_ms,
            wall_ms: 0,
            rounds: vec![round.encode()],
            checkpoint: self.checkpoint.take(),
        };
        let applied = self.replica.apply(log_id(self.index), Payload::Rounds(&batch.encode()));
        applied.expect("the entry decodes");
    }

    /// Puts under project `p`, whatever the index.
    pub(super) fn put(&mut self, key: &str, value: &str) {
        if (self.index + 1).is_multiple_of(5) {
            self.blank();
        }
        self.send(None, put(key, value));
    }

    /// What the leader proposes when something is due.
    pub(super) fn empty_round(&mut self) {
        self.index += 1;
        let round = Round {
            node: self.node,
            incarnation: 1,
            commands: Vec::new(),
        };
        let batch = Batch {
            cluster_ms: self.cluster_ms,
            wall_ms: 0,
            rounds: vec![round.encode()],
            checkpoint: None,
        };
        let applied = self.replica.apply(log_id(self.index), Payload::Rounds(&batch.encode()));
        applied.expect("the entry decodes");
    }

    pub(super) fn blank(&mut self) {
        self.index += 1;
        self.replica.apply(log_id(self.index), Payload::Blank).unwrap();
    }

    /// A step in the lives of a few tasks and agents, of any kind.
    fn random_work(&mut self, random: &mut StdRng) {
        let agent: Arc<str> = ["one", "two"].choose(random).copied().expect("there are some").into();
        let snapshot = self.replica.snapshot();
        let live = snapshot.colony.agents().live(self.node, &agent);
        let generation = live.map_or(1, |life| life.id.generation);
        let caller = match random.random_bool(0.5) {
            true => match snapshot.colony.sessions().all().find(|session| session.ended.is_none()) {
                Some(session) => Caller::Session(session.opened.token),
                None => Caller::Opens(Box::new(NewSession::new("ann", TokenHash::of(&self.index.to_string())))),
            },
            false => Caller::Agent {
                name: agent.clone(),
                generation,
            },
        };
        let held = snapshot.colony.project("p").and_then(|project| {
            let mut tasks = project.tasks().after(None);
            tasks.find_map(|task| match &task.state {
                TaskState::Leased(lease) => Some((task.id, lease.clone())),
                _ => None,
            })
        });
        let name = agent.clone();
        let body = match random.random_range(0..14) {
            0 => Body::Agent(AgentCommand::Started {
                name,
                generation: generation + 1,
            }),
            1 => Body::Agent(AgentCommand::Ended {
                name,
                generation,
                reason: "done".into(),
            }),
            2 => Body::Agent(AgentCommand::NodeLost {
                node: self.node,
                incarnation: 1,
            }),
            3 | 4 => Body::Task(TaskCommand::Add(vec![NewTask {
                title: "work".into(),
                payload: vec![b'x'; random.random_range(0..10_000)].into(),
                ..NewTask::default()
            }])),
            5 | 6 => Body::Task(TaskCommand::Claim(Claim {
                which: Which::Ready {
                    kinds: Vec::new(),
                    limit: 2,
                },
                caller,
                wants: Wants {
                    wait_ms: random.random_bool(0.5).then_some(20_000),
                    ..Wants::default()
                },
            })),
            7 => {
                let sessions = snapshot.colony.sessions().all();
                let told = sessions.map(|session| (session.id, session.homed)).collect();
                Body::Agent(AgentCommand::SessionsSilent(told))
            }
            8 => Body::Session(SessionCommand::Open(NewSession::new(
                "bob",
                TokenHash::of(&self.index.to_string()),
            ))),
            9 | 10 => Body::Reservation(ReservationCommand::Acquire(Acquire {
                resources: vec![Want {
                    resource: ["file:**", "key:x", "slot:s"]
                        .choose(random)
                        .copied()
                        .expect("there are some")
                        .into(),
                    mode: Mode::Exclusive,
                }],
                caller,
                ttl_ms: None,
                wait_ms: 30_000,
                reason: None,
                task: None,
            })),
            11 => Body::Reservation(ReservationCommand::Release(Release {
                which: Released::All,
                caller,
            })),
            12 => Body::Reservation(ReservationCommand::Slot {
                name: "s".into(),
                capacity: random.random_range(1..3),
            }),
            _ => {
                let Some((task, lease)) = held else { return };
                let caller = match lease.holder.owner {
                    Owner::Session { session, .. } => {
                        let session = snapshot.colony.sessions().get(session).expect("it holds a task");
                        Caller::Session(session.opened.token)
                    }
                    Owner::Agent { agent, .. } => Caller::Agent {
                        name: agent.name,
                        generation: agent.generation,
                    },
                };
                Body::Task(TaskCommand::Finish(Finish {
                    task,
                    fence: lease.fence,
                    caller,
                    ending: Ending::Done,
                    result: "1".into(),
                    proposal: None,
                    with: FinishWith::default(),
                }))
            }
        };
        self.cluster_ms += random.random_range(0..9_000);
        self.send_body(None, body);
    }

    /// A change of few keys, of any kind that leaves something behind or takes something away.
    pub(super) fn random(&mut self, random: &mut StdRng) {
        if random.random_bool(0.4) {
            return self.random_work(random);
        }
        if random.random_bool(0.05) {
            return self.send_body(None, destroy());
        }
        if random.random_bool(0.05) {
            return self.empty_round();
        }
        let key = ["a", "b", "c", "dir/d"].choose(random).expect("there are some");
        let value = vec![random.random_range(b'a'..b'd'); KEPT_BYTES_MIN];
        let mut change = put(key, format!("{}", random.random::<u8>()));
        match random.random_range(0..6) {
            0 => change.op = Op::Delete,
            1 | 2 => change.op = Op::Put(Content::Inline(value.into())),
            3 => change.op = Op::Put(Content::Kept(ContentHash::of(&value))),
            _ => {}
        }
        // An hour is the time of an idempotency key.
        self.cluster_ms += random.random_range(0..900_000);
        let once = random.random_bool(0.5);
        self.send(once.then(|| format!("key {}", self.index).into()), change);
    }

    /// Takes over what another replica holds, as a snapshot.
    pub(super) fn install(&mut self, from: &Rig) {
        let (colony, last_applied, membership) = from.replica.whole();
        self.replica.install(colony, last_applied, membership);
        (self.index, self.cluster_ms) = (from.index, from.cluster_ms);
    }
}

/// What a store that was given every pass holds.
#[derive(Default)]
pub(super) struct Disk {
    pub(super) meta: Vec<u8>,
    pub(super) pairs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Disk {
    pub(super) fn write(&mut self, replica: &Replica) -> bool {
        let mut written = false;
        while let Some(pass) = replica.take_pass() {
            written = true;
            self.meta = pass.meta;
            for (key, value) in pass.changes {
                match value {
                    Some(value) => self.pairs.insert(key, value),
                    None => self.pairs.remove(&key),
                };
            }
            if !pass.more {
                break;
            }
            // Whoever stops here has no state.
            let read = Replica::restore(ME, &self.meta, self.pairs.clone().into_iter().collect());
            assert!(matches!(read, Err(RestoreError::Unfinished)));
        }
        written
    }

    fn read(&self) -> Arc<Replica> {
        Replica::restore(ME, &self.meta, self.pairs.clone().into_iter().collect()).expect("the pairs are whole")
    }

    /// Writes a pass, and reads back what the replica holds.
    pub(super) fn check(&mut self, replica: &Replica) -> Arc<Replica> {
        self.write(replica);
        let read = self.read();
        assert_eq!(read.digest(), replica.digest());
        assert_eq!(read.position(), replica.position());
        read
    }
}
