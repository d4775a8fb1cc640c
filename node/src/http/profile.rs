//! Where this node spends its time, as a flame graph: what `perf` samples of its process.

use std::io::{self, BufReader, ErrorKind};
use std::process::Stdio;
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use queenright_bench::client::wire::{Code, Problem};
use queenright_bench::profile::{ProfileError, flame_graph};
use tokio::process::Command;
use tokio::sync::Semaphore;

use super::Door;
use super::call::Call;
use super::problem::Refused;

/// How long is sampled, in seconds, and how long unless it is said.
const SECONDS: (u64, u64) = (60, 10);
/// How long perf may take besides: it follows the stacks afterwards, which takes about as long as some minutes of samples.
const BESIDES: Duration = Duration::from_secs(120);
/// Samples a second and processor: apart from the round numbers that timers have.
const SAMPLES_PER_SECOND: &str = "99";
/// One at a time: each costs the node some hundredths of its time.
static PROFILES: Semaphore = Semaphore::const_new(1);

/// `GET /debug/profile`
pub(super) async fn profile(State(door): State<Door>, mut call: Call) -> Result<Response, Refused> {
    let (most, usual) = SECONDS;
    let seconds = call.number("seconds", 1..=most)?.unwrap_or(usual);
    call.caller()?;
    let _alone = PROFILES.try_acquire().map_err(|_| {
        let problem = Problem::new(Code::Busy, "this node is being profiled: one at a time");
        problem.retry_after(seconds * 1_000)
    })?;
    let title = match door.backend.node() {
        Some(node) => format!("{}: {seconds} s", node.name()),
        None => format!("{seconds} s"),
    };
    let drawn = tokio::time::timeout(Duration::from_secs(seconds) + BESIDES, sample(seconds, title)).await;
    let drawn = drawn.map_err(|_| unavailable("perf did not end in time"))?;
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        // Its own script unfolds it; nothing else is to run, and it is of no site.
        (
            header::CONTENT_SECURITY_POLICY,
            "sandbox allow-scripts; default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'",
        ),
    ];
    Ok((headers, drawn?).into_response())
}

async fn sample(seconds: u64, title: String) -> Result<Vec<u8>, Refused> {
    let folder = tempfile::tempdir().map_err(|error| unavailable(format!("there is no room for samples: {error}")))?;
    let samples = folder.path().join("perf.data");
    let recorded = Command::new("perf")
        .args([
            "record",
            "-q",
            "-F",
            SAMPLES_PER_SECOND,
            "--call-graph",
            "dwarf,4096",
            "-o",
        ])
        .arg(&samples)
        .args([
            "-p",
            &std::process::id().to_string(),
            "--",
            "sleep",
            &seconds.to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| missing(&error))?;
    if !recorded.status.success() || !samples.exists() {
        let said = String::from_utf8_lossy(&recorded.stderr);
        let said = said
            .lines()
            .find(|line| !line.trim().is_empty())
            .unwrap_or("it says nothing");
        return Err(unavailable(format!(
            "perf recorded nothing ({}); what it may look at is in /proc/sys/kernel/perf_event_paranoid (expected 2 or less)",
            said.trim()
        )));
    }
    let drawn = tokio::task::spawn_blocking(move || {
        let mut script = std::process::Command::new("perf")
            .args([
                "script",
                "--no-inline",
                "-F",
                "comm,pid,tid,time,event,ip,sym,dso",
                "-i",
            ])
            .arg(&samples)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let lines = BufReader::new(script.stdout.take().expect("it was piped"));
        let graph = flame_graph(lines, &title);
        // It has been read to its end, or is of no use.
        let _ = script.kill();
        let _ = script.wait();
        drop(folder);
        Ok::<_, io::Error>(graph)
    });
    let drawn = drawn.await.map_err(|_| unavailable("the node is stopping"))?;
    match drawn.map_err(|error| missing(&error))? {
        Ok(graph) => Ok(graph.svg),
        Err(ProfileError::Empty) => Err(unavailable("the node did nothing in that time: no samples were taken")),
        Err(error) => Err(unavailable(error.to_string())),
    }
}

fn missing(error: &io::Error) -> Refused {
    match error.kind() {
        ErrorKind::NotFound => unavailable(
            "this needs perf on the host of the node (Debian: apt-get install linux-perf; Ubuntu: linux-tools-generic; Fedora: perf)",
        ),
        _ => unavailable(format!("perf cannot be started: {error}")),
    }
}

fn unavailable(detail: impl Into<String>) -> Refused {
    Problem::new(Code::Unavailable, detail).into()
}
