//! The network as a guest sees it: there is none.
//!
//! Sockets are refused by WASI itself, which has none to give out. A name is refused here, before it is copied.

use wasmtime::component::{Linker, Resource, WasmStr};
use wasmtime_wasi::p2::{
    Network,
    bindings::sockets::{ip_name_lookup::ResolveAddressStream, network::ErrorCode},
};

use super::{Context, WASI_VERSION};

type Resolved = wasmtime::Result<(Result<Resource<ResolveAddressStream>, ErrorCode>,)>;

pub(super) fn link(linker: &mut Linker<Context>) -> wasmtime::Result<()> {
    linker
        .instance(&format!("wasi:sockets/ip-name-lookup@{WASI_VERSION}"))?
        .func_wrap("resolve-addresses", |_, (_, _): (Resource<Network>, WasmStr)| -> Resolved {
            Ok((Err(ErrorCode::AccessDenied),))
        })
}
