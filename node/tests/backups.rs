//! Backups of a running cluster and of a stopped node, a new cluster from one, and projects as lines of JSON.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::colony::{Colony, NODES, Ran, queenright, until};

/// How far positions jump at least.
const JUMP: u64 = 1_000_000_000_000;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `queenright restore` of a backup for a cluster file.
fn restore(state: &Path, backup: &Path, config: &Path, data: &Path, flags: &[&str]) -> Ran {
    let mut command = queenright(state);
    command.args([
        "restore",
        text(backup),
        "--json",
        "--config",
        text(config),
        "--data",
        text(data),
    ]);
    Ran::of(command.args(flags))
}

fn value(colony: &Colony, node: &str, key: &str) -> Vec<u8> {
    colony.at(node, &["memory", "get", key]).with_code(0).stdout
}

/// The lines of an export, by the text that names them.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_backup_of_a_running_cluster_begins_another_one() {
    let mut colony = Colony::start("backed-up");
    let place = colony.folder().to_owned();
    let binary: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
    let file = place.join("binary");
    fs::write(&file, &binary).unwrap();
    colony.at("n1", &["memory", "put", "text", "hello"]).with_code(0);
    colony
        .at("n2", &["memory", "put", "binary", "--file", text(&file)])
        .with_code(0);
    let added = colony.at("n3", &["task", "add", "work", "--json"]).with_code(0).json();
    let task = added["tasks"][0]["task"].as_str().unwrap().to_owned();
    colony
        .at("n1", &["token", "create", "--name", "reader", "--scope", "read"])
        .with_code(0);

    let backup = place.join("b.qrb");
    let made = colony
        .at("n2", &["backup", text(&backup), "--json"])
        .with_code(0)
        .json();
    assert_eq!(
        (&made["cluster"], &made["node"]),
        (&"backed-up".into(), &"n2".into()),
        "{made}"
    );
    assert_eq!(made["bytes"].as_u64().unwrap(), fs::metadata(&backup).unwrap().len());
    assert_eq!(made["certain_seq"], made["seq"]);
    let refused = colony.at("n2", &["backup", text(&backup)]).with_code(3);
    assert!(refused.stderr.contains("is there already"), "{refused}");
    // What comes later is not in it.
    colony.at("n1", &["memory", "put", "text", "later"]).with_code(0);

    // The data of the running cluster is in no danger, and a broken file makes nothing.
    let file = colony.config().file.clone();
    let data = place.join("data");
    let refused = restore(&place, &backup, &file, &data, &[]).with_code(3);
    assert!(refused.stderr.contains("node n1 has something"), "{refused}");
    let broken = place.join("broken.qrb");
    let mut bytes = fs::read(&backup).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&broken, &bytes).unwrap();
    bytes[middle] ^= 1;
    let empty = place.join("empty");
    for name in ["broken.qrb", "binary", "nothing"] {
        let refused = restore(&place, &place.join(name), &file, &empty, &[]).with_code(1);
        assert!(refused.stderr.contains(name), "{refused}");
        assert!(!empty.exists());
    }
    let looked = restore(&place, &backup, &file, &empty, &["--dry-run"])
        .with_code(0)
        .json();
    assert_eq!(
        (&looked["restored"], &looked["blake3"]),
        (&false.into(), &made["blake3"])
    );
    assert!(!empty.exists());
    let refused = restore(&place, &backup, &file, &empty, &["--name", "n9"]).with_code(1);
    assert!(refused.stderr.contains("n9"), "{refused}");

    // Without a quorum the node still tells what it knows; without a process its folder does.
    colony.kill("n1");
    colony.kill("n3");
    let local = place.join("local.qrb");
    let alone = colony
        .at("n2", &["backup", text(&local), "--local", "--json"])
        .with_code(0)
        .json();
    assert!(alone["seq"].as_u64() > made["seq"].as_u64(), "{alone}");
    let offline = place.join("offline.qrb");
    let from = [
        "backup",
        text(&offline),
        "--from",
        "n2",
        "--config",
        text(&file),
        "--data",
        text(&data),
        "--json",
    ];
    let mut command = colony.command();
    let refused = Ran::of(command.args(from).stdin(Stdio::null())).with_code(3);
    assert!(
        refused.stderr.contains("node n2 runs") && !offline.exists(),
        "{refused}"
    );
    colony.kill("n2");
    let mut command = colony.command();
    let stopped = Ran::of(command.args(from)).with_code(0).json();
    assert!(stopped["seq"].as_u64() >= alone["seq"].as_u64(), "{stopped}");
    drop(colony);

    // Another cluster, on other ports, that begins at another node.
    let mut restored = Value::Null;
    let another = Colony::start_prepared("brought-back", |config, data| {
        let folder = data.parent().unwrap();
        let kept = folder.join("kept.qrb");
        fs::write(&kept, &bytes).unwrap();
        let written = config.clone().write_to(folder).unwrap();
        let ran = restore(folder, &kept, &written.file, data, &["--name", "n2"]);
        restored = ran.with_code(0).json();
    });
    assert_eq!(restored["cluster_id"], made["cluster_id"]);
    assert_ne!(restored["to"]["cluster_id"], made["cluster_id"]);
    assert!(restored["to"]["seq"].as_u64().unwrap() >= made["seq"].as_u64().unwrap() + JUMP);
    let status = until("the node tells of the cluster", || another.status("n2"));
    assert_eq!(status.cluster_id.as_deref(), restored["to"]["cluster_id"].as_str());
    another.same_digest();
    for node in NODES {
        assert_eq!(value(&another, node, "text"), b"hello");
        assert_eq!(value(&another, node, "binary"), binary);
    }
    let shown = another.at("n3", &["task", "show", &task, "--json"]).with_code(0).json();
    assert_eq!(shown["title"], "work");
    let claimed = another
        .at("n1", &["task", "claim", &task, "--json"])
        .with_code(0)
        .json();
    assert!(
        claimed["tasks"][0]["fence"].as_u64() > restored["to"]["seq"].as_u64(),
        "{claimed}"
    );
    let tokens = another.at("n1", &["token", "list", "--json"]).with_code(0).json();
    assert!(tokens.to_string().contains("reader"), "{tokens}");
}

