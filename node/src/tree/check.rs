//! Commands that say whether a tree is good.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::TreeError;

/// How much of what a command printed is told, in bytes.
const TAIL_BYTES_MAX: u64 = 8 << 10;

/// A command that did not end with code 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckFailed {
    /// The command.
    pub command: String,
    /// How it ended.
    pub how: String,
    /// The end of what it printed.
    pub log_tail: String,
}

/// Runs each command by `sh -c` in a folder, one after the other, until one fails. Each has a process group of its own,
/// which is killed when its time is over and when it ends.
///
/// # Errors
/// [`TreeError::Io`] when a command cannot be started.
pub async fn run_checks(
    folder: &Path,
    commands: &[String],
    timeout: Duration,
) -> Result<Option<CheckFailed>, TreeError> {
    for command in commands {
        let log = tempfile::tempfile().map_err(TreeError::io("the log of a check"))?;
        let output = || log.try_clone().map_err(TreeError::io("the log of a check"));
        let mut child = tokio::process::Command::new("sh")
            .arg("-c")
            .arg(command)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::from(output()?))
            .stderr(Stdio::from(output()?))
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(TreeError::io(format_args!("sh -c {command:?}")))?;
        let group = child.id().and_then(|id| Pid::from_raw(id as i32));
        let ended = tokio::time::timeout(timeout, child.wait()).await;
        // What it left running has no part in what comes after.
        if let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let how = match ended {
            Ok(Ok(status)) if status.success() => continue,
            Ok(Ok(status)) => shown(status),
            Ok(Err(source)) => return Err(TreeError::io(format_args!("sh -c {command:?}"))(source)),
            Err(_) => {
                let _ = child.wait().await;
                format!("not done after {} s", timeout.as_secs())
            }
        };
        return Ok(Some(CheckFailed {
            command: command.clone(),
            how,
            log_tail: tail(log).map_err(TreeError::io("the log of a check"))?,
        }));
    }
    Ok(None)
}

fn shown(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

fn tail(mut log: std::fs::File) -> std::io::Result<String> {
    let length = log.metadata()?.len();
    log.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES_MAX)))?;
    let mut bytes = Vec::new();
    log.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn run(commands: &[&str], timeout: Duration) -> Option<CheckFailed> {
        let folder = tempfile::tempdir().unwrap();
        let commands: Vec<String> = commands.iter().map(|command| (*command).to_owned()).collect();
        run_checks(folder.path(), &commands, timeout).await.unwrap()
    }

    #[tokio::test]
    async fn checks_run_one_after_the_other_until_one_fails() {
        assert_eq!(run(&["touch a", "test -e a"], Duration::from_secs(60)).await, None);
        let failed = run(
            &["touch a", "echo no; ls b; exit 4", "touch c"],
            Duration::from_secs(60),
        )
        .await;
        let failed = failed.unwrap();
        assert_eq!(failed.how, "exit code 4");
        assert!(
            failed.log_tail.starts_with("no\n") && failed.log_tail.contains('b'),
            "{failed:?}"
        );
    }

    #[tokio::test]
    async fn a_check_that_does_not_end_is_killed_with_its_children() {
        let failed = run(&["sleep 1000 & sleep 1000"], Duration::from_millis(200))
            .await
            .unwrap();
        assert_eq!(failed.how, "not done after 0 s");
    }
}
