//! There are thousands of instances of this one, and each one's memory counts in full against what guests may have together.
//! Rust gives a guest a stack of 1 MiB; this one needs a few KiB.

fn main() {
    println!("cargo::rustc-link-arg-cdylib=-zstack-size=65536");
    println!("cargo::rerun-if-changed=build.rs");
}
