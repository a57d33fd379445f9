//! Notes which compiler builds this, for `gantry version`.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc)
        .arg("--version")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok());
    let version = said
        .as_deref()
        .and_then(|text| text.split_whitespace().nth(1))
        .unwrap_or("unknown");
    println!("cargo::rustc-env=GANTRY_RUST_VERSION={version}");
}
