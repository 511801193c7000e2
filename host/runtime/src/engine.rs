//! The WebAssembly engine: the only place with a `wasmtime::Config`, and the owner of what all instances share.
//!
//! It promises that a guest's run depends on its inputs alone (NaNs canonical, relaxed SIMD deterministic, no threads,
//! fuel instead of time), that a guest that computes yields to other tasks, and that there is an end to how many instances
//! there are, with some room kept back for swaps and restarts. It costs two threads: one counts time, one takes dropped
//! instances apart.

mod memory;
pub(crate) mod sessions;
mod slots;

use std::{
    fmt,
    hash::{Hash as _, Hasher},
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use host_core::id::Digest;
use sha2::{Digest as _, Sha256};
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    component::{Component, Linker},
};

use self::slots::Slots;
pub use self::slots::{NoSlot, Purpose};
pub(crate) use self::{
    memory::{GuestMemory, Share},
    slots::Slot,
};
use crate::{
    bindings::{Contract, UnfitComponent},
    capability::{self, Calls, Context, log::Logs},
};

/// Instances that live at once, unless told otherwise. Each takes 4 GiB of address space, of which there are 128 TiB, and
/// no memory until it is used.
pub const INSTANCES_DEFAULT: u32 = 1_000;

/// Of these, kept back for swaps and restarts, unless told otherwise: a host that is full must still be able to replace
/// what it runs, several at once.
pub const RESERVED_DEFAULT: u32 = 50;

/// Address space of one linear memory: all that a 32-bit guest can address, so that its accesses need no check.
const MEMORY_RESERVATION_BYTES: u64 = 4 << 30;

/// Linear memories in one component: one, and one more for an adapter between old and new WASI.
const MEMORIES_PER_COMPONENT: u32 = 2;

/// Core modules in one component: the guest, and the shims that the linker of components makes for its imports.
const CORE_INSTANCES_PER_COMPONENT: u32 = 16;

/// Tables in one component: function pointers, and one for the shims.
const TABLES_PER_COMPONENT: u32 = 4;

/// Elements in one table; a guest with an interpreter in it has ten thousand.
const TABLE_ELEMENTS: usize = 50_000;

/// Linear memory that stays resident in a free slot and is zeroed by hand, where the system can tell which pages were
/// written: only those are zeroed, so that a small guest costs little. Who takes the slot next meets no page faults, which
/// are half of the time of a swap with 100 000 rows of state (28 MiB): hence that much, and not more, for it stays with the
/// process.
const KEEP_RESIDENT_MEMORY_BYTES: usize = 32 << 20;

/// The same where the system can't tell (Linux before 6.7): all of it is zeroed. A small guest touches less.
const KEEP_RESIDENT_BLINDLY_BYTES: usize = 256 << 10;

/// Free slots that stay with the component they had while there are slots that nobody used yet: none. A candidate shall get
/// one whose memory is resident, and there are as many of those as there ever were instances at once.
const UNUSED_WARM_SLOTS: u32 = 0;

/// The same for a table.
const KEEP_RESIDENT_TABLE_BYTES: usize = 64 << 10;

/// Stack of a guest: what rustc gives a wasm program by default is one mebibyte in its linear memory; this one holds only
/// return addresses and spilled registers.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Stack of the fiber a call runs on: the guest's, and as much again for the host functions it calls.
const FIBER_STACK_BYTES: usize = 2 * WASM_STACK_BYTES;

/// How often a guest that computes lets other tasks run. A tenth of that is what a task switch may be late by anyway;
/// twice as often would cost a processor that is idle more than it gives.
pub(crate) const EPOCH: Duration = Duration::from_millis(2);

/// Dropped instances that wait to be taken apart; beyond this, whoever drops one does it himself.
const REAPER_QUEUE: usize = 1_024;

/// Rest between two instances that a gentle reaper takes apart: giving memory back makes every thread of the process look
/// up its addresses anew, so ten thousand at once would be felt by all clients. At this rate they take two seconds.
const REAPER_PAUSE: Duration = Duration::from_micros(150);

/// How much threads stand back (`nice`) that have time: half of the scale is enough to lose against everything that serves.
const NICE: i32 = 10;

/// How many instances there may be, and how much memory they may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// At once, all in all.
    pub instances: u32,
    /// Of these, only for swaps and restarts.
    pub reserved: u32,
    /// Linear memory of all of them together.
    pub memory_bytes: u64,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { instances: INSTANCES_DEFAULT, reserved: RESERVED_DEFAULT, memory_bytes: memory::usual_bytes() }
    }
}

/// The engine. Clones are the same engine; its threads end with the last one.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

