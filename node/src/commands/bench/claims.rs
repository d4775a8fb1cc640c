//! `queenright bench claims`: what others claim, beside peers and what was measured here.

use queenright_bench::claims;
use queenright_bench::results::Results;

use super::super::{CliError, Context};
use crate::cli::ClaimsArgs;
use crate::exit::Exit;

/// Prints the table.
///
/// # Errors
/// [`CliError::Failed`]: a file holds no results.
pub(super) fn run(args: &ClaimsArgs, context: &Context) -> Result<Exit, CliError> {
    let mut reports = Vec::new();
    for file in &args.files {
        let results = Results::read(file).map_err(|error| CliError::Failed {
            message: "no claim was looked up".to_owned(),
            source: error.into(),
        })?;
        reports.extend(results.reports);
    }
    let compared = claims::compared(&reports);
    let text = match args.markdown {
        true => claims::markdown(&compared),
        false => claims::text(&compared),
    };
    context.answer(&compared, text)?;
    Ok(Exit::Ok)
}
