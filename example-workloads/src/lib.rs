//! The example workloads and the guests that misbehave on purpose, as components.
//!
//! The build script compiles them; nothing has to be installed beforehand. [`example`] and [`fault`] find one by its name;
//! where the name is fixed, the function of that name ([`counter_1_0_0`], [`faults::code_change_errors`]) can't be misspelt.

#![warn(missing_docs)]

include!(concat!(env!("OUT_DIR"), "/catalog.rs"));

/// A guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// The workload's name (`counter`), or the fault's (`code-change-traps`).
    pub name: &'static str,
    /// The version that an example answers with. A fault's means nothing: who deploys it gives the version.
    pub version: &'static str,
    /// A name for the file (`counter-1.0.0.wasm`).
    pub file_name: &'static str,
    /// What it is for.
    pub kind: Kind,
    /// What it shows or does wrong, in a sentence.
    pub about: &'static str,
    /// The bytes.
    pub component: &'static [u8],
}

/// What a guest is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To be shown and copied.
    Example,
    /// To fail in one way.
    Fault,
}

/// No component at all: the header of a core module, which every wasm tool takes for a file that it knows.
pub const NOT_A_COMPONENT: &[u8] = b"\0asm\x01\0\0\0";

/// All guests, examples first.
pub fn all() -> &'static [&'static Example] {
    ALL
}

/// The example of that name and version.
pub fn example(name: &str, version: &str) -> Option<&'static Example> {
    ALL.iter().copied().find(|guest| guest.kind == Kind::Example && guest.name == name && guest.version == version)
}

/// The fault of that name.
pub fn fault(name: &str) -> Option<&'static Example> {
    ALL.iter().copied().find(|guest| guest.kind == Kind::Fault && guest.name == name)
}

#[cfg(test)]
mod tests {
    use super::{Kind, NOT_A_COMPONENT, all, example, fault, faults};

    /// A component's header: layer 1, where a core module's says layer 0.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn every_guest_is_a_component() {
        for guest in all() {
            assert!(guest.component.starts_with(COMPONENT), "{}", guest.file_name);
        }
        assert!(!NOT_A_COMPONENT.starts_with(COMPONENT));
    }

    #[test]
    fn a_guest_is_found_by_its_name() {
        assert_eq!(example("counter", "1.0.0"), Some(super::counter_1_0_0()));
        assert_eq!(fault("code-change-errors"), Some(faults::code_change_errors()));
        assert_eq!(example("counter", "0.0.0"), None);
        assert_eq!(fault("counter"), None);
        assert!(all().iter().any(|guest| guest.kind == Kind::Fault));
    }
}
