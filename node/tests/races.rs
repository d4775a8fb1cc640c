//! Agents on three nodes race for tasks: each task has one winner, and every loser learns who it is.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use queenright_actors::agent::{AgentSpec, AgentStatus, RestartPolicy};
use queenright_actors::node::Consistency;
use queenright_bench::client::wire::{AddTask, WireHolder, WireTask, WireWhat};
use queenright_bench::client::{Filter, TaskQuery};
use queenright_protocol::colony::StateName;
use serde::Deserialize;
use serde_json::json;

use crate::colony::{Colony, NODES};

/// How many race: at least 20 on each node.
const RACERS: usize = 64;
/// How long the races for one task may take on a busy host, and how long until all agents have reported.
const RACE_MAX: Duration = Duration::from_secs(2);
const REPORT_MAX: Duration = Duration::from_secs(90);

/// What a racer reports, by the place of the task.
#[derive(Debug, Deserialize)]
struct Raced {
    /// The fence of each claim that it won.
    won: BTreeMap<usize, u64>,
    /// Who was named by each refusal.
    lost: BTreeMap<usize, String>,
    /// What else became of a claim or a finish.
    failed: BTreeMap<usize, String>,
}

/// What came of all races.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) attempts: usize,
    pub(crate) winners: usize,
    pub(crate) refusals: usize,
    pub(crate) failed: usize,
    pub(crate) seconds: f64,
}

/// The races on a cluster.
struct Races<'a> {
    colony: &'a mut Colony,
    tasks: usize,
    /// Where the starter is, which is not killed.
    home: &'static str,
    /// The name of each racer and its node.
    racers: Vec<(String, &'static str)>,
}

