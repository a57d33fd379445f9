//! Names in user-defined networks.

use crate::{address, endpoint, exec, once, up};
use gantry_e2e::netns::{INTERNET4, neighbour};
use gantry_e2e::talk::{A, AAAA, ANSWER, Answer, EMBEDDED, NXDOMAIN, PTR, Servers, ask, ask_by_tcp, asked, reply};
use gantry_e2e::{House, Netns, eventually};
use std::collections::BTreeSet;
use std::net::IpAddr;

#[track_caller]
fn says(from: &Netns, name: &str, kind: u16) -> Answer {
    let said = ask(from, EMBEDDED, name, kind, ANSWER);
    said.unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The addresses of a name.
#[track_caller]
fn addresses(from: &Netns, name: &str) -> Vec<String> {
    let mut records = says(from, name, A).records;
    records.sort();
    records
}

/// The name of an IPv6 address in the reverse tree (RFC 3596).
fn ip6_arpa(address: &str) -> String {
    let address: std::net::Ipv6Addr = address.parse().expect("an address");
    let digits = address.octets().iter().rev().fold(String::new(), |text, byte| {
        format!("{text}{:x}.{:x}.", byte & 15, byte >> 4)
    });
    format!("{digits}ip6.arpa")
}

#[test]
fn containers_have_names() {
    let house = House::apart(&["--dns", "198.51.100.1"]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "--ipv6", "web"]);
    let id = up(
        &gantry,
        "one",
        &["--network", "web", "--hostname", "uno", "--network-alias", "Alias"],
    );
    up(&gantry, "two", &["--network", "web"]);
    let (two, own) = (house.inside("two"), address(&gantry, "one", "web"));
    for name in ["one", "ONE", "one.web", "uno", "alias", &id[..12]] {
        assert_eq!(addresses(&two, name), [own.as_str()], "{name}");
    }
    let six = endpoint(&gantry, "one", "web", "GlobalIPv6Address");
    assert_eq!(says(&two, "one", AAAA).records, [six.as_str()]);
    assert_eq!(says(&two, "alias", AAAA).records, [six.as_str()]);
    assert_eq!(says(&two, &ip6_arpa(&six), PTR).records, ["one.web"]);
    let reverse: Vec<&str> = own.rsplit('.').collect();
    let reverse = format!("{}.in-addr.arpa", reverse.join("."));
    assert_eq!(says(&two, &reverse, PTR).records, ["one.web"]);
    assert_eq!(
        ask_by_tcp(&two, EMBEDDED, "one", A).expect("an answer").records,
        [own.as_str()]
    );
    // As programs ask.
    assert_eq!(
        exec(&gantry, "two", "grep ^nameserver /etc/resolv.conf"),
        "nameserver 127.0.0.11"
    );
    exec(
        &gantry,
        "two",
        "ping -c 1 -W 2 one && nslookup one && ping -c 1 -W 2 localhost",
    );
    // A new name is known at once, the old one is not, and one that goes is gone.
    gantry.ok(&["rename", "one", "first"]);
    assert_eq!(addresses(&two, "first"), [own.as_str()]);
    assert_ne!(addresses(&two, "one"), [own.as_str()], "renamed");
    gantry.ok(&["rm", "-f", "first"]);
    assert_eq!(addresses(&two, "first"), [""; 0]);
}

#[test]
fn an_alias_of_several_is_answered_in_turn() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "web"]);
    for name in ["w1", "w2", "w3"] {
        up(&gantry, name, &["--network", "web", "--network-alias", "pool"]);
    }
    let inside = house.inside("w1");
    let mut first = BTreeSet::new();
    let all: BTreeSet<String> = ["w1", "w2", "w3"]
        .iter()
        .map(|name| address(&gantry, name, "web"))
        .collect();
    eventually("each is named first some time", ANSWER, || {
        let answer = says(&inside, "pool", A);
        assert_eq!(answer.records.iter().cloned().collect::<BTreeSet<_>>(), all);
        first.insert(answer.records[0].clone());
        first == all
    });
    gantry.ok(&["stop", "-t", "0", "w2"]);
    eventually("who has stopped is not named", ANSWER, || {
        addresses(&inside, "pool").len() == 2
    });
}

