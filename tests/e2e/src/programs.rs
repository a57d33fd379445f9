//! Where the programs under test are.

use std::path::PathBuf;

/// The target directory this test was built into.
pub fn target_dir() -> PathBuf {
    if let Some(dir) = std::env::var_os("GANTRY_TEST_BIN") {
        return PathBuf::from(dir);
    }
    let mut dir = std::env::current_exe().expect("a test knows its own path");
    // <target>/release/deps/<test>
    dir.pop();
    if dir.ends_with("deps") {
        dir.pop();
    }
    dir
}

/// A program of ours, built beside the tests by `cargo build --release --workspace`.
pub fn program(name: &str) -> PathBuf {
    let path = target_dir().join(name);
    assert!(
        path.is_file(),
        "{} is not built: run `cargo build --release --workspace` first",
        path.display()
    );
    path
}
