//! A deploy as its client sees it: the component goes up, progress comes down, a report ends it.

use bytes::Bytes;
use futures_util::{Stream, stream};
use host_core::{
    history::SwapReport,
    request::{DeployRequest, Progress},
};
use tonic::{Response, Status, Streaming};

use super::{ClientError, one};
use crate::{
    control::Ready,
    convert::{Invalid, limits},
    pb::{self, swap_item::Item, upload::Part},
};

/// A deploy, rollback or rehearsal that the host is doing.
///
/// Dropping it leaves the swap to the host.
#[derive(Debug)]
pub struct Swapping {
    items: Streaming<pb::SwapItem>,
    ready: Option<Ready>,
}

/// What comes while waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhileWaiting {
    /// It goes on.
    Progress(Progress),
    /// It is over.
    Report(Box<SwapReport>),
}

impl Swapping {
    pub(super) fn new(response: Response<Streaming<pb::SwapItem>>) -> Self {
        Self { items: response.into_inner(), ready: None }
    }

    /// What comes next. Nothing comes after the report. Cancel safe.
    ///
    /// # Errors
    /// When the host failed before there was a report, or the connection broke.
    pub async fn next(&mut self) -> Result<WhileWaiting, ClientError> {
        let lost = || ClientError::from(Status::cancelled("the answer ended before its report"));
        let item = self.items.message().await?.ok_or_else(lost)?;
        let report = match item.item.ok_or_else(|| ClientError::Unreadable(Invalid::missing("item")))? {
            Item::Progress(progress) => return Ok(WhileWaiting::Progress(one(progress)?)),
            Item::Report(report) => report,
            Item::Prepared(raw) => {
                let expires = std::time::Duration::from_nanos(raw.expires_ns);
                self.ready = Some(Ready { prepared: raw.prepared, expires });
                raw.report.ok_or_else(|| ClientError::Unreadable(Invalid::missing("prepared.report")))?
            }
        };
        Ok(WhileWaiting::Report(Box::new(one(report)?)))
    }

    /// Waits for the report and hands each step of the progress to `told`.
    ///
    /// # Errors
    /// As for [`next`](Self::next).
    pub async fn report(&mut self, mut told: impl FnMut(Progress)) -> Result<SwapReport, ClientError> {
        loop {
            match self.next().await? {
                WhileWaiting::Progress(progress) => told(progress),
                WhileWaiting::Report(report) => return Ok(*report),
            }
        }
    }

    /// What a preparation gave besides its report; none before the report, and when nothing was prepared.
    #[must_use]
    pub const fn prepared(&self) -> Option<Ready> {
        self.ready
    }
}

/// The header, then the component in chunks. The bytes are shared, not copied.
pub(super) fn upload(request: DeployRequest, component: Bytes) -> impl Stream<Item = pb::Upload> + Send + 'static {
    let header = pb::UploadHeader { deploy: Some(request.into()), size_bytes: component.len() as u64 };
    let header = pb::Upload { part: Some(Part::Header(header)) };
    let chunks = stream::unfold(component, async |mut rest| {
        if rest.is_empty() {
            return None;
        }
        let chunk = rest.split_to(rest.len().min(limits::CHUNK_LIMIT_BYTES));
        Some((pb::Upload { part: Some(Part::Chunk(chunk)) }, rest))
    });
    futures_util::StreamExt::chain(stream::iter([header]), chunks)
}
