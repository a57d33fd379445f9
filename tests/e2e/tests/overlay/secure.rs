//! An etcd that lets in only whom it knows, and hosts that speak IPv6 to each other.

use crate::bed::{Bed, Underlay, reaches, up};
use gantry_e2e::{Etcd, Netns, PATIENCE, eventually};

#[test]
fn over_an_ipv6_wire() {
    let bed = Bed::new(Underlay::V6);
    bed.network("--ipv6 web");
    let (one, other) = (bed.gantry(0), bed.gantry(1));
    up(&one, "ann", &["--network", "web"]);
    up(&other, "bob", &["--network", "web"]);
    reaches(&one, "ann", "bob");
    reaches(&other, "bob", "ann");
    assert_eq!(one.ok(&["exec", "ann", "cat", "/sys/class/net/eth0/mtu"]), "1430");
    bed.close();
}

#[test]
fn with_certificates_and_a_password() {
    let keys = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| keys.path().join(name).display().to_string();
    std::fs::write(path("password"), "secret\n").expect("a file");
    let flags = |host: usize| {
        let mut flags = vec![
            "--cluster-store=etcd://192.0.2.1:2379".to_owned(),
            format!("--cluster-advertise={}:2376", Underlay::V4.address(host)),
            "--cluster-store-opt=kv.username=root".to_owned(),
            format!("--cluster-store-opt=kv.passwordfile={}", path("password")),
        ];
        for (option, file) in [
            ("cacertfile", "ca.pem"),
            ("certfile", "client.pem"),
            ("keyfile", "client.key"),
        ] {
            flags.push(format!("--cluster-store-opt=kv.{option}={}", path(file)));
        }
        flags
    };
    // The daemons read certificates when they start: those are made before.
    let place = Netns::new();
    place.ip("addr add 192.0.2.1/32 dev lo");
    let mut etcd = Etcd::start(&place, "192.0.2.1");
    etcd.lock(&place, "secret");
    etcd.kill();
    for name in ["ca.pem", "client.pem", "client.key"] {
        std::fs::copy(etcd.path(name), path(name)).expect("a copy");
    }
    let mut bed = Bed::with(Underlay::V4, flags, |open| {
        // It wants nothing of its clients: they want its certificate.
        open.kill();
    });
    etcd.up(bed.houses[0].netns());
    bed.etcd = etcd;
    bed.network("web");
    let (one, other) = (bed.gantry(0), bed.gantry(1));
    up(&one, "ann", &["--network", "web"]);
    up(&other, "bob", &["--network", "web"]);
    reaches(&one, "ann", "bob");
    // The etcd that is restarted knows its tokens no more.
    bed.etcd.kill();
    let Bed { houses, etcd } = &mut bed;
    etcd.up(houses[0].netns());
    eventually("it is used again", PATIENCE, || {
        one.run(&["run", "--rm", "--network", "web", "busybox", "true"]).code == 0
    });
    // A wrong password is no member.
    std::fs::write(path("password"), "wrong").expect("a file");
    bed.houses[1].restart_hard();
    let refused = other.run(&["run", "--rm", "--network", "web", "busybox", "true"]);
    assert!(
        refused.code != 0 && refused.stderr.contains("authentication failed"),
        "{}",
        refused.stderr
    );
    std::fs::write(path("password"), "secret").expect("a file");
    bed.houses[1].restart_hard();
    bed.close();
}
