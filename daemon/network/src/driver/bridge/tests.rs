use super::*;
use crate::netlink::{Change, NewLink, Peer};
use crate::netns::enter;
use crate::netns::testing::{LONG, SHORT, alone, endpoint, fresh, network, reaches, within};
use gantry_core::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

const DUAL: [&str; 2] = ["10.7.0.0/24", "fd00:7::/64"];

fn driver() -> Bridge {
    Bridge::new(Instance::default(), true)
}

fn made(network: NetworkRecord) -> NetworkRecord {
    let mut network = network;
    driver().check(&mut network, &[]).unwrap();
    driver().create(&network).unwrap();
    network
}

fn joined(network: &NetworkRecord, place: u8) -> (Endpoint, OwnedFd) {
    let (endpoint, sandbox) = (endpoint(network, place), fresh());
    driver().join(network, &endpoint, sandbox.as_fd()).unwrap();
    (endpoint, sandbox)
}

fn link(name: &str) -> Option<Link> {
    Netlink::open().unwrap().link(name).unwrap()
}

fn global(name: &str) -> Vec<String> {
    let mut netlink = Netlink::open().unwrap();
    let index = netlink.index(name).unwrap();
    let all = netlink.addresses().unwrap();
    let here = all.iter().filter(|address| address.index == index && address.global);
    here.map(|address| address.net.to_string()).collect()
}

fn setting(family: Family, device: &str, name: &str) -> String {
    sysctl::get_device(family, device, name).unwrap().unwrap()
}

#[test]
fn a_bridge_is_what_its_record_says_however_often_it_is_made() {
    alone(|| {
        let mut net = made(network("bridge", 0xab, &DUAL, &[(option::MTU, "1400")]));
        assert_eq!(net.device, "br-abababababab");
        let first = link(&net.device).unwrap();
        assert_eq!((first.mtu, first.up, first.kind.as_str()), (1400, true, "bridge"));
        assert_eq!(first.alias, format!("gantry {}", net.id));
        assert_eq!(global(&net.device), ["10.7.0.1/24", "fd00:7::1/64"]);
        for (family, name, value) in [
            (Family::Ipv4, "route_localnet", "1"),
            (Family::Ipv4, "arp_ignore", "1"),
            (Family::Ipv4, "forwarding", "1"),
            (Family::Ipv6, "forwarding", "1"),
            (Family::Ipv6, "accept_ra", "0"),
        ] {
            assert_eq!(setting(family, &net.device, name), value, "{name}");
        }
        // Another gateway, after a kill: the old one goes.
        net.pools[0].gateway = Some("10.7.0.254".parse().unwrap());
        let (end, sandbox) = joined(&net, 2);
        driver().create(&net).unwrap();
        assert_eq!(global(&net.device), ["10.7.0.254/24", "fd00:7::1/64"]);
        assert_eq!(link(&net.device).unwrap().mac, first.mac);
        assert!(reaches(&sandbox, &sandbox, end.ipv4.unwrap().addr(), LONG));
        for _ in 0..2 {
            driver().remove(&net).unwrap();
        }
        assert_eq!(link(&net.device), None);
    });
}

#[test]
fn containers_reach_each_other_on_both_protocols() {
    alone(|| {
        let net = made(network("bridge", 1, &DUAL, &[]));
        let ((one, first), (two, second)) = (joined(&net, 2), joined(&net, 3));
        for address in two.addresses() {
            assert!(reaches(&first, &second, address, LONG), "{address}");
        }
        for address in one.addresses() {
            assert!(reaches(&second, &first, address, LONG), "{address}");
        }
        let port = link(&one.host_interface).unwrap();
        assert!(port.hairpin && !port.isolated && port.up);
        assert_eq!(port.alias, one.id);
    });
}

#[test]
fn without_icc_containers_reach_the_host_and_not_each_other() {
    alone(|| {
        let net = made(network("bridge", 1, &DUAL, &[(option::ICC, "false")]));
        let ((_, first), (two, second)) = (joined(&net, 2), joined(&net, 3));
        for address in two.addresses() {
            assert!(!reaches(&first, &second, address, SHORT), "{address}");
        }
        let host = within(&first, fresh_host(&net));
        assert!(host, "the gateway answers");
    });
}

#[test]
fn where_the_firewall_judges_frames_it_may_let_links_through() {
    alone(|| {
        for (name, isolated) in [("bridge", false), ("shy", true)] {
            let mut net = network("bridge", 1, &DUAL, &[(option::ICC, "false")]);
            net.name = name.to_owned();
            let net = made(net);
            let (end, sandbox) = (endpoint(&net, 2), fresh());
            let driver = driver().linking(true);
            driver.join(&net, &end, sandbox.as_fd()).unwrap();
            assert_eq!(link(&end.host_interface).unwrap().isolated, isolated, "{name}");
            driver.remove(&net).unwrap();
        }
    });
}

