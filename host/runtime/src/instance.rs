//! One live instance of a component: the only place where the host calls a guest.
//!
//! Every call has limits of fuel, time, memory and answer ([`limits`]). A guest that answers with an error is whole
//! ([`CallError::Failed`]); one that traps, is cut off or whose call is dropped halfway is lost for good, and every later
//! call says so. No error of a guest is a panic of the host.
//!
//! What an instance does depends on its birth and on the calls made to it and on nothing else: same birth, same batches,
//! same effects and same state, bit for bit.
//!
//! Making one costs about 20 µs on a warm slot of the pool, a call about 2 µs. Dropping one costs its caller nothing: the
//! memory is given back by a thread of the [`Engine`].

pub(crate) mod blocking;
mod error;
pub mod limits;
pub(crate) mod words;

use std::fmt;

use host_core::{
    id::WorkloadName,
    release::{Description, StateFormat},
    status::HealthStatus,
    time::UnixNanos,
};
use semver::Version;
use tokio::time::{error::Elapsed, timeout};
use wasmtime::Store;

pub use self::error::{BirthError, CallError, Excess};
use self::{
    limits::{
        Call, CallLimits, DESCRIPTION_LIST_LIMIT, ERROR_LIMIT_BYTES, EffectLimits, HEALTH_DETAILS_LIMIT,
        HEALTH_TEXT_LIMIT_BYTES, Limits, MemoryGauge, PROTOCOL_LIMIT_BYTES,
    },
    words::cut,
};
pub use crate::capability::directory::Directory;
use crate::{
    artifact::CompiledComponent,
    bindings::{
        Guest,
        types::{self, Effect, Event},
    },
    capability::{Context, HANDLES_LIMIT, clock::Clock, log::Log, random::Random},
    engine::{Dying, Engine, Purpose, Reaper, Slot},
};

/// What an instance is born with. The same birth gives the same instance.
#[derive(Clone, Debug)]
pub struct Birth {
    /// The workload, for its log lines.
    pub workload: WorkloadName,
    /// The version, for its log lines.
    pub version: Version,
    /// The time it is born at.
    pub now: UnixNanos,
    /// What its random numbers come from. Secret, and from a true source.
    pub seed: [u8; 32],
    /// What its calls may cost.
    pub limits: Limits,
    /// The folder it is granted.
    pub directory: Directory,
}

/// What is handed to one `handle`.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The time of the batch. A time before the last one counts as the last one.
    pub now: UnixNanos,
    /// What tells this batch's random numbers from those of others: its sequence number will do.
    pub seed: u64,
    /// What happened, in order.
    pub events: &'a [Event],
}

/// A guest's state, outside of any instance.
#[derive(Clone, PartialEq, Eq)]
pub struct GuestState(types::State);

/// How a guest says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestHealth {
    /// In one word.
    pub status: HealthStatus,
    /// Named details, in the guest's order.
    pub details: Vec<(String, String)>,
}

/// One live instance. Owned by one actor: a call borrows it until it returns.
///
/// All calls are async and yield to other tasks while a guest computes. Dropping a call's future halfway loses the
/// instance.
pub struct Instance {
    held: Option<Held>,
    limits: Limits,
    memory: Memory,
}

/// What it took, readable also after the instance is lost.
#[derive(Clone, Copy, Default)]
struct Memory {
    now_bytes: usize,
    peak_bytes: usize,
}

/// What is left to be taken apart when an instance goes.
struct Remains {
    store: Store<Context>,
    guest: Option<Guest>,
    // Last: the slot is free when the store is gone, not before.
    slot: Slot,
}

/// Remains that find their way to the reaper.
struct Held {
    remains: Option<Box<Remains>>,
    reaper: Reaper,
}

impl Dying for Remains {
    fn mark_dying(&mut self) {
        self.slot.mark_dying();
    }
}

impl Held {
    fn parts(&mut self) -> Option<(&mut Store<Context>, &Guest)> {
        let Remains { store, guest, .. } = self.remains.as_deref_mut()?;
        Some((store, guest.as_ref()?))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(remains) = self.remains.take() {
            self.reaper.take(remains);
        }
    }
}

/// A call under way. Dropped before its end, it takes the instance with it.
struct Running {
    held: Held,
    call: Call,
    limits: CallLimits,
}

