use super::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::HashSet;
use std::time::{Duration, Instant};

fn id() -> NetworkId {
    NetworkId::from_random([7; 32])
}

fn pool(subnet: &str, gateway: &str) -> Pool {
    Pool {
        subnet: subnet.parse().unwrap(),
        range: None,
        gateway: Some(gateway.parse().unwrap()),
        auxiliary: Default::default(),
    }
}

fn with(pools: &[Pool]) -> Addresses {
    let addresses = Addresses::default();
    addresses.add(&id(), pools);
    addresses
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn next(addresses: &Addresses) -> String {
    addresses.reserve(&id(), 0, None).unwrap().keep().to_string()
}

#[test]
fn the_gateway_and_the_ends_are_nobody_s() {
    let addresses = with(&[pool("10.0.0.0/29", "10.0.0.1")]);
    let given: Vec<_> = (0..5).map(|_| next(&addresses)).collect();
    assert_eq!(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]);
    let error = addresses.reserve(&id(), 0, None).unwrap_err();
    assert!(
        error.to_string().contains("no available addresses on this pool"),
        "{error}"
    );
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    for (wanted, words) in [
        ("10.0.0.1", "Address already in use"),
        ("10.0.0.2", "Address already in use"),
        ("10.0.0.0", "out of range"),
        ("10.0.0.7", "out of range"),
        ("10.0.1.2", "out of range"),
        ("fd00::1", "out of range"),
    ] {
        let error = addresses.reserve(&id(), 0, Some(ip(wanted))).unwrap_err();
        assert!(error.to_string().contains(words), "{wanted}: {error}");
    }
    assert!(
        !addresses.release(&id(), ip("10.0.0.1")),
        "the gateway is not given back"
    );
    assert!(addresses.reserve(&id(), 0, Some(ip("10.0.0.1"))).is_err());
}

#[test]
fn the_lowest_free_one_is_given() {
    let addresses = with(&[pool("10.0.0.0/29", "10.0.0.1")]);
    let given: Vec<_> = (0..3).map(|_| next(&addresses)).collect();
    assert_eq!(given, ["10.0.0.2", "10.0.0.3", "10.0.0.4"]);
    assert!(addresses.release(&id(), ip("10.0.0.2")));
    assert!(!addresses.release(&id(), ip("10.0.0.2")), "exactly once");
    let given: Vec<_> = (0..3).map(|_| next(&addresses)).collect();
    assert_eq!(given, ["10.0.0.2", "10.0.0.5", "10.0.0.6"]);
}

#[test]
fn ranges_and_what_is_someone_else_s() {
    let mut narrow = pool("10.0.0.0/24", "10.0.0.1");
    narrow.range = Some("10.0.0.64/30".parse().unwrap());
    narrow.auxiliary.insert("nas".to_owned(), ip("10.0.0.65"));
    let addresses = with(&[narrow]);
    let given: Vec<_> = (0..3).map(|_| next(&addresses)).collect();
    assert_eq!(given, ["10.0.0.64", "10.0.0.66", "10.0.0.67"]);
    assert!(addresses.reserve(&id(), 0, None).is_err());
    let outside = addresses.reserve(&id(), 0, Some(ip("10.0.0.200"))).unwrap();
    assert_eq!(outside.with_length().to_string(), "10.0.0.200/24");
}

#[test]
fn a_dropped_reservation_is_free_again() {
    let addresses = with(&[pool("10.0.0.0/30", "10.0.0.1")]);
    drop(addresses.reserve(&id(), 0, None).unwrap());
    let kept = addresses.reserve(&id(), 0, None).unwrap().keep();
    assert!(addresses.reserve(&id(), 0, None).is_err());
    assert!(addresses.release(&id(), kept));
    assert!(addresses.reserve(&id(), 0, Some(kept)).is_ok());
}

#[test]
fn after_a_restart_records_say_what_is_given() {
    let addresses = with(&[pool("10.0.0.0/24", "10.0.0.1"), pool("fd00::/64", "fd00::1")]);
    addresses.claim(&id(), ip("10.0.0.2")).unwrap();
    addresses.claim(&id(), ip("fd00::2")).unwrap();
    assert!(addresses.claim(&id(), ip("10.0.0.2")).is_err());
    assert!(addresses.claim(&id(), ip("10.0.1.2")).is_err());
    addresses.add(&id(), &[pool("10.0.0.0/24", "10.0.0.1"), pool("fd00::/64", "fd00::1")]);
    assert_eq!(next(&addresses), "10.0.0.3");
    let ipv6 = addresses.reserve(&id(), 1, None).unwrap();
    assert_eq!(ipv6.with_length().to_string(), "fd00::3/64");
    addresses.remove(&id());
    assert!(addresses.reserve(&id(), 0, None).is_err());
}

#[test]
fn a_thousand_endpoints_are_nothing() {
    let addresses = with(&[pool("172.17.0.0/16", "172.17.0.1"), pool("fd00::/64", "fd00::1")]);
    let begun = Instant::now();
    for _ in 0..1_000 {
        addresses.reserve(&id(), 0, None).unwrap().keep();
        addresses.reserve(&id(), 1, None).unwrap().keep();
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

/// Whatever is done in whatever order, an address has one owner, and none is lost.
#[test]
fn a_random_walk() {
    let mut random = StdRng::seed_from_u64(42);
    let size = 61;
    let addresses = with(&[pool("10.0.0.0/26", "10.0.0.1")]);
    let mut owned: HashSet<IpAddr> = HashSet::new();
    for _ in 0..50_000 {
        match random.random_range(0..4) {
            0 => match addresses.reserve(&id(), 0, None) {
                Ok(given) => assert!(owned.insert(given.keep()), "given twice"),
                Err(_) => assert_eq!(owned.len(), size, "an address is lost"),
            },
            1 => {
                let wanted = IpAddr::from([10, 0, 0, random.random_range(2..63)]);
                match addresses.reserve(&id(), 0, Some(wanted)) {
                    Ok(given) => assert!(owned.insert(given.keep()), "given twice"),
                    Err(_) => assert!(owned.contains(&wanted)),
                }
            }
            2 => {
                let one = IpAddr::from([10, 0, 0, random.random_range(0..64)]);
                assert_eq!(addresses.release(&id(), one), owned.remove(&one));
            }
            _ => drop(addresses.reserve(&id(), 0, None)),
        }
    }
    for address in owned.drain() {
        assert!(addresses.release(&id(), address));
    }
    let all: HashSet<String> = (0..size).map(|_| next(&addresses)).collect();
    assert_eq!(all.len(), size);
    assert!(addresses.reserve(&id(), 0, None).is_err());
}
