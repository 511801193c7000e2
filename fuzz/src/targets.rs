//! What reads bytes from outside, each as a function of bytes that ends or panics.
//!
//! Whatever the bytes are, each target ends: with an error where they mean nothing, with a value that keeps its properties
//! where they mean something. A panic is a finding.

use std::{fmt::Debug, sync::LazyLock};

use bytes::Bytes;
use guest_sdk::{
    ConnectionId,
    framing::{Frames, Lines},
};
use host_api::{
    convert::{Call, Events, History, Invalid, Upload},
    pb,
};
use host_core::{
    event::HostEvent,
    history::SwapReport,
    id::WorkloadName,
    request::{DeployRequest, Progress, RollbackRequest},
    status::{HealthReport, HostStatus, VersionStatus},
};
use host_runtime::{
    artifact::{CompileError, Compiler},
    engine::{Engine, EngineOptions},
    instance::limits::{CallLimits, Limits},
};
use prost::Message;

/// The envelope of a checkpoint: damaged bytes are an error, and what reads is written as it was read.
pub fn checkpoint(data: &[u8]) {
    host_runtime::fuzzing::checkpoint(data);
}

/// Lines and frames of the SDK: the same pieces, and the same error, wherever a client's bytes are cut. The first byte is the
/// limit, the second says how many of the next are lengths of chunks; what follows is what the client sent.
pub fn framing(data: &[u8]) {
    let [limit, cuts, rest @ ..] = data else { return };
    let (cuts, sent) = rest.split_at(usize::from(*cuts).min(rest.len()));
    let whole = [sent];
    let chunks = cut(sent, cuts);
    let lines = |chunks: &[&[u8]]| {
        let mut lines = Lines::with_limit(u32::from(*limit));
        pieces(chunks, |chunk, out| {
            let mut chunk = lines.feed(ConnectionId::new(1), chunk.to_vec()).ok()?;
            while let Some(line) = chunk.next_line() {
                out.push(line.to_vec());
            }
            Some(())
        })
        .map(|pieces| (pieces, lines.clone()))
    };
    assert_eq!(lines(&whole), lines(&chunks), "lines");
    let frames = |chunks: &[&[u8]]| {
        let mut frames = Frames::with_limit(u32::from(*limit));
        pieces(chunks, |chunk, out| {
            let mut chunk = frames.feed(ConnectionId::new(1), chunk.to_vec()).ok()?;
            while let Some(frame) = chunk.next_frame() {
                out.push(frame.to_vec());
            }
            Some(())
        })
        .map(|pieces| (pieces, frames.clone()))
    };
    assert_eq!(frames(&whole), frames(&chunks), "frames");
}

fn cut<'a>(mut sent: &'a [u8], cuts: &[u8]) -> Vec<&'a [u8]> {
    let mut chunks = Vec::new();
    for length in cuts {
        let (chunk, rest) = sent.split_at(usize::from(*length).min(sent.len()));
        chunks.push(chunk);
        sent = rest;
    }
    chunks.push(sent);
    chunks
}

/// All pieces of these chunks; none if one of them is an error.
fn pieces(chunks: &[&[u8]], mut feed: impl FnMut(&[u8], &mut Vec<Vec<u8>>) -> Option<()>) -> Option<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    chunks.iter().try_for_each(|chunk| feed(chunk, &mut out))?;
    Some(out)
}

/// The validation door of the control plane. The first byte chooses the message; what passes the door comes back from the
/// wire as it went.
pub fn messages(data: &[u8]) {
    let Some((which, data)) = data.split_first() else { return };
    match which % 12 {
        0 => there_and_back::<pb::DeployHeader, DeployRequest>(data),
        1 => there_and_back::<pb::RollbackRequest, RollbackRequest>(data),
        2 => there_and_back::<pb::Progress, Progress>(data),
        3 => there_and_back::<pb::SwapReport, SwapReport>(data),
        4 => there_and_back::<pb::HostStatus, HostStatus>(data),
        5 => there_and_back::<pb::VersionStatus, VersionStatus>(data),
        6 => there_and_back::<pb::HealthReport, HealthReport>(data),
        7 => there_and_back::<pb::HostEvent, HostEvent>(data),
        8 => drop(read::<pb::UploadHeader, Upload>(data)),
        9 => drop(read::<pb::HistoryRequest, History>(data)),
        10 => drop(read::<pb::EventsRequest, Events>(data)),
        _ => {
            drop(read::<pb::CallRequest, Call>(data));
            drop(read::<pb::WorkloadRequest, WorkloadName>(data));
        }
    }
}

fn read<P: Message + Default, T: TryFrom<P, Error = Invalid>>(data: &[u8]) -> Option<T> {
    T::try_from(P::decode(data).ok()?).ok()
}

fn there_and_back<P, T>(data: &[u8])
where
    P: Message + Default + From<T>,
    T: TryFrom<P, Error = Invalid> + Clone + Debug + PartialEq,
{
    let Some(value) = read::<P, T>(data) else { return };
    let again = T::try_from(P::from(value.clone()));
    assert_eq!(again.as_ref(), Ok(&value), "what passed the door once passes it again");
}

/// The admission of a component: looked at, compiled and asked what it is, as `host inspect` and every deploy do.
pub fn component(data: &[u8]) {
    static COMPILER: LazyLock<Compiler> = LazyLock::new(|| {
        let options = EngineOptions { instances: 4, reserved: 0, memory_bytes: 64 << 20 };
        let call = CallLimits { fuel: 1_000_000, time: std::time::Duration::from_secs(10), memory_bytes: 16 << 20 };
        let limits = Limits { brief: call, query: call, ..Limits::default() };
        let engine = Engine::new(options).expect("an engine");
        Compiler::in_memory(engine).expect("a compiler").with_limits(limits)
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    // The compiler's thread survives a panic and says so; here it counts.
    if let Err(error @ CompileError::Failed { .. }) = runtime.block_on(COMPILER.inspect(Bytes::copy_from_slice(data))) {
        panic!("{error}");
    }
}
