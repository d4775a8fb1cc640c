//! `queenright bench run`: workloads one after the other, each printed when it has ended.

use std::path::{Path, PathBuf};

use queenright_bench::Options;
use queenright_bench::workloads::Workload;

use super::sitting::{Ended, Sitting};
use crate::commands::{CliError, Context};
use crate::exit::Exit;

/// What the command line says about sizes.
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) seed: u64,
    pub(super) repeats: Option<u32>,
    pub(super) churn_ms: u64,
    pub(super) repository: PathBuf,
}

pub(super) async fn run(
    chosen: &[&'static Workload],
    data: &Path,
    out: Option<PathBuf>,
    sizes: &Sizes,
    context: &Context,
) -> Result<Exit, CliError> {
    let full = Options::full(data.to_owned());
    let options = Options {
        seed: sizes.seed,
        repeats: sizes.repeats.unwrap_or(full.repeats),
        cluster_repeats: sizes.repeats.unwrap_or(full.cluster_repeats),
        repository: sizes.repository.clone(),
        churn_ms: sizes.churn_ms,
        ..full
    };
    let mut sitting = Sitting::begin(context, out, None)?;
    for (place, workload) in chosen.iter().enumerate() {
        match sitting.run((place + 1, chosen.len()), workload, &options, 1).await?.0 {
            Ended::Done(report) => context.answer(&report, &report)?,
            Ended::Failed(error) => return Err(error),
            Ended::Interrupted(cause) => return Err(sitting.interrupted(workload.id, cause)),
        }
    }
    Ok(Exit::Ok)
}
