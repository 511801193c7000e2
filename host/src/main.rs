//! A WebAssembly host whose workloads are upgraded while they run.
//!
//! ```text
//! host run       → daemon → host_runtime::Host ← daemon::service ← host_api::serve ← unix socket
//! host deploy, … → cli/<verb> → host_api::Client → unix socket;  what comes back → render
//! ```

mod cli;
mod daemon;
mod demo;
mod render;
mod telemetry;

fn main() -> std::process::ExitCode {
    cli::main()
}
