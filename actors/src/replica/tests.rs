use std::collections::BTreeMap;

use openraft::alias::LeaderIdOf;
use openraft::vote::RaftLeaderIdExt;
use queenright_protocol::colony::{
    Acquire, AgentCommand, Body, Caller, Change, Claim, Command, Condition, Content, ContentHash, Cursor, Ending,
    Finish, FinishWith, KEPT_BYTES_MIN, KEY_BYTES_MAX, Mode, NAME_BYTES_MAX, NewSession, NewTask, Op, Outcome, Owner,
    ProjectCommand, Release, Released, ReservationCommand, SessionCommand, State as TaskState, TAG_BYTES_MAX, TAGS_MAX,
    TaskCommand, TokenHash, Want, Wants, Which, record_key,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot::error::TryRecvError;

use super::checkpoints::CHECKPOINT_ENTRIES;
use super::*;
use crate::store;

const ME: NodeId = NodeId(1);

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderIdOf::<TypeConfig>::new_committed(1, 1), index)
}

fn put(key: &str, value: impl Into<Vec<u8>>) -> Change {
    Change {
        key: key.into(),
        op: Op::Put(Content::Inline(value.into().into())),
        tags: Vec::new(),
        condition: Condition::None,
        caller: None,
    }
}

fn destroy() -> Body {
    Body::Project(ProjectCommand::Destroy { dry_run: false })
}

/// A replica and the end of its log: each entry holds one round of one command.
struct Rig {
    replica: Arc<Replica>,
    index: u64,
    cluster_ms: u64,
    node: NodeId,
    /// What the next entry carries.
    checkpoint: Option<Checkpoint>,
}

impl Default for Rig {
    fn default() -> Rig {
        Rig::of(Replica::new(ME))
    }
}

impl Rig {
    fn of(replica: Arc<Replica>) -> Rig {
        Rig {
            index: replica.applied_index(),
            cluster_ms: replica.snapshot().colony.cluster_ms(),
            node: ME,
            checkpoint: None,
            replica,
        }
    }

    fn send(&mut self, idempotency_key: Option<Arc<str>>, change: Change) {
        self.send_body(idempotency_key, Body::Change(change));
    }

