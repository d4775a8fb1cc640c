//! How long the puts of others take while something goes on, and what of that is the disk's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::put;
use crate::disk::{SyncWatch, Took};
use crate::load;
use crate::report::{Percentiles, Row};
use crate::rig::Rig;
use crate::{BenchError, Options};

/// The project of those who are watched.
const OTHERS: &str = "b18-others";
/// Puts that took no longer are not compared with the disk.
const SLOW: Duration = Duration::from_millis(10);

/// What was seen of others.
pub(super) struct Delays {
    puts: Histogram<u64>,
    /// The puts that took long.
    slow: Vec<Took>,
    /// The syncs of the disk that took long.
    syncs: Vec<Took>,
    /// For how long they were watched.
    pub(super) lasted: Duration,
}

impl Delays {
    /// The rows: what the puts took, the longest first; and the longest beyond what the disk took at that moment.
    pub(super) fn rows(&self, when: &str, bound: &str) -> Vec<Row> {
        let percentiles = Percentiles::of(&self.puts, 1e6);
        let millis = |took: Duration| took.as_secs_f64() * 1e3;
        let beyond = self.slow.iter().map(|put| put.beyond(&self.syncs)).max();
        let longest = self.syncs.iter().map(|sync| sync.duration).max();
        vec![
            Row::new(
                format!("a put of others, {when}"),
                percentiles.max,
                "ms",
                self.puts.len(),
            )
            .percentiles(percentiles)
            .note("the longest; two clients, one at the leader's node"),
            Row::new(
                format!("a put of others, {when}, beyond the disk"),
                millis(beyond.unwrap_or(SLOW)),
                "ms",
                self.puts.len(),
            )
            .note(format!(
                "the longest, less what a sync of the same disk by somebody else took at that moment, which was {:.1} ms at \
                 most; {bound}",
                millis(longest.unwrap_or_default())
            )),
        ]
    }
}

/// Puts of others, one after the other on two nodes, and syncs of the same disk, until something is over.
pub(super) async fn watch<T>(
    rig: &Rig,
    options: &Options,
    something: impl Future<Output = T>,
) -> Result<(Delays, T), BenchError> {
    let (leader, follower) = rig.leader_and_follower().await?;
    let syncs = SyncWatch::start(&options.data)?;
    let over = Arc::new(AtomicBool::new(false));
    let others = [leader, follower].map(|node| {
        let (client, over) = (node.client.in_project(OTHERS), over.clone());
        let key = node.name.clone();
        tokio::spawn(async move {
            let (mut puts, mut slow) = (load::histogram(), Vec::new());
            while !over.load(Ordering::Relaxed) {
                let started = Instant::now();
                put(&client, &key).await?;
                let duration = started.elapsed();
                puts.saturating_record(duration.as_nanos() as u64);
                if duration > SLOW {
                    slow.push(Took { started, duration });
                }
            }
            Ok::<_, BenchError>((puts, slow))
        })
    });
    let started = Instant::now();
    let outcome = something.await;
    let lasted = started.elapsed();
    over.store(true, Ordering::Relaxed);
    let mut delays = Delays {
        puts: load::histogram(),
        slow: Vec::new(),
        syncs: syncs.finish()?,
        lasted,
    };
    for other in others {
        let (puts, slow) = other.await.map_err(|error| BenchError::Agent {
            name: OTHERS.to_owned(),
            problem: error.to_string(),
        })??;
        delays.puts.add(puts).expect("both have the same bounds");
        delays.slow.extend(slow);
    }
    Ok((delays, outcome))
}
