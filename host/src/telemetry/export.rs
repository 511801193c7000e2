//! Spans to a collector, by OTLP over gRPC, if the environment asks for it.
//!
//! Spans wait in a bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`) that a thread of its own empties. A collector that is slow or gone
//! fills the queue, and what does not fit is dropped: nobody who does the host's work waits for it.

use std::{
    future::Future,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use tracing::{Level, Subscriber};
use tracing_subscriber::{Layer, filter::Targets, registry::LookupSpan};

use super::traces::Ids;

/// Whose spans these are, within a service.
pub(super) const SCOPE: &str = "hotswap";

/// Whose spans are exported. Not those of the libraries: the exporter's own would come back to it.
const TARGETS: [&str; 5] = ["host", "host_api", "host_core", "host_fleet", "host_runtime"];

/// What the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Export {
    /// Nothing.
    Off,
    /// Something that is not built in.
    Unknown {
        /// In words.
        why: String,
    },
    /// OTLP over gRPC.
    Otlp {
        /// Whether the environment names the service.
        named: bool,
        /// The collector; none leaves it to the exporter, which reads the standard variables.
        endpoint: Option<String>,
    },
}

impl Export {
    /// Reads the standard variables. As the specification wants, one that is empty counts as not set.
    pub(super) fn from_environment(get: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| get(name).filter(|value| !value.is_empty());
        let endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| get("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let exporters = get("OTEL_TRACES_EXPORTER");
        if disabled || endpoint.is_none() || exporters.as_deref() == Some("none") {
            return Self::Off;
        }
        if let Some(other) = exporters.filter(|exporters| exporters != "otlp") {
            return Self::Unknown {
                why: format!("OTEL_TRACES_EXPORTER is `{other}`; this host has `otlp` and `none`"),
            };
        }
        let protocol = get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL").or_else(|| get("OTEL_EXPORTER_OTLP_PROTOCOL"));
        if let Some(other) = protocol.filter(|protocol| protocol != "grpc") {
            return Self::Unknown {
                why: format!(
                    "OTEL_EXPORTER_OTLP_PROTOCOL is `{other}`; this host speaks `grpc` (a collector's port 4317)"
                ),
            };
        }
        let attributes = get("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
        let named = get("OTEL_SERVICE_NAME").is_some()
            || attributes.split(',').any(|attribute| attribute.trim_start().starts_with("service.name="));
        Self::Otlp { named, endpoint: None }
    }
}

/// Makes the exporter and its queue; none if nothing is to be exported. `service` is what we are called unless the environment says
/// otherwise. Wants a tokio runtime.
pub(super) fn provider(export: &Export, service: &'static str) -> anyhow::Result<Option<SdkTracerProvider>> {
    let (named, endpoint) = match export {
        Export::Off => return Ok(None),
        Export::Unknown { why } => bail!("{why}"),
        Export::Otlp { named, endpoint } => (*named, endpoint),
    };
    let mut exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
    if let Some(endpoint) = endpoint {
        exporter = exporter.with_endpoint(endpoint);
    }
    let exporter = exporter.build().context("the collector's address or the export's settings can't be used")?;
    // The builder reads OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES by itself.
    let mut resource = Resource::builder();
    if !named {
        resource = resource.with_service_name(service);
    }
    Ok(Some(
        SdkTracerProvider::builder()
            .with_resource(resource.build())
            .with_id_generator(Ids::default())
            .with_batch_exporter(Told { exporter, failing: AtomicBool::new(false) })
            .build(),
    ))
}

/// Gives the provider every span of ours, whatever the log shows.
pub(super) fn layer<S>(provider: &SdkTracerProvider) -> impl Layer<S> + Send + Sync + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
{
    tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(SCOPE))
        // Where in our source a span begins says nothing to whoever reads a trace.
        .with_location(false)
        .with_threads(false)
        .with_filter(Targets::new().with_targets(TARGETS.map(|target| (target, Level::INFO))))
}

/// An exporter that says once when it begins to fail and once when it works again.
#[derive(Debug)]
struct Told<E> {
    exporter: E,
    failing: AtomicBool,
}

impl<E: SpanExporter> SpanExporter for Told<E> {
    fn export(&self, batch: Vec<SpanData>) -> impl Future<Output = OTelSdkResult> + Send {
        let exported = self.exporter.export(batch);
        async move {
            let result = exported.await;
            let failed_before = self.failing.swap(result.is_err(), Ordering::Relaxed);
            match &result {
                Err(error) if !failed_before => {
                    tracing::warn!(%error, "spans don't reach the collector; they are dropped")
                }
                Ok(()) if failed_before => tracing::info!("spans reach the collector again"),
                _ => {}
            }
            result
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests;
