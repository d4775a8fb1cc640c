//! The grid as text.

use std::fmt;

use queenright_actors::explorer::World;
use queenright_bench::expedition::Sight;

/// Foreground colours of 256 for what is uncertain to what is certain: red to green.
const SHADES: [u8; 6] = [196, 202, 214, 226, 154, 46];
/// That of obstacles.
const OBSTACLE: u8 = 240;

/// Explorers in their world at a moment.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The world.
    pub world: &'a World,
    /// The explorers.
    pub sights: &'a [Sight],
    /// How many steps there will be.
    pub steps: u64,
    /// Whether it has colours.
    pub colours: bool,
}

impl Frame<'_> {
    /// How uncertain one is at most: of all sites the same.
    fn entropy_max(&self) -> f64 {
        (self.world.sites().len() as f64).ln()
    }

    /// The step of the slowest.
    pub fn step(&self) -> u64 {
        self.sights.iter().map(|sight| sight.steps).min().unwrap_or(0)
    }

    fn coloured(&self, f: &mut fmt::Formatter<'_>, colour: u8, text: &str) -> fmt::Result {
        match self.colours {
            true => write!(f, "\x1b[38;5;{colour}m{text}\x1b[0m"),
            false => f.write_str(text),
        }
    }

    /// One line: how far they are.
    pub fn line(&self) -> String {
        let at_goal = self.sights.iter().filter(|sight| sight.at_goal).count();
        let entropy: f64 = self.sights.iter().map(|sight| sight.entropy).sum();
        let entropy = entropy / self.sights.len().max(1) as f64;
        format!(
            "step {} of {}: {at_goal} of {} at the goal, {entropy:.2} nats uncertain of it on average",
            self.step(),
            self.steps,
            self.sights.len()
        )
    }
}

/// Two columns for each place: `##` an obstacle, `G` the goal, `?` another site, and how many explorers stand there
/// (`**`: a hundred or more).
impl fmt::Display for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = self.world.spec().side;
        let mut counts = vec![(0_u32, 0.0); side * side];
        for sight in self.sights {
            // What a node reports is checked like anything from outside.
            if let Some((count, entropy)) = counts.get_mut(sight.place.0 * side + sight.place.1) {
                *count += 1;
                *entropy += sight.entropy;
            }
        }
        let mut marks = vec!["##"; side * side];
        for (row, column) in self.world.places() {
            marks[row * side + column] = " .";
        }
        for (site, place) in self.world.sites().iter().enumerate() {
            let (row, column) = self.world.places()[*place];
            marks[row * side + column] = if site == self.world.goal() { " G" } else { " ?" };
        }
        for (cell, (mark, (count, entropy))) in marks.iter().zip(counts).enumerate() {
            let shade = 1.0 - entropy / f64::from(count.max(1)) / self.entropy_max().max(f64::MIN_POSITIVE);
            let shade = (shade.clamp(0.0, 1.0) * (SHADES.len() - 1) as f64).round() as usize;
            match (count, *mark) {
                (0, "##") => self.coloured(f, OBSTACLE, mark)?,
                (0, _) => f.write_str(mark)?,
                (1..=99, _) => self.coloured(f, SHADES[shade], &format!("{count:>2}"))?,
                _ => self.coloured(f, SHADES[shade], "**")?,
            }
            if cell % side == side - 1 {
                writeln!(f)?;
            }
        }
        f.write_str(&self.line())
    }
}

#[cfg(test)]
mod tests {
    use queenright_actors::explorer::WorldSpec;

    use super::*;

    #[test]
    fn a_frame_has_a_row_for_each_row_and_counts_everybody() {
        let spec = WorldSpec {
            side: 6,
            ..WorldSpec::default()
        };
        let world = World::new(spec).unwrap();
        let place = *world.places().last().unwrap();
        let sight = Sight {
            steps: 7,
            place,
            at_goal: false,
            entropy: 1.0,
        };
        // One of them is outside: it is not drawn, and does no harm.
        let outside = Sight {
            place: (99, 99),
            ..sight
        };
        let frame = Frame {
            world: &world,
            sights: &[sight, sight, outside],
            steps: 9,
            colours: false,
        };
        let text = frame.to_string();
        assert_eq!(text.lines().count(), 7, "{text}");
        assert!(text.lines().take(6).all(|line| line.len() == 12), "{text}");
        assert_eq!(text.matches(" 2").count(), 1, "{text}");
        let obstacles = text.matches("##").count();
        assert_eq!(obstacles, 36 - world.places().len(), "{text}");
        assert!(text.ends_with("step 7 of 9: 0 of 3 at the goal, 1.00 nats uncertain of it on average"));
    }
}
