//! A store in memory that is linearizable: each commit happens at once, all or nothing.

use std::collections::BTreeMap;

use host_core::{
    fleet::Assignment,
    id::{Digest, Epoch, RevisionId, RolloutId, WorkloadName},
    rollout::Rollout,
    time::UnixNanos,
};
use host_fleet::{
    identity::{Kind, StoredToken, SubjectName, TokenId},
    join::MemberRecord,
    store::{
        AuditEntry, ChainBroken, Changes, Document, FleetEvent, Loaded, ReleaseRecord, Result, RolloutRecord, Store,
        StoreError,
    },
};

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) epoch: Epoch,
    /// Whether older epochs are refused; only a sabotaged world has it otherwise.
    pub(crate) fences: bool,
    /// Which epochs committed, in order.
    pub(crate) committed: Vec<Epoch>,
    pub(crate) members: Vec<MemberRecord>,
    pub(crate) assignments: BTreeMap<WorkloadName, String>,
    pub(crate) rollouts: BTreeMap<RolloutId, RolloutRecord>,
    pub(crate) events: Vec<FleetEvent>,
    pub(crate) audit: Vec<AuditEntry>,
    releases: Vec<ReleaseRecord>,
    last_revision: RevisionId,
}

impl Memory {
    pub(crate) fn assignment(&self, workload: &WorkloadName) -> Option<Assignment> {
        self.assignments.get(workload).map(|text| serde_json::from_str(text).expect("as it was written"))
    }

    pub(crate) fn machine(&self, id: RolloutId) -> Option<Rollout> {
        self.rollouts.get(&id).map(|record| serde_json::from_str(&record.text).expect("as it was written"))
    }
}

fn document(record: &RolloutRecord) -> Document {
    Document { key: record.id.to_string(), text: record.text.clone() }
}

impl Store for Memory {
    fn begin(&mut self, _: UnixNanos) -> Result<Epoch> {
        self.epoch = Epoch(self.epoch.0 + 1);
        Ok(self.epoch)
    }

    fn load(&mut self) -> Result<Loaded> {
        let assignments = self.assignments.iter();
        Ok(Loaded {
            members: self.members.clone(),
            releases: self.releases.clone(),
            assignments: assignments.map(|(key, text)| Document { key: key.to_string(), text: text.clone() }).collect(),
            rollouts: self.rollouts.values().filter(|record| !record.over).map(document).collect(),
            last_rollout: self.rollouts.keys().max().copied().unwrap_or_default(),
            last_revision: self.last_revision,
        })
    }

    fn commit(&mut self, epoch: Epoch, at: UnixNanos, changes: Changes) -> Result<Vec<FleetEvent>> {
        if self.fences && epoch != self.epoch {
            return Err(StoreError::Fenced { ours: epoch, theirs: self.epoch });
        }
        self.committed.push(epoch);
        self.members.extend(changes.members);
        self.releases.extend(changes.releases);
        for (workload, text) in changes.assignments {
            match text {
                Some(text) => self.assignments.insert(workload, text),
                None => self.assignments.remove(&workload),
            };
        }
        self.rollouts.extend(changes.rollouts.into_iter().map(|record| (record.id, record)));
        self.last_revision = self.last_revision.max(changes.last_revision.unwrap_or_default());
        let first = self.events.len();
        for new in changes.events {
            let seq = self.events.len() as u64 + 1;
            let (name, workload, rollout, host, message) = (new.name, new.workload, new.rollout, new.host, new.message);
            self.events.push(FleetEvent { seq, at, name, workload, rollout, host, message });
        }
        for new in changes.audit {
            let seq = self.audit.len() as u64 + 1;
            let (who, what, target, result) = (new.who, new.what, new.target, new.result);
            self.audit.push(AuditEntry { seq, at, who, what, target, result, hash: Digest::new([0; 32]) });
        }
        Ok(self.events.iter().skip(first).cloned().collect())
    }

    fn token(&mut self, _: TokenId) -> Result<Option<StoredToken>> {
        Ok(None)
    }

    fn member(&mut self, kind: Kind, name: &SubjectName) -> Result<Option<MemberRecord>> {
        Ok(self.members.iter().find(|member| member.kind == kind && member.name == *name).cloned())
    }

    fn verify_audit(&mut self) -> Result<std::result::Result<(u64, Digest), ChainBroken>> {
        Ok(Ok((self.audit.len() as u64, Digest::new([0; 32]))))
    }

    fn events_after(&mut self, seq: u64, limit: usize) -> Result<Vec<FleetEvent>> {
        Ok(self.events.iter().filter(|event| event.seq > seq).take(limit).cloned().collect())
    }

    fn history(&mut self, workload: Option<&WorkloadName>, limit: usize) -> Result<Vec<Document>> {
        let of_it = |record: &&RolloutRecord| workload.is_none_or(|workload| record.workload == *workload);
        Ok(self.rollouts.values().rev().filter(of_it).take(limit).map(document).collect())
    }

    fn rollout(&mut self, id: RolloutId) -> Result<Option<Document>> {
        Ok(self.rollouts.get(&id).map(document))
    }

    fn audit(&mut self, from_seq: u64, limit: usize) -> Result<Vec<AuditEntry>> {
        Ok(self.audit.iter().filter(|entry| entry.seq >= from_seq).take(limit).cloned().collect())
    }

    fn put_blob(&mut self, _: Digest, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn blob(&mut self, _: Digest, _: u64) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }
}
