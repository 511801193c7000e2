//! What a host process tells collectors and scrapers.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span, status::StatusCode},
};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::transport::server::TcpIncoming;

use crate::harness::Host;

/// Passes on what it is sent.
struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.0.try_send(request.into_inner()).expect("room");
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// A collector, and all the spans that it was sent, once those who send them have ended.
pub(crate) struct Collected {
    pub(crate) address: SocketAddr,
    requests: mpsc::Receiver<ExportTraceServiceRequest>,
}

impl Collected {
    pub(crate) async fn start() -> Self {
        let (sender, requests) = mpsc::channel(4096);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(sender)));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Self { address, requests }
    }

    /// Each span with the attributes of its resource.
    pub(crate) fn spans(mut self) -> Vec<(Span, BTreeMap<String, String>)> {
        let mut spans = Vec::new();
        while let Ok(request) = self.requests.try_recv() {
            for resource in request.resource_spans {
                let of = attributes(&resource.resource.unwrap_or_default().attributes);
                let here = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(here.map(|span| (span, of.clone())));
            }
        }
        spans
    }
}

/// Attributes as text.
pub(crate) fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let value = |pair: &KeyValue| pair.value.as_ref().and_then(|value| value.value.as_ref()).map(text);
    list.iter().filter_map(|pair| Some((pair.key.clone(), value(pair)?))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_gets_a_span_per_swap_with_a_child_per_phase() {
    let collected = Collected::start().await;
    let endpoint = format!("http://{}", collected.address);
    let ended = tokio::task::spawn_blocking(move || {
        let mut host = Host::start_with(&[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
        host.start_counter();
        assert_eq!(host.deploy(&host.counter("1.1.0"), "1.1.0", &[]).code, 0);
        assert_eq!(host.deploy(&host.fault("code-change-errors"), "1.1.1", &[]).code, 1);
        (host.reports_of("counter"), host.terminate())
    });
    let (reports, code) = ended.await.unwrap();
    assert_eq!(code, 0);
    let spans = collected.spans();
    assert!(spans.iter().all(|(_, resource)| resource["service.name"] == "hotswap-host"));
    let spans: Vec<Span> = spans.into_iter().map(|(span, _)| span).collect();
    let swaps: Vec<_> = spans.iter().filter(|span| span.name == "swap").collect();
    assert_eq!(swaps.len(), 3);

    for (swap, report) in swaps.iter().zip(reports.iter().rev()) {
        let fields = attributes(&swap.attributes);
        assert_eq!(fields["workload"], "counter");
        assert_eq!(fields["swap.id"], report["swap"].to_string());
        assert_eq!(fields["to"], report["to"].as_str().unwrap());
        assert_eq!(fields["outcome"], report["verdict"].as_str().unwrap());
        let mut phases: Vec<_> = spans.iter().filter(|span| span.parent_span_id == swap.span_id).collect();
        phases.sort_by_key(|phase| phase.start_time_unix_nano);
        let names: Vec<_> = phases.iter().map(|phase| phase.name.as_str()).collect();
        let told = report["phases"].as_array().unwrap();
        let told: Vec<_> = told.iter().map(|phase| phase["name"].as_str().unwrap()).collect();
        assert_eq!(names, if told.is_empty() { vec!["prepare"] } else { told }, "{fields:?}");
        assert!(phases.iter().all(|phase| swap.start_time_unix_nano <= phase.start_time_unix_nano));
        assert!(phases.is_sorted_by(|before, after| before.end_time_unix_nano <= after.start_time_unix_nano));
    }
    let fails = |span: &Span| span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    assert_eq!(swaps.iter().map(|swap| fails(swap)).collect::<Vec<_>>(), [false, false, true]);
    let failed = attributes(&swaps[2].attributes);
    assert!(failed["why"].contains("code-change"), "{failed:?}");
}

/// The answer to a `GET`, and its body.
pub(crate) fn get(address: SocketAddr, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_scraper_gets_the_metrics_that_the_page_lists_and_they_have_counted_the_swap() {
    let host = Host::start_with(&["--metrics", "127.0.0.1:0"], &[]);
    let log = host.log();
    let (_, address) = log.split_once("metrics http://").expect("the ready line names the port");
    let address: SocketAddr = address.split_once("/metrics").unwrap().0.parse().unwrap();
    host.start_counter();
    let mut client = host.connect();
    assert_eq!(client.ask("incr"), "1.0.0 1");
    assert_eq!(host.deploy(&host.counter("1.1.0"), "1.1.0", &[]).code, 0);
    assert_eq!(client.ask("incr"), "1.1.0 2 1");

    let (head, text) = get(address, "/metrics");
    assert!(head.starts_with("HTTP/1.1 200") && head.to_lowercase().contains("content-type: "), "{head}");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/TELEMETRY.md")).unwrap();
    let listed: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `hotswap_")?.split_once('`')).collect();
    assert!(listed.len() > 20, "{listed:?}");
    // Those of a coordinator stand there too.
    for (name, _) in listed.into_iter().filter(|(name, _)| !name.starts_with("fleet_")) {
        // A counter's family goes without the suffix of its samples.
        let family = format!("# TYPE hotswap_{} ", name.trim_end_matches("_total"));
        assert!(text.contains(&family), "{name} is not served:\n{text}");
    }
    let value = |sample: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(sample)).unwrap_or_else(|| panic!("{sample}:\n{text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert_eq!(value("hotswap_swap_pause_seconds_count{workload=\"counter\"}"), 1.0);
    let pause = value("hotswap_swap_pause_seconds_sum{workload=\"counter\"}");
    let reported = host.newest_report()["pause_ns"].as_f64().unwrap() / 1e9;
    assert!((pause - reported).abs() < 1e-6, "{pause} s is not the report's {reported} s");
    assert_eq!(value("hotswap_connections{workload=\"counter\"}"), 1.0);
    assert_eq!(value("hotswap_generation{workload=\"counter\"}"), 2.0);
    let sample = |name: &str, labels: &[&str]| {
        let fits = |line: &&str| line.starts_with(name) && labels.iter().all(|label| line.contains(label));
        let line = text.lines().find(fits).unwrap_or_else(|| panic!("{name} {labels:?}:\n{text}"));
        line.rsplit_once(' ').unwrap().1.to_owned()
    };
    assert_eq!(sample("hotswap_swaps_total", &["kind=\"deploy\"", "outcome=\"permanent\""]), "1");
    for phase in ["quiesce", "snapshot", "code-change", "switch", "record", "verify"] {
        assert_eq!(sample("hotswap_swap_phase_seconds_count", &[&format!("phase=\"{phase}\"")]), "1", "{phase}");
    }
    assert!(get(address, "/other").0.starts_with("HTTP/1.1 404"));
}
