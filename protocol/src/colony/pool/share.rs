//! How many agents of a pool there are to be, and on which nodes: what the leader's node decides. Pure: the same for the
//! same arguments, in whatever order the nodes are named.
//!
//! - **How many**: one for each agent that works and for each `slots` tasks that are ready, and `min_idle` more, up to
//!   `max` ([`wanted`]). More at once; fewer when so many were not needed for `idle_ms` ([`Pace`]).
//! - **Where** ([`divide`]): whatever is to go goes from the node with idle agents, else from the one with the highest load;
//!   whatever comes comes to the one with the lowest. Nothing is moved that need not be, but for one agent at a time from a
//!   node whose load is higher than another's by more than that agent. It ends on the one before it begins on the other.
//!
//! **Bounds.** No node is to have more than `per_node_max`, all together no more than `max`. Those that still end what
//! they have in hand are counted, so this holds for the agents there are, not only for those that are to be: of the nodes
//! that are heard of. A node that is cut off keeps its agents until it hears otherwise; they get no tasks meanwhile.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::PoolSettings;
use crate::colony::Colony;
use crate::id::NodeId;

/// The work that a pool has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// How many tasks of its queue its agents could claim now. Those that wait for something else than an agent, such as
    /// other tasks, a time or the tokens of a rate, are none of them.
    pub ready: u64,
    /// How many its agents work on.
    pub running: u64,
    /// How many of its agents work on any.
    pub busy: u32,
}

/// A node that may host agents of a pool: it is there, takes new work, and has the labels that are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Which one.
    pub node: NodeId,
    /// How many processors it has, from 1.
    pub cores: u32,
    /// How many other agents it has, or is to have.
    pub others: u32,
    /// How many agents of the pool live on it, those included that end what they have in hand.
    pub live: u32,
    /// How many of them have nothing to do.
    pub idle: u32,
}

/// How many agents a pool is to have for this work.
pub fn wanted(settings: &PoolSettings, demand: &Demand) -> u32 {
    let slots = u64::from(settings.slots.max(1));
    let tasks = demand.ready.saturating_add(demand.running);
    let at_work = tasks.div_ceil(slots).max(demand.busy.into());
    let wanted = at_work.saturating_add(settings.min_idle.into());
    // `max` has 32 bits.
    wanted.min(settings.max.into()) as u32
}

/// For how long fewer agents of a pool were wanted than there are to be. Kept by the leader's node, which begins anew when
/// another one leads: then they stay for longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Since when, in milliseconds of any clock that does not go back, and how many were wanted at most meanwhile.
    fewer: Option<(u64, u32)>,
}

impl Pace {
    /// How many there are to be, where `wanted` are wanted now and `shared` are to be so far.
    pub fn paced(&mut self, settings: &PoolSettings, wanted: u32, shared: u32, now_ms: u64) -> u32 {
        if wanted >= shared {
            self.fewer = None;
            return wanted;
        }
        let (since_ms, most) = self.fewer.get_or_insert((now_ms, wanted));
        *most = wanted.max(*most);
        if now_ms.saturating_sub(*since_ms) < settings.idle_ms {
            return shared.min(settings.max);
        }
        let most = *most;
        self.fewer = Some((now_ms, wanted));
        most
    }
}

/// How many agents of a pool each of its hosts is to have, where `want` are to be and `present` are to be so far. Of those
/// that are to be on nodes which are no hosts none stays; `elsewhere` are still there.
pub fn divide(
    settings: &PoolSettings,
    want: u32,
    hosts: &[Host],
    elsewhere: u32,
    present: &BTreeMap<NodeId, u32>,
) -> BTreeMap<NodeId, u32> {
    let mut places: Vec<Place> = hosts.iter().map(|host| Place::new(host, settings, present)).collect();
    places.sort_by_key(|place| place.host.node);
    let want = want.min(settings.max);
    let shared = |places: &[Place]| places.iter().map(|place| place.share).sum::<u32>();
    let before = shared(&places);
    for _ in want..before {
        take(&mut places);
    }
    let mut given = false;
    for _ in before..want {
        given |= give(&mut places, settings, elsewhere);
    }
    if !given && before == want && elsewhere == 0 {
        balance(&mut places, settings);
    }
    let shares = places.iter().map(|place| (place.host.node, place.share));
    shares.filter(|(_, share)| *share > 0).collect()
}

