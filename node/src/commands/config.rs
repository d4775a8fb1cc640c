//! `queenright config`: looks at cluster files.

use serde::Serialize;

use super::{CliError, Context};
use crate::cli::ConfigCommand;
use crate::config::ClusterConfig;
use crate::exit::Exit;

/// What `config check --json` prints.
#[derive(Serialize)]
struct Checked<'a> {
    file: String,
    cluster: &'a str,
    topology: String,
    nodes: usize,
}

/// Checks a cluster file and says in one line what it describes.
///
/// # Errors
/// [`CliError::Config`] says what is wrong with the file.
pub async fn run(args: ConfigCommand, context: &Context) -> Result<Exit, CliError> {
    let ConfigCommand::Check { file, insecure } = args;
    let config = ClusterConfig::load(&file)?;
    for warning in config.check_exposure(insecure)? {
        context.note(format_args!("warning: {warning}"));
    }
    let checked = Checked {
        file: file.display().to_string(),
        cluster: &config.name,
        topology: config.topology.to_string(),
        nodes: config.nodes.len(),
    };
    context.answer(&checked, format_args!("{}: ok: {config}", file.display()))?;
    Ok(Exit::Ok)
}
