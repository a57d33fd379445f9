//! The daemon, commits, networks, volumes.

use super::{Case, run};
use crate::world::{NEWEST, World, escaped, filter, filters};
use gantry_e2e::{PATIENCE, eventually};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn words_of_the_rest() {
    run(true, prepare, CASES);
}

/// A container that has come and gone on a network with a volume, a label and an exec: things to tell of.
fn prepare(w: &World) {
    w.json(
        "POST",
        "/networks/create",
        &json!({ "Name": "net", "Driver": "bridge", "Labels": { "colour": "red" } }),
    );
    w.json(
        "POST",
        "/volumes/create",
        &json!({ "Name": "vol", "Labels": { "colour": "red" } }),
    );
    w.json("POST", "/volumes/create", &json!({ "Name": "other" }));
    let container = json!({
        "Labels": { "colour": "red" }, "HostConfig": { "NetworkMode": "net", "Binds": ["vol:/data"] },
    });
    w.run("told", container);
    w.exec("told", "true");
    w.gone(&["told"]);
    w.shell("base", "echo new > /new");
    // Some is told after it was answered.
    eventually("all is told", PATIENCE, || {
        let events = told(w, "");
        [
            "container exec_die told",
            "container destroy told",
            "container die base",
            "network disconnect net",
        ]
        .iter()
        .all(|event| events.contains(*event))
    });
}

/// Everything that was told so far and that a filter keeps, as `kind action name`.
fn told(w: &World, query: &str) -> BTreeSet<String> {
    let until = soon();
    let path = format!("/v{NEWEST}/events?since=1&until={until}&{query}");
    let body = String::from_utf8_lossy(&w.raw(&path)).into_owned();
    let one = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("an event a line");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let action = text(&event["Action"]);
        let action = action.split(':').next().unwrap_or_default().to_owned();
        format!(
            "{} {action} {}",
            text(&event["Type"]),
            text(&event["Actor"]["Attributes"]["name"])
        )
    };
    body.lines().map(one).collect()
}

/// Seconds since 1970, one more than now, so that what was just told is in it.
fn soon() -> String {
    let passed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    (passed.expect("a time after 1970").as_secs() + 1).to_string()
}

#[track_caller]
fn tells(w: &World, key: &str, value: &str, kept: impl Fn(&str) -> bool) {
    let all = told(w, "");
    let wanted: BTreeSet<String> = all.into_iter().filter(|event| kept(event)).collect();
    assert!(!wanted.is_empty(), "{key}={value} keeps something");
    assert_eq!(told(w, &filter(key, value)), wanted, "{key}={value}");
}

#[track_caller]
fn silent(w: &World, key: &str, value: &str) {
    assert_eq!(told(w, &filter(key, value)), BTreeSet::new(), "{key}={value}");
}

fn names(rows: &Value) -> Vec<String> {
    let rows = rows.as_array().cloned().unwrap_or_default();
    let mut names: Vec<String> = rows
        .iter()
        .map(|row| row["Name"].as_str().unwrap_or_default().to_owned())
        .collect();
    names.sort();
    names
}

#[track_caller]
fn networks(w: &World, key: &str, value: &str, wanted: &[&str]) {
    assert_eq!(
        names(&w.list(&format!("/networks?{}", filter(key, value)))),
        wanted,
        "{key}={value}"
    );
}

#[track_caller]
fn volumes(w: &World, key: &str, value: &str, wanted: &[&str]) {
    let listed = w.list(&format!("/volumes?{}", filter(key, value)));
    assert_eq!(names(&listed["Volumes"]), wanted, "{key}={value}");
}

/// Commits `base` and answers the image, which goes at once.
fn committed(w: &World, query: &str) -> Value {
    let made = w.json("POST", &format!("/commit?container=base&{query}"), &Value::Null);
    let id = made["Id"].as_str().expect("an id").to_owned();
    let image = w.list(&format!("/images/{id}/json"));
    w.does("DELETE", &format!("/images/{id}?force=1"));
    image
}

