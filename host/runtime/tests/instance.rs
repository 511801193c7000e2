//! Instances: what a guest can do, what it can't, and what happens when it tries.

use std::{
    sync::LazyLock,
    time::{Duration, Instant as Clock},
};

use bytes::Bytes;
use host_core::{
    release::{Description, StateFormat},
    status::HealthStatus,
    swap::CallFault,
    time::UnixNanos,
};
use host_runtime::{
    artifact::{CompiledComponent, Compiler, VerifiedArtifact},
    bindings::types::{Effect, Event, Received, Start},
    engine::{Engine, EngineOptions, Purpose},
    instance::{
        Batch, Birth, BirthError, CallError, Directory, Excess, GuestState, Instance,
        limits::{Call, CallLimits, EffectLimits, Limits},
    },
};

/// One engine and one compiler for all tests, so that each guest is compiled once.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    Engine::new(EngineOptions { instances: 64, reserved: 4, ..EngineOptions::default() }).expect("an engine")
});
static COMPILER: LazyLock<Compiler> = LazyLock::new(|| Compiler::in_memory(ENGINE.clone()).expect("a compiler"));

const NOW: UnixNanos = UnixNanos(1_700_000_000_123_456_789);
const MIB: usize = 1 << 20;

/// Limits at which a guest that does not end is cut off in a moment.
fn tight() -> Limits {
    let call = CallLimits { fuel: 50_000_000, time: Duration::from_secs(20), memory_bytes: 16 * MIB };
    Limits {
        handle: call,
        brief: call,
        query: call,
        state: CallLimits { memory_bytes: 32 * MIB, ..call },
        ..Limits::default()
    }
}

fn birth(limits: Limits) -> Birth {
    Birth {
        workload: "counter".parse().expect("a name"),
        version: "1.0.0".parse().expect("semver"),
        now: NOW,
        seed: [7; 32],
        limits,
        directory: Directory::none(),
    }
}

async fn compiled(bytes: &'static [u8]) -> CompiledComponent {
    COMPILER.compile(VerifiedArtifact::of(Bytes::from_static(bytes))).await.expect("a component")
}

async fn counter(version: &str) -> CompiledComponent {
    compiled(example_workloads::example("counter", version).expect("an example").component).await
}

async fn fault(name: &str) -> CompiledComponent {
    compiled(example_workloads::fault(name).expect(name).component).await
}

async fn instance_with(component: &CompiledComponent, limits: Limits) -> Instance {
    Instance::new(&ENGINE, component, birth(limits), Purpose::Start).await.expect("an instance")
}

/// An instance that has begun to work.
async fn started(component: &CompiledComponent) -> Instance {
    let mut instance = instance_with(component, tight()).await;
    instance.init("").await.expect("init");
    send(&mut instance, 0, vec![Event::Started(Start::Fresh)]).await.expect("started");
    instance
}

async fn send(instance: &mut Instance, seed: u64, events: Vec<Event>) -> Result<Vec<Effect>, CallError> {
    instance.handle(Batch { now: NOW, seed, events: &events }).await
}

fn line(text: &str) -> Vec<Event> {
    vec![Event::Received(Received { connection: 1, data: format!("{text}\n").into_bytes() })]
}

async fn say(instance: &mut Instance, text: &str) -> Result<Vec<Effect>, CallError> {
    send(instance, 1, line(text)).await
}

fn said(effects: &[Effect]) -> String {
    let texts = effects.iter().filter_map(|effect| match effect {
        Effect::Send(send) => Some(String::from_utf8_lossy(&send.data)),
        _ => None,
    });
    texts.collect()
}

/// The state of a counter that has counted to three.
async fn three() -> (Description, GuestState) {
    let mut old = started(&counter("1.0.0").await).await;
    for _ in 0..3 {
        say(&mut old, "incr").await.expect("an answer");
    }
    let description = old.describe().await.expect("a description");
    let state = old.snapshot(description.writes.schema).await.expect("a state");
    (description, state)
}

