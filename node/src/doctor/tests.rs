//! What lies wrong on a host is found, and put right where nothing is lost by it.

use std::os::unix::fs::DirBuilderExt as _;

use super::*;
use crate::state::StateFolders;

fn private(folder: &Path) {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .unwrap();
}

struct Rig {
    place: tempfile::TempDir,
    folders: StateFolders,
}

impl Rig {
    fn new() -> Rig {
        let place = tempfile::tempdir().unwrap();
        let data = place.path().join("data");
        private(&data);
        let mut folders = StateFolders::find("c", Some(&data)).unwrap();
        folders.registry = Registry::at(place.path().join("running"));
        Rig { place, folders }
    }

    fn look(&self, check: &str) -> Vec<Finding> {
        let cluster = Some(self.folders.cluster.clone());
        let host = Host::new(None, cluster, self.folders.registry.clone()).unwrap();
        host.look().into_iter().filter(|found| found.check == check).collect()
    }

    /// Puts right what one check finds, and looks again.
    fn put_right(&self, check: &str) -> Vec<Finding> {
        for mut finding in self.look(check) {
            finding.put_right().unwrap();
        }
        self.look(check)
    }
}

fn levels(found: &[Finding]) -> Vec<Level> {
    found.iter().map(|found| found.level).collect()
}

#[test]
fn a_secret_that_others_may_read_is_made_private() {
    let rig = Rig::new();
    let cookie = rig.folders.cluster.path().join("cookie");
    fs::write(&cookie, "secret").unwrap();
    fs::set_permissions(&cookie, Permissions::from_mode(0o640)).unwrap();
    let found = rig.look("rights");
    assert_eq!(levels(&found), [Level::Problem], "{found:?}");
    assert_eq!(
        found[0].next.as_deref(),
        Some(format!("chmod 600 {}", cookie.display()).as_str())
    );
    assert_eq!(levels(&rig.put_right("rights")), [Level::Ok]);
    assert_eq!(fs::metadata(&cookie).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn stale_and_broken_records_go() {
    let rig = Rig::new();
    let folder = rig.folders.registry.folder().join("c");
    private(&folder);
    let address = "127.0.0.1:7201".parse().unwrap();
    let mut gone = RunningNode::this_process("c", "n1", address, address, "/data".into());
    gone.pid_start = gone.pid_start.map(|start| start + 1);
    let gone = match gone.pid_start {
        Some(_) => gone,
        // Where starts are not told: no process has this number.
        None => RunningNode { pid: u32::MAX, ..gone },
    };
    fs::write(folder.join("n1.json"), serde_json::to_vec(&gone).unwrap()).unwrap();
    fs::write(folder.join("n2.json"), "{").unwrap();
    let found = rig.look("records");
    assert_eq!(levels(&found), [Level::Warning, Level::Problem], "{found:?}");
    assert_eq!(levels(&rig.put_right("records")), [Level::Ok]);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn what_an_interrupted_command_has_left_goes_and_what_was_set_aside_stays() {
    let rig = Rig::new();
    let cluster = rig.folders.cluster.path();
    let (left, aside) = (cluster.join("n1.recovering"), cluster.join("n1.before-recovery-7"));
    private(&left.join("log"));
    private(&aside);
    assert_eq!(levels(&rig.look("leftovers")), [Level::Warning, Level::Warning]);
    let after = rig.put_right("leftovers");
    assert_eq!(levels(&after), [Level::Warning], "{after:?}");
    assert!(!left.exists() && aside.exists());
    // One that a command is at work on stays.
    private(&left);
    let _held = queenright_actors::store::DataFolder::hold(&left, "n1").unwrap();
    let found = rig.look("leftovers");
    assert!(found.iter().all(|found| found.fix.is_none()), "{found:?}");
    drop(rig.place);
}
