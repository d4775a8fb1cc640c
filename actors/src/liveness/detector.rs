//! The machine: SWIM by foca, fed with datagrams, timers, the members of consensus and what is known of links; it says
//! what to send and what this node thinks of the others. It has no socket, no clock and no randomness of its own.

use std::collections::BTreeMap;
use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use foca::{Codec as _, Foca, NoCustomBroadcast, Notification, State};
use queenright_protocol::id::{ClusterId, NodeId};
use rand_of_libraries::SeedableRng as _;
use rand_of_libraries::rngs::SmallRng;

use super::clock::Clock;
use super::counts::DatagramCounts;
use super::datagram::{Refused, Seal, Taken};
use super::identity::{Codec, CodecError, Identity};
use super::opinion::{Opinion, Swim, View};
use super::pace::Pace;
use crate::router::NeighbourSign;

/// What happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    /// This came to the socket.
    Datagram(&'a [u8]),
    /// The time of [`Detector::wake_at`] has come.
    Timer,
    /// The other members of consensus, each with where it is reached, if that is known.
    Members(&'a BTreeMap<NodeId, Option<SocketAddr>>),
    /// How all links are, and for how long nothing was read from them. A member that is not among them has none, and is
    /// not to have one.
    Links(&'a [NeighbourSign]),
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Send this.
    Send {
        /// Where to.
        to: SocketAddr,
        /// The bytes.
        datagram: Vec<u8>,
    },
    /// What this node thinks of the others has changed.
    Changed,
}

/// What this node thinks of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How it is.
    pub(crate) view: View,
    /// Since when that is thought, in time since the start of the machine.
    pub(crate) since: Duration,
    /// Whether no datagrams come from it although its link is up.
    pub(crate) udp_blocked: bool,
}

/// Who this node is, and whom it believes.
pub(crate) struct Who<'a> {
    /// Its number.
    pub(crate) me: NodeId,
    /// Its cluster.
    pub(crate) cluster: ClusterId,
    /// Which start of the node it is: its incarnation.
    pub(crate) start: u64,
    /// The secret of the cluster.
    pub(crate) cookie: &'a [u8],
}

/// The machine.
pub(crate) struct Detector {
    me: NodeId,
    pace: Pace,
    clock: Clock,
    seal: Seal,
    foca: Foca<Identity, Codec, SmallRng, NoCustomBroadcast>,
    members: BTreeMap<NodeId, Member>,
    /// By the time at which they are due, and in the order in which they were set.
    timers: BTreeMap<(Duration, u64), Timer>,
    timers_set: u64,
    wishes: Wishes,
    /// What is believed of a datagram.
    believed: Vec<u8>,
    /// The suspicion against this node that was counted last.
    suspected: Option<(u32, u16)>,
    counts: DatagramCounts,
}

struct Member {
    address: Option<SocketAddr>,
    taken: Taken,
    opinion: Opinion,
}

enum Timer {
    /// One of foca's.
    Swim(foca::Timer<Identity>),
    /// Call those that SWIM does not take for active.
    Announce,
    /// Form all opinions anew: what time alone changes.
    Review,
}

/// What foca wants.
#[derive(Default)]
struct Wishes {
    send: Vec<(NodeId, Vec<u8>)>,
    set: Vec<(foca::Timer<Identity>, Duration)>,
}

impl foca::Runtime<Identity> for Wishes {
    // The members are looked at after each step.
    fn notify(&mut self, _: Notification<'_, Identity>) {}

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.send.push((to.number, data.to_vec()));
    }

    fn submit_after(&mut self, event: foca::Timer<Identity>, after: Duration) {
        self.set.push((event, after));
    }
}

impl Detector {
    /// A machine whose time begins now. The seed decides whom it probes and tells first.
    pub(crate) fn new(who: Who<'_>, pace: Pace, seed: u64) -> Detector {
        let Who {
            me,
            cluster,
            start,
            cookie,
        } = who;
        let identity = Identity {
            number: me,
            start,
            renewal: 0,
        };
        let mut detector = Detector {
            me,
            pace,
            clock: Clock::new(pace),
            seal: Seal::new(cookie, cluster, me, start),
            foca: Foca::new(identity, pace.foca(), SmallRng::seed_from_u64(seed), Codec),
            members: BTreeMap::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            wishes: Wishes::default(),
            believed: Vec::new(),
            suspected: None,
            counts: DatagramCounts::default(),
        };
        detector.set(Duration::ZERO, Timer::Announce);
        detector.set(Duration::ZERO, Timer::Review);
        detector
    }

