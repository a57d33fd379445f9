//! Checks of health, told and kept.

use gantry_e2e::{Gantry, House, PATIENCE, eventually};

fn health(gantry: &Gantry, name: &str) -> String {
    gantry.ok(&["inspect", "-f", "{{.State.Health.Status}}", name])
}

#[test]
fn a_container_becomes_healthy_and_unhealthy_and_says_so() {
    let mut house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "web",
        "--health-cmd",
        "echo looked; test -e /well",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
        "busybox",
        "sleep",
        "1000",
    ]);
    eventually("it is unhealthy", PATIENCE, || health(&gantry, "web") == "unhealthy");
    gantry.ok(&["exec", "web", "touch", "/well"]);
    eventually("it is healthy", PATIENCE, || health(&gantry, "web") == "healthy");
    assert!(gantry.ok(&["ps", "--format", "{{.Status}}"]).ends_with("(healthy)"));
    assert_eq!(
        gantry.ok(&["ps", "-f", "health=healthy", "--format", "{{.Names}}"]),
        "web"
    );
    assert_eq!(gantry.ok(&["ps", "-q", "-f", "health=unhealthy"]), "");
    eventually("five results are kept", PATIENCE, || {
        gantry.ok(&["inspect", "-f", "{{len .State.Health.Log}}", "web"]) == "5"
    });
    let output = gantry.ok(&["inspect", "-f", "{{(index .State.Health.Log 4).Output}}", "web"]);
    assert_eq!(output, "looked");

    house.restart_hard();
    assert_eq!(
        health(&gantry, "web"),
        "healthy",
        "the daemon's death is not the container's"
    );
    gantry.ok(&["exec", "web", "rm", "/well"]);
    eventually("it is still asked", PATIENCE, || health(&gantry, "web") == "unhealthy");
    let told = gantry.ok(&[
        "events",
        "--since",
        "10m",
        "--until",
        "0s",
        "--filter",
        "event=health_status",
        "--format",
        "{{.Action}}",
    ]);
    let told: Vec<&str> = told.lines().collect();
    let expected = [
        "health_status: unhealthy",
        "health_status: healthy",
        "health_status: unhealthy",
    ];
    assert_eq!(told, expected);
    gantry.ok(&["rm", "-f", "web"]);
}

#[test]
fn a_check_that_hangs_is_killed() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "slow",
        "--health-cmd",
        "echo begun; exec sleep 4321",
        "--health-interval",
        "100ms",
        "--health-timeout",
        "3s",
        "--health-retries",
        "1",
        "busybox",
        "sleep",
        "1000",
    ]);
    eventually("it is unhealthy", PATIENCE, || health(&gantry, "slow") == "unhealthy");
    let log = gantry.ok(&[
        "inspect",
        "-f",
        "{{with index .State.Health.Log 0}}{{.ExitCode}} {{.Output}}{{end}}",
        "slow",
    ]);
    assert_eq!(log, "-1 Health check exceeded timeout (3s): begun");
    gantry.ok(&["stop", "-t", "0", "slow"]);
    assert_eq!(health(&gantry, "slow"), "unhealthy");
}

#[test]
fn the_images_check_is_used_unless_the_user_says_otherwise() {
    let house = House::new();
    let gantry = house.gantry();
    gantry.ok(&["create", "--name", "maker", "busybox", "sleep", "1000"]);
    gantry.ok(&[
        "commit",
        "-c",
        "HEALTHCHECK --interval=100ms CMD true",
        "maker",
        "checked:1",
    ]);
    gantry.ok(&["run", "-d", "--name", "asked", "checked:1", "sleep", "1000"]);
    eventually("it is healthy", PATIENCE, || health(&gantry, "asked") == "healthy");
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "left",
        "--no-healthcheck",
        "checked:1",
        "sleep",
        "1000",
    ]);
    assert_eq!(gantry.ok(&["inspect", "-f", "{{json .State.Health}}", "left"]), "null");
    gantry.ok(&[
        "create",
        "--name",
        "mixed",
        "--health-retries",
        "9",
        "checked:1",
        "true",
    ]);
    let mixed = gantry.ok(&[
        "inspect",
        "-f",
        "{{.Config.Healthcheck.Test}} {{.Config.Healthcheck.Retries}}",
        "mixed",
    ]);
    assert!(mixed.ends_with("true] 9"), "{mixed}");
    gantry.ok(&["rm", "-f", "asked", "left", "mixed", "maker"]);
    gantry.ok(&["rmi", "checked:1"]);
}

#[test]
fn what_is_not_well_is_killed_if_that_is_wanted() {
    let house = House::new();
    let gantry = house.gantry();
    let flags = [
        "--health-cmd",
        "test ! -e /ill",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
    ];
    let mut args = vec!["run", "-d", "--name", "web", "--health-exit-on-unhealthy"];
    args.extend(flags);
    args.extend(["busybox", "sleep", "1000"]);
    gantry.ok(&args);
    eventually("it is healthy", PATIENCE, || health(&gantry, "web") == "healthy");
    gantry.ok(&["exec", "web", "touch", "/ill"]);
    assert_eq!(gantry.ok(&["wait", "web"]), "137");
    assert_eq!(health(&gantry, "web"), "unhealthy");
    assert_eq!(
        gantry.ok(&["inspect", "-f", "{{.Config.Healthcheck.ExitOnUnhealthy}}", "web"]),
        "true"
    );
    // An image says it too, and a policy runs it again.
    gantry.ok(&[
        "commit",
        "-c",
        "HEALTHCHECK --interval=100ms --retries=1 --health-exit-on-unhealthy=true CMD false",
        "web",
        "sick:1",
    ]);
    gantry.ok(&[
        "run",
        "-d",
        "--name",
        "again",
        "--restart",
        "on-failure",
        "sick:1",
        "sleep",
        "1000",
    ]);
    eventually("it is run again", PATIENCE, || {
        gantry.ok(&["inspect", "-f", "{{.RestartCount}}", "again"]) != "0"
    });
    gantry.ok(&["rm", "-f", "web", "again"]);
    gantry.ok(&["rmi", "sick:1"]);
}