impl Instance {
    /// Makes an instance of `component`. The first call is [`describe`](Self::describe) or [`init`](Self::init).
    ///
    /// # Errors
    /// No slot is free for this purpose, or the component's own start code failed.
    pub async fn new(
        engine: &Engine,
        component: &CompiledComponent,
        birth: Birth,
        purpose: Purpose,
    ) -> Result<Self, BirthError> {
        let slot = engine.claim_slot(purpose).await?;
        let Birth { workload, version, now, seed, limits, directory } = birth;
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
        store.epoch_deadline_async_yield_and_update(1);
        let remains = Box::new(Remains { store, guest: None, slot });
        let held = Held { remains: Some(remains), reaper: engine.reaper() };
        let mut instance = Self { held: Some(held), limits, memory: Memory::default() };
        let mut running = instance.begin(Call::Instantiate)?;
        if let Some(remains) = running.held.remains.as_deref_mut() {
            let answer = timeout(running.limits.time, component.contract().instantiate(&mut remains.store)).await;
            let guest = match answer {
                Ok(Err(error)) if error.is::<wasmtime::PoolConcurrencyLimitError>() => {
                    return Err(BirthError::NoSlot(engine.no_slot(purpose)));
                }
                Ok(answer) => Ok(answer.map(|guest| remains.guest = Some(guest))),
                Err(elapsed) => Err(elapsed),
            };
            instance.end(running, guest)?;
        }
        Ok(instance)
    }

    /// What the component says of itself. It may be asked of an instance that was never initialised.
    ///
    /// # Errors
    /// The instance is lost.
    pub async fn describe(&mut self) -> Result<Description, CallError> {
        let mut running = self.begin(Call::Describe)?;
        let (store, Guest::V0_1(guest)) = running.held.parts().ok_or(CallError::Lost)?;
        let answer = guest.hotswap_workload_lifecycle().call_describe(store);
        let answer = timeout(running.limits.time, answer).await;
        let description = self.end(running, answer)?;
        self.whole_if(description_from(description))
    }

    /// Makes the state of a workload that never ran.
    ///
    /// # Errors
    /// The guest does not like its config ([`CallError::Failed`]), or the instance is lost.
    pub async fn init(&mut self, config: &str) -> Result<(), CallError> {
        let mut running = self.begin(Call::Init)?;
        let (store, Guest::V0_1(guest)) = running.held.parts().ok_or(CallError::Lost)?;
        let answer = guest.hotswap_workload_lifecycle().call_init(store, config);
        let answer = timeout(running.limits.time, answer).await;
        self.end(running, answer)?.map_err(failed)
    }

    /// Its state in this schema. The instance keeps running.
    ///
    /// # Errors
    /// The guest can't write it ([`CallError::Failed`]), the state is too large, or the instance is lost.
    pub async fn snapshot(&mut self, schema: u32) -> Result<GuestState, CallError> {
        let mut running = self.begin(Call::Snapshot)?;
        let (store, Guest::V0_1(guest)) = running.held.parts().ok_or(CallError::Lost)?;
        let answer = guest.hotswap_workload_lifecycle().call_snapshot(store, schema);
        let answer = timeout(running.limits.time, answer).await;
        let state = self.end(running, answer)?.map_err(failed)?;
        GuestState::checked(state, schema, self.limits.state_bytes)
    }

    /// Takes over a state that `from_vsn` wrote. Comes after [`init`](Self::init), whose config stays.
    ///
    /// # Errors
    /// The guest refuses the state ([`CallError::Failed`]; the instance answers calls, but what state it has is its own
    /// affair), or the instance is lost.
    pub async fn code_change(&mut self, state: &GuestState, from_vsn: &str) -> Result<(), CallError> {
        let mut running = self.begin(Call::CodeChange)?;
        let (store, Guest::V0_1(guest)) = running.held.parts().ok_or(CallError::Lost)?;
        let answer = guest.hotswap_workload_lifecycle().call_code_change(store, &state.0, from_vsn);
        let answer = timeout(running.limits.time, answer).await;
        self.end(running, answer)?.map_err(failed)
    }

