use super::*;
use crate::netns::testing::{alone, fresh, within};
use gantry_core::ErrorKind;
use gantry_core::network::{IpvlanMode, MacAddress, MacvlanMode};
use ipnet::IpNet;
use netlink_packet_route::link::IpVlanFlags;
use std::os::fd::AsFd;

const UP: Change<'static> = Change {
    up: Some(true),
    master: None,
    mac: None,
    mtu: 0,
    name: None,
    alias: None,
    namespace: None,
    plain_ipv6: false,
};

fn new<'a>(name: &'a str, kind: Kind<'a>) -> NewLink<'a> {
    NewLink {
        name,
        kind,
        parent: None,
        namespace: None,
        mac: None,
        mtu: 0,
    }
}

fn run(deeds: impl FnOnce(&mut Batch)) -> Result<()> {
    let mut batch = Batch::new();
    deeds(&mut batch);
    Netlink::open()?.run(batch)
}

fn bytes(batch: &Batch) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in batch.messages() {
        wire::encode(message, wire::ACKNOWLEDGED, 1, &mut bytes);
    }
    bytes
}

/// The kind and the data of the one device that a batch adds, and what it sits on.
fn sent(kind: Kind<'_>) -> (u16, Option<u32>, String, Vec<u8>) {
    let mut batch = Batch::new();
    let link = NewLink {
        parent: Some(7),
        ..new("x", kind)
    };
    batch.add_link(&link);
    let bytes = bytes(&batch);
    let answer = wire::answers(&bytes).next().unwrap();
    let attributes = &answer.payload[16..];
    let info = wire::find(attributes, 18).unwrap();
    let data = wire::find(info, 2).unwrap().to_vec();
    let parent = wire::find(attributes, 5).and_then(|value| wire::u32_at(value, 0));
    (answer.kind, parent, wire::text(wire::find(info, 1).unwrap()), data)
}

/// What this kernel may lack: the bytes are those of linux/if_link.h (`IFLA_VLAN_ID` 1; `IFLA_IPVLAN_MODE` 1,
/// `IFLA_IPVLAN_FLAGS` 2).
#[test]
fn a_vlan_is_asked_for_as_the_kernel_reads_it() {
    let (message, parent, kind, data) = sent(Kind::Vlan(100));
    assert_eq!((message, parent, kind.as_str()), (16, Some(7), "vlan"));
    assert_eq!(data, [6, 0, 1, 0, 100, 0, 0, 0]);
}

#[test]
fn an_ipvlan_is_asked_for_as_the_kernel_reads_it() {
    for (mode, number) in [(IpvlanMode::L2, 0), (IpvlanMode::L3, 1), (IpvlanMode::L3s, 2)] {
        let (_, parent, kind, data) = sent(Kind::Ipvlan(mode, IpVlanFlags::Private));
        assert_eq!((parent, kind.as_str()), (Some(7), "ipvlan"));
        assert_eq!(data, [6, 0, 1, 0, number, 0, 0, 0, 6, 0, 2, 0, 1, 0, 0, 0]);
    }
}

#[test]
fn kinds_that_the_kernel_lacks_are_named() {
    alone(|| {
        let mut netlink = Netlink::open().unwrap();
        assert!(netlink.has_kind(&Kind::Macvlan(MacvlanMode::Bridge)).unwrap());
        for kind in [Kind::Vlan(5), Kind::Ipvlan(IpvlanMode::L2, IpVlanFlags::empty())] {
            let (there, name) = (netlink.has_kind(&kind).unwrap(), kind.name());
            let mut batch = Batch::new();
            batch.add_link(&NewLink {
                parent: Some(1),
                ..new("x", kind)
            });
            if let (Err(error), false) = (netlink.run(batch), there) {
                assert_eq!(error.kind(), ErrorKind::Unimplemented);
                assert_eq!(error.to_string(), format!("the kernel has no {name} devices"));
            }
        }
        assert_eq!(netlink.links().unwrap().len(), 1);
    });
}

#[test]
fn a_pair_is_made_across_namespaces_in_one_message() {
    alone(|| {
        let other = fresh();
        let mac = MacAddress([2, 1, 2, 3, 4, 5]);
        run(|batch| {
            batch.add_link(&new("br7", Kind::Bridge));
            batch.add_link(&new(
                "near",
                Kind::Veth(Peer {
                    name: "eth0",
                    namespace: Some(other.as_fd()),
                    mac: Some(mac),
                    mtu: 1400,
                }),
            ));
            let alias = Change {
                alias: Some("of ours"),
                ..UP
            };
            batch.set_link("near", &alias);
        })
        .unwrap();
        let mut netlink = Netlink::open().unwrap();
        let bridge = netlink.index("br7").unwrap();
        let master = Change {
            master: Some(bridge),
            ..Change::default()
        };
        run(|batch| {
            batch.set_link("near", &master);
            batch.set_port(
                "near",
                PortChange {
                    hairpin: Some(true),
                    isolated: Some(true),
                    ..PortChange::default()
                },
            );
        })
        .unwrap();
        let near = netlink.link("near").unwrap().unwrap();
        assert_eq!(
            (near.kind.as_str(), near.alias.as_str(), near.master),
            ("veth", "of ours", Some(bridge))
        );
        assert!(near.up && near.hairpin && near.isolated);
        let far = Netlink::open_in(other.as_fd()).unwrap().link("eth0").unwrap().unwrap();
        assert_eq!((far.mac, far.mtu, far.up), (Some(mac), 1400, false));
        for _ in 0..2 {
            run(|batch| batch.delete_link("near")).unwrap();
        }
        assert_eq!(Netlink::open_in(other.as_fd()).unwrap().link("eth0").unwrap(), None);
    });
}

