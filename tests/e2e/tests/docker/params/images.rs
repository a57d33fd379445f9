//! Images: lists, names, transfers, what registries are asked.

use super::{Case, run};
use crate::shapes::{Reply, ask};
use crate::world::{NEWEST, World, escaped, filter, filters};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use gantry_e2e::peers::Registry;
use gantry_e2e::{PATIENCE, busybox_tar, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

/// Registries are on this machine's loopback: the house has no network namespace of its own.
#[test]
fn words_of_images() {
    run(false, prepare, CASES);
}

/// `old:1` was made before `new:1`, which has a label; both have layers of their own.
fn prepare(w: &World) {
    import(w, "repo=old&tag=1");
    w.does("POST", "/images/old:1/tag?repo=old&tag=other");
    let made = || {
        let seen = w.list("/images/old:1/json");
        seen["Created"].as_str().unwrap_or_default().to_owned()
    };
    // Times of images are kept to the second by some.
    let second = made()[..19].to_owned();
    eventually("a second has passed", PATIENCE, || {
        import(w, &format!("repo=new&tag=1&changes={}", escaped("LABEL colour=red")));
        w.list("/images/new:1/json")["Created"].as_str().unwrap_or_default()[..19] > *second
    });
    w.does("POST", "/images/prune");
}

/// An image of busybox's files and one more, so that its layer is its own.
fn import(w: &World, query: &str) -> Reply {
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(query.len() as u64);
    let mut own = tar::Builder::new(Vec::new());
    own.append_data(&mut header, "own", query.as_bytes())
        .expect("writing to memory");
    let mut bytes = own.get_ref().clone();
    bytes.extend_from_slice(busybox_tar());
    let path = format!("/v{NEWEST}/images/create?fromSrc=-&{query}");
    let reply = ask(&w.socket, "POST", &path, &["Content-Type: application/x-tar"], &bytes);
    assert!(reply.status == 200 && !reply.body.contains("errorDetail"), "{reply:?}");
    reply
}

/// Names of what is listed.
fn named(w: &World, query: &str) -> BTreeSet<String> {
    let listed = w.list(&format!("/images/json?{query}"));
    let rows = listed.as_array().cloned().unwrap_or_default();
    let tags = rows
        .iter()
        .flat_map(|row| row["RepoTags"].as_array().cloned().unwrap_or_default());
    tags.filter_map(|tag| tag.as_str().map(str::to_owned)).collect()
}

#[track_caller]
fn kept(w: &World, key: &str, value: &str, names: &[&str]) {
    let wanted: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(named(w, &filter(key, value)), wanted, "{key}={value}");
}

fn exists(w: &World, name: &str) -> bool {
    w.get(&format!("/images/{name}/json")).status == 200
}

/// The platform of this machine and another, as JSON.
fn platforms(w: &World) -> (String, String) {
    let own = w.list("/images/busybox/json")["Architecture"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let one = |arch: &str| escaped(&json!({ "os": "linux", "architecture": arch }).to_string());
    (one(&own), one("s390x"))
}

fn by_platform(w: &World, path: &str, since: u32) {
    let (own, other) = platforms(w);
    let asked = |version: u32, platform: &str| {
        let path = format!("{path}?platform={platform}");
        w.at(&format!("1.{version}"), "GET", &path, &Value::Null).status
    };
    assert_eq!(
        (asked(51, &own), asked(51, &other), asked(51, "%7B")),
        (200, 404, 400),
        "{path}"
    );
    assert_eq!(asked(since - 1, &other), 200, "{path}");
}

fn pruned(w: &World, words: &str) -> usize {
    let answer = w.json("POST", &format!("/images/prune?{words}"), &Value::Null);
    let gone = answer["ImagesDeleted"].as_array().cloned().unwrap_or_default();
    gone.iter().filter(|one| one["Deleted"].is_string()).count()
}

/// Debian's registry with `box:one` and `box:two` in it.
fn registry(w: &World) -> Registry {
    let root = w.house.root().join("registry");
    std::fs::create_dir_all(&root).expect("a directory");
    let registry = Registry::start(&root);
    let tar = root.join("box.tar").display().to_string();
    w.house.gantry().ok(&["save", "-o", &tar, "busybox"]);
    for tag in ["one", "two"] {
        let copied = Command::new("skopeo")
            .args(["copy", "--quiet", "--insecure-policy", "--dest-tls-verify=false"])
            .arg(format!("docker-archive:{tar}"))
            .arg(format!("docker://{}/box:{tag}", registry.host))
            .output()
            .expect("skopeo of Debian's package");
        assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    }
    registry
}

/// A registry that lets in whoever says a name, has nothing, and keeps what it was told.
struct Guarded {
    host: String,
    told: Arc<Mutex<String>>,
}

impl Guarded {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let host = listener.local_addr().expect("an address").to_string();
        let told: Arc<Mutex<String>> = Arc::default();
        let kept = told.clone();
        // It goes with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || answer(stream, &kept));
            }
        });
        Self { host, told }
    }

    fn heard(&self) -> String {
        self.told.lock().expect("a whole text").clone()
    }
}

