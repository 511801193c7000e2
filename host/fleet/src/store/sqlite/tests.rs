use sha2::{Digest as _, Sha256};

use super::*;
use crate::store::CHUNK_BYTES;

const AT: UnixNanos = UnixNanos(7);

fn store() -> (tempfile::TempDir, Sqlite) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Sqlite::open(&folder.path().join("fleet.sqlite")).expect("a store");
    (folder, store)
}

fn event(name: &str) -> NewEvent {
    NewEvent { name: name.to_owned(), workload: None, rollout: None, host: None, message: "it is".to_owned() }
}

fn audit(what: &str) -> NewAudit {
    NewAudit { who: "ann".to_owned(), what: what.to_owned(), target: "chat".to_owned(), result: "done".to_owned() }
}

#[test]
fn a_second_coordinator_is_kept_out_and_told_why() {
    let (folder, _store) = store();
    let error = Sqlite::open(&folder.path().join("fleet.sqlite")).expect_err("it is locked");
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
}

#[test]
fn an_older_epoch_can_not_commit_and_nothing_of_it_stays() {
    let (_folder, mut store) = store();
    let old = store.begin(AT).expect("begun");
    let new = store.begin(AT).expect("begun");
    assert!(new > old);
    let changes = || Changes { events: vec![event("a.b")], ..Changes::default() };
    let error = store.commit(old, AT, changes()).expect_err("it is over");
    assert!(matches!(error, StoreError::Fenced { ours, theirs } if (ours, theirs) == (old, new)), "{error}");
    assert!(store.events_after(0, 10).expect("read").is_empty());
    assert_eq!(store.commit(new, AT, changes()).expect("committed").first().expect("an event").seq, 1);
}

#[test]
fn what_was_committed_is_found_again_by_the_next_one() {
    let (folder, mut store) = store();
    let epoch = store.begin(AT).expect("begun");
    let chat: WorkloadName = "chat".parse().expect("a name");
    let rollout = |id, over| super::super::RolloutRecord {
        id: RolloutId(id),
        workload: chat.clone(),
        began: AT,
        over,
        text: format!("{{\"at\":{id}}}"),
    };
    let changes = Changes {
        assignments: vec![(chat.clone(), Some("{}".to_owned()))],
        rollouts: vec![rollout(1, true), rollout(2, false)],
        last_revision: Some(RevisionId(9)),
        events: vec![event("rollout.started"), event("rollout.wave")],
        audit: vec![audit("rollout.start")],
        ..Changes::default()
    };
    store.commit(epoch, AT, changes).expect("committed");
    drop(store);
    let mut store = Sqlite::open(&folder.path().join("fleet.sqlite")).expect("again");
    let loaded = store.load().expect("loaded");
    assert_eq!((loaded.last_rollout, loaded.last_revision), (RolloutId(2), RevisionId(9)));
    assert_eq!(loaded.assignments, [Document { key: "chat".to_owned(), text: "{}".to_owned() }]);
    assert_eq!(loaded.rollouts, [Document { key: "2".to_owned(), text: "{\"at\":2}".to_owned() }]);
    assert_eq!(store.history(Some(&chat), 10).expect("read").len(), 2);
    let after: Vec<_> = store.events_after(1, 10).expect("read").into_iter().map(|e| (e.seq, e.name)).collect();
    assert_eq!(after, [(2, "rollout.wave".to_owned())]);
}

#[test]
fn an_audit_log_that_was_touched_is_found_out() {
    let (_folder, mut store) = store();
    let epoch = store.begin(AT).expect("begun");
    for what in ["token.create", "rollout.start", "rollout.cancel"] {
        store.commit(epoch, AT, Changes { audit: vec![audit(what)], ..Changes::default() }).expect("committed");
    }
    assert_eq!(store.verify_audit().expect("read").map(|(entries, _)| entries), Ok(3));
    let change = "UPDATE audit SET entry = replace(entry, 'rollout.start', 'rollout.st0rt') WHERE seq = 2";
    store.database.execute(change, []).expect("changed");
    assert_eq!(store.verify_audit().expect("read"), Err(ChainBroken::Changed { seq: 2 }));
    store.database.execute("DELETE FROM audit WHERE seq = 2", []).expect("deleted");
    assert_eq!(store.verify_audit().expect("read"), Err(ChainBroken::Missing { wanted: 2, found: 3 }));
}

#[test]
fn a_component_comes_back_in_chunks_from_any_offset() {
    let (_folder, mut store) = store();
    let bytes: Vec<u8> = (0..CHUNK_BYTES + 1000).map(|at| u8::try_from(at % 251).expect("below 256")).collect();
    let digest = Digest::new(Sha256::digest(&bytes).into());
    store.put_blob(digest, &bytes).expect("kept");
    store.put_blob(digest, &bytes).expect("kept once");
    for begin in [0, 10, CHUNK_BYTES, CHUNK_BYTES + 999] {
        let (mut at, mut came) = (begin, Vec::new());
        loop {
            let chunk = store.blob(digest, at as u64).expect("read").expect("it is here");
            if chunk.is_empty() {
                break;
            }
            at += chunk.len();
            came.extend(chunk);
        }
        assert_eq!(came, bytes[begin..], "from {begin}");
    }
    assert!(store.blob(Digest::new([1; 32]), 0).expect("read").is_none());
    let error = store.put_blob(Digest::new([1; 32]), &bytes).expect_err("others");
    assert!(matches!(error, StoreError::WrongDigest { .. }), "{error}");
}
