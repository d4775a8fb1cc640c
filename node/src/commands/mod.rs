//! One module for each command: it parses what is left to parse, calls the library, and prints.

pub mod agent;
pub mod config;
mod context;
mod door;
mod error;
pub mod events;
mod input;
pub mod memory;
pub mod node;
pub mod propose;
pub mod status;
mod table;
pub mod up;

pub use context::Context;
pub use error::CliError;

use crate::cli::{Cli, Command};
use crate::exit::Exit;

/// Runs a command to its end.
///
/// # Errors
/// [`CliError`] is printed by `main`, once, and becomes the exit code.
pub async fn run(cli: Cli) -> Result<Exit, CliError> {
    let context = &Context::new(cli.output);
    match cli.command {
        Command::Up(args) => up::run(args, context).await,
        Command::Node(args) => node::run(args, context).await,
        Command::Config(args) => config::run(args, context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Memory(args) => memory::run(args, context).await,
        Command::Propose(args) => propose::run(args, context).await,
        Command::Events(args) => events::run(args, context).await,
        Command::Agent(args) => agent::run(args, context).await,
        Command::Replay(args) => replay::run(args, context).await,
        Command::Demo(args) => demo::run(args, context).await,
        Command::Bench(args) => bench::run(args, context).await,
    }
}

/// A command whose name and options are settled and whose work is still to come.
macro_rules! not_yet {
    ($verb:ident, $args:ident) => {
        pub mod $verb {
            //! Not available yet.

            use super::{CliError, Context};
            use crate::cli::$args;
            use crate::exit::Exit;

            /// Refuses.
            ///
            /// # Errors
            /// Always [`CliError::NotYet`].
            pub async fn run(_args: $args, _context: &Context) -> Result<Exit, CliError> {
                Err(CliError::NotYet {
                    verb: stringify!($verb),
                })
            }
        }
    };
}

not_yet!(replay, ReplayArgs);
not_yet!(demo, DemoArgs);
not_yet!(bench, BenchCommand);
