//! Stored components and compiled code: what is kept is what comes back, or it does not come back.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use host_core::{id::Digest, time::UnixNanos};
use host_runtime::{
    artifact::{ARTIFACT_LIMIT_BYTES, ArtifactStore, CompileError, Compiler, StoreError},
    engine::{Engine, EngineOptions, Purpose},
    instance::{Birth, Directory, Instance, limits::Limits},
};

const COUNTER: fn() -> &'static [u8] = || example_workloads::example("counter", "1.0.0").expect("an example").component;

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(directory).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

fn the_file(directory: &Path) -> PathBuf {
    let files = files(directory);
    assert_eq!(files.len(), 1, "{files:?}");
    files.into_iter().next().expect("one file")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

#[test]
fn what_is_stored_in_pieces_comes_back_whole_under_its_digest() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("data/artifacts");
    let store = ArtifactStore::open(&path).expect("a store");
    let mut staging = store.stage().expect("a file");
    for piece in COUNTER().chunks(1_000) {
        staging.write(piece).expect("room");
    }
    let artifact = staging.finish().expect("durable");
    assert_eq!(artifact.bytes, COUNTER().len() as u64);
    assert!(store.contains(artifact.digest));
    assert_eq!(store.load(artifact.digest).expect("stored").bytes(), COUNTER());
    assert_eq!(store.store(COUNTER()).expect("once more"), artifact);
    let file = the_file(&path);
    assert_eq!((mode(&path), mode(&file)), (0o700, 0o600));

    store.remove(artifact.digest).expect("removed");
    store.remove(artifact.digest).expect("removed already");
    assert!(matches!(store.load(artifact.digest), Err(StoreError::Missing { .. })));
}

#[test]
fn what_is_not_finished_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = ArtifactStore::open(folder.path()).expect("a store");
    let mut staging = store.stage().expect("a file");
    staging.write(b"half of").expect("room");
    assert_eq!(files(folder.path()).len(), 1);
    drop(staging);
    assert_eq!(files(folder.path()).len(), 0);

    fs::write(folder.path().join("17.tmp"), "a host died here").expect("a file");
    drop(ArtifactStore::open(folder.path()).expect("a store"));
    assert_eq!(files(folder.path()).len(), 0);
}

#[test]
fn a_component_has_a_size_limit() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = ArtifactStore::open(folder.path()).expect("a store");
    let mut staging = store.stage().expect("a file");
    let megabyte = vec![0; 1 << 20];
    for _ in 0..(ARTIFACT_LIMIT_BYTES >> 20) {
        staging.write(&megabyte).expect("room");
    }
    assert!(matches!(staging.write(b"x"), Err(StoreError::TooLarge { .. })));
}

#[test]
fn a_changed_or_cut_component_is_set_aside_and_can_be_stored_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = ArtifactStore::open(folder.path()).expect("a store");
    let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() / 2);
    let flip: fn(&mut Vec<u8>) = |bytes| bytes.iter_mut().skip(100).take(1).for_each(|byte| *byte ^= 1);
    let emptied: fn(&mut Vec<u8>) = Vec::clear;
    for damage in [cut, flip, emptied] {
        let digest = store.store(COUNTER()).expect("stored").digest;
        let file = folder.path().join(format!("{digest}.wasm"));
        let mut bytes = fs::read(&file).expect("bytes");
        damage(&mut bytes);
        fs::write(&file, bytes).expect("damage");

        let error = store.load(digest).expect_err("corrupt");
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(&digest.short()) && text.contains(&file.display().to_string()), "{text}");
        assert!(!store.contains(digest));
        assert!(matches!(store.load(digest), Err(StoreError::Missing { .. })));
    }
    let digest = store.store(COUNTER()).expect("stored anew").digest;
    store.load(digest).expect("whole");
}

#[test]
fn a_folder_that_can_not_be_used_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    fs::write(&path, "not a folder").expect("a file");
    let error = ArtifactStore::open(&path).expect_err("a file is no folder");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert!(!error.is_no_room());
}

