//! The run as a drawing: the grid with the heat of visits, paths and ends, and below it what they knew over time.

use std::fmt::Write as _;

use queenright_actors::explorer::World;
use queenright_bench::expedition::{Outcome, Plan};

use super::report::at_goal;

/// Width of the grid and of the chart, height of the chart, and the margin around both, in pixels.
const WIDTH: f64 = 600.0;
const CHART_HEIGHT: f64 = 130.0;
const MARGIN: f64 = 40.0;
/// Of more explorers than this not every path is drawn: they would hide each other.
const PATHS_MAX: usize = 60;
const STYLE: &str = "text{font:13px sans-serif;fill:#222}.small{font-size:11px;fill:#555}\
.path{fill:none;stroke-width:1.2;stroke-opacity:.45;stroke-linejoin:round}\
.axis{stroke:#888;fill:none}.uncertain{stroke:#c0392b;fill:none;stroke-width:2}\
.there{stroke:#1e8449;fill:none;stroke-width:2}";

/// The drawing, a whole SVG file.
pub fn drawing(plan: &Plan, world: &World, outcome: &Outcome) -> String {
    let height = WIDTH + CHART_HEIGHT + 3.4 * MARGIN;
    let width = WIDTH + 2.0 * MARGIN;
    let mut svg = Svg(String::new());
    svg.line(format_args!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">"#
    ));
    svg.line(format_args!(
        r##"<style>{STYLE}</style><rect width="{width}" height="{height}" fill="#fff"/>"##
    ));
    svg.line(format_args!(
        r#"<text x="{MARGIN}" y="26">{} explorers, {} steps, seed {}: {} at the goal</text>"#,
        plan.explorers,
        plan.steps,
        plan.world.seed,
        outcome.last.iter().filter(|sight| sight.at_goal).count()
    ));
    grid(&mut svg, world, outcome);
    chart(&mut svg, world, outcome);
    svg.line(format_args!("</svg>"));
    svg.0
}

struct Svg(String);

impl Svg {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = self.0.write_fmt(text);
        self.0.push('\n');
    }
}

fn grid(svg: &mut Svg, world: &World, outcome: &Outcome) {
    let side = world.spec().side;
    let cell = WIDTH / side as f64;
    let corner = |(row, column): (usize, usize)| (MARGIN + column as f64 * cell, MARGIN + row as f64 * cell);
    let centre = |place: usize| {
        let (x, y) = corner(world.places()[place.min(world.places().len() - 1)]);
        (x + cell / 2.0, y + cell / 2.0)
    };
    svg.line(format_args!(
        r##"<rect x="{MARGIN}" y="{MARGIN}" width="{WIDTH}" height="{WIDTH}" fill="#444"/>"##
    ));
    let mut visits = vec![0_u32; world.places().len()];
    for place in outcome.places.iter().flatten() {
        if let Some(visits) = visits.get_mut(*place) {
            *visits += 1;
        }
    }
    let most = f64::from(visits.iter().copied().max().unwrap_or(1).max(1));
    for (place, visits) in world.places().iter().zip(&visits) {
        let (x, y) = corner(*place);
        // By the logarithm: those who stay at the goal would leave the rest pale.
        let heat = (1.0 + f64::from(*visits)).ln() / (1.0 + most).ln();
        svg.line(format_args!(
            r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" fill="hsl(212 80% {:.0}%)"/>"#,
            x + 0.5,
            y + 0.5,
            cell - 1.0,
            cell - 1.0,
            97.0 - 45.0 * heat
        ));
    }
    let all = outcome.places.len();
    for path in 0..all.min(PATHS_MAX) {
        let explorer = path * all / all.min(PATHS_MAX);
        // A little beside the middle, each by its own, so that they do not lie on each other.
        let aside = cell * 0.5 * (path as f64 / all.min(PATHS_MAX) as f64 - 0.5);
        let points = outcome.places[explorer].iter().map(|place| {
            let (x, y) = centre(*place);
            format!("{:.1},{:.1}", x + aside, y - aside)
        });
        let points = points.collect::<Vec<_>>().join(" ");
        let hue = 360 * path / all.min(PATHS_MAX);
        svg.line(format_args!(
            r#"<polyline class="path" stroke="hsl({hue} 70% 35%)" points="{points}"/>"#
        ));
    }
    for (site, place) in world.sites().iter().enumerate() {
        let (x, y) = centre(*place);
        let (colour, fill) = match site == world.goal() {
            true => ("#0b6623", "#2ecc71"),
            false => ("#7d3c98", "none"),
        };
        svg.line(format_args!(
            r#"<circle cx="{x:.1}" cy="{y:.1}" r="{:.1}" stroke="{colour}" stroke-width="3" fill="{fill}" fill-opacity=".6"/>"#,
            cell * 0.36
        ));
    }
    for places in &outcome.places {
        if let Some(last) = places.last() {
            let (x, y) = centre(*last);
            svg.line(format_args!(
                r##"<circle cx="{x:.1}" cy="{y:.1}" r="{:.1}" fill="#111"/>"##,
                (cell * 0.12).max(1.5)
            ));
        }
    }
}

