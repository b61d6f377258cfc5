//! Spans of time as people write them: Go's grammar, and `d` for a day of 24 hours.
//!
//! A span is one or more numbers, each with its unit: `30s`, `1h45m`, `1.5h`, `300ms`, `2d`, `1µs`.
//! Only zero may go without: `0`. Nothing is guessed: `M` is no unit, so that no month is ever taken
//! for a minute, and a number without a unit is refused.

use std::sync::LazyLock;
use std::time::Duration;

use fundu::{CustomDurationParser, CustomTimeUnit, TimeUnit};

/// The longest span that is read: that of a signed 64-bit number of nanoseconds, as in Go, which is
/// about 292 years.
pub const DURATION_MAX: Duration = Duration::from_nanos(i64::MAX as u64);
/// The longest text that is read as a span, in bytes.
pub const DURATION_BYTES_MAX: usize = 128;

/// Why a text is not a span of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// It is not in the grammar.
    #[error("must be a duration such as 30s, 1h45m, 1.5h or 2d (units: ns, us, ms, s, m, h, d)")]
    Unreadable,
    /// It is a number, and nobody knows of what.
    #[error("needs a unit behind every number, as in 30s or 1h45m")]
    NoUnit,
    /// It is less than nothing.
    #[error("must not be negative")]
    Negative,
    /// It is longer than [`DURATION_MAX`].
    #[error("is too long: at most 292 years can be written")]
    TooLong,
}

const UNITS: &[CustomTimeUnit<'static>] = &[
    CustomTimeUnit::with_default(TimeUnit::NanoSecond, &["ns"]),
    // The micro sign and the Greek letter look the same; Go takes both.
    CustomTimeUnit::with_default(TimeUnit::MicroSecond, &["us", "\u{b5}s", "\u{3bc}s"]),
    CustomTimeUnit::with_default(TimeUnit::MilliSecond, &["ms"]),
    CustomTimeUnit::with_default(TimeUnit::Second, &["s"]),
    CustomTimeUnit::with_default(TimeUnit::Minute, &["m"]),
    CustomTimeUnit::with_default(TimeUnit::Hour, &["h"]),
    CustomTimeUnit::with_default(TimeUnit::Day, &["d"]),
];

static PARSER: LazyLock<CustomDurationParser<'static>> = LazyLock::new(|| {
    CustomDurationParser::builder()
        .time_units(UNITS)
        .disable_exponent()
        .disable_infinity()
        .parse_multiple(None)
        .build()
});

/// Reads a span of time.
///
/// # Errors
/// What is wrong with it, as the rest of a sentence that begins with the field's name.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.len() > DURATION_BYTES_MAX {
        return Err(DurationError::Unreadable);
    }
    if text.starts_with('-') {
        return Err(DurationError::Negative);
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    // The parser would take spaces and further signs between the parts, and a part without a unit
    // for seconds: the last one, or the first of `1.2.3s`.
    let two_points = unsigned
        .split(|c: char| c != '.' && !c.is_ascii_digit())
        .any(|number| number.matches('.').count() > 1);
    if two_points || unsigned.contains(|c: char| c == '+' || c == '-' || c.is_whitespace()) {
        return Err(DurationError::Unreadable);
    }
    if unsigned.ends_with(|c: char| c.is_ascii_digit() || c == '.') {
        return match unsigned.parse::<f64>() {
            Ok(0.0) => Ok(Duration::ZERO),
            _ => Err(DurationError::NoUnit),
        };
    }
    let span = PARSER.parse(unsigned).map_err(|error| match error {
        fundu::ParseError::Overflow => DurationError::TooLong,
        _ => DurationError::Unreadable,
    })?;
    let span = Duration::try_from(span).map_err(|_| DurationError::TooLong)?;
    if span > DURATION_MAX {
        return Err(DurationError::TooLong);
    }
    Ok(span)
}

