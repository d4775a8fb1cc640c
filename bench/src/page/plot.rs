//! Figures as SVG, drawn by plotters. It is told colours that stand for those of the page, which [`themed`] puts in their
//! place: the page has them for light and for dark.

use plotters::coord::Shift;
use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;

use super::figures::{Bars, Curves, Drawing, Line, Spreads};
use super::scale::{Scale, short};
use crate::report::Percentiles;

/// Width of every plot, and the height of curves. Plotters counts in whole units, so a unit is half a pixel of a page
/// that shows two or three plots beside each other.
const WIDTH: u32 = 800;
const CURVES_HEIGHT: u32 = 480;
/// The height of a bar or a distribution with its name above it, and of the axis with its room.
const ROW_HEIGHT: u32 = 76;
const AXIS_HEIGHT: u32 = 110;
/// The size of letters as plotters takes it: 1.24 times what the SVG says.
const LETTERS: f64 = 29.0;
/// How many letters of a name fit on a plot.
const NAME_LETTERS: usize = 58;

/// Text and axes; the lines behind the plot. Colours of the page's palette come after them.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const PALETTE: u8 = 10;
/// How many colours the palette has. More lines than this take them again, with other marks.
pub(super) const COLOURS: usize = 6;

/// How the points of a line look, and what stands for them beside the plot.
pub(super) const MARKS: [char; 5] = ['●', '▲', '✕', '○', '■'];
/// The points of a distribution, with the marks above.
pub(super) const QUANTILES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "greatest"];

type Canvas<'c> = DrawingArea<SVGBackend<'c>, Shift>;
type Chart<'c> = ChartContext<'c, SVGBackend<'c>, Cartesian2d<Scale, Scale>>;
type Drawn<'c, T = ()> = Result<T, DrawingAreaErrorKind<<SVGBackend<'c> as DrawingBackend>::ErrorType>>;

/// Plotters puts values where the scale says.
impl Ranged for Scale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        from + (f64::from(to - from) * self.place(*value)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        match hint.weight().allow_light_points() {
            true => Vec::new(),
            false => self.marks().to_vec(),
        }
    }

    fn range(&self) -> std::ops::Range<f64> {
        let (from, to) = self.ends();
        from..to
    }
}

impl ValueFormatter<f64> for Scale {
    fn format(value: &f64) -> String {
        short(*value)
    }
}

/// A figure as an SVG element that says what it is in words.
pub(super) fn svg(drawing: &Drawing, words: &str) -> String {
    let rows = |rows: usize| AXIS_HEIGHT + ROW_HEIGHT * rows as u32;
    let height = match drawing {
        Drawing::Curves(_) => CURVES_HEIGHT,
        Drawing::Bars(bars) => rows(bars.bars.len()),
        Drawing::Spreads(spreads) => rows(spreads.rows.len()),
    };
    let mut text = String::new();
    {
        let canvas = SVGBackend::with_string(&mut text, (WIDTH, height)).into_drawing_area();
        let drawn = match drawing {
            Drawing::Curves(curves) => draw_curves(&canvas, curves),
            Drawing::Bars(bars) => draw_bars(&canvas, bars),
            Drawing::Spreads(spreads) => draw_spreads(&canvas, spreads),
        };
        drawn
            .and_then(|()| canvas.present())
            .expect("text takes everything, and all numbers have a place on their axes");
    }
    themed(&text, height, words)
}

/// The SVG with the colours of the page, as wide as its place there.
fn themed(text: &str, height: u32, words: &str) -> String {
    let colour = |colour: RGBColor| format!("\"#{:02X}{:02X}{:02X}\"", colour.0, colour.1, colour.2);
    let mut text = text
        .replace(&colour(INK), "\"var(--ink)\"")
        .replace(&colour(GRID), "\"var(--grid)\"");
    for number in 0..COLOURS {
        text = text.replace(&colour(palette(number)), &format!("\"var(--line-{number})\""));
    }
    let words = maud::html! { (words) }.into_string().replace('"', "&quot;");
    let head = format!(r#"<svg width="{WIDTH}" height="{height}" "#);
    text.replacen(&head, &format!(r#"<svg role="img" aria-label="{words}" "#), 1)
}

fn palette(number: usize) -> RGBColor {
    RGBColor(PALETTE + (number % COLOURS) as u8, PALETTE, PALETTE)
}

fn letters(colour: &RGBColor) -> TextStyle<'static> {
    ("sans-serif", LETTERS).into_font().color(colour)
}

fn draw_curves<'c>(canvas: &Canvas<'c>, curves: &Curves) -> Drawn<'c> {
    let mut chart = ChartBuilder::on(canvas)
        .margin(16)
        .margin_right(36)
        .x_label_area_size(80)
        .y_label_area_size(96)
        .build_cartesian_2d(curves.x.clone(), curves.y.clone())?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(letters(&INK))
        .x_desc(curves.parameter.as_str())
        .axis_desc_style(letters(&INK))
        .draw()?;
    for (number, line) in curves.lines.iter().enumerate() {
        draw_line(&mut chart, line, number)?;
    }
    Ok(())
}

