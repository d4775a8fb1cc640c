//! Cluster files, good and bad, through the real binary.

use std::fs;
use std::path::{Path, PathBuf};

use crate::colony::{queenright, refused};

const MESH: &str = "[cluster]\nname = \"c\"\ntopology = \"mesh\"\n\
    [[nodes]]\nname = \"n1\"\nlinks = \"127.0.0.1:7101\"\nhttp = \"127.0.0.1:7201\"\n";

/// A folder with a file `c.toml` in it.
fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    fs::write(&file, text).unwrap();
    (folder, file)
}

#[test]
fn a_good_file_is_summed_up_in_one_line() {
    let (folder, _) = written(MESH);
    let output = queenright(folder.path())
        .current_dir(folder.path())
        .args(["config", "check", "c.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let line = "c.toml: ok: c: mesh of 1 node, heartbeat 250 ms, election 1000 to 2000 ms\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), line);
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "a check leaves nothing behind"
    );
}

#[test]
fn a_bad_file_ends_every_command_with_the_same_line() {
    let (folder, _) = written(&MESH.replace("127.0.0.1:7101", "10.0.0.3"));
    let line = "error: c.toml: nodes[0].links: \"10.0.0.3\" has no port (expected host:port)";
    for arguments in [
        &["config", "check", "c.toml"][..],
        &["up", "c.toml"],
        &["node", "--config", "c.toml", "--name", "n1"],
    ] {
        let mut command = queenright(folder.path());
        assert_eq!(refused(command.current_dir(folder.path()).args(arguments), 1), line);
    }
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "a bad file leaves nothing behind"
    );
}

#[test]
fn every_way_of_being_wrong_is_one_line_that_names_the_file() {
    let cases = [
        ("", "c.toml: cluster: missing"),
        ("[cluster", "c.toml:1:9: unclosed table, expected `]`"),
        ("\u{feff}\0", "c.toml:1:3: key with no value"),
        (
            &MESH.replace("mesh", "mish"),
            "c.toml: cluster.topology: \"mish\" is no topology",
        ),
        (
            &format!("{MESH}[limits]\nvalue_byte = 1\n"),
            "c.toml: unknown key \"value_byte\" in [limits]",
        ),
        (
            &MESH.replace("127.0.0.1:7101", "10.0.0.3:7101"),
            "c.toml: nodes[0].links: \"10.0.0.3:7101\" is not a loopback",
        ),
    ];
    for (text, expected) in cases {
        let (folder, file) = written(text);
        let line = refused(queenright(folder.path()).args(["config", "check"]).arg(&file), 1);
        let shown = line.replace(&format!("{}/", folder.path().display()), "");
        assert!(shown.starts_with(&format!("error: {expected}")), "{shown}");
    }
}

#[test]
fn files_that_are_no_text_or_absent_are_refused() {
    let (folder, file) = written("");
    fs::write(&file, [0xff, 0xfe]).unwrap();
    let check = |path: &Path| refused(queenright(folder.path()).args(["config", "check"]).arg(path), 1);
    assert!(check(&file).ends_with("not UTF-8 text, so not TOML"));
    assert!(check(&folder.path().join("absent")).contains("absent: cannot be read: No such file"));
    assert!(check(folder.path()).contains("cannot be read: Is a directory"));
    fs::write(&file, vec![b'#'; 2 << 20]).unwrap();
    assert!(check(&file).ends_with("so not a cluster file"));
}

#[test]
fn with_json_the_error_is_one_object() {
    let (folder, file) = written("[cluster");
    let line = refused(
        queenright(folder.path()).args(["--json", "config", "check"]).arg(&file),
        1,
    );
    let error: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(error["code"], "INVALID_CONFIG");
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .ends_with("c.toml:1:9: unclosed table, expected `]`")
    );
    let usage = refused(queenright(folder.path()).args(["config", "frob", "--json"]), 2);
    let error: serde_json::Value = serde_json::from_str(&usage).unwrap();
    assert_eq!(error["code"], "USAGE");
}

#[test]
fn a_node_must_be_in_the_file() {
    let (folder, file) = written(MESH);
    let line = refused(
        queenright(folder.path())
            .args(["node", "--name", "n2", "--config"])
            .arg(&file),
        1,
    );
    assert!(line.ends_with("c.toml: no node named \"n2\" (there are: n1)"), "{line}");
}

#[test]
fn state_needs_a_folder() {
    let (folder, file) = written(MESH);
    let mut homeless = queenright(folder.path());
    let line = refused(
        homeless
            .env_remove("XDG_STATE_HOME")
            .env_remove("HOME")
            .arg("up")
            .arg(&file),
        1,
    );
    assert!(line.contains("--data DIR"), "{line}");
    let below_a_file = file.join("data");
    let line = refused(
        queenright(folder.path())
            .arg("up")
            .arg(&file)
            .arg("--data")
            .arg(&below_a_file),
        1,
    );
    assert!(
        line.contains("cannot make the folder") && line.ends_with("Not a directory (os error 20)"),
        "{line}"
    );
}

#[test]
fn the_readme_lists_the_exit_codes_as_they_are() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    for (exit, meaning) in queenright::exit::Exit::TABLE {
        assert!(
            readme.contains(&format!("\n| {} | {meaning} |\n", exit.code())),
            "{exit:?}"
        );
    }
}

#[test]
fn every_setting_is_shown_with_who_says_it() {
    let (folder, _) = written(&(MESH.to_owned() + "[limits]\nvalue_bytes = \"1 MiB\"\n"));
    let show = |flags: &[&str]| {
        let mut command = queenright(folder.path());
        command
            .current_dir(folder.path())
            .args(["config", "show", "c.toml"])
            .args(flags);
        let output = command.env("QUEENRIGHT_NODE", "10.0.0.1:7201").output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).unwrap()
    };
    let shown: serde_json::Value = serde_json::from_str(&show(&["--json", "--data", "d"])).unwrap();
    let check = |key: &str, origin: &str, by: Option<&str>| {
        let settings = shown["settings"].as_array().unwrap();
        let setting = settings.iter().find(|setting| setting["key"] == key).unwrap();
        assert_eq!(
            (setting["origin"].as_str(), setting["by"].as_str()),
            (Some(origin), by),
            "{setting}"
        );
    };
    check("limits.value_bytes", "file", Some("c.toml"));
    check("limits.command_bytes", "default", None);
    check("consensus.voters", "default", None);
    check("state.folder", "flag", Some("--data"));
    check("command.node", "environment", Some("QUEENRIGHT_NODE"));
    check("command.ca", "default", None);
    assert!(show(&["--origin"]).contains("limits.value_bytes"));
    // Without origins it is a file that says everything.
    let whole = show(&[]);
    queenright::config::ClusterConfig::parse(Path::new("c.toml"), &whole).unwrap();
    assert!(whole.contains("command_bytes"));
}
