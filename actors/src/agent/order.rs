//! What somebody may ask of an agent that lives, besides to stop.

use std::fmt;

/// What an agent is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentOrder {
    /// To take no step and to be delivered nothing, from the end of what it does now until it is resumed. It keeps what it
    /// holds; what comes for it waits, within the bound of its mailbox. One that waits for a restart is started paused.
    Pause,
    /// To go on.
    Resume,
    /// To begin again: its generation ends, and the next one starts at once. Does not count as a restart of its policy. One
    /// that has ended is started anew.
    Restart,
    /// To take a step, although nobody sent anything; wakes one that is passive.
    Nudge,
}

impl AgentOrder {
    /// All of them.
    pub const ALL: [AgentOrder; 4] = [
        AgentOrder::Pause,
        AgentOrder::Resume,
        AgentOrder::Restart,
        AgentOrder::Nudge,
    ];

    /// Its name: the verb of the command line and of the path.
    pub fn name(self) -> &'static str {
        match self {
            AgentOrder::Pause => "pause",
            AgentOrder::Resume => "resume",
            AgentOrder::Restart => "restart",
            AgentOrder::Nudge => "nudge",
        }
    }
}

impl fmt::Display for AgentOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
