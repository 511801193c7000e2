//! What an embedder sets.

use std::{path::PathBuf, time::Duration};

use host_core::trace::TraceContext;

use crate::{engine::EngineOptions, instance::limits::Limits};

/// How a host runs. [`HostConfig::new`] gives what suits most.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// The data directory: artifacts, ledger, checkpoints. Made when it isn't there. One host at a time.
    pub data: PathBuf,
    /// How often a workload whose state changed is checkpointed.
    pub checkpoint_every: Duration,
    /// Limits on calls into guests.
    pub limits: Limits,
    /// How many instances there may be, and how much memory they may have together.
    pub engine: EngineOptions,
    /// Limits on connections and queues.
    pub net: NetLimits,
    /// Most instances with a connection each; none for as many as the machine has room for.
    pub sessions: Option<u64>,
    /// How many restarts within [`HostConfig::restart_window`] a workload may have before it is stopped.
    pub restart_limit: usize,
    /// See [`HostConfig::restart_limit`].
    pub restart_window: Duration,
    /// Bytes of journal at which a workload's instance is replaced by one born from its snapshot.
    pub journal_bytes: usize,
    /// Makes a span a part of a trace that began elsewhere, as a request's `trace` says. What exports spans is the embedder's, and so
    /// is this; none leaves every swap with a trace of its own.
    pub adopt: Option<fn(&tracing::Span, TraceContext)>,
}

impl HostConfig {
    /// A host in this directory, with the defaults.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self {
            data: data.into(),
            checkpoint_every: Duration::from_secs(30),
            limits: Limits::default(),
            engine: EngineOptions::default(),
            net: NetLimits::default(),
            sessions: None,
            // As in OTP's usual supervisors, a little more patient: five failures in a minute are no accident.
            restart_limit: 5,
            restart_window: Duration::from_secs(60),
            // 64 MiB: half a million lines, a second or two to replay; most workloads never come to it in a day.
            journal_bytes: 64 << 20,
            adopt: None,
        }
    }
}

/// Limits on what clients may make the host hold.
#[derive(Clone, Copy, Debug)]
pub struct NetLimits {
    /// Bytes of events that wait for a workload; at the limit its sockets are no longer read.
    pub mailbox_bytes: usize,
    /// Bytes that wait for one client to take them; past it the client is too slow and is closed.
    pub outbox_bytes: usize,
    /// Bytes that wait for all clients of one workload together; past it, whose answer would have to wait is closed.
    pub outboxes_bytes: usize,
    /// Events in one batch: keeps a call short enough for the control channel to be looked at often.
    pub batch_events: usize,
    /// Bytes in one batch.
    pub batch_bytes: usize,
    /// Timers of one workload.
    pub timers: usize,
    /// Calls that wait for their reply, per workload.
    pub calls: usize,
}

impl Default for NetLimits {
    fn default() -> Self {
        Self {
            // 16 MiB: at 1 GB/s this is 16 ms of traffic, far more than a pause; TCP holds the rest back.
            mailbox_bytes: 16 << 20,
            // 4 MiB: a client that is this far behind on a local network has stopped reading.
            outbox_bytes: 4 << 20,
            // 256 MiB: as much as the workload's instance may have. It takes 64 clients at their own limit.
            outboxes_bytes: 256 << 20,
            batch_events: 256,
            batch_bytes: 1 << 20,
            timers: 100_000,
            calls: 10_000,
        }
    }
}
