//! Signals to a node that is stopped and does not take them. It takes half a minute and reads /proc, so it runs on Linux and
//! by name: `cargo test -p queenright --test stopped_peer`.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use queenright_actors::agent::{AgentSpec, AgentState, RestartPolicy, SignalCounts};
use queenright_actors::node::NodeFigures;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::colony::{Colony, NODES, until};

const STOPPED: Duration = Duration::from_secs(20);
const GROWTH_BYTES_MAX: u64 = 64 << 20;

/// Lets a process go on, however the test ends.
struct Stopped(Pid);

impl Stopped {
    fn stop(pid: Pid) -> Stopped {
        kill_process(pid, Signal::STOP).unwrap();
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

fn resident_bytes(pid: Pid) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(path).expect("Linux tells of its processes");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

fn figures(colony: &Colony, node: &str) -> NodeFigures {
    colony.block_on(colony.client(node, "test").figures()).unwrap()
}

/// The signal lane of the link to `peer`.
fn lane(figures: &NodeFigures, peer: &str) -> Value {
    let links = figures.links["links"].as_array().unwrap();
    let link = links.iter().find(|link| link["peer"] == peer).unwrap();
    let lanes = link["lanes"].as_array().unwrap();
    lanes
        .iter()
        .find(|lane| lane["lane"] == "signal")
        .unwrap_or_else(|| panic!("{lanes:?}"))
        .clone()
}

#[test]
fn a_stopped_peer_costs_its_sender_little_memory_and_the_others_no_election() {
    let colony = Colony::start("stopped-peer");
    let sender = colony.leader_at("n1", None);
    let stopped = NODES.into_iter().find(|node| *node != sender).unwrap();
    let third = NODES
        .into_iter()
        .find(|node| ![stopped, &sender].contains(node))
        .unwrap();
    let spawn = |node: &str, name: &str, kind: &str, arguments: Value| {
        let spec = AgentSpec {
            name: name.to_owned(),
            kind: kind.to_owned(),
            arguments,
            restart: RestartPolicy::default(),
            ..AgentSpec::default()
        };
        colony.block_on(colony.client(node, "test").spawn_agent(&spec)).unwrap()
    };
    let sink = spawn(stopped, "sink", "load-sink", json!({}));
    let nodes = colony.status(stopped).unwrap().nodes;
    let number = nodes.iter().find(|node| node.name == stopped).unwrap().number;
    let to = json!({ "node": number, "number": sink.number, "generation": sink.generation });
    let patience = STOPPED + Duration::from_secs(5);
    let arguments = json!({
        "to": to, "count": u64::MAX, "bytes": 1024, "for_ms": patience.as_millis() as u64,
    });
    spawn(&sender, "source", "load-source", arguments);
    let source = || colony.block_on(colony.client(&sender, "test").agent("source")).unwrap();
    let count = |name: &str| source().report.get(name).and_then(Value::as_u64).unwrap_or_default();
    until("signals flow", || (count("sent") > 10_000).then_some(()));

    let term = |node: &str| colony.status(node).map(|status| (status.leader, status.term)).unwrap();
    let (before, busy_before) = (term(third), count("busy"));
    let pid = colony.pid(&sender);
    let resident = resident_bytes(pid);
    let mut most = resident;
    let asleep = Stopped::stop(colony.pid(stopped));
    let since = Instant::now();
    let mut puts = 0;
    while since.elapsed() < STOPPED {
        let key = format!("k{}", puts % 10);
        colony.at(third, &["memory", "put", &key, "v"]).with_code(0);
        puts += 1;
        most = most.max(resident_bytes(pid));
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(term(third), before, "nobody else was elected");
    drop(asleep);
    assert!(most - resident < GROWTH_BYTES_MAX, "{resident} B grew to {most} B");
    assert!(count("busy") > busy_before, "{:?}", source().report);
    println!(
        "{puts} puts meanwhile; {resident} B resident, at most {most} B; {:?}",
        source().report
    );

    until("the source has ended", || {
        (source().state == AgentState::Done).then_some(())
    });
    let report = source().report;
    let of = |name: &str| report[name].as_u64().unwrap();
    // Nothing is under way any more when two looks show the same.
    let mut last = None;
    let (at_sender, at_sink) = until("all signals have arrived or are lost", || {
        let now = (figures(&colony, &sender), figures(&colony, stopped));
        let settled = lane(&now.0, stopped)["queued_bytes"] == 0;
        let seen = (now.1.signals.delivered, now.1.signals.lost);
        let same = settled && last.replace(seen) == Some(seen);
        thread::sleep(Duration::from_millis(300));
        same.then_some(now)
    });
    let SignalCounts { sent, refused, .. } = at_sender.signals;
    assert_eq!((sent, refused), (of("sent"), of("busy") + of("unreachable")));
    // The link of the sender is closed some moments before that of the third node, by which it goes on meanwhile.
    let by_way = figures(&colony, third);
    let signals_lost = |figures: &NodeFigures| {
        let lane = lane(figures, stopped);
        (lane["lost"].as_u64().unwrap(), lane["in_doubt"].as_u64().unwrap())
    };
    let (there, passing) = (signals_lost(&at_sender), signals_lost(&by_way));
    let traffic = colony.status(&sender).unwrap().nodes.into_iter();
    let dropped: u64 = traffic
        .map(|node| node.traffic.expect("all nodes answer").transit.signals_lost)
        .sum();
    println!(
        "by the third node: {} lost and {} in doubt; {dropped} dropped on the way",
        passing.0, passing.1
    );
    let (lost, in_doubt) = (there.0 + passing.0 + dropped, there.1 + passing.1);
    let accounted = at_sink.signals.delivered + at_sink.signals.lost + lost;
    // What was under way when the link broke may have been seen or not.
    assert!(
        (accounted..=accounted + in_doubt).contains(&sent),
        "{sent} sent; {:?} there, {lost} lost and {in_doubt} in doubt on the way",
        at_sink.signals
    );
    println!(
        "{sent} sent, {:?} there, {lost} lost and {in_doubt} in doubt on the way",
        at_sink.signals
    );
}
