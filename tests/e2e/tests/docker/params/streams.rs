//! Bytes that flow: logs, attach by either way, terminals of execs.

use super::{Case, run};
use crate::world::{Connection, NEWEST, WebSocket, World, escaped, frames, text};
use gantry_e2e::{PATIENCE, eventually};
use serde_json::{Value, json};

#[test]
fn words_of_streams() {
    run(true, prepare, CASES);
}

/// `talk` has written on both streams, and its log adds a label to each line.
fn prepare(w: &World) {
    let line = "echo first; echo oops >&2; echo last";
    let log = json!({ "Type": "json-file", "Config": { "labels": "who" } });
    let talk = json!({ "Cmd": ["sh", "-c", line], "Labels": { "who": "a b" }, "HostConfig": { "LogConfig": log } });
    w.run("talk", talk);
    w.ended("talk");
    eventually("its log is whole", PATIENCE, || w.said("talk").lines().count() == 3);
}

fn logs(w: &World, query: &str) -> Vec<(u8, String)> {
    frames(&w.raw(&format!("/v{NEWEST}/containers/talk/logs?{query}")))
}

fn of_logs(w: &World, query: &str) -> String {
    logs(w, query).into_iter().map(|(_, text)| text).collect()
}

/// A container that an attach is made to before it runs; what came until its end.
fn attached(w: &World, query: &str) -> Vec<(u8, String)> {
    w.create("heard", json!({ "Cmd": ["sh", "-c", "echo out; echo err >&2"] }));
    let mut connection = Connection::hijack(w, &format!("/containers/heard/attach?{query}"));
    w.start("heard");
    connection.rest();
    w.ended("heard");
    w.gone(&["heard"]);
    frames(&connection.body())
}

/// One that reads lines; `once`: until its first client has no more of them.
fn reader(w: &World, name: &str, tty: bool, once: bool) {
    let line = "while read x; do echo got $x; done";
    w.run(
        name,
        json!({ "OpenStdin": true, "StdinOnce": once, "Tty": tty, "Cmd": ["sh", "-c", line] }),
    );
}

/// By websocket, likewise.
fn by_socket(w: &World, version: &str, query: &str) -> (bool, String) {
    w.create("heard", json!({ "Cmd": ["sh", "-c", "echo out; echo err >&2"] }));
    let mut socket = WebSocket::open(w, version, &format!("/containers/heard/attach/ws?{query}"));
    w.start("heard");
    let said = socket.until("");
    w.ended("heard");
    w.gone(&["heard"]);
    said
}

fn is_running(w: &World, name: &str) -> bool {
    w.list(&format!("/containers/{name}/json"))["State"]["Running"] == true
}

/// An exec in `base`, and the connection that it was started by.
fn exec(w: &World, create: &Value, start: &Value) -> (String, Connection) {
    let made = w.json("POST", "/containers/base/exec", create);
    let id = made["Id"].as_str().expect("an id").to_owned();
    let headers = ["Connection: Upgrade", "Upgrade: tcp", "Content-Type: application/json"];
    let path = format!("/v{NEWEST}/exec/{id}/start");
    let connection = Connection::open(w, "POST", &path, &headers, start.to_string().as_bytes());
    assert_eq!(connection.status(), 101);
    (id, connection)
}

/// A terminal's exec that shows its size when told to.
fn screen(w: &World, create: &Value, start: &Value) -> (String, Connection) {
    let asked = json!({
        "Tty": true, "AttachStdout": true, "AttachStdin": true, "ConsoleSize": create,
        "Cmd": ["sh", "-c", "while read x; do stty size; done"],
    });
    exec(w, &asked, &json!({ "Tty": true, "ConsoleSize": start }))
}

/// Whether its streams are told apart is the start's word, which of them are sent and what detaches is the exec's own.
#[test]
fn an_exec_is_heard_as_it_was_asked_for() {
    let w = &World::new(true);
    w.run("base", json!({}));
    let line = "printf out; printf err >&2";
    let asked = json!({ "Tty": true, "AttachStdout": true, "Cmd": ["sh", "-c", "printf out"] });
    let (_, mut framed) = exec(w, &asked, &json!({}));
    framed.rest();
    assert_eq!(frames(&framed.body()), [(1, "out".to_owned())]);
    let asked = json!({ "AttachStderr": true, "Cmd": ["sh", "-c", line] });
    let (id, mut half) = exec(w, &asked, &json!({}));
    half.rest();
    assert_eq!(frames(&half.body()), [(2, "err".to_owned())]);
    let told = w.list(&format!("/exec/{id}/json"));
    assert_eq!(
        (&told["OpenStdout"], &told["OpenStderr"]),
        (&json!(false), &json!(true))
    );
    let asked = json!({
        "Tty": true, "AttachStdin": true, "AttachStdout": true, "DetachKeys": "ctrl-a", "Cmd": ["cat"],
    });
    let (id, mut left) = exec(w, &asked, &json!({ "Tty": true }));
    left.send(b"there\n");
    left.expect("there");
    left.send(b"\x01");
    left.rest();
    let told = w.list(&format!("/exec/{id}/json"));
    assert_eq!((&told["Running"], &told["DetachKeys"]), (&json!(true), &json!("AQ==")));
    w.gone(&["base"]);
}