#[tokio::test]
async fn a_counter_counts_and_its_successor_goes_on_from_there() {
    let (old, state) = three().await;
    assert_eq!((old.writes.schema, state.format()), (1, old.writes));

    let component = counter("1.1.0").await;
    let mut new = instance_with(&component, tight()).await;
    assert!(new.describe().await.expect("a description").accepts(state.format()));
    new.init("").await.expect("init");
    new.code_change(&state, "1.0.0").await.expect("code-change");
    send(&mut new, 0, vec![Event::Started(Start::Swapped("1.0.0".to_owned()))]).await.expect("started");
    assert!(said(&say(&mut new, "incr").await.expect("an answer")).starts_with("1.1.0 4"));

    let back = new.snapshot(1).await.expect("a state in the older format");
    let mut old = instance_with(&counter("1.0.0").await, tight()).await;
    old.init("").await.expect("init");
    old.code_change(&back, "1.1.0").await.expect("code-change");
    send(&mut old, 0, vec![Event::Started(Start::RolledBack("1.1.0".to_owned()))]).await.expect("started");
    assert_eq!(said(&say(&mut old, "incr").await.expect("an answer")), "1.0.0 5\n");
    let health = old.health().await.expect("health");
    assert_eq!(health.status, HealthStatus::Ok);
    assert!(old.memory_bytes() >= 64 << 10 && old.peak_memory_bytes() >= old.memory_bytes());
}

#[tokio::test]
async fn an_error_of_the_guests_own_leaves_it_whole() {
    let mut instance = started(&counter("1.0.0").await).await;
    let error = instance.snapshot(77).await.expect_err("there is no schema 77");
    assert!(matches!(error, CallError::Failed(_)) && !error.is_lost(), "{error}");
    assert!(matches!(CallFault::from(error), CallFault::Error(_)));
    let garbage = GuestState::new(StateFormat { schema: 1, fingerprint: 1 }, vec![0xff; 100]);
    assert!(!instance.code_change(&garbage, "1.0.0").await.expect_err("not a state").is_lost());
    assert!(!instance_with(&fault("init-errors").await, tight()).await.init("").await.expect_err("as told").is_lost());
    let (_, state) = three().await;
    let mut candidate = instance_with(&fault("code-change-errors").await, tight()).await;
    candidate.init("").await.expect("init");
    assert!(!candidate.code_change(&state, "1.0.0").await.expect_err("as told").is_lost());
    assert!(!candidate.is_lost());
}

/// Calls that trap, by the fault's name.
async fn trapping(name: &str, state: &GuestState) -> (Instance, CallError) {
    let component = fault(name).await;
    let mut instance = instance_with(&component, tight()).await;
    let answer = match name.split_once('-').map(|(call, _)| call) {
        Some("describe") => instance.describe().await.map(drop),
        Some("init") => instance.init("").await,
        Some("code") => {
            instance.init("").await.expect("init");
            instance.code_change(state, "1.0.0").await
        }
        Some("snapshot") => {
            instance.init("").await.expect("init");
            instance.snapshot(1).await.expect("whole until it is broken");
            say(&mut instance, "break").await.expect("broken");
            instance.snapshot(1).await.map(drop)
        }
        _ => {
            instance.init("").await.expect("init");
            let word = match name {
                "handle-never-returns" => "hang",
                "handle-sleeps" => "sleep",
                "exits" => "exit",
                _ => "trap",
            };
            say(&mut instance, word).await.map(drop)
        }
    };
    (instance, answer.expect_err(name))
}

