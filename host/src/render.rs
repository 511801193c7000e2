//! The only place that prints.
//!
//! Results go to standard output: words for people, or one document for programs (`render/json.rs` has their shapes).
//! Progress, notes and errors in words go to standard error. Each result is made as text first, so tests can look at it.

pub(crate) mod fleet;
mod history;
mod inspection;
pub(crate) mod json;
mod lists;
pub(crate) mod progress;
mod report;
mod status;
mod units;

#[cfg(test)]
pub(crate) mod examples;

use std::{
    io::{self, Write as _},
    net::SocketAddr,
    ops::ControlFlow,
    path::Path,
    process::ExitCode,
    time::Duration,
};

use host_core::{
    event::HostEvent,
    history::SwapReport,
    id::WorkloadName,
    status::{HealthReport, HostStatus, VersionStatus, WorkloadStatus},
};
use host_runtime::artifact::Inspection;
use serde::Serialize;

pub(crate) use self::units::bytes;
use crate::cli::{Output, Trouble};

/// Writes a result in one of its two forms.
fn result<T: Serialize>(output: Output, text: impl FnOnce() -> String, document: impl FnOnce() -> T) {
    match output {
        Output::Text => line(&text()),
        Output::Json => line(&json::pretty(document())),
    }
}

/// Writes a document that has no other form here.
pub(crate) fn document<T: Serialize>(content: &T) {
    line(&json::pretty(content));
}

/// Writes a line to standard output. Whoever closed it (`host status | head`) has seen enough.
fn line(text: &str) {
    raw(format!("{}\n", text.trim_end()).as_bytes());
}

/// Writes bytes to standard output as they are.
pub(crate) fn raw(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    drop(out.write_all(bytes).and_then(|()| out.flush()));
}

/// Writes a line to standard error.
fn aside(text: &str) {
    // Nobody is left to tell that nobody can be told.
    drop(writeln!(io::stderr().lock(), "{}", text.trim_end()));
}

/// An error: what happened, what still runs, what to do.
pub(crate) fn trouble(trouble: &Trouble, output: Output) -> ExitCode {
    match output {
        Output::Json => line(&json::pretty(json::Error::of(trouble))),
        Output::Text => {
            aside(&format!("error: {}", indented(&trouble.what)));
            let parts = [("still", &trouble.still), ("do", &trouble.remedy)];
            for (name, text) in parts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
                aside(&format!("{name:>5}: {}", indented(text)));
            }
        }
    }
    trouble.exit.into()
}

/// Further lines stand below the first.
fn indented(text: &str) -> String {
    text.trim_end().replace('\n', "\n       ")
}

/// A host that is up.
pub(crate) fn ready(data: &Path, socket: &Path, metrics: Option<SocketAddr>) {
    let metrics = metrics.map_or_else(String::new, |address| format!(" · metrics http://{address}/metrics"));
    aside(&format!(
        "host ready: pid {} · data {} · control socket {}{metrics}",
        std::process::id(),
        data.display(),
        socket.display()
    ));
}

/// A person left before the report.
pub(crate) fn detached(workload: &WorkloadName, begun: bool, output: Output) {
    let (what, how) = if begun {
        ("the swap goes on in the host", "follow it with `host events --follow --filter 'swap.*'`".to_owned())
    } else {
        (
            "interrupted before the host said that it had begun",
            format!("`host history {workload}` tells whether it did"),
        )
    };
    match output {
        Output::Text => aside(&format!("\n{what}; {how}")),
        Output::Json => line(&json::pretty(json::Detached { detached: true, workload: workload.as_str(), begun })),
    }
}

/// What a deploy, rollback or operation did.
pub(crate) fn report(report: &SwapReport, output: Output) {
    result(output, || report::report(report), || json::report::of(report));
}

/// What a deploy would do.
pub(crate) fn plan(report: &SwapReport, output: Output) {
    result(output, || report::plan(report), || json::report::of(report));
}

/// How a rehearsal went, and whether the pause would fit.
pub(crate) fn rehearsal(report: &SwapReport, pause_limit: Duration, output: Output) {
    result(output, || report::rehearsal(report, pause_limit), || json::report::rehearsal(report, pause_limit));
}

/// What it will cost to take the last checkpoint's state, before it is done.
pub(crate) fn cost_of_checkpoint(workload: &WorkloadName, status: &HostStatus, output: Output) {
    if output == Output::Text {
        aside(&report::cost_of_checkpoint(workload, status));
    }
}

/// A host and its workloads.
pub(crate) fn status(status: &HostStatus, data: &Path, output: Output) {
    let now = jiff::Timestamp::now();
    result(output, || status::host(status, data, now), || json::status::host(status, data));
}

/// One workload, closely.
pub(crate) fn workload(status: &WorkloadStatus, output: Output) {
    let now = jiff::Timestamp::now();
    result(output, || status::workload(status, now), || json::status::one(status));
}

/// The stored versions of a workload.
pub(crate) fn versions(workload: &WorkloadName, versions: &[VersionStatus], output: Output) {
    result(output, || lists::versions(workload, versions), || json::status::versions(workload, versions));
}

/// What was done.
pub(crate) fn history(reports: &[SwapReport], output: Output) {
    result(output, || history::history(reports), || json::report::history(reports));
}

/// How healthy workloads are.
pub(crate) fn health(reports: &[HealthReport], output: Output) {
    result(output, || lists::health(reports), || json::status::health(reports));
}

/// What a component is.
pub(crate) fn inspection(file: &Path, inspection: &Inspection, output: Output) {
    result(output, || inspection::text(file, inspection), || inspection::document(file, inspection));
}

/// One event, on a line of its own. Breaks when nobody reads any more.
pub(crate) fn event(event: &HostEvent, output: Output) -> ControlFlow<()> {
    let text = match output {
        Output::Text => lists::event(event),
        Output::Json => json::compact(json::status::event(event)),
    };
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    }
}

/// A workload's reply: as it is, with the end of its line where a person reads it.
pub(crate) fn reply(workload: &WorkloadName, method: &str, reply: &[u8], output: Output) {
    match output {
        Output::Json => line(&json::pretty(json::Reply::of(workload, method, reply))),
        Output::Text => {
            raw(reply);
            if io::IsTerminal::is_terminal(&io::stdout()) && !reply.ends_with(b"\n") {
                raw(b"\n");
            }
        }
    }
}
