//! What a file is, for a person who asks before he deploys it.

use bytes::Bytes;
use host_core::{id::Digest, release::Description};

use super::{CompileError, CompiledComponent, Compiler, VerifiedArtifact};
use crate::{
    bindings::{self, UnfitComponent},
    instance::BirthError,
};

/// What a file turns out to be.
#[derive(Debug)]
pub struct Inspection {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its size.
    pub bytes: u64,
    /// The interfaces it asks for.
    pub imports: Vec<String>,
    /// The interfaces it offers.
    pub exports: Vec<String>,
    /// What it says of itself, or why it can't be asked.
    pub description: Result<Description, NotDescribed>,
}

/// Why a component says nothing of itself.
#[derive(Debug, thiserror::Error)]
pub enum NotDescribed {
    /// It is no workload.
    #[error(transparent)]
    Unfit(#[from] UnfitComponent),
    /// It could not be asked.
    #[error(transparent)]
    Birth(#[from] BirthError),
}

impl Compiler {
    /// What a file is, without storing it. A component that is no workload is described as far as it can be.
    ///
    /// # Errors
    /// The bytes are no component.
    pub async fn inspect(&self, bytes: Bytes) -> Result<Inspection, CompileError> {
        let artifact = VerifiedArtifact::of(bytes);
        let (digest, bytes) = (artifact.digest(), artifact.bytes().len() as u64);
        let parsed = self.parse(artifact).await?;
        let (imports, exports) = (bindings::imports(&parsed.component), bindings::exports(&parsed.component));
        let description = match parsed.contract {
            Ok(contract) => self.describe(&CompiledComponent::new(digest, contract)).await.map_err(Into::into),
            Err(unfit) => Err(unfit.into()),
        };
        Ok(Inspection { digest, bytes, imports, exports, description })
    }
}
