//! A node that takes a fifth more processor time for each command, on purpose: whoever compares measured builds tries on it
//! whether a regression is found. Only in builds with the feature `waste`, which no other feature turns on.

use std::sync::Mutex;

use rustix::time::{ClockId, clock_gettime};

/// What is wasted of what is used: one part in so many.
const PART: i64 = 5;

/// The processor time of the process, without what was wasted, when this was last called.
static USED_NS: Mutex<Option<i64>> = Mutex::new(None);

fn nanos(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Uses a fifth of the processor time that the process has used since the last call, on this thread.
pub(crate) fn waste() {
    let mut used = USED_NS.lock().expect("nothing panics under this lock");
    let now = nanos(ClockId::ProcessCPUTime);
    let since = used.map_or(0, |used| now - used);
    let started = nanos(ClockId::ThreadCPUTime);
    let mut wasted = 0;
    while wasted < since / PART {
        std::hint::spin_loop();
        wasted = nanos(ClockId::ThreadCPUTime) - started;
    }
    // What other threads did meanwhile counts next time.
    *used = Some(now + wasted);
}
