//! Answers of the versions 1.42 to 1.51 against what Docker published of them: no key that a version does not have, the right types,
//! what is required is there, null only where it may be. The facts are in `schema/answers.txt`.

mod amended;

use crate::world::World;
use amended::{AMENDED, Amend};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const FACTS: &str = include_str!("schema/answers.txt");
const VERSIONS: std::ops::RangeInclusive<u32> = 42..=51;

/// A fact of some versions.
struct Fact {
    kind: String,
    nullable: bool,
    required: bool,
    versions: std::ops::RangeInclusive<u32>,
}

/// What was published.
#[derive(Default)]
pub struct Facts {
    /// By `METHOD path`, or `body METHOD path`.
    answers: BTreeMap<String, Vec<Fact>>,
    /// By definition and field; a definition that has no fields stands for the type of its field `=`.
    fields: BTreeMap<String, BTreeMap<String, Vec<Fact>>>,
}

fn fact(kind: &str, range: Option<&str>) -> Fact {
    let (kind, required) = kind.strip_suffix('!').map_or((kind, false), |kind| (kind, true));
    let (kind, nullable) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
    let versions = match range.map(|range| range.split_once('-').expect("a range has a dash")) {
        None => VERSIONS,
        Some((from, to)) => {
            let from = from.parse().expect("a minor version");
            from..=if to.is_empty() {
                51
            } else {
                to.parse().expect("a minor version")
            }
        }
    };
    Fact {
        kind: kind.to_owned(),
        nullable,
        required,
        versions,
    }
}

impl Facts {
    pub fn read() -> Self {
        let mut facts = Self::default();
        let mut of = String::new();
        for line in FACTS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(answer) = line.strip_prefix("= ") {
                let (route, rest) = answer.split_once(" : ").expect("a route and a type");
                let mut words = rest.split(' ');
                let fact = fact(words.next().expect("a type"), words.next());
                facts.answers.entry(route.to_owned()).or_default().push(fact);
            } else if let Some(field) = line.strip_prefix("  ") {
                let mut words = field.split(' ');
                let name = words.next().expect("a field").to_owned();
                let fact = fact(words.next().expect("a type"), words.next());
                facts
                    .fields
                    .entry(of.clone())
                    .or_default()
                    .entry(name)
                    .or_default()
                    .push(fact);
            } else {
                of = line.to_owned();
            }
        }
        facts
    }

    /// What is wrong with an answer.
    pub fn check(&self, version: u32, route: &str, value: &Value) -> Vec<String> {
        let known = self.answers.get(route).into_iter().flatten();
        let mut wrong = Vec::new();
        match known.into_iter().find(|fact| fact.versions.contains(&version)) {
            Some(fact) => self.fits(version, &fact.kind, value, route, &mut wrong),
            None => wrong.push(format!("{route} has no answer at 1.{version}")),
        }
        wrong
    }

    /// Types of the fields of a body, at the newest version.
    pub fn body(&self, route: &str) -> BTreeMap<String, String> {
        let of = self
            .answers
            .get(&format!("body {route}"))
            .and_then(|facts| facts.last());
        of.map(|fact| self.definition(&fact.kind)).unwrap_or_default()
    }

    /// The same of a definition.
    pub fn definition(&self, kind: &str) -> BTreeMap<String, String> {
        let fields = self
            .fields
            .get(kind)
            .into_iter()
            .flatten()
            .filter(|(name, _)| *name != "=");
        let newest = fields.filter_map(|(name, facts)| Some((name.clone(), self.meant(&facts.last()?.kind))));
        newest.collect()
    }

    /// The type that a definition without fields stands for.
    fn meant(&self, kind: &str) -> String {
        let of = self.fields.get(kind).and_then(|fields| fields.get("=")?.last());
        of.map_or_else(|| kind.to_owned(), |fact| fact.kind.clone())
    }

    fn fits(&self, version: u32, kind: &str, value: &Value, at: &str, wrong: &mut Vec<String>) {
        let mut odd = || wrong.push(format!("{at}: {kind} is {value}"));
        let (kind, nullable) = kind.strip_suffix('?').map_or((kind, false), |kind| (kind, true));
        if nullable && value.is_null() {
            return;
        }
        if let Some(item) = inside(kind, '[', ']') {
            match value.as_array() {
                Some(list) => list
                    .iter()
                    .for_each(|one| self.fits(version, item, one, &format!("{at}[]"), wrong)),
                None => odd(),
            }
        } else if let Some(item) = inside(kind, '{', '}') {
            match value.as_object() {
                Some(table) => {
                    table
                        .values()
                        .for_each(|one| self.fits(version, item, one, &format!("{at}{{}}"), wrong));
                }
                None => odd(),
            }
        } else if let Some(fields) = self.fields.get(kind) {
            match (fields.get("="), value.as_object()) {
                (Some(facts), _) => {
                    let fact = facts
                        .iter()
                        .find(|fact| fact.versions.contains(&version))
                        .expect("a type");
                    if !(value.is_null() && fact.nullable) {
                        self.fits(version, &fact.kind, value, at, wrong);
                    }
                }
                (None, Some(object)) => self.fields_fit(version, kind, fields, object, wrong),
                (None, None) => odd(),
            }
        } else if !plain(kind, value) {
            odd();
        }
    }

    fn fields_fit(
        &self,
        version: u32,
        definition: &str,
        fields: &BTreeMap<String, Vec<Fact>>,
        object: &serde_json::Map<String, Value>,
        wrong: &mut Vec<String>,
    ) {
        let at = |name: &str| fields.get(name)?.iter().find(|fact| fact.versions.contains(&version));
        for (name, value) in object {
            let place = format!("{definition}.{name}");
            let amend = amended(&place, version);
            match (at(name), amend) {
                (_, Some(Amend::Also)) => {}
                (None, _) => wrong.push(format!("{place} is not published at 1.{version}")),
                (Some(fact), amend) if value.is_null() => {
                    if !fact.nullable && amend != Some(Amend::Null) {
                        wrong.push(format!("{place}: {} is null", fact.kind));
                    }
                }
                (Some(fact), _) => self.fits(version, &fact.kind, value, &place, wrong),
            }
        }
        for name in fields.keys().filter(|name| !object.contains_key(*name)) {
            let place = format!("{definition}.{name}");
            if at(name).is_some_and(|fact| fact.required) {
                wrong.push(format!("{place} is missing"));
            }
        }
    }
}

