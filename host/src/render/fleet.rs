//! A fleet, for people; for programs see `json/fleet.rs`.

mod declared;

use std::{net::SocketAddr, ops::ControlFlow, path::Path};

use host_core::{
    fleet::{Assignment, RunWanted},
    id::{HostId, RolloutId},
};
use host_fleet::{
    identity::{CoordinatorAddress, FleetId},
    operator::{FleetStatus, HostView, Placement, RolloutView, Told},
    store::{AuditEntry, FleetEvent, ReleaseRecord},
};
use serde::Serialize;

pub(crate) use self::declared::{applied, begun};

use super::{
    aside, json, line,
    lists::{fields, table},
    result,
    units::{bytes, length, moment},
};
use crate::cli::Output;

/// A coordinator that is up.
pub(crate) fn ready(data: &Path, address: SocketAddr, metrics: Option<SocketAddr>) {
    let metrics = metrics.map_or_else(String::new, |address| format!(" · metrics http://{address}/metrics"));
    aside(&format!(
        "coordinator ready: https://{address} · data {}{metrics}\nhosts join it with: host run --join https://{address} --token …   \
         (a token: host fleet token create --data {})",
        data.display(),
        data.display()
    ));
}

/// A fleet that was made.
pub(crate) fn made(data: &Path, fleet: FleetId, address: &CoordinatorAddress, output: Output) {
    #[derive(Serialize)]
    struct Made {
        fleet: String,
        data: String,
        coordinator: String,
    }
    let (fleet, data, coordinator) = (fleet.to_string(), data.display().to_string(), address.to_string());
    let text = format!("fleet {fleet} is made in {data}\nnext: host coordinator --data {data}");
    result(output, || text, || Made { fleet, data, coordinator });
}

/// A coordinator's answer.
pub(crate) fn told(told: &Told, output: Output) {
    result(output, || words(told), || json::fleet::answer(told));
}

fn words(told: &Told) -> String {
    match told {
        Told::Status { fleet } => status(fleet),
        Told::Hosts { hosts } => host_list(hosts),
        Told::Where { assignment, hosts } => whereabouts(assignment.as_deref(), hosts),
        Told::Rollout { rollout } => summary(rollout),
        Told::Plan { lines } => lines.join("\n"),
        Told::History { rollouts } => history(rollouts),
        Told::Versions { releases, stable } => versions(releases, stable.as_ref()),
        Told::Declared { workloads, others, applied } => declared::words(workloads, others, *applied),
        Told::Token { token, expires } => format!("{token}\nshown once; good until {}", moment(*expires)),
        Told::AuditLog { entries, verified } => audit(entries, verified.as_ref()),
        Told::Done { message } => message.clone(),
    }
}

/// A rollout's end.
pub(crate) fn rollout(rollout: &RolloutView, output: Output) {
    result(output, || summary(rollout), || json::fleet::Rollout::of(rollout));
}

/// What a rollout waits for.
pub(crate) fn why(rollout: &RolloutView, output: Output) {
    result(output, || rollout.why.to_string(), || Because { why: json::fleet::WhyView::of(&rollout.why) });
}

#[derive(Serialize)]
struct Because<'a> {
    why: json::fleet::WhyView<'a>,
}

/// Something that happened in a rollout that is waited for.
pub(crate) fn progress(event: &FleetEvent, output: Output) {
    if output == Output::Text {
        aside(&one_line(event));
    }
}

