//! What a guest can ask of its host beside what the standard library asks for. Natively there is no host, and nothing is done.

#[cfg(target_family = "wasm")]
pub use wasm::*;

#[cfg(not(target_family = "wasm"))]
pub use native::*;

#[cfg(target_family = "wasm")]
mod wasm {
    use wasip2::cli::stdout::get_stdout;
    use wasip2::clocks::monotonic_clock::subscribe_duration;
    use wasip2::io::poll;
    use wasip2::random::random::get_random_bytes;
    use wasip2::sockets::{instance_network::instance_network, ip_name_lookup::resolve_addresses};

    /// Takes this many things that wait for a time, and gives none back.
    pub fn hoard(count: u64) {
        for _ in 0..count {
            std::mem::forget(subscribe_duration(0));
        }
    }

    /// Polls one thing that is ready this many times in one call.
    pub fn poll(count: usize) {
        let ready = subscribe_duration(0);
        poll::poll(&vec![&ready; count]);
    }

    /// Writes so many bytes in one call.
    pub fn write(bytes: usize) {
        let written = get_stdout().write(&vec![b'x'; bytes]);
        std::hint::black_box(written.is_ok());
    }

    /// Draws so many random bytes in one call.
    pub fn draw(bytes: u64) {
        std::hint::black_box(get_random_bytes(bytes));
    }

    /// Asks for a name's address. What came of it, in a word.
    pub fn resolve(name: &str) -> String {
        resolve_addresses(&instance_network(), name).map_or_else(|error| format!("{error:?}"), |_| "yes".to_owned())
    }
}

#[cfg(not(target_family = "wasm"))]
#[expect(missing_docs, reason = "they are above, where they do something")]
mod native {
    pub fn hoard(_: u64) {}
    pub fn poll(_: usize) {}
    pub fn write(_: usize) {}
    pub fn draw(_: u64) {}
    pub fn resolve(_: &str) -> String {
        String::new()
    }
}
