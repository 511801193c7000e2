//! The fleet's processes: a coordinator and its hosts, on loopback.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use host_core::id::HostId;
use host_fleet::{
    client::Operator,
    clock::Clock,
    identity::authority,
    operator::{Ask, HostView, Told},
};

use crate::demo::child::{HostProcess, Verb};

/// Longest wait for a process to do what it was started for.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A coordinator as a process.
pub(super) struct Coordinator {
    process: HostProcess,
    address: SocketAddr,
}

impl Coordinator {
    /// Makes a fleet and starts its coordinator.
    pub(super) fn start() -> anyhow::Result<Self> {
        let data = HostProcess::directory()?;
        let address = free_address()?;
        let at = format!("https://{address}").parse().context("the coordinator's address")?;
        authority::init(data.path(), "demo".parse()?, &at, Clock::system().now())?;
        let process = HostProcess::start_as(Verb::Coordinator, data, &["--listen", &address.to_string()])?;
        Ok(Self { process, address })
    }

    /// Where hosts join it.
    pub(super) fn address(&self) -> String {
        format!("https://{}", self.address)
    }

    /// Waits until it answers.
    pub(super) async fn operator(&mut self) -> anyhow::Result<Operator> {
        let began = Instant::now();
        loop {
            match Operator::connect(self.process.data(), Clock::system()).await {
                Ok(operator) => return Ok(operator),
                Err(error) if began.elapsed() > START_LIMIT => {
                    return Err(error).context(format!("the coordinator did not answer within {START_LIMIT:?}"));
                }
                Err(_) => {}
            }
            self.process.check().with_context(|| self.process.log_tail())?;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Kills it, and starts it again where it was.
    pub(super) async fn kill_and_start(&mut self) -> anyhow::Result<()> {
        self.process.kill().await?;
        self.process.start_again()
    }
}

/// A member of the fleet as a process.
pub(super) struct Member {
    pub(super) name: HostId,
    pub(super) process: HostProcess,
}

impl Member {
    pub(super) fn start(name: &str, coordinator: &str, token: &str) -> anyhow::Result<Self> {
        let half = if name.ends_with(['1', '3', '5', '7', '9']) { "zone=a" } else { "zone=b" };
        let arguments = ["--join", coordinator, "--token", token, "--host-name", name, "--label", half];
        Ok(Self { name: name.parse()?, process: HostProcess::start_with(&arguments)? })
    }
}

/// Waits until the coordinator sees the hosts as is wanted.
pub(super) async fn until(operator: &Operator, what: &str, wanted: impl Fn(&[HostView]) -> bool) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let Told::Hosts { hosts } = operator.ask(&Ask::Hosts).await? else { bail!("the coordinator tells no hosts") };
        if wanted(&hosts) {
            return Ok(());
        }
        if began.elapsed() > START_LIMIT {
            bail!("not within {START_LIMIT:?}: {what}");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// An address that nobody has now.
fn free_address() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
    Ok(listener.local_addr()?)
}
