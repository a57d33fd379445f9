//! Every route, asked for in shapes that no client sends: names, queries, bodies, methods and versions, made from the table of routes
//! and from the published types of bodies. The caller's fault is the caller's: a status below 500 with a message, never a hang.
//! Where the peer of the older version has the route, its status is the same.

use crate::params::{Route, routes};
use crate::schema::Facts;
use crate::shapes::{Reply, ask};
use crate::sides::Sides;
use crate::world::{NEWEST, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

const JSON: &str = "Content-Type: application/json";

/// Names, as they stand in a path.
const NAMES: &[&str] = &[
    "nothing",
    "a%00b",
    "..%2f..%2fetc",
    "%ff%fe",
    "a%0d%0ab",
    "%20",
    "%01",
    "sha256:",
    "@",
    "a:b:c",
    "%F0%9F%98%80",
    "-",
    "a/b/c",
    "A%2FB",
    "%7B%7D",
    "%25",
    "a%3Fb",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
];

/// Values of a query.
const VALUES: &[&str] = &[
    "",
    "x",
    "-1",
    "0",
    "99999999999999999999",
    "1e9",
    "0x10",
    "1.5",
    "%00",
    "a%0d%0ab",
    "%ff",
    "%7B",
    "%5B%5D",
    "%7B%22x%22:1%7D",
    "%7B%22x%22:%5B%22y%22%5D%7D",
    "null",
    "..%2f..%2fetc",
    "%F0%9F%98%80",
];

struct Request {
    method: String,
    path: String,
    body: Option<String>,
}

impl Request {
    fn new(method: &str, path: String, body: Option<String>) -> Self {
        Self {
            method: method.to_owned(),
            path,
            body,
        }
    }

    fn ask(&self, socket: &Path, version: &str) -> Reply {
        let path = format!("/v{version}{}", self.path);
        match &self.body {
            Some(body) => ask(socket, &self.method, &path, &[JSON], body.as_bytes()),
            None => ask(socket, &self.method, &path, &[], b""),
        }
    }
}

fn path(route: &Route, name: &str) -> String {
    route.path.replace("{name}", name).replace("{checkpoint}", name)
}

/// What a route needs to come to an end.
fn ending(route: &Route) -> &'static str {
    match route.path.as_str() {
        "/events" => "until=2",
        "/containers/{name}/stats" => "stream=0",
        _ => "",
    }
}

fn with(path: String, queries: &[&str]) -> String {
    let queries: Vec<&str> = queries.iter().copied().filter(|query| !query.is_empty()).collect();
    match queries.is_empty() {
        true => path,
        false => format!("{path}?{}", queries.join("&")),
    }
}

/// Odd names for every route that has one.
fn names(route: &Route) -> Vec<Request> {
    let of = |name: &&str| Request::new(&route.method, with(path(route, name), &[ending(route)]), None);
    match route.path.contains('{') {
        true => NAMES.iter().map(of).collect(),
        false => Vec::new(),
    }
}

/// Odd values of every word of a route.
fn queries(route: &Route) -> Vec<Request> {
    let words = route.words.iter().filter(|word| !word.name.starts_with("X-"));
    let pairs = words.flat_map(|word| VALUES.iter().map(move |value| format!("{}={value}", word.name)));
    let of = |pair: String| {
        let more = if pair.starts_with("until=") { "" } else { ending(route) };
        Request::new(&route.method, with(path(route, "nothing"), &[&pair, more]), None)
    };
    let sent = |pair: &String| match (route.path.as_str(), pair.as_str()) {
        // Everything there is would be pruned, waited for without an end, or looked for on the network.
        (path, pair) if path.ends_with("/prune") => !pair.ends_with('='),
        ("/events", pair) => !matches!(pair, "until=" | "until=0" | "until=-1"),
        ("/images/create", pair) => !pair.starts_with("fromImage="),
        _ => true,
    };
    pairs.filter(sent).map(of).collect()
}

/// Values that a type does not have.
fn odd(kind: &str) -> Vec<Value> {
    let all = [json!(5), json!("x"), json!([]), json!({}), json!(true), json!(1.5)];
    let fits = |value: &Value| match kind.trim_end_matches('?') {
        "string" | "time" => value.is_string(),
        // The checks of the value itself come later.
        "int" => value.is_i64(),
        "num" => value.is_number(),
        "bool" => value.is_boolean(),
        list if list.starts_with('[') => value.is_array(),
        _ => value.is_object(),
    };
    all.into_iter().filter(|value| !fits(value)).collect()
}

