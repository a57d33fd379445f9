//! Requests that no client sends: wrong shapes, wrong versions, odd names. Each has a status and a message, and none is our fault.

use crate::sides::{IMAGE, Sides};
use gantry_e2e::{House, HouseOptions};
use serde_json::Value;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What an answer came to.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: String,
    pub body: String,
}

impl Reply {
    /// What the error says.
    pub fn message(&self) -> String {
        self.value()["message"].as_str().unwrap_or_default().to_owned()
    }

    /// The body as JSON; null if it is none.
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// Sends a request and reads until the end.
pub fn ask(socket: &Path, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Reply {
    let mut stream = UnixStream::connect(socket).expect("the socket answers");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a limit can be set");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    if !body.is_empty() {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes()).expect("the request is taken");
    // Who refuses early does not read it all.
    let _ = stream.write_all(body);
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // The answer is here, and what was not read of the request is gone.
        Err(error) if error.kind() == ErrorKind::ConnectionReset && !bytes.is_empty() => {}
        Err(error) => panic!("an answer to {method} {path}: {error}"),
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Reply {
        status,
        headers: head.to_ascii_lowercase(),
        body: if chunked { joined(body) } else { body.to_owned() },
    }
}

/// The chunks of a body.
fn joined(mut text: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
        if size == 0 || rest.len() < size {
            break;
        }
        out.push_str(&rest[..size]);
        text = rest[size..].trim_start_matches("\r\n");
    }
    out
}

const JSON: &str = "Content-Type: application/json";

fn house() -> (House, PathBuf) {
    let house = House::with(HouseOptions {
        bare: true,
        // No registry is reached from there.
        netns: true,
        ..HouseOptions::default()
    });
    let socket = house.exec_root().join("docker.sock");
    (house, socket)
}

#[test]
fn versions_methods_and_paths() {
    let (_house, socket) = house();
    let get = |path: &str| ask(&socket, "GET", path, &[], b"");
    for prefix in ["", "/v1.24", "/v1.41", "/v1.51"] {
        let reply = get(&format!("{prefix}/_ping"));
        assert_eq!((reply.status, reply.body.as_str()), (200, "OK"), "{prefix}");
        for header in [
            "api-version: 1.51",
            "docker-experimental: false",
            "ostype: linux",
            "server: docker/",
            "builder-version: 1",
            "swarm: inactive",
            "cache-control: no-cache, no-store, must-revalidate",
            "pragma: no-cache",
        ] {
            assert!(reply.headers.contains(header), "{header} in {}", reply.headers);
        }
    }
    let head = ask(&socket, "HEAD", "/_ping", &[], b"");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let new = get("/v1.99/info");
    assert_eq!(
        (new.status, new.message().as_str()),
        (
            400,
            "client version 1.99 is too new. Maximum supported API version is 1.51"
        )
    );
    let old = get("/v1.10/info");
    assert_eq!(old.status, 400);
    assert!(
        old.message()
            .starts_with("client version 1.10 is too old. Minimum supported API version is 1.24")
    );
    for (method, path) in [
        ("GET", "/nothing"),
        ("DELETE", "/v1.41/info"),
        ("GET", "/vx/info"),
        ("POST", "/v1.41/_ping"),
        ("PATCH", "/v1.41/containers/a"),
        ("GET", "/v1.41/debug/vars"),
    ] {
        let reply = ask(&socket, method, path, &[], b"");
        assert_eq!(
            (reply.status, reply.message().as_str()),
            (404, "page not found"),
            "{method} {path}"
        );
    }
    assert_eq!(ask(&socket, "OPTIONS", "/v1.41/info", &[], b"").status, 200);
    for odd in [
        "/v1.41/containers/a/../b/json",
        "/v1.41//info",
        "/v1.41/containers/a%2F..%2Fb/json",
    ] {
        assert_eq!(get(odd).status, 301, "{odd}");
    }
}

#[test]
fn bodies_of_the_wrong_shape() {
    let (_house, socket) = house();
    let create = |body: &str| ask(&socket, "POST", "/v1.51/containers/create", &[JSON], body.as_bytes());
    for (body, message) in [
        ("{", "invalid JSON: unexpected EOF"),
        ("{}", "config cannot be empty in order to create a container"),
        (
            "x",
            "invalid JSON: invalid character 'x' looking for beginning of value",
        ),
        (
            "[]",
            "invalid JSON: json: cannot unmarshal array into Go value of type container.CreateRequest",
        ),
        (
            "{\"Image\":5}",
            "invalid JSON: json: cannot unmarshal number into Go struct field CreateRequest.Image of type string",
        ),
        (
            "{\"Image\":\"a\",\"Env\":\"x\"}",
            "invalid JSON: json: cannot unmarshal string into Go struct field CreateRequest.Env of type []string",
        ),
        (
            "{\"Image\":\"a\",\"HostConfig\":{\"Memory\":1.5}}",
            "invalid JSON: json: cannot unmarshal number 1.5 into Go struct field HostConfig.Memory of type int64",
        ),
        ("{\"Image\":\"a\"} {}", "unexpected content after JSON"),
    ] {
        let reply = create(body);
        assert_eq!((reply.status, reply.message().as_str()), (400, message), "{body}");
    }
    let none = ask(&socket, "POST", "/v1.51/containers/create", &[JSON], b"");
    assert_eq!(
        (none.status, none.message().as_str()),
        (400, "invalid JSON: got EOF while reading request body")
    );
    let typed = ask(
        &socket,
        "POST",
        "/v1.51/containers/create",
        &["Content-Type: text/plain"],
        b"{}",
    );
    assert_eq!(typed.status, 400);
    assert_eq!(
        typed.message(),
        "unsupported Content-Type header (text/plain): must be 'application/json'"
    );
    let missing = create("{\"Image\":\"nothing\",\"Cmd\":[\"x\"],\"NoSuchField\":1}");
    assert_eq!(
        (missing.status, missing.message().as_str()),
        (404, "No such image: nothing:latest")
    );
    // What is known and not obeyed is refused by its name.
    let unbuilt = create("{\"Image\":\"nothing\",\"HostConfig\":{\"CpuPercent\":5}}");
    assert_eq!(unbuilt.status, 400);
    assert!(unbuilt.message().contains("HostConfig.CpuPercent"), "{unbuilt:?}");
    let huge = vec![b' '; 5 << 20];
    assert_eq!(
        ask(&socket, "POST", "/v1.51/containers/create", &[JSON], &huge).status,
        400
    );
}

/// Whatever stands in names and queries, nothing is our fault and nothing hangs.
#[test]
fn odd_names_and_queries() {
    let (_house, socket) = house();
    let names = [
        "a%00b",
        "%2e%2e",
        "..%2f..%2fetc",
        "%ff%fe",
        "a%0d%0ab",
        "%20",
        "sha256:",
        "@",
        "a:b:c",
        "%F0%9F%98%80",
        ".",
        "-",
        "a/b/c",
    ];
    let routes = [
        ("GET", "/containers/{}/json"),
        ("GET", "/containers/{}/logs?stdout=1"),
        ("GET", "/containers/{}/top"),
        ("GET", "/containers/{}/changes"),
        ("GET", "/containers/{}/export"),
        ("GET", "/containers/{}/stats?stream=0"),
        ("GET", "/containers/{}/archive?path=/"),
        ("HEAD", "/containers/{}/archive?path=/"),
        ("PUT", "/containers/{}/archive?path=/"),
        ("POST", "/containers/{}/start"),
        ("POST", "/containers/{}/stop"),
        ("POST", "/containers/{}/restart"),
        ("POST", "/containers/{}/kill"),
        ("POST", "/containers/{}/pause"),
        ("POST", "/containers/{}/unpause"),
        ("POST", "/containers/{}/wait"),
        ("POST", "/containers/{}/attach?stream=1&stdout=1"),
        ("POST", "/containers/{}/rename?name=x1"),
        ("POST", "/containers/{}/resize?h=1&w=1"),
        ("DELETE", "/containers/{}"),
        ("GET", "/exec/{}/json"),
        ("POST", "/exec/{}/resize?h=1&w=1"),
        ("GET", "/images/{}/json"),
        ("GET", "/images/{}/history"),
        ("GET", "/images/{}/get"),
        ("POST", "/images/{}/tag?repo=x"),
        ("DELETE", "/images/{}"),
        ("GET", "/networks/{}"),
        ("DELETE", "/networks/{}"),
        ("GET", "/volumes/{}"),
        ("DELETE", "/volumes/{}"),
        ("GET", "/plugins/{}/json"),
        ("GET", "/distribution/{}/json"),
    ];
    for (method, route) in routes {
        for name in names {
            let path = format!("/v1.51{}", route.replace("{}", name));
            let reply = ask(&socket, method, &path, &[], b"");
            // A good name asks a registry that is not there.
            let away = route.starts_with("/distribution/") && reply.status == 503;
            assert!(
                away || (300..=501).contains(&reply.status) && reply.status != 500,
                "{method} {path}: {reply:?}"
            );
        }
    }
    for (path, message) in [
        ("/containers/json?filters=%7B", "invalid filter"),
        (
            "/containers/json?filters=%7B%22x%22:%5B%22y%22%5D%7D",
            "invalid filter 'x'",
        ),
        ("/images/json?filters=%5B%5D", "invalid filter"),
        (
            "/networks?filters=%7B%22x%22:%7B%22y%22:true%7D%7D",
            "invalid filter 'x'",
        ),
        ("/events?filters=%7B%22x%22:%5B%22y%22%5D%7D", "invalid filter 'x'"),
        (
            "/events?since=20&until=10",
            "`since` time (20) cannot be after `until` time (10)",
        ),
        ("/events?since=x", "strconv.ParseInt: parsing \"x\": invalid syntax"),
        (
            "/containers/json?limit=x",
            "strconv.Atoi: parsing \"x\": invalid syntax",
        ),
        ("/system/df?type=x", "unknown object type: x"),
    ] {
        let reply = ask(&socket, "GET", &format!("/v1.51{path}"), &[], b"");
        assert_eq!((reply.status, reply.message().as_str()), (400, message), "{path}");
    }
    // Credentials that cannot be read count as none.
    let pull = "/v1.51/images/create?fromImage=UPPER";
    let reply = ask(&socket, "POST", pull, &["X-Registry-Auth: !!!"], b"");
    assert_eq!(reply.status, 400, "{reply:?}");
}

/// Where the words are the peer's too, they are the same.
#[test]
fn refusals_answer_alike() {
    let s = &Sides::new();
    s.both(&["run", "-d", "--name", "up", IMAGE, "sleep", "1000"]);
    s.both(&["create", "--name", "still", IMAGE, "true"]);
    for (method, path) in [
        ("GET", "/containers/nothing/json"),
        ("GET", "/containers/up/logs"),
        ("POST", "/containers/up/start"),
        ("POST", "/containers/still/stop"),
        ("POST", "/containers/up/kill?signal=FOO"),
        ("POST", "/containers/nothing/start"),
        ("DELETE", "/containers/nothing"),
        ("POST", "/containers/up/rename"),
        ("POST", "/containers/still/wait"),
        ("GET", "/containers/still/changes"),
        ("GET", "/containers/still/stats?stream=1&one-shot=1"),
        ("GET", "/exec/nothing/json"),
        ("GET", "/networks/nothing"),
        ("GET", "/volumes/nothing"),
        ("GET", "/plugins"),
        ("GET", "/plugins/x/json"),
        ("GET", "/swarm"),
        ("GET", "/services"),
        ("GET", "/tasks"),
        ("GET", "/secrets"),
        ("GET", "/configs"),
        ("GET", "/nodes"),
        ("POST", "/swarm/leave"),
        ("GET", "/containers/up/checkpoints"),
        ("POST", "/containers/up/checkpoints"),
        ("POST", "/session"),
        ("POST", "/build/prune"),
        ("POST", "/networks/prune"),
        ("GET", "/nothing"),
        ("DELETE", "/info"),
    ] {
        let path = format!("/v1.41{path}");
        s.compare(&[method, &path], |side| {
            let reply = ask(&side.socket, method, &path, &[], b"");
            crate::alike::Answer {
                code: reply.status.into(),
                stdout: match reply.message() {
                    message if message.is_empty() => reply.body.trim_end().to_owned(),
                    message => format!("Error: {message}"),
                },
                stderr: String::new(),
            }
        });
    }
}
