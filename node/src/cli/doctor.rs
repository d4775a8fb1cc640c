//! `queenright doctor`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{AccessArgs, seconds};

/// `queenright doctor`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright doctor                                     what runs on this host
  queenright doctor cluster-configs/mesh-3.toml         its ports, disks, certificates and data too
  queenright doctor cluster-configs/mesh-3.toml --fix
  queenright doctor --json | jq '.checks[] | select(.level != \"ok\")'

Each line says ok, warning or problem, and what to do next. --fix makes secrets private, and removes stale records and what \
interrupted commands have left; nothing else. The data of nodes that do not run is read from a copy. Exit code 1 if a \
problem is left.")]
pub struct DoctorArgs {
    /// The cluster file
    pub file: Option<PathBuf>,
    /// Put right what can be without losing anything
    #[arg(long)]
    pub fix: bool,
    /// With --fix: say what it would do, and change nothing
    #[arg(long, requires = "fix")]
    pub dry_run: bool,
    /// The cluster's state is in DIR instead of the user's state folder
    #[arg(long, value_name = "DIR", requires = "file")]
    pub data: Option<PathBuf>,
    /// How long each node may take to answer, in seconds
    #[arg(long, value_name = "SECS", default_value = "5", value_parser = seconds)]
    pub timeout: Duration,
    /// What it trusts and shows at the doors.
    #[command(flatten)]
    pub access: AccessArgs,
}
