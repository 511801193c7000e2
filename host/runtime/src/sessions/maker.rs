//! Births of sessions' instances: `init(config)`, and what follows is the caller's affair.

use std::sync::Arc;

use crate::{
    clock::Clock,
    engine::{Engine, Purpose, sessions::MEMORY_BYTES},
    instance::{Birth, CallError, Directory, blocking::BlockingInstance, limits::Limits},
    workload::{Body, seed},
};

/// Where sessions' instances are made.
#[derive(Clone)]
pub(super) struct Maker {
    engine: Engine,
    limits: Arc<Limits>,
    clock: Arc<Clock>,
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
    pub(super) fn initialised(&self, body: &Body, purpose: Purpose) -> Result<BlockingInstance, String> {
        let birth = Birth {
            workload: body.revision.release.workload.clone(),
            version: body.revision.release.version.clone(),
            now: self.clock.unix(),
            seed: seed()?,
            limits: *self.limits,
            directory: Directory::none(),
        };
        let made = BlockingInstance::new(&self.engine, &body.component, birth, self.limits.clone(), purpose);
        let mut instance = made.map_err(|error| error.to_string())?;
        instance.init(&body.revision.config).map_err(|error| match error {
            CallError::Failed(why) => format!("init refused the config: {why}"),
            error => error.to_string(),
        })?;
        Ok(instance)
    }
}
