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
//! | [`Input::Refused`] | a queen | the rounds that were sent to her go again at the next tick, if she will lead |
//! | [`Input::EntryDone`] | consensus | the next entry may follow |
//! | [`Input::EntryNotTaken`] | consensus | its rounds go again, if this node leads |
//! | [`Input::Tick`] | a timer, while rounds are under way | rounds without outcome are sent again |

mod limits;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use queenright_protocol::colony::{Answer, Command, Outcome, ROUND_VERSION, Round};
use queenright_protocol::id::NodeId;

pub use self::limits::RoundLimits;
use self::limits::{LENGTH_BYTES, ROUND_ALONE_BYTES_MAX, encoded_bytes, outcome_bytes_max};
use super::request::{Request, SubmitError};

/// While rounds or entries are under way, the next one goes when this many times what it holds is what they hold together.
/// Each costs every node some tenths of a millisecond, whatever it holds: without this the next would go for the first
/// command that comes, and a busy cluster would spend its time on small ones. An idle cluster never holds back what waits.
const WORTH_MORE: usize = 2;
/// How often a round was sent that still goes again at once when it was refused by who does not lead.
pub(super) const SENT_SOON_MAX: u32 = 8;

/// What happens to the machine. `T` is the ticket by which a caller gets its outcome.
#[derive(Debug)]
pub(crate) enum Input<T> {
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
    /// A round could not be sent: there is no link to who leads.
    NotSent {
        /// The number of its first command.
        first: u64,
    },
    /// A queen to whom rounds were sent does not lead, or does not know yet that she does.
    Refused {
        /// Whose queen.
        from: NodeId,
    },
    /// An entry was applied, or will never be.
    EntryDone,
    /// Consensus did not take an entry: this node does not lead, or no quorum has acknowledged yet that it does.
    EntryNotTaken {
        /// Its rounds.
        rounds: Vec<Bytes>,
    },
    /// Time goes on.
    Tick,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect<T> {
    /// Send a round to the leader's queen.
    Send {
        /// The leader.
        to: NodeId,
        /// The number of its first command.
        first: u64,
        /// The round.
        bytes: Bytes,
    },
    /// Tell a queen that her round was not taken.
    Refuse {
        /// Who sent the round.
        to: NodeId,
        /// Whether this node leads all the same.
        leads: bool,
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
    outcome_bytes: usize,
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
    /// Whether the one it was sent to last does not lead.
    refused: bool,
    /// When it was cut, by the clock that measures.
    cut_us: u64,
}

/// The machine.
pub(crate) struct Rounds<T> {
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
    flight_bytes: usize,
    /// The most that each outcome may have that all nodes keep for this one, from that of `settled` on.
    outcomes: VecDeque<usize>,
    outcome_bytes: usize,
    /// All commands below this number have been answered.
    settled: u64,
    /// The callers of commands under way, by number.
    tickets: BTreeMap<u64, T>,
    /// Rounds for the next entries, while this node leads.
    inbox: VecDeque<Bytes>,
    inbox_bytes: usize,
    /// The bytes of the rounds in the entries under way, oldest first.
    entries: VecDeque<usize>,
    repeated: u64,
    /// The time of this step by the clock that measures, in microseconds. Nothing is decided by it.
    measuring_us: u64,
    /// How long the rounds took that were over since somebody asked.
    took_us: Vec<u64>,
    /// The rounds that were cut since somebody asked: the number of the first command, and how many they have.
    cut: Vec<(u64, u64)>,
}

impl<T> Rounds<T> {
    /// A machine for this start of the node.
    pub(crate) fn new(me: NodeId, incarnation: u64, limits: RoundLimits) -> Rounds<T> {
        let limits = limits.encodable();
        Rounds {
            me,
            incarnation,
            limits,
            leader: None,
            next_number: 1,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            flights: BTreeMap::new(),
            flight_bytes: 0,
            outcomes: VecDeque::new(),
            outcome_bytes: 0,
            settled: 1,
            tickets: BTreeMap::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            entries: VecDeque::new(),
            repeated: 0,
            measuring_us: 0,
            took_us: Vec::new(),
            cut: Vec::new(),
        }
    }

    /// Says what the time is, in microseconds, for what is measured of the rounds of the next step.
    pub(crate) fn measure_at(&mut self, now_us: u64) {
        self.measuring_us = now_us;
    }

    /// Adds the rounds that were cut since this was asked last: the number of the first command, and how many they have.
    pub(crate) fn take_cuts(&mut self, cuts: &mut Vec<(u64, u64)>) {
        cuts.append(&mut self.cut);
    }

    /// By which the caller of a command under way gets its outcome.
    pub(crate) fn ticket(&self, number: u64) -> Option<&T> {
        self.tickets.get(&number)
    }

    /// How long the rounds took that are over since this was asked last, from the cut to the last outcome, in microseconds.
    pub(crate) fn measured_us(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.took_us)
    }

    /// Takes an input at `now_ms`, any clock that does not go back, and adds what is to be done to `out`.
    pub(crate) fn step(&mut self, now_ms: u64, input: Input<T>, out: &mut Vec<Effect<T>>) {
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
            Input::NotSent { first } => self.not_sent(first),
            Input::Refused { from } => self.refused(from),
            Input::EntryDone => drop(self.entries.pop_front()),
            Input::EntryNotTaken { rounds } => self.not_taken(rounds),
            Input::Tick => self.tick(now_ms, out),
        }
    }

