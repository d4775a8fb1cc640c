//! Which agents of pools a node starts, pauses and stops, from what there is to be and what there is. A plain machine: no
//! clock, no actors; [`super::shell`] carries its orders out.

use std::collections::BTreeMap;
use std::sync::Arc;

use queenright_protocol::colony::{Pool, Pools};
use queenright_protocol::id::NodeId;

use super::member::{Cause, Ending, Member, Seen};
use super::{PoolFigures, Recycled};
use crate::agent::{AgentOrder, AgentState};

/// How long a keeper waits after an agent of a pool has failed for good before it starts another one, at first and at most,
/// in milliseconds; doubles with each failure until an agent has lived for as long as the longest.
pub const FAILED_PAUSE_MS: (u64, u64) = (1_000, 60_000);
/// How many agents of one pool are started at one look: the queen has other things to do as well.
const STARTED_AT_ONCE: usize = 16;
/// At how many looks in a row an agent must have worked on nothing before it is stopped: what it was granted while it was
/// being paused it tells of before that.
const QUIET_LOOKS: u8 = 2;
/// How many pools that are gone are remembered for their figures.
const GONE_MAX: usize = 64;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// Start the agent with this number of a pool; tell [`Keeper::started`] what became of it.
    Start { pool: Arc<str>, index: u32 },
    /// Tell one to pause, or to go on.
    Tell {
        pool: Arc<str>,
        index: u32,
        order: AgentOrder,
    },
    /// Stop one.
    Stop { pool: Arc<str>, index: u32 },
}

/// The agents of one pool.
#[derive(Default)]
struct Kept {
    members: Vec<Member>,
    wanted: u32,
    started: u64,
    recycled: Recycled,
    failures: u64,
    last_failure: Option<String>,
    /// How many failures there were in a row.
    in_a_row: u32,
    /// No start before this.
    not_before_ms: u64,
}

/// The agents of all pools on a node.
pub(super) struct Keeper {
    me: NodeId,
    by_pool: BTreeMap<Arc<str>, Kept>,
}

impl Keeper {
    pub(super) fn new(me: NodeId) -> Keeper {
        Keeper {
            me,
            by_pool: BTreeMap::new(),
        }
    }

    /// Whether it has no agent and remembers none.
    pub(super) fn is_empty(&self) -> bool {
        self.by_pool.values().all(|kept| kept.members.is_empty())
    }

    /// Says what is to be done at `now_ms` of any clock that does not go back. `look` says how the agent with these numbers
    /// is; nothing for one that is not there.
    pub(super) fn look(
        &mut self,
        pools: &Pools,
        now_ms: u64,
        look: impl Fn(&str, u32, u64) -> Option<Seen>,
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        for (name, _) in pools.iter() {
            self.by_pool.entry(name.clone()).or_default();
        }
        for (name, kept) in &mut self.by_pool {
            let pool = pools.get(name).map(|pool| &**pool);
            kept.see(|member| look(name, member.index, member.agent), pool, now_ms);
            kept.wanted = pool.map_or(0, |pool| pool.share(self.me));
            if let Some(pool) = pool {
                kept.recycle(pool, now_ms);
            }
            kept.fit(pool, name, &mut orders);
            kept.end(name, &mut orders);
            if pool.is_some() {
                kept.fill(name, now_ms, &mut orders);
            }
        }
        let gone = |(name, kept): &(&Arc<str>, &Kept)| pools.get(name).is_none() && kept.members.is_empty();
        let forgotten: Vec<Arc<str>> = self.by_pool.iter().filter(gone).map(|(name, _)| name.clone()).collect();
        for name in forgotten.iter().skip(GONE_MAX) {
            self.by_pool.remove(name);
        }
        orders
    }

    /// What became of a start: the number of the agent on its node, or why there is none.
    pub(super) fn started(
        &mut self,
        (name, index): (&Arc<str>, u32),
        epoch: u64,
        started: Result<u64, String>,
        now_ms: u64,
    ) {
        let kept = self.by_pool.entry(name.clone()).or_default();
        match started {
            Ok(agent) => {
                kept.started += 1;
                kept.members.push(Member {
                    index,
                    agent,
                    began_ms: now_ms,
                    epoch,
                    seen: None,
                    ending: None,
                });
                kept.members.sort_by_key(|member| member.index);
            }
            Err(reason) => kept.failed(reason, now_ms),
        }
    }

    /// How all of them are.
    pub(super) fn figures(&self, now_ms: u64) -> BTreeMap<String, PoolFigures> {
        let all = self.by_pool.iter();
        all.map(|(name, kept)| (name.to_string(), kept.figures(now_ms)))
            .collect()
    }
}

impl Kept {
    /// Takes note of how the agents are; those that have ended go.
    fn see(&mut self, look: impl Fn(&Member) -> Option<Seen>, pool: Option<&Pool>, now_ms: u64) {
        let members = std::mem::take(&mut self.members);
        for mut member in members {
            let seen = look(&member);
            let state = seen.as_ref().map_or(AgentState::Stopped, |seen| seen.state);
            if state.is_live() {
                let long = now_ms.saturating_sub(member.began_ms) >= FAILED_PAUSE_MS.1;
                if long && member.is_ready() {
                    self.in_a_row = 0;
                }
                member.seen = seen;
                self.members.push(member);
                continue;
            }
            let limit = pool.and_then(|pool| pool.settings.recycle.after_tasks);
            match (state, member.ending) {
                (AgentState::Failed, _) => {
                    let reason = seen.and_then(|seen| seen.reason);
                    self.failed(reason.unwrap_or_else(|| "it did not say why".to_owned()), now_ms);
                }
                (_, Some(ending)) => self.recycled.count(ending.cause),
                (AgentState::Done, None) if limit.is_some() => self.recycled.tasks += 1,
                // Somebody has stopped it: another one takes its place.
                _ => {}
            }
        }
    }

