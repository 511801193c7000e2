//! The coordinator's one task: it takes inputs in order, writes what a step changes, then sends.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use host_api::{Failure, FailureKind};
use host_core::{id::Epoch, time::UnixNanos};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

use super::super::{Coordinator, Input, SessionId, Step};
use crate::{
    clock::Clock,
    join::{Admission, AdmissionError, Admitted, Application, decide},
    operator::Told,
    pb, protocol,
    store::{Changes, FleetEvent, Store, StoreError},
    telemetry::{InputKind, Metrics, Telemetry},
};

/// Inputs that wait: a word of each host of a large fleet. Beyond, sessions are not read.
const INPUTS_ROOM: usize = 1024;
/// Words on their way to one host. One that takes fewer has a session that is better begun anew.
const DOWN_ROOM: usize = 64;
/// Longest sleep without a look at the clock: it may be set.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A store that is used apart from the network, one call at a time.
pub struct Shared<S> {
    store: Arc<Mutex<S>>,
    metrics: Arc<Metrics>,
}

impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), metrics: self.metrics.clone() }
    }
}

impl<S: Store> Shared<S> {
    /// Takes a store, and where its commits are counted.
    #[must_use]
    pub fn new(store: S, metrics: Arc<Metrics>) -> Self {
        Self { store: Arc::new(Mutex::new(store)), metrics }
    }

    /// Where is counted.
    pub(super) const fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Makes changes durable, and takes the time that it takes.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn commit(
        &self,
        epoch: Epoch,
        now: UnixNanos,
        changes: Changes,
    ) -> Result<Vec<FleetEvent>, StoreError> {
        let metrics = self.metrics.clone();
        self.with(move |store| timed(&metrics, || store.commit(epoch, now, changes))).await
    }

    /// Does something with it.
    ///
    /// # Errors
    /// The store's.
    pub async fn with<T, E>(&self, work: impl FnOnce(&mut S) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
    {
        let store = self.store.clone();
        let run = move || work(&mut store.lock().unwrap_or_else(PoisonError::into_inner));
        match tokio::task::spawn_blocking(run).await {
            Ok(done) => done,
            Err(gone) => std::panic::resume_unwind(gone.into_panic()),
        }
    }
}

/// A commit, with the time that it takes. What the others wait for the store is not among it.
fn timed<T>(metrics: &Metrics, commit: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let began = Instant::now();
    let committed = commit()?;
    metrics.committed(began.elapsed());
    Ok(committed)
}

/// What comes to the desk.
pub(super) enum Post {
    Input(Input),
    /// A session with its way down.
    Opened {
        input: Input,
        session: SessionId,
        way: Way,
    },
    /// An input whose answer is waited for.
    Asked {
        input: Input,
        answer: oneshot::Sender<Result<Told, Failure>>,
    },
}

/// A host's session, as the desk has it. Dropping it ends the session.
pub(super) struct Way {
    pub(super) down: mpsc::Sender<pb::Document>,
    /// Never sent: its end is the word.
    pub(super) _open: oneshot::Sender<std::convert::Infallible>,
}

/// The desk, before it runs.
pub struct Desk<S> {
    coordinator: Coordinator,
    store: Shared<S>,
    clock: Clock,
    inputs: mpsc::Receiver<Post>,
    handle: Handle<S>,
    sessions: BTreeMap<SessionId, Way>,
    telemetry: Telemetry,
}

/// How others reach the desk.
pub struct Handle<S> {
    post: mpsc::Sender<Post>,
    pub(super) store: Shared<S>,
    /// The newest event's number.
    told: watch::Sender<u64>,
    sessions: Arc<AtomicU64>,
    epoch: Epoch,
}

impl<S> Clone for Handle<S> {
    fn clone(&self) -> Self {
        Self {
            post: self.post.clone(),
            store: self.store.clone(),
            told: self.told.clone(),
            sessions: self.sessions.clone(),
            epoch: self.epoch,
        }
    }
}

impl<S: Store> Handle<S> {
    /// A number for a new session.
    pub(super) fn session(&self) -> SessionId {
        SessionId(self.sessions.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Room for words to a host.
    pub(super) fn way_down() -> (mpsc::Sender<pb::Document>, mpsc::Receiver<pb::Document>) {
        mpsc::channel(DOWN_ROOM)
    }

    /// Hands something in. An error when the coordinator ends.
    pub(super) async fn post(&self, post: Post) -> Result<(), Failure> {
        self.post.send(post).await.map_err(|_| ending())
    }

    /// Hands something in and waits for the answer.
    pub(super) async fn ask(&self, input: Input) -> Result<Told, Failure> {
        let (answer, told) = oneshot::channel();
        self.post(Post::Asked { input, answer }).await?;
        told.await.map_err(|_| ending())?
    }

    /// The newest event's number, as it rises.
    pub(super) fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }
}

fn ending() -> Failure {
    Failure::new(FailureKind::ShuttingDown, "the coordinator ends")
        .still("hosts carry on as they are")
        .remedy("start it again: it goes on where it was")
}

impl<S: Store> Desk<S> {
    /// A desk with a coordinator that has begun.
    #[must_use]
    pub fn new(coordinator: Coordinator, store: Shared<S>, clock: Clock, telemetry: Telemetry) -> Self {
        let (post, inputs) = mpsc::channel(INPUTS_ROOM);
        let handle = Handle {
            post,
            store: store.clone(),
            told: watch::Sender::new(0),
            sessions: Arc::default(),
            epoch: coordinator.epoch,
        };
        telemetry.metrics().stands(coordinator.figures());
        Self { coordinator, store, clock, inputs, handle, sessions: BTreeMap::new(), telemetry }
    }

