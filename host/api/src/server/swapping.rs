//! The calls that upload, tell progress, and end with a report.

use futures_util::StreamExt as _;
use host_core::{
    history::SwapReport,
    request::{DeployRequest, Progress},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::{Items, broken, read};
use crate::{
    Control, Failure, FailureKind, ProgressSink, Staging as _,
    control::Preparation,
    convert::{self, Invalid, limits},
    pb::{self, swap_item::Item, upload::Part},
};

/// Progress that a client may be behind before it misses some; a swap has some twenty items.
const PROGRESS_ROOM: usize = 64;

pub(super) type Out = mpsc::Sender<Result<pb::SwapItem, Status>>;

/// Answers with what `work` tells, and with its result at the end. It goes on when nobody listens any more.
pub(super) fn answer<W, F>(work: W) -> Response<Items<pb::SwapItem>>
where
    W: FnOnce(Out) -> F,
    F: Future<Output = Result<Item, Failure>> + Send + 'static,
{
    let (out, items) = mpsc::channel(PROGRESS_ROOM);
    let work = tokio::spawn(work(out.clone()));
    tokio::spawn(async move {
        let last = work.await.unwrap_or_else(|error| Err(broken(&error)));
        let last = last.map(|item| pb::SwapItem { item: Some(item) }).map_err(Status::from);
        // Nobody there to hear it: the history has it.
        drop(out.send(last).await);
    });
    Response::new(ReceiverStream::new(items).boxed())
}

/// Runs `run` and passes on what it tells, until it has its result.
pub(super) async fn tell<T, F>(out: Out, run: impl FnOnce(ProgressSink) -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let (sink, mut told) = mpsc::channel(PROGRESS_ROOM);
    // Never waits: a client that doesn't read must not hold up a swap.
    let pass_on = |progress: Progress| {
        let item = Some(Item::Progress(progress.into()));
        drop(out.try_send(Ok(pb::SwapItem { item })));
    };
    let mut run = std::pin::pin!(run(sink));
    let result = loop {
        tokio::select! {
            biased;
            Some(progress) = told.recv() => pass_on(progress),
            result = &mut run => break result,
        }
    };
    while let Ok(progress) = told.try_recv() {
        pass_on(progress);
    }
    result
}

pub(super) fn reported(report: SwapReport) -> Item {
    Item::Report(report.into())
}

pub(super) fn prepared(preparation: Preparation) -> Item {
    match preparation.ready {
        None => reported(preparation.report),
        Some(ready) => Item::Prepared(pb::Prepared {
            prepared: ready.prepared,
            expires_ns: convert::nanos(ready.expires),
            report: Some(preparation.report.into()),
        }),
    }
}

/// Takes a component in. Until its last byte is here nothing is asked of the host but room.
pub(super) async fn receive<C: Control>(
    control: &C,
    mut upload: Streaming<pb::Upload>,
) -> Result<(DeployRequest, C::Artifact), Failure> {
    let Some(Part::Header(header)) = next(&mut upload).await? else {
        return Err(Invalid::missing("header").into());
    };
    let convert::Upload { deploy, size_bytes } = read(header)?;
    let mut staging = control.stage().await?;
    let mut left = size_bytes;
    while let Some(part) = next(&mut upload).await? {
        let Part::Chunk(chunk) = part else { return Err(Invalid::new("header", "there is a second one").into()) };
        if chunk.len() > limits::CHUNK_LIMIT_BYTES {
            let why = format_args!("{} bytes are above the limit of {}", chunk.len(), limits::CHUNK_LIMIT_BYTES);
            return Err(Invalid::new("chunk", why).into());
        }
        left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
            Invalid::new("chunk", format_args!("more than the {size_bytes} bytes that were announced"))
        })?;
        staging.write(chunk).await?;
    }
    // A client that went away ends its stream like one that is done.
    if left > 0 {
        let what = format!("the upload ended {left} bytes before its end");
        return Err(Failure::new(FailureKind::Invalid, what).still("nothing was changed"));
    }
    Ok((deploy, staging.finish().await?))
}

async fn next(upload: &mut Streaming<pb::Upload>) -> Result<Option<Part>, Failure> {
    let message = upload.message().await.map_err(|status| Failure::from(&status))?;
    message.map(|message| message.part.ok_or_else(|| Invalid::missing("part").into())).transpose()
}
