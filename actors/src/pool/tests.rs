//! The keeper, promise by promise: agents here are what a table says.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::colony::{Body, Colony, Command, Outcome, PoolCommand, PoolSettings, Pools, Recycle, Round};
use queenright_protocol::id::NodeId;

use super::keeper::{Keeper, Order};
use super::member::Seen;
use super::{FAILED_PAUSE_MS, PoolFigures, Recycled, spec};
use crate::agent::{AgentOrder, AgentState};

const ME: NodeId = NodeId(1);

/// A keeper, the pools, and agents that do as they are told.
struct Rig {
    keeper: Keeper,
    colony: Colony,
    number: u64,
    agents: BTreeMap<u32, (u64, Seen)>,
    now_ms: u64,
    next: u64,
    /// Why no agent can be started.
    broken: Option<String>,
}

fn idle() -> Seen {
    Seen {
        state: AgentState::Waiting,
        reason: None,
        running: 0,
        failed: 0,
        memory_bytes: 0,
        warm: true,
    }
}

impl Rig {
    fn new(settings: PoolSettings) -> Rig {
        let mut rig = Rig {
            keeper: Keeper::new(ME),
            colony: Colony::default(),
            number: 0,
            agents: BTreeMap::new(),
            now_ms: 0,
            next: 1,
            broken: None,
        };
        rig.set(settings);
        rig
    }

    fn run(&mut self, command: PoolCommand) {
        self.number += 1;
        let command = Command {
            number: self.number,
            settled: self.number,
            expires_ms: u64::MAX,
            project: "default".into(),
            author: "ann".into(),
            idempotency_key: None,
            body: Body::Pool(command),
            listed: false,
        };
        let round = Round {
            node: ME,
            incarnation: 1,
            commands: vec![command],
        };
        let outcomes = self.colony.apply(1, 1, &[round], ME).outcomes;
        assert!(matches!(outcomes[0].outcome, Outcome::PoolSet { .. }), "{outcomes:?}");
    }

    fn set(&mut self, settings: PoolSettings) {
        self.run(PoolCommand::Set {
            name: "p".into(),
            settings: Box::new(settings),
            if_absent: false,
        });
    }

    fn share(&mut self, share: u32) {
        let after = self.colony.pools().get("p").unwrap().changed;
        self.run(PoolCommand::Share {
            name: "p".into(),
            shares: (share > 0).then_some((ME, share)).into_iter().collect(),
            after,
        });
    }

    /// One look, after which all that was ordered is done. Says what was ordered.
    fn look(&mut self) -> Vec<String> {
        self.now_ms += 250;
        let pools: Pools = self.colony.pools().clone();
        let looked = RefCell::new(0);
        let orders = self.keeper.look(&pools, self.now_ms, |pool, index, agent| {
            assert_eq!(pool, "p");
            *looked.borrow_mut() += 1;
            let (number, seen) = self.agents.get(&index)?;
            (*number == agent).then(|| seen.clone())
        });
        let epoch = pools.get("p").map_or(0, |pool| pool.epoch);
        let name: Arc<str> = "p".into();
        let shown = orders.into_iter().map(|order| match order {
            Order::Start { index, .. } => {
                let agent = self.next;
                let started = match &self.broken {
                    None => {
                        self.next += 1;
                        self.agents.insert(index, (agent, idle()));
                        Ok(agent)
                    }
                    Some(reason) => Err(reason.clone()),
                };
                self.keeper.started((&name, index), epoch, started, self.now_ms);
                format!("start {index}")
            }
            Order::Tell { index, order, .. } => {
                let state = match order {
                    AgentOrder::Pause => AgentState::Paused,
                    _ => AgentState::Waiting,
                };
                self.agents.get_mut(&index).unwrap().1.state = state;
                format!("{order} {index}")
            }
            Order::Stop { index, .. } => {
                self.agents.get_mut(&index).unwrap().1.state = AgentState::Stopped;
                format!("stop {index}")
            }
        });
        shown.collect()
    }