#[tokio::test]
async fn a_guest_that_traps_is_lost_and_says_why() {
    let (_, state) = three().await;
    for name in ["describe-traps", "init-traps", "code-change-traps", "snapshot-traps", "handle-traps"] {
        let (mut instance, error) = trapping(name, &state).await;
        assert!(
            matches!(&error, CallError::Trap { said: Some(said), .. } if said.contains("panicked at")),
            "{name}: {error:?}"
        );
        assert!(error.is_lost() && instance.is_lost());
        assert!(matches!(CallFault::from(error), CallFault::Lost(_)));
        assert_eq!(instance.health().await, Err(CallError::Lost));
        assert_eq!(say(&mut instance, "incr").await, Err(CallError::Lost));
        assert!(instance.memory_bytes() > 0);
    }
}

#[tokio::test]
async fn a_guest_that_never_returns_runs_out_of_fuel() {
    let (_, state) = three().await;
    for name in ["code-change-never-returns", "snapshot-never-returns", "handle-never-returns"] {
        let (instance, error) = trapping(name, &state).await;
        assert!(matches!(error, CallError::OutOfFuel { limit: 50_000_000, .. }), "{name}: {error:?}");
        assert!(instance.is_lost());
    }
}

#[tokio::test]
async fn a_guest_that_eats_memory_is_told_from_one_that_traps() {
    let (_, state) = three().await;
    let (instance, error) = trapping("code-change-eats-memory", &state).await;
    assert!(
        matches!(error, CallError::OutOfMemory { call: Call::CodeChange, limit_bytes, .. } if limit_bytes == 32 * MIB),
        "{error:?}"
    );
    assert!(instance.peak_memory_bytes() <= 32 * MIB);
}

