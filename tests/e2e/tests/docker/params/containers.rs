//! Containers: lists, lives, files.

use super::{Case, run};
use crate::world::{World, escaped, filter, filters};
use gantry_e2e::{PATIENCE, eventually};
use serde_json::{Value, json};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

#[test]
fn words_of_containers() {
    run(true, prepare, CASES);
}

/// `up` runs, `done` has ended with 3, `fresh` was never started.
fn prepare(w: &World) {
    let up = json!({
        "Labels": { "colour": "red" }, "ExposedPorts": { "80/tcp": {} },
        "Healthcheck": { "Test": ["CMD", "true"], "Interval": 500_000_000 },
        "HostConfig": {
            "Binds": ["kept:/data"], "PortBindings": { "81/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "0" }] },
        },
    });
    w.run("up", up);
    w.run(
        "done",
        json!({ "Cmd": ["sh", "-c", "exit 3"], "HostConfig": { "NetworkMode": "none" } }),
    );
    assert_eq!(w.ended("done"), 3);
    w.create("fresh", json!({ "Labels": { "colour": "blue" } }));
}

fn named(list: &Value) -> Vec<String> {
    let rows = list.as_array().expect("a list");
    let mut names: Vec<String> = rows
        .iter()
        .map(|row| {
            row["Names"][0]
                .as_str()
                .unwrap_or_default()
                .trim_start_matches('/')
                .to_owned()
        })
        .collect();
    names.sort();
    names
}

#[track_caller]
fn lists(w: &World, query: &str, names: &[&str]) {
    let listed = w.list(&format!("/containers/json?{query}"));
    assert_eq!(named(&listed), names, "{query}");
}

/// Of all containers those that a filter keeps.
#[track_caller]
fn kept(w: &World, key: &str, value: &str, names: &[&str]) {
    lists(w, &format!("all=1&{}", filter(key, value)), names);
}

#[track_caller]
fn refused(w: &World, key: &str, value: &str) {
    let reply = w.get(&format!("/containers/json?{}", filter(key, value)));
    assert_eq!(reply.status, 400, "{key}={value}: {reply:?}");
    assert!(reply.message().contains(key), "{reply:?}");
}

fn exists(w: &World, name: &str) -> bool {
    w.get(&format!("/containers/{name}/json")).status == 200
}

/// Containers that a prune takes.
#[track_caller]
fn pruned(w: &World, filters: &str) -> usize {
    let answer = w.json("POST", &format!("/containers/prune?{filters}"), &Value::Null);
    answer["ContainersDeleted"].as_array().map_or(0, Vec::len)
}

fn now() -> u64 {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    passed.expect("a time after 1970").as_secs()
}

/// A tar of one file.
fn tar(name: &str, uid: u64, content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_uid(uid);
    header.set_gid(uid);
    header.set_size(content.len() as u64);
    let mut builder = tar::Builder::new(Vec::new());
    builder
        .append_data(&mut header, name, content)
        .expect("writing to memory");
    builder.into_inner().expect("writing to memory")
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    let mut command = Command::new("gzip");
    command.arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("gzip starts");
    // What is written is less than a pipe holds.
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(bytes)
        .expect("gzip reads");
    child.wait_with_output().expect("gzip ends").stdout
}

fn put(w: &World, container: &str, query: &str, tar: &[u8]) -> u16 {
    let path = format!("/v1.51/containers/{container}/archive?{query}");
    crate::shapes::ask(&w.socket, "PUT", &path, &["Content-Type: application/x-tar"], tar).status
}

/// One that says what it hears, and ends by none of it.
fn stubborn(w: &World, name: &str, config: Value) {
    let line = "trap 'echo heard TERM; exit 5' TERM; trap 'echo heard INT; exit 6' INT; trap 'echo heard USR1' USR1; echo ready; while :; do sleep 0.05; done";
    let mut config = config;
    config["Cmd"] = json!(["sh", "-c", line]);
    w.run(name, config);
    w.until_said(name, "ready");
}

/// As the one before, deaf to SIGTERM, and with more time than a request is given here.
fn deaf(w: &World, name: &str) {
    let line = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    w.run(name, json!({ "StopTimeout": 1000, "Cmd": ["sh", "-c", line] }));
    w.until_said(name, "ready");
}

fn code(w: &World, name: &str) -> i64 {
    let seen = w.list(&format!("/containers/{name}/json"));
    seen["State"]["ExitCode"].as_i64().expect("a code")
}

pub const CASES: &[Case] = &[
    ("GET /containers/json all", |w| {
        lists(w, "", &["up"]);
        lists(w, "all=1", &["done", "fresh", "up"]);
    }),
    ("GET /containers/json limit", |w| {
        lists(w, "limit=1", &["fresh"]);
        lists(w, "limit=2", &["done", "fresh"]);
        lists(w, "limit=0", &["up"]);
    }),
    ("GET /containers/json size", |w| {
        let listed = |query: &str| w.list(&format!("/containers/json{query}"))[0]["SizeRootFs"].as_i64();
        assert!(listed("?size=1").is_some_and(|size| size > 0));
        assert_eq!(listed(""), None);
    }),
    ("GET /containers/json before", |w| {
        lists(w, "all=1&before=fresh", &["done", "up"])
    }),
    ("GET /containers/json since", |w| {
        lists(w, "all=1&since=up", &["done", "fresh"])
    }),
    ("GET /containers/json filters.before", |w| {
        kept(w, "before", "done", &["up"])
    }),
    ("GET /containers/json filters.since", |w| {
        kept(w, "since", "done", &["fresh"])
    }),
    ("GET /containers/json filters.ancestor", |w| {
        kept(w, "ancestor", "busybox", &["done", "fresh", "up"]);
        kept(w, "ancestor", "nothing", &[]);
        let id = w.list("/images/busybox/json")["Id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let hex = id.trim_start_matches("sha256:");
        kept(w, "ancestor", &hex[..12], &["done", "fresh", "up"]);
        // What the name leads to counts, not what a container was called after.
        w.does("POST", "/images/busybox/tag?repo=other");
        kept(w, "ancestor", "other", &["done", "fresh", "up"]);
        w.create("stale", json!({ "Image": "other" }));
        let shown =
            |name: &str| w.list(&format!("/containers/json?all=1&{}", filter("name", name)))[0]["Image"].clone();
        assert_eq!(shown("stale"), "other");
        w.does("DELETE", "/images/other");
        assert_eq!((shown("stale"), shown("fresh")), (json!(id), json!("busybox:latest")));
        kept(w, "ancestor", "other", &[]);
        w.gone(&["stale"]);
    }),
    ("GET /containers/json filters.exited", |w| {
        kept(w, "exited", "3", &["done"]);
        kept(w, "exited", "4", &[]);
        refused(w, "exited", "abc");
        // It shows those that have ended only with `all`.
        lists(w, &filter("exited", "3"), &[]);
    }),
    ("GET /containers/json filters.expose", |w| {
        kept(w, "expose", "80/tcp", &["up"]);
        kept(w, "expose", "90", &[]);
        refused(w, "expose", "90-80");
    }),
    ("GET /containers/json filters.publish", |w| {
        let ports = w.list("/containers/up/json");
        let port = ports["NetworkSettings"]["Ports"]["81/tcp"][0]["HostPort"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        kept(w, "publish", &port, &["up"]);
        kept(w, "publish", "1", &[]);
        refused(w, "publish", "127.0.0.1:80");
    }),
    ("GET /containers/json filters.health", |w| {
        eventually("it is healthy", PATIENCE, || {
            named(&w.list(&format!("/containers/json?{}", filter("health", "healthy")))) == ["up"]
        });
        kept(w, "health", "none", &["done", "fresh"]);
        refused(w, "health", "well");
    }),
    ("GET /containers/json filters.id", |w| {
        let id = w.list("/containers/done/json")["Id"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        kept(w, "id", &id[..12], &["done"]);
    }),
    ("GET /containers/json filters.is-task", |w| {
        kept(w, "is-task", "true", &[]);
        kept(w, "is-task", "false", &["done", "fresh", "up"]);
        refused(w, "is-task", "maybe");
    }),
    ("GET /containers/json filters.isolation", |w| {
        // On Linux there is one.
        kept(w, "isolation", "default", &["done", "fresh", "up"]);
    }),
    ("GET /containers/json filters.label", |w| {
        kept(w, "label", "colour", &["fresh", "up"]);
        kept(w, "label", "colour=blue", &["fresh"]);
    }),
    ("GET /containers/json filters.name", |w| {
        kept(w, "name", "don", &["done"])
    }),
    ("GET /containers/json filters.network", |w| {
        kept(w, "network", "none", &["done"]);
        kept(w, "network", "bridge", &["fresh", "up"]);
    }),
    ("GET /containers/json filters.status", |w| {
        kept(w, "status", "exited", &["done"]);
        kept(w, "status", "created", &["fresh"]);
        refused(w, "status", "foo");
        // It shows what does not run without `all`.
        lists(w, &filter("status", "exited"), &["done"]);
    }),
    ("GET /containers/json filters.volume", |w| {
        kept(w, "volume", "kept", &["up"]);
        kept(w, "volume", "/data", &["up"]);
        kept(w, "volume", "other", &[]);
    }),
    ("POST /containers/create name", |w| {
        w.create("called", json!({}));
        assert!(exists(w, "called"));
        let twice = w.at(
            "1.51",
            "POST",
            "/containers/create?name=called",
            &json!({ "Image": "busybox" }),
        );
        assert_eq!(twice.status, 409, "{twice:?}");
        w.gone(&["called"]);
    }),
    ("POST /containers/create platform", |w| {
        let asked = |version: &str, platform: &str| {
            let path = format!("/containers/create?name=forone&platform={}", escaped(platform));
            let reply = w.at(version, "POST", &path, &json!({ "Image": "busybox", "Cmd": ["true"] }));
            if reply.status == 201 {
                w.gone(&["forone"]);
            }
            (reply.status, reply.message())
        };
        let other = asked("1.51", "linux/s390x");
        assert_eq!(other.0, 404, "{other:?}");
        assert!(other.1.contains("does not match the specified platform"), "{other:?}");
        let own = w.list("/images/busybox/json")["Architecture"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert_eq!(asked("1.51", &format!("linux/{own}")).0, 201);
        assert_eq!(asked("1.51", "linux//").0, 400);
        assert_eq!(asked("1.40", "linux/s390x").0, 201);
    }),
    ("POST /containers/prune filters.label", |w| {
        w.create("one", json!({ "Labels": { "prune": "a" } }));
        w.create("two", json!({ "Labels": { "prune": "b" } }));
        assert_eq!(pruned(w, &filter("label", "prune=a")), 1);
        assert!(!exists(w, "one") && exists(w, "two"));
        w.gone(&["two"]);
    }),
    ("POST /containers/prune filters.label!", |w| {
        w.create("one", json!({ "Labels": { "prune": "a" } }));
        w.create("two", json!({ "Labels": { "prune": "a", "keep": "" } }));
        assert_eq!(
            pruned(w, &filters(&json!({ "label": ["prune"], "label!": ["keep"] }))),
            1
        );
        assert!(!exists(w, "one") && exists(w, "two"));
        w.gone(&["two"]);
    }),
    ("POST /containers/prune filters.until", |w| {
        w.create("one", json!({ "Labels": { "prune": "a" } }));
        let until = |time: String| pruned(w, &filters(&json!({ "label": ["prune"], "until": [time] })));
        for early in [
            "10m",
            "2024-01-01",
            "2024-01-01T10:00",
            "2024-01-01T10:00:00.5",
            "2024-01-01T10:00:00+02:00",
        ] {
            assert_eq!(until(early.to_owned()), 0, "{early}");
        }
        assert_eq!(until((now() + 3600).to_string()), 1);
    }),
    ("HEAD /containers/{name}/archive path", |w| {
        let head = |path: &str| {
            crate::shapes::ask(
                &w.socket,
                "HEAD",
                &format!("/v1.51/containers/up/archive?path={path}"),
                &[],
                b"",
            )
        };
        let there = head("/etc/passwd");
        assert!(there.headers.contains("x-docker-container-path-stat: "), "{there:?}");
        assert_eq!(
            (there.status, head("/nothing").status, head("").status),
            (200, 404, 400)
        );
    }),
    ("GET /containers/{name}/archive path", |w| {
        let got = w.get("/containers/up/archive?path=/etc/passwd");
        assert!(
            got.status == 200 && got.body.contains("nobody:x:65534"),
            "{}",
            got.status
        );
        assert_eq!(w.get("/containers/up/archive?path=/nothing").status, 404);
    }),
    ("PUT /containers/{name}/archive path", |w| {
        assert_eq!(put(w, "up", "path=/tmp", &tar("put", 0, b"content")), 200);
        assert_eq!(w.exec("up", "cat /tmp/put"), "content");
        assert_eq!(put(w, "up", "path=/nothing", &tar("put", 0, b"content")), 404);
        // As compressed as it comes.
        let packed = gzipped(&tar("packed", 0, b"unpacked"));
        assert_eq!(put(w, "up", "path=/tmp", &packed), 200);
        assert_eq!(w.exec("up", "cat /tmp/packed"), "unpacked");
        // What a file may do goes in and comes out.
        let right = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let mut capable = tar::Builder::new(Vec::new());
        capable
            .append_pax_extensions([("SCHILY.xattr.security.capability", right.as_slice())])
            .expect("writing to memory");
        capable.get_mut().extend(tar("capable", 0, b"x"));
        assert_eq!(put(w, "up", "path=/tmp", &capable.into_inner().expect("a tar")), 200);
        for place in ["archive?path=/tmp/capable", "export"] {
            let got = w.raw(&format!("/v1.51/containers/up/{place}"));
            let wanted: &[u8] = &[b"SCHILY.xattr.security.capability=".as_slice(), &right].concat();
            assert!(got.windows(wanted.len()).any(|some| some == wanted), "{place}");
        }
        // Links on the way to what is read-only lead there, though nothing of it is mounted yet.
        w.create(
            "closed",
            json!({ "HostConfig": { "ReadonlyRootfs": true, "Binds": ["kept:/open"] } }),
        );
        assert_eq!(put(w, "closed", "path=/open", &tar("put", 0, b"x")), 200);
        assert_eq!(put(w, "closed", "path=/open/../tmp", &tar("put", 0, b"x")), 403);
        w.gone(&["closed"]);
        // Mounts within each other, of one that was never started.
        w.create(
            "nested",
            json!({ "HostConfig": { "Binds": ["kept:/a", "inner:/a/b"] } }),
        );
        assert_eq!(put(w, "nested", "path=/a/b", &tar("deep", 0, b"x")), 200);
        assert_eq!(w.get("/containers/nested/archive?path=/a/b/deep").status, 200);
        w.gone(&["nested"]);
    }),
    ("PUT /containers/{name}/archive copyUIDGID", |w| {
        w.run("app", json!({ "User": "1000:1000" }));
        let owner = |container: &str, query: &str| {
            let tar = tar("owned", 1234, b"x");
            assert_eq!(put(w, container, &format!("path=/tmp{query}"), &tar), 200);
            w.exec(container, "stat -c %u /tmp/owned").trim().to_owned()
        };
        // Whoever the container runs as, if it says so.
        assert_eq!(owner("app", "&copyUIDGID=1"), "1000");
        assert_eq!(owner("app", ""), "1234");
        assert_eq!(owner("up", "&copyUIDGID=1"), "1234");
        w.gone(&["app"]);
    }),
    ("PUT /containers/{name}/archive noOverwriteDirNonDir", |w| {
        w.exec(
            "up",
            "mkdir -p /tmp/held/in/it; echo x > /tmp/held/in/file; ln -s /etc /tmp/held/in/link",
        );
        let asked = |flag: &str| {
            put(
                w,
                "up",
                &format!("path=/tmp&noOverwriteDirNonDir={flag}"),
                &tar("held", 0, b"x"),
            )
        };
        assert_eq!(asked("1"), 400);
        assert_eq!(asked("0"), 200);
        assert_eq!(w.exec("up", "cat /tmp/held"), "x");
        assert!(w.exec("up", "cat /etc/passwd").contains("nobody"));
    }),
    ("GET /containers/{name}/json size", |w| {
        let size = |query: &str| w.list(&format!("/containers/up/json{query}"))["SizeRootFs"].as_i64();
        assert!(size("?size=1").is_some_and(|size| size > 0));
        assert_eq!(size(""), None);
    }),
    ("GET /containers/{name}/top ps_args", |w| {
        let titles = |query: &str| {
            w.list(&format!("/containers/up/top{query}"))["Titles"]
                .as_array()
                .map_or(0, Vec::len)
        };
        assert_eq!(titles(&format!("?ps_args={}", escaped("-o pid,comm"))), 2);
        assert!(titles("") > 2);
    }),
    ("POST /containers/{name}/kill signal", |w| {
        stubborn(w, "told", json!({}));
        w.does("POST", "/containers/told/kill?signal=USR1");
        w.until_said("told", "heard USR1");
        w.does("POST", "/containers/told/kill");
        assert_eq!(w.ended("told"), 137);
        w.gone(&["told"]);
    }),
    ("POST /containers/{name}/stop t", |w| {
        deaf(w, "slow");
        w.does("POST", "/containers/slow/stop?t=0");
        assert_eq!(code(w, "slow"), 137);
        w.gone(&["slow"]);
    }),
    ("POST /containers/{name}/stop signal", |w| {
        stubborn(w, "told", json!({}));
        w.does("POST", "/containers/told/stop?signal=INT");
        assert_eq!(code(w, "told"), 6);
        w.gone(&["told"]);
        // Versions before it do not have the word.
        stubborn(w, "told", json!({}));
        assert_eq!(
            w.at("1.41", "POST", "/containers/told/stop?signal=INT", &Value::Null)
                .status,
            204
        );
        assert_eq!(code(w, "told"), 5);
        w.gone(&["told"]);
    }),
    ("POST /containers/{name}/restart t", |w| {
        deaf(w, "slow");
        w.does("POST", "/containers/slow/restart?t=0");
        w.gone(&["slow"]);
    }),
    ("POST /containers/{name}/restart signal", |w| {
        stubborn(w, "told", json!({}));
        w.does("POST", "/containers/told/restart?signal=INT");
        w.until_said("told", "heard INT");
        assert!(!w.said("told").contains("heard TERM"));
        w.gone(&["told"]);
    }),
    ("POST /containers/{name}/start checkpoint", |w| {
        let refused = w.post("/containers/fresh/start?checkpoint=a");
        assert_eq!(
            (refused.status, refused.message().as_str()),
            (400, "checkpoint is only supported in experimental mode")
        );
    }),
    ("POST /containers/{name}/start checkpoint-dir", |w| {
        let refused = w.post("/containers/fresh/start?checkpoint-dir=/a");
        assert_eq!(refused.status, 403, "{refused:?}");
    }),
    ("POST /containers/{name}/start detachKeys", |w| {
        // Taken and forgotten, as the peer does: whoever attaches says them.
        assert_eq!(w.post("/containers/up/start?detachKeys=ctrl-a").status, 304);
        assert_eq!(w.post("/containers/up/start?detachKeys=odd").status, 304);
    }),
    ("POST /containers/{name}/wait condition", |w| {
        w.create("short", json!({ "Cmd": ["sh", "-c", "exit 4"] }));
        // It has never run: nothing to wait for but its next end.
        assert_eq!(w.ended("short"), 0);
        let waiting = |condition: &str| {
            let path = format!("/v1.51/containers/short/wait?condition={condition}");
            crate::world::Connection::open(w, "POST", &path, &[], b"")
        };
        let mut next = waiting("next-exit");
        let mut gone = waiting("removed");
        w.start("short");
        next.expect("\"StatusCode\":4");
        assert!(
            gone.is_silent(std::time::Duration::from_millis(300)),
            "it is not removed"
        );
        w.gone(&["short"]);
        gone.expect("\"StatusCode\":4");
        assert_eq!(w.post("/containers/done/wait?condition=odd").status, 400);
        assert_eq!(
            w.at("1.29", "POST", "/containers/done/wait?condition=odd", &Value::Null)
                .status,
            200
        );
    }),
    ("POST /containers/{name}/resize h", |w| resized(w, "h")),
    ("POST /containers/{name}/resize w", |w| resized(w, "w")),
    ("POST /containers/{name}/rename name", |w| {
        w.create("old", json!({}));
        w.does("POST", "/containers/old/rename?name=new");
        assert!(exists(w, "new") && !exists(w, "old"));
        assert_eq!(w.post("/containers/new/rename").status, 400);
        w.gone(&["new"]);
    }),
    ("DELETE /containers/{name} force", |w| {
        w.run("held", json!({}));
        let refused = w.at("1.51", "DELETE", "/containers/held", &Value::Null);
        assert_eq!(refused.status, 409, "{refused:?}");
        w.does("DELETE", "/containers/held?force=1");
        assert!(!exists(w, "held"));
    }),
    ("DELETE /containers/{name} link", |w| {
        w.create(
            "web",
            json!({ "HostConfig": { "NetworkMode": "bridge", "Links": ["up:db", "up:store"] } }),
        );
        let links = || w.list("/containers/web/json")["HostConfig"]["Links"].clone();
        w.does("DELETE", "/containers/web/db?link=1");
        assert_eq!(links(), json!(["/up:/web/store"]));
        assert!(exists(w, "up"));
        let status = |path: &str| w.at("1.51", "DELETE", path, &Value::Null).status;
        assert_eq!(status("/containers/web/db?link=1"), 404, "it is gone");
        assert_eq!(status("/containers/web?link=1"), 409);
        w.gone(&["web"]);
    }),
    ("DELETE /containers/{name} v", |w| {
        let volumes = || w.list("/volumes")["Volumes"].as_array().map_or(0, Vec::len);
        let before = volumes();
        w.create("one", json!({ "Volumes": { "/own": {} } }));
        w.create("two", json!({ "Volumes": { "/own": {} } }));
        assert_eq!(volumes(), before + 2);
        w.does("DELETE", "/containers/one?v=1");
        assert_eq!(volumes(), before + 1);
        w.does("DELETE", "/containers/two");
        assert_eq!(volumes(), before + 1);
        w.does("POST", "/volumes/prune");
        assert_eq!(volumes(), before);
    }),
    ("GET /containers/{name}/stats stream", |w| {
        let one = w.list("/containers/up/stats?stream=0");
        // Clients take it off what is in use.
        assert!(one["memory_stats"]["stats"]["inactive_file"].is_u64(), "{one}");
        assert!(one["read"].is_string() && one["preread"] != one["read"]);
        let mut many = crate::world::Connection::open(w, "GET", "/v1.51/containers/up/stats?stream=1", &[], b"");
        // Only what follows another has something before it.
        many.expect("\"preread\":\"2");
    }),
    ("GET /containers/{name}/stats one-shot", |w| {
        let one = w.list("/containers/up/stats?stream=0&one-shot=1");
        // Nothing was measured before it.
        assert_eq!(one["preread"], "0001-01-01T00:00:00Z");
        assert_eq!(w.get("/containers/up/stats?stream=1&one-shot=1").status, 400);
    }),
];

/// A terminal says how large it is.
fn resized(w: &World, word: &str) {
    let line = "while :; do stty size; sleep 0.05; done";
    w.run(
        "screen",
        json!({ "Tty": true, "Cmd": ["sh", "-c", line], "HostConfig": { "ConsoleSize": [20, 70] } }),
    );
    let screen = || w.get("/containers/screen/logs?stdout=1").body;
    eventually("it begins as it was asked for", PATIENCE, || screen().contains("20 70"));
    w.does("POST", "/containers/screen/resize?h=17&w=71");
    eventually("the terminal has its size", PATIENCE, || screen().contains("17 71"));
    let bad = if word == "h" { "h=x&w=1" } else { "h=1&w=x" };
    assert_eq!(w.post(&format!("/containers/screen/resize?{bad}")).status, 400);
    w.gone(&["screen"]);
}