    /// Looks until nothing is ordered; says all that was.
    fn settle(&mut self) -> Vec<String> {
        let (mut all, mut calm) = (Vec::new(), 0);
        while calm < 4 {
            let orders = self.look();
            calm = if orders.is_empty() { calm + 1 } else { 0 };
            all.extend(orders);
            assert!(all.len() < 200, "{all:?}");
        }
        all
    }

    fn figures(&self) -> PoolFigures {
        self.keeper.figures(self.now_ms)["p"].clone()
    }

    fn agent(&mut self, index: u32) -> &mut Seen {
        &mut self.agents.get_mut(&index).unwrap().1
    }

    fn works_on(&mut self, index: u32, tasks: u64) {
        self.agent(index).running = tasks;
    }
}

fn settings() -> PoolSettings {
    PoolSettings {
        max: 100,
        ..PoolSettings::default()
    }
}

fn recycling(recycle: Recycle) -> PoolSettings {
    PoolSettings { recycle, ..settings() }
}

#[test]
fn a_node_has_as_many_as_its_share_and_those_go_first_that_do_nothing() {
    let mut rig = Rig::new(settings());
    assert_eq!(rig.settle(), Vec::<String>::new());
    rig.share(3);
    assert_eq!(rig.settle(), ["start 1", "start 2", "start 3"]);
    rig.works_on(3, 1);
    rig.look();
    let figures = rig.figures();
    assert_eq!(
        (figures.wanted, figures.idle, figures.busy, figures.running),
        (3, 2, 1, 1)
    );
    rig.share(2);
    assert_eq!(rig.settle(), ["pause 2", "stop 2"]);
    rig.share(0);
    assert_eq!(rig.settle(), ["pause 1", "pause 3", "stop 1"]);
    assert_eq!((rig.figures().draining, rig.figures().live()), (1, 1));
    // It ends what it has in hand, and then itself.
    rig.works_on(3, 0);
    assert_eq!(rig.settle(), ["stop 3"]);
    assert_eq!(rig.figures().live(), 0);
    assert_eq!(rig.figures().recycled, Recycled::default(), "nobody took their places");
}

#[test]
fn one_that_still_ends_is_taken_back_if_it_is_wanted_again() {
    let mut rig = Rig::new(settings());
    rig.share(1);
    rig.settle();
    rig.works_on(1, 2);
    rig.share(0);
    assert_eq!(rig.settle(), ["pause 1"]);
    rig.share(2);
    assert_eq!(rig.settle(), ["resume 1", "start 2"]);
}

#[test]
fn one_over_a_limit_is_replaced_once_it_has_ended_what_it_has_in_hand() {
    let limits = Recycle {
        memory_bytes: Some(100),
        age_ms: Some(60_000),
        failures: Some(3),
        after_tasks: Some(50),
    };
    let mut rig = Rig::new(recycling(limits));
    rig.share(2);
    rig.settle();
    rig.agent(1).memory_bytes = 101;
    rig.works_on(1, 1);
    assert_eq!(rig.settle(), ["pause 1"]);
    rig.works_on(1, 0);
    assert_eq!(rig.settle(), ["stop 1", "start 1"]);
    rig.agent(2).failed = 3;
    assert_eq!(rig.settle(), ["pause 2", "stop 2", "start 2"]);
    // After so many tasks it is done by itself.
    rig.agent(1).state = AgentState::Done;
    assert_eq!(rig.settle(), ["start 1"]);
    rig.now_ms += 60_000;
    assert_eq!(
        rig.settle(),
        ["pause 1", "pause 2", "stop 1", "stop 2", "start 1", "start 2"]
    );
    let expected = Recycled {
        tasks: 1,
        memory: 1,
        age: 2,
        failures: 1,
        changed: 0,
    };
    assert_eq!(rig.figures().recycled, expected);
    assert_eq!(rig.figures().started, 7);
}

#[test]
fn agents_of_an_earlier_epoch_are_replaced_half_at_a_time() {
    let mut rig = Rig::new(settings());
    rig.share(4);
    rig.settle();
    rig.run(PoolCommand::Recycle { name: "p".into() });
    rig.share(4);
    assert_eq!(rig.look(), ["pause 1", "pause 2"]);
    rig.settle();
    assert_eq!((rig.figures().recycled.changed, rig.figures().idle), (4, 4));
    let numbers: Vec<u64> = rig.agents.values().map(|(number, _)| *number).collect();
    assert!(numbers.iter().all(|number| *number > 4), "{numbers:?}");
}

