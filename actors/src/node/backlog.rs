//! What a node says of its store to the leader, which lets it catch up before it goes on with what is due.

use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::wire::{Kind, Lane};

use crate::body::encode;
use crate::consensus::Consensus;
use crate::replica::Replica;
use crate::router::Router;

/// How often it is said again while there is much.
const AGAIN: Duration = Duration::from_secs(1);
/// The least time between two.
const PAUSE: Duration = Duration::from_millis(10);

/// Tells the leader how many changes the store has not taken yet, each time that this has changed much.
pub(super) async fn tell_unstored(replica: Arc<Replica>, consensus: Arc<Consensus>, router: Arc<Router>) {
    let mut backlog = replica.follow_backlog();
    let mut told = 0;
    loop {
        let records = *backlog.borrow_and_update() as u64;
        let leader = consensus.current().leader.filter(|leader| *leader != router.me());
        if let Some(leader) = leader
            && records + told > 0
        {
            // Not sent is said again, or is too old to count.
            let _ = router.send(leader, Lane::Urgent, Kind::Unstored, 0, encode(&records));
            told = records;
        }
        tokio::time::sleep(PAUSE).await;
        let again = async {
            match records {
                0 => std::future::pending().await,
                _ => tokio::time::sleep(AGAIN).await,
            }
        };
        tokio::select! {
            changed = backlog.changed() => if changed.is_err() { return },
            () = again => {}
        }
    }
}