/// Fields of a body in the wrong shape, two levels deep.
fn bodies(facts: &Facts, route: &Route) -> Vec<Request> {
    let mut made = Vec::new();
    if route.answer != "served" {
        return made;
    }
    let name = route.name();
    let mut add = |body: Value| {
        made.push(Request::new(
            &route.method,
            path(route, "nothing"),
            Some(body.to_string()),
        ))
    };
    // There is no swarm to read a volume's wishes.
    for (field, kind) in facts
        .body(&name)
        .into_iter()
        .filter(|(field, _)| field != "ClusterVolumeSpec")
    {
        for value in odd(&kind) {
            // Lists of words may be one word, and what is anything is anything.
            let word = matches!(field.as_str(), "Cmd" | "Entrypoint" | "Shell") && value.is_string();
            if kind != "any" && !word {
                add(json!({ "Image": "nothing-there", field.clone(): value }));
            }
        }
        for (inner, kind) in facts.definition(&kind) {
            for value in odd(&kind) {
                let word = matches!(inner.as_str(), "CapAdd" | "CapDrop") && value.is_string();
                if kind != "any" && !word {
                    add(json!({ "Image": "nothing-there", field.clone(): { inner.clone(): value } }));
                }
            }
        }
    }
    made
}

/// Texts that are no body.
const TEXTS: &[&str] = &[
    "",
    "{",
    "[",
    "\"x",
    "{\"Image\"",
    "{\"Image\":",
    "{\"Image\":\"a\"",
    "{\"Image\":\"a\",}",
    "nul",
    "x",
    "{} {}",
    "[]",
    "5",
    "\"x\"",
    "{\"Image\":1e999}",
    "{\"Image\":\"\\ud800\"}",
    "{\"Image\":\"a\\u0000b\"}",
    "\u{0}",
    "{\"Memory\":99999999999999999999999}",
];

/// Routes that take a body in JSON.
fn with_body(facts: &Facts, route: &Route) -> bool {
    !facts.body(&route.name()).is_empty()
}

#[track_caller]
fn is_their_fault(request: &Request, reply: &Reply) {
    let Request { method, path, body } = request;
    assert!(
        reply.status >= 200 && (reply.status < 500 || matches!(reply.status, 501 | 503)),
        "{method} {path} {body:?}: {reply:?}"
    );
    if reply.status >= 400 && method != "HEAD" {
        assert!(!reply.message().is_empty(), "{method} {path} {body:?}: {reply:?}");
        assert!(
            reply.headers.contains("content-type: application/json\r\n") || reply.headers.ends_with("application/json"),
            "{reply:?}"
        );
    }
}

#[test]
fn odd_names_and_queries_are_the_callers_fault() {
    let w = &World::new(true);
    let mut asked = 0;
    for route in routes() {
        for request in names(&route).iter().chain(&queries(&route)) {
            is_their_fault(request, &request.ask(&w.socket, NEWEST));
            asked += 1;
        }
    }
    assert!(asked > 2000, "{asked} requests were made");
    // The same of a container that is there, where that changes nothing.
    w.create("fresh", json!({}));
    let looks = ["json", "top", "logs", "archive", "resize", "kill"];
    for route in routes().iter().filter(|route| {
        looks
            .iter()
            .any(|look| route.path == format!("/containers/{{name}}/{look}"))
    }) {
        for mut request in queries(route) {
            request.path = request.path.replace("/nothing/", "/fresh/");
            is_their_fault(&request, &request.ask(&w.socket, NEWEST));
        }
    }
    assert_eq!(w.list("/containers/fresh/json")["State"]["Status"], "created");
    w.gone(&["fresh"]);
    assert_eq!(w.get("/_ping").status, 200);
}

