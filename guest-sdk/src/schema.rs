//! The trait of postcard-schema under the derive of this crate.

// The names given one by one win over those of the glob: of postcard-schema's two `Schema`s, the trait is left.
pub use guest_sdk_macros::Schema;
pub use postcard_schema::*;
