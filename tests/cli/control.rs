//! The control plane beside the command line: prepare / execute / verify, protocols, reflection.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, BufMut as _, Bytes};
use host_api::{Client, ClientError, Failure, FailureKind, pb, socket};
use host_core::{
    history::{SwapReport, Verdict},
    plan::Intent,
    policy::SwapPolicy,
    request::{DeployRequest, Extent},
    swap::Outcome,
};
use tonic::{
    Request, Status,
    body::Body,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::{Service, http},
    server::NamedService,
    transport::{Channel, Endpoint},
};

use crate::harness::Host;

fn next() -> (DeployRequest, Bytes) {
    let request = DeployRequest {
        workload: "counter".parse().unwrap(),
        version: "1.1.0".parse().unwrap(),
        listeners: None,
        config: None,
        topology: None,
        intent: Intent::Deploy { downgrade: false },
        policy: SwapPolicy { probation: Duration::ZERO, ..SwapPolicy::default() },
        extent: Extent::Swap,
        trace: None,
    };
    (request, Bytes::from_static(example_workloads::counter_1_1_0().component))
}

/// Prepares 1.1.0 and gives its number.
async fn prepare(client: &Client) -> (u64, SwapReport) {
    let (request, component) = next();
    let mut preparing = client.prepare(request, component).await.unwrap();
    let report = preparing.report(drop).await.unwrap();
    let ready = preparing.prepared().expect("something was prepared");
    assert_eq!(ready.expires, Duration::from_secs(60));
    (ready.prepared, report)
}

async fn execute(client: &Client, prepared: u64) -> Result<SwapReport, ClientError> {
    client.execute(prepared).await?.report(drop).await
}

#[track_caller]
fn is_not_prepared(error: &ClientError) {
    let failure = error.failure().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(failure.kind, FailureKind::NotFound, "{failure}");
    assert!(failure.what.contains("prepare it again"), "{failure}");
}

#[tokio::test]
async fn a_swap_is_prepared_executed_and_verified_by_a_program() {
    let host = Host::with_counter();
    let client = Client::connect(&socket::path(&host.data())).await.unwrap();
    let mut open = host.connect();
    assert_eq!(open.ask("incr"), "1.0.0 1");

    let (prepared, report) = prepare(&client).await;
    assert!(report.plan.is_some(), "{report:?}");
    assert_eq!(open.ask("incr"), "1.0.0 2", "what was prepared does not run");
    let report = execute(&client, prepared).await.unwrap();
    assert_eq!(report.verdict, Verdict::Swap { outcome: Outcome::Permanent });
    assert_eq!(open.ask("incr"), "1.1.0 3 1");

    let checks = client.verify(&"counter".parse().unwrap()).await.unwrap();
    let names: Vec<_> = checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["health", "instances", "tables", "connections", "latency"]);
    assert!(checks.iter().all(|check| check.passed), "{checks:?}");

    is_not_prepared(&execute(&client, prepared).await.expect_err("it was used"));
    is_not_prepared(&execute(&client, 4_711).await.expect_err("it never was"));
    let unknown = client.verify(&"nobody".parse().unwrap()).await.expect_err("there is none");
    assert_eq!(unknown.failure().map(|failure| failure.kind), Some(FailureKind::NotFound));
    host.words(&["stop", "counter"], 0);
    let stopped = client.verify(&"counter".parse().unwrap()).await.expect_err("it is stopped");
    assert_eq!(stopped.failure().map(|failure| failure.kind), Some(FailureKind::Stopped));
}

#[tokio::test]
async fn what_was_prepared_is_planned_anew_when_it_is_executed() {
    let host = Host::with_counter();
    let client = Client::connect(&socket::path(&host.data())).await.unwrap();
    let (prepared, _) = prepare(&client).await;
    assert_eq!(host.deploy(&host.counter("2.0.0"), "2.0.0", &[]).code, 0);
    let report = execute(&client, prepared).await.unwrap();
    assert!(report.verdict.why().is_some_and(|why| why.contains("1.1.0 is lower than 2.0.0")), "{report:?}");
    assert_eq!(host.connect().ask("incr"), "2.0.0 1 1");
}

/// A client without our manners.
async fn raw(host: &Host) -> Channel {
    let socket = socket::path(&host.data());
    Endpoint::from_shared(format!("unix:{}", socket.display())).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn a_client_of_another_protocol_is_told_which_side_to_update() {
    let host = Host::with_counter();
    let mut client = pb::host_client::HostClient::new(raw(&host).await);
    let hello = |min_protocol, max_protocol| pb::HelloRequest {
        min_protocol,
        max_protocol,
        client_version: "7.0.0".to_owned(),
    };
    for (min, max, wanted) in [(8, 9, "update the host"), (0, 0, "update the client")] {
        let failure = Failure::from(&client.hello(hello(min, max)).await.expect_err("no common protocol"));
        assert!(failure.what.contains("this client (7.0.0)") && failure.what.contains("the host (0.1.0"), "{failure}");
        assert!(failure.still.as_deref().is_some_and(|still| still.contains("it goes on")), "{failure:?}");
        assert!(failure.remedy.as_deref().is_some_and(|remedy| remedy.starts_with(wanted)), "{failure:?}");
    }
    assert_eq!(host.connect().ask("incr"), "1.0.0 1");
}

/// A host of a later time: whatever it is asked, it answers as hosts do that don't speak the caller's protocol.
#[derive(Clone)]
struct Later;

impl NamedService for Later {
    const NAME: &'static str = "hotswap.host.v1.Host";
}

impl Service<http::Request<Body>> for Later {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        let what = "this client (0.1.0) speaks protocol 1, and the host (9.0.0, pid 7) speaks 2 to 3";
        let remedy = "update the client: use the `host` program that the host was started with, or a newer one";
        let failure = Failure::new(FailureKind::Protocol, what).still("the host goes on").remedy(remedy);
        ready(Ok(Status::from(failure).into_http()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_of_another_protocol_is_exit_code_5_and_says_which_side_to_update() {
    let host = Host::unstarted();
    let listener = socket::bind(&socket::path(&host.data())).await.unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    tokio::spawn(tonic::transport::Server::builder().add_service(Later).serve_with_incoming(incoming));
    let told =
        ["this client (0.1.0) speaks protocol 1", "the host (9.0.0, pid 7)", "the host goes on", "update the client"];
    host.refuses(&["status"], 5, &told);
    assert_eq!(host.document(&["status"], 5)["error"]["kind"], "protocol");
}

/// Messages as their bytes: reflection needs no types of ours.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining()).to_vec()))
    }
}

#[tokio::test]
async fn a_host_tells_its_contract_to_whoever_asks_by_reflection() {
    /// Field 7, `list_services`, empty.
    const LIST_SERVICES: [u8; 2] = [0x3a, 0];
    let host = Host::start();
    for version in ["v1", "v1alpha"] {
        let mut client = Grpc::new(raw(&host).await);
        client.ready().await.unwrap();
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        let ask = Request::new(tokio_stream::iter([LIST_SERVICES.to_vec()]));
        let mut answers = client.streaming(ask, path.parse().unwrap(), Raw).await.unwrap().into_inner();
        let answer = String::from_utf8_lossy(&answers.message().await.unwrap().expect("one answer")).into_owned();
        assert!(answer.contains("hotswap.host.v1.Host"), "{answer}");
    }
}
