//! Tells other programs to start `queenright mcp`: one entry in the file in which a program keeps its MCP servers. The rest of
//! the file stays as it is.
//!
//! | program | of a project | of a user | entry |
//! |---|---|---|---|
//! | Claude Code | `.mcp.json` | `~/.claude.json`, or that of `CLAUDE_CONFIG_DIR` | `mcpServers.queenright` |
//! | Codex | `.codex/config.toml` | `~/.codex/config.toml`, or that of `CODEX_HOME` | `[mcp_servers.queenright]` |
//! | Gemini CLI | `.gemini/settings.json` | `~/.gemini/settings.json` | `mcpServers.queenright` |
//! | Cursor | `.cursor/mcp.json` | `~/.cursor/mcp.json` | `mcpServers.queenright` |

mod file;
mod json;
#[cfg(test)]
mod tests;
mod toml;

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

pub(crate) use self::file::state;
pub use self::file::{Done, Plan, State};
use crate::cli::{Program, Scope};

/// The name of the entry.
pub const NAME: &str = "queenright";

/// What a program is to start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
}

impl Entry {
    /// Of an entry that names no command, as one of a server at a URL does.
    fn unknown() -> Entry {
        Entry {
            command: String::new(),
            args: Vec::new(),
        }
    }
}

/// Why a file was left as it is.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A place that the environment should name is not known.
    #[error("{what} is not known: set {variable}")]
    NoPlace {
        /// Which.
        what: &'static str,
        /// The variable that would name it.
        variable: &'static str,
    },
    /// The file cannot be read or written.
    #[error("{}: {what}", file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The file is not what the program would read: nothing was changed.
    #[error("{}: {problem}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// Where and what.
        problem: String,
    },
}

/// How a file is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Json,
    Toml,
}

/// What was found of the entry in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Edited {
    /// The text with the entry, or without it.
    text: String,
    /// Whether there was one before.
    had: bool,
}

impl Format {
    /// The text with the entry in it. Other keys of an entry that is there stay.
    fn with(self, text: &str, entry: &Entry) -> Result<Edited, String> {
        match self {
            Format::Json => json::with(text, entry),
            Format::Toml => toml::with(text, entry),
        }
    }

    /// The text without the entry.
    fn without(self, text: &str) -> Result<Edited, String> {
        match self {
            Format::Json => json::without(text),
            Format::Toml => toml::without(text),
        }
    }

    /// What the entry says, if there is one.
    fn entry(self, text: &str) -> Result<Option<Entry>, String> {
        match self {
            Format::Json => json::entry(text),
            Format::Toml => toml::entry(text),
        }
    }
}

/// The environment that decides where files are.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `CODEX_HOME`.
    pub codex_home: Option<PathBuf>,
    /// `CLAUDE_CONFIG_DIR`.
    pub claude_config: Option<PathBuf>,
    /// The folder of the project.
    pub project: PathBuf,
}

impl Places {
    /// As the environment of this process has them.
    pub fn of_process(project: PathBuf) -> Places {
        let place = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        Places {
            home: place("HOME"),
            codex_home: place("CODEX_HOME"),
            claude_config: place("CLAUDE_CONFIG_DIR"),
            project,
        }
    }

    fn of_home(&self, path: &str) -> Result<PathBuf, SetupError> {
        let home = self.home.as_deref().ok_or(SetupError::NoPlace {
            what: "the home folder",
            variable: "HOME",
        });
        home.map(|home| home.join(path))
    }

    /// The file of a program.
    ///
    /// # Errors
    /// When the environment does not say where it is.
    pub fn file(&self, program: Program, scope: Scope) -> Result<PathBuf, SetupError> {
        let moved = |folder: &Option<PathBuf>, name: &str| folder.as_deref().map(|folder: &Path| folder.join(name));
        match (program, scope) {
            (Program::Claude, Scope::Project) => Ok(self.project.join(".mcp.json")),
            (Program::Claude, Scope::User) => {
                moved(&self.claude_config, ".claude.json").map_or_else(|| self.of_home(".claude.json"), Ok)
            }
            (Program::Codex, Scope::Project) => Ok(self.project.join(".codex/config.toml")),
            (Program::Codex, Scope::User) => {
                moved(&self.codex_home, "config.toml").map_or_else(|| self.of_home(".codex/config.toml"), Ok)
            }
            (Program::Gemini, Scope::Project) => Ok(self.project.join(".gemini/settings.json")),
            (Program::Gemini, Scope::User) => self.of_home(".gemini/settings.json"),
            (Program::Cursor, Scope::Project) => Ok(self.project.join(".cursor/mcp.json")),
            (Program::Cursor, Scope::User) => self.of_home(".cursor/mcp.json"),
        }
    }
}

fn format_of(program: Program) -> Format {
    match program {
        Program::Codex => Format::Toml,
        Program::Claude | Program::Gemini | Program::Cursor => Format::Json,
    }
}
