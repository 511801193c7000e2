//! The same calls into a guest, for an instance whose calls block their thread: one of thousands, each with a connection.
//!
//! It keeps the promises of [`Instance`](super::Instance): limits on every call, an error of a guest is never a panic of the
//! host, and what it does depends on its birth and its calls alone. What differs is the backstop. Nobody can drop a call that
//! has a thread of its own, so time ends it by a trap: after its limit, or at a moment that the caller names, give or take two
//! milliseconds.

use std::{fmt, sync::Arc, time::Instant};

use host_core::release::Description;
use wasmtime::{Store, Trap};

use super::{
    Batch, Birth, BirthError, CallError, GuestHealth, GuestState, description_from, error, failed, health_from,
    limits::Call, limits::Limits, within,
};
use crate::{
    artifact::CompiledComponent,
    bindings::{BlockingGuest, types::Effect},
    capability::{Context, HANDLES_LIMIT, clock::Clock, log::Log, random::Random},
    engine::{Dying, EPOCH, Engine, Purpose, Reaper, Slot},
    instance::limits::MemoryGauge,
};

/// See the module. Owned by one session; a call borrows it until it returns.
pub(crate) struct BlockingInstance {
    held: Option<Held>,
    limits: Arc<Limits>,
}

/// What is left to be taken apart.
struct Remains {
    store: Store<Context>,
    guest: BlockingGuest,
    // Last: the slot is free when the store is gone, not before.
    slot: Slot,
}

struct Held {
    remains: Option<Box<Remains>>,
    reaper: Reaper,
}

impl Dying for Remains {
    fn mark_dying(&mut self) {
        self.slot.mark_dying();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(remains) = self.remains.take() {
            self.reaper.take(remains);
        }
    }
}

