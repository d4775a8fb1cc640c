//! `queenright bench run --profile`: the same command within `perf`, then a flame graph of what it saw.

use std::io::{BufReader, ErrorKind};
use std::path::Path;
use std::process::{Command, Stdio};

use queenright_bench::profile::flame_graph;

use super::super::{CliError, Context};
use crate::exit::Exit;

/// Set for the command that runs within perf, so that it does not start another.
const INSIDE: &str = "QUEENRIGHT_PROFILED";
/// Samples a second and processor: apart from the round numbers that timers have.
const SAMPLES_PER_SECOND: &str = "99";
/// Stacks are followed by what the compiler says of frames: optimised programs keep no pointers to them.
const STACKS: &str = "dwarf";
/// What is told of a sample: not its period, or it would count as many times.
const FIELDS: &str = "comm,pid,tid,time,event,ip,sym,dso";
const PERF: &str = "perf";

/// Whether this command runs within perf.
pub(super) fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this same command within perf, with all processes that it starts, and draws what was sampled.
///
/// # Errors
/// [`CliError::Failed`]: there is no perf, it may not look, or the picture cannot be written.
pub(super) fn around(svg: &Path, context: &Context) -> Result<Exit, CliError> {
    if !cfg!(target_os = "linux") {
        return Err(CliError::Usage(
            "--profile: perf is there on linux only (expected no --profile elsewhere)".to_owned(),
        ));
    }
    is_there()?;
    let folder = match svg.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    // Samples with their stacks take tens of MiB a minute: they lie beside the picture, not in memory.
    let kept =
        tempfile::tempdir_in(folder).map_err(|error| failed(format!("cannot write in {}", folder.display()), error))?;
    let samples = kept.path().join("perf.data");
    let program = std::env::current_exe().map_err(|error| failed("cannot find this program", error))?;
    let mut recording = Command::new(PERF);
    recording
        .args(["record", "-q", "-F", SAMPLES_PER_SECOND, "--call-graph", STACKS, "-o"])
        .arg(&samples)
        .arg("--")
        .arg(program)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1");
    let ended = recording.status().map_err(|error| failed("cannot start perf", error))?;
    let exit = match ended.code() {
        Some(0) => Exit::Ok,
        // What the command said is on stderr already.
        Some(2) => Exit::Usage,
        _ => Exit::Error,
    };
    if exit != Exit::Ok && !samples.exists() {
        return Err(failed(
            "--profile: perf recorded nothing",
            "what it may look at is in /proc/sys/kernel/perf_event_paranoid (expected 2 or less)",
        ));
    }
    let mut script = Command::new(PERF)
        .args(["script", "--no-inline", "-F", FIELDS, "-i"])
        .arg(&samples)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed("cannot start perf script", error))?;
    let lines = BufReader::new(script.stdout.take().expect("it was piped"));
    let graph = flame_graph(lines, "queenright bench run");
    // It has been read to its end, or is of no use.
    let _ = script.wait();
    let graph = graph.map_err(|error| failed("no flame graph was drawn", error))?;
    std::fs::write(svg, &graph.svg).map_err(|error| failed(format!("cannot write {}", svg.display()), error))?;
    context.note(format_args!(
        "{}: a flame graph of {} samples",
        svg.display(),
        graph.samples
    ));
    Ok(exit)
}

/// Refuses before anything runs where perf is missing or broken.
fn is_there() -> Result<(), CliError> {
    let missing =
        "--profile needs perf (Debian: apt-get install linux-perf; Ubuntu: linux-tools-generic; Fedora: perf)";
    let output = Command::new(PERF).arg("--version").output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("it says nothing").to_owned();
            Err(failed(missing, said))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Err(failed(missing, "it is not installed")),
        Err(error) => Err(failed(missing, error)),
    }
}

fn failed(message: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
    CliError::Failed {
        message: message.into(),
        source: source.into(),
    }
}
