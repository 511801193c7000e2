//! The command line over a real host: each verb, both outputs, every exit code.