fn amended(place: &str, version: u32) -> Option<Amend> {
    let of = AMENDED
        .iter()
        .find(|(name, since, _, _)| *name == place && version >= *since);
    of.map(|(_, _, amend, _)| *amend)
}

fn inside(kind: &str, open: char, close: char) -> Option<&str> {
    kind.strip_prefix(open)?.strip_suffix(close)
}

fn plain(kind: &str, value: &Value) -> bool {
    match kind {
        "string" => value.is_string(),
        "time" => value.as_str().is_some_and(|text| text.is_empty() || is_time(text)),
        "int" => value.is_i64() || value.is_u64(),
        "num" => value.is_number(),
        "bool" => value.is_boolean(),
        "object" => value.is_object(),
        "any" => true,
        other => panic!("no such type: {other}"),
    }
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.as_bytes()[10] == b'T' && text.ends_with('Z')
}

/// The checker sees what is wrong.
#[test]
fn bad_answers_are_seen() {
    let facts = Facts::read();
    let wrong = |version: u32, route: &str, value: Value| facts.check(version, route, &value);
    let good = json!([{ "IP": "1.2.3.4", "PrivatePort": 80, "Type": "tcp" }]);
    assert_eq!(wrong(51, "GET /containers/json", json!([{ "Ports": good }])), [""; 0]);
    for (version, route, value, seen) in [
        (51, "GET /containers/json", json!({}), "is {}"),
        (51, "GET /containers/json", json!([{ "Id": 5 }]), "string is 5"),
        (
            51,
            "GET /containers/json",
            json!([{ "Odd": 5 }]),
            "ContainerSummary.Odd is not published at 1.51",
        ),
        (
            51,
            "GET /containers/json",
            json!([{ "Ports": [{ "Type": "tcp" }] }]),
            "Port.PrivatePort is missing",
        ),
        (
            51,
            "GET /containers/json",
            json!([{ "Names": null }]),
            "ContainerSummary.Names: [string] is null",
        ),
        (43, "GET /images/{name}/history", json!([]), ""),
        (
            51,
            "GET /images/{name}/json",
            json!({ "VirtualSize": 5 }),
            "ImageInspect.VirtualSize is not published at 1.51",
        ),
        (42, "GET /info", json!({ "Containers": 1.5 }), "int is 1.5"),
        (51, "GET /nothing", json!({}), "has no answer"),
    ] {
        let said = wrong(version, route, value.clone()).join("; ");
        assert!(said.contains(seen), "{route} {value}: {said:?}");
        assert_eq!(said.is_empty(), seen.is_empty(), "{route} {value}: {said:?}");
    }
}

