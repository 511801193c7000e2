//! The endpoint, asked over a socket.

use std::collections::HashSet;

use host_runtime::telemetry::{CloseReason, CodeSource, Metrics};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Serves the metrics of a host with one workload that did a bit of everything.
async fn endpoint() -> (SocketAddr, CancellationToken) {
    let metrics = Metrics::new();
    let workload = metrics.workload(&"counter".parse().expect("a name"));
    workload.connection_opened();
    workload.connection_closed(CloseReason::Peer);
    workload.batch(3, 2, Duration::from_micros(7));
    workload.batch(1, 0, Duration::from_millis(7));
    workload.checkpoint_written(100, Duration::from_millis(3));
    workload.code_ready(CodeSource::Compiled, Duration::from_secs(1));
    let endpoint = Endpoint::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let (address, shutdown) = (endpoint.address(), CancellationToken::new());
    tokio::spawn(endpoint.serve(Arc::new(move || metrics.scrape()), shutdown.clone()));
    (address, shutdown)
}

/// Sends this and reads to the end: head and body.
async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("accepted");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

#[tokio::test]
async fn a_scrape_is_valid_open_metrics() {
    let (address, _shutdown) = endpoint().await;
    let (head, body) = ask(address, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(body.contains("\nhotswap_events_total{workload=\"counter\"} 4\n"), "{body}");
    check_open_metrics(&body);
}

/// The rules of the text format that a scraper relies on: one heading per family, before its samples; samples named after it
/// with the suffix of its type; no sample twice; buckets that rise to `+Inf`, which equals the count; the end marked.
fn check_open_metrics(text: &str) {
    assert!(text.ends_with("# EOF\n"));
    let (mut families, mut samples) = (HashSet::new(), HashSet::new());
    let (mut family, mut kind) = ("", "");
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    let mut count = None;
    for line in text.lines().take_while(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            (family, kind) = rest.split_once(' ').expect("a type");
            assert!(families.insert(family), "{family} has two headings");
            continue;
        }
        if let Some(rest) = line.strip_prefix("# ") {
            let unit = rest.strip_prefix("UNIT ").and_then(|rest| rest.split_once(' '));
            assert!(unit.is_none_or(|(name, unit)| name == family && name.ends_with(unit)), "{line}");
            continue;
        }
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let value: f64 = value.parse().expect("a number");
        assert!(samples.insert(series), "{series} comes twice");
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let suffix = name.strip_prefix(family).expect("a sample stands below its family's heading");
        let suffixes: &[&str] = match kind {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_sum", "_count", "_bucket"],
            other => panic!("type {other}"),
        };
        assert!(suffixes.contains(&suffix), "{line}");
        match suffix {
            "_count" => count = Some(value as u64),
            "_bucket" => {
                let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a bound");
                let bound: f64 = if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound") };
                let last = buckets.last().copied().unwrap_or((0.0, 0));
                assert!(bound > last.0 && value as u64 >= last.1, "{line} after {last:?}");
                buckets.push((bound, value as u64));
                if bound.is_infinite() {
                    assert_eq!(Some(value as u64), count, "{line}");
                    buckets.clear();
                }
            }
            _ => {}
        }
    }
    assert!(families.len() > 10 && buckets.is_empty());
}

#[tokio::test]
async fn anything_else_is_refused() {
    let (address, _shutdown) = endpoint().await;
    for (request, status) in [
        ("GET / HTTP/1.1", "404"),
        ("GET /metricsx HTTP/1.1", "404"),
        ("POST /metrics HTTP/1.1", "405"),
        ("DELETE /metrics HTTP/1.1", "405"),
    ] {
        let (head, _) = ask(address, &format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {head}");
    }
    let (head, body) = ask(address, "HEAD /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.is_empty(), "{head}");
    let (head, _) = ask(address, &format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2 * BUFFER_LIMIT_BYTES))).await;
    assert!(head.starts_with("HTTP/1.1 4"), "{head}");
}

#[tokio::test]
async fn who_says_nothing_does_not_keep_others_out_for_ever() {
    let (address, _shutdown) = endpoint().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTION_LIMIT {
        silent.push(TcpStream::connect(address).await.expect("accepted"));
    }
    // All places are taken: the next one waits until one of them is closed.
    let asking =
        tokio::spawn(async move { ask(address, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await });
    silent.pop();
    let (head, _) = tokio::time::timeout(Duration::from_secs(5), asking).await.expect("a place").expect("no panic");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let (address, shutdown) = endpoint().await;
    let error = format!("{:#}", Endpoint::bind(address).await.expect_err("taken"));
    assert!(error.contains(&address.to_string()) && error.contains("--metrics"), "{error}");
    shutdown.cancel();
}
