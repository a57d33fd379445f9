//! P40.

use gantry_e2e::talk::{ANSWER, Servers, tcp};
use gantry_e2e::{House, PATIENCE, eventually};
use std::net::TcpListener;

const PORT: &str = "127.0.0.1:8080";

/// A port that somebody else has when the daemon starts is taken once it is free, by every policy that runs a container at boot.
#[test]
fn p40_a_port_taken_at_boot_is_taken_once_it_is_free() {
    let mut house = House::apart(&["--live-restore=false"]);
    for policy in ["always", "unless-stopped"] {
        let gantry = house.gantry();
        let id = gantry.ok(&[
            "run",
            "-d",
            "--name",
            policy,
            "--restart",
            policy,
            "-p",
            "127.0.0.1:8080:80",
            "busybox",
            "sleep",
            "1000",
        ]);
        house.stop_daemon();
        let taken = house
            .netns()
            .enter(|| TcpListener::bind(PORT))
            .expect("the port is free with the daemon down");
        house.start();
        let gantry = house.gantry();
        let look = |template: &str| gantry.ok(&["inspect", "-f", template, &id]);
        eventually("it is tried and fails for the port", PATIENCE, || {
            look("{{.State.Error}}").contains("8080")
        });
        eventually("it is tried again", PATIENCE, || {
            look("{{.RestartCount}}").parse::<u32>().expect("a number") >= 3
        });
        assert_eq!(look("{{.State.Pid}}"), "0");
        // A kill of the daemon meanwhile loses nothing of that.
        house.restart_hard();
        let gantry = house.gantry();
        let look = |template: &str| gantry.ok(&["inspect", "-f", template, &id]);
        let tries = look("{{.RestartCount}}").parse::<u32>().expect("a number");
        eventually("the next daemon tries too", PATIENCE, || {
            look("{{.RestartCount}}").parse::<u32>().expect("a number") > tries
        });
        drop(taken);
        eventually("it runs", PATIENCE * 2, || look("{{.State.Status}}") == "running");
        let inside = house.inside(policy);
        let mut servers = Servers::none();
        servers.tcp(&inside, policy, "[::]:80".parse().expect("an address"));
        let said = tcp(house.netns(), PORT, ANSWER).expect("an answer by the port");
        assert!(said.starts_with(policy), "{said}");
        drop(servers);
        gantry.ok(&["rm", "-f", policy]);
    }
}

/// Back-off is not for who asks: he is told at once, and nothing is tried behind his back.
#[test]
fn p40_whoever_starts_it_by_hand_is_told() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    let taken = house.netns().enter(|| TcpListener::bind(PORT)).expect("a free port");
    gantry
        .run(&[
            "run",
            "-d",
            "--name",
            "box",
            "--restart",
            "always",
            "-p",
            "127.0.0.1:8080:80",
            "busybox",
            "sleep",
            "1000",
        ])
        .exits(125)
        .says("8080");
    assert_eq!(
        gantry.ok(&["inspect", "-f", "{{.State.Status}} {{.RestartCount}}", "box"]),
        "created 0"
    );
    drop(taken);
    gantry.ok(&["start", "box"]);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{.State.Running}}", "box"]), "true");
}

/// Who stops it while it waits for the port has it stopped.
#[test]
fn p40_a_stop_ends_the_trying() {
    let mut house = House::apart(&["--live-restore=false"]);
    let id = house.gantry().ok(&[
        "run",
        "-d",
        "--restart",
        "unless-stopped",
        "-p",
        "127.0.0.1:8080:80",
        "busybox",
        "sleep",
        "1000",
    ]);
    house.stop_daemon();
    let taken = house.netns().enter(|| TcpListener::bind(PORT)).expect("a free port");
    house.start();
    let gantry = house.gantry();
    let look = |template: &str| gantry.ok(&["inspect", "-f", template, &id]);
    eventually("it is tried", PATIENCE, || look("{{.State.Error}}").contains("8080"));
    gantry.ok(&["stop", &id]);
    let tries = look("{{.RestartCount}}");
    drop(taken);
    house.restart_hard();
    let gantry = house.gantry();
    let look = |template: &str| gantry.ok(&["inspect", "-f", template, &id]);
    assert_eq!(
        gantry.ok(&["run", "--rm", "-p", "127.0.0.1:8080:80", "busybox", "echo", "free"]),
        "free"
    );
    assert_eq!(look("{{.State.Status}} {{.RestartCount}}"), format!("exited {tries}"));
}
