//! Links of the default bridge, whose names stand in files.

use gantry_e2e::House;

/// Who links to a container that comes back with another address sees that address.
#[test]
fn a_link_follows_its_container_to_another_address() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    let up = |flags: &[&str]| {
        let mut args = vec!["run", "-d"];
        args.extend(flags);
        args.extend(["busybox", "sleep", "1000"]);
        gantry.ok(&args);
    };
    let address = |name: &str| gantry.ok(&["inspect", "-f", "{{.NetworkSettings.IPAddress}}", name]);
    let linked = || gantry.ok(&["exec", "web", "sh", "-c", "grep store /etc/hosts | cut -f1"]);
    up(&["--name", "db"]);
    up(&["--name", "web", "--link", "db:store"]);
    let before = address("db");
    assert_eq!(linked(), before);
    gantry.ok(&["stop", "-t", "0", "db"]);
    // Its address is somebody else's now.
    let mut taken = Vec::new();
    while !taken.contains(&before) {
        let name = format!("other{}", taken.len());
        up(&["--name", &name]);
        taken.push(address(&name));
        assert!(taken.len() < 10, "{before} is not given again: {taken:?}");
    }
    gantry.ok(&["start", "db"]);
    assert_ne!(address("db"), before);
    assert_eq!(linked(), address("db"));
    gantry.ok(&["exec", "web", "ping", "-c", "1", "-W", "5", "store"]);
}