/// Whether the gateway answers at all: nothing listens there, and it says so.
fn fresh_host(net: &NetworkRecord) -> impl FnOnce() -> bool + Send {
    let gateways: Vec<IpAddr> = net.pools.iter().filter_map(|pool| pool.gateway).collect();
    move || {
        gateways.iter().all(|gateway| {
            let refused = std::net::TcpStream::connect_timeout(&(*gateway, 9).into(), LONG).unwrap_err();
            refused.kind() == std::io::ErrorKind::ConnectionRefused
        })
    }
}

#[test]
fn what_was_done_is_done_again() {
    alone(|| {
        let net = made(network("bridge", 1, &DUAL, &[(option::MTU, "1300")]));
        let (end, sandbox) = (endpoint(&net, 2), fresh());
        for _ in 0..2 {
            driver().join(&net, &end, sandbox.as_fd()).unwrap();
        }
        let inside = Netlink::open_in(sandbox.as_fd())
            .unwrap()
            .link("eth0")
            .unwrap()
            .unwrap();
        assert_eq!((inside.mac, inside.mtu, inside.up), (Some(end.mac), 1300, true));
        for _ in 0..2 {
            driver().leave(&net, &end, Some(sandbox.as_fd())).unwrap();
        }
        assert_eq!(Netlink::open_in(sandbox.as_fd()).unwrap().links().unwrap().len(), 1);
        driver().join(&net, &end, sandbox.as_fd()).unwrap();
        drop(sandbox);
        driver().leave(&net, &end, None).unwrap();
        assert_eq!(link(&end.host_interface), None);
    });
}

