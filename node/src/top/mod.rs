//! `queenright top`: the cluster in a terminal, what needs somebody first.
//!
//! [`Sample`] is what was asked at one moment; [`problems`] and [`Rates`] follow from samples, [`draw`] shows them, and
//! [`Screen`] is where somebody looks. All of that is plain: only [`run`] has a terminal, a clock and a door.
//!
//! At 80 × 24 the problems, the nodes and one section are shown; where there is room, all sections.

mod draw;
mod problem;
mod sample;
mod screen;
mod terminal;
#[cfg(test)]
mod tests;

pub use self::draw::{View, draw, snapshot};
pub use self::problem::{Problem, Severity, problems};
pub use self::sample::{AgentsSample, ProjectSample, Rates, Sample};
pub use self::screen::{Key, Screen, Section};
pub use self::terminal::{TopError, run};