    /// Whether [`Input::Drain`] would do something.
    pub(crate) fn has_work(&self) -> bool {
        self.may_cut() || self.may_join()
    }

    /// Whether what waits may become a round now. While others are under way it must be worth one, or full.
    fn may_cut(&self) -> bool {
        let full = self.waiting_bytes >= self.limits.round_bytes || self.waiting.len() >= self.limits.round_commands;
        self.flights.len() < self.limits.rounds_in_flight
            && (full || self.waiting.len() * WORTH_MORE >= self.tickets.len())
            && self.waiting.front().is_some_and(|next| self.is_kept(next))
    }

    /// Whether there is room for the outcome of this command among those that all nodes keep.
    fn is_kept(&self, next: &Waiting<T>) -> bool {
        self.outcome_bytes + next.outcome_bytes <= self.limits.outcome_bytes
    }

    fn may_join(&self) -> bool {
        let under_way: usize = self.entries.iter().sum();
        let full = self.inbox_bytes >= self.limits.round_bytes;
        !self.inbox.is_empty()
            && self.entries.len() < self.limits.entries_in_flight
            && (full || self.inbox_bytes * WORTH_MORE >= under_way)
    }

    /// Whether rounds are under way, so that time must go on.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.flights.is_empty()
    }

    /// How many rounds were sent again.
    pub(crate) fn repeated(&self) -> u64 {
        self.repeated
    }

    fn submit(&mut self, ticket: T, request: Request, expires_ms: u64, out: &mut Vec<Effect<T>>) {
        let (bytes, outcome_bytes) = (encoded_bytes(&request), outcome_bytes_max(&request));
        if let Some(refusal) = self.refusal(bytes, outcome_bytes) {
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
            outcome_bytes,
        });
    }

    fn refusal(&self, bytes: usize, outcome_bytes: usize) -> Option<SubmitError> {
        let limits = &self.limits;
        let held = self.waiting.len() + self.tickets.len();
        if bytes > limits.command_bytes {
            return Some(SubmitError::TooLarge {
                bytes: bytes as u64,
                limit: limits.command_bytes as u64,
            });
        }
        if outcome_bytes > limits.outcome_bytes {
            return Some(SubmitError::OutcomeTooLarge {
                bytes: outcome_bytes as u64,
                limit: limits.outcome_bytes as u64,
            });
        }
        if held >= limits.commands {
            return Some(SubmitError::Busy {
                held: held as u64,
                unit: "commands",
                limit: limits.commands as u64,
            });
        }
        let held = self.waiting_bytes + self.flight_bytes + bytes;
        (held > limits.waiting_bytes).then_some(SubmitError::Busy {
            held: held as u64,
            unit: "bytes",
            limit: limits.waiting_bytes as u64,
        })
    }

    fn drain(&mut self, now_ms: u64, out: &mut Vec<Effect<T>>) {
        while self.may_cut() {
            self.cut_round(now_ms, out);
        }
        while self.may_join() {
            self.join_entry(out);
        }
    }

    fn cut_round(&mut self, now_ms: u64, out: &mut Vec<Effect<T>>) {
        let first = self.next_number;
        let mut commands = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            let full = bytes + next.bytes > self.limits.round_bytes
                || commands.len() >= self.limits.round_commands
                || !self.is_kept(next);
            if !commands.is_empty() && full {
                break;
            }
            let next = self.waiting.pop_front().expect("it has a front");
            bytes += next.bytes;
            commands.push(self.number(next));
        }
        let open = commands.len();
        self.cut.push((first, open as u64));
        let bytes = Round {
            node: self.me,
            incarnation: self.incarnation,
            commands,
        }
        .encode();
        assert!(bytes.len() <= ROUND_ALONE_BYTES_MAX, "the limits were cut to what fits");
        self.flight_bytes += bytes.len();
        self.flights.insert(
            first,
            Flight {
                bytes,
                open,
                sent_ms: now_ms,
                sends: 0,
                refused: false,
                cut_us: self.measuring_us,
            },
        );
        self.send_flight(first, now_ms, out);
    }

    /// Makes what waited a command of the session.
    fn number(&mut self, next: Waiting<T>) -> Command {
        let Waiting {
            ticket,
            request,
            expires_ms,
            bytes,
            outcome_bytes,
        } = next;
        let Request {
            project,
            author,
            idempotency_key,
            body,
        } = request;
        let number = self.next_number;
        self.next_number += 1;
        self.waiting_bytes -= bytes;
        self.outcome_bytes += outcome_bytes;
        self.outcomes.push_back(outcome_bytes);
        self.tickets.insert(number, ticket);
        Command {
            number,
            settled: self.settled,
            expires_ms,
            project,
            author,
            idempotency_key,
            body,
            listed: self.limits.listed,
        }
    }

    /// Sends a round to whoever leads; with no leader it waits for one.
    fn send_flight(&mut self, first: u64, now_ms: u64, out: &mut Vec<Effect<T>>) {
        let Some(leader) = self.leader else { return };
        let flight = self.flights.get_mut(&first).expect("the caller looked it up");
        flight.sent_ms = now_ms;
        self.repeated += u64::from(flight.sends > 0);
        flight.sends += 1;
        flight.refused = false;
        let bytes = flight.bytes.clone();
        if leader == self.me {
            // Refused like any other when too much waits: the next tick tries again.
            self.take_in(bytes);
        } else {
            out.push(Effect::Send {
                to: leader,
                first,
                bytes,
            });
        }
    }

    /// Lets a round wait for an entry; `false` if there is no room for it.
    fn take_in(&mut self, bytes: Bytes) -> bool {
        if self.inbox.contains(&bytes) {
            // Repeated while it waits: once is enough.
            return true;
        }
        if self.inbox_bytes + bytes.len() > self.limits.waiting_bytes {
            return false;
        }
        self.inbox_bytes += bytes.len();
        self.inbox.push_back(bytes);
        true
    }

    fn join_entry(&mut self, out: &mut Vec<Effect<T>>) {
        let mut rounds = Vec::new();
        let mut bytes = 0;
        let before = self.inbox_bytes;
        while let Some(next) = self.inbox.front() {
            if !rounds.is_empty() && bytes + LENGTH_BYTES + next.len() > self.limits.round_bytes {
                break;
            }
            let next = self.inbox.pop_front().expect("it has a front");
            bytes += LENGTH_BYTES + next.len();
            self.inbox_bytes -= next.len();
            rounds.push(next);
        }
        self.entries.push_back(before - self.inbox_bytes);
        out.push(Effect::Append { rounds });
    }

    /// A new leader knows of her election before a quorum has acknowledged it: until then consensus takes nothing, and
    /// what was on its way to the log waits here, ahead of what came after it.
    fn not_taken(&mut self, rounds: Vec<Bytes>) {
        self.entries.pop_front();
        if self.leader != Some(self.me) {
            return;
        }
        for bytes in rounds.into_iter().rev() {
            if !self.inbox.contains(&bytes) {
                self.inbox_bytes += bytes.len();
                self.inbox.push_front(bytes);
            }
        }
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
                self.flight_bytes -= flight.bytes.len();
                self.took_us.push(self.measuring_us.saturating_sub(flight.cut_us));
                self.flights.remove(&first);
            }
        }
        self.settle();
    }

    /// Moves `settled` past the commands that have an outcome now.
    fn settle(&mut self) {
        let first_open = self.tickets.first_key_value();
        let settled = first_open.map_or(self.next_number, |(number, _)| *number);
        let gone = self.outcomes.drain(..(settled - self.settled) as usize);
        self.outcome_bytes -= gone.sum::<usize>();
        self.settled = settled;
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

    /// The next tick tries again: a link is back sooner than an outcome that was lost is missed.
    fn not_sent(&mut self, first: u64) {
        if let Some(flight) = self.flights.get_mut(&first) {
            flight.sends = 0;
        }
    }

    /// A new leader is often heard of before she knows herself: she is asked again soon, but not for ever.
    fn refused(&mut self, from: NodeId) {
        if self.leader == Some(from) {
            let soon = self.flights.values_mut().filter(|flight| flight.sends < SENT_SOON_MAX);
            soon.for_each(|flight| flight.refused = true);
        }
    }

    fn round(&mut self, from: NodeId, bytes: Bytes, out: &mut Vec<Effect<T>>) {
        // An entry that no node decodes would stop them all: what cannot be a round goes no further.
        let fits = bytes.len() <= ROUND_ALONE_BYTES_MAX && bytes.first() == Some(&ROUND_VERSION);
        // A full leader refuses too: the sender repeats the round later.
        let leads = self.leader == Some(self.me);
        if !leads || !fits || !self.take_in(bytes) {
            out.push(Effect::Refuse { to: from, leads });
        }
    }

    fn tick(&mut self, now_ms: u64, out: &mut Vec<Effect<T>>) {
        let limits = self.limits;
        let due: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| {
                let patience = limits.repeat_ms << flight.sends.saturating_sub(1).min(3);
                flight.sends == 0 || flight.refused || now_ms >= flight.sent_ms + patience
            })
            .map(|(first, _)| *first)
            .collect();
        for first in due {
            self.send_flight(first, now_ms, out);
        }
    }
}
