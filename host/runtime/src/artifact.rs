//! Components on their way from a file to an instance.
//!
//! `Artifact` (stored bytes) → [`VerifiedArtifact`] (bytes that were just seen to have their digest) →
//! [`CompiledComponent`] (code that fits this engine and keeps a contract the host knows). Only the next step's type leads
//! on, so nothing unverified is ever compiled and nothing uncompiled ever run.

mod admission;
mod cache;
mod compile;
mod inspect;
mod store;
mod verify;

pub use self::{
    admission::TooHard,
    compile::{CompileError, CompiledComponent, Compiler},
    inspect::{Inspection, NotDescribed},
    store::{Artifact, ArtifactStore, Staging, StoreError},
    verify::{VerifiedArtifact, VerifyError},
};

/// Largest component: a Rust workload has under one megabyte, one with an interpreter in it ten to thirty.
pub const ARTIFACT_LIMIT_BYTES: u64 = 64 << 20;
