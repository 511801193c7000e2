//! End to end: real host processes, real sockets, the binary as a person uses it. One test binary.

mod cli;
mod demo;
mod docs;
mod features;
mod harness;
mod swaps;
mod telemetry;