#[test]
fn odd_bodies_are_the_callers_fault() {
    let w = &World::new(true);
    let facts = &Facts::read();
    let mut asked = 0;
    for route in routes() {
        for request in bodies(facts, &route) {
            let reply = request.ask(&w.socket, NEWEST);
            assert_eq!(
                reply.status, 400,
                "{} {} {:?}: {reply:?}",
                request.method, request.path, request.body
            );
            assert!(
                reply.message().contains("cannot unmarshal"),
                "{} {:?}: {reply:?}",
                request.path,
                request.body
            );
            asked += 1;
        }
        for text in TEXTS {
            let request = Request::new(
                &route.method,
                with(path(&route, "nothing"), &[ending(&route)]),
                Some((*text).to_owned()),
            );
            is_their_fault(&request, &request.ask(&w.socket, NEWEST));
        }
    }
    assert!(asked > 500, "{asked} bodies were sent");
    let create =
        |body: &str, headers: &[&str]| ask(&w.socket, "POST", "/v1.51/containers/create", headers, body.as_bytes());
    // What nobody knows is passed over, and what is missing is told.
    let unknown = create(
        "{\"Image\":\"nothing-there\",\"Cmd\":[\"x\"],\"Odd\":{\"a\":[1]}}",
        &[JSON],
    );
    assert_eq!(unknown.status, 404, "{unknown:?}");
    // A body that breaks off before its end.
    let broken = broken(&w.socket);
    assert!(broken.is_empty() || broken.contains(" 400 "), "{broken}");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "x"] {
        assert_eq!(create("{}", &[&format!("Content-Type: {kind}")]).status, 400, "{kind}");
    }
    for auth in ["!!!", "e30", "bm90IGpzb24=", "W10=", "eyJ1c2VybmFtZSI6NX0=", "\u{ff}"] {
        let header = format!("X-Registry-Auth: {auth}");
        for (method, path) in [
            ("POST", "/images/create?fromImage=UPPER"),
            ("GET", "/distribution/UPPER/json"),
        ] {
            let reply = ask(&w.socket, method, &format!("/v1.51{path}"), &[&header], b"");
            assert_eq!(reply.status, 400, "{auth:?} {path}: {reply:?}");
        }
    }
    assert_eq!(w.list("/containers/json?all=1"), json!([]));
}

/// What is answered to a body of which half comes.
fn broken(socket: &Path) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("the socket answers");
    stream
        .set_read_timeout(Some(gantry_e2e::PATIENCE))
        .expect("a limit can be set");
    let head = "POST /v1.51/containers/create HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"Image\":";
    stream.write_all(head.as_bytes()).expect("the request is taken");
    stream.shutdown(std::net::Shutdown::Write).expect("a half closes");
    let mut said = String::new();
    // A connection that is broken off says nothing.
    let _ = stream.read_to_string(&mut said);
    said
}

/// Whether some route of this method takes a path, names standing for one or more of its parts.
fn takes(method: &str, path: &str) -> bool {
    fn fit(pattern: &[&str], path: &[&str]) -> bool {
        match pattern.split_first() {
            None => path.is_empty(),
            Some((first, rest)) if first.starts_with('{') => (1..=path.len()).any(|taken| fit(rest, &path[taken..])),
            Some((first, rest)) => path.first() == Some(first) && fit(rest, &path[1..]),
        }
    }
    let parts: Vec<&str> = path.split('/').collect();
    routes()
        .iter()
        .any(|route| route.method == method && fit(&route.path.split('/').collect::<Vec<_>>(), &parts))
}

#[test]
fn methods_and_versions_that_are_not_there() {
    let w = &World::new(true);
    let paths: BTreeSet<String> = routes().iter().map(|route| path(route, "nothing")).collect();
    for path in &paths {
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "TRACE", "ODD"] {
            if !takes(method, path) {
                let reply = ask(&w.socket, method, &format!("/v1.51{path}"), &[], b"");
                assert_eq!(reply.status, 404, "{method} {path}: {reply:?}");
                assert!(
                    method == "HEAD" || reply.message() == "page not found",
                    "{method} {path}: {reply:?}"
                );
            }
        }
    }
    for route in routes() {
        let asked = |version: &str| {
            ask(
                &w.socket,
                &route.method,
                &format!("/{version}{}", path(&route, "nothing")),
                &[],
                b"",
            )
        };
        for (version, status) in [
            ("v1.23", 400),
            ("v1.52", 400),
            ("v0.9", 400),
            ("v2.0", 400),
            ("v1.99999999999999", 404),
            ("v1.", 404),
            ("vx", 404),
            ("v1.4x", 404),
            ("v-1.41", 404),
            ("v", 404),
        ] {
            let reply = asked(version);
            // A version that is none is a part of the path.
            assert_eq!(reply.status, status, "{version} {}: {reply:?}", route.name());
        }
    }
    for path in [
        "/containers/a/../b/json",
        "//info",
        "/containers/./json",
        "/images/a/%2e%2e/b/json",
        "/info/../version",
    ] {
        let reply = w.get(path);
        assert_eq!(reply.status, 301, "{path}: {reply:?}");
        assert!(!reply.headers.contains(".."), "{path}: {reply:?}");
    }
}

