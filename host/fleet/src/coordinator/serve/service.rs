//! The fleet's gRPC service: certificates are looked at here, and documents read.

use std::{num::NonZeroU32, pin::Pin, sync::Arc, time::Duration};

use bytes::BytesMut;
use futures_util::Stream;
use host_api::{Failure, FailureKind};
use host_core::{
    event::Pattern,
    id::{Digest, HostId, RolloutId, WorkloadName},
    label::{Label, Labels},
    time::UnixNanos,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    super::{Input, SessionId, answer},
    desk::{Handle, Post, Way},
};
use crate::{
    clock::Clock,
    identity::{Authority, JoinToken, Joiner, Kind, LabelRule, StoredToken},
    operator::{Ask, Publication, RolloutView, Told},
    pb::{self, fleet_server::Fleet},
    protocol::{self, Up},
    store::{ARTIFACT_LIMIT_BYTES, Changes, ReleaseRecord, Store, StoreError},
    transport::Caller,
};

/// Events that are read from the store at a time.
const EVENTS_PAGE: usize = 256;
/// Messages on their way to one reader of events or bytes.
const STREAM_ROOM: usize = 8;
/// Most entries of history or audit in one answer: it must fit into a message.
const ENTRIES_LIMIT: usize = 1000;
/// Rollouts in one answer: each has a line for each host.
const HISTORY_LIMIT: usize = 100;
/// How long a host that connects may take for its first word.
const HELLO_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Service<S> {
    handle: Handle<S>,
    authority: Arc<Authority>,
    clock: Clock,
    stopping: watch::Receiver<bool>,
}

