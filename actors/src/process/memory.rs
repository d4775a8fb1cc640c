//! How much memory the descendants of a guard use.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// How often the guard looks: a command that takes more than it may does so for about as long.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long after the start it looks for the first time.
pub(super) const FIRST_LOOK_AFTER: Duration = Duration::from_millis(20);
/// How many processes are looked at: the memory of a command that starts more is not all counted.
const PROCESSES_MAX: usize = 10_000;

/// What is resident of all that this process has started, in bytes. Pages that several of them share count for each.
/// What ends meanwhile counts nothing.
pub(super) fn of_descendants() -> u64 {
    let page = rustix::param::page_size() as u64;
    let mut seen = BTreeSet::new();
    let mut left = children(Path::new("/proc/self"));
    let mut bytes = 0;
    while let Some(process) = left.pop() {
        if seen.len() == PROCESSES_MAX {
            break;
        }
        if !seen.insert(process) {
            continue;
        }
        let folder = Path::new("/proc").join(process.to_string());
        let pages = fs::read_to_string(folder.join("statm"));
        let pages = pages.ok().and_then(|text| resident_pages(&text)).unwrap_or_default();
        bytes += pages * page;
        left.extend(children(&folder));
    }
    bytes
}

/// The second number of `statm`.
fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The children of a process, by all of its threads.
fn children(process: &Path) -> Vec<u32> {
    let threads = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let children = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let children = children.collect::<String>();
    // The list of each thread ends with a blank.
    children
        .split_ascii_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_second_number_is_what_is_resident() {
        assert_eq!(resident_pages("5471 1203 900 210 0 300 0\n"), Some(1_203));
        assert_eq!(resident_pages(""), None);
    }

    #[test]
    fn grandchildren_count_as_well() {
        // A shell that waits for another that waits for the end of its stdin.
        let mut shell = Command::new("sh");
        shell.args(["-c", "sh -c 'read line; :'; :"]).stdin(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let folder = Path::new("/proc").join(shell.id().to_string());
        while children(&folder).is_empty() {
            std::thread::yield_now();
        }
        assert!(children(Path::new("/proc/self")).contains(&shell.id()));
        assert!(of_descendants() > 2 * rustix::param::page_size() as u64);
        drop(shell.stdin.take());
        shell.wait().unwrap();
    }
}