impl BlockingInstance {
    /// Makes an instance of `component` in an engine for sessions. The first call is [`init`](Self::init).
    ///
    /// # Errors
    /// No slot is free, or the component's own start code failed.
    pub(crate) fn new(
        engine: &Engine,
        component: &CompiledComponent,
        birth: Birth,
        limits: Arc<Limits>,
        purpose: Purpose,
    ) -> Result<Self, BirthError> {
        let slot = engine.claim_slot_blocking(purpose)?;
        let Birth { workload, version, now, seed, directory, limits: _ } = birth;
        let context = Context::new(
            Clock::new(now),
            Random::new(seed),
            Log::new(engine.logs(), workload, version),
            MemoryGauge::new(limits.brief.memory_bytes, engine.memory(purpose)),
            directory,
        );
        let mut store = Store::new(engine.wasmtime(), context);
        store.limiter(|context| &mut context.memory);
        store.set_max_component_handles(HANDLES_LIMIT);
        store.epoch_deadline_trap();
        begin(&mut store, Call::Instantiate, &limits, None)?;
        let guest = match component.contract().instantiate_blocking(&mut store) {
            Ok(guest) => guest,
            Err(error) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                return Err(BirthError::NoSlot(engine.no_slot(purpose)));
            }
            Err(error) => return Err(diagnose(Call::Instantiate, &limits, &error, store.data()).into()),
        };
        let remains = Some(Box::new(Remains { store, guest, slot }));
        Ok(Self { held: Some(Held { remains, reaper: engine.reaper() }), limits })
    }

    /// What the component says of itself.
    ///
    /// # Errors
    /// The instance is lost.
    pub(crate) fn describe(&mut self) -> Result<Description, CallError> {
        let description = self.call(Call::Describe, None, |store, BlockingGuest::V0_1(guest)| {
            guest.hotswap_workload_lifecycle().call_describe(store)
        })?;
        description_from(description)
    }

    /// Makes the state of a session that never ran.
    ///
    /// # Errors
    /// The guest does not like its config ([`CallError::Failed`]), or the instance is lost.
    pub(crate) fn init(&mut self, config: &str) -> Result<(), CallError> {
        self.call(Call::Init, None, |store, BlockingGuest::V0_1(guest)| {
            guest.hotswap_workload_lifecycle().call_init(store, config)
        })?
        .map_err(failed)
    }

    /// Its state in this schema. The instance keeps running. Cut off at `until`.
    ///
    /// # Errors
    /// The guest can't write it ([`CallError::Failed`]), the state is too large, or the instance is lost.
    pub(crate) fn snapshot(&mut self, schema: u32, until: Option<Instant>) -> Result<GuestState, CallError> {
        let state = self
            .call(Call::Snapshot, until, |store, BlockingGuest::V0_1(guest)| {
                guest.hotswap_workload_lifecycle().call_snapshot(store, schema)
            })?
            .map_err(failed)?;
        GuestState::checked(state, schema, self.limits.state_bytes)
    }

    /// Takes over a state that `from_vsn` wrote. Comes after [`init`](Self::init), whose config stays, and may come again: the
    /// last state counts. Cut off at `until`.
    ///
    /// # Errors
    /// The guest refuses the state ([`CallError::Failed`]), or the instance is lost.
    pub(crate) fn code_change(
        &mut self,
        state: &GuestState,
        from_vsn: &str,
        until: Option<Instant>,
    ) -> Result<(), CallError> {
        self.call(Call::CodeChange, until, |store, BlockingGuest::V0_1(guest)| {
            guest.hotswap_workload_lifecycle().call_code_change(store, &state.0, from_vsn)
        })?
        .map_err(failed)
    }

    /// How it says it is. Long answers are cut.
    ///
    /// # Errors
    /// The instance is lost.
    pub(crate) fn health(&mut self) -> Result<GuestHealth, CallError> {
        let health = self.call(Call::Health, None, |store, BlockingGuest::V0_1(guest)| {
            guest.hotswap_workload_lifecycle().call_health(store)
        })?;
        Ok(health_from(health))
    }

    /// Handles a batch: the new state and the effects take hold together when it returns, or neither does.
    ///
    /// # Errors
    /// The instance is lost. A `handle` has no way to fail and stay whole.
    pub(crate) fn handle(&mut self, batch: Batch<'_>) -> Result<Vec<Effect>, CallError> {
        let effects = self.call(Call::Handle, None, |store, BlockingGuest::V0_1(guest)| {
            let context = store.data_mut();
            context.clock.advance(batch.now);
            context.random.reseed(batch.seed);
            let now = context.clock.now().0;
            guest.hotswap_workload_handler().call_handle(store, now, batch.events)
        })?;
        let effects = within(self.limits.effects, effects);
        if effects.is_err() {
            // What else it will do can't be told either.
            self.held = None;
        }
        effects
    }

    /// Moves the guest's clock for calls that bring no time of their own (`snapshot`, `health`). It never falls.
    pub(crate) fn advance(&mut self, now: host_core::time::UnixNanos) {
        if let Some(remains) = self.remains() {
            remains.store.data_mut().clock.advance(now);
        }
    }

    /// Whether every later call will answer [`CallError::Lost`].
    pub(crate) const fn is_lost(&self) -> bool {
        self.held.is_none()
    }

    /// Linear memory it has, and the most it had.
    pub(crate) fn memory_bytes(&mut self) -> (usize, usize) {
        self.remains().map_or((0, 0), |remains| {
            let gauge = &remains.store.data().memory;
            (gauge.now_bytes(), gauge.peak_bytes())
        })
    }

    fn remains(&mut self) -> Option<&mut Remains> {
        self.held.as_mut()?.remains.as_deref_mut()
    }

    fn call<T>(
        &mut self,
        call: Call,
        until: Option<Instant>,
        enter: impl FnOnce(&mut Store<Context>, &BlockingGuest) -> wasmtime::Result<T>,
    ) -> Result<T, CallError> {
        let limits = self.limits.clone();
        let Some(Remains { store, guest, .. }) = self.remains() else { return Err(CallError::Lost) };
        begin(store, call, &limits, until)?;
        match enter(store, guest) {
            Ok(answer) => Ok(answer),
            Err(error) => {
                let error = diagnose(call, &limits, &error, store.data());
                self.held = None;
                Err(error)
            }
        }
    }
}

impl fmt::Debug for BlockingInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingInstance").field("lost", &self.is_lost()).finish_non_exhaustive()
    }
}

/// Gives a call what it may cost.
fn begin(store: &mut Store<Context>, call: Call, limits: &Limits, until: Option<Instant>) -> Result<(), CallError> {
    let allowed = limits.of(call);
    let time = until.map_or(allowed.time, |until| allowed.time.min(until.saturating_duration_since(Instant::now())));
    // One more, since the first tick may come at once.
    let ticks = u64::try_from(time.as_micros() / EPOCH.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
    store.set_fuel(allowed.fuel).map_err(|_| CallError::Lost)?;
    store.set_epoch_deadline(ticks);
    store.set_hostcall_fuel(limits.answer_bytes(call));
    let context = store.data_mut();
    context.memory.begin_call(allowed.memory_bytes);
    context.log.begin_call();
    Ok(())
}

fn diagnose(call: Call, limits: &Limits, error: &wasmtime::Error, context: &Context) -> CallError {
    if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        return CallError::TimedOut { call, limit: limits.of(call).time };
    }
    error::diagnose(call, limits, error, context)
}