/// Where the peer's status differs, and why: parts of a line that tells of it.
const DIFFERENT: &[(&[&str], &str)] = &[
    (
        &["%0d%0a", "page not found"],
        "its routes do not take line ends in names",
    ),
    (
        &["GET /events?filters="],
        "events are not filtered by what nobody knows; here it is refused by name",
    ),
    (
        &["GET /containers/json?before=", "No such container"],
        "it takes the word and forgets it",
    ),
    (
        &["GET /containers/json?since=", "No such container"],
        "it takes the word and forgets it",
    ),
    (&["POST /containers/create", "StartInterval"], "newer than the peer"),
    (&["POST /containers/create", "Annotations"], "newer than the peer"),
    (&["/archive?path=%00"], "it looks for the container first"),
    (&["/attach/ws"], "it looks at the handshake last"),
    (&["signal=-1"], "a number of no signal"),
    (
        &["/wait?condition="],
        "it takes what it does not know for nothing; newer ones do not",
    ),
    (&["/attach?detachKeys=%ff"], "its keys are letters, not bytes"),
    (&["/update", "Init"], "it is no field of an update there"),
    (
        &["unexpected content after JSON"],
        "it reads one value; newer ones look further",
    ),
    (&["1e999"], "it does not look into what it does not know"),
    (&["ud800"], "it does not look into what it does not know"),
    (
        &["/archive : 400", "peer 404"],
        "its routes do not take line ends in names",
    ),
    (
        &["/tag", "invalid reference format", "No such image"],
        "it looks for the image first; newer ones read the new name first",
    ),
    (
        &["POST /volumes/create", "got EOF"],
        "newer ones take nothing for an empty request",
    ),
    (
        &["/exec/", "/start", "got EOF"],
        "newer ones take nothing for an empty request",
    ),
    (&["/exec/nothing/start", "ConsoleSize"], "newer than the peer"),
    (&["GET /images/get", "no images to save"], "it saves nothing then"),
    (
        &["POST /images/create?fromSrc="],
        "importing from an address is not built",
    ),
];

/// The same, asked of Debian's dockerd at the version both speak.
#[test]
fn the_peer_finds_the_same_faults() {
    let s = &Sides::new();
    let facts = &Facts::read();
    let mut different = Vec::new();
    // Swarms and plugins the peer does have, and registries are on the network.
    let shared = |route: &&Route| route.answer == "served" && !route.path.starts_with("/distribution");
    for route in routes().iter().filter(shared) {
        let texts = TEXTS.iter().filter(|_| with_body(facts, route));
        let texts = texts.map(|text| Request::new(&route.method, path(route, "nothing"), Some((*text).to_owned())));
        let all = names(route)
            .into_iter()
            .chain(queries(route))
            .chain(bodies(facts, route))
            .chain(texts);
        for request in all {
            let ours = request.ask(&s.ours.socket, "1.41");
            let theirs = request.ask(&s.theirs.socket, "1.41");
            // What the peer takes for its own fault is the caller's here.
            let same = match theirs.status {
                500.. if theirs.status != 501 && theirs.status != 503 => ours.status < 500,
                status => ours.status == status,
            };
            let line = format!(
                "{} {} {}: {} {:?}, peer {} {:?}",
                request.method,
                request.path,
                request.body.clone().unwrap_or_default(),
                ours.status,
                ours.message(),
                theirs.status,
                theirs.message()
            );
            let known = |(parts, _): &(&[&str], &str)| parts.iter().all(|part| line.contains(part));
            if !same && !DIFFERENT.iter().any(known) {
                different.push(line);
            }
        }
    }
    assert!(
        different.is_empty(),
        "{} differ:\n{}",
        different.len(),
        different.join("\n")
    );
}
