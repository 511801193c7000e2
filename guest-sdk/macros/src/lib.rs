//! The derives of `guest-sdk`. They are used through it and documented there.

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

mod schema;
mod state;

/// Derives `guest_sdk::Schema`: the shape of a type as postcard writes it.
///
/// It follows `#[serde(skip)]`, `rename` and `transparent`, and refuses the serde attributes with which postcard can't be read
/// back (`flatten`, `untagged`, `tag`, `skip_serializing_if`, …) or that hide the format from the fingerprint (`with`, …).
#[proc_macro_derive(Schema, attributes(serde))]
pub fn derive_schema(input: TokenStream) -> TokenStream {
    schema::derive(&parse_macro_input!(input as DeriveInput)).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Derives `guest_sdk::State` for a type that is `Serialize`, `Deserialize` and `Schema`:
/// `#[state(version = 2, from = v1::Chat, to = v1::Chat)]`.
#[proc_macro_derive(State, attributes(state))]
pub fn derive_state(input: TokenStream) -> TokenStream {
    state::derive(&parse_macro_input!(input as DeriveInput)).unwrap_or_else(syn::Error::into_compile_error).into()
}
