//! What tells a long-running command to end.

use std::fmt;
use std::io;
use std::pin::Pin;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::parent_pipe;

/// Why a long-running command should end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    /// SIGINT, as from Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// The process that started this one is gone.
    ParentGone,
}

impl fmt::Display for StopCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            StopCause::Interrupt => "SIGINT",
            StopCause::Terminate => "SIGTERM",
            StopCause::ParentGone => "the end of its parent",
        })
    }
}

/// Listens for everything that tells a command to end. From its making on, neither SIGINT nor SIGTERM ends the process
/// by itself.
pub struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    parent: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl StopSignals {
    /// Listens for signals only.
    ///
    /// # Errors
    /// When the signal handlers cannot be set.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn listen() -> io::Result<StopSignals> {
        Ok(StopSignals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            parent: Box::pin(std::future::pending()),
        })
    }

    /// Listens for signals and for the end of the parent's pipe on stdin.
    ///
    /// # Errors
    /// As [`StopSignals::listen`].
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn listen_with_parent_pipe() -> io::Result<StopSignals> {
        Ok(StopSignals {
            parent: Box::pin(parent_pipe::watch()),
            ..StopSignals::listen()?
        })
    }

    /// Waits for the next of them. Safe to cancel; the end of the parent comes once.
    pub async fn next(&mut self) -> StopCause {
        tokio::select! {
            _ = self.interrupt.recv() => StopCause::Interrupt,
            _ = self.terminate.recv() => StopCause::Terminate,
            () = &mut self.parent => {
                self.parent = Box::pin(std::future::pending());
                StopCause::ParentGone
            }
        }
    }
}

impl fmt::Debug for StopSignals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StopSignals")
    }
}
