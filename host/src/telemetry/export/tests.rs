//! What is exported, seen by a collector.

use std::{collections::BTreeMap, net::SocketAddr, sync::Mutex, time::Instant};

use host_core::{history::SwapKind, id::SwapId, swap::PhaseName};
use host_runtime::telemetry::SwapSpan;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
    trace::v1::Span,
};
use tokio::{net::TcpListener, sync::mpsc};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

const SERVICE: &str = "hotswap-host";

/// Passes on what it is sent.
struct Collector(Mutex<mpsc::Sender<ExportTraceServiceRequest>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.lock().expect("whole").try_send(request.into_inner()).expect("room");
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn collector() -> (SocketAddr, mpsc::Receiver<ExportTraceServiceRequest>) {
    let (sender, receiver) = mpsc::channel(16);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let server =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(Mutex::new(sender))));
    tokio::spawn(server.serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener)));
    (address, receiver)
}

fn otlp(endpoint: impl ToString) -> Export {
    Export::Otlp { named: false, endpoint: Some(format!("http://{}", endpoint.to_string())) }
}

/// A swap that goes through all phases.
fn swap() {
    let workload = "counter".parse().expect("a name");
    let (from, to) = (semver::Version::new(1, 0, 0), semver::Version::new(1, 1, 0));
    let mut span = SwapSpan::begin(SwapId(7), SwapKind::Deploy, &workload, Some(&from), &to);
    for phase in PhaseName::ALL {
        span.enter(phase);
    }
    span.leave();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_the_swap_with_a_child_per_phase() {
    let (address, mut requests) = collector().await;
    let provider = provider(&otlp(address), SERVICE).expect("an exporter").expect("wanted");
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(&provider)), || {
        swap();
        let _not_ours = tracing::info_span!(target: "h2", "frame").entered();
    });
    tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(Duration::from_secs(10)))
        .await
        .expect("no panic")
        .expect("sent");

    let request = requests.recv().await.expect("a request");
    let resource = request.resource_spans.first().expect("spans");
    let service = attributes(&resource.resource.as_ref().expect("a resource").attributes);
    assert_eq!(service.get("service.name").map(String::as_str), Some(SERVICE));

    let spans: Vec<&Span> = resource.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
    let root = spans.iter().find(|span| span.name == "swap").expect("the swap");
    assert!(root.parent_span_id.is_empty());
    let fields = attributes(&root.attributes);
    for (name, value) in [("workload", "counter"), ("from", "1.0.0"), ("to", "1.1.0"), ("swap.id", "7")] {
        assert_eq!(fields.get(name).map(String::as_str), Some(value), "{name} in {fields:?}");
    }
    let mut children: Vec<&&Span> = spans.iter().filter(|span| span.parent_span_id == root.span_id).collect();
    children.sort_by_key(|span| span.start_time_unix_nano);
    let names: Vec<&str> = children.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, PhaseName::ALL.map(PhaseName::as_str));
    for (before, after) in children.iter().zip(children.iter().skip(1)) {
        assert!(before.end_time_unix_nano <= after.start_time_unix_nano, "phases don't overlap");
    }
    assert_eq!(spans.len(), 1 + PhaseName::ALL.len(), "nobody else's span is among them");
}

/// Attributes as text.
fn attributes(list: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        pair.value.as_ref().and_then(|value| value.value.as_ref()).map(text)
    };
    list.iter().filter_map(|pair| Some((pair.key.clone(), value(pair)?))).collect()
}

/// Makes spans against a collector that does not answer; neither they nor the end may take long.
async fn costs_no_time(address: SocketAddr) {
    let provider = provider(&otlp(address), SERVICE).expect("an exporter").expect("wanted");
    let began = Instant::now();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(&provider)), || {
        // More than the queue holds.
        (0..300).for_each(|_| swap());
    });
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let ended = Instant::now();
    let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(Duration::from_millis(300)));
    let _ = flushed.await.expect("no panic");
    assert!(ended.elapsed() < Duration::from_secs(1), "{:?}", ended.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_gone_costs_no_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    costs_no_time(address).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_says_nothing_costs_no_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    costs_no_time(listener.local_addr().expect("bound")).await;
}

#[test]
fn the_environment_decides() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");
    let on = |named| Export::Otlp { named, endpoint: None };
    for (variables, wanted) in [
        (vec![], Some(Export::Off)),
        (vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")], Some(Export::Off)),
        (vec![("OTEL_TRACES_EXPORTER", "otlp")], Some(Export::Off)),
        (vec![endpoint], Some(on(false))),
        (vec![("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:4317")], Some(on(false))),
        (vec![endpoint, ("OTEL_TRACES_EXPORTER", "otlp")], Some(on(false))),
        (vec![endpoint, ("OTEL_TRACES_EXPORTER", "none")], Some(Export::Off)),
        (vec![endpoint, ("OTEL_SDK_DISABLED", "true")], Some(Export::Off)),
        (vec![endpoint, ("OTEL_SDK_DISABLED", "false")], Some(on(false))),
        (vec![endpoint, ("OTEL_SERVICE_NAME", "mine")], Some(on(true))),
        (vec![endpoint, ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=mine")], Some(on(true))),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], Some(on(false))),
        (vec![endpoint, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")], None),
        (vec![endpoint, ("OTEL_TRACES_EXPORTER", "zipkin")], None),
    ] {
        let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        let export = Export::from_environment(get);
        match wanted {
            Some(wanted) => assert_eq!(export, wanted, "{variables:?}"),
            None => assert!(matches!(export, Export::Unknown { .. }), "{variables:?}: {export:?}"),
        }
    }
}

#[tokio::test]
async fn an_address_that_is_none_is_an_error_and_no_panic() {
    let bad = Export::Otlp { named: false, endpoint: Some("not an address".to_owned()) };
    provider(&bad, SERVICE).expect_err("refused");
}
