//! What the queen notes of rounds and of commands that are followed, and when.

use bytes::Bytes;

use super::{QueenState, Ticket};
use crate::trace::{CommandId, RoundHead, now_us};

impl QueenState {
    /// Another node's round is here.
    pub(super) fn note_arrival(&self, round: &[u8]) {
        if let Some(head) = RoundHead::peek(round) {
            self.replica.journal().arrived(head, now_us());
        }
    }

    /// Notes the rounds that were cut in this step, and those of their commands that are followed.
    pub(super) fn note_cuts(&mut self) {
        let mut cuts = std::mem::take(&mut self.cuts);
        self.rounds.take_cuts(&mut cuts);
        for (number, commands) in cuts.drain(..) {
            let first = CommandId {
                node: self.router.me(),
                incarnation: self.incarnation,
                number,
            };
            if self.clock.is_some() {
                self.replica.journal().arrived(RoundHead { first, commands }, now_us());
            }
            if self.followed == 0 {
                continue;
            }
            for number in number..number + commands {
                let ticket = self.rounds.ticket(number);
                if let Some(followed) = ticket.and_then(|ticket| ticket.followed.as_ref())
                    && followed.cut(CommandId { number, ..first })
                {
                    self.followed -= 1;
                }
            }
        }
        self.cuts = cuts;
    }

    /// These rounds go to consensus.
    pub(super) fn note_appended(&self, rounds: &[Bytes]) {
        let now_us = now_us();
        for head in rounds.iter().filter_map(|bytes| RoundHead::peek(bytes)) {
            self.replica.journal().appended(head, now_us);
        }
    }

    /// A command has an outcome: one that was not taken never stands in a round.
    pub(super) fn note_answer(&mut self, ticket: &Ticket) {
        let never_cut = ticket.followed.as_ref().is_some_and(|followed| !followed.is_cut());
        self.followed = self.followed.saturating_sub(usize::from(never_cut));
    }
}
