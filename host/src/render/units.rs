//! Sizes, times and moments as people read them.

use std::time::Duration;

use host_core::time::UnixNanos;
use jiff::Timestamp;

/// A size.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut scaled = (bytes, "B");
    let mut rest = 0;
    for unit in UNITS {
        if scaled.0 < 1024 {
            break;
        }
        rest = scaled.0 % 1024;
        scaled = (scaled.0 / 1024, unit);
    }
    match scaled {
        (whole, unit @ "B") => format!("{whole} {unit}"),
        (whole, unit) if whole < 10 => format!("{whole}.{} {unit}", rest * 10 / 1024),
        (whole, unit) => format!("{whole} {unit}"),
    }
}

/// How many of them.
pub(super) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A length of time, three digits of it.
pub(super) fn length(duration: Duration) -> String {
    let ns = duration.as_nanos();
    let scaled = |unit: u128, name: &str| {
        let (whole, rest) = (ns / unit, ns % unit);
        match whole {
            0..10 => format!("{whole}.{:02} {name}", rest * 100 / unit),
            10..100 => format!("{whole}.{} {name}", rest * 10 / unit),
            _ => format!("{whole} {name}"),
        }
    };
    match duration.as_secs() {
        0 => match ns {
            0..1_000 => format!("{ns} ns"),
            1_000..1_000_000 => scaled(1_000, "µs"),
            _ => scaled(1_000_000, "ms"),
        },
        1..60 => scaled(1_000_000_000, "s"),
        secs => long(secs),
    }
}

/// A long time, its two greatest units.
pub(super) fn long(secs: u64) -> String {
    match secs {
        0..60 => format!("{secs} s"),
        60..3_600 => format!("{} min {} s", secs / 60, secs % 60),
        3_600..86_400 => format!("{} h {} min", secs / 3_600, secs % 3_600 / 60),
        _ => format!("{} d {} h", secs / 86_400, secs % 86_400 / 3_600),
    }
}

/// A moment, in UTC to the millisecond.
pub(super) fn moment(at: UnixNanos) -> String {
    timestamp(at).map_or_else(|| "?".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string())
}

/// A moment for programs: RFC 3339 in UTC.
pub(super) fn rfc3339(at: UnixNanos) -> String {
    timestamp(at).map_or_else(String::new, |at| at.to_string())
}

/// How long ago something was.
pub(super) fn ago(at: UnixNanos, now: Timestamp) -> String {
    let then = timestamp(at).map_or(0, Timestamp::as_second);
    let secs = u64::try_from(now.as_second().saturating_sub(then)).unwrap_or(0);
    format!("{} ago", long(secs))
}

/// None for a moment no calendar has.
fn timestamp(at: UnixNanos) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(at.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_the_unit_that_suits_them() {
        for (size, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (10 << 20, "10 MiB"),
            (u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
        for (ns, text) in [
            (0, "0 ns"),
            (1_500, "1.50 µs"),
            (12_345, "12.3 µs"),
            (180_000, "180 µs"),
            (1_234_567, "1.23 ms"),
            (5_000_000_000, "5.00 s"),
            (90_000_000_000, "1 min 30 s"),
            (90_061_000_000_000, "1 d 1 h"),
        ] {
            assert_eq!(length(Duration::from_nanos(ns)), text);
        }
    }

    #[test]
    fn moments_are_in_utc() {
        let at = UnixNanos(1_700_000_000_123_456_789);
        assert_eq!(moment(at), "2023-11-14 22:13:20.123");
        assert_eq!(rfc3339(at), "2023-11-14T22:13:20.123456789Z");
        let now = Timestamp::from_second(1_700_000_065).expect("a moment");
        assert_eq!(ago(at, now), "1 min 5 s ago");
        assert_eq!(ago(UnixNanos(u64::MAX), now), "0 s ago");
    }
}
