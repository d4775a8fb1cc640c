//! The binary: parses the command line, runs the command, prints its error once.

use std::io::{self, Write};
#[cfg(unix)]
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use clap::error::ErrorKind;
use queenright::cli::Cli;
use queenright::commands::{self, CliError};
use queenright::exit::Exit;
use queenright_actors::process::guard;
use tokio::runtime::{Builder, Runtime};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many milliseconds a node keeps freed memory before it gives it back to the system. A busy node frees what it takes
/// again with the next pass of its store, seconds later: with the allocator's own second, an eighth of its time went into
/// pages that the system had to clear once more.
const PURGE_DELAY: (&str, &str) = ("MIMALLOC_PURGE_DELAY", "30000");

fn main() -> ExitCode {
    // The guard of a command has no runtime and no command line.
    match guard::entry(std::env::args_os()) {
        Some(code) => code.into(),
        None => command_line().into(),
    }
}

fn command_line() -> Exit {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    #[cfg(unix)]
    if cli.runs_node() && std::env::var_os(PURGE_DELAY.0).is_none() {
        let error = again_with_purge_delay();
        let _ = writeln!(
            io::stderr(),
            "warning: freed memory goes back to the system early: {error}"
        );
    }
    let json = cli.output.json;
    #[cfg(feature = "planted-bugs")]
    if let Err(error) = plant_bug() {
        let _ = writeln!(io::stderr(), "error: {error}");
        return Exit::Usage;
    }
    let result = runtime()
        .map_err(|source| CliError::Failed {
            message: "cannot start".to_owned(),
            source: source.into(),
        })
        .and_then(|runtime| {
            let result = runtime.block_on(commands::run(cli));
            // What still blocks, such as a read of stdin, must not hold up the end.
            runtime.shutdown_background();
            result
        });
    match result {
        Ok(exit) => exit,
        Err(error) => {
            let exit = error.exit();
            if exit != Exit::Ok {
                let _ = writeln!(io::stderr(), "{}", error.report(json));
            }
            exit
        }
    }
}

/// Puts this program in its own place, with [`PURGE_DELAY`]: the allocator reads it before `main`, and is asked for another
/// only through C. Comes back with an error or not at all.
#[cfg(unix)]
fn again_with_purge_delay() -> io::Error {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program)
            .arg0(name)
            .args(arguments)
            .env(PURGE_DELAY.0, PURGE_DELAY.1)
            .exec(),
        Err(error) => error,
    }
}

/// Takes the bug that this process is to have from `QUEENRIGHT_PLANTED_BUG`, and says so.
#[cfg(feature = "planted-bugs")]
fn plant_bug() -> Result<(), queenright_protocol::planted::UnknownBug> {
    if let Ok(name) = std::env::var("QUEENRIGHT_PLANTED_BUG") {
        let bug = name.parse()?;
        let _ = writeln!(io::stderr(), "this process has the planted bug {bug}");
        queenright_protocol::planted::choose(bug);
    }
    Ok(())
}

/// The runtime. What other nodes and the log's thread have for a busy node must not wait behind many of its own tasks:
/// tokio's defaults look at sockets and at what other threads woke only after some 60 of them, at each hop of a command.
fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .event_interval(16)
        .global_queue_interval(8)
        .enable_all()
        .build()
}

/// Help and version are answers, and a line without a command is answered with help; anything else that the parser says
/// is an error of usage.
fn usage(error: &clap::Error) -> Exit {
    let (help, exit) = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => (true, Exit::Ok),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => (true, Exit::Usage),
        _ => (false, Exit::Usage),
    };
    if help {
        let _ = error.print();
        return exit;
    }
    // The line did not parse, so the flag is looked for by hand.
    let json = std::env::args_os().any(|argument| argument == "--json");
    let report = CliError::Usage(one_line(&error.render().to_string())).report(json);
    let hint = if json { "" } else { " (see --help)" };
    let _ = writeln!(io::stderr(), "{report}{hint}");
    exit
}

/// What the parser says in several paragraphs, without the usage that follows.
fn one_line(text: &str) -> String {
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let paragraphs = text
        .split("\n\n")
        .take_while(|paragraph| !paragraph.starts_with("Usage:") && !paragraph.starts_with("For more information"));
    let lines: Vec<String> = paragraphs
        .map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    lines.join("; ")
}