type Answer<T> = Result<Response<T>, Status>;
type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl<S: Store> Service<S> {
    pub(super) const fn new(
        handle: Handle<S>,
        authority: Arc<Authority>,
        clock: Clock,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self { handle, authority, clock, stopping }
    }

    fn operator<T>(&self, request: &Request<T>) -> Result<String, Failure> {
        let caller = Caller::of(request);
        let member = caller.require(Kind::Operator, self.clock.now())?;
        Ok(member.subject.name.to_string())
    }

    fn host<T>(&self, request: &Request<T>) -> Result<HostId, Failure> {
        let caller = Caller::of(request);
        let member = caller.require(Kind::Host, self.clock.now())?;
        let host = member.subject.host().cloned();
        host.ok_or_else(|| Failure::new(FailureKind::Refused, "the certificate names no host"))
    }

    async fn answer(&self, by: String, ask: Ask) -> Result<Told, Failure> {
        match ask {
            Ask::History { workload, limit } => self.history(workload, limit).await,
            Ask::Show { rollout: Some(id) } => match self.handle.ask(Input::Asked { by, ask }).await {
                Err(failure) if failure.kind == FailureKind::NotFound => self.stored(id, failure).await,
                answer => answer,
            },
            Ask::Show { rollout: None } => match self.history(None, 1).await? {
                Told::History { rollouts } => match rollouts.into_iter().next() {
                    Some(newest) => Box::pin(self.answer(by, Ask::Show { rollout: Some(newest.id) })).await,
                    None => Err(Failure::new(FailureKind::NotFound, "there was no rollout yet")),
                },
                other => Ok(other),
            },
            Ask::TokenCreate { uses, expires, operator, labels } => {
                self.token(by, uses, expires, operator, labels).await
            }
            Ask::AuditLog { from, limit, verify } => self.audit(from, limit, verify).await,
            ask => self.handle.ask(Input::Asked { by, ask }).await,
        }
    }

    async fn history(&self, workload: Option<WorkloadName>, limit: usize) -> Result<Told, Failure> {
        let limit = limit.min(HISTORY_LIMIT);
        let documents =
            self.handle.store.with(move |store| store.history(workload.as_ref(), limit)).await.map_err(broken)?;
        let now = self.clock.now();
        let rollouts: Result<Vec<_>, _> = documents.iter().map(|document| read_rollout(&document.text, now)).collect();
        Ok(Told::History { rollouts: rollouts? })
    }

    async fn stored(&self, id: RolloutId, missing: Failure) -> Result<Told, Failure> {
        match self.handle.store.with(move |store| store.rollout(id)).await.map_err(broken)? {
            None => Err(missing),
            Some(document) => Ok(Told::Rollout { rollout: Box::new(read_rollout(&document.text, self.clock.now())?) }),
        }
    }

    async fn token(
        &self,
        by: String,
        uses: u32,
        expires: Duration,
        operator: bool,
        labels: Option<Vec<Label>>,
    ) -> Result<Told, Failure> {
        let invalid = |why: String| Failure::new(FailureKind::Invalid, why).still("no token was made");
        let uses = NonZeroU32::new(uses).ok_or_else(|| invalid("a token has at least one use".to_owned()))?;
        let token =
            JoinToken::generate(self.authority.certificate().key()).map_err(|error| invalid(error.to_string()))?;
        let joiner = if operator { Joiner::Operator } else { Joiner::Host };
        let labels = match labels {
            None => LabelRule::Any,
            Some(labels) => LabelRule::Only(Labels::try_from(labels).map_err(|error| invalid(error.to_string()))?),
        };
        let now = self.clock.now();
        let stored =
            StoredToken::new(&token, joiner, uses, expires, labels, now).map_err(|error| invalid(error.to_string()))?;
        let (epoch, until) = (self.handle.epoch(), stored.expires);
        let audit = super::super::audit(&by, "token.create", format!("token {}", stored.id), format!("{uses} use(s)"));
        let changes = Changes { tokens: vec![stored], audit: vec![audit], ..Changes::default() };
        self.handle.store.commit(epoch, now, changes).await.map_err(broken)?;
        Ok(Told::Token { token: token.to_string(), expires: until })
    }

    async fn audit(&self, from: u64, limit: usize, verify: bool) -> Result<Told, Failure> {
        let limit = limit.min(ENTRIES_LIMIT);
        let read = self.handle.store.with(move |store| {
            let verified = if verify { Some(store.verify_audit()?) } else { None };
            Ok::<_, StoreError>((store.audit(from, limit)?, verified))
        });
        let (entries, verified) = read.await.map_err(broken)?;
        let verified = verified.map(|verified| verified.map_err(|broken| broken.to_string()));
        Ok(Told::AuditLog { entries, verified })
    }

    async fn published(&self, by: String, mut upload: Streaming<pb::Upload>) -> Result<Told, Failure> {
        let invalid = |why: String| Failure::new(FailureKind::Invalid, why).still("nothing was published");
        let lost = |status: Status| Failure::from(&status);
        let first = upload.message().await.map_err(lost)?.and_then(|upload| upload.part);
        let Some(pb::upload::Part::About(about)) = first else {
            return Err(invalid("an upload begins with what it is".to_owned()));
        };
        let about: Publication = protocol::read(&about).map_err(|error| invalid(error.to_string()))?;
        if about.size_bytes > ARTIFACT_LIMIT_BYTES {
            return Err(invalid(StoreError::TooLarge.to_string()));
        }
        let mut bytes = BytesMut::new();
        while let Some(part) = upload.message().await.map_err(lost)? {
            let Some(pb::upload::Part::Chunk(chunk)) = part.part else {
                return Err(invalid("after what it is, an upload is bytes".to_owned()));
            };
            if (bytes.len() + chunk.len()) as u64 > about.size_bytes {
                return Err(invalid(format!("more than the {} bytes that were announced", about.size_bytes)));
            }
            bytes.extend_from_slice(&chunk);
        }
        if bytes.len() as u64 != about.size_bytes {
            return Err(invalid(format!("{} bytes came of {}: the upload was cut off", bytes.len(), about.size_bytes)));
        }
        let (digest, bytes) = (about.digest, bytes.freeze());
        self.handle.store.with(move |store| store.put_blob(digest, &bytes)).await.map_err(|error| match error {
            StoreError::WrongDigest { .. } => invalid(error.to_string()),
            error => broken(error),
        })?;
        let release = ReleaseRecord {
            workload: about.workload,
            version: about.version,
            digest: about.digest,
            size_bytes: Some(about.size_bytes),
            from: None,
            published: self.clock.now(),
        };
        self.handle.ask(Input::Published { by, release }).await
    }
}

