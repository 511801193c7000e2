//! Generates the protobuf types, clients and servers. `protox` reads the contract, so that no `protoc` is needed.

use std::error::Error;

/// All of one package: they become one module.
const CONTRACT: [&str; 2] = ["proto/hotswap/fleet/v1/fleet.proto", "proto/hotswap/fleet/v1/join.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in CONTRACT {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(CONTRACT, ["proto"])?;
    tonic_prost_build::configure().bytes(".").emit_rerun_if_changed(false).compile_fds(descriptors)?;
    Ok(())
}
