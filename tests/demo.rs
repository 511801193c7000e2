//! `host demo` as a person runs it.
