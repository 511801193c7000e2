//! The fleet in a world of its own: the real coordinator over a store in memory, model hosts over the real journal, and a
//! network that delays, repeats and loses. One thread, virtual time, chance from a seed: a failure's seed shows it again.
//!
//! A commit whose answer never comes ends the coordinator, whether it was written or not: that covers what a lost fsync and an
//! ambiguous commit can do to it. What an agent decides is the real code too (its journal and its rules); that it talks over gRPC
//! and drives a real engine is for the tests with real processes.
//!
//! `SEEDS=n cargo test -p host-fleet --test simulation` tries n seeds instead of the fixed set.
#![expect(clippy::print_stdout, reason = "which seeds found what")]

mod chance;
mod checks;
mod host;
mod scenario;
mod store;
mod world;
