//! A host in thirty lines: run a workload, swap it, ask it.
//!
//! `cargo run -p host-runtime --example embed -- counter-1.0.0.wasm counter-1.1.0.wasm`

use std::{error::Error, time::Duration};

use bytes::Bytes;
use host_core::{
    plan::Intent,
    policy::SwapPolicy,
    request::{DeployRequest, Extent},
};
use host_runtime::{Host, HostConfig};
use tokio::sync::mpsc;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let data = std::env::temp_dir().join(format!("embedded-host-{}", std::process::id()));
    let host = Host::start(HostConfig::new(&data)).await?;
    for (file, version) in std::env::args().skip(1).zip(["1.0.0", "1.1.0"]) {
        let mut staging = host.stage()?;
        staging.write(&std::fs::read(file)?)?;
        let request = DeployRequest {
            workload: "counter".parse()?,
            version: version.parse()?,
            listeners: Some(vec!["tcp://127.0.0.1:7000".parse()?]),
            config: None,
            topology: None,
            intent: Intent::Deploy { downgrade: false },
            policy: SwapPolicy { probation: Duration::ZERO, ..SwapPolicy::default() },
            extent: Extent::Swap,
            trace: None,
        };
        let (progress, _) = mpsc::channel(64);
        let report = host.deploy(request, staging.finish()?, progress).await?;
        let total = host.call(&"counter".parse()?, "total", Bytes::new(), Duration::from_secs(1)).await?;
        tracing::info!(verdict = report.verdict.as_str(), pause = ?report.pause, total = ?total, "{version}");
    }
    host.shutdown().await;
    Ok(std::fs::remove_dir_all(data)?)
}
