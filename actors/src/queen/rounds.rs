//! The queen's rounds as a plain machine: commands in, rounds out; and, while her node leads, rounds in and entries out.
//! No actor, no clock, no log: inputs bring the time, effects are carried out by whoever drives it.
//!
//! | input | from | effect |
//! |---|---|---|
//! | [`Input::Submit`] | an agent or a door | the command waits for a round, or is refused when too many wait |
//! | [`Input::Drain`] | the actor, when its mailbox is empty | what waits becomes a round, what arrived becomes an entry |
//! | [`Input::Applied`] | the replica | outcomes go to those who wait for them |
//! | [`Input::Leader`] | consensus | rounds without outcome are sent to the new leader |
//! | [`Input::Round`] | a queen | it joins the next entry, or is refused when this node does not lead |
//! | [`Input::EntryDone`] | consensus | the next entry may follow |
//! | [`Input::Tick`] | a timer, while rounds are under way | rounds without outcome are sent again |

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use queenright_protocol::colony::{Answer, Command, Outcome, Round};
use queenright_protocol::id::NodeId;

use super::request::{Request, SubmitError};

/// Bounds of the machine.
#[derive(Clone, Copy, Debug)]
pub struct RoundLimits {
    /// How many rounds of this node may be under way. Trials favour 2 to 4 over 1.
    pub rounds_in_flight: usize,
    /// How many entries a leader may have under way.
    pub entries_in_flight: usize,
    /// How many bytes of commands a round gathers, and of rounds an entry; a larger command goes alone.
    pub round_bytes: usize,
    /// The largest command, in bytes.
    pub command_bytes: usize,
    /// How many commands may wait or be under way.
    pub commands: usize,
    /// How many bytes of commands may wait or be under way.
    pub waiting_bytes: usize,
    /// After how many milliseconds a round without outcome is sent again; doubles with each time, up to eight times.
    pub repeat_ms: u64,
}

impl Default for RoundLimits {
    fn default() -> RoundLimits {
        RoundLimits {
            rounds_in_flight: 4,
            entries_in_flight: 4,
            round_bytes: 1 << 20,
            command_bytes: 16 << 20,
            commands: 65_536,
            waiting_bytes: 256 << 20,
            repeat_ms: 500,
        }
    }
}

/// What happens to the machine. `T` is the ticket by which a caller gets its outcome.
#[derive(Debug)]
pub enum Input<T> {
    /// A command, with the cluster time at which it expires and its encoded size.
    Submit {
        /// By which the caller gets its outcome.
        ticket: T,
        /// The command.
        request: Request,
        /// Cluster time in milliseconds after which it is refused.
        expires_ms: u64,
    },
    /// Nothing else is waiting to be put in: send what was gathered.
    Drain,
    /// Outcomes of commands of this node.
    Applied(Vec<Answer>),
    /// Who leads now.
    Leader(Option<NodeId>),
    /// A round that another queen sent here.
    Round {
        /// Who sent it.
        from: NodeId,
        /// The round.
        bytes: Bytes,
    },
    /// An entry was applied, or will never be.
    EntryDone,
    /// Time goes on.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub enum Effect<T> {
    /// Send a round to the leader's queen.
    Send {
        /// The leader.
        to: NodeId,
        /// The round.
        bytes: Bytes,
    },
    /// Tell a queen that this node does not lead.
    Refuse {
        /// Who sent the round.
        to: NodeId,
    },
    /// Append these rounds as one entry.
    Append {
        /// The rounds, in order.
        rounds: Vec<Bytes>,
    },
    /// Hand out an outcome.
    Answer {
        /// Whose.
        ticket: T,
        /// The outcome, or why there is none.
        outcome: Result<Outcome, SubmitError>,
    },
}

struct Waiting<T> {
    ticket: T,
    request: Request,
    expires_ms: u64,
    bytes: usize,
}

/// A round under way.
struct Flight {
    bytes: Bytes,
    /// How many of its commands have no outcome yet.
    open: usize,
    /// When it was sent last, in the machine's milliseconds.
    sent_ms: u64,
    /// How often it was sent.
    sends: u32,
}

