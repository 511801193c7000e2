//! Births. Every instance is made here: `init(config)`, then `code-change` where state exists.

use std::sync::Arc;

use host_core::release::Revision;

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

impl Nursery {
    /// An instance that knows its config and has no state of others yet.
    pub(crate) async fn initialised(&self, body: &Body, purpose: Purpose) -> Result<Instance, String> {
        let mut instance = self.bare(body, purpose).await?;
        instance.init(&body.revision.config).await.map_err(|error| match error {
            CallError::Failed(why) => format!("init refused the config: {why}"),
            error => error.to_string(),
        })?;
        Ok(instance)
    }

    /// An instance born from a checkpoint.
    pub(crate) async fn born(
        &self,
        body: &Body,
        checkpoint: &Checkpoint,
        purpose: Purpose,
    ) -> Result<Instance, String> {
        let mut instance = self.initialised(body, purpose).await?;
        let state = GuestState::new(checkpoint.format, checkpoint.state.to_vec());
        let from = checkpoint.written_by.to_string();
        instance.code_change(&state, &from).await.map_err(|error| format!("code-change failed: {error}"))?;
        Ok(instance)
    }

    /// An instance that was called for nothing yet.
    pub(crate) async fn bare(&self, body: &Body, purpose: Purpose) -> Result<Instance, String> {
        let mut seed = [0; 32];
        let got = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
        if got != Ok(seed.len()) {
            return Err("the system gives no random numbers".to_owned());
        }
        let birth = Birth {
            workload: body.revision.release.workload.clone(),
            version: body.revision.release.version.clone(),
            now: self.clock.unix(),
            seed,
            limits: self.limits,
            directory: Directory::none(),
        };
        Instance::new(&self.engine, &body.component, birth, purpose).await.map_err(|error| error.to_string())
    }
}
