//! Where the host's word goes: its log to standard error, its spans to a collector, its metrics to whoever scrapes.
//!
//! What is measured and how it is called stands in [`host_runtime::telemetry`] and [`host_fleet::telemetry`]; docs/TELEMETRY.md
//! shows it to people.

mod export;
pub(crate) mod metrics;
mod traces;

use std::{io, sync::Arc, time::Duration};

use anyhow::Context as _;
use host_fleet::telemetry::Tracer;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{EnvFilter, Layer as _, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub(crate) use self::traces::adopt;

/// What the log shows unless `RUST_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info";

/// Longest wait for the last spans at the end. Whoever stops a host should not wait for a collector that is gone.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Which program speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    Host,
    Coordinator,
}

impl Service {
    /// What it is called in a trace if nobody says otherwise.
    const fn name(self) -> &'static str {
        match self {
            Self::Host => "hotswap-host",
            Self::Coordinator => "hotswap-coordinator",
        }
    }
}

/// What is chosen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) service: Service,
    /// How the log is written.
    pub(crate) log: LogFormat,
}

/// Sends the last spans when told to, or when dropped.
#[must_use = "the last spans are lost if nobody keeps it"]
#[derive(Debug)]
pub(crate) struct Guard {
    provider: Option<SdkTracerProvider>,
}

impl Guard {
    /// Where a coordinator's spans go; none where nothing is exported.
    pub(crate) fn tracer(&self) -> Option<Arc<dyn Tracer>> {
        let provider = self.provider.as_ref()?;
        Some(Arc::new(traces::Traces::new(provider)))
    }

    /// Sends the last spans. Returns after [`FLUSH_LIMIT`] at the latest.
    pub(crate) async fn flush(mut self) {
        if let Some(provider) = self.provider.take() {
            // On another thread: it blocks, and the exporter needs this runtime.
            let flushed = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH_LIMIT)).await;
            if let Ok(Err(error)) = flushed {
                tracing::warn!(%error, "the last spans did not reach the collector");
            }
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // Nobody is left to tell.
            let _ = provider.shutdown_with_timeout(FLUSH_LIMIT);
        }
    }
}

/// Begins to log, and to export spans where the environment asks for it. Wants to be called within a tokio runtime, once.
///
/// # Errors
/// When `RUST_LOG` makes no sense, or somebody has set up logging already. Never on account of the export: a host that runs
/// without traces is better than none, and the log says why there are none.
pub(crate) fn init(options: &Options) -> anyhow::Result<Guard> {
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) if !text.is_empty() => EnvFilter::try_new(&text)
            .with_context(|| format!("RUST_LOG=`{text}` can't be understood; try RUST_LOG=info,host_runtime=debug"))?,
        _ => EnvFilter::new(DEFAULT_FILTER),
    };
    let log = fmt::layer().with_writer(io::stderr);
    let log = match options.log {
        LogFormat::Text => log.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        LogFormat::Json => log.json().flatten_event(true).with_ansi(false).boxed(),
    };
    let export = export::Export::from_environment(|name| std::env::var(name).ok());
    let (provider, refused) = match export::provider(&export, options.service.name()) {
        Ok(provider) => (provider, None),
        Err(why) => (None, Some(why)),
    };
    tracing_subscriber::registry()
        .with(log.with_filter(filter))
        .with(provider.as_ref().map(export::layer))
        .try_init()
        .context("logging is set up already")?;
    if let Some(why) = refused {
        tracing::warn!("no traces are exported: {why:#}");
    }
    Ok(Guard { provider })
}
