//! Time as a guest sees it: the batch's `now`, standing still during a call and never falling from one to the next.
//!
//! Wall clock and monotonic clock are the same number, so a replay of the same batches reads the same times. Waiting is
//! refused: `poll` and `block` answer when something is ready at once, and trap otherwise.

use std::{
    future::Future,
    pin::pin,
    task::{self, Poll, Waker},
};

use host_core::time::UnixNanos;
use wasmtime::{
    StoreContextMut,
    component::{Linker, Resource, WasmList},
};
use wasmtime_wasi::{
    WasiView,
    p2::{DynPollable, Pollable, bindings::clocks::wall_clock::Datetime, subscribe},
};

use super::{Context, HANDLES_LIMIT, WASI_VERSION, charge};

/// What clocks say of their resolution: `now` comes from the system's clock, which is good for about this much.
const RESOLUTION_NS: u64 = 1_000;

/// What a guest that waits is told.
const NEVER_WAITS: &str = "it waits (sleep, poll or a blocking read); a workload never waits: set a timer instead";

/// Fuel for each thing that is polled.
const FUEL_PER_POLLABLE: u64 = 100;

const NS_PER_S: u64 = 1_000_000_000;

/// The clock of one instance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(UnixNanos);

impl Clock {
    /// A clock that shows `now`.
    pub(crate) fn new(now: UnixNanos) -> Self {
        Self(now)
    }

    /// Moves it to `now`, or leaves it where it is if that would be back.
    pub(crate) fn advance(&mut self, now: UnixNanos) {
        self.0 = self.0.max(now);
    }

    /// What it shows.
    pub(crate) fn now(self) -> UnixNanos {
        self.0
    }
}

/// A pollable that is ready when its time has come, which within a call never happens.
struct Alarm {
    due: bool,
}

impl Pollable for Alarm {
    fn ready<'a, 'b>(&'a mut self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        if self.due { Box::pin(std::future::ready(())) } else { Box::pin(std::future::pending()) }
    }
}

fn datetime(nanos: u64) -> Datetime {
    Datetime { seconds: nanos / NS_PER_S, nanoseconds: u32::try_from(nanos % NS_PER_S).unwrap_or_default() }
}

fn alarm(mut store: StoreContextMut<'_, Context>, due: bool) -> wasmtime::Result<(Resource<DynPollable>,)> {
    let table = store.data_mut().ctx().table;
    let alarm = table.push(Alarm { due })?;
    Ok((subscribe(table, alarm)?,))
}

/// Asks once, and traps instead of waiting.
pub(super) fn at_once<T>(future: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    match pin!(future).poll(&mut task::Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => Err(wasmtime::Error::msg(NEVER_WAITS)),
    }
}

pub(super) fn link(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    let mut wall = linker.instance(&format!("wasi:clocks/wall-clock@{WASI_VERSION}"))?;
    wall.func_wrap("now", |store, (): ()| Ok((datetime(store.data().clock.0.0),)))?;
    wall.func_wrap("resolution", |_, (): ()| Ok((datetime(RESOLUTION_NS),)))?;

    let mut monotonic = linker.instance(&format!("wasi:clocks/monotonic-clock@{WASI_VERSION}"))?;
    monotonic.func_wrap("now", |store, (): ()| Ok((store.data().clock.0.0,)))?;
    monotonic.func_wrap("resolution", |_, (): ()| Ok((RESOLUTION_NS,)))?;
    monotonic.func_wrap("subscribe-instant", |store, (when,): (u64,)| {
        let due = when <= store.data().clock.0.0;
        alarm(store, due)
    })?;
    monotonic.func_wrap("subscribe-duration", |store, (length,): (u64,)| alarm(store, length == 0))?;

    let mut poll = linker.instance(&format!("wasi:io/poll@{WASI_VERSION}"))?;
    poll.func_wrap("poll", |mut store, (list,): (WasmList<Resource<DynPollable>>,)| {
        if list.len() > HANDLES_LIMIT {
            wasmtime::bail!("it polls {} things at once, more than the {HANDLES_LIMIT} that it may hold", list.len());
        }
        charge(&mut store, list.len() as u64 * FUEL_PER_POLLABLE)?;
        let list = list.iter(&mut store)?.collect::<wasmtime::Result<_>>()?;
        let table = store.data_mut().ctx().table;
        Ok((at_once(wasmtime_wasi::p2::bindings::io::poll::Host::poll(table, list))?,))
    })?;
    poll.func_wrap("[method]pollable.block", |mut store, (pollable,): (Resource<DynPollable>,)| {
        let table = store.data_mut().ctx().table;
        at_once(wasmtime_wasi::p2::bindings::io::poll::HostPollable::block(table, pollable))
    })
}
