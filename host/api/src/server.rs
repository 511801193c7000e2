//! A host's control plane on its unix socket.
//!
//! Whatever changes something runs in a task of its own, to its end: a client that goes away leaves its swap to the host.
//! A client that is slow misses progress, never the report, and never holds up a swap.

mod incoming;
mod swapping;

use std::{future::Future, pin::Pin, sync::Arc};

use futures_util::Stream;
use host_core::id::WorkloadName;
use tokio::{
    net::UnixListener,
    sync::{mpsc, watch},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, service::interceptor::InterceptedService};

use crate::{
    Control, EventSource as _, Failure, FailureKind, Identity,
    convert::{self, Invalid, limits},
    failure::HEADER_LIMIT_BYTES,
    pb::{self, host_server::HostServer},
    protocol,
};

/// Calls at once on one connection: a client has a handful.
const STREAMS_LIMIT: u32 = 64;
/// Events on their way to one listener; beyond, they wait in the host's own ring.
const EVENTS_ROOM: usize = 64;

/// The control plane can't be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The transport failed.
    #[error("the control plane ended early")]
    Transport(#[from] tonic::transport::Error),
    /// The contract that was built in is damaged.
    #[error("reflection can't read the contract")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves a host's control plane until `shutdown`, then waits for the calls that are under way; those that follow events
/// are ended. The caller bounds that wait.
///
/// # Errors
/// When the transport can't be set up.
pub async fn serve<C: Control>(
    control: Arc<C>,
    listener: UnixListener,
    identity: Identity,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    let (stop, stopping) = watch::channel(false);
    let reflection =
        || tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(pb::DESCRIPTORS);
    let (v1, v1alpha) = (reflection().build_v1()?, reflection().build_v1alpha()?);
    let host = HostServer::new(Service { control, identity: identity.clone(), stopping })
        .max_decoding_message_size(limits::MESSAGE_LIMIT_BYTES)
        .max_encoding_message_size(limits::MESSAGE_LIMIT_BYTES);
    let check = move |request: Request<()>| {
        protocol::check(request.metadata(), &identity)?;
        Ok(request)
    };
    let shutdown = async {
        shutdown.await;
        // Whoever follows events would follow them for ever.
        stop.send_replace(true);
    };
    tonic::transport::Server::builder()
        .max_concurrent_streams(STREAMS_LIMIT)
        .http2_max_header_list_size(HEADER_LIMIT_BYTES)
        .add_service(v1)
        .add_service(v1alpha)
        .add_service(InterceptedService::new(host, check))
        .serve_with_incoming_shutdown(incoming::accept(listener), shutdown)
        .await?;
    Ok(())
}

struct Service<C> {
    control: Arc<C>,
    identity: Identity,
    stopping: watch::Receiver<bool>,
}

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A raw message through the validation door.
fn read<P, T: TryFrom<P, Error = Invalid>>(raw: P) -> Result<T, Failure> {
    Ok(T::try_from(raw)?)
}

/// Core values as messages.
fn write<T, P: From<T>>(values: Vec<T>) -> Vec<P> {
    values.into_iter().map(Into::into).collect()
}

/// Runs to the end whether its caller waits or not.
async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    tokio::spawn(work).await.unwrap_or_else(|error| Err(broken(&error)))
}

/// A task of the host's failed: a defect.
fn broken(error: &tokio::task::JoinError) -> Failure {
    let what = format!("a defect in the host ended this request: {error}");
    Failure::new(FailureKind::Internal, what)
        .still("the host goes on")
        .remedy("see `host status`, and report this with the host's log")
}

#[tonic::async_trait]
impl<C: Control> pb::host_server::Host for Service<C> {
    type DeployStream = Items<pb::SwapItem>;
    type PrepareStream = Items<pb::SwapItem>;
    type ExecuteStream = Items<pb::SwapItem>;
    type RollbackStream = Items<pb::SwapItem>;
    type EventsStream = Items<pb::HostEvent>;

    async fn hello(&self, request: Request<pb::HelloRequest>) -> Answer<pb::HelloResponse> {
        let hello = request.into_inner();
        let client = hello.client_version.get(..64).unwrap_or(&hello.client_version);
        let protocol = protocol::agree(hello.min_protocol, hello.max_protocol, client, &self.identity)?;
        let host_version = self.identity.version.clone();
        Ok(Response::new(pb::HelloResponse { protocol, host_version, pid: self.identity.pid }))
    }

    async fn deploy(&self, request: Request<Streaming<pb::Upload>>) -> Answer<Self::DeployStream> {
        let control = Arc::clone(&self.control);
        Ok(swapping::answer(async move |out| {
            let (deploy, artifact) = swapping::receive(&*control, request.into_inner()).await?;
            let run = async |sink| control.deploy(deploy, artifact, sink).await;
            Ok(swapping::reported(swapping::tell(out, run).await?))
        }))
    }

    async fn prepare(&self, request: Request<Streaming<pb::Upload>>) -> Answer<Self::PrepareStream> {
        let control = Arc::clone(&self.control);
        Ok(swapping::answer(async move |out| {
            let (deploy, artifact) = swapping::receive(&*control, request.into_inner()).await?;
            let run = async |sink| control.prepare(deploy, artifact, sink).await;
            Ok(swapping::prepared(swapping::tell(out, run).await?))
        }))
    }

