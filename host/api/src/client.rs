//! Asks a host, in core's types.

mod error;
mod swapping;

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use host_core::{
    event::HostEvent,
    history::{Check, SwapReport},
    id::WorkloadName,
    request::{DeployRequest, RollbackRequest},
    status::{HealthReport, HostStatus, VersionStatus},
};
use hyper_util::rt::TokioIo;
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

pub use self::{
    error::ClientError,
    swapping::{Swapping, WhileWaiting},
};
use crate::{
    Identity, MAX_PROTOCOL, MIN_PROTOCOL,
    convert::{self, Invalid, limits},
    failure::HEADER_LIMIT_BYTES,
    pb::{self, host_client::HostClient},
    protocol, socket,
};

/// How long a host may take to say hello: it does so without asking any workload.
const HELLO_LIMIT: Duration = Duration::from_secs(5);

/// A connection to a host. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    raw: HostClient<InterceptedService<Channel, NameProtocol>>,
    host: Identity,
}

/// Names the agreed protocol in every call.
#[derive(Clone, Copy, Debug)]
struct NameProtocol(u32);

impl Interceptor for NameProtocol {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        protocol::name(request.metadata_mut(), self.0);
        Ok(request)
    }
}

impl Client {
    /// Reaches the host behind this control socket ([`socket::path`]) and agrees with it on a protocol.
    ///
    /// # Errors
    /// When no host answers there, or it speaks no common protocol.
    pub async fn connect(socket: &Path) -> Result<Self, ClientError> {
        let channel = channel(socket).await?;
        let hello = pb::HelloRequest {
            min_protocol: MIN_PROTOCOL,
            max_protocol: MAX_PROTOCOL,
            client_version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut unnamed = HostClient::new(channel.clone());
        let answer = tokio::time::timeout(HELLO_LIMIT, unnamed.hello(hello)).await;
        let answer =
            answer.map_err(|_| ClientError::Silent { data: socket::data(socket).to_owned(), after: HELLO_LIMIT })?;
        let answer = answer?.into_inner();
        let raw = HostClient::with_interceptor(channel, NameProtocol(answer.protocol))
            .max_decoding_message_size(limits::MESSAGE_LIMIT_BYTES)
            .max_encoding_message_size(limits::MESSAGE_LIMIT_BYTES);
        Ok(Self { raw, host: Identity { version: answer.host_version, pid: answer.pid } })
    }

    /// Who answered.
    #[must_use]
    pub const fn host(&self) -> &Identity {
        &self.host
    }

    /// Plans, rehearses or does a swap, as `request.extent` says. The component goes up with it.
    ///
    /// # Errors
    /// When the request is refused before anything began.
    pub async fn deploy(&self, request: DeployRequest, component: Bytes) -> Result<Swapping, ClientError> {
        let upload = swapping::upload(request, component);
        Ok(Swapping::new(self.raw.clone().deploy(upload).await?))
    }

    /// Does everything of a deploy that needs no pause. [`Swapping::prepared`] gives its number.
    ///
    /// # Errors
    /// As for [`deploy`](Self::deploy).
    pub async fn prepare(&self, request: DeployRequest, component: Bytes) -> Result<Swapping, ClientError> {
        let upload = swapping::upload(request, component);
        Ok(Swapping::new(self.raw.clone().prepare(upload).await?))
    }

    /// Does the swap that was prepared under this number.
    ///
    /// # Errors
    /// When the host can't be asked.
    pub async fn execute(&self, prepared: u64) -> Result<Swapping, ClientError> {
        Ok(Swapping::new(self.raw.clone().execute(pb::ExecuteRequest { prepared }).await?))
    }

    /// Runs the smoke check on what runs.
    ///
    /// # Errors
    /// When there is no such workload, or the host can't be asked.
    pub async fn verify(&self, workload: &WorkloadName) -> Result<Vec<Check>, ClientError> {
        let answer = self.raw.clone().verify(named(workload)).await?.into_inner();
        each(answer.checks)
    }

    /// Reinstates an earlier version.
    ///
    /// # Errors
    /// When the request is refused before anything began.
    pub async fn rollback(&self, request: RollbackRequest) -> Result<Swapping, ClientError> {
        Ok(Swapping::new(self.raw.clone().rollback(pb::RollbackRequest::from(request)).await?))
    }

    /// How the host and its workloads are.
    ///
    /// # Errors
    /// When the host can't be asked.
    pub async fn status(&self) -> Result<HostStatus, ClientError> {
        one(self.raw.clone().status(pb::StatusRequest {}).await?.into_inner())
    }

    /// What is stored of a workload.
    ///
    /// # Errors
    /// When there is no such workload, or the host can't be asked.
    pub async fn versions(&self, workload: &WorkloadName) -> Result<Vec<VersionStatus>, ClientError> {
        each(self.raw.clone().versions(named(workload)).await?.into_inner().versions)
    }

    /// What was done, newest first, at most [`limits::HISTORY_LIMIT`] entries.
    ///
    /// # Errors
    /// When there is no such workload, or the host can't be asked.
    pub async fn history(&self, workload: Option<&WorkloadName>, limit: usize) -> Result<Vec<SwapReport>, ClientError> {
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let request = pb::HistoryRequest { workload: workload.map(WorkloadName::to_string), limit };
        each(self.raw.clone().history(request).await?.into_inner().reports)
    }

    /// How healthy workloads are.
    ///
    /// # Errors
    /// When there is no such workload, or the host can't be asked.
    pub async fn health(&self, workload: Option<&WorkloadName>) -> Result<Vec<HealthReport>, ClientError> {
        let request = pb::HealthRequest { workload: workload.map(WorkloadName::to_string) };
        each(self.raw.clone().health(request).await?.into_inner().reports)
    }

    /// Recent events from `from_seq` on, then, with `follow`, those to come. The stream ends when the host stops.
    ///
    /// # Errors
    /// When the filter is too long, or the host can't be asked.
    pub async fn events(
        &self,
        filter: Option<String>,
        from_seq: Option<u64>,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<HostEvent, ClientError>> + Send + use<>, ClientError> {
        let request = pb::EventsRequest { filter, from_seq, follow };
        let events = self.raw.clone().events(request).await?.into_inner();
        Ok(events.map(|event| one(event?)))
    }

    /// Calls a workload and waits for its reply.
    ///
    /// # Errors
    /// When there is no such workload, it answers with an error or not in time, or the host can't be asked.
    pub async fn call(
        &self,
        workload: &WorkloadName,
        method: &str,
        payload: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, ClientError> {
        let request = pb::CallRequest {
            workload: workload.to_string(),
            method: method.to_owned(),
            payload,
            timeout_ns: convert::nanos(timeout),
        };
        Ok(self.raw.clone().call(request).await?.into_inner().payload)
    }

    /// Ends a probation for good: one that is held, or one that has time left.
    ///
    /// # Errors
    /// When the workload is on no probation, or the host can't be asked.
    pub async fn commit(&self, workload: &WorkloadName) -> Result<SwapReport, ClientError> {
        one(self.raw.clone().commit(named(workload)).await?.into_inner())
    }

    /// Handles on a copy what the workload has handled, by the running component, and compares.
    ///
    /// # Errors
    /// When the workload does not run, or the host can't be asked.
    pub async fn replay(&self, workload: &WorkloadName) -> Result<SwapReport, ClientError> {
        one(self.raw.clone().replay(named(workload)).await?.into_inner())
    }

    /// Stops a workload and keeps its state.
    ///
    /// # Errors
    /// When there is no such workload, or the host can't be asked.
    pub async fn stop(&self, workload: &WorkloadName) -> Result<SwapReport, ClientError> {
        one(self.raw.clone().stop(named(workload)).await?.into_inner())
    }

    /// Starts a stopped or failed workload.
    ///
    /// # Errors
    /// When there is no such workload, or the host can't be asked.
    pub async fn start(&self, workload: &WorkloadName) -> Result<SwapReport, ClientError> {
        one(self.raw.clone().start(named(workload)).await?.into_inner())
    }

    /// Forgets a workload with its state.
    ///
    /// # Errors
    /// When there is no such workload, or the host can't be asked.
    pub async fn remove(&self, workload: &WorkloadName) -> Result<SwapReport, ClientError> {
        one(self.raw.clone().remove(named(workload)).await?.into_inner())
    }
}

fn named(workload: &WorkloadName) -> pb::WorkloadRequest {
    pb::WorkloadRequest { workload: workload.to_string() }
}

/// A raw message through the validation door.
fn one<P, T: TryFrom<P, Error = Invalid>>(raw: P) -> Result<T, ClientError> {
    T::try_from(raw).map_err(ClientError::Unreadable)
}

fn each<P, T: TryFrom<P, Error = Invalid>>(raw: Vec<P>) -> Result<Vec<T>, ClientError> {
    raw.into_iter().map(one).collect()
}

async fn channel(socket: &Path) -> Result<Channel, ClientError> {
    // The first connection is made here, so that its error is known as it is; a later one is made in its place.
    let first = socket::connect(socket).await.map_err(|source| ClientError::of_connecting(socket, source))?;
    let mut first = Some(first);
    let path = socket.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (ready, path) = (first.take(), path.clone());
        async move {
            let stream = match ready {
                Some(stream) => stream,
                None => socket::connect(&path).await?,
            };
            Ok::<_, std::io::Error>(TokioIo::new(stream))
        }
    });
    // The address is not looked at: the connector has the socket.
    let endpoint = Endpoint::from_static("http://host").http2_max_header_list_size(HEADER_LIMIT_BYTES);
    endpoint
        .connect_with_connector(connector)
        .await
        .map_err(|error| ClientError::NotAHost { socket: socket.to_owned(), source: Box::new(error) })
}
