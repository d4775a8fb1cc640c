//! Random keys: uniform, and by Zipf's law.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// How often each of the keys is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distribution {
    /// All keys alike.
    Uniform,
    /// The k-th key in proportion to k^−0.99, the skew of the YCSB benchmark.
    Zipf,
}

impl Distribution {
    pub(super) const ALL: [Distribution; 2] = [Distribution::Uniform, Distribution::Zipf];

    pub(super) fn name(self) -> &'static str {
        match self {
            Distribution::Uniform => "uniform",
            Distribution::Zipf => "Zipf 0.99",
        }
    }

    /// `count` keys drawn from `count` different ones.
    pub(super) fn keys(self, seed: u64, count: usize) -> Vec<String> {
        let mut random = StdRng::seed_from_u64(seed);
        let mut shares = Vec::new();
        if self == Distribution::Zipf {
            let mut sum = 0.0;
            shares.extend((1..=count).map(|k| {
                sum += (k as f64).powf(-0.99);
                sum
            }));
        }
        let mut draw = || match shares.last() {
            None => random.random_range(0..count),
            Some(sum) => {
                let point = random.random_range(0.0..*sum);
                shares.partition_point(|share| *share <= point)
            }
        };
        (0..count).map(|_| format!("resource-{}", draw())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Distribution;

    #[test]
    fn the_first_key_of_zipf_takes_its_share() {
        let keys = Distribution::Zipf.keys(1, 10_000);
        let first = keys.iter().filter(|key| *key == "resource-0").count();
        // 1 / Σ k^−0.99 over 10,000 keys is 0.098.
        assert!((850..1_100).contains(&first), "{first}");
    }

    #[test]
    fn uniform_keys_repeat_little() {
        let keys = Distribution::Uniform.keys(1, 10_000);
        let distinct: std::collections::BTreeSet<_> = keys.iter().collect();
        // (1 − 1/e) of 10,000 is 6,321.
        assert!((6_200..6_450).contains(&distinct.len()), "{}", distinct.len());
    }
}