#[test]
fn a_project_goes_out_as_lines_and_comes_into_another_one_once() {
    let colony = Colony::start("exported");
    let at = |arguments: &[&str]| colony.at("n2", arguments);
    let place: PathBuf = colony.folder().to_owned();
    at(&["memory", "put", "a", "1", "--tag", "t", "--project", "p"]).with_code(0);
    at(&["memory", "put", "b", "2", "--project", "p"]).with_code(0);
    at(&["memory", "put", "gone", "3", "--project", "p"]).with_code(0);
    at(&["memory", "delete", "gone", "--project", "p"]).with_code(0);
    at(&[
        "task",
        "add",
        "first",
        "--name",
        "one",
        "--priority",
        "high",
        "--project",
        "p",
    ])
    .with_code(0);
    at(&["task", "add", "second", "--need", "one", "--project", "p"]).with_code(0);
    let ended = at(&["task", "add", "third", "--json", "--project", "p"])
        .with_code(0)
        .json();
    let ended = ended["tasks"][0]["task"].as_str().unwrap().to_owned();
    at(&["task", "cancel", &ended, "--project", "p"]).with_code(0);

    let file = place.join("p.jsonl");
    let made = at(&["export", text(&file), "--project", "p", "--json"])
        .with_code(0)
        .json();
    assert_eq!((&made["memory"], &made["tasks"]), (&2.into(), &3.into()), "{made}");
    let written = lines(&file);
    assert_eq!(written.len(), 1 + 2 + 3 + 1);
    assert_eq!((&written[1]["key"], &written[1]["value"]), (&"a".into(), &"1".into()));
    let stdout = at(&["export", "-", "--project", "p"]).with_code(0).stdout;
    assert_eq!(stdout.split(|byte| *byte == b'\n').count(), written.len() + 1);
    at(&["export", text(&place.join("none.jsonl")), "--project", "none"]).with_code(1);
    assert!(!place.join("none.jsonl").exists());

    // A file that is cut off writes nothing.
    let cut = place.join("cut.jsonl");
    let whole = fs::read_to_string(&file).unwrap();
    fs::write(&cut, &whole[..whole.len() - 40]).unwrap();
    let refused = at(&["import", text(&cut), "--project", "q"]).with_code(1);
    assert!(refused.stderr.contains("nothing was written"), "{refused}");

    at(&["memory", "put", "b", "other", "--project", "q"]).with_code(0);
    let dry = at(&["import", text(&file), "--project", "q", "--dry-run", "--json"])
        .with_code(0)
        .json();
    assert_eq!((&dry["memory"]["added"], &dry["dry_run"]), (&1.into(), &true.into()));
    let first = at(&["import", text(&file), "--project", "q", "--json"])
        .with_code(0)
        .json();
    let expected = serde_json::json!({
        "settings": {"added": 0, "replaced": 0, "same": 0, "kept": 0},
        "memory": {"added": 1, "replaced": 0, "same": 0, "kept": 1},
        "tasks": {"added": 2, "existing": 0, "ended": 1, "needs_dropped": 0},
        "dry_run": false,
    });
    assert_eq!(first, expected);
    let again = at(&["import", text(&file), "--project", "q", "--overwrite", "--json"])
        .with_code(0)
        .json();
    let expected = serde_json::json!({
        "settings": {"added": 0, "replaced": 0, "same": 0, "kept": 0},
        "memory": {"added": 0, "replaced": 1, "same": 1, "kept": 0},
        "tasks": {"added": 0, "existing": 2, "ended": 1, "needs_dropped": 0},
        "dry_run": false,
    });
    assert_eq!(again, expected);
    let list = at(&["task", "list", "--project", "q", "--json"]).with_code(0).json();
    let states = |state: &str| list["states"][state].as_u64().unwrap_or_default();
    assert_eq!((states("pending"), states("blocked")), (1, 1), "{list}");
    let keys = at(&["memory", "list", "--project", "q", "--json"]).with_code(0).json();
    assert_eq!(keys["keys"][0]["tags"][0], "t", "{keys}");
}

