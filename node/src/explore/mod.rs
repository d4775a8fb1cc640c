//! What `queenright explore` shows: frames while explorers walk, a drawing and a report of the run.
//!
//! | module | what |
//! |---|---|
//! | `frame` | the grid as text: where they are, and how uncertain |
//! | `svg` | the run as a drawing |
//! | `report` | the figures of the run |

mod frame;
mod report;
mod svg;

pub use self::frame::Frame;
pub use self::report::{Beliefs, Report};
pub use self::svg::drawing;
