//! Swaps, rollbacks and restarts in a test.

use std::fmt;

use super::Kit;
use crate::{Event, Instance, Loss, Start, StateFormat, StoredState, Workload};

/// A swap that did not happen. The kit goes on as if it had never been tried.
///
/// ```
/// # use guest_sdk::prelude::*;
/// # use guest_sdk::testing::Kit;
/// # #[derive(Serialize, Deserialize, Schema, State)]
/// # #[state(version = 1)]
/// # struct Old {}
/// # #[derive(Serialize, Deserialize, Schema, State)]
/// # #[state(version = 2)]
/// # struct New {}
/// # impl Workload for Old {
/// #     fn init(_: &str) -> Result<Self, String> { Ok(Self {}) }
/// #     fn handle(&mut self, _: Event, _: &mut Effects) {}
/// # }
/// # impl Workload for New {
/// #     fn init(_: &str) -> Result<Self, String> { Ok(Self {}) }
/// #     fn handle(&mut self, _: Event, _: &mut Effects) {}
/// # }
/// // `New` names no `from`.
/// let refused = Kit::<Old>::start("")?.upgrade::<New>().unwrap_err();
/// assert!(refused.reason.starts_with("no step leads from schema 1"));
/// let still_running = refused.kit;
/// # Ok::<(), String>(())
/// ```
pub struct Refused<W> {
    /// The workload, still running.
    pub kit: Kit<W>,
    /// Why.
    pub reason: String,
}

impl<W> fmt::Debug for Refused<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refused").field("reason", &self.reason).finish_non_exhaustive()
    }
}

impl<W> fmt::Display for Refused<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl<W> std::error::Error for Refused<W> {}

impl<W: Workload> Kit<W> {
    /// Puts a newer version in the workload's place. Connections stay open, timers stay set, the config stays.
    ///
    /// # Errors
    /// The newer one does not accept the state's format, or a step, `init` or `code-change` refuses; the kit comes back in it.
    pub fn upgrade<New: Workload>(self) -> Result<Kit<New>, Refused<W>> {
        let schema = match self.state_for_upgrade::<New>() {
            Ok(schema) => schema,
            Err(reason) => return Err(Refused { kit: self, reason }),
        };
        let from = self.version.clone();
        self.replace(schema, Start::Swapped { from })
    }

    /// Puts an older version in the workload's place, which gets the state in the format it knows.
    ///
    /// # Errors
    /// The running one can't write that format, a step, `init` or `code-change` refuses, or a step lends another state than it
    /// copies or does not get it back whole; the kit comes back in it.
    pub fn downgrade<Old: Workload>(mut self) -> Result<Kit<Old>, Refused<W>> {
        let (here, there) = (Instance::<W>::describe(), Instance::<Old>::describe());
        let known = here.writes == there.writes || here.downgrades_to.contains(&there.writes);
        if !known {
            let reason = format!(
                "no step leads down from {} to {}; there are steps to {}",
                here.writes,
                there.writes,
                list(&here.downgrades_to)
            );
            return Err(Refused { kit: self, reason });
        }
        if let Err(reason) = self.lends(there.writes.schema) {
            return Err(Refused { kit: self, reason });
        }
        let from = self.version.clone();
        self.replace(there.writes.schema, Start::RolledBack { from })
    }

    /// Whether the host, which has the state lent, sees what [`State::store_as`](crate::State::store_as) writes, and nothing is
    /// missing afterwards.
    fn lends(&mut self, schema: u32) -> Result<(), String> {
        let whole = self.instance.snapshot(W::VERSION)?;
        let copied = self.state().store_as(schema)?;
        if self.instance.snapshot(schema)? != copied {
            return Err(format!("as schema {schema}, `lend` gives another state than `downgrade`"));
        }
        if self.instance.snapshot(W::VERSION)? != whole {
            return Err(format!("what was lent as schema {schema} did not come back as it was"));
        }
        Ok(())
    }

    /// Makes the instance anew from its state, as after a failure or a restart of the host that lost nothing.
    ///
    /// # Panics
    /// The workload does not take over its own state, or refuses a config that it took before.
    #[must_use]
    pub fn restart(self) -> Self {
        match self.replace(W::VERSION, Start::Restarted(Loss::default())) {
            Ok(kit) => kit,
            Err(refused) => panic!("the workload does not survive a restart: {refused}"),
        }
    }

    fn state_for_upgrade<New: Workload>(&self) -> Result<u32, String> {
        let (here, there) = (Instance::<W>::describe().writes, Instance::<New>::describe());
        if here == there.writes || there.upgrades_from.contains(&here) {
            return Ok(here.schema);
        }
        if there.writes.schema == here.schema {
            return Err(format!(
                "the state's type changed and its version did not: {here} became {}; raise #[state(version = …)]",
                there.writes
            ));
        }
        Err(format!(
            "no step leads from {here} to {}; there are steps from {}",
            there.writes,
            list(&there.upgrades_from)
        ))
    }

    fn replace<Next: Workload>(mut self, schema: u32, start: Start) -> Result<Kit<Next>, Refused<W>> {
        let born = self.instance.snapshot(schema).and_then(|state| self.born(state));
        let instance = match born {
            Ok(instance) => instance,
            Err(reason) => return Err(Refused { kit: self, reason }),
        };
        let mut kit = Kit { instance, config: self.config, version: self.version, world: self.world };
        kit.deliver(vec![Event::Started(start)]);
        Ok(kit)
    }

    /// A birth from a state, and the rehearsal's check of it.
    fn born<Next: Workload>(&self, state: StoredState) -> Result<Instance<Next>, String> {
        let mut next = Instance::<Next>::new();
        next.init(&self.config)?;
        next.code_change(state, &self.version)?;

        let stored = next.snapshot(Next::VERSION)?;
        let mut copy = Instance::<Next>::new();
        copy.init(&self.config)?;
        copy.code_change(stored.clone(), &self.version)?;
        if copy.snapshot(Next::VERSION)? != stored {
            return Err("a state that is stored, restored and stored again has other bytes: is there a HashMap in it?"
                .to_owned());
        }
        Ok(next)
    }
}

fn list(formats: &[StateFormat]) -> String {
    if formats.is_empty() {
        return "none".to_owned();
    }
    formats.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
