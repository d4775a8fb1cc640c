//! The actors that carry out the rules of `queenright-protocol`: queen, agents, links, consensus and store. One process
//! is one [`node::Node`]; whoever embeds it needs [`node`], [`agent`] for behaviours of its own, and [`queen::Request`].
//!
//! # The path of a command
//!
//! 1. An agent or a door hands a [`queen::Request`] to [`node::Node::submit`], which gives the queen a message and waits
//!    for the answer.
//! 2. The **queen** (`queen::actor`) spares the log a proposal that has lost already by what this node has applied, or
//!    else hands the command to her machine (`queen::rounds`), which numbers it and gathers it into a *round*. A round
//!    is cut when her mailbox is empty and few rounds are under way; it is encoded here and stays those bytes.
//! 3. The **router** takes the round to the leader's queen: to itself, or through the outbox of a **link** to the next
//!    hop. Nothing is repeated below the queen: she sends a round again, after a patience that doubles and at once to a
//!    new leader, until all its commands have outcomes.
//! 4. The **leader's queen** joins the rounds of all nodes into one entry, stamps it with cluster time and hands it to
//!    **consensus** (openraft). The entry is written to the **log** of each node, and committed once a majority has
//!    synced it.
//! 5. Every node's **replica** applies the entry with `Colony::apply`, which answers a repeated command with its first
//!    outcome. It gives the outcomes of this node's commands to its queen, and what has changed to the **store**'s
//!    thread, which writes it to sled behind.
//! 6. The queen hands each outcome to its caller. Her next round tells the others which outcomes may be forgotten.
//!
//! A caller whose deadline has passed has no outcome; the command may still be carried out.
//!
//! # Map
//!
//! | module | what | what it never does |
//! |---|---|---|
//! | [`node`] | starts the parts in order, stops them in reverse; what a door may ask | decide anything on its own |
//! | [`queen`] | numbers, rounds and entries as a plain machine; the actor that drives it and supervises agents | wait for disk or network |
//! | [`agent`] | behaviours hosted by the node, each as an actor; signals between agents | keep a signal whose link broke |
//! | [`explorer`] | active inference: minds with beliefs and plans, worlds for them, the agents that have them | decide anything for a colony |
//! | [`topic`] | who has subscribed to which topics here; messages along the tree of a broadcast | send one twice to a node, or keep one for later |
//! | [`pool`] | as many agents of each pool as this node's share; the shares, while this node leads | start one that nobody's share says |
//! | [`trace`] | when each node had the commands of a request that is followed | make a command carry anything |
//! | [`process`] | runs a command for a task, with a guard that leaves nothing of it behind | know what a task is |
//! | [`disk`] | the room on the disks, and whether growing commands are admitted; the ballast | remove anything but the ballast |
//! | [`memory`] | how much memory this process has, and whether it takes new work | stop what is under way |
//! | `node::comparison` | what follows when the digest of this node is not the leader's | decide without a majority |
//! | `founding` | the first start: one cluster id, a number for each node; new numbers for those who join later | found a second cluster |
//! | `epochs` | the newest epoch that this node knows, whoever told it | take an older one |
//! | `roster` | where the nodes are, by the newest epoch and the cluster file | know a node that neither names |
//! | `node::replacement` | who may join, and the steps from a learner to a voter | give a number out twice |
//! | [`recover`] | a new cluster from what one node has, when a majority is lost for good; offline | change the folder of a node before all is made |
//! | [`backup`] | the whole state as one stream of bytes, and a new cluster from it; the latter offline | take a stream that is not whole |
//! | `transport` | the seam below the router: the gateways of the links, or the network of the simulator | promise more than a link does |
//! | `router` | the next hop of an envelope, of this node or in transit; answers to questions | look into a body in transit, or wait there |
//! | `cuts` | which links the next epoch leads around | believe a node about the links of others |
//! | `shape` | which links this node wants, by the epoch and by who is down | open or close one |
//! | `liveness` | who is alive: SWIM over UDP, and what links read | decide what nodes must agree on |
//! | [`latency`] | how long rounds, commits, claims, syncs and passes take | keep every measurement |
//! | [`link`] | one connection for each neighbour: lanes, frames, credit, reconnecting | queue without a bound, repeat what was lost |
//! | [`tls`] | the certificates of a node, for links and doors | issue one, or keep a key longer than a reload |
//! | [`consensus`] | openraft: its log, network and state machine; read positions | change what an entry carries |
//! | [`replica`] | this node's copy of the colony; snapshots for readers, and who waits for a revision | take a change from anybody but the log |
//! | [`store`] | the data folder, and sled under its guards | write anything that the log has not |

pub mod agent;
mod background;
pub mod backup;
mod body;
pub mod consensus;
mod cuts;
pub mod disk;
mod epochs;
pub mod explorer;
mod founding;
pub mod latency;
pub mod link;
mod liveness;
pub mod memory;
pub mod node;
pub mod pool;
pub mod process;
pub mod queen;
pub mod recover;
pub mod replica;
mod roster;
mod router;
mod shape;
#[cfg(test)]
mod sim;
pub mod store;
pub mod tls;
pub mod topic;
pub mod trace;
mod transport;
#[cfg(feature = "waste")]
mod waste;
