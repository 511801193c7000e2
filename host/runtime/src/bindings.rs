//! The contract with a guest, one set of bindings per released version of `hotswap:workload`.
//!
//! A stored component never changes, and a downgrade needs it: so every version that was ever released keeps its bindings
//! here, and [`Contract::of`] chooses among them by the name and version of what the component exports. Instances and
//! actors use the types of the newest version ([`types`]); older ones are converted where they are called.

use wasmtime::{
    Store,
    component::{Component, InstancePre, types::ComponentItem},
};

use crate::capability::Context;

pub use v0_1::hotswap::workload::types;

/// `hotswap:workload@0.1.0`.
mod v0_1 {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from wit/, where the documentation is")]

    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "workload",
        exports: { default: async },
        additional_derives: [PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize],
    });
}

/// The same version, for calls that block their thread. Its types are those above.
mod v0_1_blocking {
    #![allow(missing_docs, unreachable_pub, clippy::all, reason = "generated from wit/, where the documentation is")]

    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "workload",
        with: { "hotswap:workload/types": crate::bindings::v0_1::hotswap::workload::types },
    });
}

/// The export by which a component of version 0.1.0 is known: every workload has it, whatever else it has.
const LIFECYCLE_V0_1: &str = "hotswap:workload/lifecycle@0.1.0";

/// The other export a workload of version 0.1.0 has.
const HANDLER_V0_1: &str = "hotswap:workload/handler@0.1.0";

/// Interfaces a component may import, without their versions: any 0.2 is served.
const AVAILABLE: [&str; 29] = [
    "hotswap:workload/types",
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stderr",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
    "wasi:random/random",
    "wasi:sockets/instance-network",
    "wasi:sockets/ip-name-lookup",
    "wasi:sockets/network",
    "wasi:sockets/tcp",
    "wasi:sockets/tcp-create-socket",
    "wasi:sockets/udp",
    "wasi:sockets/udp-create-socket",
    "wasi:clocks/types",
];

/// What a memory's size is counted in.
const PAGE_BYTES: u64 = 64 << 10;

/// A component ready to be made an instance of, with the version of the contract it keeps.
#[derive(Clone)]
pub(crate) enum Contract {
    /// `hotswap:workload@0.1.0`. Both know where the exports are and no more; which one is used is the engine's affair.
    V0_1 { on_fibers: v0_1::WorkloadPre<Context>, blocking: v0_1_blocking::WorkloadPre<Context> },
}

/// An instance's exports.
pub(crate) enum Guest {
    /// `hotswap:workload@0.1.0`.
    V0_1(v0_1::Workload),
}

/// The exports of an instance whose calls block their thread.
pub(crate) enum BlockingGuest {
    /// `hotswap:workload@0.1.0`.
    V0_1(v0_1_blocking::Workload),
}

/// A component that keeps no contract the host knows.
#[derive(Debug, thiserror::Error)]
pub enum UnfitComponent {
    /// It asks for what the host does not have.
    #[error(
        "it imports {}, which this host does not offer; there is: WASI 0.2 (cli, clocks, filesystem, io, random, sockets), \
         with nothing granted",
        imports.join(", ")
    )]
    UnknownImports {
        /// What it asks for.
        imports: Vec<String>,
    },
    /// It offers something else.
    #[error(
        "it is no workload: a workload exports {LIFECYCLE_V0_1} and {HANDLER_V0_1}, this component exports {}; \
         build it with the guest SDK's `export!`",
        Named(exports)
    )]
    AnotherWorld {
        /// What it offers.
        exports: Vec<String>,
    },
    /// It offers or asks for things of the right name and the wrong shape.
    #[error("its imports or exports have the right names but not the shape the host knows")]
    AnotherShape(#[source] wasmtime::Error),
}

/// Names in words.
struct Named<'a>(&'a [String]);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() { f.write_str("nothing") } else { f.write_str(&self.0.join(", ")) }
    }
}

impl Contract {
    /// Chooses the contract that `component` keeps and resolves its imports.
    pub(crate) fn of(
        component: &Component,
        linker: &wasmtime::component::Linker<Context>,
    ) -> Result<Self, UnfitComponent> {
        let exports = exports(component);
        // Asked first: somebody who deploys the wrong file wants to hear that, not which of its imports is missing.
        if !exports.iter().any(|name| name == LIFECYCLE_V0_1) {
            return Err(UnfitComponent::AnotherWorld { exports });
        }
        let imports: Vec<_> = imports(component).into_iter().filter(|name| !is_available(name)).collect();
        if !imports.is_empty() {
            return Err(UnfitComponent::UnknownImports { imports });
        }
        let pre: InstancePre<Context> = linker.instantiate_pre(component).map_err(UnfitComponent::AnotherShape)?;
        let on_fibers = v0_1::WorkloadPre::new(pre.clone()).map_err(UnfitComponent::AnotherShape)?;
        let blocking = v0_1_blocking::WorkloadPre::new(pre).map_err(UnfitComponent::AnotherShape)?;
        Ok(Self::V0_1 { on_fibers, blocking })
    }

    /// Size of its machine code.
    pub(crate) fn code_bytes(&self) -> usize {
        let Self::V0_1 { on_fibers, .. } = self;
        let image = on_fibers.instance_pre().component().image_range();
        image.end as usize - image.start as usize
    }

    /// Linear memory that an instance of it begins with: that of its largest module, for those of the shims around it have none.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let Self::V0_1 { on_fibers, .. } = self;
        let resources = on_fibers.instance_pre().component().resources_required();
        let pages = resources.and_then(|resources| resources.max_initial_memory_size).unwrap_or_default();
        pages.saturating_mul(PAGE_BYTES)
    }

    /// Makes an instance in `store`, running the component's own start code.
    pub(crate) async fn instantiate(&self, store: &mut Store<Context>) -> wasmtime::Result<Guest> {
        let Self::V0_1 { on_fibers, .. } = self;
        on_fibers.instantiate_async(store).await.map(Guest::V0_1)
    }

    /// The same in a store of the engine for calls that block.
    pub(crate) fn instantiate_blocking(&self, store: &mut Store<Context>) -> wasmtime::Result<BlockingGuest> {
        let Self::V0_1 { blocking, .. } = self;
        blocking.instantiate(store).map(BlockingGuest::V0_1)
    }
}

/// What a component offers, by name.
pub(crate) fn exports(component: &Component) -> Vec<String> {
    component.component_type().exports(component.engine()).map(|(name, _)| name.to_owned()).collect()
}

/// What a component asks for, by name. An interface of types alone asks for nothing.
pub(crate) fn imports(component: &Component) -> Vec<String> {
    let engine = component.engine();
    let asks = |item: &ComponentItem| match item {
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).any(|(_, item)| !matches!(item.ty, ComponentItem::Type(_)))
        }
        ComponentItem::Type(_) => false,
        _ => true,
    };
    component
        .component_type()
        .imports(engine)
        .filter(|(_, item)| asks(&item.ty))
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// Whether the linker has an interface of this name. Of WASI, 0.2 in all its patch versions is one and the same.
fn is_available(name: &str) -> bool {
    let (interface, version) = name.split_once('@').unwrap_or((name, "0.2"));
    AVAILABLE.contains(&interface) && (version.starts_with("0.2") || !interface.starts_with("wasi:"))
}
