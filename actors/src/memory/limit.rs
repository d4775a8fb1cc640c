//! How much memory this process may have.

use std::fs;
use std::path::{Path, PathBuf};

/// The limit: what was said, else the least of what the control groups of this process allow and what the host has. Without
/// all of that it is without a bound.
pub(super) fn limit_bytes(said: Option<u64>) -> u64 {
    if let Some(said) = said {
        return said;
    }
    let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_groups = files(&memberships)
        .into_iter()
        .filter_map(|file| limit_of(&fs::read_to_string(file).ok()?));
    let of_host = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| total_of(&text));
    of_groups.chain(of_host).min().unwrap_or(u64::MAX)
}

/// Where the limits of the groups of a process stand: of its own, and of all above it, whose limits hold as well.
fn files(memberships: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        // Version 2 has one hierarchy, without names of controllers.
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|controller| controller == "memory") => {
                ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        // In a container the own group is often mounted as the root: then only that is there.
        files.extend(path.ancestors().map(|group| Path::new(root).join(group).join(name)));
    }
    files
}

/// A number of bytes; none for `max`.
fn limit_of(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// What the host has, by `/proc/meminfo`.
fn total_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_of_a_group_and_of_those_above_it_are_found_in_both_versions() {
        let paths =
            |text: &str| -> Vec<String> { files(text).into_iter().map(|path| path.display().to_string()).collect() };
        assert_eq!(
            paths("0::/system.slice/q.service\n"),
            [
                "/sys/fs/cgroup/system.slice/q.service/memory.max",
                "/sys/fs/cgroup/system.slice/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            paths("9:name=systemd:/\n4:memory:/box\n3:cpu,cpuacct:/x\nnonsense\n"),
            [
                "/sys/fs/cgroup/memory/box/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes"
            ]
        );
        assert_eq!((limit_of("max\n"), limit_of("1048576\n")), (None, Some(1 << 20)));
        assert_eq!(total_of("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert_eq!(total_of("MemTotal: many\n"), None);
        assert_eq!(limit_bytes(Some(5)), 5);
        assert!(limit_bytes(None) > 0);
    }
}
