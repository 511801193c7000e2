//! From a [`Workload`] to a component's exports.

use std::cell::RefCell;

use crate::bindings::hotswap::workload::types as wit;
use crate::{Instance, StoredState, Timestamp, Workload, wire};

/// Makes a workload the component's content. Once per component.
///
/// Compiled natively it only checks the type, so that a workload's crate can be a library too (for tests, or for the test
/// of its successor).
///
/// ```
/// # use guest_sdk::prelude::*;
/// # #[derive(Serialize, Deserialize, Schema, State)]
/// # #[state(version = 1)]
/// # struct Echo {}
/// # impl Workload for Echo {
/// #     fn init(_: &str) -> Result<Self, String> { Ok(Self {}) }
/// #     fn handle(&mut self, _: Event, _: &mut Effects) {}
/// # }
/// guest_sdk::export!(Echo);
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! export {
    ($workload:ty) => {
        const _: () = $crate::__private::assert_workload::<$workload>();

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the generated exports take pointers, as the canonical ABI asks")]
        const _: () = {
            use $crate::bindings::exports::hotswap::workload::{handler, lifecycle};
            use $crate::bindings::hotswap::workload::types;

            struct Component;

            ::std::thread_local! {
                static SLOT: $crate::__private::Slot<$workload> = const { $crate::__private::Slot::new() };
            }

            impl lifecycle::Guest for Component {
                fn describe() -> types::Description {
                    $crate::__private::Slot::<$workload>::describe()
                }
                fn init(config: ::std::string::String) -> ::std::result::Result<(), ::std::string::String> {
                    SLOT.with(|slot| slot.init(&config))
                }
                fn snapshot(schema: u32) -> ::std::result::Result<types::State, ::std::string::String> {
                    SLOT.with(|slot| slot.snapshot(schema))
                }
                fn code_change(
                    old_state: types::State,
                    from_vsn: ::std::string::String,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    SLOT.with(|slot| slot.code_change(old_state, &from_vsn))
                }
                fn health() -> types::Health {
                    SLOT.with(|slot| slot.health())
                }
            }

            impl handler::Guest for Component {
                fn handle(now: u64, events: ::std::vec::Vec<types::Event>) -> ::std::vec::Vec<types::Effect> {
                    SLOT.with(|slot| slot.handle(now, events))
                }
            }

    $crate::bindings::export_component!(Component with_types_in $crate::bindings);
        };
    };
}

/// Gives a type that is no workload its error where the author wrote `export!`.
#[doc(hidden)]
pub const fn assert_workload<W: Workload>() {}

/// The one instance of a component, in the types of its border.
///
/// The cell is never borrowed twice: a component is entered by one call at a time.
#[doc(hidden)]
#[derive(Debug)]
pub struct Slot<W>(RefCell<Instance<W>>);

impl<W> Slot<W> {
    pub const fn new() -> Self {
        Self(RefCell::new(Instance::new()))
    }
}

impl<W> Default for Slot<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Workload> Slot<W> {
    pub fn describe() -> wit::Description {
        wire::description(Instance::<W>::describe())
    }

    pub fn init(&self, config: &str) -> Result<(), String> {
        self.0.borrow_mut().init(config)
    }

    pub fn snapshot(&self, schema: u32) -> Result<wit::State, String> {
        self.0.borrow_mut().snapshot(schema).map(wire::state)
    }

    pub fn code_change(&self, state: wit::State, from_version: &str) -> Result<(), String> {
        self.0.borrow_mut().code_change(StoredState::from(state), from_version)
    }

    pub fn health(&self) -> wit::Health {
        wire::health(self.0.borrow().health())
    }

    pub fn handle(&self, now: u64, events: Vec<wit::Event>) -> Vec<wit::Effect> {
        let events = events.into_iter().map(wire::event).collect();
        let out = self.0.borrow_mut().handle(Timestamp::from_nanos(now), events);
        out.into_effects().into_iter().map(wire::effect).collect()
    }
}
