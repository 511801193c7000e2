//! `host coordinator`.

use std::net::SocketAddr;

use host_fleet::{clock::Clock, coordinator::serve::Server};
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Global, Trouble};
use crate::{
    render,
    telemetry::{self, LogFormat},
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

    /// How the log on standard error is written
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let failed =
        |error: anyhow::Error| Trouble::new(Exit::Failed, format!("{error:#}")).still("hosts carry on as they are");
    let guard = telemetry::init(&telemetry::Options { log: args.log_format })?;
    let data = global.data()?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(error.into()))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(error.into()))?;
    let server = Server::open(&data, args.listen, Clock::system()).await.map_err(|error| failed(error.into()))?;
    render::fleet::ready(&data, server.address());
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
