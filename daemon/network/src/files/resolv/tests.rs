use super::*;

const HOST: &str = "# comment\nnameserver 127.0.0.1\nnameserver 10.0.0.53\nnameserver fd00::53\nsearch a.example b.example\n\
                    options edns0 trust-ad\nsortlist 10.0.0.0\n";

fn host(text: &str) -> HostResolver {
    HostResolver::parse(Path::new("/etc/resolv.conf"), text)
}

fn lines(conf: &ResolvConf) -> Vec<&str> {
    let plain = |line: &&str| !line.is_empty() && !line.starts_with('#');
    conf.text.lines().filter(plain).collect()
}

#[test]
fn on_the_default_bridge_a_container_asks_servers_it_can_reach() {
    let conf = resolv_conf(&host(HOST), &DnsSettings::default(), Way::Direct { ipv6: false });
    let expected = [
        "nameserver 10.0.0.53",
        "search a.example b.example",
        "options edns0 trust-ad",
        "sortlist 10.0.0.0",
    ];
    assert_eq!(lines(&conf), expected);
    assert!(conf.upstreams.is_empty() && conf.warning.is_none());
    let both = resolv_conf(&host(HOST), &DnsSettings::default(), Way::Direct { ipv6: true });
    assert!(both.text.contains("\nnameserver fd00::53\n"));
    let all = resolv_conf(&host(HOST), &DnsSettings::default(), Way::Host);
    assert!(all.text.contains("\nnameserver 127.0.0.1\n"));
}

#[test]
fn without_any_server_there_is_a_last_resort_and_a_word_about_it() {
    let conf = resolv_conf(
        &host("nameserver 127.0.0.1\n"),
        &DnsSettings::default(),
        Way::Direct { ipv6: false },
    );
    assert_eq!(lines(&conf), ["nameserver 8.8.8.8", "nameserver 8.8.4.4"]);
    assert!(conf.warning.unwrap().contains("/etc/resolv.conf"));
    let conf = resolv_conf(&host(""), &DnsSettings::default(), Way::Embedded { ipv6: true });
    assert_eq!(conf.upstreams.len(), 4);
}

#[test]
fn in_user_networks_the_embedded_server_is_asked() {
    let conf = resolv_conf(&host(HOST), &DnsSettings::default(), Way::Embedded { ipv6: false });
    let expected = [
        "nameserver 127.0.0.11",
        "search a.example b.example",
        "options edns0 trust-ad ndots:0",
        "sortlist 10.0.0.0",
    ];
    assert_eq!(lines(&conf), expected);
    assert!(
        conf.text
            .contains("# ExtServers: [host(127.0.0.1) 10.0.0.53 host(fd00::53)]\n"),
        "{}",
        conf.text
    );
    assert!(
        conf.text
            .contains("# Based on host file: '/etc/resolv.conf' (internal resolver)\n")
    );
    assert!(conf.text.ends_with("# Option ndots from: internal\n"), "{}", conf.text);
    let from_host: Vec<bool> = conf.upstreams.iter().map(|upstream| upstream.from_host).collect();
    assert_eq!(from_host, [true, false, true]);
    assert!(!conf.ndots_set);
}

#[test]
fn what_the_user_says_goes() {
    let wanted = DnsSettings {
        servers: vec!["127.0.0.1".parse().unwrap(), "9.9.9.9".parse().unwrap()],
        search: vec![".".to_owned()],
        options: vec!["ndots:2".to_owned(), "rotate".to_owned()],
    };
    let conf = resolv_conf(&host(HOST), &wanted, Way::Direct { ipv6: false });
    let servers = [
        "nameserver 127.0.0.1",
        "nameserver 9.9.9.9",
        "options ndots:2 rotate",
        "sortlist 10.0.0.0",
    ];
    assert_eq!(lines(&conf), servers);
    let conf = resolv_conf(&host(HOST), &wanted, Way::Embedded { ipv6: false });
    assert!(
        conf.text
            .contains("# ExtServers: [127.0.0.1 9.9.9.9]\n# Overrides: [nameservers search options]\n")
    );
    assert!(conf.upstreams.iter().all(|upstream| !upstream.from_host));
    assert!(conf.ndots_set && conf.text.contains("\noptions ndots:2 rotate\n"));
}

#[test]
fn systemd_resolved_knows_the_real_servers() {
    let dir = tempfile::tempdir().unwrap();
    let (usual, real) = (dir.path().join("resolv.conf"), dir.path().join("real.conf"));
    fs::write(&usual, "nameserver 127.0.0.53\noptions edns0\n").unwrap();
    let found = HostResolver::find_in(&usual, &real).unwrap();
    assert_eq!(
        found.servers[0].address, RESOLVED_STUB,
        "without its file the stub is all there is"
    );
    fs::write(&real, "nameserver 192.0.2.1\n").unwrap();
    let found = HostResolver::find_in(&usual, &real).unwrap();
    assert_eq!(found.servers, [Server::plain("192.0.2.1".parse().unwrap())]);
    assert_eq!(found.path, real);
    let nothing = HostResolver::find_in(&dir.path().join("absent"), &real).unwrap();
    assert!(nothing.servers.is_empty());
}

#[test]
fn a_scoped_server_is_asked_from_the_host() {
    let conf = resolv_conf(
        &host("nameserver fe80::1%lo\n"),
        &DnsSettings::default(),
        Way::Embedded { ipv6: true },
    );
    assert_eq!(conf.upstreams.len(), 1);
    assert!(conf.upstreams[0].from_host);
    assert!(conf.text.contains("host(fe80::1%lo)"));
    let gone = resolv_conf(
        &host("nameserver fe80::1%gone0\n"),
        &DnsSettings::default(),
        Way::Embedded { ipv6: true },
    );
    assert!(gone.upstreams.is_empty());
}