#[test]
fn the_settings_of_a_project_go_along_and_start_nothing() {
    let colony = Colony::start("settings-exported");
    let at = |line: &[&str]| colony.at("n2", line);
    let in_p = |line: &[&str]| at(&[line, &["--project", "p"]].concat()).with_code(0);
    in_p(&["rate", "set", "claude", "50/min", "--burst", "9"]);
    in_p(&["reserve", "slots", "gpu", "4"]);
    in_p(&["budget", "set", "queue:review", "--tokens", "1000"]);
    in_p(&[
        "queue",
        "set",
        "review",
        "--paused",
        "true",
        "--breaker-failures",
        "3",
        "--policy",
        "least-loaded",
    ]);
    let needs_the_rate = [
        "task",
        "add",
        "ask",
        "--name",
        "ask",
        "--queue",
        "review",
        "--resource",
        "rate:claude=2",
    ];
    in_p(&needs_the_rate);
    let set = [
        "pool",
        "set",
        "crew",
        "--project",
        "p",
        "--queue",
        "review",
        "--max",
        "2",
        "--environment",
        "KEY=secret",
    ];
    Ran::of(colony.command_at("n2", &set).args(["--", "true"])).with_code(0);

    let file = colony.folder().join("p.jsonl");
    let made = at(&["export", text(&file), "--project", "p", "--json"])
        .with_code(0)
        .json();
    assert_eq!((&made["settings"], &made["tasks"]), (&5.into(), &1.into()), "{made}");
    assert!(!fs::read_to_string(&file).unwrap().contains("secret"));

    // Into a project that is not there, in a cluster where the pool works for the first one.
    let import = ["import", text(&file), "--project", "q", "--json"];
    let dry = at(&[&import[..], &["--dry-run"]].concat()).with_code(0).json();
    let first = at(&import).with_code(0).json();
    let expected = serde_json::json!({"added": 4, "replaced": 0, "same": 0, "kept": 1});
    assert_eq!((&dry["settings"], &first["settings"]), (&expected, &expected));
    assert_eq!(at(&import).with_code(0).json()["settings"]["same"], 4);
    let back = colony.folder().join("q.jsonl");
    at(&["export", text(&back), "--project", "q"]).with_code(0);
    let settings = |file: &Path| {
        let settings = lines(file)
            .into_iter()
            .filter(|line| line["type"] == "setting" && line["of"] != "pool");
        settings.collect::<Vec<_>>()
    };
    assert_eq!(settings(&back), settings(&file));
    at(&["task", "claim", "--queue", "review", "--project", "q"]).with_code(5);

    // What is otherwise stays so, unless it is to be overwritten.
    at(&["rate", "set", "claude", "2/s", "--project", "q"]).with_code(0);
    assert_eq!(at(&import).with_code(0).json()["settings"]["kept"], 2);
    let over = at(&[&import[..], &["--overwrite"]].concat()).with_code(0).json();
    assert_eq!(
        (&over["settings"]["replaced"], &over["settings"]["kept"]),
        (&1.into(), &1.into())
    );
    let rate = at(&["rate", "show", "claude", "--project", "q", "--json"])
        .with_code(0)
        .json();
    assert_eq!((&rate["tokens"], &rate["burst"]), (&50.into(), &9.into()));

    // The pool comes too where its name is free: drained, and it says what is missing.
    at(&["pool", "remove", "crew"]).with_code(0);
    let said = at(&["import", text(&file), "--project", "q"]).with_code(0);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains("`queenright pool undrain crew`") && said.contains("environment"),
        "{said}"
    );
    let pools = at(&["pool", "list", "--json"]).with_code(0).json();
    let pool = &pools["pools"][0];
    assert_eq!(
        (&pool["drained"], &pool["settings"]["project"]),
        (&true.into(), &"q".into()),
        "{pools}"
    );

    // An export of the first format has no settings, and is read.
    let old = colony.folder().join("old.jsonl");
    let whole = fs::read_to_string(&file).unwrap();
    let without = whole.lines().filter(|line| !line.contains("\"setting\""));
    let without: Vec<String> = without
        .map(|line| {
            line.replace("\"format\":2", "\"format\":1")
                .replace(",\"settings\":5", "")
        })
        .collect();
    fs::write(&old, without.join("\n") + "\n").unwrap();
    let again = at(&["import", text(&old), "--project", "q", "--json"])
        .with_code(0)
        .json();
    assert_eq!(again["tasks"]["existing"], 1, "{again}");
}
