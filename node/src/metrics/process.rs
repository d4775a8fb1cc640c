//! The process, under the names that Prometheus has for it: what Linux tells in /proc, and nothing elsewhere.

use std::fs;

use super::text::Page;

/// Writes what is known.
pub fn write(page: &mut Page) {
    if let Some(bytes) = resident_bytes() {
        page.gauge("process_resident_memory_bytes", "Memory that is resident.", bytes);
    }
    if let Some(stat) = stat() {
        page.counter(
            "process_cpu_seconds_total",
            "Time on cores, of the user and of the system.",
            stat.cpu_seconds,
        );
        page.gauge("process_threads", "Threads.", stat.threads);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "Open file descriptors.", open.count());
    }
    if let Some(most) = descriptors_max() {
        page.gauge("process_max_fds", "How many file descriptors may be open.", most);
    }
}

/// What is resident of this process, in bytes.
pub fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

struct Stat {
    cpu_seconds: f64,
    threads: u64,
}

fn stat() -> Option<Stat> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may hold anything; what follows it does not.
    let (_, fields) = text.rsplit_once(')')?;
    // The third field of the line is the first one here.
    let field = |place: usize| fields.split_ascii_whitespace().nth(place - 3)?.parse::<u64>().ok();
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    Some(Stat {
        cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
        threads: field(20)?,
    })
}

fn descriptors_max() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}