fn read_rollout(text: &str, now: UnixNanos) -> Result<RolloutView, Failure> {
    answer::stored(text, now).map_err(|error| {
        Failure::new(FailureKind::Internal, format!("a stored rollout can't be read: {error}"))
            .remedy("was it written by a newer coordinator?")
    })
}

fn broken(error: StoreError) -> Failure {
    tracing::error!(%error, "the store failed");
    Failure::new(FailureKind::Internal, error.to_string())
        .still("hosts carry on as they are")
        .remedy("look at the coordinator's disk and its log")
}

#[tonic::async_trait]
impl<S: Store> Fleet for Service<S> {
    type SessionStream = Items<pb::Document>;
    type FetchStream = Items<pb::Chunk>;
    type WatchStream = Items<pb::Document>;

    async fn session(&self, request: Request<Streaming<pb::Document>>) -> Answer<Self::SessionStream> {
        let host = self.host(&request)?;
        let mut words = request.into_inner();
        let session = self.handle.session();
        let (down, way) = Handle::<S>::way_down();
        let (handle, mut stopping) = (self.handle.clone(), self.stopping.clone());
        tokio::spawn(async move {
            let hello = tokio::time::timeout(HELLO_LIMIT, words.message()).await;
            let Ok(Ok(Some(hello))) = hello else { return };
            let hello: Up = match protocol::read(&hello) {
                Ok(hello) => hello,
                Err(error) => return farewell(&down, &error).await,
            };
            let input = Input::Opened { session, host, hello };
            // The desk ends the session by dropping its side of this.
            let (open, ended) = oneshot::channel();
            let way = Way { down: down.clone(), _open: open };
            if handle.post(Post::Opened { input, session, way }).await.is_err() {
                return;
            }
            let until = async {
                tokio::select! {
                    _ = ended => {}
                    () = down.closed() => {}
                    _ = stopping.wait_for(|stopping| *stopping) => {}
                }
            };
            listen(&handle, session, &mut words, &down, until).await;
            drop(handle.post(Post::Input(Input::Closed { session })).await);
        });
        Ok(Response::new(Box::pin(ReceiverStreamOk(ReceiverStream::new(way)))))
    }

    async fn fetch(&self, request: Request<pb::FetchRequest>) -> Answer<Self::FetchStream> {
        self.host(&request)?;
        let pb::FetchRequest { digest, mut offset } = request.into_inner();
        let digest: Digest =
            digest.parse().map_err(|error| Failure::new(FailureKind::Invalid, format!("digest: {error}")))?;
        let (out, chunks) = mpsc::channel(STREAM_ROOM);
        let (store, metrics) = (self.handle.store.clone(), self.handle.store.metrics().clone());
        tokio::spawn(async move {
            loop {
                let chunk = match store.with(move |store| store.blob(digest, offset)).await {
                    Ok(Some(chunk)) if chunk.is_empty() => return,
                    Ok(Some(chunk)) => {
                        offset += chunk.len() as u64;
                        metrics.sent(chunk.len() as u64);
                        Ok(pb::Chunk { bytes: chunk.into() })
                    }
                    Ok(None) => Err(Failure::new(
                        FailureKind::NotFound,
                        format!("the coordinator has no component {}", digest.short()),
                    )
                    .into()),
                    Err(error) => Err(broken(error).into()),
                };
                let last = chunk.is_err();
                if out.send(chunk).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(chunks))))
    }

    async fn publish(&self, request: Request<Streaming<pb::Upload>>) -> Answer<pb::Document> {
        let by = self.operator(&request)?;
        let told = self.published(by, request.into_inner()).await?;
        Ok(Response::new(written(&told)?))
    }

