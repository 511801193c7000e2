//! The powers of the host as a guest sees them: one module each, and nothing is open without one.
//!
//! WASI 0.2 is linked whole, so that a component built by any toolchain loads, and granted is nothing: no arguments, no
//! environment, no directory, no network, no name lookup, standard input closed. What would make two runs of the same
//! batches differ is taken from the host's hands instead of the system's: [`clock`], [`random`]. What would make a guest
//! wait traps: a workload never waits, it sets a timer.
//!
//! What a host function does for a guest is bounded in size before anything is copied, and paid for in fuel ([`charge`])
//! where its cost grows with what was asked for.
//!
//! It costs nothing until it is used: the WASI context is made when a guest first asks for it.

pub(crate) mod clock;
pub(crate) mod directory;
pub(crate) mod log;
mod network;
pub(crate) mod random;
mod streams;

use wasmtime::{
    StoreContextMut, Trap,
    component::{Linker, ResourceTable},
};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use self::{clock::Clock, directory::Directory, log::Log, random::Random};
use crate::instance::limits::MemoryGauge;

/// The WASI version whose names the linker holds. Other patch versions of 0.2 resolve to it.
pub(crate) const WASI_VERSION: &str = "0.2.12";

/// Most things of the host that a guest may hold at once: streams, pollables, errors. A guest holds a handful; one that goes
/// on asking without giving back must not fill the host's memory.
pub(crate) const HANDLES_LIMIT: usize = 1_000;

/// What a store carries: one guest's share of the host.
pub(crate) struct Context {
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) log: Log,
    pub(crate) memory: MemoryGauge,
    directory: Directory,
    table: ResourceTable,
    wasi: Option<Box<WasiCtx>>,
}

impl Context {
    /// A guest's share, before anything was asked of it.
    pub(crate) fn new(clock: Clock, random: Random, log: Log, memory: MemoryGauge, directory: Directory) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(HANDLES_LIMIT);
        Self { clock, random, log, memory, directory, table, wasi: None }
    }
}

impl WasiView for Context {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let ctx = self.wasi.get_or_insert_with(|| Box::new(self.directory.wasi()));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

/// How an engine calls its guests: what is linked must not wait in another way than the call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// On fibers, which yield to other tasks.
    OnFibers,
    /// On the caller's thread, which is the guest's for that time.
    Blocking,
}

/// Links WASI and puts the host's own powers in place of the system's.
pub(crate) fn link(linker: &mut Linker<Context>, calls: Calls) -> wasmtime::Result<()> {
    match calls {
        Calls::OnFibers => wasmtime_wasi::p2::add_to_linker_async(linker)?,
        Calls::Blocking => wasmtime_wasi::p2::add_to_linker_sync(linker)?,
    }
    linker.allow_shadowing(true);
    clock::link(linker)?;
    random::link(linker)?;
    log::link(linker)?;
    streams::link(linker)?;
    network::link(linker)?;
    linker.instance(&format!("wasi:cli/exit@{WASI_VERSION}"))?.func_wrap(
        "exit",
        |_, (status,): (Result<(), ()>,)| -> wasmtime::Result<()> {
            let how = if status.is_ok() { "success" } else { "failure" };
            Err(wasmtime::format_err!("it called exit ({how}); a workload runs until its host stops it"))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Burns fuel for work that a host function does on a guest's behalf, so that it ends in the same place in every replay.
/// Asked before the work: nothing is done for a guest that can't pay.
fn charge(store: &mut StoreContextMut<'_, Context>, fuel: u64) -> wasmtime::Result<()> {
    match store.get_fuel()?.checked_sub(fuel) {
        Some(left) => store.set_fuel(left),
        None => Err(Trap::OutOfFuel.into()),
    }
}
