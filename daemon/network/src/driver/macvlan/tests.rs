use super::*;
use crate::driver::Ipvlan;
use crate::netlink::{Change, Link, Peer};
use crate::netns::testing::{LONG, alone, endpoint, fresh, network, reaches};
use gantry_core::ErrorKind;
use gantry_core::network::NetworkRecord;
use std::os::fd::{AsFd, OwnedFd};

const DUAL: [&str; 2] = ["10.7.0.0/24", "fd00:7::/64"];

fn driver() -> Macvlan {
    Macvlan::new(Instance::default())
}

fn made(mut network: NetworkRecord) -> NetworkRecord {
    driver().check(&mut network, &[]).unwrap();
    for _ in 0..2 {
        driver().create(&network).unwrap();
    }
    network
}

fn link(name: &str) -> Option<Link> {
    Netlink::open().unwrap().link(name).unwrap()
}

/// A wire: one end here, named `eth7`, the other named `far` in a new namespace.
fn wire() -> OwnedFd {
    let other = fresh();
    let mut batch = Batch::new();
    batch.add_link(&NewLink {
        name: "eth7",
        kind: Kind::Veth(Peer {
            name: "far",
            namespace: Some(other.as_fd()),
            mac: None,
            mtu: 0,
        }),
        parent: None,
        namespace: None,
        mac: None,
        mtu: 0,
    });
    let up = Change {
        up: Some(true),
        ..Change::default()
    };
    batch.set_link("eth7", &up);
    Netlink::open().unwrap().run(batch).unwrap();
    let mut far = Netlink::open_in(other.as_fd()).unwrap();
    let index = far.index("far").unwrap();
    let mut batch = Batch::new();
    batch.set_address(index, "10.7.0.200/24".parse().unwrap());
    batch.set_link(index, &up);
    far.run(batch).unwrap();
    other
}

#[test]
fn without_a_parent_containers_reach_each_other_alone() {
    alone(|| {
        let net = made(network("macvlan", 0xcd, &DUAL, &[]));
        assert_eq!((net.device.as_str(), net.internal), ("dm-cdcdcdcdcdcd", true));
        let (one, first, two, second) = (endpoint(&net, 2), fresh(), endpoint(&net, 3), fresh());
        for _ in 0..2 {
            driver().join(&net, &one, first.as_fd()).unwrap();
        }
        driver().join(&net, &two, second.as_fd()).unwrap();
        for address in two.addresses() {
            assert!(reaches(&first, &second, address, LONG), "{address}");
        }
        let inside = Netlink::open_in(first.as_fd()).unwrap().link("eth0").unwrap().unwrap();
        assert_eq!((inside.kind.as_str(), inside.mac), ("macvlan", Some(one.mac)));
        for _ in 0..2 {
            driver().leave(&net, &one, Some(first.as_fd())).unwrap();
        }
        driver().leave(&net, &two, None).unwrap();
        assert_eq!(Netlink::open_in(first.as_fd()).unwrap().links().unwrap().len(), 1);
        for _ in 0..2 {
            driver().remove(&net).unwrap();
        }
        assert_eq!(link(&net.device), None);
    });
}

#[test]
fn on_a_parent_containers_are_on_its_wire() {
    alone(|| {
        let other = wire();
        for mode in ["bridge", "private", "vepa", "passthru"] {
            let options = [(option::PARENT, "eth7"), (option::MACVLAN_MODE, mode)];
            let net = made(network("macvlan", 1, &DUAL, &options));
            assert!(!net.internal);
            let (end, sandbox) = (endpoint(&net, 2), fresh());
            driver().join(&net, &end, sandbox.as_fd()).unwrap();
            assert!(reaches(&sandbox, &other, "10.7.0.200".parse().unwrap(), LONG), "{mode}");
            driver().leave(&net, &end, Some(sandbox.as_fd())).unwrap();
            driver().remove(&net).unwrap();
            assert!(link("eth7").is_some(), "{mode}");
        }
    });
}

