//! `queenright top`.

use std::time::Duration;

use clap::Args;

use super::ClientArgs;

/// `queenright top`
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  queenright top
  queenright top --node 127.0.0.1:7202 --interval 0.5
  queenright top --once > state.txt

What needs somebody comes first. Keys: q ends, Tab or 1 to 5 chooses what the lower part shows (queues, agents, links, rounds, \
problems), the arrows scroll, p pauses, ? helps. It never opens where stdout is no terminal; --once and --json work there.")]
pub struct TopArgs {
    /// How often it asks, in seconds
    #[arg(long, value_name = "SECS", default_value = "1", value_parser = interval)]
    pub interval: Duration,
    /// Print all of it once, as text
    #[arg(long)]
    pub once: bool,
    /// The node, which is asked.
    #[command(flatten)]
    pub client: ClientArgs,
}

/// The shortest and the longest time between two questions, in seconds.
const INTERVAL_S: (f64, f64) = (0.2, 60.0);

fn interval(text: &str) -> Result<Duration, String> {
    let (least, most) = INTERVAL_S;
    match text.parse::<f64>() {
        Ok(seconds) if (least..=most).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err(format!("expected seconds, from {least} to {most}")),
    }
}
