//! The task around the machine: one UDP socket, one timer, the members of consensus, and what the links read. Nothing
//! queues here but in the buffers of the system: what does not fit there is dropped, and SWIM lives with that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use queenright_protocol::id::NodeId;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::Instant;

use super::datagram::DATAGRAM_BYTES_MAX;
use super::detector::{Detector, Input, Output, Seen};
use super::places::Places;
use super::{DatagramCounts, Liveness, Opinion, Opinions, Pace, View, Who};
use crate::consensus::Membership;
use crate::roster::Roster;
use crate::router::{NeighbourSign, Router};

/// So many datagrams are read in a row, before the timers have their turn.
const BATCH: usize = 64;
/// How often it is tried to get the socket.
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// How often it is logged at most that datagrams were refused, or that there is no socket.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// A link to a suspect on which nothing was read for so long is closed and dialled anew: ractor_cluster pings within 5 s.
const SUSPECT_SILENCE: Duration = Duration::from_secs(6);
/// The same for a member that is down.
const DOWN_SILENCE: Duration = Duration::from_secs(1);

/// What the shell needs.
pub(crate) struct ShellOptions {
    /// Where it listens: the address of the links.
    pub(crate) address: SocketAddr,
    pub(crate) pace: Pace,
    pub(crate) members: watch::Receiver<Membership>,
    pub(crate) router: Arc<Router>,
    /// Where the members' links are dialled.
    pub(crate) roster: Arc<Roster>,
}

/// The task, before it runs.
pub(crate) struct Shell {
    options: ShellOptions,
    detector: Detector,
    places: Places,
    started: Instant,
    socket: Option<UdpSocket>,
    opinions: watch::Sender<Opinions>,
    counts: watch::Sender<DatagramCounts>,
    out: Vec<Output>,
    log: Log,
}

/// What was logged last, and when.
#[derive(Default)]
struct Log {
    refused: u64,
    refused_at: Option<Instant>,
    unbound_at: Option<Instant>,
    bind_at: Option<Instant>,
}

fn due(at: Option<Instant>, every: Duration) -> bool {
    at.is_none_or(|at| at.elapsed() >= every)
}

/// Whom routes lead around. Nobody while no datagrams come at all: then this node knows of its neighbours only, by their
/// links, and the router sees by itself when one of these is down.
fn suspects(opinions: &BTreeMap<NodeId, Opinion>) -> BTreeSet<NodeId> {
    let heard = |opinion: &Opinion| opinion.view == View::Alive && !opinion.udp_blocked;
    if !opinions.values().any(heard) {
        return BTreeSet::new();
    }
    let doubted = opinions.iter().filter(|(_, opinion)| opinion.view != View::Alive);
    doubted.map(|(node, _)| *node).collect()
}

impl Shell {
    /// Makes the task and what it tells. `seed` decides whom it probes first.
    pub(crate) fn new(who: Who<'_>, seed: u64, options: ShellOptions) -> (Shell, Liveness) {
        let (opinions, receiver) = watch::channel(Opinions::default());
        let (counts, counted) = watch::channel(DatagramCounts::default());
        let shell = Shell {
            detector: Detector::new(who, options.pace, seed),
            places: Places::new(options.address),
            options,
            started: Instant::now(),
            socket: None,
            opinions,
            counts,
            out: Vec::new(),
            log: Log::default(),
        };
        let liveness = Liveness {
            opinions: receiver,
            counts: counted,
        };
        (shell, liveness)
    }

    /// Watches until it is dropped.
    pub(crate) async fn run(mut self) {
        self.started = Instant::now();
        self.set_members().await;
        let mut buffer = [0; DATAGRAM_BYTES_MAX + 1];
        let mut seats = self.options.roster.follow();
        loop {
            if self.socket.is_none() && !self.opinions.borrow().is_empty() {
                self.bind().await;
            }
            let wake = self.started + self.detector.wake_at();
            let readable = async {
                match &self.socket {
                    Some(socket) => socket.readable().await,
                    None => std::future::pending().await,
                }
            };
            // What has come is read before it is judged who is silent: both are there when a stopped process goes on.
            tokio::select! {
                biased;
                changed = self.options.members.changed() => match changed {
                    Ok(()) => self.set_members().await,
                    // Consensus has ended, and soon so will this task.
                    Err(_) => tokio::time::sleep_until(wake).await,
                },
                // Its sender is here as well.
                _ = seats.changed() => self.set_members().await,
                changed = self.places.answered() => if changed {
                    self.tell_members();
                },
                _ = readable => {}
                () = tokio::time::sleep_until(wake) => {}
            }
            self.read(&mut buffer);
            if wake <= Instant::now() {
                self.look_at_links();
                self.step(Input::Timer);
                self.look_up_the_silent();
                self.log_refused();
            }
            self.counts.send_replace(self.detector.counts());
        }
    }

    async fn bind(&mut self) {
        if !due(self.log.bind_at, BIND_AGAIN) {
            return;
        }
        self.log.bind_at = Some(Instant::now());
        let address = self.options.address;
        match UdpSocket::bind(address).await {
            Ok(socket) => self.socket = Some(socket),
            // The node works without: links tell who is alive, later.
            Err(error) if due(self.log.unbound_at, LOG_EVERY) => {
                self.log.unbound_at = Some(Instant::now());
                tracing::warn!(%address, %error, "cannot listen for datagrams: the others are watched through links alone");
            }
            Err(_) => {}
        }
    }

