//! The example workload `chat`, version 1.1.0: rooms, nicknames, history, and when what was said.
//!
//! What a client sends is said in its room, but for commands: `/nick NAME`, `/join ROOM`, `/rooms`, `/who`, `/history`, `/quit`.
//! `/history` says how long ago, `/who` who is idle. Lines that begin with `*` are notices, with `error` refusals, all others were said by somebody: `ann: hello`.
//! Config: `welcome = TEXT`.

mod chat;
mod state;
pub mod v1;

pub use state::*;

guest_sdk::export!(Chat);
