//! The table of claims.

use super::{Entry, Peer};

/// Erlang between two nodes, as `bench/peers` drives it.
const ERLANG_CALL: Peer = Peer {
    name: "Erlang/OTP 25, 2 nodes",
    figure: "a call of 128 B and its answer p50 75 µs, p99 137 µs",
    source: "bench/peers/erlang",
};

/// All claims, by workload.
pub const TABLE: &[Entry] = &[
    Entry {
        workload: "B1",
        system: "ruv-swarm",
        claim: "10 agents: mesh 2.3 ms, 4,350 messages/s; star 1.8 ms, 5,200; hierarchical 2.1 ms, 4,750; ring 3.5 ms, 2,850",
        source: "ruv-swarm, docs/BENCHMARKS.md",
        known: "No harness in its repository measures it. Latency times rate is 10 in every row: ten agents with one message \
                under way each. Its topologies are data; no message goes over them.",
        peer: Some(ERLANG_CALL),
        rows: &[
            "mesh, random peer, 64 B: send to handler",
            "mesh, random peer, 64 B: rate",
            "star, random peer, 64 B: send to handler",
            "star, random peer, 64 B: rate",
            "hierarchical, random peer, 64 B: send to handler",
            "hierarchical, random peer, 64 B: rate",
            "ring, random peer, 64 B: send to handler",
            "ring, random peer, 64 B: rate",
        ],
    },
    Entry {
        workload: "B2",
        system: "ruv-swarm",
        claim: "swarm init 42.3 ms; spawn 14.7 ms, 5.74 in parallel; orchestrate 52.1 ms; 19.2 to 1,423 tasks/s at 1 to 100 agents",
        source: "ruv-swarm, docs/BENCHMARKS.md",
        known: "Its `benchmark run` sleeps: setTimeout of 5 ms for init and 3 ms for spawn (src/benchmark.js). 19.2 is 1,000 / \
                52.1. A task's execution returns a constant.",
        peer: Some(Peer {
            name: "ruv-swarm 1.0.20 itself",
            figure: "init 0.14 ms, spawn 0.44 ms, orchestrate 0.32 ms on average: rows of SQLite, not synced, and no work done",
            source: "its tool layer in one process, 100, 500 and 200 calls",
        }),
        rows: &[
            "project created and committed",
            "agent spawned over HTTP, 500 in turn",
            "agent spawned over HTTP, 100 at once",
            "a task to 5 agents, committed",
            "tasks handled and committed, 100 agents",
        ],
    },
    Entry {
        workload: "B3",
        system: "ruv-swarm",
        claim: "put 2.3 ms, get 0.8 ms",
        source: "ruv-swarm, docs/BENCHMARKS.md",
        known: "No harness. Its tool layer, run as it is, stores in 0.12 ms and reads in 0.071 ms on average: one SQLite file, \
                synchronous NORMAL, so that no write waits for the disk.",
        peer: Some(Peer {
            name: "etcd 3.4.23, 3 nodes",
            figure: "1 client 1,183 puts/s, p50 0.81 ms, p99 1.47 ms",
            source: "bench/peers/etcd",
        }),
        rows: &[
            "put latency, 1 agent, leader's node",
            "put latency, 1 agent, follower's node",
            "get latency, local",
            "get latency, linearizable, follower's node",
        ],
    },
    Entry {
        workload: "B3",
        system: "ruv-swarm",
        claim: "476 inserts/s, 2,840 in batches; 12,500 reads/s; 892 updates/s",
        source: "ruv-swarm, docs/BENCHMARKS.md",
        known: "No harness. Every rate is 1 / latency: one connection, one after the other, without a sync.",
        peer: Some(Peer {
            name: "etcd 3.4.23, 3 nodes",
            figure: "16 clients 4,730 puts/s, 64 clients 9,292, 256 clients 13,280",
            source: "bench/peers/etcd",
        }),
        rows: &[
            "put rate, 16 agents",
            "put rate, 64 agents",
            "put rate, 256 agents",
            "put rate, 64 clients over HTTP",
        ],
    },
    Entry {
        workload: "B4",
        system: "ruv-swarm",
        claim: "500 agents: 5,170 KB each",
        source: "ruv-swarm, docs/BENCHMARKS.md",
        known: "A constant: the package reports 5.0 MB for each agent, for a neural network that it does not make. Measured, \
                its agent is an object of 1.1 KiB of heap, 8.3 KiB resident.",
        peer: Some(Peer {
            name: "Erlang/OTP 25",
            figure: "2,686 B a process, 263 k spawned a second; an actor of ractor with its cluster feature 10,910 B, 46 k",
            source: "bench/peers/erlang and bench/peers/ractor",
        }),
        rows: &[
            "resident memory per active agent",
            "resident memory per passive agent",
            "spawn rate, active",
        ],
    },
    Entry {
        workload: "B5",
        system: "SwarmSH",
        claim: "claim, progress, complete: 42.3 ms, 23.6 a second, 92.6 % succeed",
        source: "SwarmSH, TEST_COVERAGE_REPORT_v1.1.0.md",
        known: "Typed into a report; no script makes it, and 23.6 is 1,000 / 42.3. Its script, run as it is: 190 ms a claim; of \
                50 claims at 10 at a time 34 refused; the file of claims empty after 20 finishes at 10 at a time, in 4 of 4 \
                runs. A claim makes a new item, so that nobody contends for one.",
        peer: Some(Peer {
            name: "Redis 7.0.15, one server, appendfsync always",
            figure: "64 clients 18,859 stream items/s; etcd 3.4.23, 3 nodes, 64 clients 5,621 claims/s",
            source: "bench/peers/redis and bench/peers/etcd",
        }),
        rows: &[
            "claim, progress and finish rate, 1 agent",
            "claim, progress and finish rate, 10 agents",
            "claim and finish rate, 64 agents",
            "claim rate, 64 agents",
            "race of 16 agents for one task",
        ],
    },
    Entry {
        workload: "B6",
        system: "ggen",
        claim: "consensus of 10 packs p50 below 100 ms, p99 below 500 ms",
        source: "ggen, docs/performance/DELIVERABLES_SUMMARY.md",
        known: "A target, never measured: the benchmark did not compile, what it calls could only panic, and there is no vote \
                in it.",
        peer: None,
        rows: &[],
    },
    Entry {
        workload: "B7",
        system: "ggen",
        claim: "below 200 ms at 20 packs (one document) or at 50 (another)",
        source: "ggen, docs/performance/DELIVERABLES_SUMMARY.md",
        known: "A prediction: every row says \"expected\" and \"TBD\". The benchmark did not compile when it was added, and was \
                deleted. The faster way that its documents describe finds other conflicts: 4, 12, 27, 72 instead of 5, 27, \
                112, 717.",
        peer: None,
        rows: &[
            "20 packs, original's rules: linear",
            "20 packs, original's rules: pairwise oracle",
            "50 packs, original's rules: linear",
            "50 packs, original's rules: pairwise oracle",
        ],
    },
    Entry {
        workload: "B8",
        system: "ggen",
        claim: "pairwise comparison, O(n²); no figure",
        source: "ggen, crates/ggen-domain/benches/swarm_primitives.rs",
        known: "Runs, and finds 12, 392, 1,617 and 41,417 conflicts among 10, 50, 100 and 500 proposals.",
        peer: Some(Peer {
            name: "pairwise, and sorting and merging",
            figure: "measured in the same run: the rows of that name",
            source: "this workload",
        }),
        rows: &[
            "resource-(i mod 3), 500 proposals: detect",
            "uniform, 1000 proposals: batch and detect",
            "uniform, 1000 proposals: pairwise",
            "uniform, 1000000 proposals: batch and detect",
            "uniform, 1000000 proposals: sort and merge",
        ],
    },
    Entry {
        workload: "B9",
        system: "ggen",
        claim: "a snapshot is read in less than 1 µs, p99",
        source: "ggen, crates/ggen-domain/benches/swarm_primitives.rs",
        known: "A loop in one thread: to commit needs the cell for itself, so that no reader can run while one writes.",
        peer: None,
        rows: &[],
    },
    Entry {
        workload: "B10",
        system: "ggen",
        claim: "commutative aggregation of 100 proposals below 10 µs",
        source: "ggen, crates/ggen-domain/benches/swarm_primitives.rs",
        known: "A target. It joins texts, with copies that grow by the square; of conditional proposals, which should lose all \
                but ten, none ever fails.",
        peer: None,
        rows: &[
            "commutative aggregation, 100 proposals: the batch",
            "commutative aggregation, 100 proposals: the batch as a dry run, which only judges",
        ],
    },
    Entry {
        workload: "B10",
        system: "ggen",
        claim: "enqueue and dequeue below 1 µs p50, dequeue O(1)",
        source: "ggen, crates/ggen-domain/benches/swarm_primitives.rs",
        known: "A target. Its dequeue removes the first of a vector: O(n).",
        peer: None,
        rows: &[
            "priority scheduling, 1000 tasks: enqueue",
            "priority scheduling, 1000 tasks: dequeue",
        ],
    },
    Entry {
        workload: "B11",
        system: "Dash",
        claim: "delivery 5 / 10 / 40 / 120 ms at 10 / 20 / 50 / 100 agents",
        source: "Dash, docs/PERFORMANCE_BASELINE.md",
        known: "Its harness times a loop that emits one event for each swarm and subscribes to nothing. The only runs that are \
                committed (of its successor Godel) say FAILED, with 0 events delivered.",
        peer: Some(Peer {
            name: "NATS 2.9.10, one server",
            figure: "1.47 M messages/s of 128 B from one publisher to one subscriber, kept nowhere",
            source: "async-nats, three runs",
        }),
        rows: &[
            "delivery latency, 10 agents",
            "delivery latency, 20 agents",
            "delivery latency, 50 agents",
            "delivery latency, 100 agents",
        ],
    },
    Entry {
        workload: "B11",
        system: "Dash",
        claim: "delivered 99.9 / 99.5 / 95 / 85 %",
        source: "Dash, docs/PERFORMANCE_BASELINE.md",
        known: "Delivered is 0 in every committed run: nobody subscribes. Here every event must arrive, or the workload fails.",
        peer: None,
        rows: &["events, 64 puts at a time", "delivery latency, 64 puts at a time"],
    },
    Entry {
        workload: "B12",
        system: "FreeAgentics",
        claim: "680.5 operations/s by 1 agent, 190.1 by 5, 197.3 by 10 (20 steps each, threads)",
        source: "FreeAgentics, benchmarks/PERFORMANCE_BENCHMARKS_README.md",
        known: "One run of 20 steps; processes were started inside the clock, threads before it. The likelihood is the same for \
                every state, so that an observation changes no belief.",
        peer: Some(Peer {
            name: "pymdp 0.0.7.1, 1 thread",
            figure: "25 states and observations: 3,689 steps/s at policy length 1, 530 at 2, 12.8 at 4",
            source: "bench/peers/pymdp",
        }),
        rows: &[
            "1 core, 25 states, policy length 1",
            "1 core, 25 states, policy length 2",
            "1 core, 25 states, policy length 4",
            "10 agents, 25 observations, beliefs every step",
        ],
    },
    Entry {
        workload: "B13",
        system: "FreeAgentics",
        claim: "1,000 messages over 10 agents: > 1,000/s; by 4 workers > 5,000/s; asynchronously > 10,000/s",
        source: "FreeAgentics, benchmarks/PERFORMANCE_BENCHMARKS_README.md",
        known: "Targets. The files route through a dictionary of their own, not through the product, and their handlers sleep \
                0.1 ms.",
        peer: Some(Peer {
            name: "Erlang/OTP 25, 2 nodes, 128 B",
            figure: "one way 371 k messages/s; a call p50 75 µs; 100 callers 46,241 calls/s (ractor_cluster 0.16.5: 306 k, \
                     100 µs, 104,050)",
            source: "bench/peers/erlang and bench/peers/ractor",
        }),
        rows: &[
            "on one node, 1,000 to 10 agents",
            "one way, 1 sender",
            "call latency, 1 caller",
            "call rate, 100 callers",
        ],
    },
    Entry {
        workload: "B14",
        system: "FreeAgentics",
        claim: "efficiency 70 % at 10 agents, 28.4 % at 50",
        source: "FreeAgentics, docs/performance/PERFORMANCE_LIMITS_AND_BENCHMARKS.md",
        known: "Two of its documents contradict each other: 50 ms and 1.4 ms a step of one agent. Its threads take turns, so \
                that ten together are slower than one alone.",
        peer: None,
        rows: &[
            "1 node, 10 agents: efficiency",
            "1 node, 50 agents: efficiency",
            "mesh of 3, 50 agents: efficiency",
        ],
    },
    Entry {
        workload: "B15",
        system: "ruv-swarm",
        claim: "96, 93, 89, 81, 74 % at 5 to 100 agents",
        source: "ruv-swarm, docs/BENCHMARKS.md",
        known: "No harness: each is the rate divided by agents times 19.2, and 19.2 is 1,000 / 52.1.",
        peer: None,
        rows: &[
            "efficiency, 5 agents on 3 nodes",
            "efficiency, 10 agents on 3 nodes",
            "efficiency, 25 agents on 3 nodes",
            "efficiency, 50 agents on 3 nodes",
            "efficiency, 100 agents on 3 nodes",
        ],
    },
    Entry {
        workload: "B15",
        system: "FreeAgentics",
        claim: "85, 70, 45, 28 % at 5 to 50 agents",
        source: "FreeAgentics, docs/performance/PERFORMANCE_LIMITS_AND_BENCHMARKS.md",
        known: "Its own architecture notes admit 28.4 % and about 50 agents where 300 were announced.",
        peer: None,
        rows: &["1 agent on 3 nodes", "10 agents on 3 nodes", "100 agents on 3 nodes"],
    },
];
