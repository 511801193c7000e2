//! The exports of a fault.

/// Makes a [`Fault`](crate::Fault) the component's content. Natively it does nothing but check the type.
#[macro_export]
macro_rules! fault {
    ($fault:ty) => {
        const fn is_fault<F: $crate::Fault>() {}
        const _: () = is_fault::<$fault>();

        #[cfg(target_family = "wasm")]
        #[allow(unsafe_code, reason = "the generated exports take pointers, as the canonical ABI asks")]
        const _: () = {
            use std::cell::RefCell;

            use $crate::Fault;
            use $crate::guest_sdk::__private::wire;
            use $crate::guest_sdk::bindings::exports::hotswap::workload::{handler, lifecycle};
            use $crate::guest_sdk::bindings::hotswap::workload::types;
            use $crate::guest_sdk::{Instance, Timestamp};

            struct Component;

            thread_local! {
                static INNER: RefCell<Instance<<$fault as Fault>::Inner>> = const { RefCell::new(Instance::new()) };
            }

            impl lifecycle::Guest for Component {
                fn describe() -> types::Description {
                    wire::description(<$fault>::describe())
                }
                fn init(config: String) -> Result<(), String> {
                    INNER.with_borrow_mut(|inner| <$fault>::init(inner, &config))
                }
                fn snapshot(schema: u32) -> Result<types::State, String> {
                    INNER.with_borrow_mut(|inner| <$fault>::snapshot(inner, schema)).map(wire::state)
                }
                fn code_change(old: types::State, from: String) -> Result<(), String> {
                    INNER.with_borrow_mut(|inner| <$fault>::code_change(inner, old.into(), &from))
                }
                fn health() -> types::Health {
                    INNER.with_borrow(|inner| wire::health(<$fault>::health(inner)))
                }
            }

            impl handler::Guest for Component {
                fn handle(now: u64, events: Vec<types::Event>) -> Vec<types::Effect> {
                    let events = events.into_iter().map(wire::event).collect();
                    let effects =
                        INNER.with_borrow_mut(|inner| <$fault>::handle(inner, Timestamp::from_nanos(now), events));
                    effects.into_iter().map(wire::effect).collect()
                }
            }

    $crate::guest_sdk::bindings::export_component!(Component with_types_in $crate::guest_sdk::bindings);
        };
    };
}
