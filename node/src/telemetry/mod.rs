//! Which requests are followed, and who is told of them.

mod otlp;
mod sampler;

pub use self::otlp::{ExportError, Exporter};
pub use self::sampler::{Decision, Sampler};
