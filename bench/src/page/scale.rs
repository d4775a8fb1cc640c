//! Axes: which stretch of numbers one shows, where its marks are, and how numbers are written on it.

/// How many marks fit beside each other, and so the least distance of two, as a part of the axis.
const MARKS: f64 = 9.0;
/// From this ratio of the greatest value to the least an axis goes by the logarithm.
const LOG_FROM: f64 = 8.0;

/// Numbers beyond this have no place on an axis: differences of them would have no end.
const DRAWN_MAX: f64 = 1e300;

/// Whether a number has a place on some axis.
pub(super) fn is_drawn(value: f64) -> bool {
    value.abs() < DRAWN_MAX
}

/// An axis. Its numbers are finite, and above 0 where it goes by the logarithm.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    /// Equal ratios have equal lengths.
    pub(super) is_log: bool,
    from: f64,
    to: f64,
    marks: Vec<f64>,
}

impl Scale {
    /// From zero, or below if there are such values, to a round number above all of them.
    pub(super) fn linear(values: impl IntoIterator<Item = f64>) -> Scale {
        let (least, greatest) = bounds(values.into_iter().chain([0.0]));
        let span = if greatest > least { greatest - least } else { 1.0 };
        let step = round_up(span / 5.0);
        let (from, to) = ((least / step).floor(), (greatest / step).ceil().max(1.0));
        let marks = (from as i64..=to as i64).map(|mark| mark as f64 * step).collect();
        Scale {
            is_log: false,
            from: from * step,
            to: to * step,
            marks,
        }
    }

    /// By the logarithm, from a round number below all values to one above. Values that are not above 0 are left out; of
    /// none it is one decade.
    pub(super) fn log(values: impl IntoIterator<Item = f64>) -> Scale {
        let (least, greatest) = match bounds(values.into_iter().filter(|value| *value > 0.0)) {
            (least, greatest) if least <= greatest => (least, greatest),
            _ => (1.0, 1.0),
        };
        let (from, to) = (round_down(least * 0.999), round_up(greatest * 1.001));
        let decades = (from.log10().floor() as i32)..=(to.log10().ceil() as i32);
        let many = (to / from).log10() > 2.5;
        let multiples: &[f64] = if many { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let marks = decades.flat_map(|decade| multiples.iter().map(move |multiple| multiple * 10_f64.powi(decade)));
        let inside = |mark: &f64| (from * 0.999..=to * 1.001).contains(mark);
        thinned(Scale {
            is_log: true,
            from,
            to,
            marks: marks.filter(inside).collect(),
        })
    }

    /// For rates and latencies: from zero, by the logarithm if the greatest is far above the least.
    pub(super) fn measured(values: impl Iterator<Item = f64> + Clone) -> Scale {
        let (least, greatest) = bounds(values.clone());
        match least > 0.0 && greatest / least > 4.0 * LOG_FROM {
            true => Scale::log(values),
            false => Scale::linear(values),
        }
    }

    /// With marks at the values of a parameter, as many as have room. By the logarithm if they are far apart; those that
    /// are not above 0 have no place then.
    pub(super) fn parameter(values: impl Iterator<Item = f64> + Clone) -> Scale {
        let (_, greatest) = bounds(values.clone());
        let (least, _) = bounds(values.clone().filter(|value| *value > 0.0));
        let is_log = least.is_finite() && greatest / least >= LOG_FROM;
        let mut marks: Vec<f64> = values.filter(|value| !is_log || *value > 0.0).collect();
        marks.sort_by(f64::total_cmp);
        marks.dedup();
        let (from, to) = (marks[0], marks[marks.len() - 1]);
        // A little room, so that no point lies on the edge.
        let (from, to) = match is_log {
            true => {
                let room = (to / from).powf(0.04);
                (from / room, to * room)
            }
            false => {
                let room = if to > from { (to - from) * 0.05 } else { 0.5 };
                (from - room, to + room)
            }
        };
        thinned(Scale {
            is_log,
            from,
            to,
            marks,
        })
    }

    /// From 0 to a number, without marks.
    pub(super) fn bare(to: f64) -> Scale {
        Scale {
            is_log: false,
            from: 0.0,
            to,
            marks: Vec::new(),
        }
    }

    /// Where a value lies: 0 at the beginning of the axis, 1 at its end.
    pub(super) fn place(&self, value: f64) -> f64 {
        match self.is_log {
            true => (value / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        }
    }

    /// Whether a value has a place.
    pub(super) fn shows(&self, value: f64) -> bool {
        is_drawn(value) && (!self.is_log || value > 0.0)
    }

    /// Both ends.
    pub(super) fn ends(&self) -> (f64, f64) {
        (self.from, self.to)
    }

    /// Where a number is written.
    pub(super) fn marks(&self) -> &[f64] {
        &self.marks
    }
}

/// Without the marks that come too close to the one before; the last stays.
fn thinned(mut scale: Scale) -> Scale {
    let mut kept: Vec<f64> = Vec::new();
    for mark in scale.marks.iter().rev() {
        let place = scale.place(*mark);
        if kept.last().is_none_or(|last| scale.place(*last) - place >= 1.0 / MARKS) {
            kept.push(*mark);
        }
    }
    kept.reverse();
    scale.marks = kept;
    scale
}

fn bounds(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let drawn = values.into_iter().filter(|value| is_drawn(*value));
    drawn.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, greatest), value| {
        (least.min(value), greatest.max(value))
    })
}

