//! Agents that end by themselves, on real nodes: started again, given up, stopped while they wait.

use std::time::Duration;

use queenright_actors::agent::{AgentSpec, AgentState, AgentStatus, RestartPolicy};
use queenright_actors::node::Consistency;
use queenright_bench::client::Filter;
use queenright_bench::client::wire::WireWhat;
use serde_json::{Value, json};

use crate::colony::{Colony, NODES, refused, until};
use crate::replay::{COMMITS, replayed, repository};

/// An agent of this kind ends by an error at its first step: there is nobody whom it could call.
const CALLS_NOBODY: [&str; 4] = [
    "--kind",
    "load-caller",
    "--arguments",
    r#"{"to": {"node": 1, "number": 999, "generation": 1}, "calls": 1, "bytes": 8}"#,
];

struct Rig(Colony);

impl Rig {
    fn spawn(&self, name: &str, flags: &[&str]) -> Value {
        let arguments = [&["agent", "spawn", name, "--json"][..], &CALLS_NOBODY, flags].concat();
        self.0.at("n1", &arguments).with_code(0).json()
    }

    fn show(&self, name: &str) -> Value {
        self.0.at("n1", &["agent", "show", name, "--json"]).with_code(0).json()
    }

    fn until_state(&self, name: &str, state: &str) -> Value {
        until(&format!("{name} is {state}"), || {
            Some(self.show(name)).filter(|agent| agent["state"] == state)
        })
    }

    fn live(&self) -> Option<u64> {
        let status = self.0.status("n1")?;
        status.nodes.iter().find(|node| node.name == "n1")?.agents
    }
}

