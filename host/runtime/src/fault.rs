//! Deaths on order, for the tests that kill a host in each phase and between two writes. Release builds have none of it.

/// Kills this process with SIGKILL if `HOST_TEST_KILL_AT` names this phase or moment.
#[cfg(debug_assertions)]
pub(crate) fn at(moment: &str) {
    static WANTED: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("HOST_TEST_KILL_AT").ok());
    if wanted.as_deref() == Some(moment) {
        let _sent = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        // The signal may take effect on another thread first.
        loop {
            std::thread::park();
        }
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(crate) const fn at(_moment: &str) {}
