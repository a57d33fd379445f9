use super::*;
use gantry_core::network::Port;
use nix::sched::{CloneFlags, unshare};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

/// A network namespace of this test's thread alone.
fn alone() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    // Not by a program: a child has copies of other tests' sockets until it runs.
    crate::netns::loopback_up().unwrap();
}

fn binding(container: &str, host: Option<&str>, ports: Option<&str>) -> PortBinding {
    PortBinding {
        container: container.parse().unwrap(),
        host: host.map(|host| host.parse().unwrap()),
        ports: ports.map(|ports| ports.parse().unwrap()),
    }
}

fn published(container: &str, host: &str, host_port: u16) -> PublishedPort {
    PublishedPort {
        container: container.parse::<Port>().unwrap(),
        host: host.parse().unwrap(),
        host_port,
    }
}

fn refusal(allocator: &Allocator, bindings: &[PortBinding]) -> String {
    allocator.reserve(bindings, None).unwrap_err().to_string()
}

#[test]
fn a_port_is_held_in_both_families_by_one_socket() {
    alone();
    let ports = Allocator::default();
    let reserved = ports.reserve(&[binding("80", None, Some("8080"))], None).unwrap();
    assert_eq!(
        reserved.published(),
        [published("80", "0.0.0.0", 8080), published("80", "::", 8080)]
    );
    for host in ["0.0.0.0:8080", "127.0.0.1:8080", "[::]:8080", "[::1]:8080"] {
        // std asks for SO_REUSEADDR, as servers do.
        assert_eq!(
            TcpListener::bind(host).unwrap_err().kind(),
            io::ErrorKind::AddrInUse,
            "{host}"
        );
        assert!(UdpSocket::bind(host).is_ok(), "udp is another matter");
    }
    // What misses the translation is refused, not left waiting.
    let started = Instant::now();
    let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
    let error = TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(started.elapsed() < Duration::from_secs(2));
    drop(reserved);
    assert!(ports.is_empty());
    TcpListener::bind("0.0.0.0:8080").unwrap();
}

#[test]
fn conflicts_are_said_in_docker_s_words() {
    alone();
    let ports = Allocator::default();
    let kept = ports
        .reserve(&[binding("80", None, Some("8080"))], None)
        .unwrap()
        .keep();
    assert_eq!(
        refusal(&ports, &[binding("80", None, Some("8080"))]),
        "Bind for 0.0.0.0:8080 failed: port is already allocated"
    );
    assert_eq!(
        refusal(&ports, &[binding("80", Some("127.0.0.1"), Some("8080"))]),
        "Bind for 127.0.0.1:8080 failed: port is already allocated"
    );
    let _other = TcpListener::bind("0.0.0.0:9090").unwrap();
    let error = ports.reserve(&[binding("80", None, Some("9090"))], None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        for_endpoint("c1", "abc", error).to_string(),
        "driver failed programming external connectivity on endpoint c1 (abc): \
         failed to bind host port 0.0.0.0:9090/tcp: address already in use"
    );
    assert_eq!(
        refusal(&ports, &[binding("80", Some("192.0.2.9"), Some("81"))]),
        "failed to bind host port 192.0.2.9:81/tcp: cannot assign requested address"
    );
    assert!(refusal(&ports, &[binding("80", Some("::1"), Some("82"))]).contains("[::1]"));
    ports.release(&kept[0].published);
    drop(kept);
    assert!(ports.reserve(&[binding("80", None, Some("8080"))], None).is_ok());
}

#[test]
fn all_or_none_and_ranges_choose_a_free_one() {
    alone();
    let ports = Allocator::default();
    let _other = TcpListener::bind("127.0.0.1:8003").unwrap();
    let wanted: Vec<_> = (8000..8006)
        .map(|port| binding("80", None, Some(&port.to_string())))
        .collect();
    assert!(refusal(&ports, &wanted).contains(":8003/tcp: address already in use"));
    assert!(ports.is_empty());
    TcpListener::bind("0.0.0.0:8000").unwrap();

    let range: Vec<_> = (0..5).map(|_| binding("80", None, Some("8000-8005"))).collect();
    let reserved = ports.reserve(&range, None).unwrap();
    let mut numbers: Vec<u16> = reserved.published().iter().map(|port| port.host_port).collect();
    numbers.dedup();
    assert_eq!(numbers, [8000, 8001, 8002, 8004, 8005]);
    assert_eq!(
        refusal(&ports, &range[..1]),
        "Bind for 0.0.0.0:8000-8005 failed: all ports are allocated"
    );
}

