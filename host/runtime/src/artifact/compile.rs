//! Verified components become code that runs.
//!
//! One thread compiles, one component at a time and with what processor time nobody else wants: clients of what runs must
//! not notice a deploy. The code is kept on disk beside the components, under digest and engine, so that a host starts
//! again in milliseconds; and in memory, so that a rollback finds it at once. A kept entry that is damaged or does not fit
//! is compiled anew, and one that can't be written is done without: the cache never fails a deploy.

use std::{
    collections::HashMap,
    fmt,
    panic::{self, AssertUnwindSafe},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use host_core::{id::Digest, release::Description, time::UnixNanos};
use semver::Version;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use wasmtime::component::Component;

use super::{ArtifactStore, StoreError, TooHard, VerifiedArtifact, admission, cache::Cache};
use crate::{
    bindings::{Contract, UnfitComponent},
    capability::Calls,
    engine::{Engine, Purpose, stand_back},
    instance::{Birth, BirthError, CallError, Directory, Instance, blocking::BlockingInstance, limits::Limits},
};

/// Components whose code is kept in memory: each running release, its predecessor, and some more.
const IN_MEMORY_LIMIT: usize = 64;

/// Machine code that is kept in memory: a megabyte or two for each of them, and room for some interpreters.
const IN_MEMORY_LIMIT_BYTES: usize = 512 << 20;

/// Deploys that wait for the one that compiles; the next one waits for a place.
const WAITING_LIMIT: usize = 16;

/// How long a deploy waits for its compilation, those before it included: an interpreter of thirty megabytes takes a minute.
const COMPILE_LIMIT: Duration = Duration::from_secs(10 * 60);

/// Stack of the compiling thread, of which only what is used takes memory: parts of a compiler recurse as deep as the code is
/// nested, and a stack that overflows ends the process.
const STACK_BYTES: usize = 256 << 20;

/// Code that fits this engine, of a component that keeps a contract the host knows. Clones share the code.
#[derive(Clone)]
pub struct CompiledComponent(Arc<Compiled>);

struct Compiled {
    digest: Digest,
    contract: Contract,
}

/// What the thread makes of a component.
pub(super) struct Parsed {
    pub(super) component: Component,
    pub(super) contract: Result<Contract, UnfitComponent>,
}

/// Compiles components and keeps what it compiled. Clones are the same compiler.
#[derive(Clone)]
pub struct Compiler(Arc<Shared>, Limits);

struct Shared {
    engine: Engine,
    jobs: mpsc::Sender<Job>,
    in_memory: Mutex<HashMap<Digest, (u64, CompiledComponent)>>,
    used: AtomicU64,
    cache: Option<Arc<Cache>>,
}

struct Job {
    artifact: VerifiedArtifact,
    answer: oneshot::Sender<Result<Parsed, CompileError>>,
}

/// Why a component did not become code.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The bytes are no WebAssembly.
    #[error("component {} is no WebAssembly at all: it does not begin as a .wasm file does", digest.short())]
    NotWasm {
        /// The file.
        digest: Digest,
    },
    /// A module of the older kind.
    #[error(
        "{} is a core WebAssembly module, not a component; build it with `cargo build --target wasm32-wasip2`",
        digest.short()
    )]
    CoreModule {
        /// The file.
        digest: Digest,
    },
    /// WebAssembly that breaks its rules, or uses what this engine does not offer (threads).
    #[error("component {} can't be compiled", digest.short())]
    Invalid {
        /// The file.
        digest: Digest,
        /// What the compiler says.
        #[source]
        source: wasmtime::Error,
    },
    /// WebAssembly that would keep the compiler busy for hours, or take all memory.
    #[error("component {} is too hard to compile", digest.short())]
    TooHard {
        /// The file.
        digest: Digest,
        /// What of it.
        #[source]
        why: TooHard,
    },
    /// The compiler failed on it: a defect in the compiler.
    #[error("component {} made the compiler fail, which is a defect in the compiler: {why}", digest.short())]
    Failed {
        /// The file.
        digest: Digest,
        /// Its words.
        why: String,
    },
    /// It takes too long.
    #[error(
        "component {} was not compiled within {COMPILE_LIMIT:?}; it is compiled on, so that a later try may find it done",
        digest.short()
    )]
    TooLong {
        /// The file.
        digest: Digest,
    },
    /// A component, but not one this host can run.
    #[error("component {} can't run here: {unfit}", digest.short())]
    Unfit {
        /// The file.
        digest: Digest,
        /// Why.
        unfit: UnfitComponent,
    },
    /// It could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The host is ending.
    #[error("the compiler has ended: the host is stopping")]
    Ended,
}

