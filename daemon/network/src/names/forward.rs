//! Asks other servers what is not ours to answer (RFC 1035 4.2, RFC 5452, RFC 7766).
//!
//! The message goes on as it came, extensions included; only its number is changed.

use super::inside::{socket, socket_here};
use crate::files::Upstream;
use rustix::net::SocketType;
use std::io;
use std::net::SocketAddr;
use std::net::UdpSocket as StdUdpSocket;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::debug;

/// For a whole query; clients give up after two tries of five seconds.
const QUERY: Duration = Duration::from_secs(10);
/// For one server.
const SERVER: Duration = Duration::from_secs(4);
/// A datagram may be lost.
const AGAIN: Duration = Duration::from_millis(1500);
const HEADER: usize = 12;
const TRUNCATED: u8 = 2;

/// The first good answer, or the last bad one if some server gave any.
pub async fn ask(query: &[u8], namespace: &Arc<OwnedFd>, upstreams: &[Upstream]) -> Option<Vec<u8>> {
    let deadline = Instant::now() + QUERY;
    let mut refused = None;
    for upstream in upstreams {
        let by = deadline.min(Instant::now() + SERVER);
        let asked = async {
            let reply = by_udp(query, namespace, upstream).await?;
            match reply[2] & TRUNCATED {
                0 => Ok(reply),
                // A server without TCP still said something.
                _ => Ok(by_tcp(query, namespace, upstream).await.unwrap_or(reply)),
            }
        };
        match timeout_at(by, asked).await {
            Ok(Ok(reply)) if is_final(&reply) => return Some(reply),
            Ok(Ok(reply)) => refused = Some(reply),
            Ok(Err::<_, io::Error>(error)) => {
                debug!(server = %upstream.address, %error, "a name server cannot be asked")
            }
            Err(_) => debug!(server = %upstream.address, "a name server does not answer"),
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    refused
}

/// There is such a name, or there is none; anything else another server may know better.
fn is_final(reply: &[u8]) -> bool {
    matches!(reply[3] & 0xf, 0 | 3)
}

async fn made(namespace: &Arc<OwnedFd>, upstream: &Upstream, kind: SocketType) -> io::Result<OwnedFd> {
    match upstream.from_host {
        true => socket_here(upstream.address, kind),
        false => socket(namespace, upstream.address, kind).await,
    }
}

/// A fresh socket, and so a fresh port, for each query.
async fn by_udp(query: &[u8], namespace: &Arc<OwnedFd>, upstream: &Upstream) -> io::Result<Vec<u8>> {
    let socket = made(namespace, upstream, SocketType::DGRAM).await?;
    let socket = UdpSocket::from_std(StdUdpSocket::from(socket))?;
    socket.connect(upstream.address).await?;
    let sent = renumbered(query);
    let mut buffer = vec![0; usize::from(u16::MAX)];
    loop {
        socket.send(&sent).await?;
        let again = Instant::now() + AGAIN;
        while let Ok(received) = timeout_at(again, socket.recv(&mut buffer)).await {
            let reply = &buffer[..received?];
            if answers(&sent, reply) {
                return Ok(restored(reply.to_vec(), query));
            }
        }
    }
}

async fn by_tcp(query: &[u8], namespace: &Arc<OwnedFd>, upstream: &Upstream) -> io::Result<Vec<u8>> {
    let socket = made(namespace, upstream, SocketType::STREAM).await?;
    let mut stream = connected(socket, upstream.address).await?;
    let sent = renumbered(query);
    write_message(&mut stream, &sent).await?;
    loop {
        let reply = read_message(&mut stream).await?;
        if answers(&sent, &reply) {
            return Ok(restored(reply, query));
        }
    }
}

async fn connected(socket: OwnedFd, address: SocketAddr) -> io::Result<tokio::net::TcpStream> {
    TcpSocket::from_std_stream(socket.into()).connect(address).await
}

/// A message with its length before it.
pub async fn write_message(stream: &mut tokio::net::TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let framed = [&length.to_be_bytes(), message].concat();
    stream.write_all(&framed).await
}

pub async fn read_message(stream: &mut tokio::net::TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// A number that nobody outside can guess from the client's.
fn renumbered(query: &[u8]) -> Vec<u8> {
    let mut sent = query.to_vec();
    sent[..2].copy_from_slice(&rand::random::<[u8; 2]>());
    sent
}

fn restored(mut reply: Vec<u8>, query: &[u8]) -> Vec<u8> {
    reply[..2].copy_from_slice(&query[..2]);
    reply
}

/// Whether it is an answer to this query: its number, and its question but for case (or no question, with an error).
fn answers(query: &[u8], reply: &[u8]) -> bool {
    if reply.len() < HEADER || reply[..2] != query[..2] || reply[2] & 0x80 == 0 {
        return false;
    }
    if reply[4..6] == [0, 0] {
        return reply[3] & 0xf != 0;
    }
    let Some(question) = question(query) else { return false };
    reply[4..6] == query[4..6]
        && reply
            .get(HEADER..HEADER + question.len())
            .is_some_and(|same| same.eq_ignore_ascii_case(question))
}

/// The bytes of the one question: labels, type and class.
fn question(query: &[u8]) -> Option<&[u8]> {
    let mut at = HEADER;
    loop {
        match *query.get(at)? {
            0 => return query.get(HEADER..at + 5),
            length if length < 64 => at += usize::from(length) + 1,
            _ => return None,
        }
    }
}

/// Waits no longer than a client may be idle.
pub async fn within<T>(time: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, work).await.map_err(|_| io::ErrorKind::TimedOut)?
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUERY: &[u8] = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x03org\x00\x00\x01\x00\x01";

    fn reply(change: impl FnOnce(&mut Vec<u8>)) -> bool {
        let mut reply = QUERY.to_vec();
        reply[2] |= 0x80;
        change(&mut reply);
        answers(QUERY, &reply)
    }

    #[test]
    fn only_an_answer_to_the_question_is_one() {
        assert!(reply(|_| {}));
        assert!(reply(|reply| reply[13] = b'W'), "case may differ");
        assert!(!reply(|reply| reply[0] = 0), "another number");
        assert!(!reply(|reply| reply[13] = b'x'), "another name");
        assert!(!reply(|reply| reply[22] = 28), "another type");
        assert!(!reply(|reply| reply[2] &= 0x7f), "a query");
        assert!(!reply(|reply| reply.truncate(14)));
        assert!(!reply(|reply| reply[4..6].fill(0)), "no question and no error");
        let refused = |reply: &mut Vec<u8>| {
            reply[4..6].fill(0);
            reply[3] = 1;
            reply.truncate(12);
        };
        assert!(reply(refused));
    }

    #[test]
    fn numbers_are_put_back() {
        let sent = renumbered(QUERY);
        assert_eq!(sent[2..], QUERY[2..]);
        assert_eq!(restored(sent, QUERY), QUERY);
    }
}
