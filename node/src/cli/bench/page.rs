//! `queenright bench page`.

use std::path::PathBuf;

use clap::Args;

/// `queenright bench page`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright bench page results.json
  queenright bench page before.json after.json --out compared.html

The page needs no network: plots, the tables behind them and all conditions are in the one file. What it shows is what the \
files hold; nothing is measured.")]
pub struct PageArgs {
    /// Files of results, shown in this order
    #[arg(required = true, value_name = "FILE.json")]
    pub files: Vec<PathBuf>,
    /// Where the page goes, in place of what is there
    #[arg(long, value_name = "FILE.html", default_value = "page.html")]
    pub out: PathBuf,
}
