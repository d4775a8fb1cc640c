//! A snapshot on its way to a node that was away, or that is new: nobody is elected, and puts go on.

use std::fs;
use std::time::{Duration, Instant};

use queenright_actors::node::{NodeStatus, RecoveredBy, Role};
use queenright_bench::client::{Client, PutOptions};

use crate::colony::{Colony, NODES, until};

/// Who gets the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Comer {
    /// A node that was away for longer than the log is kept.
    WasAway,
    /// A node that joins: the one that takes the place of a node whose disk is lost.
    IsNew,
}

/// What is sent, and how fast.
pub(crate) struct Sending {
    pub(crate) name: &'static str,
    pub(crate) to: Comer,
    /// So many values of so many bytes are the state.
    pub(crate) values: usize,
    pub(crate) value_bytes: usize,
    pub(crate) bytes_per_s: u64,
    /// How long it may take.
    pub(crate) within: Duration,
}

/// What was seen meanwhile.
#[derive(Debug)]
pub(crate) struct Seen {
    /// From the start of the node until it had the snapshot.
    pub(crate) took: Duration,
    pub(crate) snapshot_bytes: u64,
    /// Puts that were acknowledged in that time, and how long the slowest one took.
    pub(crate) puts: usize,
    pub(crate) slowest_put: Duration,
}

impl Sending {
    fn state_bytes(&self) -> u64 {
        (self.values * self.value_bytes) as u64
    }

    /// Puts one of the values, with content that no other has.
    fn put_value(&self, colony: &Colony, client: &Client, number: usize) {
        let mut value = vec![0; self.value_bytes];
        rand::fill(&mut value[..]);
        put(colony, client, &format!("large/{number}"), value);
    }

    /// Fills the cluster until its leader has a snapshot with all values in it, and the log is cut behind that.
    fn fill(&self, colony: &Colony, client: &Client, leader: &str) {
        for number in 0..self.values {
            self.put_value(colony, client, number);
        }
        // Which of the values the newest snapshot holds depends on when it was taken. The log grows by changes of the same
        // values until there is one that was taken later.
        for number in 0..self.values {
            if newest_snapshot_bytes(colony, leader) > self.state_bytes() {
                break;
            }
            self.put_value(colony, client, number);
        }
        until("a snapshot holds all values, and the log is cut", || {
            let figures = colony.block_on(async { client.figures().await.unwrap() });
            let all = newest_snapshot_bytes(colony, leader) > self.state_bytes();
            (all && figures.log_bytes < self.state_bytes() * 3 / 4).then_some(())
        });
    }
}

fn put(colony: &Colony, client: &Client, key: &str, value: Vec<u8>) {
    colony
        .block_on(client.put(key, value.into(), &PutOptions::default()))
        .unwrap_or_else(|error| panic!("{key}: {error}"));
}

fn newest_snapshot_bytes(colony: &Colony, node: &str) -> u64 {
    let Ok(files) = fs::read_dir(colony.data(node).join("snapshot")) else {
        return 0;
    };
    // Their names begin with the index of the last entry; one may go while this looks.
    let files = files.filter_map(|file| file.ok());
    let whole = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "snapshot"));
    let newest = whole.max_by_key(|file| file.file_name());
    newest.and_then(|file| Some(file.metadata().ok()?.len())).unwrap_or(0)
}

fn seen_by(colony: &Colony, by: &str, of: &str) -> Option<NodeStatus> {
    let mut nodes = colony.status(by)?.nodes.into_iter().filter(|node| node.name == of);
    // While it is replaced it has two numbers.
    nodes.next().filter(|_| nodes.next().is_none())
}

/// Kills a follower, fills the cluster until its log is cut behind that, starts the follower again, or a new node in its
/// place, and puts small values until it has the snapshot.
pub(crate) fn check(sending: &Sending) -> Seen {
    let mut colony = Colony::start_prepared(sending.name, |config, _| {
        config.log.snapshot_bytes = 1 << 20;
        config.log.keep_bytes = 256 << 10;
        config.log.sent_bytes_per_s = sending.bytes_per_s;
    });
    let leader = colony.leader_at("n1", None);
    let away = NODES.into_iter().find(|node| *node != leader).unwrap();
    colony.same_digest();
    let number = seen_by(&colony, &leader, away).unwrap().number;
    colony.kill(away);
    let client = colony.client(&leader, "test");
    sending.fill(&colony, &client, &leader);
    if sending.to == Comer::IsNew {
        let data = colony.folder().join("data");
        let replace = ["node", "replace", away, "--data", data.to_str().unwrap()];
        colony.at(&leader, &replace).with_code(0);
        fs::create_dir(data.join(away)).unwrap();
    }
    let term = colony.status(&leader).unwrap().term;

    let began = Instant::now();
    colony.start_node(away);
    let (mut puts, mut slowest_put) = (0, Duration::ZERO);
    let snapshot_bytes = loop {
        assert!(began.elapsed() < sending.within, "no snapshot after {puts} puts");
        let started = Instant::now();
        put(&colony, &client, &format!("small/{}", puts % 100), vec![1; 100]);
        slowest_put = slowest_put.max(started.elapsed());
        puts += 1;
        let own = seen_by(&colony, away, away);
        let recovery = own.and_then(|own| own.recovery);
        if let Some(recovery) = recovery.filter(|recovery| recovery.by == RecoveredBy::Peer) {
            break recovery.bytes;
        }
    };
    let took = began.elapsed();
    until("it votes", || {
        let node = seen_by(&colony, &leader, away).filter(|node| node.role == Role::Follower)?;
        ((node.number == number) == (sending.to == Comer::WasAway)).then_some(())
    });
    colony.same_digest();
    let status = colony.status(&leader).unwrap();
    assert_eq!(
        (status.term, status.leader),
        (term, Some(leader)),
        "an election was held"
    );
    Seen {
        took,
        snapshot_bytes,
        puts,
        slowest_put,
    }
}
