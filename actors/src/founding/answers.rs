//! What a node that belongs to a cluster answers those who say hello, for as long as it runs; and that it says hello itself
//! when an epoch begins, so that whoever it is linked with learns of it.

use std::sync::Arc;

use queenright_protocol::colony::PLACES_MAX;
use queenright_protocol::id::ClusterId;
use queenright_protocol::wire::Kind;

use super::build::Build;
use super::decisions::compare;
use super::{Attempts, FirstStart, Founded, Founding, FoundingAck, FoundingError, Hello, JoinRefused, Members, send};
use crate::body::decode;
use crate::epochs::Epochs;
use crate::router::{FoundingInbox, Router};

/// Answers the nodes that start later than this one, or again, for as long as the node runs; `join` lets an empty one in, or
/// tells it why not, and `stranger` is told of one that does not belong here. Returns when the links end.
pub(crate) async fn answer_hellos(
    hello: AnsweringHello,
    router: Arc<Router>,
    mut inbox: FoundingInbox,
    join: impl Fn(u16, u64),
    stranger: impl Fn(FoundingError),
) -> FoundingError {
    let mut newest = hello.epochs.follow();
    loop {
        tokio::select! {
            changed = newest.changed() => {
                changed.expect("the hello has the sender");
                for link in 0..PLACES_MAX as u16 {
                    // Those that are not linked hear it when they are.
                    send(&router, link, Kind::Hello, &hello.now());
                }
            }
            link = inbox.came_up.recv() => {
                let Some(link) = link else { return FoundingError::LinksEnded };
                send(&router, link, Kind::Hello, &hello.now());
            }
            envelope = inbox.envelopes.recv() => {
                let Some((link, envelope)) = envelope else { return FoundingError::LinksEnded };
                match envelope.kind {
                    Kind::Hello => {
                        let Ok(theirs) = decode::<Hello>(&envelope.body) else { continue };
                        match compare(&hello.now(), &theirs) {
                            // The other node stops by itself if it is the one that is new.
                            Err(error) => {
                                tracing::error!(%error, "a neighbour does not belong here");
                                stranger(error);
                            }
                            Ok(()) if theirs.identity.is_none() => {
                                // It may not have heard this node's hello, which says to which cluster it would belong.
                                send(&router, link, Kind::Hello, &hello.now());
                                join(link, theirs.attempt as u64);
                            }
                            Ok(()) => {
                                if let Some(epoch) = &theirs.epoch {
                                    hello.epochs.learn(epoch);
                                }
                            }
                        }
                    }
                    Kind::Founding => {
                        // The founder was interrupted before it heard this node's acknowledgement.
                        let (cluster, number) = hello.hello.identity.expect("it belongs to a cluster");
                        if decode::<Founding>(&envelope.body).is_ok_and(|founding| founding.cluster == cluster) {
                            send(&router, link, Kind::FoundingAck, &FoundingAck { cluster, number });
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

/// The hello of a node that belongs to a cluster.
pub(crate) struct AnsweringHello {
    hello: Hello,
    past: PastClusters,
    epochs: Arc<Epochs>,
    rules: RulesInForce,
}

/// The clusters that this one was recovered from, as the node knows them now: a new node learns of them.
pub(crate) type PastClusters = Box<dyn Fn() -> Vec<ClusterId> + Send + Sync>;

/// The version of the rules in force, as far as the node has applied the log.
pub(crate) type RulesInForce = Box<dyn Fn() -> u32 + Send + Sync>;

impl AnsweringHello {
    pub(crate) fn of(
        start: &FirstStart<'_>,
        founded: &Founded,
        past: PastClusters,
        epochs: Arc<Epochs>,
        rules: RulesInForce,
    ) -> AnsweringHello {
        let hello = Hello {
            cluster_name: start.cluster_name.clone(),
            name: start.nodes[start.me].clone(),
            nodes: start.nodes.clone(),
            identity: Some((founded.cluster, founded.me)),
            unfinished: false,
            attempt: 0,
            past: Vec::new(),
            epoch: None,
            build: Build::ours(None),
        };
        AnsweringHello {
            hello,
            past,
            epochs,
            rules,
        }
    }

    /// The name of this node.
    pub(crate) fn name(&self) -> &str {
        &self.hello.name
    }

    fn now(&self) -> Hello {
        Hello {
            past: (self.past)(),
            epoch: self.epochs.present(),
            build: Build::ours(Some((self.rules)())),
            ..self.hello.clone()
        }
    }
}

/// Tells an empty node what it is from now on.
pub(crate) fn let_in(router: &Router, link: u16, cluster: ClusterId, members: Members) {
    send(
        router,
        link,
        Kind::Founding,
        &Founding {
            cluster,
            members,
            attempts: Attempts::new(),
        },
    );
}

/// Tells an empty node why it may not join.
pub(crate) fn turn_away(router: &Router, link: u16, reason: String) {
    send(router, link, Kind::JoinRefused, &JoinRefused { reason });
}