/// A host while agents are shared.
struct Place {
    host: Host,
    share: u32,
    /// How many of its idle agents are not taken yet.
    idle: u32,
}

impl Place {
    fn new(host: &Host, settings: &PoolSettings, present: &BTreeMap<NodeId, u32>) -> Place {
        let present = present.get(&host.node).copied().unwrap_or_default();
        Place {
            host: *host,
            share: present.min(settings.per_node_max),
            idle: host.idle,
        }
    }

    /// How many agents of the pool it has until those that are too many have ended, with so many more.
    fn occupied(&self, more: u32) -> u32 {
        self.host.live.max(self.share + more)
    }

    /// Compares the loads of two hosts: agents for each processor, with so many more or fewer.
    fn compare(&self, more: i64, other: &Place, others_more: i64) -> Ordering {
        let load =
            |place: &Place, more: i64| i128::from(place.host.others) + i128::from(place.share) + i128::from(more);
        let cores = |place: &Place| i128::from(place.host.cores.max(1));
        (load(self, more) * cores(other)).cmp(&(load(other, others_more) * cores(self)))
    }
}

/// Lets one agent be too many where it costs least.
fn take(places: &mut [Place]) {
    let having = places.iter_mut().filter(|place| place.share > 0);
    let chosen = having.max_by(|a, b| {
        let idle = (a.idle > 0).cmp(&(b.idle > 0));
        idle.then(a.compare(0, b, 0)).then(a.host.node.cmp(&b.host.node))
    });
    if let Some(place) = chosen {
        place.share -= 1;
        place.idle = place.idle.saturating_sub(1);
    }
}

/// Lets one agent more be where the load is lowest. Says whether it may come there now: while one must end elsewhere before,
/// it waits for that, and goes to no other node, from which it would be moved again.
fn give(places: &mut [Place], settings: &PoolSettings, elsewhere: u32) -> bool {
    let occupied: u32 = places.iter().map(|place| place.occupied(0)).sum();
    let left = settings.max.saturating_sub(occupied.saturating_add(elsewhere));
    let grows = |place: &Place| place.occupied(1) - place.occupied(0);
    let open = places
        .iter_mut()
        .filter(|place| place.occupied(1) <= settings.per_node_max);
    let lightest = open.min_by(|a, b| {
        let load = a.compare(1, b, 1);
        load.then(grows(a).cmp(&grows(b))).then(a.host.node.cmp(&b.host.node))
    });
    match lightest.filter(|place| grows(place) <= left) {
        Some(place) => {
            place.share += 1;
            true
        }
        None => false,
    }
}

/// Lets one agent be too many on the node with the highest load if another one would have a lower load with it. The next
/// look finds that one is wanted, and gives it there once this one has ended.
fn balance(places: &mut [Place], settings: &PoolSettings) {
    let settled = |place: &Place| place.host.live == place.share;
    if !places.iter().all(settled) {
        return;
    }
    let open = |place: &&Place| place.share < settings.per_node_max;
    let lightest = places.iter().filter(open).min_by(|a, b| a.compare(1, b, 1));
    let Some(lightest) = lightest else { return };
    let relieved = |place: &Place| place.share > 0 && place.compare(-1, lightest, 1) != Ordering::Less;
    let heavy = places.iter().enumerate().filter(|(_, place)| relieved(place));
    let heaviest = heavy.max_by(|(_, a), (_, b)| (a.idle > 0).cmp(&(b.idle > 0)).then(a.compare(0, b, 0)));
    if let Some((place, _)) = heaviest {
        places[place].share -= 1;
    }
}