#[test]
fn names_stay_in_their_network() {
    let house = House::apart(&["--dns", "198.51.100.1"]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "one"]);
    gantry.ok(&["network", "create", "two"]);
    up(&gantry, "ann", &["--network", "one"]);
    up(&gantry, "bob", &["--network", "two"]);
    up(&gantry, "cid", &[]);
    up(&gantry, "dan", &[]);
    let a = house.inside("ann");
    for name in ["bob", "bob.two", "cid", "dan"] {
        let answer = ask(&a, EMBEDDED, name, A, ANSWER);
        assert!(
            answer.as_ref().is_ok_and(|answer| answer.records.is_empty()),
            "{name}: {answer:?}"
        );
    }
    let reverse: Vec<String> = address(&gantry, "bob", "two").rsplit('.').map(str::to_owned).collect();
    assert!(
        says(&a, &format!("{}.in-addr.arpa", reverse.join(".")), PTR)
            .records
            .is_empty()
    );
    // None at all in the default bridge.
    gantry
        .run(&["exec", "cid", "ping", "-c", "1", "-W", "1", "dan"])
        .exits(1)
        .says("bad address 'dan'");
    // Who joins hears.
    gantry.ok(&["network", "connect", "--alias", "bee", "one", "bob"]);
    assert_eq!(addresses(&a, "bob"), [address(&gantry, "bob", "one")]);
    assert_eq!(addresses(&a, "bee"), [address(&gantry, "bob", "one")]);
    gantry.ok(&["network", "disconnect", "one", "bob"]);
    assert_eq!(addresses(&a, "bee"), [""; 0]);
}

#[test]
fn a_container_may_serve_port_53_itself() {
    let house = House::apart(&[]);
    let gantry = house.gantry();
    gantry.ok(&["network", "create", "web"]);
    up(&gantry, "server", &["--network", "web"]);
    up(&gantry, "client", &["--network", "web"]);
    let (server, client) = (house.inside("server"), house.inside("client"));
    let mut servers = Servers::none();
    let five: IpAddr = "192.0.2.55".parse().expect("an address");
    servers.answer(&server, "0.0.0.0:53".parse().expect("an address"), move |query, _| {
        Some(reply(query, &[five], false))
    });
    servers.answer_by_tcp(&server, "0.0.0.0:53".parse().expect("an address"), move |query| {
        reply(query, &[five], false)
    });
    let own = address(&gantry, "server", "web");
    let asked_it = ask(&client, &format!("{own}:53"), "anything.test", A, ANSWER).expect("an answer");
    assert_eq!(asked_it.records, ["192.0.2.55"]);
    // And ours answers in it as before.
    assert_eq!(addresses(&server, "client"), [address(&gantry, "client", "web")]);
    let own = ask(&server, "127.0.0.1:53", "anything.test", A, ANSWER).expect("an answer");
    assert_eq!(own.records, ["192.0.2.55"]);
}

#[test]
fn what_is_not_ours_is_asked_of_others() {
    let house = House::apart(&[]);
    let (gantry, other) = (house.gantry(), neighbour(house.netns()));
    let at = format!("{INTERNET4}:53").parse().expect("an address");
    let mut servers = Servers::none();
    let some: IpAddr = "203.0.113.5".parse().expect("an address");
    let many: Vec<IpAddr> = (1..=200u8).map(|n| IpAddr::from([203, 0, 113, n])).collect();
    servers.answer(&other, at, move |query, _| {
        let mut answer = reply(query, &[some], asked(query).starts_with("long."));
        if asked(query).starts_with("none.") {
            answer = reply(query, &[], false);
            answer[3] |= NXDOMAIN;
        }
        Some(answer)
    });
    servers.answer_by_tcp(&other, at, move |query| reply(query, &many, false));
    gantry.ok(&["network", "create", "web"]);
    gantry.ok(&["network", "create", "--internal", "deep"]);
    up(&gantry, "ann", &["--network", "web", "--dns", INTERNET4]);
    let a = house.inside("ann");
    assert_eq!(says(&a, "example.test", A).records, ["203.0.113.5"]);
    assert_eq!(says(&a, "none.test", A).code, NXDOMAIN);
    let long = says(&a, "long.test", A);
    assert!(long.truncated && long.records.is_empty(), "{long:?}");
    assert_eq!(
        ask_by_tcp(&a, EMBEDDED, "long.test", A)
            .expect("an answer")
            .records
            .len(),
        200
    );
    let own = once(
        &gantry,
        &["--network", "web", "--dns", INTERNET4],
        "nslookup example.test",
    );
    assert!(own.contains("203.0.113.5"), "{own}");
    // Nothing leaves an internal network, names neither.
    up(&gantry, "bob", &["--network", "deep", "--dns", INTERNET4]);
    let answer = says(&house.inside("bob"), "example.test", A);
    assert!(answer.code != 0 && answer.records.is_empty(), "{answer:?}");
}
