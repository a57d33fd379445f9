use super::*;
use crate::netlink::Peer;
use crate::netns::testing::{LONG, SHORT, alone, endpoint, fresh, network, reaches, within};
use gantry_core::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};

const DUAL: [&str; 2] = ["10.7.0.0/24", "fd00:7::/64"];

/// Two hosts on one wire, with these addresses.
fn hosts(addresses: [&str; 2]) -> [OwnedFd; 2] {
    let hosts = [fresh(), fresh()];
    let mut batch = Batch::new();
    batch.add_link(&NewLink {
        name: "eth0",
        kind: Kind::Veth(Peer {
            name: "eth0",
            namespace: Some(hosts[1].as_fd()),
            mac: None,
            mtu: 0,
        }),
        parent: None,
        namespace: Some(hosts[0].as_fd()),
        mac: None,
        mtu: 0,
    });
    Netlink::open().unwrap().run(batch).unwrap();
    for (host, address) in hosts.iter().zip(addresses) {
        let mut netlink = Netlink::open_in(host.as_fd()).unwrap();
        let index = netlink.index("eth0").unwrap();
        let up = Change {
            up: Some(true),
            ..Change::default()
        };
        let mut batch = Batch::new();
        batch.set_address(index, address.parse().unwrap());
        batch.set_link(index, &up);
        netlink.run(batch).unwrap();
    }
    hosts
}

fn segment(local: &str) -> Segment {
    let local: IpNet = local.parse().unwrap();
    Segment {
        vni: 4097,
        port: PORT,
        local: local.addr(),
        mtu: 1500 - overhead(local.addr()),
        gateways: vec!["10.7.0.1/24".parse().unwrap()],
    }
}

fn across(underlay: [&'static str; 2]) {
    alone(|| {
        let hosts = hosts(underlay);
        let spaces = [fresh(), fresh()];
        let sandboxes = [fresh(), fresh()];
        let net = network("overlay", 1, &DUAL, &[]);
        let ends = [endpoint(&net, 2), endpoint(&net, 3)];
        for place in 0..2 {
            let here = segment(underlay[place]);
            within(&hosts[place], || {
                for _ in 0..2 {
                    create(&here, spaces[place].as_fd()).unwrap();
                    join(&here, &ends[place], spaces[place].as_fd(), sandboxes[place].as_fd()).unwrap();
                }
            });
        }
        let address = ends[1].ipv4.unwrap().addr();
        assert!(
            !reaches(&sandboxes[0], &sandboxes[1], address, SHORT),
            "nobody was told"
        );
        let remotes = |place: usize| -> Vec<Remote> {
            let all = ends[place].addresses().map(|address| Remote {
                address,
                mac: ends[place].mac,
                host: segment(underlay[place]).local,
            });
            all.collect()
        };
        for (place, space) in spaces.iter().enumerate() {
            let mut table = Table::open(4097, space.as_fd()).unwrap();
            for _ in 0..2 {
                table.add(&remotes(1 - place)).unwrap();
            }
            let mut known = table.remotes().unwrap();
            known.sort();
            assert_eq!(known, remotes(1 - place));
        }
        for address in ends[1].addresses() {
            assert!(reaches(&sandboxes[0], &sandboxes[1], address, LONG), "{address}");
        }
        let mut table = Table::open(4097, spaces[0].as_fd()).unwrap();
        for _ in 0..2 {
            table.remove(&remotes(1)).unwrap();
        }
        assert_eq!(table.remotes().unwrap(), []);
        for _ in 0..2 {
            leave(&ends[0], spaces[0].as_fd()).unwrap();
            remove(4097, spaces[0].as_fd()).unwrap();
        }
        assert_eq!(Netlink::open_in(spaces[0].as_fd()).unwrap().links().unwrap().len(), 1);
    });
}

#[test]
fn containers_of_two_hosts_reach_each_other() {
    across(["192.0.2.1/24", "192.0.2.2/24"]);
}

#[test]
fn containers_of_two_hosts_reach_each_other_over_ipv6() {
    across(["2001:db8::1/64", "2001:db8::2/64"]);
}

#[test]
fn broadcasts_go_to_the_hosts_that_were_named() {
    alone(|| {
        let (host, space) = (fresh(), fresh());
        let here = segment("192.0.2.1/24");
        within(&host, || create(&here, space.as_fd())).unwrap();
        let named: Vec<IpAddr> = vec!["192.0.2.2".parse().unwrap(), "192.0.2.3".parse().unwrap()];
        let mut table = Table::open(4097, space.as_fd()).unwrap();
        for _ in 0..2 {
            table.add_hosts(&named).unwrap();
        }
        let mut known = table.hosts().unwrap();
        known.sort();
        assert_eq!(known, named);
        for _ in 0..2 {
            table.remove_hosts(&named[..1]).unwrap();
        }
        assert_eq!(table.hosts().unwrap(), named[1..]);
    });
}

#[test]
fn a_number_is_free_again_when_its_network_is_gone_and_taken_before() {
    alone(|| {
        let (host, space, other) = (fresh(), fresh(), fresh());
        let here = segment("192.0.2.1/24");
        within(&host, || {
            create(&here, space.as_fd()).unwrap();
            let error = create(&here, other.as_fd()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.to_string().contains("4097"), "{error}");
            // A namespace that goes without a word.
            drop(space);
            create(&here, other.as_fd()).unwrap();
        });
    });
}