/// The machine.
pub struct Rounds<T> {
    me: NodeId,
    incarnation: u64,
    limits: RoundLimits,
    leader: Option<NodeId>,
    /// The number that the next command gets.
    next_number: u64,
    waiting: VecDeque<Waiting<T>>,
    waiting_bytes: usize,
    /// By the number of their first command.
    flights: BTreeMap<u64, Flight>,
    /// The callers of commands under way, by number.
    tickets: BTreeMap<u64, T>,
    /// Rounds for the next entries, while this node leads.
    inbox: VecDeque<Bytes>,
    inbox_bytes: usize,
    entries_in_flight: usize,
    repeated: u64,
}

impl<T> Rounds<T> {
    /// A machine for this start of the node.
    pub fn new(me: NodeId, incarnation: u64, limits: RoundLimits) -> Rounds<T> {
        Rounds {
            me,
            incarnation,
            limits,
            leader: None,
            next_number: 1,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            flights: BTreeMap::new(),
            tickets: BTreeMap::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            entries_in_flight: 0,
            repeated: 0,
        }
    }

    /// Takes an input at `now_ms`, any clock that does not go back, and adds what is to be done to `out`.
    pub fn step(&mut self, now_ms: u64, input: Input<T>, out: &mut Vec<Effect<T>>) {
        match input {
            Input::Submit {
                ticket,
                request,
                expires_ms,
            } => self.submit(ticket, request, expires_ms, out),
            Input::Drain => self.drain(now_ms, out),
            Input::Applied(answers) => self.applied(answers, out),
            Input::Leader(leader) => self.leader(now_ms, leader, out),
            Input::Round { from, bytes } => self.round(from, bytes, out),
            Input::EntryDone => self.entries_in_flight = self.entries_in_flight.saturating_sub(1),
            Input::Tick => self.tick(now_ms, out),
        }
    }

    /// Whether [`Input::Drain`] would do something.
    pub fn has_work(&self) -> bool {
        let round = !self.waiting.is_empty() && self.flights.len() < self.limits.rounds_in_flight;
        let entry = !self.inbox.is_empty() && self.entries_in_flight < self.limits.entries_in_flight;
        round || entry
    }

    /// Whether rounds are under way, so that time must go on.
    pub fn is_waiting(&self) -> bool {
        !self.flights.is_empty()
    }

    /// How many rounds were sent again.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Who leads, as far as this machine was told.
    pub fn current_leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Gives back all tickets: for a node that stops.
    pub fn into_tickets(self) -> impl Iterator<Item = T> {
        self.tickets
            .into_values()
            .chain(self.waiting.into_iter().map(|waiting| waiting.ticket))
    }

    fn submit(&mut self, ticket: T, request: Request, expires_ms: u64, out: &mut Vec<Effect<T>>) {
        let bytes = request.body.encoded_bytes();
        let refusal = self.refusal(bytes);
        if let Some(refusal) = refusal {
            out.push(Effect::Answer {
                ticket,
                outcome: Err(refusal),
            });
            return;
        }
        self.waiting_bytes += bytes;
        self.waiting.push_back(Waiting {
            ticket,
            request,
            expires_ms,
            bytes,
        });
    }

    fn refusal(&self, bytes: usize) -> Option<SubmitError> {
        let limits = &self.limits;
        let held = self.waiting.len() + self.tickets.len();
        if bytes > limits.command_bytes {
            return Some(SubmitError::TooLarge {
                bytes: bytes as u64,
                limit: limits.command_bytes as u64,
            });
        }
        if held >= limits.commands {
            return Some(SubmitError::Busy {
                held: held as u64,
                unit: "commands",
                limit: limits.commands as u64,
            });
        }
        let held = self.waiting_bytes + bytes;
        (held > limits.waiting_bytes).then_some(SubmitError::Busy {
            held: held as u64,
            unit: "bytes",
            limit: limits.waiting_bytes as u64,
        })
    }

    fn drain(&mut self, now_ms: u64, out: &mut Vec<Effect<T>>) {
        while self.flights.len() < self.limits.rounds_in_flight && !self.waiting.is_empty() {
            self.cut_round(now_ms, out);
        }
        while self.entries_in_flight < self.limits.entries_in_flight && !self.inbox.is_empty() {
            self.join_entry(out);
        }
    }

