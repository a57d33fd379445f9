//! Links: of old files in the default bridge, where they open ports, and in user-defined networks, where they are names.

use crate::{address, endpoint, exec, up};
use gantry_e2e::House;
use gantry_e2e::talk::{A, ANSWER, EMBEDDED, Servers, ask, reaches, unreachable};

/// What holds under either backend.
fn links_open_what_is_exposed(backend: &[&str]) {
    let flags = [
        "--icc=false",
        "--bip",
        "10.77.0.1/29",
        "--ipv6",
        "--bip6",
        "fd00:77::1/64",
    ];
    let mut house = House::apart(&[&flags[..], backend].concat());
    let gantry = house.gantry();
    up(
        &gantry,
        "db",
        &["--expose", "7000", "--expose", "7000/udp", "--hostname", "store"],
    );
    let db = address(&gantry, "db", "bridge");
    let six = endpoint(&gantry, "db", "bridge", "GlobalIPv6Address");
    let _servers = Servers::new(&house.inside("db"), "db", &[7000, 7001]);
    up(&gantry, "stranger", &[]);
    up(&gantry, "app", &["--link", "db:database"]);
    let hosts = exec(&gantry, "app", "cat /etc/hosts");
    for at in [&db, &six] {
        let line = hosts.lines().find(|line| line.starts_with(&format!("{at}\t")));
        let line = line.unwrap_or_default();
        for name in ["database", "store", "db"] {
            assert!(line.split_whitespace().any(|word| word == name), "{name}: {hosts}");
        }
    }
    // Variables speak of it too, to what runs in it later as well.
    for env in [
        exec(&gantry, "app", "tr '\\0' '\\n' < /proc/1/environ"),
        exec(&gantry, "app", "env"),
    ] {
        for line in [
            format!("DATABASE_PORT=tcp://{db}:7000"),
            format!("DATABASE_PORT_7000_TCP=tcp://{db}:7000"),
            format!("DATABASE_PORT_7000_UDP_ADDR={db}"),
            "DATABASE_NAME=/app/database".to_owned(),
        ] {
            assert!(env.lines().any(|own| own == line), "{line}: {env}");
        }
    }
    // What is exposed is open to who links, and to nobody else.
    let own = address(&gantry, "app", "bridge");
    let own6 = endpoint(&gantry, "app", "bridge", "GlobalIPv6Address");
    let holds = |house: &House| {
        let (app, stranger) = (house.inside("app"), house.inside("stranger"));
        reaches(&app, &format!("{db}:7000"), &format!("db {own}"));
        reaches(&app, &format!("[{six}]:7000"), &format!("db {own6}"));
        unreachable(&app, &format!("{db}:7001"));
        unreachable(&stranger, &format!("{db}:7000"));
        unreachable(&stranger, &format!("[{six}]:7000"));
    };
    holds(&house);
    // Also when the other one's networks change, and under the next daemon.
    gantry.ok(&["network", "create", "web"]);
    gantry.ok(&["network", "connect", "web", "db"]);
    holds(&house);
    house.restart_hard();
    holds(&house);
    gantry.ok(&["rm", "-f", "app"]);
    // Another who gets its address has no right to it.
    let heirs = ["fourth", "fifth", "sixth"];
    for name in heirs {
        up(&gantry, name, &[]);
    }
    let heir = heirs.iter().find(|name| address(&gantry, name, "bridge") == own);
    unreachable(
        &house.inside(heir.expect("all addresses are given")),
        &format!("{db}:7000"),
    );
    gantry
        .run(&["run", "--rm", "--link", "nobody:x", "busybox", "true"])
        .exits(125)
        .says("nobody");
    gantry.ok(&["stop", "-t", "0", "db"]);
    gantry
        .run(&["run", "--rm", "--link", "db:x", "busybox", "true"])
        .exits(125)
        .says("Cannot link to a non running container: /db AS x");
}

#[test]
fn links_of_the_default_bridge() {
    links_open_what_is_exposed(&[]);
}

#[test]
fn links_of_the_default_bridge_under_iptables() {
    links_open_what_is_exposed(&["--firewall-backend", "iptables"]);
}

#[test]
fn links_of_a_user_defined_network_are_names_for_one() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "web"]);
    up(&gantry, "db", &["--network", "web"]);
    up(&gantry, "app", &["--network", "web", "--link", "db:database"]);
    up(&gantry, "other", &["--network", "web"]);
    let asked = |from: &str| {
        ask(&house.inside(from), EMBEDDED, "database", A, ANSWER)
            .expect("an answer")
            .records
    };
    assert_eq!(asked("app"), [address(&gantry, "db", "web")]);
    assert!(asked("other").is_empty());
}
