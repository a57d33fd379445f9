//! Every test there is, on real mounts, namespaces and cgroups.

use crate::leftovers::Snapshot;
use crate::{prepare, sh};
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

/// The directory of the programs with failpoints in them, below the release directory: for the fault tests only.
const FAULTY: &str = "failpoints";

/// Tests that kill their own process at a failpoint, and so are built with them.
const WITH_FAILPOINTS: [(&str, &str); 1] = [("gantry-suites", "store_kills")];

pub fn run(args: &[String]) -> Result<()> {
    if !sh::is_root() {
        bail!("the tests mount, make namespaces and cgroups: run as root");
    }
    let start = Instant::now();
    prepare::packages(&[prepare::BUILD, prepare::TEST])?;
    let before = Snapshot::take();
    sh::rocksdb_once()?;
    faulty_programs()?;
    sh::build()?;
    let built = start.elapsed();
    let mut totals = Totals::default();
    cargo_test(&["--workspace", "--no-fail-fast"], args, &mut totals)?;
    if args.is_empty() {
        for (package, test) in WITH_FAILPOINTS {
            let chosen = ["-p", package, "--features", "failpoints", "--test", test];
            cargo_test(&chosen, &[], &mut totals)?;
        }
    }
    println!();
    println!(
        "tests: {} passed, {} failed, {} ignored, in {} binaries; built in {} s, run in {} s",
        totals.passed,
        totals.failed,
        totals.ignored,
        totals.binaries,
        built.as_secs(),
        (start.elapsed() - built).as_secs()
    );
    for name in &totals.failures {
        println!("  failed: {name}");
    }
    let left = before.settled();
    for what in &left {
        println!("  left behind: {what}");
    }
    if totals.broken {
        bail!("{} tests failed", totals.failed.max(1));
    }
    if !left.is_empty() {
        bail!("the tests left {} things behind", left.len());
    }
    if totals.passed == 0 {
        bail!("not one test was run");
    }
    println!("nothing of gantry's is left: no mount, namespace, link, cgroup, process, table or directory");
    Ok(())
}

/// A daemon that stops where it is told to, beside the plain programs it needs.
fn faulty_programs() -> Result<()> {
    sh::run(&mut sh::cargo(&[
        "build",
        "--release",
        "--workspace",
        "--features",
        "gantryd/failpoints",
    ]))?;
    let release = sh::target_dir().join("release");
    let dir = release.join(FAULTY);
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    for name in ["gantryd", "containerd-shim-gantry-v1"] {
        // Not over a file that may be running: beside it, then in its place.
        let (new, to) = (dir.join(format!("{name}.new")), dir.join(name));
        fs::copy(release.join(name), &new).with_context(|| format!("copy {name} to {}", dir.display()))?;
        fs::rename(&new, &to).with_context(|| format!("put {} in place", to.display()))?;
    }
    Ok(())
}

#[derive(Default)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
    binaries: u64,
    failures: Vec<String>,
    /// A run that did not end well, be it that it did not build.
    broken: bool,
}

impl Totals {
    /// Reads a line that the test harness prints.
    fn note(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("test result: ") {
            self.binaries += 1;
            for part in rest.split([';', '.']) {
                let mut words = part.split_whitespace();
                if let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) {
                    match what {
                        "passed" => self.passed += count,
                        "failed" => self.failed += count,
                        "ignored" => self.ignored += count,
                        _ => {}
                    }
                }
            }
        } else if let Some(name) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.strip_suffix(" ... FAILED"))
        {
            self.failures.push(name.to_owned());
        }
    }
}

/// Runs them with their output shown, and counts.
fn cargo_test(chosen: &[&str], args: &[String], totals: &mut Totals) -> Result<()> {
    let mut command = sh::cargo(&["test", "--release"]);
    command.args(chosen).args(args).stdout(Stdio::piped());
    command.env("GANTRY_FAILPOINTS_BIN", sh::target_dir().join("release").join(FAULTY));
    eprintln!("xtask: cargo test --release {} {}", chosen.join(" "), args.join(" "));
    let mut child = command.spawn().context("run cargo test")?;
    let output = child.stdout.take().context("the output of cargo test")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read the output of cargo test")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        totals.note(line.trim_end());
    }
    totals.broken |= !child.wait().context("wait for cargo test")?.success();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read_from_the_harness() {
        let mut totals = Totals::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s",
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
        ] {
            totals.note(line);
        }
        assert_eq!(
            (totals.passed, totals.failed, totals.ignored, totals.binaries),
            (13, 1, 1, 2)
        );
        assert_eq!(totals.failures, ["a::c"]);
    }
}
