//! The fingerprint of a state's type: FNV-1a over its postcard schema.
//!
//! It promises that two types of the same fingerprint have the same fields, in the same order, under the same names, with the
//! same types; names of types do not count. It is computed when the component is compiled.
//!
//! It must never change for a type: stored states and components carry it. That is why it is written out here instead of
//! taken from `postcard-schema`, whose own hash changed between its releases and does not delimit nested types.

use postcard_schema::schema::{DataModelType as Type, DataModelVariant as Variant, NamedType};

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The fingerprint of a type.
pub(crate) const fn of(ty: &NamedType) -> u64 {
    hash_type(BASIS, ty)
}

const fn byte(hash: u64, byte: u8) -> u64 {
    (hash ^ byte as u64).wrapping_mul(PRIME)
}

/// A length stands before everything that repeats, so that where one list ends and the next begins counts.
const fn len(mut hash: u64, len: usize) -> u64 {
    let mut rest = len as u64;
    loop {
        hash = byte(hash, (rest & 0xff) as u8);
        rest >>= 8;
        if rest == 0 {
            return hash;
        }
    }
}

const fn text(hash: u64, text: &str) -> u64 {
    let mut hash = len(hash, text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        hash = byte(hash, *first);
        rest = tail;
    }
    hash
}

const fn types(hash: u64, list: &[&NamedType]) -> u64 {
    let mut hash = len(hash, list.len());
    let mut rest = list;
    while let [first, tail @ ..] = rest {
        hash = hash_type(hash, first);
        rest = tail;
    }
    hash
}

const fn hash_type(hash: u64, ty: &NamedType) -> u64 {
    match ty.ty {
        Type::Bool => byte(hash, 1),
        Type::I8 => byte(hash, 2),
        Type::U8 => byte(hash, 3),
        Type::I16 => byte(hash, 4),
        Type::I32 => byte(hash, 5),
        Type::I64 => byte(hash, 6),
        Type::I128 => byte(hash, 7),
        Type::U16 => byte(hash, 8),
        Type::U32 => byte(hash, 9),
        Type::U64 => byte(hash, 10),
        Type::U128 => byte(hash, 11),
        Type::Usize => byte(hash, 12),
        Type::Isize => byte(hash, 13),
        Type::F32 => byte(hash, 14),
        Type::F64 => byte(hash, 15),
        Type::Char => byte(hash, 16),
        Type::String => byte(hash, 17),
        Type::ByteArray => byte(hash, 18),
        Type::Option(inner) => hash_type(byte(hash, 19), inner),
        Type::Unit => byte(hash, 20),
        Type::UnitStruct => byte(hash, 21),
        Type::NewtypeStruct(inner) => hash_type(byte(hash, 22), inner),
        Type::Seq(inner) => hash_type(byte(hash, 23), inner),
        Type::Tuple(list) => types(byte(hash, 24), list),
        Type::TupleStruct(list) => types(byte(hash, 25), list),
        Type::Map { key, val } => hash_type(hash_type(byte(hash, 26), key), val),
        Type::Struct(fields) => hash_fields(byte(hash, 27), fields),
        Type::Enum(variants) => {
            let mut hash = len(byte(hash, 28), variants.len());
            let mut rest = *variants;
            while let [first, tail @ ..] = rest {
                hash = text(hash, first.name);
                hash = match first.ty {
                    Variant::UnitVariant => byte(hash, 30),
                    Variant::NewtypeVariant(inner) => hash_type(byte(hash, 31), inner),
                    Variant::TupleVariant(list) => types(byte(hash, 32), list),
                    Variant::StructVariant(fields) => hash_fields(byte(hash, 33), fields),
                };
                rest = tail;
            }
            hash
        }
        Type::Schema => byte(hash, 29),
    }
}

const fn hash_fields(hash: u64, fields: &[&postcard_schema::schema::NamedValue]) -> u64 {
    let mut hash = len(hash, fields.len());
    let mut rest = fields;
    while let [first, tail @ ..] = rest {
        hash = hash_type(text(hash, first.name), first.ty);
        rest = tail;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::Schema;
    use std::collections::BTreeMap;

    #[derive(Schema)]
    #[expect(dead_code, reason = "only its schema counts")]
    struct Flat {
        a: Inner,
        c: u8,
    }

    #[derive(Schema)]
    #[expect(dead_code, reason = "only its schema counts")]
    struct Inner {
        b: u8,
    }

    #[derive(Schema)]
    #[expect(dead_code, reason = "only its schema counts")]
    struct Nested {
        a: InnerTwo,
    }

    #[derive(Schema)]
    #[expect(dead_code, reason = "only its schema counts")]
    struct InnerTwo {
        b: u8,
        c: u8,
    }

    #[test]
    fn where_a_nested_type_ends_counts() {
        assert_ne!(of(Flat::SCHEMA), of(Nested::SCHEMA));
    }

    #[test]
    fn a_fields_name_and_order_count_and_a_types_name_does_not() {
        mod other {
            #[derive(guest_sdk::Schema)]
            #[expect(dead_code, reason = "only its schema counts")]
            pub(super) struct Renamed {
                b: u8,
            }
            #[derive(guest_sdk::Schema)]
            #[expect(dead_code, reason = "only its schema counts")]
            pub(super) struct OtherField {
                d: u8,
            }
        }
        assert_eq!(of(Inner::SCHEMA), of(other::Renamed::SCHEMA));
        assert_ne!(of(Inner::SCHEMA), of(other::OtherField::SCHEMA));
    }

    /// Stored states carry these numbers: a change of the hash would make every one of them unreadable.
    #[test]
    fn fingerprints_never_change() {
        assert_eq!(of(u64::SCHEMA), 0xaf63_c74c_8601_c8dd);
        assert_eq!(of(<BTreeMap<String, Vec<Option<i32>>>>::SCHEMA), 0xfabb_4ea6_98cf_8601);
        assert_eq!(of(Flat::SCHEMA), 0x686b_57f9_9fb7_76fb);
    }
}
