//! A daemon, and requests to it without a client: answers as they are, connections that are taken over, websockets.

use crate::shapes::{Reply, ask};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gantry_e2e::{House, HouseOptions, PATIENCE, eventually};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

pub const IMAGE: &str = "busybox:latest";
const JSON: &str = "Content-Type: application/json";
pub const NEWEST: &str = "1.51";

pub struct World {
    pub house: House,
    pub socket: PathBuf,
}

/// As it stands in a query.
pub fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(one).collect()
}

/// `filters=` of one key.
pub fn filter(key: &str, value: &str) -> String {
    filters(&json!({ key: [value] }))
}

pub fn filters(value: &Value) -> String {
    format!("filters={}", escaped(&value.to_string()))
}

impl World {
    /// With busybox; `netns`: in a network namespace of its own.
    pub fn new(netns: bool) -> Self {
        let house = House::with(HouseOptions {
            netns,
            ..HouseOptions::default()
        });
        let socket = house.exec_root().join("docker.sock");
        Self { house, socket }
    }

    /// `path` without its version.
    pub fn at(&self, version: &str, method: &str, path: &str, body: &Value) -> Reply {
        let path = format!("/v{version}{path}");
        match body {
            Value::Null => ask(&self.socket, method, &path, &[], b""),
            body => ask(&self.socket, method, &path, &[JSON], body.to_string().as_bytes()),
        }
    }

    pub fn get(&self, path: &str) -> Reply {
        self.at(NEWEST, "GET", path, &Value::Null)
    }

    pub fn post(&self, path: &str) -> Reply {
        self.at(NEWEST, "POST", path, &Value::Null)
    }

    /// What an answer says that must be a success.
    #[track_caller]
    pub fn json(&self, method: &str, path: &str, body: &Value) -> Value {
        let reply = self.at(NEWEST, method, path, body);
        assert!((200..300).contains(&reply.status), "{method} {path}: {reply:?}");
        reply.value()
    }

    #[track_caller]
    pub fn list(&self, path: &str) -> Value {
        self.json("GET", path, &Value::Null)
    }

    /// Does what must succeed.
    #[track_caller]
    pub fn does(&self, method: &str, path: &str) {
        self.json(method, path, &Value::Null);
    }

    /// A container; what `more` does not say is as usual.
    #[track_caller]
    pub fn create(&self, name: &str, more: Value) -> String {
        let mut body = json!({ "Image": IMAGE, "Cmd": ["sleep", "1000"] });
        for (key, value) in more.as_object().expect("fields") {
            body[key] = value.clone();
        }
        let made = self.json("POST", &format!("/containers/create?name={name}"), &body);
        made["Id"].as_str().expect("an id").to_owned()
    }

    #[track_caller]
    pub fn start(&self, name: &str) {
        self.does("POST", &format!("/containers/{name}/start"));
    }

    #[track_caller]
    pub fn run(&self, name: &str, more: Value) -> String {
        let id = self.create(name, more);
        self.start(name);
        id
    }

    /// Runs a line of shell to its end.
    #[track_caller]
    pub fn shell(&self, name: &str, line: &str) -> String {
        let id = self.run(name, json!({ "Cmd": ["sh", "-c", line] }));
        self.ended(name);
        id
    }

    /// Waits for its end and answers the code.
    #[track_caller]
    pub fn ended(&self, name: &str) -> i64 {
        let told = self.json("POST", &format!("/containers/{name}/wait"), &Value::Null);
        told["StatusCode"].as_i64().expect("a code")
    }

    #[track_caller]
    pub fn gone(&self, names: &[&str]) {
        for name in names {
            self.does("DELETE", &format!("/containers/{name}?force=1&v=1"));
        }
    }

    /// What it has written so far, as lines of text.
    pub fn said(&self, name: &str) -> String {
        text(&self.raw(&format!("/v{NEWEST}/containers/{name}/logs?stdout=1&stderr=1")))
    }

    #[track_caller]
    pub fn until_said(&self, name: &str, words: &str) {
        eventually(&format!("{name} says {words}"), PATIENCE, || {
            self.said(name).contains(words)
        });
    }

    /// The bytes of an answer's body, framed streams and all.
    pub fn raw(&self, path: &str) -> Vec<u8> {
        let mut connection = Connection::open(self, "GET", path, &[], b"");
        connection.rest();
        connection.body()
    }

    /// A file of a container.
    pub fn exec(&self, name: &str, line: &str) -> String {
        let made = self.json(
            "POST",
            &format!("/containers/{name}/exec"),
            &json!({ "AttachStdout": true, "AttachStderr": true, "Cmd": ["sh", "-c", line] }),
        );
        let id = made["Id"].as_str().expect("an id").to_owned();
        let body = json!({ "Detach": false }).to_string();
        let path = format!("/v{NEWEST}/exec/{id}/start");
        let mut connection = Connection::open(self, "POST", &path, &[JSON], body.as_bytes());
        connection.rest();
        text(&connection.body())
    }
}

/// Framed output as text.
pub fn text(bytes: &[u8]) -> String {
    frames(bytes).into_iter().map(|(_, text)| text).collect()
}

/// The pieces of a framed stream: which, and what.
pub fn frames(mut bytes: &[u8]) -> Vec<(u8, String)> {
    let mut found = Vec::new();
    while let [stream, 0, 0, 0, a, b, c, d, rest @ ..] = bytes {
        let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
        let (piece, more) = rest.split_at(length.min(rest.len()));
        found.push((*stream, String::from_utf8_lossy(piece).into_owned()));
        bytes = more;
    }
    found
}

