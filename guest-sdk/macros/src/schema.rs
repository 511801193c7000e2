//! `#[derive(Schema)]`. postcard-schema has one too, which ignores `#[serde(skip)]` and wants itself among the author's
//! dependencies.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Expr, Fields, Lit, LitStr, Result};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let container = Serde::of(&input.attrs)?;
    let name = &input.ident;
    let ty = match &input.data {
        Data::Struct(data) if container.transparent => transparent(&data.fields)?,
        Data::Struct(data) => {
            let ty = shape(&data.fields, &Shape::STRUCT)?;
            let text = container.rename.unwrap_or_else(|| name.to_string());
            quote!(&#SCHEMA::NamedType { name: #text, ty: &#ty })
        }
        Data::Enum(data) => {
            let mut variants = Vec::new();
            for variant in &data.variants {
                let serde = Serde::of(&variant.attrs)?;
                if serde.skip {
                    return Err(Error::new_spanned(
                        variant,
                        "a skipped variant shifts the numbers of those after it; use another type",
                    ));
                }
                let text = serde.rename.unwrap_or_else(|| variant.ident.to_string());
                let ty = shape(&variant.fields, &Shape::VARIANT)?;
                variants.push(quote!(&#SCHEMA::NamedVariant { name: #text, ty: &#ty }));
            }
            let text = container.rename.unwrap_or_else(|| name.to_string());
            quote!(&#SCHEMA::NamedType { name: #text, ty: &#SCHEMA::DataModelType::Enum(&[#(#variants),*]) })
        }
        Data::Union(_) => return Err(Error::new_spanned(name, "a union can't be serialized")),
    };

    let mut generics = input.generics.clone();
    for parameter in generics.type_params_mut() {
        parameter.bounds.push(syn::parse_quote!(::guest_sdk::Schema));
    }
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        impl #impl_generics ::guest_sdk::Schema for #name #type_generics #where_clause {
            const SCHEMA: &'static #SCHEMA::NamedType = #ty;
        }
    })
}

/// The module of the schema's types, as tokens.
struct SchemaPath;
const SCHEMA: SchemaPath = SchemaPath;

impl quote::ToTokens for SchemaPath {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(quote!(::guest_sdk::__private::postcard_schema::schema));
    }
}

/// The names of the cases: a struct's and a variant's differ only in these.
struct Shape {
    ty: &'static str,
    named: &'static str,
    newtype: &'static str,
    tuple: &'static str,
    unit: &'static str,
}

impl Shape {
    const STRUCT: Self = Self {
        ty: "DataModelType",
        named: "Struct",
        newtype: "NewtypeStruct",
        tuple: "TupleStruct",
        unit: "UnitStruct",
    };
    const VARIANT: Self = Self {
        ty: "DataModelVariant",
        named: "StructVariant",
        newtype: "NewtypeVariant",
        tuple: "TupleVariant",
        unit: "UnitVariant",
    };
}

fn shape(fields: &Fields, shape: &Shape) -> Result<TokenStream> {
    let ident = |name: &str| syn::Ident::new(name, proc_macro2::Span::call_site());
    let ty = ident(shape.ty);
    let mut types = Vec::new();
    for field in fields {
        let serde = Serde::of(&field.attrs)?;
        if serde.skip {
            continue;
        }
        let field_type = &field.ty;
        let schema = quote_spanned!(field_type.span()=> <#field_type as ::guest_sdk::Schema>::SCHEMA);
        types.push(match &field.ident {
            Some(name) => {
                let text = serde.rename.unwrap_or_else(|| unraw(name));
                quote!(&#SCHEMA::NamedValue { name: #text, ty: #schema })
            }
            None => schema,
        });
    }
    Ok(match fields {
        Fields::Named(_) => {
            let case = ident(shape.named);
            quote!(#SCHEMA::#ty::#case(&[#(#types),*]))
        }
        Fields::Unnamed(all) if all.unnamed.len() == 1 && types.len() == 1 => {
            let case = ident(shape.newtype);
            quote!(#SCHEMA::#ty::#case(#(#types)*))
        }
        Fields::Unnamed(_) => {
            let case = ident(shape.tuple);
            quote!(#SCHEMA::#ty::#case(&[#(#types),*]))
        }
        Fields::Unit => {
            let case = ident(shape.unit);
            quote!(#SCHEMA::#ty::#case)
        }
    })
}

fn transparent(fields: &Fields) -> Result<TokenStream> {
    for field in fields {
        if !Serde::of(&field.attrs)?.skip {
            let ty = &field.ty;
            return Ok(quote!(<#ty as ::guest_sdk::Schema>::SCHEMA));
        }
    }
    Err(Error::new_spanned(fields, "a transparent type has one field"))
}

fn unraw(name: &syn::Ident) -> String {
    let text = name.to_string();
    text.strip_prefix("r#").unwrap_or(&text).to_owned()
}

/// What serde's attributes mean for the bytes.
#[derive(Default)]
struct Serde {
    rename: Option<String>,
    skip: bool,
    transparent: bool,
}

impl Serde {
    fn of(attributes: &[Attribute]) -> Result<Self> {
        let mut serde = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            attribute.parse_nested_meta(|meta| {
                let Some(name) = meta.path.get_ident().map(ToString::to_string) else {
                    return Err(meta.error("unknown serde attribute"));
                };
                match name.as_str() {
                    "skip" => serde.skip = true,
                    "transparent" => serde.transparent = true,
                    "rename" => match meta.value()?.parse::<Expr>()? {
                        Expr::Lit(literal) if matches!(literal.lit, Lit::Str(_)) => {
                            if let Lit::Str(text) = literal.lit {
                                serde.rename = Some(text.value());
                            }
                        }
                        other => return Err(Error::new_spanned(other, "expected a string")),
                    },
                    // They change no byte: names are not written, and a default only fills what is skipped.
                    "rename_all" | "rename_all_fields" | "default" | "bound" | "crate" | "deny_unknown_fields"
                    | "expecting" | "alias" | "borrow" => {
                        if meta.input.peek(syn::Token![=]) {
                            meta.value()?.parse::<Expr>()?;
                        } else if meta.input.peek(syn::token::Paren) {
                            meta.parse_nested_meta(|inner| inner.value()?.parse::<LitStr>().map(drop))?;
                        }
                    }
                    "flatten" | "untagged" | "tag" | "content" | "other" | "skip_serializing_if"
                    | "skip_serializing" | "skip_deserializing" => {
                        return Err(meta.error(format!(
                            "state travels as postcard, which writes no names: it can't be read back with serde's `{name}`"
                        )));
                    }
                    _ => {
                        return Err(meta.error(format!(
                            "serde's `{name}` can change the format without the fingerprint noticing; use a type of its own"
                        )));
                    }
                }
                Ok(())
            })?;
        }
        Ok(serde)
    }
}
