//! Who talks to whom: small servers that say whom they see, in namespaces; questions to them, and to name servers.

use crate::Netns;
use std::collections::BTreeSet;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an answer that must not come is waited for.
pub const SILENCE: Duration = Duration::from_millis(700);
/// How long one that must come is.
pub const ANSWER: Duration = Duration::from_secs(10);

/// Servers in one namespace, until this is dropped. Each answers `<tag> <who asked>` to whoever asks.
pub struct Servers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Servers {
    /// On these ports by tcp and udp, of both families.
    pub fn new(netns: &Netns, tag: &str, ports: &[u16]) -> Self {
        let mut servers = Self::none();
        for port in ports {
            let address = SocketAddr::new(IpAddr::from([0u16; 8]), *port);
            servers.tcp(netns, tag, address);
            servers.udp(netns, tag, address);
        }
        servers
    }

    pub fn none() -> Self {
        Self {
            stop: Arc::default(),
            threads: Vec::new(),
        }
    }

    pub fn tcp(&mut self, netns: &Netns, tag: &str, address: SocketAddr) {
        let listener = netns.enter(|| TcpListener::bind(address)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let tag = tag.to_owned();
        self.serve(move || {
            let (mut stream, peer) = listener.accept()?;
            stream.set_nonblocking(false)?;
            stream.write_all(format!("{tag} {}", peer.ip().to_canonical()).as_bytes())
        });
    }

    pub fn udp(&mut self, netns: &Netns, tag: &str, address: SocketAddr) {
        let tag = tag.to_owned();
        self.answer(netns, address, move |_, peer| {
            Some(format!("{tag} {}", peer.ip().to_canonical()).into_bytes())
        });
    }

    /// Answers datagrams.
    pub fn answer(
        &mut self,
        netns: &Netns,
        address: SocketAddr,
        answer: impl Fn(&[u8], SocketAddr) -> Option<Vec<u8>> + Send + 'static,
    ) {
        let socket = netns.enter(|| UdpSocket::bind(address)).expect("a free port");
        socket.set_nonblocking(true).expect("a socket");
        self.serve(move || {
            let mut buffer = [0; 2048];
            let (count, peer) = socket.recv_from(&mut buffer)?;
            match answer(&buffer[..count], peer) {
                Some(reply) => socket.send_to(&reply, peer).map(drop),
                None => Ok(()),
            }
        });
    }

    /// Answers DNS by tcp: two bytes of length before each message.
    pub fn answer_by_tcp(
        &mut self,
        netns: &Netns,
        address: SocketAddr,
        answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static,
    ) {
        let listener = netns.enter(|| TcpListener::bind(address)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        self.serve(move || {
            let (mut stream, _) = listener.accept()?;
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(ANSWER))?;
            let query = read_long(&mut stream)?;
            stream.write_all(&long(&answer(&query)))
        });
    }

    fn serve(&mut self, mut turn: impl FnMut() -> Result<()> + Send + 'static) {
        let stop = self.stop.clone();
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // Who went away before the answer is no failure of ours; nobody there means a pause.
                if let Err(error) = turn()
                    && error.kind() == ErrorKind::WouldBlock
                {
                    std::thread::sleep(Duration::from_millis(3));
                }
            }
        }));
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What a server answers to somebody in the namespace who asks by tcp.
pub fn tcp(from: &Netns, address: &str, limit: Duration) -> Result<String> {
    let address: SocketAddr = address.parse().expect("an address and a port");
    from.enter(|| {
        let mut stream = TcpStream::connect_timeout(&address, limit)?;
        stream.set_read_timeout(Some(limit))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        // The socket that holds a port would take nothing; nobody else may.
        match text.is_empty() {
            true => Err(Error::from(ErrorKind::UnexpectedEof)),
            false => Ok(text),
        }
    })
}

