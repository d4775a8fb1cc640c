//! `queenright queue`: the queues of tasks.

use queenright_bench::client::wire::{ChangeBreaker, ChangeQueue, QueueList, WireBreaker};
use queenright_protocol::colony::Distribution;

use super::door::{client_of_project, of_read};
use super::table::{Table, or_dash, shown};
use super::{CliError, Context, dry};
use crate::cli::{PolicyArg, QueueCommand, ReadMode};
use crate::exit::Exit;

/// Carries out `queenright queue`.
///
/// # Errors
/// [`CliError`].
pub async fn run(command: QueueCommand, context: &Context) -> Result<Exit, CliError> {
    match command {
        QueueCommand::List { target } => {
            let client = client_of_project(&target)?;
            let queues = client.queues(ReadMode::Linearizable.into()).await.map_err(of_read)?;
            context.answer(&queues, list_text(&queues))?;
        }
        QueueCommand::Set {
            queue,
            paused,
            breaker_failures,
            breaker_pause,
            policy,
            dry_run,
            target,
        } => {
            let change = ChangeQueue {
                paused,
                breaker: breaker_failures.map(|failures| ChangeBreaker {
                    failures,
                    pause_ms: breaker_pause.as_millis() as u64,
                }),
                policy: policy.map(Into::into),
            };
            if dry_run {
                return dry::work::set_queue(&client_of_project(&target)?, &queue, &change, context).await;
            }
            let set = client_of_project(&target)?.change_queue(&queue, &change).await?;
            context.answer(&set, format!("queue {} changed at seq {}", shown(&queue), set.seq))?;
        }
    }
    Ok(Exit::Ok)
}

impl From<PolicyArg> for Distribution {
    fn from(policy: PolicyArg) -> Distribution {
        match policy {
            PolicyArg::FirstCome => Distribution::FirstCome,
            PolicyArg::LeastLoaded => Distribution::LeastLoaded,
            PolicyArg::CapabilityFit => Distribution::CapabilityFit,
            PolicyArg::RoundRobin => Distribution::RoundRobin,
            PolicyArg::Random => Distribution::Random,
            PolicyArg::Locality => Distribution::Locality,
        }
    }
}

fn list_text(list: &QueueList) -> String {
    let mut table = Table::new([
        "QUEUE",
        "OPEN",
        "READY",
        "WAITING",
        "POLICY",
        "PAUSED BY",
        "BREAKER",
        "WAITS FOR",
    ]);
    for queue in &list.queues {
        table.row([
            shown(&queue.queue),
            queue.open.to_string(),
            queue.ready.to_string(),
            queue.waiting.to_string(),
            queue.policy.to_string(),
            or_dash(queue.paused_by.as_deref().map(shown)),
            match queue.breaker_failures {
                0 => "-".to_owned(),
                most => format!("{} (at {most} failures)", breaker_text(&queue.breaker)),
            },
            or_dash(queue.waits_for.as_deref().map(shown)),
        ]);
    }
    table.to_string()
}

/// How a breaker is, in words.
pub(super) fn breaker_text(breaker: &WireBreaker) -> String {
    match breaker {
        WireBreaker::Closed { failures: 0 } => "closed".to_owned(),
        WireBreaker::Closed { failures } => format!("closed after {failures} failures"),
        WireBreaker::Open { until_ms } => format!("open until {until_ms} ms of cluster time"),
        WireBreaker::HalfOpen { trial } => format!("waits for task {trial}"),
    }
}
