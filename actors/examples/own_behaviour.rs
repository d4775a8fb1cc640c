//! A behaviour of your own, hosted by a node: copy it and begin.
//!
//! A *tally* counts votes. It is an agent that others send signals to; when none comes it becomes passive, a record with
//! its count, and the next vote wakes it. A *voter* sends votes, asks for the count and is done.
//!
//! ```sh
//! cargo run -p queenright-actors --example own_behaviour
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use futures::future::BoxFuture;
use queenright_actors::agent::{
    AgentAddress, AgentContext, AgentSpec, AgentState, AgentStatus, Behaviour, BehaviourError, Kinds, Signal, Step,
};
use queenright_actors::consensus::{CompactionOptions, Timing};
use queenright_actors::disk::DiskLimits;
use queenright_actors::link::{Cookie, LinkLimits};
use queenright_actors::node::{Member, Node, NodeOptions};
use queenright_actors::queen::RoundLimits;
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::Kind;
use serde::Deserialize;
use serde_json::json;

/// Counts votes, and answers how many there were.
#[derive(Default)]
struct Tally {
    votes: u64,
}

impl Behaviour for Tally {
    /// The first call, and what a nudge does. There is nothing to do: it becomes passive at once.
    fn step<'a>(&'a mut self, _: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(async { Ok(Step::Passivate) })
    }

    /// Signals come in the order in which each sender sent them, several together when they come fast.
    fn signals(&mut self, signals: Vec<Signal>, context: &AgentContext) -> Result<Step, BehaviourError> {
        for signal in signals {
            match signal.question {
                0 => self.votes += 1,
                // Whoever asked may have gone away: that is no reason to end.
                _ => drop(context.answer(&signal, &self.votes.to_le_bytes())),
            }
        }
        // For `queenright agent show`, and whoever else looks from outside.
        context.report("votes", self.votes);
        Ok(Step::Passivate)
    }

    /// What is kept of it while it is passive.
    fn passivate(&mut self) -> Option<Vec<u8>> {
        Some(self.votes.to_le_bytes().to_vec())
    }

    /// What makes it again of that. An error, or a panic, would end this generation, and its restart policy decides then.
    fn wake(&mut self, state: &[u8]) -> Result<(), BehaviourError> {
        let votes = state
            .try_into()
            .map_err(|_| BehaviourError(format!("{state:?} is no count")))?;
        self.votes = u64::from_le_bytes(votes);
        Ok(())
    }
}

/// What a voter is told: `arguments` of its specification.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VoterArguments {
    tally: AgentAddress,
    votes: u64,
}

struct Voter(VoterArguments);

impl Voter {
    async fn vote(&self, context: &AgentContext) -> Result<Step, BehaviourError> {
        let failed = |error: &dyn Error| BehaviourError(error.to_string());
        for _ in 0..self.0.votes {
            // Waits while too much waits for the tally; `tell` would be told that it is busy.
            let told = context.tell_waiting(self.0.tally, b"yes").await;
            told.map_err(|error| failed(&error))?;
        }
        // Signals of one pair keep their order: all its votes are counted before the question is read.
        let answer = context.ask(self.0.tally, b"", Duration::from_secs(5)).await;
        let counted = answer.map_err(|error| failed(&error))?;
        let counted = counted.first_chunk().copied().map(u64::from_le_bytes);
        context.report(
            "counted",
            counted.ok_or_else(|| BehaviourError("the answer is no count".to_owned()))?,
        );
        Ok(Step::Done)
    }
}

impl Behaviour for Voter {
    fn step<'a>(&'a mut self, context: &'a AgentContext) -> BoxFuture<'a, Result<Step, BehaviourError>> {
        Box::pin(self.vote(context))
    }
}

/// The kinds that the node hosts: each makes a behaviour of a specification, or says what is wrong with its arguments.
fn kinds() -> Kinds {
    let mut kinds = Kinds::default();
    kinds.add("tally", |_| Ok(Box::new(Tally::default()) as Box<dyn Behaviour>));
    kinds.add("voter", |spec| {
        let arguments = serde_json::from_value(spec.arguments.clone());
        let arguments = arguments.map_err(|error| BehaviourError(error.to_string()))?;
        Ok(Box::new(Voter(arguments)) as Box<dyn Behaviour>)
    });
    kinds
}

/// A cluster of one node. The program `queenright` makes these options of a cluster file.
fn options(data: &std::path::Path) -> Result<NodeOptions, Box<dyn Error>> {
    let links = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    Ok(NodeOptions {
        cluster: "own-behaviour".to_owned(),
        nodes: vec![Member {
            name: "n1".to_owned(),
            links,
            links_advertised: links.to_string(),
            http_advertised: String::new(),
        }],
        me: 0,
        topology: Kind::Mesh,
        voters: None,
        routed: false,
        data: data.to_owned(),
        cookie: Cookie::new("a secret that all nodes of this cluster share")?,
        timing: Timing {
            heartbeat: Duration::from_millis(100),
            election: (Duration::from_millis(300), Duration::from_millis(600)),
        },
        memory_bytes: None,
        compaction: CompactionOptions::default(),
        rounds: RoundLimits::default(),
        links: LinkLimits::default(),
        kinds: kinds(),
        labels: BTreeMap::new(),
        disk: DiskLimits {
            watermark_bytes: None,
            ballast_bytes: Some(0),
        },
        tls: None,
    })
}

/// Waits until an agent is in a state.
async fn reached(node: &Node, name: &str, state: AgentState) -> Result<AgentStatus, Box<dyn Error>> {
    loop {
        let status = node.agent(name)?;
        if status.state == state {
            return Ok(status);
        }
        if !status.state.is_live() {
            return Err(format!("{name} is {}: {:?}", status.state, status.reason).into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lets three voters vote; says how many votes were counted.
async fn election() -> Result<u64, Box<dyn Error>> {
    let data = tempfile::tempdir()?;
    let node = Node::start(options(data.path())?).await?;
    let spec = |name: &str, kind: &str, arguments| AgentSpec {
        name: name.to_owned(),
        kind: kind.to_owned(),
        arguments,
        ..AgentSpec::default()
    };
    let tally = node.spawn_agent(spec("tally", "tally", json!(null))).await?;
    reached(&node, "tally", AgentState::Passive).await?;
    let address = AgentAddress {
        node: NodeId(node.cluster_status().await.nodes[0].number),
        number: tally.number,
        generation: tally.generation,
    };
    for voter in ["ann", "bea", "cleo"] {
        let arguments = json!({ "tally": address, "votes": 100 });
        node.spawn_agent(spec(voter, "voter", arguments)).await?;
        let done = reached(&node, voter, AgentState::Done).await?;
        println!("{voter} has voted, and {} votes are counted", done.report["counted"]);
    }
    let tally = reached(&node, "tally", AgentState::Passive).await?;
    node.stop().await;
    tally.report["votes"].as_u64().ok_or_else(|| "no votes".into())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    println!("{} votes in all", election().await?);
    Ok(())
}

#[tokio::test]
async fn every_vote_is_counted_once() {
    assert_eq!(election().await.unwrap(), 300);
}
