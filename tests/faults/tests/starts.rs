//! P11: a start that the daemon did not live to finish.

use gantry_e2e::House;
use gantry_faults::{Passed, cut_short, deadly, house, runs_once, stops};

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
