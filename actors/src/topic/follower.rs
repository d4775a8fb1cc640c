//! A caller of the door who follows topics: what waits for it is bounded by bytes, and what finds no room is dropped, never
//! silently.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use super::message::{Heard, TopicMessage};
use super::subscriptions::SubscriberId;
use super::{Topics, add};
use crate::agent::Handed;

/// What a message costs beside its texts.
const MESSAGE_BYTES: usize = 128;

/// What a follower is told next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// A message.
    Message(Heard),
    /// So many messages were dropped here, since too much waited.
    Dropped(u64),
}

/// What waits for a follower.
pub(super) struct Queue {
    // A mutex: gateways and publishers put messages in, the follower takes them out. Held for that.
    waiting: Mutex<Waiting>,
    changed: Notify,
    bytes_max: usize,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Heard>,
    bytes: usize,
    /// Dropped behind those that wait.
    dropped: u64,
    closed: bool,
}

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Queue {
        Queue {
            waiting: Mutex::default(),
            changed: Notify::new(),
            bytes_max,
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("nothing panics under this lock")
    }

    /// Puts messages in, and counts them; says how many it took.
    pub(super) fn put(&self, messages: Vec<Heard>, counts: &Handed) -> u64 {
        let all = messages.len() as u64;
        let mut taken = 0;
        {
            let mut waiting = self.waiting();
            for message in messages {
                let bytes = bytes_of(&message);
                // An empty one takes a message of any size. Behind one that was dropped none is taken before the follower
                // knows of it: it is told where something is missing.
                let fits = waiting.messages.is_empty() || waiting.bytes + bytes <= self.bytes_max;
                if waiting.closed || waiting.dropped > 0 || !fits {
                    waiting.dropped += 1;
                    continue;
                }
                waiting.bytes += bytes;
                waiting.messages.push_back(message);
                taken += 1;
            }
            // Under the lock: who closes the queue counts back what it still has.
            add(&counts.delivered, taken);
            add(&counts.lost, all - taken);
        }
        self.changed.notify_one();
        taken
    }

    fn next(&self) -> Option<Followed> {
        let mut waiting = self.waiting();
        if let Some(message) = waiting.messages.pop_front() {
            waiting.bytes -= bytes_of(&message);
            return Some(Followed::Message(message));
        }
        match std::mem::take(&mut waiting.dropped) {
            0 => None,
            dropped => Some(Followed::Dropped(dropped)),
        }
    }

    /// Takes nothing any more. Says how many messages were never taken out.
    pub(super) fn close(&self) -> u64 {
        let mut waiting = self.waiting();
        waiting.closed = true;
        waiting.bytes = 0;
        std::mem::take(&mut waiting.messages).len() as u64
    }
}

fn bytes_of(message: &TopicMessage) -> usize {
    let texts = message.project.len() + message.topic.as_str().len() + message.author.len();
    MESSAGE_BYTES + texts + message.payload.len()
}

/// One who follows topics, until this is dropped.
pub struct Follower {
    topics: Arc<Topics>,
    id: SubscriberId,
    queue: Arc<Queue>,
}

impl Follower {
    pub(super) fn new(topics: Arc<Topics>, id: SubscriberId, queue: Arc<Queue>) -> Follower {
        Follower { topics, id, queue }
    }

    /// Waits for the next message, or for what is missing in its place. Nothing is lost if the future is dropped.
    pub async fn next(&mut self) -> Followed {
        loop {
            if let Some(followed) = self.queue.next() {
                return followed;
            }
            // One that was put in meanwhile has left its note.
            self.queue.changed.notified().await;
        }
    }

    /// What there is already.
    pub fn try_next(&mut self) -> Option<Followed> {
        self.queue.next()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.topics.unfollow(self.id, &self.queue);
    }
}