    fn cut_round(&mut self, now_ms: u64, out: &mut Vec<Effect<T>>) {
        let first = self.next_number;
        let settled = self.tickets.first_key_value().map_or(first, |(number, _)| *number);
        let mut commands = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            if !commands.is_empty() && bytes + next.bytes > self.limits.round_bytes {
                break;
            }
            let Waiting {
                ticket,
                request,
                expires_ms,
                bytes: size,
            } = self.waiting.pop_front().expect("it has a front");
            bytes += size;
            self.waiting_bytes -= size;
            let number = self.next_number;
            self.next_number += 1;
            self.tickets.insert(number, ticket);
            let Request {
                project,
                author,
                idempotency_key,
                body,
            } = request;
            commands.push(Command {
                number,
                settled,
                expires_ms,
                project,
                author,
                idempotency_key,
                body,
            });
        }
        let open = commands.len();
        let bytes = Round {
            node: self.me,
            incarnation: self.incarnation,
            commands,
        }
        .encode();
        self.flights.insert(
            first,
            Flight {
                bytes,
                open,
                sent_ms: now_ms,
                sends: 0,
            },
        );
        self.send_flight(first, now_ms, out);
    }

    /// Sends a round to whoever leads; with no leader it waits for one.
    fn send_flight(&mut self, first: u64, now_ms: u64, out: &mut Vec<Effect<T>>) {
        let Some(leader) = self.leader else { return };
        let flight = self.flights.get_mut(&first).expect("the caller looked it up");
        flight.sent_ms = now_ms;
        self.repeated += u64::from(flight.sends > 0);
        flight.sends += 1;
        let bytes = flight.bytes.clone();
        if leader == self.me {
            self.take_in(bytes);
        } else {
            out.push(Effect::Send { to: leader, bytes });
        }
    }

    fn take_in(&mut self, bytes: Bytes) {
        self.inbox_bytes += bytes.len();
        self.inbox.push_back(bytes);
    }

    fn join_entry(&mut self, out: &mut Vec<Effect<T>>) {
        let mut rounds = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.inbox.front() {
            if !rounds.is_empty() && bytes + next.len() > self.limits.round_bytes {
                break;
            }
            let next = self.inbox.pop_front().expect("it has a front");
            bytes += next.len();
            self.inbox_bytes -= next.len();
            rounds.push(next);
        }
        self.entries_in_flight += 1;
        out.push(Effect::Append { rounds });
    }

    fn applied(&mut self, answers: Vec<Answer>, out: &mut Vec<Effect<T>>) {
        for answer in answers {
            if answer.incarnation != self.incarnation {
                continue;
            }
            // A repeated command is answered each time it is applied; the first time counts.
            let Some(ticket) = self.tickets.remove(&answer.number) else {
                continue;
            };
            out.push(Effect::Answer {
                ticket,
                outcome: Ok(answer.outcome),
            });
            let (&first, flight) = self
                .flights
                .range_mut(..=answer.number)
                .next_back()
                .expect("a command under way is in a round");
            flight.open -= 1;
            if flight.open == 0 {
                self.flights.remove(&first);
            }
        }
    }

    fn leader(&mut self, now_ms: u64, leader: Option<NodeId>, out: &mut Vec<Effect<T>>) {
        if leader == self.leader {
            return;
        }
        self.leader = leader;
        // What this node took in as leader is repeated by those who sent it.
        self.inbox.clear();
        self.inbox_bytes = 0;
        let flights: Vec<u64> = self.flights.keys().copied().collect();
        for first in flights {
            self.send_flight(first, now_ms, out);
        }
    }

    fn round(&mut self, from: NodeId, bytes: Bytes, out: &mut Vec<Effect<T>>) {
        let full = self.inbox_bytes + bytes.len() > self.limits.waiting_bytes;
        if self.leader != Some(self.me) || full {
            // A full leader refuses too: the sender repeats the round later.
            out.push(Effect::Refuse { to: from });
            return;
        }
        self.take_in(bytes);
    }

    fn tick(&mut self, now_ms: u64, out: &mut Vec<Effect<T>>) {
        let limits = self.limits;
        let due: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| {
                let patience = limits.repeat_ms << flight.sends.saturating_sub(1).min(3);
                flight.sends == 0 || now_ms >= flight.sent_ms + patience
            })
            .map(|(first, _)| *first)
            .collect();
        for first in due {
            self.send_flight(first, now_ms, out);
        }
    }
}
