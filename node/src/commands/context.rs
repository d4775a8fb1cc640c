//! Where and how a command prints.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::CliError;
use crate::cli::OutputArgs;

/// Where and how a command prints: answers on stdout, as text or as JSON; notes and progress on stderr.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// Answers are JSON.
    pub json: bool,
    /// Notes and progress are left out.
    pub quiet: bool,
}

impl Context {
    /// As the flags say.
    pub fn new(output: OutputArgs) -> Context {
        Context {
            json: output.json,
            quiet: output.quiet,
        }
    }

    /// Prints one answer: with `--json` the value as one line of JSON, else the text.
    ///
    /// # Errors
    /// [`CliError::Stdout`]; `main` takes a reader that has gone away for the end of a good run.
    pub fn answer(&self, value: &impl Serialize, text: impl Display) -> Result<(), CliError> {
        if self.json {
            let line = serde_json::to_string(value).map_err(|error| CliError::Stdout(error.into()))?;
            self.print(line)
        } else {
            self.print(text)
        }
    }

    /// Prints a line of an answer as it is.
    ///
    /// # Errors
    /// As [`Context::answer`].
    pub fn print(&self, text: impl Display) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")
            .and_then(|()| stdout.flush())
            .map_err(CliError::Stdout)
    }

    /// Prints bytes as they are, such as the value of a key.
    ///
    /// # Errors
    /// As [`Context::answer`].
    pub fn print_bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let mut stdout = io::stdout().lock();
        stdout
            .write_all(bytes)
            .and_then(|()| stdout.flush())
            .map_err(CliError::Stdout)
    }

    /// Tells a person something that is not the answer. Left out with `--quiet`; losing it is no error.
    pub fn note(&self, text: impl Display) {
        if !self.quiet {
            let _ = writeln!(io::stderr(), "{text}");
        }
    }

    /// Whether a line of progress may be drawn and redrawn on stderr.
    pub fn shows_progress(&self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }
}
