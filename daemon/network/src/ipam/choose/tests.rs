use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn nets(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| net(text)).collect()
}

fn asked(subnet: &str) -> PoolRequest {
    PoolRequest {
        subnet: Some(net(subnet)),
        ..PoolRequest::default()
    }
}

fn all_pools() -> Vec<AddressPool> {
    let mut pools = docker_pools();
    pools.push(unique_local([1, 2, 3, 4, 5]));
    pools
}

fn one(request: PoolRequest) -> Result<Pool> {
    let subnets = choose(&[request], true, false, &[], &[], &all_pools());
    subnets.map(|mut pools| pools.remove(0))
}

#[test]
fn networks_get_docker_s_subnets_in_docker_s_order() {
    let mut taken = Vec::new();
    for _ in 0..31 {
        let pools = choose(&[], true, false, &taken, &nets(&["0.0.0.0/0"]), &docker_pools()).unwrap();
        taken.push(pools[0].subnet);
    }
    assert_eq!(taken[0], net("172.17.0.0/16"));
    assert_eq!(taken[14], net("172.31.0.0/16"));
    assert_eq!(taken[15], net("192.168.0.0/20"));
    assert_eq!(taken[30], net("192.168.240.0/20"));
    let error = choose(&[], true, false, &taken, &[], &docker_pools()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "all predefined address pools have been fully subnetted"
    );
}

#[test]
fn what_the_host_can_reach_is_not_hidden_by_a_choice_of_ours_but_may_be_by_the_user_s() {
    let routes = nets(&["172.16.0.0/14", "192.168.17.0/24"]);
    let pools = choose(&[], true, false, &nets(&["172.20.0.0/24"]), &routes, &docker_pools()).unwrap();
    assert_eq!(pools[0].subnet, net("172.21.0.0/16"));
    assert!(choose(&[asked("172.17.0.0/16")], true, false, &[], &routes, &docker_pools()).is_ok());
}

#[test]
fn both_families() {
    let pools = choose(&[asked("fd77::/64")], true, true, &[], &[], &all_pools()).unwrap();
    assert_eq!(pools[0].subnet, net("172.17.0.0/16"));
    assert_eq!(pools[0].gateway, Some("172.17.0.1".parse().unwrap()));
    assert_eq!(pools[1].subnet, net("fd77::/64"));
    assert_eq!(pools[1].gateway, Some("fd77::1".parse().unwrap()));
    let pools = choose(&[], false, true, &nets(&["fd01:203:405::/64"]), &[], &all_pools()).unwrap();
    assert_eq!(pools[0].subnet, net("fd01:203:405:1::/64"));
    let passed_over = choose(&[asked("fd77::/64")], true, false, &[], &[], &all_pools()).unwrap();
    assert_eq!(passed_over.len(), 1);
    assert!(choose(&[], false, false, &[], &[], &all_pools()).is_err());
}

#[test]
fn a_gateway_is_the_first_address_unless_given() {
    assert_eq!(
        one(asked("10.1.0.0/24")).unwrap().gateway,
        Some("10.1.0.1".parse().unwrap())
    );
    let mut request = asked("10.1.0.0/16");
    request.range = Some(net("10.1.5.0/24"));
    assert_eq!(one(request.clone()).unwrap().gateway, Some("10.1.5.0".parse().unwrap()));
    request
        .auxiliary
        .insert("router".to_owned(), "10.1.5.0".parse().unwrap());
    assert_eq!(one(request.clone()).unwrap().gateway, Some("10.1.5.1".parse().unwrap()));
    request.gateway = Some("10.1.9.9".parse().unwrap());
    assert_eq!(one(request).unwrap().gateway, Some("10.1.9.9".parse().unwrap()));
}

#[test]
fn overlaps_are_refused() {
    let words = "Pool overlaps with other one on this address space";
    for (wanted, other) in [
        ("10.0.0.0/8", "10.7.0.0/24"),
        ("10.7.0.0/25", "10.7.0.0/24"),
        ("fd00::/16", "fd00::/64"),
    ] {
        let error = choose(&[asked(wanted)], true, true, &nets(&[other]), &[], &all_pools()).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
    }
    let twice = [asked("10.7.0.0/24"), asked("10.7.0.0/16")];
    assert!(choose(&twice, true, false, &[], &[], &all_pools()).is_err());
    let beside = [asked("10.7.0.0/24"), asked("10.7.1.0/24")];
    assert_eq!(choose(&beside, true, false, &[], &[], &all_pools()).unwrap().len(), 2);
}

#[test]
fn what_cannot_be_is_named() {
    type Change = fn(&mut PoolRequest);
    let cases: [(&str, Change, &str); 9] = [
        (
            "10.1.0.7/24",
            |_| {},
            "invalid subnet 10.1.0.7/24: it should be 10.1.0.0/24",
        ),
        ("10.1.0.7/32", |_| {}, "too small"),
        (
            "10.1.0.0/24",
            |r| r.range = Some(net("10.1.0.0/16")),
            "invalid ip-range 10.1.0.0/16: CIDR block is bigger than its parent subnet 10.1.0.0/24",
        ),
        (
            "10.1.0.0/24",
            |r| r.range = Some(net("10.1.0.5/28")),
            "invalid ip-range 10.1.0.5/28: it should be 10.1.0.0/28",
        ),
        (
            "10.1.0.0/24",
            |r| r.range = Some(net("10.2.0.0/28")),
            "invalid ip-range 10.2.0.0/28: parent subnet 10.1.0.0/24 doesn't contain ip-range",
        ),
        (
            "10.1.0.0/24",
            |r| r.gateway = Some("10.2.0.1".parse().unwrap()),
            "invalid gateway 10.2.0.1: parent subnet 10.1.0.0/24 doesn't contain this address",
        ),
        (
            "10.1.0.0/24",
            |r| r.gateway = Some("fd00::1".parse().unwrap()),
            "invalid gateway fd00::1: parent subnet is an IPv4 block",
        ),
        (
            "10.1.0.0/24",
            |r| r.gateway = Some("10.1.0.255".parse().unwrap()),
            "invalid gateway 10.1.0.255: it is the network or broadcast address",
        ),
        (
            "10.1.0.0/24",
            |r| {
                r.gateway = Some("10.1.0.9".parse().unwrap());
                r.auxiliary.insert("nas".to_owned(), "10.1.0.9".parse().unwrap());
            },
            "failed to allocate secondary ip address (nas:10.1.0.9): Address already in use",
        ),
    ];
    for (subnet, change, words) in cases {
        let mut request = asked(subnet);
        change(&mut request);
        let error = one(request).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let lone = PoolRequest {
        gateway: Some("10.0.0.1".parse().unwrap()),
        ..PoolRequest::default()
    };
    assert!(
        one(lone)
            .unwrap_err()
            .to_string()
            .contains("must have a corresponding subnet")
    );
}

#[test]
fn pools_of_impossible_sizes() {
    assert!(AddressPool::new(net("10.0.0.0/8"), 7).is_err());
    assert!(AddressPool::new(net("10.0.0.0/8"), 33).is_err());
    let small = [AddressPool::new(net("10.0.0.0/29"), 30).unwrap()];
    let pools = choose(&[], true, false, &nets(&["10.0.0.0/30"]), &[], &small).unwrap();
    assert_eq!(pools[0].subnet, net("10.0.0.4/30"));
    let last = [AddressPool::new(net("255.255.255.0/24"), 25).unwrap()];
    assert!(choose(&[], true, false, &nets(&["255.255.255.0/24"]), &[], &last).is_err());
}
