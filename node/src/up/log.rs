//! The log file of a node: one file that every start appends to. The node itself rotates it.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::SystemTime;

use crate::config::{Logging, NodeConfig};
use crate::logging::set_aside;
use crate::wall_time::rfc3339;

/// How much of the end of a log is looked at for its last lines.
const TAIL_BYTES: u64 = 8 * 1024;
/// How many of its last lines are shown.
const TAIL_LINES: usize = 10;
const HEADER: &str = "--- queenright ";

/// Opens the log for a new start and writes a line that says so. One that is long is set aside before.
pub(super) fn open(path: &Path, node: &NodeConfig, logging: &Logging) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.len() > logging.rotate_bytes) {
        set_aside(path, logging.keep_files)?;
    }
    let mut log = File::options().append(true).create(true).open(path)?;
    let version = env!("CARGO_PKG_VERSION");
    writeln!(
        log,
        "{HEADER}{version}: node {} starts at {}",
        node.name,
        rfc3339(SystemTime::now())
    )?;
    Ok(log)
}

/// The last lines since the last start; none if the log cannot be read.
pub(super) fn tail(path: &Path) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut log = File::open(path)?;
        let length = log.metadata()?.len();
        log.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
        let mut bytes = Vec::new();
        log.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let since_start: Vec<&str> = text
        .lines()
        .rev()
        .take_while(|line| !line.starts_with(HEADER))
        .collect();
    since_start
        .into_iter()
        .take(TAIL_LINES)
        .rev()
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_of_the_last_start_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.log");
        let any = "127.0.0.1:1".parse().unwrap();
        let node = NodeConfig {
            name: "n1".to_owned(),
            links: any,
            http: any,
            advertise_links: None,
            advertise_http: None,
            labels: Default::default(),
        };
        assert!(tail(&path).is_empty());
        writeln!(open(&path, &node, &Logging::default()).unwrap(), "first").unwrap();
        let mut log = open(&path, &node, &Logging::default()).unwrap();
        assert!(tail(&path).is_empty());
        (0..2000).for_each(|line| writeln!(log, "line {line}").unwrap());
        assert_eq!(tail(&path).len(), TAIL_LINES);
        assert_eq!(tail(&path).last().map(String::as_str), Some("line 1999"));
        assert!(fs::read_to_string(&path).unwrap().contains("\nfirst\n"));
    }

    #[test]
    fn a_long_log_is_set_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n1.log");
        let any = "127.0.0.1:1".parse().unwrap();
        let node = NodeConfig {
            name: "n1".to_owned(),
            links: any,
            http: any,
            advertise_links: None,
            advertise_http: None,
            labels: Default::default(),
        };
        File::create(&path)
            .unwrap()
            .set_len(Logging::ROTATE_BYTES.default + 1)
            .unwrap();
        open(&path, &node, &Logging::default()).unwrap();
        assert!(fs::metadata(&path).unwrap().len() < 200);
        assert_eq!(
            fs::metadata(folder.path().join("n1.log.1")).unwrap().len(),
            Logging::ROTATE_BYTES.default + 1
        );
    }
}
