//! Real queries in network namespaces of their own.

use super::*;
use crate::files::Upstream;
use crate::names::zone::{Membership, NetworkNames};
use crate::netns;
use gantry_core::network::NetworkId;
use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::Instant;

/// A network namespace that nobody but this test knows.
fn namespace() -> OwnedFd {
    let made = thread::spawn(|| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        netns::loopback_up().unwrap();
        File::open("/proc/thread-self/ns/net").unwrap().into()
    });
    made.join().unwrap()
}

fn inside<T: Send>(namespace: &OwnedFd, deed: impl FnOnce() -> T + Send) -> T {
    netns::enter(namespace.as_fd(), || Ok(deed())).unwrap()
}

fn network(n: u8) -> NetworkId {
    NetworkId::from_random([n; 32])
}

/// `web` in network 1, `db` in network 2.
fn zone() -> Arc<Zone> {
    let mut zone = Zone::default();
    for (n, name) in [(1, "web"), (2, "db")] {
        let mut names = NetworkNames::new(&format!("net{n}"));
        names.add([name], &[Ipv4Addr::new(10, n, 0, 2).into()]);
        zone.networks.insert(network(n), Arc::new(names));
    }
    Arc::new(zone)
}

fn view(networks: &[u8], upstreams: &[SocketAddr]) -> View {
    View {
        networks: networks
            .iter()
            .map(|n| Membership {
                network: network(*n),
                links: Default::default(),
            })
            .collect(),
        upstreams: upstreams
            .iter()
            .map(|address| Upstream {
                address: *address,
                from_host: false,
            })
            .collect(),
        forward: true,
        ndots_set: false,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn query(name: &str, kind: RecordType) -> Message {
    let mut query = Message::query();
    query.metadata.recursion_desired = true;
    query.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    query
}

fn client() -> std::net::UdpSocket {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.11:53").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn received(socket: &std::net::UdpSocket) -> Message {
    let mut buffer = [0; 65_535];
    let length = socket.recv(&mut buffer).unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

fn ask_udp(query: &Message) -> Message {
    let socket = client();
    socket.send(&query.to_vec().unwrap()).unwrap();
    received(&socket)
}

fn ask_tcp(query: &Message) -> Message {
    let mut stream = std::net::TcpStream::connect("127.0.0.11:53").unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    send_framed(&mut stream, query);
    read_framed(&mut stream)
}

fn send_framed(stream: &mut std::net::TcpStream, message: &Message) {
    let bytes = message.to_vec().unwrap();
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], &bytes].concat()).unwrap();
}

fn read_framed(stream: &mut std::net::TcpStream) -> Message {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut bytes).unwrap();
    Message::from_vec(&bytes).unwrap()
}

fn addresses(reply: &Message) -> Vec<IpAddr> {
    reply
        .answers
        .iter()
        .filter_map(|record| record.data.ip_addr())
        .collect()
}

/// A server of the "Internet" inside the namespace: every name has `count` addresses; what does not fit is told over TCP
/// only. It ends with its sockets' last query, `stop.example.`.
fn upstream(namespace: &OwnedFd, at: SocketAddr, count: u8) -> thread::JoinHandle<Vec<Message>> {
    let (udp, tcp) = inside(namespace, || bound(at));
    serve(udp, tcp, count)
}

/// In both protocols: a number that the kernel chose in the one may be taken in the other, and then it chooses again.
fn bound(at: SocketAddr) -> (std::net::UdpSocket, std::net::TcpListener) {
    for _ in 0..100 {
        let udp = std::net::UdpSocket::bind(at).unwrap();
        if let Ok(tcp) = std::net::TcpListener::bind(udp.local_addr().unwrap()) {
            return (udp, tcp);
        }
    }
    panic!("{at} is taken");
}

fn serve(udp: std::net::UdpSocket, tcp: std::net::TcpListener, count: u8) -> thread::JoinHandle<Vec<Message>> {
    let reply = move |query: &Message, truncated: bool| {
        let mut reply = Message::response(query.metadata.id, query.metadata.op_code);
        reply.add_queries(query.queries.clone());
        reply.metadata.truncation = truncated;
        let name = query.queries[0].name().clone();
        let addresses =
            (0..count).map(|n| Record::from_rdata(name.clone(), 60, RData::from(IpAddr::from([192, 0, 2, n]))));
        if !truncated {
            reply.add_answers(addresses.collect::<Vec<_>>());
        }
        reply
    };
    thread::spawn(move || {
        let mut seen = Vec::new();
        let mut buffer = [0; 65_535];
        loop {
            let (length, from) = udp.recv_from(&mut buffer).unwrap();
            let query = Message::from_vec(&buffer[..length]).unwrap();
            if query.queries[0].name().to_ascii() == "stop.example." {
                return seen;
            }
            let whole = reply(&query, false).to_vec().unwrap();
            let fits = whole.len() <= usize::from(query.max_payload());
            let said = if fits {
                whole
            } else {
                reply(&query, true).to_vec().unwrap()
            };
            udp.send_to(&said, from).unwrap();
            seen.push(query);
            if !fits {
                let (mut stream, _) = tcp.accept().unwrap();
                let query = read_framed(&mut stream);
                send_framed(&mut stream, &reply(&query, false));
                seen.push(query);
            }
        }
    })
}