#[test]
fn ports_are_chosen_from_the_kernel_s_range_and_addresses_by_default() {
    alone();
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40003").unwrap();
    let ports = Allocator::default();
    let _other = UdpSocket::bind("127.0.0.1:40001").unwrap();
    let any = |count: usize| vec![binding("53/udp", None, None); count];
    let local: IpAddr = "127.0.0.1".parse().unwrap();
    let reserved = ports.reserve(&any(3), Some(local)).unwrap();
    assert_eq!(
        reserved.published(),
        [40_000, 40_002, 40_003].map(|port| published("53/udp", "127.0.0.1", port))
    );
    let error = ports.reserve(&any(1), Some(local)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    // Other addresses and other protocols have ports of their own.
    assert!(
        ports
            .reserve(&[binding("53/udp", Some("127.0.0.2"), Some("40000"))], None)
            .is_ok()
    );
    assert!(
        ports
            .reserve(&[binding("53/tcp", Some("127.0.0.1"), Some("40000"))], None)
            .is_ok()
    );
    assert!(
        ports
            .reserve(&[binding("53/udp", Some("::"), Some("40000"))], None)
            .is_ok()
    );
}

#[test]
fn datagrams_that_miss_their_way_do_not_pile_up() {
    alone();
    let ports = Allocator::default();
    let reserved = ports
        .reserve(&[binding("53/udp", Some("127.0.0.1"), Some("5353"))], None)
        .unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..1000 {
        sender.send_to(&[0; 1000], "127.0.0.1:5353").unwrap();
    }
    let sockets = std::fs::read_to_string("/proc/thread-self/net/udp").unwrap();
    let line = sockets.lines().find(|line| line.contains(":14E9 ")).unwrap();
    let queued = line
        .split_whitespace()
        .nth(4)
        .and_then(|queues| queues.split_once(':'))
        .unwrap()
        .1;
    let queued = u64::from_str_radix(queued, 16).unwrap();
    assert!(queued < 8192, "{queued} bytes lie there");
    drop(reserved);
}

#[test]
fn sctp_is_refused_by_name_where_the_kernel_lacks_it() {
    alone();
    let ports = Allocator::default();
    match ports.reserve(&[binding("80/sctp", None, Some("8080"))], None) {
        Ok(_) => println!("this kernel has sctp"),
        Err(error) => assert_eq!(
            error.to_string(),
            "failed to bind host port 0.0.0.0:8080/sctp: this kernel has no sctp"
        ),
    }
}

#[test]
fn after_a_restart_ports_are_taken_over_or_bound_again() {
    alone();
    let before = Allocator::default();
    let wanted = [
        binding("80", None, Some("8080")),
        binding("53/udp", Some("127.0.0.1"), Some("53")),
    ];
    let held = before.reserve(&wanted, None).unwrap().keep();

    let published: Vec<_> = held.iter().flat_map(|held| held.published.clone()).collect();
    let after = Allocator::default();
    after.claim(&published).unwrap();
    assert_eq!(after.claim(&published).unwrap_err().kind(), ErrorKind::Conflict);
    for held in &held {
        after.adopt(&held.published, held.socket.as_fd()).unwrap();
    }
    assert_eq!(after.len(), 2);
    assert!(refusal(&after, &wanted[..1]).contains("already allocated"));
    let other = [PublishedPort {
        host_port: 81,
        ..published[0]
    }];
    assert!(after.adopt(&other, held[0].socket.as_fd()).is_err());

    assert_eq!(after.rebind(&published).unwrap_err().kind(), ErrorKind::Conflict);
    drop(held);
    assert_eq!(after.rebind(&published).unwrap().len(), 2);
    assert_eq!(after.len(), 2, "claimed all the time");
    after.release(&published);
    assert!(after.is_empty());
}

#[test]
fn ten_thousand_ports() {
    alone();
    let ports = Allocator::default();
    let wanted: Vec<_> = (20_000..30_000)
        .map(|port| binding("80", None, Some(&port.to_string())))
        .collect();
    let started = Instant::now();
    let reserved = ports.reserve(&wanted, None).unwrap();
    let took = started.elapsed();
    println!("10,000 ports reserved in {took:?}");
    assert_eq!(reserved.published().len(), 20_000);
    assert!(took < Duration::from_secs(10), "{took:?}");
    drop(reserved);
    assert!(ports.is_empty());
}
