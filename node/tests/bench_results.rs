//! Results of `queenright bench`: what is kept of a sitting, also of one that is broken off, and what comparing says.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use queenright::state::Registry;
use queenright_bench::conditions::Build;
use queenright_bench::report::{Report, Row};
use queenright_bench::results::Results;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::colony::{Ran, Slot, nobody_holds, queenright, refused, until};

fn bench(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = queenright(folder);
    command.current_dir(folder).arg("bench").args(arguments);
    command
}

/// A file of results with these rows of one workload.
fn kept(folder: &Path, name: &str, rows: Vec<Row>) -> PathBuf {
    let mut report = Report::begin("B3", "made for a test", folder);
    report.rows = rows;
    let path = folder.join(name);
    Results::new(vec![report]).write(&path).unwrap();
    path
}

fn rate(value: f64, repeats: [f64; 3]) -> Row {
    Row::new("put rate", value, "puts/s", 3).repeats(repeats)
}

#[test]
fn a_sitting_is_kept_and_is_no_worse_than_itself() {
    let folder = tempfile::tempdir().unwrap();
    let run = [
        "run",
        "B7",
        "B17",
        "--repeats",
        "3",
        "--json",
        "--out",
        "r.json",
        "--data",
        "data",
    ];
    let ran = Ran::of(&mut bench(folder.path(), &run)).with_code(0);
    assert!(ran.stderr.contains("running B17 (2 of 2): "), "{ran}");
    let printed: Vec<Report> = String::from_utf8(ran.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let results = Results::read(&folder.path().join("r.json")).unwrap();
    assert_eq!(results.reports, printed);
    let ids: Vec<&str> = printed.iter().map(|report| report.workload.as_str()).collect();
    assert_eq!(ids, ["B7", "B17"]);
    let timed = printed[0].rows.iter().find(|row| row.unit == "µs").unwrap();
    assert_eq!((timed.repeats.len(), timed.samples), (3, 3));

    let ran = Ran::of(&mut bench(folder.path(), &["compare", "r.json", "r.json", "--json"])).with_code(0);
    let compared: Value = ran.json();
    let lines = compared["lines"].as_array().unwrap();
    let rows: usize = printed.iter().map(|report| report.rows.len()).sum();
    assert_eq!(lines.len(), rows);
    assert!(
        lines
            .iter()
            .all(|line| matches!(line["verdict"].as_str(), Some("same" | "shown")))
    );
}

#[test]
fn what_ended_before_ctrl_c_is_kept_and_no_node_is_left() {
    let _slot = Slot::take();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let run = [
        "run",
        "B7",
        "B3",
        "B8",
        "--repeats",
        "1",
        "--json",
        "--out",
        "r.json",
        "--data",
        "data",
    ];
    let mut child = bench(folder.path(), &run)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let rig = data.join(format!("b3-{}-0", child.id()));
    until("the nodes of the second workload", || {
        let running = Registry::at(rig.join("registry/queenright/running")).running();
        running.is_ok_and(|running| !running.is_empty()).then_some(())
    });
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    let said: Vec<String> = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{said:?}");
    let last: Value = serde_json::from_str(said.last().unwrap()).unwrap();
    assert_eq!(last["code"], "INTERRUPTED", "{said:?}");
    let message = last["message"].as_str().unwrap();
    assert!(
        message.contains("SIGINT during B3; 1 ended and are in r.json"),
        "{message}"
    );
    assert!(nobody_holds(&data), "a node is left");
    assert_eq!(std::fs::read_dir(&data).unwrap().count(), 0);
    let results = Results::read(&folder.path().join("r.json")).unwrap();
    let ids: Vec<&str> = results.reports.iter().map(|report| report.workload.as_str()).collect();
    assert_eq!(ids, ["B7"]);
}

#[test]
fn all_names_its_file_and_its_page_and_leaves_out_what_has_no_repository() {
    let folder = tempfile::tempdir().unwrap();
    let all = ["all", "--only", "B16,B7", "--repeats", "2", "--json", "--data", "data"];
    let ran = Ran::of(&mut bench(folder.path(), &all)).with_code(0);
    let summary: Value = ran.json();
    let file = summary["file"].as_str().unwrap();
    assert!(
        file.starts_with("queenright-bench-") && file.ends_with("Z.json"),
        "{file}"
    );
    let page = std::fs::read_to_string(folder.path().join(summary["page"].as_str().unwrap())).unwrap();
    assert!(page.contains("<svg") && page.contains("B7"), "{page}");
    let reports = Results::read(&folder.path().join(file)).unwrap().reports;
    assert_eq!(reports.len(), 1);
    // Two repeats say nothing of noise: it was run again.
    assert_eq!(reports[0].config["runs"], 2);
    let timed = reports[0].rows.iter().find(|row| row.unit == "µs").unwrap();
    assert_eq!((timed.repeats.len(), timed.samples), (4, 4));
    let workloads = summary["workloads"].as_array().unwrap();
    assert_eq!(workloads[0]["workload"], "B7");
    assert!(workloads[0]["rows"].as_u64().unwrap() > 0);
    let why = workloads[1]["left_out"].as_str().unwrap();
    assert!(why.contains("no --repo"), "{why}");
    let none = ["all", "--only", "B16", "--repo", "none"];
    assert!(refused(&mut bench(folder.path(), &none), 2).contains("--repo none: "));
}

#[test]
fn a_baseline_is_kept_under_the_name_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("bench/results")).unwrap();
    let all = [
        "all",
        "--only",
        "B7",
        "--repeats",
        "1",
        "--json",
        "--baseline",
        "--data",
        "data",
    ];
    let summary: Value = Ran::of(&mut bench(folder.path(), &all)).with_code(0).json();
    let file = folder.path().join(summary["file"].as_str().unwrap());
    assert!(summary["page"].is_null(), "{summary}");
    let conditions = Results::read(&file).unwrap().reports.remove(0).conditions;
    assert_eq!(
        file,
        folder.path().join("bench/results").join(conditions.baseline_name())
    );
}