/// What all guests of a host share, whichever engine runs them.
#[derive(Clone)]
struct Commons {
    memory: Arc<GuestMemory>,
    logs: Logs,
}

struct Shared {
    wasmtime: wasmtime::Engine,
    linker: Linker<Context>,
    slots: Arc<Slots>,
    commons: Commons,
    reaper: Reaper,
    fits: Digest,
    calls: Calls,
    // Dropping it ends the thread that counts time.
    _ticker: SyncSender<()>,
}

/// An engine that can't be made on this machine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The processor or the system lacks something, or address space is limited.
    #[error(
        "the WebAssembly engine can't start with room for {instances} instances; \
         where address space is limited (`ulimit -v`), fewer may do"
    )]
    Engine {
        /// How many were wanted.
        instances: u32,
        /// What the engine says.
        #[source]
        source: wasmtime::Error,
    },
    /// A thread can't be started.
    #[error("a thread of the WebAssembly engine can't be started")]
    Thread(#[source] std::io::Error),
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    /// This machine can't run it.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let commons = Commons { memory: GuestMemory::new(options.memory_bytes), logs: Logs::default() };
        Self::with(&config(options), options, commons, Calls::OnFibers, |_| Reaper::spawn())
    }

    /// Starts an engine for instances with a connection each, whose calls block their thread. What guests share they share
    /// with those of this one.
    ///
    /// # Errors
    /// This machine can't run it.
    pub(crate) fn for_sessions(&self, instances: u32) -> Result<Self, EngineError> {
        let commons = self.0.commons.clone();
        // Who may make one is decided where connections are let in, which knows of candidates too.
        let options = EngineOptions { instances, reserved: 0, memory_bytes: commons.memory.limit_bytes() };
        Self::with(&sessions::config(instances), options, commons, Calls::Blocking, Reaper::spawn_gently)
    }

    fn with(
        config: &Config,
        options: EngineOptions,
        commons: Commons,
        calls: Calls,
        reaper: impl FnOnce(Arc<Slots>) -> std::io::Result<Reaper>,
    ) -> Result<Self, EngineError> {
        let failed = |source| EngineError::Engine { instances: options.instances, source };
        let wasmtime = wasmtime::Engine::new(config).map_err(failed)?;
        let mut linker = Linker::new(&wasmtime);
        capability::link(&mut linker, calls).map_err(failed)?;
        let slots = Arc::new(Slots::new(options.instances, options.reserved));
        let shared = Shared {
            reaper: reaper(slots.clone()).map_err(EngineError::Thread)?,
            slots,
            commons,
            fits: fits(&wasmtime),
            calls,
            _ticker: spawn_ticker(&wasmtime).map_err(EngineError::Thread)?,
            linker,
            wasmtime,
        };
        Ok(Self(Arc::new(shared)))
    }

    /// Identifies what compiled code must have been compiled for to be loaded here: engine, settings, processor.
    #[must_use]
    pub fn fits(&self) -> Digest {
        self.0.fits
    }

    /// Instances alive, those being taken apart included.
    #[must_use]
    pub fn instances(&self) -> u32 {
        self.0.slots.in_use()
    }

    /// How its guests are called.
    pub(crate) fn calls(&self) -> Calls {
        self.0.calls
    }

    /// Resolves what a component asks for and finds out which contract it keeps.
    pub(crate) fn contract(&self, component: &Component) -> Result<Contract, UnfitComponent> {
        Contract::of(component, &self.0.linker)
    }

    pub(crate) fn wasmtime(&self) -> &wasmtime::Engine {
        &self.0.wasmtime
    }

    pub(crate) fn reaper(&self) -> Reaper {
        self.0.reaper.clone()
    }

    /// The part that a new instance will have of all guests' memory.
    pub(crate) fn memory(&self, purpose: Purpose) -> Share {
        self.0.commons.memory.share(purpose)
    }

    /// What new guests may have together.
    pub(crate) fn memory_for_starts_bytes(&self) -> u64 {
        self.0.commons.memory.for_starts_bytes()
    }

    /// What each workload may still log, over all its instances.
    pub(crate) fn logs(&self) -> &Logs {
        &self.0.commons.logs
    }

    pub(crate) async fn claim_slot(&self, purpose: Purpose) -> Result<Slot, NoSlot> {
        Slots::claim(&self.0.slots, purpose).await
    }

    /// The same on a thread that may block: it waits only for instances that are already gone.
    pub(crate) fn claim_slot_blocking(&self, purpose: Purpose) -> Result<Slot, NoSlot> {
        if let Some(slot) = Slots::try_claim(&self.0.slots, purpose) {
            return Ok(slot);
        }
        tokio::runtime::Handle::current().block_on(Slots::claim(&self.0.slots, purpose))
    }

    pub(crate) fn no_slot(&self, purpose: Purpose) -> NoSlot {
        self.0.slots.full(purpose)
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("instances", &self.instances()).finish_non_exhaustive()
    }
}

