//! The simulator: three nodes in one process, in virtual time, with everything that can go wrong between and under them
//! drawn from one seed, judged by invariants. Compiled for tests alone.
//!
//! | file | what |
//! |---|---|
//! | `cluster` | the nodes, what goes wrong and who asks for something, millisecond by millisecond |
//! | `node` | one node: a paused tokio runtime of its own (its clock, which the cluster moves, drifts), and on it the real router, consensus with openraft, replica, and rounds |
//! | `queen` | the shell around the real rounds, in place of the actor: ractor keeps its registries per process |
//! | `network` | the other implementation of `Transport`: delay, loss, stalls, cuts |
//! | `disk` | the log of consensus in memory: what was not synced is gone after a crash |
//! | `faults` | what goes wrong and when |
//! | `agents`, `history` | who asks for what, and what they were answered |
//! | `invariants` | what must hold, one file each |
//! | `trace` | what happened, and a hash of it |
//! | `runtime`, `watch` | what openraft needs so that a seed repeats its trace |
//!
//! A crash drops the node's runtime with all its tasks between two polls; a stopped node is not polled, and its clock jumps
//! when it goes on; a slow clock is a runtime that is moved by less than a millisecond each millisecond.
//!
//! # Running it
//!
//! ```text
//! cargo test -p queenright-actors --lib sim::                             the default: 50 seeds
//! QUEENRIGHT_SIM_SEEDS=5000 cargo test -p queenright-actors --lib sim::tests::every_seed     a long soak
//! QUEENRIGHT_SIM_SEED=17 cargo test -p queenright-actors --lib sim::tests::one_seed -- --nocapture     one seed, all its events
//! ```
//!
//! # Whether a seed repeats its trace
//!
//! It does, event by event, in one process as in another: `tests::one_seed_repeats_its_trace` compares. What differed before,
//! and why it does not any more:
//!
//! - openraft draws election timeouts at random: `runtime` seeds them, anew whenever a node is polled.
//! - Who waits on a `tokio::sync::watch` is woken in an order that tokio draws from a generator which only the unstable
//!   `Builder::rng_seed` seeds; two replication streams wait for one position. openraft's watches are those of `watch`.
//!   Ours (who leads, how far was applied) are still tokio's: an entry applied, or a change of leader, while two reads wait
//!   on one node wakes them in either order. They do then what does not depend on it, but the number of polls does, and
//!   with it what tokio counts:
//! - a task that is woken from outside of its runtime goes to a second queue, which tokio looks at first once in 31 polls.
//!   So nothing is woken from outside: what the cluster tells a node, it tells it on that node's runtime.
//! - `tokio::select!` begins at a random branch: those on the path of consensus are `biased`.
//! - The router told those whose link went down in the order of a `HashMap`: it is a `BTreeMap` now.
//! - Work on a blocking thread ends when the machine likes: in a simulation it is done in place.
//!
//! What is left to chance: nothing that was seen in traces. What could come back: a dependency that draws from
//! `thread_rng`, waits on a tokio watch with several others and then acts on the network, or reads the clock of the machine.
//!
//! # What it does not have
//!
//! The links below `Transport` (`link`), the store, snapshots and purging, founding and changes of members: three voters are
//! there from the start, node 1 initialises them. Signals go nowhere.

mod agents;
mod cluster;
mod disk;
mod faults;
mod history;
mod invariants;
mod network;
mod node;
mod queen;
mod runtime;
mod tests;
mod trace;
mod watch;

pub(crate) use self::runtime::SimRuntime;