/// The next of 1, 2 and 5 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let multiples = [1.0, 2.0, 5.0, 10.0];
    let up = multiples.into_iter().find(|multiple| multiple * power >= value);
    up.unwrap_or(10.0) * power
}

fn round_down(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let multiples = [5.0, 2.0, 1.0];
    let down = multiples.into_iter().find(|multiple| multiple * power <= value);
    down.unwrap_or(1.0) * power
}

/// A number on an axis or beside a bar: about three digits, `k` from 10,000 on, then `M` and `G`.
pub(super) fn short(value: f64) -> String {
    let (scaled, suffix) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = match scaled.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        size if size >= 0.0001 => 5,
        0.0 => 0,
        _ => return format!("{value:.0e}"),
    };
    let text = format!("{scaled:.decimals$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::{Scale, short};

    #[test]
    fn numbers_on_axes_are_short() {
        let written: Vec<String> = [0.0, 0.05, 2.5, 64.0, 1024.0, 10_000.0, 99_999.0, 2.5e6, 28.8e9, 1e-7]
            .map(short)
            .into();
        assert_eq!(
            written,
            ["0", "0.05", "2.5", "64", "1024", "10k", "100k", "2.5M", "28.8G", "1e-7"]
        );
    }

    #[test]
    fn a_linear_axis_begins_at_zero_and_ends_above_all() {
        let scale = Scale::linear([3.0, 47.0]);
        assert_eq!(scale.marks, [0.0, 10.0, 20.0, 30.0, 40.0, 50.0]);
        assert_eq!(Scale::linear([-5.0, 5.0]).ends(), (-6.0, 6.0));
        let flat = Scale::linear([0.0]);
        assert!(flat.ends().0 < flat.ends().1);
    }

    #[test]
    fn an_axis_of_latencies_goes_by_the_logarithm_and_holds_all() {
        let scale = Scale::log([55.0, 47_000.0, 0.0]);
        assert!(scale.is_log && !scale.shows(0.0));
        assert_eq!(scale.marks, [100.0, 1_000.0, 10_000.0]);
        assert!(scale.from < 55.0 && scale.to > 47_000.0);
        // Less than three decades have marks between them.
        assert_eq!(Scale::log([1.5, 9.0]).marks, [1.0, 2.0, 5.0, 10.0]);
        assert_eq!(Scale::log([]).ends().0, Scale::log([1.0]).ends().0);
        assert!(!Scale::measured([10.0, 100.0].into_iter()).is_log);
        assert!(Scale::measured([1.0, 100.0].into_iter()).is_log);
    }

    #[test]
    fn a_parameter_is_marked_where_it_was_measured() {
        let agents = Scale::parameter([1.0, 16.0, 64.0, 256.0].into_iter());
        assert!(agents.is_log);
        assert_eq!(agents.marks, [1.0, 16.0, 64.0, 256.0]);
        let nodes = Scale::parameter([1.0, 3.0, 5.0].into_iter());
        assert!(!nodes.is_log);
        assert_eq!(nodes.marks, [1.0, 3.0, 5.0]);
        // Of those that lie too close only the last is marked.
        let close = Scale::parameter([1.0, 999.0, 1_000.0].into_iter());
        assert_eq!(close.marks, [1.0, 1_000.0]);
        let zero = Scale::parameter([0.0, 10.0, 1_000.0].into_iter());
        assert_eq!(zero.marks, [10.0, 1_000.0]);
        let one = Scale::parameter([4.0].into_iter());
        assert!(one.ends().0 < one.ends().1);
    }
}
