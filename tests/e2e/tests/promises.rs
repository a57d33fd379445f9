//! Promises of the README's table, each by its number.

use gantry_e2e::{House, Terminal, eventually};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(10);

#[test]
fn p01_stdin_alone_does_not_hold_the_client() {
    let house = House::new();
    let gantry = house.gantry();
    let command = gantry.command([
        "run",
        "-a",
        "stdin",
        "-i",
        "--rm",
        "busybox",
        "sh",
        "-c",
        "read line; exit 3",
    ]);
    let mut child = gantry.spawn(command);
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(b"line\n").expect("the client reads");
    let began = Instant::now();
    // stdin stays open: the client returns all the same.
    let status = child.wait().expect("the client ends");
    assert_eq!(status.code(), Some(3));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(stdin);
}

#[test]
fn p02_a_name_like_an_id_is_refused() {
    let house = House::new();
    let gantry = house.gantry();
    let id = gantry.ok(&["create", "--name", "first", "busybox", "true"]);
    for name in [&id[..], &id[..12], &id[..20]] {
        let refused = gantry.run(&["create", "--name", name, "busybox", "true"]);
        assert_ne!(refused.code, 0, "{name}");
        let said = refused.stderr.contains("first") || refused.stderr.contains(&id[..12]);
        assert!(said, "whose: {}", refused.stderr);
    }
    assert_eq!(gantry.ok(&["ps", "-aq", "--no-trunc"]), id);
    // A short one is a name like any other, and a name wins over a prefix.
    let second = gantry.ok(&["create", "--name", &id[..4], "busybox", "true"]);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.Id}}", &id[..4]]), second);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.Id}}", &id[..10]]), id);
}

#[test]
fn p06_a_limit_of_kernel_memory_is_ignored_with_a_warning() {
    let house = House::new();
    let gantry = house.gantry();
    for verb in ["run", "create"] {
        let args = [verb, "--kernel-memory", "50m", "--name", verb, "busybox", "echo", "up"];
        let output = gantry
            .run(&args)
            .exits(0)
            .says("WARNING: the kernel memory limit is ignored");
        assert!(verb == "create" || output.stdout == "up\n", "{}", output.stdout);
        assert_eq!(
            gantry.ok(&["inspect", "-f", "{{.HostConfig.KernelMemory}}", verb]),
            "52428800"
        );
    }
    let plain = gantry.run(&["run", "--rm", "busybox", "true"]).exits(0);
    assert!(!plain.stderr.contains("kernel memory"), "{}", plain.stderr);
}

#[test]
fn p03_stdin_is_closed_from_birth() {
    let mut house = House::new();
    for turn in 0..10u64 {
        let gantry = house.gantry();
        let name = format!("shell{turn}");
        let mut child = gantry.spawn(gantry.command(["run", "-d", "--name", &name, "busybox", "sh"]));
        std::thread::sleep(Duration::from_millis(turn * 8));
        house.restart_hard();
        child.wait().expect("the client ends");
        eventually("no shell lives for ever", LIMIT, || {
            let seen = gantry.run(&["inspect", "-f", "{{.State.Running}}", &name]);
            seen.code == 1 || seen.line() == "false"
        });
    }
}

#[test]
fn p11_a_start_cut_short_can_be_repeated() {
    let mut house = House::new();
    let gantry = house.gantry();
    gantry.ok(&["create", "--name", "box", "busybox", "sleep", "1000"]);
    for turn in 0..10u64 {
        let mut child = gantry.spawn(gantry.command(["start", "box"]));
        std::thread::sleep(Duration::from_millis(turn * 6));
        house.restart_hard();
        child.wait().expect("the client ends");
        gantry.ok(&["start", "box"]);
        assert_eq!(gantry.ok(&["exec", "box", "echo", "alive"]), "alive", "turn {turn}");
        gantry.ok(&["kill", "box"]);
        gantry.ok(&["wait", "box"]);
    }
}

#[test]
fn p12_p16_a_busy_container_is_removed_once_it_can_be() {
    let house = House::new();
    let gantry = house.gantry();
    let id = gantry.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let dir = house.data_root().join("containers").join(&id);
    assert!(dir.is_dir(), "{} is where it lives", dir.display());
    // A mount inside its directory makes removal fail until it is gone.
    let held = dir.join("held");
    std::fs::create_dir(&held).expect("a directory");
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(Some("none"), &held, Some("tmpfs"), flags, None::<&str>).expect("a tmpfs");
    let removed = gantry.run(&["rm", "-f", "box"]);
    let known = gantry.run(&["inspect", "box"]).code == 0;
    let there = held.exists();
    nix::mount::umount2(&held, nix::mount::MntFlags::MNT_DETACH)
        .or_else(|error| match error {
            nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT if !there => Ok(()),
            other => Err(other),
        })
        .expect("it can be unmounted");
    assert!(there, "a mount is not removed from under its owner");
    assert_ne!(removed.code, 0, "what is left is not called removed");
    assert!(known, "the record is kept: {}", removed.stderr);
    assert!(
        removed.stderr.contains("busy"),
        "it says what is in the way: {}",
        removed.stderr
    );
    // Nobody asks again: the daemon does it by itself.
    eventually("it is removed in the background", Duration::from_secs(30), || {
        gantry.run(&["inspect", "box"]).code == 1 && !dir.exists()
    });
}

#[test]
fn p18_an_exec_ends_with_its_process() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&["run", "-d", "--name", "box", "busybox", "sleep", "1000"]);
    let command = gantry.command(["exec", "-it", "-e", "PS1=ready> ", "box", "sh"]);
    let mut terminal = Terminal::spawn(command, 24, 80);
    terminal.expect("ready> ", LIMIT);
    terminal.send("trap '' HUP; sleep 500 &\n");
    terminal.send("exit 4\n");
    assert_eq!(terminal.exit(Duration::from_secs(3)), 4, "{}", terminal.screen());
    // And without a terminal, though the child holds the pipes.
    let began = Instant::now();
    let mut command = gantry.command(["exec", "box", "sh", "-c", "sleep 500 & exit 5"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    gantry.finish(command).exits(5);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn p39_logs_are_bounded_unless_told_otherwise() {
    let house = House::new();
    let gantry = house.gantry();
    let id = gantry.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "--log-opt",
        "max-size=1m",
        "--log-opt",
        "max-file=3",
        "busybox",
        "sh",
        "-c",
        "seq 1 3000000",
    ]);
    assert_eq!(gantry.ok(&["wait", "box"]), "0", "full logs do not stop it");
    let dir = house.data_root().join("containers").join(&id);
    let size = || -> u64 {
        let entries = walk(&dir);
        entries
            .iter()
            .filter_map(|path| path.metadata().ok())
            .map(|meta| meta.len())
            .sum()
    };
    eventually("the logs are small", LIMIT, || size() < 5 << 20);
    let last = gantry.ok(&["logs", "-n", "1", "box"]);
    assert_eq!(last, "3000000", "the newest is kept");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found
}
