//! Clusters on small volumes that run full. Mounts tmpfs, so it runs as root on Linux, and by name:
//! `cargo test -p queenright --test disk_full`.

#[allow(dead_code, reason = "other tests use the rest of it")]
mod colony;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use queenright_actors::node::Consistency;
use queenright_bench::client::wire::Code;
use queenright_bench::client::{Lookup, PutOptions};
use tempfile::TempDir;

use crate::colony::{Colony, NODES, until};

const MIB: u64 = 1 << 20;
const VOLUME_BYTES: u64 = 96 * MIB;
const WATERMARK_BYTES: u64 = 16 * MIB;
const BALLAST_BYTES: u64 = 4 * MIB;

/// A volume of its own, unmounted at the end.
struct Volume {
    folder: TempDir,
}

impl Volume {
    fn mount() -> Volume {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume { folder };
        volume.run(
            "mount",
            &["-t", "tmpfs", "-o", &format!("size={VOLUME_BYTES}"), "tmpfs"],
        );
        volume
    }

    #[track_caller]
    fn run(&self, program: &str, arguments: &[&str]) {
        let ran = Command::new(program).args(arguments).arg(self.path()).output();
        let ran = ran.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(
            ran.status.success(),
            "{program}: {}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    fn free_bytes(&self) -> u64 {
        let stat = rustix::fs::statvfs(self.path()).unwrap();
        stat.f_bavail * stat.f_frsize
    }

    /// Leaves about this much of what is free now. What a node lets go meanwhile stays free.
    fn fill(&self, left_bytes: u64) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        let piece = vec![1; 4096];
        let pieces = self.free_bytes().saturating_sub(left_bytes) / piece.len() as u64;
        for _ in 0..pieces {
            if filler.write_all(&piece).is_err() {
                break;
            }
        }
    }

