//! What the author of a workload uses.
//!
//! A workload is a deterministic state machine: the host gives it a batch of [`Event`]s and takes back a list of
//! [`Effect`]s. It never holds a socket, never blocks, and reads no clock but [`Effects::now`]. In return the host can replace
//! its code between two batches, while every connection stays open and every timer stays set.
//!
//! A whole workload (`Cargo.toml` names `guest-sdk` and `serde`, and says `crate-type = ["cdylib", "rlib"]`):
//!
//! ```
//! use guest_sdk::prelude::*;
//!
//! #[derive(Serialize, Deserialize, Schema, State, Default)]
//! #[state(version = 1)]
//! struct Greeter {
//!     greeted: u64,
//!     lines: Lines,
//! }
//!
//! impl Workload for Greeter {
//!     fn init(_config: &str) -> Result<Self, String> {
//!         Ok(Self::default())
//!     }
//!
//!     fn handle(&mut self, event: Event, out: &mut Effects) {
//!         match event {
//!             Event::Received { connection, data } => match self.lines.feed(connection, data) {
//!                 Ok(mut lines) => {
//!                     while let Some(name) = lines.next_line() {
//!                         self.greeted += 1;
//!                         out.send(connection, [b"hello ", name, b"\n"].concat());
//!                     }
//!                 }
//!                 Err(too_long) => {
//!                     out.send(connection, format!("error {too_long}\n"));
//!                     out.close(connection);
//!                 }
//!             },
//!             Event::Closed { connection, .. } => self.lines.forget(connection),
//!             _ => {}
//!         }
//!     }
//! }
//!
//! guest_sdk::export!(Greeter);
//!
//! // A unit test needs no host.
//! let mut kit = guest_sdk::testing::Kit::<Greeter>::start("").unwrap();
//! let ann = kit.open();
//! kit.receive(ann, "ann\n");
//! assert_eq!(kit.take_text(ann), "hello ann\n");
//! ```
//!
//! # What an author must keep to
//!
//! - **State is what the struct serializes.** A static, or a field marked `#[serde(skip)]`, is gone after a swap; what derives
//!   from the config belongs into [`Workload::configure`].
//! - **Ordered maps only** (`BTreeMap`, `BTreeSet`). The standard `HashMap` seeds itself once per instance, so that the same
//!   events give another order after a restart: replaying them would not give the same effects, and two snapshots of the same
//!   state would differ. The host's rehearsal names such a state.
//! - **A state type that changes gets a new version number**; see [`State`] and the [upgrading guide](upgrading).
//! - **A panic traps.** The batch never happened, and the host gives the workload a new instance. Input from outside should
//!   therefore give an answer, never a panic. The panic's message goes to stderr, which the host logs.

#![warn(missing_docs)]

// The derives name this crate by its full path, also where they are used inside it.
extern crate self as guest_sdk;

#[allow(missing_docs, reason = "generated; its documentation stands in the WIT files")]
#[allow(unsafe_code, reason = "generated; the canonical ABI passes pointers")]
#[allow(clippy::all, reason = "generated")]
#[allow(unused_qualifications, unreachable_pub, elided_lifetimes_in_paths, reason = "generated")]
#[allow(clippy::allow_attributes_without_reason, clippy::unwrap_used, clippy::indexing_slicing, reason = "generated")]
#[doc(hidden)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "workload",
        pub_export_macro: true,
        export_macro_name: "export_component",
    });
}

mod effect;
mod event;
mod export;
mod fingerprint;
pub mod framing;
#[cfg(any(test, all(target_family = "wasm", feature = "heap")))]
mod heap;
mod id;
mod instance;
mod schema;
mod state;
pub mod testing;
#[doc(hidden)]
pub mod wire;
mod workload;

#[cfg(all(target_family = "wasm", feature = "heap"))]
#[global_allocator]
static HEAP: heap::Heap = heap::Heap::new();

#[cfg(any(doc, doctest))]
#[doc = include_str!("../../docs/UPGRADING.md")]
pub mod upgrading {}

pub use effect::{CloseMode, Effect, Effects, Fetch, Response};
pub use event::{CloseReason, Event, FetchPart, Header, HttpHead, Loss, MessageKind, ResponseHead, Start};
pub use guest_sdk_macros::State;
pub use id::{CallId, ConnectionId, RequestId, TimerId, Timestamp};
pub use instance::{Description, Instance};
#[doc(hidden)]
pub use postcard_schema;
pub use schema::Schema;
pub use serde::{Deserialize, Serialize};
pub use state::{Downgrade, State, StateError, StateFormat, StoredState, Upgrade};
pub use workload::{Health, HealthStatus, Workload};

/// Everything a workload usually needs, in one `use`.
///
/// ```
/// use guest_sdk::prelude::*;
/// let connection = ConnectionId::new(7);
/// assert_eq!(connection.get(), 7);
/// ```
pub mod prelude {
    pub use crate::framing::{Frames, Lines};
    pub use crate::{
        CallId, CloseReason, ConnectionId, Deserialize, Downgrade, Effects, Event, Health, RequestId, Schema,
        Serialize, Start, State, TimerId, Timestamp, Upgrade, Workload,
    };
}

/// What the derives and [`export!`] expand to. No promise is made about it.
#[doc(hidden)]
pub mod __private {
    pub use crate::export::{Slot, assert_workload};
    pub use crate::state::{decode, encode, end_of_chain, step_down, step_down_lent, step_up};
    pub use crate::wire;
    pub use postcard_schema;
}