    /// How it says it is. Long answers are cut.
    ///
    /// # Errors
    /// The instance is lost.
    pub async fn health(&mut self) -> Result<GuestHealth, CallError> {
        let mut running = self.begin(Call::Health)?;
        let (store, Guest::V0_1(guest)) = running.held.parts().ok_or(CallError::Lost)?;
        let answer = guest.hotswap_workload_lifecycle().call_health(store);
        let answer = timeout(running.limits.time, answer).await;
        Ok(health_from(self.end(running, answer)?))
    }

    /// Handles a batch: the new state and the effects take hold together when it returns, or neither does.
    ///
    /// # Errors
    /// The instance is lost. A `handle` has no way to fail and stay whole.
    pub async fn handle(&mut self, batch: Batch<'_>) -> Result<Vec<Effect>, CallError> {
        let mut running = self.begin(Call::Handle)?;
        let (store, Guest::V0_1(guest)) = running.held.parts().ok_or(CallError::Lost)?;
        let context = store.data_mut();
        context.clock.advance(batch.now);
        context.random.reseed(batch.seed);
        let now = context.clock.now().0;
        let answer = guest.hotswap_workload_handler().call_handle(store, now, batch.events);
        let answer = timeout(running.limits.time, answer).await;
        let effects = self.end(running, answer)?;
        self.whole_if(within(self.limits.effects, effects))
    }

    /// Moves the guest's clock for calls that bring no time of their own (`snapshot`, `health`). It never falls.
    pub fn advance(&mut self, now: UnixNanos) {
        if let Some((store, _)) = self.held.as_mut().and_then(Held::parts) {
            store.data_mut().clock.advance(now);
        }
    }

    /// Whether every later call will answer [`CallError::Lost`].
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.held.is_none()
    }

    /// Linear memory it has, or had when it was lost.
    #[must_use]
    pub const fn memory_bytes(&self) -> usize {
        self.memory.now_bytes
    }

    /// The most linear memory it had at any time.
    #[must_use]
    pub const fn peak_memory_bytes(&self) -> usize {
        self.memory.peak_bytes
    }

    fn begin(&mut self, call: Call) -> Result<Running, CallError> {
        let mut held = self.held.take().ok_or(CallError::Lost)?;
        let limits = self.limits.of(call);
        if let Some(remains) = held.remains.as_deref_mut() {
            let store = &mut remains.store;
            store.set_fuel(limits.fuel).map_err(|_| CallError::Lost)?;
            // Counted from now: an instance that slept must not yield at its first instruction.
            store.set_epoch_deadline(1);
            store.set_hostcall_fuel(self.limits.answer_bytes(call));
            let context = store.data_mut();
            context.memory.begin_call(limits.memory_bytes);
            context.log.begin_call();
        }
        Ok(Running { held, call, limits })
    }

    /// Puts the instance back, or drops it with what is left of it.
    fn end<T>(&mut self, mut running: Running, answer: Result<wasmtime::Result<T>, Elapsed>) -> Result<T, CallError> {
        let remains = running.held.remains.as_deref_mut().ok_or(CallError::Lost)?;
        let gauge = &remains.store.data().memory;
        self.memory = Memory { now_bytes: gauge.now_bytes(), peak_bytes: gauge.peak_bytes() };
        match answer {
            Ok(Ok(answer)) => {
                self.held = Some(running.held);
                Ok(answer)
            }
            Ok(Err(error)) => Err(error::diagnose(running.call, &self.limits, &error, remains.store.data())),
            Err(_) => Err(CallError::TimedOut { call: running.call, limit: running.limits.time }),
        }
    }

    /// Gives up on a guest whose answer is out of bounds: what else it will do can't be told either.
    fn whole_if<T>(&mut self, answer: Result<T, CallError>) -> Result<T, CallError> {
        if answer.is_err() {
            self.held = None;
        }
        answer
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("lost", &self.is_lost()).finish_non_exhaustive()
    }
}

impl GuestState {
    /// A state that was kept somewhere.
    #[must_use]
    pub const fn new(format: StateFormat, data: Vec<u8>) -> Self {
        Self(types::State { schema: format.schema, fingerprint: format.fingerprint, data })
    }

