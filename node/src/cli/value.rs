//! Times, sizes and shares as people write them on a command line.

use std::ops::RangeInclusive;
use std::time::Duration;

use queenright_protocol::colony::NAME_BYTES_MAX;

/// The units of a time, longest first, in seconds.
const UNITS: [(&str, f64); 7] = [
    ("d", 86_400.0),
    ("h", 3_600.0),
    ("min", 60.0),
    ("m", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
    ("us", 1e-6),
];

/// A time such as `90s`, `1.5h` or `20ms`, within bounds in seconds; a number alone is seconds.
///
/// # Errors
/// What was expected, with the bounds.
pub(super) fn time(text: &str, bounds: RangeInclusive<f64>) -> Result<Duration, String> {
    let expected = |least, most| format!("expected a time from {least} to {most}, such as 90, 90s, 5m or 20ms");
    within(read(text, 1.0), &bounds, expected)
}

/// The same where a number alone would be taken for something else: without a unit it is refused.
///
/// # Errors
/// What was expected, with the bounds.
pub(super) fn time_with_unit(text: &str, bounds: RangeInclusive<f64>) -> Result<Duration, String> {
    let expected =
        |least, most| format!("expected a number and its unit (us, ms, s, m, h or d), from {least} to {most}");
    within(read(text, f64::NAN), &bounds, expected)
}

fn within(
    seconds: Option<f64>,
    bounds: &RangeInclusive<f64>,
    expected: impl Fn(String, String) -> String,
) -> Result<Duration, String> {
    seconds
        .filter(|seconds| bounds.contains(seconds))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .ok_or_else(|| expected(shown(*bounds.start()), shown(*bounds.end())))
}

/// Seconds of a number and its unit; `alone` is the unit of a number without.
fn read(text: &str, alone: f64) -> Option<f64> {
    let is_digit = |c: char| c.is_ascii_digit() || c == '.';
    let digits = text.find(|c| !is_digit(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "" => alone,
        unit => UNITS.iter().find(|(name, _)| *name == unit)?.1,
    };
    Some(number.parse::<f64>().ok()? * seconds)
}

/// A time in the longest unit of which it is a whole number.
fn shown(seconds: f64) -> String {
    let whole = |unit: f64| (seconds / unit).fract() == 0.0 && seconds >= unit;
    let unit = UNITS.iter().find(|(name, unit)| *name != "min" && whole(*unit));
    unit.map_or_else(|| "0s".to_owned(), |(name, unit)| format!("{}{name}", seconds / unit))
}

/// A percentage within bounds, with its sign or without: `12.5%` is 12.5.
///
/// # Errors
/// What was expected, with the bounds.
pub(super) fn percent(text: &str, bounds: RangeInclusive<f64>) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse::<f64>();
    match number {
        Ok(percent) if bounds.contains(&percent) => Ok(percent),
        _ => Err(format!(
            "expected a percentage from {}% to {}%, such as 10%",
            bounds.start(),
            bounds.end()
        )),
    }
}

/// A size such as `512M`, in MiB. Its bounds are the node's.
///
/// # Errors
/// What was expected.
pub(super) fn mebibytes(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len() - text.ends_with(['M', 'G', 'T']) as usize);
    let mebibytes = match unit {
        "M" => Some(1),
        "G" => Some(1 << 10),
        "T" => Some(1 << 20),
        _ => None,
    };
    let size = mebibytes.and_then(|unit| number.parse::<u64>().ok()?.checked_mul(unit));
    size.ok_or_else(|| "expected a size such as 512M, 2G or 1T".to_owned())
}

/// The name of an agent, as every door takes it.
///
/// # Errors
/// How long it may be, or what it may not hold.
pub(super) fn name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=NAME_BYTES_MAX if text.chars().any(char::is_control) => {
            Err("has a control character, expected none".to_owned())
        }
        1..=NAME_BYTES_MAX => Ok(text.to_owned()),
        bytes => Err(format!("{bytes} B, expected 1 to {NAME_BYTES_MAX}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: f64 = 365.0 * 86_400.0;

    #[test]
    fn a_time_is_a_number_and_a_unit() {
        for (text, micros) in [
            ("90", 90_000_000),
            ("90s", 90_000_000),
            ("1.5m", 90_000_000),
            ("10min", 600_000_000),
            ("2h", 7_200_000_000),
            ("1d", 86_400_000_000),
            ("20ms", 20_000),
            ("500us", 500),
            ("0", 0),
        ] {
            assert_eq!(time(text, 0.0..=YEAR), Ok(Duration::from_micros(micros)), "{text}");
        }
        for wrong in [
            "", "s", "-1s", "1w", "1 s", "NaN", "inf", "1e3", "1..5s", "5\u{fc}", "366d",
        ] {
            assert!(time(wrong, 0.0..=YEAR).is_err(), "{wrong}");
        }
        assert!(time_with_unit("30", 0.0..=YEAR).is_err());
        assert_eq!(time_with_unit("30m", 0.0..=YEAR), Ok(Duration::from_secs(1_800)));
    }

    #[test]
    fn what_is_beyond_the_bounds_is_refused_with_them() {
        let refused = time("61m", 0.001..=3_600.0).unwrap_err();
        assert!(refused.starts_with("expected a time from 1ms to 1h"), "{refused}");
        let refused = time_with_unit("0s", 90.0..=100.0 * YEAR).unwrap_err();
        assert!(refused.ends_with("from 90s to 36500d"), "{refused}");
        assert!(time("0.0005", 0.001..=3_600.0).is_err());
        let refused = percent("101%", 0.1..=100.0).unwrap_err();
        assert_eq!(refused, "expected a percentage from 0.1% to 100%, such as 10%");
        assert!(time("1", 0.0..=0.5).unwrap_err().contains("from 0s to 500ms"));
    }

    #[test]
    fn a_size_has_a_unit() {
        assert_eq!(mebibytes("512M"), Ok(512));
        assert_eq!(mebibytes("2G"), Ok(2_048));
        for wrong in ["", "512", "M", "1.5G", "99999999999999999999T", "18446744073709551615T"] {
            assert!(mebibytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_neither_empty_nor_too_long() {
        assert_eq!(name("ann"), Ok("ann".to_owned()));
        assert_eq!(name(&"x".repeat(129)).unwrap_err(), "129 B, expected 1 to 128");
        assert!(name("").is_err() && name("a\nb").is_err());
    }

    #[test]
    fn a_percentage_has_its_sign_or_not() {
        assert_eq!(percent("10%", 0.0..=100.0), Ok(10.0));
        assert_eq!(percent("12.5", 0.0..=100.0), Ok(12.5));
        for wrong in ["-1%", "101%", "NaN", "ten", "", "%"] {
            assert!(percent(wrong, 0.0..=100.0).is_err(), "{wrong}");
        }
    }
}
