use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::thread;

use super::*;

fn node(cluster: &str, name: &str, port: u16) -> RunningNode {
    let address = |port| ([127, 0, 0, 1], port).into();
    RunningNode::this_process(cluster, name, address(port), address(port + 1), PathBuf::from("/data"))
}

#[test]
fn the_root_follows_xdg_and_ignores_relative_paths() {
    let root = |xdg: Option<&str>, home: Option<&str>| root_of(xdg.map(Into::into), home.map(Into::into));
    assert_eq!(root(Some("/x"), Some("/h")), Some("/x/queenright".into()));
    assert_eq!(root(Some("x"), Some("/h")), Some("/h/.local/state/queenright".into()));
    assert_eq!(root(None, Some("/h")), Some("/h/.local/state/queenright".into()));
    assert_eq!(root(Some(""), Some("")), None);
}

#[test]
fn a_data_folder_replaces_the_folder_of_the_cluster() {
    let root = Some(PathBuf::from("/s/queenright"));
    let usual = StateFolders::of(root.clone(), "c", None).unwrap();
    assert_eq!(usual.cluster.node("n1"), Path::new("/s/queenright/clusters/c/n1"));
    assert_eq!(
        usual.cluster.log("n1"),
        Path::new("/s/queenright/clusters/c/logs/n1.log")
    );
    let given = StateFolders::of(root, "c", Some(Path::new("/d"))).unwrap();
    assert_eq!(given.cluster.node("n1"), Path::new("/d/n1"));
    assert_eq!(given.registry.folder(), Path::new("/s/queenright/running"));
    let homeless = StateFolders::of(None, "c", Some(Path::new("/d"))).unwrap();
    assert_eq!(homeless.registry.folder(), Path::new("/d/running"));
    let error = StateFolders::of(None, "c", None).unwrap_err().to_string();
    assert!(error.contains("--data"), "{error}");
}

#[test]
fn all_who_race_for_the_cookie_get_the_same_one() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = ClusterFolder {
        path: folder.path().join("c"),
    };
    let start = Barrier::new(8);
    let race = || {
        start.wait();
        cluster.cookie(None).unwrap()
    };
    let cookies: Vec<Cookie> = thread::scope(|scope| {
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(race)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    });
    assert!(cookies.iter().all(|cookie| *cookie == cookies[0]));
    assert_eq!(cookies[0].as_hex().len(), 64);
    assert_eq!(format!("{:?}", cookies[0]), "Cookie(secret)");
    let mode = fs::metadata(cluster.path.join("cookie")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let left: Vec<_> = fs::read_dir(&cluster.path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["cookie"]);
}

#[test]
fn the_admin_token_is_made_once_for_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = ClusterFolder {
        path: folder.path().join("c"),
    };
    let token = cluster.admin_token().unwrap();
    let secret = fs::read_to_string(token.path()).unwrap();
    assert_eq!(*token.hash(), crate::secret::hash(secret.trim_end()));
    assert_eq!(cluster.admin_token().unwrap().hash(), token.hash());
    assert_eq!(format!("{token:?}"), "AdminToken(secret)");
    let mode = fs::metadata(token.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    fs::write(token.path(), "qr_12\n").unwrap();
    assert!(matches!(cluster.admin_token(), Err(StateError::BadAdminToken { .. })));
}

#[test]
fn a_door_is_reached_as_its_record_says() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::at(folder.path().to_path_buf());
    let everywhere = RunningNode {
        http: ([0, 0, 0, 0], 20).into(),
        ca: Some("/ca".into()),
        ..node("c", "n1", 20)
    };
    let _record = registry.record(everywhere).unwrap();
    assert_eq!(registry.find().unwrap().door().to_string(), "https://127.0.0.1:20");
    let found = |door: &str| registry.with_door(&Door::parse(door).unwrap()).unwrap().is_some();
    assert!(found("127.0.0.1:20") && found("localhost:20") && found("https://127.0.0.1:20"));
    assert!(!found("127.0.0.1:21"));
}

#[test]
fn a_cookie_file_that_holds_something_else_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = ClusterFolder {
        path: folder.path().to_path_buf(),
    };
    fs::write(folder.path().join("cookie"), "0123").unwrap();
    assert!(matches!(cluster.cookie(None), Err(StateError::BadCookie { .. })));
}