impl Races<'_> {
    fn spawn(&self, node: &str, name: &str, kind: &str, arguments: serde_json::Value) -> AgentStatus {
        let spec = AgentSpec {
            name: name.to_owned(),
            kind: kind.to_owned(),
            arguments,
            restart: RestartPolicy::default(),
            ..AgentSpec::default()
        };
        let client = self.colony.client(node, "test");
        self.colony.block_on(client.spawn_agent(&spec)).unwrap()
    }

    fn agent(&self, node: &str, name: &str) -> AgentStatus {
        let client = self.colony.client(node, "test");
        self.colony.block_on(client.agent(name)).unwrap()
    }

    /// Adds the tasks, all at once, and starts the agents.
    fn start(&mut self) {
        let task = |place: usize| AddTask {
            title: format!("race {place}").into(),
            ..AddTask::default()
        };
        let client = self.colony.client(self.home, "test");
        let added = client.add_tasks((0..self.tasks).map(task).collect(), None);
        let seq = self.colony.block_on(added).unwrap().seq;
        let starter = self.spawn(
            self.home,
            "starter",
            "load-race-starter",
            json!({"racers": RACERS, "tasks": self.tasks}),
        );
        let number = self.colony.status(self.home).unwrap();
        let number = number.nodes.iter().find(|node| node.name == self.home).unwrap().number;
        let address = json!({"node": number, "number": starter.number, "generation": starter.generation});
        for racer in 0..RACERS {
            let (name, node) = (format!("racer-{racer}"), NODES[racer % NODES.len()]);
            self.spawn(node, &name, "load-racer", json!({"starter": address, "tasks_seq": seq}));
            self.racers.push((name, node));
        }
    }

    /// Waits until the starter has released so many tasks, or all and the end.
    fn until_released(&self, tasks: u64) -> AgentStatus {
        let started = Instant::now();
        loop {
            let starter = self.agent(self.home, "starter");
            let released = starter.report.get("released").and_then(|count| count.as_u64());
            let is_over = starter.report.contains_key("millis");
            if is_over || released.is_some_and(|released| released >= tasks && tasks < self.tasks as u64) {
                return starter;
            }
            let within = REPORT_MAX + RACE_MAX * self.tasks as u32;
            assert!(started.elapsed() < within, "not within {within:?}: {starter:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the racer reported at the end.
    fn raced(&self, name: &str, node: &str) -> Raced {
        let started = Instant::now();
        loop {
            let status = self.agent(node, name);
            if status.report.contains_key("over") {
                return serde_json::from_value(json!(status.report)).unwrap();
            }
            assert!(started.elapsed() < REPORT_MAX, "{status:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All tasks, as they are at the end.
    fn kept(&self) -> Vec<WireTask> {
        let client = self.colony.client(self.home, "test");
        let query = TaskQuery {
            limit: Some(1_000),
            consistency: Consistency::Linearizable,
            ..TaskQuery::default()
        };
        let list = self.colony.block_on(client.tasks(&query)).unwrap();
        assert_eq!((list.tasks.len(), list.next), (self.tasks, None));
        list.tasks
    }

    /// Looks at the order of events: between two claims of a task it has always returned.
    fn never_two_owners(&self) {
        let client = self.colony.client(self.home, "test");
        let filter = Filter {
            prefix: String::new(),
            types: ["task_claimed", "task_finished", "task_returned"]
                .map(String::from)
                .to_vec(),
            ..Filter::default()
        };
        let mut held: BTreeMap<String, WireHolder> = BTreeMap::new();
        let (mut after, mut fences) = (None, BTreeMap::new());
        loop {
            let page = client.events(after, 10_000, Duration::ZERO, &filter, Consistency::Linearizable);
            let page = self.colony.block_on(page).unwrap();
            for event in page.events {
                match event.what {
                    WireWhat::TaskClaimed {
                        task, fence, holder, ..
                    } => {
                        assert_eq!(held.insert(task.to_string(), holder), None, "{task} was held");
                        let before = fences.insert(task.to_string(), fence);
                        assert!(before.is_none_or(|before| before < fence));
                    }
                    WireWhat::TaskFinished { task, .. } | WireWhat::TaskReturned { task, .. } => {
                        assert!(held.remove(&task.to_string()).is_some(), "{task} was not held");
                    }
                    other => panic!("{other:?}"),
                }
            }
            after = Some(page.next_cursor);
            if !page.has_more {
                return;
            }
        }
    }
}

/// Races for so many tasks; with `kill` the node of that name is killed half-way, and started again at the end.
pub(crate) fn race(colony: &mut Colony, tasks: usize, kill: Option<&'static str>) -> Count {
    let home = NODES
        .into_iter()
        .find(|node| Some(*node) != kill)
        .expect("there are three");
    let mut races = Races {
        colony,
        tasks,
        home,
        racers: Vec::new(),
    };
    races.start();
    if let Some(node) = kill {
        races.until_released(tasks as u64 / 2);
        races.colony.kill(node);
    }
    let starter = races.until_released(tasks as u64);
    let mut count = Count {
        seconds: starter.report["millis"].as_f64().unwrap() / 1e3,
        ..Count::default()
    };
    let survivors = races.racers.iter().filter(|(_, node)| Some(*node) != kill);
    let raced: Vec<(String, Raced)> = survivors
        .map(|(name, node)| (name.clone(), races.raced(name, node)))
        .collect();
    let on_dead = races.racers.len() - raced.len();
    assert_eq!(starter.report["missing"], on_dead);
    if let Some(node) = kill {
        races.colony.start_node(node);
        races.colony.leader_at(node, None);
    }

    let kept = races.kept();
    for (place, task) in kept.iter().enumerate() {
        let winners: Vec<_> = raced
            .iter()
            .filter_map(|(name, raced)| Some((name.as_str(), *raced.won.get(&place)?)))
            .collect();
        assert!(winners.len() <= 1, "task {place} was won by {winners:?}");
        let losers = raced.iter().filter_map(|(_, raced)| raced.lost.get(&place));
        let named: Vec<&String> = losers.collect();
        count.attempts += raced.len();
        count.winners += winners.len();
        count.refusals += named.len();
        count.failed += raced
            .iter()
            .filter(|(_, raced)| raced.failed.contains_key(&place))
            .count();
        assert!(named.iter().all(|name| *name == named[0]), "task {place}: {named:?}");
        if let [(winner, fence)] = winners[..] {
            let agent = format!("agent {winner} of node ");
            assert!(
                named.iter().all(|name| name.starts_with(&agent)),
                "task {place}: {named:?}, {winner}"
            );
            let finished = task.finished.as_ref().expect("who won finished it");
            assert_eq!((task.state, finished.fence), (StateName::Done, fence));
            assert!(matches!(&finished.holder, WireHolder::Agent { name, .. } if **name == *winner));
        } else {
            // Nobody who is left has won it: somebody on the killed node has, and every refusal named the same one.
            assert!(
                kill.is_some() && named.len() == raced.len(),
                "task {place} has no winner"
            );
        }
    }
    races.never_two_owners();
    races.colony.same_digest();
    count
}

#[test]
fn each_task_has_one_winner_and_every_loser_learns_who() {
    let mut colony = Colony::start("race");
    let tasks = 60;
    let count = race(&mut colony, tasks, None);
    println!("{tasks} races in {:.2} s", count.seconds);
    assert_eq!((count.attempts, count.winners), (RACERS * tasks, tasks), "{count:?}");
    assert_eq!((count.refusals, count.failed), ((RACERS - 1) * tasks, 0), "{count:?}");
}
