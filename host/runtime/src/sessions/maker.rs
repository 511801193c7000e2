//! Births of sessions' instances: `init(config)`, and what follows is the caller's affair.

use std::sync::Arc;

use crate::{
    clock::Clock,
    engine::{Engine, Purpose, sessions::MEMORY_BYTES},
    instance::{Birth, BirthError, CallError, Directory, blocking::BlockingInstance, limits::Limits},
    workload::{Body, seed},
};

/// Where sessions' instances are made.
#[derive(Clone)]
pub(super) struct Maker {
    engine: Engine,
    limits: Arc<Limits>,
    clock: Arc<Clock>,
}

/// Why there is no instance.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unborn {
    /// The host has no room for it, or no memory: that says nothing about the release.
    #[error("{0}")]
    NoRoom(String),
    /// The guest failed, or refuses its config.
    #[error("{0}")]
    Failed(String),
}

impl From<CallError> for Unborn {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NoMemoryLeft { .. } => Self::NoRoom(error.to_string()),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl Maker {
    pub(super) fn new(engine: Engine, limits: &Limits, clock: Arc<Clock>) -> Self {
        let mut limits = *limits;
        for limits in [&mut limits.handle, &mut limits.brief, &mut limits.query, &mut limits.state] {
            limits.memory_bytes = limits.memory_bytes.min(MEMORY_BYTES);
        }
        Self { engine, limits: Arc::new(limits), clock }
    }

    /// An instance that knows its config and has no state of others yet. On a guest thread.
    pub(super) fn initialised(&self, body: &Body, purpose: Purpose) -> Result<BlockingInstance, Unborn> {
        let birth = Birth {
            workload: body.revision.release.workload.clone(),
            version: body.revision.release.version.clone(),
            now: self.clock.unix(),
            seed: seed().map_err(Unborn::Failed)?,
            limits: *self.limits,
            directory: Directory::none(),
        };
        let made = BlockingInstance::new(&self.engine, &body.component, birth, self.limits.clone(), purpose);
        let mut instance = made.map_err(|error| match error {
            BirthError::NoSlot(full) => Unborn::NoRoom(full.to_string()),
            BirthError::Call(error) => error.into(),
        })?;
        instance.init(&body.revision.config).map_err(|error| match error {
            CallError::Failed(why) => Unborn::Failed(format!("init refused the config: {why}")),
            error => error.into(),
        })?;
        Ok(instance)
    }
}
