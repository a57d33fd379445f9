//! P13, P14, P15 and P17.

use gantry_e2e::{Gantry, House, PATIENCE, Terminal, ended, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::Child;
use std::time::{Duration, Instant};

fn look(gantry: &Gantry, name: &str, template: &str) -> String {
    gantry.ok(&["inspect", "-f", template, name])
}

/// Twenty crash loops, each stopped ten times, wherever in its loop it is just then.
#[test]
fn p13_a_stopped_crash_loop_stays_stopped() {
    let house = House::new();
    let gantry = house.gantry();
    let names: Vec<String> = (0..20).map(|number| format!("loop{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        // Some end at once, some live a little.
        let script = format!("usleep {}; exit 1", number * 20_000);
        gantry.ok(&[
            "create",
            "--restart",
            "always",
            "--name",
            name,
            "busybox",
            "sh",
            "-c",
            &script,
        ]);
    }
    let mut restarting = 0;
    for round in 0..10 {
        let began = Instant::now();
        for name in &names {
            gantry.ok(&["start", name]);
        }
        let mut stopped = Vec::new();
        for (number, name) in names.iter().enumerate() {
            if (number + round) % 3 == 0 {
                eventually("it waits for its next run", PATIENCE, || {
                    look(&gantry, name, "{{.State.Status}}") == "restarting"
                });
                restarting += 1;
            }
            gantry.ok(&["stop", "-t", "0", name]);
            let state = look(
                &gantry,
                name,
                "{{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}",
            );
            assert!(state.starts_with("exited "), "round {round}, {name}: {state}");
            stopped.push(state);
        }
        // A pause is no longer than all before it, and those were since they were started.
        std::thread::sleep(began.elapsed().max(Duration::from_secs(2)));
        for (name, then) in names.iter().zip(stopped) {
            let now = look(
                &gantry,
                name,
                "{{.State.Status}} {{.State.StartedAt}} {{.RestartCount}}",
            );
            assert_eq!(now, then, "round {round}, {name} ran again");
        }
    }
    assert!(restarting > 60, "{restarting} of them were found restarting");
}

/// Neither a start of the daemon nor its kill makes it run again, but for `always` as Docker has it.
#[test]
fn p13_a_kill_of_the_daemon_after_a_stop_changes_nothing() {
    let mut house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "-d",
        "--restart",
        "unless-stopped",
        "--name",
        "loop",
        "busybox",
        "false",
    ]);
    eventually("it waits for its next run", PATIENCE, || {
        look(&gantry, "loop", "{{.State.Status}}") == "restarting"
    });
    gantry.ok(&["stop", "loop"]);
    let then = look(&gantry, "loop", "{{.State.StartedAt}} {{.RestartCount}}");
    house.restart_hard();
    let gantry = house.gantry();
    // Whoever is run at the daemon's start is run before what is asked for later.
    gantry.ok(&["run", "--rm", "busybox", "true"]);
    std::thread::sleep(Duration::from_secs(1));
    let now = look(&gantry, "loop", "{{.State.StartedAt}} {{.RestartCount}}");
    assert_eq!(
        (look(&gantry, "loop", "{{.State.Status}}").as_str(), now),
        ("exited", then)
    );
}

/// `run --rm -it`, restarted: the same container runs again, and goes with its next end for good.
#[test]
fn p14_restart_of_a_container_with_rm() {
    let house = House::new();
    let gantry = house.gantry();
    for turn in 0..5 {
        let name = format!("box{turn}");
        let command = gantry.command([
            "run",
            "--rm",
            "-it",
            "--name",
            &name,
            "-e",
            "PS1=ready> ",
            "busybox",
            "sh",
        ]);
        let mut terminal = Terminal::spawn(command, 24, 80);
        terminal.expect("ready> ", PATIENCE);
        let (id, pid) = (look(&gantry, &name, "{{.Id}}"), look(&gantry, &name, "{{.State.Pid}}"));
        gantry.ok(&["restart", "-t", "0", &name]);
        assert_eq!(look(&gantry, &name, "{{.Id}} {{.State.Running}}"), format!("{id} true"));
        assert_ne!(look(&gantry, &name, "{{.State.Pid}}"), pid);
        // It is whole: it runs what it is told and can be restarted once more.
        assert_eq!(gantry.ok(&["exec", &name, "echo", "again"]), "again");
        gantry.ok(&["restart", "-t", "0", &name]);
        assert_eq!(look(&gantry, &name, "{{.Id}} {{.State.Running}}"), format!("{id} true"));
        gantry.ok(&["kill", &name]);
        eventually("it is removed", PATIENCE, || gantry.run(&["inspect", &name]).code == 1);
        // Nobody is left hanging on it.
        terminal.exit(PATIENCE);
    }
    assert_eq!(gantry.ok(&["ps", "-aq"]), "");
}

/// Without a terminal, and ended by its own program.
#[test]
fn p14_a_detached_one_goes_with_its_own_end() {
    let house = House::new();
    let gantry = house.gantry();
    let script = "while [ ! -e /tmp/end ]; do usleep 10000; done";
    gantry.ok(&["run", "-d", "--rm", "--name", "box", "busybox", "sh", "-c", script]);
    for _ in 0..5 {
        gantry.ok(&["restart", "-t", "0", "box"]);
        assert_eq!(look(&gantry, "box", "{{.State.Running}}"), "true");
    }
    // The container may end before the program that ends it.
    gantry.run(&["exec", "box", "touch", "/tmp/end"]);
    eventually("it is removed", PATIENCE, || gantry.run(&["inspect", "box"]).code == 1);
}