    async fn execute(&self, request: Request<pb::ExecuteRequest>) -> Answer<Self::ExecuteStream> {
        let control = Arc::clone(&self.control);
        let prepared = request.into_inner().prepared;
        Ok(swapping::answer(async move |out| {
            let run = async |sink| control.execute(prepared, sink).await;
            Ok(swapping::reported(swapping::tell(out, run).await?))
        }))
    }

    async fn verify(&self, request: Request<pb::WorkloadRequest>) -> Answer<pb::VerifyResponse> {
        let checks = self.control.verify(read(request.into_inner())?).await?;
        Ok(Response::new(pb::VerifyResponse { checks: write(checks) }))
    }

    async fn rollback(&self, request: Request<pb::RollbackRequest>) -> Answer<Self::RollbackStream> {
        let control = Arc::clone(&self.control);
        let rollback = read(request.into_inner())?;
        Ok(swapping::answer(async move |out| {
            let run = async |sink| control.rollback(rollback, sink).await;
            Ok(swapping::reported(swapping::tell(out, run).await?))
        }))
    }

    async fn status(&self, _: Request<pb::StatusRequest>) -> Answer<pb::HostStatus> {
        Ok(Response::new(self.control.status().await?.into()))
    }

    async fn versions(&self, request: Request<pb::WorkloadRequest>) -> Answer<pb::VersionsResponse> {
        let versions = self.control.versions(read(request.into_inner())?).await?;
        Ok(Response::new(pb::VersionsResponse { versions: write(versions) }))
    }

    async fn history(&self, request: Request<pb::HistoryRequest>) -> Answer<pb::HistoryResponse> {
        let convert::History { workload, limit } = read(request.into_inner())?;
        let reports = self.control.history(workload, limit).await?;
        Ok(Response::new(pb::HistoryResponse { reports: write(reports) }))
    }

    async fn health(&self, request: Request<pb::HealthRequest>) -> Answer<pb::HealthResponse> {
        let workload = convert::optional_workload(request.into_inner().workload).map_err(Failure::from)?;
        let reports = self.control.health(workload).await?;
        Ok(Response::new(pb::HealthResponse { reports: write(reports) }))
    }

    async fn events(&self, request: Request<pb::EventsRequest>) -> Answer<Self::EventsStream> {
        let convert::Events { filter, from_seq, follow } = read(request.into_inner())?;
        let mut events = self.control.events(from_seq, follow).await?;
        let (out, items) = mpsc::channel(EVENTS_ROOM);
        let mut stopping = self.stopping.clone();
        tokio::spawn(async move {
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    _ = stopping.wait_for(|stopping| *stopping) => None,
                    () = out.closed() => None,
                };
                let Some(event) = event else { return };
                if filter.as_ref().is_none_or(|filter| filter.matches(&event.name))
                    && out.send(Ok(event.into())).await.is_err()
                {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(items))))
    }

    async fn call(&self, request: Request<pb::CallRequest>) -> Answer<pb::CallResponse> {
        let convert::Call { workload, method, payload, timeout } = read(request.into_inner())?;
        let payload = self.control.call(workload, method, payload, timeout).await?;
        if payload.len() > limits::PAYLOAD_LIMIT_BYTES {
            let what = format!("the reply has {} bytes, {} are the limit", payload.len(), limits::PAYLOAD_LIMIT_BYTES);
            return Err(Failure::new(FailureKind::Workload, what).still("the call was handled").into());
        }
        Ok(Response::new(pb::CallResponse { payload }))
    }

    async fn commit(&self, request: Request<pb::WorkloadRequest>) -> Answer<pb::SwapReport> {
        let (control, workload) = self.operation(request)?;
        Ok(Response::new(to_the_end(async move { control.commit(workload).await }).await?.into()))
    }

    async fn replay(&self, request: Request<pb::WorkloadRequest>) -> Answer<pb::SwapReport> {
        let (control, workload) = self.operation(request)?;
        Ok(Response::new(to_the_end(async move { control.replay(workload).await }).await?.into()))
    }

    async fn stop(&self, request: Request<pb::WorkloadRequest>) -> Answer<pb::SwapReport> {
        let (control, workload) = self.operation(request)?;
        Ok(Response::new(to_the_end(async move { control.stop(workload).await }).await?.into()))
    }

    async fn start(&self, request: Request<pb::WorkloadRequest>) -> Answer<pb::SwapReport> {
        let (control, workload) = self.operation(request)?;
        Ok(Response::new(to_the_end(async move { control.start(workload).await }).await?.into()))
    }

    async fn remove(&self, request: Request<pb::WorkloadRequest>) -> Answer<pb::SwapReport> {
        let (control, workload) = self.operation(request)?;
        Ok(Response::new(to_the_end(async move { control.remove(workload).await }).await?.into()))
    }
}

impl<C: Control> Service<C> {
    fn operation(&self, request: Request<pb::WorkloadRequest>) -> Result<(Arc<C>, WorkloadName), Failure> {
        Ok((Arc::clone(&self.control), read(request.into_inner())?))
    }
}