#[test]
fn what_is_in_the_way_and_not_ours_is_left_alone() {
    alone(|| {
        let net = made(network("bridge", 1, &DUAL, &[]));
        let (end, sandbox) = (endpoint(&net, 2), fresh());
        let mut batch = Batch::new();
        batch.add_link(&NewLink {
            name: &end.host_interface,
            kind: Kind::Veth(Peer {
                name: "far",
                namespace: None,
                mac: None,
                mtu: 0,
            }),
            parent: None,
            namespace: None,
            mac: None,
            mtu: 0,
        });
        Netlink::open().unwrap().run(batch).unwrap();
        let error = driver().join(&net, &end, sandbox.as_fd()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        driver().leave(&net, &end, None).unwrap();
        assert!(link(&end.host_interface).is_some_and(|link| link.master.is_none()));
        // A name taken inside.
        let (mut two, _first) = (
            endpoint(&net, 3),
            driver().join(&net, &endpoint(&net, 4), sandbox.as_fd()),
        );
        two.interface = "eth0".to_owned();
        let error = driver().join(&net, &two, sandbox.as_fd()).unwrap_err();
        assert_eq!(error.to_string(), "the sandbox has an interface eth0 already");
        assert_eq!(link(&two.host_interface), None);
    });
}

#[test]
fn an_endpoint_without_ipv6_has_none() {
    alone(|| {
        let net = made(network("bridge", 1, &["10.7.0.0/24"], &[]));
        let (_, sandbox) = joined(&net, 2);
        let inside = |device: &'static str, name: &'static str| {
            enter(sandbox.as_fd(), || sysctl::get_device(Family::Ipv6, device, name)).unwrap()
        };
        assert_eq!(inside("eth0", "disable_ipv6").as_deref(), Some("1"));
        assert_eq!(inside("lo", "disable_ipv6").as_deref(), Some("0"));
        assert_eq!(setting(Family::Ipv6, &net.device, "disable_ipv6"), "1");
        assert_eq!(setting(Family::Ipv6, "all", "forwarding"), "0");
    });
}

#[test]
fn an_internal_network_switches_nothing_on() {
    alone(|| {
        let mut net = network("bridge", 1, &DUAL, &[]);
        net.internal = true;
        sysctl::set("net.ipv4.ip_forward", "0").unwrap();
        let net = made(net);
        assert_eq!(sysctl::get("net.ipv4.ip_forward").unwrap().as_deref(), Some("0"));
        assert_eq!(setting(Family::Ipv4, &net.device, "route_localnet"), "0");
        let ((_, first), (two, second)) = (joined(&net, 2), joined(&net, 3));
        assert!(reaches(&first, &second, two.ipv4.unwrap().addr(), LONG));
    });
}

#[test]
fn a_host_that_begins_to_forward_keeps_its_routers() {
    alone(|| {
        let mut batch = Batch::new();
        batch.add_link(&NewLink {
            name: "uplink",
            kind: Kind::Bridge,
            parent: None,
            namespace: None,
            mac: None,
            mtu: 0,
        });
        Netlink::open().unwrap().run(batch).unwrap();
        sysctl::set_device(Family::Ipv6, "uplink", "accept_ra", "1").unwrap();
        made(network("bridge", 1, &DUAL, &[]));
        assert_eq!(setting(Family::Ipv6, "uplink", "accept_ra"), "2");
    });
}

#[test]
fn a_bridge_that_was_there_is_used_and_kept() {
    alone(|| {
        let mut batch = Batch::new();
        batch.add_link(&NewLink {
            name: "mine",
            kind: Kind::Bridge,
            parent: None,
            namespace: None,
            mac: None,
            mtu: 0,
        });
        let mut netlink = Netlink::open().unwrap();
        netlink.run(batch).unwrap();
        let index = netlink.index("mine").unwrap();
        let mut batch = Batch::new();
        batch.set_address(index, "192.168.9.1/24".parse().unwrap());
        netlink.run(batch).unwrap();
        let net = made(network("bridge", 1, &DUAL, &[(option::BRIDGE_NAME, "mine")]));
        assert_eq!(global("mine"), ["192.168.9.1/24", "10.7.0.1/24", "fd00:7::1/64"]);
        driver().remove(&net).unwrap();
        assert_eq!(link("mine").unwrap().alias, "");
    });
}

#[test]
fn options_change_the_bridge() {
    alone(|| {
        let net = made(network(
            "bridge",
            1,
            &["10.7.0.0/24"],
            &[(option::INHIBIT_IPV4, "true")],
        ));
        assert_eq!(global(&net.device), Vec::<String>::new());
        let mut default = network("bridge", 2, &["10.8.0.0/24"], &[(option::DEFAULT_BRIDGE, "true")]);
        driver().check(&mut default, &[]).unwrap();
        assert_eq!(default.device, "gantry0");
        let other = Bridge::new(Instance::new(Some("01234567".to_owned())), false);
        other.check(&mut default, &[]).unwrap();
        assert_eq!(default.device, "gtry-01234567");
        default.device.clear();
        let clash = network(
            "bridge",
            3,
            &["10.9.0.0/24"],
            &[(option::BRIDGE_NAME, net.device.as_str())],
        );
        let error = driver()
            .check(&mut clash.clone(), std::slice::from_ref(&net))
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
        assert!(error.to_string().contains("net1"), "{error}");
        let loopback = network("bridge", 3, &["10.9.0.0/24"], &[(option::BRIDGE_NAME, "lo")]);
        assert_eq!(
            driver().check(&mut loopback.clone(), &[]).unwrap_err().kind(),
            ErrorKind::Conflict
        );
        let many = network("bridge", 3, &["10.9.0.0/24", "10.10.0.0/24"], &[]);
        assert_eq!(
            driver().check(&mut many.clone(), &[]).unwrap_err().kind(),
            ErrorKind::InvalidArgument
        );
    });
}

#[test]
fn a_bridge_has_1023_ports() {
    alone(|| {
        let net = made(network("bridge", 1, &["10.7.0.0/24"], &[]));
        let mut netlink = Netlink::open().unwrap();
        let master = Change {
            master: Some(netlink.index(&net.device).unwrap()),
            ..Change::default()
        };
        let ends: Vec<(String, String)> = (0..512)
            .map(|place| (format!("a{place}"), format!("b{place}")))
            .collect();
        let mut batch = Batch::new();
        for (near, far) in &ends {
            batch.add_link(&NewLink {
                name: near,
                kind: Kind::Veth(Peer {
                    name: far,
                    namespace: None,
                    mac: None,
                    mtu: 0,
                }),
                parent: None,
                namespace: None,
                mac: None,
                mtu: 0,
            });
        }
        for (near, far) in ends.iter().skip(1) {
            batch.set_link(near, &master);
            batch.set_link(far, &master);
        }
        batch.set_link("a0", &master);
        netlink.run(batch).unwrap();
        let (end, sandbox) = (endpoint(&net, 2), fresh());
        let error = driver().join(&net, &end, sandbox.as_fd()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
        assert!(error.to_string().contains("1023 ports"), "{error}");
        assert_eq!(link(&end.host_interface), None);
        assert_eq!(Netlink::open_in(sandbox.as_fd()).unwrap().links().unwrap().len(), 1);
    });
}

/// Not a test: how long one endpoint takes.
#[test]
#[ignore = "measures and prints"]
fn joins_measured() {
    alone(|| {
        let net = made(network("bridge", 1, &DUAL, &[]));
        let sandboxes: Vec<(Endpoint, OwnedFd)> = (2..102).map(|place| (endpoint(&net, place), fresh())).collect();
        let started = Instant::now();
        for (end, sandbox) in &sandboxes {
            driver().join(&net, end, sandbox.as_fd()).unwrap();
        }
        let joined = started.elapsed();
        let started = Instant::now();
        for (end, sandbox) in &sandboxes {
            driver().leave(&net, end, Some(sandbox.as_fd())).unwrap();
        }
        println!("join {:?}, leave {:?} each", joined / 100, started.elapsed() / 100);
    });
}