    /// Takes what happened when `passed` had passed since the start.
    pub(crate) fn step(&mut self, passed: Duration, input: Input<'_>, out: &mut Vec<Output>) {
        let due = self.timers.first_key_value().map(|((due, _), _)| *due);
        let step = self.clock.step(passed, due);
        let now = step.now;
        self.counts.asleep += u64::from(step.asleep);
        match input {
            Input::Datagram(datagram) => {
                if let Err(refused) = self.hear(datagram, now) {
                    self.counts.refuse(refused);
                    return;
                }
            }
            Input::Timer => self.ring(now),
            Input::Members(members) => self.set_members(members, now),
            Input::Links(signs) => self.hear_links(signs, now),
        }
        self.carry_out(now, out);
        if self.review(now) {
            out.push(Output::Changed);
        }
    }

    /// When [`Input::Timer`] is due, in time since the start.
    pub(crate) fn wake_at(&self) -> Duration {
        let ((due, _), _) = self.timers.first_key_value().expect("some timers are always set again");
        self.clock.passed(*due)
    }

    /// What this node thinks of each other member.
    pub(crate) fn opinions(&self) -> BTreeMap<NodeId, Seen> {
        let seen = self.members.iter().map(|(node, member)| {
            let seen = Seen {
                view: member.opinion.view(),
                since: self.clock.passed(member.opinion.since()),
                udp_blocked: member.opinion.udp_blocked(),
            };
            (*node, seen)
        });
        seen.collect()
    }

    /// What was counted so far.
    pub(crate) fn counts(&self) -> DatagramCounts {
        self.counts
    }

    /// The system had no room for a datagram.
    pub(crate) fn not_sent(&mut self) {
        self.counts.unsent += 1;
    }

    fn set(&mut self, due: Duration, timer: Timer) {
        self.timers_set += 1;
        self.timers.insert((due, self.timers_set), timer);
    }

    fn hear(&mut self, datagram: &[u8], now: Duration) -> Result<(), Refused> {
        let opened = self.seal.open(datagram)?;
        let member = self.members.get_mut(&opened.from).ok_or(Refused::Stranger)?;
        if !member.taken.take(opened.start, opened.counter) {
            return Err(Refused::Replayed);
        }
        let payload = opened.payload;
        let suspicion = self.believe(payload, opened.from, opened.start);
        let suspicion = suspicion.map_err(|_| Refused::Malformed)?;
        let member = self.members.get_mut(&opened.from).expect("it was just there");
        member.opinion.hear_datagram(now);
        if suspicion.is_some() && suspicion != self.suspected {
            self.suspected = suspicion;
            self.clock.distrust(now);
        }
        let heard = self.foca.handle_data(&self.believed, &mut self.wishes);
        heard.map_err(|_| Refused::Malformed)?;
        self.counts.received += 1;
        self.counts.received_bytes += datagram.len() as u64;
        Ok(())
    }

    /// Keeps of a payload what is about members. Returns the suspicion against this node that is in it.
    fn believe(&mut self, payload: &[u8], from: NodeId, start: u64) -> Result<Option<(u32, u16)>, CodecError> {
        let mut rest = payload;
        let header = Codec.decode_header(&mut rest)?;
        if (header.src.number, header.src.start) != (from, start) {
            return Err(CodecError::Contradicts);
        }
        self.believed.clear();
        self.believed.extend_from_slice(&payload[..payload.len() - rest.len()]);
        let mut suspicion = None;
        let Some((told, mut rest)) = rest.split_first_chunk::<2>() else {
            return match rest.is_empty() {
                true => Ok(None),
                false => Err(CodecError::Short),
            };
        };
        let mut kept = 0u16;
        let tally = self.believed.len();
        self.believed.extend_from_slice(&[0, 0]);
        for _ in 0..u16::from_be_bytes(*told) {
            let before = rest;
            let member = Codec.decode_member(&mut rest)?;
            let Identity { number, renewal, .. } = *member.id();
            if number == self.me && member.state() == State::Suspect {
                suspicion = Some((renewal, member.incarnation()));
            }
            if number == self.me || self.members.contains_key(&number) {
                self.believed.extend_from_slice(&before[..before.len() - rest.len()]);
                kept += 1;
            }
        }
        if !rest.is_empty() {
            return Err(CodecError::Contradicts);
        }
        self.believed[tally..tally + 2].copy_from_slice(&kept.to_be_bytes());
        Ok(suspicion)
    }

