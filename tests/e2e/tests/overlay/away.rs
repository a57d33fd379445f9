//! A daemon that was killed, and an etcd that is away.

use crate::bed::{Bed, Underlay, endpoint, pings, reaches, up};
use gantry_e2e::{PATIENCE, eventually};
use std::time::{Duration, Instant};

#[test]
fn containers_of_a_killed_daemon_keep_talking() {
    let mut bed = Bed::new(Underlay::V4);
    bed.network("--ipv6 web");
    let (one, other) = (bed.gantry(0), bed.gantry(1));
    up(&one, "ann", &["--network", "web"]);
    up(&other, "bob", &["--network", "web"]);
    reaches(&one, "ann", "bob");
    reaches(&other, "bob", "ann");
    let addresses: Vec<String> = ["IPAddress", "GlobalIPv6Address"]
        .iter()
        .map(|field| endpoint(&one, "ann", "web", field))
        .collect();
    let inside = bed.houses[0].inside("ann");
    bed.houses[0].kill_daemon();
    for address in &addresses {
        assert!(pings(&other, "bob", address), "{address}");
    }
    assert!(pings(&other, "bob", "ann"), "its name is known where a daemon runs");
    // Meanwhile somebody comes and somebody goes.
    up(&other, "cid", &["--network", "web"]);
    let (new, old) = (
        endpoint(&other, "cid", "web", "IPAddress"),
        endpoint(&other, "bob", "web", "IPAddress"),
    );
    assert!(!addresses.contains(&new));
    other.ok(&["rm", "-f", "bob"]);
    bed.houses[0].start();
    reaches(&one, "ann", "cid");
    assert!(!pings(&one, "ann", "bob"), "it is gone");
    eventually("the kernel has forgotten who is gone", PATIENCE, || {
        inside.run(&format!("busybox ping -c 1 -W 1 {old}")).code != 0
    });
    assert_eq!(inside.run(&format!("busybox ping -c 1 -W 2 {new}")).code, 0);
    assert_eq!(endpoint(&one, "ann", "web", "IPAddress"), addresses[0]);
    // What ended while no daemon was there is nobody's address and name any more.
    bed.houses[0].kill_daemon();
    inside.run("true");
    let pid = one.run(&["inspect", "-f", "{{.State.Pid}}", "ann"]);
    assert_ne!(pid.code, 0, "no daemon answers");
    drop(inside);
    bed.houses[0].start();
    one.ok(&["kill", "ann"]);
    eventually("its name is gone everywhere", PATIENCE, || !pings(&other, "cid", "ann"));
    one.ok(&["start", "ann"]);
    reaches(&other, "cid", "ann");
    bed.close();
}

#[test]
fn without_etcd_what_runs_goes_on_and_its_return_is_caught_up_with() {
    let mut bed = Bed::new(Underlay::V4);
    bed.network("--ipv6 web");
    bed.network("spare");
    let (one, other) = (bed.gantry(0), bed.gantry(1));
    up(&one, "ann", &["--network", "web"]);
    up(&one, "goes", &["--network", "web"]);
    up(&other, "bob", &["--network", "web"]);
    reaches(&one, "ann", "bob");
    reaches(&other, "bob", "ann");
    reaches(&other, "bob", "goes");
    let freed = endpoint(&one, "goes", "web", "IPAddress");
    bed.etcd.kill();
    assert!(pings(&one, "ann", "bob") && pings(&other, "bob", "ann"), "they talk");
    for line in [
        "run --rm --network web busybox true",
        "network create -d overlay more",
        "network rm spare",
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        let begun = Instant::now();
        let refused = one.run(&args);
        assert_ne!(refused.code, 0, "{line}");
        assert!(refused.stderr.contains("cluster"), "{line}: {}", refused.stderr);
        assert!(
            begun.elapsed() < Duration::from_secs(40),
            "{line}: {:?}",
            begun.elapsed()
        );
    }
    // Other networks are not concerned, and whoever ends ends.
    one.ok(&["run", "--rm", "busybox", "true"]);
    one.ok(&["rm", "-f", "goes"]);
    // A daemon that starts meanwhile has what it had.
    bed.houses[0].restart_hard();
    assert!(one.ok(&["network", "ls"]).contains("web"));
    assert!(
        pings(&one, "ann", &endpoint(&other, "bob", "web", "IPAddress")),
        "they still talk"
    );

    let Bed { houses, etcd } = &mut bed;
    etcd.up(houses[0].netns());
    reaches(&one, "ann", "bob");
    eventually("who went is nowhere", PATIENCE, || !pings(&other, "bob", "goes"));
    let mut said = String::new();
    eventually(
        "containers can be started, and have what was given back",
        PATIENCE,
        || {
            let run = other.run(&[
                "run",
                "-d",
                "--name",
                "late",
                "--network",
                "web",
                "busybox",
                "sleep",
                "100000",
            ]);
            said = run.stderr.clone();
            if run.code != 0 {
                other.run(&["rm", "-f", "late"]);
            }
            run.code == 0
        },
    );
    reaches(&one, "ann", "late");
    assert_eq!(endpoint(&other, "late", "web", "IPAddress"), freed, "{said}");
    bed.close();
}

/// One that does not answer is as good as none, and is not waited for longer than it is said.
#[test]
fn an_etcd_that_hangs_holds_nobody_up() {
    let bed = Bed::new(Underlay::V4);
    bed.network("web");
    let one = bed.gantry(0);
    up(&one, "ann", &["--network", "web"]);
    bed.etcd.freeze();
    let begun = Instant::now();
    let refused = one.run(&["run", "--rm", "--network", "web", "busybox", "true"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("cluster"),
        "{}",
        refused.stderr
    );
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    one.ok(&["run", "--rm", "busybox", "true"]);
    bed.etcd.thaw();
    eventually("it goes on", PATIENCE, || {
        one.run(&["run", "--rm", "--network", "web", "busybox", "true"]).code == 0
    });
    bed.close();
}
