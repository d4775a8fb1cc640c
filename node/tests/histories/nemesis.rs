//! What is done to a cluster while it works, drawn from a seed.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rustix::process::Signal;

use super::proxy::LinkMode;
use super::stage::Stage;
use crate::colony::NODES;

/// One thing that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    /// SIGKILL for the leader, which starts again later.
    KillLeader,
    /// SIGKILL for any node, which starts again later.
    Kill,
    /// SIGKILL for all nodes at once, which start again.
    KillAll,
    /// SIGSTOP for the leader, and later SIGCONT.
    StopLeader,
    /// SIGSTOP for any node, and later SIGCONT.
    Stop,
    /// The links of the leader are cut, or silent.
    IsolateLeader(LinkMode),
    /// One link is cut, or silent.
    Cut(LinkMode),
    /// The leader is isolated until another one leads; then that one is, while the third node is killed, starts again and
    /// meets the old leader first. Whoever forgets for whom it voted gives the old leader a second life.
    Usurp,
}

const BLOWS: [Blow; 11] = [
    Blow::KillLeader,
    Blow::KillLeader,
    Blow::Kill,
    Blow::KillAll,
    Blow::StopLeader,
    Blow::Stop,
    Blow::IsolateLeader(LinkMode::Cut),
    Blow::IsolateLeader(LinkMode::Silent),
    Blow::Cut(LinkMode::Cut),
    Blow::Cut(LinkMode::Silent),
    Blow::Usurp,
];

impl fmt::Display for Blow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Blow {
    /// Any of them.
    pub(crate) fn draw(random: &mut StdRng) -> Blow {
        *BLOWS.choose(random).expect("there are some")
    }

    /// Strikes, waits, and puts things right again, except for what takes its time: elections go on when this returns.
    pub(crate) fn strike(self, stage: &mut Stage, random: &mut StdRng) {
        let any = random.random_range(0..NODES.len());
        let leader = stage.leader().unwrap_or(any);
        let while_it_lasts = Duration::from_millis(random.random_range(300..5_000));
        match self {
            Blow::KillLeader | Blow::Kill => {
                let node = NODES[if self == Blow::Kill { any } else { leader }];
                stage.colony.kill(node);
                thread::sleep(while_it_lasts);
                stage.colony.start_node(node);
            }
            Blow::KillAll => {
                stage.colony.kill_all();
                stage.colony.start_all();
            }
            Blow::StopLeader | Blow::Stop => {
                let node = if self == Blow::Stop { any } else { leader };
                stage.signal(node, Signal::STOP);
                thread::sleep(while_it_lasts);
                stage.signal(node, Signal::CONT);
            }
            Blow::IsolateLeader(mode) => {
                stage.set_links_of(leader, mode);
                thread::sleep(while_it_lasts);
                stage.set_links(LinkMode::Up);
            }
            Blow::Cut(mode) => {
                stage.set_link(any, (any + 1) % NODES.len(), mode);
                thread::sleep(while_it_lasts);
                stage.set_links(LinkMode::Up);
            }
            Blow::Usurp => usurp(stage, leader),
        }
    }
}

fn usurp(stage: &mut Stage, old: usize) {
    stage.set_links_of(old, LinkMode::Cut);
    let others: Vec<usize> = (0..NODES.len()).filter(|node| *node != old).collect();
    let until = Instant::now() + Duration::from_secs(15);
    let new = loop {
        let leader = stage.colony.status(NODES[others[0]]).filter(|status| status.queenright);
        let leader = leader.and_then(|status| status.leader);
        let place = others.iter().find(|node| leader.as_deref() == Some(NODES[**node]));
        match place {
            Some(new) => break Some(*new),
            None if Instant::now() > until => break None,
            None => thread::sleep(Duration::from_millis(50)),
        }
    };
    if let Some(new) = new {
        // The new leader gets something done before it is cut off in turn.
        thread::sleep(Duration::from_millis(500));
        let third = others[usize::from(others[0] == new)];
        stage.colony.kill(NODES[third]);
        stage.set_links_of(new, LinkMode::Cut);
        stage.set_link(old, third, LinkMode::Up);
        stage.colony.start_node(NODES[third]);
        thread::sleep(Duration::from_secs(5));
    }
    stage.set_links(LinkMode::Up);
}
