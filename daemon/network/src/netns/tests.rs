use super::testing::{LONG, alone, endpoint, fresh, network, reaches, within};
use super::*;
use crate::driver::{Bridge, Driver};
use crate::{Instance, sysctl};
use gantry_core::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;

fn inode(namespace: &OwnedFd) -> u64 {
    File::from(namespace.try_clone().unwrap()).metadata().unwrap().ino()
}

#[test]
fn a_namespace_is_made_once_and_removed_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box");
    assert_eq!(list(&dir.path().join("none")).unwrap(), Vec::<PathBuf>::new());
    // What a kill leaves: a file that nothing is bound to.
    File::create(&path).unwrap();
    assert_eq!(open(&path).unwrap_err().kind(), ErrorKind::NotFound);
    let made = make(&path, &Settings::default()).unwrap();
    assert_eq!(inode(&made), inode(&make(&path, &Settings::default()).unwrap()));
    assert_eq!(list(dir.path()).unwrap(), std::slice::from_ref(&path));
    within(&made, || {
        assert!(Netlink::open().unwrap().link("lo").unwrap().unwrap().up);
        let set = |name: &str| sysctl::get(name).unwrap().unwrap();
        assert_eq!(set("net.ipv4.ip_unprivileged_port_start"), "0");
        assert_eq!(set("net.ipv4.ping_group_range"), "0 2147483647");
        assert_eq!(set("net.ipv6.conf.default.accept_ra"), "0");
    });
    // A second layer, as of a daemon that was killed between two deeds.
    mount(
        Some("/proc/self/ns/net"),
        &path,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .unwrap();
    for _ in 0..2 {
        remove(&path).unwrap();
    }
    assert_eq!(list(dir.path()).unwrap(), Vec::<PathBuf>::new());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(path.to_str().unwrap()));
}

#[test]
fn a_setting_that_is_none_leaves_no_namespace() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box");
    let settings = Settings {
        sysctls: vec![("net.ipv4.nothing".to_owned(), "1".to_owned())],
    };
    let error = make(&path, &settings).unwrap_err();
    assert!(error.to_string().contains("net/ipv4/nothing"), "{error}");
    assert_eq!(open(&path).unwrap_err().kind(), ErrorKind::NotFound);
    remove(&path).unwrap();
}

#[test]
fn default_routes_change_hands() {
    alone(|| {
        let driver = Bridge::new(Instance::default(), false);
        let sandbox = fresh();
        let mut nets = [
            network("bridge", 1, &["10.1.0.0/24", "fd00:1::/64"], &[]),
            network("bridge", 2, &["10.2.0.0/24", "fd00:2::/64"], &[]),
        ];
        for (place, net) in (0u8..).zip(&mut nets) {
            driver.check(net, &[]).unwrap();
            driver.create(net).unwrap();
            let mut end = endpoint(net, 10 + place);
            end.interface = format!("eth{place}");
            driver.join(net, &end, sandbox.as_fd()).unwrap();
        }
        let route4 = |interface, gateway: &str| DefaultRoute {
            interface,
            gateway: Some(gateway.parse().unwrap()),
        };
        let route6 = |interface, gateway: &str| DefaultRoute {
            interface,
            gateway: Some(gateway.parse().unwrap()),
        };
        let defaults = || -> Vec<String> {
            let routes = Netlink::open_in(sandbox.as_fd()).unwrap().routes().unwrap();
            let shown = routes.iter().filter(|route| route.is_default());
            shown
                .map(|route| route.gateway.map_or("-".to_owned(), |gateway| gateway.to_string()))
                .collect()
        };
        let set = |four, six| set_default_routes(sandbox.as_fd(), four, six).unwrap();
        for _ in 0..2 {
            set(Some(route4("eth0", "10.1.0.1")), Some(route6("eth0", "fd00:1::1")));
            assert_eq!(defaults(), ["10.1.0.1", "fd00:1::1"]);
        }
        set(Some(route4("eth1", "10.2.0.1")), Some(route6("eth1", "fd00:2::1")));
        assert_eq!(defaults(), ["10.2.0.1", "fd00:2::1"]);
        let near = DefaultRoute {
            interface: "eth1",
            gateway: None,
        };
        set(Some(near), None);
        assert_eq!(defaults(), ["-"]);
        set(None, None);
        assert_eq!(defaults(), Vec::<String>::new());
        let unknown = set_default_routes(sandbox.as_fd(), Some(route4("eth7", "10.1.0.1")), None);
        assert_eq!(unknown.unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn what_went_through_is_counted() {
    alone(|| {
        let driver = Bridge::new(Instance::default(), false);
        let mut net = network("bridge", 1, &["10.1.0.0/24"], &[]);
        driver.check(&mut net, &[]).unwrap();
        driver.create(&net).unwrap();
        let (one, two) = (fresh(), fresh());
        let (end, other) = (endpoint(&net, 2), endpoint(&net, 3));
        driver.join(&net, &end, one.as_fd()).unwrap();
        driver.join(&net, &other, two.as_fd()).unwrap();
        assert!(reaches(&one, &two, other.ipv4.unwrap().addr(), LONG));
        let counted = statistics(one.as_fd()).unwrap();
        assert_eq!(counted.len(), 1);
        let (name, numbers) = &counted[0];
        assert_eq!(name, "eth0");
        assert!(
            numbers.rx_bytes > 0 && numbers.tx_bytes > 0 && numbers.rx_packets > 0,
            "{numbers:?}"
        );
    });
}