#[test]
fn the_deed_that_failed_is_named_and_the_rest_is_done() {
    alone(|| {
        let error = run(|batch| {
            batch.add_link(&new("br1", Kind::Bridge));
            batch.add_link(&new("br1", Kind::Bridge));
            batch.set_link("nobody", &UP);
            batch.add_link(&new("br2", Kind::Bridge));
        })
        .unwrap_err();
        assert!(error.to_string().starts_with("add bridge br1"), "{error}");
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        let names: Vec<String> = Netlink::open()
            .unwrap()
            .links()
            .unwrap()
            .into_iter()
            .map(|link| link.name)
            .collect();
        assert_eq!(names, ["lo", "br1", "br2"]);
    });
}

#[test]
fn addresses_are_set_again_and_deleted_again() {
    alone(|| {
        run(|batch| batch.add_link(&new("br1", Kind::Bridge))).unwrap();
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.index("br1").unwrap();
        // More than one message holds, and more than one answer tells.
        let mut nets: Vec<IpNet> = (1..=200)
            .map(|last| format!("10.1.0.{last}/24").parse().unwrap())
            .collect();
        nets.extend((1..=200).map(|last| format!("fd00:1::{last:x}/64").parse::<IpNet>().unwrap()));
        for _ in 0..2 {
            run(|batch| nets.iter().for_each(|net| batch.set_address(index, *net))).unwrap();
        }
        let mut read: Vec<IpNet> = netlink
            .addresses()
            .unwrap()
            .into_iter()
            .filter(|address| address.index == index && address.global)
            .map(|address| address.net)
            .collect();
        read.sort();
        nets.sort();
        assert_eq!(read, nets);
        for _ in 0..2 {
            run(|batch| nets.iter().for_each(|net| batch.delete_address(index, *net))).unwrap();
        }
        assert!(
            netlink
                .addresses()
                .unwrap()
                .iter()
                .all(|address| address.index != index)
        );
    });
}

#[test]
fn routes_are_replaced_and_listed() {
    alone(|| {
        run(|batch| {
            batch.add_link(&new("br1", Kind::Bridge));
            batch.set_link("br1", &UP);
        })
        .unwrap();
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.index("br1").unwrap();
        let route = |destination: &str, gateway: Option<&str>| Route {
            destination: destination.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            device: Some(index),
            metric: 0,
        };
        run(|batch| {
            batch.set_address(index, "10.1.0.5/24".parse().unwrap());
            batch.set_address(index, "fd00:1::5/64".parse().unwrap());
            batch.set_route(&route("10.9.0.0/16", Some("10.1.0.1")));
            batch.set_route(&route("10.9.0.0/16", Some("10.1.0.2")));
            batch.set_route(&route("fd00:9::/64", Some("fd00:1::1")));
            batch.set_route(&route("0.0.0.0/0", None));
        })
        .unwrap();
        let routes = netlink.routes().unwrap();
        let to = |destination: &str| -> Vec<Option<IpAddr>> {
            let destination: IpNet = destination.parse().unwrap();
            let fits = routes.iter().filter(|route| route.destination == destination);
            fits.map(|route| route.gateway).collect()
        };
        assert_eq!(to("10.9.0.0/16"), [Some("10.1.0.2".parse().unwrap())]);
        assert_eq!(to("fd00:9::/64"), [Some("fd00:1::1".parse().unwrap())]);
        assert_eq!(
            (to("10.1.0.0/24"), to("fd00:1::/64"), to("0.0.0.0/0")),
            (vec![None], vec![None], vec![None])
        );
        for _ in 0..2 {
            run(|batch| {
                batch.delete_route(&route("10.9.0.0/16", Some("10.1.0.2")));
                batch.delete_route(&route("fd00:9::/64", Some("fd00:1::1")));
            })
            .unwrap();
        }
        let left = netlink.routes().unwrap();
        assert!(left.iter().all(|route| route.gateway.is_none()), "{left:?}");
    });
}

#[test]
fn a_socket_stays_in_the_namespace_it_was_opened_in() {
    alone(|| {
        let other = fresh();
        let mut netlink = Netlink::open_in(other.as_fd()).unwrap();
        let mut batch = Batch::new();
        batch.add_link(&new("br9", Kind::Bridge));
        netlink.run(batch).unwrap();
        assert_eq!(Netlink::open().unwrap().link("br9").unwrap(), None);
        assert!(within(&other, || Netlink::open()
            .unwrap()
            .link("br9")
            .unwrap()
            .is_some()));
        assert_eq!(
            Netlink::open().unwrap().index("br9").unwrap_err().kind(),
            ErrorKind::NotFound
        );
    });
}
