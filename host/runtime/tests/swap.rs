//! A host in this process, real sockets, the example workloads.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't go on fails")]

use std::time::Duration;

use bytes::Bytes;
use host_core::{
    history::{SwapReport, Verdict},
    plan::Intent,
    policy::SwapPolicy,
    request::{DeployRequest, Extent, RollbackRequest},
    swap::Outcome,
};
use host_runtime::{Host, HostConfig};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::mpsc,
};

/// A host with the counter on it.
struct Bed {
    host: Host,
    _data: tempfile::TempDir,
}

struct Client(BufReader<TcpStream>);

impl Client {
    async fn ask(&mut self, line: &str) -> String {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).await.unwrap();
        answer.trim_end().to_owned()
    }
}

impl Bed {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let host = Host::start(HostConfig::new(data.path())).await.unwrap();
        Self { host, _data: data }
    }

    async fn deploy(&self, component: &[u8], version: &str) -> SwapReport {
        self.deploy_with(component, version, SwapPolicy { probation: Duration::ZERO, ..SwapPolicy::default() }).await
    }

    async fn deploy_with(&self, component: &[u8], version: &str, policy: SwapPolicy) -> SwapReport {
        let mut staging = self.host.stage().unwrap();
        staging.write(component).unwrap();
        let running = !self.host.status().await.workloads.is_empty();
        let request = DeployRequest {
            workload: "counter".parse().unwrap(),
            version: version.parse().unwrap(),
            listeners: (!running).then(|| vec!["tcp://127.0.0.1:0".parse().unwrap()]),
            config: None,
            topology: None,
            intent: Intent::Deploy { downgrade: false },
            policy,
            extent: Extent::Swap,
            trace: None,
        };
        let (progress, _) = mpsc::channel(64);
        self.host.deploy(request, staging.finish().unwrap(), progress).await.unwrap()
    }

    async fn rollback(&self) -> SwapReport {
        let (progress, _) = mpsc::channel(64);
        let policy = SwapPolicy { probation: Duration::ZERO, ..SwapPolicy::default() };
        let request = RollbackRequest { workload: "counter".parse().unwrap(), to: None, policy, trace: None };
        self.host.rollback(request, progress).await.unwrap()
    }

    async fn connect(&self) -> Client {
        let address = self.host.status().await.workloads[0].listeners[0].address;
        Client(BufReader::new(TcpStream::connect(address).await.unwrap()))
    }
}

fn example(version: &str) -> &'static [u8] {
    example_workloads::example("counter", version).unwrap().component
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_and_the_state_survive_upgrade_rollback_and_upgrade() {
    let bed = Bed::new().await;
    assert_eq!(bed.deploy(example("1.0.0"), "1.0.0").await.verdict, Verdict::Started);
    let mut client = bed.connect().await;
    assert_eq!(client.ask("incr").await, "1.0.0 1");
    let report = bed.deploy(example("1.1.0"), "1.1.0").await;
    assert_eq!(report.verdict, Verdict::Swap { outcome: Outcome::Permanent }, "{report:#?}");
    assert_eq!(client.ask("incr").await, "1.1.0 2 1");
    let report = bed.rollback().await;
    assert_eq!(report.verdict, Verdict::Swap { outcome: Outcome::Permanent }, "{report:#?}");
    assert_eq!(client.ask("incr").await, "1.0.0 3");
    let report = bed.deploy(example("2.0.0"), "2.0.0").await;
    assert_eq!(report.verdict, Verdict::Swap { outcome: Outcome::Permanent }, "{report:#?}");
    assert_eq!(client.ask("incr").await, "2.0.0 4 1");
    let total =
        bed.host.call(&"counter".parse().unwrap(), "total", Bytes::new(), Duration::from_secs(5)).await.unwrap();
    assert_eq!(total, "4");
    bed.host.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deploy_that_fails_changes_nothing() {
    let bed = Bed::new().await;
    bed.deploy(example("1.0.0"), "1.0.0").await;
    let mut client = bed.connect().await;
    assert_eq!(client.ask("incr").await, "1.0.0 1");
    for name in ["code-change-errors", "code-change-traps", "code-change-never-returns", "code-change-eats-memory"] {
        let fault = example_workloads::fault(name).unwrap();
        let policy = SwapPolicy { pause_limit: Duration::from_millis(1500), ..SwapPolicy::default() };
        let report = bed.deploy_with(fault.component, "1.0.1", policy).await;
        assert!(matches!(report.verdict, Verdict::Swap { outcome: Outcome::Aborted { .. } }), "{name}: {report:#?}");
        assert_eq!(report.running.as_ref().map(ToString::to_string).as_deref(), Some("1.0.0"));
        assert!(client.ask("incr").await.starts_with("1.0.0 "));
    }
    let component = |name: &str| example_workloads::fault(name).unwrap().component;
    let refused =
        ["init-errors", "init-traps", "describe-traps", "another-world", "state-type-changed", "unmigratable"];
    for component in refused.map(component).into_iter().chain([example_workloads::NOT_A_COMPONENT]) {
        let report = bed.deploy(component, "1.0.1").await;
        assert!(matches!(report.verdict, Verdict::Refused { .. }), "{report:#?}");
    }
    assert_eq!(client.ask("incr").await, "1.0.0 6");
    bed.host.shutdown().await;
}
