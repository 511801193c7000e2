//! What an outcome leaves behind in the journal, and what became of commands that the host's death cut off.

use host_api::Control;
use host_core::{
    fleet::Running,
    id::Digest,
    rollout::command::{Action, Command, Outcome},
    status::{RunState, WorkloadStatus},
};

use super::{
    Agent, Done, SessionError,
    inventory::is_held,
    journal::{Entry, JournalError},
};
use crate::protocol::Task;

/// What the fleet knows of the workload after a command.
#[must_use]
pub fn entry_after(entry: Entry, command: &Command, outcome: &Outcome) -> Entry {
    match (&command.action, outcome) {
        (Action::Switch { revision, .. }, Outcome::Switched { generation, .. }) => Entry {
            revision: Some((revision.id, revision.digest)),
            before: entry.revision,
            holding: Some(*generation),
            ..entry
        },
        (Action::Switch { .. }, Outcome::RolledBack { .. } | Outcome::Stuck { .. }) => Entry { holding: None, ..entry },
        (Action::Commit, Outcome::Committed { .. }) => Entry { before: None, holding: None, ..entry },
        (Action::RollBack { to: None, .. }, Outcome::RolledBack { .. }) => Entry::default(),
        (Action::RollBack { to: Some(to), .. }, Outcome::RolledBack { .. }) => {
            Entry { revision: to.revision.map(|id| (id, to.digest)), before: None, holding: None, ..entry }
        }
        _ => entry,
    }
}

/// What the fleet knows of the workload after an upkeep that was done. `running` is what is in place now.
#[must_use]
pub fn entry_after_upkeep(entry: Entry, task: &Task, running: Option<Digest>) -> Entry {
    match task {
        Task::Deploy { revision, .. } => {
            Entry { revision: Some((revision.id, revision.digest)), before: None, holding: None, ..entry }
        }
        Task::Commit => Entry { before: None, holding: None, ..entry },
        Task::Remove => Entry::default(),
        Task::Attach { revision } => {
            Entry { revision: revision.zip(running).or(entry.revision), detached: false, ..entry }
        }
        Task::Start | Task::Stop => entry,
    }
}

/// What the fleet knows of a workload whose held release was left by the host itself.
#[must_use]
pub fn entry_after_local_failure(entry: Entry, running: Option<&Running>) -> Entry {
    let is = |known: &(_, Digest)| running.is_some_and(|running| running.digest == known.1);
    Entry { revision: entry.before.filter(is).or(entry.revision), before: None, holding: None, ..entry }
}

/// What is known of a switch that was cut off by the host's death: what recovery put in place says it.
fn fate_of_switch(command: &Command, wanted: Digest, here: Option<&WorkloadStatus>) -> Outcome {
    let cut_off = "the host was restarted while it switched";
    let Some(here) = here else {
        return match command.expected {
            None => Outcome::Refused { why: cut_off.to_owned() },
            Some(_) => Outcome::Stuck { why: format!("{cut_off}, and the workload is not there any more") },
        };
    };
    if let RunState::Failed { why } = &here.run_state {
        return Outcome::Stuck { why: format!("{cut_off}, and the workload did not start again: {why}") };
    }
    if here.digest == wanted && (is_held(here) || command.expected.is_none()) {
        return Outcome::Switched { generation: here.generation, measured: Default::default() };
    }
    let unchanged = command.expected.is_some_and(|expected| expected.generation == here.generation);
    if unchanged {
        return Outcome::Refused { why: cut_off.to_owned() };
    }
    Outcome::RolledBack { generation: Some(here.generation), why: format!("{cut_off} and went back") }
}

impl<C: Control> Agent<C> {
    /// Closes what the host's death cut off, before the first session. A commit and a way back are done again: both lead to the
    /// same place however often they are done.
    pub(super) async fn settle(&mut self) -> Result<(), SessionError> {
        let unfinished = self.journal(|journal| journal.unfinished()).await?;
        let status = self.status().await?;
        for command in unfinished {
            let here = status.workloads.iter().find(|here| here.name == command.workload);
            let outcome = match &command.action {
                Action::Prepare { .. } => {
                    Outcome::Refused { why: "the host was restarted while it prepared".to_owned() }
                }
                Action::Switch { revision, .. } => fate_of_switch(&command, revision.digest, here),
                Action::Commit | Action::RollBack { .. } => {
                    let deadline = tokio::time::Instant::now() + command.time_to_live;
                    self.performer.perform(&command, deadline).await
                }
            };
            tracing::info!(command = %command.id, outcome = outcome.as_str(), "a command was cut off by the host's end");
            self.ended(Done::Command { command: Box::new(command), outcome }).await?;
        }
        Ok::<_, JournalError>(()).map_err(SessionError::from)
    }
}
