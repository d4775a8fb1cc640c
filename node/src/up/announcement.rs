//! The one line that a node tells the process that started it.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::state::RunningNode;

/// Longest line that a parent reads.
pub(super) const LINE_BYTES_MAX: u64 = 64 * 1024;

/// What a node started with `--parent-pipe` prints on its stdout, once, as one line of JSON: `{"ready":{…}}` or
/// `{"failed":"…"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Announcement {
    /// The door is open.
    Ready(RunningNode),
    /// The node ends without having opened its door, and why: what it would print as its error.
    Failed(String),
}

impl Announcement {
    /// Prints the line.
    ///
    /// # Errors
    /// When the parent no longer reads.
    pub fn print(&self) -> io::Result<()> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        let mut stdout = io::stdout().lock();
        stdout.write_all(&line)?;
        stdout.flush()
    }
}
