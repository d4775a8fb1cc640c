//! Flame graphs: what `perf` sampled, as a picture of the stacks that took the time.

use std::io::BufRead;

use inferno::collapse::Collapse as _;
use inferno::collapse::perf::{Folder, Options as Folding};
use inferno::flamegraph;

/// Why there is no flame graph.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// What was read is not the output of `perf script`.
    #[error("what perf script printed cannot be read")]
    Malformed(#[source] std::io::Error),
    /// Nothing was sampled: the program did not run, or perf may not look at it.
    #[error("perf has taken no samples")]
    Empty,
    /// The stacks cannot be drawn.
    #[error("the stacks cannot be drawn")]
    Drawing(#[source] std::io::Error),
}

/// A flame graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlameGraph {
    /// The picture: an SVG that needs nothing else.
    pub svg: Vec<u8>,
    /// How many samples it stands for.
    pub samples: u64,
}

/// Draws the samples that `perf script` prints. The lowest frames are threads with the numbers of their processes, so
/// that the nodes of a cluster stand beside each other.
///
/// # Errors
/// [`ProfileError`].
pub fn flame_graph(script: impl BufRead, title: &str) -> Result<FlameGraph, ProfileError> {
    let mut folding = Folding::default();
    folding.include_pid = true;
    let mut stacks = Vec::new();
    Folder::from(folding)
        .collapse(script, &mut stacks)
        .map_err(ProfileError::Malformed)?;
    // Each line is a stack, a space and how often it was seen.
    let count = |line: &[u8]| -> Option<u64> {
        let number = line.rsplit(|byte| *byte == b' ').next()?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    let samples = stacks.split(|byte| *byte == b'\n').filter_map(count).sum();
    if samples == 0 {
        return Err(ProfileError::Empty);
    }
    let mut drawing = flamegraph::Options::default();
    title.clone_into(&mut drawing.title);
    drawing.subtitle = Some(format!("{samples} samples; width is time on a processor"));
    let mut svg = Vec::new();
    flamegraph::from_reader(&mut drawing, stacks.as_slice(), &mut svg).map_err(ProfileError::Drawing)?;
    Ok(FlameGraph { svg, samples })
}

#[cfg(test)]
mod tests {
    use super::{ProfileError, flame_graph};

    /// Recorded with `perf record -g` and cut down.
    const SCRIPT: &str = "\
queenright 24463 26529.519091:   10101010 cpu-clock:pppH: 
\t           15002 queenright_protocol::conflict::detect+0x12 (/usr/bin/queenright)
\t           14c86 queenright_bench::workloads::b8::run+0x86 (/usr/bin/queenright)
\t            4780 main+0x80 (/usr/bin/queenright)

queenright 24463 26529.529193:   10101010 cpu-clock:pppH: 
\t           15002 queenright_protocol::conflict::detect+0x12 (/usr/bin/queenright)
\t           14c86 queenright_bench::workloads::b8::run+0x86 (/usr/bin/queenright)
\t            4780 main+0x80 (/usr/bin/queenright)

queenright 24470 26529.543360:   10101010 cpu-clock:pppH: 
\t          167158 fdatasync+0x38 (/usr/lib/x86_64-linux-gnu/libc.so.6)
\t            4780 main+0x80 (/usr/bin/queenright)

";

    #[test]
    fn a_flame_graph_has_the_functions_of_each_process_and_counts_their_samples() {
        let graph = flame_graph(SCRIPT.as_bytes(), "B8").unwrap();
        assert_eq!(graph.samples, 3);
        let svg = String::from_utf8(graph.svg).unwrap();
        for part in [
            "queenright_protocol::conflict::detect (2 samples",
            "fdatasync (1 samples",
            "queenright-24463",
            "queenright-24470",
            ">B8<",
        ] {
            assert!(svg.contains(part), "{part}: {svg}");
        }
        let linked = svg.replace("http://www.w3.org/", "");
        assert!(
            !linked.contains("src=") && !linked.contains("href=\"http"),
            "nothing is fetched"
        );
    }

    #[test]
    fn no_samples_are_an_error() {
        assert!(matches!(flame_graph(&b""[..], ""), Err(ProfileError::Empty)));
        assert!(matches!(
            flame_graph(&b"\xff\xfe\n"[..], ""),
            Err(ProfileError::Empty | ProfileError::Malformed(_))
        ));
    }
}