fn answer(mut stream: std::net::TcpStream, told: &Mutex<String>) {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while !request.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(count @ 1..) => request.extend_from_slice(&buffer[..count]),
            _ => return,
        }
        // Whoever tries TLS first learns at once that there is none.
        if request.first() == Some(&0x16) {
            return;
        }
    }
    let head = String::from_utf8_lossy(&request).into_owned();
    let said = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    let status = match &said {
        Some(said) => {
            told.lock().expect("a whole text").clone_from(said);
            "404 Not Found\r\n"
        }
        None => "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\n",
    };
    // A client that is gone has its answer.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
}

/// What a header brings to the registry.
fn lets_in(w: &World, method: &str, path: impl Fn(&str) -> String) {
    let guarded = Guarded::start();
    let header = json!({ "username": "me", "password": "secret" }).to_string();
    let header = format!("X-Registry-Auth: {}", URL_SAFE.encode(header));
    let path = format!("/v{NEWEST}{}", path(&format!("{}/box", guarded.host)));
    let reply = ask(&w.socket, method, &path, &[&header], b"");
    assert_eq!(reply.status, 404, "{reply:?}");
    assert_eq!(guarded.heard(), format!("Basic {}", STANDARD.encode("me:secret")));
    // Without it, or with what cannot be read, nobody is let in.
    for nobody in ["X-Odd: x", "X-Registry-Auth: !!!"] {
        let reply = ask(&w.socket, method, &path, &[nobody], b"");
        assert!(matches!(reply.status, 401 | 403 | 404), "{reply:?}");
    }
}

