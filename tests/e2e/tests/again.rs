//! Restart policies: runs that follow runs, across deaths of the daemon.

use gantry_e2e::{Gantry, House, PATIENCE, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn look(gantry: &Gantry, name: &str, template: &str) -> String {
    gantry.ok(&["inspect", "-f", template, name])
}

fn status(gantry: &Gantry, name: &str) -> String {
    look(gantry, name, "{{.State.Status}}")
}

fn pid(gantry: &Gantry, name: &str) -> Pid {
    Pid::from_raw(look(gantry, name, "{{.State.Pid}}").parse().expect("a pid"))
}

fn count(gantry: &Gantry, name: &str) -> u32 {
    look(gantry, name, "{{.RestartCount}}").parse().expect("a number")
}

#[test]
fn failures_are_counted_and_success_is_final() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "fails",
        "--restart",
        "on-failure:3",
        "busybox",
        "sh",
        "-c",
        "exit 5",
    ]);
    eventually("it gave up", PATIENCE, || {
        look(
            &gantry,
            "fails",
            "{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}",
        ) == "3 exited 5"
    });
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "works",
        "--restart",
        "on-failure:3",
        "busybox",
        "true",
    ]);
    eventually("it ended", PATIENCE, || status(&gantry, "works") == "exited");
    assert_eq!(count(&gantry, "works"), 0);
    // The pauses: 100, 200 and 400 ms.
    let deaths = gantry.ok(&[
        "events",
        "--since",
        "10m",
        "--until",
        "0s",
        "--filter",
        "container=fails",
        "--filter",
        "event=die",
        "--format",
        "{{.TimeNano}}",
    ]);
    let times: Vec<u64> = deaths.lines().map(|line| line.parse().expect("a time")).collect();
    assert_eq!(times.len(), 4, "{deaths}");
    assert!(times[3] - times[0] >= 700_000_000, "{deaths}");
    // Who starts it begins anew.
    gantry.ok(&["start", "fails"]);
    eventually("it gave up again", PATIENCE, || {
        look(&gantry, "fails", "{{.RestartCount}} {{.State.Status}}") == "3 exited"
    });
}

#[test]
fn what_always_runs_is_stopped_and_removed_by_hand_only() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "loops",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "exit 1",
    ]);
    eventually("it was run again a few times", PATIENCE, || {
        count(&gantry, "loops") >= 6
    });
    eventually("it waits", PATIENCE, || status(&gantry, "loops") == "restarting");
    assert!(
        gantry
            .ok(&["ps", "--format", "{{.Status}}"])
            .starts_with("Restarting (1)")
    );
    gantry
        .run(&["rm", "loops"])
        .exits(1)
        .says("container is restarting: stop the container before removing or force remove");
    gantry
        .run(&["exec", "loops", "true"])
        .exits(1)
        .says("is restarting, wait until the container is running");
    assert_eq!(gantry.ok(&["stop", "loops"]), "loops");
    assert_eq!(status(&gantry, "loops"), "exited");
    gantry.ok(&["start", "loops"]);
    eventually("it is at it again", PATIENCE, || count(&gantry, "loops") >= 2);
    gantry.ok(&["rm", "-f", "loops"]);

    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "stays",
        "--restart",
        "always",
        "busybox",
        "sleep",
        "1000",
    ]);
    let first = pid(&gantry, "stays");
    kill(first, Signal::SIGKILL).unwrap();
    eventually("it runs again", PATIENCE, || {
        let seen = look(&gantry, "stays", "{{.State.Status}} {{.State.Pid}}");
        seen.starts_with("running ") && seen != format!("running {first}")
    });
    gantry.ok(&["kill", "stays"]);
    eventually("who kills it means it", PATIENCE, || {
        status(&gantry, "stays") == "exited"
    });
    gantry.ok(&["update", "--restart", "no", "stays"]);
    gantry.ok(&["start", "stays"]);
    kill(pid(&gantry, "stays"), Signal::SIGKILL).unwrap();
    eventually("its policy is another", PATIENCE, || {
        status(&gantry, "stays") == "exited"
    });
    gantry
        .run(&["create", "--rm", "--restart", "always", "busybox"])
        .says("cannot specify both --restart and --rm");
}

#[test]
fn policies_hold_while_no_daemon_runs() {
    let mut house = House::new();
    let gantry = house.gantry();
    for (name, policy) in [
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("stopped", "unless-stopped"),
        ("never", "no"),
    ] {
        gantry.ok(&[
            "run",
            "-d",
            "--name",
            name,
            "--restart",
            policy,
            "busybox",
            "sleep",
            "1000",
        ]);
    }
    gantry.ok(&["stop", "-t", "0", "stopped"]);
    let pids = ["always", "unless", "never"].map(|name| pid(&gantry, name));
    house.kill_daemon();
    for pid in pids {
        kill(pid, Signal::SIGKILL).unwrap();
    }
    house.start();
    for name in ["always", "unless"] {
        // What the former daemon wrote down says that it runs, until it is looked for.
        eventually("it was run again", PATIENCE, || {
            look(&gantry, name, "{{.RestartCount}} {{.State.Status}}") == "1 running"
        });
    }
    assert_eq!(status(&gantry, "stopped"), "exited");
    eventually("it ended", PATIENCE, || status(&gantry, "never") == "exited");

    // Stopped by hand: at the daemon's start that counts for unless-stopped alone.
    gantry.ok(&["stop", "-t", "0", "always", "unless"]);
    house.restart_hard();
    eventually("always means always", PATIENCE, || {
        status(&gantry, "always") == "running"
    });
    assert_eq!(status(&gantry, "unless"), "exited");

    // Killed while it waits.
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "loops",
        "--restart",
        "always",
        "busybox",
        "false",
    ]);
    eventually("it was run again", PATIENCE, || count(&gantry, "loops") >= 3);
    house.restart_hard();
    let before = count(&gantry, "loops");
    eventually("it goes on", PATIENCE, || count(&gantry, "loops") > before);
    gantry.ok(&["rm", "-f", "loops"]);
}
