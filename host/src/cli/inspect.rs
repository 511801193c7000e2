//! `host inspect`.

use std::path::PathBuf;

use anyhow::Context as _;
use host_api::convert::limits;
use host_runtime::{
    artifact::Compiler,
    engine::{Engine, EngineOptions},
};

use super::{Exit, Global, Trouble, component};
use crate::render;

/// Show what a component is and what it says of itself. Needs no host
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The component's .wasm file
    file: PathBuf,
}

pub(crate) async fn run(global: &Global, args: Args) -> Result<Exit, Trouble> {
    let bytes = component::read("component", &args.file, limits::COMPONENT_LIMIT_BYTES)?;
    let engine = Engine::new(EngineOptions::default()).context("the WebAssembly engine can't be made")?;
    let compiler = Compiler::in_memory(engine).context("the compiler can't be started")?;
    let inspection = compiler.inspect(bytes).await.map_err(|error| {
        Trouble::new(Exit::Failed, format!("{}: {:#}", args.file.display(), anyhow::Error::from(error)))
            .remedy("a component is built with `cargo build --target wasm32-wasip2`")
    })?;
    render::inspection(&args.file, &inspection, global.output);
    Ok(if inspection.description.is_ok() { Exit::Done } else { Exit::Failed })
}
