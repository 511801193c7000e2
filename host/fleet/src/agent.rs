//! A host's part in its fleet: it dials the coordinator, says what runs, and does what it is told.
//!
//! One task owns the session and the journal's order: `run` = `select` then one step. Commands of different workloads are
//! performed side by side, those of one workload one after the other, each in a task that outlives the session: a coordinator
//! that goes away neither commits nor reverts anything. What became of a command is written down before it is told, and told
//! again on the next session if this one ended.
//!
//! What it promises: a command is begun at most once; a duplicate gets the outcome that was written; a command of an older
//! coordinator, or an older one of this, is refused; what was queued and not begun when a session ended is never begun.

mod by_hand;
mod inventory;
mod journal;
mod perform;
mod settle;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use host_api::{Control, EventSource as _};
use host_core::{
    fleet::{Busy, HostInventory},
    id::{CommandId, WorkloadName},
    rollout::command::{Command, Outcome},
    status::HostStatus,
};
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

pub use by_hand::ByHand;
pub use journal::{Entry, Journal, JournalError, Known};
pub use settle::{entry_after, entry_after_local_failure, entry_after_upkeep};

use self::perform::Performer;
use crate::{
    pb::fleet_client::FleetClient,
    protocol::{self, DOCUMENT_LIMIT_BYTES, Down, LocalFailure, Up, Upkeep},
};

/// Words on their way to the coordinator. One that takes fewer has a session that is better begun anew.
const UP_ROOM: usize = 256;
/// How often the host says how it is: `host fleet status` is at most this old.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// How long after an event the host is looked at: many come at once in a swap.
const LOOK_AFTER: Duration = Duration::from_millis(20);
/// How soon again while something is being done by hand.
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// First wait before the coordinator is dialled again.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait before the coordinator is dialled again: how late a host is back after a coordinator was.
const BACKOFF_LIMIT: Duration = Duration::from_secs(5);
/// Reports that are looked through for why a release was left: the newest that says.
const REPORTS_READ: usize = 4;
/// Commands that wait for the one before, of one workload. A coordinator gives a second one only after a reconnect.
const QUEUE_LIMIT: usize = 4;

/// The journal, for the agent and for whoever guards what is done by hand.
pub type SharedJournal = Arc<Mutex<Journal>>;

/// A host in its fleet.
pub struct Agent<C: Control> {
    control: Arc<C>,
    journal: SharedJournal,
    client: FleetClient<Channel>,
    performer: Performer<C>,
    /// The session's way up; none between sessions.
    up: Option<mpsc::Sender<crate::pb::Document>>,
    lanes: BTreeMap<WorkloadName, Lane>,
    done: mpsc::Receiver<Done>,
    finished: mpsc::Sender<Done>,
    last_said: Option<HostInventory>,
    /// What the session began with that went wrong here, until the coordinator has answered.
    confessed: Vec<LocalFailure>,
    /// When to look at the host.
    look_at: Option<Instant>,
}

/// One workload's commands.
#[derive(Default)]
struct Lane {
    running: Option<CommandId>,
    waiting: VecDeque<(Work, Instant)>,
}

/// What a lane performs.
enum Work {
    Command(Box<Command>),
    Upkeep(Box<Upkeep>),
}

impl Work {
    const fn id(&self) -> CommandId {
        match self {
            Self::Command(command) => command.id,
            Self::Upkeep(upkeep) => upkeep.id,
        }
    }

    const fn workload(&self) -> &WorkloadName {
        match self {
            Self::Command(command) => &command.workload,
            Self::Upkeep(upkeep) => &upkeep.workload,
        }
    }
}

