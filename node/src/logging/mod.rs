//! What a node says of itself, line by line: where to, in which form, and how much; the last can be changed while it runs.

mod filter;
mod rotation;

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

pub use self::filter::{BadFilter, FILTER_BYTES_MAX, LogFilter};
use self::rotation::Rotating;
pub use self::rotation::set_aside;
use crate::config::{LogFormat, Logging};

/// The variable that says what is logged from the start on.
pub const VARIABLE: &str = "QUEENRIGHT_LOG";

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    /// The variable does not hold a filter.
    #[error("{VARIABLE}")]
    Filter(#[from] BadFilter),
    /// The file cannot be written.
    #[error("--log-file: cannot write {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is logged, and what that was at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Level {
    /// Now.
    pub filter: LogFilter,
    /// At the start of the process.
    pub at_start: LogFilter,
}

/// The one log of this process.
struct Control {
    handle: reload::Handle<EnvFilter, Registry>,
    // A mutex: changed by a door, read by doors. Held for a copy.
    level: Mutex<Level>,
}

static CONTROL: OnceLock<Control> = OnceLock::new();

/// Starts the log of this process: to a file, which is rotated and becomes standard error, or else to standard error as it
/// is.
///
/// # Errors
/// [`LoggingError`].
///
/// # Panics
/// When it was started before.
pub fn start(logging: Logging, file: Option<&Path>) -> Result<(), LoggingError> {
    let filter = match std::env::var(VARIABLE) {
        Ok(text) => LogFilter::parse(&text)?,
        Err(_) => LogFilter::default(),
    };
    let (layer, handle) = reload::Layer::new(filter.to_layer());
    let lines = match file {
        None => lines(logging.format, io::stderr().is_terminal(), io::stderr),
        Some(file) => {
            let rotating = Rotating::open(file, logging).map_err(|source| LoggingError::File {
                file: file.to_owned(),
                source,
            })?;
            lines(logging.format, false, Mutex::new(rotating))
        }
    };
    tracing_subscriber::registry().with(layer.and_then(lines)).init();
    let level = Level {
        at_start: filter.clone(),
        filter,
    };
    let control = Control {
        handle,
        level: Mutex::new(level),
    };
    assert!(CONTROL.set(control).is_ok(), "a process has one log");
    Ok(())
}

fn lines<W>(format: LogFormat, colours: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> fmt::MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Text => fmt::layer().with_ansi(colours).with_writer(writer).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    }
}

/// What is logged; `None` in a process without a log of its own.
pub fn level() -> Option<Level> {
    let control = CONTROL.get()?;
    Some(control.level.lock().expect("nothing panics under this lock").clone())
}

/// Logs what another filter says from now on, until the process ends; what it was at the start if there is none. `None` in
/// a process without a log of its own.
pub fn set_level(filter: Option<LogFilter>) -> Option<Level> {
    let control = CONTROL.get()?;
    let mut level = control.level.lock().expect("nothing panics under this lock");
    let filter = filter.unwrap_or_else(|| level.at_start.clone());
    // It fails only once the subscriber is gone, with the process.
    control.handle.reload(filter.to_layer()).ok()?;
    level.filter = filter;
    Some(level.clone())
}