fn config(options: EngineOptions) -> Config {
    let (scan, keep_resident) = if PoolingAllocationConfig::is_pagemap_scan_available() {
        (Enabled::Yes, KEEP_RESIDENT_MEMORY_BYTES)
    } else {
        (Enabled::No, KEEP_RESIDENT_BLINDLY_BYTES)
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(options.instances)
        .total_core_instances(options.instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
        .total_memories(options.instances.saturating_mul(MEMORIES_PER_COMPONENT))
        .total_tables(options.instances.saturating_mul(TABLES_PER_COMPONENT))
        .total_stacks(options.instances)
        .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
        .max_memories_per_component(MEMORIES_PER_COMPONENT)
        .max_tables_per_component(TABLES_PER_COMPONENT)
        .table_elements(TABLE_ELEMENTS)
        .pagemap_scan(scan)
        .max_unused_warm_slots(UNUSED_WARM_SLOTS)
        .linear_memory_keep_resident(keep_resident)
        .table_keep_resident(KEEP_RESIDENT_TABLE_BYTES);

    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        // A linear memory that starts as a mapping of the component's own data costs no copy at birth.
        .memory_init_cow(true)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES);
    deterministic(&mut config);
    config
}

/// What every engine of the host has in common: a guest's run depends on its inputs alone, and comes to an end.
fn deterministic(config: &mut Config) {
    config
        // A call is a plain call: the machinery for component-model tasks would double its cost.
        .concurrency_support(false)
        // Fuel is what ends a call, and it is the same in a replay. Epochs make a guest yield, or end what fuel does not see.
        .consume_fuel(true)
        .epoch_interruption(true)
        // The same bits on every machine. (Threads in wasm, whose order nobody could repeat, are not even built in.)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .cranelift_opt_level(OptLevel::Speed);
}

/// Hashes all that the engine hashes itself when it checks compiled code.
fn fits(engine: &wasmtime::Engine) -> Digest {
    struct Sha(Sha256);
    impl Hasher for Sha {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut hasher = Sha(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    Digest::new(hasher.0.finalize().into())
}

/// Counts time for guests that don't come to an end by themselves.
fn spawn_ticker(engine: &wasmtime::Engine) -> std::io::Result<SyncSender<()>> {
    let (alive, engine_gone) = mpsc::sync_channel(0);
    let engine = engine.clone();
    let tick = move || {
        while engine_gone.recv_timeout(EPOCH) == Err(RecvTimeoutError::Timeout) {
            engine.increment_epoch();
        }
    };
    thread::Builder::new().name("wasm-epoch".to_owned()).spawn(tick)?;
    Ok(alive)
}

/// Takes dropped instances apart on a thread of its own: giving memory back takes longer than most calls.
#[derive(Clone)]
pub(crate) struct Reaper(SyncSender<Box<dyn Dying>>);

/// What is left of an instance when it goes.
pub(crate) trait Dying: Send {
    /// Says that nobody will use it again.
    fn mark_dying(&mut self);
}

/// Lets everything else go before this thread. Each has a priority of its own only on Linux; elsewhere it stays as it is.
pub(crate) fn stand_back() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "a thread can't lower its priority");
    }
}

impl Reaper {
    fn spawn() -> std::io::Result<Self> {
        let (sender, remains) = mpsc::sync_channel(REAPER_QUEUE);
        thread::Builder::new().name("wasm-reaper".to_owned()).spawn(move || remains.into_iter().for_each(drop))?;
        Ok(Self(sender))
    }

    /// One that has room for all instances, since a swap gives it half of them at once, and that lets everything else go
    /// first, as long as there are slots enough.
    fn spawn_gently(slots: Arc<Slots>) -> std::io::Result<Self> {
        let (sender, remains) = mpsc::sync_channel::<Box<dyn Dying>>(slots.total() as usize);
        let reap = move || {
            stand_back();
            for remains in remains {
                drop(remains);
                if slots.in_use() < slots.total() / 4 * 3 {
                    thread::sleep(REAPER_PAUSE);
                }
            }
        };
        thread::Builder::new().name("session-reaper".to_owned()).spawn(reap)?;
        Ok(Self(sender))
    }

    pub(crate) fn take(&self, mut remains: Box<dyn Dying>) {
        remains.mark_dying();
        match self.0.try_send(remains) {
            Ok(()) => {}
            Err(TrySendError::Full(remains) | TrySendError::Disconnected(remains)) => drop(remains),
        }
    }
}
