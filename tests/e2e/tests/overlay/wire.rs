//! What goes over the wire.

use crate::bed::{Bed, Underlay, endpoint, reaches, up};
use gantry_e2e::Netns;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket};
use nix::sys::time::TimeVal;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// Every frame of a namespace.
struct Capture(OwnedFd);

/// A frame in a VXLAN packet (RFC 7348) over IPv4.
#[derive(Debug, PartialEq, Eq)]
struct Tunnelled {
    from: Ipv4Addr,
    to: Ipv4Addr,
    vni: u32,
    /// Of the IPv4 packet inside.
    inner: Option<(Ipv4Addr, Ipv4Addr)>,
}

impl Capture {
    fn new(netns: &Netns) -> Self {
        let socket = netns.enter(|| {
            socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
        });
        let socket = socket.expect("a packet socket");
        setsockopt(&socket, ReceiveTimeout, &TimeVal::new(0, 200_000)).expect("a timeout");
        Self(socket)
    }

    /// What is read of the first frame that it can be read of.
    fn find<T>(&self, limit: Duration, read: impl Fn(&[u8]) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + limit;
        let mut frame = vec![0; 65_536];
        while Instant::now() < deadline {
            let Ok(length) = recv(self.0.as_raw_fd(), &mut frame, MsgFlags::empty()) else {
                continue;
            };
            if let Some(found) = read(&frame[..length]) {
                return Some(found);
            }
        }
        None
    }
}

fn address(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let four: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(four.into())
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Ethernet, IPv4, UDP to port 4789, the VXLAN header with its flag, Ethernet again.
fn tunnelled(frame: &[u8]) -> Option<Tunnelled> {
    const IPV4: u16 = 0x0800;
    let packet = frame.get(14..).filter(|_| number(frame, 12) == Some(IPV4))?;
    let udp = packet.get(usize::from(packet.first()? & 0xf) * 4..)?;
    if *packet.get(9)? != 17 || number(udp, 2)? != 4789 || udp.get(8)? & 0x08 == 0 {
        return None;
    }
    let inner = udp.get(16..)?;
    let within = inner.get(14..).filter(|_| number(inner, 12) == Some(IPV4));
    Some(Tunnelled {
        from: address(packet, 12)?,
        to: address(packet, 16)?,
        vni: u32::from_be_bytes([0, *udp.get(12)?, *udp.get(13)?, *udp.get(14)?]),
        inner: within.and_then(|packet| Some((address(packet, 12)?, address(packet, 16)?))),
    })
}

#[test]
fn a_capture_shows_vxlan() {
    let bed = Bed::new(Underlay::V4);
    bed.network("--opt com.docker.network.driver.overlay.vxlanid_list=7777 web");
    let (one, other) = (bed.gantry(0), bed.gantry(1));
    up(&one, "ann", &["--network", "web"]);
    up(&other, "bob", &["--network", "web"]);
    let addresses: Vec<Ipv4Addr> = [(&one, "ann"), (&other, "bob")]
        .map(|(gantry, name)| endpoint(gantry, name, "web", "IPAddress").parse().expect("an address"))
        .to_vec();
    let capture = Capture::new(bed.houses[1].netns());
    reaches(&one, "ann", "bob");
    let seen = capture.find(Duration::from_secs(10), |frame| {
        tunnelled(frame).filter(|frame| frame.inner == Some((addresses[0], addresses[1])))
    });
    let wanted = Tunnelled {
        from: "192.0.2.1".parse().expect("an address"),
        to: "192.0.2.2".parse().expect("an address"),
        vni: 7777,
        inner: Some((addresses[0], addresses[1])),
    };
    assert_eq!(seen, Some(wanted));
    bed.close();
}

/// The protocol of an IPv4 packet, if the frame goes from this host to the other.
fn protocol(frame: &[u8]) -> Option<u8> {
    let packet = frame.get(14..).filter(|_| number(frame, 12) == Some(0x0800))?;
    let between =
        address(packet, 12)? == Ipv4Addr::new(192, 0, 2, 1) && address(packet, 16)? == Ipv4Addr::new(192, 0, 2, 2);
    let protocol = *packet.get(9)?;
    // What hosts tell each other by TCP is etcd's.
    (between && protocol != 6).then_some(protocol)
}

#[test]
fn what_is_to_be_encrypted_is_never_seen_in_the_clear() {
    const ESP: u8 = 50;
    let bed = Bed::new(Underlay::V4);
    bed.network("plain");
    let (one, other) = (bed.gantry(0), bed.gantry(1));
    let made = one.run(&["network", "create", "-d", "overlay", "--opt", "encrypted", "secret"]);
    if made.code != 0 {
        // Refused by name, and nothing is left of it.
        assert!(made.stderr.contains("ESP"), "{}", made.stderr);
        assert!(!one.ok(&["network", "ls"]).contains("secret"));
        return bed.close();
    }
    bed.knows(1, "secret");
    up(&one, "ann", &["--network", "secret"]);
    up(&other, "bob", &["--network", "secret"]);
    let capture = Capture::new(bed.houses[1].netns());
    reaches(&one, "ann", "bob");
    assert_eq!(capture.find(Duration::from_secs(10), protocol), Some(ESP));
    let udp = capture.find(Duration::from_secs(2), |frame| {
        protocol(frame).filter(|protocol| *protocol != ESP)
    });
    assert_eq!(udp, None);
    bed.close();
}
