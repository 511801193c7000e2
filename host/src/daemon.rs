//! `host run`: a host, its control plane and its end.

mod member;
mod open_files;
mod service;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use host_api::{Identity, socket, socket::BindError};
use host_core::policy::Preflight;
use host_runtime::{Host, HostConfig, StartError};
use tokio::{
    net::UnixListener,
    signal::unix::{Signal, SignalKind, signal},
    task::{JoinError, JoinHandle},
};
use tokio_util::sync::CancellationToken;

pub(crate) use self::member::Join;
use self::{member::Membership, service::Service};
use crate::{
    cli::{Exit, Trouble},
    render,
    telemetry::metrics::Endpoint,
};

/// Longest wait for answers under way after the host has stopped: they have their result and only travel.
const ANSWERS_LIMIT: Duration = Duration::from_secs(3);

/// How a host is run.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) config: HostConfig,
    pub(crate) preflight: Preflight,
    pub(crate) metrics: Option<SocketAddr>,
    /// The fleet to join, where it is not a member of one already.
    pub(crate) join: Option<Join>,
}

/// Runs a host until it is told to stop.
pub(crate) async fn run(options: Options) -> Result<(), Trouble> {
    // First, so that a stop that comes during the start is not lost.
    let mut stop = Stop::listen()?;
    open_files::raise();
    open_files::outlive_size_limit();
    let data = options.config.data.clone();
    let metrics = match options.metrics {
        Some(address) => Some(Endpoint::bind(address).await?),
        None => None,
    };
    // Before anything runs here: whoever mistyped a token is told at once.
    let membership = member::membership(&data, options.join).await?;
    let host = start(options.config).await?;
    // Holding the directory's lock since the line above: what is found at the socket is stale, or no host of ours.
    let path = socket::path(&data);
    let listener = match bind(&path).await {
        Ok(listener) => listener,
        Err(trouble) => {
            host.shutdown().await;
            return Err(trouble);
        }
    };
    let (ending, metrics_address) = (CancellationToken::new(), metrics.as_ref().map(Endpoint::address));
    let by_hand = membership.as_ref().map(Membership::by_hand);
    let control = Arc::new(Service::new(host.clone(), options.preflight, by_hand));
    let mut served = serve(control, listener, ending.clone());
    let member = membership.map(|membership| {
        // The fleet's own hands are not in its way.
        let service = Arc::new(Service::new(host.clone(), options.preflight, None));
        tokio::spawn(member::run(membership, service))
    });
    if let Some(endpoint) = metrics {
        let metrics = host.metrics();
        tokio::spawn(endpoint.serve(Arc::new(move || metrics.scrape()), ending.clone()));
    }
    render::ready(&data, &path, metrics_address);
    let early = tokio::select! {
        why = stop.asked() => {
            tracing::info!("stopping: {why}");
            None
        }
        ended = &mut served => Some(why_it_ended(ended)),
    };
    if let Some(member) = member {
        // What it began is in its journal; a coordinator hears of it at the next start.
        member.abort();
    }
    end(&host, served, early.is_none(), &ending, &mut stop).await;
    drop(std::fs::remove_file(&path));
    match early {
        None => Ok(()),
        Some(why) => Err(Trouble::new(Exit::Failed, format!("the control plane ended: {why}"))
            .still("the workloads were stopped cleanly and keep their state")
            .remedy("start the host again; if that happens again, look at the log")),
    }
}

/// Stops the workloads, then lets answers under way arrive. Told to stop a second time, it waits for nothing.
async fn end(host: &Host, served: Served, serving: bool, ending: &CancellationToken, stop: &mut Stop) {
    let cleanly = async {
        host.shutdown().await;
        ending.cancel();
        if serving {
            // Who does not take his answer by now is left.
            drop(tokio::time::timeout(ANSWERS_LIMIT, served).await);
        }
    };
    tokio::select! {
        () = cleanly => tracing::info!("stopped"),
        why = stop.asked() => tracing::warn!("told to stop again ({why}): what was not written since the last checkpoint is lost"),
    }
}

async fn start(config: HostConfig) -> Result<Host, Trouble> {
    Host::start(config).await.map_err(|error| {
        let in_use = matches!(error, StartError::InUse { .. });
        let trouble = Trouble::new(Exit::Failed, format!("{:#}", anyhow::Error::from(error)));
        if in_use { Trouble { kind: "in-use", ..trouble.still("the other host goes on") } } else { trouble }
    })
}

async fn bind(path: &Path) -> Result<UnixListener, Trouble> {
    socket::bind(path).await.map_err(|error| {
        let in_use = matches!(error, BindError::InUse { .. });
        let trouble = Trouble::new(Exit::Failed, format!("{:#}", anyhow::Error::from(error)));
        if in_use { trouble.remedy("stop it, or choose another directory with --data") } else { trouble }
    })
}

/// The control plane at work.
type Served = JoinHandle<Result<(), host_api::ServeError>>;

fn serve(service: Arc<Service>, listener: UnixListener, ending: CancellationToken) -> Served {
    let shutdown = async move { ending.cancelled().await };
    tokio::spawn(host_api::serve(service, listener, Identity::of_this_process(), shutdown))
}

fn why_it_ended(ended: Result<Result<(), host_api::ServeError>, JoinError>) -> String {
    match ended {
        Ok(Ok(())) => "nobody told it to".to_owned(),
        Ok(Err(error)) => format!("{:#}", anyhow::Error::from(error)),
        Err(error) => error.to_string(),
    }
}

/// What tells a host to stop.
struct Stop {
    term: Signal,
    int: Signal,
    hup: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("signals can't be listened to");
        Ok(Self {
            term: listen(SignalKind::terminate())?,
            int: listen(SignalKind::interrupt())?,
            hup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits until the host is told to stop. Cancel safe.
    async fn asked(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
            _ = self.hup.recv() => "SIGHUP: its terminal was closed",
        }
    }
}
