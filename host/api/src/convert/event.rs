//! What a host tells whoever listens.

use host_core::{event::HostEvent, id::SwapId, time::UnixNanos};

use super::{Invalid, optional_workload};
use crate::pb;

impl From<HostEvent> for pb::HostEvent {
    fn from(event: HostEvent) -> Self {
        Self {
            seq: event.seq,
            at_unix_ns: event.at.0,
            name: event.name,
            workload: event.workload.map(Into::into),
            swap: event.swap.map(|swap| swap.0),
            message: event.message,
        }
    }
}

impl TryFrom<pb::HostEvent> for HostEvent {
    type Error = Invalid;

    fn try_from(raw: pb::HostEvent) -> Result<Self, Invalid> {
        Ok(Self {
            seq: raw.seq,
            at: UnixNanos(raw.at_unix_ns),
            name: raw.name,
            workload: optional_workload(raw.workload)?,
            swap: raw.swap.map(SwapId),
            message: raw.message,
        })
    }
}
