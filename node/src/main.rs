//! The binary: parses the command line, runs the command, prints its error once.

use std::io::{self, Write};

use clap::Parser;
use clap::error::ErrorKind;
use queenright::cli::Cli;
use queenright::commands::{self, CliError};
use queenright::exit::Exit;
use tokio::runtime::Runtime;

fn main() -> Exit {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let json = cli.output.json;
    let result = Runtime::new()
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

/// Help and version are answers; anything else that the parser says is an error of usage.
fn usage(error: &clap::Error) -> Exit {
    let answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    // The line did not parse, so the flag is looked for by hand.
    let json = std::env::args_os().any(|argument| argument == "--json");
    if json && !answer {
        let text = error.render().to_string();
        let line = text.lines().next().unwrap_or_default();
        let message = line.strip_prefix("error: ").unwrap_or(line).to_owned();
        let _ = writeln!(io::stderr(), "{}", CliError::Usage(message).report(true));
    } else {
        let _ = error.print();
    }
    if answer { Exit::Ok } else { Exit::Usage }
}
