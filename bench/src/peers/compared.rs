//! Which figure of a peer stands beside which row of ours, with floors and targets.

use super::Peer;

/// A pair of figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// What both are, in a few words.
    pub what: &'static str,
    /// Whose figure.
    pub peer: Peer,
    /// Its name.
    pub figure: &'static str,
    /// A parameter that it has.
    pub parameter: &'static str,
    /// Our workload.
    pub workload: &'static str,
    /// Its row.
    pub row: &'static str,
    /// Whether more is better.
    pub more_is_better: bool,
    /// What ours divided by theirs must reach, or not exceed where less is better.
    pub floor: Option<f64>,
    /// What it is to reach.
    pub target: Option<f64>,
}

impl Compared {
    const fn new(
        what: &'static str,
        (peer, figure, parameter): (Peer, &'static str, &'static str),
        (workload, row): (&'static str, &'static str),
        more_is_better: bool,
        floor: Option<f64>,
        target: Option<f64>,
    ) -> Compared {
        Compared {
            what,
            peer,
            figure,
            parameter,
            workload,
            row,
            more_is_better,
            floor,
            target,
        }
    }
}

const MORE: bool = true;
const LESS: bool = false;

/// All pairs.
pub const COMPARED: &[Compared] = &[
    Compared::new(
        "durable puts/s, 64",
        (Peer::Etcd, "put.rate", "clients=64"),
        ("B3", "put rate, 64 agents"),
        MORE,
        Some(3.0),
        Some(10.0),
    ),
    Compared::new(
        "durable puts/s, 64 over HTTP",
        (Peer::Etcd, "put.rate", "clients=64"),
        ("B3", "put rate, 64 clients over HTTP"),
        MORE,
        None,
        Some(2.0),
    ),
    Compared::new(
        "put p50 us, 1 on the leader",
        (Peer::Etcd, "put.p50", "clients=1"),
        ("B3", "put latency, 1 agent, leader's node"),
        LESS,
        Some(1.0),
        Some(0.5),
    ),
    Compared::new(
        "put p50 us, 1 on a follower",
        (Peer::Etcd, "put.p50", "clients=1"),
        ("B3", "put latency, 1 agent, follower's node"),
        LESS,
        None,
        Some(0.5),
    ),
    Compared::new(
        "claims/s, 64",
        (Peer::Etcd, "claim.rate", "clients=64"),
        ("B5", "claim rate, 64 agents"),
        MORE,
        Some(3.0),
        None,
    ),
    Compared::new(
        "claim and finish/s, 64; etcd: claim",
        (Peer::Etcd, "claim.rate", "clients=64"),
        ("B5", "claim and finish rate, 64 agents"),
        MORE,
        None,
        Some(10.0),
    ),
    Compared::new(
        "claim and finish/s, 64; a stream",
        (Peer::Redis, "stream.tasks", "clients=64"),
        ("B5", "claim and finish rate, 64 agents"),
        MORE,
        None,
        Some(2.0),
    ),
    Compared::new(
        "claim and finish/s, 64; a list",
        (Peer::Redis, "list.tasks", "clients=64"),
        ("B5", "claim and finish rate, 64 agents"),
        MORE,
        None,
        Some(2.0),
    ),
    Compared::new(
        "128 B one way/s, 1 sender",
        (Peer::Erlang, "dist.cast.delivered", "senders=1"),
        ("B13", "one way, 1 sender"),
        MORE,
        Some(2.0),
        Some(5.0),
    ),
    Compared::new(
        "128 B one way/s, 8 senders",
        (Peer::Erlang, "dist.cast.delivered", "senders=8"),
        ("B13", "one way, 8 senders to 8 agents"),
        MORE,
        None,
        Some(5.0),
    ),
    Compared::new(
        "call p50 us, 1 caller",
        (Peer::Erlang, "dist.call.p50", "callers=1"),
        ("B13", "call latency, 1 caller"),
        LESS,
        None,
        Some(1.0),
    ),
    Compared::new(
        "calls/s, 100 callers",
        (Peer::Erlang, "dist.callmany.rate", "callers=100"),
        ("B13", "call rate, 100 callers"),
        MORE,
        None,
        Some(5.0),
    ),
    Compared::new(
        "128 B one way/s, 1 sender",
        (Peer::Ractor, "cast.delivered", "senders=1"),
        ("B13", "one way, 1 sender"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "128 B one way/s, 8 senders",
        (Peer::Ractor, "cast.delivered", "senders=8"),
        ("B13", "one way, 8 senders to 8 agents"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "call p50 us, 1 caller",
        (Peer::Ractor, "call.p50", "callers=1"),
        ("B13", "call latency, 1 caller"),
        LESS,
        None,
        None,
    ),
    Compared::new(
        "calls/s, 100 callers",
        (Peer::Ractor, "callmany.rate", "callers=100"),
        ("B13", "call rate, 100 callers"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "128 B one way/s, 1 sender",
        (Peer::Tcp, "oneway.delivered", "senders=1"),
        ("B13", "one way, 1 sender"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "call p50 us, 1 caller",
        (Peer::Tcp, "echo.p50", "callers=1"),
        ("B13", "call latency, 1 caller"),
        LESS,
        None,
        None,
    ),
    Compared::new(
        "1 core, 25 states, policy length 1",
        (Peer::Pymdp, "steps", "case=5-1"),
        ("B12", "1 core, 25 states, policy length 1"),
        MORE,
        Some(50.0),
        None,
    ),
    Compared::new(
        "1 core, 25 states, policy length 2",
        (Peer::Pymdp, "steps", "case=5-2"),
        ("B12", "1 core, 25 states, policy length 2"),
        MORE,
        Some(50.0),
        None,
    ),
    Compared::new(
        "1 core, 25 states, policy length 4",
        (Peer::Pymdp, "steps", "case=5-4"),
        ("B12", "1 core, 25 states, policy length 4"),
        MORE,
        Some(50.0),
        None,
    ),
    Compared::new(
        "1 core, 100 states, policy length 1",
        (Peer::Pymdp, "steps", "case=10-1"),
        ("B12", "1 core, 100 states, policy length 1"),
        MORE,
        Some(50.0),
        None,
    ),
    Compared::new(
        "1 agents, 5 observations; pymdp: 1 thread",
        (Peer::Pymdp, "steps", "case=1-agents-5"),
        ("B12", "1 agents, 5 observations, beliefs every step"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "5 agents, 5 observations; pymdp: 1 thread",
        (Peer::Pymdp, "steps", "case=5-agents-5"),
        ("B12", "5 agents, 5 observations, beliefs every step"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "10 agents, 5 observations; pymdp: 1 thread",
        (Peer::Pymdp, "steps", "case=10-agents-5"),
        ("B12", "10 agents, 5 observations, beliefs every step"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "50 agents, 5 observations; pymdp: 1 thread",
        (Peer::Pymdp, "steps", "case=50-agents-5"),
        ("B12", "50 agents, 5 observations, beliefs every step"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "1 agents, 25 observations; pymdp: 1 thread",
        (Peer::Pymdp, "steps", "case=1-agents-25"),
        ("B12", "1 agents, 25 observations, beliefs every step"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "5 agents, 25 observations; pymdp: 1 thread",
        (Peer::Pymdp, "steps", "case=5-agents-25"),
        ("B12", "5 agents, 25 observations, beliefs every step"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "10 agents, 25 observations; pymdp: 1 thread",
        (Peer::Pymdp, "steps", "case=10-agents-25"),
        ("B12", "10 agents, 25 observations, beliefs every step"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "50 agents, 25 observations; pymdp: 1 thread",
        (Peer::Pymdp, "steps", "case=50-agents-25"),
        ("B12", "50 agents, 25 observations, beliefs every step"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "actors started/s",
        (Peer::Ractor, "spawn.rate", "n=100000"),
        ("B4", "spawn rate, active"),
        MORE,
        Some(1.0),
        None,
    ),
    Compared::new(
        "memory of an active agent, B",
        (Peer::Ractor, "spawn.bytes", "n=100000"),
        ("B4", "resident memory per active agent"),
        LESS,
        None,
        None,
    ),
    Compared::new(
        "signals among 100,000 actors/s",
        (Peer::Ractor, "token.rate", "n=100000"),
        ("B4", "signals among active agents"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "processes started/s",
        (Peer::Erlang, "spawn.rate", "n=100000"),
        ("B4", "spawn rate, active"),
        MORE,
        None,
        None,
    ),
    Compared::new(
        "memory of a process, B",
        (Peer::Erlang, "spawn.bytes", "n=100000"),
        ("B4", "resident memory per active agent"),
        LESS,
        None,
        None,
    ),
    Compared::new(
        "signals among 100,000 processes/s",
        (Peer::Erlang, "token.rate", "n=100000"),
        ("B4", "signals among active agents"),
        MORE,
        None,
        None,
    ),
];
