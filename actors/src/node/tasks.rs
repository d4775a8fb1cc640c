//! What runs beside a node until it stops, each in a task of its own.

use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::wire::{Kind, Lane};
use ractor::ActorRef;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::comparison::{ASK_EVERY, Judge};
use super::inbox::Control;
use super::joins::Joins;
use crate::body::{decode, encode};
use crate::consensus::Consensus;
use crate::disk::{Disk, Looker};
use crate::founding::{AnsweringHello, FoundingError, answer_hellos, place_of};
use crate::queen::QueenMessage;
use crate::replica::Replica;
use crate::router::Router;
use crate::store::Store;

/// How long one wait for what a restarted node applies again lasts; it is repeated.
const RECOVERY_WAIT: Duration = Duration::from_secs(60);

/// Why this node cannot go on in its cluster, if it cannot: that has ended, or follows rules that its build does not know.
pub(super) type Outlived = watch::Sender<Option<String>>;

pub(super) async fn compare_with_others(judge: Arc<Judge>, router: Arc<Router>) {
    let others = || {
        let me = router.me();
        router.members().into_iter().filter(|member| *member != me).collect()
    };
    let ask = |peer, asked| {
        let question = encode(&Control::Compare(asked));
        let answer = router.ask(peer, Lane::Command, Kind::Control, question, ASK_EVERY);
        async move { decode(&answer.await.ok()?).ok().flatten() }
    };
    judge.watch(others, ask).await;
}

/// The tasks that look at the disk and tell the other nodes.
pub(super) fn watch_disk(
    disk: &Arc<Disk>,
    looker: Looker,
    router: &Arc<Router>,
    replica: &Arc<Replica>,
    store: &Arc<Store>,
    nodes: usize,
    stop: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let (replica, store) = (replica.clone(), store.clone());
    let watching = disk.clone().watch(
        looker,
        router.me(),
        move || replica.counts().bytes,
        move || store.passes(),
    );
    let mut tasks = vec![tokio::spawn(run_until(stop.clone(), watching))];
    for place in (0..nodes).filter(|place| *place != place_of(router.me())) {
        let router = router.clone();
        let ask = move |report, timeout| {
            let (router, question) = (router.clone(), encode(&Control::Disk(report)));
            async move {
                let peer = router
                    .members()
                    .into_iter()
                    .filter(|member| place_of(*member) == place)
                    .max();
                let Some(peer) = peer else {
                    tokio::time::sleep(timeout).await;
                    return None;
                };
                let answer = router.ask(peer, Lane::Command, Kind::Control, question, timeout).await;
                Some((peer, decode(&answer.ok()?).ok()?))
            }
        };
        tasks.push(tokio::spawn(run_until(stop.clone(), disk.clone().inform(ask))));
    }
    tasks
}

pub(super) async fn follow_leader(consensus: Arc<Consensus>, queen: ActorRef<QueenMessage>) {
    let mut leadership = consensus.leadership();
    loop {
        let leader = leadership.borrow_and_update().leader;
        if queen.cast(QueenMessage::Leader(leader)).is_err() || leadership.changed().await.is_err() {
            return;
        }
    }
}

pub(super) async fn tell_recovered(consensus: Arc<Consensus>, queen: ActorRef<QueenMessage>) {
    while consensus.recovery(Instant::now() + RECOVERY_WAIT).await.is_none() {
        // None at once when consensus stops.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // A queen that has stopped tells nobody.
    let _ = queen.cast(QueenMessage::Recovered);
}

/// Resolves with the reason when this node cannot go on in its cluster.
pub(super) async fn outlived(outlived: &Outlived) -> String {
    let mut told = outlived.subscribe();
    let reason = told.wait_for(Option::is_some).await.expect("its sender is borrowed");
    reason.clone().expect("the condition asks for a reason")
}

pub(super) async fn log_end_of_hellos(
    hello: AnsweringHello,
    joins: Joins,
    outlived: Arc<Outlived>,
    inbox: crate::router::FoundingInbox,
) {
    let router = joins.router.clone();
    let consensus = joins.consensus.clone();
    let me = hello.name().to_owned();
    let stranger = move |error| {
        if matches!(&error, FoundingError::Rules { node, .. } if *node == me) {
            outlived.send_replace(Some(error.to_string()));
        }
        // A cluster that has a leader was not lost: it is not for this node to end it.
        if matches!(error, FoundingError::Outlived { .. }) && !consensus.has_recovered() {
            outlived.send_replace(Some(error.to_string()));
        }
    };
    let join = |link, join| {
        // One for each link that came up: an empty node says hello no oftener.
        tokio::spawn(joins.clone().join(link, join));
    };
    let error = answer_hellos(hello, router, inbox, join, stranger).await;
    tracing::debug!(%error, "no hello is answered any more");
}

pub(super) async fn run_until(stop: CancellationToken, task: impl Future<Output = ()>) {
    stop.run_until_cancelled(task).await;
}
