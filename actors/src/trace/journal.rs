//! When the rounds of the last moments arrived, were appended and were applied here: kept for all of them, for those few
//! that somebody asks about.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use queenright_protocol::colony::{ROUND_VERSION, Round};
use queenright_protocol::id::NodeId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many rounds are remembered: those of a second or more of the busiest cluster. A node asks within some hundred
/// milliseconds.
const ROUNDS_KEPT: usize = 8_192;

/// A command, whoever gathered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct CommandId {
    /// The node that gathered it.
    pub node: NodeId,
    /// Which start of that node.
    pub incarnation: u64,
    /// Its number there.
    pub number: u64,
}

/// What a round is called: its first command, and how many it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RoundHead {
    pub(crate) first: CommandId,
    pub(crate) commands: u64,
}

impl RoundHead {
    /// That of an encoded round, of which only that is read: a version byte, the node, its start, how many commands, and the
    /// number of the first, each of 8 bytes. `None` for what is no round of this version.
    pub(crate) fn peek(bytes: &[u8]) -> Option<RoundHead> {
        let number = |place: usize| {
            let bytes = bytes.get(1 + 8 * place..9 + 8 * place)?;
            Some(u64::from_le_bytes(bytes.try_into().ok()?))
        };
        let (node, incarnation, commands, first) = (number(0)?, number(1)?, number(2)?, number(3)?);
        (bytes.first() == Some(&ROUND_VERSION) && commands > 0).then_some(RoundHead {
            first: CommandId {
                node: NodeId(node),
                incarnation,
                number: first,
            },
            commands,
        })
    }

    /// That of a round.
    pub(crate) fn of(round: &Round) -> Option<RoundHead> {
        Some(RoundHead {
            first: CommandId {
                node: round.node,
                incarnation: round.incarnation,
                number: round.commands.first()?.number,
            },
            commands: round.commands.len() as u64,
        })
    }
}

/// When a node had a command, by its wall clock in microseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandTimes {
    /// When its round reached the queen of this node, while that led.
    pub arrived_us: Option<u64>,
    /// When she handed it to consensus, last.
    pub appended_us: Option<u64>,
    /// When it was applied here.
    pub applied: Option<AppliedTimes>,
}

/// When an entry was applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AppliedTimes {
    /// Its index in the log.
    pub index: u64,
    /// When that began.
    pub begin_us: u64,
    /// When it was done.
    pub end_us: u64,
}

/// The rounds of the last moments: what happened to them, in the order in which it did. Noting costs a lock and a place that is
/// there already; whoever asks looks through all of it.
// Mutexes: the queen and the writer of the state note, whoever is asked reads. Held for one step of plain code.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    arrived: Mutex<VecDeque<(RoundHead, u64)>>,
    appended: Mutex<VecDeque<(RoundHead, u64)>>,
    applied: Mutex<VecDeque<(RoundHead, AppliedTimes)>>,
}

impl Journal {
    /// A round has reached the queen of this node.
    pub(crate) fn arrived(&self, head: RoundHead, now_us: u64) {
        note(&self.arrived, head, now_us);
    }

    /// A round was handed to consensus.
    pub(crate) fn appended(&self, head: RoundHead, now_us: u64) {
        note(&self.appended, head, now_us);
    }

    /// A round was applied.
    pub(crate) fn applied(&self, head: RoundHead, applied: AppliedTimes) {
        note(&self.applied, head, applied);
    }

    /// When this node had these commands, in their order; all unknown where it had not, or no longer remembers. What arrived
    /// or was applied again counts the first time, what was handed to consensus again the last time.
    pub(crate) fn times(&self, commands: &[CommandId]) -> Vec<CommandTimes> {
        let mut asked: BTreeMap<CommandId, CommandTimes> = BTreeMap::new();
        asked.extend(commands.iter().map(|command| (*command, CommandTimes::default())));
        look(&self.arrived, &mut asked, |times, arrived_us| {
            times.arrived_us.get_or_insert(arrived_us);
        });
        look(&self.appended, &mut asked, |times, appended_us| {
            times.appended_us = Some(appended_us)
        });
        look(&self.applied, &mut asked, |times, applied| {
            times.applied.get_or_insert(applied);
        });
        commands.iter().map(|command| asked[command]).collect()
    }
}

fn note<T>(log: &Mutex<VecDeque<(RoundHead, T)>>, head: RoundHead, what: T) {
    let mut log = log.lock().expect("nothing panics under this lock");
    if log.len() >= ROUNDS_KEPT {
        log.pop_front();
    }
    log.push_back((head, what));
}