#[test]
fn parents_are_shared_as_modes_allow() {
    alone(|| {
        let _other = wire();
        let on = |digit, driver, options: &[(&str, &str)]| {
            let options: Vec<_> = options.iter().copied().chain([(option::PARENT, "eth7")]).collect();
            let mut net = network(driver, digit, &[], &options);
            net.device = "eth7".to_owned();
            net
        };
        let check = |net: NetworkRecord, other: NetworkRecord| {
            let mut net = net;
            driver().check(&mut net, &[other]).map_err(|error| error.kind())
        };
        let passthru = [(option::MACVLAN_MODE, "passthru")];
        assert_eq!(check(on(1, "macvlan", &[]), on(2, "macvlan", &[])), Ok(()));
        assert_eq!(check(on(1, "macvlan", &[]), on(1, "macvlan", &passthru)), Ok(()));
        for (one, two) in [
            (on(1, "macvlan", &passthru), on(2, "macvlan", &[])),
            (on(1, "macvlan", &[]), on(2, "macvlan", &passthru)),
            (on(1, "macvlan", &[]), on(2, "ipvlan", &[])),
        ] {
            assert_eq!(check(one, two), Err(ErrorKind::Conflict));
        }
        let ipvlan = Ipvlan::new(Instance::default());
        for taken in [on(2, "ipvlan", &[]), on(2, "macvlan", &[])] {
            let error = ipvlan.check(&mut on(1, "ipvlan", &[]), &[taken]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
        }
    });
}

#[test]
fn parents_that_cannot_be_are_named() {
    alone(|| {
        let _other = wire();
        let check = |parent: &str| {
            let mut net = network("macvlan", 1, &[], &[(option::PARENT, parent)]);
            driver()
                .check(&mut net, &[])
                .map_err(|error| (error.kind(), error.to_string()))
        };
        assert_eq!(check("lo").unwrap_err().0, ErrorKind::InvalidArgument);
        assert_eq!(check("eth8").unwrap_err().0, ErrorKind::NotFound);
        assert_eq!(check("eth8.5").unwrap_err().0, ErrorKind::NotFound);
        assert_eq!(check("eth7.9999").unwrap_err().0, ErrorKind::InvalidArgument);
        assert_eq!(check("a/b").unwrap_err().0, ErrorKind::InvalidArgument);
        let has_vlan = Netlink::open().unwrap().has_kind(&Kind::Vlan(5)).unwrap();
        match check("eth7.5") {
            Ok(()) => assert!(has_vlan),
            Err((kind, message)) => {
                assert!(!has_vlan && kind == ErrorKind::Unimplemented);
                assert!(message.contains("eth7.5") && message.contains("vlan"), "{message}");
            }
        }
        let mut odd = network("macvlan", 1, &[], &[("com.example.x", "1")]);
        let error = driver().check(&mut odd, &[]).unwrap_err();
        assert!(error.to_string().contains("com.example.x"), "{error}");
    });
}

/// On a kernel with ipvlan the endpoints reach each other; on one without it the network is refused by name.
#[test]
fn ipvlan_where_there_is_ipvlan() {
    alone(|| {
        let driver = Ipvlan::new(Instance::default());
        let mut net = network("ipvlan", 1, &DUAL, &[(option::IPVLAN_MODE, "l3")]);
        if let Err(error) = driver.check(&mut net, &[]) {
            assert_eq!(error.to_string(), "the kernel has no ipvlan devices");
            return;
        }
        driver.create(&net).unwrap();
        let (one, first, two, second) = (endpoint(&net, 2), fresh(), endpoint(&net, 3), fresh());
        driver.join(&net, &one, first.as_fd()).unwrap();
        driver.join(&net, &two, second.as_fd()).unwrap();
        for address in two.addresses() {
            assert!(reaches(&first, &second, address, LONG), "{address}");
        }
        driver.remove(&net).unwrap();
    });
}
