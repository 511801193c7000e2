//! Identities and the fleet's port, with real sockets and real TLS.

mod certificates;
mod folders;
mod hostile;
mod joining;
mod members;
mod world;