fn exec_resized(w: &World, bad: &str) {
    w.run("base", json!({}));
    let (id, mut connection) = screen(w, &json!([21, 61]), &Value::Null);
    connection.send(b"\n");
    connection.expect("21 61");
    w.does("POST", &format!("/exec/{id}/resize?h=19&w=73"));
    connection.send(b"\n");
    connection.expect("19 73");
    assert_eq!(w.post(&format!("/exec/{id}/resize?{bad}")).status, 400);
    // A start's own size goes before the one that was made with it.
    let (_, mut connection) = screen(w, &json!([21, 61]), &json!([22, 62]));
    connection.send(b"\n");
    connection.expect("22 62");
    w.gone(&["base"]);
}

pub const CASES: &[Case] = &[
    ("GET /containers/{name}/logs stdout", |w| {
        assert_eq!(of_logs(w, "stdout=1"), "first\nlast\n");
        assert!(logs(w, "stdout=1").iter().all(|(stream, _)| *stream == 1));
    }),
    ("GET /containers/{name}/logs stderr", |w| {
        assert_eq!(logs(w, "stderr=1"), [(2, "oops\n".to_owned())]);
        assert_eq!(w.get("/containers/talk/logs").status, 400);
    }),
    ("GET /containers/{name}/logs details", |w| {
        assert_eq!(of_logs(w, "stdout=1&details=1&tail=1"), "who=a+b last\n");
    }),
    ("GET /containers/{name}/logs timestamps", |w| {
        let line = of_logs(w, "stdout=1&timestamps=1&tail=1");
        let (time, rest) = line.split_once(' ').expect("a time");
        assert!(time.len() == 30 && time.ends_with('Z'), "{line}");
        assert_eq!(rest, "last\n");
    }),
    ("GET /containers/{name}/logs tail", |w| {
        assert_eq!(of_logs(w, "stdout=1&tail=1"), "last\n");
        assert_eq!(of_logs(w, "stdout=1&tail=0"), "");
        assert_eq!(of_logs(w, "stdout=1&tail=all"), "first\nlast\n");
    }),
    ("GET /containers/{name}/logs since", |w| {
        assert_eq!(of_logs(w, "stdout=1&since=1"), "first\nlast\n");
        assert_eq!(of_logs(w, "stdout=1&since=4000000000"), "");
        assert_eq!(w.get("/containers/talk/logs?stdout=1&since=x").status, 400);
    }),
    ("GET /containers/{name}/logs until", |w| {
        assert_eq!(of_logs(w, "stdout=1&until=4000000000"), "first\nlast\n");
        assert_eq!(of_logs(w, "stdout=1&until=1"), "");
    }),
    ("GET /containers/{name}/logs follow", |w| {
        w.run(
            "later",
            json!({ "OpenStdin": true, "Cmd": ["sh", "-c", "echo early; read x; echo late"] }),
        );
        w.until_said("later", "early");
        let path = format!("/v{NEWEST}/containers/later/logs?stdout=1&follow=1");
        let mut connection = Connection::open(w, "GET", &path, &[], b"");
        connection.expect("early");
        let mut input = Connection::hijack(w, "/containers/later/attach?stream=1&stdin=1");
        input.send(b"\n");
        connection.expect("late");
        connection.rest();
        w.gone(&["later"]);
    }),
    ("POST /containers/{name}/attach stdout", |w| {
        assert_eq!(attached(w, "stream=1&stdout=1"), [(1, "out\n".to_owned())]);
    }),
    ("POST /containers/{name}/attach stderr", |w| {
        assert_eq!(attached(w, "stream=1&stderr=1"), [(2, "err\n".to_owned())]);
    }),
    ("POST /containers/{name}/attach stream", |w| {
        assert!(attached(w, "stream=0&stdout=1&stderr=1").is_empty());
    }),
    ("POST /containers/{name}/attach stdin", |w| {
        reader(w, "in", false, true);
        let mut with = Connection::hijack(w, "/containers/in/attach?stream=1&stdin=1&stdout=1");
        let mut without = Connection::hijack(w, "/containers/in/attach?stream=1&stdout=1");
        without.send(b"never\n");
        with.send(b"this\n");
        with.expect("got this");
        with.half_close();
        with.rest();
        without.rest();
        assert_eq!(text(&without.body()), "got this\n");
        w.gone(&["in"]);
    }),
    ("POST /containers/{name}/attach logs", |w| {
        let mut connection = Connection::hijack(w, "/containers/talk/attach?logs=1&stdout=1");
        connection.rest();
        assert_eq!(text(&connection.body()), "first\nlast\n");
    }),
    ("POST /containers/{name}/attach detachKeys", |w| {
        reader(w, "in", true, false);
        let mut connection =
            Connection::hijack(w, "/containers/in/attach?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a,x");
        connection.send(b"one\n");
        connection.expect("got one");
        connection.send(b"\x01x");
        connection.rest();
        assert!(is_running(w, "in"));
        w.gone(&["in"]);
        assert_eq!(w.post("/containers/talk/attach?detachKeys=odd").status, 400);
    }),
    ("GET /containers/{name}/attach/ws stdout", |w| {
        assert_eq!(by_socket(w, NEWEST, "stream=1&stdout=1"), (true, "out\n".to_owned()));
    }),
    ("GET /containers/{name}/attach/ws stderr", |w| {
        assert_eq!(by_socket(w, NEWEST, "stream=1&stderr=1"), (true, "err\n".to_owned()));
        // Before 1.42 all of them were there, whatever was said.
        let (_, said) = by_socket(w, "1.41", "stream=1&stderr=1");
        assert!(said.contains("out\n") && said.contains("err\n"), "{said}");
    }),
    ("GET /containers/{name}/attach/ws stream", |w| {
        assert_eq!(by_socket(w, NEWEST, "stdout=1").1, "");
        // Messages were text once.
        assert!(!by_socket(w, "1.27", "stream=1").0);
    }),
    ("GET /containers/{name}/attach/ws stdin", |w| {
        reader(w, "in", false, false);
        let path = |stdin: &str| format!("/containers/in/attach/ws?stream=1&stdout=1&stdin={stdin}");
        let mut without = WebSocket::open(w, NEWEST, &path("0"));
        let mut with = WebSocket::open(w, NEWEST, &path("1"));
        without.send(b"never\n");
        with.send(b"this\n");
        assert_eq!(with.until("got this").1, "got this\n");
        with.send(b"that\n");
        assert_eq!(with.until("got that").1, "got this\ngot that\n");
        assert_eq!(without.until("got that").1, "got this\ngot that\n");
        w.gone(&["in"]);
        assert_eq!(w.get("/containers/talk/attach/ws?stream=1").status, 400);
    }),
    ("GET /containers/{name}/attach/ws logs", |w| {
        let mut socket = WebSocket::open(w, NEWEST, "/containers/talk/attach/ws?logs=1&stdout=1&stderr=1");
        let (_, said) = socket.until("");
        for line in ["first\n", "oops\n", "last\n"] {
            assert!(said.contains(line), "{said:?}");
        }
    }),
    ("GET /containers/{name}/attach/ws detachKeys", |w| {
        reader(w, "in", true, false);
        let path = "/containers/in/attach/ws?stream=1&stdin=1&stdout=1&detachKeys=ctrl-a";
        let mut socket = WebSocket::open(w, NEWEST, path);
        socket.send(b"one\n");
        assert!(socket.until("got one").1.contains("got one"));
        socket.send(b"\x01");
        socket.until("");
        assert!(is_running(w, "in"));
        w.gone(&["in"]);
    }),
    ("POST /exec/{name}/resize h", |w| exec_resized(w, "h=x&w=1")),
    ("POST /exec/{name}/resize w", |w| exec_resized(w, "h=1&w=x")),
];

/// A client that is gone is let go, though the container says nothing: what it was attached by is given back.
#[test]
fn a_client_that_is_gone_is_let_go() {
    let w = &World::new(true);
    w.run("silent", json!({}));
    let files = || {
        let pid = w.house.daemon_pid().expect("the daemon runs");
        std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
    };
    let one = Connection::hijack(w, "/containers/silent/attach?stream=1&stdout=1");
    drop(one);
    let path = format!("/containers/{}/attach?stream=1&stdout=1", escaped("silent"));
    let before = files();
    let all: Vec<Connection> = (0..50)
        .map(|_| {
            let connection = Connection::hijack(w, &path);
            // As a client without stdin does at once.
            connection.half_close();
            connection
        })
        .collect();
    assert!(files() >= before + 50, "each has a connection at least");
    drop(all);
    eventually("what they had is given back", PATIENCE, || files() <= before + 10);
    w.gone(&["silent"]);
}