fn stop(namespace: &OwnedFd, at: SocketAddr) {
    inside(namespace, || {
        let socket = std::net::UdpSocket::bind((at.ip(), 0)).unwrap();
        let bytes = query("stop.example.", RecordType::A).to_vec().unwrap();
        socket.send_to(&bytes, at).unwrap();
    });
}

#[test]
fn a_sandbox_asks_on_port_53_and_hears_of_its_own_networks_only() {
    let runtime = runtime();
    let (publish, zone) = watch::channel(zone());
    let one = namespace();
    let own_server = inside(&one, || std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
    let resolver = Resolver::open(one.as_fd(), view(&[1], &[]), zone, runtime.handle()).unwrap();

    inside(&one, || {
        for ask in [ask_udp, ask_tcp] {
            let reply = ask(&query("WEB.", RecordType::A));
            assert_eq!(addresses(&reply), ["10.1.0.2".parse::<IpAddr>().unwrap()]);
            let reply = ask(&query("web.", RecordType::AAAA));
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert!(reply.answers.is_empty());
            let reply = ask(&query("2.0.1.10.in-addr.arpa.", RecordType::PTR));
            assert_eq!(reply.answers[0].data.to_string(), "web.net1.");
            let reply = ask(&query("db.", RecordType::A));
            assert_eq!(
                reply.metadata.response_code,
                ResponseCode::ServFail,
                "nobody else is there to ask"
            );
        }
        // The container's own server on port 53 is still its own.
        let asker = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        asker.send_to(b"hello", "127.0.0.1:53").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(own_server.recv(&mut buffer).unwrap(), 5);
    });

    // A container that joins another network, and a name that comes.
    resolver.set_view(view(&[1, 2], &[]));
    inside(&one, || {
        assert_eq!(addresses(&ask_udp(&query("db.", RecordType::A))).len(), 1)
    });
    publish.send_replace(Arc::new(Zone::default()));
    let reply = inside(&one, || ask_udp(&query("web.", RecordType::A)));
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
}

#[test]
fn what_is_not_ours_is_asked_in_the_sandbox_s_own_network() {
    let runtime = runtime();
    let one = namespace();
    let (dead, live): (SocketAddr, SocketAddr) = ("127.0.0.2:53".parse().unwrap(), "127.0.0.3:53".parse().unwrap());
    let world = upstream(&one, live, 2);
    let (_publish, zone) = watch::channel(zone());
    let _resolver = Resolver::open(one.as_fd(), view(&[1], &[dead, live]), zone, runtime.handle()).unwrap();
    let mut asked = query("example.org.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(1400).set_version(0).set_dnssec_ok(true);
    asked.set_edns(edns);
    let (udp, tcp) = inside(&one, || (ask_udp(&asked), ask_tcp(&asked)));
    for reply in [udp, tcp] {
        assert_eq!(reply.metadata.id, asked.metadata.id);
        assert_eq!(addresses(&reply).len(), 2);
    }
    stop(&one, live);
    let seen = world.join().unwrap();
    assert!(seen.len() >= 2);
    assert!(
        seen.iter()
            .all(|query| query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok))
    );
    assert!(
        seen.iter().any(|query| query.metadata.id != asked.metadata.id),
        "numbers are our own"
    );
}

/// A server on the host's loopback (systemd-resolved, dnsmasq) is asked from the host, and only if it is the host's.
#[test]
fn the_host_s_own_server_is_asked_from_the_host() {
    let runtime = runtime();
    let one = namespace();
    let (udp, tcp) = bound("127.0.0.1:0".parse().unwrap());
    let at = udp.local_addr().unwrap();
    let world = serve(udp, tcp, 1);
    let (_publish, zone) = watch::channel(zone());
    let mut seen = view(&[1], &[at]);
    let resolver = Resolver::open(one.as_fd(), seen.clone(), zone, runtime.handle()).unwrap();
    let asked = query("example.org.", RecordType::A);
    let reply = inside(&one, || ask_udp(&asked));
    assert_eq!(
        reply.metadata.response_code,
        ResponseCode::ServFail,
        "the sandbox's loopback is another"
    );
    seen.upstreams[0].from_host = true;
    resolver.set_view(seen);
    assert_eq!(addresses(&inside(&one, || ask_udp(&asked))).len(), 1);
    let last = query("stop.example.", RecordType::A).to_vec().unwrap();
    std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .send_to(&last, at)
        .unwrap();
    assert!(!world.join().unwrap().is_empty());
}

#[test]
fn a_truncated_answer_is_asked_for_again_over_tcp() {
    let runtime = runtime();
    let one = namespace();
    let at: SocketAddr = "127.0.0.3:53".parse().unwrap();
    let world = upstream(&one, at, 100);
    let (_publish, zone) = watch::channel(zone());
    let _resolver = Resolver::open(one.as_fd(), view(&[1], &[at]), zone, runtime.handle()).unwrap();
    inside(&one, || {
        let reply = ask_udp(&query("example.org.", RecordType::A));
        assert!(reply.metadata.truncation && reply.answers.is_empty());
        let reply = ask_tcp(&query("example.org.", RecordType::A));
        assert_eq!(addresses(&reply).len(), 100);
    });
    stop(&one, at);
    assert_eq!(world.join().unwrap().len(), 4);
}

/// P36: a query that comes while no daemon runs waits and is answered.
#[test]
fn a_query_during_a_restart_is_answered() {
    let one = namespace();
    let (_publish, zone) = watch::channel(zone());
    let before = runtime();
    let resolver = Resolver::open(one.as_fd(), view(&[1], &[]), zone.clone(), before.handle()).unwrap();
    let kept = resolver.sockets().unwrap();
    assert_eq!(
        addresses(&inside(&one, || ask_udp(&query("web.", RecordType::A)))).len(),
        1
    );
    drop(resolver);
    drop(before);

    let asked = query("web.", RecordType::A);
    let (udp, mut tcp) = inside(&one, || {
        let udp = client();
        udp.send(&asked.to_vec().unwrap()).unwrap();
        let mut tcp = std::net::TcpStream::connect("127.0.0.11:53").unwrap();
        send_framed(&mut tcp, &asked);
        (udp, tcp)
    });
    udp.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(udp.recv(&mut [0; 512]).is_err(), "nobody is there to answer yet");
    udp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();

    let after = runtime();
    let resolver = Resolver::adopt(kept, one.as_fd(), view(&[1], &[]), zone, after.handle()).unwrap();
    assert_eq!(addresses(&received(&udp)).len(), 1);
    assert_eq!(addresses(&read_framed(&mut tcp)).len(), 1);
    resolver.mend(one.as_fd()).unwrap();
    assert_eq!(addresses(&inside(&one, || ask_udp(&asked))).len(), 1);
}

#[test]
fn the_redirection_is_put_back_when_lost_by_either_program() {
    let runtime = runtime();
    let one = namespace();
    let (_publish, zone) = watch::channel(zone());
    let resolver = Resolver::open(one.as_fd(), view(&[1], &[]), zone, runtime.handle()).unwrap();
    let flush = || {
        inside(&one, || {
            assert!(
                Command::new("nft")
                    .args(["flush", "ruleset"])
                    .status()
                    .unwrap()
                    .success()
            )
        })
    };
    flush();
    inside(&one, || {
        let socket = client();
        let _ = socket.send(&query("web.", RecordType::A).to_vec().unwrap());
        assert!(socket.recv(&mut [0; 512]).is_err(), "there is nobody on port 53");
    });
    resolver.mend(one.as_fd()).unwrap();
    assert_eq!(
        addresses(&inside(&one, || ask_udp(&query("web.", RecordType::A)))).len(),
        1
    );
    flush();
    let ports = resolver.sockets().unwrap().ports().unwrap();
    for _ in 0..2 {
        inside(&one, || super::super::redirect::by_iptables(ports).unwrap());
        for ask in [ask_udp, ask_tcp] {
            assert_eq!(addresses(&inside(&one, || ask(&query("web.", RecordType::A)))).len(), 1);
        }
    }
}

#[test]
fn many_sandboxes_cost_no_threads() {
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let runtime = runtime();
    let (_publish, zone) = watch::channel(zone());
    let one = namespace();
    let kept = Sockets::open(one.as_fd()).unwrap();
    let before = threads();
    let adopt = |_| {
        let sockets = kept.try_clone().unwrap();
        Resolver::adopt(sockets, one.as_fd(), view(&[1], &[]), zone.clone(), runtime.handle()).unwrap()
    };
    let begun = Instant::now();
    let many: Vec<Resolver> = (0..100).map(adopt).collect();
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert!(
        threads() <= before + 20,
        "other tests run beside this one, but a hundred threads are ours"
    );
    assert_eq!(
        addresses(&inside(&one, || ask_udp(&query("web.", RecordType::A)))).len(),
        1
    );
    drop(many);
}
