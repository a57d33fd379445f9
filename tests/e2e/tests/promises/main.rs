//! Promises of the README's table, each by its number.

mod copies;
mod ends;
mod names;
mod ports;
mod volumes;

use gantry_e2e::{House, PATIENCE, Terminal, ended, eventually};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// The client returns within a second of the process's end, with its exit code. Nobody closes the client's stdin.
fn returns_at_once(flags: &[&str]) {
    let house = House::new();
    let gantry = house.gantry();
    // Whatever is attached, a file in the container ends it.
    let script = "while [ ! -e /tmp/end ]; do sleep 0.01; done; exit 3";
    let mut times = Vec::new();
    for turn in 0..3 {
        let name = format!("box{turn}");
        let mut command = gantry.command(["run", "--name", &name]);
        command.args(flags).args(["busybox", "sh", "-c", script]);
        let mut child = gantry.spawn(command);
        eventually("the container runs", PATIENCE, || {
            gantry.run(&["inspect", "-f", "{{.State.Running}}", &name]).line() == "true"
        });
        let pid = gantry.ok(&["inspect", "-f", "{{.State.Pid}}", &name]);
        let end = format!("/proc/{pid}/root/tmp/end");
        let began = Instant::now();
        std::fs::write(end, "").expect("the container's /tmp");
        let status = ended(&mut child);
        times.push(began.elapsed());
        assert_eq!(status.code(), Some(3), "{flags:?}");
    }
    // What holds a client holds it each time; a busy machine does not.
    assert!(
        times.iter().any(|took| *took < Duration::from_secs(1)),
        "{flags:?}: the client returned after {times:?}"
    );
}

#[test]
fn p01_stdin_alone_does_not_hold_the_client() {
    returns_at_once(&["-i", "-a", "stdin"]);
    returns_at_once(&["-a", "stdin"]);
}

#[test]
fn p01_nothing_attached_holds_the_client() {
    for flags in [
        &["-a", "stdout"][..],
        &["-a", "stderr"],
        &["-i"],
        &["-i", "-a", "stdin", "-a", "stderr"],
        &["-i", "--rm"],
        &[],
    ] {
        returns_at_once(flags);
    }
}

/// The weakness itself is a terminal's: stdin alone, in a real one.
#[test]
fn p01_a_terminal_with_stdin_alone_is_given_back() {
    let house = House::new();
    let gantry = house.gantry();
    let mut times = Vec::new();
    for turn in 0..3 {
        let name = format!("box{turn}");
        let mut command = gantry.command(["run", "-it", "-a", "stdin", "--name", &name]);
        command.args(["busybox", "sh", "-c", "read line; exit 3"]);
        let mut terminal = Terminal::spawn(command, 24, 80);
        eventually("the container runs", PATIENCE, || {
            gantry.run(&["inspect", "-f", "{{.State.Running}}", &name]).line() == "true"
        });
        let began = Instant::now();
        terminal.send("line\n");
        let code = terminal.exit(PATIENCE);
        times.push(began.elapsed());
        assert_eq!(code, 3, "{}", terminal.screen());
    }
    // As above: a busy machine does not hold it each time.
    assert!(
        times.iter().any(|took| *took < Duration::from_secs(1)),
        "the client returned after {times:?}"
    );
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
fn p07_what_is_asked_of_block_devices_is_checked_at_create() {
    let house = House::new();
    let gantry = house.gantry();
    // What the kernel has is had, and seen in the container's own cgroup; what it lacks is refused before anything is made.
    let seen = gantry_e2e::BLOCK_WEIGHT;
    let made = gantry.run(&[
        "create",
        "--name",
        "box",
        "--blkio-weight",
        "300",
        "busybox",
        "sh",
        "-c",
        seen,
    ]);
    match made.code {
        0 => assert_eq!(gantry.ok(&["start", "-a", "box"]), "300"),
        _ => {
            let told = made.says("Your kernel does not support Block I/O weight");
            assert!(told.stderr.contains("it has "), "{}", told.stderr);
            assert_eq!(gantry.ok(&["ps", "-aq"]), "");
        }
    }
    let before = gantry.ok(&["ps", "-aq"]);
    for (flag, value, says) in [
        ("--blkio-weight", "5", "from 10 to 1000"),
        ("--device-read-bps", "/dev/nothing:1mb", "/dev/nothing"),
        ("--device-write-iops", "/dev/null:10", "not a block device"),
        ("--blkio-weight-device", "/dev/null:300", "not a block device"),
    ] {
        let refused = gantry.run(&["create", flag, value, "busybox", "true"]).says(says);
        assert_ne!(refused.code, 0, "{flag}");
    }
    assert_eq!(gantry.ok(&["ps", "-aq"]), before, "nothing is made of what is refused");
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
    eventually("it is removed in the background", PATIENCE, || {
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
    terminal.expect("ready> ", PATIENCE);
    terminal.send("trap '' HUP; sleep 500 &\n");
    terminal.send("exit 4\n");
    assert_eq!(terminal.exit(PATIENCE), 4, "{}", terminal.screen());
    // And without a terminal, though the child holds the pipes.
    let began = Instant::now();
    let mut command = gantry.command(["exec", "box", "sh", "-c", "sleep 500 & exit 5"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    gantry.finish(command).exits(5);
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}
