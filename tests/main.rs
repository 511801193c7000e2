//! End to end: real host processes, real sockets, the binary as a person uses it. One test binary.

mod harness;
mod swaps;
