//! libnfc's driver calls PC/SC, and the crate that builds libnfc does not say so. The library has to stand behind libnfc's own.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-lpcsclite");
}
