//! An operator's way to the coordinator.

use std::path::Path;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use host_api::Failure;
use host_core::id::RolloutId;
use tonic::transport::Channel;

use crate::{
    clock::Clock,
    identity::{CoordinatorAddress, Folder, FolderError, authority::operator_folder},
    operator::{Ask, Publication, Told},
    pb::{self, fleet_client::FleetClient},
    protocol::{self, DOCUMENT_LIMIT_BYTES, UnreadableDocument},
    store::{CHUNK_BYTES, FleetEvent},
    transport::{ConnectError, Trust, connect},
};

/// A question came to no answer.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no identity to speak as.
    #[error(transparent)]
    Identity(#[from] FolderError),
    /// No coordinator was reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator's word.
    #[error("{0}")]
    Refused(Failure),
    /// Something that this program does not understand.
    #[error(transparent)]
    Unreadable(#[from] UnreadableDocument),
}

impl From<tonic::Status> for OperatorError {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Failure::from(&status))
    }
}

/// A connection of an operator. Clones share it.
#[derive(Clone, Debug)]
pub struct Operator {
    raw: FleetClient<Channel>,
    address: CoordinatorAddress,
}

/// Which events to read.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    /// Names to choose, `*` for any run of characters; none for all.
    pub filter: Option<String>,
    /// Events after this number.
    pub after: u64,
    /// Then those to come.
    pub follow: bool,
    /// Only those of this rollout.
    pub rollout: Option<RolloutId>,
}

impl Operator {
    /// Reaches the coordinator of the fleet in this data directory, as the operator that has an identity there.
    ///
    /// # Errors
    /// When there is none, nobody answers, or it is another fleet.
    pub async fn connect(data: &Path, clock: Clock) -> Result<Self, OperatorError> {
        Self::from_folder(&operator_folder(data), clock).await
    }

    /// The same from an identity's own folder.
    ///
    /// # Errors
    /// As [`connect`](Self::connect).
    pub async fn from_folder(folder: &Folder, clock: Clock) -> Result<Self, OperatorError> {
        let identity = folder.load(clock.now())?;
        let address = folder.coordinator()?;
        let trust = Trust::Authority(identity.authority().clone());
        let channel = connect(&address, Some(&identity), trust, clock).await?;
        let raw = FleetClient::new(channel)
            .max_decoding_message_size(DOCUMENT_LIMIT_BYTES)
            .max_encoding_message_size(DOCUMENT_LIMIT_BYTES);
        Ok(Self { raw, address })
    }

    /// Where the coordinator is.
    #[must_use]
    pub const fn address(&self) -> &CoordinatorAddress {
        &self.address
    }

    /// Asks, or orders.
    ///
    /// # Errors
    /// The coordinator's refusal in its words, or what became of the connection.
    pub async fn ask(&self, ask: &Ask) -> Result<Told, OperatorError> {
        let answer = self.raw.clone().ask(protocol::write(ask)?).await?;
        Ok(protocol::read(answer.get_ref())?)
    }

    /// Hands a component to the fleet's store.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn publish(&self, about: &Publication, component: Bytes) -> Result<Told, OperatorError> {
        let about = pb::Upload { part: Some(pb::upload::Part::About(protocol::write(about)?)) };
        let chunks = (0..component.len()).step_by(CHUNK_BYTES).map(move |from| {
            let chunk = component.slice(from..(from + CHUNK_BYTES).min(component.len()));
            pb::Upload { part: Some(pb::upload::Part::Chunk(chunk)) }
        });
        let answer =
            self.raw.clone().publish(stream::iter([about]).chain(stream::iter(chunks.collect::<Vec<_>>()))).await?;
        Ok(protocol::read(answer.get_ref())?)
    }

    /// Reads events.
    ///
    /// # Errors
    /// As [`ask`](Self::ask).
    pub async fn watch(
        &self,
        watch: Watch,
    ) -> Result<impl Stream<Item = Result<FleetEvent, OperatorError>> + Send + use<>, OperatorError> {
        let Watch { filter, after, follow, rollout } = watch;
        let request = pb::WatchRequest { filter, after, follow, rollout: rollout.map(|RolloutId(id)| id) };
        let events = self.raw.clone().watch(request).await?.into_inner();
        Ok(events.map(|event| Ok(protocol::read(&event?)?)))
    }
}