/// Reads a span of time from a number of seconds.
///
/// # Errors
/// As [`parse_duration`].
pub fn duration_from_seconds(seconds: f64) -> Result<Duration, DurationError> {
    if seconds.is_nan() {
        return Err(DurationError::Unreadable);
    }
    if seconds < 0.0 {
        return Err(DurationError::Negative);
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if span <= DURATION_MAX => Ok(span),
        _ => Err(DurationError::TooLong),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_go_reads_is_read_alike_and_days_too() {
        let hour = 3600;
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("+0", 0),
            ("0.0", 0),
            ("30s", 30_000_000_000_u128),
            ("+30s", 30_000_000_000),
            ("1h45m", (hour + 45 * 60) * 1_000_000_000),
            ("2h30s", (2 * hour + 30) * 1_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("300ms", 300_000_000),
            ("1\u{b5}s", 1_000),
            ("1\u{3bc}s", 1_000),
            ("1us", 1_000),
            ("7ns", 7),
            ("2d", 2 * 24 * hour * 1_000_000_000),
            ("1d12h", 36 * hour * 1_000_000_000),
            ("1m", 60_000_000_000),
            ("1h1h", 2 * hour * 1_000_000_000),
            ("1m500ms", 60_500_000_000),
            ("3h4m5s6ms7us8ns", 11_045_006_007_008),
        ] {
            assert_eq!(
                parse_duration(text).map(|d| d.as_nanos()),
                Ok(nanos),
                "{text}"
            );
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused() {
        use DurationError::*;
        for (text, error) in [
            ("", Unreadable),
            ("s", Unreadable),
            (".s", Unreadable),
            (".", NoUnit),
            ("30", NoUnit),
            ("1h30", NoUnit),
            ("1.5", NoUnit),
            ("1M", Unreadable),
            ("1y", Unreadable),
            ("1w", Unreadable),
            ("1mo", Unreadable),
            ("1min", Unreadable),
            ("1sec", Unreadable),
            ("1S", Unreadable),
            ("1H", Unreadable),
            ("1e3s", Unreadable),
            ("1_000s", Unreadable),
            ("1,5s", Unreadable),
            ("1.2.3s", Unreadable),
            ("1h 30m", Unreadable),
            (" 1s", Unreadable),
            ("1s ", Unreadable),
            ("1 s", Unreadable),
            ("1h-30m", Unreadable),
            ("1h+30m", Unreadable),
            ("++1s", Unreadable),
            ("inf", Unreadable),
            ("infinity", Unreadable),
            ("NaN", Unreadable),
            ("none", Unreadable),
            ("0x10s", Unreadable),
            ("١s", Unreadable),
            ("-1s", Negative),
            ("-0", Negative),
            ("300y", Unreadable),
            ("9223372036854775808ns", TooLong),
            ("999999999999999999999999999999s", TooLong),
            ("106752d", TooLong),
        ] {
            assert_eq!(parse_duration(text), Err(error), "{text}");
        }
        assert_eq!(parse_duration(&"1".repeat(1000)), Err(Unreadable));
    }

    #[test]
    fn seconds_must_be_a_finite_positive_number() {
        assert_eq!(duration_from_seconds(1.5), Ok(Duration::from_millis(1500)));
        assert_eq!(duration_from_seconds(0.0), Ok(Duration::ZERO));
        for (seconds, error) in [
            (-1.0, DurationError::Negative),
            (f64::NEG_INFINITY, DurationError::Negative),
            (f64::NAN, DurationError::Unreadable),
            (f64::INFINITY, DurationError::TooLong),
            (1e300, DurationError::TooLong),
        ] {
            assert_eq!(duration_from_seconds(seconds), Err(error), "{seconds}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,200}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn no_near_miss_panics(text in "[-+0-9.eEµμnumshdM ]{0,40}") {
            let _ = parse_duration(&text);
        }

        #[test]
        fn whole_units_add_up(d in 0_u64..100, h in 0_u64..100, m in 0_u64..100, s in 0_u64..100, ms in 0_u64..2000) {
            let expected = Duration::from_secs(((d * 24 + h) * 60 + m) * 60 + s) + Duration::from_millis(ms);
            prop_assert_eq!(parse_duration(&format!("{d}d{h}h{m}m{s}s{ms}ms")).unwrap(), expected);
        }

        #[test]
        fn no_number_of_seconds_panics(seconds in any::<f64>()) {
            let _ = duration_from_seconds(seconds);
        }
    }
}
