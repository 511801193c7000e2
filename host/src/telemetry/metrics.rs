//! The metrics' endpoint: `GET /metrics`, in the OpenMetrics text format that Prometheus reads.
//!
//! It has no secret and no lock on anybody's work. Whoever can reach the address can read it; a scraper that is slow, says
//! nothing or says too much loses its connection.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::sync::CancellationToken;

/// Where the metrics are.
const PATH: &str = "/metrics";

/// As the OpenMetrics specification names its text format.
const FORMAT: HeaderValue = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

/// Connections served at once: a handful of scrapers and a person.
const CONNECTION_LIMIT: usize = 32;

/// Longest wait for a request's head, the next one on a kept connection included.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

/// Longest life of a connection, so that one that takes nothing does not keep its place for ever.
const CONNECTION_LIFE_LIMIT: Duration = Duration::from_secs(300);

/// Largest head of a request, and what is buffered per connection.
const BUFFER_LIMIT_BYTES: usize = 16 << 10;

/// Pause after a failed `accept`: the open-file limit is reached, and asking again at once would only burn the processor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Makes the text when somebody scrapes.
pub(crate) type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

/// The endpoint, listening.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl Endpoint {
    /// Takes the address. From here on clients may connect.
    pub(crate) async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).await.with_context(|| {
            format!(
                "metrics can't be served at {address}: is another program there? Choose another with --metrics ADDR"
            )
        })?;
        let address = listener.local_addr().context("the metrics' address")?;
        Ok(Self { listener, address })
    }

    /// Where it listens; the port is never 0.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `shutdown`. Answers under way are finished by the runtime, or not at all: a scraper asks again.
    pub(crate) async fn serve(self, metrics: Scrape, shutdown: CancellationToken) {
        let places = Arc::new(Semaphore::new(CONNECTION_LIMIT));
        loop {
            // The place first: connections beyond the limit wait in the system's backlog.
            let place = tokio::select! {
                () = shutdown.cancelled() => return,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { return };
            let accepted = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, metrics.clone(), shutdown.clone(), place));
                }
                Err(error) => accept_failed(&error).await,
            }
        }
    }
}

async fn accept_failed(error: &io::Error) {
    tracing::debug!(%error, "a scraper's connection was not accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

async fn connection(stream: TcpStream, metrics: Scrape, shutdown: CancellationToken, _place: OwnedSemaphorePermit) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_LIMIT)
        .max_buf_size(BUFFER_LIMIT_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        () = shutdown.cancelled() => {}
        served = tokio::time::timeout(CONNECTION_LIFE_LIMIT, served) => {
            if let Ok(Err(error)) = served {
                tracing::debug!(%error, "a scraper's connection failed");
            }
        }
    }
}

fn answer(request: &Request<Incoming>, metrics: &Scrape) -> Response<Full<Bytes>> {
    if request.uri().path() != PATH {
        return plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "metrics can only be read\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(Full::new(Bytes::from(metrics())));
    response.headers_mut().insert(CONTENT_TYPE, FORMAT);
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests;
