//! The seam between the router and what carries envelopes to the neighbours: the gateways of this node's links, or the
//! simulated network of the tests (`sim`). What arrives goes to a [`Deliver`], whichever of them brings it.
//!
//! Both keep what the links promise and no more: in order within a lane while a link stands, at most once, never waiting
//! for room unless asked to, everything that waits lost when the link goes down.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use futures::FutureExt;
use futures::future::BoxFuture;
use queenright_protocol::wire::{Envelope, Lane};

use crate::link::{Deliver, LinkConfig, LinkError, LinkSign, Links, LinksStats, Outbox, SendError};

/// What the router sends through.
pub(crate) trait Transport: Send + Sync + 'static {
    /// Takes an envelope for the neighbour at the end of `link`. Never waits.
    ///
    /// # Errors
    /// When the lane is full, the link is down, or the envelope is too large for any.
    fn send(&self, link: u16, lane: Lane, envelope: &Envelope) -> Result<(), SendError>;

    /// Like [`Transport::send`], but waits while the lane is full.
    fn send_waiting<'a>(
        &'a self,
        link: u16,
        lane: Lane,
        envelope: &'a Envelope,
    ) -> BoxFuture<'a, Result<(), SendError>>;

    /// Whether a link is up.
    fn is_up(&self, link: u16) -> bool;

    /// Whether a lane would take a body of so many bytes now, or the link is down: then it refuses for another reason.
    fn has_room(&self, link: u16, lane: Lane, bytes: usize) -> bool;

    /// Says which links are wanted.
    fn set_wanted(&self, wanted: &BTreeSet<u16>);

    /// What was counted so far.
    fn stats(&self) -> LinksStats;

    /// When something came on each link.
    fn signs(&self) -> Vec<LinkSign>;

    /// Closes the connection of a link, which then makes a new one.
    fn close(&self, link: u16);

    /// Closes the links.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// The gateways of the links of this process.
pub(crate) struct Gateways {
    // A mutex: links are stopped once, by whoever stops the node; sending goes through the outboxes below.
    links: Mutex<Option<Links>>,
    outboxes: Vec<Option<Arc<Outbox>>>,
}

impl Gateways {
    /// Opens the links.
    ///
    /// # Errors
    /// When the address of this node cannot be bound, or the configuration of the links is wrong.
    pub(crate) async fn start(config: LinkConfig, deliver: Arc<dyn Deliver>) -> Result<Gateways, LinkError> {
        let links = Links::start(config, deliver).await?;
        let last = links.peers().map(|peer| peer.index).max().unwrap_or(0);
        let outboxes = (0..=last).map(|index| links.outbox(index).cloned()).collect();
        Ok(Gateways {
            links: Mutex::new(Some(links)),
            outboxes,
        })
    }

    fn outbox(&self, link: u16) -> Result<&Arc<Outbox>, SendError> {
        let outbox = self.outboxes.get(link as usize).and_then(Option::as_ref);
        outbox.ok_or(SendError::Down)
    }
}

impl Transport for Gateways {
    fn send(&self, link: u16, lane: Lane, envelope: &Envelope) -> Result<(), SendError> {
        self.outbox(link)?.send(lane, envelope)
    }

    fn send_waiting<'a>(
        &'a self,
        link: u16,
        lane: Lane,
        envelope: &'a Envelope,
    ) -> BoxFuture<'a, Result<(), SendError>> {
        match self.outbox(link) {
            Ok(outbox) => outbox.send_waiting(lane, envelope).boxed(),
            Err(error) => futures::future::ready(Err(error)).boxed(),
        }
    }

    fn is_up(&self, link: u16) -> bool {
        self.outbox(link).is_ok_and(|outbox| outbox.is_up())
    }

    fn has_room(&self, link: u16, lane: Lane, bytes: usize) -> bool {
        self.outbox(link).map_or(true, |outbox| outbox.has_room(lane, bytes))
    }

    fn set_wanted(&self, wanted: &BTreeSet<u16>) {
        let links = self.links.lock().expect("nothing panics under this lock");
        if let Some(links) = links.as_ref() {
            links.set_wanted(wanted);
        }
    }

    fn stats(&self) -> LinksStats {
        let links = self.links.lock().expect("nothing panics under this lock");
        links.as_ref().map_or_else(LinksStats::default, Links::stats)
    }

    fn signs(&self) -> Vec<LinkSign> {
        let links = self.links.lock().expect("nothing panics under this lock");
        links.as_ref().map_or(Vec::new(), Links::signs)
    }

    fn close(&self, link: u16) {
        let links = self.links.lock().expect("nothing panics under this lock");
        if let Some(links) = &*links {
            links.close(link);
        }
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        let links = self.links.lock().expect("nothing panics under this lock").take();
        async move {
            if let Some(links) = links {
                links.stop().await;
            }
        }
        .boxed()
    }
}
