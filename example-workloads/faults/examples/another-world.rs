//! A component that exports some other world.

#[cfg(target_family = "wasm")]
#[allow(unsafe_code, reason = "the generated exports take pointers, as the canonical ABI asks")]
#[allow(clippy::allow_attributes_without_reason, unused_qualifications, unreachable_pub, reason = "generated")]
mod component {
    wit_bindgen::generate!({ path: "another-world" });

    struct Greeter;

    impl Guest for Greeter {
        fn greet(name: String) -> String {
            format!("hello {name}")
        }
    }

    export!(Greeter);
}
