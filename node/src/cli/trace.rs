//! `queenright trace`.

use clap::Args;

use super::ClientArgs;

/// `queenright trace`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright trace
  queenright trace 4bf92f3577b34da6a3ce929d0e0e4736
  TRACEPARENT=00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 queenright memory put greeting hello

Without an identity it lists the last requests that were followed: a part of all ([tracing] ratio of the cluster file), those \
whose callers say so by the header traceparent (this program takes it from TRACEPARENT), and those that ended with an error of a \
node. Every answer of a door names its trace in the header traceparent; those with the flags 01 are known here.")]
pub struct TraceArgs {
    /// The trace: 32 hexadecimal digits
    #[arg(value_name = "ID")]
    pub trace: Option<String>,
    /// How many are listed
    #[arg(long, value_name = "COUNT", default_value = "20", value_parser = clap::value_parser!(u64).range(1..=200))]
    pub limit: u64,
    /// The node, which asks all others.
    #[command(flatten)]
    pub client: ClientArgs,
}