impl Compiler {
    /// Starts a compiler that keeps its code in the folder at `cache`.
    ///
    /// # Errors
    /// The folder can't be made, or the thread can't be started.
    pub fn new(engine: Engine, cache: &Path) -> Result<Self, StoreError> {
        let cache = Cache::open(cache, engine.fits())?;
        Self::spawn(engine, Some(Arc::new(cache)))
    }

    /// Starts a compiler that keeps its code in memory only.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn in_memory(engine: Engine) -> Result<Self, StoreError> {
        Self::spawn(engine, None)
    }

    /// The same compiler; what it asks a component about itself may cost this much.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self(self.0, limits)
    }

    fn spawn(engine: Engine, cache: Option<Arc<Cache>>) -> Result<Self, StoreError> {
        let (jobs, mut queue) = mpsc::channel::<Job>(WAITING_LIMIT);
        let (on_thread, kept) = (engine.clone(), cache.clone());
        let run = move || {
            stand_back();
            while let Some(Job { artifact, answer }) = queue.blocking_recv() {
                // Nobody waits for the answer: the deploy was given up while it stood in line.
                if answer.is_closed() {
                    continue;
                }
                let _ = answer.send(contained(&on_thread, kept.as_deref(), &artifact));
            }
        };
        thread::Builder::new()
            .name("wasm-compile".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(run)
            .map_err(|source| StoreError::io("compiler's thread can't be started", "the".into(), source))?;
        let in_memory = Mutex::new(HashMap::new());
        let shared = Shared { engine, jobs, in_memory, used: AtomicU64::new(0), cache };
        Ok(Self(Arc::new(shared), Limits::default()))
    }

    /// The code of a stored component: from memory, from disk, or compiled now. Its bytes are read and checked in any case:
    /// what runs must also be there when the host starts again.
    ///
    /// # Errors
    /// It is not stored, was changed, or is nothing this host can run.
    pub async fn load(&self, store: &ArtifactStore, digest: Digest) -> Result<CompiledComponent, CompileError> {
        let store = store.clone();
        let read = tokio::task::spawn_blocking(move || store.load(digest)).await;
        self.compile(read.map_err(|_| CompileError::Ended)??).await
    }

    /// Whether the code of a component is in memory or on disk, so that loading it will most likely not compile.
    #[must_use]
    pub fn is_kept(&self, digest: Digest) -> bool {
        self.kept().contains_key(&digest) || self.0.cache.as_ref().is_some_and(|cache| cache.contains(digest))
    }

    /// The code of a component: from memory, from disk, or compiled now.
    ///
    /// # Errors
    /// It is nothing this host can run.
    pub async fn compile(&self, artifact: VerifiedArtifact) -> Result<CompiledComponent, CompileError> {
        let digest = artifact.digest();
        if let Some(component) = self.remembered(digest) {
            return Ok(component);
        }
        let contract = self.parse(artifact).await?.contract.map_err(|unfit| CompileError::Unfit { digest, unfit })?;
        let component = CompiledComponent::new(digest, contract);
        self.remember(&component);
        Ok(component)
    }

    /// Asks a component what it is, in an instance made for that.
    ///
    /// # Errors
    /// No slot is free, or the component fails.
    pub async fn describe(&self, component: &CompiledComponent) -> Result<Description, BirthError> {
        // `describe` depends on nothing but the component: name, time and seed are anybody's.
        let birth = Birth {
            workload: "describe".parse().expect("a good name"),
            version: Version::new(0, 0, 0),
            now: UnixNanos(0),
            seed: [0; 32],
            // Its start as well: whoever only asks does not wait as long as for a birth.
            limits: Limits { brief: self.1.query, ..self.1 },
            directory: Directory::none(),
        };
        let engine = self.0.engine.clone();
        if engine.calls() == Calls::Blocking {
            let component = component.clone();
            let described = tokio::task::spawn_blocking(move || {
                let limits = Arc::new(birth.limits);
                Ok(BlockingInstance::new(&engine, &component, birth, limits, Purpose::Replacement)?.describe()?)
            });
            return described.await.unwrap_or(Err(BirthError::Call(CallError::Lost)));
        }
        let mut instance = Instance::new(&engine, component, birth, Purpose::Replacement).await?;
        Ok(instance.describe().await?)
    }

    /// Forgets a component's code, in memory and on disk.
    pub fn forget(&self, digest: Digest) {
        self.kept().remove(&digest);
        if let Some(cache) = &self.0.cache {
            cache.remove(digest);
        }
    }

    /// Has the thread compile a component, whatever it turns out to be.
    pub(super) async fn parse(&self, artifact: VerifiedArtifact) -> Result<Parsed, CompileError> {
        let (answer, answered) = oneshot::channel();
        let digest = artifact.digest();
        let compiled = async {
            self.0.jobs.send(Job { artifact, answer }).await.map_err(|_| CompileError::Ended)?;
            answered.await.map_err(|_| CompileError::Ended)?
        };
        timeout(COMPILE_LIMIT, compiled).await.unwrap_or(Err(CompileError::TooLong { digest }))
    }

    fn remembered(&self, digest: Digest) -> Option<CompiledComponent> {
        let used = self.0.used.fetch_add(1, Ordering::Relaxed);
        let mut in_memory = self.kept();
        let (last_used, component) = in_memory.get_mut(&digest)?;
        *last_used = used;
        Some(component.clone())
    }

    fn remember(&self, component: &CompiledComponent) {
        let used = self.0.used.fetch_add(1, Ordering::Relaxed);
        let mut in_memory = self.kept();
        in_memory.insert(component.digest(), (used, component.clone()));
        let bytes = |in_memory: &HashMap<_, (u64, CompiledComponent)>| -> usize {
            in_memory.values().map(|(_, component)| component.0.contract.code_bytes()).sum()
        };
        // What runs stays in memory all the same: it is shared. The one that is wanted now stays, whatever its size.
        while in_memory.len() > IN_MEMORY_LIMIT || (in_memory.len() > 1 && bytes(&in_memory) > IN_MEMORY_LIMIT_BYTES) {
            let oldest = in_memory.iter().min_by_key(|(_, (used, _))| *used).map(|(digest, _)| *digest);
            oldest.map(|digest| in_memory.remove(&digest));
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Digest, (u64, CompiledComponent)>> {
        // Whole between any two statements: a panic elsewhere leaves nothing half done.
        self.0.in_memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CompiledComponent {
    pub(super) fn new(digest: Digest, contract: Contract) -> Self {
        Self(Arc::new(Compiled { digest, contract }))
    }

    /// Its digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.0.digest
    }

    /// Linear memory that an instance begins with.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.0.contract.memory_bytes()
    }

    pub(crate) fn contract(&self) -> &Contract {
        &self.0.contract
    }
}

impl fmt::Debug for CompiledComponent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CompiledComponent").field(&self.0.digest).finish()
    }
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

/// Compiles, and survives a compiler that does not.
fn contained(engine: &Engine, cache: Option<&Cache>, artifact: &VerifiedArtifact) -> Result<Parsed, CompileError> {
    // Nothing that a panic could leave half done is used again: the engine's own tables are behind its locks.
    panic::catch_unwind(AssertUnwindSafe(|| compile(engine, cache, artifact))).unwrap_or_else(|panicked| {
        let text = panicked.downcast_ref::<String>().map(String::as_str);
        let why = text.or_else(|| panicked.downcast_ref::<&str>().copied()).unwrap_or("it says nothing");
        Err(CompileError::Failed { digest: artifact.digest(), why: why.to_owned() })
    })
}

fn compile(engine: &Engine, cache: Option<&Cache>, artifact: &VerifiedArtifact) -> Result<Parsed, CompileError> {
    let digest = artifact.digest();
    if let Some(component) = cache.and_then(|cache| cache.load(engine, digest)) {
        let contract = engine.contract(&component);
        return Ok(Parsed { component, contract });
    }
    let bytes = artifact.bytes();
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', _, _, 1, 0]) => {}
        Some([0, b'a', b's', b'm', _, _, 0, 0]) => return Err(CompileError::CoreModule { digest }),
        _ => return Err(CompileError::NotWasm { digest }),
    }
    admission::check(bytes).map_err(|why| CompileError::TooHard { digest, why })?;
    let component =
        Component::from_binary(engine.wasmtime(), bytes).map_err(|source| CompileError::Invalid { digest, source })?;
    let contract = engine.contract(&component);
    if let Some(cache) = cache.filter(|_| contract.is_ok()) {
        cache.store(digest, &component);
    }
    Ok(Parsed { component, contract })
}
