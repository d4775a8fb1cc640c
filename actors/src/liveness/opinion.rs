//! What this node thinks of one member: by what SWIM says, by what came from the member itself, and with patience for
//! one that comes and goes.
//!
//! SWIM says that a member is down when nobody could reach it. It is contradicted by any sign of the member itself that
//! is newer than the suspicion: a datagram, or bytes on its link. Where no datagrams pass, the link alone decides.

use std::collections::VecDeque;
use std::fmt;
use std::mem;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pace::Pace;

/// As many falls are remembered: more make no difference to the time that a member is held.
const FALLS_MAX: usize = 16;

/// How a member is, as another one sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// It was heard of.
    Alive,
    /// It does not answer, or comes and goes: nothing should depend on it.
    Suspect,
    /// It did not answer for long enough to count as dead.
    Down,
}

/// What SWIM says of a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Swim {
    /// Nothing: no datagram of it has come.
    #[default]
    Unknown,
    Alive,
    Suspect,
    Down,
}

/// What is known of one member. All times are those of the machine.
#[derive(Debug)]
pub(super) struct Opinion {
    pace: Pace,
    swim: Swim,
    /// Since when SWIM doubts that it lives, while nothing came from itself since then.
    doubt: Option<Duration>,
    /// When something came from itself, or when it became a member.
    heard: Duration,
    /// When a datagram came from itself.
    datagram: Option<Duration>,
    /// Whether its link is up.
    linked: bool,
    /// When its link was seen to break.
    broke: Option<Duration>,
    added: Duration,
    view: View,
    since: Duration,
    udp_blocked: bool,
    /// Since when it would count as alive if it were not held.
    well: Option<Duration>,
    /// When it last ceased to count as alive, the latest last.
    falls: VecDeque<Duration>,
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            View::Alive => "alive",
            View::Suspect => "suspect",
            View::Down => "down",
        })
    }
}

impl Opinion {
    /// A new member has as long to be heard of as one that fell silent.
    pub(super) fn new(pace: Pace, now: Duration) -> Opinion {
        Opinion {
            pace,
            swim: Swim::Unknown,
            doubt: None,
            heard: now,
            datagram: None,
            linked: false,
            broke: None,
            added: now,
            view: View::Alive,
            since: now,
            udp_blocked: false,
            well: None,
            falls: VecDeque::new(),
        }
    }

    pub(super) fn view(&self) -> View {
        self.view
    }

    /// Since when it has this view.
    pub(super) fn since(&self) -> Duration {
        self.since
    }

    /// Whether no datagrams come from it although its link is up.
    pub(super) fn udp_blocked(&self) -> bool {
        self.udp_blocked
    }

    fn is_linked_alone(&self, now: Duration) -> bool {
        let (suspect, down) = self.pace.silence(false);
        let datagrams = self.datagram.is_some_and(|at| now.saturating_sub(at) < down);
        let known = matches!(self.swim, Swim::Alive | Swim::Suspect);
        self.linked && !known && !datagrams && now.saturating_sub(self.added) >= suspect
    }

    /// A datagram came from itself.
    pub(super) fn hear_datagram(&mut self, now: Duration) {
        self.datagram = Some(now);
        self.hear(now);
    }

    /// How its link is, and when something came on it.
    pub(super) fn hear_link(&mut self, up: bool, read: Option<Duration>, now: Duration) {
        if up {
            self.broke = None;
        } else if self.linked {
            self.broke = Some(now);
        }
        self.linked = up;
        if let Some(read) = read {
            self.hear(read);
        }
    }

    /// It has no link with this node, and is not to have one: links say nothing of it.
    pub(super) fn hear_no_link(&mut self) {
        (self.linked, self.broke) = (false, None);
    }

    fn hear(&mut self, at: Duration) {
        self.heard = self.heard.max(at);
        if self.doubt.is_some_and(|doubt| doubt < at) {
            self.doubt = None;
        }
    }

    /// What SWIM says now.
    pub(super) fn swim_says(&mut self, swim: Swim, now: Duration) {
        if self.swim == swim {
            return;
        }
        self.swim = swim;
        match swim {
            Swim::Alive | Swim::Unknown => self.doubt = None,
            Swim::Suspect | Swim::Down => self.doubt = self.doubt.or(Some(now)),
        }
    }

    /// Forms the opinion anew. Returns whether it has changed.
    pub(super) fn review(&mut self, now: Duration) -> bool {
        let window = self.pace.window();
        while self
            .falls
            .front()
            .is_some_and(|fall| now.saturating_sub(*fall) > window)
        {
            self.falls.pop_front();
        }
        let view = match self.unheld(now) {
            View::Alive => self.held(now),
            worse => {
                self.well = None;
                worse
            }
        };
        let blocked = self.is_linked_alone(now);
        let was_blocked = mem::replace(&mut self.udp_blocked, blocked);
        if view == self.view {
            return blocked != was_blocked;
        }
        if self.view == View::Alive {
            self.falls.push_back(now);
            if self.falls.len() > FALLS_MAX {
                self.falls.pop_front();
            }
        }
        (self.view, self.since) = (view, now);
        true
    }

    /// One that has fallen too often is suspect until it was well for long enough.
    fn held(&mut self, now: Duration) -> View {
        let well = *self.well.get_or_insert(now);
        let hold = self.pace.hold(self.falls.len());
        match self.view == View::Alive || now.saturating_sub(well) >= hold {
            true => View::Alive,
            false => View::Suspect,
        }
    }

    fn unheld(&self, now: Duration) -> View {
        let (moment, _) = self.pace.silence(false);
        // A link that has just broken confirms it at once.
        let broken = |doubt: Duration| self.broke.is_some_and(|broke| broke + moment >= doubt);
        let confirmed = |doubt: Duration| now.saturating_sub(doubt) >= self.pace.confirm() || broken(doubt);
        match (self.swim, self.doubt) {
            (Swim::Alive, _) => View::Alive,
            (Swim::Suspect, Some(doubt)) if confirmed(doubt) => View::Suspect,
            (Swim::Down, Some(doubt)) if confirmed(doubt) => View::Down,
            // Not yet: it may be denied in a moment.
            (Swim::Suspect | Swim::Down, Some(_)) => self.view,
            // Contradicted by itself, or not known to SWIM at all.
            _ => {
                let (suspect, down) = self.pace.silence(self.linked);
                match now.saturating_sub(self.heard) {
                    silence if silence >= down => View::Down,
                    silence if silence >= suspect => View::Suspect,
                    _ => View::Alive,
                }
            }
        }
    }
}
