//! Why a replay could not be carried out.

use queenright_bench::client::ClientError;

use crate::git::GitError;

/// Why a replay could not be carried out. What was committed stays committed: run again, it goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The repository.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The cluster.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A blob is larger than a value may be. Nothing was loaded.
    #[error("blob {id} has {bytes} B, the limit of a value is {limit} B")]
    BlobTooLarge {
        /// Its id.
        id: String,
        /// Its size.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// The project holds a replay of something else. Nothing was changed.
    #[error("the project holds a replay of another history: {key} is not what commit {commit} would leave there")]
    OtherHistory {
        /// The key that differs.
        key: String,
        /// The commit here.
        commit: String,
    },
    /// No node of the cluster answers.
    #[error("no node of the cluster answers")]
    NoNode,
    /// An agent could not go on.
    #[error("agent {agent} on node {node} failed: {reason}")]
    Agent {
        /// The agent.
        agent: String,
        /// Its node.
        node: String,
        /// Why.
        reason: String,
    },
    /// Nothing was committed for a long time although agents work.
    #[error("no commit was committed for {seconds} s, {done} of {commits} are")]
    Stalled {
        /// How long.
        seconds: u64,
        /// How many are committed.
        done: u64,
        /// How many there are.
        commits: u64,
    },
    /// It was told to stop.
    #[error("interrupted, {done} of {commits} commits are committed; run again to go on")]
    Interrupted {
        /// How many are committed.
        done: u64,
        /// How many there are.
        commits: u64,
    },
    /// A record of the replay in the memory does not have its form.
    #[error("{key} does not hold what a replay writes there: {problem}")]
    Record {
        /// The key.
        key: String,
        /// What is wrong.
        problem: String,
    },
    /// A file of the dump could not be written.
    #[error("cannot write {path}")]
    Dump {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A thread of this process was broken off.
    #[error("reading the repository was broken off")]
    BrokenOff(#[from] tokio::task::JoinError),
}