fn engine() -> Engine {
    Engine::new(EngineOptions { instances: 4, reserved: 0, ..EngineOptions::default() }).expect("an engine")
}

async fn works(engine: &Engine, compiler: &Compiler, store: &ArtifactStore, digest: Digest) {
    let component = compiler.load(store, digest).await.expect("a component");
    let birth = Birth {
        workload: "counter".parse().expect("a name"),
        version: "1.0.0".parse().expect("semver"),
        now: UnixNanos(1),
        seed: [0; 32],
        limits: Limits::default(),
        directory: Directory::none(),
    };
    let mut instance = Instance::new(engine, &component, birth, Purpose::Start).await.expect("an instance");
    instance.init("").await.expect("init");
}

#[tokio::test]
async fn compiled_code_is_kept_and_a_damaged_entry_is_compiled_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let (artifacts, cache) = (folder.path().join("artifacts"), folder.path().join("compiled"));
    let store = ArtifactStore::open(&artifacts).expect("a store");
    let digest = store.store(COUNTER()).expect("stored").digest;
    let engine = engine();
    works(&engine, &Compiler::new(engine.clone(), &cache).expect("a compiler"), &store, digest).await;
    let entry = the_file(&cache);
    assert_eq!((mode(&cache), mode(&entry)), (0o700, 0o600));
    let whole = fs::read(&entry).expect("an entry");

    let cut: fn(&mut Vec<u8>) = |bytes| bytes.truncate(bytes.len() / 2);
    let header_alone: fn(&mut Vec<u8>) = |bytes| bytes.truncate(50);
    let another_engine: fn(&mut Vec<u8>) = |bytes| bytes.iter_mut().skip(50).take(1).for_each(|byte| *byte ^= 1);
    let code: fn(&mut Vec<u8>) = |bytes| bytes.iter_mut().rev().skip(1_000).take(1).for_each(|byte| *byte ^= 1);
    let foreign: fn(&mut Vec<u8>) =
        |bytes| *bytes = b"something else entirely, and long enough for a header".repeat(10);
    for damage in [cut, header_alone, another_engine, code, foreign] {
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&entry, &bytes).expect("damage");
        works(&engine, &Compiler::new(engine.clone(), &cache).expect("a compiler"), &store, digest).await;
        assert_ne!(fs::read(the_file(&cache)).expect("an entry"), bytes, "written anew");
    }

    // What is whole is used as it is.
    let compiler = Compiler::new(engine.clone(), &cache).expect("a compiler");
    let written = fs::metadata(&entry).expect("metadata").modified().expect("a time");
    works(&engine, &compiler, &store, digest).await;
    assert_eq!(fs::metadata(&entry).expect("metadata").modified().expect("a time"), written, "not compiled again");
    compiler.forget(digest);
    assert_eq!(files(&cache).len(), 0);
}

#[tokio::test]
async fn a_cache_that_can_not_be_written_fails_no_deploy() {
    let folder = tempfile::tempdir().expect("a folder");
    let (artifacts, cache) = (folder.path().join("artifacts"), folder.path().join("compiled"));
    let store = ArtifactStore::open(&artifacts).expect("a store");
    let digest = store.store(COUNTER()).expect("stored").digest;
    let engine = engine();
    let compiler = Compiler::new(engine.clone(), &cache).expect("a compiler");
    // A folder where the entry should be: nobody can write that, root included.
    fs::create_dir(cache.join(format!("{digest}.code"))).expect("a folder");
    fs::set_permissions(&cache, Permissions::from_mode(0o500)).expect("permissions");
    works(&engine, &compiler, &store, digest).await;
    fs::set_permissions(&cache, Permissions::from_mode(0o700)).expect("permissions");
}

#[tokio::test]
async fn a_component_that_is_not_stored_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = ArtifactStore::open(folder.path()).expect("a store");
    let compiler = Compiler::in_memory(engine()).expect("a compiler");
    let error = compiler.load(&store, Digest::new([3; 32])).await.expect_err("missing");
    assert!(matches!(&error, CompileError::Store(StoreError::Missing { .. })), "{error}");
    assert!(error.to_string().contains("030303030303"), "{error}");
}