/// A container that does not hear SIGTERM, as it says itself.
fn deaf(gantry: &Gantry, name: &str) {
    let script = "trap 'echo heard' TERM; echo up; while :; do usleep 10000; done";
    gantry.ok(&["run", "-d", "--name", name, "busybox", "sh", "-c", script]);
    eventually("the trap is set", PATIENCE, || {
        gantry.ok(&["logs", name]).contains("up")
    });
}

/// A stop that waits for ever, once its signal was heard.
fn waits(gantry: &Gantry, name: &str) -> Child {
    let heard = || gantry.ok(&["logs", name]).matches("heard").count();
    let before = heard();
    let mut command = gantry.command(["stop", "-t", "-1", name]);
    let child = command
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null());
    let child = child.spawn().expect("gantry starts");
    eventually("the signal is heard", PATIENCE, || heard() > before);
    child
}

#[test]
fn p15_a_stop_that_waits_can_be_interrupted_and_overtaken() {
    let house = House::new();
    let gantry = house.gantry();
    for (turn, end) in [
        &["stop", "-t", "0"][..],
        &["kill"],
        &["kill", "-s", "KILL"],
        &["rm", "-f"],
    ]
    .iter()
    .enumerate()
    {
        let name = format!("deaf{turn}");
        deaf(&gantry, &name);
        let mut first = waits(&gantry, &name);
        // It waits as asked: the default would have been over by now.
        if turn == 0 {
            std::thread::sleep(Duration::from_secs(12));
        }
        assert!(first.try_wait().expect("a child").is_none(), "it does not wait");
        assert_eq!(look(&gantry, &name, "{{.State.Running}}"), "true");
        // Interrupted, the client ends and the container goes on.
        let pid = Pid::from_raw(i32::try_from(first.id()).expect("a pid"));
        kill(pid, Signal::SIGINT).expect("the client can be signalled");
        assert_ne!(ended(&mut first).code(), Some(0), "it did not stop anything");
        assert_eq!(look(&gantry, &name, "{{.State.Running}}"), "true");
        // Two more that wait, and one that does not.
        let (mut second, mut third) = (waits(&gantry, &name), waits(&gantry, &name));
        let began = Instant::now();
        let mut args = end.to_vec();
        args.push(&name);
        gantry.ok(&args);
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{end:?} took {:?}",
            began.elapsed()
        );
        for child in [&mut second, &mut third] {
            assert_eq!(ended(child).code(), Some(0), "what it waited for has come");
        }
        if end[0] != "rm" {
            assert_eq!(
                look(&gantry, &name, "{{.State.Status}} {{.State.ExitCode}}"),
                "exited 137"
            );
        }
    }
}

/// The freezer of cgroup v1 keeps what it holds from dying, and the kernel lets the first process of a pid namespace end only after
/// all others.
#[test]
fn p17_a_paused_guest_of_a_pid_namespace_does_not_hold_up_its_owner() {
    let house = House::new();
    let gantry = house.gantry();
    for turn in 0..3 {
        let (owner, guest, second) = (format!("owner{turn}"), format!("guest{turn}"), format!("second{turn}"));
        gantry.ok(&["run", "-d", "--name", &owner, "busybox", "sleep", "1000"]);
        let pid = format!("container:{owner}");
        gantry.ok(&["run", "-d", "--name", &guest, "--pid", &pid, "busybox", "sleep", "1000"]);
        // One that is lent what was lent.
        let through = format!("container:{guest}");
        gantry.ok(&[
            "run", "-d", "--name", &second, "--pid", &through, "busybox", "sleep", "1000",
        ]);
        gantry.ok(&["pause", &guest]);
        gantry.ok(&["pause", &second]);
        let began = Instant::now();
        match turn {
            0 => drop(gantry.ok(&["stop", "-t", "1", &owner])),
            1 => drop(gantry.ok(&["kill", &owner])),
            _ => drop(gantry.ok(&["rm", "-f", &owner])),
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "turn {turn}: {:?}",
            began.elapsed()
        );
        if turn < 2 {
            eventually("the owner has ended", PATIENCE, || {
                look(&gantry, &owner, "{{.State.Status}}") == "exited"
            });
        }
        for name in [&guest, &second] {
            eventually("the guest was killed with the namespace", PATIENCE, || {
                look(&gantry, name, "{{.State.Status}} {{.State.ExitCode}}") == "exited 137"
            });
        }
        // Nobody else was held up, and nobody is later.
        assert_eq!(gantry.ok(&["run", "--rm", "busybox", "echo", "other"]), "other");
        assert_ne!(gantry.run(&["start", &guest]).code, 0, "its lender does not run");
    }
}

/// The owner's own end, and a daemon that is killed in between.
#[test]
fn p17_a_paused_guest_is_let_go_by_the_next_daemon() {
    let mut house = House::new();
    let gantry = house.gantry();
    let script = "while [ ! -e /tmp/end ]; do usleep 10000; done";
    gantry.ok(&["run", "-d", "--name", "owner", "busybox", "sh", "-c", script]);
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "guest",
        "--pid",
        "container:owner",
        "busybox",
        "sleep",
        "1000",
    ]);
    gantry.ok(&["pause", "guest"]);
    gantry.ok(&["exec", "owner", "true"]);
    let pid = look(&gantry, "owner", "{{.State.Pid}}");
    house.kill_daemon();
    std::fs::write(format!("/proc/{pid}/root/tmp/end"), "").expect("the owner's /tmp");
    house.start();
    let gantry = house.gantry();
    for (name, code) in [("owner", "0"), ("guest", "137")] {
        let expected = format!("exited {code}");
        eventually("it has ended", PATIENCE, || {
            look(&gantry, name, "{{.State.Status}} {{.State.ExitCode}}") == expected
        });
    }
}