    fn send_body(&mut self, idempotency_key: Option<Arc<str>>, body: Body) {
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
    fn put(&mut self, key: &str, value: &str) {
        if (self.index + 1).is_multiple_of(5) {
            self.blank();
        }
        self.send(None, put(key, value));
    }

    /// What the leader proposes when something is due.
    fn empty_round(&mut self) {
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

    fn blank(&mut self) {
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
    fn random(&mut self, random: &mut StdRng) {
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
    fn install(&mut self, from: &Rig) {
        let (colony, last_applied, membership) = from.replica.whole();
        self.replica.install(colony, last_applied, membership);
        (self.index, self.cluster_ms) = (from.index, from.cluster_ms);
    }
}

/// What a store that was given every pass holds.
#[derive(Default)]
struct Disk {
    meta: Vec<u8>,
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Disk {
    fn write(&mut self, replica: &Replica) -> bool {
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
    fn check(&mut self, replica: &Replica) -> Arc<Replica> {
        self.write(replica);
        let read = self.read();
        assert_eq!(read.digest(), replica.digest());
        assert_eq!(read.position(), replica.position());
        read
    }
}

#[tokio::test]
async fn who_waits_for_a_reservation_is_woken_when_it_settles_and_not_before() {
    let mut rig = Rig::default();
    let token = |text: &str| Caller::Session(TokenHash::of(text));
    let acquire = |caller: &str, wait_ms| {
        Body::Reservation(ReservationCommand::Acquire(Acquire {
            resources: vec![Want {
                resource: "slot:s".into(),
                mode: Mode::Exclusive,
            }],
            caller: Caller::Opens(Box::new(NewSession::new(caller, TokenHash::of(caller)))),
            ttl_ms: None,
            wait_ms,
            reason: None,
            task: None,
        }))
    };
    rig.send_body(None, acquire("a", 0));
    rig.send_body(None, acquire("b", 30_000));
    let waiter = {
        let snapshot = rig.replica.snapshot();
        let reservations = snapshot.colony.project("p").unwrap().reservations();
        reservations.waiting().next().expect("one waits")
    };
    let mut settled = rig.replica.wait_reservation("p", waiter);
    rig.send_body(None, acquire("c", 30_000));
    assert_eq!(settled.try_recv(), Err(TryRecvError::Empty));
    let release = Release {
        which: Released::All,
        caller: token("a"),
    };
    rig.send_body(None, Body::Reservation(ReservationCommand::Release(release)));
    settled.await.expect("it is granted");
    // What is settled already wakes at once.
    rig.replica.wait_reservation("p", waiter).await.expect("it is held");
}

#[test]
fn passes_add_up_to_the_state() {
    for seed in 0..8 {
        let (mut rig, mut disk, mut random) = (Rig::default(), Disk::default(), StdRng::seed_from_u64(seed));
        for _ in 0..60 {
            for _ in 0..random.random_range(1..6) {
                rig.random(&mut random);
            }
            let read = disk.check(&rig.replica);
            if random.random_bool(0.2) {
                // A restart.
                rig = Rig::of(read);
            }
        }
    }
}

#[test]
fn what_a_destroyed_project_held_leaves_the_store_in_steps() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    for key in 0..600 {
        rig.put(&format!("dir/{key}"), &"v".repeat(KEPT_BYTES_MIN + key % 7));
    }
    let of_p = |disk: &Disk| disk.pairs.keys().filter(|key| key[1..].starts_with(b"p\0")).count();
    disk.check(&rig.replica);
    assert!(of_p(&disk) > 600);
    while (rig.index + 1).is_multiple_of(5) {
        rig.blank();
    }
    rig.send_body(None, destroy());
    let mut passes = 0;
    while rig.replica.snapshot().colony.remains("p").is_some() {
        let before = of_p(&disk);
        rig.empty_round();
        // Read back amid it.
        disk.check(&rig.replica);
        assert!(of_p(&disk) <= before);
        passes += 1;
    }
    assert!(passes > 2, "{passes}");
    assert_eq!(of_p(&disk), 0);
    rig.put("dir/1", "new");
    let read = disk.check(&rig.replica);
    let snapshot = read.snapshot();
    let memory = snapshot.colony.project("p").expect("it was made again").memory();
    assert_eq!((memory.len(), memory.revision("dir/1")), (1, 1));
}

#[test]
fn a_project_that_is_made_again_between_two_passes_has_nothing_of_the_one_before() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    (0..20).for_each(|key| rig.put(&format!("dir/{key}"), "old"));
    disk.check(&rig.replica);
    while (rig.index + 1).is_multiple_of(5) {
        rig.blank();
    }
    rig.send_body(None, destroy());
    while rig.replica.snapshot().colony.remains("p").is_some() {
        rig.empty_round();
    }
    rig.put("dir/1", "new");
    let read = disk.check(&rig.replica);
    assert_eq!(read.snapshot().colony.project("p").unwrap().memory().len(), 1);
    assert_eq!(read.snapshot().colony.project("p").unwrap().events().len(), 1);
}

#[test]
fn a_pass_is_taken_only_when_something_changed() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    assert!(!disk.write(&rig.replica));
    rig.put("a", "1");
    assert!(disk.write(&rig.replica));
    assert!(!disk.write(&rig.replica));
    rig.blank();
    assert!(disk.write(&rig.replica));
}

#[test]
fn what_the_store_has_not_taken_is_told_in_steps() {
    let mut rig = Rig::default();
    let mut backlog = rig.replica.follow_backlog();
    for number in 0..BACKLOG_STEP {
        rig.put(&format!("k{number}"), "1");
    }
    assert_eq!(*backlog.borrow_and_update(), BACKLOG_STEP);
    rig.put("k0", "2");
    assert!(!backlog.has_changed().unwrap());
    rig.replica.take_pass();
    assert_eq!(*backlog.borrow_and_update(), 0);
}

#[test]
fn a_key_written_often_between_two_passes_is_written_once() {
    let mut rig = Rig::default();
    (0..40).for_each(|_| rig.put("a", "1"));
    let pass = rig.replica.take_pass().unwrap();
    let records = pass.changes.iter().filter(|(key, _)| *key == record_key("p", "a"));
    assert_eq!(records.count(), 1);
}

#[test]
fn the_store_follows_a_snapshot_that_replaces_the_state() {
    // It kept the pairs of events in its own grouping, and what went after the last pass before the snapshot.
    for seed in 0..12 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut rig, mut disk, mut leader) = (Rig::default(), Disk::default(), Rig::default());
        for _ in 0..4 {
            for _ in 0..random.random_range(1..25) {
                rig.random(&mut random);
                if random.random_bool(0.3) {
                    disk.check(&rig.replica);
                }
            }
            for _ in 0..random.random_range(1..60) {
                leader.random(&mut random);
            }
            rig.install(&leader);
            if random.random_bool(0.5) {
                disk.check(&rig.replica);
            }
            leader.random(&mut random);
            rig.install(&leader);
            let read = disk.check(&rig.replica);
            if random.random_bool(0.5) {
                rig = Rig::of(read);
            }
        }
    }
}

/// Changes `key` with as many bytes of tags as there may be: a large event.
fn send_large_event(rig: &mut Rig, key: &str) {
    let tags = (0..TAGS_MAX)
        .map(|tag| format!("{tag:0>TAG_BYTES_MAX$}").into())
        .collect();
    rig.send(None, Change { tags, ..put(key, "1") });
}

#[test]
fn the_store_follows_events_that_are_dropped() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    let key = "k".repeat(KEY_BYTES_MAX);
    let dropped = |rig: &Rig| {
        let project = rig
            .replica
            .snapshot()
            .colony
            .project("p")
            .map(|project| project.events().dropped());
        project.flatten().map_or(0, |cursor: Cursor| cursor.seq)
    };
    let mut passes = 0;
    while dropped(&rig) < 2_500 {
        (0..700).for_each(|_| send_large_event(&mut rig, &key));
        passes += 1;
        match passes % 10 {
            // Read back amid it: how the store groups events is told from its keys.
            0 => rig = Rig::of(disk.check(&rig.replica)),
            _ => assert!(disk.write(&rig.replica)),
        }
    }
    let read = disk.check(&rig.replica);
    let kept: usize = read
        .snapshot()
        .colony
        .projects()
        .map(|(_, project)| project.events().len())
        .sum();
    let blocks = disk.pairs.keys().filter(|key| key[0] == b'e').count();
    assert!(blocks <= kept / 100, "{blocks} pairs for {kept} events");
}

