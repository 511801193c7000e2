//! Tables and lists.

use comfy_table::{Table, presets};
use host_core::{
    event::HostEvent,
    id::WorkloadName,
    status::{HealthReport, Place, VersionStatus},
};

use super::units::{bytes, moment};

/// Named values below each other, further lines of a value below its first.
pub(super) fn fields(rows: &[(&str, String)]) -> String {
    let mut text = String::new();
    for (name, value) in rows {
        for (at, line) in value.lines().enumerate() {
            let name = if at == 0 { *name } else { "" };
            text.push_str(format!("{name:>13}  {line}").trim_end());
            text.push('\n');
        }
    }
    text
}

/// A table as `kubectl` and `systemctl` have them: no lines, columns two spaces apart.
pub(super) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n") + "\n"
}

/// The stored versions of a workload.
pub(super) fn versions(workload: &WorkloadName, versions: &[VersionStatus]) -> String {
    if versions.is_empty() {
        return format!("no version of {workload} is stored");
    }
    table(
        ["VERSION", "PLACE", "SCHEMA", "SIZE", "STORED (UTC)", "DIGEST"],
        versions.iter().map(|version| {
            let place = match version.place {
                Place::Current => "current",
                Place::Predecessor => "predecessor",
                Place::Stored => "stored",
            };
            [
                version.version.to_string(),
                place.to_owned(),
                version.format.schema.to_string(),
                bytes(version.size_bytes),
                moment(version.stored),
                version.digest.short(),
            ]
        }),
    )
}

/// How healthy workloads are.
pub(super) fn health(reports: &[HealthReport]) -> String {
    if reports.is_empty() {
        return super::status::NO_WORKLOADS.to_owned();
    }
    let mut text = String::new();
    for report in reports {
        text.push_str(&format!("{}: {}\n", report.workload, report.status.as_str()));
        let details: Vec<(&str, String)> =
            report.details.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        text.push_str(&fields(&details));
    }
    text
}

/// One event, on one line.
pub(super) fn event(event: &HostEvent) -> String {
    let workload = event.workload.as_ref().map_or("-", WorkloadName::as_str);
    let swap = event.swap.map_or_else(String::new, |swap| format!(" (swap {swap})"));
    let message = event.message.replace('\n', " ⏎ ");
    format!("{}  {:<22} {workload}{swap}  {message}", moment(event.at), event.name).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use host_core::status::HealthStatus;

    use super::*;
    use crate::render::examples;

    #[test]
    fn a_table_has_no_lines_and_no_blanks_at_its_right() {
        let rows = [["a".to_owned(), "1".to_owned()], ["long".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "N"], rows), "NAME  N\na     1\nlong\n");
    }

    #[test]
    fn an_event_stays_on_its_line() {
        let two_lines = HostEvent { message: "a\nb".to_owned(), ..examples::event() };
        assert_eq!(event(&two_lines), "2023-11-14 22:13:20.000  swap.phase             counter (swap 3)  a ⏎ b");
    }

    #[test]
    fn health_shows_its_details() {
        let report = HealthReport {
            workload: "counter".parse().expect("a name"),
            status: HealthStatus::Degraded,
            details: vec![("rows".to_owned(), "5".to_owned())],
        };
        assert_eq!(health(&[report]), "counter: degraded\n         rows  5\n");
    }
}