/// A connection whose answer is read as it comes.
pub struct Connection {
    stream: UnixStream,
    got: Vec<u8>,
}

impl Connection {
    pub fn open(world: &World, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Self {
        let mut stream = UnixStream::connect(&world.socket).expect("the socket answers");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit can be set");
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: d\r\n");
        for header in headers {
            head.push_str(header);
            head.push_str("\r\n");
        }
        if !headers.iter().any(|header| header.starts_with("Connection")) {
            head.push_str("Connection: close\r\n");
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).expect("the request is taken");
        stream.write_all(body).expect("the body is taken");
        let mut connection = Self {
            stream,
            got: Vec::new(),
        };
        connection.until(|got| got.windows(4).any(|four| four == b"\r\n\r\n"));
        connection
    }

    /// One that is taken over.
    pub fn hijack(world: &World, path: &str) -> Self {
        let upgrade = ["Connection: Upgrade", "Upgrade: tcp"];
        let connection = Self::open(world, "POST", &format!("/v{NEWEST}{path}"), &upgrade, b"");
        assert_eq!(connection.status(), 101, "{}", String::from_utf8_lossy(&connection.got));
        connection
    }

    pub fn status(&self) -> u16 {
        let head = String::from_utf8_lossy(&self.got).into_owned();
        head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
    }

    /// Reads until it is so, or until the end.
    fn until(&mut self, enough: impl Fn(&[u8]) -> bool) {
        let mut buffer = [0; 4096];
        while !enough(&self.got) {
            match self.stream.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                Err(error) => panic!("{error}, after {}", String::from_utf8_lossy(&self.got)),
            }
        }
    }

    pub fn rest(&mut self) {
        self.until(|_| false);
    }

    #[track_caller]
    pub fn expect(&mut self, words: &str) {
        let wanted = words.as_bytes().to_vec();
        self.until(|got| got.windows(wanted.len()).any(|some| some == wanted));
        let shown = String::from_utf8_lossy(&self.got).into_owned();
        assert!(shown.contains(words), "{words:?} in {shown:?}");
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the other end reads");
    }

    /// No more input.
    pub fn half_close(&self) {
        self.stream.shutdown(std::net::Shutdown::Write).expect("a half closes");
    }

    /// What came behind the head, chunks joined.
    pub fn body(&self) -> Vec<u8> {
        let at = self.got.windows(4).position(|four| four == b"\r\n\r\n");
        let (head, body) = self.got.split_at(at.map_or(self.got.len(), |at| at + 4));
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        match head.contains("transfer-encoding: chunked") {
            true => unchunked(body),
            false => body.to_vec(),
        }
    }

    /// Whether nothing comes for a while.
    pub fn is_silent(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).expect("a limit can be set");
        let read = self.stream.read(&mut [0; 1]);
        self.stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a limit can be set");
        matches!(read, Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut))
    }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = String::from_utf8_lossy(&bytes[..end]).into_owned();
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        let rest = &bytes[end + 2..];
        if size == 0 || rest.len() < size {
            break;
        }
        out.extend_from_slice(&rest[..size]);
        bytes = rest[size..].strip_prefix(b"\r\n").unwrap_or_default();
    }
    out
}

/// A client of a websocket (RFC 6455): masks what it sends, takes frames as they come.
pub struct WebSocket(Connection);

impl WebSocket {
    pub fn open(world: &World, version: &str, path: &str) -> Self {
        let key = STANDARD.encode([7; 16]);
        let headers = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            &format!("Sec-WebSocket-Key: {key}"),
        ];
        let connection = Connection::open(world, "GET", &format!("/v{version}{path}"), &headers, b"");
        let head = String::from_utf8_lossy(&connection.got).to_ascii_lowercase();
        assert_eq!(connection.status(), 101, "{head}");
        assert!(head.contains("upgrade: websocket"), "{head}");
        Self(connection)
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let length = u8::try_from(bytes.len()).expect("a short message");
        assert!(length < 126);
        let mask = [1, 2, 3, 4];
        let mut frame = vec![0x82, 0x80 | length];
        frame.extend(mask);
        frame.extend(bytes.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
        self.0.send(&frame);
    }

    /// The messages until the end or until these words are among them: whether they are binary, and what they say.
    pub fn until(&mut self, words: &str) -> (bool, String) {
        let done = |got: &[u8]| {
            let (_, text, closed) = messages(got);
            closed || (!words.is_empty() && text.contains(words))
        };
        self.0.until(done);
        let (binary, text, _) = messages(&self.0.got);
        (binary, text)
    }
}

/// Of the frames behind the head: all binary, what they say, and whether one closes.
fn messages(got: &[u8]) -> (bool, String, bool) {
    let at = got
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .map_or(got.len(), |at| at + 4);
    let mut bytes = &got[at..];
    let (mut binary, mut text, mut closed) = (true, String::new(), false);
    while let [kind, size, rest @ ..] = bytes {
        let (size, rest) = match (size, rest) {
            (126, [a, b, rest @ ..]) => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            (126 | 127, _) => break,
            (size, rest) => (usize::from(*size), rest),
        };
        if rest.len() < size {
            break;
        }
        match kind & 0xf {
            8 => closed = true,
            one @ (1 | 2) => {
                binary &= one == 2;
                text.push_str(&String::from_utf8_lossy(&rest[..size]));
            }
            _ => {}
        }
        bytes = &rest[size..];
    }
    (binary, text, closed)
}
