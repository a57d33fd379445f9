//! Compiles the .proto files without a system protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = ["types", "containers", "images", "networks", "system", "volumes"]
        .map(|name| format!("gantry/v1/{name}.proto"));
    println!("cargo::rerun-if-changed=gantry");
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
