//! What guests there are. Included by the build script, which refuses a guest that is not listed here.

/// Name, version, what it shows.
pub(crate) const EXAMPLES: &[(&str, &str, &str)] = &[
    ("chat", "1.0.0", "Rooms, nicknames, history."),
    ("chat", "1.1.0", "The chat that knows when what was said (schema 2, and back to 1)."),
    ("counter", "1.0.0", "A total that every connection adds to."),
    ("counter", "1.1.0", "The counter with a count per connection (schema 2, and back to 1)."),
    ("counter", "2.0.0", "The counter that knows since when a connection is open (schema 3, two steps from 1)."),
    ("echo", "1.0.0", "Sends back what it receives, in chunks or in lines."),
];

/// The version under which the faults are listed. It means nothing: who deploys one gives the version.
pub(crate) const FAULT_VERSION: &str = "9.0.0";

/// Name, what it does wrong. Except for that it behaves like counter 1.0.0, with the same state.
pub(crate) const FAULTS: &[(&str, &str)] = &[
    ("code-change-errors", "`code-change` answers with an error."),
    ("code-change-traps", "`code-change` traps."),
    ("code-change-never-returns", "`code-change` never returns."),
    ("code-change-eats-memory", "`code-change` takes memory until there is none."),
    ("code-change-slow", "`code-change` keeps the processor busy for `burn = N` iterations (config), then succeeds."),
    ("init-errors", "`init` answers with an error."),
    ("init-traps", "`init` traps."),
    ("describe-traps", "`describe` traps."),
    ("snapshot-errors", "`snapshot` answers with an error, once a client sent the line `break`."),
    ("snapshot-traps", "`snapshot` traps, once a client sent the line `break`."),
    ("snapshot-never-returns", "`snapshot` never returns, once a client sent the line `break`."),
    ("snapshot-slow", "`snapshot` keeps the processor busy for `burn = N` iterations (config), then succeeds."),
    ("handle-never-returns", "`handle` never returns from the line `hang`."),
    ("handle-sleeps", "`handle` sleeps for ten seconds on the line `sleep`."),
    ("handle-traps", "`handle` traps on the line `trap`."),
    ("handle-busy", "`handle` keeps the processor busy for N million iterations on the line `busy N`, then answers."),
    (
        "handle-traps-after-swap",
        "`handle` traps on the first `incr` after a swap to it: nothing is wrong until clients use it.",
    ),
    ("handle-traps-always-after-start", "`handle` traps on every start: no restart helps."),
    ("health-fails", "`health` says failed."),
    ("health-degraded", "`health` says degraded."),
    ("state-type-changed", "The state is of another type under the same schema number: what an author forgot."),
    ("unmigratable", "The state has schema 9 and accepts nothing older."),
    ("upgrade-only", "The state has schema 2 and takes over schema 1, but can't be given back."),
    (
        "forges-ids",
        "On the line `forge` it sends to, closes, cancels and answers ids that it was never given, then answers.",
    ),
    ("prints", "On the line `print X` it writes X to stdout and stderr."),
    ("floods", "On the line `flood N` it sends N KiB to the one who asked."),
    ("exits", "On the line `exit` it ends its process."),
    ("reads-world", "On the line `world` it answers, in one line, what it can see beside its events."),
    ("another-world", "A component that exports some other world."),
];