/// A route, how it is asked for, and with what body.
type Asked = (&'static str, &'static str, Value);

/// Every route that answers in JSON. What changes something is asked again at each version, so it must bear that.
fn asked() -> Vec<Asked> {
    let none = Value::Null;
    let made = json!({ "Image": "busybox", "Cmd": ["true"] });
    vec![
        ("GET /containers/json", "/containers/json?all=1&size=1", none.clone()),
        ("POST /containers/create", "/containers/create", made.clone()),
        (
            "GET /containers/{name}/json",
            "/containers/up/json?size=1",
            none.clone(),
        ),
        ("GET /containers/{name}/json", "/containers/fresh/json", none.clone()),
        ("GET /containers/{name}/json", "/containers/done/json", none.clone()),
        ("GET /containers/{name}/top", "/containers/up/top", none.clone()),
        ("GET /containers/{name}/changes", "/containers/up/changes", none.clone()),
        (
            "GET /containers/{name}/stats",
            "/containers/up/stats?stream=0",
            none.clone(),
        ),
        (
            "GET /containers/{name}/stats",
            "/containers/done/stats?stream=0",
            none.clone(),
        ),
        (
            "POST /containers/{name}/update",
            "/containers/up/update",
            json!({ "Memory": 64 << 20, "MemorySwap": -1 }),
        ),
        ("POST /containers/{name}/wait", "/containers/done/wait", none.clone()),
        (
            "POST /containers/prune",
            "/containers/prune?filters=%7B%22label%22:%5B%22none%22%5D%7D",
            none.clone(),
        ),
        (
            "POST /containers/{name}/exec",
            "/containers/up/exec",
            json!({ "Cmd": ["true"] }),
        ),
        ("GET /exec/{name}/json", "/exec/EXEC/json", none.clone()),
        ("GET /images/json", "/images/json?shared-size=1", none.clone()),
        ("GET /images/{name}/json", "/images/busybox/json", none.clone()),
        ("GET /images/{name}/history", "/images/busybox/history", none.clone()),
        ("DELETE /images/{name}", "/images/IMAGE", none.clone()),
        ("POST /images/prune", "/images/prune", none.clone()),
        (
            "POST /commit",
            "/commit?container=fresh&repo=made&tag=VERSION",
            none.clone(),
        ),
        ("POST /build/prune", "/build/prune", none.clone()),
        ("GET /info", "/info", none.clone()),
        ("GET /version", "/version", none.clone()),
        ("GET /system/df", "/system/df", none.clone()),
        ("GET /events", "/events?since=1&until=UNTIL", none.clone()),
        ("GET /volumes", "/volumes", none.clone()),
        ("GET /volumes/{name}", "/volumes/vol", none.clone()),
        ("POST /volumes/create", "/volumes/create", json!({ "Name": "vol" })),
        ("POST /volumes/prune", "/volumes/prune", none.clone()),
        ("GET /networks", "/networks", none.clone()),
        ("GET /networks/{name}", "/networks/net", none.clone()),
        ("GET /networks/{name}", "/networks/bridge", none.clone()),
        (
            "POST /networks/create",
            "/networks/create",
            json!({ "Name": "netVERSION" }),
        ),
        (
            "POST /networks/prune",
            "/networks/prune?filters=%7B%22label%22:%5B%22none%22%5D%7D",
            none,
        ),
    ]
}