/// Notes for each command that is asked about what the log says of the round that it stands in.
fn look<T: Copy>(
    log: &Mutex<VecDeque<(RoundHead, T)>>,
    asked: &mut BTreeMap<CommandId, CommandTimes>,
    note: impl Fn(&mut CommandTimes, T),
) {
    let log = log.lock().expect("nothing panics under this lock");
    for (RoundHead { first, commands }, what) in &*log {
        // Its numbers came from a peer.
        let behind = CommandId {
            number: first.number.saturating_add(*commands),
            ..*first
        };
        if *first < behind {
            asked
                .range_mut(*first..behind)
                .for_each(|(_, times)| note(times, *what));
        }
    }
}

#[cfg(test)]
mod tests {
    use queenright_protocol::colony::{Body, Command, TaskCommand};

    use super::*;

    fn command(node: u64, incarnation: u64, number: u64) -> CommandId {
        CommandId {
            node: NodeId(node),
            incarnation,
            number,
        }
    }

    fn head(node: u64, incarnation: u64, number: u64, commands: u64) -> RoundHead {
        RoundHead {
            first: command(node, incarnation, number),
            commands,
        }
    }

    fn one(journal: &Journal, command: CommandId) -> CommandTimes {
        journal.times(&[command])[0]
    }

    #[test]
    fn a_command_has_the_times_of_its_round_and_no_other() {
        let journal = Journal::default();
        journal.arrived(head(1, 1, 10, 5), 100);
        journal.arrived(head(1, 1, 10, 5), 150);
        journal.appended(head(1, 1, 10, 5), 200);
        let applied = AppliedTimes {
            index: 7,
            begin_us: 300,
            end_us: 310,
        };
        journal.applied(head(1, 1, 10, 5), applied);
        journal.appended(head(2, 1, 12, 1), 999);
        for number in 10..15 {
            let times = one(&journal, command(1, 1, number));
            assert_eq!(
                (times.arrived_us, times.appended_us, times.applied),
                (Some(100), Some(200), Some(applied))
            );
        }
        let nothing = CommandTimes::default();
        for other in [
            command(1, 1, 9),
            command(1, 1, 15),
            command(1, 2, 10),
            command(2, 1, 10),
            command(0, 0, 0),
        ] {
            assert_eq!(one(&journal, other), nothing, "{other:?}");
        }
        // Asked together, each has its own, in the order of the question.
        let both = journal.times(&[command(2, 1, 12), command(1, 1, 9), command(1, 1, 12)]);
        assert_eq!(
            both.iter().map(|times| times.appended_us).collect::<Vec<_>>(),
            [Some(999), None, Some(200)]
        );
        // What a peer says may be anything.
        journal.arrived(head(1, 1, u64::MAX, u64::MAX), 1);
        journal.arrived(head(1, 1, 20, 0), 1);
        // A round of another node that repeats the number is another round.
        assert_eq!(one(&journal, command(2, 1, 12)).appended_us, Some(999));
    }

    #[test]
    fn the_head_of_an_encoded_round_is_that_of_the_round() {
        let command = |number| Command {
            number,
            settled: 1,
            expires_ms: 9,
            project: "p".into(),
            author: "a".into(),
            idempotency_key: None,
            body: Body::Task(TaskCommand::Add(Vec::new())),
            listed: false,
        };
        let round = Round {
            node: NodeId(3),
            incarnation: 4,
            commands: vec![command(7), command(8)],
        };
        let bytes = round.encode();
        assert_eq!(RoundHead::peek(&bytes), RoundHead::of(&round));
        assert_eq!(RoundHead::peek(&bytes), Some(head(3, 4, 7, 2)));
        for short in 0..33 {
            assert_eq!(RoundHead::peek(&bytes[..short]), None);
        }
        let empty = Round {
            commands: Vec::new(),
            ..round
        };
        assert_eq!((RoundHead::of(&empty), RoundHead::peek(&empty.encode())), (None, None));
    }

    #[test]
    fn only_so_many_rounds_are_remembered() {
        let journal = Journal::default();
        for number in 0..2 * ROUNDS_KEPT as u64 {
            journal.arrived(head(1, 1, number, 1), number);
        }
        assert_eq!(journal.arrived.lock().unwrap().len(), ROUNDS_KEPT);
        assert_eq!(one(&journal, command(1, 1, 5)).arrived_us, None);
        let last = 2 * ROUNDS_KEPT as u64 - 1;
        assert_eq!(one(&journal, command(1, 1, last)).arrived_us, Some(last));
    }
}