fn chart(svg: &mut Svg, world: &World, outcome: &Outcome) {
    let top = WIDTH + 2.2 * MARGIN;
    let bottom = top + CHART_HEIGHT;
    let steps = outcome.entropies.len();
    let right = MARGIN + WIDTH;
    svg.line(format_args!(
        r#"<path class="axis" d="M{MARGIN} {top}V{bottom}H{right}V{top}"/>"#
    ));
    let entropy_max = (world.sites().len() as f64).ln().max(f64::MIN_POSITIVE);
    let agents = outcome.places.len().max(1) as f64;
    let there = at_goal(world, &outcome.places);
    let there = there.iter().map(|there| *there as f64 / agents);
    let uncertain = outcome.entropies.iter().map(|entropy| entropy / entropy_max);
    let lines: [(&str, Vec<f64>); 2] = [("uncertain", uncertain.collect()), ("there", there.collect())];
    for (class, shares) in lines {
        let points = shares.iter().enumerate().map(|(step, share)| {
            let x = MARGIN + WIDTH * (step + 1) as f64 / steps.max(1) as f64;
            let y = bottom - CHART_HEIGHT * share.clamp(0.0, 1.0);
            format!("{x:.1},{y:.1}")
        });
        let points = points.collect::<Vec<_>>().join(" ");
        svg.line(format_args!(r#"<polyline class="{class}" points="{points}"/>"#));
    }
    let above = top - 8.0;
    svg.line(format_args!(
        r##"<text x="{MARGIN}" y="{above}" style="fill:#c0392b">uncertainty of the goal, on average ({entropy_max:.2} nats at the top)</text>"##
    ));
    svg.line(format_args!(
        r##"<text x="{right}" y="{above}" text-anchor="end" style="fill:#1e8449">share at the goal</text>"##
    ));
    let below = bottom + 16.0;
    svg.line(format_args!(r#"<text class="small" x="{MARGIN}" y="{below}">0</text>"#));
    svg.line(format_args!(
        r#"<text class="small" x="{right}" y="{below}" text-anchor="end">{steps} steps</text>"#
    ));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use queenright_actors::explorer::WorldSpec;
    use queenright_bench::expedition::Neighbours;
    use queenright_protocol::topology::Kind;

    use super::*;

    #[test]
    fn a_drawing_has_every_place_every_path_and_both_lines() {
        let world = World::new(WorldSpec::default()).unwrap();
        let plan = Plan {
            world: WorldSpec::default(),
            explorers: 2,
            steps: 3,
            neighbours: Neighbours::Kind(Kind::Ring),
            trust: 0.5,
            update_every: 1,
            lockstep: true,
            history: true,
            patience: Duration::from_secs(1),
        };
        let outcome = Outcome {
            // The last place does not exist.
            places: vec![vec![0, 1, 2], vec![5, 5, 9_999]],
            entropies: vec![1.0, 0.5, 0.1],
            ..Outcome::default()
        };
        let svg = drawing(&plan, &world, &outcome);
        let count = |what: &str| svg.matches(what).count();
        assert_eq!(count("hsl(212"), world.places().len());
        assert_eq!(count("<polyline class=\"path\""), 2);
        assert_eq!(count("<polyline"), 4);
        assert_eq!(count("<circle"), world.sites().len() + 2);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n") && !svg.contains("NaN"));
    }
}
