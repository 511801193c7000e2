//! What must hold before a swap: current health, disk, memory.

use std::path::Path;

use host_core::{
    policy::Preflight,
    status::{HealthReport, HealthStatus},
};

/// Free space on the data directory's file system, and the resident memory of this process, in the other order.
pub(super) fn process_and_disk(data: &Path) -> (u64, u64) {
    (resident_bytes().unwrap_or(0), free_disk_bytes(data).unwrap_or(0))
}

/// Whether a swap may begin.
///
/// # Errors
/// What does not hold, with the numbers.
pub(super) fn check(data: &Path, wanted: Preflight, health: Option<&HealthReport>) -> Result<(), String> {
    if let Some(health) = health.filter(|health| health.status == HealthStatus::Failed) {
        let details: Vec<_> = health.details.iter().map(|(name, value)| format!("{name}={value}")).collect();
        return Err(format!(
            "the running release says its health is failed ({}); --force skips this check",
            details.join(" ")
        ));
    }
    // A file system that does not tell its free space is not held against the swap.
    let free = free_disk_bytes(data).unwrap_or(u64::MAX);
    if free < wanted.min_free_disk_bytes {
        return Err(format!(
            "{} MiB are free in {}, {} MiB are wanted; make room, or skip this check with --force",
            free >> 20,
            data.display(),
            wanted.min_free_disk_bytes >> 20
        ));
    }
    let used = memory_percent().unwrap_or(0);
    if used > u64::from(wanted.max_memory_percent) {
        return Err(format!(
            "{used} % of the machine's memory is in use, {} % is the most for a swap; --force skips this check",
            wanted.max_memory_percent
        ));
    }
    Ok(())
}

fn free_disk_bytes(data: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(data).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// Linux tells; elsewhere the check passes.
fn memory_percent() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let (total, available) = (field(&text, "MemTotal:")?, field(&text, "MemAvailable:")?);
    total.checked_sub(available)?.checked_mul(100)?.checked_div(total)
}

fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(field(&text, "VmRSS:")? * 1024)
}

/// The number behind a name in a file of `Name: 123 kB` lines.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_failed_health_are_refused_with_numbers() {
        let data = Path::new("/");
        let wanted = Preflight { min_free_disk_bytes: u64::MAX, max_memory_percent: 100 };
        assert!(check(data, wanted, None).unwrap_err().contains("MiB are wanted"));
        let health = HealthReport {
            workload: "chat".parse().unwrap(),
            status: HealthStatus::Failed,
            details: vec![("queue".into(), "stuck".into())],
        };
        let wanted = Preflight { min_free_disk_bytes: 0, max_memory_percent: 100 };
        assert!(check(data, wanted, Some(&health)).unwrap_err().contains("queue=stuck"));
        assert_eq!(check(data, wanted, None), Ok(()));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(memory_percent().is_some_and(|percent| percent <= 100));
    }
}
