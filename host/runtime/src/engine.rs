//! The WebAssembly engine: the only place with a `wasmtime::Config`, and the owner of what all instances share.
//!
//! It promises that a guest's run depends on its inputs alone (NaNs canonical, relaxed SIMD deterministic, no threads,
//! fuel instead of time), that a guest that computes yields to other tasks, and that there is an end to how many instances
//! there are, with some room kept back for swaps and restarts. It costs two threads: one counts time, one takes dropped
//! instances apart.

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
    Config, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig,
    component::{Component, Linker},
};

pub(crate) use self::slots::Slot;
use self::slots::Slots;
pub use self::slots::{NoSlot, Purpose};
use crate::{
    bindings::{Contract, UnfitComponent},
    capability::{self, Context},
    instance::Remains,
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

/// Linear memory that stays resident in a free slot and is zeroed by hand: writing it is cheaper than the page faults
/// that follow when the system takes it. A small guest touches less.
const KEEP_RESIDENT_MEMORY_BYTES: usize = 256 << 10;

/// The same for a table.
const KEEP_RESIDENT_TABLE_BYTES: usize = 64 << 10;

/// Stack of a guest: what rustc gives a wasm program by default is one mebibyte in its linear memory; this one holds only
/// return addresses and spilled registers.
const WASM_STACK_BYTES: usize = 512 << 10;

/// Stack of the fiber a call runs on: the guest's, and as much again for the host functions it calls.
const FIBER_STACK_BYTES: usize = 2 * WASM_STACK_BYTES;

/// How often a guest that computes lets other tasks run. A tenth of that is what a task switch may be late by anyway;
/// twice as often would cost a processor that is idle more than it gives.
const EPOCH: Duration = Duration::from_millis(2);

/// Dropped instances that wait to be taken apart; beyond this, whoever drops one does it himself.
const REAPER_QUEUE: usize = 1_024;

/// How many instances there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// At once, all in all.
    pub instances: u32,
    /// Of these, only for swaps and restarts.
    pub reserved: u32,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self { instances: INSTANCES_DEFAULT, reserved: RESERVED_DEFAULT }
    }
}

/// The engine. Clones are the same engine; its threads end with the last one.
#[derive(Clone)]
pub struct Engine(Arc<Shared>);

struct Shared {
    wasmtime: wasmtime::Engine,
    linker: Linker<Context>,
    slots: Arc<Slots>,
    reaper: Reaper,
    fits: Digest,
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
        let failed = |source| EngineError::Engine { instances: options.instances, source };
        let wasmtime = wasmtime::Engine::new(&config(options)).map_err(failed)?;
        let mut linker = Linker::new(&wasmtime);
        capability::link(&mut linker).map_err(failed)?;
        let shared = Shared {
            slots: Arc::new(Slots::new(options.instances, options.reserved)),
            reaper: Reaper::spawn().map_err(EngineError::Thread)?,
            fits: fits(&wasmtime),
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

    pub(crate) async fn claim_slot(&self, purpose: Purpose) -> Result<Slot, NoSlot> {
        Slots::claim(&self.0.slots, purpose).await
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
        .linear_memory_keep_resident(KEEP_RESIDENT_MEMORY_BYTES)
        .table_keep_resident(KEEP_RESIDENT_TABLE_BYTES);

    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        .memory_reservation(MEMORY_RESERVATION_BYTES)
        // A linear memory that starts as a mapping of the component's own data costs no copy at birth.
        .memory_init_cow(true)
        // A call is a plain call: the machinery for component-model tasks would double its cost.
        .concurrency_support(false)
        .max_wasm_stack(WASM_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        // Fuel is what ends a call, and it is the same in a replay. Epochs only make a guest yield.
        .consume_fuel(true)
        .epoch_interruption(true)
        // The same bits on every machine. (Threads in wasm, whose order nobody could repeat, are not even built in.)
        .cranelift_nan_canonicalization(true)
        .relaxed_simd_deterministic(true)
        .cranelift_opt_level(OptLevel::Speed);
    config
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
pub(crate) struct Reaper(SyncSender<Box<Remains>>);

impl Reaper {
    fn spawn() -> std::io::Result<Self> {
        let (sender, remains) = mpsc::sync_channel(REAPER_QUEUE);
        thread::Builder::new().name("wasm-reaper".to_owned()).spawn(move || remains.into_iter().for_each(drop))?;
        Ok(Self(sender))
    }

    pub(crate) fn take(&self, mut remains: Box<Remains>) {
        remains.mark_dying();
        match self.0.try_send(remains) {
            Ok(()) => {}
            Err(TrySendError::Full(remains) | TrySendError::Disconnected(remains)) => drop(remains),
        }
    }
}
