//! The topology over a door: which nodes are linked, how each link is, and what a change of it would open and close.

use std::collections::{BTreeMap, BTreeSet};

use queenright_actors::node::{ClusterStatus, LinkRole, NodeStatus, Role};
use queenright_protocol::colony::Epoch;
use queenright_protocol::id::NodeId;
use queenright_protocol::topology::{self, Kind, Topology};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The body of `PUT /v1/topology`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SetTopology {
    /// How the members are to be linked: `mesh`, `star`, `ring`, `hierarchical` or `hierarchical:FAN_OUT`.
    pub kind: Kind,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopologySet {
    /// The number of the epoch; of the one that would begin, if it was only asked.
    pub epoch: u64,
    /// How the members are linked from now on.
    pub kind: Kind,
    /// Whether that was otherwise before.
    pub changed: bool,
    /// Whether it was only asked what would change.
    pub dry_run: bool,
    /// The data links that open, by the names of their ends.
    pub opens: Vec<(String, String)>,
    /// The data links that close, unless voters keep them.
    pub closes: Vec<(String, String)>,
}

/// A pair of nodes, the smaller number first.
type Pair = (NodeId, NodeId);

fn pairs(kind: Kind, members: &BTreeSet<NodeId>, cuts: &BTreeSet<topology::Pair>) -> BTreeSet<Pair> {
    let topology = Topology::around(kind, members, cuts);
    let near = |me: NodeId| topology.neighbours(me).into_iter().map(move |other| (me, other));
    let both = members.iter().flat_map(|me| near(*me));
    both.filter(|(me, other)| me < other).collect()
}

impl TopologySet {
    /// What becomes of the links when the kind of an epoch becomes `kind`. `name` is the name of a node.
    pub fn of(before: &Epoch, kind: Kind, name: impl Fn(NodeId) -> String) -> TopologySet {
        let linked = |kind| pairs(kind, &before.members, &before.cuts);
        let (old, new) = (linked(before.kind), linked(kind));
        let named = |pairs: BTreeSet<Pair>| pairs.into_iter().map(|(one, other)| (name(one), name(other))).collect();
        let changed = before.kind != kind;
        TopologySet {
            epoch: before.number + u64::from(changed),
            kind,
            changed,
            dry_run: false,
            opens: named(new.difference(&old).copied().collect()),
            closes: named(old.difference(&new).copied().collect()),
        }
    }
}

/// How a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// All ends that answer say that it is up.
    Up,
    /// An end says that it is down.
    Down,
    /// Neither end answers.
    Unknown,
    /// It cannot be made although both ends live: the epoch leads around it.
    Cut,
}

/// A link between two nodes, as its ends see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireLink {
    /// The name of the node with the smaller number.
    pub one: String,
    /// The name of the other.
    pub other: String,
    /// What it is for.
    pub role: LinkRole,
    /// How it is.
    pub state: LinkState,
    /// The median of how long an end takes to answer the other, in microseconds; nothing until that was measured.
    #[serde(default)]
    pub round_trip_us: Option<u64>,
    /// Why it could not be made, if it is not up and an end knows.
    #[serde(default)]
    pub problem: Option<String>,
    /// Envelopes sent by the first one to the other; nothing if it does not answer.
    pub sent: Option<u64>,
    /// Envelopes sent by the other one.
    pub sent_back: Option<u64>,
    /// Bytes sent both ways, as far as they are known.
    pub bytes: u64,
}

/// A node of the topology.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireMember {
    /// Its name.
    pub name: String,
    /// Its number.
    pub number: u64,
    /// What it does.
    pub role: Role,
}

/// The answer to `GET /v1/topology`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WireTopology {
    /// The cluster.
    pub cluster: String,
    /// The number of the epoch; 0 while there is none.
    pub epoch: u64,
    /// How the members are linked.
    pub kind: Kind,
    /// The members, by number.
    pub members: Vec<WireMember>,
    /// The links, data links first: those that should be there, and those that are.
    pub links: Vec<WireLink>,
}

