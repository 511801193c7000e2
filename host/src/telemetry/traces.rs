//! Traces that more than one program writes: spans whose place was decided before they were exported.
//!
//! What we time with `tracing` gets its numbers from the exporter when it begins. A coordinator's spans have theirs from the
//! coordinator, which stores them; and a host's swap becomes a child of a span that another program exports.

use std::{
    cell::Cell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use host_core::{
    time::UnixNanos,
    trace::{SpanId, TraceContext, TraceId},
};
use host_fleet::telemetry::{Span, Tracer, Value};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, Status, TraceContextExt as _, TraceFlags, TraceState, Tracer as _,
        TracerProvider as _,
    },
};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::export::SCOPE;

thread_local! {
    /// The numbers of the one span that this thread is about to make; none where they are drawn.
    static DECIDED: Cell<Option<TraceContext>> = const { Cell::new(None) };
}

/// Gives a span the numbers that were decided for it, and draws all others.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> opentelemetry::TraceId {
        DECIDED.get().map_or_else(|| self.0.new_trace_id(), |decided| trace_id(decided.trace))
    }

    fn new_span_id(&self) -> opentelemetry::SpanId {
        DECIDED.get().map_or_else(|| self.0.new_span_id(), |decided| span_id(decided.span))
    }
}

/// Exports the spans of a coordinator.
#[derive(Debug)]
pub(super) struct Traces {
    exporter: SdkTracer,
    /// Has no exporter: it draws the numbers of a trace and decides, as `OTEL_TRACES_SAMPLER` says, whether it is recorded.
    drawing: SdkTracer,
}

impl Traces {
    /// Exports to this provider.
    pub(super) fn new(provider: &SdkTracerProvider) -> Self {
        let drawing = SdkTracerProvider::builder().build().tracer(SCOPE);
        Self { exporter: provider.tracer(SCOPE), drawing }
    }
}

impl Tracer for Traces {
    fn begin(&self) -> Option<TraceContext> {
        let drawn = self.drawing.build_with_context(SpanBuilder::from_name("rollout"), &Context::new());
        let context = drawn.span_context();
        if !context.is_sampled() {
            return None;
        }
        let (trace, span) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
        Some(TraceContext { trace: TraceId::new(trace)?, span: SpanId::new(span)? })
    }

    fn ended(&self, span: Span) {
        let Span { name, context, parent, began, ended, fields, failed } = span;
        let attributes = fields.into_iter().map(|(name, value)| match value {
            Value::Text(text) => KeyValue::new(name, text),
            Value::Number(number) => KeyValue::new(name, i64::try_from(number).unwrap_or(i64::MAX)),
        });
        let builder = SpanBuilder::from_name(name).with_start_time(time(began)).with_attributes(attributes);
        let within = parent.map_or_else(Context::new, |span| place(TraceContext { span, ..context }, false));
        DECIDED.set(Some(context));
        let mut exported = self.exporter.build_with_context(builder, &within);
        DECIDED.set(None);
        exported.set_status(failed.map_or(Status::Ok, Status::error));
        exported.end_with_timestamp(time(ended));
    }
}

/// Makes a span that has not been entered a child of one elsewhere. Nothing happens where nobody exports.
pub(crate) fn adopt(span: &tracing::Span, parent: TraceContext) {
    if let Err(error) = span.set_parent(place(parent, true)) {
        tracing::debug!(%error, "a span keeps a trace of its own");
    }
}

fn place(of: TraceContext, is_remote: bool) -> Context {
    let flags = TraceFlags::SAMPLED;
    let span = SpanContext::new(trace_id(of.trace), span_id(of.span), flags, is_remote, TraceState::NONE);
    Context::new().with_remote_span_context(span)
}

const fn trace_id(trace: TraceId) -> opentelemetry::TraceId {
    opentelemetry::TraceId::from_bytes(trace.to_bytes())
}

const fn span_id(span: SpanId) -> opentelemetry::SpanId {
    opentelemetry::SpanId::from_bytes(span.to_bytes())
}

fn time(at: UnixNanos) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(at.0)
}
