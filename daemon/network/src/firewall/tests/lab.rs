//! A host with two bridges, three containers, and a neighbour on the same wire, each a network namespace of its own.

use super::super::{EndpointRules, NetworkRules, Rules};
use gantry_core::network::{GatewayMode, PublishedPort};
use nix::sched::{CloneFlags, setns, unshare};
use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A network namespace, gone with the last that has it open.
pub struct Space {
    file: File,
    stop: Arc<AtomicBool>,
}

impl Space {
    pub fn new() -> Self {
        let file = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let space = Self {
            file: file.join().unwrap(),
            stop: Arc::default(),
        };
        space.sh("ip link set lo up");
        space
    }

    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Runs it on a thread in the namespace.
    pub fn run<T: Send>(&self, deed: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.file, CloneFlags::CLONE_NEWNET).unwrap();
            deed()
        };
        match thread::scope(|scope| scope.spawn(enter).join()) {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Runs a shell script there and gives what it printed.
    pub fn sh(&self, script: &str) -> String {
        self.run(|| {
            let output = Command::new("sh").args(["-ec", script]).output().unwrap();
            let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{script}: {complaint}");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// Answers on a port, tcp and udp, both families: its name, and who it thinks asked.
    pub fn serve(&self, name: &'static str, port: u16) {
        let (tcp, udp) = self.run(|| {
            let any: SocketAddr = format!("[::]:{port}").parse().unwrap();
            (TcpListener::bind(any).unwrap(), UdpSocket::bind(any).unwrap())
        });
        tcp.set_nonblocking(true).unwrap();
        udp.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (stop, stopped) = (Arc::clone(&self.stop), Arc::clone(&self.stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                match tcp.accept() {
                    Ok((mut stream, peer)) => drop(stream.write_all(answer(name, peer).as_bytes())),
                    Err(_) => thread::sleep(Duration::from_millis(2)),
                }
            }
        });
        thread::spawn(move || {
            let mut buffer = [0; 64];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((_, peer)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(answer(name, peer).as_bytes(), peer);
                }
            }
        });
    }

    /// What answers there, if anything does.
    pub fn ask(&self, address: &str) -> Option<String> {
        self.ask_within(address, PATIENCE)
    }

    pub fn ask_within(&self, address: &str, patience: Duration) -> Option<String> {
        let address: SocketAddr = address.parse().unwrap();
        self.run(move || {
            let mut stream = TcpStream::connect_timeout(&address, patience).ok()?;
            stream.set_read_timeout(Some(patience)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        })
    }

    /// Where an answer is expected.
    pub fn ask_udp(&self, address: &str) -> Option<String> {
        let address: SocketAddr = address.parse().unwrap();
        self.run(move || {
            let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.set_read_timeout(Some(LONG)).unwrap();
            socket.send_to(b"?", address).ok()?;
            let mut buffer = [0; 64];
            let count = socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8_lossy(&buffer[..count]).into_owned())
        })
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// A name that answers answers within a few milliseconds here.
const PATIENCE: Duration = Duration::from_millis(700);
/// For an answer that is expected: on a loaded machine a first packet may be lost, and the next comes after a second.
pub const LONG: Duration = Duration::from_secs(20);

fn answer(name: &str, peer: SocketAddr) -> String {
    format!("{name} saw {}", peer.ip().to_canonical())
}

pub struct Lab {
    pub host: Space,
    pub neighbour: Space,
    pub a1: Space,
    pub a2: Space,
    pub b1: Space,
}

impl Lab {
    /// Whether frames that cross a bridge go through the host's rules too (br_netfilter) can be chosen.
    pub fn new(bridge_calls: bool) -> Self {
        let lab = Self {
            host: Space::new(),
            neighbour: Space::new(),
            a1: Space::new(),
            a2: Space::new(),
            b1: Space::new(),
        };
        lab.host.sh(&format!(
            "ip link add lan type veth peer name lan netns {}
             ip addr add 192.0.2.1/24 dev lan; ip addr add fd01::1/64 dev lan nodad; ip link set lan up
             sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             for n in a:18 b:19; do
               ip link add br-${{n%:*}} type bridge; ip link set br-${{n%:*}} up
               ip addr add 172.${{n#*:}}.0.1/16 dev br-${{n%:*}}; ip addr add fd${{n#*:}}::1/64 dev br-${{n%:*}} nodad
             done",
            lab.neighbour.path()
        ));
        for family in ["iptables", "ip6tables"] {
            let path = format!("/proc/sys/net/bridge/bridge-nf-call-{family}");
            let call = if bridge_calls { "1" } else { "0" };
            lab.host.sh(&format!("[ ! -e {path} ] || echo {call} > {path}"));
        }
        lab.neighbour.sh(
            "ip addr add 192.0.2.2/24 dev lan; ip addr add fd01::2/64 dev lan nodad; ip link set lan up
             ip route add 172.16.0.0/12 via 192.0.2.1; ip route add fd18::/64 via fd01::1; ip route add fd19::/64 via fd01::1",
        );
        for (space, name, bridge, net, last) in [
            (&lab.a1, "a1", "br-a", 18, 2),
            (&lab.a2, "a2", "br-a", 18, 3),
            (&lab.b1, "b1", "br-b", 19, 2),
        ] {
            lab.host.sh(&format!(
                "ip link add v{name} type veth peer name eth0 netns {}
                 ip link set v{name} master {bridge} up; bridge link set dev v{name} hairpin on",
                space.path()
            ));
            space.sh(&format!(
                "ip addr add 172.{net}.0.{last}/16 dev eth0; ip addr add fd{net}::{last}/64 dev eth0 nodad; ip link set eth0 up
                 ip route add default via 172.{net}.0.1; ip route add default via fd{net}::1"
            ));
            space.serve(name, 80);
            space.serve(name, 81);
        }
        lab.neighbour.serve("neighbour", 7000);
        lab.host.serve("host", 7000);
        lab
    }

    /// Waits until a fresh lab forwards at all: links take a moment, and neighbours are asked for.
    pub fn settled(&self) {
        for (space, address) in [
            (&self.a1, "172.18.0.1:7000"),
            (&self.a1, "[fd18::1]:7000"),
            (&self.a2, "[fd18::1]:7000"),
            (&self.b1, "[fd19::1]:7000"),
            (&self.neighbour, "[fd01::1]:7000"),
        ] {
            eventually(Duration::from_secs(10), || space.ask(address).is_some());
        }
    }
}

pub fn eventually(limit: Duration, mut so: impl FnMut() -> bool) -> Duration {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < limit, "not so after {limit:?}");
        thread::sleep(Duration::from_millis(20));
    }
    started.elapsed()
}

pub fn network(letter: char) -> NetworkRules {
    let net = if letter == 'a' { 18 } else { 19 };
    NetworkRules {
        device: format!("br-{letter}"),
        ipv4: vec![format!("172.{net}.0.0/16").parse().unwrap()],
        ipv6: vec![format!("fd{net}::/64").parse().unwrap()],
        internal: false,
        icc: true,
        masquerade: true,
        source4: None,
        mode4: GatewayMode::Nat,
        mode6: GatewayMode::Nat,
    }
}

pub fn endpoint(name: &str, ports: Vec<PublishedPort>) -> EndpointRules {
    let (network, net) = if name.starts_with('a') {
        ("aaaaaaaaaaaa", 18)
    } else {
        ("bbbbbbbbbbbb", 19)
    };
    let last: u8 = name[1..].parse::<u8>().unwrap() + 1;
    EndpointRules {
        network: network.to_owned(),
        interface: format!("v{name}"),
        ipv4: Some(format!("172.{net}.0.{last}").parse().unwrap()),
        ipv6: Some(format!("fd{net}::{last}").parse().unwrap()),
        ports,
        links: Vec::new(),
    }
}

/// `port("80", "0.0.0.0", 8080)`
pub fn port(container: &str, host: &str, host_port: u16) -> PublishedPort {
    PublishedPort {
        container: container.parse().unwrap(),
        host: host.parse::<IpAddr>().unwrap(),
        host_port,
    }
}

pub fn both(container: &str, host_port: u16) -> [PublishedPort; 2] {
    ["0.0.0.0", "::"].map(|host| port(container, host, host_port))
}

/// Both networks, and `a1` with 8080 and 5353/udp for everyone, 8081 for this host alone, 8082 on the address of the wire.
pub fn rules() -> Rules {
    let mut ports = Vec::new();
    ports.extend(both("80", 8080));
    ports.extend(both("80/udp", 5353));
    ports.push(port("81", "127.0.0.1", 8081));
    ports.push(port("81", "192.0.2.1", 8082));
    Rules {
        networks: [("aaaaaaaaaaaa", 'a'), ("bbbbbbbbbbbb", 'b')]
            .map(|(id, letter)| (id.to_owned(), network(letter)))
            .into(),
        endpoints: [
            ("a1".to_owned(), endpoint("a1", ports)),
            ("a2".to_owned(), endpoint("a2", Vec::new())),
            ("b1".to_owned(), endpoint("b1", Vec::new())),
        ]
        .into(),
    }
}