/// What became of it.
enum Done {
    Command { command: Box<Command>, outcome: Outcome },
    Upkeep { upkeep: Box<Upkeep>, result: Result<(), String> },
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection.
    #[error("the session with the coordinator ended: {}", .0.message())]
    Lost(#[from] tonic::Status),
    /// The coordinator closed it.
    #[error("the coordinator ended the session")]
    Closed,
    /// The coordinator said so.
    #[error("the coordinator ended the session: {why}")]
    Farewell {
        /// Why.
        why: String,
        /// It does not want the host back.
        stay_away: bool,
    },
    /// An older coordinator.
    #[error("this coordinator is of an epoch that is over")]
    Fenced,
    /// A word that can't be read.
    #[error(transparent)]
    Unreadable(#[from] protocol::UnreadableDocument),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It does not take what is said.
    #[error("the coordinator takes no more words")]
    Full,
}

impl<C: Control> Agent<C> {
    /// An agent over a host, with its journal and its way to the coordinator.
    #[must_use]
    pub fn new(control: Arc<C>, journal: SharedJournal, channel: Channel) -> Self {
        let client = FleetClient::new(channel)
            .max_decoding_message_size(DOCUMENT_LIMIT_BYTES)
            .max_encoding_message_size(DOCUMENT_LIMIT_BYTES);
        let (finished, done) = mpsc::channel(UP_ROOM);
        Self {
            performer: Performer::new(control.clone(), client.clone()),
            control,
            journal,
            client,
            up: None,
            lanes: BTreeMap::new(),
            done,
            finished,
            last_said: None,
            confessed: Vec::new(),
            look_at: None,
        }
    }

    /// Runs until the future is dropped, or the coordinator wants this host no more: then it gives the reason.
    ///
    /// Dropping it between two steps loses nothing: what was begun is in the journal.
    pub async fn run(mut self) -> String {
        if let Err(error) = self.settle().await {
            return format!("the agent can't begin: {error}");
        }
        let mut backoff = BACKOFF_FIRST;
        loop {
            let began = Instant::now();
            let error = match self.session().await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.up = None;
            self.last_said = None;
            for lane in self.lanes.values_mut() {
                // The coordinator decides anew when it has heard what runs.
                lane.waiting.clear();
            }
            match error {
                SessionError::Farewell { why, stay_away: true } => return why,
                SessionError::Journal(error) => return format!("the agent's journal failed: {error}"),
                error => tracing::warn!("{error}; dialling again"),
            }
            if began.elapsed() > BACKOFF_LIMIT {
                backoff = BACKOFF_FIRST;
            }
            if let Err(error) = self.wait(backoff).await {
                return format!("the agent's journal failed: {error}");
            }
            backoff = (backoff * 2).min(BACKOFF_LIMIT);
        }
    }

    /// Waits, and writes down what ends meanwhile.
    async fn wait(&mut self, time: Duration) -> Result<(), JournalError> {
        let until = sleep(time);
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return Ok(()),
                Some(done) = self.done.recv() => {
                    if let Err(SessionError::Journal(error)) = self.ended(done).await {
                        return Err(error);
                    }
                }
            }
        }
    }