    fn read(&mut self, buffer: &mut [u8]) {
        for _ in 0..BATCH {
            let Some(socket) = &self.socket else { return };
            match socket.try_recv_from(buffer) {
                Ok((bytes, _)) => self.step(Input::Datagram(&buffer[..bytes])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A datagram of ours came back: its receiver is not there.
                Err(error) => tracing::debug!(%error, "cannot receive a datagram"),
            }
        }
    }

    fn step(&mut self, input: Input<'_>) {
        let mut out = std::mem::take(&mut self.out);
        self.detector.step(self.started.elapsed(), input, &mut out);
        for output in out.drain(..) {
            match output {
                Output::Send { to, datagram } => self.send(to, &datagram),
                Output::Changed => self.publish(),
            }
        }
        self.out = out;
    }

    fn send(&mut self, to: SocketAddr, datagram: &[u8]) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.try_send_to(datagram, to) {
            tracing::debug!(%to, %error, "cannot send a datagram");
            self.detector.not_sent();
        }
    }

    async fn set_members(&mut self) {
        let nodes = self.options.members.borrow_and_update().nodes.clone();
        let me = self.options.router.me();
        let others = nodes.into_iter().filter(|node| *node != me);
        let others: BTreeMap<NodeId, String> = others
            .filter_map(|node| Some((node, self.options.roster.of(node)?.links)))
            .collect();
        let alone = others.is_empty();
        self.places.set(others);
        // Not before: a node that does not know the members would refuse them all. And not later: they are called now.
        if self.socket.is_none() && !alone {
            self.bind().await;
        }
        self.tell_members();
        // Those who came and went are told of, whether or not an opinion has changed.
        self.publish();
    }

    fn tell_members(&mut self) {
        let members = self.places.addresses();
        self.step(Input::Members(&members));
    }

    /// A member that does not answer may have moved.
    fn look_up_the_silent(&mut self) {
        let opinions = self.opinions.borrow();
        self.places.ask_again(|node| {
            let opinion = opinions.get(&node);
            opinion.is_none_or(|opinion| opinion.view != View::Alive || opinion.udp_blocked)
        });
    }

    /// Tells the machine what links read, and closes those whose other end does not live.
    fn look_at_links(&mut self) {
        let signs = self.options.router.link_signs();
        self.step(Input::Links(&signs));
        for NeighbourSign { node, up, silent } in signs {
            let view = self.opinions.borrow().get(&node).map(|opinion| opinion.view);
            let bound = match view {
                Some(View::Suspect) => SUSPECT_SILENCE,
                Some(View::Down) => DOWN_SILENCE,
                _ => continue,
            };
            if up && silent.is_some_and(|silent| silent >= bound) {
                tracing::info!(%node, ?view, ?silent, "closing the link: its other end does not live");
                self.options.router.close_link(node);
            }
        }
    }

    /// Publishes what this node thinks. Opinions act in four places: the status of the node and the leader's look for lost
    /// nodes (`queen`) read them here, the links above are closed by them, and routes lead around those who are not alive.
    fn publish(&self) {
        let opinion = |seen: Seen| Opinion {
            view: seen.view,
            since: self.started + seen.since,
            udp_blocked: seen.udp_blocked,
        };
        let seen = self.detector.opinions();
        let opinions: BTreeMap<NodeId, Opinion> = seen.into_iter().map(|(node, seen)| (node, opinion(seen))).collect();
        self.options.router.set_suspects(suspects(&opinions));
        let before = self.opinions.send_replace(Arc::new(opinions));
        let after = self.opinions.borrow().clone();
        for (node, opinion) in after.iter() {
            let was = before.get(node).map(|before| before.view);
            if was.is_some_and(|was| was != opinion.view) {
                tracing::info!(%node, view = %opinion.view, "a member is seen otherwise");
            }
        }
    }

    fn log_refused(&mut self) {
        let counts = self.detector.counts();
        let refused = counts.refused();
        if refused == self.log.refused || !due(self.log.refused_at, LOG_EVERY) {
            return;
        }
        let since = refused - self.log.refused;
        (self.log.refused, self.log.refused_at) = (refused, Some(Instant::now()));
        tracing::warn!(since, ?counts, "datagrams were refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_lead_around_those_who_are_not_alive_if_datagrams_come_from_anybody() {
        let suspects = |views: &[(View, bool)]| {
            let opinion = |(view, udp_blocked): (View, bool)| Opinion {
                view,
                since: Instant::now(),
                udp_blocked,
            };
            let numbers = (2..).map(NodeId);
            suspects(&numbers.zip(views.iter().copied().map(opinion)).collect())
        };
        let (alive, doubted, down) = ((View::Alive, false), (View::Suspect, false), (View::Down, false));
        assert_eq!(suspects(&[alive, doubted, down]), [NodeId(3), NodeId(4)].into());
        assert_eq!(suspects(&[alive, alive]), BTreeSet::new());
        // Who has a link is alive by it, and of the others nothing is known.
        assert_eq!(suspects(&[(View::Alive, true), down, down]), BTreeSet::new());
        assert_eq!(suspects(&[down, down]), BTreeSet::new());
        assert_eq!(suspects(&[]), BTreeSet::new());
    }
}