fn load(w: &World, query: &str) -> String {
    let saved = w.raw(&format!("/v{NEWEST}/images/old:other/get"));
    let path = format!("/v{NEWEST}/images/load{query}");
    let reply = ask(&w.socket, "POST", &path, &["Content-Type: application/x-tar"], &saved);
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

pub const CASES: &[Case] = &[
    ("GET /images/json all", |w| {
        // There are no images between: all are those that are shown anyway.
        assert_eq!(named(w, "all=1"), named(w, ""));
    }),
    ("GET /images/json digests", |w| {
        let rows = w.list("/images/json?digests=1");
        assert!(
            rows[0]["RepoDigests"][0]
                .as_str()
                .is_some_and(|name| name.contains("@sha256:")),
            "{rows}"
        );
    }),
    ("GET /images/json filter", |w| {
        let listed = |version: &str| {
            let rows = w.at(version, "GET", "/images/json?filter=old", &Value::Null).value();
            rows.as_array().map_or(0, Vec::len)
        };
        assert_eq!(listed("1.40"), 1);
        assert!(listed("1.41") > 1);
    }),
    ("GET /images/json shared-size", |w| {
        import(w, "repo=base&tag=1");
        w.does(
            "POST",
            &format!(
                "/commit?container={}&repo=twin&tag=1",
                w.create("twin", json!({ "Image": "base:1" }))
            ),
        );
        let shared = |query: &str| {
            let rows = w.list(&format!("/images/json?{query}&{}", filter("reference", "twin")));
            rows[0]["SharedSize"].as_i64().expect("a size")
        };
        assert_eq!(shared(""), -1);
        assert!(shared("shared-size=1") > 1000);
        w.gone(&["twin"]);
        w.does("DELETE", "/images/twin:1");
        w.does("DELETE", "/images/base:1");
    }),
    ("GET /images/json filters.before", |w| {
        kept(w, "before", "new:1", &["busybox:latest", "old:1", "old:other"])
    }),
    ("GET /images/json filters.since", |w| {
        kept(w, "since", "old:1", &["new:1"])
    }),
    ("GET /images/json filters.dangling", |w| {
        import(w, "");
        let rows = |value: &str| w.list(&format!("/images/json?{}", filter("dangling", value)));
        let nameless = rows("true");
        assert_eq!(nameless.as_array().map(Vec::len), Some(1), "{nameless}");
        assert!(nameless[0]["RepoTags"].as_array().is_some_and(Vec::is_empty));
        kept(
            w,
            "dangling",
            "false",
            &["busybox:latest", "new:1", "old:1", "old:other"],
        );
        w.does("POST", "/images/prune");
    }),
    ("GET /images/json filters.label", |w| {
        kept(w, "label", "colour=red", &["new:1"])
    }),
    ("GET /images/json filters.label!", |w| {
        kept(w, "label!", "colour", &["busybox:latest", "old:1", "old:other"])
    }),
    ("GET /images/json filters.reference", |w| {
        kept(w, "reference", "o*:o*", &["old:other"])
    }),
    ("GET /images/json filters.until", |w| {
        kept(w, "until", "2001-01-01T00:00:00Z", &[]);
        kept(
            w,
            "until",
            "4000000000",
            &["busybox:latest", "new:1", "old:1", "old:other"],
        );
    }),
    ("GET /images/get names", |w| {
        let saved = w.raw(&format!("/v{NEWEST}/images/get?names=old:other&names=new:1"));
        let text = String::from_utf8_lossy(&saved);
        assert!(text.contains("old:other") && text.contains("new:1") && !text.contains("busybox:latest"));
        assert_eq!(w.get("/images/get").status, 400);
        assert_eq!(w.get("/images/get?names=nothing").status, 404);
    }),
    ("GET /images/{name}/history platform", |w| {
        by_platform(w, "/images/old:1/history", 48)
    }),
    ("GET /images/{name}/json platform", |w| {
        by_platform(w, "/images/old:1/json", 49)
    }),
    ("POST /images/load quiet", |w| {
        assert_eq!(load(w, "?quiet=1").matches("progressDetail").count(), 0);
        assert!(load(w, "").contains("Loaded image: old:other"));
    }),
    ("POST /images/create fromSrc", |w| {
        import(w, "repo=made&tag=1");
        assert!(exists(w, "made:1"));
        w.does("DELETE", "/images/made:1");
        let none = w.post("/images/create");
        assert_eq!(none.status, 400, "{none:?}");
    }),
    ("POST /images/create repo", |w| {
        import(w, "repo=made");
        assert!(exists(w, "made:latest"));
        w.does("DELETE", "/images/made");
    }),
    ("POST /images/create changes", |w| {
        import(
            w,
            &format!(
                "repo=made&changes={}&changes={}",
                escaped("CMD echo hi"),
                escaped("ENV A=1")
            ),
        );
        let config = w.list("/images/made/json")["Config"].clone();
        assert_eq!(config["Env"][0], "A=1");
        assert!(config["Cmd"].to_string().contains("echo hi"), "{config}");
        w.does("DELETE", "/images/made");
    }),
    ("POST /images/create message", |w| {
        import(w, "repo=made&message=words");
        assert_eq!(w.list("/images/made/json")["Comment"], "words");
        w.does("DELETE", "/images/made");
    }),
    ("POST /images/create platform", |w| {
        import(w, "repo=made&platform=linux/s390x");
        assert_eq!(w.list("/images/made/json")["Architecture"], "s390x");
        w.does("DELETE", "/images/made");
    }),
    ("POST /images/create fromImage", |w| {
        let registry = registry(w);
        let pull = |query: &str| w.post(&format!("/images/create?fromImage={}/box{query}", registry.host));
        let one = pull("&tag=one");
        assert!(one.body.contains("Status: Downloaded newer image"), "{one:?}");
        assert!(exists(w, &format!("{}/box:one", registry.host)) && !exists(w, &format!("{}/box:two", registry.host)));
        assert_eq!(pull("&tag=none").status, 404);
        // Neither tag nor digest: all of them.
        pull("");
        for tag in ["one", "two"] {
            w.does("DELETE", &format!("/images/{}/box:{tag}", registry.host));
        }
    }),
    ("POST /images/create tag", |w| {
        import(w, "repo=made&tag=seven");
        assert!(exists(w, "made:seven") && !exists(w, "made:latest"));
        w.does("DELETE", "/images/made:seven");
    }),
    ("POST /images/create X-Registry-Auth", |w| {
        lets_in(w, "POST", |name| format!("/images/create?fromImage={name}&tag=1"));
    }),
    ("GET /distribution/{name}/json X-Registry-Auth", |w| {
        lets_in(w, "GET", |name| format!("/distribution/{name}:1/json"));
        let registry = registry(w);
        let seen = w.list(&format!("/distribution/{}/box:one/json", registry.host));
        assert!(
            seen["Descriptor"]["digest"]
                .as_str()
                .is_some_and(|digest| digest.starts_with("sha256:")),
            "{seen}"
        );
        assert!(
            seen["Descriptor"]["size"].as_u64().is_some_and(|size| size > 100),
            "{seen}"
        );
        assert_eq!(seen["Platforms"][0]["os"], "linux", "{seen}");
        let own = w.list("/images/busybox/json")["Architecture"].clone();
        assert_eq!(seen["Platforms"][0]["architecture"], own);
        assert_eq!(
            w.get(&format!("/distribution/{}/box:none/json", registry.host)).status,
            404
        );
        assert_eq!(w.get("/distribution/UPPER/json").status, 400);
        assert!(
            !exists(w, &format!("{}/box:one", registry.host)),
            "it is only looked at"
        );
    }),
    ("POST /images/prune filters.dangling", |w| {
        import(w, "");
        import(w, "repo=made");
        assert_eq!(pruned(w, &filter("dangling", "true")), 1);
        assert!(exists(w, "made"));
        let named = filters(&json!({ "dangling": ["false"], "label!": ["colour"], "until": ["2001-01-01T00:00:00Z"] }));
        assert_eq!(pruned(w, &named), 0);
        w.does("DELETE", "/images/made");
    }),
    ("POST /images/prune filters.label", |w| {
        import(w, &format!("repo=made&changes={}", escaped("LABEL prune=a")));
        assert_eq!(
            pruned(w, &filters(&json!({ "dangling": ["false"], "label": ["prune=b"] }))),
            0
        );
        assert_eq!(
            pruned(w, &filters(&json!({ "dangling": ["false"], "label": ["prune=a"] }))),
            1
        );
        assert!(!exists(w, "made") && exists(w, "old:1"));
    }),
    ("POST /images/prune filters.label!", |w| {
        import(w, &format!("changes={}", escaped("LABEL keep=a")));
        assert_eq!(pruned(w, &filter("label!", "keep")), 0);
        assert_eq!(pruned(w, &filter("label!", "other")), 1);
    }),
    ("POST /images/prune filters.until", |w| {
        import(w, "");
        assert_eq!(pruned(w, &filter("until", "24h")), 0);
        assert_eq!(pruned(w, &filter("until", "4000000000")), 1);
    }),
    ("POST /images/{name}/tag repo", |w| {
        w.does("POST", "/images/old:1/tag?repo=named");
        assert!(exists(w, "named:latest"));
        w.does("DELETE", "/images/named");
        assert_eq!(w.post("/images/old:1/tag?repo=UPPER").status, 400);
    }),
    ("POST /images/{name}/tag tag", |w| {
        w.does("POST", "/images/old:1/tag?repo=named&tag=five");
        assert!(exists(w, "named:five") && !exists(w, "named:latest"));
        w.does("DELETE", "/images/named:five");
    }),
    ("DELETE /images/{name} force", |w| {
        import(w, "repo=made");
        w.create("user", json!({ "Image": "made" }));
        let refused = w.at(NEWEST, "DELETE", "/images/made", &Value::Null);
        assert_eq!(refused.status, 409, "{refused:?}");
        w.does("DELETE", "/images/made?force=1");
        assert!(!exists(w, "made"));
        w.gone(&["user"]);
        w.does("POST", "/images/prune");
    }),
    ("DELETE /images/{name} noprune", |w| {
        // No image has a parent of its own here, so that nothing else goes, with it or without.
        for noprune in ["0", "1"] {
            import(w, "repo=made");
            let before = named(w, "").len();
            w.does("DELETE", &format!("/images/made?noprune={noprune}"));
            assert_eq!(named(w, "").len(), before - 1);
        }
    }),
];
