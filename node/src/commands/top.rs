//! `queenright top`: the cluster in a terminal.

use std::io::IsTerminal as _;

use tokio::time::Instant;

use super::door::{client, of_read};
use super::{CliError, Context};
use crate::cli::TopArgs;
use crate::exit::Exit;
use crate::top::{self, Rates, Sample, TopError, View};

/// Shows the cluster until somebody presses `q`, or once.
///
/// # Errors
/// [`CliError`]: nothing is shown where stdout or stdin is no terminal, unless it is to be shown once.
pub async fn run(args: TopArgs, context: &Context) -> Result<Exit, CliError> {
    let client = client(&args.client)?;
    if context.json || args.once {
        let sample = Sample::take(&client, Instant::now()).await.map_err(of_read)?;
        let view = View {
            sample: &sample,
            rates: &Rates::default(),
            failure: None,
        };
        context.answer(&sample, top::snapshot(view))?;
        return Ok(Exit::Ok);
    }
    for (name, is_terminal) in [
        ("stdout", std::io::stdout().is_terminal()),
        ("stdin", std::io::stdin().is_terminal()),
    ] {
        if !is_terminal {
            let text = format!("top: {name} is no terminal (--once prints all of it once, --json for programs)");
            return Err(CliError::Usage(text));
        }
    }
    match top::run(&client, args.interval).await {
        Ok(()) => Ok(Exit::Ok),
        Err(TopError::Client(error)) => Err(of_read(error)),
        Err(TopError::Terminal(error)) => Err(CliError::Failed {
            message: "top".to_owned(),
            source: error.into(),
        }),
    }
}