#[test]
fn a_pool_that_is_gone_ends_its_agents() {
    let mut rig = Rig::new(settings());
    rig.share(2);
    rig.settle();
    rig.works_on(2, 1);
    rig.run(PoolCommand::Remove { name: "p".into() });
    assert_eq!(rig.settle(), ["pause 1", "pause 2", "stop 1"]);
    rig.works_on(2, 0);
    assert_eq!(rig.settle(), ["stop 2"]);
    assert!(rig.keeper.is_empty());
}

#[test]
fn after_a_failure_another_one_is_started_after_a_pause_that_doubles() {
    let mut rig = Rig::new(settings());
    rig.share(3);
    rig.broken = Some("command: no such program".to_owned());
    assert_eq!(rig.look(), ["start 1", "start 2", "start 3"]);
    let figures = rig.figures();
    assert_eq!(figures.failures, 3);
    assert_eq!(figures.last_failure.as_deref(), Some("command: no such program"));
    assert_eq!(figures.next_start_ms, Some(4 * FAILED_PAUSE_MS.0));
    // From then on one at a time.
    let mut started = Vec::new();
    for _ in 0..1_000 {
        if !rig.look().is_empty() {
            started.push(rig.now_ms);
        }
    }
    let pauses: Vec<u64> = started.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        pauses.is_sorted() && pauses.last() == Some(&FAILED_PAUSE_MS.1),
        "{pauses:?}"
    );
    rig.broken = None;
    rig.now_ms += FAILED_PAUSE_MS.1;
    // The first one works: the others follow.
    assert_eq!(rig.settle(), ["start 1", "start 2", "start 3"]);
    rig.agent(2).state = AgentState::Failed;
    rig.agent(2).reason = Some("exit code 3".to_owned());
    rig.look();
    assert_eq!(rig.figures().last_failure.as_deref(), Some("exit code 3"));
}

#[test]
fn one_that_warms_up_is_not_ready() {
    let mut rig = Rig::new(settings());
    rig.share(1);
    rig.look();
    rig.agent(1).warm = false;
    rig.look();
    assert_eq!((rig.figures().starting, rig.figures().idle), (1, 0));
    rig.agent(1).warm = true;
    rig.look();
    assert_eq!((rig.figures().starting, rig.figures().idle), (0, 1));
}

#[test]
fn an_agent_of_a_pool_is_told_what_the_pool_says() {
    let settings = PoolSettings {
        queue: "builds".into(),
        kinds: vec!["build".into()],
        slots: 2,
        arguments: r#"{"command": ["true"]}"#.into(),
        labels: BTreeMap::from([("team".into(), "red".into())]),
        recycle: Recycle {
            after_tasks: Some(7),
            memory_bytes: Some(1),
            ..Recycle::default()
        },
        ..settings()
    };
    let made = spec("builders", &settings, "n1", 3).unwrap();
    assert_eq!((made.name.as_str(), made.kind.as_str()), ("builders-3@n1", "exec"));
    assert_eq!(
        made.arguments,
        serde_json::json!({
            "command": ["true"], "project": "default", "queue": "builds", "kinds": ["build"], "capabilities": [],
            "slots": 2, "max_tasks": 7, "measure_memory": true,
        })
    );
    let labels: Vec<_> = made
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    assert_eq!(labels, [("pool", "builders"), ("team", "red")]);
    assert_eq!(made.check(), Ok(()));
    let refused = |arguments: &str| {
        let settings = PoolSettings {
            arguments: arguments.into(),
            ..settings.clone()
        };
        spec("builders", &settings, "n1", 3).unwrap_err().to_string()
    };
    assert_eq!(
        refused(r#"{"slots": 3}"#),
        "arguments: have slots, which the pool says itself"
    );
    assert!(refused("[]").starts_with("arguments: are no JSON object: "));
}
