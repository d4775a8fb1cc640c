//! The simulator: three or five nodes in one process, in virtual time, with everything that can go wrong between and under them
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
//! It does, event by event, in one process as in another; `tests::one_seed_repeats_its_trace` compares two runs. What made
//! runs differ, and what was done:
//!
//! - openraft draws election timeouts and first ticks at random: `runtime` seeds them, anew whenever a node is polled.
//! - Who waits on a `tokio::sync::watch` is woken in an order that tokio draws at random, from a generator which only the
//!   unstable `Builder::rng_seed` seeds; two replication streams wait for one position. openraft's watches are those of
//!   `watch`. Ours (who leads, how far was applied) are still tokio's: several reads that wait on one node are woken in any
//!   order, and their answers are sorted.
//! - A task that is woken from outside of its runtime goes to a second queue, and tokio looks there first once in 31 polls.
//!   The number of polls is not the same in each run, so 3 of 50 seeds differed: the queen of a node took a command before
//!   or after what arrived in the same millisecond. Nothing is woken from outside any more.
//! - `tokio::select!` begins at a random branch: those on the path of consensus are `biased`.
//! - The router told those whose link went down in the order of a `HashMap`: it is a `BTreeMap` now.
//! - Work on a blocking thread ends when the machine likes: what openraft's runtime is asked to do there is done in place.
//!
//! What can still make a run differ: several reads that wait for a leader on one node when it changes are woken by tokio's
//! watch and ask the new leader in any order; none of the runs that were compared differed by that. And whatever a
//! dependency draws from `thread_rng` or reads from the clock of the machine.
//!
//! # Whether it sees anything
//!
//! `disk::Planted` has two bugs, and the tests demand that the 50 seeds see them: an append that is acknowledged before it is
//! synced (two nodes commit different entries at one place), and a vote that is not on disk (openraft stops by its own
//! checks, or the nodes do not become equal any more).
//!
//! # What it does not have
//!
//! The links below `Transport` (`link`), the store, snapshots and purging, founding, changes of members and of the epoch: three
//! voters, or five, are there from the start, node 1 initialises them, and their topology stays. Signals go nowhere, tasks
//! are held by tokens, never by hosted agents, and no session ends for want of a sign of life.

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
