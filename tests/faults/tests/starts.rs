//! P11: a start that the daemon did not live to finish.

use gantry_e2e::{House, PATIENCE, eventually};
use gantry_faults::{LIMIT, Passed, cut_short, deadly, house, runs_once, slow, stops};
use std::process::Stdio;

const CONTAINER: &str = "box";

/// The stops of a start by the daemon's own account, in their order. The collector's, which runs when it likes, are none, and that
/// of the default bridge, which is made by the first start alone; the walk through the stops of networks has it.
fn of_a_start(house: &House, passed: &Passed) -> Vec<String> {
    passed.forget();
    house.gantry().ok(&["start", CONTAINER]);
    let mut steps = passed.all();
    let others = ["store::", "engine::network::create", "network::bridge"];
    steps.retain(|stop| !others.iter().any(|other| stop.starts_with(other)));
    for stop in stops() {
        let named = [
            "engine::make",
            "engine::start",
            "task::shim::spawn",
            "task::create",
            "task::start",
        ];
        if named.iter().any(|name| stop.starts_with(name)) {
            assert!(steps.contains(&stop), "{stop} is not passed by a start: {steps:?}");
        }
    }
    steps
}

#[test]
fn p11_a_start_killed_at_each_step_can_be_repeated() {
    let (mut house, passed) = house();
    let gantry = house.gantry();
    gantry.ok(&["create", "--name", CONTAINER, "busybox", "sleep", "1000"]);
    let steps = of_a_start(&house, &passed);
    for step in &steps {
        gantry.ok(&["stop", "-t", "0", CONTAINER]);
        house.stop_daemon();
        passed.forget();
        house.set_env(deadly(step, &passed));
        house.start();
        let died = cut_short(&mut house, &["start", CONTAINER], b"");
        assert!(died, "a start does not get past {step}");
        assert_eq!(passed.all().last(), Some(step), "and nowhere else");
        house.set_env(Vec::new());
        house.start();
        let state = gantry.ok(&["inspect", "-f", "{{.State.Status}}", CONTAINER]);
        // Shown if it fails.
        println!("killed at {step}, found {state}");
        let known = ["created", "exited", "running"].contains(&state.as_str());
        assert!(known, "which state is {state}");
        gantry.ok(&["start", CONTAINER]);
        runs_once(&house, CONTAINER);
    }
    println!("{} steps of a start, each repeated", steps.len());
}

/// What is still being done for a start when the container is removed is not done after the removal: the house is looked through for
/// mounts, namespaces and links at its end.
#[test]
fn a_start_that_is_broken_off_in_a_slow_step_leaves_nothing() {
    for stop in [
        "task::bundle::make",
        "engine::volume::mount",
        "engine::network::enter::recorded",
        "engine::network::enter::joined",
    ] {
        let (mut house, passed) = house();
        removed_under_way(&mut house, &passed, stop, 3);
        house.gantry().ok(&["volume", "rm", "memory"]);
    }
}

/// A step that hangs holds up the removal for a while only, and what it makes when it goes on is cleared then.
#[test]
fn a_start_that_is_broken_off_in_a_hung_step_leaves_nothing_in_the_end() {
    let (mut house, passed) = house();
    removed_under_way(&mut house, &passed, "engine::volume::mount", 40);
    let mounted = || {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("readable");
        let volumes = house.data_root().join("volumes");
        mounts.contains(&*volumes.to_string_lossy())
    };
    assert!(!mounted(), "it hangs still");
    eventually("the step goes on, and what it made is cleared", PATIENCE, || {
        house.log().contains("what the hung step made is cleared")
    });
    assert!(!mounted(), "what it made is cleared");
    house.gantry().ok(&["volume", "rm", "memory"]);
}

/// A container with a volume that is mounted is removed while its start, slow at the stop, is there.
fn removed_under_way(house: &mut House, passed: &Passed, stop: &str, seconds: u64) {
    house.stop_daemon();
    let mut env = slow(stop, passed);
    env.push(("GANTRY_FAILPOINT_SECONDS".to_owned(), seconds.to_string()));
    house.set_env(env);
    house.start();
    let gantry = house.gantry();
    let memory = ["-o", "type=tmpfs", "-o", "device=tmpfs", "memory"];
    gantry.ok(&[&["volume", "create"][..], &memory].concat());
    let run = ["-v", "memory:/memory", "busybox", "sleep", "1000"];
    gantry.ok(&[&["create", "--name", CONTAINER][..], &run].concat());
    passed.forget();
    let mut start = gantry.command(["start", CONTAINER]);
    start.stdout(Stdio::null()).stderr(Stdio::null());
    let mut start = start.spawn().expect("gantry starts");
    eventually("the start is on its way", LIMIT, || {
        passed.all().iter().any(|name| name == stop)
    });
    gantry.ok(&["rm", "-f", CONTAINER]);
    let ended = start.wait().expect("the client ends");
    assert!(!ended.success(), "{stop}: it was not started");
}
