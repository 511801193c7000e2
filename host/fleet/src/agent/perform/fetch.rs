//! A component on its way to this host: by digest, each once.

mod web;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use host_api::{Control, Staging as _};
use host_core::{id::Digest, rollout::request::Source};
use tokio::{fs::File, io::AsyncReadExt as _};

use super::{Performer, words};
use crate::{
    pb,
    store::{ARTIFACT_LIMIT_BYTES, CHUNK_BYTES},
};

/// How often a fetch that broke off goes on where it stopped.
const RESUMES_LIMIT: u32 = 10;
/// The wait before it does: a coordinator's restart takes a second or two.
const RESUME_DELAY: Duration = Duration::from_millis(500);

impl<C: Control> Performer<C> {
    /// The component of this digest: the host's own, or fetched. The error is in words.
    pub(super) async fn artifact(&self, digest: Digest, source: &Source) -> Result<C::Artifact, String> {
        if let Some(artifact) = self.control.stored(digest).await.map_err(words)? {
            return Ok(artifact);
        }
        let mut staging = self.control.stage().await.map_err(words)?;
        match source {
            Source::Host => return Err(format!("the component {} is not on this host", digest.short())),
            Source::Store => self.pull_all(digest, &mut staging).await?,
            Source::Address(address) => match address.strip_prefix("file://") {
                Some(path) => from_file::<C>(path.into(), &mut staging).await?,
                None => web::read(&web::client()?, address, &mut staging).await?,
            },
        }
        drop(staging.finish().await.map_err(words)?);
        // What came is kept under its own digest; whether that is the one that was wanted shows here.
        let stored = self.control.stored(digest).await.map_err(words)?;
        stored.ok_or_else(|| format!("what {source} gave is not the component {}", digest.short()))
    }

    async fn pull_all(&self, digest: Digest, staging: &mut C::Staging) -> Result<(), String> {
        let (mut offset, mut resumes) = (0, 0);
        loop {
            match self.pull(digest, &mut offset, staging).await {
                Ok(()) => return Ok(()),
                Err(Pull::Host(why)) => return Err(why),
                Err(Pull::Broken(status)) if resumes < RESUMES_LIMIT && may_pass(status.code()) => {
                    resumes += 1;
                    tracing::info!(%digest, offset, "a fetch broke off and goes on: {}", status.message());
                    tokio::time::sleep(RESUME_DELAY).await;
                }
                Err(Pull::Broken(status)) => {
                    return Err(format!("the component can't be fetched from the coordinator: {}", status.message()));
                }
            }
        }
    }

    async fn pull(&self, digest: Digest, offset: &mut u64, staging: &mut C::Staging) -> Result<(), Pull> {
        let request = pb::FetchRequest { digest: digest.to_string(), offset: *offset };
        let mut chunks = self.client.clone().fetch(request).await.map_err(Pull::Broken)?.into_inner();
        while let Some(pb::Chunk { bytes }) = chunks.message().await.map_err(Pull::Broken)? {
            let length = bytes.len() as u64;
            staging.write(bytes).await.map_err(|failure| Pull::Host(words(failure)))?;
            *offset += length;
        }
        Ok(())
    }
}

/// Why a pull ended early.
enum Pull {
    Host(String),
    Broken(tonic::Status),
}

/// Whether it may go better the next time.
const fn may_pass(code: tonic::Code) -> bool {
    !matches!(code, tonic::Code::NotFound | tonic::Code::InvalidArgument | tonic::Code::PermissionDenied)
}

async fn from_file<C: Control>(path: PathBuf, staging: &mut C::Staging) -> Result<(), String> {
    let failed = |error| format!("{} can't be read on this host: {error}", path.display());
    let mut file = File::open(&path).await.map_err(failed)?;
    let (mut buffer, mut total) = (vec![0; CHUNK_BYTES], 0);
    loop {
        let read = file.read(&mut buffer).await.map_err(failed)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        total += read as u64;
        if total > ARTIFACT_LIMIT_BYTES {
            return Err(format!("{} has more than {} MiB", path.display(), ARTIFACT_LIMIT_BYTES >> 20));
        }
        staging.write(Bytes::copy_from_slice(bytes)).await.map_err(words)?;
    }
}
