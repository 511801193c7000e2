//! Deaths on order, for the tests that kill a host in each phase. Release builds have none of it.

use host_core::swap::PhaseName;

/// Kills this process with SIGKILL if `HOST_TEST_KILL_AT` names this phase.
#[cfg(debug_assertions)]
pub(crate) fn at(phase: PhaseName) {
    static WANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("HOST_TEST_KILL_AT").ok());
    if wanted.as_deref() == Some(phase.as_str()) {
        let _sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may take effect on another thread first.
        loop {
            std::thread::park();
        }
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(crate) const fn at(_phase: PhaseName) {}