    fn clear(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn grow(&self, bytes: u64) {
        self.run("mount", &["-o", &format!("remount,size={bytes}")]);
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // A lazy one goes through whatever still holds a file.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// A cluster with a small volume for each node. The volumes outlive it.
struct Rig {
    colony: Colony,
    volumes: BTreeMap<&'static str, Volume>,
}

impl Rig {
    fn start(name: &str) -> Rig {
        let volumes: BTreeMap<&str, Volume> = NODES.into_iter().map(|node| (node, Volume::mount())).collect();
        let colony = Colony::start_prepared(name, |config, data| {
            config.limits.disk_watermark_bytes = Some(WATERMARK_BYTES);
            config.limits.ballast_bytes = Some(BALLAST_BYTES);
            fs::create_dir_all(data).unwrap();
            for (node, volume) in &volumes {
                symlink(volume.path(), data.join(node)).unwrap();
            }
        });
        Rig { colony, volumes }
    }

    fn others(&self, node: &str) -> Vec<&'static str> {
        NODES.into_iter().filter(|other| *other != node).collect()
    }

    /// Waits until this node is low, or is so no more, as every node sees it.
    fn wait_low(&self, node: &str, low: bool) {
        until("the node is low, or is so no more", || {
            let status = self.colony.status(node)?;
            let disk = status.nodes.iter().find(|other| other.name == node)?.disk?;
            (disk.low == low).then_some(())
        });
    }

    fn put(&self, node: &str, key: &str, value: Vec<u8>) -> Result<(), Option<Code>> {
        let client = self.colony.client(node, "test");
        let put = self
            .colony
            .block_on(client.put(key, value.into(), &PutOptions::default()));
        put.map(drop).map_err(|error| error.code())
    }

    /// Puts until it is acknowledged.
    fn put_at_last(&self, node: &str, key: &str, value: &[u8]) {
        until("a put is taken", || self.put(node, key, value.to_vec()).ok());
    }

    #[track_caller]
    fn holds(&self, node: &str, key: &str, value: &[u8]) {
        let got = self.colony.at(node, &["memory", "get", key]).with_code(0);
        assert_eq!(got.stdout, value, "{key} at {node}");
    }
}

#[test]
fn with_one_full_disk_the_cluster_goes_on_and_the_node_comes_back_when_there_is_room() {
    let mut rig = Rig::start("one-full");
    rig.put_at_last("n1", "before", b"1");
    let full = rig.colony.leader_at("n1", None);
    let full = NODES.into_iter().find(|node| *node == full).unwrap();
    let others = rig.others(full);

    rig.volumes[full].fill(0);
    rig.wait_low(full, true);
    let ballast = rig.volumes[full].path().join("ballast");
    until("the ballast is let go", || (!ballast.exists()).then_some(()));
    // Some of its room may have been written to since.
    let free = rig.volumes[full].free_bytes();
    assert!(free >= BALLAST_BYTES / 2, "{free} B are free");
    // Two of three have room, so nothing is refused, and the one without writes into what the ballast left.
    rig.put_at_last(others[0], "while", b"2");
    assert!(rig.colony.status(full).is_some());

    // Not even that is left now: its log cannot be written, and the node ends.
    rig.volumes[full].fill(0);
    rig.put_at_last(others[0], "after", &vec![b'3'; MIB as usize]);
    let ended = rig.colony.ended();
    assert_eq!(ended.name, full);
    let log = ended.log_tail.join("\n");
    assert!(log.contains("No space left on device"), "{log}");
    rig.put_at_last(others[1], "later", b"4");

    let refused = rig.colony.try_start_node(full).unwrap_err().to_string();
    assert!(
        refused.contains("is full: ") && refused.contains("a start needs 2097152 B"),
        "{refused}"
    );
    rig.volumes[full].clear();
    rig.colony.start_node(full);
    rig.colony.leader_at(full, None);
    for (key, value) in [("before", b"1"), ("while", b"2"), ("later", b"4")] {
        rig.holds(full, key, value);
    }
    rig.wait_low(full, false);
    rig.colony.same_digest();
}

#[test]
fn with_two_full_disks_growing_commands_are_refused_by_name_and_all_else_goes_on() {
    let rig = Rig::start("two-full");
    let leader = rig.colony.leader_at("n1", None);
    let roomy = rig.others(&leader)[0];
    for key in ["kept", "deleted"] {
        rig.put_at_last("n1", key, b"1");
    }
    for node in rig.others(roomy) {
        rig.volumes[node].fill(WATERMARK_BYTES / 2);
    }
    for node in rig.others(roomy) {
        rig.wait_low(node, true);
    }
    for node in NODES {
        until("growing commands are refused", || {
            (rig.put(node, "until", b"2".to_vec()) == Err(Some(Code::DiskLow))).then_some(())
        });
        let refused = rig.colony.at(node, &["memory", "put", "more", "2"]).with_code(75);
        let (names_one, limit) = (
            rig.others(roomy)
                .iter()
                .any(|node| refused.stderr.contains(&format!("the disk of node {node} has "))),
            format!("the watermark is {WATERMARK_BYTES} B"),
        );
        assert!(names_one && refused.stderr.contains(&limit), "{refused}");
        let refused = rig
            .colony
            .at(node, &["--json", "memory", "put", "more", "2"])
            .with_code(75);
        assert!(refused.stderr.contains("\"DISK_LOW\""), "{refused}");
        rig.holds(node, "kept", b"1");
    }
    rig.colony.at(roomy, &["memory", "delete", "deleted"]).with_code(0);
    let proposal = br#"{"dry_run": true, "writes": [{"key": "kept", "put": "x"}]}"#;
    rig.colony.fed("n1", &["propose", "-"], proposal).with_code(0);
    let status = rig.colony.at(roomy, &["status"]).with_code(0);
    let line = format!("{leader}: ");
    assert!(
        String::from_utf8_lossy(&status.stdout)
            .lines()
            .any(|shown| shown.starts_with(&line)),
        "{status}"
    );

    for node in rig.others(roomy) {
        rig.volumes[node].clear();
    }
    for node in NODES {
        rig.put_at_last(node, &format!("again/{node}"), b"3");
    }
    rig.colony.at("n2", &["memory", "get", "more"]).with_code(1);
    rig.colony.same_digest();
}

#[test]
fn a_cluster_that_fills_its_own_disks_refuses_in_time_and_loses_nothing() {
    let rig = Rig::start("fills-itself");
    let value = |number: usize| -> Vec<u8> { (0..128 << 10).map(|place| (place * 31 + number) as u8).collect() };
    let clients = NODES.map(|node| rig.colony.client(node, "filler"));
    // Several writers, each as fast as it is answered.
    let writers: Vec<_> = (0..12)
        .map(|writer| {
            let client = clients[writer % NODES.len()].clone();
            rig.colony.spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    let key = format!("fill/{writer}/{number}");
                    match client
                        .put(&key, value(writer + number).into(), &PutOptions::default())
                        .await
                    {
                        Ok(_) => acknowledged.push((key, writer + number)),
                        Err(error) if error.code() == Some(Code::DiskLow) => break,
                        Err(error) => assert!(error.code() != Some(Code::Unavailable), "{error}"),
                    }
                }
                acknowledged
            })
        })
        .collect();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(rig.colony.block_on(writer).unwrap());
    }
    assert!(acknowledged.len() > 40, "{}", acknowledged.len());
    for node in NODES {
        let status = rig.colony.status(node).expect("it runs");
        assert!(status.queenright, "{status:?}");
    }
    assert!(rig.volumes.values().all(|volume| volume.free_bytes() > 0));
    for volume in rig.volumes.values() {
        volume.grow(2 * VOLUME_BYTES);
    }
    rig.put_at_last("n3", "afterwards", b"more");
    let reader = rig.colony.client("n2", "reader");
    for (key, number) in acknowledged {
        let got = rig
            .colony
            .block_on(reader.get(&key, Consistency::Linearizable))
            .unwrap();
        let Lookup::Found(found) = got else {
            panic!("{key} was acknowledged")
        };
        assert!(found.value == value(number), "{key}");
    }
    rig.colony.same_digest();
}
