//! What an instance costs: to make, to call, to take its state and to give it another's; and the journal beside a call.
//!
//! The birth is measured on a warm slot: one instance of the same component was there before and is gone.

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use host_core::time::UnixNanos;
use host_runtime::{
    artifact::{CompiledComponent, Compiler, VerifiedArtifact},
    benching::BareJournal,
    bindings::types::{Event, Received, Start},
    engine::{Engine, EngineOptions, Purpose},
    instance::{Batch, Birth, Directory, Instance, limits::Limits},
};
use tokio::runtime::Runtime;

/// Rows of state, as in the comparison with OTP.
const ROWS: [u64; 4] = [0, 1_000, 10_000, 100_000];

/// Events in a batch.
const BATCHES: [usize; 3] = [1, 16, 256];

struct Bench {
    runtime: Runtime,
    engine: Engine,
    old: CompiledComponent,
    new: CompiledComponent,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let engine = Engine::new(EngineOptions::default()).expect("an engine");
        let compiler = Compiler::in_memory(engine.clone()).expect("a compiler");
        let compiled = |version| {
            let bytes = example_workloads::example("counter", version).expect("an example").component;
            runtime.block_on(compiler.compile(VerifiedArtifact::of(Bytes::from_static(bytes)))).expect("a component")
        };
        let (old, new) = (compiled("1.0.0"), compiled("1.1.0"));
        Self { runtime, engine, old, new }
    }

    async fn born(&self, component: &CompiledComponent, config: &str) -> Instance {
        let birth = Birth {
            workload: "counter".parse().expect("a name"),
            version: "1.0.0".parse().expect("semver"),
            now: UnixNanos(1_700_000_000_000_000_000),
            seed: [7; 32],
            limits: Limits::default(),
            directory: Directory::none(),
        };
        let mut instance =
            Instance::new(&self.engine, component, birth, Purpose::Replacement).await.expect("an instance");
        instance.init(config).await.expect("init");
        instance
    }

    async fn started(&self, component: &CompiledComponent, config: &str) -> Instance {
        let mut instance = self.born(component, config).await;
        handle(&mut instance, &[Event::Started(Start::Fresh)]).await;
        instance
    }
}

async fn handle(instance: &mut Instance, events: &[Event]) {
    let batch = Batch { now: UnixNanos(1_700_000_000_000_000_000), seed: 1, events };
    black_box(instance.handle(batch).await.expect("effects"));
}

/// So many lines, each an event.
fn batch(count: usize) -> Vec<Event> {
    vec![Event::Received(Received { connection: 1, data: b"incr\n".to_vec() }); count]
}

fn birth(c: &mut Criterion) {
    let bench = Bench::new();
    c.bench_function("birth and init, warm slot", |b| {
        b.iter(|| bench.runtime.block_on(bench.born(&bench.new, "")));
    });
}

fn calls(c: &mut Criterion) {
    let bench = Bench::new();
    let mut group = c.benchmark_group("handle");
    let mut instance = bench.runtime.block_on(bench.started(&bench.old, ""));
    for count in BATCHES {
        let events = batch(count);
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| bench.runtime.block_on(handle(&mut instance, &events)));
        });
    }
    group.finish();
}

/// What a batch costs to record, with the effects that its `handle` had.
fn journal(c: &mut Criterion) {
    /// As in the runtime's own config: there a new base comes then, here an empty journal.
    const LIMIT_BYTES: usize = 64 << 20;
    let bench = Bench::new();
    let now = UnixNanos(1_700_000_000_000_000_000);
    let mut group = c.benchmark_group("journal");
    let mut instance = bench.runtime.block_on(bench.started(&bench.old, ""));
    for count in BATCHES {
        let events = batch(count);
        let handled = instance.handle(Batch { now, seed: 1, events: &events });
        let effects = bench.runtime.block_on(handled).expect("effects");
        let mut journal = BareJournal::new();
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::from_parameter(count), |b| {
            b.iter(|| {
                if journal.bytes() >= LIMIT_BYTES {
                    journal = BareJournal::new();
                }
                journal.handled(now, black_box(&events), black_box(&effects));
            });
        });
    }
    group.finish();
}

fn states(c: &mut Criterion) {
    let bench = Bench::new();
    for rows in ROWS {
        let config = format!("rows = {rows}");
        let mut old = bench.runtime.block_on(bench.started(&bench.old, &config));
        let schema = bench.runtime.block_on(old.describe()).expect("a description").writes.schema;
        let state = bench.runtime.block_on(old.snapshot(schema)).expect("a state");
        let mut group = c.benchmark_group(format!("{rows} rows, {} bytes", state.data().len()));
        group.measurement_time(Duration::from_secs(if rows < 100_000 { 3 } else { 6 })).sample_size(30);
        group.bench_function("snapshot", |b| {
            b.iter(|| bench.runtime.block_on(old.snapshot(schema)).expect("a state"));
        });
        group.bench_function("code-change", |b| {
            b.iter_batched(
                || bench.runtime.block_on(bench.born(&bench.new, &config)),
                |mut new| {
                    bench.runtime.block_on(new.code_change(&state, "1.0.0")).expect("code-change");
                    new
                },
                BatchSize::PerIteration,
            );
        });
        group.bench_function("snapshot and code-change", |b| {
            b.iter_batched(
                || bench.runtime.block_on(bench.born(&bench.new, &config)),
                |mut new| {
                    let state = bench.runtime.block_on(old.snapshot(schema)).expect("a state");
                    bench.runtime.block_on(new.code_change(&state, "1.0.0")).expect("code-change");
                    new
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, birth, calls, journal, states);
criterion_main!(benches);