#[test]
fn what_is_worse_and_what_is_missing_fail_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let memory = || Row::new("resident memory", 50.0, "MiB", 1);
    kept(folder, "a.json", vec![rate(1000.0, [990.0, 1000.0, 1010.0]), memory()]);
    kept(
        folder,
        "slower.json",
        vec![rate(800.0, [790.0, 800.0, 810.0]), memory()],
    );
    kept(folder, "noisy.json", vec![rate(800.0, [700.0, 800.0, 990.0]), memory()]);
    kept(folder, "fewer.json", vec![rate(1000.0, [990.0, 1000.0, 1010.0])]);
    let compare = |other: &str, more: &[&str], code| {
        let mut command = bench(folder, &["compare", "a.json", other]);
        Ran::of(command.args(more)).with_code(code)
    };
    let ran = compare("slower.json", &["--json"], 1);
    let line = &ran.json()["lines"][0];
    assert_eq!((&line["verdict"], &line["rule"]), (&"worse".into(), &"interval".into()));
    assert!(
        ran.stderr.contains("REGRESSION") && ran.stderr.contains("put rate"),
        "{ran}"
    );
    compare("slower.json", &["--throughput", "25%"], 0);
    compare("slower.json", &["--threshold", "25"], 0);
    let ran = compare("noisy.json", &[], 0);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("unclear"), "{ran}");
    let ran = compare("fewer.json", &["--json"], 1);
    assert!(
        ran.stderr.contains("ROWS_MISSING") && ran.stderr.contains("resident memory"),
        "{ran}"
    );
}

#[test]
fn what_cannot_be_compared_is_refused_with_its_name_and_its_bound() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let a = kept(folder, "a.json", vec![rate(1.0, [1.0, 1.0, 1.0])]);
    let refuse = |arguments: &[&str], said: &str| {
        let line = refused(&mut bench(folder, arguments), 2);
        assert!(line.contains(said), "{line}");
    };
    let two = ["compare", "a.json", "a.json"];
    refuse(&[&two[..], &["--threshold", "0%"]].concat(), "from 0.01% to 100%");
    refuse(&[&two[..], &["--memory", "lots"]].concat(), "'lots' for '--memory");
    refuse(&[&two[..], &["--only", "B8"]].concat(), "nothing to compare");
    refuse(&["compare", "a.json", "none.json"], "cannot read none.json");
    std::fs::write(folder.join("bad.json"), "{}").unwrap();
    refuse(&["compare", "bad.json", "a.json"], "bad.json holds no results");
    refuse(&["run", "B7", "--out", "none/r.json"], "--out none/r.json");
    refuse(&["all", "--only", "B99"], "B99");
    let mut other = Results::read(&a).unwrap();
    other.reports[0].conditions.build = match other.reports[0].conditions.build {
        Build::Debug => Build::Release,
        Build::Release => Build::Debug,
    };
    other.write(&folder.join("other.json")).unwrap();
    refuse(&["compare", "a.json", "other.json"], "--force");
    let ran = Ran::of(&mut bench(folder, &["compare", "a.json", "other.json", "--force"])).with_code(0);
    assert!(ran.stderr.contains("warning: other conditions: build: "), "{ran}");
}

#[test]
fn a_trend_follows_rows_over_files_in_order_of_time() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (name, started_at_ms, value) in [("new.json", 2_000, 150.0), ("old.json", 1_000, 100.0)] {
        let rows = vec![rate(value, [value; 3]), Row::new("put latency", 1.0, "µs", 1)];
        let path = kept(folder, name, rows);
        let mut results = Results::read(&path).unwrap();
        results.reports[0].started_at_ms = started_at_ms;
        results.write(&path).unwrap();
    }
    let trend = ["trend", "new.json", "old.json", "--workload", "B3", "--row", "rate"];
    let ran = Ran::of(bench(folder, &trend).arg("--json")).with_code(0).json();
    assert_eq!(ran["sittings"][0]["file"], "old.json");
    assert_eq!(ran["rows"].as_array().unwrap().len(), 1);
    assert_eq!(ran["rows"][0]["points"][1]["change"], 0.5);
    let ran = Ran::of(&mut bench(folder, &trend)).with_code(0);
    assert!(String::from_utf8_lossy(&ran.stdout).contains("+50.0 %"), "{ran}");
    let none = Ran::of(&mut bench(folder, &["trend", "new.json", "--row", "nothing like it"]));
    none.with_code(5);
}
