//! `queenright bench page`: files of results as one page.

use std::path::{Path, PathBuf};

use queenright_bench::page::{Source, page};
use queenright_bench::results::Results;
use serde_json::json;

use super::super::{CliError, Context};
use crate::cli::PageArgs;
use crate::exit::Exit;

/// Writes the page.
///
/// # Errors
/// [`CliError::Failed`]: a file holds no results, or the page cannot be written.
pub(super) fn run(args: &PageArgs, context: &Context) -> Result<Exit, CliError> {
    let (reports, bytes) = write(&args.files, &args.out)?;
    let answer = json!({ "page": args.out, "reports": reports, "bytes": bytes });
    context.answer(&answer, format_args!("{}: {reports} reports", args.out.display()))?;
    Ok(Exit::Ok)
}

/// Writes the page of some files; how many reports are on it, and its bytes.
///
/// # Errors
/// As [`run`].
pub(super) fn write(files: &[PathBuf], out: &Path) -> Result<(usize, usize), CliError> {
    let sources = files.iter().map(|file| {
        let results = Results::read(file).map_err(|error| CliError::Failed {
            message: "no page was written".to_owned(),
            source: error.into(),
        })?;
        let name = file.file_name().unwrap_or(file.as_os_str());
        Ok::<_, CliError>(Source {
            name: name.to_string_lossy().into_owned(),
            results,
        })
    });
    let sources: Vec<Source> = sources.collect::<Result<_, _>>()?;
    let reports = sources.iter().map(|source| source.results.reports.len()).sum();
    let html = page(&sources);
    std::fs::write(out, &html).map_err(|source| CliError::Failed {
        message: format!("cannot write {}", out.display()),
        source: source.into(),
    })?;
    Ok((reports, html.len()))
}