fn draw_line<'c>(chart: &mut Chart<'c>, line: &Line, number: usize) -> Drawn<'c> {
    let colour = palette(number);
    for point in &line.points {
        if let Some(p99) = point.p99 {
            let whisker = [(point.x, point.y), (point.x, p99)];
            chart.draw_series(LineSeries::new(whisker, colour.mix(0.5).stroke_width(3)))?;
            let end =
                EmptyElement::at((point.x, p99)) + PathElement::new([(-8, 0), (8, 0)], colour.mix(0.5).stroke_width(3));
            chart.draw_series([end])?;
        }
    }
    let points = line.points.iter().map(|point| (point.x, point.y));
    chart.draw_series(LineSeries::new(points.clone(), colour.stroke_width(4)))?;
    points
        .into_iter()
        .try_for_each(|point| mark(chart, point, number, &colour))
}

/// A point with the mark of this number.
fn mark<'c>(chart: &mut Chart<'c>, at: (f64, f64), number: usize, colour: &RGBColor) -> Drawn<'c> {
    match MARKS[number % MARKS.len()] {
        '▲' => chart.draw_series([TriangleMarker::new(at, 11, colour.filled())])?,
        '✕' => chart.draw_series([Cross::new(at, 8, colour.stroke_width(4))])?,
        '○' => chart.draw_series([Circle::new(at, 8, colour.stroke_width(4))])?,
        '■' => chart.draw_series([EmptyElement::at(at) + Rectangle::new([(-8, -8), (8, 8)], colour.filled())])?,
        _ => chart.draw_series([Circle::new(at, 8, colour.filled())])?,
    };
    Ok(())
}

/// A plot of things below each other, each with its name above it: place `n` from below is at `n`.
fn named<'c>(canvas: &Canvas<'c>, x: &Scale, unit: &str, names: &[&str]) -> Drawn<'c, Chart<'c>> {
    let rows = Scale::bare(names.len() as f64);
    let mut chart = ChartBuilder::on(canvas)
        .margin(8)
        .margin_left(24)
        .margin_right(36)
        .x_label_area_size(80)
        .build_cartesian_2d(x.clone(), rows)?;
    chart
        .configure_mesh()
        .disable_y_axis()
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(letters(&INK))
        .x_desc(unit)
        .axis_desc_style(letters(&INK))
        .draw()?;
    let (left, _) = x.ends();
    let texts = names.iter().rev().enumerate().map(|(place, name)| {
        let name = match name.chars().count() > NAME_LETTERS {
            true => name.chars().take(NAME_LETTERS - 1).chain(['…']).collect(),
            false => (*name).to_owned(),
        };
        EmptyElement::at((left, place as f64 + 0.95)) + Text::new(name, (2, 0), letters(&INK))
    });
    chart.draw_series(texts)?;
    Ok(chart)
}

fn draw_bars<'c>(canvas: &Canvas<'c>, bars: &Bars) -> Drawn<'c> {
    let names: Vec<String> = bars
        .bars
        .iter()
        .map(|(name, value)| format!("{name}: {}", short(*value)))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut chart = named(canvas, &bars.x, &bars.unit, &names)?;
    for (place, (_, value)) in bars.bars.iter().rev().enumerate() {
        let place = place as f64;
        let corners = [(0.0, place + 0.15), (*value, place + 0.5)];
        chart.draw_series([Rectangle::new(corners, palette(0).filled())])?;
    }
    Ok(())
}

