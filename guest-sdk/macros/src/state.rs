//! `#[derive(State)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, LitInt, Result, Type};

struct Options {
    version: u32,
    from: Option<Type>,
    to: Option<Type>,
}

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    if let Some(parameter) = input.generics.params.first() {
        return Err(syn::Error::new_spanned(
            parameter,
            "a State can't be generic: its fingerprint belongs to one type",
        ));
    }
    let name = &input.ident;
    let Options { version, from, to } = options(input)?;

    let collect_from = from.as_ref().map(|old| collect(old, &quote!(__collect_from)));
    let collect_to = to.as_ref().map(|old| collect(old, &quote!(__collect_to)));
    let climb = from
        .as_ref()
        .map_or_else(unreachable_step, |old| quote!(::guest_sdk::__private::step_up::<#old, Self>(schema, data)));
    let descend = to.as_ref().map_or_else(
        unreachable_step,
        |old| quote!(::guest_sdk::__private::step_down::<#old, Self>(self, schema, expected_bytes)),
    );
    let descend_lent = to.as_ref().map_or_else(
        || {
            let end = unreachable_step();
            quote!((self, #end))
        },
        |old| quote!(::guest_sdk::__private::step_down_lent::<#old, Self>(self, schema, expected_bytes)),
    );
    let falling = from.iter().chain(&to).map(|old| {
        quote! {
            const _: () = ::core::assert!(
                <#old as ::guest_sdk::State>::VERSION < <#name as ::guest_sdk::State>::VERSION,
                "`from` and `to` name an older state: its version must be lower"
            );
        }
    });

    Ok(quote! {
        impl ::guest_sdk::State for #name {
            const VERSION: u32 = #version;

            fn __collect_from(formats: &mut ::std::vec::Vec<::guest_sdk::StateFormat>) {
                let _ = &formats;
                #collect_from
            }

            fn __collect_to(formats: &mut ::std::vec::Vec<::guest_sdk::StateFormat>) {
                let _ = &formats;
                #collect_to
            }

            fn __climb(schema: u32, data: &[u8]) -> ::core::result::Result<Self, ::guest_sdk::StateError> {
                if schema == <Self as ::guest_sdk::State>::VERSION {
                    ::guest_sdk::__private::decode(data)
                } else {
                    #climb
                }
            }

            fn __descend(
                &self,
                schema: u32,
                expected_bytes: usize,
            ) -> ::core::result::Result<::std::vec::Vec<u8>, ::guest_sdk::StateError> {
                if schema == <Self as ::guest_sdk::State>::VERSION {
                    ::guest_sdk::__private::encode(self, expected_bytes)
                } else {
                    #descend
                }
            }

            fn __descend_lent(
                self,
                schema: u32,
                expected_bytes: usize,
            ) -> (Self, ::core::result::Result<::std::vec::Vec<u8>, ::guest_sdk::StateError>) {
                if schema == <Self as ::guest_sdk::State>::VERSION {
                    let data = ::guest_sdk::__private::encode(&self, expected_bytes);
                    (self, data)
                } else {
                    #descend_lent
                }
            }
        }
        #(#falling)*
    })
}

fn collect(old: &Type, method: &TokenStream) -> TokenStream {
    quote! {
        formats.push(<#old as ::guest_sdk::State>::format());
        <#old as ::guest_sdk::State>::#method(formats);
    }
}

/// The SDK asks only for schemas it collected before, so this end of the chain is never reached with another.
fn unreachable_step() -> TokenStream {
    quote!(::guest_sdk::__private::end_of_chain::<Self, _>(schema))
}

fn options(input: &DeriveInput) -> Result<Options> {
    let (mut version, mut from, mut to) = (None, None, None);
    for attribute in input.attrs.iter().filter(|attribute| attribute.path().is_ident("state")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("version") {
                let literal: LitInt = meta.value()?.parse()?;
                let number: u32 = literal.base10_parse()?;
                if number == 0 {
                    return Err(syn::Error::new_spanned(literal, "versions of a state count from 1"));
                }
                set(&meta, &mut version, number)
            } else if meta.path.is_ident("from") {
                let old = meta.value()?.parse()?;
                set(&meta, &mut from, old)
            } else if meta.path.is_ident("to") {
                let old = meta.value()?.parse()?;
                set(&meta, &mut to, old)
            } else {
                Err(meta.error("expected `version = 2`, `from = v1::Type` or `to = v1::Type`"))
            }
        })?;
    }
    let Some(version) = version else {
        return Err(syn::Error::new_spanned(
            &input.ident,
            "a State needs the number of its format: #[state(version = 1)]; raise it when the type changes",
        ));
    };
    Ok(Options { version, from, to })
}

fn set<T>(meta: &syn::meta::ParseNestedMeta<'_>, place: &mut Option<T>, value: T) -> Result<()> {
    if place.replace(value).is_some() { Err(meta.error("given twice")) } else { Ok(()) }
}