    fn failed(&mut self, reason: String, now_ms: u64) {
        self.failures += 1;
        self.last_failure = Some(reason);
        let (first_ms, most_ms) = FAILED_PAUSE_MS;
        let pause_ms = first_ms.saturating_mul(1 << self.in_a_row.min(16)).min(most_ms);
        self.in_a_row += 1;
        self.not_before_ms = now_ms + pause_ms;
    }

    fn staying(&self) -> usize {
        self.members.iter().filter(|member| member.ending.is_none()).count()
    }

    /// Lets those end that are over a limit, and those of an earlier epoch: of these half at a time, at least one.
    fn recycle(&mut self, pool: &Pool, now_ms: u64) {
        for member in self.members.iter_mut().filter(|member| member.ending.is_none()) {
            let over = member.is_over(&pool.settings.recycle, now_ms);
            member.ending = over.map(Ending::of);
        }
        let at_once = self.members.len().div_ceil(2);
        let is_old = |member: &&mut Member| member.epoch < pool.epoch;
        let ends = |member: &&Member| member.ending.is_some_and(|ending| ending.cause == Cause::Changed);
        let left = at_once.saturating_sub(self.members.iter().filter(ends).count());
        let staying = self.members.iter_mut().filter(|member| member.ending.is_none());
        for member in staying.filter(is_old).take(left) {
            member.ending = Some(Ending::of(Cause::Changed));
        }
    }

    /// Lets as many end as are too many, and takes back those that are not any more.
    fn fit(&mut self, pool: Option<&Pool>, name: &Arc<str>, orders: &mut Vec<Order>) {
        let (staying, wanted) = (self.staying(), self.wanted as usize);
        let epoch = pool.map_or(u64::MAX, |pool| pool.epoch);
        let mut missing = wanted.saturating_sub(staying);
        for member in &mut self.members {
            let surplus = |ending: &Ending| ending.cause == Cause::Surplus && !ending.stopped;
            if missing > 0 && member.epoch >= epoch && member.ending.as_ref().is_some_and(surplus) {
                member.ending = None;
                missing -= 1;
                orders.push(Order::Tell {
                    pool: name.clone(),
                    index: member.index,
                    order: AgentOrder::Resume,
                });
            }
        }
        let mut places: Vec<usize> = (0..self.members.len()).collect();
        // Who does nothing goes first, of those who began last.
        places.sort_by_key(|place| {
            let member = &self.members[*place];
            (member.running(), member.is_ready(), std::cmp::Reverse(member.index))
        });
        let mut too_many = staying.saturating_sub(wanted);
        for place in places {
            let member = &mut self.members[place];
            if too_many > 0 && member.ending.is_none() {
                member.ending = Some(Ending::of(Cause::Surplus));
                too_many -= 1;
            }
        }
    }

    /// Goes on with those that are to end.
    fn end(&mut self, name: &Arc<str>, orders: &mut Vec<Order>) {
        for member in &mut self.members {
            let (index, running) = (member.index, member.running());
            let paused = member
                .seen
                .as_ref()
                .is_some_and(|seen| seen.state == AgentState::Paused);
            let Some(ending) = member.ending.as_mut().filter(|ending| !ending.stopped) else {
                continue;
            };
            if !paused {
                ending.quiet = 0;
                orders.push(Order::Tell {
                    pool: name.clone(),
                    index,
                    order: AgentOrder::Pause,
                });
                continue;
            }
            ending.quiet = if running == 0 { ending.quiet + 1 } else { 0 };
            if ending.quiet >= QUIET_LOOKS {
                ending.stopped = true;
                orders.push(Order::Stop {
                    pool: name.clone(),
                    index,
                });
            }
        }
    }

    /// Starts those that are missing: nobody takes the place of one that still ends.
    fn fill(&mut self, name: &Arc<str>, now_ms: u64, orders: &mut Vec<Order>) {
        let missing = (self.wanted as usize).saturating_sub(self.members.len());
        if now_ms < self.not_before_ms {
            return;
        }
        // After a failure one at a time, until it is seen whether that fails too.
        let at_once = if self.in_a_row > 0 { 1 } else { STARTED_AT_ONCE };
        let starts = self
            .members
            .iter()
            .any(|member| !member.is_ready() && self.in_a_row > 0);
        if starts {
            return;
        }
        let taken = |index: u32| self.members.iter().any(|member| member.index == index);
        let free = (1..).filter(|index| !taken(*index));
        for index in free.take(missing.min(at_once)) {
            orders.push(Order::Start {
                pool: name.clone(),
                index,
            });
        }
    }

    fn figures(&self, now_ms: u64) -> PoolFigures {
        let mut figures = PoolFigures {
            wanted: self.wanted,
            started: self.started,
            recycled: self.recycled,
            failures: self.failures,
            last_failure: self.last_failure.clone(),
            next_start_ms: Some(self.not_before_ms.saturating_sub(now_ms)).filter(|left_ms| *left_ms > 0),
            ..PoolFigures::default()
        };
        for member in &self.members {
            figures.running += member.running();
            if member.ending.is_some() {
                figures.ending += member.running();
            }
            let count = match member {
                Member { ending: Some(_), .. } => &mut figures.draining,
                member if !member.is_ready() => &mut figures.starting,
                member if member.is_idle() => &mut figures.idle,
                _ => &mut figures.busy,
            };
            *count += 1;
        }
        figures
    }
}
