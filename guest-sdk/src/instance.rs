//! One life of a workload: what the component's exports do, without the component.

use crate::{Effects, Event, Health, StateFormat, StoredState, Timestamp, Workload};

/// What a component says of itself. It depends on nothing but the component.
///
/// ```
/// # use guest_sdk::prelude::*;
/// # #[derive(Serialize, Deserialize, Schema, State)]
/// # #[state(version = 1)]
/// # struct Echo {}
/// # impl Workload for Echo {
/// #     fn init(_: &str) -> Result<Self, String> { Ok(Self {}) }
/// #     fn handle(&mut self, _: Event, _: &mut Effects) {}
/// # }
/// let description = guest_sdk::Instance::<Echo>::describe();
/// assert_eq!(description.writes.schema, 1);
/// assert!(description.upgrades_from.is_empty());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// The format of its snapshots.
    pub writes: StateFormat,
    /// The older formats it takes over.
    pub upgrades_from: Vec<StateFormat>,
    /// The older formats it can also write, for a downgrade.
    pub downgrades_to: Vec<StateFormat>,
    /// The client protocols it speaks.
    pub protocols: Vec<String>,
}

/// An instance of a workload, driven as the host drives a component. [`export!`](crate::export!) and the
/// [test kit](crate::testing) stand on it; an author rarely needs it.
///
/// ```
/// # use guest_sdk::prelude::*;
/// # use guest_sdk::Instance;
/// # #[derive(Serialize, Deserialize, Schema, State)]
/// # #[state(version = 1)]
/// # struct Echo {}
/// # impl Workload for Echo {
/// #     fn init(_: &str) -> Result<Self, String> { Ok(Self {}) }
/// #     fn handle(&mut self, _: Event, _: &mut Effects) {}
/// # }
/// let mut instance = Instance::<Echo>::new();
/// instance.init("")?;
/// let state = instance.snapshot(1)?;
/// instance.code_change(state, "1.0.0")?;
/// # Ok::<(), String>(())
/// ```
#[derive(Debug)]
pub struct Instance<W> {
    workload: Option<W>,
    config: String,
    snapshot_bytes: usize,
}

impl<W> Instance<W> {
    /// An instance before its birth.
    pub const fn new() -> Self {
        Self { workload: None, config: String::new(), snapshot_bytes: 0 }
    }
}

impl<W> Default for Instance<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Workload> Instance<W> {
    /// What the component is. No instance is needed for it.
    pub fn describe() -> Description {
        Description {
            writes: W::format(),
            upgrades_from: W::upgrades_from(),
            downgrades_to: W::downgrades_to(),
            protocols: W::protocols(),
        }
    }

    /// Makes the state of a workload that never ran.
    ///
    /// # Errors
    /// The workload's own.
    pub fn init(&mut self, config: &str) -> Result<(), String> {
        config.clone_into(&mut self.config);
        let mut workload = W::init(config)?;
        workload.configure(config)?;
        self.workload = Some(workload);
        Ok(())
    }

    /// Takes over a state; the config of `init` stays.
    ///
    /// # Errors
    /// A state that is not accepted or not readable, or the workload's own. The message names the version it came from.
    pub fn code_change(&mut self, state: StoredState, from_version: &str) -> Result<(), String> {
        // What `init` made goes first: its memory is then free for the state that replaces it.
        self.workload = None;
        // The first snapshot comes in a pause, too: it will be about as big.
        self.snapshot_bytes = state.data.len();
        let mut workload = W::restore(&state).map_err(|error| format!("state of {from_version}: {error}"))?;
        drop(state);
        workload.configure(&self.config)?;
        self.workload = Some(workload);
        Ok(())
    }

    /// The state in its own format, or in an older one.
    ///
    /// # Errors
    /// Before `init`; a schema it can't write; a downgrade that refuses.
    pub fn snapshot(&mut self, schema: u32) -> Result<StoredState, String> {
        let workload = self.workload.take().ok_or(NOT_INITIALISED)?;
        // The state is about as big as last time; a little more avoids the copy that growing the buffer would cost.
        let expected = self.snapshot_bytes + self.snapshot_bytes / 16 + 64;
        // Whole again whatever came of it: a swap that fails goes on with it.
        let (workload, state) = workload.__give_as(schema, expected);
        self.workload = Some(workload);
        let state = state?;
        self.snapshot_bytes = state.data.len();
        Ok(state)
    }

    /// How the workload is. Before `init`: failed.
    pub fn health(&self) -> Health {
        self.workload.as_ref().map_or_else(|| Health::failed(NOT_INITIALISED), W::health)
    }

    /// Handles a batch.
    ///
    /// # Panics
    /// Before `init`: the host breaks the contract, and there is no answer to give.
    pub fn handle(&mut self, now: Timestamp, events: Vec<Event>) -> Effects {
        let mut out = Effects::at_time(now);
        match self.workload.as_mut() {
            Some(workload) => workload.handle_batch(events, &mut out),
            None => panic!("handle: {NOT_INITIALISED}"),
        }
        out
    }

    /// The workload, if it was initialised.
    pub fn workload(&self) -> Option<&W> {
        self.workload.as_ref()
    }

    /// The workload, if it was initialised.
    pub fn workload_mut(&mut self) -> Option<&mut W> {
        self.workload.as_mut()
    }
}

const NOT_INITIALISED: &str = "the instance was not initialised";
