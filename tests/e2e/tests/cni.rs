//! Networks by CNI plugins: those of Debian's `containernetworking-plugins`, in a network namespace of the house's own.

use gantry_e2e::netns::{HOUSE4, INTERNET4, neighbour};
use gantry_e2e::{Gantry, House, PATIENCE, eventually};
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A house whose daemon reads configurations from a directory of its own.
struct Bed {
    house: House,
    dir: tempfile::TempDir,
}

impl Bed {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let house = House::apart(&["--cni-conf-dir", &dir.path().display().to_string()]);
        Self { house, dir }
    }

    fn write(&self, file: &str, config: &Value) {
        std::fs::write(self.dir.path().join(file), config.to_string()).expect("a file");
    }

    /// Where host-local keeps what it gave.
    fn given(&self) -> PathBuf {
        self.dir.path().join("given")
    }

    /// A bridge with addresses of both families, and published ports. The bridge stays when its containers have gone, as the plugin
    /// has it; its name tells the house that it is the test's.
    fn bridge(&self, name: &str) -> Value {
        json!({"cniVersion": "1.0.0", "name": name, "plugins": [
            {"type": "bridge", "bridge": "outcni0", "isGateway": true, "ipMasq": true, "ipam": {
                "type": "host-local", "dataDir": self.given(),
                "ranges": [[{"subnet": "10.88.0.0/24"}], [{"subnet": "fd88::/64"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": true}}]})
    }
}

fn up(gantry: &Gantry, name: &str, flags: &[&str]) {
    let mut args = vec!["run", "-d", "--name", name];
    args.extend(flags);
    args.extend(["busybox", "sleep", "100000"]);
    gantry.ok(&args);
}

fn endpoint(gantry: &Gantry, name: &str, network: &str, field: &str) -> String {
    let template = format!("{{{{(index .NetworkSettings.Networks \"{network}\").{field}}}}}");
    gantry.ok(&["inspect", "-f", &template, name])
}

fn pings(gantry: &Gantry, from: &str, to: &str) -> bool {
    gantry.run(&["exec", from, "ping", "-c", "1", "-W", "2", to]).code == 0
}

/// Addresses that host-local has given.
fn addresses(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.parse::<std::net::IpAddr>().is_ok())
        .collect();
    names.sort();
    names
}

fn connects(from: &gantry_e2e::Netns, at: &str) -> bool {
    let at: SocketAddr = at.parse().expect("an address");
    from.enter(|| TcpStream::connect_timeout(&at, Duration::from_secs(2)).is_ok())
}

#[test]
fn plugins_make_a_network() {
    let mut bed = Bed::new();
    let other = neighbour(bed.house.netns());
    bed.house.netns().set("ipv4/ip_forward", "1");
    bed.write("10-plug.conflist", &bed.bridge("plug"));
    let gantry = bed.house.gantry();
    let given = bed.given().join("plug");
    gantry.ok(&["network", "create", "-d", "cni", "plug"]);
    assert_eq!(
        gantry.ok(&["network", "inspect", "-f", "{{.Driver}} {{.Scope}}", "plug"]),
        "cni local"
    );

    up(&gantry, "ann", &["--network", "plug", "-p", "8080:80"]);
    up(&gantry, "bob", &["--network", "plug", "--network-alias", "bee"]);
    let (address, six) = (
        endpoint(&gantry, "ann", "plug", "IPAddress"),
        endpoint(&gantry, "ann", "plug", "GlobalIPv6Address"),
    );
    assert!(
        address.starts_with("10.88.0.") && six.starts_with("fd88::"),
        "{address} {six}"
    );
    assert_eq!(addresses(&given).len(), 4, "two families, two containers");
    let shown = gantry.ok(&["exec", "ann", "ip", "addr", "show", "eth0"]);
    let mac = endpoint(&gantry, "ann", "plug", "MacAddress");
    for text in [&address, &six, &mac] {
        assert!(shown.contains(text.as_str()), "{text}: {shown}");
    }
    assert!(
        gantry
            .ok(&["exec", "ann", "ip", "route"])
            .contains("default via 10.88.0.1")
    );
    // Names are ours, whoever made the interface.
    assert!(pings(&gantry, "ann", "bob") && pings(&gantry, "ann", "bee") && pings(&gantry, "bob", "ann"));
    assert!(pings(&gantry, "ann", INTERNET4), "the bridge plugin masquerades");
    gantry.ok(&["exec", "-d", "ann", "httpd", "-p", "80"]);
    eventually("the plugin publishes the port", PATIENCE, || {
        connects(&other, &format!("{HOUSE4}:8080"))
    });
    assert!(gantry.ok(&["port", "ann"]).contains("80/tcp -> 0.0.0.0:8080"));

    // What runs goes on without a daemon, and the next one knows what there is to be taken back.
    bed.house.restart_hard();
    assert_eq!(endpoint(&gantry, "ann", "plug", "IPAddress"), address);
    assert!(pings(&gantry, "bob", "ann"));
    gantry.ok(&["rm", "-f", "ann"]);
    eventually("addresses are given back", PATIENCE, || addresses(&given).len() == 2);
    assert!(!connects(&other, &format!("{HOUSE4}:8080")), "and the port");

    // The network is what it was made with, whatever becomes of the file.
    std::fs::remove_file(bed.dir.path().join("10-plug.conflist")).expect("it is there");
    gantry.ok(&["restart", "-t", "0", "bob"]);
    gantry.ok(&[
        "run",
        "--rm",
        "--network",
        "plug",
        "busybox",
        "ping",
        "-c",
        "1",
        "-W",
        "2",
        "bob",
    ]);
    gantry.ok(&["rm", "-f", "bob"]);
    eventually("nothing is given", PATIENCE, || addresses(&given).is_empty());
    let kept = bed.house.exec_root().join("cni");
    let files = || std::fs::read_dir(&kept).into_iter().flatten().count();
    eventually("nothing is kept of who has gone", PATIENCE, || files() == 0);
}

#[test]
fn running_containers_come_and_go() {
    let bed = Bed::new();
    bed.write("10-plug.conflist", &bed.bridge("plug"));
    let gantry = bed.house.gantry();
    let given = bed.given().join("plug");
    gantry.ok(&[
        "network",
        "create",
        "-d",
        "cni",
        "--opt",
        "gantry.cni.name=plug",
        "mine",
    ]);
    gantry.ok(&["network", "create", "web"]);
    up(&gantry, "ann", &["--network", "web"]);
    up(&gantry, "bob", &["--network", "mine"]);
    assert!(!pings(&gantry, "ann", "bob"));
    gantry.ok(&["network", "connect", "--alias", "first", "mine", "ann"]);
    assert!(pings(&gantry, "ann", "bob") && pings(&gantry, "bob", "first"));
    let address = endpoint(&gantry, "ann", "mine", "IPAddress");
    assert!(addresses(&given).contains(&address));
    gantry.ok(&["network", "disconnect", "mine", "ann"]);
    assert!(!addresses(&given).contains(&address));
    assert!(!pings(&gantry, "bob", "ann"));
    gantry.ok(&["rm", "-f", "ann", "bob"]);
    eventually("nothing is given", PATIENCE, || addresses(&given).is_empty());
}

#[test]
fn what_plugins_refuse_is_said_in_their_words() {
    let bed = Bed::new();
    let gantry = bed.house.gantry();
    let mut small = bed.bridge("small");
    small["plugins"][0]["ipam"]["ranges"] = json!([[{"subnet": "10.89.0.0/30"}]]);
    bed.write("10-small.conflist", &small);
    bed.write(
        "20-strange.conf",
        &json!({"cniVersion": "0.4.0", "name": "strange", "type": "no-such-plugin"}),
    );
    bed.write(
        "30-old.conf",
        &json!({"cniVersion": "0.1.0", "name": "old", "type": "bridge"}),
    );
    for (line, says) in [
        ("network create -d cni absent", "no CNI configuration"),
        ("network create -d cni strange", "no-such-plugin"),
        ("network create -d cni old", "0.1.0"),
        ("network create -d cni --subnet 10.1.0.0/24 small", "--subnet"),
        ("network create -d cni --opt mode=x small", "mode"),
        ("network create -d cni --internal small", "configuration"),
    ] {
        let args: Vec<&str> = line.split(' ').collect();
        let refused = gantry.run(&args);
        assert!(
            refused.code != 0 && refused.stderr.contains(says),
            "{line}: {}",
            refused.stderr
        );
    }
    gantry.ok(&["network", "create", "-d", "cni", "small"]);
    up(&gantry, "ann", &["--network", "small"]);
    // The only address beside the gateway's.
    let refused = gantry.run(&["run", "--name", "bob", "--network", "small", "busybox", "true"]);
    refused.exits(125).says("no IP addresses available");
    assert_eq!(addresses(&bed.given().join("small")).len(), 1);
    gantry.ok(&["rm", "-f", "ann"]);
    gantry.ok(&["start", "-a", "bob"]);
    gantry.ok(&["rm", "bob"]);
}
