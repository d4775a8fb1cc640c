//! The text format of Prometheus, version 0.0.4: families with their help and type, and samples with labels.

use std::fmt::{Display, Write as _};

use queenright_actors::latency::{BUCKETS_US, Latency};

/// The media type of a page.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What the samples of a family mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, from the start of the process. Its name ends with `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts by upper bounds, with a sum.
    Histogram,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// A page that is written family by family.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    name: &'static str,
}

impl Page {
    /// Begins a family: the samples that follow are of it.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Page {
        debug_assert_eq!(kind == Kind::Counter, name.ends_with("_total"), "{name}");
        self.name = name;
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.word());
        self
    }

    /// A sample without labels.
    pub fn value(&mut self, value: impl Display) -> &mut Page {
        self.sample(&[], value)
    }

    /// A sample.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Page {
        self.line("", labels, value)
    }

    /// A counter that stands alone.
    pub fn counter(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Counter, help).value(value);
    }

    /// A gauge that stands alone.
    pub fn gauge(&mut self, name: &'static str, help: &str, value: impl Display) {
        self.family(name, Kind::Gauge, help).value(value);
    }

    /// The samples of a histogram with these labels.
    pub fn histogram(&mut self, labels: &[(&str, &str)], latency: &Latency) {
        let bounds = BUCKETS_US.iter().map(|us| seconds(*us));
        let bounds = bounds.zip(latency.within.iter().copied());
        self.buckets(labels, bounds, latency.count, seconds(latency.sum_us));
    }

    /// The same of counts by bounds in seconds, each of which includes those before it.
    pub fn buckets(
        &mut self,
        labels: &[(&str, &str)],
        buckets: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        let with = |le: &str, page: &mut Page, within: u64| {
            let labels = [labels, &[("le", le)]].concat();
            page.line("_bucket", &labels, within);
        };
        for (bound, within) in buckets {
            with(&bound.to_string(), self, within);
        }
        with("+Inf", self, count);
        self.line("_sum", labels, sum).line("_count", labels, count);
    }

    /// The samples of a family of quantiles with these labels.
    pub fn quantiles(&mut self, labels: &[(&str, &str)], latency: &Latency) {
        let recent = latency.recent;
        if recent.count == 0 {
            return;
        }
        let quantiles = [
            ("0.5", recent.p50_us),
            ("0.9", recent.p90_us),
            ("0.99", recent.p99_us),
            ("0.999", recent.p999_us),
            ("1", recent.max_us),
        ];
        for (quantile, us) in quantiles {
            let labels = [labels, &[("quantile", quantile)]].concat();
            self.sample(&labels, seconds(us));
        }
    }

    /// All of it.
    pub fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) -> &mut Page {
        let text = &mut self.text;
        let _ = write!(text, "{}{suffix}", self.name);
        for (place, (name, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    c => text.push(c),
                }
            }
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
        self
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_help_and_type_before_its_samples_and_labels_are_quoted() {
        let mut page = Page::default();
        page.counter("q_things_total", "Things.", 3);
        page.family("q_size_bytes", Kind::Gauge, "Sizes.")
            .sample(&[("of", "a\"b\\c\nd"), ("and", "e")], 2.5);
        let latency = Latency {
            count: 3,
            sum_us: 1_500_000,
            within: vec![1; BUCKETS_US.len()],
            ..Latency::default()
        };
        page.family("q_step_seconds", Kind::Histogram, "Steps.");
        page.histogram(&[("step", "x")], &latency);
        let text = page.into_text();
        let expected = [
            "# HELP q_things_total Things.",
            "# TYPE q_things_total counter",
            "q_things_total 3",
            "# HELP q_size_bytes Sizes.",
            "# TYPE q_size_bytes gauge",
            r#"q_size_bytes{of="a\"b\\c\nd",and="e"} 2.5"#,
            "# HELP q_step_seconds Steps.",
            "# TYPE q_step_seconds histogram",
            r#"q_step_seconds_bucket{step="x",le="0.0001"} 1"#,
        ];
        for (line, expected) in text.lines().zip(expected) {
            assert_eq!(line, expected);
        }
        let last: Vec<&str> = text.lines().rev().take(4).collect();
        assert_eq!(
            last,
            [
                r#"q_step_seconds_count{step="x"} 3"#,
                r#"q_step_seconds_sum{step="x"} 1.5"#,
                r#"q_step_seconds_bucket{step="x",le="+Inf"} 3"#,
                r#"q_step_seconds_bucket{step="x",le="10"} 1"#,
            ]
        );
    }
}
