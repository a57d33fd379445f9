//! Compiles the .proto files without a system protoc, and keeps their descriptors for those who walk them.

use std::{env, error::Error, fs, path::Path};

/// Beside each package's one file, `a/b.proto` for package `a.b`.
const PACKAGES: [&str; 25] = [
    "containerd.events",
    "containerd.runc.v1",
    "containerd.services.containers.v1",
    "containerd.services.content.v1",
    "containerd.services.diff.v1",
    "containerd.services.events.v1",
    "containerd.services.images.v1",
    "containerd.services.introspection.v1",
    "containerd.services.leases.v1",
    "containerd.services.mounts.v1",
    "containerd.services.namespaces.v1",
    "containerd.services.sandbox.v1",
    "containerd.services.snapshots.v1",
    "containerd.services.streaming.v1",
    "containerd.services.tasks.v1",
    "containerd.services.transfer.v1",
    "containerd.services.version.v1",
    "containerd.types",
    "containerd.types.transfer",
    "containerd.v1.types",
    "google.rpc.status",
    "grpc.health.v1",
    "io.containerd.cgroups.v1",
    "io.containerd.cgroups.v2",
    "runtimeoptions.v1",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = PACKAGES.map(|package| format!("{}.proto", package.replace('.', "/")));
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(files)?;

    let out = env::var("OUT_DIR")?;
    fs::write(
        Path::new(&out).join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    let mut config = tonic_prost_build::Config::new();
    config
        .enable_type_names()
        // A record's labels are a BTreeMap, and answers come in one order.
        .btree_map(["."])
        // Bulk data is sliced and not copied.
        .bytes([".containerd.services.content.v1", ".containerd.types.transfer"]);
    tonic_prost_build::configure().compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    Ok(())
}
