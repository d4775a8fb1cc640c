//! A running cluster is put under load, and nothing is left in it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use queenright_bench::client::ProjectQuery;
use queenright_bench::report::Report;
use queenright_bench::rig::{Rig, block_on};
use queenright_bench::{BenchError, Options};
use rustix::process::{Pid, Signal, kill_process};

/// How long what is destroyed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

fn options(data: &std::path::Path) -> Options {
    Options {
        program: env!("CARGO_BIN_EXE_queenright").into(),
        ..Options::full(data.to_owned())
    }
}

fn drive(rig: &Rig, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_queenright"));
    command.args(["bench", "drive", "--config"]).arg(rig.file());
    command.args(["--agents", "6", "--json"]).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// The agents of a load that live on any node.
async fn agents(rig: &Rig) -> Result<Vec<String>, BenchError> {
    let mut all = Vec::new();
    for node in rig.nodes() {
        let listed = node.client.agents().await.unwrap();
        let live = listed.into_iter().filter(|agent| agent.state.is_live());
        all.extend(live.map(|agent| agent.name).filter(|name| name.starts_with("drive")));
    }
    Ok(all)
}

/// No agent of the load lives, and its projects go.
async fn nothing_is_left(rig: &Rig) -> Result<(), BenchError> {
    assert_eq!(agents(rig).await?, [""; 0]);
    let started = Instant::now();
    loop {
        let listed = rig.nodes()[0].client.projects(&ProjectQuery::default()).await.unwrap();
        let projects = serde_json::to_string(&listed).unwrap();
        if !projects.contains("drive") {
            return Ok(());
        }
        assert!(started.elapsed() < GONE_WITHIN, "{projects}");
        tokio::time::sleep(POLL).await;
    }
}

#[test]
fn a_running_cluster_is_driven_and_nothing_is_left_in_it() {
    let data = tempfile::tempdir().unwrap();
    let options = options(data.path());
    block_on(async {
        let rig = Rig::start(&options, "drive").await?;
        let ran = drive(&rig, &["--rates", "300", "--seconds", "0.3"]).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        let report: Report = serde_json::from_slice(&ran.stdout).unwrap();
        for name in [
            "mesh: closed loop: goodput",
            "mesh: at 300/s: to send to target and back",
            "mesh: puts: commit latency",
            "mesh: tasks: claim latency",
        ] {
            let row = report.rows.iter().find(|row| row.name == name);
            assert!(row.is_some_and(|row| row.value > 0.0), "{name}\n{report}");
        }
        let lost = report
            .rows
            .iter()
            .filter_map(|row| row.counts)
            .map(|counts| counts.lost);
        assert_eq!(lost.sum::<u64>(), 0, "{report}");
        nothing_is_left(&rig).await?;
        rig.stop().await
    })
    .unwrap();
}

#[test]
fn a_drive_that_is_interrupted_leaves_nothing_in_the_cluster() {
    let data = tempfile::tempdir().unwrap();
    let options = options(data.path());
    block_on(async {
        let rig = Rig::start(&options, "drive").await?;
        let mut child = drive(&rig, &["--rates", "100", "--seconds", "60"]).spawn().unwrap();
        let started = Instant::now();
        while agents(&rig).await.unwrap().len() < 6 {
            assert!(started.elapsed() < GONE_WITHIN, "no agents were started");
            tokio::time::sleep(POLL).await;
        }
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1));
        nothing_is_left(&rig).await?;
        rig.stop().await
    })
    .unwrap();
}

#[test]
fn what_cannot_be_driven_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let options = options(data.path());
    block_on(async {
        let rig = Rig::start(&options, "drive").await?;
        for (arguments, expected) in [
            (["--agents", "193"], "--agents: 193 is not 2 to 192"),
            (["--payload", "1"], "--payload: 1 is not 41 to 1048576"),
        ] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_queenright"));
            let node = rig.nodes()[1].client.base_url().trim_start_matches("http://");
            let ran = command
                .args(["bench", "drive", "--node", node])
                .args(arguments)
                .output();
            let ran = ran.unwrap();
            let said = String::from_utf8_lossy(&ran.stderr);
            assert_eq!(ran.status.code(), Some(2), "{said}");
            assert!(said.contains(expected), "{said}");
        }
        rig.stop().await
    })
    .unwrap();
}