/// The same by udp, asked again until it comes.
pub fn udp(from: &Netns, address: &str, limit: Duration) -> Result<String> {
    let address: SocketAddr = address.parse().expect("an address and a port");
    from.enter(|| {
        let here: SocketAddr = match address.is_ipv4() {
            true => "0.0.0.0:0".parse().expect("an address"),
            false => "[::]:0".parse().expect("an address"),
        };
        let socket = UdpSocket::bind(here)?;
        socket.set_read_timeout(Some(Duration::from_millis(300)))?;
        let deadline = Instant::now() + limit;
        let mut buffer = [0; 512];
        loop {
            // An ICMP error for a former one is no answer.
            let _ = socket.send_to(b"who", address);
            let heard = socket.recv_from(&mut buffer);
            let wrong = match &heard {
                Ok((count, peer)) if peer.ip() == address.ip() && peer.port() == address.port() => {
                    return Ok(String::from_utf8_lossy(&buffer[..*count]).into_owned());
                }
                Ok((_, peer)) => Error::other(format!("an answer from {peer}")),
                Err(error) => Error::from(error.kind()),
            };
            if Instant::now() >= deadline {
                return Err(wrong);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    })
}

/// Fails unless both protocols answer so from there.
#[track_caller]
pub fn reaches(from: &Netns, address: &str, answer: &str) {
    for (kind, said) in [("tcp", tcp(from, address, ANSWER)), ("udp", udp(from, address, ANSWER))] {
        assert!(
            said.as_ref().is_ok_and(|said| said == answer),
            "{kind} {address}: {said:?}, not {answer:?}"
        );
    }
}

/// Fails if either protocol gets an answer.
#[track_caller]
pub fn unreachable(from: &Netns, address: &str) {
    for (kind, said) in [
        ("tcp", tcp(from, address, SILENCE)),
        ("udp", udp(from, address, SILENCE)),
    ] {
        assert!(said.is_err(), "{kind} {address} answers {said:?}");
    }
}

/// Record types.
pub const A: u16 = 1;
pub const PTR: u16 = 12;
pub const AAAA: u16 = 28;
/// Response codes.
pub const SERVFAIL: u8 = 2;
pub const NXDOMAIN: u8 = 3;

/// What a name server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub code: u8,
    pub truncated: bool,
    /// Addresses, or names without their last dot, in the order in which they came.
    pub records: Vec<String>,
}

impl Answer {
    pub fn set(&self) -> BTreeSet<&str> {
        self.records.iter().map(String::as_str).collect()
    }
}

/// Where containers of user-defined networks ask.
pub const EMBEDDED: &str = "127.0.0.11:53";

/// Asks a name server from within a namespace, once, by udp.
pub fn ask(from: &Netns, server: &str, name: &str, kind: u16, limit: Duration) -> Result<Answer> {
    from.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(limit))?;
        socket.send(&query(name, kind))?;
        let mut buffer = [0; 4096];
        let count = socket.recv(&mut buffer)?;
        Ok(read(&buffer[..count]))
    })
}

/// The same by tcp.
pub fn ask_by_tcp(from: &Netns, server: &str, name: &str, kind: u16) -> Result<Answer> {
    let server: SocketAddr = server.parse().expect("an address and a port");
    from.enter(|| {
        let mut stream = TcpStream::connect_timeout(&server, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(&long(&query(name, kind)))?;
        Ok(read(&read_long(&mut stream)?))
    })
}

fn long(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).expect("a message of DNS");
    [&length.to_be_bytes()[..], message].concat()
}

fn read_long(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

fn query(name: &str, kind: u16) -> Vec<u8> {
    // Recursion desired, one question.
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        message.push(u8::try_from(label.len()).expect("a label"));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(kind.to_be_bytes());
    message.extend(1u16.to_be_bytes());
    message
}

/// A server's reply to a query: these addresses, or a mark that it is too long for a datagram.
pub fn reply(query: &[u8], addresses: &[IpAddr], truncated: bool) -> Vec<u8> {
    let end = skip(query, 12) + 4;
    let mut message = query[..end].to_vec();
    message[2] = 0x81 | if truncated { 2 } else { 0 };
    message[3] = 0x80;
    let count = if truncated { 0 } else { addresses.len() };
    message[6..8].copy_from_slice(&u16::try_from(count).expect("few").to_be_bytes());
    message[8..12].fill(0);
    for address in addresses.iter().take(count) {
        let (kind, bytes) = match address {
            IpAddr::V4(address) => (A, address.octets().to_vec()),
            IpAddr::V6(address) => (AAAA, address.octets().to_vec()),
        };
        message.extend([0xc0, 12]);
        message.extend(kind.to_be_bytes());
        message.extend([0, 1, 0, 0, 0, 60]);
        message.extend(u16::try_from(bytes.len()).expect("few").to_be_bytes());
        message.extend(bytes);
    }
    message
}

/// The name a query asks for.
pub fn asked(query: &[u8]) -> String {
    name_at(query, 12)
}

fn read(message: &[u8]) -> Answer {
    let number = |at: usize| u16::from_be_bytes([message[at], message[at + 1]]);
    let mut at = 12;
    for _ in 0..number(4) {
        at = skip(message, at) + 4;
    }
    let mut records = Vec::new();
    for _ in 0..number(6) {
        at = skip(message, at);
        let (kind, length) = (number(at), usize::from(number(at + 8)));
        at += 10;
        let data = &message[at..at + length];
        records.push(match kind {
            A => IpAddr::from(<[u8; 4]>::try_from(data).expect("four bytes")).to_string(),
            AAAA => IpAddr::from(<[u8; 16]>::try_from(data).expect("sixteen bytes")).to_string(),
            PTR => name_at(message, at),
            other => format!("type {other}"),
        });
        at += length;
    }
    Answer {
        code: message[3] & 0xf,
        truncated: message[2] & 2 != 0,
        records,
    }
}

/// Past the name that begins here.
fn skip(message: &[u8], mut at: usize) -> usize {
    loop {
        match message[at] {
            0 => return at + 1,
            pointer if pointer & 0xc0 == 0xc0 => return at + 2,
            length => at += 1 + usize::from(length),
        }
    }
}

fn name_at(message: &[u8], mut at: usize) -> String {
    let mut labels = Vec::new();
    loop {
        match message[at] {
            0 => return labels.join("."),
            pointer if pointer & 0xc0 == 0xc0 => {
                at = usize::from(u16::from_be_bytes([pointer & 0x3f, message[at + 1]]));
            }
            length => {
                let end = at + 1 + usize::from(length);
                labels.push(String::from_utf8_lossy(&message[at + 1..end]).into_owned());
                at = end;
            }
        }
    }
}