#[test]
fn the_longest_key_fits_the_store() {
    let key = record_key(&"p".repeat(NAME_BYTES_MAX), &"k".repeat(KEY_BYTES_MAX));
    assert!(key.len() <= store::KEY_BYTES_MAX, "{} bytes", key.len());
}

#[test]
fn a_waiter_is_told_of_a_change_before_and_of_one_after() {
    let mut rig = Rig::default();
    let key: Key = "a".into();
    rig.put("a", "1");
    let mut before = rig.replica.wait_revision("p", &key, 1);
    assert_eq!(before.try_recv(), Ok(1));
    let mut after = rig.replica.wait_revision("p", &key, 3);
    rig.put("a", "2");
    rig.put("b", "2");
    assert_eq!(after.try_recv(), Err(TryRecvError::Empty));
    rig.put("a", "3");
    assert_eq!(after.try_recv(), Ok(3));
}

#[test]
fn a_waiter_is_told_of_a_change_that_comes_with_a_snapshot() {
    let (mut leader, mut rig) = (Rig::default(), Rig::default());
    let mut waiter = rig.replica.wait_revision("p", &"a".into(), 2);
    leader.put("a", "1");
    leader.put("a", "2");
    rig.install(&leader);
    assert_eq!(waiter.try_recv(), Ok(2));
}