    fn hear_links(&mut self, signs: &[NeighbourSign], now: Duration) {
        for (node, member) in &mut self.members {
            match signs.iter().find(|sign| sign.node == *node) {
                Some(NeighbourSign { up, silent, .. }) => {
                    let read = silent.map(|silent| now.saturating_sub(silent));
                    member.opinion.hear_link(*up, read, now);
                }
                None => member.opinion.hear_no_link(),
            }
        }
    }

    fn ring(&mut self, now: Duration) {
        while let Some(first) = self.timers.first_entry() {
            if first.key().0 > now {
                return;
            }
            match first.remove() {
                // What foca cannot do any more it says by an error, and has nothing to do then.
                Timer::Swim(timer) => {
                    let _ = self.foca.handle_timer(timer, &mut self.wishes);
                }
                Timer::Announce => {
                    self.announce();
                    self.set(now + self.pace.announce(), Timer::Announce);
                }
                Timer::Review => self.set(now + self.pace.beat() / 2, Timer::Review),
            }
        }
    }

    /// Calls the members that SWIM does not take for active: those that it does not know, and those that are down, which
    /// learn so that they are.
    fn announce(&mut self) {
        let active: Vec<NodeId> = self.foca.iter_members().map(|member| member.id().number).collect();
        for number in self.members.keys().filter(|number| !active.contains(number)) {
            let (start, renewal) = (0, 0);
            let whoever = Identity {
                number: *number,
                start,
                renewal,
            };
            // Fails only when a message does not fit into a datagram, and this one does.
            let _ = self.foca.announce(whoever, &mut self.wishes);
        }
        // A renewed identity probes again only once foca has looked at its members.
        let _ = self.foca.apply_many(std::iter::empty(), false, &mut self.wishes);
    }

    fn set_members(&mut self, members: &BTreeMap<NodeId, Option<SocketAddr>>, now: Duration) {
        let gone = self
            .foca
            .iter_members()
            .filter(|member| !members.contains_key(&member.id().number));
        let gone: Vec<_> = gone
            .map(|member| foca::Member::new(*member.id(), member.incarnation(), State::Down))
            .collect();
        // Nobody is told: the others have the same members.
        let _ = self.foca.apply_many(gone.into_iter(), false, &mut self.wishes);
        self.members.retain(|node, _| members.contains_key(node));
        let mut new = false;
        for (node, address) in members.iter().filter(|(node, _)| **node != self.me) {
            let member = self.members.entry(*node).or_insert_with(|| {
                new = true;
                Member {
                    address: *address,
                    taken: Taken::default(),
                    opinion: Opinion::new(self.pace, now),
                }
            });
            member.address = *address;
        }
        if new {
            self.announce();
        }
    }

    /// Sets the timers that foca wants, and makes datagrams of what it wants to send.
    fn carry_out(&mut self, now: Duration, out: &mut Vec<Output>) {
        let Wishes { mut send, mut set } = mem::take(&mut self.wishes);
        for (timer, after) in set.drain(..) {
            let waits = matches!(
                timer,
                foca::Timer::ProbeRandomMember(_)
                    | foca::Timer::SendIndirectProbe { .. }
                    | foca::Timer::ChangeSuspectToDown { .. }
            );
            let after = if waits { self.clock.stretch(after) } else { after };
            self.set(now + after, Timer::Swim(timer));
        }
        for (node, payload) in send.drain(..) {
            // One that is no member any more is not answered.
            let Some(member) = self.members.get(&node) else {
                continue;
            };
            let Some(to) = member.address else {
                self.counts.unsent += 1;
                continue;
            };
            let datagram = self.seal.seal(node, &payload);
            self.counts.sent += 1;
            self.counts.sent_bytes += datagram.len() as u64;
            out.push(Output::Send { to, datagram });
        }
        // For their room.
        self.wishes = Wishes { send, set };
    }

    /// Forms the opinions anew. Returns whether one has changed.
    fn review(&mut self, now: Duration) -> bool {
        for known in self.foca.iter_membership_state() {
            if let Some(member) = self.members.get_mut(&known.id().number) {
                let swim = match known.state() {
                    State::Alive => Swim::Alive,
                    State::Suspect => Swim::Suspect,
                    State::Down => Swim::Down,
                };
                member.opinion.swim_says(swim, now);
            }
        }
        let mut changed = false;
        for member in self.members.values_mut() {
            changed |= member.opinion.review(now);
        }
        changed
    }
}