/// Routes whose answers are not JSON, need a registry, or are not built.
const OTHERS: &[&str] = &[
    "GET /_ping",
    "HEAD /_ping",
    "GET /containers/{name}/logs",
    "GET /images/get",
    "GET /images/{name}/get",
    "GET /images/search",
    // Checked beside its effect, in `params`.
    "GET /distribution/{name}/json",
];

#[test]
fn answers_are_as_published() {
    let facts = Facts::read();
    let w = &World::new(true);
    prepare(w);
    let mut wrong: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let all = asked();
    for route in facts.answers.keys().filter(|route| !route.starts_with("body ")) {
        let known = all.iter().any(|(name, _, _)| name == route) || OTHERS.contains(&route.as_str());
        assert!(known, "{route} is not asked");
    }
    for version in VERSIONS {
        for (route, path, body) in &all {
            for value in answers(w, version, route, path, body) {
                for one in facts.check(version, route, &value) {
                    wrong.entry(one).or_default().push(version);
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not as published: {wrong:#?}");
}

/// What there is to be shown: containers of each state, a network and a volume in use, an image without a name.
fn prepare(w: &World) {
    w.json(
        "POST",
        "/networks/create",
        &json!({ "Name": "net", "Labels": { "a": "b" } }),
    );
    w.json(
        "POST",
        "/volumes/create",
        &json!({ "Name": "vol", "Labels": { "a": "b" } }),
    );
    let up = json!({
        "Labels": { "a": "b" }, "ExposedPorts": { "80/tcp": {} }, "Env": ["A=1"],
        "Healthcheck": { "Test": ["CMD", "true"], "Interval": 1_000_000_000 },
        "HostConfig": {
            "NetworkMode": "net", "Binds": ["vol:/data"], "Annotations": { "a": "b" }, "Memory": 64 << 20, "MemorySwap": -1,
            "PortBindings": { "81/tcp": [{ "HostIp": "127.0.0.1", "HostPort": "0" }] },
            "Mounts": [{ "Type": "tmpfs", "Target": "/t" }],
        },
    });
    w.run("up", up);
    w.exec("up", "touch /new");
    w.shell("done", "exit 3");
    w.create("fresh", json!({}));
}

/// The answer; of events, each.
fn answers(w: &World, version: u32, route: &str, path: &str, body: &Value) -> Vec<Value> {
    let (method, _) = route.split_once(' ').expect("a method");
    let number = format!("1.{version}");
    let mut path = path.replace("VERSION", &version.to_string());
    if path.contains("EXEC") {
        let made = w.json("POST", "/containers/up/exec", &json!({ "Cmd": ["true"] }));
        path = path.replace("EXEC", made["Id"].as_str().expect("an id"));
    }
    if path.contains("UNTIL") {
        let passed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        path = path.replace("UNTIL", &passed.expect("a time after 1970").as_secs().to_string());
        let told = String::from_utf8_lossy(&w.raw(&format!("/v{number}{path}"))).into_owned();
        return told
            .lines()
            .map(|line| serde_json::from_str(line).expect("an event a line"))
            .collect();
    }
    if path.contains("IMAGE") {
        w.does("POST", "/commit?container=fresh&repo=gone");
        path = path.replace("IMAGE", "gone");
    }
    let body = body.to_string().replace("VERSION", &version.to_string());
    let body = serde_json::from_str(&body).expect("it was JSON before");
    let reply = w.at(&number, method, &path, &body);
    assert!(
        (200..300).contains(&reply.status),
        "{method} {path} at {number}: {reply:?}"
    );
    vec![reply.value()]
}
