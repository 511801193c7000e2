//! Births. Every instance is made here: `init(config)`, then `code-change` where state exists.

use std::sync::Arc;

use host_core::{release::Revision, time::UnixNanos};

use super::recorded::Recorded;
use crate::{
    artifact::CompiledComponent,
    checkpoint::Checkpoint,
    clock::Clock,
    engine::{Engine, Purpose},
    instance::{Birth, CallError, Directory, GuestState, Instance, limits::Limits},
};

/// What an instance is made of.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) revision: Revision,
    pub(crate) component: CompiledComponent,
    /// Size of the component's file.
    pub(crate) size_bytes: u64,
}

/// Where instances are made.
#[derive(Clone)]
pub(crate) struct Nursery {
    pub(crate) engine: Engine,
    pub(crate) limits: Limits,
    pub(crate) clock: Arc<Clock>,
}

/// All that a birth depends on besides the component and its config: made again, it gives the same instance.
#[derive(Clone, Debug)]
pub(crate) struct Base {
    /// Where its random numbers come from.
    pub(crate) seed: [u8; 32],
    /// The time at `init`.
    pub(crate) born: UnixNanos,
    /// The state it took over, and when; none of a workload that never ran before.
    pub(crate) state: Option<(UnixNanos, Arc<Checkpoint>)>,
}

/// An instance that knows its config and has no state of others yet.
#[derive(Debug)]
pub(crate) struct Newborn {
    pub(crate) instance: Instance,
    pub(crate) seed: [u8; 32],
    pub(crate) born: UnixNanos,
}

impl Newborn {
    /// It was given no state: it begins a workload.
    pub(crate) fn begins(self) -> Recorded {
        let base = Base { seed: self.seed, born: self.born, state: None };
        Recorded::new(self.instance, Arc::new(base))
    }

    /// It took over this state, at this time.
    pub(crate) fn took_over(self, at: UnixNanos, checkpoint: Arc<Checkpoint>) -> Recorded {
        let base = Base { seed: self.seed, born: self.born, state: Some((at, checkpoint)) };
        Recorded::new(self.instance, Arc::new(base))
    }
}

impl Nursery {
    /// An instance that knows its config and has no state of others yet.
    pub(crate) async fn initialised(&self, body: &Body, purpose: Purpose) -> Result<Newborn, String> {
        self.initialised_at(body, self.clock.unix(), purpose).await
    }

    async fn initialised_at(&self, body: &Body, born: UnixNanos, purpose: Purpose) -> Result<Newborn, String> {
        let seed = seed()?;
        let instance = self.init(body, seed, born, purpose).await?;
        Ok(Newborn { instance, seed, born })
    }

    /// An instance born from a checkpoint.
    pub(crate) async fn born(
        &self,
        body: &Body,
        checkpoint: Arc<Checkpoint>,
        purpose: Purpose,
    ) -> Result<Recorded, String> {
        self.born_at(body, checkpoint, self.clock.unix(), purpose).await
    }

    /// An instance born from a checkpoint when that was made: what came since then is still to come to it. A clock never falls,
    /// so one that began today would not know when that was.
    pub(crate) async fn born_back_then(
        &self,
        body: &Body,
        checkpoint: Arc<Checkpoint>,
        purpose: Purpose,
    ) -> Result<Recorded, String> {
        let made = checkpoint.made;
        self.born_at(body, checkpoint, made, purpose).await
    }

    async fn born_at(
        &self,
        body: &Body,
        checkpoint: Arc<Checkpoint>,
        at: UnixNanos,
        purpose: Purpose,
    ) -> Result<Recorded, String> {
        let mut newborn = self.initialised_at(body, at, purpose).await?;
        take_over(&mut newborn.instance, &checkpoint).await?;
        Ok(newborn.took_over(at, checkpoint))
    }

    /// An instance born from a checkpoint, when that was made, that will serve nobody.
    pub(crate) async fn grown(
        &self,
        body: &Body,
        checkpoint: &Checkpoint,
        purpose: Purpose,
    ) -> Result<Instance, String> {
        let mut instance = self.initialised_at(body, checkpoint.made, purpose).await?.instance;
        take_over(&mut instance, checkpoint).await?;
        Ok(instance)
    }

    /// The same birth again.
    pub(crate) async fn reborn(&self, body: &Body, base: &Base, purpose: Purpose) -> Result<Instance, String> {
        let mut instance = self.init(body, base.seed, base.born, purpose).await?;
        if let Some((at, checkpoint)) = &base.state {
            instance.advance(*at);
            take_over(&mut instance, checkpoint).await?;
        }
        Ok(instance)
    }

    async fn init(&self, body: &Body, seed: [u8; 32], now: UnixNanos, purpose: Purpose) -> Result<Instance, String> {
        let birth = Birth {
            workload: body.revision.release.workload.clone(),
            version: body.revision.release.version.clone(),
            now,
            seed,
            limits: self.limits,
            directory: Directory::none(),
        };
        let instance = Instance::new(&self.engine, &body.component, birth, purpose).await;
        let mut instance = instance.map_err(|error| error.to_string())?;
        instance.init(&body.revision.config).await.map_err(|error| match error {
            CallError::Failed(why) => format!("init refused the config: {why}"),
            error => error.to_string(),
        })?;
        Ok(instance)
    }
}

/// Where an instance's random numbers come from: the system's own.
pub(crate) fn seed() -> Result<[u8; 32], String> {
    let mut seed = [0; 32];
    let got = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
    if got != Ok(seed.len()) {
        return Err("the system gives no random numbers".to_owned());
    }
    Ok(seed)
}

async fn take_over(instance: &mut Instance, checkpoint: &Checkpoint) -> Result<(), String> {
    let state = GuestState::new(checkpoint.format, checkpoint.state.to_vec());
    let from = checkpoint.written_by.to_string();
    instance.code_change(&state, &from).await.map_err(|error| format!("code-change failed: {error}"))
}
