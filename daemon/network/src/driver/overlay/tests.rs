use super::*;
use crate::netns::testing::{LONG, alone, endpoint, fresh, network, reaches};
use gantry_core::network::option;

const DUAL: [&str; 2] = ["10.7.0.0/24", "fd00:7::/64"];

fn remotes(endpoint: &Endpoint, host: &str) -> Vec<Remote> {
    let all = endpoint.addresses().map(|address| Remote {
        address,
        mac: endpoint.mac,
        host: host.parse().unwrap(),
    });
    all.collect()
}

#[test]
fn a_network_is_here_as_long_as_somebody_is_in_it() {
    alone(|| {
        let dir = tempfile::tempdir().unwrap();
        let driver = Overlay::new(dir.path().to_owned(), "192.0.2.1".parse().unwrap());
        let mut net = network("overlay", 1, &DUAL, &[(option::VXLAN_IDS, "4100")]);
        driver.check(&mut net, &[]).unwrap();
        let path = driver.path(&net);
        driver.create(&net).unwrap();
        assert!(!path.exists(), "nobody is in it");
        let (sandboxes, ends) = ([fresh(), fresh()], [endpoint(&net, 2), endpoint(&net, 3)]);
        for (sandbox, end) in sandboxes.iter().zip(&ends) {
            for _ in 0..2 {
                driver.join(&net, end, sandbox.as_fd()).unwrap();
            }
        }
        driver.create(&net).unwrap();
        for address in ends[1].addresses() {
            assert!(reaches(&sandboxes[0], &sandboxes[1], address, LONG), "{address}");
        }
        driver.leave(&net, &ends[0], None).unwrap();
        assert!(netns::open(&path).is_ok(), "one is still there");
        driver.remove(&net).unwrap();
        assert!(netns::open(&path).is_ok(), "and is not cut off");
        for _ in 0..2 {
            driver.leave(&net, &ends[1], None).unwrap();
            assert!(!path.exists());
        }
        // What a kill left of it.
        netns::make(&path, &netns::Settings::default()).unwrap();
        driver.create(&net).unwrap();
        assert!(!path.exists());
        netns::make(&path, &netns::Settings::default()).unwrap();
        driver.sweep(std::slice::from_ref(&net.id)).unwrap();
        assert!(path.exists());
        driver.sweep(&[]).unwrap();
        assert!(!path.exists());
    });
}

#[test]
fn the_table_is_what_was_told_last() {
    alone(|| {
        let dir = tempfile::tempdir().unwrap();
        let driver = Overlay::new(dir.path().to_owned(), "192.0.2.1".parse().unwrap());
        let net = network("overlay", 1, &DUAL, &[(option::VXLAN_IDS, "4101")]);
        driver.tell(&net, || panic!("nobody here asks")).unwrap();
        let (sandbox, own) = (fresh(), endpoint(&net, 2));
        driver.join(&net, &own, sandbox.as_fd()).unwrap();
        let (one, other) = (endpoint(&net, 3), endpoint(&net, 4));
        let space = driver.find(&net).unwrap().unwrap();
        let known = || {
            let mut known = Table::open(4101, space.as_fd()).unwrap().remotes().unwrap();
            known.sort();
            known
        };
        let mut all = [remotes(&one, "192.0.2.2"), remotes(&other, "192.0.2.3")].concat();
        all.sort();
        driver.tell(&net, || all.clone()).unwrap();
        assert_eq!(known(), all);
        // One moves to another host; the other keeps one of its two addresses.
        let mut moved = remotes(&one, "192.0.2.9");
        moved.push(remotes(&other, "192.0.2.3")[1]);
        moved.sort();
        driver.tell(&net, || moved.clone()).unwrap();
        assert_eq!(known(), moved);
        driver.tell(&net, Vec::new).unwrap();
        assert_eq!(known(), []);
        drop(space);
        driver.leave(&net, &own, None).unwrap();
    });
}
