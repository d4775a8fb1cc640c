//! The stream behind the dashboard, as each node of a cluster tells it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use queenright_actors::node::Role;
use queenright_bench::client::wire::{LinkState, OverviewCluster, OverviewLoss, ProposalOutcome, ProposalRequest};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::colony::{Colony, NODES};

/// How long a part may take to be as it must become. Only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(90);

/// One who looks on at a node.
struct Onlooker {
    stream: TcpStream,
    pending: Vec<u8>,
    parts: BTreeMap<String, Value>,
}

impl Onlooker {
    fn at(colony: &Colony, node: &str) -> Onlooker {
        let door = colony.config().node(node).unwrap().http_advertised();
        let mut stream = TcpStream::connect(&door).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // To a caller of 1.0 the body goes as it is.
        write!(
            stream,
            "GET /v1/overview HTTP/1.0\r\nhost: {door}\r\naccept: text/event-stream\r\n\r\n"
        )
        .unwrap();
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains(" 200 ") && head.contains("text/event-stream"), "{head}");
        Onlooker {
            stream,
            pending: Vec::new(),
            parts: BTreeMap::new(),
        }
    }

    /// Waits until a part is told that is as wanted.
    fn until<T: DeserializeOwned>(&mut self, part: &str, wanted: impl Fn(&T) -> bool) -> T {
        let started = Instant::now();
        loop {
            if let Some(told) = self.parts.get(part) {
                let told: T = serde_json::from_value(told.clone()).unwrap();
                if wanted(&told) {
                    return told;
                }
            }
            assert!(started.elapsed() < PATIENCE, "{part}: {:?}", self.parts.get(part));
            let mut piece = [0; 16 << 10];
            let read = self.stream.read(&mut piece).unwrap();
            assert!(read > 0, "the stream has ended: {:?}", self.parts);
            self.pending.extend(&piece[..read]);
            while let Some(end) = self.pending.windows(2).position(|two| two == b"\n\n") {
                let message: Vec<u8> = self.pending.drain(..end + 2).collect();
                let message = str::from_utf8(&message).unwrap().trim_end();
                if let Some((kind, data)) = message.split_once("\ndata: ") {
                    let kind = kind.strip_prefix("event: ").unwrap().to_owned();
                    self.parts.insert(kind, serde_json::from_str(data).unwrap());
                }
            }
        }
    }
}

#[test]
fn every_node_tells_of_a_dead_one_and_of_who_lost_to_whom() {
    let mut colony = Colony::start("overview");
    colony.leader_at("n1", None);
    let mut onlookers: Vec<Onlooker> = NODES.iter().map(|node| Onlooker::at(&colony, node)).collect();
    for onlooker in &mut onlookers {
        let all = |cluster: &OverviewCluster| {
            let up = cluster.links.iter().all(|link| link.state == LinkState::Up);
            cluster.queenright && up && cluster.nodes.iter().all(|node| node.agents_by_state.is_some())
        };
        let cluster = onlooker.until("cluster", all);
        assert_eq!((cluster.nodes.len(), cluster.links.len()), (3, 3));
    }

    let proposal: ProposalRequest = serde_json::from_value(json!({
        "reads": [{ "key": "plan", "revision": 0, "absent": true }],
        "writes": [{ "key": "plan", "put": "x" }],
    }))
    .unwrap();
    // What has a key of its own is judged by the colony, not by the node alone.
    for (agent, wins) in [("ann", true), ("ben", false)] {
        let client = colony.client("n2", agent);
        let proposed = colony.block_on(async { client.propose(&proposal, Some(agent)).await });
        assert_eq!(
            matches!(proposed, Ok(ProposalOutcome::Committed { .. })),
            wins,
            "{proposed:?}"
        );
    }
    for onlooker in &mut onlookers {
        let losses: Vec<OverviewLoss> = onlooker.until("losses", |losses: &Vec<OverviewLoss>| !losses.is_empty());
        let lost = &losses[0];
        assert_eq!(
            (&*lost.author, lost.to.as_deref(), &*lost.key),
            ("ben", Some("ann"), "plan")
        );
    }

    drop(onlookers.pop());
    colony.kill("n3");
    for onlooker in &mut onlookers {
        let dead = |cluster: &OverviewCluster| cluster.nodes.iter().any(|node| node.role == Role::Unreachable);
        let cluster = onlooker.until("cluster", dead);
        let dead = cluster
            .nodes
            .iter()
            .find(|node| node.role == Role::Unreachable)
            .unwrap();
        assert_eq!((&*dead.name, &dead.agents_by_state), ("n3", &None));
    }
}
