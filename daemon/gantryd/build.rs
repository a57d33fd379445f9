//! Notes which commit is built, for `gantry version`; nothing where the sources are not a git checkout.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let commit = git(&["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    if !commit.is_empty() {
        // The branch that HEAD names moves without HEAD itself being written; its log is written at every move.
        for file in ["HEAD", "logs/HEAD"] {
            if let Some(path) = git(&["rev-parse", "--git-path", file]) {
                println!("cargo::rerun-if-changed={path}");
            }
        }
    }
    println!("cargo::rustc-env=GANTRY_GIT_COMMIT={commit}");
}

/// What git says of these very sources: a checkout that merely surrounds an unpacked archive of them is not theirs.
fn git(args: &[&str]) -> Option<String> {
    let run = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| said.trim().to_owned())
    };
    run(&["ls-files", "--error-unmatch", "build.rs"])?;
    run(args)
}
