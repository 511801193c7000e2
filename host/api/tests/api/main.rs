//! The control plane as its clients see it: over a real unix socket, with a host in memory behind it.

mod memory;
mod over_the_socket;
mod protocol;
mod roundtrip;
