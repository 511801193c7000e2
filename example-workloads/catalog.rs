//! What guests there are. Included by the build script, which refuses a guest that is not listed here.

/// Name, version, what it shows.
pub(crate) const EXAMPLES: &[(&str, &str, &str)] = &[
    ("chat", "1.0.0", "Rooms, nicknames, history."),
    ("chat", "1.1.0", "The chat that knows when what was said (schema 2, and back to 1)."),
    ("counter", "1.0.0", "A total that every connection adds to."),
    ("counter", "1.1.0", "The counter with a count per connection (schema 2, and back to 1)."),
    ("counter", "2.0.0", "The counter that knows since when a connection is open (schema 3, two steps from 1)."),
    ("echo", "1.0.0", "Sends back what it receives, in chunks or in lines."),
    ("session", "1.0.0", "A login and transfers, with an instance for each connection."),
    ("session", "1.1.0", "The session that counts its transfers (schema 2, and back to 1)."),
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
    ("code-change-unlucky", "`code-change` answers with an error where the total is 13, and traps where it is 17."),
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
    ("health-traps", "`health` traps, once a client sent the line `break`."),
    ("health-fails", "`health` says failed."),
    ("health-degraded", "`health` says degraded."),
    ("called-health-fails", "A call of `health` is answered `ok`, and `failed` once a client sent the line `break`."),
    ("state-type-changed", "The state is of another type under the same schema number: what an author forgot."),
    ("state-of-hash-order", "The state's bytes hang on the order of a hash map (schema 2)."),
    ("state-of-addresses", "The state's bytes hold an address of the heap (schema 2)."),
    ("unmigratable", "The state has schema 9 and accepts nothing older."),
    ("upgrade-only", "The state has schema 2 and takes over schema 1, but can't be given back."),
    ("upgrade-only-traps", "As `upgrade-only`; the line `trap` traps, and `other` is answered as 1.0.0 would not."),
    ("downgrade-only", "The state has schema 2 and can be given back as schema 1, which it does not take over."),
    (
        "holds-calls",
        "A call of `hold` is answered when a client sends `release`. `code-change` burns as `burn = N` (config) says.",
    ),
    ("holds-calls-upgrade-only", "As `holds-calls`, whose state it takes over and can't give back (schema 3)."),
    (
        "forges-ids",
        "On the line `forge` it sends to, closes, cancels and answers ids that it was never given, then answers.",
    ),
    ("prints", "On the line `print X` it writes X to stdout and stderr."),
    ("floods", "On the line `flood N` it sends N KiB to the one who asked."),
    ("exits", "On the line `exit` it ends its process."),
    (
        "eats-memory",
        "Takes memory until there is none, in `handle` on the line `eat` or in the call that the config names.",
    ),
    ("recurses", "On the line `recurse` it calls itself without end."),
    ("answers-too-much", "On the lines `effects N`, `bytes N`, `targets N` it answers with so much in one batch."),
    ("describes-too-much", "`describe` lists a million formats."),
    ("describe-never-returns", "`describe` never returns."),
    ("floods-log", "On the line `log N` it logs N MiB; on `log and trap` one, and traps."),
    (
        "takes-memory",
        "Takes memory and keeps it: on the line `take N` N MiB, or it traps; on `try N` if there is some.",
    ),
    ("opened-traps", "`handle` traps on new connections once a client sent `shut`, and on ends of unknown ones."),
    ("asks-too-much", "On the lines `hoard N`, `poll N`, `write N`, `draw N`, `resolve N` it asks so much of WASI."),
    ("storms", "On the lines `spin`, `storm`, `timers N`, `churn N` it makes storms of timers and closings."),
    ("copies-memory", "On the line `copy N` it fills 100 MiB N times, with one instruction each."),
    ("reads-world", "On the line `world` it answers, in one line, what it can see beside its events."),
    ("another-world", "A component that exports some other world."),
];

/// Name, what it does wrong: guests in the text format, for what Rust has no words for. What they do is said in each.
pub(crate) const TEXTS: &[(&str, &str)] = &[
    ("recurses-natively", "Every batch calls a function that calls itself without end, on the engine's stack."),
    ("starts-forever", "Its start code never ends."),
    ("wants-4-gib", "Its memory begins with 4 GiB."),
    ("points-nowhere", "Every batch answers with a list that lies outside of its memory."),
    ("many-instances", "A component of thirty core instances."),
    ("many-memories", "A component whose module has ninety memories."),
    ("many-tables", "A component whose module has ninety tables."),
    ("large-table", "A component whose module has a table of ten million elements."),
];