#[test]
fn a_waiter_is_told_however_it_meets_the_change() {
    let key: Key = "a".into();
    for _ in 0..50 {
        let mut rig = Rig::default();
        let replica = rig.replica.clone();
        let waiting = std::thread::spawn({
            let key = key.clone();
            move || replica.wait_revision("p", &key, 1).blocking_recv()
        });
        rig.put("a", "1");
        assert_eq!(waiting.join().expect("the waiter ends"), Ok(1));
    }
}

#[test]
fn waiters_that_gave_up_do_not_pile_up() {
    let rig = Rig::default();
    let _kept = rig.replica.wait_revision("p", &"kept".into(), 1);
    for number in 0..5_000 {
        drop(rig.replica.wait_revision("p", &format!("never {number}").into(), 1));
    }
    let keys = rig.replica.waiters.keys();
    assert!(keys.len() < 200, "{} keys", keys.len());
    assert!(keys.iter().any(|(_, key)| &**key == "kept"));
}

#[test]
fn stale_is_only_what_the_state_has_gone_past() {
    let mut rig = Rig::default();
    for number in 0..400 {
        (0..=number % 3).for_each(|_| rig.put(&format!("k{number}"), "1"));
    }
    for number in 0..400 {
        let (key, revision) = (format!("k{number}"), number % 3 + 1);
        assert_eq!(stale(&rig.replica, "p", &key, revision), None);
        assert_eq!(stale(&rig.replica, "p", &key, revision + 1), None);
        let known = stale(&rig.replica, "p", &key, revision - 1);
        // A key that lost its slot is not known to be stale: that is allowed.
        assert!(known == Some(revision) || known.is_none());
        assert_eq!(stale(&rig.replica, "q", &key, 0), None);
    }
}

#[test]
fn a_key_confused_with_another_is_not_stale() {
    let mut rig = Rig::default();
    rig.put("a", "1");
    // As if another key with the same hash had come far.
    rig.replica.revisions.note("p", "a", 1_000);
    rig.replica.revisions.note("p", "never", 1_000);
    assert_eq!(stale(&rig.replica, "p", "a", 1), None);
    assert_eq!(stale(&rig.replica, "p", "a", 0), Some(1));
    assert_eq!(stale(&rig.replica, "p", "never", 0), None);
}

/// The revision that makes `revision` of a key stale.
fn stale(replica: &Replica, project: &str, key: &str, revision: u64) -> Option<u64> {
    replica
        .newer_record(project, key, revision)
        .map(|record| record.revision)
}

#[test]
fn a_restored_replica_knows_what_is_stale() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    rig.put("a", "1");
    assert_eq!(stale(&disk.check(&rig.replica), "p", "a", 0), Some(1));
}

#[test]
fn a_snapshot_is_the_same_one_while_nothing_is_applied() {
    let mut rig = Rig::default();
    rig.put("a", "1");
    let first = rig.replica.snapshot();
    assert!(Arc::ptr_eq(&first, &rig.replica.snapshot()));
    rig.put("a", "2");
    let second = rig.replica.snapshot();
    assert!(!Arc::ptr_eq(&first, &second));
    let revision = |snapshot: &Snapshot| snapshot.colony.project("p").unwrap().memory().revision("a");
    assert_eq!((revision(&first), revision(&second)), (1, 2));
}

