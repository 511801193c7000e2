//! A host that belongs to a fleet: it joins once, and is its coordinator's agent at every start.

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use host_core::{id::HostId, label::Labels};
use host_fleet::{
    agent::{Agent, ByHand, Journal, SharedJournal},
    clock::Clock,
    identity::{CoordinatorAddress, Folder, Identity, JoinToken},
    join::{self, JoinError},
    transport::{Trust, connect},
};
use tokio::time::sleep;

use super::Service;
use crate::cli::{Exit, Trouble};

/// Where a host keeps its membership in its data directory.
const ROOM: &str = "fleet";
/// First wait before a coordinator that is not reached is dialled again.
const DIAL_FIRST: Duration = Duration::from_millis(100);
/// Longest such wait.
const DIAL_LIMIT: Duration = Duration::from_secs(5);

/// A fleet to join.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) address: CoordinatorAddress,
    pub(crate) token: JoinToken,
    pub(crate) name: HostId,
    pub(crate) labels: Labels,
}

/// A host's place in its fleet.
pub(super) struct Membership {
    identity: Identity,
    address: CoordinatorAddress,
    journal: SharedJournal,
}

impl Membership {
    /// What guards that which is done by hand.
    pub(super) fn by_hand(&self) -> ByHand {
        ByHand::new(self.journal.clone())
    }
}

/// Joins, or takes up the membership that there is; none for a host that belongs to no fleet.
pub(super) async fn membership(data: &Path, wanted: Option<Join>) -> Result<Option<Membership>, Trouble> {
    let (folder, clock) = (Folder::new(data.join(ROOM).join("identity")), Clock::system());
    let failed = |error: &dyn std::error::Error| {
        let source = error.source().map_or_else(String::new, |source| format!(" ({source})"));
        Trouble::new(Exit::Failed, format!("{error}{source}")).still("nothing was started")
    };
    let identity = match wanted {
        Some(Join { address, token, name, labels }) => {
            std::fs::create_dir_all(data.join(ROOM)).map_err(|error| failed(&error))?;
            let joined = join::join(&folder, &address, &token, &name.into(), &labels, &clock).await;
            let joined = joined.map_err(|error| {
                let remedy =
                    if let JoinError::Refused { failure, .. } = &error { failure.remedy.clone() } else { None };
                let trouble = failed(&error);
                match remedy {
                    Some(remedy) => trouble.remedy(remedy),
                    None => trouble,
                }
            })?;
            joined.into_identity()
        }
        None if !folder.path().exists() => return Ok(None),
        None => folder.load(clock.now()).map_err(|error| failed(&error))?,
    };
    let address = folder.coordinator().map_err(|error| failed(&error))?;
    let journal = Journal::open(&data.join(ROOM).join("agent.sqlite")).map_err(|error| failed(&error))?;
    Ok(Some(Membership { identity, address, journal: Arc::new(Mutex::new(journal)) }))
}

/// Is the fleet's agent until the host ends.
pub(super) async fn run(membership: Membership, service: Arc<Service>) {
    let Membership { identity, address, journal } = membership;
    let mut wait = DIAL_FIRST;
    let channel = loop {
        let trust = Trust::Authority(identity.authority().clone());
        match connect(&address, Some(&identity), trust, Clock::system()).await {
            Ok(channel) => break channel,
            Err(error) => {
                tracing::warn!("{error}; dialling again");
                sleep(wait).await;
                wait = (wait * 2).min(DIAL_LIMIT);
            }
        }
    };
    let why = Agent::new(service, journal, channel).run().await;
    tracing::error!("this host is not in its fleet any more: {why}; what runs goes on");
}
