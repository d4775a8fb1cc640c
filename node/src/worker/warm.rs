//! What a worker runs once before its first claim, so that what its tasks need is there when they come.

use std::time::Duration;

use queenright_actors::process::{self, End, Job, LOG_BYTES_MAX, Stopped};

use super::{Commands, STDOUT_BYTES_MAX, WorkerError};

/// How long it may take.
const WARM_WITHIN: Duration = Duration::from_secs(600);
/// How long it has between SIGTERM and SIGKILL when its time is up.
const KILL_GRACE: Duration = Duration::from_secs(5);
/// How much of the end of what it printed on stderr an error shows, in bytes.
const SHOWN_BYTES: usize = 400;

impl Commands {
    /// Runs the command that warms up, if there is one. If the future is dropped all of it is killed.
    ///
    /// # Errors
    /// [`WorkerError::Warm`] when it does not end with exit code 0 in time, [`WorkerError::Process`] when it did not run.
    pub async fn warm_up(&self) -> Result<(), WorkerError> {
        if self.warm.is_empty() {
            return Ok(());
        }
        let job = Job {
            guard: self.guard.clone(),
            command: self.warm.clone(),
            environment: self.environment.clone(),
            hidden: self.hidden.clone(),
            folder: self.folder.clone(),
            stdin: Vec::new(),
            time_limit: Some(WARM_WITHIN),
            grace: KILL_GRACE,
            memory_bytes_max: self.memory_bytes_max,
            measures_memory: false,
            stdout_bytes_max: STDOUT_BYTES_MAX,
            log_bytes_max: LOG_BYTES_MAX,
        };
        let report = process::run(&job, std::future::pending()).await?;
        let how = match (report.stopped, report.end) {
            (Some(Stopped::Memory { used, limit }), _) => format!("used {used} B of memory, the limit is {limit}"),
            (Some(_), _) => format!("was not done within {} s", WARM_WITHIN.as_secs()),
            (None, End::Exit(0)) => return Ok(()),
            (None, End::Exit(code)) => format!("exit code {code}"),
            (None, End::Signal(signal)) => format!("ended by signal {signal}"),
        };
        let log = report.log.text(SHOWN_BYTES);
        let said = match log.trim() {
            "" => String::new(),
            said => format!(": {said}"),
        };
        Err(WorkerError::Warm(format!("{how}{said}")))
    }
}
