//! A fleet of hosts: who belongs to it, what shall run where, and how a release reaches all of them.
#![warn(missing_docs)]

pub mod store;