/// An event. Whoever closed the output has seen enough.
pub(crate) fn event(event: &FleetEvent, output: Output) -> ControlFlow<()> {
    use std::io::Write as _;
    let text = match output {
        Output::Text => one_line(event),
        Output::Json => json::compact(json::fleet::event(event)),
    };
    match writeln!(std::io::stdout().lock(), "{text}") {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// A person left before the end.
pub(crate) fn detached(id: RolloutId, output: Output) {
    #[derive(Serialize)]
    struct Detached {
        detached: bool,
        rollout: RolloutId,
    }
    match output {
        Output::Text => aside(&format!("\nrollout {id} goes on; follow it with `host fleet watch {id}`")),
        Output::Json => line(&json::pretty(Detached { detached: true, rollout: id })),
    }
}

fn one_line(event: &FleetEvent) -> String {
    let message = event.message.replace('\n', " ⏎ ");
    let rollout = event.rollout.map_or_else(String::new, |rollout| format!(" (rollout {rollout})"));
    format!("{:>6}  {}  {:<20}  {message}{rollout}", event.seq, moment(event.at), event.name)
}

fn status(fleet: &FleetStatus) -> String {
    let mut text = fields(&[
        ("hosts", format!("{}, of which {} connected", fleet.hosts, fleet.connected)),
        ("coordinator", format!("epoch {}, since {}", fleet.epoch, moment(fleet.since))),
    ]);
    if !fleet.assignments.is_empty() {
        let version = |revision: Option<&host_core::fleet::FleetRevision>| {
            revision.map_or_else(|| "-".to_owned(), |revision| revision.version.to_string())
        };
        text.push('\n');
        text.push_str(&table(
            ["WORKLOAD", "STABLE", "TARGET", "BEFORE", "HOSTS"],
            fleet.assignments.iter().map(|assignment| {
                [
                    assignment.workload.to_string(),
                    version(assignment.stable.as_ref()),
                    version(assignment.target.as_ref()),
                    version(assignment.previous.as_ref()),
                    match assignment.run {
                        RunWanted::Running => assignment.selector.to_string(),
                        RunWanted::Stopped => format!("{} (stopped)", assignment.selector),
                        RunWanted::Removed => "being removed".to_owned(),
                    },
                ]
            }),
        ));
    }
    if !fleet.rollouts.is_empty() {
        text.push('\n');
        text.push_str(&history(&fleet.rollouts));
    }
    text
}

fn host_list(hosts: &[HostView]) -> String {
    if hosts.is_empty() {
        return "no host has joined yet; `host fleet token create` makes a token to join with".to_owned();
    }
    table(
        ["HOST", "STATE", "SINCE (UTC)", "LABELS", "RUNS", "TO DO"],
        hosts.iter().map(|host| {
            let runs = host.inventory.iter().flat_map(|inventory| &inventory.workloads).filter_map(|(name, here)| {
                let running = here.running.as_ref()?;
                let held = if here.held { " (held)" } else { "" };
                Some(format!("{name} {}{held}", running.version))
            });
            let to_do = host.convergence.iter().map(|(name, what)| format!("{name}: {}", kind(what)));
            [
                host.name.to_string(),
                if host.connected { "connected" } else { "away" }.to_owned(),
                host.since.map_or_else(|| "-".to_owned(), moment),
                host.labels.to_string(),
                runs.collect::<Vec<_>>().join(", "),
                to_do.chain(host.troubles.iter().cloned()).collect::<Vec<_>>().join("; "),
            ]
        }),
    )
}

fn kind(convergence: &host_core::fleet::Convergence) -> String {
    use host_core::fleet::Convergence;
    match convergence {
        Convergence::Nothing => String::new(),
        Convergence::Deploy { revision, .. } => format!("to run {}", revision.version),
        Convergence::Commit => "to be committed".to_owned(),
        Convergence::Start => "to be started".to_owned(),
        Convergence::Stop => "to be stopped".to_owned(),
        Convergence::Remove => "to be removed".to_owned(),
        Convergence::Drifted { .. } => "drifted".to_owned(),
        Convergence::Unselected { .. } => "not assigned here".to_owned(),
        Convergence::LeftTo { rollout } => format!("in rollout {rollout}"),
        Convergence::Busy { .. } => "busy".to_owned(),
        Convergence::Failed { why } => format!("failed: {why}"),
    }
}

fn whereabouts(assignment: Option<&Assignment>, hosts: &[Placement]) -> String {
    let assigned = match assignment {
        None => "assigned to no host".to_owned(),
        Some(assignment) => format!("assigned to {}", assignment.selector),
    };
    let version =
        |version: &Option<semver::Version>| version.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
    let rows = hosts.iter().map(|placement| {
        [placement.host.to_string(), version(&placement.version), version(&placement.wanted), placement.state.clone()]
    });
    format!("{assigned}\n\n{}", table(["HOST", "RUNS", "SHALL RUN", "STATE"], rows))
}

fn summary(rollout: &RolloutView) -> String {
    let summary = &rollout.summary;
    let counts = &summary.counts;
    let mut numbers = vec![format!("{} host(s)", counts.total)];
    for (count, word) in [
        (counts.upgraded, "upgraded"),
        (counts.already, "there already"),
        (counts.switched, "switched"),
        (counts.waiting, "waiting"),
        (counts.failed, "failed"),
        (counts.rolled_back, "rolled back"),
        (counts.unknown, "unknown"),
        (counts.stuck, "stuck"),
        (counts.drifted, "drifted"),
        (counts.skipped, "left out"),
    ] {
        if count > 0 {
            numbers.push(format!("{count} {word}"));
        }
    }
    let mut rows = vec![
        ("rollout", format!("{}: {} {}, asked for by {}", rollout.id, rollout.workload, rollout.version, rollout.by)),
        ("state", summary.state.to_string()),
        ("result", format!("{}: {}", summary.verdict.as_str(), numbers.join(", "))),
        ("began", moment(summary.began)),
    ];
    if let Some(ended) = summary.ended {
        rows.push(("took", length(ended.since(summary.began))));
    }
    if let Some(why) = &summary.why {
        rows.push(("why", why.clone()));
    }
    if let Some(context) = &rollout.trace {
        rows.push(("trace", context.trace.to_string()));
    }
    let mut text = fields(&rows);
    if !summary.hosts.is_empty() {
        text.push('\n');
        text.push_str(&table(
            ["HOST", "WAVE", "FROM", "STATE", "PAUSE", "CONNECTIONS", "WHY"],
            summary.hosts.iter().map(|host| {
                let measured = host.measured.unwrap_or_default();
                let connections = measured.connections.map(|count| format!("{} of {}", count.kept, count.before));
                [
                    host.host.to_string(),
                    host.wave.map_or_else(|| "-".to_owned(), |wave| wave.to_string()),
                    host.from.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
                    host.state.clone(),
                    measured.pause.map_or_else(|| "-".to_owned(), length),
                    connections.unwrap_or_else(|| "-".to_owned()),
                    host.why.clone().unwrap_or_default(),
                ]
            }),
        ));
    }
    if !rollout.owed.is_empty() {
        let owed: Vec<_> = rollout.owed.iter().map(HostId::as_str).collect();
        text.push_str(&format!(
            "\nnot closed with yet: {}; `host fleet why {}` says more\n",
            owed.join(", "),
            rollout.id
        ));
    }
    text
}

fn history(rollouts: &[RolloutView]) -> String {
    if rollouts.is_empty() {
        return "there was no rollout yet".to_owned();
    }
    table(
        ["ROLLOUT", "WORKLOAD", "VERSION", "STATE", "RESULT", "UPGRADED", "BEGAN (UTC)", "TOOK"],
        rollouts.iter().map(|rollout| {
            let counts = &rollout.summary.counts;
            [
                rollout.id.to_string(),
                rollout.workload.to_string(),
                rollout.version.to_string(),
                rollout.summary.state.to_string(),
                rollout.summary.verdict.as_str().to_owned(),
                format!("{} of {}", counts.upgraded + counts.already, counts.total),
                moment(rollout.began),
                rollout.ended.map_or_else(|| "-".to_owned(), |ended| length(ended.since(rollout.began))),
            ]
        }),
    )
}

fn versions(releases: &[ReleaseRecord], stable: Option<&semver::Version>) -> String {
    table(
        ["VERSION", "PLACE", "SIZE", "PUBLISHED (UTC)", "DIGEST"],
        releases.iter().map(|release| {
            [
                release.version.to_string(),
                if stable == Some(&release.version) { "stable" } else { "published" }.to_owned(),
                release.size_bytes.map_or_else(|| "-".to_owned(), bytes),
                moment(release.published),
                release.digest.short(),
            ]
        }),
    )
}

fn audit(entries: &[AuditEntry], verified: Option<&Result<(u64, host_core::id::Digest), String>>) -> String {
    let mut text = String::new();
    if !entries.is_empty() {
        text.push_str(&table(
            ["ENTRY", "WHEN (UTC)", "WHO", "WHAT", "ON", "RESULT"],
            entries.iter().map(|entry| {
                [
                    entry.seq.to_string(),
                    moment(entry.at),
                    entry.who.clone(),
                    entry.what.clone(),
                    entry.target.clone(),
                    entry.result.replace('\n', " ⏎ "),
                ]
            }),
        ));
    }
    match verified {
        None => {}
        Some(Ok((entries, hash))) => {
            text.push_str(&format!(
                "\nall {entries} entries are as they were written; the last one's hash is {hash}\n"
            ));
        }
        Some(Err(why)) => text.push_str(&format!("\nthe log was changed: {why}\n")),
    }
    text
}
