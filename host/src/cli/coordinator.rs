//! `host coordinator`.

use std::{net::SocketAddr, sync::Arc};

use host_fleet::{clock::Clock, coordinator::serve::Server, telemetry::Telemetry};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Exit, Global, Trouble};
use crate::{
    render,
    telemetry::{self, LogFormat, metrics::Endpoint},
};

/// Where a coordinator listens unless told otherwise.
pub(crate) const DEFAULT_LISTEN: &str = "127.0.0.1:7443";

/// Run the coordinator of a fleet until it is told to stop (Ctrl-C, SIGTERM)
#[derive(Debug, clap::Args)]
#[command(
    after_help = "`host fleet init` makes the fleet first. Hosts carry on while no coordinator runs, and come back to the next one."
)]
pub(crate) struct Args {
    /// Where hosts and operators reach it
    #[arg(long, value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    listen: SocketAddr,

    /// Serve metrics for Prometheus here, at /metrics
    #[arg(long, value_name = "ADDR")]
    metrics: Option<SocketAddr>,

    /// How the log on standard error is written
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let failed =
        |error: anyhow::Error| Trouble::new(Exit::Failed, format!("{error:#}")).still("hosts carry on as they are");
    let guard =
        telemetry::init(&telemetry::Options { service: telemetry::Service::Coordinator, log: args.log_format })?;
    let data = global.data()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(error.into()))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(error.into()))?;
    let metrics = match args.metrics {
        Some(address) => Some(Endpoint::bind(address).await.map_err(failed)?),
        None => None,
    };
    let telemetry = Telemetry::new(guard.tracer());
    let opened = Server::open(&data, args.listen, Clock::system(), telemetry.clone()).await;
    let server = opened.map_err(|error| failed(error.into()))?;
    render::fleet::ready(&data, server.address(), metrics.as_ref().map(Endpoint::address));
    let ending = CancellationToken::new();
    let _scraped_until_the_end = ending.clone().drop_guard();
    if let Some(endpoint) = metrics {
        tokio::spawn(endpoint.serve(Arc::new(move || telemetry.scrape()), ending));
    }
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let ended = server.serve(stop).await.map_err(|error| failed(error.into()));
    guard.flush().await;
    ended.map(|()| Exit::Done)
}
