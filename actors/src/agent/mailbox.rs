//! The mailbox of a generation of an agent: what is handed over to it, and the counts of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::actor::AgentMessage;
use super::generation::Generation;

/// Counts of what was for mailboxes.
#[derive(Default)]
pub(crate) struct Handed {
    pub(crate) delivered: AtomicU64,
    /// For a mailbox that was full or is not there, or never taken out of it.
    pub(crate) lost: AtomicU64,
    /// For a generation that had ended.
    pub(crate) late: AtomicU64,
}

/// What lies in mailboxes.
pub(crate) trait Letter: Sized {
    /// The message that brings them to an agent.
    fn message(delivery: Delivery<Self>) -> AgentMessage;
    /// What such a message brings.
    fn delivery(message: AgentMessage) -> Option<Delivery<Self>>;
    /// `to` takes these out of its mailbox.
    fn taken(letters: &[Self], to: &Generation);
    /// `to` has ended before it took these out.
    fn unread(letters: &[Self], to: &Generation);
}

/// Letters in the mailbox of a generation. They count as delivered; those that are never taken out count as lost.
pub(crate) struct Delivery<T: Letter> {
    letters: Vec<T>,
    to: Arc<Generation>,
    counts: Arc<Handed>,
}

/// What became of letters that were handed over.
pub(crate) struct Handing<T> {
    /// How many the mailbox took, the first ones.
    pub(crate) taken: usize,
    /// The others.
    pub(crate) missed: Vec<T>,
    /// Whether that is since the generation that they are for has ended.
    pub(crate) late: bool,
}

impl<T> Handing<T> {
    /// All came too late.
    pub(crate) fn late(missed: Vec<T>) -> Handing<T> {
        let (taken, late) = (0, true);
        Handing { taken, missed, late }
    }
}

impl<T: Letter> Delivery<T> {
    /// Takes them out.
    pub(super) fn take(mut self) -> Vec<T> {
        T::taken(&self.letters, &self.to);
        self.empty()
    }

    fn empty(&mut self) -> Vec<T> {
        let letters = std::mem::take(&mut self.letters);
        self.to.taken(letters.len());
        letters
    }
}

impl<T: Letter> Drop for Delivery<T> {
    fn drop(&mut self) {
        if self.letters.is_empty() {
            return;
        }
        let left = self.letters.len();
        self.to.taken(left);
        T::unread(&self.letters, &self.to);
        let Handed { delivered, lost, late } = &*self.counts;
        delivered.fetch_sub(left as u64, Ordering::Relaxed);
        lost.fetch_add(left as u64, Ordering::Relaxed);
        late.fetch_add(left as u64, Ordering::Relaxed);
    }
}

/// Hands letters to a generation of an agent. Those that it does not take are not counted here.
pub(crate) fn hand<T: Letter>(to: &Arc<Generation>, mut letters: Vec<T>, counts: &Arc<Handed>) -> Handing<T> {
    let (room, held) = to.admit(letters.len());
    let missed = letters.split_off(room);
    if room == 0 {
        let (taken, late) = (0, false);
        return Handing { taken, missed, late };
    }
    let delivery = Delivery {
        letters,
        to: to.clone(),
        counts: counts.clone(),
    };
    // Before they are in the mailbox: those that are never taken out of it are subtracted again.
    counts.delivered.fetch_add(room as u64, Ordering::Relaxed);
    match to.post(T::message(delivery), held) {
        Ok(()) => {
            let (taken, late) = (room, false);
            Handing { taken, missed, late }
        }
        Err(message) => {
            counts.delivered.fetch_sub(room as u64, Ordering::Relaxed);
            let mut delivery = T::delivery(*message).expect("what comes back is what was sent");
            let mut all = delivery.empty();
            all.extend(missed);
            Handing::late(all)
        }
    }
}
