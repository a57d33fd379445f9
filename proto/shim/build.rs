//! Compiles `proto/extras.proto` in pure Rust: messages for rust-protobuf, client and server for ttrpc.

use std::{env, fs, path::Path};

fn main() {
    println!("cargo:rerun-if-changed=proto/extras.proto");
    let out = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    ttrpc_codegen::Codegen::new()
        .inputs(["proto/extras.proto"])
        .include("proto")
        .rust_protobuf()
        .customize(ttrpc_codegen::Customize {
            async_all: true,
            ..Default::default()
        })
        .out_dir(&out)
        .run()
        .expect("extras.proto compiles");
    for name in ["extras.rs", "extras_ttrpc.rs"] {
        without_inner_attributes(&Path::new(&out).join(name));
    }
}

/// `include!` takes no file with inner attributes or inner docs (rust-lang/rust#18810).
fn without_inner_attributes(path: &Path) {
    let text = fs::read_to_string(path).expect("the generated file is there");
    let kept: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with("#!") && !line.starts_with("//!"))
        .collect();
    fs::write(path, kept.join("\n")).expect("the output directory is writable");
}
