//! What runs beside a node until it stops, each in a task of its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use queenright_protocol::colony::place_of;
use queenright_protocol::id::NodeId;
use queenright_protocol::wire::{Kind, Lane};
use ractor::ActorRef;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::comparison::{ASK_EVERY, Judge};
use super::inbox::Control;
use super::joins::Joins;
use crate::agent::Agents;
use crate::body::{decode, encode};
use crate::consensus::Consensus;
use crate::disk::{Disk, DiskReport, Looker};
use crate::founding::{AnsweringHello, FoundingError, answer_hellos};
use crate::queen::QueenMessage;
use crate::replica::Replica;
use crate::roster::Roster;
use crate::router::Router;
use crate::store::Store;

/// How long one wait for what a restarted node applies again lasts; it is repeated.
const RECOVERY_WAIT: Duration = Duration::from_secs(60);

/// The answer of a node that was told of a disk.
type Asked = BoxFuture<'static, Option<(NodeId, DiskReport)>>;

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
    roster: &Arc<Roster>,
    stop: &CancellationToken,
) -> [JoinHandle<()>; 2] {
    let (replica, store) = (replica.clone(), store.clone());
    let watching = disk.clone().watch(
        looker,
        router.me(),
        move || replica.counts().bytes,
        move || store.passes(),
    );
    let telling = tell_of_disk(disk.clone(), router.clone(), roster.clone());
    [
        tokio::spawn(run_until(stop.clone(), watching)),
        tokio::spawn(run_until(stop.clone(), telling)),
    ]
}

/// Keeps the nodes of all other places informed of this node's disk, also those that come later.
async fn tell_of_disk(disk: Arc<Disk>, router: Arc<Router>, roster: Arc<Roster>) {
    let mut seats = roster.follow();
    let (mut told, mut telling) = (BTreeSet::from([roster.me()]), JoinSet::new());
    loop {
        let places: Vec<u16> = seats.borrow_and_update().keys().copied().collect();
        for place in places {
            if told.insert(place) {
                // Dropped with this task. A place that nobody has any more costs a look a second.
                telling.spawn(disk.clone().inform(ask_of_disk(router.clone(), usize::from(place))));
            }
        }
        if seats.changed().await.is_err() {
            return;
        }
    }
}

/// How the node of a place is told of this node's disk, and asked for its own.
fn ask_of_disk(router: Arc<Router>, place: usize) -> impl Fn(DiskReport, Duration) -> Asked {
    move |report, timeout| {
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
        .boxed()
    }
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

/// Wakes passive agents of this node for tasks that nobody who is awake waits for.
pub(super) async fn wake_for_tasks(agents: Arc<Agents>, router: Arc<Router>) {
    let members = || router.members().into_iter().collect();
    agents.rouse_for_tasks(router.me(), members).await;
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
    let join = |link, attempt| {
        // One for each link that came up: an empty node says hello no oftener.
        tokio::spawn(joins.clone().join(link, attempt));
    };
    let error = answer_hellos(hello, router, inbox, join, stranger).await;
    tracing::debug!(%error, "no hello is answered any more");
}

pub(super) async fn run_until(stop: CancellationToken, task: impl Future<Output = ()>) {
    stop.run_until_cancelled(task).await;
}