impl Colony {
    /// How many tasks agents of a pool with these settings could claim now.
    pub fn ready_for(&self, settings: &PoolSettings) -> u64 {
        let project = self.project(&settings.project);
        project.map_or(0, |project| {
            let wanted = (&settings.kinds[..], &settings.capabilities[..]);
            project.ready_for(&settings.queue, wanted, self.cluster_ms()) as u64
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings(max: u32, per_node_max: u32) -> PoolSettings {
        PoolSettings {
            max,
            per_node_max,
            ..PoolSettings::default()
        }
    }

    fn host(node: u64, others: u32, live: u32, idle: u32) -> Host {
        Host {
            node: NodeId(node),
            cores: 2,
            others,
            live,
            idle,
        }
    }

    fn shares(pairs: &[(u64, u32)]) -> BTreeMap<NodeId, u32> {
        pairs.iter().map(|(node, share)| (NodeId(*node), *share)).collect()
    }

    #[test]
    fn as_many_are_wanted_as_have_work_and_the_idle_ones_besides() {
        let check =
            |(min_idle, max, slots): (u32, u32, u32), (ready, running, busy): (u64, u64, u32), expected: u32| {
                let settings = PoolSettings {
                    min_idle,
                    slots,
                    ..settings(max, 9)
                };
                assert_eq!(wanted(&settings, &Demand { ready, running, busy }), expected);
            };
        check((0, 10, 1), (0, 0, 0), 0);
        check((2, 10, 1), (0, 0, 0), 2);
        check((2, 10, 1), (3, 1, 1), 6);
        check((2, 10, 1), (30, 1, 1), 10);
        check((0, 10, 4), (5, 4, 1), 3);
        // Each that works is kept, however little it does.
        check((0, 10, 4), (0, 3, 3), 3);
        check((1, 10_000, 1), (u64::MAX, u64::MAX, 1), 10_000);
    }

    #[test]
    fn there_are_more_at_once_and_fewer_after_a_while() {
        let settings = PoolSettings {
            idle_ms: 1_000,
            ..settings(10, 10)
        };
        let mut pace = Pace::default();
        assert_eq!(pace.paced(&settings, 4, 0, 0), 4);
        assert_eq!(pace.paced(&settings, 1, 4, 100), 4);
        assert_eq!(pace.paced(&settings, 2, 4, 900), 4);
        // The most that was wanted in that time is kept, and the next while begins.
        assert_eq!(pace.paced(&settings, 0, 4, 1_100), 2);
        assert_eq!(pace.paced(&settings, 0, 2, 1_200), 2);
        assert_eq!(pace.paced(&settings, 3, 2, 1_300), 3);
        assert_eq!(pace.paced(&settings, 0, 3, 2_200), 3);
        assert_eq!(pace.paced(&settings, 0, 3, 3_200), 0);
    }

    #[test]
    fn agents_come_where_the_load_is_lowest_and_go_where_they_have_nothing_to_do() {
        let three = [host(1, 0, 0, 0), host(2, 4, 0, 0), host(3, 0, 0, 0)];
        let pool = settings(10, 4);
        let first = divide(&pool, 5, &three, 0, &BTreeMap::new());
        assert_eq!(first, shares(&[(1, 3), (3, 2)]));
        let idle = [host(1, 0, 3, 0), host(2, 4, 0, 0), host(3, 0, 2, 1)];
        assert_eq!(divide(&pool, 4, &idle, 0, &first), shares(&[(1, 3), (3, 1)]));
        // Nobody goes although another node has less to do by one.
        let settled = [host(1, 0, 3, 3), host(2, 4, 0, 0), host(3, 0, 2, 2)];
        assert_eq!(divide(&pool, 5, &settled, 0, &first), first);
    }

    #[test]
    fn the_share_of_a_node_that_is_gone_is_given_to_others_and_given_back_one_by_one() {
        let pool = settings(6, 6);
        let all = shares(&[(1, 2), (2, 2), (3, 2)]);
        let two = [host(1, 0, 2, 0), host(2, 0, 2, 0)];
        let without = divide(&pool, 6, &two, 0, &all);
        assert_eq!(without, shares(&[(1, 3), (2, 3)]));
        // It is back: one agent ends, though all work, and only then another one begins there.
        let back = [host(1, 0, 3, 0), host(2, 0, 3, 0), host(3, 0, 0, 0)];
        let fewer = divide(&pool, 6, &back, 0, &without);
        assert_eq!(fewer.values().sum::<u32>(), 5);
        assert_eq!(divide(&pool, 6, &back, 0, &fewer), fewer, "it still works");
        let ended = [host(1, 0, 3, 0), host(2, 0, 2, 0), host(3, 0, 0, 0)];
        assert_eq!(divide(&pool, 6, &ended, 0, &fewer), shares(&[(1, 3), (2, 2), (3, 1)]));
    }

    #[test]
    fn those_that_still_end_are_counted() {
        let pool = settings(4, 3);
        let hosts = [host(1, 0, 3, 0), host(2, 0, 0, 0)];
        assert_eq!(
            divide(&pool, 4, &hosts, 0, &shares(&[(1, 1)])),
            // One of the first node is taken back, and one begins on the second; another one must wait for the end of one.
            shares(&[(1, 2), (2, 1)])
        );
        assert_eq!(divide(&pool, 4, &hosts[1..], 3, &BTreeMap::new()), shares(&[(2, 1)]));
    }

    fn hosts() -> impl Strategy<Value = Vec<Host>> {
        let host = (1..5_u32, 0..12_u32, 0..9_u32, 0..9_u32);
        prop::collection::vec(host, 0..6).prop_map(|hosts| {
            let hosts = hosts.into_iter().zip(1..);
            hosts
                .map(|((cores, others, live, idle), node)| Host {
                    node: NodeId(node),
                    cores,
                    others,
                    live,
                    idle: idle.min(live),
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn no_bound_is_crossed_and_no_agent_moves_that_need_not(
            hosts in hosts(),
            present in prop::collection::btree_map(1..8_u64, 1..9_u32, 0..6),
            (want, max, per_node_max, elsewhere) in (0..40_u32, 1..30_u32, 1..9_u32, 0..4_u32),
        ) {
            let pool = settings(max, per_node_max);
            let present: BTreeMap<NodeId, u32> = present.into_iter().map(|(node, share)| (NodeId(node), share)).collect();
            let after = divide(&pool, want, &hosts, elsewhere, &present);
            let mut other_way = hosts.clone();
            other_way.reverse();
            prop_assert_eq!(&after, &divide(&pool, want, &other_way, elsewhere, &present));

            let sum: u32 = after.values().sum();
            prop_assert!(sum <= want.min(max));
            let is_host = |node: &NodeId| hosts.iter().any(|host| host.node == *node);
            prop_assert!(after.iter().all(|(node, share)| is_host(node) && (1..=per_node_max).contains(share)));

            let kept = |host: &Host| present.get(&host.node).copied().unwrap_or(0).min(per_node_max);
            let share = |host: &Host| after.get(&host.node).copied().unwrap_or(0);
            // Those there are and may come grow in number only up to the bounds.
            let room = |of: &dyn Fn(&Host) -> u32| hosts.iter().map(|host| host.live.max(of(host))).sum::<u32>() + elsewhere;
            prop_assert!(room(&share) <= room(&kept).max(max));
            for host in &hosts {
                prop_assert!(host.live.max(share(host)) <= host.live.max(kept(host)).max(per_node_max));
            }
            let before: u32 = hosts.iter().map(kept).sum();
            let taken: u32 = hosts.iter().map(|host| kept(host).saturating_sub(share(host))).sum();
            let given: u32 = hosts.iter().map(|host| share(host).saturating_sub(kept(host))).sum();
            let too_many = before.saturating_sub(want.min(max));
            prop_assert!(taken == too_many || (taken == 1 && too_many == 0 && before == want.min(max)));
            prop_assert!(taken == 0 || given == 0);
            // What is wanted comes, unless those that still end are in the way.
            if elsewhere == 0 && hosts.iter().all(|host| host.live <= kept(host)) && before < want.min(max) {
                prop_assert_eq!(sum, want.min(max).min(per_node_max * hosts.len() as u32));
            }
        }

        #[test]
        fn shares_come_to_rest_where_all_that_is_wanted_is_there_and_the_load_is_even(
            hosts in hosts(),
            (want, max, per_node_max) in (0..40_u32, 1..30_u32, 1..9_u32),
        ) {
            let pool = settings(max, per_node_max);
            let (mut shares, mut hosts) = (BTreeMap::new(), hosts);
            let mut rests = false;
            // Each agent moves once at most; a move takes two looks.
            for _ in 0..200 {
                let next = divide(&pool, want, &hosts, 0, &shares);
                let live = |host: &Host| next.get(&host.node).copied().unwrap_or(0);
                rests = next == shares && hosts.iter().all(|host| host.live == live(host));
                for host in &mut hosts {
                    (host.live, host.idle) = (live(host), 0);
                }
                shares = next;
                if rests {
                    break;
                }
            }
            prop_assert!(rests);
            let sum: u32 = shares.values().sum();
            prop_assert_eq!(sum, want.min(max).min(per_node_max * hosts.len() as u32));
            let place = |host: &Host| Place::new(host, &pool, &shares);
            for (a, b) in hosts.iter().flat_map(|a| hosts.iter().map(move |b| (place(a), place(b)))) {
                let better = a.share > 0 && b.share < per_node_max && a.host.node != b.host.node;
                prop_assert!(!better || a.compare(-1, &b, 1) == Ordering::Less);
            }
        }
    }
}
