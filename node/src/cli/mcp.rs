//! `queenright mcp` and `queenright setup`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::ClientArgs;
use crate::mcp::Toolsets;

/// `queenright mcp`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright setup claude                    # most clients start it by themselves, once they are told
  queenright mcp                             # speaks on stdin and stdout, until stdin ends
  queenright mcp --toolsets cluster,queue    # with further tools
  queenright mcp --list --toolsets all       # which tools there are; --json has their definitions

The Model Context Protocol over stdio, by the node of this host; every node serves the same at /mcp of its door, with \
?toolsets=… for further tools. Each call looks for a node anew when none answers, so a cluster may be started later.

Sessions that are opened by this process are kept alive while it runs; at /mcp a call with the token is the sign of life.")]
pub struct McpArgs {
    /// Further tools, separated by commas: cluster, dlq, pool, queue, or all
    #[arg(long, value_name = "NAMES", default_value = "default", hide_default_value = true)]
    pub toolsets: Toolsets,
    /// The project of calls that name none
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub project: String,
    /// Who calls, where a call names nobody; else the name that the client gives itself
    #[arg(long, value_name = "NAME", env = "QUEENRIGHT_AGENT")]
    pub agent: Option<String>,
    /// List the tools and end
    #[arg(long)]
    pub list: bool,
    /// The node to ask.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// A program that starts MCP servers for its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Program {
    /// Claude Code: .mcp.json of the project, or ~/.claude.json
    Claude,
    /// Codex: ~/.codex/config.toml, or that of a trusted project
    Codex,
    /// Gemini CLI: .gemini/settings.json of the project, or that of the home folder
    Gemini,
    /// Cursor: .cursor/mcp.json of the project, or that of the home folder
    Cursor,
}

/// For whom a program is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scope {
    /// Whoever works in this folder
    Project,
    /// This user, everywhere
    User,
}

/// `queenright setup`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright setup claude                            # in .mcp.json of this folder
  queenright setup codex                             # in ~/.codex/config.toml
  queenright setup gemini --scope user --dry-run     # what it would write, and where
  queenright setup cursor --toolsets cluster
  queenright setup claude --status
  queenright setup claude --undo

Writes one entry, named queenright, into the file in which the program keeps its MCP servers, and leaves the rest of it as it \
is, comments too. What was there before lies beside it, with .queenright-backup at the end of its name. Running it again \
changes nothing. --undo brings back what was there, or takes out the entry alone if the file has changed since.")]
pub struct SetupArgs {
    /// Which program
    #[arg(value_enum)]
    pub program: Program,
    /// For whom: project, but user for codex
    #[arg(long, value_enum)]
    pub scope: Option<Scope>,
    /// The folder of the project; this one unless it is said
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Further tools, as for `queenright mcp`
    #[arg(long, value_name = "NAMES")]
    pub toolsets: Option<Toolsets>,
    /// The door that the server asks; else the node of the host that it runs on
    #[arg(long, value_name = "HOST:PORT")]
    pub node: Option<String>,
    /// Only say what would be written
    #[arg(long, conflicts_with = "status")]
    pub dry_run: bool,
    /// Take the entry out again
    #[arg(long, conflicts_with_all = ["status", "toolsets", "node"])]
    pub undo: bool,
    /// Only say what is written, for the project and for the user
    #[arg(long, conflicts_with_all = ["toolsets", "node", "scope"])]
    pub status: bool,
}