    /// How others reach it.
    #[must_use]
    pub fn handle(&self) -> Handle<S> {
        self.handle.clone()
    }

    /// Writes a step of which nothing is to be sent.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn write(&self, epoch: Epoch, step: Step) -> Result<(), StoreError> {
        self.commit(epoch, step.changes, self.clock.now()).await?;
        self.telemetry.observed(step.observed);
        Ok(())
    }

    /// Runs until the store refuses, or everybody who could hand something in is gone.
    ///
    /// # Errors
    /// The store's.
    pub async fn run(mut self) -> Result<(), StoreError> {
        loop {
            let now = self.clock.now();
            let sleeps = self.coordinator.wakes_at().map(|at| at.since(now)).unwrap_or(LOOK_EVERY).min(LOOK_EVERY);
            let due = self.coordinator.wakes_at().is_some_and(|at| at <= now);
            if due {
                self.take(None).await?;
            }
            // However often a clock is due, whoever waits is heard in between.
            let post = if due {
                match self.inputs.try_recv() {
                    Ok(post) => Some(post),
                    Err(_) => {
                        // Others share the thread.
                        tokio::task::yield_now().await;
                        continue;
                    }
                }
            } else {
                tokio::select! {
                    post = self.inputs.recv() => match post {
                        Some(post) => Some(post),
                        None => return Ok(()),
                    },
                    () = sleep(sleeps) => None,
                }
            };
            self.take(post).await?;
        }
    }

    async fn take(&mut self, post: Option<Post>) -> Result<(), StoreError> {
        let (began, now) = (Instant::now(), self.clock.now());
        let (input, answer) = match post {
            None => (Input::Tick, None),
            Some(Post::Input(input)) => (input, None),
            Some(Post::Opened { input, session, way }) => {
                self.sessions.insert(session, way);
                (input, None)
            }
            Some(Post::Asked { input, answer }) => (input, Some(answer)),
        };
        let kind = InputKind::from(&input);
        if let Input::Closed { session } = &input {
            self.sessions.remove(session);
        }
        let Step { changes, sends, ends, observed, answer: told } = self.coordinator.handle(input, now);
        if !changes.is_empty() {
            self.commit(self.coordinator.epoch, changes, now).await?;
        }
        // Persisted: now it may be sent.
        for (session, word) in sends {
            self.send(session, &word);
        }
        for session in ends {
            self.sessions.remove(&session);
        }
        self.telemetry.observed(observed);
        let metrics = self.telemetry.metrics();
        metrics.stands(self.coordinator.figures());
        metrics.stepped(kind, began.elapsed(), self.inputs.len());
        if let (Some(answer), Some(told)) = (answer, told) {
            // Who asked may be gone.
            drop(answer.send(told));
        }
        Ok(())
    }

    fn send(&mut self, session: SessionId, word: &protocol::Down) {
        let Some(way) = self.sessions.get(&session) else { return };
        let sent = match protocol::write(word) {
            Ok(word) => way.down.try_send(word).is_ok(),
            Err(error) => {
                tracing::error!(%error, "a word to a host can't be written");
                false
            }
        };
        if !sent {
            // Its stream ends with the sender; its end comes back as an input, and the host with an inventory.
            tracing::warn!(session = session.0, "a host does not take its words; its session ends");
            self.telemetry.metrics().session_was_slow();
            self.sessions.remove(&session);
        } else if let protocol::Down::Command { command } = word {
            self.telemetry.metrics().commanded(command.action.kind());
        }
    }

    async fn commit(&self, epoch: Epoch, changes: Changes, now: UnixNanos) -> Result<(), StoreError> {
        let events = self.store.commit(epoch, now, changes).await?;
        for event in &events {
            tracing::info!(event = event.name, seq = event.seq, "{}", event.message);
        }
        if let Some(last) = events.last() {
            self.handle.told.send_replace(last.seq);
        }
        Ok(())
    }
}

impl<S: Store> Admission for Handle<S> {
    async fn admit(&self, application: Application, now: UnixNanos) -> Result<Admitted, AdmissionError> {
        let epoch = self.epoch;
        let failed = |error: StoreError| AdmissionError::Store(Box::new(error));
        let metrics = self.store.metrics.clone();
        let admitted = self
            .store
            .with(move |store| {
                // Nobody else uses the store meanwhile, and the commit is one transaction.
                let stored = store.token(application.token.id()).map_err(failed)?;
                let kind = stored.as_ref().map(|stored| stored.joiner.into());
                let namesake = match kind {
                    Some(kind) => store.member(kind, &application.name).map_err(failed)?,
                    None => None,
                };
                let admitted = decide(stored.as_ref(), namesake.as_ref(), &application, now)?;
                let tokens =
                    stored.map(|stored| crate::identity::StoredToken { uses_left: admitted.uses_left, ..stored });
                let changes = Changes {
                    members: vec![admitted.member.clone()],
                    tokens: tokens.into_iter().collect(),
                    audit: vec![super::super::audit(
                        admitted.member.name.as_str(),
                        "join",
                        format!("{} {}", admitted.member.kind, admitted.member.name),
                        format!("by token {}", admitted.member.token),
                    )],
                    ..Changes::default()
                };
                timed(&metrics, || store.commit(epoch, now, changes)).map_err(failed)?;
                Ok::<_, AdmissionError>(admitted)
            })
            .await?;
        if admitted.member.kind == crate::identity::Kind::Host {
            let (host, labels) = (admitted.member.name.clone().into(), admitted.member.labels.clone());
            // When the coordinator ends, the next one reads it from the store.
            drop(self.post(Post::Input(Input::Joined { host, labels })).await);
        }
        Ok(admitted)
    }
}