#[test]
fn outcomes_go_to_the_queen_of_this_node_only() {
    let mut rig = Rig::default();
    let told: Arc<Mutex<Vec<Answer>>> = Arc::default();
    let sink = told.clone();
    let take = move |answers: Vec<Answer>| sink.lock().unwrap().extend(answers);
    rig.replica.answer_to(Box::new(take));
    rig.put("a", "1");
    rig.node = NodeId(2);
    rig.put("a", "2");
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].outcome, Outcome::Changed { seq: 1, revision: 1 });
}

#[test]
fn cluster_time_as_estimated_does_not_follow_a_clock_that_is_behind() {
    let mut rig = Rig {
        cluster_ms: 5_000,
        ..Rig::default()
    };
    rig.put("a", "1");
    rig.cluster_ms = 100;
    rig.put("a", "2");
    assert!(rig.replica.cluster_ms_estimate() >= 5_000);
}

#[test]
fn an_entry_that_does_not_decode_changes_nothing() {
    let mut rig = Rig::default();
    rig.put("a", "1");
    let before = rig.replica.digest();
    let refused = rig.replica.apply(log_id(9), Payload::Rounds(b"no rounds"));
    assert!(matches!(refused, Err(ApplyError::Undecodable { index: 9, .. })));
    assert_eq!((rig.replica.digest(), rig.replica.applied_index()), (before, 1));
}

#[test]
fn damaged_meta_or_pairs_are_an_error() {
    let (mut rig, mut disk) = (Rig::default(), Disk::default());
    rig.put("a", "1");
    disk.check(&rig.replica);
    let pairs: Vec<_> = disk.pairs.clone().into_iter().collect();
    for end in 0..disk.meta.len() {
        assert!(Replica::restore(ME, &disk.meta[..end], pairs.clone()).is_err());
    }
    assert!(Replica::restore(ME, &[0xff; 200], pairs.clone()).is_err());
    assert!(Replica::restore(ME, &disk.meta, pairs[1..].to_vec()).is_err());
}

/// A replica with as many entries as lie between two checkpoints; one of them may be another than elsewhere.
fn up_to_a_checkpoint(planted: Option<u64>) -> Rig {
    let mut rig = Rig::default();
    while rig.index < CHECKPOINT_ENTRIES {
        let value = if Some(rig.index) == planted { "flipped" } else { "v" };
        rig.send(None, put("k", format!("{value}{}", rig.index % 7)));
    }
    rig
}

#[test]
fn a_replica_that_differs_from_what_the_leader_logged_is_found_and_no_other() {
    let (mut leader, mut same) = (up_to_a_checkpoint(None), up_to_a_checkpoint(None));
    // The key is written again afterwards, but an event tells.
    let mut differs = up_to_a_checkpoint(Some(500));
    let logged = leader.replica.unlogged_checkpoint().expect("one was taken");
    assert_eq!(logged.index, CHECKPOINT_ENTRIES);
    for rig in [&mut leader, &mut same, &mut differs] {
        assert_eq!(rig.replica.difference(), None);
        rig.checkpoint = Some(logged);
        rig.send(None, put("next", "v"));
        assert_eq!(rig.replica.unlogged_checkpoint(), None, "it is logged");
    }
    assert_eq!(leader.replica.difference(), None);
    assert_eq!(same.replica.difference(), None);
    let found = differs.replica.difference().expect("it differs");
    assert_eq!((found.index, found.theirs), (CHECKPOINT_ENTRIES, logged.digest));
    assert_eq!(Some(found.ours), differs.replica.digest_at(CHECKPOINT_ENTRIES));

    // One that has not applied the position itself says nothing of it.
    let mut later = Rig {
        checkpoint: Some(logged),
        ..Rig::default()
    };
    later.send(None, put("next", "v"));
    assert_eq!(later.replica.difference(), None);

    differs.replica.settle_difference(CHECKPOINT_ENTRIES - 1);
    assert_eq!(differs.replica.difference(), Some(found), "another one was settled");
    differs.replica.settle_difference(CHECKPOINT_ENTRIES);
    assert_eq!(differs.replica.difference(), None);
}
