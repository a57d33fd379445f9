//! What a container costs in memory once it has been used, and what the daemon costs.

use gantry_e2e::{Gantry, House, PATIENCE, ended};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const CONTAINERS: usize = 100;
/// Of a shim, on average.
const SHIM_KIB: u64 = 512;
const DAEMON_KIB: u64 = 30 * 1024;

/// Logs a mebibyte, then repeats what it is told.
const SCRIPT: &str = "yes 0123456789abcde | head -c 1048576; exec cat";

/// KiB by `/proc/<pid>/smaps_rollup`: a page shared by n processes counts an n-th for each.
fn pss(process: &Path) -> u64 {
    let text = std::fs::read_to_string(process.join("smaps_rollup")).expect("a process's memory");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.expect("a number of KiB")
}

fn threads(process: &Path) -> usize {
    std::fs::read_dir(process.join("task")).expect("its threads").count()
}

/// The shims of a house, by their working directory or command line.
fn shims(house: &House) -> Vec<PathBuf> {
    let root = house.root().to_string_lossy().into_owned();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = |path: &PathBuf| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        let here = std::fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(house.root()));
        line.contains("containerd-shim") && (here || line.contains(&root))
    };
    entries.map(|entry| entry.path()).filter(ours).collect()
}

/// One container, with its log, an exec and an attach behind it.
fn used(gantry: &Gantry, name: &str) {
    gantry.ok(&["run", "-d", "-i", "--name", name, "busybox", "sh", "-c", SCRIPT]);
    assert_eq!(gantry.ok(&["exec", name, "echo", "here"]), "here");
    let mut command = gantry.command(["attach", name]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = command.spawn().expect("gantry starts");
    let mut stdin = client.stdin.take().expect("piped");
    stdin.write_all(b"hello\n").expect("the client reads");
    let stdout = BufReader::new(client.stdout.take().expect("piped"));
    // It may still see the end of the mebibyte.
    let mut lines = stdout.lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line == "hello"), "{name} answers");
    client.kill().expect("a client can be killed");
    ended(&mut client);
}

#[test]
fn a_hundred_used_containers_cost_little() {
    let house = House::new();
    let gantry = house.gantry();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= CONTAINERS {
                        return;
                    }
                    used(&gantry, &format!("box{number}"));
                }
            });
        }
    });
    for number in [0, CONTAINERS / 2, CONTAINERS - 1] {
        let logs = gantry.run(&["logs", &format!("box{number}")]).exits(0);
        assert_eq!(logs.bytes.len(), (1 << 20) + "hello\n".len());
    }
    let daemon = PathBuf::from(format!("/proc/{}", house.daemon_pid().expect("it runs")));
    let deadline = Instant::now() + PATIENCE;
    // What was just busy gives back what it held within moments.
    loop {
        let shims = shims(&house);
        assert_eq!(shims.len(), CONTAINERS);
        assert!(shims.iter().all(|shim| threads(shim) == 1), "a shim has one thread");
        let shim = shims.iter().map(|shim| pss(shim)).sum::<u64>() / CONTAINERS as u64;
        let daemon = pss(&daemon);
        if shim < SHIM_KIB && daemon < DAEMON_KIB {
            println!("{CONTAINERS} containers: {shim} KiB of PSS per shim, {daemon} KiB for the daemon");
            return;
        }
        assert!(
            Instant::now() < deadline,
            "{shim} KiB of PSS per shim, {daemon} KiB for the daemon"
        );
        std::thread::sleep(Duration::from_millis(200));
    }
}
