//! Connections: they belong to the host and know nothing of instances.

pub(crate) mod connection;
pub(crate) mod listener;
