//! A backup from a running node.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Consistency, Node, ReadError};
use crate::backup::{Head, Source};

impl Node {
    /// The whole state, as fresh as asked for, to be written as a backup. Writes of this node copy their path while it is
    /// held: drop it when done.
    ///
    /// # Errors
    /// When no quorum confirmed the read before the deadline.
    pub async fn backup(&self, consistency: Consistency, deadline: Duration) -> Result<Source, ReadError> {
        drop(self.read(consistency, deadline).await?);
        // What was applied since is taken as well: position and state are of one moment.
        let (colony, last, _) = self.replica.whole();
        let entry = last.map_or((0, 0), |last| (last.index, last.leader_id.term));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let head = Head {
            cluster: self.cluster.clone(),
            cluster_id: self.cluster_id,
            node: self.name().to_owned(),
            number: self.identity().1,
            ..Head::of(&colony, entry, now.as_millis() as u64)
        };
        Ok(Source::new(head, colony))
    }
}