fn pruned(w: &World, what: &str, query: &str) -> Vec<String> {
    let answer = w.json("POST", &format!("/{what}/prune?{query}"), &Value::Null);
    let key = if what == "networks" {
        "NetworksDeleted"
    } else {
        "VolumesDeleted"
    };
    let list = answer[key].as_array().cloned().unwrap_or_default();
    let mut gone: Vec<String> = list
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect();
    gone.sort();
    gone
}

fn network(w: &World, name: &str, labels: Value) {
    w.json("POST", "/networks/create", &json!({ "Name": name, "Labels": labels }));
}

fn volume(w: &World, name: &str, labels: Value) {
    w.json("POST", "/volumes/create", &json!({ "Name": name, "Labels": labels }));
}

pub const CASES: &[Case] = &[
    ("GET /events since", |w| {
        assert!(told(w, "").contains("container create told"));
        let later = w.raw(&format!("/v{NEWEST}/events?since={}&until={}", soon(), soon()));
        assert!(!String::from_utf8_lossy(&later).contains("told"));
        assert_eq!(w.get("/events?since=x").status, 400);
    }),
    ("GET /events until", |w| {
        let early = w.raw(&format!("/v{NEWEST}/events?since=1&until=2"));
        assert!(early.is_empty());
        // An end is a bound, though there is no beginning; 0 is one.
        let past = w.raw(&format!("/v{NEWEST}/events?until={}", soon()));
        assert!(String::from_utf8_lossy(&past).contains("told"));
        assert!(w.raw(&format!("/v{NEWEST}/events?until=0")).is_empty());
        assert_eq!(w.get("/events?since=20&until=10").status, 400);
    }),
    ("GET /events filters.type", |w| {
        tells(w, "type", "volume", |event| event.starts_with("volume "))
    }),
    ("GET /events filters.event", |w| {
        tells(w, "event", "exec_create", |event| {
            event.starts_with("container exec_create")
        });
        tells(w, "event", "die", |event| event.starts_with("container die"));
    }),
    ("GET /events filters.container", |w| {
        tells(w, "container", "told", |event| {
            event.starts_with("container ") && event.ends_with(" told")
        });
        // A beginning is enough.
        tells(w, "container", "tol", |event| event.ends_with(" told"));
    }),
    ("GET /events filters.image", |w| {
        silent(w, "image", "nothing");
        assert!(told(w, &filter("image", "busybox")).contains("container create told"));
    }),
    ("GET /events filters.label", |w| {
        assert!(told(w, &filter("label", "colour=red")).contains("container create told"));
        silent(w, "label", "colour=blue");
    }),
    ("GET /events filters.network", |w| {
        tells(w, "network", "net", |event| {
            event.starts_with("network ") && event.ends_with(" net")
        })
    }),
    ("GET /events filters.volume", |w| {
        let of = told(w, &filter("volume", "vol"));
        assert!(
            !of.is_empty() && of.iter().all(|event| event.starts_with("volume ")),
            "{of:?}"
        );
        silent(w, "volume", "nothing");
        tells(w, "volume", "vo", |event| event.starts_with("volume "));
    }),
    ("GET /events filters.scope", |w| {
        tells(w, "scope", "local", |_| true);
        silent(w, "scope", "swarm");
    }),
    ("GET /events filters.daemon", |w| silent(w, "daemon", "nothing")),
    ("GET /events filters.config", |w| silent(w, "config", "x")),
    ("GET /events filters.node", |w| silent(w, "node", "x")),
    ("GET /events filters.plugin", |w| silent(w, "plugin", "x")),
    ("GET /events filters.secret", |w| silent(w, "secret", "x")),
    ("GET /events filters.service", |w| silent(w, "service", "x")),
    ("GET /system/df type", |w| {
        let counts = |version: &str, query: &str| {
            let seen = w
                .at(version, "GET", &format!("/system/df{query}"), &Value::Null)
                .value();
            ["Images", "Containers", "Volumes"].map(|key| seen[key].as_array().map_or(0, Vec::len))
        };
        let all = counts(NEWEST, "");
        assert!(all.iter().all(|count| *count > 0), "{all:?}");
        assert_eq!(counts(NEWEST, "?type=image"), [all[0], 0, 0]);
        assert_eq!(counts(NEWEST, "?type=container&type=volume"), [0, all[1], all[2]]);
        assert_eq!(counts("1.41", "?type=image"), all);
        assert_eq!(w.get("/system/df?type=x").status, 400);
    }),
    ("POST /commit container", |w| {
        assert_eq!(w.post("/commit?container=nothing").status, 404);
        assert!(committed(w, "")["Id"].is_string());
    }),
    ("POST /commit repo", |w| {
        assert_eq!(committed(w, "repo=made")["RepoTags"], json!(["made:latest"]))
    }),
    ("POST /commit tag", |w| {
        assert_eq!(committed(w, "repo=made&tag=six")["RepoTags"], json!(["made:six"]))
    }),
    ("POST /commit author", |w| {
        assert_eq!(committed(w, "author=me")["Author"], "me")
    }),
    ("POST /commit comment", |w| {
        assert_eq!(committed(w, "comment=words")["Comment"], "words")
    }),
    ("POST /commit changes", |w| {
        let image = committed(
            w,
            &format!("changes={}&changes={}", escaped("ENV A=1"), escaped("USER 7")),
        );
        assert!(image["Config"]["Env"].to_string().contains("A=1"), "{image}");
        assert_eq!(image["Config"]["User"], "7");
    }),
    ("POST /commit pause", |w| {
        w.run("busy", json!({}));
        let paused = |pause: &str| {
            let before = told(w, &filter("event", "pause")).len();
            let made = w.json(
                "POST",
                &format!("/commit?container=busy&repo=p{pause}&pause={pause}"),
                &Value::Null,
            );
            assert!(made["Id"].is_string());
            w.does("DELETE", &format!("/images/p{pause}"));
            told(w, &filter("event", "pause")).len() - before
        };
        assert_eq!(paused("0"), 0);
        assert_eq!(paused("1"), 1);
        w.gone(&["busy"]);
    }),
    ("GET /networks/", |w| {
        let query = filter("name", "net");
        assert_eq!(
            w.list(&format!("/networks/?{query}")),
            w.list(&format!("/networks?{query}"))
        );
    }),
    ("GET /networks filters.dangling", |w| {
        networks(w, "dangling", "true", &["net"]);
        w.create("user", json!({ "HostConfig": { "NetworkMode": "net" } }));
        w.start("user");
        networks(w, "dangling", "true", &[]);
        w.gone(&["user"]);
    }),
    ("GET /networks filters.driver", |w| {
        networks(w, "driver", "bridge", &["bridge", "net"])
    }),
    ("GET /networks filters.id", |w| {
        let id = w.list("/networks/net")["Id"].as_str().unwrap_or_default().to_owned();
        networks(w, "id", &id[..10], &["net"]);
    }),
    ("GET /networks filters.label", |w| {
        networks(w, "label", "colour=red", &["net"])
    }),
    ("GET /networks filters.name", |w| {
        networks(w, "name", "ne", &["net", "none"]);
        networks(w, "name", "^ne", &["net"]);
        networks(w, "name", "^net$", &["net"]);
    }),
    ("GET /networks filters.scope", |w| {
        networks(w, "scope", "local", &["bridge", "host", "net", "none"]);
        networks(w, "scope", "swarm", &[]);
    }),
    ("GET /networks filters.type", |w| {
        networks(w, "type", "custom", &["net"]);
        networks(w, "type", "builtin", &["bridge", "host", "none"]);
    }),
    ("POST /networks/prune filters.label", |w| {
        network(w, "one", json!({ "prune": "a" }));
        network(w, "two", json!({ "prune": "b" }));
        assert_eq!(pruned(w, "networks", &filter("label", "prune=a")), ["one"]);
        assert_eq!(pruned(w, "networks", &filter("label", "prune=b")), ["two"]);
    }),
    ("POST /networks/prune filters.label!", |w| {
        network(w, "one", json!({ "prune": "a" }));
        network(w, "two", json!({ "prune": "a", "keep": "" }));
        let query = filters(&json!({ "label": ["prune"], "label!": ["keep"] }));
        assert_eq!(pruned(w, "networks", &query), ["one"]);
        w.does("DELETE", "/networks/two");
    }),
    ("POST /networks/prune filters.until", |w| {
        network(w, "one", json!({ "prune": "a" }));
        let until = |time: &str| pruned(w, "networks", &filters(&json!({ "label": ["prune"], "until": [time] })));
        assert!(until("10m").is_empty());
        assert_eq!(until("4000000000"), ["one"]);
    }),
    ("GET /networks/{name} scope", |w| {
        assert_eq!(w.get("/networks/net?scope=local").status, 200);
        assert_eq!(w.get("/networks/net?scope=swarm").status, 404);
    }),
    ("GET /networks/{name} verbose", |w| {
        // Only a swarm's networks have more to show.
        assert_eq!(w.list("/networks/net?verbose=true"), w.list("/networks/net"));
        assert_eq!(w.get("/networks/net?verbose=x").status, 400);
    }),
    ("GET /volumes filters.dangling", |w| {
        volumes(w, "dangling", "true", &["other", "vol"]);
        w.create("user", json!({ "HostConfig": { "Binds": ["vol:/data"] } }));
        volumes(w, "dangling", "true", &["other"]);
        volumes(w, "dangling", "false", &["vol"]);
        w.gone(&["user"]);
    }),
    ("GET /volumes filters.driver", |w| {
        volumes(w, "driver", "local", &["other", "vol"]);
        volumes(w, "driver", "none", &[]);
    }),
    ("GET /volumes filters.label", |w| {
        volumes(w, "label", "colour=red", &["vol"])
    }),
    ("GET /volumes filters.name", |w| volumes(w, "name", "oth", &["other"])),
    ("DELETE /volumes/{name} force", |w| {
        let gone = |query: &str| {
            w.at(NEWEST, "DELETE", &format!("/volumes/nothing{query}"), &Value::Null)
                .status
        };
        assert_eq!((gone(""), gone("?force=1")), (404, 204));
    }),
    ("POST /volumes/prune filters.all", |w| {
        volume(w, "named", json!({ "prune": "a" }));
        let asked = |all: &str| pruned(w, "volumes", &filters(&json!({ "label": ["prune"], "all": [all] })));
        assert!(asked("false").is_empty());
        assert_eq!(asked("true"), ["named"]);
        // Before 1.42 all went.
        volume(w, "named", json!({ "prune": "a" }));
        let path = format!("/volumes/prune?{}", filter("label", "prune"));
        let answer = w.at("1.41", "POST", &path, &Value::Null).value();
        assert_eq!(answer["VolumesDeleted"], json!(["named"]));
    }),
    ("POST /volumes/prune filters.label", |w| {
        volume(w, "one", json!({ "prune": "a" }));
        volume(w, "two", json!({ "prune": "b" }));
        let asked = |label: &str| pruned(w, "volumes", &filters(&json!({ "all": ["1"], "label": [label] })));
        assert_eq!(asked("prune=a"), ["one"]);
        assert_eq!(asked("prune=b"), ["two"]);
    }),
    ("POST /volumes/prune filters.label!", |w| {
        volume(w, "one", json!({ "prune": "a" }));
        volume(w, "two", json!({ "prune": "a", "keep": "" }));
        let query = filters(&json!({ "all": ["1"], "label": ["prune"], "label!": ["keep"] }));
        assert_eq!(pruned(w, "volumes", &query), ["one"]);
        w.does("DELETE", "/volumes/two");
    }),
];
