//! Values as people write them.

use std::{path::Path, time::Duration};

use host_api::convert::limits;
use host_core::{
    id::{InvalidWorkloadName, WorkloadName},
    policy::{Shadow, SwapPolicy},
};
use semver::Version;

use crate::render;

/// A duration: `500ms`, `10s`, `5m`, `0s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| format!("`{text}` is no duration: write 500ms, 10s or 5m"))
}

fn duration_up_to(text: &str, limit: Duration) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration > limit {
        return Err(format!("{text} is above the limit of {}", humantime::format_duration(limit)));
    }
    Ok(duration)
}

/// A duration that is not nothing.
pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("it must be more than nothing".to_owned()),
        duration => Ok(duration),
    }
}

/// The longest pause of a swap.
pub(crate) fn pause_limit(text: &str) -> Result<Duration, String> {
    some_duration(text)?;
    duration_up_to(text, SwapPolicy::PAUSE_LIMIT_LIMIT)
}

/// A probation; `0s` for none.
pub(crate) fn probation(text: &str) -> Result<Duration, String> {
    duration_up_to(text, SwapPolicy::PROBATION_LIMIT)
}

/// How long a candidate is tried on live traffic.
pub(crate) fn shadow(text: &str) -> Result<Duration, String> {
    some_duration(text)?;
    duration_up_to(text, Shadow::PERIOD_LIMIT)
}

/// How long connections are closed gently.
pub(crate) fn drain(text: &str) -> Result<Duration, String> {
    duration_up_to(text, limits::DRAIN_LIMIT)
}

/// How long a call waits for its reply.
pub(crate) fn call_timeout(text: &str) -> Result<Duration, String> {
    some_duration(text)?;
    duration_up_to(text, limits::CALL_TIMEOUT_LIMIT)
}

/// A semantic version.
pub(crate) fn version(text: &str) -> Result<Version, String> {
    text.parse().map_err(|why| {
        let no_version = format!("`{text}` is no semantic version ({why})");
        match near_version(text) {
            Some(near) => format!("{no_version}; did you mean {near}?"),
            None => format!("{no_version}; write it as 1.2.3, or 1.2.3-rc.1"),
        }
    })
}

/// What `1.0` and `v1.0.0` are likely meant to be.
fn near_version(text: &str) -> Option<Version> {
    let bare = text.trim().trim_start_matches(['v', 'V']);
    [bare.to_owned(), format!("{bare}.0"), format!("{bare}.0.0")].iter().find_map(|near| near.parse().ok())
}

/// A size in bytes: `100MiB`, `2GB`, `4096`.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let invalid = || format!("`{text}` is no size: write 100MiB, 2GiB or a number of bytes");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return Err(invalid()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit)).ok_or_else(invalid)
}

/// A size that fits into memory.
pub(crate) fn memory_size(text: &str) -> Result<usize, String> {
    let bytes = size(text)?;
    usize::try_from(bytes).map_err(|_| format!("{} is more than this machine can address", render::bytes(bytes)))
}

/// The workload that a file is a version of, when no name is given: its stem, without a version at its end, so that
/// `counter-1.1.0.wasm` is a version of `counter`.
pub(crate) fn name_of_file(file: &Path) -> Result<WorkloadName, InvalidWorkloadName> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let dashes = stem.match_indices('-').map(|(at, _)| at);
    let name = dashes
        .filter(|at| *at > 0)
        .filter_map(|at| Some((stem.get(..at)?, stem.get(at + 1..)?)))
        .find(|(_, rest)| rest.parse::<Version>().is_ok())
        .map_or(&*stem, |(name, _)| name);
    name.parse()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_with_their_unit() {
        for (text, wanted) in [
            ("500ms", Duration::from_millis(500)),
            ("10s", Duration::from_secs(10)),
            ("5m", Duration::from_secs(300)),
            ("0s", Duration::ZERO),
            ("1m 30s", Duration::from_secs(90)),
        ] {
            assert_eq!(duration(text), Ok(wanted), "{text}");
        }
        for text in ["", "5", "fast", "-1s", "1.5.5s"] {
            assert!(duration(text).expect_err(text).contains("500ms, 10s or 5m"), "{text}");
        }
        assert_eq!(probation("0s"), Ok(Duration::ZERO));
        assert!(probation("2days").is_err() && pause_limit("0s").is_err() && pause_limit("11m").is_err());
    }

    #[test]
    fn a_file_is_a_version_of_its_stem() {
        for (file, wanted) in [
            ("counter.wasm", "counter"),
            ("/a/b/counter-1.1.0.wasm", "counter"),
            ("counter-1.1.0-rc.1.wasm", "counter"),
            ("my-chat-2.0.0+build.7.wasm", "my-chat"),
            ("chat-v2.wasm", "chat-v2"),
            ("chat-2.wasm", "chat-2"),
            ("counter-1.0.0.component.wasm", "counter-1.0.0.component"),
            ("1.0.0.wasm", "1.0.0"),
        ] {
            assert_eq!(name_of_file(Path::new(file)).expect(file).as_str(), wanted, "{file}");
        }
        for file in ["My Chat.wasm", "", "/", "-1.0.0.wasm"] {
            assert!(name_of_file(Path::new(file)).is_err(), "{file}");
        }
    }

    #[test]
    fn sizes_have_units_of_either_kind() {
        for (text, wanted) in [("4096", 4096), ("100MiB", 100 << 20), ("2GB", 2_000_000_000), ("1K", 1024), ("0", 0)] {
            assert_eq!(size(text), Ok(wanted), "{text}");
        }
        for text in ["", "MiB", "1.5G", "100 parsec", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
