//! Tasks that wake passive agents.

use std::collections::BTreeSet;

use openraft::alias::{LeaderIdOf, LogIdOf};
use openraft::vote::RaftLeaderIdExt;
use proptest::prelude::*;
use queenright_protocol::colony::{
    Batch, Body, Caller, Claim, Command, NewSession, NewTask, Round, TaskCommand, TaskId, Terms, TokenHash, Wants,
    Which,
};

use super::*;
use crate::agent::rouse::{Rouser, turn};
use crate::consensus::types::TypeConfig;
use crate::replica::Payload;

/// What agents of these tests take.
pub(super) fn served() -> Serves {
    Serves {
        project: "p".into(),
        queue: "default".into(),
        kinds: Vec::new(),
        capabilities: Vec::new(),
    }
}

fn named(name: &str) -> AgentSpec {
    AgentSpec {
        name: name.to_owned(),
        ..spec(RestartKind::Transient, 5, 0)
    }
}

/// Agents that are passive and take tasks, called 0, 1 and so on; each notes its steps.
async fn passive(count: usize) -> Rig {
    let rig = Rig::new(&vec![Act::Serve; 64]).await;
    for number in 0..count {
        rig.spawn(named(&number.to_string())).await.unwrap();
    }
    all_passive(&rig, count).await;
    rig
}

async fn all_passive(rig: &Rig, count: usize) {
    for number in 0..count {
        let is_passive = |status: &AgentStatus| status.state == AgentState::Passive;
        rig.until_of(&number.to_string(), is_passive).await;
    }
}

fn task(queue: &str) -> NewTask {
    NewTask {
        title: "work".into(),
        kind: None,
        payload: Default::default(),
        name: None,
        terms: Terms {
            queue: queue.into(),
            ..Terms::default()
        },
    }
}

impl Rig {
    /// Applies a command to this node's copy, as the entry of this index.
    fn apply(&self, index: u64, body: TaskCommand) {
        let round = Round {
            node: NodeId(2),
            incarnation: 1,
            commands: vec![Command {
                number: index,
                settled: index,
                expires_ms: u64::MAX,
                project: "p".into(),
                author: "ann".into(),
                idempotency_key: None,
                body: Body::Task(body),
                listed: false,
            }],
        };
        let batch = Batch {
            cluster_ms: 1_000,
            wall_ms: 1_000,
            rounds: vec![round.encode()],
            checkpoint: None,
        };
        let log_id = LogIdOf::<TypeConfig>::new(LeaderIdOf::<TypeConfig>::new_committed(1, 1), index);
        let applied = self.agents.home.replica.apply(log_id, Payload::Rounds(&batch.encode()));
        applied.unwrap();
    }

    /// Looks for tasks beside the test, as the node `me` of so many.
    fn look_for_tasks(&self, nodes: u64) -> tokio::task::JoinHandle<()> {
        let agents = self.agents.clone();
        tokio::spawn(async move {
            let members = || (1..=nodes).map(NodeId).collect();
            agents.rouse_for_tasks(NodeId(1), members).await;
        })
    }