fn draw_spreads<'c>(canvas: &Canvas<'c>, spreads: &Spreads) -> Drawn<'c> {
    let names: Vec<&str> = spreads.rows.iter().map(|(name, _)| name.as_str()).collect();
    let mut chart = named(canvas, &spreads.x, &spreads.unit, &names)?;
    for (place, (_, spread)) in spreads.rows.iter().rev().enumerate() {
        let y = place as f64 + 0.32;
        let quantiles = quantiles(spread);
        let shown = quantiles
            .iter()
            .enumerate()
            .filter(|(_, value)| spreads.x.shows(**value));
        let shown: Vec<(usize, (f64, f64))> = shown.map(|(number, value)| (number, (*value, y))).collect();
        let ends = shown.iter().map(|(_, at)| *at);
        chart.draw_series(LineSeries::new(ends, INK.mix(0.5).stroke_width(3)))?;
        // The least one lies above where several fall together.
        for (number, at) in shown.into_iter().rev() {
            mark(&mut chart, at, number, &palette(number))?;
        }
    }
    Ok(())
}

/// In the order of [`QUANTILES`].
pub(super) fn quantiles(spread: &Percentiles) -> [f64; 5] {
    let Percentiles {
        p50,
        p90,
        p99,
        p999,
        max,
    } = *spread;
    [p50, p90, p99, p999, max]
}

#[cfg(test)]
mod tests {
    use super::super::figures::{Bars, Curves, Drawing, Line, Point, Spreads};
    use super::super::scale::Scale;
    use super::svg;
    use crate::report::Percentiles;

    #[test]
    fn a_curve_has_its_marks_its_points_and_the_colours_of_the_page() {
        let point = |x: f64, y: f64| Point {
            x,
            y,
            p99: Some(2.0 * y),
        };
        let curves = Curves {
            parameter: "agents".to_owned(),
            unit: "µs".to_owned(),
            x: Scale::parameter([1.0, 16.0, 256.0].into_iter()),
            y: Scale::log([10.0, 4_000.0]),
            lines: vec![
                Line {
                    label: "a".to_owned(),
                    points: vec![point(1.0, 10.0), point(16.0, 100.0), point(256.0, 1_000.0)],
                },
                Line {
                    label: "b".to_owned(),
                    points: vec![point(16.0, 500.0)],
                },
            ],
        };
        let svg = svg(&Drawing::Curves(curves), "rates <of> \"a\"");
        assert!(
            svg.starts_with(r#"<svg role="img" aria-label="rates &lt;of&gt; &quot;a&quot;" viewBox="0 0 800 480""#),
            "{svg}"
        );
        assert_eq!(svg.matches("<circle").count(), 3);
        for mark in ["256", "agents", "1000"] {
            assert!(svg.contains(&format!("\n{mark}\n")), "{mark}: {svg}");
        }
        assert!(svg.contains("var(--line-0)") && svg.contains("var(--line-1)") && svg.contains("var(--grid)"));
        assert!(!svg.contains('#') && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn each_distribution_has_its_name_and_five_marks() {
        let spread = Percentiles {
            p50: 0.0,
            p90: 2.0,
            p99: 30.0,
            p999: 400.0,
            max: 5_000.0,
        };
        let spreads = Spreads {
            unit: "µs".to_owned(),
            x: Scale::log([2.0, 5_000.0]),
            rows: vec![("one".to_owned(), spread), ("n".repeat(100), spread)],
        };
        let svg = svg(&Drawing::Spreads(spreads), "");
        assert!(svg.contains("\none\n") && svg.contains(&format!("\n{}…\n", "n".repeat(57))));
        // A median of 0 has no place on a logarithmic axis: four marks are left, one of them round.
        assert_eq!(svg.matches("<circle").count(), 2, "{svg}");
    }

    #[test]
    fn a_bar_says_its_value() {
        let bars = Bars {
            unit: "MiB".to_owned(),
            x: Scale::linear([-5.0, 12_345.0]),
            bars: vec![("mesh".to_owned(), 12_345.0), ("star".to_owned(), -5.0)],
        };
        let svg = svg(&Drawing::Bars(bars), "");
        assert!(svg.contains("\nmesh: 12.3k\n") && svg.contains("\nstar: -5\n"), "{svg}");
    }
}