    async fn session(&mut self) -> Result<std::convert::Infallible, SessionError> {
        let (up, outgoing) = mpsc::channel(UP_ROOM);
        let status = self.status().await?;
        let inventory = self.inventory(&status).await?;
        let left = self.left(&status).await?;
        let hello = Up::Hello {
            host_version: status.host_version.clone(),
            boot: status.boot,
            inventory: inventory.clone(),
            left: left.clone(),
        };
        self.confessed = left;
        self.up = Some(up);
        self.last_said = Some(inventory);
        self.say(&hello)?;
        let mut down = self.client.clone().session(ReceiverStream::new(outgoing)).await?.into_inner();
        let mut events = self.control.events(None, true).await.map_err(tonic::Status::from)?;
        let mut every = interval(STATUS_EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.look_at = None;
        loop {
            tokio::select! {
                word = down.message() => {
                    let word = word?.ok_or(SessionError::Closed)?;
                    self.down(protocol::read(&word)?).await?;
                }
                Some(done) = self.done.recv() => self.ended(done).await?,
                event = events.next() => match event {
                    // Many come at once in a swap: one look for all of them.
                    Some(event) if event.workload.is_some() => {
                        self.look_at.get_or_insert_with(|| Instant::now() + LOOK_AFTER);
                    }
                    Some(_) => {}
                    None => return Err(SessionError::Closed),
                },
                () = sleep_until(self.look_at.unwrap_or_else(Instant::now)), if self.look_at.is_some() => {
                    self.look_at = None;
                    self.look().await?;
                }
                _ = every.tick() => {
                    let status = Box::new(self.status().await?);
                    self.say(&Up::Status { status })?;
                }
            }
        }
    }

    async fn down(&mut self, word: Down) -> Result<(), SessionError> {
        match word {
            Down::Welcome { host, epoch } => {
                if !self.journal(move |journal| journal.welcome(epoch)).await? {
                    return Err(SessionError::Fenced);
                }
                // It has been heard, and is written down there.
                for failure in std::mem::take(&mut self.confessed) {
                    self.told(failure).await?;
                }
                tracing::info!(%host, %epoch, "in the fleet");
                Ok(())
            }
            Down::Command { command } => self.command(command).await,
            Down::Upkeep { upkeep } => {
                self.queue(Work::Upkeep(upkeep), Instant::now());
                Ok(())
            }
            Down::AskInventory { question } => {
                let status = self.status().await?;
                let inventory = self.inventory(&status).await?;
                self.last_said = Some(inventory.clone());
                self.say(&Up::Inventory { question, inventory })
            }
            Down::AskHealth { rollout, ask, workload, check } => {
                let (performer, up) = (self.performer.clone(), self.up.clone());
                // Whoever answers slowly holds up nobody.
                tokio::spawn(async move {
                    let answer = performer.health(&workload, &check).await;
                    if let (Some(up), Ok(word)) = (up, protocol::write(&Up::Health { rollout, ask, answer })) {
                        drop(up.send(word).await);
                    }
                });
                Ok(())
            }
            Down::Farewell { why, stay_away } => Err(SessionError::Farewell { why, stay_away }),
        }
    }

    /// A command came: it is begun, or its outcome told again, or refused.
    async fn command(&mut self, command: Box<Command>) -> Result<(), SessionError> {
        let (id, epoch, workload) = (command.id, command.epoch, command.workload.clone());
        let known = self.journal(move |journal| journal.known(id, epoch, &workload)).await?;
        let outcome = match known {
            Known::New => {
                self.queue(Work::Command(command), Instant::now());
                return Ok(());
            }
            // It is told when it ends.
            Known::Begun => return Ok(()),
            Known::Done(outcome) => outcome,
            Known::Stale { why } => Outcome::Refused { why },
        };
        self.say(&Up::Outcome { command: id, epoch, outcome })
    }

    fn queue(&mut self, work: Work, arrived: Instant) {
        let lane = self.lanes.entry(work.workload().clone()).or_default();
        if lane.waiting.len() >= QUEUE_LIMIT {
            // Whoever gave it finds in the next inventory that it will not be begun.
            tracing::warn!(command = %work.id(), "more commands wait for one workload than any coordinator gives");
            return;
        }
        lane.waiting.push_back((work, arrived));
        let workload = lane.waiting.back().map(|(work, _)| work.workload().clone());
        if let Some(workload) = workload {
            self.next(&workload);
        }
    }

    /// Begins what waits, unless something runs.
    fn next(&mut self, workload: &WorkloadName) {
        let Some(lane) = self.lanes.get_mut(workload) else { return };
        if lane.running.is_some() {
            return;
        }
        let Some((work, arrived)) = lane.waiting.pop_front() else {
            self.lanes.remove(workload);
            return;
        };
        lane.running = Some(work.id());
        let (performer, journal, finished) = (self.performer.clone(), self.journal.clone(), self.finished.clone());
        tokio::spawn(async move {
            let done = match work {
                Work::Command(command) => {
                    let outcome = begin_and_perform(&performer, journal, &command, arrived).await;
                    Done::Command { command, outcome }
                }
                Work::Upkeep(upkeep) => {
                    let result = performer.keep_up(&upkeep).await;
                    Done::Upkeep { upkeep, result }
                }
            };
            drop(finished.send(done).await);
        });
    }

    /// Something ended: written down, then told.
    async fn ended(&mut self, done: Done) -> Result<(), SessionError> {
        let status = self.status().await?;
        let (word, workload) = match done {
            Done::Command { command, outcome } => {
                let (id, epoch, workload) = (command.id, command.epoch, command.workload.clone());
                let told = outcome.clone();
                self.journal(move |journal| {
                    let entry = entry_after(journal.entry(&command.workload)?, &command, &outcome);
                    journal.end(command.id, &outcome, &command.workload, &entry)
                })
                .await?;
                (Up::Outcome { command: id, epoch, outcome: told }, workload)
            }
            Done::Upkeep { upkeep, result } => {
                let (id, workload, failed) = (upkeep.id, upkeep.workload.clone(), result.err());
                if failed.is_none() {
                    let running = inventory::digest_of(&status, &workload);
                    self.journal(move |journal| {
                        let entry = entry_after_upkeep(journal.entry(&upkeep.workload)?, &upkeep.task, running);
                        journal.keep(&upkeep.workload, &entry)
                    })
                    .await?;
                }
                (Up::Upkept { id, workload: workload.clone(), failed }, workload)
            }
        };
        if let Some(lane) = self.lanes.get_mut(&workload) {
            lane.running = None;
        }
        self.next(&workload);
        // Between sessions there is nobody to tell: the next one begins with it.
        if self.up.is_none() {
            return Ok(());
        }
        // What runs now is said first: whoever hears the outcome and plans on it must not find the host busy with what is done,
        // and a change by hand, for which a command was refused, is no fault of the release.
        let inventory = self.inventory(&self.status().await?).await?;
        self.last_said = Some(inventory.clone());
        self.say(&Up::Inventory { question: None, inventory })?;
        self.say(&word)
    }

    /// Something happened on the host: what runs is said again if it is another, and a release that was left by itself first.
    async fn look(&mut self) -> Result<(), SessionError> {
        let status = self.status().await?;
        for failure in self.left(&status).await? {
            self.told(failure.clone()).await?;
            self.say(&Up::LocalFailure(failure))?;
        }
        let inventory = self.inventory(&status).await?;
        // What goes on without a command tells of its end by no event that is later than its end.
        let going_on = inventory.workloads.values().any(|here| here.busy == Some(Busy::ByHand));
        self.look_at = going_on.then(|| Instant::now() + LOOK_AGAIN);
        if self.last_said.as_ref() != Some(&inventory) {
            self.last_said = Some(inventory.clone());
            self.say(&Up::Inventory { question: None, inventory })?;
        }
        Ok(())
    }

    /// The held releases that the host left by itself, and of which no coordinator has heard.
    async fn left(&self, status: &HostStatus) -> Result<Vec<LocalFailure>, SessionError> {
        let mut failures = Vec::new();
        for (workload, entry) in self.entries().await? {
            let busy = self.lanes.get(&workload).is_some_and(|lane| lane.running.is_some());
            let Some(left) = inventory::left_by_itself(status, &workload, &entry).filter(|_| !busy) else {
                continue;
            };
            // After a restart there is a report of that, which explains nothing, before the one that does.
            let history = self.control.history(Some(workload.clone()), REPORTS_READ).await.unwrap_or_default();
            let why =
                history.iter().find_map(|report| report.verdict.why()).unwrap_or("its probation failed").to_owned();
            let inventory::Left { generation, running } = left;
            failures.push(LocalFailure { workload, generation, running, why });
        }
        Ok(failures)
    }

    /// A coordinator is told: for the fleet the workload is not held any more.
    async fn told(&self, failure: LocalFailure) -> Result<(), JournalError> {
        self.journal(move |journal| {
            let entry = journal.entry(&failure.workload)?;
            journal.keep(&failure.workload, &entry_after_local_failure(entry, failure.running.as_ref()))
        })
        .await
    }

    async fn inventory(&self, status: &HostStatus) -> Result<HostInventory, SessionError> {
        let newest = |lane: &Lane| lane.waiting.back().map(|(work, _)| work.id()).or(lane.running);
        let busy: BTreeMap<_, _> =
            self.lanes.iter().filter_map(|(name, lane)| Some((name.clone(), newest(lane)?))).collect();
        let status = status.clone();
        Ok(self.journal(move |journal| inventory::of(&status, journal, &busy)).await?)
    }

    async fn entries(&self) -> Result<Vec<(WorkloadName, Entry)>, JournalError> {
        self.journal(|journal| {
            let names = journal.workloads()?;
            names.into_iter().map(|name| Ok((name.clone(), journal.entry(&name)?))).collect()
        })
        .await
    }

    async fn status(&self) -> Result<HostStatus, SessionError> {
        self.control.status().await.map_err(|failure| SessionError::Lost(failure.into()))
    }

    fn say(&self, word: &Up) -> Result<(), SessionError> {
        let word = protocol::write(word)?;
        let up = self.up.as_ref().ok_or(SessionError::Closed)?;
        up.try_send(word).map_err(|_| SessionError::Full)
    }

    async fn journal<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Journal) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        on_disk(self.journal.clone(), work).await
    }
}

/// Apart from the network: a disk may be slow.
async fn on_disk<T: Send + 'static>(
    journal: SharedJournal,
    work: impl FnOnce(&mut Journal) -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let run = move || work(&mut journal.lock().unwrap_or_else(PoisonError::into_inner));
    match tokio::task::spawn_blocking(run).await {
        Ok(done) => done,
        Err(gone) => std::panic::resume_unwind(gone.into_panic()),
    }
}

/// Persist, then act.
async fn begin_and_perform<C: Control>(
    performer: &Performer<C>,
    journal: SharedJournal,
    command: &Command,
    arrived: Instant,
) -> Outcome {
    let (written, deadline) = (command.clone(), arrived + command.time_to_live);
    if let Err(error) = on_disk(journal, move |journal| journal.begin(&written)).await {
        return Outcome::Refused { why: format!("it can't be written down before it is done: {error}") };
    }
    performer.perform(command, deadline).await
}