    async fn until_woken(&self, times: u64) {
        let reached = async {
            while self.agents.counts().woken < times {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let reached = tokio::time::timeout(Duration::from_secs(20), reached).await;
        assert!(reached.is_ok(), "{:?}, not {times}", self.agents.counts());
    }
}

#[tokio::test]
async fn an_agent_is_woken_for_what_it_takes_unless_it_is_paused_or_has_ended() {
    let rig = passive(3).await;
    let serves = Arc::new(served());
    let other = Arc::new(Serves {
        queue: "other".into(),
        ..served()
    });
    assert!(!rig.agents.rouse(&other));
    rig.order("0", AgentOrder::Pause).await.unwrap();
    rig.stop("1").await.unwrap();
    assert!(rig.agents.rouse(&serves));
    assert!(!rig.agents.rouse(&serves), "the third one is awake");
    let noted = |status: &AgentStatus| status.report.get("noted").is_some_and(|noted| noted == "step step");
    rig.until_of("2", noted).await;
    assert_eq!(rig.agents.counts().woken, 1);
    rig.order("0", AgentOrder::Resume).await.unwrap();
    assert!(rig.agents.rouse(&serves), "the one that was paused stands first");
    rig.until_of("0", noted).await;
    // The next generation is awake, and does not stand in for the one before.
    rig.until_of("0", |status| status.state == AgentState::Passive).await;
    rig.until_of("2", |status| status.state == AgentState::Passive).await;
    rig.stop("2").await.unwrap();
    *rig.script.lock().unwrap() = vec![Act::Wait];
    rig.order("0", AgentOrder::Restart).await.unwrap();
    assert!(!rig.agents.rouse(&serves));
}

#[tokio::test]
async fn nobody_is_woken_for_a_task_for_which_a_claim_waits_or_that_others_take() {
    let rig = passive(1).await;
    let looking = rig.look_for_tasks(1);
    let claim = Claim {
        which: Which::Ready {
            kinds: Vec::new(),
            limit: 1,
        },
        caller: Caller::Opens(Box::new(NewSession::new("s", TokenHash::of("s")))),
        wants: Wants {
            wait_ms: Some(60_000),
            ..Wants::default()
        },
    };
    rig.apply(1, TaskCommand::Claim(claim));
    rig.apply(2, TaskCommand::Add(vec![task("default"), task("other")]));
    // The claim has the first one, and only this one is left.
    rig.apply(3, TaskCommand::Add(vec![task("default")]));
    rig.until_woken(1).await;
    all_passive(&rig, 1).await;
    assert_eq!(rig.agents.counts().woken, 1);
    looking.abort();
}

async fn each_wakes_one(agents: usize, adds: &[usize]) {
    let rig = passive(agents).await;
    // The agents do not claim: what is ready stays so, and wakes nobody again.
    let looking = rig.look_for_tasks(1);
    let mut index = 0;
    for tasks in adds {
        index += 1;
        rig.apply(index, TaskCommand::Add(vec![task("default"); *tasks]));
    }
    let sum = adds.iter().sum::<usize>() as u64;
    rig.until_woken(sum).await;
    all_passive(&rig, agents).await;
    // What is applied now is no reason to wake anybody: the look after it finds all as it was.
    rig.apply(index + 1, TaskCommand::Add(vec![task("other")]));
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(rig.agents.counts().woken, sum);
    looking.abort();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_task_wakes_one_agent(agents in 1_usize..4, adds in prop::collection::vec(1_usize..4, 1..4)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(each_wakes_one(agents, &adds));
    }

    #[test]
    fn each_member_has_a_turn_of_its_own_for_a_task(
        seq in any::<u64>(), ordinal in any::<u32>(), members in prop::collection::btree_set(any::<u64>(), 1..16),
    ) {
        let (task, members) = (TaskId { seq, ordinal }, members.into_iter().map(NodeId).collect::<BTreeSet<_>>());
        let turns: BTreeSet<u64> = members.iter().map(|me| turn(task, &members, *me)).collect();
        prop_assert_eq!(turns, (0..members.len() as u64).collect::<BTreeSet<_>>());
    }
}

#[test]
fn a_node_rings_for_a_task_in_its_turn_and_again_when_the_task_stays_ready() {
    let mut rouser = Rouser::default();
    let place = (Arc::from("p"), TaskId { seq: 7, ordinal: 0 });
    assert_eq!(rouser.due_in_ms(&place, 2, 1_000), 200);
    assert_eq!(rouser.due_in_ms(&place, 2, 1_150), 50);
    assert_eq!(rouser.due_in_ms(&place, 2, 1_200), 0);
    rouser.rung(&place, 1_200);
    assert_eq!(rouser.due_in_ms(&place, 0, 1_300), 9_900);
    assert_eq!(rouser.due_in_ms(&place, 0, 11_200), 0);
    // Whoever took it gave it back later: it counts from then.
    rouser.keep(&BTreeSet::new());
    assert_eq!(rouser.due_in_ms(&place, 1, 20_000), 100);
}