    async fn ask(&self, request: Request<pb::Document>) -> Answer<pb::Document> {
        let by = self.operator(&request)?;
        let ask: Ask = protocol::read(request.get_ref())
            .map_err(|error| Failure::new(FailureKind::Invalid, error.to_string()).still("nothing was changed"))?;
        let told = self.answer(by, ask).await?;
        Ok(Response::new(written(&told)?))
    }

    async fn watch(&self, request: Request<pb::WatchRequest>) -> Answer<Self::WatchStream> {
        self.operator(&request)?;
        let pb::WatchRequest { filter, after, follow, rollout } = request.into_inner();
        let too_long = || Failure::new(FailureKind::Invalid, "the filter is too long");
        let filter = filter.map(|filter| Pattern::new(&filter).ok_or_else(too_long)).transpose()?;
        let (out, events) = mpsc::channel(STREAM_ROOM);
        let watching = Watching { filter, after, follow, rollout: rollout.map(RolloutId) };
        tokio::spawn(watching.run(self.handle.clone(), out, self.stopping.clone()));
        Ok(Response::new(Box::pin(ReceiverStream::new(events))))
    }
}

/// Somebody who reads events: from the store, so that none is missed however slowly they read.
struct Watching {
    filter: Option<Pattern>,
    after: u64,
    follow: bool,
    rollout: Option<RolloutId>,
}

impl Watching {
    async fn run<S: Store>(
        mut self,
        handle: Handle<S>,
        out: mpsc::Sender<Result<pb::Document, Status>>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let mut told = handle.told();
        loop {
            told.mark_unchanged();
            let after = self.after;
            let page = handle.store.with(move |store| store.events_after(after, EVENTS_PAGE)).await;
            let page = match page {
                Ok(page) => page,
                Err(error) => return drop(out.send(Err(broken(error).into())).await),
            };
            let whole = page.len() == EVENTS_PAGE;
            for event in page {
                self.after = event.seq;
                let chosen = self.filter.as_ref().is_none_or(|filter| filter.matches(&event.name))
                    && self.rollout.is_none_or(|rollout| event.rollout == Some(rollout));
                if chosen && out.send(written(&event).map_err(Status::from)).await.is_err() {
                    return;
                }
            }
            if whole {
                continue;
            }
            if !self.follow {
                return;
            }
            tokio::select! {
                changed = told.changed() => if changed.is_err() { return },
                _ = stopping.wait_for(|stopping| *stopping) => return,
                () = out.closed() => return,
            }
        }
    }
}

/// Hands in a host's words until one side ends.
async fn listen<S: Store>(
    handle: &Handle<S>,
    session: SessionId,
    words: &mut Streaming<pb::Document>,
    down: &mpsc::Sender<pb::Document>,
    until: impl Future<Output = ()>,
) {
    tokio::pin!(until);
    loop {
        let word = tokio::select! {
            word = words.message() => word,
            () = &mut until => return,
        };
        let Ok(Some(word)) = word else { return };
        match protocol::read(&word) {
            Ok(up) => {
                if handle.post(Post::Input(Input::Heard { session, up })).await.is_err() {
                    return;
                }
            }
            Err(error) => return farewell(down, &error).await,
        }
    }
}

async fn farewell(down: &mpsc::Sender<pb::Document>, why: &protocol::UnreadableDocument) {
    let word = protocol::Down::Farewell { why: why.to_string(), stay_away: false };
    if let Ok(word) = protocol::write(&word) {
        drop(down.send(word).await);
    }
}

fn written<T: serde::Serialize>(value: &T) -> Result<pb::Document, Failure> {
    protocol::write(value).map_err(|error| Failure::new(FailureKind::Internal, error.to_string()))
}

/// Documents as a stream that does not fail by itself.
struct ReceiverStreamOk(ReceiverStream<pb::Document>);

impl Stream for ReceiverStreamOk {
    type Item = Result<pb::Document, Status>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(context).map(|word| word.map(Ok))
    }
}
