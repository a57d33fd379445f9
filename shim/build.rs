//! Links the shim at a fixed address: its tables of pointers need no relocation then, stay shared between all shims, and save each of
//! them half a megabyte of private memory. The price: the program itself is not moved about in memory; its libraries, heap and stacks are.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bins=-no-pie");
}