/// What the two ends of a link say, the one with the smaller number first.
#[derive(Default)]
struct Ends<'a>([Option<&'a queenright_actors::node::LinkStatus>; 2]);

impl WireTopology {
    /// The topology of a cluster, from what its nodes say of their links.
    pub fn of(status: &ClusterStatus) -> WireTopology {
        let kind = status.topology.parse().unwrap_or(Kind::Mesh);
        let mut nodes: Vec<&NodeStatus> = status.nodes.iter().collect();
        nodes.sort_by_key(|node| node.number);
        let numbers: BTreeMap<&str, NodeId> = nodes.iter().map(|node| (&*node.name, NodeId(node.number))).collect();
        let members: BTreeSet<NodeId> = numbers.values().copied().collect();
        let number = |name: &String| numbers.get(&**name).copied();
        let cuts = status
            .cuts
            .iter()
            .filter_map(|(one, other)| Some((number(one)?, number(other)?)));
        let cuts: BTreeSet<topology::Pair> = cuts.map(|(one, other)| topology::Pair::of(one, other)).collect();
        // Those of the kind that are cut, and those that stand in for them.
        let mut data = pairs(kind, &members, &BTreeSet::new());
        data.extend(pairs(kind, &members, &cuts));
        let mut ends: BTreeMap<Pair, Ends<'_>> = data.iter().map(|pair| (*pair, Ends::default())).collect();
        for node in &nodes {
            let links = node.traffic.iter().flat_map(|traffic| &traffic.links);
            for link in links.filter(|link| link.role != LinkRole::Idle) {
                let Some(peer) = numbers.get(&*link.peer) else { continue };
                let me = NodeId(node.number);
                let place = usize::from(me > *peer);
                ends.entry((me.min(*peer), me.max(*peer))).or_default().0[place] = Some(link);
            }
        }
        let name = |number: NodeId| {
            let found = nodes.iter().find(|node| node.number == number.0);
            found.map_or_else(String::new, |node| node.name.clone())
        };
        let answers = |number: NodeId| {
            nodes
                .iter()
                .any(|node| node.number == number.0 && node.traffic.is_some())
        };
        let mut links: Vec<WireLink> = ends
            .into_iter()
            .map(|((one, other), Ends(said))| {
                let role = said.iter().flatten().map(|link| link.role).min();
                let up = |number, said: Option<&queenright_actors::node::LinkStatus>| {
                    answers(number).then(|| said.is_some_and(|link| link.up))
                };
                let seen: Vec<bool> = [up(one, said[0]), up(other, said[1])].into_iter().flatten().collect();
                let state = match &seen[..] {
                    _ if cuts.contains(&topology::Pair::of(one, other)) => LinkState::Cut,
                    [] => LinkState::Unknown,
                    seen if seen.iter().all(|up| *up) => LinkState::Up,
                    _ => LinkState::Down,
                };
                let ends = || said.iter().flatten();
                WireLink {
                    one: name(one),
                    other: name(other),
                    role: if data.contains(&(one, other)) {
                        LinkRole::Data
                    } else {
                        role.unwrap_or(LinkRole::Data)
                    },
                    state,
                    round_trip_us: ends().find_map(|link| link.round_trip).map(|trip| trip.p50_us),
                    problem: match state {
                        LinkState::Up => None,
                        LinkState::Down | LinkState::Unknown | LinkState::Cut => {
                            ends().find_map(|link| link.problem.clone())
                        }
                    },
                    sent: said[0].map(|link| link.sent),
                    sent_back: said[1].map(|link| link.sent),
                    bytes: said.iter().flatten().map(|link| link.sent_bytes).sum(),
                }
            })
            .collect();
        links.sort_by_key(|link| link.role);
        WireTopology {
            cluster: status.cluster.clone(),
            epoch: status.epoch,
            kind,
            members: nodes
                .iter()
                .map(|node| WireMember {
                    name: node.name.clone(),
                    number: node.number,
                    role: node.role,
                })
                .collect(),
            links,
        }
    }
}