#[tokio::test]
async fn a_guest_that_sleeps_or_exits_is_lost_at_once() {
    let (_, state) = three().await;
    let began = Clock::now();
    let (_, error) = trapping("handle-sleeps", &state).await;
    assert!(error.to_string().contains("a workload never waits: set a timer instead"), "{error}");
    let (_, error) = trapping("exits", &state).await;
    assert!(error.to_string().contains("it called exit"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_call_has_a_time_limit_behind_its_fuel() {
    let mut limits = tight();
    limits.handle = CallLimits { fuel: u64::MAX, time: Duration::from_millis(50), ..limits.handle };
    let mut instance = instance_with(&fault("handle-never-returns").await, limits).await;
    instance.init("").await.expect("init");
    let error = say(&mut instance, "hang").await.expect_err("too long");
    assert_eq!(error, CallError::TimedOut { call: Call::Handle, limit: Duration::from_millis(50) });
    assert!(instance.is_lost());
}

#[tokio::test]
async fn a_guest_that_computes_lets_other_tasks_run() {
    let mut limits = tight();
    limits.handle.fuel = 1_000_000_000;
    let mut instance = instance_with(&fault("handle-busy").await, limits).await;
    instance.init("").await.expect("init");
    let mut turns = 0;
    let events = line("busy 50");
    tokio::select! {
        biased;
        effects = instance.handle(Batch { now: NOW, seed: 1, events: &events }) => {
            assert_eq!(said(&effects.expect("an answer")), "1.0.0 busy done\n");
        }
        () = async { loop { turns += 1; tokio::task::yield_now().await; } } => {}
    }
    assert!(turns > 1, "the other task had {turns} turns");
}

#[tokio::test]
async fn a_call_that_is_dropped_halfway_loses_the_instance_and_frees_its_slot() {
    let engine =
        Engine::new(EngineOptions { instances: 1, reserved: 0, ..EngineOptions::default() }).expect("an engine");
    let compiler = Compiler::in_memory(engine.clone()).expect("a compiler");
    let bytes = example_workloads::fault("handle-never-returns").expect("a fault").component;
    let component = compiler.compile(VerifiedArtifact::of(Bytes::from_static(bytes))).await.expect("a component");
    let mut limits = tight();
    limits.handle.fuel = u64::MAX;
    let mut instance = Instance::new(&engine, &component, birth(limits), Purpose::Start).await.expect("an instance");
    let error = Instance::new(&engine, &component, birth(limits), Purpose::Start).await.expect_err("one is all");
    assert!(matches!(&error, BirthError::NoSlot(_)), "{error}");
    assert!(error.to_string().starts_with("no instance slot is free: 1 of 1 in use"), "{error}");

    instance.init("").await.expect("init");
    tokio::time::timeout(Duration::from_millis(20), say(&mut instance, "hang")).await.expect_err("endless");
    assert!(instance.is_lost());
    assert_eq!(instance.health().await, Err(CallError::Lost));
    // The slot is free although `instance` still stands here.
    Instance::new(&engine, &component, birth(limits), Purpose::Start).await.expect("the slot of the lost one");
}

#[tokio::test]
async fn a_batch_with_too_much_in_it_loses_the_instance() {
    let component = counter("1.0.0").await;
    // One answer of eight bytes to each of three connections.
    let events: Vec<_> =
        (1..=3).map(|connection| Event::Received(Received { connection, data: b"incr\n".into() })).collect();
    type Lower = fn(&mut EffectLimits);
    let cases: [(Lower, Excess); 3] = [
        (|limits| limits.count = 2, Excess::Effects { given: 3, limit: 2 }),
        (|limits| limits.bytes = 23, Excess::EffectBytes { given: 24, limit: 23 }),
        (|limits| limits.targets = 2, Excess::Targets { given: 3, limit: 2 }),
    ];
    for (lower, expected) in cases {
        let mut limits = tight();
        lower(&mut limits.effects);
        let mut instance = instance_with(&component, limits).await;
        instance.init("").await.expect("init");
        let error = send(&mut instance, 1, events.clone()).await.expect_err("too much");
        assert_eq!(error, CallError::TooMuch { call: Call::Handle, excess: expected });
        assert!(instance.is_lost());
    }
    let mut instance = instance_with(&fault("floods").await, tight()).await;
    instance.init("").await.expect("init");
    let mut limits = tight();
    limits.effects.bytes = 64 << 10;
    let mut flooded = instance_with(&fault("floods").await, limits).await;
    flooded.init("").await.expect("init");
    assert!(say(&mut instance, "flood 1024").await.is_ok());
    assert!(matches!(say(&mut flooded, "flood 1024").await, Err(CallError::TooMuch { .. })));
}

#[tokio::test]
async fn a_state_beyond_its_limit_is_an_error_and_the_instance_goes_on() {
    let mut limits = tight();
    limits.state_bytes = 100;
    let mut instance = instance_with(&counter("1.0.0").await, limits).await;
    instance.init("rows = 100").await.expect("init");
    send(&mut instance, 0, vec![Event::Started(Start::Fresh)]).await.expect("the rows are made now");
    let error = instance.snapshot(1).await.expect_err("too large");
    assert!(error.to_string().contains("more than the limit of 100"), "{error}");
    assert!(!instance.is_lost());
    assert_eq!(said(&say(&mut instance, "incr").await.expect("an answer")), "1.0.0 1\n");
}

#[tokio::test]
async fn a_guest_sees_nothing_but_its_batch() {
    let mut instance = instance_with(&fault("reads-world").await, Limits::default()).await;
    instance.init("").await.expect("init");
    let world = said(&say(&mut instance, "world").await.expect("an answer"));
    for expected in ["env=0", "args=0", "passed=0", &format!("unix={}", NOW.0), &format!("now={}", NOW.0)] {
        assert!(world.contains(expected), "{expected} in {world}");
    }
    for refused in ["connect=", "listen=", "udp=", "write=", "files="] {
        let (_, answer) = world.split_once(refused).expect(refused);
        assert!(!answer.starts_with("yes") && !answer.starts_with(char::is_numeric), "{refused} in {world}");
    }
}

#[tokio::test]
async fn the_same_birth_and_the_same_batches_give_the_same_effects_and_the_same_state() {
    let component = fault("reads-world").await;
    let live = |seed: [u8; 32]| {
        let component = component.clone();
        async move {
            let birth = Birth { seed, ..birth(Limits::default()) };
            let mut instance = Instance::new(&ENGINE, &component, birth, Purpose::Start).await.expect("an instance");
            instance.init("rows = 20").await.expect("init");
            send(&mut instance, u64::MAX - 1, vec![Event::Started(Start::Fresh)]).await.expect("the rows are made now");
            let mut effects = Vec::new();
            for batch in 0..5_u64 {
                let events: Vec<_> = ["incr", "world", "incr"].into_iter().flat_map(line).collect();
                let now = UnixNanos(NOW.0 + batch * 1_000);
                effects.push(instance.handle(Batch { now, seed: batch, events: &events }).await.expect("effects"));
            }
            (effects, instance.snapshot(1).await.expect("a state"))
        }
    };
    let (one, other, stranger) = (live([1; 32]).await, live([1; 32]).await, live([2; 32]).await);
    assert_eq!(one, other);
    assert_ne!(one.0, stranger.0, "random numbers come from the birth");
    assert_eq!(one.1, stranger.1, "and leave the counter's state alone");
}

#[tokio::test]
async fn time_never_falls() {
    let mut instance = instance_with(&fault("reads-world").await, Limits::default()).await;
    instance.init("").await.expect("init");
    let events = line("world");
    let later = UnixNanos(NOW.0 + 5);
    instance.handle(Batch { now: later, seed: 0, events: &events }).await.expect("effects");
    let effects = instance.handle(Batch { now: NOW, seed: 1, events: &events }).await.expect("effects");
    assert!(said(&effects).contains(&format!("now={}", later.0)), "{}", said(&effects));
}

#[tokio::test]
async fn health_is_the_guests_own_word() {
    for (name, expected) in [("health-fails", HealthStatus::Failed), ("health-degraded", HealthStatus::Degraded)] {
        let mut instance = started(&fault(name).await).await;
        assert_eq!(instance.health().await.expect("health").status, expected, "{name}");
    }
}

#[tokio::test]
async fn a_component_of_another_world_is_refused_by_what_it_exports() {
    let bytes = example_workloads::fault("another-world").expect("a fault").component;
    let artifact = VerifiedArtifact::of(Bytes::from_static(bytes));
    let error = COMPILER.compile(artifact).await.expect_err("no workload").to_string();
    assert!(error.contains("a workload exports hotswap:workload/lifecycle@0.1.0"), "{error}");
    let inspection = COMPILER.inspect(Bytes::from_static(bytes)).await.expect("a component all the same");
    assert!(inspection.description.is_err() && !inspection.exports.is_empty());
    assert!(inspection.exports.iter().all(|name| error.contains(name.as_str())), "{error}");
}

#[tokio::test]
async fn what_is_no_component_is_refused_by_what_it_is() {
    let cases: [(&'static [u8], &str); 4] = [
        (example_workloads::NOT_A_COMPONENT, "core WebAssembly module"),
        (b"#!/bin/sh\necho hello", "no WebAssembly at all"),
        (b"", "no WebAssembly at all"),
        (b"\0asm\x0d\0\x01\0\xff\xff\xff", "can't be compiled"),
    ];
    for (bytes, expected) in cases {
        let artifact = VerifiedArtifact::of(Bytes::from_static(bytes));
        let error = COMPILER.compile(artifact).await.expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[tokio::test]
async fn an_inspection_says_what_a_component_is() {
    let bytes = example_workloads::example("counter", "2.0.0").expect("an example").component;
    let inspection = COMPILER.inspect(Bytes::from_static(bytes)).await.expect("a component");
    assert_eq!(inspection.bytes, bytes.len() as u64);
    assert!(inspection.exports.iter().any(|name| name == "hotswap:workload/handler@0.1.0"));
    assert!(inspection.imports.iter().all(|name| name.starts_with("wasi:")), "{:?}", inspection.imports);
    assert_eq!(inspection.description.expect("it describes itself").writes.schema, 3);
}