#[test]
fn a_cookie_beside_the_certificates_goes_before_that_of_the_host() {
    let (folder, tls) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let cluster = ClusterFolder {
        path: folder.path().to_path_buf(),
    };
    let own = cluster.cookie(Some(tls.path())).unwrap();
    assert_eq!(
        cluster.cookie(None).unwrap(),
        own,
        "there is none beside the certificates"
    );
    fs::write(tls.path().join(Cookie::FILE), Cookie::new_text().unwrap()).unwrap();
    let shared = cluster.cookie(Some(tls.path())).unwrap();
    assert_ne!(shared, own);
    assert_eq!(cluster.cookie(None).unwrap(), own);
    fs::write(tls.path().join(Cookie::FILE), "0123").unwrap();
    assert!(matches!(
        cluster.cookie(Some(tls.path())),
        Err(StateError::BadCookie { .. })
    ));
}

#[test]
fn a_data_folder_below_a_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = ClusterFolder { path: file.join("c") }.create(["n1"]).unwrap_err();
    assert!(error.to_string().ends_with("file/c/logs"), "{error}");
}

#[test]
fn a_record_lives_as_long_as_its_registration() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::at(folder.path().join("running"));
    assert!(matches!(registry.find(), Err(StateError::NothingRunning)));
    let second = registry.record(node("c", "n2", 10)).unwrap();
    let first = registry.record(node("c", "n1", 20)).unwrap();
    assert_eq!(
        registry.running().unwrap(),
        [first.node().clone(), second.node().clone()]
    );
    assert_eq!(registry.find().unwrap().door().url("/v1"), "http://127.0.0.1:20/v1");
    drop(first);
    assert_eq!(registry.find().unwrap().door().to_string(), "http://127.0.0.1:10");
    drop(second);
    assert!(registry.running().unwrap().is_empty());
}

#[test]
fn several_clusters_are_listed_with_a_way_to_choose() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::at(folder.path().to_path_buf());
    let _records = [
        registry.record(node("a", "n1", 10)).unwrap(),
        registry.record(node("b", "n1", 20)).unwrap(),
    ];
    assert_eq!(
        registry.find().unwrap_err().to_string(),
        "several clusters run on this host; choose a node with --node or QUEENRIGHT_NODE: a at http://127.0.0.1:10, b at http://127.0.0.1:20"
    );
}

#[test]
fn records_of_processes_that_are_gone_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::at(folder.path().to_path_buf());
    let mut ended = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
    let gone = RunningNode {
        pid: ended.id(),
        ..node("c", "gone", 10)
    };
    ended.wait().unwrap();
    // The process of this test, but started at another time: a number used again.
    let reused = RunningNode {
        pid_start: Some(1),
        ..node("c", "reused", 20)
    };
    let records = [registry.record(gone).unwrap(), registry.record(reused).unwrap()];
    assert!(registry.running().unwrap().is_empty());
    assert_eq!(fs::read_dir(folder.path().join("c")).unwrap().count(), 0);
    drop(records);
}

#[test]
fn a_late_removal_spares_the_node_that_took_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::at(folder.path().to_path_buf());
    let old = registry.record(node("c", "n1", 10)).unwrap();
    let _new = registry.record(node("c", "n1", 20)).unwrap();
    drop(old);
    assert_eq!(registry.find().unwrap().door().to_string(), "http://127.0.0.1:20");
}

#[test]
fn a_record_is_never_seen_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::at(folder.path().to_path_buf());
    let start = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            start.wait();
            (1..200).for_each(|port| drop(registry.record(node("c", "n1", port)).unwrap()));
        });
        start.wait();
        (0..200).for_each(|_| assert!(registry.running().unwrap().len() <= 1));
    });
}

#[test]
fn a_damaged_record_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("c")).unwrap();
    fs::write(folder.path().join("c/n1.json"), "{").unwrap();
    let error = Registry::at(folder.path().to_path_buf())
        .running()
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("c/n1.json: not the record of a running node"),
        "{error}"
    );
}

#[test]
fn doors_are_hosts_with_ports() {
    let door = |text: &str| {
        Door::parse(text)
            .map(|door| door.to_string())
            .map_err(|error| error.to_string())
    };
    assert_eq!(door("localhost:7201").as_deref(), Ok("http://localhost:7201"));
    assert_eq!(door("http://[::1]:7201/").as_deref(), Ok("http://[::1]:7201"));
    assert_eq!(
        door("https://n1.example.org:7201").as_deref(),
        Ok("https://n1.example.org:7201")
    );
    for wrong in [
        "",
        "7201",
        "localhost",
        ":7201",
        "h:0",
        "h:99999",
        "::1",
        "http://h:1/v1",
        "a b:1",
        "u@h:1",
    ] {
        let expected =
            format!("node {wrong:?} is no address (expected host:port, http://host:port or https://host:port)");
        assert_eq!(door(wrong), Err(expected));
    }
}
