//! `ctr run --rm` of `true`, as a user of containerd's own tool waits for it: gantryd with its shim beside Debian's containerd with
//! runc's, and the two crossed pairings, in turn.

use crate::engine::Engine;
use crate::measure::millis;
use crate::report::{Report, Unit};
use crate::rootfs::IMAGE;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

const OURS: &str = "io.containerd.gantry.v1";
const THEIRS: &str = "io.containerd.runc.v2";
/// At most this part of the peer's time.
const GOAL: f64 = 0.5;

struct Pair {
    name: &'static str,
    socket: PathBuf,
    runtime: &'static str,
}

/// Nothing where `ctr` or its daemon is not installed.
pub fn run(engines: &[Engine], root: &Path, runs: usize) -> Result<()> {
    let [gantry, docker, ..] = engines else {
        return Ok(());
    };
    if !["/usr/bin", "/usr/local/bin"]
        .iter()
        .any(|dir| Path::new(dir).join("ctr").is_file())
    {
        eprintln!("no ctr here");
        return Ok(());
    }
    let (ours, theirs) = (
        gantry.root.join("exec/gantry.sock"),
        docker.root.join("containerd.sock"),
    );
    let archive = root.join("bench.tar").display().to_string();
    gantry.must(&["save", "-o", &archive, IMAGE])?;
    for socket in [&ours, &theirs] {
        ctr(socket, &["images", "import", &archive])?;
    }
    let pair = |name, socket: &PathBuf, runtime| Pair {
        name,
        socket: socket.clone(),
        runtime,
    };
    let pairs = [
        pair("gantry", &ours, OURS),
        pair("containerd", &theirs, THEIRS),
        pair("gantry+runc", &ours, THEIRS),
        pair("ctrd+gantry", &theirs, OURS),
    ];
    let samples = samples(&pairs, runs)?;
    let mut report = Report::new(pairs.iter().map(|pair| pair.name).collect());
    let better = report.add("ctr run --rm true", Unit::Millis, &samples);
    report.print();
    let part = better.map_or(f64::NAN, |better| 1.0 / better);
    println!("gantry takes {part:.2} of containerd's time; the goal is at most {GOAL}");
    for socket in [&ours, &theirs] {
        ctr(socket, &["images", "rm", "--sync", &image()])?;
    }
    forget_namespace();
    Ok(())
}

fn image() -> String {
    format!("docker.io/{IMAGE}")
}

fn samples(pairs: &[Pair], runs: usize) -> Result<Vec<Vec<f64>>> {
    let mut samples = vec![Vec::new(); pairs.len()];
    let image = image();
    // The first of each warms caches and is not counted.
    for run in 0..=runs {
        for (pair, samples) in pairs.iter().zip(&mut samples) {
            let start = Instant::now();
            ctr(
                &pair.socket,
                &["run", "--rm", "--runtime", pair.runtime, &image, "bench", "true"],
            )?;
            if run > 0 {
                samples.push(millis(start.elapsed()));
            }
        }
    }
    Ok(samples)
}

/// One that other daemons of this machine do not use: runtimes keep what they know by namespace and id.
fn namespace() -> String {
    format!("bench-{}", std::process::id())
}

/// Directories that runtimes make for a namespace and leave.
fn forget_namespace() {
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    let dirs = hierarchies
        .map(|entry| entry.path())
        .chain(["/sys/fs/cgroup", "/run/containerd/runc"].map(PathBuf::from));
    for dir in dirs {
        // Not everywhere was something made.
        let _ = std::fs::remove_dir(dir.join(namespace()));
    }
}

fn ctr(socket: &Path, args: &[&str]) -> Result<()> {
    let mut command = Command::new("ctr");
    command.arg("--address").arg(socket).args(["--namespace", &namespace()]);
    let output = command.args(args).stdin(Stdio::null()).output().context("run ctr")?;
    ensure!(
        output.status.success(),
        "ctr {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