    /// What `snapshot` answered when it was asked for this schema.
    fn checked(state: types::State, schema: u32, limit_bytes: usize) -> Result<Self, CallError> {
        if state.schema != schema {
            return Err(CallError::Failed(format!("asked for schema {schema}, it wrote schema {}", state.schema)));
        }
        let bytes = state.data.len();
        if bytes > limit_bytes {
            return Err(CallError::Failed(format!(
                "its state has {bytes} bytes, more than the limit of {limit_bytes}"
            )));
        }
        Ok(Self(state))
    }

    /// Its format.
    #[must_use]
    pub const fn format(&self) -> StateFormat {
        StateFormat { schema: self.0.schema, fingerprint: self.0.fingerprint }
    }

    /// Its bytes, in that format.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        &self.0.data
    }

    /// Its bytes, to keep.
    #[must_use]
    pub fn into_data(self) -> Vec<u8> {
        self.0.data
    }
}

impl fmt::Debug for GuestState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuestState({}, {} bytes)", self.format(), self.0.data.len())
    }
}

fn failed(error: String) -> CallError {
    CallError::Failed(cut(error, ERROR_LIMIT_BYTES))
}

fn health_from(health: types::Health) -> GuestHealth {
    let status = match health.status {
        types::HealthStatus::Ok => HealthStatus::Ok,
        types::HealthStatus::Degraded => HealthStatus::Degraded,
        types::HealthStatus::Failed => HealthStatus::Failed,
    };
    let text = |text| cut(text, HEALTH_TEXT_LIMIT_BYTES);
    let details = health.details.into_iter().take(HEALTH_DETAILS_LIMIT);
    GuestHealth { status, details: details.map(|(name, value)| (text(name), text(value))).collect() }
}

fn format_from(format: types::StateFormat) -> StateFormat {
    StateFormat { schema: format.schema, fingerprint: format.fingerprint }
}

fn description_from(given: types::Description) -> Result<Description, CallError> {
    let formats = given.upgrades_from.len() + given.downgrades_to.len();
    let listed = formats.max(given.protocols.len());
    if listed > DESCRIPTION_LIST_LIMIT {
        return Err(CallError::TooMuch {
            call: Call::Describe,
            excess: Excess::ListEntries { given: listed, limit: DESCRIPTION_LIST_LIMIT },
        });
    }
    Ok(Description {
        writes: format_from(given.writes),
        upgrades_from: given.upgrades_from.into_iter().map(format_from).collect(),
        downgrades_to: given.downgrades_to.into_iter().map(format_from).collect(),
        protocols: given.protocols.into_iter().map(|name| cut(name, PROTOCOL_LIMIT_BYTES)).collect(),
    })
}

/// Checks a batch's effects against what one batch may bring about.
fn within(limits: EffectLimits, effects: Vec<Effect>) -> Result<Vec<Effect>, CallError> {
    let (mut bytes, mut targets) = (0_usize, 0_usize);
    for effect in &effects {
        let headers = |headers: &[(String, Vec<u8>)]| -> usize {
            headers.iter().map(|(name, value)| name.len() + value.len()).sum()
        };
        bytes = bytes.saturating_add(match effect {
            Effect::Send(send) => send.data.len(),
            Effect::SendMessage(send) => send.data.len(),
            Effect::Reply(reply) => reply.outcome.as_ref().map_or_else(String::len, Vec::len),
            Effect::Respond(respond) => respond.body.len() + headers(&respond.head.headers),
            Effect::RespondBody(respond) => respond.data.len(),
            Effect::Fetch(fetch) => fetch.body.len() + fetch.url.len() + headers(&fetch.headers),
            Effect::Connect(connect) => connect.address.len(),
            Effect::Close(_) | Effect::SetTimer(_) | Effect::CancelTimer(_) => 0,
        });
        targets = targets.saturating_add(match effect {
            Effect::Send(send) => send.to.len(),
            Effect::SendMessage(send) => send.to.len(),
            _ => 0,
        });
    }
    let count = effects.len();
    let excess = if count > limits.count {
        Excess::Effects { given: count, limit: limits.count }
    } else if bytes > limits.bytes {
        Excess::EffectBytes { given: bytes, limit: limits.bytes }
    } else if targets > limits.targets {
        Excess::Targets { given: targets, limit: limits.targets }
    } else {
        return Ok(effects);
    };
    Err(CallError::TooMuch { call: Call::Handle, excess })
}
