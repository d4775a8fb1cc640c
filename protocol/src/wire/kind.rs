//! The kinds of envelopes.
//!
//! | kind | nr | from | to | answered by | lane |
//! |---|---|---|---|---|---|
//! | hello | 1 | a node at its first start, or one that joins | each configured peer | hello | command |
//! | founding | 2 | the node that founds the cluster | each expected node | founding_ack | command |
//! | founding_ack | 3 | a node that took its number | the founder | nothing | command |
//! | join_refused | 4 | a member | an empty node that said hello | nothing | command |
//! | vote_request | 10 | a candidate | each voter | vote_reply | urgent |
//! | vote_reply | 11 | a voter | the candidate | nothing | urgent |
//! | append_request | 12 | the leader | a follower or learner | append_reply | append, or urgent for a heartbeat |
//! | append_reply | 13 | a follower or learner | the leader | nothing | urgent |
//! | snapshot_request | 14 | the leader, with the head of a snapshot | a follower or learner | snapshot_reply | urgent |
//! | snapshot_reply | 15 | a follower or learner | the leader | nothing | urgent |
//! | snapshot_wanted | 16 | a node that has lost its state | any node | snapshot_found | command |
//! | snapshot_found | 17 | the node that was asked | the node that asked | nothing | command |
//! | snapshot_blocks_wanted | 18 | a node that receives a snapshot | the node that has it | snapshot_blocks | command |
//! | snapshot_blocks | 19 | the node that has it | the node that receives it | nothing | snapshot |
//! | round | 20 | a queen | the leader's queen | its log entry, or round_refused | command |
//! | round_refused | 21 | a node that does not lead; names the leader | the queen that sent the round | nothing | command |
//! | read_index_request | 22 | any node | the leader | read_index_reply | command |
//! | read_index_reply | 23 | the leader, or a node that names it | the node that asked | nothing | command |
//! | lead_request | 25 | a leader that hands over | each voter | lead_reply | urgent |
//! | lead_reply | 26 | a voter | the leader | nothing | urgent |
//! | signal | 30 | an agent's node | another agent's node | nothing; as a question signal_answer or signal_refused | signal |
//! | signal_refused | 31 | the node that could not deliver a question | the node of the one who asked | nothing | signal |
//! | signal_answer | 32 | the node of an agent that was asked | the node of the one who asked | nothing | signal |
//! | topic | 33 | a node of a broadcast's tree | the next one; the correlation counts the nodes that it is for | nothing | signal |
//! | control | 40 | any node (status and the like) | any node | control_reply | command |
//! | control_reply | 41 | the node that was asked | the node that asked | nothing | command |
//! | unreachable | 42 | a node that could not pass an envelope on | its sender, or who waits for it as an answer | nothing | urgent |
//!
//! Numbers are never used again. A new kind takes a new number; a changed body takes a new kind.

use std::fmt;

use super::{Lane, WireError};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $lane:ident;)*) => {
        /// What the body of an envelope is. The documentation of the module has the table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Kind {
            $($(#[$doc])* $variant = $number,)*
        }

        impl Kind {
            /// All kinds, by number.
            pub const ALL: &'static [Kind] = &[$(Kind::$variant,)*];

            /// The name as logs show it.
            pub fn name(self) -> &'static str {
                match self { $(Kind::$variant => $name,)* }
            }

            /// The lane on which envelopes of this kind travel unless the sender has a reason of its own.
            pub fn lane(self) -> Lane {
                match self { $(Kind::$variant => Lane::$lane,)* }
            }
        }

        impl TryFrom<u8> for Kind {
            type Error = WireError;

            fn try_from(found: u8) -> Result<Self, WireError> {
                match found {
                    $($number => Ok(Kind::$variant),)*
                    _ => Err(WireError::UnknownKind { found }),
                }
            }
        }
    };
}

kinds! {
    /// Who a node is and whether it belongs to a cluster yet.
    Hello = 1, "hello", Command;
    /// The cluster id and the node numbers, from the founder.
    Founding = 2, "founding", Command;
    /// A node has stored what the founding gave it.
    FoundingAck = 3, "founding_ack", Command;
    /// An empty node may not join, and why.
    JoinRefused = 4, "join_refused", Command;
    /// A candidate asks for a vote.
    VoteRequest = 10, "vote_request", Urgent;
    /// A voter's answer.
    VoteReply = 11, "vote_reply", Urgent;
    /// Log entries, or none for a heartbeat.
    AppendRequest = 12, "append_request", Append;
    /// How far a follower's log has come.
    AppendReply = 13, "append_reply", Urgent;
    /// The leader offers a snapshot.
    SnapshotRequest = 14, "snapshot_request", Urgent;
    /// How far a snapshot has come.
    SnapshotReply = 15, "snapshot_reply", Urgent;
    /// A node that has lost its state asks for a snapshot.
    SnapshotWanted = 16, "snapshot_wanted", Command;
    /// The head of a snapshot, or that there is none yet.
    SnapshotFound = 17, "snapshot_found", Command;
    /// Asks for some blocks of a snapshot.
    SnapshotBlocksWanted = 18, "snapshot_blocks_wanted", Command;
    /// Blocks of a snapshot.
    SnapshotBlocks = 19, "snapshot_blocks", Snapshot;
    /// The commands that a queen has gathered.
    Round = 20, "round", Command;
    /// The receiver of a round does not lead; names the leader if it knows it.
    RoundRefused = 21, "round_refused", Command;
    /// Asks for the position behind which a read is linearizable.
    ReadIndexRequest = 22, "read_index_request", Command;
    /// That position, or the leader's name.
    ReadIndexReply = 23, "read_index_reply", Command;
    /// How many changes the store of a node has not taken yet.
    Unstored = 24, "unstored", Urgent;
    /// A leader asks another node to lead.
    LeadRequest = 25, "lead_request", Urgent;
    /// A voter's answer to that.
    LeadReply = 26, "lead_reply", Urgent;
    /// A volatile message from agent to agent.
    Signal = 30, "signal", Signal;
    /// A question from agent to agent was not delivered, and why.
    SignalRefused = 31, "signal_refused", Signal;
    /// The answer to a question from agent to agent.
    SignalAnswer = 32, "signal_answer", Signal;
    /// A message about a topic, for all nodes, on its way along the tree of the broadcast.
    Topic = 33, "topic", Signal;
    /// A request from node to node, such as status.
    Control = 40, "control", Command;
    /// The answer to a control request.
    ControlReply = 41, "control_reply", Command;
    /// An envelope was lost on its way, and why.
    Unreachable = 42, "unreachable", Urgent;
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
