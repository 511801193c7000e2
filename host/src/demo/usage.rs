//! What the host's process uses, as the system counts it. Nothing is known where there is no `/proc`.

use std::{fs, time::Duration};

/// Ticks in a second in what `/proc` says of processor time: Linux shows all programs this number, whatever its own is.
const TICKS_PER_SECOND: u64 = 100;

/// Bytes of the kilobytes in `/proc`.
const KIB: u64 = 1024;

/// What a process used up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Processor time of all threads. It comes in ticks of 10 ms.
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
    /// The most that was resident since [`forget_peak`].
    pub(crate) peak_bytes: u64,
}

impl Usage {
    /// Of a process.
    pub(crate) fn of(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        Self::parse(&stat, &status)
    }

    fn parse(stat: &str, status: &str) -> Option<Self> {
        // The name, in parentheses, may hold anything. Behind it, `utime` and `stime` are the 12th and 13th field.
        let mut times = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11).map(str::parse::<u64>);
        let ticks = times.next()?.ok()? + times.next()?.ok()?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            cpu: Duration::from_millis(ticks * 1_000 / TICKS_PER_SECOND),
            resident_bytes: kib("VmRSS:")? * KIB,
            peak_bytes: kib("VmHWM:")? * KIB,
        })
    }
}

/// From now on the peak is counted anew. Where that is not possible it stays that of the process's whole life.
pub(crate) fn forget_peak(pid: u32) {
    // What `proc(5)` has for it.
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_and_memory_are_read_whatever_the_program_is_called() {
        let stat = "42 (a (b) c) S 1 42 42 0 -1 4194560 1 2 3 4 150 50 7 8 20 0 5 0 99";
        let status = "Name:\ta\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n";
        let usage = Usage { cpu: Duration::from_secs(2), resident_bytes: 1 << 20, peak_bytes: 2 << 20 };
        assert_eq!(Usage::parse(stat, status), Some(usage));
        assert_eq!(Usage::parse("42 (a) S", status), None);
    }

    #[test]
    fn this_process_is_known_where_there_is_proc() {
        if std::path::Path::new("/proc/self/stat").exists() {
            assert!(Usage::of(std::process::id()).is_some_and(|usage| usage.resident_bytes > 0));
        }
    }
}
