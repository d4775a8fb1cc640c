//! Starts and restarts the actors that carry the links: the server of ractor_cluster and one gateway per neighbour.
//! Supervised by nobody; [`super::Links`] stops it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, Message, SupervisionEvent};
use ractor_cluster::{NodeServer, NodeServerMessage};

use super::gateway::{Gateway, Link};

/// A gateway fails when the receiver of its envelopes panics. It gets a fresh start this often within
/// [`RESTART_PERIOD`]; then its link stays down, since whatever it meets it will meet again.
const RESTARTS_MAX: usize = 5;

/// The period over which restarts are counted.
const RESTART_PERIOD: Duration = Duration::from_secs(10);

/// How long gateways may take to end. They only have the frame in hand to finish.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct Supervisor;

/// A neighbour has come or gone.
pub(super) enum Order {
    /// Start the gateway of a link.
    Spawn(Arc<Link>),
    /// End it for good.
    Retire(Arc<Link>),
}

// Not serialised, so ractor_cluster does not announce the supervisor to every neighbour.
impl Message for Order {}

pub(super) struct Arguments {
    pub(super) server: NodeServer,
    pub(super) links: Vec<Arc<Link>>,
    /// Where to leave the address of the server: actors cannot return anything to the one that spawns them.
    pub(super) started: tokio::sync::oneshot::Sender<ActorRef<NodeServerMessage>>,
}

pub(super) struct State {
    server: ActorId,
    gateways: HashMap<ActorId, (Arc<Link>, ActorRef<Vec<u8>>)>,
    restarts: VecDeque<Instant>,
}

impl Actor for Supervisor {
    type Msg = Order;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(&self, myself: ActorRef<Order>, arguments: Arguments) -> Result<State, ActorProcessingErr> {
        let Arguments { server, links, started } = arguments;
        let (server, _) = Actor::spawn_linked(None, server, (), myself.get_cell()).await?;
        let mut state = State {
            server: server.get_id(),
            gateways: HashMap::new(),
            restarts: VecDeque::new(),
        };
        for link in links {
            state.spawn(&myself, link).await?;
        }
        // Nobody listens if the start was given up; the supervisor is stopped then.
        let _ = started.send(server);
        Ok(state)
    }

    async fn handle(&self, myself: ActorRef<Order>, order: Order, state: &mut State) -> Result<(), ActorProcessingErr> {
        match order {
            Order::Spawn(link) => state.spawn(&myself, link).await?,
            Order::Retire(link) => state.retire(&link),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<Order>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (id, reason) = match event {
            SupervisionEvent::ActorFailed(actor, error) => (actor.get_id(), error.to_string()),
            SupervisionEvent::ActorTerminated(actor, _, reason) => (actor.get_id(), reason.unwrap_or_default()),
            _ => return Ok(()),
        };
        if let Some((link, _)) = state.gateways.remove(&id) {
            // A gateway that panicked could not say goodbye itself.
            link.disconnect();
            tracing::error!(peer = %link.peer.name, reason, "the gateway of a link failed");
            if state.may_restart(Instant::now()) {
                state.spawn(&myself, link).await?;
            } else {
                tracing::error!(peer = %link.peer.name, "the link stays down: its gateway failed too often");
            }
        } else if id == state.server {
            tracing::error!(
                reason,
                "the server of ractor_cluster has ended: this node has no links any more"
            );
        }
        Ok(())
    }

    async fn post_stop(&self, myself: ActorRef<Order>, _: &mut State) -> Result<(), ActorProcessingErr> {
        // Otherwise they would be killed, and gateways would not report that their links are down.
        myself.get_cell().stop_children_and_wait(None, Some(STOP_TIMEOUT)).await;
        Ok(())
    }
}

impl State {
    async fn spawn(&mut self, myself: &ActorRef<Order>, link: Arc<Link>) -> Result<(), ActorProcessingErr> {
        let (gateway, _) = Actor::spawn_linked(None, Gateway, link.clone(), myself.get_cell()).await?;
        self.gateways.insert(gateway.get_id(), (link, gateway));
        Ok(())
    }

    /// Forgotten before it ends, so that it is not started again.
    fn retire(&mut self, link: &Arc<Link>) {
        let known = self.gateways.iter().find(|(_, (known, _))| Arc::ptr_eq(known, link));
        let id = known.map(|(id, _)| *id);
        if let Some((_, gateway)) = id.and_then(|id| self.gateways.remove(&id)) {
            gateway.stop(None);
        }
    }

    fn may_restart(&mut self, now: Instant) -> bool {
        while self
            .restarts
            .front()
            .is_some_and(|first| now.duration_since(*first) > RESTART_PERIOD)
        {
            self.restarts.pop_front();
        }
        self.restarts.push_back(now);
        self.restarts.len() <= RESTARTS_MAX
    }
}
