//! Values of rollouts as people write them.

use std::time::Duration;

use host_core::time::UnixNanos;

use crate::cli::values::duration;

/// When something begins: `+2h` from now, or a moment as RFC 3339.
pub(super) fn moment(text: &str) -> Result<UnixNanos, String> {
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let now = host_fleet::clock::Clock::system().now();
    if let Some(later) = text.strip_prefix('+') {
        return Ok(UnixNanos(now.0.saturating_add(nanos(duration(later)?))));
    }
    let moment: jiff::Timestamp =
        text.parse().map_err(|_| format!("`{text}` is no moment: write +2h, or 2026-01-31T02:00:00Z"))?;
    let nanos = u64::try_from(moment.as_nanosecond()).map_err(|_| format!("{text} is long over"))?;
    if nanos < now.0 { Err(format!("{text} is over")) } else { Ok(UnixNanos(nanos)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_from_now_or_written_out() {
        assert!(moment("+2h").expect("later") > moment("+1h").expect("sooner"));
        assert_eq!(moment("2100-01-01T00:00:00Z"), Ok(UnixNanos(4_102_444_800_000_000_000)));
        for (bad, wanted) in [("2h", "write +2h"), ("2001-01-01T00:00:00Z", "is over"), ("+soon", "500ms, 10s or 5m")] {
            assert!(moment(bad).expect_err(bad).contains(wanted), "{bad}");
        }
    }
}
