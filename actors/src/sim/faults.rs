//! What goes wrong, and when: drawn from the seed, each for a bounded time. The cluster carries it out.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::network::Weather;

/// A fault.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fault {
    /// Nodes are killed at the same moment; each starts again after its own time.
    Crash(Vec<(usize, u64)>),
    /// A node is stopped, and goes on later with a clock that has jumped.
    Pause(usize, u64),
    /// Links are cut: what is under way on them is lost.
    Cut(Vec<(usize, usize)>, u64),
    /// Nothing arrives on these ways, from and to, until later.
    Stall(Vec<(usize, usize)>, u64),
    /// The ways from a node and to it are slow and lossy.
    Weather(usize, Weather, u64),
    /// The disks of nodes are slow: a sync takes so long, at least and at most.
    SlowDisks(Vec<usize>, (u64, u64), u64),
}

/// Which faults a seed prefers, as weights in the order of [`Fault`].
const MIXES: [[u32; 6]; 5] = [
    [4, 2, 3, 3, 2, 2],
    [8, 1, 2, 1, 1, 3],
    [1, 1, 6, 6, 3, 1],
    [1, 6, 2, 2, 1, 2],
    [3, 1, 1, 2, 6, 3],
];

/// Draws the faults of one run.
pub(super) struct Faults {
    random: StdRng,
    nodes: usize,
    weights: [u32; 6],
    pause_ms: (u64, u64),
    next_ms: u64,
}

impl Faults {
    pub(super) fn new(nodes: usize, seed: u64) -> Faults {
        let mut random = StdRng::seed_from_u64(seed);
        let weights = MIXES[random.random_range(0..MIXES.len())];
        let least = random.random_range(20..200);
        let most = least + random.random_range(100..800);
        Faults {
            // The cluster is founded first.
            next_ms: random.random_range(1_000..2_000),
            pause_ms: (least, most),
            weights,
            random,
            nodes,
        }
    }

    /// The fault that begins now, if one does. `leader` is who leads, if anybody does.
    pub(super) fn next(&mut self, now_ms: u64, leader: Option<usize>) -> Option<Fault> {
        if now_ms < self.next_ms {
            return None;
        }
        let (least, most) = self.pause_ms;
        self.next_ms = now_ms + self.random.random_range(least..most);
        let node = self.node(leader);
        let for_ms = self.random.random_range(50..1_500);
        let nodes = self.nodes;
        let all = || (0..nodes).filter(move |other| *other != node);
        Some(match self.kind() {
            0 => self.crash(node),
            1 => Fault::Pause(node, for_ms),
            2 => {
                let mut links: Vec<_> = all().map(|other| (node, other)).collect();
                if self.random.random_range(0..2) == 0 {
                    links.truncate(1);
                }
                Fault::Cut(links, for_ms)
            }
            3 => {
                let ways: Vec<_> = match self.random.random_range(0..4) {
                    // Heard by nobody, hearing all; deaf; one way only; alone.
                    0 => all().map(|other| (node, other)).collect(),
                    1 => all().map(|other| (other, node)).collect(),
                    2 => all().map(|other| (node, other)).take(1).collect(),
                    _ => all().flat_map(|other| [(node, other), (other, node)]).collect(),
                };
                Fault::Stall(ways, for_ms)
            }
            4 => {
                let least = self.random.random_range(1..30);
                let weather = Weather {
                    delay_ms: (least, least + self.random.random_range(1..120)),
                    lost_per_mille: self.random.random_range(0..200),
                };
                Fault::Weather(node, weather, for_ms)
            }
            _ => {
                let least = self.random.random_range(5..60);
                let most = least + self.random.random_range(10..200);
                let nodes = match self.random.random_range(0..2) {
                    // One host, or storage that they share.
                    0 => (0..nodes).collect(),
                    _ => vec![node],
                };
                Fault::SlowDisks(nodes, (least, most), for_ms)
            }
        })
    }

    fn kind(&mut self) -> usize {
        let mut drawn = self.random.random_range(0..self.weights.iter().sum());
        let find = self.weights.iter().position(|weight| {
            let found = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            found
        });
        find.expect("it was drawn below the sum")
    }

    /// Half of the time the leader: what happens to it matters most.
    fn node(&mut self, leader: Option<usize>) -> usize {
        match leader {
            Some(leader) if self.random.random_range(0..2) == 0 => leader,
            _ => self.random.random_range(0..self.nodes),
        }
    }

    fn crash(&mut self, node: usize) -> Fault {
        let nodes: Vec<usize> = match self.random.random_range(0..8) {
            0..2 => (0..self.nodes).collect(),
            2..4 => vec![node, (node + 1) % self.nodes],
            _ => vec![node],
        };
        let mut down_ms = || match self.random.random_range(0..3) {
            // Back before anybody has noticed.
            0 => self.random.random_range(1..30),
            _ => self.random.random_range(50..1_500),
        };
        Fault::Crash(nodes.into_iter().map(|node| (node, down_ms())).collect())
    }
}