#[test]
fn a_queen_restarts_what_fails_gives_it_up_past_the_limit_and_stops_what_waits() {
    let rig = Rig(Colony::start("supervision"));

    rig.spawn("given-up", &["--restart-limit", "3", "--backoff", "0.01"]);
    let failed = rig.until_state("given-up", "failed");
    assert_eq!((&failed["generation"], &failed["restarts"]), (&4.into(), &3.into()));
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.starts_with("no agent") && reason.ends_with("(after 3 restarts within 60000 ms, the limit)"));
    let shown = rig.0.at("n1", &["agent", "show", "given-up"]).with_code(0);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(
        shown.contains("generation 4): failed, 3 restarts\n  reason: no agent"),
        "{shown}"
    );

    rig.spawn("once", &["--restart", "temporary"]);
    let once = rig.until_state("once", "failed");
    assert_eq!((&once["generation"], &once["restarts"]), (&1.into(), &0.into()));

    let patient = [
        "--backoff",
        "1800",
        "--backoff-max",
        "3600",
        "--restart-within",
        "86400",
    ];
    rig.spawn("patient", &patient);
    let waiting = rig.until_state("patient", "recovering");
    assert!(waiting["next_restart_ms"].as_u64() <= Some(1_800_000), "{waiting}");
    assert_eq!(rig.live(), Some(1));
    let list = rig.0.at("n1", &["agent", "list"]).with_code(0);
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(
        list.lines()
            .any(|line| line.starts_with("patient ") && line.contains(" recovering in ")),
        "{list}"
    );
    rig.0.at("n1", &["agent", "stop", "patient"]).with_code(0);
    assert_eq!(rig.until_state("patient", "stopped")["next_restart_ms"], Value::Null);
    assert_eq!(rig.live(), Some(0));

    let spawn = |name: &str, flags: &[&str]| {
        let arguments = [&["agent", "spawn", name][..], &CALLS_NOBODY, flags].concat();
        refused(&mut rig.0.command_at("n1", &arguments), 1)
    };
    assert!(spawn("a/b", &[]).contains(r#"name: "a/b" is empty, or has a slash"#));
    assert!(spawn("e", &["--restart-limit", "101"]).contains("restart.limit: 101 is over the limit of 100"));
    let never = spawn("e", &["--restart-within", "3"]);
    assert!(
        never.contains("restart.within_ms: 3000 must be over 3100, the sum of 5 back-offs"),
        "{never}"
    );
}

/// How many tasks there are, of how many one panics its agent, and how many agents on each node.
const TASKS: u64 = 400;
const PANIC_EVERY: u64 = 20;
const AGENTS_EACH: u64 = 4;

/// Starts an agent that may be restarted once.
fn spawn(colony: &Colony, node: &str, name: &str, kind: &str, arguments: Value) {
    let spec = AgentSpec {
        name: name.to_owned(),
        kind: kind.to_owned(),
        arguments,
        restart: RestartPolicy {
            limit: 1,
            backoff_ms: 10,
            ..RestartPolicy::default()
        },
        ..AgentSpec::default()
    };
    colony.block_on(colony.client(node, "test").spawn_agent(&spec)).unwrap();
}

/// What an agent reports that has done its work.
fn report(colony: &Colony, node: &str, name: &str, kind: &str, arguments: Value) -> AgentStatus {
    spawn(colony, node, name, kind, arguments);
    until(&format!("{name} is done"), || {
        let status = colony.block_on(colony.client(node, "test").agent(name)).unwrap();
        assert_ne!(status.state, AgentState::Failed, "{status:?}");
        Some(status).filter(|status| status.state == AgentState::Done)
    })
}

#[test]
fn one_task_in_twenty_panics_its_agent_and_all_are_done_once() {
    let mut colony = Colony::start("panics");
    colony.expect_panics("panicked at bench/src/load/task.rs:");
    colony.expect_panics("panicked: as panic_every says");
    let project = json!({ "project": "default" });
    let prepared = json!({ "project": "default", "tasks": TASKS, "payload_bytes": 10 });
    report(&colony, "n1", "add", "load-task-add", prepared);
    let workers: Vec<_> = (0..AGENTS_EACH)
        .flat_map(|place| NODES.map(|node| (node, format!("worker-{node}-{place}"))))
        .collect();
    for (node, name) in &workers {
        let arguments = json!({
            "project": "default", "extent": "progress", "idle_ms": 10, "panic_every": PANIC_EVERY,
        });
        spawn(&colony, node, name, "load-task", arguments);
    }

    let panics = TASKS / PANIC_EVERY;
    let mut looks = 0;
    let found = until("all tasks are done", || {
        looks += 1;
        let found = report(
            &colony,
            "n2",
            &format!("look-{looks}"),
            "load-task-look",
            project.clone(),
        );
        Some(found).filter(|found| found.report["done"] == TASKS)
    });
    assert_eq!(found.report["attempts"], TASKS + panics);
    let counted = ["pending", "leased", "failed"].map(|state| found.report[state].as_u64());
    assert_eq!(counted, [Some(0); 3]);

    // Each panic was a restart, or the end of an agent that had been restarted before; and a task that returned.
    let status = |(node, name): &(&str, String)| colony.block_on(colony.client(node, "test").agent(name)).unwrap();
    let all: Vec<AgentStatus> = workers.iter().map(status).collect();
    let failed: Vec<&AgentStatus> = all.iter().filter(|agent| agent.state == AgentState::Failed).collect();
    let restarts: u64 = all.iter().map(|agent| agent.restarts).sum();
    assert_eq!(restarts + failed.len() as u64, panics);
    assert!(failed.len() as u64 >= panics - AGENTS_EACH * NODES.len() as u64);
    for agent in failed {
        let reason = agent.reason.as_deref().unwrap();
        assert!(
            reason.starts_with("panicked: as panic_every says, with task "),
            "{reason}"
        );
        assert!(
            reason.ends_with("(after 1 restarts within 60000 ms, the limit)"),
            "{reason}"
        );
    }
    let returned = returned(&colony);
    assert_eq!(returned.len() as u64, panics);
    let why = "its agent ended: panicked: as panic_every says, with task ";
    assert!(returned.iter().all(|reason| reason.starts_with(why)), "{returned:?}");
    colony.same_digest();
}

/// Why tasks came back from their first attempts.
fn returned(colony: &Colony) -> Vec<String> {
    let filter = Filter {
        prefix: String::new(),
        types: vec!["task_returned".to_owned()],
        ..Filter::default()
    };
    let client = colony.client("n3", "test");
    let (mut after, mut reasons) = (None, Vec::new());
    loop {
        let page = client.events(after, 1_000, Duration::ZERO, &filter, Consistency::Linearizable);
        let page = colony.block_on(page).unwrap();
        reasons.extend(page.events.into_iter().filter_map(|event| match event.what {
            WireWhat::TaskReturned { reason, attempt: 1, .. } => Some(reason),
            _ => None,
        }));
        if !page.has_more {
            return reasons;
        }
        after = Some(page.next_cursor);
    }
}

#[test]
fn a_replay_in_which_one_task_in_twenty_panics_its_agent_ends_equal() {
    let mut colony = Colony::start("replay-panics");
    colony.expect_panics("panicked at node/src/replay/agent.rs:");
    colony.expect_panics("panicked: as panic_every says");
    let repository = repository(&colony);
    // One on each node that panics with whatever it gets first, and may not be started again.
    for node in NODES {
        let spec = AgentSpec {
            name: format!("replay-once-{node}"),
            kind: "replay".to_owned(),
            arguments: json!({ "project": "default", "commits": COMMITS, "panic_every": 1 }),
            restart: RestartPolicy {
                limit: 0,
                ..RestartPolicy::default()
            },
            ..AgentSpec::default()
        };
        colony.block_on(colony.client(node, "test").spawn_agent(&spec)).unwrap();
    }
    let every = PANIC_EVERY.to_string();
    let report = replayed(&colony, &repository, &["--agents", "24", "--panic-every", &every]);
    assert_eq!(report["commits"], COMMITS);

    let why = "its agent ended: panicked: as panic_every says, with task ";
    let reasons = returned(&colony);
    let panics = reasons.iter().filter(|reason| reason.starts_with(why)).count();
    let least = COMMITS / PANIC_EVERY as usize;
    assert!(
        (least..=least + NODES.len()).contains(&panics),
        "{panics} of {reasons:?}"
    );
    for node in NODES {
        let name = format!("replay-once-{node}");
        let status = colony.block_on(colony.client(node, "test").agent(&name)).unwrap();
        assert_eq!(status.state, AgentState::Failed, "{status:?}");
        let reason = status.reason.unwrap();
        assert!(
            reason.starts_with("panicked: as panic_every says, with task "),
            "{reason}"
        );
    }
}
