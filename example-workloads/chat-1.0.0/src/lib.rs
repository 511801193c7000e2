//! The example workload `chat`, version 1.0.0: rooms, nicknames, history.
//!
//! What a client sends is said in its room, but for commands: `/nick NAME`, `/join ROOM`, `/rooms`, `/who`, `/history`, `/quit`.
//! Lines that begin with `*` are notices, with `error` refusals, all others were said by somebody: `ann: hello`.
//! Config: `welcome = TEXT`.

mod chat;
mod state;

pub use state::*;

guest_sdk::export!(Chat);
