//! The median and the range of a few repeats.

use crate::report::Row;

/// Samples in ascending order, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spread(Vec<f64>);

impl Spread {
    /// Of these samples.
    ///
    /// # Panics
    /// If there are none.
    pub(super) fn of(samples: impl IntoIterator<Item = f64>) -> Spread {
        let mut samples: Vec<f64> = samples.into_iter().collect();
        assert!(!samples.is_empty(), "every load is repeated at least once");
        samples.sort_by(f64::total_cmp);
        Spread(samples)
    }

    /// The one in the middle; of an even number the lower of the two.
    pub(super) fn median(&self) -> f64 {
        self.0[(self.0.len() - 1) / 2]
    }

    /// How many.
    pub(super) fn samples(&self) -> u64 {
        self.0.len() as u64
    }

    /// All of them.
    pub(super) fn repeats(&self) -> Vec<f64> {
        self.0.clone()
    }

    /// The row of the median, with all of them.
    pub(super) fn row(&self, name: impl Into<String>, unit: impl Into<String>) -> Row {
        Row::new(name, self.median(), unit, self.samples()).repeats(self.repeats())
    }

    /// What is said beside the median.
    pub(super) fn note(&self) -> String {
        let (least, greatest) = (self.0[0], self.0[self.0.len() - 1]);
        match self.0.len() {
            1 => "1 repeat".to_owned(),
            repeats if greatest < 100.0 => {
                format!("median of {repeats} repeats, {least:.2} to {greatest:.2}")
            }
            repeats => format!("median of {repeats} repeats, {least:.0} to {greatest:.0}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_is_a_sample_and_the_range_holds_all() {
        let spread = Spread::of([300.0, 100.0, 200.0]);
        assert_eq!((spread.median(), spread.samples()), (200.0, 3));
        assert_eq!(spread.note(), "median of 3 repeats, 100 to 300");
        assert_eq!(Spread::of([2.0, 1.0]).median(), 1.0);
        assert_eq!(Spread::of([1.5]).note(), "1 repeat");
        let row = spread.row("a", "µs");
        assert_eq!((row.value, row.samples), (200.0, 3));
        assert_eq!(row.repeats, [100.0, 200.0, 300.0]);
    }
}
