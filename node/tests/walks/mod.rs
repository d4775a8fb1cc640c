//! The six jobs for which people come here, each walked from its beginning to its end as they would: by the command line, as
//! text and as JSON, and by models that speak to `queenright mcp`, against three nodes. Each holds the moment for which the
//! job is worth a cluster.
//!
//! | walk | who comes with it | the moment |
//! |---|---|---|
//! | [`hand_out`] | many workers on one list of tasks | nobody gets the task of another, and is told whose it is |
//! | [`same_file`] | agents in one repository | the second learns before it edits, and git refuses its commit |
//! | [`killed`] | whoever lets workers run alone | what a killed worker held goes on where it was, and its late result is refused |
//! | [`landing_changes`] | agents whose changes meet | the loser learns the key, the winner and what to read again, and then wins |
//! | [`morning`] | whoever was asleep | what failed, what it has cost, who lost to whom, and what to do about it |
//! | [`one_pool`] | one swarm on several hosts | a node dies, another one joins, a backup begins again, and nothing is lost |
//!
//! They were chosen by what goes wrong without them: work that is done twice, work that is overwritten, work that is lost,
//! and nobody who can say why. Whatever one thing a walk passes over has a test of its own in another module.

mod hand_out;
mod killed;
mod landing_changes;
mod morning;
mod one_pool;
mod same_file;

use std::process::Command;

use serde_json::Value;

use crate::colony::{Colony, Ran};
use crate::mcp::Session;

/// Somebody who works by the command line at one node, under a name.
struct Person<'a> {
    colony: &'a Colony,
    name: &'a str,
    node: &'a str,
}

impl<'a> Person<'a> {
    fn new(colony: &'a Colony, name: &'a str, node: &'a str) -> Person<'a> {
        Person { colony, name, node }
    }

    fn command(&self, line: &[&str]) -> Command {
        let mut command = self.colony.command_at(self.node, line);
        command.env("QUEENRIGHT_AGENT", self.name);
        command
    }

    fn runs(&self, line: &[&str]) -> Ran {
        Ran::of(&mut self.command(line))
    }

    /// What a command prints that ends well, for people.
    #[track_caller]
    fn reads(&self, line: &[&str]) -> String {
        text(&self.runs(line).with_code(0))
    }

    /// The same for programs.
    #[track_caller]
    fn json(&self, line: &[&str]) -> Value {
        self.runs(&[line, &["--json"]].concat()).with_code(0).json()
    }

    /// What it is told, on either stream, by a command that ends with this code.
    #[track_caller]
    fn told(&self, line: &[&str], code: i32) -> String {
        let ran = self.runs(line).with_code(code);
        format!("{}{}", text(&ran), ran.stderr)
    }
}

/// A model that works by MCP over stdio at one node, under a name.
fn model(colony: &Colony, name: &str, node: &str) -> Session {
    let mut session = Session::start(&mut colony.command_at(node, &["mcp", "--agent", name, "--toolsets", "all"]));
    session.hello("2025-06-18");
    session
}

fn text(ran: &Ran) -> String {
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

/// A text that is in a JSON value.
#[track_caller]
fn word<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field]
        .as_str()
        .unwrap_or_else(|| panic!("no text {field} in {value}"))
}

/// A text says all of this.
#[track_caller]
fn says(text: &str, wanted: &[&str]) {
    for wanted in wanted {
        assert!(text.contains(wanted), "{wanted:?} is not in\n{text}");
    }
}
