//! One module for each command: it parses what is left to parse, calls the library, and prints.

mod advice;
pub mod agent;
pub mod backup;
pub mod bench;
mod branch;
pub mod budget;
pub mod config;
mod context;
pub mod demo;
pub mod doctor;
mod door;
mod dry;
mod error;
pub mod events;
pub mod explore;
pub mod export;
pub mod guard;
mod import;
mod input;
pub mod join;
pub mod manual;
pub mod mcp;
pub mod memory;
pub mod node;
pub mod pool;
pub mod prime;
pub mod project;
pub mod propose;
pub mod queue;
pub mod rate;
pub mod recover;
pub mod replay;
pub mod reserve;
pub mod run;
pub mod session;
pub mod setup;
pub mod status;
mod table;
pub mod task;
mod task_text;
pub mod tls;
pub mod token;
pub mod top;
pub mod topic;
pub mod topology;
pub mod trace;
pub mod up;
mod views;
mod watch;

use std::path::PathBuf;

pub use context::Context;
pub use error::CliError;
pub(crate) use table::shown;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::state::StateFolders;

/// Runs a command to its end.
///
/// # Errors
/// [`CliError`] is printed by `main`, once, and becomes the exit code.
pub async fn run(cli: Cli) -> Result<Exit, CliError> {
    let context = &Context::new(cli.output);
    match cli.command {
        Command::Up(args) => up::run(args, context).await,
        Command::Node(args) => node::run(args, context).await,
        Command::Join(args) => join::run(args, context).await,
        Command::Leave(args) => join::leave(args, context).await,
        Command::Recover(args) => recover::run(args, context).await,
        Command::Backup(args) => backup::backup(args, context).await,
        Command::Restore(args) => backup::restore(args, context).await,
        Command::Export(args) => export::export(args, context).await,
        Command::Import(args) => export::import(args, context).await,
        Command::Doctor(args) => doctor::run(args, context).await,
        Command::Config(args) => config::run(args, context).await,
        Command::Status(args) => status::run(args, context).await,
        Command::Top(args) => top::run(args, context).await,
        Command::Trace(args) => trace::run(args, context).await,
        Command::Topology(command) => topology::run(command, context).await,
        Command::Memory(args) => memory::run(args, context).await,
        Command::Task(command) => task::run(*command, context).await,
        Command::Run(args) => run::run(args, context).await,
        Command::Dlq(command) => task::dlq(command, context).await,
        Command::Queue(command) => queue::run(command, context).await,
        Command::Project(command) => project::run(command, context).await,
        Command::Session(command) => session::run(command, context).await,
        Command::Reserve(command) => reserve::run(command, context).await,
        Command::Guard(command) => guard::run(command, context).await,
        Command::Rate(command) => rate::run(command, context).await,
        Command::Budget(command) => budget::run(command, context).await,
        Command::Usage(args) => budget::usage(args, context).await,
        Command::Propose(args) => propose::run(args, context).await,
        Command::Events(args) => events::run(args, context).await,
        Command::Topic(command) => topic::run(command, context).await,
        Command::Prime(args) => prime::run(args, context).await,
        Command::Agent(args) => agent::run(args, context).await,
        Command::Pool(command) => pool::run(command, context).await,
        Command::Mcp(args) => mcp::run(args, context).await,
        Command::Setup(args) => setup::run(args, context).await,
        Command::Tls(command) => tls::run(command, context).await,
        Command::Token(command) => token::run(command, context).await,
        Command::Replay(args) => replay::run(args, context).await,
        Command::Demo(args) => demo::run(args, context).await,
        Command::Explore(args) => explore::run(*args, context).await,
        Command::Bench(args) => bench::run(args, context).await,
        Command::Openapi(args) => manual::openapi(&args, context),
        Command::Completions(args) => manual::completions(&args, context),
        Command::Man(args) => manual::run(&args, context),
    }
}

/// The working folder.
#[expect(
    clippy::disallowed_methods,
    reason = "names of files are read as git does, and shown: as seen from here"
)]
fn here() -> Result<PathBuf, CliError> {
    std::env::current_dir().map_err(|source| CliError::Failed {
        message: "this folder cannot be told".to_owned(),
        source: source.into(),
    })
}

/// Where commands that start clusters of their own keep state unless told otherwise: the build folder that this program
/// lies in (a disk, and gone with `cargo clean`), or else the user's state folder.
///
/// # Errors
/// When neither is known.
fn build_folder() -> Result<PathBuf, CliError> {
    let executable = std::env::current_exe().ok();
    let target = executable
        .as_deref()
        .and_then(|path| path.ancestors().find(|folder| folder.ends_with("target")));
    match target {
        Some(folder) => Ok(folder.to_owned()),
        None => Ok(StateFolders::find("scratch", None)?.cluster.path().to_owned()),
    }
}
